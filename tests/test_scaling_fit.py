"""The finite-size fit with free and fixed R*: planted scaling functions, exact tori, the complete
graph, and the answers it must refuse."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats

from isingnpu import exact, lattice, sample
from isingnpu.criticality import BadFit, OutOfRange, Unsupported
from isingnpu.criticality.estimators import Box, Histogram
from isingnpu.criticality.fit import ISING, REACH, check_reach, fit_crossing, locate, locate_at
from isingnpu.criticality.reweight import Ratios, ratios
from isingnpu.criticality.universal import (
    MEAN_FIELD,
    MEAN_FIELD_RATIOS,
    CriticalRatios,
    Universality,
    critical_ratios,
    torus_length_ratio,
)
from isingnpu.disorder import random_regular
from isingnpu.families import build
from isingnpu.geometry import Reference
from isingnpu.statistics import Refusal

# Cubic lattice: scaling functions as measured at L = 8 with x = (beta - beta_c) L^(1/nu), and
# corrections of the size of those at L = 6..32.
BETA_C, CLASS, SIZES = 0.221654626, ISING[3], (8, 12, 16, 24, 32)
LENGTH = np.polynomial.Polynomial([0.6431, 1.379, 1.644, 0.350])
BINDER = np.polynomial.Polynomial([0.46548, 0.683, -0.436, -1.080])
STARS = CriticalRatios(Reference(LENGTH(0)), Reference(BINDER(0)))
CORRELATED = np.array([[1.0, 0.9], [0.9, 1.0]])


def planted(beta, error, noise=None):
    """Ratios of the planted functions at beta; U4 has `error`, xi/L three times that."""
    points = []
    for size in SIZES:
        scale = size ** (1 / CLASS.nu)
        x = (beta - BETA_C) * scale
        values = np.array([LENGTH(x), BINDER(x)]) + np.array([-0.03, 0.06]) * size**-CLASS.omega
        slopes = scale * np.array([LENGTH.deriv()(x), BINDER.deriv()(x)])
        root = np.linalg.cholesky(np.outer([3, 1], [3, 1]) * CORRELATED) * error
        if noise is not None:
            values = values + root @ noise.standard_normal(2)
        points.append(Ratios(values, slopes, root @ root.T))
    return points


# --- A wrong answer with a confident error ------------------------------------------------------


def test_a_linear_fit_around_a_bad_pilot_is_wrong_by_many_errors():
    """The case: cubic lattice, fixed R*, pilot off by -1.5e-3, 9.6 errors wrong in a study."""
    beta = BETA_C - 1.5e-3
    fit = fit_crossing(beta, SIZES, planted(beta, 1e-3), CLASS.omega, STARS)
    assert (fit.beta_c - BETA_C) / fit.error > 9.6


@pytest.mark.parametrize("stars", [None, STARS])
@pytest.mark.parametrize("error", [3e-3, 1e-3, 1e-4, 1e-5])
def test_no_pilot_makes_a_fit_at_one_beta_wrong_by_more_than_its_error(stars, error):
    refused = 0
    offsets = np.linspace(-4e-3, 4e-3, 81)
    for offset in offsets:
        points = planted(BETA_C + offset, error)
        try:
            located = locate_at(BETA_C + offset, SIZES, points, CLASS, stars)
        except Refusal:
            refused += 1
            continue
        assert abs(located.fit.beta_c - BETA_C) < located.error, offset
    assert 50 < refused < 81


@pytest.mark.parametrize("error", [1e-3, 3e-4])
def test_curvature_within_the_reach_is_part_of_the_error(error):
    """xi/L alone with R* and omega known: what is left is the curvature within |x| <= 0.1."""
    known, beyond = replace(CLASS, step=20.0), 0
    stars = CriticalRatios(STARS.xi, None)
    for offset in np.linspace(-4e-4, 4e-4, 17):
        points = [
            Ratios(p.values * [1, np.nan], p.slopes * [1, np.nan], np.diag([p.covariance[0, 0],
                   np.nan])) for p in planted(BETA_C + offset, error)
        ]  # fmt: skip
        try:
            located = locate_at(BETA_C + offset, SIZES, points, known, stars)
        except Refusal:
            continue
        off = abs(located.fit.beta_c - BETA_C)
        assert off < located.error, offset
        beyond += off > located.fit.error
    assert beyond  # the statistical error alone does not cover it


def test_the_bad_pilot_is_refused_with_both_betas():
    beta = BETA_C - 1.5e-3
    with pytest.raises(OutOfRange) as caught:
        locate_at(beta, SIZES, planted(beta, 1e-3), CLASS, STARS)
    assert (caught.value.size, caught.value.beta) == (32, beta)
    assert abs(caught.value.target - beta) * 32 ** (1 / CLASS.nu) > REACH


@pytest.mark.parametrize("factor", [0.99, 1.01, -1.01, math.nan])
def test_reach_is_a_tenth_of_the_scaling_variable(factor):
    fit = fit_crossing(BETA_C, SIZES, planted(BETA_C, 1e-4), CLASS.omega)
    beta = fit.beta_c + factor * REACH / 32 ** (1 / CLASS.nu)
    if factor == 0.99:
        check_reach(beta, fit, 32, CLASS)
        return
    with pytest.raises(OutOfRange):
        check_reach(beta, fit, 32, CLASS)


def test_a_smallest_size_that_pulls_beta_c_is_refused_even_where_chi2_passes():
    known = replace(CLASS, step=20.0)  # omega without an error
    points, error = planted(BETA_C, 1e-3), np.array([3e-3, 1e-3])
    assert abs(locate_at(BETA_C, SIZES, points, known, STARS).shift) < 0.1
    for sigmas in np.arange(3, 8, 0.25):
        pulled = [points[0]._replace(values=points[0].values + sigmas * error), *points[1:]]
        fit = fit_crossing(BETA_C, SIZES, pulled, CLASS.omega, STARS)
        if fit_moves_too_far(pulled, fit):
            break
    assert fit.p > 1e-3
    with pytest.raises(BadFit) as caught:
        locate_at(BETA_C, SIZES, pulled, known, STARS)
    assert caught.value.dof == 1
    assert caught.value.p == pytest.approx(math.erfc(math.sqrt(caught.value.chi2 / 2)), rel=1e-9)


def fit_moves_too_far(points, fit):
    """Whether beta_c without the smallest size differs by 3.5 errors of the difference, estimated
    from the errors of both fits."""
    rest = fit_crossing(BETA_C, SIZES[1:], points[1:], CLASS.omega, STARS)
    return abs(rest.beta_c - fit.beta_c) > 3.5 * math.sqrt(rest.error**2 - fit.error**2)


# --- Planted data -------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [(0, 1), (0,), (1,)])
def test_fixed_ratios_return_planted_beta_c_and_count_their_parameters(known):
    stars = CriticalRatios(*(r if k in known else None for k, r in enumerate(
        (STARS.xi, STARS.binder))))  # fmt: skip
    fit = fit_crossing(BETA_C, SIZES, planted(BETA_C, 1e-4), CLASS.omega, stars)
    assert fit.beta_c == pytest.approx(BETA_C, abs=1e-12)
    # 5 sizes x 2 ratios; beta_c, two amplitudes, and R* where it is free
    assert fit.dof == 10 - 3 - (2 - len(known))
    assert fit.chi2 < 1e-15


def test_fixed_ratios_are_more_precise_than_free_ones():
    points = planted(BETA_C, 1e-4)
    free, fixed = (
        fit_crossing(BETA_C, SIZES, points, CLASS.omega, s).error for s in (None, STARS)
    )
    assert fixed < 0.5 * free


def test_an_error_of_fixed_ratios_becomes_an_error_of_beta_c():
    points, error = planted(BETA_C, 1e-4), 2e-4
    shifted = CriticalRatios(Reference(LENGTH(0) + error), Reference(BINDER(0) + error))
    stars = CriticalRatios(Reference(LENGTH(0), error), Reference(BINDER(0), error))
    moved = fit_crossing(BETA_C, SIZES, points, CLASS.omega, shifted).beta_c - BETA_C
    with_error = locate_at(BETA_C, SIZES, points, CLASS, stars).systematic
    without = locate_at(BETA_C, SIZES, points, CLASS, STARS).systematic
    assert math.sqrt(with_error**2 - without**2) == pytest.approx(abs(moved), rel=1e-6)


def test_a_ratio_that_is_not_defined_is_left_out():
    points = [
        Ratios(p.values * [np.nan, 1], p.slopes * [np.nan, 1], p.covariance * [[np.nan, np.nan],
               [np.nan, 1]]) for p in planted(BETA_C, 1e-4)
    ]  # fmt: skip
    located = locate_at(BETA_C, SIZES, points, CLASS)
    assert located.fit.beta_c == pytest.approx(BETA_C, abs=1e-12)
    assert located.fit.dof == 5 - 3
    assert np.array_equal(located.fit.weights[:, 0], np.zeros(5))


ALPHA = 1e-6


@pytest.mark.statistical(alpha=4 * ALPHA)
@pytest.mark.parametrize("stars", [None, STARS])
def test_errors_cover_and_shifts_are_standard_normal(stars):
    noise, n, beta = np.random.default_rng(11), 300, BETA_C + 1e-4
    raw, shifts = [], []
    for _ in range(n):
        # linear functions: the form holds, so that only noise is left
        points = [
            p._replace(values=p.values - LENGTH_BEND(size, beta))
            for p, size in zip(planted(beta, 1e-4, noise), SIZES, strict=True)
        ]
        points = [
            p._replace(slopes=np.array([1.379, 0.683]) * size ** (1 / CLASS.nu))
            for p, size in zip(points, SIZES, strict=True)
        ]
        fit = fit_crossing(beta, SIZES, points, CLASS.omega, stars)
        rest = fit_crossing(beta, SIZES[1:], points[1:], CLASS.omega, stars)
        raw.append((fit.beta_c - BETA_C) / fit.error)
        shifts.append((rest.beta_c - fit.beta_c) / math.sqrt(rest.error**2 - fit.error**2))
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], n)
    assert low < np.square(raw).sum() < high
    # weights of the ratios change a little when a size is dropped: the difference of variances is
    # that of the change only up to some percent
    assert 0.9 * low < np.square(shifts).sum() < 1.1 * high


def LENGTH_BEND(size, beta):
    """What the planted functions have beyond their tangent at beta_c."""
    x = (beta - BETA_C) * size ** (1 / CLASS.nu)
    return np.array([LENGTH(x) - LENGTH(0) - 1.379 * x, BINDER(x) - BINDER(0) - 0.683 * x])


def test_fixed_ratios_of_the_wrong_number_are_named():
    points = [p._replace(values=p.values[:1], slopes=p.slopes[:1]) for p in planted(BETA_C, 1e-4)]
    with pytest.raises(ValueError, match="got 1 ratios per size"):
        fit_crossing(BETA_C, SIZES, points, CLASS.omega, STARS)


# --- Universal numbers --------------------------------------------------------------------------


def test_length_ratio_of_the_square_torus_is_the_published_one():
    # Salas & Sokal, cond-mat/9904038: xi_2nd / L = 0.9050488292(4)
    assert torus_length_ratio(1j) == pytest.approx(0.9050488292, abs=1e-10)


@pytest.mark.parametrize("tau", [1j, complex(0.5, math.sqrt(0.75)), 0.7j])
def test_length_ratio_is_an_integral_of_theta_functions(tau):
    """The same from the product formulas of the theta functions and by the midpoint rule, which
    converges slowly at the singular point."""
    q = np.exp(1j * np.pi * tau)

    def theta(k, z):
        first = {1: 2 * q**0.25 * np.sin(np.pi * z), 2: 2 * q**0.25 * np.cos(np.pi * z)}.get(k, 1)
        sign, power = (-1 if k in (1, 4) else 1), (0 if k in (1, 2) else -1)
        made = first * np.ones_like(z)
        for n in range(1, 12):
            made *= (1 - q ** (2 * n)) * (
                1 + sign * 2 * q ** (2 * n + power) * np.cos(2 * np.pi * z)
                + q ** (4 * n + 2 * power)
            )  # fmt: skip
        return np.abs(made)

    def midpoint(n):
        grid = (np.arange(n) + 0.5) / n - 0.5
        z = grid[:, None] + grid[None, :] * tau
        g = sum(theta(k, z / 2) for k in (1, 2, 3, 4)) / theta(1, z) ** 0.25
        cosine = np.cos(2 * np.pi * grid)
        s = ((g * cosine[:, None]).mean() + (g * cosine[None, :]).mean()) / 2
        return math.sqrt(g.mean() / s - 1) / (2 * math.pi)

    # |z|^(-1/4) leaves n^(-7/4), which is extrapolated away, and |z|^(3/4) leaves n^(-11/4)
    coarse, fine = midpoint(40), midpoint(80)
    expected = fine + (fine - coarse) / (2**1.75 - 1)
    assert torus_length_ratio(tau) == pytest.approx(expected, abs=80**-2.75)


def test_length_ratio_does_not_depend_on_the_choice_of_periods():
    for tau in (1.3j, complex(0.2, 0.9)):
        assert torus_length_ratio(tau) == pytest.approx(torus_length_ratio(-1 / tau), rel=1e-10)
    with pytest.raises(ValueError, match="above the real axis"):
        torus_length_ratio(complex(1, 0))


@pytest.mark.parametrize("size", [4, 6, 8])
def test_exact_square_tori_approach_the_universal_ratios(size):
    """xi/L and U4 at K_c from enumeration and transfer matrices; corrections 0.78 L^-7/4 and
    0.095 L^-7/4 with effective exponents above 1.5 at these sizes."""
    known = {4: (0.953183766417, 0.617199318412), 6: (0.933274688876, 0.614356239125),
             8: (0.923686207112, 0.613045384943)}  # fmt: skip
    stars = critical_ratios(lattice.square(size)).values
    rest = np.array(known[size]) - stars
    assert (rest > 0).all()
    assert (rest < np.array([0.78, 0.095]) * size**-1.5).all()


def test_fixed_ratios_find_beta_c_of_exact_square_tori_better_than_free_ones():
    values = {4: (0.953183766417, 0.617199318412), 6: (0.933274688876, 0.614356239125),
              8: (0.923686207112, 0.613045384943)}  # fmt: skip
    k_c = math.asinh(1) / 2
    points = [
        Ratios(np.array(v), np.array([1.40, 0.172]) * size, np.diag([1e-10, 1e-11]))
        for size, v in values.items()
    ]
    known = critical_ratios(lattice.square(4))
    off = {
        (stars, omega): fit_crossing(k_c, (4, 6, 8), points, omega, stars).beta_c - k_c
        for stars in (None, known)
        for omega in (ISING[2].omega, *ISING[2].omega_range(4))
    }
    free, fixed = abs(off[None, 1.75]), abs(off[known, 1.75])
    assert fixed < free
    assert fixed < max(abs(off[known, w] - off[known, 1.75]) for w in ISING[2].omega_range(4))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: lattice.square(4, Jx=2), "ratio of unequal couplings"),
        (lambda: lattice.square((4, 6)), r"a box \(4, 6\)"),
        (lambda: lattice.square(4, boundary="open"), "open"),
        (lambda: lattice.square(4, Jx=-1, Jy=-1), "unequal couplings"),
        (lambda: build("hypercubic4", 3), "are not stored"),
        (lambda: build("curie_weiss", 16), "are not stored"),
    ],
)
def test_ratios_that_are_not_known_are_refused(model, said):
    with pytest.raises(Unsupported, match=said):
        critical_ratios(model())


def test_ratios_of_the_rhombus_are_not_those_of_the_square():
    square, rhombus = (critical_ratios(build(name, 4)) for name in ("square", "triangular"))
    assert rhombus.binder is None
    assert rhombus.xi.value == pytest.approx(0.8331028505, abs=1e-10)
    assert critical_ratios(build("honeycomb", 4)).xi == rhombus.xi
    assert abs(rhombus.xi.value - square.xi.value) > 0.07


# --- Mean field ---------------------------------------------------------------------------------


@cache
def complete(n, beta):
    """U4 of the complete graph of n sites and its slope, exactly."""
    h = 1e-5 / math.sqrt(n)
    below, at, above = (exact.curie_weiss(n, beta + d).binder for d in (-h, 0.0, h))
    return Ratios(
        np.array([math.nan, at]),
        np.array([math.nan, (above - below) / (2 * h)]),
        np.array([[math.nan, math.nan], [math.nan, 1e-14]]),
    )


@pytest.mark.parametrize("stars", [None, MEAN_FIELD_RATIOS])
def test_complete_graphs_extrapolate_to_beta_c_one(stars):
    """Sizes are numbers of sites: x = t N^(1/2), corrections N^(-1/2)."""
    sizes = (256, 512, 1024, 2048, 4096)
    beta = 1.0
    for _ in range(6):
        points = [complete(n, beta) for n in sizes]
        beta = fit_crossing(beta, sizes, points, MEAN_FIELD.omega, stars).beta_c
    crossing = fit_crossing(beta, sizes[:2], points[:2], None).beta_c
    allowed = [
        abs(fit_crossing(beta, sizes, points, omega, stars).beta_c - beta)
        for omega in MEAN_FIELD.omega_range(256)
    ]
    assert abs(beta - 1) < 2 * max(allowed)
    assert abs(beta - 1) < 2e-4
    assert abs(crossing - 1) > 10 * abs(beta - 1)


def test_exponents_of_the_classes_obey_their_relations():
    for d, known in ISING.items():
        # beta = nu (d - 2 + eta) / 2 is 1/8 in 2D and 0.326419(3) in 3D (Kos et al. 2016)
        assert known.nu * (d - 2 + known.eta) / 2 == pytest.approx({2: 0.125, 3: 0.326419}[d],
                                                                   abs=3e-6)  # fmt: skip
    assert Universality(2.0, 0.5, 1.5, 0.5, step=0.5) == MEAN_FIELD
    assert MEAN_FIELD.omega_range(400) == (0.4, 0.6)


@pytest.mark.slow
@pytest.mark.statistical(alpha=2e-6)
def test_random_regular_graphs_extrapolate_to_the_bethe_lattice():
    """U4 of 3-regular graphs, sampled at beta_c of the Bethe lattice; a block is a graph."""
    exact_beta, names = exact.critical_beta_bethe(3), ("energy", "m2", "m4")
    histograms = []
    for n in (128, 256, 512, 1024):
        columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for k in range(40):
            model = random_regular(n, 3, seed=1000 * n + k)
            run = sample(model, exact_beta, burn_in=50, sweeps=200, every=2, replicas=32,
                         seed=1000 * n + k, dynamics="swendsen-wang", observe=names,
                         backend="cpu")  # fmt: skip
            for name in names:
                columns[name].append(run.series[name].ravel())
        series = {name: np.stack(rows) for name, rows in columns.items()}
        histograms.append(Histogram.of(Box.of(model, n), exact_beta, series).occupied)
    crossing = fit_crossing(
        exact_beta, (128, 256), [ratios(h, exact_beta) for h in histograms[:2]], None
    ).beta_c
    assert crossing - exact_beta > 0.008  # without extrapolation
    for stars in (None, MEAN_FIELD_RATIOS):
        located = locate(histograms, exact_beta, MEAN_FIELD, stars)
        assert located.error < 3e-3
        assert abs(located.fit.beta_c - exact_beta) < 4.9 * located.error
