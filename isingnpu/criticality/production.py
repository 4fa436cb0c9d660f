"""Sampling at one beta, in rounds of a fixed amount of work until the time is used up.

A round holds a fixed number of spin updates, divided among the sizes so that the error of beta_c
falls fastest: if C_L is the covariance of size L's ratios after U_L updates and w_L their weight
in beta_c, the best share is proportional to sqrt(U_L w_L^T C_L w_L). What is sampled depends on
the number of rounds alone, never on their speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from isingnpu.criticality.chains import Sampler, updates
from isingnpu.criticality.estimators import Histogram
from isingnpu.criticality.fit import Universality, fit_crossing
from isingnpu.criticality.pilot import REACH, Survey, survey_fit
from isingnpu.criticality.reweight import ratios
from isingnpu.run import Run

ROUND_UPDATES = 1 << 28
RESERVE = 0.04  # of the seconds, for the evaluation
MIN_SHARE = 0.01  # of the updates, for every size
MAX_MOVES = 2
SETTLE = 5  # burn-in in units of tau; the chains come from equilibrium nearby


@dataclass(frozen=True, eq=False)
class Chains:
    """Production of one size: where the chains stand, all samples, sweeps after burn-in."""

    run: Run
    histogram: Histogram
    sweeps: int


def round_sweeps(surveys: Sequence[Survey], omega: float) -> list[int]:
    """Sweeps of each size in one round: multiples of its measuring stride."""
    fit = survey_fit(surveys, omega)
    shares = np.empty(len(surveys))
    for i, made in enumerate(surveys):
        weights = fit.weights[i]
        covariance = ratios(made.histogram, made.histogram.beta).covariance
        shares[i] = math.sqrt(updates(made.model, made.sweeps) * (weights @ covariance @ weights))
    shares = np.maximum(shares / shares.sum(), MIN_SHARE)
    shares /= shares.sum()
    per_size = ROUND_UPDATES * shares / [updates(made.model, made.every) for made in surveys]
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
) -> list[Chains]:
    """Chains at one beta: `sweeps` of each size, or rounds until the clock's seconds are over.

    After the first round it starts again at the beta_c of that round, as long as they are further
    apart than half of REACH / L_max^(1/nu), at most MAX_MOVES times."""
    steps = round_sweeps(surveys, universality.omega)
    chains: list[Chains] = []
    moves, clock = 0, sampler.clock
    while True:
        started = clock.elapsed
        done = [c.sweeps for c in chains] or [0] * len(surveys)
        left = steps if sweeps is None else np.minimum(steps, np.subtract(sweeps, done)).tolist()
        if not any(left):
            return chains
        first = not chains
        chains = [
            _further(made, chains[i] if chains else None, left[i], beta, sampler)
            for i, made in enumerate(surveys)
        ]
        if first and moves < MAX_MOVES:
            aim = _aim(chains, universality)
            if aim != beta:
                beta, chains, moves = aim, [], moves + 1
                continue
        after_round(chains)
        # stop where the next round would end more than half a round late
        if clock.elapsed + (clock.elapsed - started) / 2 > (1 - RESERVE) * clock.seconds:
            return chains


def _aim(chains: Sequence[Chains], universality: Universality) -> float:
    """The beta to sample at: where the chains are, or their beta_c if that is too far away."""
    histograms = [long.histogram.occupied for long in chains]
    beta, sizes = histograms[0].beta, [h.box.size for h in histograms]
    fit = fit_crossing(beta, sizes, [ratios(h, beta) for h in histograms], universality.omega)
    near = REACH / 2 / sizes[-1] ** (1 / universality.nu)
    return beta if abs(fit.beta_c - beta) < near else fit.beta_c


def _further(
    made: Survey, chains: Chains | None, sweeps: int, beta: float, sampler: Sampler
) -> Chains:
    if chains is not None and sweeps == 0:
        return chains
    if chains is None:
        run = sampler.begin(
            made.model, beta, burn_in=math.ceil(SETTLE * made.tau.value), sweeps=sweeps,
            every=made.every, initial=made.run.spins,
        )  # fmt: skip
        return Chains(run, Histogram.of(made.box, beta, run.series), sweeps)
    run = sampler.go_on(chains.run, sweeps)
    more = Histogram.of(made.box, beta, run.series)
    return Chains(run, chains.histogram + more, chains.sweeps + sweeps)
