"""Critical points that are known, found within a time: how small the error is, how honest.

    rate = 1 / (sigma^2 t),    pull = (beta_c - known) / sigma

sigma: the error that `find_beta_c` states, t: the wall time of the call. Of many calls the pulls
should have standard deviation 1 and 68 % of them lie within 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from isingnpu import disorder, lattice
from isingnpu.bench.cases import Options
from isingnpu.bench.records import Record
from isingnpu.criticality import CriticalPoint, find_beta_c, quotient
from isingnpu.model import IsingModel
from isingnpu.statistics import Refusal

QUICK_SECONDS = 1.0
QUICK_SIZES = (4, 6, 8)
EXCLUDED = "building the models and their Bethe bound, compilation"


@dataclass(frozen=True)
class PointCase:
    """`calls` calls of find_beta_c(family, sizes) of `seconds` each per repeat, seeds counted up.

    instances: of a random graph, for which `family` takes (size, instance)."""

    metric: ClassVar[str] = "throughput"
    unit: ClassVar[str] = "sigma^-2 per s of wall time"

    name: str
    family: Callable[..., IsingModel]
    sizes: tuple[int, ...]
    universality: str | None = None
    seconds: float = 60.0
    instances: int | None = None
    calls: int = 1


def _anisotropic(size: int) -> IsingModel:
    return lattice.square(size, Jx=1, Jy=0.5)


def _cubic_graph(size: int, instance: int) -> IsingModel:
    return disorder.random_regular(size, 3, seed=instance)


def _quartic_graph(size: int, instance: int) -> IsingModel:
    return disorder.random_regular(size, 4, seed=instance)


PLANE, SMALLER = (12, 24, 48, 96), (8, 16, 32, 64)
GRAPHS = (256, 512, 1024, 2048)
POINTS = (
    PointCase("beta-c-square", lattice.square, PLANE),
    PointCase("beta-c-square-ising", lattice.square, (16, 32, 64), "ising"),
    PointCase("beta-c-cubic-ising", lattice.cubic, (8, 12, 16, 24), "ising"),
    PointCase("beta-c-triangular", lattice.triangular, SMALLER),
    PointCase("beta-c-honeycomb", lattice.honeycomb, SMALLER),
    PointCase("beta-c-kagome", lattice.kagome, SMALLER),
    PointCase("beta-c-anisotropic", _anisotropic, PLANE),
    PointCase("beta-c-regular3", _cubic_graph, GRAPHS, "mean-field", instances=16),
    PointCase("beta-c-regular4", _quartic_graph, GRAPHS, "mean-field", instances=16),
)
COVERAGE = (PointCase("coverage-square", lattice.square, (8, 16, 32), seconds=5.0, calls=100),)


def measure_point(case: PointCase, options: Options) -> Record:
    """The case's record: one sample per call that was answered. Refusals of find_beta_c are
    counted if there are fewer of them than answers, else the last one is raised."""
    calls = 1 if options.quick else case.calls * options.repeats
    points, refused = [], []
    for k in range(calls):
        try:
            points.append(_found(case, options, options.seed + k))
        except Refusal as refusal:
            refused.append(refusal)
    if len(refused) >= max(len(points), 1):
        raise refused[-1]
    samples = [1 / (p.beta_c.error**2 * p.seconds) for p in points]
    last = points[-1]
    first = () if case.instances is None else (0,)
    largest = case.family(last.sizes[-1], *first)
    return Record(
        case=case.name,
        metric=case.metric,
        unit=case.unit,
        value=float(np.median(samples)),
        low=min(samples),
        high=max(samples),
        n=largest.n,
        edges=largest.n_edges,
        replicas=case.instances or 1,
        sweeps=max(last.sweeps),
        repeats=len(points),
        backend=options.backend,
        kernel=" and ".join(dict.fromkeys(last.dynamics)),
        layout=f"sizes {' '.join(map(str, last.sizes))}",
        threads=options.threads,
        seed=options.seed,
        quick=options.quick,
        samples=tuple(samples),
        excluded=EXCLUDED,
        notes=(*_notes(points), *(f"refused: {refusal}" for refusal in refused)),
    )


def _found(case: PointCase, options: Options, seed: int) -> CriticalPoint:
    graph = case.instances is not None
    sizes = QUICK_SIZES if options.quick and not graph else case.sizes
    return find_beta_c(
        case.family, sizes, budget_s=QUICK_SECONDS if options.quick else case.seconds,
        universality=case.universality, instances=case.instances, seed=seed,
        backend=options.backend, threads=options.threads,
    )  # fmt: skip


def _exponents(point: CriticalPoint) -> str:
    """nu and eta of a lattice from the same samples, or why not."""
    if math.isnan(point.histograms[0].box.k):
        return ""
    try:
        found = quotient.exponents(point)
    except Refusal as error:
        return f"; no exponents: {error}"
    return f"; nu = {found.nu}, eta = {found.eta} (p = {found.p:.2g})"


def _notes(points: Sequence[CriticalPoint]) -> list[str]:
    """What was found; of ten calls and more, how their errors cover."""
    if len(points) < 10:
        return [
            f"{p}; sigma = {p.beta_c.error:.2g} (statistical {p.statistical:.2g}, systematic "
            f"{p.systematic:.2g}), sigma / beta_c = {p.beta_c.error / p.beta_c.value:.2g}, "
            f"{p.seconds:.3g} s{_exponents(p)}"
            for p in points
        ]
    pulls = np.array([p.sigmas for p in points])
    covered = int((np.abs(pulls) < 1).sum())
    return [
        f"{covered} of {len(pulls)} intervals of one sigma cover the known value; pulls: mean "
        f"{pulls.mean():.2f}, standard deviation {pulls.std(ddof=1):.2f}, largest "
        f"{np.abs(pulls).max():.2f}; median sigma "
        f"{np.median([p.beta_c.error for p in points]):.2g}; p of the fit below 0.1 in "
        f"{sum(p.fit.p < 0.1 for p in points)}"
    ]
