"""Planted ground states against enumeration, and the laws that make them ground states."""

import itertools
import math

import numpy as np
import pytest

from isingnpu.disorder import complete, random_regular
from isingnpu.lattice import chain, cubic, honeycomb, square, triangular
from isingnpu.model import IsingModel
from isingnpu.planted import frustrated_loops, number_partitioning, tile_planting, wishart

WHOLE = {
    "loops-square": lambda seed: frustrated_loops(square(4), density=1.0, seed=seed),
    "loops-cubic": lambda seed: frustrated_loops(cubic((2, 2, 3)), min_length=5, seed=seed),
    "loops-complete": lambda seed: frustrated_loops(complete(9), density=2.0, seed=seed),
    "loops-honeycomb": lambda seed: frustrated_loops(honeycomb((2, 4)), seed=seed),
    "tiles": lambda seed: tile_planting(4, seed=seed),
    "tiles-1": lambda seed: tile_planting(4, mix=(1, 0, 0, 0), seed=seed),
    "tiles-4": lambda seed: tile_planting(4, mix=(0, 0, 0, 1), seed=seed),
    "wishart-bimodal": lambda seed: wishart(14, alpha=0.4, disorder="bimodal", seed=seed),
    "partition": lambda seed: number_partitioning(13, bits=10, seed=seed),
    "partition-2": lambda seed: number_partitioning(2, bits=4, seed=seed),
    "partition-small": lambda seed: number_partitioning(15, bits=2, seed=seed),
}
EACH = pytest.mark.parametrize("name", WHOLE)
SEEDS = pytest.mark.parametrize("seed", range(4))


def minimum_energy(model):
    """Least of the 2^n energies, by the definition of E."""
    states = np.array(list(itertools.product((-1.0, 1.0), repeat=model.n)))
    pairs = np.sum(states @ np.triu(model.dense, 1) * states, axis=1)
    return (-pairs - states @ model.fields + model.offset).min()


def planted_loops(graph, **options):
    """The model and its couplings seen from the planted state, J_ij t_i t_j."""
    model = frustrated_loops(graph, **options)
    t = model.geometry.ground_state.astype(int)
    return model, model.dense * np.outer(t, t)


# Every family.


@EACH
@SEEDS
def test_no_state_lies_below_the_planted_energy(name, seed):
    model = WHOLE[name](seed)
    assert minimum_energy(model) == model.geometry.ground_energy.value


@EACH
@SEEDS
def test_the_planted_state_has_the_planted_energy(name, seed):
    model = WHOLE[name](seed)
    assert model.energy(model.geometry.ground_state) == model.geometry.ground_energy.value


@pytest.mark.parametrize(("n", "alpha"), [(13, 0.3), (12, 1.0), (2, 1.0)])
@SEEDS
def test_gaussian_wishart_is_planted_up_to_rounding(n, alpha, seed):
    model = wishart(n, alpha=alpha, seed=seed)
    planted = model.geometry.ground_energy.value
    # a sum of n^2 products of |J_ij| <= size, and as many again in W W^T
    rounding = 2 * n**2 * np.finfo(float).eps * np.abs(model.dense).sum()
    assert abs(minimum_energy(model) - planted) < rounding
    assert abs(model.energy(model.geometry.ground_state) - planted) < rounding


@EACH
def test_same_seed_gives_the_same_instance_and_another_seed_another(name):
    build = WHOLE[name]
    assert build(5).fingerprint == build(5).fingerprint
    assert len({build(seed).fingerprint for seed in range(8)}) > 1


@EACH
def test_the_planted_state_depends_on_the_seed(name):
    states = [WHOLE[name](seed).geometry.ground_state for seed in range(8)]
    assert not all(np.array_equal(states[0], state) for state in states)


