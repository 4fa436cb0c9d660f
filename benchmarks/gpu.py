"""`python -m benchmarks gpu`: one GPU, in at most eight minutes, as one line of records.

    python -m benchmarks gpu [CASE ...] [--backend cuda:1] [--seconds 480] [--quick] [--out FILE]

First the ceilings, copy bandwidth and integer throughput, then the kernels over sizes and variants
and a machine that reads text, for two seconds each, with the joules of the board. Where no GPU can
be used, the model that counts instructions is printed instead.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import FOLDER, ceilings, model, slug
from benchmarks.gpu_cases import CASES, CPU_SWEEPS, LONG, TEXTS
from benchmarks.gpu_text import CORE, measure_text
from benchmarks.nvml import WINDOW, Board, find_board, idle_watts, watch
from isingnpu import bench
from isingnpu.backend import State, find_backend, get_backend
from isingnpu.bench import kernels
from isingnpu.bench.cases import KernelCase, Options
from isingnpu.bench.peer import check_energies
from isingnpu.bench.records import Record
from isingnpu.bench.rivals import OwnSweeps

QUICK_READS, QUICK_SWEEPS, QUICK_WINDOW = 3, 2, 0.01
CALL = 0.2  # s of sweeps in one call
SPARE = 60.0  # s that a case may take, or as LONG says; none begins later than that before the end


def main(arguments: Sequence[str]) -> int:
    """Exit status."""
    a = _parser().parse_args(arguments)
    reason = find_backend(a.backend).unavailable()
    if reason is not None:
        print(f"not measured, backend {a.backend!r}: {reason}\n\n{model.table()}")
        return 0
    records, machine = measure_all(
        a.case, a.backend, seconds=a.seconds, quick=a.quick, seed=a.seed, progress=print
    )
    print(bench.table(records))
    out = a.out or (None if a.quick else FOLDER / "results" / f"{slug(machine['device'])}.jsonl")
    if out is not None:
        bench.append_jsonl(out, records, machine, at=a.commit)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks gpu", description=__doc__)
    parser.add_argument("case", nargs="*", help="cases or ceilings (default: all)")
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--seconds", type=float, default=480.0, help="end after (default 480)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: tests the benchmark")
    parser.add_argument("--out", type=Path, help="append to this file")
    parser.add_argument("--commit", help="of a copy that lacks .git (default: of the checkout)")
    return parser


def measure_all(
    names: Sequence[str],
    backend: str,
    *,
    seconds: float,
    quick: bool,
    seed: int,
    progress: Callable[[str], object],
) -> tuple[list[Record], dict[str, Any]]:
    """Records of the ceilings and cases of these names, all if there are none, and the machine.

    Raises ValueError for an unknown name."""
    end = time.monotonic() + seconds
    by_name = {case.name: case for case in CASES}
    texts = {case.name: case for case in TEXTS}
    known = [*ceilings.NAMES, *by_name, *texts]
    for name in names:
        if name not in known:
            allowed = ", ".join(known)
            raise ValueError(f"no case is called {name!r}; there are {allowed}")
    device: Any = getattr(get_backend(backend), "device")  # noqa: B009  of cuda backends alone
    board = find_board(device)
    device.get(device.zeros((1,), np.uint8))  # the context draws power too
    window = QUICK_WINDOW if quick else WINDOW
    idle = idle_watts(board, window)
    machine = bench.this_machine() | {"device": device.properties.name}
    if isinstance(board, Board):
        machine |= board.describe() | {"idle W": idle}
    options = Options(quick, backend, 1, 1, seed, None, time.perf_counter)
    records = []
    for name in names or known:
        if time.monotonic() > end - (0.0 if quick else LONG.get(name, SPARE)):
            note = f"not measured: {seconds:g} s were over"
            records.append(Record(name, "throughput", "updates/ns of wall time", notes=(note,)))
            continue
        progress(f"{name} ...")
        if name in ceilings.NAMES:
            made = ceilings.measure_ceiling(name, device, window, board, idle, quick)
        elif name in texts:
            made = measure_text(
                texts[name], device, backend, window, board, idle, seed=seed, quick=quick
            )
        else:
            made = _measured_or_why(by_name[name], options, window, board, idle)
        records.append(made)
    return records, machine


def _measured_or_why(case: KernelCase, *rest: Any) -> Record:
    """The record of a case, or that it found no room."""
    try:
        return measure_case(case, *rest)
    except MemoryError as error:
        note = f"not measured: {error}"
        return Record(case.name, case.metric, "updates/ns of wall time", notes=(note,))


def measure_case(
    case: KernelCase, options: Options, seconds: float, board: Board | str, idle: float | None
) -> Record:
    """The record of a case; its energies are checked, WrongEnergy if they are not its spins'."""
    ising = case.build(options)
    reads = min(case.reads, QUICK_READS) if options.quick else case.reads
    sweeps = QUICK_SWEEPS if options.quick else case.sweeps
    request = kernels.request_of(case, ising, reads, options)
    plan, betas = get_backend(options.backend).plan(request), case.betas(ising, sweeps)
    start = State.at(kernels.first_spins(request))
    plan.load(start)
    done = 0

    def call(times: int) -> float:
        nonlocal done
        measured = plan.sweep(np.tile(betas, times), first=done)
        done += len(betas) * times
        return float(measured.counts.attempted)

    times = ceilings.calls_that_last(call, 0.0 if options.quick else CALL)
    window = watch(lambda: call(times), seconds, board)
    _check(case, plan, betas, done)
    numbers, notes = ceilings.numbers(window), (window.describe(idle),)
    ratio_to, ratio_range = {}, {}
    if case.name in CPU_SWEEPS:
        core = _core_speed(case, request, start, betas, options.quick)
        ratio_to = {CORE: numbers["value"] / core}
        ratio_range = {CORE: (numbers["low"] / core, numbers["high"] / core)}
    return Record(
        case=case.name,
        metric=case.metric,
        unit="updates/ns of wall time",
        **numbers,
        ratio_to=ratio_to,
        ratio_range=ratio_range,
        n=ising.n,
        edges=ising.n_edges,
        replicas=reads,
        sweeps=len(betas) * times,
        backend=options.backend,
        kernel=plan.kernel,
        layout=request.layout.version,
        seed=options.seed,
        quick=options.quick,
        excluded="instance, plan, first spins, compilation",
        notes=notes,
    )


def _check(case: KernelCase, plan: Any, betas: Any, done: int) -> None:
    """Energies of the kernel are those of its spins, of the first reads of large requests."""
    model = plan.request.model
    measured = plan.sweep(betas[-1:], first=done, every=1)
    some = max(1, (1 << 26) // max(1, model.n))
    energies = model.quantized.quantum * measured.energy[:some, -1] + model.offset
    check_energies(case.name, plan.kernel, model, plan.state().spins[:some], energies)


def _core_speed(case: KernelCase, request: Any, start: State, betas: Any, quick: bool) -> float:
    """Updates per ns of CPU time of the cpu backend, on the same request."""
    sweeps = 1 if quick else CPU_SWEEPS[case.name]
    some = betas[np.linspace(0, len(betas) - 1, sweeps).astype(int)]
    plan = get_backend("cpu").plan(replace(request, threads=1))
    core = OwnSweeps(CORE, plan, start, some, time.process_time)
    core.warm()
    return core.speed()
