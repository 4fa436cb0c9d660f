"""Single-histogram reweighting with a range check, and the jackknife over blocks.

    <A>_beta = sum_i A_i w_i / sum_i w_i,   w_i = exp(-(beta - beta_0) E_i),
    n_eff = (sum w)^2 / sum w^2

A result is given only where n_eff exceeds a tenth of the samples. Samples of one energy level of
width D share a weight: relative error (beta - beta_0)^2 D^2 / 24, none where levels are single
energies. Ferrenberg & Swendsen, PRL 61, 2635 (1988).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isingnpu.criticality.estimators import Array, Histogram
from isingnpu.criticality.refusals import OutOfRange
from isingnpu.statistics import jackknife_covariance

MIN_SHARE = 0.1
STEP = 0.02  # of the slopes, in units of 1 / (standard deviation of the energy)


class Ratios(NamedTuple):
    """RATIOS of one size at one beta: values, slopes d/dbeta (k,), covariance of values (k, k)."""

    values: Array
    slopes: Array
    covariance: Array


def weights(histogram: Histogram, beta: float) -> Array:
    """(levels,) weights w, the largest of an occupied level 1, those of empty levels 0.

    Raises OutOfRange if less than a tenth of the samples is effective."""
    count, energy = histogram.sums[0].sum(axis=0), histogram.energies
    full = count > 0
    exponent = (histogram.beta - beta) * energy[full]
    w = np.zeros(count.shape)
    w[full] = np.exp(exponent - exponent.max())
    n_eff, n = float((count @ w) ** 2 / (count @ w**2)), float(count.sum())
    if not n_eff > MIN_SHARE * n:
        raise OutOfRange(histogram.box.size, histogram.beta, beta, n_eff, n)
    return w


def reweighted(histogram: Histogram, beta: float) -> Array:
    """Weighted sums (moments, blocks) at beta; divide by row 0 for averages."""
    return np.asarray(histogram.sums @ weights(histogram, beta))


def delete_one(sums: Array) -> Array:
    """Sums (moments, blocks) with all blocks but one in each column."""
    return np.asarray(sums.sum(axis=1, keepdims=True) - sums)


def ratio_samples(histogram: Histogram, beta: float) -> tuple[Array, Array]:
    """Ratios at beta without their 1/n bias (k,), and their jackknife samples (k, blocks)."""
    sums = reweighted(histogram, beta)
    full = histogram.box.ratios(sums.sum(axis=1))
    samples = histogram.box.ratios(delete_one(sums))
    n = samples.shape[1]
    return n * full - (n - 1) * samples.mean(axis=1), samples


def ratios(histogram: Histogram, beta: float) -> Ratios:
    """Values, slopes and covariance at beta. Raises OutOfRange."""
    values, samples = ratio_samples(histogram, beta)
    step = STEP / histogram.energy_deviation
    above, below = (
        histogram.box.ratios(reweighted(histogram, beta + h).sum(axis=1)) for h in (step, -step)
    )
    return Ratios(values, (above - below) / (2 * step), jackknife_covariance(samples.T))