@pytest.mark.parametrize(
    ("model", "sha256"),
    [
        (
            lambda: tile_planting(8, seed=7),
            "6d27412bd7f73769a3cc204205fc4b858ffcd2575049ffd07696ebe91bf85a4b",
        ),
        (
            lambda: number_partitioning(20, seed=7),
            "b57ce7ca6a39e23f720725baf62d19824b14afee1103d590d6d5f5be22fca4ff",
        ),
        (
            lambda: frustrated_loops(square(8), seed=7),
            "65bd03761e843d3a4571f4de55922d8cd062ce66d38c6c7fbec123edda6178fe",
        ),
    ],
)
def test_published_instances_never_change(model, sha256):
    assert model().fingerprint == sha256


# Frustrated loops.


def test_one_loop_is_a_ring_with_one_unsatisfied_bond():
    model, seen = planted_loops(chain(9), density=0.1, seed=3)
    upper = seen[np.triu_indices(9, 1)]
    assert sorted(upper[upper != 0]) == [-1] + [1] * 8
    assert model.geometry.ground_energy.value == -7


@pytest.mark.parametrize("graph", [square(6), triangular(5), random_regular(30, 3)])
def test_loops_use_only_edges_of_the_graph(graph):
    model = frustrated_loops(graph, density=2.0, seed=1)
    assert np.all(graph.dense[model.dense != 0] != 0)


def test_energy_counts_the_couplings_of_all_loops():
    # seen from t, loops sum to l - 2 each, and so do all couplings together
    model, seen = planted_loops(square(6), density=1.5, seed=1)
    assert np.triu(seen).sum() == -model.geometry.ground_energy.value


def test_loops_shorter_than_the_minimum_are_left_out():
    # of 5 sites no loop has more than 5 edges, so each of the 5 loops has energy -3
    model = frustrated_loops(complete(5), density=1.0, min_length=5, seed=1)
    assert model.geometry.ground_energy.value == -5 * 3


def test_loops_keep_the_lattice_and_the_labels_of_the_graph():
    named = IsingModel.from_edges([(0, 1, 1), (1, 2, 1), (2, 0, 1)], labels="abc")
    assert frustrated_loops(named, seed=1).labels == ("a", "b", "c")
    assert np.array_equal(
        frustrated_loops(square(4)).geometry.positions, square(4).geometry.positions
    )


# Tiles.


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_every_tile_of_class_k_has_k_weak_bonds_and_one_unsatisfied(k):
    ly, lx = 6, 8
    model = tile_planting((ly, lx), mix=np.eye(4)[k - 1], seed=2)
    t = model.geometry.ground_state.astype(int)
    seen = model.dense * np.outer(t, t)
    tiles = [(y, x) for y in range(ly) for x in range(lx) if (x + y) % 2 == 0]
    for y, x in tiles:
        corners = [(y, x), (y, x + 1), (y + 1, x + 1), (y + 1, x)]
        sites = [(a % ly) * lx + b % lx for a, b in corners]
        bonds = sorted(seen[sites[c], sites[(c + 1) % 4]] for c in range(4))
        assert bonds == [-1] + [1] * (k - 1) + [2] * (4 - k)
    assert model.geometry.ground_energy.value == len(tiles) * (k - 6)
    assert model.n_edges == 2 * ly * lx


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_a_tile_of_class_k_has_k_ground_states_up_to_a_flip(k):
    # Perera et al. 2020: classes are named by their degeneracy
    ring = [-1] + [1] * (k - 1) + [2] * (4 - k)
    states = itertools.product((-1, 1), repeat=4)
    energies = [-sum(J * s[c] * s[(c + 1) % 4] for c, J in enumerate(ring)) for s in states]
    assert (min(energies), energies.count(min(energies))) == (k - 6, 2 * k)


@pytest.mark.statistical(alpha=1e-6)
def test_tile_classes_appear_in_their_shares():
    # 5000 tiles; the energy per tile k - 6 has mean 1.9 - 6 and variance 0.89 for this mix
    mix = np.array([0.4, 0.4, 0.1, 0.1])
    model = tile_planting(100, mix=10 * mix, seed=1)
    k = np.arange(1, 5)
    mean, variance = k @ mix, k**2 @ mix - (k @ mix) ** 2
    deviation = model.geometry.ground_energy.value / 5000 + 6 - mean
    assert abs(deviation) < 4.9 * math.sqrt(variance / 5000)  # 4.9 sigma: alpha = 1e-6


