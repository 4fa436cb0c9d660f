"""Throughput of a plan: updates per ns, without set-up, with rivals in the same process."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu import rng
from isingnpu.backend import Plan, Request, State, get_backend
from isingnpu.bench.cases import KernelCase, Options
from isingnpu.bench.checkerboard import Checkerboard
from isingnpu.bench.clock import clock_name, frequency
from isingnpu.bench.peer import Peer, check_energies, find_peer
from isingnpu.bench.records import Record
from isingnpu.bench.rivals import OwnSweeps, PeerSweeps, Rival
from isingnpu.bonds import request_layout
from isingnpu.dynamics import get_dynamics
from isingnpu.model import IsingModel

Array = NDArray[Any]

SIMPLE, ALONE = "any graph, one read", "one thread"
EXCLUDED = (
    "instance, plan, first spins, compilation; of other packages a call of one sweep, same reads"
)
QUICK_READS, QUICK_SWEEPS = 16, 10


def measure_kernel(case: KernelCase, options: Options) -> Record:
    """The case's record: `repeats` times all sweeps from the same first spins, each followed by
    those of every rival. Raises WrongEnergy if energies of the kernel are not those of its
    spins."""
    if case.processor and os.environ.get("NUMBA_CPU_NAME") != case.processor:
        return _measure_elsewhere(case, options)
    if case.wall and options.clock is time.process_time:
        options = replace(options, clock=time.perf_counter)
    model = case.build(options)
    reads = min(case.reads, QUICK_READS) if options.quick else case.reads
    sweeps = QUICK_SWEEPS if options.quick else case.sweeps
    betas = case.betas(model, sweeps)
    request = request_of(case, model, reads, options)
    plan = get_backend(options.backend).plan(request)
    start = State.at(first_spins(request))
    ours = OwnSweeps("isingnpu", plan, start, betas, options.clock, case.counted)
    rivals, notes = _rivals(case, request, ours, options)
    if case.instance is not None:
        notes.insert(0, case.instance(options))
    speeds = _alternate([ours, *rivals], options.repeats)
    _check(case.name, model, plan, betas)
    ratios = _ratios(speeds, notes)
    value, clock = float(np.median(speeds["isingnpu"])), clock_name(options.clock)
    ghz = frequency() if clock == "CPU time" else None
    return Record(
        case=case.name,
        metric=case.metric,
        unit=f"{case.unit} of {clock}",
        value=value,
        low=min(speeds["isingnpu"]),
        high=max(speeds["isingnpu"]),
        cycles=np.nan if ghz is None else ghz / value,
        ratio_to={name: float(np.median(of)) for name, of in ratios.items()},
        ratio_range={name: (min(of), max(of)) for name, of in ratios.items()},
        n=model.n,
        edges=model.n_edges,
        replicas=reads,
        sweeps=sweeps,
        repeats=options.repeats,
        backend=options.backend,
        kernel=plan.kernel,
        layout=request.layout.version,
        threads=request.threads,
        seed=options.seed,
        quick=options.quick,
        samples=tuple(speeds["isingnpu"]),
        excluded=EXCLUDED,
        notes=tuple(notes),
    )


def _measure_elsewhere(case: KernelCase, options: Options) -> Record:
    """The record of a child process whose code is for another processor."""
    arguments = [case.name, "--json", "--backend", options.backend, "--seed", str(options.seed)]
    arguments += ["--repeats", str(options.repeats), *(["--quick"] if options.quick else [])]
    environment = os.environ | {"NUMBA_CPU_NAME": case.processor, "NUMBA_CPU_FEATURES": ""}
    child = subprocess.run(
        [sys.executable, "-m", "isingnpu", "bench", *arguments],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if child.returncode:
        return Record(
            case.name, case.metric, case.unit, notes=(f"not measured: {child.stderr.strip()}",)
        )
    record = Record.from_json(json.loads(child.stdout)["records"][0])
    return replace(record, notes=(*record.notes, f"code for {case.processor}, in a child process"))


def request_of(case: KernelCase, model: IsingModel, reads: int, options: Options) -> Request:
    """What a case asks of a backend."""
    dynamics = get_dynamics(case.dynamics, case.clusters)
    return Request(
        model=model,
        dynamics=dynamics,
        replicas=range(reads),
        seed=options.seed,
        layout=request_layout(model, dynamics, reads, case.layout, None),
        rounds=case.rounds,
        threads=case.threads or options.threads,
        kernel=case.kernel,
    )


def first_spins(request: Request) -> Array:
    """Random, but all up for clusters, which would stay small for many sweeps."""
    if request.dynamics.moves_clusters:
        return np.ones((len(request.replicas), request.model.n), np.int8)
    return rng.initial_spins(request.replicas, request.model.n, request.seed)


def _rivals(
    case: KernelCase, request: Request, ours: OwnSweeps, options: Options
) -> tuple[list[Rival], list[str]]:
    """All that can be timed here, and why the others cannot."""
    backend = get_backend(options.backend)
    rivals: list[Rival] = []
    notes: list[str] = []
    if case.simple_sweeps and options.backend == "cpu":
        some = np.linspace(0, len(ours.betas) - 1, case.simple_sweeps).astype(np.int64)
        one = replace(request, kernel="scalar", replicas=request.replicas[:1])
        start = State.at(ours.start.spins[:1])
        plan = backend.plan(one)
        rivals.append(OwnSweeps(SIMPLE, plan, start, ours.betas[some], ours.clock))
    if case.checkerboard:
        size = math.isqrt(request.model.n)
        state = ours.start.spins[0].reshape(size, size).copy()
        rivals.append(Checkerboard(state, ours.betas[:4], ours.clock))
    if request.threads > 1:
        plan = backend.plan(replace(request, threads=1))
        rivals.append(OwnSweeps(ALONE, plan, ours.start, ours.betas, ours.clock))
    for name in case.peers:
        peer = find_peer(case.name, request.model, options.clock, name)
        if isinstance(peer, Peer):
            rivals.append(PeerSweeps(peer, ours.betas, case.peer_reads, options.seed))
        else:
            notes.append(peer)
    return rivals, notes


def _alternate(contenders: Sequence[Rival], repeats: int) -> dict[str, list[float]]:
    """Speeds of each contender, which take turns in every repeat."""
    for contender in contenders:
        if isinstance(contender, OwnSweeps):
            contender.warm()
    speeds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(repeats):
        for contender in contenders:
            speeds[contender.name].append(contender.speed())
    return speeds


def _ratios(speeds: dict[str, list[float]], notes: list[str]) -> dict[str, list[float]]:
    """Ours over each rival's, repeat by repeat; a note for a rival without a speed."""
    ratios = {}
    for name, theirs in speeds.items():
        if name == "isingnpu":
            continue
        if np.all(np.isfinite(theirs)):
            ratios[name] = [a / b for a, b in zip(speeds["isingnpu"], theirs, strict=True)]
        else:
            notes.append(f"no ratio to {name}: its sweeps drown in the noise of its set-up")
    return ratios


def _check(case: str, model: IsingModel, plan: Plan, betas: Array) -> None:
    """One more sweep, after which the kernel's energies must be those of its spins. It keeps
    local fields from sweep to sweep, so this covers the sweeps that were timed."""
    measured = plan.sweep(betas[-1:], first=len(betas), every=1)
    energies = model.quantized.quantum * measured.energy[:, -1] + model.offset
    check_energies(case, plan.kernel, model, plan.state().spins, energies)
