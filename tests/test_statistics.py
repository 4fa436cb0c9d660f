"""Errors of Monte Carlo averages against AR(1) chains, algebraic identities and brute force."""

from __future__ import annotations

import json
import math
import pickle
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.signal import lfilter

from isingnpu.statistics import (
    Estimate,
    Refusal,
    ShortChain,
    autocorrelation,
    binning,
    binning_errors,
    estimate,
    integrated_time,
    jackknife,
    jackknife_covariance,
    jackknife_samples,
    time_to_target,
    time_to_target_interval,
)

ALPHA = 1e-6


def ar1(tau, shape, seed):
    """Stationary x_t = a x_{t-1} + noise of mean 0, variance 1: rho(t) = a^t, so that
    tau = (1 + a) / (2 (1 - a))."""
    a = (2 * tau - 1) / (2 * tau + 1)
    noise = np.random.default_rng(seed).standard_normal(shape)
    noise[..., 1:] *= math.sqrt(1 - a * a)
    return lfilter([1.0], [1.0, -a], noise, axis=-1)


def sd_band(n, alpha):
    """Where the standard deviation of n unit normals of mean 0 lies with probability 1 - alpha."""
    return np.sqrt(stats.chi2.ppf([alpha / 2, 1 - alpha / 2], n) / n)


# --- Estimate ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.440686793, 0.00005, "0.44069(5)"),
        (0.44068, 0.000049, "0.44068(5)"),
        (0.440686793, 0.00012, "0.44069(12)"),
        (0.440686793, 0.0002, "0.4407(2)"),
        (0.440686793, 0.00096, "0.4407(10)"),
        (0.221654626, 5e-9, "0.221654626(5)"),
        (-1.4142135, 0.0003, "-1.4142(3)"),
        (11565.2, 3.0, "11565(3)"),
        (11565.2, 34.0, "11570(30)"),
        (13359, 123, "13360(120)"),
        (4.5123e6, 31000.0, "4.51(3)e+06"),
        (1.2345e-12, 4e-14, "1.23(4)e-12"),
        (1e20, 1e18, "1.000(10)e+20"),
        (-0.3, 2.0, "0(2)"),
        (0.3, 20.0, "0(20)"),
        (0.0, 3e-7, "0(3)e-07"),
        (0.00012, 0.00003, "0.00012(3)"),
        (0.4406867935097715, 0.0, "0.4406867935097715(0)"),
        (0.4406867935097715, math.nan, "0.440687(nan)"),
        (2.0, math.inf, "2(inf)"),
        (math.nan, 0.1, "nan(0.1)"),
        (5e-324, 1e308, "0.0(10)e+308"),
        (1e308, 2e-300, "1" + "0" * 308 + "." + "0" * 300 + "(2)"),
    ],
)
def test_estimate_prints_the_value_to_the_digits_of_its_error(value, error, text):
    assert str(Estimate(value, error)) == text


@settings(deadline=None)
@given(st.floats(-1e12, 1e12), st.floats(1e-12, 1e12))
def test_printed_estimate_differs_by_at_most_half_a_unit_of_the_last_digit(value, error):
    mantissa, digits, exponent = re.fullmatch(
        r"(-?[\d.]+)\((\d+)\)(?:e(.\d+))?", str(Estimate(value, error))
    ).groups()
    scale = Decimal(10) ** int(exponent or 0)
    decimals = len(mantissa.partition(".")[2])
    shown = Decimal(digits).scaleb(-decimals) * scale
    # zeros in front of the point are places, not digits: 11570(30)
    significant = digits if decimals else digits.rstrip("0")
    unit = shown / int(significant)
    assert 1 <= len(significant) <= 2
    assert abs(shown - Decimal(repr(error))) <= unit / 2
    assert abs(Decimal(mantissa) * scale - Decimal(repr(value))) <= unit / 2


def test_json_of_an_estimate_has_four_keys_and_no_nan():
    full = Estimate(np.float64(0.5), np.float32(0.25), 3.0, 1000)
    assert json.loads(json.dumps(full.to_json(), allow_nan=False)) == {
        "value": 0.5,
        "error": 0.25,
        "n_eff": 1000.0,
        "tau": 3.0,
    }
    bare = Estimate(math.nan, math.inf).to_json()
    assert bare == {"value": None, "error": None, "n_eff": None, "tau": None}


