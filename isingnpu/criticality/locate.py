"""beta_c of a ferromagnetic lattice from the crossing of finite-size ratios, with its error.

search and survey (`pilot`) -> production at one beta -> reweighting -> fit (`fit`) -> a
CriticalPoint, or a refusal that says what is missing. Nothing is assumed of beta_c or of the
crossing values; the exponents nu and omega are those of the Ising class in the lattice's
dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from isingnpu import rng
from isingnpu.backend import get_backend
from isingnpu.criticality.chains import MAX_DIFFERENCE, Clock, Sampler, start_difference
from isingnpu.criticality.estimators import Box, Histogram
from isingnpu.criticality.fit import ISING, Located, Universality, locate
from isingnpu.criticality.pilot import REACH, Survey, search, survey
from isingnpu.criticality.production import Chains, produce
from isingnpu.criticality.refusals import OutOfRange, SmallBudget
from isingnpu.criticality.requirements import build_models, dimension, family_of
from isingnpu.criticality.result import CriticalPoint, Quality, crossings, curves
from isingnpu.model import IsingModel
from isingnpu.statistics import Estimate, Refusal, ShortChain

MIN_CHAIN = 20  # sweeps of production in units of tau


def find_beta_c(
    family: str | Callable[[int], IsingModel],
    sizes: Sequence[int],
    *,
    seconds: float = 20.0,
    sweeps: Sequence[int] | None = None,
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    backend: str = "auto",
    threads: int | None = None,
    progress: Callable[[str], object] | None = None,
) -> CriticalPoint:
    """beta_c of a two- or three-dimensional periodic ferromagnet.

    family: a name in isingnpu.families.FAMILIES, or a function size -> IsingModel with geometry.
    sizes: at least three, increasing, >= 4; a span of a factor 4 or more pays. seconds: wall
    time of the call (compiling apart). sweeps: production sweeps per size instead, for a result
    that depends on nothing but the arguments; `CriticalPoint.sweeps` reproduces a timed one.
    progress: called with a line of text now and then.
    Raises ValueError for what is not allowed; refuses with NoTransition, Unsupported,
    NoCrossing, OutOfRange, BadFit, ShortChain and SmallBudget.
    """
    models = build_models(family, sizes)
    _check_effort(seconds, sweeps, sizes)
    key, name = rng.as_seed(seed), get_backend(backend).name
    compiling = Sampler(key, name, threads, Clock(math.inf))
    compiling.begin(models[0], 0.0, burn_in=0, sweeps=1, every=1)
    sampler = Sampler(key, name, threads, Clock(seconds if sweeps is None else math.inf))
    universality = ISING[dimension(models[0])]
    boxes = [Box.of(model, size) for model, size in zip(models, sizes, strict=True)]

    def tell(stage: str, now: str) -> None:
        if progress is not None:
            progress(f"{stage}, {sampler.clock.elapsed:.0f} s: {now}")

    beta = search(models[:2], boxes[:2], sampler, universality.nu)
    tell("search", f"crossing near {beta:.4g}")
    surveys, beta = survey(models, boxes, beta, sampler, universality)
    tell("survey", f"crossing near {beta:.5g}")

    def after_round(chains: list[Chains]) -> None:
        if progress is not None:
            tell("production", _status(chains, universality))

    chains = produce(surveys, beta, universality, sampler, sweeps, after_round)
    located = accept(chains, surveys, universality, sampler.clock)
    lattice = family if isinstance(family, str) else family_of(models[0])
    return _result(lattice, chains, surveys, located, sampler)


def _status(chains: Sequence[Chains], universality: Universality) -> str:
    """beta_c so far, for a progress line."""
    try:
        now = locate(_histograms(chains), chains[0].histogram.beta, universality)
    except Refusal:
        return "no fit yet"
    return f"beta_c = {Estimate(now.fit.beta_c, now.error)}"


def accept(
    chains: Sequence[Chains], surveys: Sequence[Survey], universality: Universality, clock: Clock
) -> Located:
    """The fit, after every check that could make it a wrong answer.

    Raises ShortChain (hot and cold starts disagree, or less than MIN_CHAIN tau), BadFit,
    SmallBudget (error L_max^(1/nu) > REACH / 2),
    OutOfRange (|beta_c - beta| L_max^(1/nu) > REACH).
    """
    for made, long in zip(surveys, chains, strict=True):
        samples, tau = long.sweeps // made.every, made.tau.value / made.every
        differ = start_difference(long.histogram) > MAX_DIFFERENCE
        if differ or samples < MIN_CHAIN * tau:
            raise ShortChain(tau, samples, math.ceil(max(2 * samples, MIN_CHAIN * tau)))
    histograms = _histograms(chains)
    largest = histograms[-1]
    located = locate(histograms, largest.beta, universality)
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
    return [long.histogram.occupied for long in chains]


def _check_effort(seconds: float, sweeps: Sequence[int] | None, sizes: Sequence[int]) -> None:
    if sweeps is None:
        if not 0 < seconds < math.inf:
            raise ValueError(f"seconds must be finite and > 0, got {seconds}")
        return
    if len(sweeps) != len(sizes) or any(n < 1 or int(n) != n for n in sweeps):
        raise ValueError(
            f"sweeps must be one whole number >= 1 for each of {len(sizes)} sizes, got {sweeps}"
        )


def _result(
    lattice: str,
    chains: Sequence[Chains],
    surveys: Sequence[Survey],
    located: Located,
    sampler: Sampler,
) -> CriticalPoint:
    histograms = _histograms(chains)
    fit, run = located.fit, chains[-1].run
    return CriticalPoint(
        lattice=lattice,
        sizes=tuple(h.box.size for h in histograms),
        beta_c=Estimate(fit.beta_c, located.error, n_eff=histograms[-1].sums.shape[1]),
        statistical=fit.error,
        systematic=located.systematic,
        exact=run.model.geometry.beta_c if run.model.geometry else None,
        fit=Quality(fit.chi2, fit.dof, fit.p),
        crossings=crossings(histograms, fit.beta_c),
        curves=curves(histograms),
        sampled_at=histograms[-1].beta,
        tau=tuple(made.tau for made in surveys),
        sweeps=tuple(long.sweeps for long in chains),
        seconds=sampler.clock.elapsed,
        seed=sampler.seed,
        provenance=run.provenance | {"seed": sampler.seed},
    )
