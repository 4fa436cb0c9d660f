"""find_beta_c: its results, and every refusal."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from scipy.interpolate import CubicSpline
from test_chains import EXACT, K_C

from isingnpu import IsingModel, disorder, exact, lattice
from isingnpu.criticality import (
    Curve,
    NoCrossing,
    NoTransition,
    SmallBudget,
    Unsupported,
    find_beta_c,
    pilot,
    production,
    quotient,
)
from isingnpu.criticality.chains import Clock
from isingnpu.statistics import Refusal

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
    monkeypatch.setattr(Clock, "elapsed", property(lambda clock: clock.work / 1e8))
    monkeypatch.setattr(production, "ROUND_WORK", 1 << 24)
    timed = find_beta_c("square", [4, 6, 8], budget_s=1.5, seed=5)
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
    made = json.loads(
        json.dumps(Curve(8, one, one, one, one, one, one, one).to_json(), allow_nan=False)
    )
    assert made["xi"] == [1.0, None]


@pytest.mark.statistical(alpha=1e-5)
def test_exponents_of_a_point_are_those_of_its_pairs_of_sizes():
    point = small()
    found = quotient.exponents(point)
    pairs = [quotient.quotient(*pair) for pair in pairwise(point.histograms)]
    again = quotient.extrapolate(pairs, point.universality.omega)
    assert found.nu.value == pytest.approx(again.nu.value, rel=1e-9)
    assert found.eta.error == pytest.approx(again.eta.error, rel=1e-6)
    assert abs(found.nu.sigmas(1)) < 4.5
    assert abs(found.eta.sigmas(0.25)) < 4.5


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
        # sizes have grids of their own: the larger one's lies inside
        known = np.isfinite(getattr(small_, kind))
        other = CubicSpline(small_.beta[known], getattr(small_, kind)[known])(large.beta)
        # linear between the points of a curve; it may end before the crossing
        zero = np.interp(0, getattr(large, kind) - other, large.beta, left=np.nan, right=np.nan)
        assert np.isnan(zero) or crossing.beta.value == pytest.approx(zero, abs=spacing / 10)


def test_progress_is_told_the_stages():
    told: list[str] = []
    find_beta_c("square", (4, 6, 8), sweeps=(1500,) * 3, seed=4, progress=told.append)
    assert [line.split(",")[0] for line in told] == ["search", "survey", "production"]
    assert re.search(r"beta_c = 0\.4\d+\(\d+\)", told[-1])


# --- Random graphs, and known crossing values ----------------------------------------------------


@cache
def regular():
    def family(size, instance):
        return disorder.random_regular(size, 3, seed=instance)

    return find_beta_c(
        family, (64, 128, 256), instances=8, sweeps=(400,) * 3, seed=2, universality="mean-field"
    )


@pytest.mark.statistical(alpha=1e-5)
def test_beta_c_of_regular_graphs_is_that_of_the_bethe_lattice_within_its_error():
    point = regular()
    assert point.exact.value == pytest.approx(math.atanh(1 / 2), abs=1e-15)
    assert point.bound == pytest.approx(math.atanh(1 / 2), rel=1e-9)
    assert abs(point.sigmas) < 4.5
    assert point.beta_c.n_eff == 8


def test_graphs_have_no_length_and_one_ratio():
    point = regular()
    assert point.fit.dof == 1  # U4 of three sizes: one correction, beta_c
    assert all(np.isnan(curve.xi).all() for curve in point.curves)
    # nan only at the ends of a curve, where less than a tenth of the samples is effective
    assert all(np.isfinite(curve.binder[3:-3]).all() for curve in point.curves)
    assert {crossing.ratio for crossing in point.crossings} == {"U4"}


@pytest.mark.statistical(alpha=1e-5)
def test_known_crossing_values_make_the_error_smaller():
    free = small()
    fixed = find_beta_c("square", (4, 6, 8), sweeps=SWEEPS, seed=4, universality="ising")
    assert abs(fixed.sigmas) < 4.5
    assert fixed.statistical < free.statistical / 2
    assert fixed.fit.dof == free.fit.dof + 2
    assert fixed.ratios.binder.value == pytest.approx(0.61069, abs=1e-5)
    assert free.ratios is None


def test_chi_of_a_curve_peaks_at_the_susceptibility_of_the_enumerated_torus():
    point = small()
    model = lattice.square(4)
    spins, energy = exact.enumerate_states(model)
    m = np.abs(spins.mean(axis=1))
    curve = point.curves[0]
    p = np.exp(-np.outer(curve.beta, energy - energy.min()))
    p /= p.sum(axis=1, keepdims=True)
    chi = 16 * (p @ m**2 - (p @ m) ** 2)
    reached = np.isfinite(curve.chi)
    assert reached.sum() > 0.8 * len(chi)
    assert np.all(np.abs(curve.chi - chi)[reached] < 6 * curve.chi_error[reached])
    assert curve.chi_error[reached].max() < 0.02 * chi.max()
    assert 0 < np.argmax(curve.chi[reached]) < reached.sum() - 1


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
        find_beta_c(family, (4, 8, 16), budget_s=1)
    assert caught.value.family == family
    assert isinstance(caught.value, Refusal)


@pytest.mark.parametrize("case", BUILDERS)
def test_models_without_a_ferromagnetic_transition_are_refused(case):
    with pytest.raises(NoTransition):
        find_beta_c(BUILDERS[case], (4, 8, 16), budget_s=1)


def test_the_refused_coupling_is_named():
    model = lattice.square(4, Jx=-1, Jy=1)
    with pytest.raises(NoTransition, match=r"J\[0, 1\] = -1 < 0.*flip one sublattice"):
        find_beta_c(lambda size: model, (4, 8, 16), budget_s=1)


def random_bonds(size):
    model = lattice.square(size)
    terms = model.terms
    strength = 1 + np.arange(terms.i.size) % 2
    return IsingModel.from_edges((terms.i, terms.j, strength), model.n, geometry=model.geometry)


UNSUPPORTED = {
    "complete": "no exponents are known",
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
        find_beta_c(builders.get(case, case), (6, 8, 10), budget_s=1)


def stacked_rings(size):
    """Rings without coupling between them, said to be a plane of which nothing is known."""
    model = lattice.square(size, Jy=0)
    return replace(model, geometry=replace(model.geometry, beta_c=None))


def test_couplings_whose_range_grows_with_the_box_are_refused():
    def long_range(size):
        plane = lattice.square(size)
        x = np.indices((size, size)).reshape(2, -1)
        step = np.abs(x[:, :, None] - x[:, None, :])
        r = np.hypot(*np.minimum(step, size - step))
        np.fill_diagonal(r, np.inf)
        return IsingModel(r**-3.0, np.zeros(plane.n), geometry=plane.geometry)

    with pytest.raises(Unsupported, match="grows from"):
        find_beta_c(long_range, (4, 6, 8))


def test_rings_that_pass_for_a_plane_are_refused():
    with pytest.raises(Refusal):
        find_beta_c(stacked_rings, (4, 8, 12), budget_s=60, seed=1)


def tree(size):
    edges = np.arange(1, size)
    return IsingModel.from_edges(((edges - 1) // 2, edges, np.ones(size - 1)), size)


def test_trees_are_refused():
    with pytest.raises(NoTransition, match="trees and rings do not order"):
        find_beta_c(
            lambda size, instance: tree(size), (15, 31, 63), universality="mean-field",
            instances=1, budget_s=1,
        )  # fmt: skip


def test_sizes_that_do_not_cross_in_the_searched_range_are_refused(monkeypatch):
    monkeypatch.setattr(pilot, "SEARCH_END", 1.25)
    with pytest.raises(NoCrossing, match="do not cross") as caught:
        find_beta_c("square", (4, 8, 12), sweeps=(9, 9, 9), seed=1)
    assert caught.value.sizes == (4, 8)
    assert caught.value.low == pytest.approx(math.atanh(1 / 3))
    assert caught.value.high == pytest.approx(1.2 * math.atanh(1 / 3))


def test_a_budget_that_cannot_do_says_what_could():
    with pytest.raises(SmallBudget, match=r"a budget of 0\.05 s is too small: give") as caught:
        find_beta_c("square", (8, 16, 32), budget_s=0.05, seed=1)
    assert caught.value.needed > 0.05


GRAPHS = (64, 128, 256)


def one_graph(size):
    return disorder.random_regular(size, 3, seed=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"sizes": (8, 16)}, r"at least 3 sizes, got \[8, 16\]"),
        ({"sizes": (3, 8, 16)}, r"integers >= 4: sizes\[0\] = 3"),
        ({"sizes": (8, 16, 16)}, r"sizes\[2\] = 16 after 16"),
        ({"sizes": (8, 12.5, 16)}, r"sizes\[1\] = 12.5"),
        ({"budget_s": 0}, "budget_s must be finite and > 0, got 0"),
        ({"sweeps": (10, 10)}, r"each of 3 sizes, got \(10, 10\)"),
        ({"family": "sqare"}, "unknown family 'sqare'; did you mean 'square'"),
        ({"universality": "potts"}, "universality must be None or one of"),
        ({"family": lattice.square, "sizes": None}, "a function needs sizes"),
        ({"family": lattice.square(8)}, "one finite model has no transition"),
        ({"family": lambda size: lattice.square((size, 8))}, "must have one shape"),
        ({"instances": 8}, "instances are for random graphs"),
        ({"family": one_graph, "sizes": GRAPHS}, "gives one graph a size"),
        ({"family": "random_regular", "sizes": GRAPHS, "instances": 7}, "at least 8, or 1"),
        ({"family": "random_regular", "sizes": GRAPHS, "instances": 8.0}, "whole number"),
        ({"family": "random_regular", "sizes": GRAPHS}, "at least 4 sizes"),
    ],
)
def test_bad_arguments_are_named(arguments, said):
    given = {"family": "square", "sizes": (8, 16, 32), "budget_s": 1.0} | arguments
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