def test_sigmas_adds_errors_in_quadrature():
    assert Estimate(1.0, 3.0).sigmas(11.0, 4.0) == -2.0
    assert Estimate(2.5, 0.5).sigmas(1.0) == 3.0
    assert Estimate(2.0, 0.0).sigmas(2.0) == 0.0
    assert Estimate(2.0, 0.0).sigmas(3.0) == -math.inf
    assert math.isnan(Estimate(math.nan, 0.0).sigmas(3.0))


def test_estimates_without_a_time_series_compare_equal():
    assert Estimate(1.0, 0.5, np.nan, float("nan")) == Estimate(1.0, 0.5)


def test_negative_error_is_refused():
    with pytest.raises(ValueError, match=r"must be >= 0, got -0\.1"):
        Estimate(1.0, -0.1)


# --- autocorrelation and tau ------------------------------------------------------------------


def exact_gamma(replicas):
    """Gamma(t) of integer series by its definition, in rational arithmetic."""
    n = len(replicas[0])
    mean = Fraction(sum(map(sum, replicas)), n * len(replicas))
    return [
        sum((row[i] - mean) * (row[i + t] - mean) for row in replicas for i in range(n - t))
        / (len(replicas) * (n - t))
        for t in range(n)
    ]


@pytest.mark.parametrize("shape", [(1, 3), (1, 16), (3, 7), (5, 33)])
def test_autocorrelation_is_the_lagged_product_of_deviations(shape):
    series = np.random.default_rng(5).integers(-4, 5, shape)
    gamma = exact_gamma(series.tolist())
    expected = [float(g / gamma[0]) for g in gamma]
    # FFT of n <= 128 points: rounding of a few log2(n) ulp of rho(0), amplified at most n - fold
    np.testing.assert_allclose(autocorrelation(series), expected, rtol=0, atol=128 * 7 * 2.3e-16)


@pytest.mark.parametrize("seed", [8, 20, 21])
def test_tau_is_wolffs_corrected_sum_over_the_window(seed):
    """Wolff 2004 eqs. 42 and 49 by explicit sums in rational arithmetic."""
    rows = np.cumsum(np.random.default_rng(seed).integers(-1, 2, (6, 60)), axis=1) % 5
    n, gamma = rows.size, exact_gamma(rows.tolist())
    total, window = gamma[0], 0
    while window < max(5 * total / gamma[0], 5):
        window += 1
        total += 2 * gamma[window]
    corrected = total * (1 + Fraction(2 * window + 1, n))
    variance = gamma[0] + total / n
    tau = float(corrected / (2 * variance))
    assert tau > 1  # neither the floor nor white noise
    found = integrated_time(rows)
    assert found.value == pytest.approx(tau, rel=1e-12)
    assert found.error == pytest.approx(2 * tau * math.sqrt((window + 0.5 - tau) / n), rel=1e-12)
    mean = estimate(rows, minimum=1)
    assert mean.value == rows.mean()
    assert mean.error == pytest.approx(math.sqrt(corrected / n), rel=1e-12)
    assert mean.n_eff == pytest.approx(n / (2 * tau), rel=1e-12)


@pytest.mark.parametrize(
    ("tau", "repeats", "replicas", "samples"),
    [(5, 500, 1, 10_000), (50, 150, 4, 12_500), (500, 50, 8, 62_500)],
)
@pytest.mark.statistical(alpha=2 * ALPHA)
def test_tau_of_ar1_is_unbiased_with_an_honest_error(tau, repeats, replicas, samples):
    found = [integrated_time(x) for x in ar1(tau, (repeats, replicas, samples), seed=tau)]
    values = np.array([f.value for f in found])
    errors = np.array([f.error for f in found])
    # the window may cost a tenth of the stated error
    allowed = 0.1 * errors.mean()
    noise = stats.t.isf(ALPHA / 2, repeats - 1) * values.std(ddof=1) / math.sqrt(repeats)
    assert abs(values.mean() - tau) < allowed + noise
    low, high = sd_band(repeats - 1, ALPHA)
    assert 0.8 * low < ((values - tau) / errors).std(ddof=1) < 1.2 * high


