"""Where to sample: a bound, the crossing of the two smallest sizes, then a survey of all sizes.

The search starts at the Bethe bound, which lies below beta_c. The survey moves to the common
crossing it finds until it was made close enough to it, within SURVEY_REACH / L_max^(1/nu), and
until hot and cold starts agree; it measures tau and so decides between local moves and clusters.
Everything here counts sweeps, not seconds, so that it can be replayed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from isingnpu.criticality.chains import (
    MAX_DIFFERENCE,
    Moves,
    Sampler,
    System,
    collect,
    independent,
    mean_energies,
    start_difference,
)
from isingnpu.criticality.estimators import Histogram, length_response
from isingnpu.criticality.fit import REACH, Fit, fit_crossing
from isingnpu.criticality.refusals import NoCrossing, OutOfRange, StartRemembered
from isingnpu.criticality.reweight import ratios
from isingnpu.criticality.universal import CriticalRatios, Universality
from isingnpu.run import Run
from isingnpu.statistics import Estimate, ShortChain, integrated_time

PILOT_SHARE = 0.6  # of the budget, at most
SURVEY_REACH = 0.25  # of the scaling variable; after a survey production moves to beta_fit
SEARCH_STEP = 1.2  # factor between betas of the search, which starts at the Bethe bound
SEARCH_END = 3.0  # in units of the Bethe bound
MAX_TRIES = 6
MIN_SWEEPS = 32
CLUSTER_SWEEPS = 2.0  # tau of clusters that is expected
BURN_IN, MEASURED = 6, 16  # sweeps of a survey in units of the expected tau


@dataclass(frozen=True, eq=False)
class Survey:
    """Chains of one size in equilibrium near the crossing. every: sweeps between samples; sweeps
    that were measured; tau in sweeps; energies: `mean_energies`; m2: <m^2>."""

    system: System
    moves: Moves
    runs: tuple[Run, ...]
    energies: tuple[float, ...]
    histogram: Histogram
    every: int
    sweeps: int
    tau: Estimate

    @property
    def m2(self) -> float:
        """<m^2>."""
        return float(self.histogram.sums[2].sum() / self.histogram.sums[0].sum())


def expected_tau(size: int, universality: Universality) -> float:
    """A guess of tau of local moves, in sweeps, before anything was measured: L^z / 10 on
    lattices, N^z on random graphs."""
    return max(1.0, (0.1 if universality.z > 1 else 1.0) * float(size**universality.z))


def search(
    systems: Sequence[System], sampler: Sampler, universality: Universality, bound: float
) -> float:
    """The beta at which xi/L (U4 on graphs) of two sizes crosses, to about 0.1 / L^(1/nu); it
    looks above `bound`. Raises NoCrossing.

    All chains start cold: above beta_c hot ones stay in stripes for longer than a search takes."""
    low, high = bound, SEARCH_STEP * bound
    while _gap(systems, sampler, high, universality).significance < 3:
        low, high = high, SEARCH_STEP * high
        if high > SEARCH_END * bound:
            raise NoCrossing((systems[0].box.size, systems[1].box.size), bound, low)
    beta = math.sqrt(low * high)
    for _ in range(2 * MAX_TRIES):
        gap = _gap(systems, sampler, beta, universality)
        low, high = (beta, high) if gap.value <= 0 else (low, beta)
        step = -gap.value / gap.slope if gap.slope > 0 else math.inf
        if not low < beta + step < high:
            beta = math.sqrt(low * high)
            continue
        beta += step
        if abs(step) * systems[1].box.size ** (1 / universality.nu) < REACH:
            break
    return beta


class _Gap(NamedTuple):
    """A ratio of the larger of two sizes minus that of the smaller, with slope and error."""

    value: float
    slope: float
    error: float

    @property
    def significance(self) -> float:
        return self.value / self.error


def _gap(
    systems: Sequence[System], sampler: Sampler, beta: float, universality: Universality
) -> _Gap:
    points = []
    for whole in systems:
        system = replace(whole, models=whole.models[:1])  # one instance tells enough
        tau = expected_tau(system.box.size, universality)
        moves = system.moves(tau, system.box.sites**-0.1)
        sweeps = max(MIN_SWEEPS, math.ceil(5 * tau) if moves is system.local else 0)
        sampler.clock.afford(system.work(moves, 3 * sweeps // 2), PILOT_SHARE)
        every = sweeps // MIN_SWEEPS
        runs = sampler.begin(
            system, moves, beta, burn_in=sweeps // 2, sweeps=sweeps, every=every, initial="up"
        )
        histogram = independent(collect(system, beta, runs, mean_energies(runs)), 1)
        if histogram.energy_deviation == 0:
            return _Gap(-1.0, 0.0, 1.0)  # frozen
        with np.errstate(invalid="ignore"):  # xi is infinite where no chain left its order
            points.append(ratios(histogram, beta))
    small, large = points
    k = 0 if math.isfinite(systems[0].box.k) else 1
    value = float(large.values[k] - small.values[k])
    error = math.sqrt(small.covariance[k, k] + large.covariance[k, k])
    if not (math.isfinite(value) and error > 0):
        return _Gap(-1.0, 0.0, 1.0)  # xi is not defined
    return _Gap(value, float(large.slopes[k] - small.slopes[k]), error)


def survey(
    systems: Sequence[System], beta: float, sampler: Sampler, universality: Universality
) -> tuple[list[Survey], float]:
    """Surveys of all sizes, and the beta of their common crossing, near where they were made.

    Raises OutOfRange if the crossing keeps moving, ShortChain, SmallBudget."""
    largest = systems[-1].box.size
    reach = SURVEY_REACH / largest ** (1 / universality.nu)
    surveys: list[Survey] = []
    for _ in range(MAX_TRIES):
        surveys = _survey_all(systems, beta, sampler, surveys, universality)
        fit = survey_fit(surveys, None)
        if abs(fit.beta_c - beta) < reach:
            return surveys, fit.beta_c
        last, beta = beta, beta + float(np.clip(fit.beta_c - beta, -2 * reach, 2 * reach))
    raise OutOfRange(largest, last, fit.beta_c, math.nan, math.nan)


def survey_fit(
    surveys: Sequence[Survey], omega: float | None, fixed: CriticalRatios | None = None
) -> Fit:
    """The linear fit to the surveys, at the beta where they were made."""
    beta = surveys[0].histogram.beta
    points = [ratios(s.histogram, beta) for s in surveys]
    return fit_crossing(beta, [s.system.box.size for s in surveys], points, omega, fixed)


def _survey_all(
    systems: Sequence[System],
    beta: float,
    sampler: Sampler,
    before: Sequence[Survey],
    universality: Universality,
) -> list[Survey]:
    made: list[Survey] = []
    local = expected_tau(systems[0].box.size, universality)
    m2 = systems[0].box.sites ** -0.1
    for i, system in enumerate(systems):
        if made:  # tau of local moves as measured, else as it grows from the size before
            grown = (system.box.size / made[-1].system.box.size) ** universality.z
            last = made[-1]
            known = last.tau.value if last.moves is last.system.local else local
            local, m2 = known * grown, made[-1].m2
        moves = before[i].moves if before else system.moves(local, m2)
        tau = local if moves is system.local else CLUSTER_SWEEPS
        initial = before[i].runs if before else None
        made.append(survey_one(system, moves, beta, sampler, max(tau, 1.0), initial))
    return made


def _stride(tau: float) -> int:
    """Sweeps between samples: tau / 2 apart they lose 2 % of what all sweeps tell."""
    return max(1, round(tau / 2))


def survey_one(
    system: System,
    moves: Moves,
    beta: float,
    sampler: Sampler,
    tau: float,
    initial: Sequence[Run] | None,
    tries: int = MAX_TRIES,
) -> Survey:
    """Chains until hot and cold starts agree and tau is resolved; twice as long each time."""
    every = _stride(tau)
    for _ in range(tries):
        burn_in, sweeps = round(BURN_IN * tau), round(MEASURED * tau / every) * every
        sampler.clock.afford(system.work(moves, burn_in + sweeps), PILOT_SHARE)
        runs = sampler.begin(
            system, moves, beta, burn_in=burn_in, sweeps=sweeps, every=every, initial=initial
        )
        energies = mean_energies(runs)
        samples = collect(system, beta, runs, energies)
        try:
            measured = integrated_time(
                np.concatenate([length_response(run.series) for run in runs])
            )
        except ShortChain as short:
            measured = Estimate(short.tau, math.inf)
        sigmas = start_difference(samples, len(runs))
        if math.isfinite(measured.error) and sigmas < MAX_DIFFERENCE:
            in_sweeps = Estimate(every * measured.value, every * measured.error)
            histogram = independent(samples, len(runs))
            return Survey(system, moves, runs, energies, histogram, every, sweeps, in_sweeps)
        initial, tau = runs, 2 * tau
        better = system.moves(tau, float(np.mean([run.series["m2"].mean() for run in runs])))
        if moves is system.local and better is not moves:  # tau is longer than was expected
            moves, initial, tau = better, None, CLUSTER_SWEEPS
            every = _stride(tau)
    if sigmas >= MAX_DIFFERENCE:
        raise StartRemembered(sigmas, sweeps)
    number = runs[0].series["m2"].shape[1]
    raise ShortChain(measured.value, number, 4 * number)
