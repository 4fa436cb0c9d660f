"""beta_c of a ferromagnet from the crossing of finite-size ratios, with its error.

Bethe bound -> search and survey (`pilot`) -> production at one beta -> reweighting -> fit (`fit`)
-> a CriticalPoint, or a refusal that says what is missing. Nothing is assumed of beta_c; of the
crossing values only if the universality class is given. The exponents nu and omega are those of
the Ising class in the lattice's dimension, or of mean field for random graphs, whose size is the
number of sites.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from isingnpu import rng
from isingnpu.backend import get_backend
from isingnpu.criticality.chains import MAX_DIFFERENCE, Clock, Sampler, start_difference
from isingnpu.criticality.estimators import Histogram
from isingnpu.criticality.fit import REACH, Located, locate
from isingnpu.criticality.pilot import Survey, search, survey
from isingnpu.criticality.production import SHORTEST, Chains, produce
from isingnpu.criticality.refusals import OutOfRange, SmallBudget, StartRemembered
from isingnpu.criticality.requirements import (
    Family,
    build_systems,
    exponents,
    family_of,
    known_ratios,
    lower_bound,
)
from isingnpu.criticality.result import CriticalPoint, Quality, crossings, curves
from isingnpu.criticality.universal import CriticalRatios, Universality
from isingnpu.dynamics import get_dynamics
from isingnpu.statistics import Estimate, Refusal, ShortChain


def find_beta_c(
    family: Family,
    sizes: Sequence[int] | None = None,
    *,
    budget_s: float = 20.0,
    universality: str | None = None,
    instances: int | None = None,
    sweeps: Sequence[int] | None = None,
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    backend: str = "auto",
    threads: int | None = None,
    progress: Callable[[str], object] | None = None,
) -> CriticalPoint:
    """beta_c of a two- or three-dimensional periodic ferromagnet, or of random graphs.

    family: a name in isingnpu.families.FAMILIES, or a function size -> IsingModel; with
    `instances`, (size, instance) -> IsingModel, of which so many are averaged (random graphs; 16
    of a named family). sizes: at least three, increasing, >= 4; linear extents, or numbers of
    sites of a graph; a span of a factor 4 or more pays; a named family has default ones.
    universality: None fits the crossing values R*; "ising" takes those of the Ising class on this
    box where they are known, "mean-field" that of random graphs, and for a graph of no known
    class also says that it is of that class. budget_s: wall time of the call (compiling apart).
    sweeps: production sweeps per size instead, for a result that depends on nothing but the
    arguments; `CriticalPoint.sweeps` reproduces a timed one. progress: called with a line of text
    now and then.
    Raises ValueError for what is not allowed; refuses with NoTransition, Unsupported,
    NoCrossing, OutOfRange, BadFit, StartRemembered, ShortChain and SmallBudget.
    """
    check_effort(budget_s, sweeps)
    taken = get_backend(backend, get_dynamics("wolff"))
    systems = [s.on(taken) for s in build_systems(family, sizes, universality, instances)]
    if sweeps is not None and len(sweeps) != len(systems):
        raise ValueError(f"sweeps must be one for each of {len(systems)} sizes, got {sweeps}")
    model = systems[0].models[0]
    lattice = family if isinstance(family, str) else family_of(model)
    fixed, scaling = known_ratios(model, universality), exponents(model)
    bound = lower_bound(model, lattice)
    key, name = rng.as_seed(seed), taken.name
    Sampler(key, name, threads, Clock(math.inf)).compile(systems[0], bound)
    sampler = Sampler(key, name, threads, Clock(budget_s if sweeps is None else math.inf))

    def tell(stage: str, now: str) -> None:
        if progress is not None:
            progress(f"{stage}, {sampler.clock.elapsed:.0f} s: {now}")

    beta = search(systems[:2], sampler, scaling, bound)
    tell("search", f"crossing near {beta:.4g}")
    surveys, beta = survey(systems, beta, sampler, scaling)
    tell("survey", f"crossing near {beta:.5g}")

    def after_round(chains: list[Chains]) -> None:
        if progress is not None:
            tell("production", _status(chains, scaling, fixed))

    chains = produce(surveys, beta, scaling, sampler, sweeps, after_round, fixed)
    located = accept(chains, surveys, scaling, sampler.clock, fixed)
    return _result(lattice, chains, surveys, located, sampler, scaling, fixed, bound)


def _status(
    chains: Sequence[Chains], universality: Universality, fixed: CriticalRatios | None
) -> str:
    """beta_c so far, for a progress line."""
    try:
        now = locate(_histograms(chains), chains[0].histogram.beta, universality, fixed)
    except Refusal:
        return "no fit yet"
    return f"beta_c = {Estimate(now.fit.beta_c, now.error)}"


def accept(
    chains: Sequence[Chains],
    surveys: Sequence[Survey],
    universality: Universality,
    clock: Clock,
    fixed: CriticalRatios | None = None,
) -> Located:
    """The fit, after every check that could make it a wrong answer.

    Raises StartRemembered (hot and cold differ), ShortChain (less than SHORTEST tau), BadFit,
    SmallBudget (error L_max^(1/nu) > REACH / 2),
    OutOfRange (|beta_c - beta| L_max^(1/nu) > REACH).
    """
    for made, long in zip(surveys, chains, strict=True):
        samples, tau = long.sweeps // made.every, made.tau.value / made.every
        sigmas = start_difference(long.histogram, len(long.runs))
        if sigmas > MAX_DIFFERENCE:
            raise StartRemembered(sigmas, long.sweeps)
        if samples < SHORTEST * tau:
            raise ShortChain(tau, samples, math.ceil(max(2 * samples, SHORTEST * tau)))
    histograms = _histograms(chains)
    largest = histograms[-1]
    located = locate(histograms, largest.beta, universality, fixed)
    scale = largest.box.size ** (1 / universality.nu)
    excess = 2 * located.fit.error * scale / REACH
    if excess > 1:
        spent = clock.elapsed
        raise SmallBudget(min(clock.seconds, spent), 1.5 * spent * excess**2)
    if abs(located.fit.beta_c - largest.beta) * scale > REACH:
        n = float(largest.sums[0].sum())
        raise OutOfRange(largest.box.size, largest.beta, located.fit.beta_c, math.nan, n)
    return located


def _histograms(chains: Sequence[Chains]) -> list[Histogram]:
    return [long.independent for long in chains]


def check_effort(budget_s: float, sweeps: Sequence[int] | None) -> None:
    """Raise ValueError unless the seconds, or all numbers of sweeps, are such."""
    if sweeps is None:
        if not 0 < budget_s < math.inf:
            raise ValueError(f"budget_s must be finite and > 0, got {budget_s}")
    elif any(n < 1 or int(n) != n for n in sweeps):
        raise ValueError(f"sweeps must be whole numbers >= 1, got {sweeps}")


def _result(
    lattice: str,
    chains: Sequence[Chains],
    surveys: Sequence[Survey],
    located: Located,
    sampler: Sampler,
    universality: Universality,
    fixed: CriticalRatios | None,
    bound: float,
) -> CriticalPoint:
    histograms = _histograms(chains)
    fit, run = located.fit, chains[-1].runs[0]
    return CriticalPoint(
        lattice=lattice,
        sizes=tuple(h.box.size for h in histograms),
        beta_c=Estimate(fit.beta_c, located.error, n_eff=histograms[-1].sums.shape[1]),
        statistical=fit.error,
        systematic=located.systematic,
        bound=bound,
        universality=universality,
        ratios=fixed,
        exact=run.model.geometry.beta_c if run.model.geometry else None,
        fit=Quality(fit.chi2, fit.dof, fit.p),
        shift=None if math.isnan(located.shift) else located.shift,
        crossings=crossings(histograms, fit.beta_c),
        curves=curves(histograms),
        sampled_at=histograms[-1].beta,
        tau=tuple(made.tau for made in surveys),
        sweeps=tuple(long.sweeps for long in chains),
        dynamics=tuple(made.moves.dynamics for made in surveys),
        histograms=tuple(histograms),
        seconds=sampler.clock.elapsed,
        seed=sampler.seed,
        provenance=run.provenance | {"seed": sampler.seed},
    )