@pytest.mark.parametrize(
    ("tau", "repeats", "replicas", "samples"),
    [(0.5, 1000, 1, 2000), (5, 1000, 1, 5000), (5, 600, 8, 625), (50, 200, 4, 12_500)],
)
@pytest.mark.statistical(alpha=2 * ALPHA)
def test_mean_of_ar1_deviates_by_its_error(tau, repeats, replicas, samples):
    found = [estimate(x) for x in ar1(tau, (repeats, replicas, samples), seed=1)]
    pulls = np.array([f.value / f.error for f in found])
    assert abs(pulls.mean()) < stats.norm.isf(ALPHA / 2) / math.sqrt(repeats)
    # <tau / tau_hat> - 1 is the relative variance of tau_hat, 36 tau / n. In white noise tau_hat
    # has the variance 5 / n, and the floor at 1/2 raises it by sqrt(5 / (2 pi n))
    n = replicas * samples
    spread = 36 * tau / n
    floor = math.sqrt(5 / (2 * math.pi * n)) if tau == 0.5 else 0.0
    low, high = sd_band(repeats, ALPHA)
    assert low * (1 - spread - floor) < np.sqrt(np.mean(pulls**2)) < high * (1 + spread)


@pytest.mark.statistical(alpha=ALPHA)
def test_larger_of_two_errors_is_as_wide_as_the_docstring_says():
    """Sixteen replicas: <max(1, chi2_15 / 15)^(1/2)> = 1.06, an error 6 % too large."""
    repeats, replicas = 1500, 16
    found = [estimate(x) for x in ar1(2, (repeats, replicas, 200), seed=2)]
    pulls = np.array([f.value / f.error for f in found])
    q = stats.chi2.ppf((np.arange(10_000) + 0.5) / 10_000, replicas - 1) / (replicas - 1)
    expected = math.sqrt(np.mean(1 / np.maximum(1, q)))
    low, high = sd_band(repeats, ALPHA)
    assert low * expected < np.sqrt(np.mean(pulls**2)) < high * expected * (1 + 36 * 2 / 3200)
    assert np.mean(np.sqrt(np.maximum(1, q))) == pytest.approx(1.06, abs=0.005)


def test_error_is_not_below_the_spread_of_replicas():
    """Frozen offsets of 5 % that the window of the fast mode cannot see."""
    x = ar1(5, (64, 2000), seed=3)
    x += 0.05 * np.random.default_rng(4).standard_normal((64, 1))
    spread = x.mean(axis=1).std(ddof=1) / 8
    fast = math.sqrt(2 * integrated_time(x).value * x.var() / x.size)
    assert spread > 1.1 * fast
    assert estimate(x).error == spread
    few = estimate(x[:15])  # too few to measure a spread: the Gamma method alone
    assert few.n_eff == pytest.approx(15 * 2000 / (2 * few.tau), rel=1e-12)


@pytest.mark.statistical(alpha=ALPHA)
def test_period_two_does_not_hide_a_slow_mode():
    """Sequential Metropolis flips free spins on every sweep: rho(1) < 0, yet tau = 0.3 T."""
    n, slow = 100_000, 50
    x = math.sqrt(0.3) * ar1(slow, n, seed=19) + math.sqrt(0.7) * (-1.0) ** np.arange(n)
    found = integrated_time(x)
    cut = math.exp(-10 * 0.3 * 0.9)
    assert found.value > 0.3 * slow * (1 - cut) - stats.norm.isf(ALPHA) * found.error


def test_anticorrelated_series_has_the_error_of_independent_samples():
    x = np.tile([1.0, -1.0], 500)
    np.testing.assert_allclose(autocorrelation(x), (-1.0) ** np.arange(1000), atol=1e-12)
    # variance 1 + 2 (1/2) / n after the correction of the mean
    expected = math.sqrt((1 + 1 / 1000) / 1000)
    assert integrated_time(x).value == 0.5
    assert estimate(x).error == pytest.approx(expected, rel=1e-12)


def test_constant_series_has_tau_one_half_and_error_zero():
    x = np.full((3, 40), 0.1)
    assert autocorrelation(x).tolist() == [1.0] + [0.0] * 39
    assert integrated_time(x) == Estimate(0.5, 0.0, n_eff=120)
    assert estimate(x) == Estimate(0.1, 0.0, 0.5, 120)


