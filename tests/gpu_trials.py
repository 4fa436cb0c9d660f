"""Requests of every kernel of the cuda backend, small or large, and digests of their answers.

As a program, `python tests/gpu_trials.py BACKEND`, it compares all small ones with the cpu;
compute-sanitizer runs it so."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace

import conftest  # noqa: F401  registers cuda-host
import numpy as np
from cluster_trials import ClusterTrial
from engine import Trial, graph, start
from test_language import FULL, QUICK, chain

from isingnpu import disorder, lattice
from isingnpu.backend import find_backend, get_backend
from isingnpu.backends.cuda.machine import CudaMachine
from isingnpu.npu.budget import Budget
from isingnpu.npu.device import host
from isingnpu.npu.language import PottsIsingLM


def ramp(last, sweeps=6):
    return np.linspace(0.1 * last, last, sweeps)


def trials(large):
    """Name -> trial. large: as a GPU is for, or in a second on the processor."""
    side, n, reads = (4096, 100_000, 1024) if large else (64, 40, 70)
    cube = (64, 64, 128) if large else (4, 4, 64)
    square, glass = lattice.square(side), disorder.edwards_anderson(cube, seed=1)
    odd = lattice.square((side + 2, side - 10), boundary=("periodic", "open"))
    sparse = disorder.random_regular(n, 6, disorder="bimodal", seed=1)
    full = disorder.sherrington_kirkpatrick(2000 if large else 65, seed=1)
    fields = graph(200 if large else 21, most=60, most_field=60, seed=2)
    real = disorder.edwards_anderson((16 if large else 4,) * 3, disorder="gaussian", seed=1)
    single = {"replicas": range(1), "layout": "lattice"}
    many = {"replicas": range(reads), "every": 3}
    cold = ramp(0.5)
    made = {
        "lattice": Trial(square, cold, **single),
        "lattice, 7 rounds": Trial(square, cold, rounds=7, **single),
        "lattice, heat bath": Trial(square, cold, dynamics="heat-bath", **single),
        "lattice, odd and open": Trial(odd, cold, **single),
        "lattice, glass": Trial(glass, ramp(1.5), layout="lattice", replicas=range(5, 8)),
        "lanes": Trial(sparse, ramp(1.5), "lane", **many),
        "lanes, heat bath, 7 rounds": Trial(sparse, ramp(1.5), "lane", "heat-bath", rounds=7),
        "lanes, 16-bit fields": Trial(fields, ramp(0.05), "lane", **many),
        "lanes, fixed point": Trial(real, ramp(2.0), "lane", **many),
        "lanes, dense": Trial(full, ramp(0.1), "lane", **many),
        "planes": Trial(sparse, ramp(1.5), "plane", **many),
        "shared": Trial(sparse, ramp(1.5), "shared", **many),
        "clusters": ClusterTrial(square, ramp(0.44, 3), replicas=range(1), every=1),
        "clusters, odd and open": ClusterTrial(odd, ramp(0.44, 3), replicas=range(2), every=1),
        "clusters, cubic": ClusterTrial(lattice.cubic(cube), ramp(0.22, 3), every=1),
        "clusters, glass": ClusterTrial(glass, ramp(0.5, 3), every=1),
        "clusters, graph": ClusterTrial(sparse, ramp(0.5, 3), every=1),
        "clusters, many reads": ClusterTrial(
            lattice.square(32), ramp(0.44, 3), replicas=range(reads), every=1
        ),
    }
    return made


NAMES = tuple(trials(large=False))


def digest(backend, trial, *, cut=0, then=None):
    """SHA-256 of all that a trial gives on a backend; `then` goes on from sweep `cut`."""
    betas, plan = np.asarray(trial.betas), get_backend(backend).plan(trial.request)
    plan.load(start(trial))
    parts = []
    if cut:
        parts.append(plan.sweep(betas[:cut], first=0, every=trial.every))
        state, plan = plan.state(), get_backend(then or backend).plan(trial.request)
        plan.load(state)
    parts.append(plan.sweep(betas[cut:], first=cut, every=trial.every))
    made = hashlib.sha256(np.ascontiguousarray(plan.state().spins).tobytes())
    for name in ("energy", "magnetization", "flips", "improved"):
        series = [getattr(part, name) for part in parts]
        if series[0] is not None:
            made.update(np.ascontiguousarray(np.concatenate(series, axis=1)).tobytes())
    return made.hexdigest()


def reading(name):
    """Whether a machine that reads text learns on a device as on the cpu (test_cuda_text)."""
    moved = {}
    for device in ("cpu", CudaMachine(find_backend(name).device)):
        machine = PottsIsingLM(FULL, QUICK, seed=4, device=device)
        machine.fit(chain(), Budget(steps=3))
        moved[device] = {k: host(machine.net.device, w) for k, w in machine.net.couplings.items()}
    wanted, found = moved.values()
    return all(np.linalg.norm(found[k] - w) <= 1e-3 * np.linalg.norm(w) for k, w in wanted.items())


def main(backend):
    """Exit status: 1 if a digest is another than that of the cpu."""
    wrong = []
    for name, trial in trials(large=False).items():
        some = replace(trial, replicas=trial.replicas[:3])
        if digest(backend, some) != digest("cpu", some):
            wrong.append(name)
    if not reading(backend):
        wrong.append("a machine that reads text")
    print(f"{len(NAMES)} requests on {backend}, wrong: {wrong}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
