"""Critical points: estimators and reweighting against enumeration, the fit against planted data,
sampling against exact values of small tori, and every refusal."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats

from isingnpu import IsingModel, ShortChain, exact, lattice
from isingnpu.criticality import (
    BadFit,
    Curve,
    NoCrossing,
    NoTransition,
    OutOfRange,
    SmallBudget,
    Unsupported,
    find_beta_c,
    pilot,
    production,
)
from isingnpu.criticality.chains import Clock, Sampler, start_difference
from isingnpu.criticality.estimators import (
    Box,
    Histogram,
    binder,
    length_response,
    second_moment_length,
)
from isingnpu.criticality.fit import ISING, fit_crossing, locate
from isingnpu.criticality.locate import accept
from isingnpu.criticality.pilot import search, survey
from isingnpu.criticality.production import ROUND_UPDATES, Chains, produce, round_sweeps
from isingnpu.criticality.reweight import STEP, Ratios, ratio_samples, ratios, weights
from isingnpu.statistics import Refusal, jackknife

K_C = math.asinh(1) / 2
# Square tori at K_c: xi/L and U4, from enumeration and transfer matrices (Salas & Sokal,
# cond-mat/9904038, study the same ratios).
EXACT = {
    4: (0.953183766417, 0.617199318412),
    6: (0.933274688876, 0.614356239125),
    8: (0.923686207112, 0.613045384943),
}


# --- Exact distributions of the 4 x 4 torus -----------------------------------------------------


@cache
def states():
    """E, m^2, m^4 and S(k_min) of all states of the 4 x 4 torus; S by FFT."""
    spins, energy = exact.enumerate_states(lattice.square(4))
    m = spins.mean(axis=1)
    power = np.abs(np.fft.fft2(spins.reshape(-1, 4, 4))) ** 2 / 16
    return energy, m**2, m**4, (power[:, 0, 1] + power[:, 1, 0]) / 2


def exact_ratios(beta):
    """(xi/L, U4) of the 4 x 4 torus by direct summation over all states."""
    energy, m2, m4, s = states()
    p = np.exp(-beta * (energy - energy.min()))
    m2, m4, s = ((p * x).sum() / p.sum() for x in (m2, m4, s))
    return np.array([math.sqrt(16 * m2 / s - 1) / (8 * math.sin(math.pi / 4)), 1 - m4 / 3 / m2**2])


def exact_histogram(beta):
    """The histogram that infinitely many samples at beta give, in one block."""
    box = Box.of(lattice.square(4), 4)
    energy, m2, m4, s = states()
    p = np.exp(-beta * (energy - energy.min()))
    p /= p.sum()
    rows = [np.bincount(box.level(energy), p * x, box.levels) for x in (1, energy, m2, m4, s)]
    return Histogram(box, beta, np.stack(rows)[:, None, :])


def test_ratios_of_the_enumerated_torus_are_the_published_ones():
    found = exact_histogram(K_C).box.ratios(exact_histogram(K_C).sums.sum(axis=(1, 2)))
    # published to 12 digits; sums of 2^16 terms round to less
    np.testing.assert_allclose(found, EXACT[4], rtol=0, atol=1e-12)


def test_reweighting_an_exact_distribution_gives_the_exact_one_there():
    for beta in (0.25, 0.4, 0.5):
        histogram = exact_histogram(K_C)
        w = weights(histogram, beta)
        found = histogram.box.ratios((histogram.sums @ w).sum(axis=1))
        np.testing.assert_allclose(found, exact_ratios(beta), rtol=1e-12, atol=0)


def test_slopes_are_the_derivatives_of_the_exact_ratios():
    histogram, h = exact_histogram(K_C), 1e-4
    two_blocks = replace(histogram, sums=np.repeat(histogram.sums, 2, axis=1))
    found = ratios(two_blocks, K_C).slopes
    derivative = (exact_ratios(K_C + h) - exact_ratios(K_C - h)) / (2 * h)
    # central differences of step STEP / sigma_E: relative error of the order STEP^2
    np.testing.assert_allclose(found, derivative, rtol=STEP**2)


def test_length_is_undefined_where_the_lowest_mode_exceeds_the_uniform_one():
    found = second_moment_length([0.1, 0.1, 0.1], [1.59, 1.6, 1.61], 16, math.pi / 2)
    assert np.isfinite(found[0])
    assert found[0] == pytest.approx(math.sqrt(1.6 / 1.59 - 1) / math.sqrt(2), rel=1e-12)
    assert np.isnan(found[2])


def test_cumulant_is_two_thirds_in_order_and_zero_for_a_gaussian():
    assert binder(1.0, 1.0) == pytest.approx(2 / 3)
    assert binder(0.01, 3 * 0.01**2) == pytest.approx(0)


# --- Histograms ---------------------------------------------------------------------------------


def random_series(replicas=6, samples=40, seed=3):
    """Series that a 4 x 4 torus could give: random states in random order."""
    rng = np.random.default_rng(seed)
    pick = rng.integers(2**16, size=(replicas, samples))
    names = ("energy", "m2", "m4", "structure_factor")
    return {name: x[pick] for name, x in zip(names, states(), strict=True)}


def test_histogram_keeps_the_sums_of_every_block_and_energy():
    series = random_series()
    box = Box.of(lattice.square(4), 4)
    histogram = Histogram.of(box, 0.4, series)
    levels = np.arange(-32, 33)
    assert np.array_equal(box.level(levels.astype(float)), levels + 32)
    for block, energies in enumerate(series["energy"]):
        for energy in np.unique(energies):
            own = energies == energy
            columns = [np.ones(40), *(series[n][block] for n in series)]
            expected = [column[own].sum() for column in columns]
            at = box.level(np.array(energy))
            np.testing.assert_allclose(histogram.sums[:, block, at], expected, rtol=1e-13)
    assert histogram.sums[0].sum() == series["energy"].size


def test_histograms_of_two_halves_add_up_to_that_of_the_whole():
    series, box = random_series(), Box.of(lattice.square(4), 4)
    halves = [
        Histogram.of(box, 0.4, {name: x[:, part] for name, x in series.items()})
        for part in (slice(0, 15), slice(15, 40))
    ]
    whole = Histogram.of(box, 0.4, series)
    np.testing.assert_allclose((halves[0] + halves[1]).sums, whole.sums, rtol=1e-13)
    assert np.array_equal(
        whole.occupied.sums[0].sum(axis=0) > 0, np.ones(len(whole.occupied.energies))
    )


@pytest.mark.parametrize(
    "model", [lattice.square(40), lattice.cubic(12), lattice.square(6, Jx=0.37)]
)
def test_every_energy_of_a_box_has_a_level(model):
    box = Box.of(model, model.geometry.shape[0])
    bonds = model.csr.sum() / 2
    assert box.level(np.array(-bonds)) >= 0
    assert box.level(np.array(bonds)) < box.levels <= 2050


def test_samples_of_wide_levels_reweight_like_single_energies():
    narrow = exact_histogram(0.4)
    wide = replace(narrow, sums=narrow.sums[:, :, :64].reshape(5, 1, 16, 4).sum(axis=3))
    found = [
        ratios(replace(h, sums=h.sums.repeat(2, axis=1)), 0.39).values for h in (narrow, wide)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=(0.01 * 4) ** 2 / 24)


# --- Reweighting: errors and range --------------------------------------------------------------


def test_ratio_and_error_are_those_of_a_jackknife_over_blocks():
    series = random_series(replicas=20, samples=100)
    box = Box.of(lattice.square(4), 4)
    values, samples = ratio_samples(Histogram.of(box, 0.3, series), 0.3)
    blocks = [series[name].mean(axis=1) for name in ("m2", "m4", "structure_factor")]
    expected = jackknife(lambda m2, m4, s: 1 - m4 / (3 * m2**2), *blocks)
    assert values[1] == pytest.approx(expected.value, rel=1e-10)
    covariance = ratios(Histogram.of(box, 0.3, series), 0.3).covariance
    assert math.sqrt(covariance[1, 1]) == pytest.approx(expected.error, rel=1e-10)
    assert samples.shape == (2, 20)


def gaussian_histogram(beta=1.0, sigma=6.0):
    """Energies distributed normally over the levels of a 16 x 16 torus."""
    box = Box.of(lattice.square(16), 16)
    energy = box.lowest + (np.arange(box.levels) + 0.5) * box.width
    p = np.exp(-0.5 * (energy / sigma) ** 2)
    flat = np.ones_like(p)
    return Histogram(box, beta, 1e6 * np.stack([p, p * energy, p, p, flat * p])[:, None, :])


@pytest.mark.parametrize("sigmas", [-1.5, 1.5])
def test_reweighting_reaches_where_a_tenth_of_the_samples_counts(sigmas):
    # of a Gaussian, n_eff / n = exp(-(beta - beta_0)^2 sigma^2) = 0.105 at 1.5
    weights(gaussian_histogram(), 1.0 + sigmas / 6)


@pytest.mark.parametrize("sigmas", [-1.53, 1.53, 4.0])
def test_reweighting_further_is_refused_with_the_effective_number(sigmas):
    with pytest.raises(OutOfRange, match="sample nearer") as caught:
        weights(gaussian_histogram(), 1.0 + sigmas / 6)
    refusal = caught.value
    assert (refusal.size, refusal.beta, refusal.target) == (16, 1.0, 1.0 + sigmas / 6)
    assert refusal.n_eff / refusal.n == pytest.approx(math.exp(-(sigmas**2)), rel=1e-6)


# --- The fit ------------------------------------------------------------------------------------

SIZES = (8, 12, 16, 32)
CORRELATED = np.array([[1.0, 0.9], [0.9, 1.0]])


def planted(beta, beta_c=0.44, noise=None, omega=1.75):
    """Ratios that obey the form exactly, plus correlated noise of known covariance."""
    points = []
    for size in SIZES:
        slopes = np.array([1.4, 0.172]) * size
        values = np.array([0.905, 0.611]) + np.array([0.78, 0.095]) * size**-omega
        values += slopes * (beta - beta_c)
        scale = np.diag([2e-3, 3e-4]) * size / 8
        covariance = scale @ CORRELATED @ scale
        if noise is not None:
            values += np.linalg.cholesky(covariance) @ noise.standard_normal(2)
        points.append(Ratios(values, slopes, covariance))
    return points


def test_fit_returns_planted_beta_c_of_data_without_noise():
    fit = fit_crossing(0.4403, SIZES, planted(0.4403), 1.75)
    assert fit.beta_c == pytest.approx(0.44, abs=1e-13)
    assert fit.chi2 < 1e-20
    assert fit.dof == 2 * 4 - 5


def test_weights_of_the_fit_are_the_response_of_beta_c():
    points = planted(0.4403)
    fit = fit_crossing(0.4403, SIZES, points, 1.75)
    for i in range(len(SIZES)):
        for k in range(2):
            moved = list(points)
            moved[i] = points[i]._replace(values=points[i].values + 1e-5 * np.eye(2)[k])
            shift = fit_crossing(0.4403, SIZES, moved, 1.75).beta_c - fit.beta_c
            assert shift == pytest.approx(1e-5 * fit.weights[i, k], rel=1e-6, abs=1e-14)


def test_ratios_are_weighted_by_the_inverse_variance_of_their_own_beta_c():
    points = planted(0.4403)
    fit = fit_crossing(0.4403, SIZES, points, 1.75)
    shares, precision = np.empty(2), np.empty(2)
    for k in range(2):
        pick = slice(k, k + 1)
        own = [Ratios(p.values[pick], p.slopes[pick], p.covariance[pick, pick]) for p in points]
        precision[k] = fit_crossing(0.4403, SIZES, own, 1.75).error ** -2
        slopes = np.array([p.slopes[k] for p in points])
        shares[k] = -fit.weights[:, k] @ slopes  # response to a common shift of beta
    np.testing.assert_allclose(shares, precision / precision.sum(), rtol=1e-10)


ALPHA = 1e-6


@pytest.mark.statistical(alpha=3 * ALPHA)
def test_fit_errors_cover_and_chi2_is_chi2_distributed():
    noise, n = np.random.default_rng(5), 400
    fits = [fit_crossing(0.4403, SIZES, planted(0.4403, noise=noise), 1.75) for _ in range(n)]
    pulls = np.array([(fit.beta_c - 0.44) / fit.error for fit in fits])
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], n)
    assert low < (pulls**2).sum() < high
    total = sum(fit.chi2 for fit in fits)
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], n * fits[0].dof)
    assert low < total < high
    assert stats.kstest([fit.p for fit in fits], "uniform").pvalue > ALPHA


def test_too_few_sizes_for_the_form_are_refused():
    with pytest.raises(ValueError, match="at least 3 sizes, got 2"):
        fit_crossing(0.44, SIZES[:2], planted(0.44)[:2], 1.75)


def test_error_of_the_correction_covers_the_bias_of_exact_small_tori():
    """xi/L of exact tori L = 4, 6, 8 with slopes 1.40 L: fitted beta_c is off by the correction
    that the form lacks, and less than twice the systematic error."""
    sizes = (4, 6, 8)
    points = [
        Ratios(np.array([EXACT[L][0]]), np.array([1.4 * L]), np.eye(1) * 1e-12) for L in sizes
    ]
    fit = fit_crossing(K_C, sizes, points, ISING[2].omega)
    shifts = [
        abs(fit_crossing(K_C, sizes, points, omega).beta_c - fit.beta_c)
        for omega in ISING[2].omega_range(4)
    ]
    assert 2 * max(shifts) > abs(fit.beta_c - K_C) > 1e-4


# --- Sampling -----------------------------------------------------------------------------------


def boxes_of(sizes):
    models = [lattice.square(L) for L in sizes]
    return models, [Box.of(model, L) for model, L in zip(models, sizes, strict=True)]


def sampler(seed=1):
    return Sampler(seed, "cpu", 2, Clock(math.inf))


@cache
def sampled(beta, sweeps=2000):
    """Histograms of the tori 4, 6 and 8, and the sampled series of the last."""
    models, boxes = boxes_of((4, 6, 8))
    draw = sampler(seed=77)
    runs = [draw.begin(model, beta, burn_in=60, sweeps=sweeps, every=2) for model in models]
    histograms = [
        Histogram.of(box, beta, run.series) for box, run in zip(boxes, runs, strict=True)
    ]
    return histograms, runs


@pytest.mark.statistical(alpha=1e-5)
def test_sampled_ratios_of_small_tori_are_the_exact_ones():
    for histogram in sampled(K_C)[0]:
        point = ratios(histogram.occupied, K_C)
        z = (point.values - EXACT[histogram.box.size]) / np.sqrt(np.diag(point.covariance))
        assert np.abs(z).max() < 5, (histogram.box.size, z)


def test_no_two_runs_of_a_sampler_share_their_seed():
    _, runs = sampled(K_C)
    assert len({run.settings.seed for run in runs}) == 3


def test_hot_and_cold_starts_differ_until_they_are_equilibrated():
    model, box = lattice.square(16), Box.of(lattice.square(16), 16)
    begin = sampler().begin
    early = begin(model, 0.5, burn_in=0, sweeps=4, every=1)
    late = begin(model, 0.44, burn_in=150, sweeps=150, every=5)
    assert start_difference(Histogram.of(box, 0.5, early.series)) > 20
    assert start_difference(Histogram.of(box, 0.44, late.series)) < 5


def test_going_on_gives_the_samples_of_one_long_run():
    model, box = lattice.square(6), Box.of(lattice.square(6), 6)
    whole = sampler().begin(model, 0.44, burn_in=5, sweeps=60, every=3)
    draw = sampler()
    first = draw.begin(model, 0.44, burn_in=5, sweeps=24, every=3)
    second = draw.go_on(first, 36)
    parts = [Histogram.of(box, 0.44, run.series) for run in (first, second)]
    assert np.array_equal(
        (parts[0] + parts[1]).sums[0], Histogram.of(box, 0.44, whole.series).sums[0]
    )


def test_length_response_is_the_derivative_of_the_logarithm():
    series = {"m2": np.array([[1.0, 3.0]]), "structure_factor": np.array([[4.0, 12.0]])}
    assert np.array_equal(length_response(series), [[0.5 - 0.5, 1.5 - 1.5]])


def test_search_finds_the_crossing_of_two_small_tori():
    """Exact: xi/L of L = 4 and 6 is equal where the linearised exact values meet."""
    models, boxes = boxes_of((4, 8))
    draw = sampler()
    beta = search(models, boxes, draw, 1.0)
    assert draw.runs <= 2 * (4 + 4)  # four steps up to 0.52, then Newton's method
    gap = EXACT[4][0] - EXACT[8][0]
    assert beta == pytest.approx(K_C + gap / (11.93 - 6.2), abs=0.1 / 8)


@cache
def surveyed():
    models, boxes = boxes_of((4, 6, 8))
    draw = sampler()
    return survey(models, boxes, 0.445, draw, ISING[2]), draw


def test_survey_moves_to_the_crossing_and_measures_tau():
    (surveys, beta), _ = surveyed()
    assert abs(beta - K_C) * 8 < 0.1
    assert all(1 < made.tau.value < 6 for made in surveys)
    assert surveys[0].tau.value < surveys[2].tau.value


def test_survey_made_far_away_is_repeated_nearer():
    models, boxes = boxes_of((4, 6, 8))
    surveys, beta = survey(models, boxes, 0.50, sampler(), ISING[2])
    assert abs(surveys[0].histogram.beta - beta) * 8 < pilot.SURVEY_REACH
    assert abs(beta - K_C) * 8 < 0.1


def test_a_round_is_divided_among_the_sizes_by_their_weight():
    (surveys, _), _ = surveyed()
    steps = round_sweeps(surveys, ISING[2].omega)
    done = [256 * made.model.n * n for made, n in zip(surveys, steps, strict=True)]
    assert sum(done) == pytest.approx(ROUND_UPDATES, rel=0.01)
    assert 2 * done[0] < done[1] < done[2]
    assert all(n % made.every == 0 for made, n in zip(surveys, steps, strict=True))


# --- What an answer must survive ----------------------------------------------------------------


def test_production_far_from_the_fitted_beta_c_is_refused(monkeypatch):
    """The linearised fit around a bad pilot: 9.6 sigma wrong when it was accepted."""
    monkeypatch.setattr(production, "MAX_MOVES", 0)
    (surveys, _), draw = surveyed()
    chains = produce(surveys, K_C + 0.02, ISING[2], draw, (600, 600, 600), lambda _: None)
    with pytest.raises(OutOfRange, match="size 8"):
        accept(chains, surveys, ISING[2], draw.clock)


def test_production_moves_to_the_beta_c_of_its_first_round():
    (surveys, _), draw = surveyed()
    chains = produce(surveys, K_C + 0.02, ISING[2], draw, (1500, 1500, 1500), lambda _: None)
    assert abs(chains[0].histogram.beta - K_C) * 8 < 0.1
    assert [long.sweeps for long in chains] == [1500, 1500, 1500]
    accept(chains, surveys, ISING[2], draw.clock)


def test_rounds_add_up_to_the_sweeps_asked_for(monkeypatch):
    monkeypatch.setattr(production, "ROUND_UPDATES", 1 << 20)
    (surveys, beta), draw = surveyed()
    rounds: list[int] = []
    chains = produce(
        surveys, beta, ISING[2], draw, (60, 90, 120), lambda now: rounds.append(now[2].sweeps)
    )
    assert len(rounds) > 2
    assert [long.sweeps for long in chains] == [60, 90, 120]
    for long, made in zip(chains, surveys, strict=True):
        burn_in = long.run.settings.burn_in
        samples = (burn_in + long.sweeps) // made.every - burn_in // made.every
        assert long.histogram.sums[0].sum() == 256 * samples


def test_an_error_as_wide_as_the_linear_range_is_refused():
    (surveys, beta), draw = surveyed()
    chains = produce(surveys, beta, ISING[2], draw, (120, 120, 120), lambda _: None)
    with pytest.raises(SmallBudget) as caught:
        accept(chains, surveys, ISING[2], draw.clock)
    assert caught.value.needed > caught.value.seconds


def test_ratios_that_do_not_cross_in_one_point_are_refused():
    histograms = [histogram.occupied for histogram in sampled(K_C)[0]]
    sums = histograms[1].sums.copy()
    sums[3] *= 0.998  # m^4 too small: U4 of one size is off, xi/L is not
    histograms[1] = replace(histograms[1], sums=sums)
    with pytest.raises(BadFit, match="drop the smallest size") as caught:
        locate(histograms, K_C, ISING[2])
    assert caught.value.p < 1e-3
    assert caught.value.dof == 1


def test_chains_shorter_than_twenty_tau_are_refused():
    (surveys, beta), draw = surveyed()
    chains = produce(surveys, beta, ISING[2], draw, (300, 300, 30), lambda _: None)
    with pytest.raises(ShortChain):
        accept(chains, surveys, ISING[2], draw.clock)


def test_starts_that_disagree_are_refused():
    (surveys, beta), draw = surveyed()
    chains = produce(surveys, beta, ISING[2], draw, (300, 300, 300), lambda _: None)
    sums = chains[2].histogram.sums.copy()
    sums[1, :128] *= 1.1  # energies of the hot half
    stuck = Chains(chains[2].run, replace(chains[2].histogram, sums=sums), chains[2].sweeps)
    with pytest.raises(ShortChain):
        accept([*chains[:2], stuck], surveys, ISING[2], draw.clock)


# --- find_beta_c --------------------------------------------------------------------------------

SWEEPS = (2000, 2000, 2000)


@cache
def small(threads=2):
    return find_beta_c("square", (4, 6, 8), sweeps=SWEEPS, seed=4, threads=threads)


@pytest.mark.statistical(alpha=1e-5)
def test_beta_c_of_small_squares_is_onsagers_within_its_error():
    # the systematic error of L = 4..8 is a bound more than a normal error: not in alpha
    point = small()
    assert abs(point.sigmas) < 4.5
    assert point.exact.value == pytest.approx(K_C, abs=1e-15)
    assert point.beta_c.error == math.hypot(point.statistical, point.systematic)
    assert point.sweeps == SWEEPS


def test_threads_do_not_change_the_result():
    one, two = small(threads=1), small(threads=2)
    assert one.beta_c == two.beta_c
    assert np.array_equal(one.curves[2].xi, two.curves[2].xi)


def test_sweeps_of_a_timed_result_reproduce_it(monkeypatch):
    # a clock that goes by the work done, so that the number of rounds is known
    monkeypatch.setattr(Clock, "elapsed", property(lambda clock: clock.updates / 1e8))
    monkeypatch.setattr(production, "ROUND_UPDATES", 1 << 24)
    timed = find_beta_c("square", [4, 6, 8], seconds=1.5, seed=5)
    again = find_beta_c("square", [4, 6, 8], sweeps=timed.sweeps, seed=5)
    volatile = ("seconds", "provenance")
    one, two = (
        {k: v for k, v in p.to_json().items() if k not in volatile} for p in (timed, again)
    )
    assert one == two
    assert 1.5 * 0.9 < timed.seconds < 1.5 * 1.1


def test_json_has_the_stable_keys_and_no_nan():
    made = json.loads(json.dumps(small().to_json(), allow_nan=False))
    assert {"lattice", "sizes", "beta_c", "exact", "sigmas", "fit", "provenance"} <= made.keys()
    assert set(made["beta_c"]) == {"value", "error", "n_eff", "tau"}
    assert set(made["fit"]) == {"chi2", "dof", "p"}
    assert made["lattice"] == "square"
    assert made["sizes"] == [4, 6, 8]
    assert made["seed"] == made["provenance"]["seed"] == 4


def test_undefined_points_of_a_curve_are_null_in_json():
    one = np.array([1.0, np.nan])
    made = json.loads(json.dumps(Curve(8, one, one, one, one, one).to_json(), allow_nan=False))
    assert made["xi"] == [1.0, None]


def test_curves_and_crossings_meet_near_beta_c():
    point = small()
    assert [curve.size for curve in point.curves] == [4, 6, 8]
    assert {(c.ratio, c.sizes) for c in point.crossings} == {
        (ratio, pair) for ratio in ("xi/L", "U4") for pair in ((4, 6), (6, 8))
    }
    curve = point.curves[2]
    inside = np.interp(K_C, curve.beta, curve.xi)
    assert inside == pytest.approx(EXACT[8][0], abs=6 * curve.xi_error.max())
    spacing = curve.beta[1] - curve.beta[0]
    for crossing in point.crossings:
        small_, large = (c for c in point.curves if c.size in crossing.sizes)
        kind = "xi" if crossing.ratio == "xi/L" else "binder"
        gap = getattr(large, kind) - getattr(small_, kind)
        # linear between the points of a curve; it may end before the crossing
        zero = np.interp(0, gap, curve.beta, left=np.nan, right=np.nan)
        assert np.isnan(zero) or crossing.beta.value == pytest.approx(zero, abs=spacing / 10)


def test_progress_is_told_the_stages():
    told: list[str] = []
    find_beta_c("square", (4, 6, 8), sweeps=(1500,) * 3, seed=4, progress=told.append)
    assert [line.split(",")[0] for line in told] == ["search", "survey", "production"]
    assert re.search(r"beta_c = 0\.4\d+\(\d+\)", told[-1])


# --- Refusals -----------------------------------------------------------------------------------

BUILDERS = {
    "field": lambda size: lattice.square(size, h=0.5),
    "antiferromagnet": lambda size: lattice.square(size, Jx=-1, Jy=-1),
    "decoupled chains": lambda size: lattice.square(size, Jy=0),
    "no couplings": lambda size: lattice.square(size, Jx=0, Jy=0),
    "moebius": lambda size: lattice.square(size, boundary="antiperiodic"),
}


@pytest.mark.parametrize("family", ["chain", "ea2d", "ea3d", "sk", "frustrated_loops", "wishart"])
def test_families_that_do_not_order_ferromagnetically_are_refused(family):
    with pytest.raises(NoTransition) as caught:
        find_beta_c(family, (4, 8, 16), seconds=1)
    assert caught.value.family == family
    assert isinstance(caught.value, Refusal)


@pytest.mark.parametrize("case", BUILDERS)
def test_models_without_a_ferromagnetic_transition_are_refused(case):
    with pytest.raises(NoTransition):
        find_beta_c(BUILDERS[case], (4, 8, 16), seconds=1)


def test_the_refused_coupling_is_named():
    model = lattice.square(4, Jx=-1, Jy=1)
    with pytest.raises(NoTransition, match=r"J\[0, 1\] = -1 < 0.*flip one sublattice"):
        find_beta_c(lambda size: model, (4, 8, 16), seconds=1)


def random_bonds(size):
    model = lattice.square(size)
    terms = model.terms
    strength = 1 + np.arange(terms.i.size) % 2
    return IsingModel.from_edges((terms.i, terms.j, strength), model.n, geometry=model.geometry)


UNSUPPORTED = {
    "curie_weiss": "without positions",
    "random_regular": "without positions",
    "hypercubic4": "not 4",
    "open": "surfaces",
    "random bonds": "differs between cells",
    "bare graph": "without positions",
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_lattices_whose_scaling_is_not_known_are_refused(case):
    builders = {
        "open": lambda size: lattice.square(size, boundary="open"),
        "random bonds": random_bonds,
        "bare graph": lambda size: IsingModel(lattice.square(size).couplings, np.zeros(size**2)),
    }
    with pytest.raises(Unsupported, match=UNSUPPORTED[case]):
        find_beta_c(builders.get(case, case), (6, 8, 10), seconds=1)


def stacked_rings(size):
    """Rings without coupling between them, said to be a plane of which nothing is known."""
    model = lattice.square(size, Jy=0)
    return replace(model, geometry=replace(model.geometry, beta_c=None))


def test_rings_that_pass_for_a_plane_are_refused():
    with pytest.raises(Refusal):
        find_beta_c(stacked_rings, (4, 8, 12), seconds=60, seed=1)


def test_sizes_that_do_not_cross_in_the_searched_range_are_refused(monkeypatch):
    monkeypatch.setattr(pilot, "SEARCH_END", 1.5)  # the mean-field bound is 0.25
    with pytest.raises(NoCrossing, match="does not cross") as caught:
        find_beta_c("square", (4, 8, 12), sweeps=(9, 9, 9), seed=1)
    assert caught.value.sizes == (4, 8)
    assert caught.value.low == 0.25
    assert caught.value.high == pytest.approx(0.36)


def test_a_budget_that_cannot_do_says_what_could():
    with pytest.raises(SmallBudget, match=r"seconds = 0\.05 are too few") as caught:
        find_beta_c("square", (8, 16, 32), seconds=0.05, seed=1)
    assert caught.value.needed > 0.05


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"sizes": (8, 16)}, r"at least 3 sizes, got \[8, 16\]"),
        ({"sizes": (3, 8, 16)}, r"integers >= 4: sizes\[0\] = 3"),
        ({"sizes": (8, 16, 16)}, r"sizes\[2\] = 16 after 16"),
        ({"sizes": (8, 12.5, 16)}, r"sizes\[1\] = 12.5"),
        ({"seconds": 0}, "seconds must be finite and > 0, got 0"),
        ({"sweeps": (10, 10)}, r"each of 3 sizes, got \(10, 10\)"),
        ({"family": "sqare"}, "family must be one of"),
        ({"family": lambda size: lattice.square((size, 8))}, "must have one shape"),
    ],
)
def test_bad_arguments_are_named(arguments, said):
    given = {"family": "square", "sizes": (8, 16, 32), "seconds": 1.0} | arguments
    with pytest.raises(ValueError, match=said):
        find_beta_c(given.pop("family"), given.pop("sizes"), **given)


# --- Studies ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.statistical(alpha=2e-5)
@pytest.mark.parametrize(
    ("family", "sizes", "sweeps"),
    [("square", (8, 16, 32), (2000, 4000, 4000)), ("cubic", (6, 8, 12), (1500, 2000, 1000))],
)
def test_pulls_of_twenty_seeds_are_standard_normal(family, sizes, sweeps):
    n = 20
    points = [find_beta_c(family, sizes, sweeps=sweeps, seed=seed) for seed in range(n)]
    pulls = np.array([point.sigmas for point in points])
    low, high = stats.chi2.ppf([5e-6, 1 - 5e-6], n)
    assert low < (pulls**2).sum() < high
    assert abs(pulls.mean()) * math.sqrt(n) < stats.norm.isf(5e-6)


@pytest.mark.slow
@pytest.mark.statistical(alpha=2e-5)
def test_beta_c_of_the_triangular_lattice_is_the_exact_one():
    point = find_beta_c("triangular", (8, 16, 32), sweeps=(2000, 4000, 4000), seed=1)
    assert abs(point.sigmas) < 4.5
    assert point.beta_c.error < 2e-3