def test_tau_does_not_depend_on_unit_and_origin():
    x = ar1(3, (2, 400), seed=6)
    assert integrated_time(-1024 * x).value == integrated_time(x).value  # powers of two are exact
    # the shift costs the digits of 1e3 in x: 1e3 eps n relative to the variance
    assert integrated_time(x + 1e3).value == pytest.approx(integrated_time(x).value, rel=1e-9)


# --- refusals ---------------------------------------------------------------------------------


def test_chain_of_twenty_tau_is_refused_with_what_is_missing():
    x = ar1(50, 1000, seed=7)
    tau = integrated_time(x).value
    assert 20 * tau < 1000 < 50 * tau
    with pytest.raises(ShortChain, match="1000 samples per replica") as refused:
        estimate(x)
    error = refused.value
    assert (error.tau, error.n, error.needed) == (tau, 1000, math.ceil(50 * tau))
    assert f"run at least {error.needed} samples per replica" in str(error)
    assert isinstance(error, Refusal)
    assert isinstance(error, ValueError)


def test_minimum_is_in_units_of_tau_per_replica():
    x = ar1(5, (40, 500), seed=10)
    ratio = 500 / integrated_time(x).value
    assert estimate(x, minimum=0.999 * ratio).n_eff > 0
    with pytest.raises(ShortChain):
        estimate(x, minimum=1.001 * ratio)


def test_replicas_in_different_states_are_refused():
    states = np.repeat([[1.0], [-1.0]], 8, axis=0)
    x = states + 0.1 * np.random.default_rng(11).standard_normal((16, 400))
    for average in (estimate, integrated_time):
        with pytest.raises(ShortChain) as refused:
            average(x)
        assert refused.value.needed > 400


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_samples_are_refused(n):
    with pytest.raises(ShortChain):
        estimate(np.arange(float(n)))


def test_refusal_survives_pickling_between_processes():
    error = pickle.loads(pickle.dumps(ShortChain(12.5, 100, 625)))
    assert (error.tau, error.n, error.needed) == (12.5, 100, 625)
    assert "run at least 625" in str(error)


def test_malformed_series_is_refused_with_index_and_value():
    with pytest.raises(ValueError, match=r"series\[1, 2\] = nan"):
        estimate([[1.0, 2.0, 3.0], [1.0, 2.0, math.nan]])
    with pytest.raises(ValueError, match=r"got \(2, 2, 2\)"):
        integrated_time(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match=r"not empty, got \(0,\)"):
        autocorrelation([])
    with pytest.raises(ValueError, match=r"c must be > 0, got 0"):
        integrated_time([1.0, 2.0], c=0)


# --- blocks -----------------------------------------------------------------------------------


def test_blocks_are_means_of_the_last_samples_replica_by_replica():
    x = np.arange(14).reshape(2, 7)
    assert binning(x, 3).tolist() == [1.5, 3.5, 5.5, 8.5, 10.5, 12.5]
    assert binning(x[0], 2).tolist() == [2.0, 5.0]
    vector = np.stack([x, -x], axis=-1)  # (replicas, samples, 2)
    assert binning(vector, 3).tolist() == [[b, -b] for b in binning(x, 3)]


@pytest.mark.parametrize("n_blocks", [0, 8])
def test_impossible_number_of_blocks_is_refused(n_blocks):
    with pytest.raises(ValueError, match=rf"1\.\.samples of a series \(1, 7\), got {n_blocks}"):
        binning(np.arange(7), n_blocks)


def test_first_level_of_blocking_is_the_naive_error():
    x = np.arange(40.0).reshape(2, 20)
    lengths, errors, uncertainties = binning_errors(x)
    assert lengths.tolist() == [1, 2]  # 20 and 10 blocks per replica; 5 would leave 10 in all
    assert errors[0] == pytest.approx(np.std(x, ddof=1) / math.sqrt(40), rel=1e-14)
    assert uncertainties[1] == pytest.approx(errors[1] / math.sqrt(2 * 19), rel=1e-14)


