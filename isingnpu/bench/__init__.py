"""Benchmarks: throughput of the kernels and time to target, with a peer in the same process.

    throughput = reads * sites * sweeps / t,  in attempted updates per ns
    TTS99 = t_read ln(0.01) / ln(1 - p),      in s, p the share of reads that reach the target

t is CPU time, summed over threads, so a throughput is that of one core. Rivals, samplers of other
packages and our own simpler kernels, get the same instance; their calls alternate with ours,
repeat by repeat. A backend that does not run on the CPU is timed by the wall clock, and so are its
rivals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from isingnpu.archive import FilePath
from isingnpu.backend import get_backend
from isingnpu.bench.cases import SUITES, KernelCase, Options, TargetCase
from isingnpu.bench.ceilings import CEILINGS, CeilingCase, measure_ceiling
from isingnpu.bench.clock import clock_name, clock_of
from isingnpu.bench.critical import CRITICAL, CriticalCase, measure_critical
from isingnpu.bench.kernels import measure_kernel
from isingnpu.bench.peer import WrongEnergy
from isingnpu.bench.points import COVERAGE, POINTS, PointCase, measure_point
from isingnpu.bench.records import Record, append_jsonl, read_jsonl, this_machine
from isingnpu.bench.tables import compare, report, table
from isingnpu.bench.targets import measure_target

__all__ = [
    "SUITES",
    "Record",
    "WrongEnergy",
    "append_jsonl",
    "compare",
    "read_jsonl",
    "report",
    "run_suite",
    "table",
    "this_machine",
]


# Minutes, `critical` beside packages that few have; `ceilings` is about the processor alone.
ON_REQUEST: dict[str, tuple[CriticalCase | PointCase | CeilingCase, ...]] = {
    "critical": CRITICAL,
    "points": POINTS,
    "coverage": COVERAGE,
    "ceilings": CEILINGS,
}
Case = KernelCase | TargetCase | CriticalCase | PointCase | CeilingCase


def run_suite(
    names: Iterable[str],
    *,
    quick: bool = False,
    backend: str = "cpu",
    threads: int = 1,
    repeats: int = 5,
    seed: int = 1,
    progress: Callable[[str], object] | None = None,
    data: FilePath | None = None,
) -> list[Record]:
    """One record per case of the suites or cases in `names`, all of SUITES if there are none.

    quick: tiny instances and few sweeps. seed: of the instances and of the reads. progress: told
    what is measured now. data: folder with gset/, default $ISINGNPU_DATA, then ../shared/data of
    a checkout. A case whose file is missing has a record without a value, and the reason in its
    notes. Raises ValueError for an unknown name, BackendUnavailable, WrongEnergy, Disagreement."""
    for name, value in (("repeats", repeats), ("threads", threads)):
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise ValueError(f"{name} must be a whole number >= 1, got {value}")
    taken = get_backend(backend).name
    options = Options(
        quick=quick,
        backend=taken,
        threads=threads,
        repeats=repeats,
        seed=seed,
        data=None if data is None else Path(data),
        clock=clock_of(taken),
    )
    return [_measure(case, options, progress or (lambda status: None)) for case in _cases(names)]


def _cases(names: Iterable[str]) -> list[Case]:
    suites: dict[str, tuple[Case, ...]] = {**SUITES, **ON_REQUEST}
    by_name = {case.name: case for suite in suites.values() for case in suite}
    chosen: dict[str, Case] = {}
    for name in list(names) or SUITES:
        if name in suites:
            chosen |= {case.name: case for case in suites[name]}
        elif name in by_name:
            chosen[name] = by_name[name]
        else:
            allowed = ", ".join([*SUITES, *by_name, *ON_REQUEST])
            raise ValueError(f"no suite or case is called {name!r}; there are {allowed}")
    return list(chosen.values())


def _measure(case: Case, options: Options, progress: Callable[[str], object]) -> Record:
    progress(f"{case.name} ...")
    try:
        if isinstance(case, CriticalCase):
            return measure_critical(case, options)
        if isinstance(case, PointCase):
            return measure_point(case, options)
        if isinstance(case, CeilingCase):
            return measure_ceiling(case, options)
        if isinstance(case, KernelCase):
            return measure_kernel(case, options)
        return measure_target(case, options)
    except FileNotFoundError as error:
        unit = f"{case.unit} of {clock_name(options.clock)}"
        return Record(case.name, case.metric, unit, notes=(f"not measured: {error}",))
