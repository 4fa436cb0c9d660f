"""Single-histogram reweighting with a range check, and the jackknife over blocks.

    <A>_beta = sum_i A_i w_i / sum_i w_i,   w_i = exp(-(beta - beta_0) E_i),
    n_eff = (sum w)^2 / sum w^2

A result is given only where n_eff exceeds a tenth of the samples. Samples of one energy level of
width D share a weight: relative error (beta - beta_0)^2 D^2 / 24, none where levels are single
energies. The slopes of `observables` are <A> <E> - <A E>, those of `ratios` central differences.
Ferrenberg & Swendsen, PRL 61, 2635 (1988).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from isingnpu.criticality.estimators import (
    Array,
    Histogram,
    binder,
    binder_slope,
    connected_susceptibility,
    moment_ratio,
    specific_heat,
    susceptibility,
    thermal_slope,
)
from isingnpu.criticality.refusals import OutOfRange
from isingnpu.statistics import Estimate, jackknife_covariance

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


def observable_names(histogram: Histogram) -> tuple[str, ...]:
    """What `observables` gives for a histogram, in its order."""
    names = ["energy", "xi/L", "U4", "chi", "specific_heat", "dU4/dbeta", "dln(m2)/dbeta"]
    return (*names, *(("U2", "chi'") if "abs_m" in histogram.moments else ()))


def weighted(sums: Array, w: Array) -> Array:
    """sum_l sums w over levels: (..., levels) with (levels,) or (..., levels)."""
    return np.asarray(sums @ w if w.ndim == 1 else np.einsum("...l,...l->...", sums, w))


def observables_of(
    histogram: Histogram, energies: Array, w: Array, sums: Array, beta: float
) -> Array:
    """(observables, ...) from sums (moments, ..., levels), weights w (levels,) or (..., levels)
    and energies (levels,); of `histogram` only the box and the names of the moments are used."""
    box, moments = histogram.box, histogram.moments
    total = weighted(sums, w)
    mean = total / total[0]
    energy, m2, m4 = mean[1:4]
    slope2, slope4 = (
        thermal_slope(mean[k], weighted(sums[k], w * energies) / total[0], energy) for k in (2, 3)
    )
    if "energy2" in moments:
        energy2 = mean[histogram.row("energy2")]
    else:
        energy2 = weighted(sums[0], w * energies**2) / total[0]
    made = [
        energy, box.ratios(total)[0], binder(m2, m4), susceptibility(m2, box.sites),
        specific_heat(energy, energy2, beta, box.sites), binder_slope(m2, m4, slope2, slope4),
        slope2 / m2,
    ]  # fmt: skip
    if "abs_m" in moments:
        abs_m = mean[histogram.row("abs_m")]
        made += [moment_ratio(abs_m, m2), connected_susceptibility(abs_m, m2, box.sites)]
    return np.stack(made)


def observable_samples(histogram: Histogram, beta: float) -> tuple[Array, Array]:
    """Values of `observable_names` at beta (k,), without their 1/n bias, and jackknife samples
    (k, blocks). Raises OutOfRange.

    Without the row energy2 the specific heat lacks the variance inside a level of several
    energies, at most (width beta)^2 / (4 N)."""
    w, energies = weights(histogram, beta), np.nan_to_num(histogram.energies)
    full = observables_of(histogram, energies, w, histogram.sums.sum(axis=1), beta)
    rest = histogram.sums.sum(axis=1, keepdims=True) - histogram.sums
    samples = observables_of(histogram, energies, w, rest, beta)
    n = samples.shape[1]
    return n * full - (n - 1) * samples.mean(axis=1), samples


def observables(histogram: Histogram, beta: float) -> dict[str, Estimate]:
    """Averages at beta with jackknife errors over blocks: total energy, xi/L, U4, chi (no factor
    beta), specific heat per site, dU4/dbeta, d ln <m^2> / dbeta and, where |m| was kept, U2 and
    chi'. Raises OutOfRange, ValueError for fewer than two blocks."""
    blocks = histogram.sums.shape[1]
    if blocks < 2:
        raise ValueError(f"the jackknife needs at least 2 independent blocks, got {blocks}")
    values, samples = observable_samples(histogram, beta)
    errors = samples.std(axis=1) * math.sqrt(blocks - 1)
    names = observable_names(histogram)
    return {
        name: Estimate(float(value), float(error), n_eff=blocks)
        for name, value, error in zip(names, values, errors, strict=True)
    }