@pytest.mark.statistical(alpha=ALPHA)
def test_blocking_reaches_the_variance_of_ar1_block_means():
    tau, shape = 4, (8, 1 << 14)
    a = (2 * tau - 1) / (2 * tau + 1)
    lengths, errors, _ = binning_errors(ar1(tau, shape, seed=12))
    n = shape[0] * shape[1]
    plateau = lengths >= 32 * tau  # block means are independent: correlation tau / length
    b = lengths[plateau]
    # variance of the mean of b samples of AR(1), the double sum of a^|i - j|
    exact = ((1 + a) / (1 - a) - 2 * a * (1 - a**b) / (b * (1 - a) ** 2)) / n
    chi2 = (n / b - 1) * errors[plateau] ** 2 / exact
    assert plateau.sum() >= 4
    assert np.all(chi2 > stats.chi2.ppf(ALPHA / (2 * b.size), n / b - 1))
    assert np.all(chi2 < stats.chi2.isf(ALPHA / (2 * b.size), n / b - 1))


# --- jackknife --------------------------------------------------------------------------------


def test_jackknife_of_the_mean_is_the_standard_error():
    x = np.random.default_rng(13).standard_normal(50)
    found = jackknife(lambda m: m, x)
    assert found.value == pytest.approx(x.mean(), rel=1e-12)
    assert found.error == pytest.approx(x.std(ddof=1) / math.sqrt(50), rel=1e-12)
    assert found.n_eff == 50
    assert math.isnan(found.tau)


def test_jackknife_of_a_square_removes_the_variance_of_the_mean():
    """<m>^2 - s^2 / n is the unbiased estimate of mu^2, and the jackknife of m^2 is exactly it."""
    x = np.random.default_rng(14).standard_normal(20) + 0.5
    expected = x.mean() ** 2 - x.var(ddof=1) / 20
    assert jackknife(lambda m: m * m, x).value == pytest.approx(expected, rel=1e-12)


def test_jackknife_of_a_ratio_agrees_with_the_delta_method():
    rng = np.random.default_rng(15)
    n = 2000
    b = 1 + 0.2 * rng.standard_normal(n)
    a = 2 * b + 0.1 * rng.standard_normal(n)
    gradient = np.array([1 / b.mean(), -a.mean() / b.mean() ** 2])
    delta = math.sqrt(gradient @ np.cov(a, b) @ gradient / n)
    found = jackknife(lambda x, y: x / y, a, b)
    # a mean without one block differs by d b / n: the relative size of the next order
    assert found.error == pytest.approx(delta, rel=np.abs(b - b.mean()).max() / n)
    assert found.value == pytest.approx(a.mean() / b.mean(), abs=delta / math.sqrt(n))


def test_jackknife_covariance_of_means_is_their_covariance():
    blocks = np.random.default_rng(16).standard_normal((30, 3)) @ np.array(
        [[1.0, 0.5, 0.0], [0.0, 1.0, -0.3], [0.0, 0.0, 2.0]]
    )
    samples = jackknife_samples(lambda m: m, blocks)
    assert samples.shape == (30, 3)
    expected = np.cov(blocks, rowvar=False) / 30
    np.testing.assert_allclose(jackknife_covariance(samples), expected, rtol=1e-11)


@pytest.mark.statistical(alpha=ALPHA)
def test_jackknife_over_long_blocks_has_the_error_of_the_gamma_method():
    x = ar1(3, (8, 6000), seed=17)
    blocked = jackknife(lambda m: m, binning(x, 50))  # 400 blocks of 120 samples, 40 tau
    gamma = estimate(x)
    # 1 / sqrt(2 blocks) and half of sqrt(36 tau / n)
    noise = math.hypot(1 / math.sqrt(800), 0.5 * math.sqrt(36 * 3 / x.size))
    allowed = stats.norm.isf(ALPHA / 2) * noise + 3 / 120
    assert abs(blocked.error / gamma.error - 1) < allowed


