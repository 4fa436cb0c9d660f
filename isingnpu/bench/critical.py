"""CPU time to equal error at the critical point of the square lattice, beside other packages.

    v = sum_b t_b r_b^2 / (blocks - 1),    sigma^2 = v / t,    rate = 1 / v

t_b: seconds of block b, t = sum_b t_b; r_b: by how much the block moves the estimate, which for
U4 = 1 - <m^4> / (3 <m^2>^2) is its first-order change. The rate, precision 1 / sigma^2 per second,
does not depend on how long a chain is or how it is cut; the ratio of two rates is the ratio of the
times to the same error. The error of v is that of the mean of t_b r_b^2.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from isingnpu import exact
from isingnpu.bench.cases import Options
from isingnpu.bench.chains import (
    PEAPODS,
    SPINMC,
    Blocks,
    Chains,
    OwnChains,
    Peapods,
    Recipe,
    Spinmc,
)
from isingnpu.bench.clock import clock_name
from isingnpu.bench.records import Record
from isingnpu.criticality.estimators import binder
from isingnpu.statistics import Estimate

Array = NDArray[np.float64]

U4, ENERGY = "U4", "e"
MAX_SIGMAS = 5.0  # between two packages, or from the exact energy: 6e-7 by chance
EXCLUDED = (
    "instance, compilation, burn-in of every package; start, input and output of ALPS spinmc"
)
PACKAGES = {PEAPODS: "peapods", SPINMC: "pyalps"}


class Disagreement(Exception):
    """Chains of one temperature differ: they are not timed on the same problem."""

    def __init__(self, case: str, name: str, got: Estimate, other: str, value: float) -> None:
        super().__init__(f"{case}: {name} gives {got}, {other} {value!r}")
        self.case, self.name, self.got, self.other, self.value = case, name, got, other, value


@dataclass(frozen=True)
class CriticalCase:
    """A square lattice of size^2 sites at its beta_c; `recipes` of ours, the first of which is
    compared with the others and with `peers`.

    peer_calls: blocks of 250 sweeps of each of the 16 chains of peapods per repeat."""

    metric: ClassVar[str] = "throughput"

    name: str
    size: int
    observable: str
    recipes: Mapping[str, Recipe]
    peers: tuple[str, ...]
    peer_calls: int

    @property
    def unit(self) -> str:
        return f"sigma({self.observable})^-2 per s"


# At L = 32 m^2 has tau = 40 sweeps of Metropolis; 1 / <m^2> Wolff clusters flip all sites once.
PLANES = Recipe("metropolis", 512, every=32, samples=800, burn_in=5000)
CRITICAL = (
    CriticalCase(
        "binder-32",
        32,
        U4,
        {
            "Metropolis": PLANES,
            "Wolff": Recipe("wolff", 64, 1, samples=2000, burn_in=200, clusters=2, blocks=8),
        },
        (PEAPODS, SPINMC),
        peer_calls=16,
    ),
    CriticalCase(
        "binder-128",
        128,
        U4,
        {"Wolff": Recipe("wolff", 64, 1, samples=900, burn_in=300, clusters=3, blocks=3)},
        (PEAPODS,),
        peer_calls=6,
    ),
    CriticalCase(
        "energy-64",
        64,
        ENERGY,
        {"Wolff": Recipe("wolff", 64, 1, samples=1200, burn_in=300, clusters=2, blocks=4)},
        (PEAPODS,),
        peer_calls=6,
    ),
)
QUICK_SIZE, QUICK_SAMPLES = 8, 40
# Of peapods, chains; of spinmc, runs and their sweeps, five times as many as it makes at least.
STREAMS, SPINMC_RUNS, SPINMC_SWEEPS = 16, 4, 24_000
QUICK_RUNS, QUICK_SWEEPS = 2, 300_000


def responses(observable: str, blocks: Blocks) -> tuple[float, Array]:
    """The estimate and r (blocks,), the change of it by each block to first order; the mean of r
    weighted by seconds is 0."""
    weights = blocks.seconds / blocks.seconds.sum()
    centre = blocks.means @ weights
    energy, m2, m4 = blocks.means - centre[:, None]
    if observable == ENERGY:
        return float(centre[0]), energy
    slope = 2 * centre[2] / (3 * centre[1] ** 3)
    return float(binder(centre[1], centre[2])), slope * m2 - m4 / (3 * centre[1] ** 2)


def variance_time(observable: str, blocks: Blocks) -> Estimate:
    """v = sigma^2 t, in s: the variance of the estimate times the seconds it took."""
    terms = blocks.seconds * responses(observable, blocks)[1] ** 2
    n = terms.size
    return Estimate(terms.sum() / (n - 1), terms.std(ddof=1) / math.sqrt(n), n_eff=n)


def estimate(observable: str, blocks: Blocks) -> Estimate:
    """The observable with its error."""
    value = responses(observable, blocks)[0]
    error = math.sqrt(variance_time(observable, blocks).value / blocks.seconds.sum())
    return Estimate(value, error, n_eff=blocks.seconds.size)


def check(case: str, size: int, beta: float, blocks: Mapping[str, Blocks]) -> None:
    """Raises Disagreement if an energy is not that of the torus (Kaufman), or two U4 differ."""
    expected = exact.kaufman(size, size, beta).energy_per_site
    values: list[tuple[str, Estimate]] = []
    for name, made in blocks.items():
        energy = estimate(ENERGY, made)
        if abs(energy.sigmas(expected)) > MAX_SIGMAS:
            raise Disagreement(case, name, energy, "the exact energy is", expected)
        cumulant = estimate(U4, made)
        for other, value in values:
            if abs(cumulant.sigmas(value.value, value.error)) > MAX_SIGMAS:
                raise Disagreement(case, name, cumulant, other, value.value)
        values.append((name, cumulant))


def measure_critical(case: CriticalCase, options: Options) -> Record:
    """The case's record: samples are rates, one per repeat; in every repeat all chains advance in
    turn. Raises Disagreement."""
    size = QUICK_SIZE if options.quick else case.size
    beta = exact.critical_beta_square((1.0, 1.0))
    ours = [_start(case, name, size, beta, options) for name in case.recipes]
    peers, notes = _peers(case, size, beta, options)
    parts: dict[str, list[Blocks]] = {}
    for _ in range(options.repeats):
        for each in (*ours, *peers):
            parts.setdefault(each.name, []).append(each.advance())
    pooled = {name: sum(made[1:], made[0]) for name, made in parts.items()}
    check(case.name, size, beta, pooled)
    rates = {
        name: [1 / variance_time(case.observable, made).value for made in some]
        for name, some in parts.items()
    }
    return _record(case, options, ours[0], rates, [*_descriptions(case, pooled), *notes])


def _record(
    case: CriticalCase,
    options: Options,
    ours: OwnChains,
    rates: Mapping[str, list[float]],
    notes: Sequence[str],
) -> Record:
    samples, recipe, run = rates[ours.name], ours.recipe, ours.run
    ratios = {
        name: [a / b for a, b in zip(samples, theirs, strict=True)]
        for name, theirs in rates.items()
        if name != ours.name
    }
    return Record(
        case=case.name,
        metric=case.metric,
        unit=f"{case.unit} of {clock_name(options.clock)}",
        value=float(np.median(samples)),
        low=min(samples),
        high=max(samples),
        ratio_to={name: float(np.median(of)) for name, of in ratios.items()},
        ratio_range={name: (min(of), max(of)) for name, of in ratios.items()},
        n=run.model.n,
        edges=run.model.n_edges,
        replicas=recipe.replicas,
        sweeps=recipe.samples * recipe.every,
        repeats=options.repeats,
        backend=options.backend,
        kernel=run.provenance["kernel"],
        layout=run.settings.layout,
        threads=options.threads,
        seed=options.seed,
        quick=options.quick,
        samples=tuple(samples),
        excluded=EXCLUDED,
        notes=tuple(notes),
    )


def _start(case: CriticalCase, name: str, size: int, beta: float, options: Options) -> OwnChains:
    recipe = case.recipes[name]
    if options.quick:
        recipe = replace(recipe, samples=QUICK_SAMPLES, blocks=1)
    return OwnChains.start(
        name, size, beta, recipe, options.clock, seed=options.seed, backend=options.backend,
        threads=options.threads,
    )  # fmt: skip


def _peers(
    case: CriticalCase, size: int, beta: float, options: Options
) -> tuple[list[Chains], list[str]]:
    """The other packages, and why one is missing."""
    if options.backend not in ("cpu", "reference"):
        return [], [f"no ratio to {', '.join(case.peers)}: they are timed beside the CPU only"]
    runs, sweeps = SPINMC_RUNS, SPINMC_SWEEPS
    if options.quick:
        runs, sweeps = QUICK_RUNS, QUICK_SWEEPS
    made: list[Chains] = []
    notes = []
    for name in case.peers:
        try:
            if name == PEAPODS:
                made.append(
                    Peapods.start(
                        size, beta, options.clock,
                        streams=STREAMS, sweeps=250, calls=case.peer_calls,
                    )
                )  # fmt: skip
            else:
                made.append(Spinmc(size, beta, sweeps, runs, options.seed % (1 << 30)))
        except ImportError as error:
            notes.append(f"no ratio to {name}: {error}; pip install 'isingnpu[peers]'")
    return made, notes


def _descriptions(case: CriticalCase, pooled: Mapping[str, Blocks]) -> Sequence[str]:
    """What each found, and the ratio of all its blocks with its standard error."""
    lines = []
    ours: Estimate | None = None
    for name, blocks in pooled.items():
        v = variance_time(case.observable, blocks)
        root = Estimate(math.sqrt(v.value), v.error / (2 * math.sqrt(v.value)))
        package = PACKAGES.get(name)
        version = f" ({package} {importlib.metadata.version(package)})" if package else ""
        lines.append(
            f"{name}{version}: U4 = {estimate(U4, blocks)}, e = {estimate(ENERGY, blocks)}, "
            f"sigma({case.observable}) sqrt(s) = {root} in {blocks.seconds.sum():.3g} s"
        )
        if ours is None:
            ours = v
        else:
            ratio = v.value / ours.value
            error = ratio * math.hypot(v.error / v.value, ours.error / ours.value)
            lines[-1] += f", {Estimate(ratio, error)} times the time for the same error"
    return lines
