"""Spectral estimates of beta_c against dense matrices, walks and exact critical points."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.sparse import block_diag
from scipy.stats import norm

from isingnpu import IsingModel, disorder, hyperbolic, lattice, sample
from isingnpu.criticality.curvature import (
    bethe_ratio,
    exponential_ratio,
    fit_exponential_ratio,
)
from isingnpu.criticality.spectral import (
    METHODS,
    beta_c_bracket,
    beta_c_estimate,
    largest_eigenvalue,
    planar_bound,
    tessellation_bracket,
)
from isingnpu.statistics import Estimate, binning, jackknife

# brentq stops at 1e-13 relative; eigenvalues add their own rounding, a few times 1e-14
CLOSE = 1e-12


def weighted_graph(seed: int, n: int = 14, m: int = 25, *, signed: bool = False) -> IsingModel:
    graph = nx.gnm_random_graph(n, m, seed=seed)
    weights = np.random.default_rng(seed).uniform(-1 if signed else 0.2, 1.5, m)
    edges = [(i, j, w) for (i, j), w in zip(graph.edges, weights, strict=True)]
    return IsingModel.from_edges(edges, n)


def non_backtracking(model: IsingModel, weight) -> np.ndarray:
    """(2E, 2E): from i -> j to j -> k, k != i, with weight(J_jk)."""
    i, j = model.csr.nonzero()
    couplings = model.dense[i, j]
    follows = (j[:, None] == i[None, :]) & (i[:, None] != j[None, :])
    return follows * weight(couplings)[None, :]


def walk_radius(model: IsingModel, weight) -> float:
    return float(abs(np.linalg.eigvals(non_backtracking(model, weight))).max())


def regular_graphs() -> list[tuple[int, IsingModel]]:
    return [
        *[(q, disorder.random_regular(60, q, seed=q)) for q in (3, 4, 5, 7)],
        (3, lattice.honeycomb(6)),
        (4, lattice.square(12)),
        (6, lattice.cubic(5)),
        (12, lattice.fcc(3)),
        (3, hyperbolic.bolza().model),
        (3, hyperbolic.quotient(7, 3, 13).model),
        (7, hyperbolic.quotient(3, 7, 7).model),
    ]


@pytest.mark.parametrize(("q", "model"), regular_graphs(), ids=str)
def test_bethe_point_of_a_q_regular_ferromagnet_is_atanh_of_1_over_q_minus_1(q, model):
    assert beta_c_estimate(model, "bethe") == pytest.approx(math.atanh(1 / (q - 1)), rel=CLOSE)
    assert beta_c_estimate(model, "mean-field") == pytest.approx(1 / q, rel=CLOSE)
    glass = math.atanh(1 / math.sqrt(q - 1))
    assert beta_c_estimate(model, "glass") == pytest.approx(glass, rel=CLOSE)


@pytest.mark.parametrize("q", [5, 7])
def test_tap_point_of_a_q_regular_ferromagnet_solves_its_quadratic_equation(q):
    model = disorder.random_regular(60, q, seed=q)
    exact = (1 - math.sqrt(1 - 4 / q)) / 2  # 1 + q beta^2 = q beta
    assert beta_c_estimate(model, "tap") == pytest.approx(exact, rel=CLOSE)


def test_tap_has_no_instability_on_cubic_graphs():
    assert beta_c_estimate(disorder.random_regular(60, 3, seed=1), "tap") == math.inf


@pytest.mark.parametrize("seed", range(5))
def test_bethe_point_is_where_non_backtracking_walks_of_weight_tanh_have_radius_1(seed):
    model = weighted_graph(seed)
    exact = brentq(
        lambda b: walk_radius(model, lambda J: np.tanh(b * J)) - 1, 1e-3, 10, xtol=1e-14
    )
    assert beta_c_estimate(model, "bethe") == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_glass_point_is_where_non_backtracking_walks_of_weight_tanh_squared_have_radius_1(seed):
    model = weighted_graph(seed, signed=True)
    exact = brentq(
        lambda b: walk_radius(model, lambda J: np.tanh(b * J) ** 2) - 1, 1e-3, 20, xtol=1e-14
    )
    assert beta_c_estimate(model, "glass") == pytest.approx(exact, rel=1e-10)


def hessian(model: IsingModel, beta: float, method: str) -> np.ndarray:
    """H(beta) as it is written, dense."""
    J = model.dense.astype(float)
    if method == "mean-field":
        return np.eye(model.n) - beta * J
    if method == "tap":
        return np.diag(1 + beta**2 * (J**2).sum(axis=1)) - beta * J
    t = np.tanh(beta * J)
    return np.diag(1 + (t**2 / (1 - t**2)).sum(axis=1)) - t / (1 - t**2)


@pytest.mark.parametrize("method", ["mean-field", "tap", "bethe"])
@pytest.mark.parametrize("seed", range(3))
def test_smallest_eigenvalue_of_h_has_its_first_zero_at_the_estimate(method, seed):
    model = weighted_graph(seed, m=40)
    beta = beta_c_estimate(model, method)
    assert np.linalg.eigvalsh(hessian(model, beta, method))[0] == pytest.approx(0, abs=1e-11)
    before = [np.linalg.eigvalsh(hessian(model, x * beta, method))[0] for x in (0.3, 0.9, 0.999)]
    assert min(before) > 0


@pytest.mark.parametrize("method", METHODS)
def test_sparse_and_dense_eigenvalues_agree(method, monkeypatch):
    model = disorder.erdos_renyi(150, 4, seed=3)
    sparse = beta_c_estimate(model, method)
    monkeypatch.setattr("isingnpu.couplings.DENSE_SITES", 1000)
    assert beta_c_estimate(model, method) == pytest.approx(sparse, rel=CLOSE)


@pytest.mark.parametrize(
    "graph",
    [nx.path_graph(9), nx.star_graph(5), nx.cycle_graph(8),
     nx.disjoint_union(nx.path_graph(4), nx.path_graph(3))],
    ids=["path", "star", "ring", "forest"],
)  # fmt: skip
def test_trees_and_rings_have_no_bethe_point(graph):
    model = IsingModel.from_networkx(graph)
    assert beta_c_estimate(model, "bethe") == beta_c_estimate(model, "glass") == math.inf


def test_no_rounding_gives_a_ring_a_bethe_point():
    # lambda_max - 1 = -2 exp(-4 beta J) on a ring falls below rounding
    for n in range(3, 60):
        assert beta_c_estimate(lattice.chain(n, J=1 / n), "bethe") == math.inf


def test_two_rings_that_share_a_site_have_the_bethe_point_of_their_walks():
    # from the shared site a walk goes once around either ring: two new ways round the other ring
    # and one round the same, so (2 + 1) t^n = 1
    n = 7
    rings = nx.disjoint_union(nx.cycle_graph(n), nx.cycle_graph(n))
    model = IsingModel.from_networkx(nx.contracted_nodes(rings, 0, n, copy=True))
    exact = math.atanh(3 ** (-1 / n))
    assert beta_c_estimate(model, "bethe") == pytest.approx(exact, rel=CLOSE)


def references() -> list[IsingModel]:
    return [
        lattice.honeycomb(4),
        lattice.square(6),
        lattice.square(6, Jx=0.3, Jy=1.2),
        lattice.triangular(6),
        lattice.kagome(4),
        lattice.diamond(3),
        lattice.bcc(3),
        lattice.fcc(3),
        *[lattice.hypercubic((3,) * d) for d in (3, 4, 5)],
    ]


@pytest.mark.parametrize("model", references(), ids=str)
def test_mean_field_lies_below_bethe_which_lies_below_the_known_critical_point(model):
    low = beta_c_estimate(model, "mean-field")
    middle = beta_c_estimate(model, "bethe")
    assert low < middle <= model.geometry.beta_c.value


@pytest.mark.parametrize(
    ("model", "bethe"),
    [(lattice.diamond(3), 0.34657), (lattice.bcc(3), 0.14384), (lattice.fcc(3), 0.09116),
     (lattice.hypercubic((3,) * 5), 0.11157)],
    ids=str,
)  # fmt: skip
def test_bethe_points_of_the_table_of_lattices_are_reproduced(model, bethe):
    assert beta_c_estimate(model) == pytest.approx(bethe, abs=5e-6)


@given(st.integers(0, 1000))
def test_mean_field_is_never_above_bethe_for_random_ferromagnets(seed):
    model = weighted_graph(seed)
    low, high = (beta_c_estimate(model, method) for method in ("mean-field", "bethe"))
    assert low < high


@pytest.mark.parametrize("method", METHODS)
def test_estimates_scale_inversely_with_the_couplings(method):
    model = weighted_graph(2, m=40)
    scaled = IsingModel.from_sparse(model.csr * 0.1)
    assert beta_c_estimate(scaled, method) == pytest.approx(
        10 * beta_c_estimate(model, method), rel=CLOSE
    )


def test_gauge_transformation_of_a_ferromagnet_keeps_every_estimate():
    model = weighted_graph(4, m=40)
    signs = np.where(np.arange(model.n) % 3, 1, -1)
    gauged = IsingModel.from_dense(model.dense * signs[:, None] * signs)
    for method in METHODS:
        expected = beta_c_estimate(model, method)
        assert beta_c_estimate(gauged, method) == pytest.approx(expected, rel=CLOSE)


def test_sites_tied_by_a_strong_bond_count_as_one():
    # no triangles, so that joining the sites makes no parallel bonds
    grid = nx.grid_2d_graph(5, 5, periodic=True)
    nx.set_edge_attributes(grid, 1.0, "weight")
    joined = nx.contracted_edge(grid, ((0, 0), (0, 1)), self_loops=False)
    grid.edges[(0, 0), (0, 1)]["weight"] = 1e4
    joined, tied = (nx.convert_node_labels_to_integers(g) for g in (joined, grid))
    expected = beta_c_estimate(IsingModel.from_networkx(joined))
    assert beta_c_estimate(IsingModel.from_networkx(tied)) == pytest.approx(expected, rel=1e-7)


def test_glass_orders_first_where_signs_are_random():
    model = disorder.edwards_anderson((6, 6, 6), seed=1)
    assert beta_c_estimate(model, "bethe") == math.inf
    assert beta_c_estimate(model, "glass") == pytest.approx(math.atanh(5**-0.5), rel=CLOSE)


def test_order_of_a_weak_part_does_not_count_where_a_strong_part_is_a_glass_before():
    glass = disorder.edwards_anderson((4, 4, 4), seed=1)
    weak = disorder.random_regular(20, 3, J=0.1, seed=0)
    both = IsingModel.from_sparse(block_diag([glass.csr, weak.csr], format="csr"))
    assert beta_c_estimate(weak, "bethe") == pytest.approx(10 * math.atanh(0.5), rel=CLOSE)
    assert beta_c_estimate(both, "bethe") == math.inf
    assert beta_c_estimate(both, "glass") == pytest.approx(math.atanh(5**-0.5), rel=CLOSE)


def test_glass_point_of_the_bimodal_sherrington_kirkpatrick_model_tends_to_1():
    n = 150
    model = disorder.sherrington_kirkpatrick(n, seed=1)
    exact = math.atanh((n - 2) ** -0.5) * math.sqrt(n)  # every site has n - 1 equal t^2
    assert beta_c_estimate(model, "glass") == pytest.approx(exact, rel=1e-10)
    assert exact == pytest.approx(1, abs=2 / n)


# Four graphs per size: the mean lies 5 standard errors or more inside the bound.
@pytest.mark.slow
@pytest.mark.statistical(alpha=norm.sf(5))
@pytest.mark.parametrize("n", [256, 1024])
def test_binder_cumulant_of_cubic_graphs_at_the_bethe_point_tends_to_that_of_curie_weiss(n):
    found = []
    for seed in range(4):
        model = disorder.random_regular(n, 3, seed=seed)
        run = sample(
            model, beta_c_estimate(model, "bethe"), sweeps=8000, burn_in=500, replicas=256,
            seed=seed, initial=np.ones(n, np.int8), observe=("m2", "m4"), every=4,
        )  # fmt: skip
        m2, m4 = (binning(run.series[name], 1) for name in ("m2", "m4"))
        found.append(jackknife(lambda a, b: 1 - b / (3 * a**2), m2, m4))
    u4 = np.mean([x.value for x in found])
    error = np.linalg.norm([x.error for x in found]) / len(found)
    exact = 1 - math.gamma(0.25) ** 4 / (24 * math.pi**2)
    assert abs(u4 - exact) + 5 * error < 1.5 / math.sqrt(n)


# Brackets.


@pytest.mark.parametrize(
    "model",
    [lattice.square(8), lattice.triangular(6), lattice.honeycomb(5), lattice.kagome(4),
     lattice.square(7, boundary="open"), lattice.cubic(4), lattice.square(6, Jx=2, Jy=2),
     lattice.bcc(3)],
    ids=str,
)  # fmt: skip
def test_bracket_contains_the_known_critical_point(model):
    bracket = beta_c_bracket(model)
    assert model.geometry.beta_c.value in bracket
    assert bracket.low_source
    assert bracket.high_source


def test_bracket_of_mixed_signs_is_below_any_order_and_says_so():
    model = disorder.edwards_anderson((4, 4, 4), seed=0)
    bracket = beta_c_bracket(model)
    assert bracket.low == pytest.approx(math.atanh(1 / 5), rel=CLOSE)
    assert bracket.high == math.inf
    assert "Griffiths" in bracket.low_source


@pytest.mark.parametrize(
    ("p", "q", "exact"),
    [(4, 4, math.asinh(1) / 2), (3, 6, math.log(3) / 4), (6, 3, math.acosh(2) / 2)],
)
def test_bracket_of_flat_tessellations_contains_the_exact_point(p, q, exact):
    assert exact in tessellation_bracket(p, q)


@pytest.mark.parametrize(("p", "q"), [(7, 3), (3, 7), (5, 4), (8, 3), (5, 5)])
def test_ends_of_a_bracket_and_of_its_dual_obey_kramers_and_wannier(p, q):
    bracket, dual = tessellation_bracket(p, q), tessellation_bracket(q, p)
    assert tessellation_bracket(p, q, J=2).high == bracket.high / 2
    assert tessellation_bracket(p, q, J=2).low == bracket.low / 2
    assert math.sinh(2 * bracket.high) * math.sinh(2 * dual.low) == pytest.approx(1, rel=1e-14)
    assert bracket.low < bracket.high


def test_planar_bound_is_exact_on_three_lattices_and_below_the_kagome_point():
    for q, exact in ((3, math.acosh(2) / 2), (4, math.asinh(1) / 2), (6, math.log(3) / 4)):
        assert planar_bound(q) == pytest.approx(exact, rel=1e-14)
    assert planar_bound(4) < lattice.kagome(3).geometry.beta_c.value


# The exponential law of curvature.


def test_critical_points_of_the_bethe_lattice_above_mean_field_are_those_of_the_table():
    found = [round(bethe_ratio(q), 3) for q in (3, 4, 5, 6, 7)]
    assert found == [1.648, 1.386, 1.277, 1.216, 1.178]


def test_ratio_of_the_bethe_lattice_falls_to_1_and_never_below():
    ratios = [bethe_ratio(q) for q in range(3, 200)]
    assert ratios == sorted(ratios, reverse=True)
    assert 1 < ratios[-1] < 1 + 1 / 199 + 2 / 199**2  # q atanh(1 / (q - 1)) = 1 + 1/q + O(1/q^2)


def test_fit_returns_the_constant_that_made_the_data():
    x, top = np.array([0.5, 1.0, 2.0]), np.array([3.0, 4.0, 7.0])
    beta = [
        Estimate(exponential_ratio(0.3, 1.0, r) / t, 1e-3) for r, t in zip(x, top, strict=True)
    ]
    fit = fit_exponential_ratio(beta, top, x)
    assert fit.C.value == pytest.approx(0.3, rel=1e-14)
    assert fit.chi2 == pytest.approx(0, abs=1e-20)
    # error propagation of a one-parameter fit: 1 / sqrt(sum (x f / sigma)^2)
    weights = [(r * b.value / b.error) ** 2 for r, b in zip(x, beta, strict=True)]
    assert fit.C.error == pytest.approx(sum(weights) ** -0.5, rel=1e-14)


def test_exponential_growth_with_the_radius_is_rejected_on_the_bethe_lattice():
    # the same beta_c lambda_max at every radius, measured to 1 %
    beta = [Estimate(bethe_ratio(3) / 3, 0.01 * bethe_ratio(3) / 3)] * 4
    fit = fit_exponential_ratio(beta, [3.0] * 4, [1.0, 2.0, 3.0, 4.0])
    assert fit.p < 1e-6
    assert "chi2" in str(fit)


# Refusals.


def test_open_pieces_of_lattices_give_no_bracket():
    for model in (hyperbolic.patch(7, 3, 3).model, lattice.cubic(3, boundary="open")):
        with pytest.raises(ValueError, match="open boundary"):
            beta_c_bracket(model)


def test_a_patch_has_fewer_walks_and_a_larger_bethe_point_than_the_plane():
    points = [beta_c_estimate(hyperbolic.patch(7, 3, k).model) for k in (2, 3, 4, 5)]
    assert points == sorted(points, reverse=True)
    assert points[-1] > tessellation_bracket(7, 3).low


def test_wrong_arguments_are_refused_with_what_is_allowed():
    model = lattice.square(4)
    with pytest.raises(ValueError, match="method must be one of"):
        beta_c_estimate(model, "mc")
    with pytest.raises(ValueError, match="no couplings"):
        beta_c_estimate(IsingModel.from_edges([], 5))
    for p, q in ((2, 7), (5, 3), (3, 3)):
        with pytest.raises(ValueError, match="need p, q"):
            tessellation_bracket(p, q)
    with pytest.raises(ValueError, match="J must be"):
        tessellation_bracket(7, 3, J=0)
    with pytest.raises(ValueError, match="degree must be"):
        planar_bound(2)
    with pytest.raises(ValueError, match="as many beta_c"):
        fit_exponential_ratio([Estimate(1, 0.1)], [1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="positive"):
        fit_exponential_ratio([Estimate(1, 0.0)], [1.0], [1.0])


def test_largest_eigenvalue_of_a_large_sparse_matrix_is_that_of_its_dense_form():
    model = disorder.barabasi_albert(300, 3, seed=1)
    expected = np.linalg.eigvalsh(model.dense.astype(float))[-1]
    assert largest_eigenvalue(model.csr.astype(float)) == pytest.approx(expected, rel=1e-13)


def test_mean_field_point_of_an_open_square_is_that_of_its_exact_spectrum():
    # eigenvalues 2 cos(pi a / (L + 1)) + 2 cos(pi b / (L + 1)), the largest two 2e-3 apart
    size = 60
    model = lattice.square(size, boundary="open")
    exact = 1 / (4 * math.cos(math.pi / (size + 1)))
    assert beta_c_estimate(model, "mean-field") == pytest.approx(exact, rel=CLOSE)
