"""Attention rows as Gibbs measures, their critical scales and their random-energy reference."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import special, stats
from scipy.optimize import brentq

from isingnpu.criticality.attention import (
    MARKERS,
    attention_criticality,
    critical_scale,
    guard_rail,
    spread_peak,
)
from isingnpu.criticality.random_energy import (
    disorder_average,
    freezing_beta,
    limiting_entropy,
    limiting_participation,
)
from isingnpu.criticality.softmax import (
    gap_counting_beta,
    heat_capacity_peak,
    keys_beta,
    probabilities,
    score_deviation,
    self_consistent_beta,
    softmax,
)

SIGMAS = 5.0
ALPHA = 2 * stats.norm.sf(SIGMAS)

SCORES = arrays(
    np.float64,
    array_shapes(min_dims=1, max_dims=3, max_side=6),
    elements=st.floats(-30, 30, width=32),
)


def normal_scores(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# The Gibbs measure of a row.


@given(SCORES, st.floats(0, 5))
def test_averages_are_those_of_the_softmax_of_scipy(scores, beta):
    at = softmax(scores, beta)
    p = special.softmax(beta * scores, axis=-1)
    mean = (p * scores).sum(axis=-1)
    assert at.log_z == pytest.approx(special.logsumexp(beta * scores, axis=-1), abs=1e-12)
    assert at.entropy == pytest.approx(stats.entropy(p, axis=-1), abs=1e-12)
    assert at.mean == pytest.approx(mean, abs=1e-12)
    variance = (p * (scores - mean[..., None]) ** 2).sum(axis=-1)
    assert at.variance == pytest.approx(variance, rel=1e-12, abs=1e-12)
    assert at.participation == pytest.approx((p**2).sum(axis=-1), rel=1e-13)
    assert at.largest == pytest.approx(p.max(axis=-1), rel=1e-13)
    assert probabilities(scores, beta) == pytest.approx(p, rel=1e-13, abs=1e-300)
    assert at.n_eff == pytest.approx(np.exp(at.entropy), rel=1e-15)


def complex_step_slope(scores: np.ndarray, beta: float) -> np.ndarray:
    """dH/dbeta as Im H(beta + i h) / h: no difference is taken, so no digit is lost."""
    h = 1e-100
    x = (beta + 1j * h) * (scores - scores.max(axis=-1, keepdims=True))
    p = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
    return -(p * np.log(p)).sum(axis=-1).imag / h


@pytest.mark.parametrize("n", [2, 16, 1024])
@pytest.mark.parametrize("beta", [0.01, 0.5, 2.0, 10.0])
def test_entropy_slope_is_minus_beta_times_the_variance(n, beta):
    scores = normal_scores(20, n)
    exact_slope = complex_step_slope(scores, beta)
    assert softmax(scores, beta).entropy_slope == pytest.approx(exact_slope, rel=1e-8)


def test_masked_keys_take_no_part():
    scores = normal_scores(5, 12)
    masked = np.where(np.arange(12) < 7, scores, -np.inf)
    for beta in (0.0, 1.3):
        whole, part = softmax(masked, beta), softmax(scores[:, :7], beta)
        for name in ("n", "log_z", "entropy", "variance", "participation", "largest"):
            assert getattr(whole, name) == pytest.approx(getattr(part, name), rel=1e-14), name
    for function in (keys_beta, self_consistent_beta, gap_counting_beta, score_deviation):
        assert function(masked) == pytest.approx(function(scores[:, :7]), rel=1e-13)
    assert heat_capacity_peak(masked)[0] == pytest.approx(
        heat_capacity_peak(scores[:, :7])[0], rel=1e-7
    )
    assert np.all(probabilities(masked, 1.0)[:, 7:] == 0)


def test_extreme_scores_neither_overflow_nor_lose_the_ties():
    at = softmax([1e4, 1e4, -1e4, 0.0], 50.0)
    assert at.entropy == pytest.approx(math.log(2), rel=1e-15)  # H(inf) = ln(number of ties)
    assert at.variance == 0
    assert softmax([3.0], 2.0).entropy == 0


# Scales of a row.


@given(st.integers(2, 40), st.floats(0.1, 10), st.floats(-5, 5), st.integers(0, 1000))
def test_scales_are_covariant_under_scaling_and_shifting_of_scores(n, a, shift, seed):
    scores = normal_scores(3, n, seed=seed)
    for function in (keys_beta, self_consistent_beta, gap_counting_beta):
        assert function(a * scores + shift) * a == pytest.approx(function(scores), rel=1e-9)


def test_self_consistent_scale_solves_its_equation_below_the_scale_of_all_keys():
    scores = np.concatenate(
        [normal_scores(50, 64), np.eye(50, 64) * 9, normal_scores(50, 64) ** 3]
    )
    beta = self_consistent_beta(scores)
    target = np.sqrt(2 * softmax(scores, beta).entropy)
    assert beta * score_deviation(scores) == pytest.approx(target, rel=1e-12)
    assert np.all(beta < keys_beta(scores))


@pytest.mark.parametrize("degeneracy", [1, 5, 100])
def test_heat_capacity_peak_of_two_levels_is_that_of_schottky(degeneracy):
    # ln C = 2 ln x - x - 2 ln(1 + D e^-x) + ln D, x = beta gap: stationary where
    # (x / 2) tanh((x - ln D) / 2) = 1
    exact_x = brentq(
        lambda x: x / 2 * math.tanh((x - math.log(degeneracy)) / 2) - 1,
        math.log(degeneracy) + 1e-9, 50, xtol=1e-14,
    )  # fmt: skip
    weight = degeneracy * math.exp(-exact_x)
    gap = 0.7
    beta, height = heat_capacity_peak(np.array([gap] + [0.0] * degeneracy))
    # C is flat at its peak: rounding of 1e-16 in C moves the golden section by about 1e-8
    assert beta * gap == pytest.approx(exact_x, rel=1e-6)
    assert height == pytest.approx(exact_x**2 * weight / (1 + weight) ** 2, rel=1e-12)


def test_heat_capacity_peak_is_the_largest_value_on_a_fine_grid():
    scores = normal_scores(20, 200)
    _, height = heat_capacity_peak(scores)
    grid = np.geomspace(0.02, 60, 4000)
    largest = np.max([softmax(scores, b).heat_capacity for b in grid], axis=0)
    assert np.all(height >= largest - 1e-12)
    # the grid misses the peak by half a step of ln beta at most, where C'' is of order C
    assert height == pytest.approx(largest, rel=1e-4)


@given(arrays(np.float64, st.integers(2, 12), elements=st.integers(-6, 6).map(float)))
def test_gap_counting_scale_is_the_supremum_over_all_gaps(scores):
    gaps = np.sort(scores.max() - scores)[1:]
    counts = [(g, np.count_nonzero(gaps <= g)) for g in gaps]
    expected = max((0.0 if n < 2 else math.inf if g == 0 else math.log(n) / g) for g, n in counts)
    assert gap_counting_beta(scores) == pytest.approx(expected, rel=1e-15)


def test_gap_counting_scale_of_a_power_law_is_where_its_weights_become_summable():
    # scores -a ln k give weights k^(-a beta), summable for beta > 1 / a
    a, n = 2.5, 100_000
    scale = gap_counting_beta(-a * np.log(np.arange(1, n + 1)))
    assert scale == pytest.approx(math.log(n - 1) / (a * math.log(n)), rel=1e-12)


def test_rows_without_a_scale_give_the_documented_limits():
    equal, single = np.zeros(4), np.array([2.0, -np.inf])
    assert keys_beta(equal) == self_consistent_beta(equal) == gap_counting_beta(equal) == math.inf
    assert keys_beta(single) == self_consistent_beta(single) == gap_counting_beta(single) == 0
    assert np.isnan(heat_capacity_peak(equal)[0])


# The random-energy reference. Columns: N, H/ln N at b = 0.5, 0.707, 1; Y2 at 1, 1.25, 2; max p at
# 1; self-consistent b. From an independent computation with TABLE_DRAWS rows.
TABLE = {
    64: (0.779, 0.625, 0.453, 0.310, 0.412, 0.607, 0.461, 0.764),
    256: (0.765, 0.594, 0.407, 0.266, 0.376, 0.586, 0.418, 0.750),
    1024: (0.758, 0.571, 0.372, 0.239, 0.355, 0.574, 0.391, 0.739),
    4096: (0.755, 0.557, 0.348, 0.213, 0.331, 0.555, 0.362, 0.732),
    16384: (0.751, 0.541, 0.322, 0.209, 0.332, 0.560, 0.355, 0.720),
}
TABLE_DRAWS = {64: 4000, 256: 4000, 1024: 4000, 4096: 1464, 16384: 366}
DRAWS = {64: 4000, 256: 2000, 1024: 800, 4096: 200, 16384: 100}
CELLS = (
    ("entropy", 0.5), ("entropy", 0.707), ("entropy", 1.0), ("participation", 1.0),
    ("participation", 1.25), ("participation", 2.0), ("largest", 1.0),
)  # fmt: skip


@cache
def reference(n: int):
    b = (0.5, 0.65, 0.707, 0.73, 0.75, 0.77, 0.8, 0.9, 1.0, 1.25, 2.0)
    return disorder_average(n, b, draws=DRAWS[n], seed=n)


@pytest.mark.statistical(alpha=7 * ALPHA)
@pytest.mark.parametrize("n", list(TABLE))
def test_finite_n_averages_are_those_of_the_table(n):
    found = reference(n)
    for (name, b), expected in zip(CELLS, TABLE[n], strict=False):
        ours = found.at(name, b)
        theirs = ours.error * math.sqrt(DRAWS[n] / TABLE_DRAWS[n])
        # three printed digits and b = 0.707 for 1 / sqrt 2: at most 0.0005 + 0.0001 x slope 1.4
        assert abs(ours.value - expected) < SIGMAS * math.hypot(ours.error, theirs) + 0.00065


@pytest.mark.statistical(alpha=ALPHA)
@pytest.mark.parametrize("n", list(TABLE))
def test_self_consistent_ratio_is_that_of_the_table(n):
    found = reference(n)
    ours = found.at("entropy", 0.75).error
    error = math.hypot(ours, ours * math.sqrt(DRAWS[n] / TABLE_DRAWS[n]))
    # b^2 = H / ln n with dH/db = -C / b < 0: errors of H move b by less than error / (2 b).
    # The interpolation of H between ratios 0.03 apart is off by H'' 0.03^2 / 8 < 2e-4.
    assert abs(found.self_consistent - TABLE[n][-1]) < SIGMAS * error / 1.4 + 0.0005 + 0.0002


@pytest.mark.statistical(alpha=ALPHA)
def test_disorder_average_of_exp_beta_s_gives_the_annealed_slope_at_high_temperature():
    # H = ln N - beta^2 sigma^2 / 2 + O(beta^3), and <sample variance> = sigma^2 (1 - 1 / N)
    n, b, draws = 50, 0.01, 2000
    found = disorder_average(n, [b], draws=draws)
    beta = b * freezing_beta(n)
    lost = (1 - found.entropy[0]) * math.log(n)
    # the sample variance of n normals has the deviation sqrt(2 / n): 1 / draws of its square
    error = beta**2 / 2 * math.sqrt(2 / n / draws)
    assert abs(lost - beta**2 / 2 * (1 - 1 / n)) < SIGMAS * error + beta**3


def test_limits_of_the_random_energy_model_meet_at_the_freezing_point():
    assert limiting_entropy(0.5) == 0.75
    assert limiting_entropy(1.0) == limiting_participation(1.0) == limiting_entropy(3.0) == 0
    assert limiting_participation(2.0) == 0.5
    assert [round(freezing_beta(n), 4) for n in (64, 256, 1024, 4096, 16384)] == [
        2.8841, 3.3302, 3.7233, 4.0787, 4.4055,
    ]  # fmt: skip


def test_finite_n_averages_approach_the_limits_with_n():
    at_half, frozen = zip(
        *[(abs(r.entropy[0] - 0.75), r.entropy[8]) for r in map(reference, TABLE)], strict=True
    )
    assert list(at_half) == sorted(at_half, reverse=True)
    assert list(frozen) == sorted(frozen, reverse=True)


def test_peaks_and_rows_of_an_average_come_from_its_own_numbers():
    found = disorder_average(32, np.arange(0.5, 2.01, 0.1), draws=400, seed=3)
    k = int(np.argmax(found.heat_capacity))
    assert abs(found.heat_capacity_peak - found.b[k]) <= 0.05
    assert abs(found.spread_peak - found.b[int(np.argmax(found.spread))]) <= 0.05
    more = disorder_average(32, [0.5], draws=800, seed=3)  # its first 400 rows are those above
    assert abs(more.at("entropy", 0.5).sigmas(found.entropy[0], found.entropy_error[0])) < 2
    with pytest.raises(ValueError, match="was not computed"):
        found.at("entropy", 0.55)


# The summary of a score matrix.


def test_both_readings_of_the_critical_scale_are_printed_together():
    text = str(critical_scale(np.array([0.0, 1.0, 2.5, 3.0])))
    assert "n_eff = n" in text
    assert "n_eff = exp(H(beta*))" in text
    pair = critical_scale(normal_scores(10, 64))
    assert pair.ratio == pytest.approx(pair.self_consistent / pair.keys)


@pytest.mark.statistical(alpha=ALPHA)
def test_ratio_of_the_two_readings_is_that_of_the_reference_for_rows_of_normal_scores():
    ratio = critical_scale(normal_scores(3000, 64, seed=9)).ratio
    # rows scaled by their own sigma and rows solved one by one, not in the mean: moves of order
    # var(sigma) = 1 / 2n = 0.008; the table has 0.764
    error = ratio.std(ddof=1) / math.sqrt(len(ratio))
    assert abs(ratio.mean() - 0.764) < SIGMAS * error + 0.016


def test_guard_rail_is_capped_at_the_critical_scale_and_a_power_law_away_from_it():
    assert guard_rail(2.0, 2.0, nu=1.0, u_min=0.05) == pytest.approx(20)
    assert guard_rail([1.0, 3.0], 2.0, nu=0.5, u_min=0.05) == pytest.approx(math.sqrt(2))
    for wrong in ({"nu": -1}, {"u_min": 0}):
        with pytest.raises(ValueError, match="u_min > 0 and nu >= 0"):
            guard_rail(1.0, 2.0, **wrong)


def test_summary_has_one_value_per_row_and_says_of_each_marker_what_it_is():
    scores = normal_scores(2, 3, 10, 16)
    found = attention_criticality(scores, 0.25, reference_draws=50)
    for x in (found.sigma, found.gap_beta, found.guard_rail, found.ratio, found.at.entropy):
        assert x.shape == (2, 3, 10)
    assert found.scale.keys == pytest.approx(keys_beta(scores))
    assert found.heat_capacity_beta == pytest.approx(heat_capacity_peak(scores)[0])
    assert found.reference.n == 16
    assert found.reference.b[0] == pytest.approx(np.median(found.ratio))
    kinds = {kind for kind, _ in MARKERS.values()}
    assert kinds == {"identity", "reference", "formula", "sample", "fitted"}
    text = str(found)
    for name, (kind, _) in MARKERS.items():
        assert name == "reference" or f"{kind:10}{name}" in text
    assert "both chosen" in text


def test_causal_rows_are_judged_by_the_keys_they_see():
    scores = normal_scores(12, 12)
    causal = np.where(np.tril(np.ones((12, 12), bool)), scores, -np.inf)[1:]
    found = attention_criticality(causal, 0.5)
    assert found.at.n.tolist() == list(range(2, 13))
    many = np.stack([causal + k for k in range(4)])
    assert math.isnan(attention_criticality(many, 0.5).spread_beta)  # n differs between rows
    row = attention_criticality(scores[5, :6], 0.5)
    assert row.scale.keys == pytest.approx(found.scale.keys[4], rel=1e-13)


def test_spread_is_the_deviation_of_scipys_entropies_over_rows():
    scores = normal_scores(200, 16)
    peak, spread = spread_peak(scores, [0.5, 1.0, 1.3, 3.0])
    beta = 1.0 * keys_beta(scores)
    entropies = stats.entropy(special.softmax(beta[:, None] * scores, axis=1), axis=1)
    assert spread[1] == pytest.approx(entropies.std(ddof=1), rel=1e-12)
    assert peak in (1.0, 1.3)
    assert math.isnan(spread_peak(scores, [0.2, 0.4])[0])  # still growing


def test_wrong_scores_are_refused_with_what_is_allowed():
    for scores, message in (
        ([np.nan, 1.0], "must be finite"),
        ([np.inf, 1.0], "must be finite"),
        ([[0.0, 1.0], [-np.inf, -np.inf]], r"row \[1\] of scores has no visible key"),
        (np.zeros((3, 0)), "N >= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            softmax(scores, 1.0)
    with pytest.raises(ValueError, match="beta must be finite"):
        softmax([0.0, 1.0], -1.0)
    with pytest.raises(ValueError, match="it has no scale"):
        attention_criticality([[0.0, 1.0], [2.0, 2.0]], 1.0)
    with pytest.raises(ValueError, match="at least 30 rows"):
        spread_peak(normal_scores(29, 8))
    with pytest.raises(ValueError, match=r"40 rows of 7 \.\. 8 keys"):
        spread_peak(np.where(np.eye(40, 8) > 0, -np.inf, normal_scores(40, 8)))
    with pytest.raises(ValueError, match="need n >= 2"):
        freezing_beta(1)
    with pytest.raises(ValueError, match="ascend"):
        disorder_average(8, [1.0, 0.5])
    with pytest.raises(ValueError, match="draws"):
        disorder_average(8, draws=1)