def test_jackknife_refuses_what_it_cannot_average():
    with pytest.raises(ValueError, match=r"got \[3, 2\]"):
        jackknife(lambda a, b: a / b, [1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"at least 2, in every array; got \[1\]"):
        jackknife(lambda m: m, [1.0])
    with pytest.raises(ValueError, match=r"shape \(3,\); use jackknife_samples"):
        jackknife(lambda m: m, np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"\(n_blocks >= 2, k\), got \(4,\)"):
        jackknife_covariance(np.ones(4))


# --- time to target ---------------------------------------------------------------------------


def test_time_to_target_at_many_reads_is_the_closed_form():
    k, n, t = 20_000, 1_000_000, 0.003
    p = k / n
    found = time_to_target(k, n, t)
    plug_in = t * math.log(0.01) / math.log(1 - p)
    delta = plug_in / -math.log1p(-p) / (1 - p) * math.sqrt(p * (1 - p) / n)
    # median and mean of the posterior differ by O(1 / n) of p, that is 1 / k relative
    assert found.value == pytest.approx(plug_in, rel=1 / k)
    # half of the 16 % to 84 % interval of a normal, in which the skewness cancels
    assert found.error == pytest.approx(delta * stats.norm.ppf(0.84), rel=1 / k)
    assert found.n_eff == n


@pytest.mark.statistical(alpha=2 * ALPHA)
def test_runs_as_long_as_the_time_to_target_succeed_with_its_confidence():
    rng = np.random.default_rng(18)
    reads, runs, p = 400_000, 400_000, 0.2
    found = time_to_target(int((rng.random(reads) < p).sum()), reads, 1.0, confidence=0.9)
    first_success = rng.geometric(p, runs)
    z = stats.norm.isf(ALPHA / 2) * math.sqrt(0.1 * 0.9 / runs)
    # the relative error of the estimate shifts the confidence by 0.1 ln(10) of itself
    z += 0.1 * math.log(10) * stats.norm.isf(ALPHA / 2) * found.error / found.value
    assert np.mean(first_success <= math.floor(found.value)) < 0.9 + z
    assert np.mean(first_success <= math.ceil(found.value)) > 0.9 - z
    # and the bracket is narrow enough to tell: one read more or fewer would be seen
    assert np.mean(first_success <= math.floor(found.value) + 1) > 0.9 + z
    assert np.mean(first_success <= math.ceil(found.value) - 1) < 0.9 - z


@pytest.mark.parametrize(("reads", "mass"), [(1, 0.68), (20, 0.68), (20, 0.95)])
def test_interval_holds_its_mass_averaged_over_the_prior(reads, mass):
    """Over p from the Jeffreys prior every posterior interval is exact, k = 0 included."""
    p = stats.beta.ppf((np.arange(2000) + 0.5) / 2000, 0.5, 0.5)
    confidence = 1 - 1e-12  # the floor of one read is out of reach
    truth = math.log1p(-confidence) / np.log1p(-p[p < 1 - 1e-12])
    covered = np.zeros(truth.size)
    for k in range(reads + 1):
        low, high = time_to_target_interval(k, reads, 1.0, confidence=confidence, mass=mass)
        inside = (low <= truth) & (truth <= high)
        covered += stats.binom.pmf(k, reads, p[: truth.size]) * inside
    # each of 2 (reads + 1) interval ends is placed to one grid cell of weight at most 1 / 2000
    assert covered.sum() / 2000 == pytest.approx(mass, abs=(reads + 1) / 2000)


def test_no_success_gives_no_value_but_a_lower_bound():
    assert time_to_target(0, 100, 2.0) is None
    low, high = time_to_target_interval(0, 100, 2.0, mass=0.95)
    assert high == math.inf
    p = stats.beta.ppf(0.95, 0.5, 100.5)
    assert low == pytest.approx(2.0 * math.log(0.01) / math.log(1 - p), rel=1e-10)


def test_time_to_target_is_at_least_one_read():
    assert time_to_target(1000, 1000, 2.5) == Estimate(2.5, 0.0, n_eff=1000)
    assert time_to_target_interval(1000, 1000, 2.5) == (2.5, 2.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, 4, 1.0, 0.99), "got 5 of 4"),
        ((-1, 4, 1.0, 0.99), "got -1 of 4"),
        ((0, 0, 1.0, 0.99), "got 0 of 0"),
        ((1, 4, 0.0, 0.99), "time_per_read = 0.0"),
        ((1, 4, math.nan, 0.99), "time_per_read = nan"),
        ((1, 4, 1.0, 1.0), "confidence = 1.0"),
    ],
)
def test_impossible_counts_are_refused(arguments, message):
    successes, reads, time, confidence = arguments
    with pytest.raises(ValueError, match=message):
        time_to_target(successes, reads, time, confidence=confidence)
