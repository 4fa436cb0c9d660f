"""Disorder and random graphs against exact laws, networkx and enumeration."""

import itertools
import math

import networkx as nx
import numpy as np
import pytest
from scipy import stats

from isingnpu import rng
from isingnpu.disorder import (
    barabasi_albert,
    complete,
    curie_weiss,
    edwards_anderson,
    erdos_renyi,
    random_regular,
    sherrington_kirkpatrick,
    watts_strogatz,
)

ALPHA = 1e-6

GRAPHS = {
    "random_regular": lambda **options: random_regular(40, 3, **options),
    "erdos_renyi": lambda **options: erdos_renyi(40, 5, **options),
    "watts_strogatz": lambda **options: watts_strogatz(40, 4, 0.3, **options),
    "barabasi_albert": lambda **options: barabasi_albert(40, 2, **options),
}
SEEDED = GRAPHS | {
    "edwards_anderson": lambda **options: edwards_anderson((3, 4), **options),
    "sherrington_kirkpatrick": lambda **options: sherrington_kirkpatrick(12, **options),
}


def minimum_energy(model):
    """Least of the 2^n energies, by the definition of E."""
    states = np.array(list(itertools.product((-1, 1), repeat=model.n)))
    pairs = np.einsum("ki,ij,kj->k", states, np.triu(model.dense), states)
    return (-pairs - states @ model.fields).min()


# Seeds.


@pytest.mark.parametrize("name", SEEDED)
def test_same_seed_gives_the_same_instance_and_another_seed_another(name):
    build = SEEDED[name]
    assert build(seed=5).fingerprint == build(seed=5).fingerprint
    assert build(seed=5).fingerprint != build(seed=6).fingerprint


@pytest.mark.parametrize("name", SEEDED)
def test_default_is_instance_zero(name):
    assert SEEDED[name]().fingerprint == SEEDED[name](seed=0).fingerprint


@pytest.mark.parametrize(
    ("model", "sha256"),
    [
        (
            lambda: edwards_anderson((4, 4, 4), seed=7),
            "e12d833b0ce3470122b46b84dee797523158f950ec6f893b0c1bc63942263ed3",
        ),
        (
            lambda: sherrington_kirkpatrick(16, seed=7),
            "d81bf3576bb42c6e135af0e3ca9605c9fa32c5fb87acf54c8d355b7c19b10c15",
        ),
    ],
)
def test_published_instances_never_change(model, sha256):
    assert model().fingerprint == sha256


@pytest.mark.parametrize("name", GRAPHS)
def test_the_seed_draws_couplings_and_graph_separately(name):
    plain, glass = GRAPHS[name](seed=3), GRAPHS[name](seed=3, disorder="bimodal")
    assert (abs(glass.csr) != plain.csr).nnz == 0
    assert set(glass.csr.data) == {-1, 1}


# Edwards-Anderson.


def test_edwards_anderson_couplings_are_the_draws_in_axis_then_site_order():
    model = edwards_anderson((3, 4), disorder="gaussian", seed=11)
    draws = rng.random_normals(11, rng.Stream.COUPLINGS, 24).reshape(2, 3, 4)
    expected = np.zeros((12, 12))
    for y, x in np.ndindex(3, 4):
        for axis, (yy, xx) in enumerate([((y + 1) % 3, x), (y, (x + 1) % 4)]):
            expected[4 * y + x, 4 * yy + xx] = draws[axis, y, x]
    assert np.array_equal(model.dense, expected + expected.T)


def test_edwards_anderson_sample_keeps_its_bulk_under_every_boundary():
    periodic, opened, moebius = (
        edwards_anderson((5, 6), seed=2, boundary=("periodic", name)).dense
        for name in ("periodic", "open", "antiperiodic")
    )
    seam = periodic != opened
    assert np.argwhere(np.triu(seam)).tolist() == [[6 * y, 6 * y + 5] for y in range(5)]
    assert np.array_equal(moebius, np.where(seam, -periodic, periodic))


