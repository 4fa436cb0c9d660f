"""Throughput of a plan: attempted updates per ns, without set-up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu import rng
from isingnpu.backend import Plan, Request, State, get_backend
from isingnpu.bench.cases import KernelCase, Options
from isingnpu.bench.clock import clock_name, timed
from isingnpu.bench.peer import NAME, Peer, check_energies, find_peer
from isingnpu.bench.records import Record
from isingnpu.dynamics import METROPOLIS
from isingnpu.layout import choose_layout
from isingnpu.model import IsingModel
from isingnpu.schedule import glass_scale

Array = NDArray[Any]

HOT, COLD = 0.2, 3.0  # beta sigma at the ends of the linear range
EXCLUDED = f"instance, plan, first spins, compilation; of {NAME} a call of one sweep, same reads"
QUICK_READS, QUICK_SWEEPS = 16, 10


def measure_kernel(case: KernelCase, options: Options) -> Record:
    """The case's record: `repeats` times all sweeps from the same first spins, each followed by
    the peer's. Raises WrongEnergy if the energies of the kernel are not those of its spins."""
    model = case.build(options)
    reads = min(case.reads, QUICK_READS) if options.quick else case.reads
    sweeps = QUICK_SWEEPS if options.quick else case.sweeps
    betas = np.linspace(HOT, COLD, sweeps) / glass_scale(model)
    request = _request(case, model, reads, options)
    plan = get_backend(options.backend).plan(request)
    peer = find_peer(case.name, model, options.clock)
    speeds, ratios = _alternate(case, options, request, plan, betas, peer)
    _check(case.name, model, plan, betas)
    notes = [] if isinstance(peer, Peer) else [peer]
    if ratios and min(ratios) <= 0:
        ratios = []
        notes.append(f"no ratio to {NAME}: its sweeps drown in the noise of its set-up")
    return Record(
        case=case.name,
        metric=case.metric,
        unit=f"{case.unit} of {clock_name(options.clock)}",
        value=float(np.median(speeds)),
        low=min(speeds),
        high=max(speeds),
        ratio_to={NAME: float(np.median(ratios))} if ratios else {},
        ratio_range={NAME: (min(ratios), max(ratios))} if ratios else {},
        n=model.n,
        edges=model.n_edges,
        replicas=reads,
        sweeps=sweeps,
        repeats=options.repeats,
        backend=options.backend,
        kernel=plan.kernel,
        layout=request.layout.version,
        threads=options.threads,
        seed=options.seed,
        quick=options.quick,
        samples=tuple(speeds),
        excluded=EXCLUDED,
        notes=tuple(notes),
    )


def _request(case: KernelCase, model: IsingModel, reads: int, options: Options) -> Request:
    layout = choose_layout(model, reads, case.layout)
    seed, threads = options.seed, options.threads
    return Request(model, METROPOLIS, range(reads), seed, layout, case.rounds, threads)


def _alternate(
    case: KernelCase,
    options: Options,
    request: Request,
    plan: Plan,
    betas: Array,
    peer: Peer | str,
) -> tuple[list[float], list[float]]:
    """Updates/ns of each repeat, and its ratio to the peer's, which follows in the same repeat."""
    n, reads = request.model.n, len(request.replicas)
    start = State.at(rng.initial_spins(request.replicas, n, options.seed))
    plan.load(start)
    plan.sweep(betas[:1], first=0)  # compiles
    speeds, ratios = [], []
    for _ in range(options.repeats):
        plan.load(start)
        seconds, _ = timed(options.clock, lambda: plan.sweep(betas, first=0))
        speeds.append(1e-9 * reads * n * len(betas) / seconds)
        if isinstance(peer, Peer):
            seconds = peer.sweep_seconds(betas, case.peer_reads, options.seed)
            ratios.append(1e9 * speeds[-1] * seconds / (case.peer_reads * n * (len(betas) - 1)))
    return speeds, ratios


def _check(case: str, model: IsingModel, plan: Plan, betas: Array) -> None:
    """One more sweep, after which the kernel's energies must be those of its spins. It keeps
    local fields from sweep to sweep, so this covers the sweeps that were timed."""
    measured = plan.sweep(betas[-1:], first=len(betas), every=1)
    energies = model.quantized.quantum * measured.energy[:, -1] + model.offset
    check_energies(case, plan.kernel, model, plan.state().spins, energies)
