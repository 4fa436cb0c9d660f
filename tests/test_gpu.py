"""One GPU against the CPU, bit by bit: `pytest -m gpu`, skipped where no device is.

Every test runs on the processor too, where the device's place is taken by cuda-host and sizes are
small, so that none of its lines waits for a GPU to be run first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cluster_trials import ClusterTrial
from engine import Trial, start
from gpu_trials import NAMES, digest, trials

from isingnpu import lattice
from isingnpu.backend import State, find_backend, get_backend
from isingnpu.backends.cuda.device import OutOfMemory
from isingnpu.backends.cuda.machine import CudaMachine
from isingnpu.npu.budget import Budget
from isingnpu.npu.corpus import Corpus
from isingnpu.npu.device import host
from isingnpu.npu.draws import Draw, uniforms
from isingnpu.npu.language import PottsIsingLM
from isingnpu.npu.selectors import Selectors
from isingnpu.npu.text_net import first_couplings
from isingnpu.npu.text_study import designs
from isingnpu.npu.text_training import TextTraining
from isingnpu.rng import Stream

ROOT = Path(__file__).resolve().parents[1]
GPU, HOST = "cuda", "cuda-host"
GIB = 1 << 30


@pytest.fixture(params=[HOST, pytest.param(GPU, marks=pytest.mark.gpu)])
def name(request):
    """The backend on a GPU, and on the processor in its place."""
    reason = find_backend(request.param).unavailable()
    if reason is not None:
        pytest.skip(f"{request.param}: {reason}")
    return request.param


@pytest.fixture(scope="module")
def made():
    """Trials by size, made once."""
    return {}


def trial_of(made, what, name):
    large = name == GPU
    if large not in made:
        made[large] = trials(large)
    return made[large][what]


@pytest.mark.parametrize("what", NAMES)
def test_device_gives_the_bits_of_the_cpu(name, what, made):
    trial = trial_of(made, what, name)
    assert digest(name, trial) == digest("cpu", trial)


@pytest.mark.parametrize("what", ["lattice", "lanes", "planes", "clusters, many reads"])
def test_run_goes_on_from_device_to_cpu_and_back(name, what, made):
    trial = trial_of(made, what, name)
    whole = digest("cpu", trial)
    assert digest(name, trial, cut=2, then="cpu") == whole
    assert digest("cpu", trial, cut=2, then=name) == whole


def memory():
    """Bytes of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize("size", [256, 1024, 8192, 16384])
@pytest.mark.parametrize("rule", ["metropolis", "swendsen-wang"])
def test_large_squares_are_those_of_the_cpu(name, size, rule):
    """A model of n sites takes about 350 bytes a site to be made and loaded, and clusters more."""
    size = size if name == GPU else size // 64
    if 450 * size**2 > memory():
        pytest.skip(f"L = {size} needs {450 * size**2 / GIB:.0f} GiB of memory")
    betas, model = np.full(3, 0.44), lattice.square(size)
    trial = Trial(model, betas, "lattice", replicas=range(1), every=1)
    if rule == "swendsen-wang":
        trial = ClusterTrial(model, betas, replicas=range(1), every=1)
    assert digest(name, trial) == digest("cpu", trial)


@pytest.mark.parametrize("what", ["lane", "clusters"])
def test_too_many_reads_are_refused_with_what_fits(name, what):
    model = lattice.square(256)
    trial = Trial(model, np.zeros(1), "lane", replicas=range(1 << 33))
    if what == "clusters":
        trial = ClusterTrial(model, np.zeros(1), replicas=range(1 << 21))
    with pytest.raises(OutOfMemory, match=r"needs \d+\.\d\d GiB .* free: (\d+ reads fit|not one)"):
        get_backend(name).plan(trial.request)


@pytest.mark.parametrize("what", ["lanes", "clusters"])
def test_states_stay_on_the_device(name, what, made):
    """Loaded from an array of the device, and given as one."""
    trial = trial_of(made, what, name)
    backend, given = get_backend(name), start(trial)
    plan = backend.plan(trial.request)
    there = backend.device.put(given.spins)
    plan.load(State(there, there, given.flips))
    assert np.array_equal(plan.state().spins, given.spins)
    plan.sweep(np.asarray(trial.betas), first=0)
    held = plan.spins_on_device()
    assert hasattr(held, "__dlpack__")
    assert np.array_equal(backend.device.get(held), plan.state().spins)


@pytest.fixture
def reading():
    """A design of every part, for so many hidden spins, and a text for it."""

    def made(hidden, window, colours, runs, length):
        spec = replace(
            designs(window)["n-gram fields, selectors, hidden"].spec,
            colours=colours, hidden=hidden, selectors=Selectors(2, window, values_to_hidden=True),
        )  # fmt: skip
        n = (runs + 3) * (length + window + 8)
        tokens = (uniforms((n,), Draw(3, Stream.DATA)) ** 2 * colours).astype(np.uint8)
        corpus = Corpus("random", tokens, tuple(map(str, range(colours))), n, n)
        training = replace(TextTraining(), runs=runs, length=length)
        return spec, training, corpus

    return made


def test_machine_of_4096_spins_that_reads_text_errs_no_more_than_the_cpu(name, reading):
    """Statistics of a step against the cpu's in float64: the device may be off by four times as
    much as the cpu in float32, which adds in another order, and where that is small by luck, by a
    rounding of each position as such errors add up."""
    large = (4096, 1024, 65, 8, 256), (24, 16, 5, 2, 32)
    spec, training, corpus = reading(*large[name == HOST])
    found = CudaMachine(find_backend(name).device)
    moved = {}
    for key, device, dtype in (
        ("exact", "cpu", np.float64), ("cpu", "cpu", np.float32), ("device", found, np.float32),
    ):  # fmt: skip
        machine = PottsIsingLM(spec, training, seed=2, device=device, dtype=dtype)
        machine.fit(corpus, Budget(steps=2), until=1)  # rows have been written
        machine.net.couplings |= {
            k: machine.net.device.xp.asarray(w, dtype)
            for k, w in first_couplings(spec, machine.seed).items()
        }
        batch = machine._batch(machine._training_text(corpus), 1)
        statistics, _ = machine.net.statistics(batch, 0.5)
        statistics["alpha"] = machine.net.learn_rows(batch, 0.1)
        moved[key] = {k: host(machine.net.device, w).astype(float) for k, w in statistics.items()}
    for key, exact in moved["exact"].items():
        own, its = (np.linalg.norm(moved[at][key] - exact) for at in ("device", "cpu"))
        assert own <= 4 * its + batch.size**0.5 * 2.0**-24 * np.linalg.norm(exact), key


def sanitizer(tool):
    """Command that checks a program, or a visible skip."""
    found = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(found).exists():
        pytest.skip("compute-sanitizer not found")
    return [found, "--tool", tool, "--error-exitcode", "9", "--target-processes", "all"]


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_sanitizer_finds_no_fault_in_small_requests(name, tool):
    command = sanitizer(tool) if name == GPU else []
    done = subprocess.run(
        [*command, sys.executable, str(ROOT / "tests" / "gpu_trials.py"), name],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"on {name}, wrong: []" in done.stdout


def test_a_sanitizer_that_is_missing_is_a_skip(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(Path, "exists", lambda self: False)
    with pytest.raises(pytest.skip.Exception, match="compute-sanitizer not found"):
        sanitizer("memcheck")
    monkeypatch.setattr(Path, "exists", lambda self: True)
    assert sanitizer("racecheck")[1:3] == ["--tool", "racecheck"]
