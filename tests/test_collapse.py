"""Data collapse and dynamic exponents: data built from explicit scaling functions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from isingnpu import lattice, sample
from isingnpu.criticality import BadFit
from isingnpu.criticality import collapse as collapsing
from isingnpu.criticality.collapse import (
    Points,
    collapse,
    collapse_by_quality,
    collapse_quality,
)
from isingnpu.criticality.dynamic import dynamic_exponent
from isingnpu.criticality.estimators import OBSERVED, Box, Histogram
from isingnpu.criticality.reweight import observables
from isingnpu.statistics import Estimate, integrated_time

ALPHA = 1e-6
BETA_C, NU = 0.44, 1.0
K_C = math.asinh(1) / 2
SIZES = (8, 16, 32, 64)


def planted(noise, *, error=1e-3, kappa=0.0, number=6, curve=np.tanh, nu=NU, correction=0.0):
    """y = L^kappa (0.6 + 0.2 curve(x) + correction (1 + x / 4) / L) over |x| <= 1.5."""
    rows = []
    for size in SIZES:
        for x in np.linspace(-1.5, 1.5, number):
            y = 0.6 + 0.2 * curve(x) + correction * (1 + x / 4) / size
            dy = error * size**kappa
            rows.append((size, BETA_C + x * size ** (-1 / nu),
                         y * size**kappa + dy * noise.standard_normal(), dy))  # fmt: skip
    return Points.of(*np.array(rows).T)


# --- Houdayer & Hartmann ------------------------------------------------------------------------


def test_quality_is_the_published_formula_point_by_point():
    points = planted(np.random.default_rng(1), number=5)
    x, y, dy = points.scaled(0.441, 1.1, 0.1)
    total, count = 0.0, 0
    for i in range(len(x)):
        chosen = []
        for size in set(points.size) - {points.size[i]}:
            own = sorted(np.flatnonzero(points.size == size), key=lambda j: x[j])
            for j, k in itertools.pairwise(own):
                if x[j] < x[i] <= x[k]:
                    chosen += [j, k]
        if not chosen:
            continue
        fit = np.polynomial.polynomial.polyfit(x[chosen], y[chosen], 1, w=1 / dy[chosen])
        design = np.stack([np.ones(len(chosen)), x[chosen]], axis=1) / dy[chosen, None]
        at = np.array([1.0, x[i]])
        variance = at @ np.linalg.inv(design.T @ design) @ at
        total += (y[i] - fit @ at) ** 2 / (dy[i] ** 2 + variance)
        count += 1
    assert collapse_quality(points, 0.441, 1.1, 0.1) == pytest.approx(total / count, rel=1e-8)


def test_quality_of_a_straight_scaling_function_is_about_one():
    rng, n = np.random.default_rng(2), 40
    found = [collapse_quality(planted(rng, curve=lambda x: x), BETA_C, NU) for _ in range(n)]
    # 24 points, each a squared normal: sd of the mean of 40 is below sqrt(2 / 24 / 40) * 2
    assert np.mean(found) == pytest.approx(1, abs=0.4)
    wrong = collapse_quality(planted(rng, curve=lambda x: x), BETA_C + 0.003, NU)
    assert wrong > 10


def test_quality_is_infinite_where_no_sizes_overlap():
    points = Points.of([8, 8, 16, 16], [0.1, 0.2, 0.5, 0.6], [1, 2, 3, 4], [0.1] * 4)
    assert collapse_quality(points, 0.35, 1.0) == math.inf


def test_least_quality_is_at_the_planted_parameters_and_its_range_holds_them():
    points = planted(np.random.default_rng(3), curve=lambda x: x, kappa=1.75)
    found, least = collapse_by_quality(points, beta_c=0.442, nu=1.1, kappa=1.7)
    assert 0.3 < least < 2.0
    for name, value in (("beta_c", BETA_C), ("nu", NU), ("kappa", 1.75)):
        # S <= S_min + 1 allows what sum chi2 <= chi2_min + points would: about five errors
        assert abs(found[name].sigmas(value)) < 1, name
    at = {name: estimate.value for name, estimate in found.items()}
    for name in at:
        others = {k: v for k, v in at.items() if k != name}
        moved = collapse_quality(points, **others, **{name: at[name] + found[name].error})
        assert moved >= least + 0.9, name  # refitting the others can only lower it


# --- Gaussian process ---------------------------------------------------------------------------


@pytest.mark.statistical(alpha=6 * ALPHA)
@pytest.mark.parametrize("kappa", [0.0, 1.75])
def test_pulls_of_collapsed_parameters_are_standard_normal(kappa):
    rng, n = np.random.default_rng(4), 4
    free = ("beta_c", "nu") if kappa == 0 else ("beta_c", "nu", "kappa")
    pulls: dict[str, list[float]] = {name: [] for name in free}
    for _ in range(n):
        found = collapse(planted(rng, kappa=kappa, number=5), beta_c=0.441, nu=1.05,
                         kappa=0.98 * kappa, free=free)  # fmt: skip
        for name, value in (("beta_c", BETA_C), ("nu", NU), ("kappa", kappa)):
            if name in free:
                pulls[name].append(getattr(found, name).sigmas(value))
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], n)
    for name, z in pulls.items():
        # the curvature of the posterior is the error to about 10 %
        assert 0.8 * low < np.square(z).sum() < 1.2 * high, name


def test_fixed_parameters_stay_and_have_no_error():
    found = collapse(planted(np.random.default_rng(5)), beta_c=0.4405, nu=1.0, free=["beta_c"])
    assert (found.nu, found.kappa) == (Estimate(1.0, 0.0), Estimate(0.0, 0.0))
    assert abs(found.beta_c.sigmas(BETA_C)) < 5
    assert 0.3 < found.length < 5  # tanh bends within about 1


def test_a_correction_to_scaling_is_fitted_by_the_second_process():
    points = planted(np.random.default_rng(6), correction=0.3, number=7)
    options = {"beta_c": 0.441, "nu": 1.0, "free": ("beta_c", "nu")}
    with_correction = collapse(points, **options, omega=1.0)
    assert abs(with_correction.beta_c.sigmas(BETA_C)) < 4.5
    assert abs(with_correction.nu.sigmas(NU)) < 4.5
    try:
        without = collapse(points, **options)
    except BadFit:
        return
    assert abs(without.beta_c.value - BETA_C) > 5 * abs(with_correction.beta_c.value - BETA_C)


def test_data_that_do_not_collapse_are_refused():
    rng = np.random.default_rng(7)
    points = planted(rng, error=1e-4)
    spoiled = points.value + 1e-3 * rng.standard_normal(len(points.value))
    with pytest.raises(BadFit) as caught:
        collapse(Points.of(points.size, points.beta, spoiled, points.error), beta_c=BETA_C, nu=1.0,
                 free=["beta_c"])  # fmt: skip
    assert caught.value.p < 1e-3


def test_a_curve_that_follows_nearly_every_point_is_refused(monkeypatch):
    points = planted(np.random.default_rng(7))
    collapse(points, beta_c=BETA_C, nu=1.0, free=["beta_c"])
    monkeypatch.setattr(collapsing, "MIN_DOF", 0.95)
    with pytest.raises(BadFit) as caught:
        collapse(points, beta_c=BETA_C, nu=1.0, free=["beta_c"])
    assert caught.value.p == 0


@pytest.mark.parametrize("omega", [None, 1.2])
def test_likelihood_is_that_of_a_multivariate_normal_distribution(omega):
    """Without its prior, of y itself: theta = beta_c, nu and kappa in units of their scales."""
    points = planted(np.random.default_rng(12), kappa=0.7, number=4)
    start = {"beta_c": 0.4405, "nu": 1.05, "kappa": 0.6}
    process = collapsing._Process(points, start, ("beta_c", "nu", "kappa"), omega)
    values = []
    for theta in ([0.0] * 3, [0.2, -0.5, 1.0]):
        theta = np.array(theta + [0.3, -1.0] + ([-2.0] if omega else []))
        scale = np.ptp(points.beta) / 10
        beta_c, nu, kappa = 0.4405 + theta[0] * scale, 1.05 + theta[1] / 10, 0.6 + theta[2] / 10
        relative = points.size / stats.gmean(points.size)
        x, factor = (points.beta - beta_c) * relative ** (1 / nu), relative**-kappa
        y, dy = points.value * factor, points.error * factor
        near = np.exp(-((x[:, None] - x) ** 2) / (2 * math.exp(-2.0)))
        covariance = math.exp(0.6) * near + 100 + 1e-9 * np.eye(len(x))
        if omega:
            small = (points.size / 8) ** -omega
            covariance += math.exp(-4.0) * near * np.outer(small, small)
        covariance = y.std() ** 2 * covariance + np.diag(dy**2)
        normal = stats.multivariate_normal(np.full(len(y), y.mean()), covariance)
        prior = ((theta[3:] - process.centre) ** 2).sum() / (2 * 3.0**2)
        values.append(process(theta) - prior + normal.logpdf(y))
    constant = len(points.value) / 2 * math.log(2 * math.pi)
    np.testing.assert_allclose(values, -constant, rtol=1e-6)


def test_order_of_the_points_does_not_matter():
    points = planted(np.random.default_rng(8))
    order = np.random.default_rng(9).permutation(len(points.size))
    shuffled = Points.of(*(column[order] for column in vars(points).values()))
    values = [collapse_quality(p, 0.4405, 1.02) for p in (points, shuffled)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


@pytest.mark.parametrize(
    ("points", "options", "said"),
    [
        (([8, 16], [0.4, 0.4], [1, 1], [0.1]), {}, r"of one length, got lengths \[2, 2, 2, 1\]"),
        (([8, 8], [0.4, 0.5], [1, 1], [0.1, 0.1]), {}, "needs two sizes"),
        (([8, 16], [0.4, 0.5], [1, 1], [0.1, 0.0]), {}, "a smallest error 0.0"),
        (([8, 16], [0.4, 0.5], [1, math.nan], [0.1, 0.1]), {}, "must be finite"),
        (None, {"beta_c": 0.9, "nu": 1.0}, "beta_c among the betas"),
        (None, {"beta_c": 0.44, "nu": 0.0}, "nu > 0"),
        (None, {"beta_c": 0.44, "nu": 1.0, "free": ["gamma"]}, "free must name some of"),
    ],
)
def test_bad_arguments_are_named(points, options, said):
    def call():
        made = Points.of(*points) if points else planted(np.random.default_rng(1))
        collapse(made, **options)

    with pytest.raises(ValueError, match=said):
        call()


# --- Dynamic exponent ---------------------------------------------------------------------------


def taus(sizes, noise=None, z=2.17, correction=0.0):
    values = [0.6 * L**z * (1 + correction / L) for L in sizes]
    if noise is not None:
        values = [v * (1 + 0.01 * noise.standard_normal()) for v in values]
    return [Estimate(v, 0.01 * v) for v in values]


@pytest.mark.statistical(alpha=2 * ALPHA)
def test_dynamic_exponent_has_its_planted_value_and_error():
    rng, n, sizes = np.random.default_rng(10), 300, (8, 12, 16, 32)
    found = [dynamic_exponent(sizes, taus(sizes, rng)) for _ in range(n)]
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], n)
    assert low < sum(f.z.sigmas(2.17) ** 2 for f in found) < high
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], 2 * n)
    # errors of 1 %: ln(1 + e) is e to 1 %
    assert 0.97 * low < sum(f.chi2 for f in found) < 1.03 * high


def test_a_correction_to_the_time_is_fitted_or_refused():
    sizes = (8, 16, 32, 64, 128)
    data = taus(sizes, correction=4.0)
    with pytest.raises(BadFit):
        dynamic_exponent(sizes, data)
    found = dynamic_exponent(sizes, data, omega=1.0)
    # ln(1 + 4 / L) is 4 / L up to 8 / L^2, an eighth at the smallest size
    assert found.z.value == pytest.approx(2.17, abs=3 * found.z.error)
    exact = dynamic_exponent(sizes, taus(sizes))
    assert exact.z.value == pytest.approx(2.17, rel=1e-12)
    assert exact.amplitude.value == pytest.approx(0.6, rel=1e-12)
    assert exact.dof == 3


@pytest.mark.parametrize(
    ("sizes", "made", "said"),
    [
        ((8,), [Estimate(1, 0.1)], "at least 2 sizes, got 1"),
        ((8, 16), [Estimate(1, 0.1), Estimate(2, 0.0)], "tau = 2.0 with error 0.0 at size 16"),
        ((8, 16), [Estimate(1, math.inf), Estimate(2, 0.1)], "with error inf at size 8"),
    ],
)
def test_times_without_an_error_are_refused(sizes, made, said):
    with pytest.raises(ValueError, match=said):
        dynamic_exponent(sizes, made)


# --- Chains -------------------------------------------------------------------------------------


def run_at(size, beta, seed, every, samples, replicas=256, rule="metropolis"):
    return sample(lattice.square(size), beta, burn_in=size**2, sweeps=every * samples, every=every,
                  replicas=replicas, seed=seed, dynamics=rule, observe=OBSERVED,
                  backend="cpu")  # fmt: skip


@pytest.mark.slow
@pytest.mark.statistical(alpha=4 * ALPHA)
def test_length_ratios_of_square_tori_collapse_at_onsagers_point():
    rows, sizes = [], (8, 12, 16, 24)
    for size, x in itertools.product(sizes, np.linspace(-0.3, 0.3, 7)):
        beta = K_C + x / size
        run = run_at(size, beta, 100 * size + len(rows), size // 4, 16 * size)
        histogram = Histogram.of(Box.of(lattice.square(size), size), beta, run.series)
        found = observables(histogram, beta)["xi/L"]
        rows.append((size, beta, found.value, found.error))
    found = collapse(Points.of(*zip(*rows, strict=True)), beta_c=0.442, nu=0.9,
                     free=("beta_c", "nu"), omega=1.75)  # fmt: skip
    assert found.beta_c.error < 1e-3
    assert abs(found.beta_c.sigmas(K_C)) < 4.9
    assert abs(found.nu.sigmas(1.0)) < 4.9


@pytest.mark.slow
@pytest.mark.statistical(alpha=ALPHA)
def test_heat_bath_slows_down_with_its_known_exponent():
    sizes, taus_ = (8, 12, 16, 24), []
    for size in sizes:
        every = size**2 // 64
        series = run_at(size, K_C, size, every, 60 * 64, replicas=64, rule="heat-bath").series
        tau = integrated_time(series["m2"])
        taus_.append(Estimate(tau.value * every, tau.error * every))
    found = dynamic_exponent(sizes, taus_)
    # tau of m^2 contains faster modes: the effective exponent is within 0.1 of z = 2.1667(5)
    assert found.z.value == pytest.approx(2.167, abs=0.1 + 4.9 * found.z.error)
    assert found.z.error < 0.04
