"""Where to sample: a bracket, the crossing of the two smallest sizes, then a survey of all sizes.

The survey moves to the common crossing it finds until it was made close enough to it, within
SURVEY_REACH / L_max^(1/nu), and until hot and cold starts agree; it measures tau.
Everything here counts sweeps, not seconds, so that it can be replayed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isingnpu.criticality.chains import (
    MAX_DIFFERENCE,
    REPLICAS,
    Sampler,
    start_difference,
    updates,
)
from isingnpu.criticality.estimators import Box, Histogram, length_response
from isingnpu.criticality.fit import Fit, Universality, fit_crossing
from isingnpu.criticality.refusals import NoCrossing, OutOfRange
from isingnpu.criticality.reweight import ratios
from isingnpu.model import IsingModel
from isingnpu.run import Run
from isingnpu.statistics import Estimate, ShortChain, integrated_time

PILOT_SHARE = 0.6  # of the budget, at most
REACH = 0.1  # |beta - beta_fit| L_max^(1/nu) of an accepted fit
SURVEY_REACH = 0.25  # the same of a survey, after which production moves to beta_fit
SEARCH_STEP = 1.2  # factor between betas of the search, which starts at the mean-field bound
SEARCH_END = 8.0  # in units of the mean-field bound
MAX_TRIES = 6
MIN_SWEEPS = 32
BURN_IN, MEASURED = 8, 20  # sweeps of a survey in units of the expected tau


@dataclass(frozen=True, eq=False)
class Survey:
    """Chains of one size in equilibrium near the crossing; every: sweeps between samples; sweeps
    that were measured; tau in sweeps."""

    model: IsingModel
    box: Box
    run: Run
    histogram: Histogram
    every: int
    sweeps: int
    tau: Estimate


def search(
    models: Sequence[IsingModel], boxes: Sequence[Box], sampler: Sampler, nu: float
) -> float:
    """The beta at which xi/L of two sizes crosses, to about 0.1 / L^(1/nu). Raises NoCrossing.

    All chains start cold: above beta_c hot ones stay in stripes for longer than a search takes."""
    bound = 1 / float(models[0].csr.sum(axis=1).max())  # mean field is below beta_c
    low, high = bound, SEARCH_STEP * bound
    while _gap(models, boxes, sampler, high).significance < 3:
        low, high = high, SEARCH_STEP * high
        if high > SEARCH_END * bound:
            raise NoCrossing((boxes[0].size, boxes[1].size), bound, low)
    beta = math.sqrt(low * high)
    for _ in range(2 * MAX_TRIES):
        gap = _gap(models, boxes, sampler, beta)
        low, high = (beta, high) if gap.value <= 0 else (low, beta)
        step = -gap.value / gap.slope if gap.slope > 0 else math.inf
        if not low < beta + step < high:
            beta = math.sqrt(low * high)
            continue
        beta += step
        if abs(step) * boxes[1].size ** (1 / nu) < REACH:
            break
    return beta


class _Gap(NamedTuple):
    """xi/L of the larger of two sizes minus that of the smaller, with slope and error."""

    value: float
    slope: float
    error: float

    @property
    def significance(self) -> float:
        return self.value / self.error


def _gap(
    models: Sequence[IsingModel], boxes: Sequence[Box], sampler: Sampler, beta: float
) -> _Gap:
    points = []
    for model, box in zip(models, boxes, strict=True):
        sweeps = max(MIN_SWEEPS, box.size**2 // 2)
        sampler.clock.afford(updates(model, 3 * sweeps // 2), PILOT_SHARE)
        every = sweeps // MIN_SWEEPS
        cold = np.ones((REPLICAS, model.n), np.int8)
        run = sampler.begin(
            model, beta, burn_in=sweeps // 2, sweeps=sweeps, every=every, initial=cold
        )
        histogram = Histogram.of(box, beta, run.series).occupied
        if histogram.energy_deviation == 0:
            return _Gap(-1.0, 0.0, 1.0)  # frozen
        with np.errstate(invalid="ignore"):  # xi is infinite where no chain left its order
            points.append(ratios(histogram, beta))
    small, large = points
    value = float(large.values[0] - small.values[0])
    error = math.sqrt(small.covariance[0, 0] + large.covariance[0, 0])
    if not (math.isfinite(value) and error > 0):
        return _Gap(-1.0, 0.0, 1.0)  # xi is not defined
    return _Gap(value, float(large.slopes[0] - small.slopes[0]), error)


def survey(
    models: Sequence[IsingModel],
    boxes: Sequence[Box],
    beta: float,
    sampler: Sampler,
    universality: Universality,
) -> tuple[list[Survey], float]:
    """Surveys of all sizes, and the beta of their common crossing, near where they were made.

    Raises OutOfRange if the crossing keeps moving, ShortChain, SmallBudget."""
    reach = SURVEY_REACH / boxes[-1].size ** (1 / universality.nu)
    surveys: list[Survey] = []
    for _ in range(MAX_TRIES):
        surveys = _survey_all(models, boxes, beta, sampler, surveys)
        fit = survey_fit(surveys, None)
        if abs(fit.beta_c - beta) < reach:
            return surveys, fit.beta_c
        last, beta = beta, beta + float(np.clip(fit.beta_c - beta, -2 * reach, 2 * reach))
    raise OutOfRange(boxes[-1].size, last, fit.beta_c, math.nan, math.nan)


def survey_fit(surveys: Sequence[Survey], omega: float | None) -> Fit:
    """The linear fit to the surveys, at the beta where they were made."""
    beta = surveys[0].histogram.beta
    points = [ratios(s.histogram, beta) for s in surveys]
    return fit_crossing(beta, [s.box.size for s in surveys], points, omega)


def _survey_all(
    models: Sequence[IsingModel],
    boxes: Sequence[Box],
    beta: float,
    sampler: Sampler,
    before: Sequence[Survey],
) -> list[Survey]:
    made: list[Survey] = []
    for i, (model, box) in enumerate(zip(models, boxes, strict=True)):
        tau = 0.1 * box.size**2
        if made:
            tau = made[-1].tau.value * (box.size / made[-1].box.size) ** 2.2
        initial = before[i].run.spins if before else None
        made.append(_survey_one(model, box, beta, sampler, max(tau, 1.0), initial))
    return made


def _survey_one(
    model: IsingModel,
    box: Box,
    beta: float,
    sampler: Sampler,
    tau: float,
    initial: NDArray[np.int8] | None,
) -> Survey:
    """Chains until hot and cold starts agree and tau is resolved; twice as long each time."""
    every = max(1, round(tau / 2))  # samples tau / 2 apart lose 2 % of what all sweeps tell
    for _ in range(MAX_TRIES):
        burn_in, sweeps = round(BURN_IN * tau), round(MEASURED * tau / every) * every
        sampler.clock.afford(updates(model, burn_in + sweeps), PILOT_SHARE)
        run = sampler.begin(
            model, beta, burn_in=burn_in, sweeps=sweeps, every=every, initial=initial
        )
        histogram = Histogram.of(box, beta, run.series).occupied
        try:
            measured = integrated_time(length_response(run.series))
        except ShortChain as short:
            measured = Estimate(short.tau, math.inf)
        if math.isfinite(measured.error) and start_difference(histogram) < MAX_DIFFERENCE:
            in_sweeps = Estimate(every * measured.value, every * measured.error)
            return Survey(model, box, run, histogram, every, sweeps, in_sweeps)
        initial, tau = run.spins, 2 * tau
    samples = run.series["m2"].shape[1]
    raise ShortChain(measured.value, samples, 4 * samples)
