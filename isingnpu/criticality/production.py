"""Sampling at one beta, in rounds of a fixed amount of work until the time is used up.

A round holds a fixed amount of work, divided among the sizes so that the error of beta_c falls
fastest: if C_L is the covariance of size L's ratios after work U_L and w_L their weight in
beta_c, the best share is proportional to sqrt(U_L w_L^T C_L w_L). Later rounds are longer. What is
sampled depends on the number of rounds alone, never on their speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from isingnpu.criticality.chains import Sampler, collect, independent
from isingnpu.criticality.estimators import Histogram
from isingnpu.criticality.fit import REACH, fit_crossing
from isingnpu.criticality.pilot import Survey, survey_fit
from isingnpu.criticality.reweight import ratios
from isingnpu.criticality.universal import CriticalRatios, Universality
from isingnpu.run import Run
from isingnpu.statistics import ShortChain

ROUND_WORK = 1 << 30  # in updates in bit planes, about 0.15 s of one core
GROWTH = 4  # rounds after which their work grows by ROUND_WORK
RESERVE = 0.04  # of the seconds, for the evaluation
MIN_SHARE = 0.01  # of the work, for every size
MAX_MOVES = 2
SHORTEST = 20  # samples of production at least, in units of tau
SETTLE = 5  # burn-in in units of tau; the chains come from equilibrium nearby


@dataclass(frozen=True, eq=False)
class Chains:
    """Production of one size: where the chains stand, all samples as of `collect`, sweeps after
    burn-in."""

    runs: tuple[Run, ...]
    histogram: Histogram
    sweeps: int

    @property
    def independent(self) -> Histogram:
        """The samples in independent blocks."""
        return independent(self.histogram, len(self.runs))


def round_sweeps(
    surveys: Sequence[Survey], omega: float, fixed: CriticalRatios | None = None
) -> list[int]:
    """Sweeps of each size in the first round: multiples of its measuring stride."""
    fit = survey_fit(surveys, omega, fixed)
    shares = np.empty(len(surveys))
    for i, made in enumerate(surveys):
        weights = fit.weights[i]
        covariance = np.nan_to_num(ratios(made.histogram, made.histogram.beta).covariance)
        work = made.system.work(made.moves, made.sweeps)
        shares[i] = math.sqrt(work * (weights @ covariance @ weights))
    shares = np.maximum(shares / shares.sum(), MIN_SHARE)
    shares /= shares.sum()
    strides = [made.system.work(made.moves, made.every) for made in surveys]
    per_size = ROUND_WORK * shares / strides
    return [
        made.every * max(1, round(strides))
        for made, strides in zip(surveys, per_size, strict=True)
    ]


def produce(
    surveys: Sequence[Survey],
    beta: float,
    universality: Universality,
    sampler: Sampler,
    sweeps: Sequence[int] | None,
    after_round: Callable[[list[Chains]], object],
    fixed: CriticalRatios | None = None,
) -> list[Chains]:
    """Chains at one beta: `sweeps` of each size, or rounds until the clock's seconds are over.

    As soon as the error of the fit is below half of REACH / L_max^(1/nu), it starts again at the
    fitted beta_c if that is farther away than this, at most MAX_MOVES times."""
    unit = round_sweeps(surveys, universality.omega, fixed)
    _check_first_round(surveys, unit, sampler, sweeps)
    chains: list[Chains] = []
    moves, rounds, clock, settled = 0, 0, sampler.clock, False
    while True:
        started = clock.elapsed
        steps = [n * (1 + rounds // GROWTH) for n in unit]
        done = [c.sweeps for c in chains] or [0] * len(surveys)
        left = steps if sweeps is None else np.minimum(steps, np.subtract(sweeps, done)).tolist()
        if not any(left):
            return chains
        chains = [
            further(made, chains[i] if chains else None, left[i], beta, sampler)
            for i, made in enumerate(surveys)
        ]
        rounds += 1
        if not settled and moves < MAX_MOVES:
            aim = _aim(chains, universality, fixed)
            settled = aim == beta
            if aim is not None and not settled:
                beta, chains, moves, rounds = aim, [], moves + 1, 0
                continue
        after_round(chains)
        # stop where the next round would end more than half a round late
        if clock.elapsed + (clock.elapsed - started) / 2 > (1 - RESERVE) * clock.seconds:
            return chains


def _check_first_round(
    surveys: Sequence[Survey], unit: Sequence[int], sampler: Sampler, sweeps: Sequence[int] | None
) -> None:
    """Raise SmallBudget if the first round takes longer than there is time, ShortChain if the
    sweeps asked for are fewer than those between two samples."""
    for made, n in zip(surveys, sweeps or (), strict=sweeps is not None):
        if n < made.every:
            tau = made.tau.value / made.every
            raise ShortChain(tau, 0, math.ceil(SHORTEST * max(1.0, tau)))
    sampler.clock.afford(
        sum(
            made.system.work(made.moves, math.ceil(SETTLE * made.tau.value) + n)
            for made, n in zip(surveys, unit, strict=True)
        ),
        1 - RESERVE,
    )


def _aim(
    chains: Sequence[Chains], universality: Universality, fixed: CriticalRatios | None
) -> float | None:
    """The beta to sample at: where the chains are, or their beta_c if that is too far away; None
    as long as its error does not tell."""
    histograms = [long.independent for long in chains]
    beta, sizes = histograms[0].beta, [h.box.size for h in histograms]
    points = [ratios(h, beta) for h in histograms]
    fit = fit_crossing(beta, sizes, points, universality.omega, fixed)
    near = REACH / 2 / sizes[-1] ** (1 / universality.nu)
    if fit.error > near:
        return None
    return beta if abs(fit.beta_c - beta) < near else fit.beta_c


def further(
    made: Survey, chains: Chains | None, sweeps: int, beta: float, sampler: Sampler
) -> Chains:
    """`sweeps` more of the same chains; with chains=None those of the survey, after burn-in."""
    if chains is not None and sweeps == 0:
        return chains
    if chains is None:
        runs = sampler.begin(
            made.system, made.moves, beta, burn_in=math.ceil(SETTLE * made.tau.value),
            sweeps=sweeps, every=made.every, initial=made.runs,
        )  # fmt: skip
        return Chains(runs, collect(made.system, beta, runs, made.energies), sweeps)
    runs = sampler.go_on(made.system, made.moves, chains.runs, sweeps)
    more = collect(made.system, beta, runs, made.energies)
    return Chains(runs, chains.histogram + more, chains.sweeps + sweeps)
