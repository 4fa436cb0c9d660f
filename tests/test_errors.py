"""Errors of functions of averages: autoregressive series whose tau and errors are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import signal, stats

from isingnpu.criticality.errors import Derived, derived
from isingnpu.statistics import ShortChain, jackknife

ALPHA = 1e-6


def autoregressive(tau, shape, rng):
    """x_t = a x_(t-1) + noise with variance 1, rho(t) = a^t and tau = (1 + a) / (2 (1 - a))."""
    a = (2 * tau - 1) / (2 * tau + 1)
    noise = rng.standard_normal(shape) * math.sqrt(1 - a**2)
    start = rng.standard_normal((shape[0], 1))
    return signal.lfilter([1.0], [1.0, -a], noise, axis=1, zi=a * start)[0]


def mean_error(tau, n):
    """Exact standard deviation of the mean of n samples of such a series."""
    a = (2 * tau - 1) / (2 * tau + 1)
    t = np.arange(1, n)
    return math.sqrt((1 + 2 * ((1 - t / n) * a**t).sum()) / n)


@pytest.mark.statistical(alpha=3 * 4 * ALPHA)
@pytest.mark.parametrize("tau", [5, 50, 500])
def test_both_errors_and_tau_of_a_known_series_are_right(tau):
    """One replica of 800 tau, 60 times: every error within 4 sigma of its own noise on average,
    and pulls of <x>^2 + <x> (the mean is far from 0) that are standard normal."""
    rng, runs, n = np.random.default_rng(tau), 60, 800 * tau
    x = autoregressive(tau, (runs, n), rng) + 5
    found = [derived(lambda m: m**2 + m, row) for row in x]
    exact = 11 * mean_error(tau, n)
    for errors, noise in (
        ([d.gamma for d in found], 3 * math.sqrt(tau / n)),
        ([d.jackknife for d in found], 1 / math.sqrt(2 * found[0].blocks)),
    ):
        # the mean of 60 errors; a window or block that is too short costs up to 3 %
        allowed = stats.norm.isf(ALPHA / 2) * noise / math.sqrt(runs) + 0.03
        assert np.mean(errors) / exact == pytest.approx(1, abs=allowed)
    taus = np.array([d.tau for d in found])
    allowed = stats.norm.isf(ALPHA / 2) * 6 * math.sqrt(tau / n) / math.sqrt(runs) + 0.03
    assert taus.mean() / tau == pytest.approx(1, abs=allowed)
    pulls = np.array([(d.value - 30) / d.gamma for d in found])
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], runs)
    assert 0.94 * low < (pulls**2).sum() < 1.06 * high


def test_jackknife_is_the_one_of_statistics_over_blocks_of_twenty_tau():
    x = autoregressive(5, (1, 8000), np.random.default_rng(1))[0]
    found = derived(lambda a, b: a / b, x + 3, x**2)
    pieces = int(8000 / (20 * found.tau))
    length = 8000 // pieces
    blocks = [y[8000 - pieces * length :].reshape(pieces, length).mean(axis=1)
              for y in (x + 3, x**2)]  # fmt: skip
    expected = jackknife(lambda a, b: a / b, *blocks)
    assert found.blocks == pieces
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert found.jackknife == pytest.approx(expected.error, rel=1e-12)


def test_replicas_are_the_blocks_where_there_are_enough():
    x = autoregressive(2, (256, 400), np.random.default_rng(2))
    found = derived(lambda a: math.exp(a), x)
    means = x.mean(axis=1)
    assert found.blocks == 256
    assert found.jackknife == pytest.approx(jackknife(np.exp, means).error, rel=1e-12)
    assert found.trouble == ""
    assert found.estimate.error == max(found.gamma, found.jackknife)
    assert found.estimate.n_eff == pytest.approx(256 * 400 / (2 * found.tau))


def test_a_run_shorter_than_fifty_tau_is_flagged():
    x = autoregressive(10, (64, 300), np.random.default_rng(3))
    found = derived(lambda a: a, x)
    assert "less than 50" in found.trouble
    assert "differ" not in found.trouble


def test_a_slow_mode_behind_the_window_is_flagged():
    """White noise plus a mode of tau = 400 with 2 % of the variance: the window closes before it
    shows, blocks of many tau see it."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((256, 2000)) + math.sqrt(0.02) * autoregressive(400, (256, 2000), rng)
    found = derived(lambda a: a, x)
    assert found.jackknife > 1.5 * found.gamma
    assert "differ by more than 20 %" in found.trouble
    assert found.error == found.jackknife


def test_stuck_replicas_are_refused():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((8, 500)) + np.arange(8)[:, None]
    with pytest.raises(ShortChain):
        derived(lambda a: a, x)


def test_a_constant_has_no_error():
    found = derived(lambda a, b: a * b, np.full(100, 2.0), np.full(100, 3.0))
    assert (found.value, found.gamma, found.jackknife) == (6.0, 0.0, 0.0)
    assert found.trouble == ""


def test_series_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one shape, got \[\(1, 5\), \(1, 6\)\]"):
        derived(lambda a, b: a, np.ones(5), np.ones(6))


@pytest.mark.parametrize(("ratio", "flagged"), [(1.19, False), (1.21, True), (1 / 1.21, True)])
def test_the_flag_is_raised_at_twenty_percent_either_way(ratio, flagged):
    found = Derived(1.0, 0.1, 0.1 * ratio, 1.0, 1000, 1, 100)
    assert bool(found.trouble) == flagged