# Wishart.


@pytest.mark.parametrize("disorder", ["gaussian", "bimodal"])
@pytest.mark.parametrize("alpha", [0.25, 0.5])
def test_wishart_constraints_are_m_directions_orthogonal_to_the_planted_state(alpha, disorder):
    n = 24
    model = wishart(n, alpha=alpha, disorder=disorder, seed=5)
    t = model.geometry.ground_state.astype(float)
    # W W^T = D - J with D_ii = t_i sum_j J_ij t_j because W^T t = 0
    gram = np.diag(t * (model.dense @ t)) - model.dense
    eigenvalues = np.linalg.eigvalsh(gram)
    zero = n * np.finfo(float).eps * eigenvalues[-1]
    assert np.sum(abs(eigenvalues) > 10 * zero) == round(alpha * n)
    assert eigenvalues[0] > -10 * zero


@pytest.mark.parametrize(("disorder", "scale"), [("gaussian", 1.0), ("bimodal", 1 / 100)])
@pytest.mark.statistical(alpha=1e-6)
def test_wishart_ground_energy_is_minus_half_m_on_average(disorder, scale):
    # tr W W^T / n has mean m; for normal columns variance 2 m / (n - 1), for signs none
    n, m = 100, 80
    energy = wishart(n, alpha=0.8, disorder=disorder, seed=3).geometry.ground_energy.value
    assert abs(energy * scale + m / 2) < 4.9 * math.sqrt(2 * m / (n - 1)) / 2


# Number partitioning.


@SEEDS
def test_partition_energy_is_the_squared_difference_of_the_halves(seed):
    model = number_partitioning(11, bits=8, seed=seed)
    dense = model.dense.astype(float)
    a0 = math.sqrt(-dense[0, 1] * dense[0, 2] / (2 * dense[1, 2]))
    a = np.rint(np.append(a0, -dense[0, 1:] / (2 * a0))).astype(int)
    assert np.array_equal(model.dense, -2 * np.outer(a, a) * (1 - np.eye(11, dtype=int)))
    assert a.min() >= 1
    assert a.max() < 2**8
    spins = np.random.default_rng(seed).choice([-1, 1], size=(20, 11))
    assert np.array_equal(model.energy(spins), (spins @ a) ** 2)


# Arguments.


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: frustrated_loops(chain(6, boundary="open")), "found 0 loops of length >= 3"),
        (lambda: frustrated_loops(complete(4), min_length=5), "lower min_length"),
        (lambda: frustrated_loops(square(4), density=0), "density must be positive .* got 0"),
        (lambda: frustrated_loops(IsingModel.from_edges([], 0)), "graph has no sites"),
        (lambda: tile_planting(5), r"even extents of at least 4, got \(5, 5\)"),
        (lambda: tile_planting((2, 4)), r"even extents of at least 4, got \(2, 4\)"),
        (lambda: tile_planting(4, mix=(1, 0, 0)), r"mix must be four shares .* got \(1, 0, 0\)"),
        (lambda: tile_planting(4, mix=(1, -1, 1, 0)), "mix must be four shares"),
        (lambda: wishart(1), "n >= 2"),
        (lambda: wishart(8, alpha=0), "alpha > 0, got 8 and 0"),
        (lambda: wishart(9, disorder="bimodal"), "need an even n, got 9"),
        (lambda: wishart(8, disorder="none"), "must be 'gaussian' or 'bimodal', got 'none'"),
        (lambda: number_partitioning(1), "n >= 2 and bits in 2..25, got 1 and 12"),
        (lambda: number_partitioning(8, bits=26), "bits in 2..25, got 8 and 26"),
        (lambda: number_partitioning(100, bits=22), r">= 2\^53: use fewer bits than 22"),
    ],
)
def test_wrong_arguments_are_named(build, text):
    with pytest.raises(ValueError, match=text):
        build()