@pytest.mark.statistical(alpha=ALPHA)
def test_bimodal_couplings_are_fair_signs():
    # power: 90000 draws, so an up probability of 0.52 lies 12 sigma off, alpha at 4.9 sigma
    signs = edwards_anderson((10, 50, 60), seed=1).csr.data
    assert stats.binomtest(int(np.sum(signs == 1)) // 2, signs.size // 2).pvalue > ALPHA


@pytest.mark.statistical(alpha=ALPHA)
def test_gaussian_couplings_are_standard_normal():
    # power: 18000 draws, so a distance of 0.03 (sigma off by 6 %) lies beyond alpha's 0.02
    couplings = edwards_anderson((10, 20, 30), disorder="gaussian", seed=1).csr.tocoo()
    values = couplings.data[couplings.coords[0] < couplings.coords[1]]
    assert stats.kstest(values, "norm").pvalue > ALPHA


@pytest.mark.parametrize(
    ("disorder", "published", "error"), [("bimodal", 1.1019, 0.0029), ("gaussian", 0.951, 0.009)]
)
def test_cubic_glass_temperature_is_the_published_one(disorder, published, error):
    beta_c = edwards_anderson((4, 4, 4), disorder=disorder).geometry.beta_c
    assert abs(1 / beta_c.value - published) < 1e-12
    assert beta_c.error / beta_c.value == pytest.approx(error / published, rel=1e-12)


@pytest.mark.parametrize("shape", [(16,), (4, 4)])
def test_one_and_two_dimensional_glasses_have_no_transition(shape):
    assert edwards_anderson(shape).geometry.beta_c.value == math.inf


def test_four_dimensional_glass_has_no_stated_transition():
    assert edwards_anderson((3, 3, 3, 3)).geometry.beta_c is None


def test_ground_energy_of_a_glass_is_not_stated():
    assert edwards_anderson((4, 4)).geometry.ground_energy is None


# Every site coupled to every other.


def test_complete_model_is_the_complete_graph():
    expected = nx.to_numpy_array(nx.complete_graph(9))
    assert np.array_equal(complete(9).dense, expected)


@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize(("J", "h"), [(1, 0), (-1, 0), (2, -3), (-2, 3), (-1, 20), (0, -1)])
def test_complete_ground_energy_is_the_minimum_over_all_states(n, J, h):
    model = complete(n, J=J, h=h)
    assert model.geometry.ground_energy.value == minimum_energy(model)
    assert model.energy(model.geometry.ground_state) == model.geometry.ground_energy.value


@pytest.mark.parametrize(("n", "J"), [(8, 1.0), (8, 0.5), (12, 2.0)])
def test_curie_weiss_has_energy_and_transition_independent_of_size(n, J):
    geometry = curie_weiss(n, J=J).geometry
    assert geometry.family == "curie_weiss"
    assert geometry.ground_energy.value == pytest.approx(-J * (n - 1) / 2, rel=1e-15)
    assert geometry.beta_c.value == pytest.approx(1 / J, rel=1e-15)


def test_complete_transition_is_that_of_curie_weiss_and_absent_otherwise():
    assert complete(20, J=3).geometry.beta_c.value == pytest.approx(1 / 60, rel=1e-15)
    assert complete(20, J=-3).geometry.beta_c is None
    assert complete(20, h=1).geometry.beta_c is None


def test_bimodal_sherrington_kirkpatrick_couples_every_pair_by_one_over_root_n():
    dense = sherrington_kirkpatrick(16, seed=4).dense
    assert np.array_equal(np.abs(dense), (1 - np.eye(16)) / 4)
    assert np.array_equal(dense, dense.T)


def test_sherrington_kirkpatrick_pairs_take_their_draws_row_by_row():
    dense = sherrington_kirkpatrick(6, disorder="gaussian", seed=4).dense
    draws = rng.random_normals(4, rng.Stream.COUPLINGS, 15)
    assert np.array_equal(dense[np.triu_indices(6, 1)], draws / math.sqrt(6))


@pytest.mark.statistical(alpha=ALPHA)
def test_gaussian_sherrington_kirkpatrick_has_coupling_variance_one_over_n():
    n = 200
    values = sherrington_kirkpatrick(n, disorder="gaussian", seed=4).dense[np.triu_indices(n, 1)]
    tail = stats.chi2.cdf(n * np.sum(values**2), len(values))
    assert ALPHA / 2 < tail < 1 - ALPHA / 2


def test_sherrington_kirkpatrick_orders_at_beta_one():
    assert sherrington_kirkpatrick(8).geometry.beta_c.value == 1.0


# Random graphs.


@pytest.mark.parametrize(("n", "degree"), [(10, 3), (50, 4), (7, 0), (6, 5)])
def test_random_regular_has_exactly_that_degree_everywhere(n, degree):
    model = random_regular(n, degree, seed=1)
    assert set(np.diff(model.csr.indptr)) == {degree}
    assert model.n_edges == model.geometry.bonds == n * degree // 2


@pytest.mark.statistical(alpha=ALPHA)
def test_erdos_renyi_edges_are_binomial():
    n, c, instances = 60, 5, 40
    edges = sum(erdos_renyi(n, c, seed=seed).n_edges for seed in range(instances))
    pairs = instances * n * (n - 1) // 2
    assert stats.binomtest(edges, pairs, c / (n - 1)).pvalue > ALPHA


@pytest.mark.statistical(alpha=ALPHA)
def test_erdos_renyi_degrees_are_binomial():
    # one site per instance, so that the degrees are independent
    n, c, instances = 30, 4, 400
    degrees = [int(np.diff(erdos_renyi(n, c, seed=s).csr.indptr)[0]) for s in range(instances)]
    seen = np.bincount(np.minimum(degrees, 9), minlength=10)
    law = stats.binom(n - 1, c / (n - 1))
    expected = instances * np.append(law.pmf(np.arange(9)), law.sf(8))
    assert stats.chisquare(seen, expected).pvalue > ALPHA


def test_erdos_renyi_of_full_degree_is_complete():
    assert (erdos_renyi(9, 8).csr != complete(9).csr).nnz == 0


def test_watts_strogatz_without_rewiring_is_the_circulant_ring():
    ring = nx.to_scipy_sparse_array(nx.circulant_graph(12, [1, 2]))
    assert (watts_strogatz(12, 4, 0.0).csr != ring).nnz == 0


def test_watts_strogatz_keeps_its_number_of_edges_when_rewired():
    assert watts_strogatz(100, 6, 0.5, seed=3).n_edges == 300


@pytest.mark.parametrize("attached", [1, 3])
def test_barabasi_albert_grows_by_a_fixed_number_of_edges(attached):
    model = barabasi_albert(100, attached, seed=3)
    assert model.n_edges == attached * (100 - attached)
    assert nx.is_connected(nx.from_scipy_sparse_array(model.csr))


@pytest.mark.parametrize("name", GRAPHS)
def test_edges_of_a_random_graph_take_their_draws_row_by_row(name):
    dense = np.triu(GRAPHS[name](seed=9, disorder="gaussian", J=2).dense)
    draws = rng.random_normals(9, rng.Stream.COUPLINGS, np.count_nonzero(dense))
    assert np.array_equal(dense[dense != 0], 2 * draws)


@pytest.mark.parametrize("name", GRAPHS)
def test_coordination_of_a_random_graph_is_its_mean_degree(name):
    model = GRAPHS[name](seed=2)
    assert model.geometry.coordination == 2 * model.n_edges / 40


@pytest.mark.parametrize("h", [0, -2, 3])
def test_ferromagnet_on_a_graph_is_uniform_along_the_field(h):
    model = erdos_renyi(10, 3, J=2, h=h, seed=1)
    assert model.geometry.ground_energy.value == minimum_energy(model)
    assert model.energy(model.geometry.ground_state) == model.geometry.ground_energy.value


@pytest.mark.parametrize("options", [{"J": -1}, {"disorder": "gaussian"}])
@pytest.mark.parametrize("name", GRAPHS)
def test_frustrated_graphs_have_no_stated_ground_energy(name, options):
    geometry = GRAPHS[name](seed=1, **options).geometry
    assert geometry.ground_energy is None
    assert geometry.ground_state is None


@pytest.mark.parametrize(
    ("degree", "published"), [(3, 0.549306), (4, 0.346574), (5, 0.255413), (6, 0.202733)]
)
def test_random_regular_ferromagnet_orders_on_the_bethe_lattice(degree, published):
    assert abs(random_regular(20, degree).geometry.beta_c.value - published) < 0.5e-6


@pytest.mark.parametrize("J", [1, -2])
def test_bimodal_tree_glass_orders_where_branching_times_tanh_squared_is_one(J):
    regular = random_regular(20, 5, J=J, disorder="bimodal").geometry.beta_c.value
    random = erdos_renyi(20, 4, J=J, disorder="bimodal").geometry.beta_c.value
    assert regular == random
    # four roundings of relative size eps, tanh' < 1
    assert abs(4 * math.tanh(abs(J) * regular) ** 2 - 1) < 8 * np.finfo(float).eps


@pytest.mark.parametrize(
    "model",
    [random_regular(10, 2), erdos_renyi(10, 0.9), random_regular(10, 2, disorder="gaussian")],
)
def test_graphs_that_do_not_branch_never_order(model):
    assert model.geometry.beta_c.value == math.inf


@pytest.mark.parametrize(
    "model",
    [
        random_regular(10, 3, h=1),
        random_regular(10, 3, J=0),
        random_regular(10, 3, J=-1),
        random_regular(10, 3, disorder="gaussian"),
        watts_strogatz(10, 4, 0.1),
        barabasi_albert(10, 2),
    ],
)
def test_transitions_that_are_not_known_are_not_stated(model):
    assert model.geometry.beta_c is None


# Arguments.


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: random_regular(5, 3), ValueError, "n \\* degree even, got n = 5, degree = 3"),
        (lambda: random_regular(4, 4), ValueError, "degree must lie in 0..n-1"),
        (lambda: random_regular(4, 1.0), TypeError, "degree must be a whole number, got 1.0"),
        (lambda: erdos_renyi(4, 5), ValueError, "mean_degree must lie in 0..n-1 = 3, got 5"),
        (lambda: watts_strogatz(9, 3, 0.1), ValueError, "neighbours must be even .* got 3"),
        (lambda: watts_strogatz(9, 4, 1.5), ValueError, "rewiring must lie in 0..1, got 1.5"),
        (lambda: barabasi_albert(4, 4), ValueError, "attached must lie in 1..n-1 = 3, got 4"),
        (lambda: edwards_anderson((4, 4), disorder="pm"), ValueError, "must be one of .* 'pm'"),
        (lambda: sherrington_kirkpatrick(4, disorder="none"), ValueError, "use curie_weiss"),
        (lambda: edwards_anderson((4, 4), seed=-1), ValueError, "seed must lie in"),
        (lambda: complete(0), ValueError, "must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(build, error, text):
    with pytest.raises(error, match=text):
        build()
