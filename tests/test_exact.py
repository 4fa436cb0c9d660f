"""Each exact result against a second route to it or a published number.

Tolerance: two float64 routes that add n terms of one sign agree to a few n eps of the result;
REL = 1e-12 is the accuracy the package states, 5e3 eps. Published numbers carry their digits.
"""

import itertools
import math

import dimod
import networkx as nx
import numpy as np
import pytest

from isingnpu import exact
from isingnpu.model import IsingModel

REL = 1e-12
K_C = math.asinh(1) / 2


def random_model(n, seed, integer=False):
    rng = np.random.default_rng(seed)
    pairs = list(itertools.combinations(range(n), 2))
    draw = (lambda k: rng.integers(-3, 4, k)) if integer else rng.standard_normal
    edges = [(i, j, x) for (i, j), x in zip(pairs, draw(len(pairs)), strict=True)]
    return IsingModel.from_edges(edges, n, fields=draw(n), offset=0.5)


def rectangle(shape, couplings=(1.0, 1.0), field=0.0, boundary=("periodic", "periodic")):
    number = np.arange(shape[0] * shape[1]).reshape(shape)
    edges = []
    for axis in (0, 1):
        ends = np.roll(number, -1, axis=axis)
        keep = shape[axis] - (boundary[axis] == "open")
        pairs = zip(
            number.take(range(keep), axis).ravel(),
            ends.take(range(keep), axis).ravel(),
            strict=True,
        )
        edges += [(i, j, couplings[axis]) for i, j in pairs]
    return IsingModel.from_edges(edges, number.size, fields=np.full(number.size, field))


def relative_errors(got, want):
    names = ("ln_z", "energy", "heat_capacity")
    return [abs(getattr(got, name) / getattr(want, name) - 1) for name in names]


# Enumeration.


@pytest.mark.parametrize("integer", [True, False])
def test_enumerated_energies_are_those_of_dimods_exact_solver(integer):
    model = random_model(7, 1, integer)
    states, energies = exact.enumerate_states(model)
    solved = dimod.ExactSolver().sample(model.to_bqm())
    place = {tuple(s): e for s, e in zip(solved.record.sample, solved.record.energy, strict=True)}
    want = np.array([place[tuple(s)] for s in states])
    assert len(place) == len(states) == 2**7
    if integer:
        assert np.array_equal(energies, want)
    np.testing.assert_allclose(energies, want, rtol=0, atol=1e-13)  # 36 terms of size 3


def test_bit_i_of_the_state_number_is_spin_i():
    states, _ = exact.enumerate_states(random_model(5, 1))
    assert states.dtype == np.int8
    assert states[0b01101].tolist() == [1, -1, 1, 1, -1]


@pytest.mark.parametrize("beta", [0.0, 0.7, -0.4, 300.0, -300.0])
def test_averages_are_the_sums_over_states(beta):
    model = random_model(6, 2)
    states, _ = exact.enumerate_states(model)
    energies = model.energy(states)
    m = states.mean(axis=1)
    log_weights = -beta * energies
    log_weights -= log_weights.max()
    z = math.fsum(np.exp(log_weights))
    p = np.exp(log_weights) / z
    mean = math.fsum(p * energies)
    positive = p[p > 0]
    got = exact.thermodynamics(model, beta)
    want = {
        "ln_z": math.log(z) + (-beta * energies).max(),
        "energy": mean,
        "heat_capacity": beta**2 * math.fsum(p * (energies - mean) ** 2),
        "entropy": -math.fsum(positive * np.log(positive)),
        "m": math.fsum(p * m),
        "abs_m": math.fsum(p * abs(m)),
        "m2": math.fsum(p * m**2),
        "m4": math.fsum(p * m**4),
    }
    for name, value in want.items():
        assert getattr(got, name) == pytest.approx(value, rel=REL, abs=1e-15), name


def test_critical_torus_of_side_4_has_the_known_moments():
    # Counts of (E, |M|) by a bit-by-bit loop, summed in mpmath with 30 digits.
    got = exact.thermodynamics(rectangle((4, 4)), K_C)
    assert got.abs_m == pytest.approx(0.843860444813420205, rel=REL, abs=0)
    assert got.m2 == pytest.approx(0.761358908568672613, rel=REL, abs=0)
    assert got.binder == pytest.approx(0.617199318412458937, rel=REL, abs=0)


def test_critical_torus_of_side_4_has_the_published_correlation_length():
    states, _ = exact.enumerate_states(rectangle((4, 4)))
    p = exact.boltzmann(rectangle((4, 4)), K_C)
    wave = np.exp(2j * np.pi * np.arange(4) / 4)
    at_k_min = (states.reshape(-1, 4, 4) @ wave).sum(axis=1)  # sum over x, phase along y
    ratio = (p @ states.sum(axis=1, dtype=float) ** 2) / (p @ abs(at_k_min) ** 2)
    xi = math.sqrt(ratio - 1) / (2 * math.sin(math.pi / 4))
    assert xi / 4 == pytest.approx(0.953183766417, abs=6e-13)


def test_a_model_without_sites_has_one_state():
    model = IsingModel.from_edges([], 0, offset=-2.5)
    states, energies = exact.enumerate_states(model)
    averages = exact.thermodynamics(model, 0.4)
    assert states.shape == (1, 0)
    assert energies.tolist() == [-2.5]
    assert (averages.ln_z, averages.energy, averages.entropy) == (1.0, -2.5, 0.0)
    assert math.isnan(averages.m)


def test_enumeration_of_25_sites_is_refused():
    with pytest.raises(ValueError, match=r"25 sites needs 2\^25 energies"):
        exact.thermodynamics(IsingModel.from_edges([(0, 24, 1)], 25), 0.1)


@pytest.mark.parametrize("coupling", [-1, -0.7])
def test_odd_antiferromagnetic_ring_has_2n_ground_states(coupling):
    # One broken bond at any of 7 places, times the global flip; sums of 0.7 round apart,
    # and only 4 of the 14 are equal bit for bit.
    model = IsingModel.from_edges([(i, (i + 1) % 7, coupling) for i in range(7)])
    energy, states = exact.ground_states(model)
    assert energy == pytest.approx(5 * coupling, rel=1e-15)
    assert len(states) == 14
    assert np.all((states * np.roll(states, -1, axis=1) == 1).sum(axis=1) == 1)


# Transfer matrix.


@pytest.mark.parametrize("field", [0.0, 0.3])
@pytest.mark.parametrize("boundary", list(itertools.product(["periodic", "open"], repeat=2)))
@pytest.mark.parametrize("couplings", [(1.0, 0.4), (-1.0, 0.7), (0.5, -1.2)])
@pytest.mark.parametrize("shape", [(3, 4), (5, 2)])
def test_transfer_matrix_equals_enumeration(shape, couplings, boundary, field):
    want = exact.thermodynamics(rectangle(shape, couplings, field, boundary), 0.6)
    got = exact.transfer_matrix(shape, 0.6, couplings=couplings, field=field, boundary=boundary)
    assert max(relative_errors(got, want)) < REL
    assert got.entropy == pytest.approx(want.entropy, rel=REL, abs=0)


# Curie-Weiss.

# Sums over sectors in mpmath, 40 digits: n, beta, h, ln Z, E, C, <|m|>, <m^2>, <m^4>.
MPMATH_CURIE_WEISS = [
    (
        (1000, 1.25, 0.0),
        (729.5549781470493, -250.30286163606453, 1038.2149495484825),
        (0.7072903975029622, 0.501605723272129, 0.2542661318901998),
    ),
    (
        (20000, 1.0, 0.0009765625),
        (13866.561298087261, -184.0831374104973, 16681.6448482176),
        (0.1241702235032626, 0.01822268767833396, 0.000496151630507405),
    ),
    (
        (300, -2.0, 0.5),
        (258.1171511884169, 33.47130672093939, 11.42899063453153),
        (0.3293467412938258, 0.10953802982089651, 0.012464173039683783),
    ),
]


@pytest.mark.parametrize(("at", "thermal", "moments"), MPMATH_CURIE_WEISS)
def test_curie_weiss_equals_the_sum_in_high_precision(at, thermal, moments):
    n, beta, field = at
    got = exact.curie_weiss(n, beta, field=field)
    assert (got.ln_z, got.energy, got.heat_capacity) == pytest.approx(thermal, rel=REL, abs=0)
    assert (got.abs_m, got.m2, got.m4) == pytest.approx(moments, rel=REL, abs=0)


def test_curie_weiss_equals_enumeration_of_the_complete_graph():
    n = 9
    j = np.full((n, n), 1.3 / n) - np.diag(np.full(n, 1.3 / n))
    want = exact.thermodynamics(IsingModel.from_dense(j, np.full(n, 0.2)), 0.8)
    got = exact.curie_weiss(n, 0.8, coupling=1.3, field=0.2)
    for name in vars(want):
        assert getattr(got, name) == pytest.approx(getattr(want, name), rel=REL, abs=0), name


def test_critical_curie_weiss_cumulant_tends_to_the_published_limit():
    sizes = (10_000, 40_000, 160_000)
    a, b, c = (exact.curie_weiss(n, 1.0).binder for n in sizes)
    first, second = 2 * b - a, 2 * c - b  # removes N^{-1/2}
    assert (4 * second - first) / 3 == pytest.approx(exact.CURIE_WEISS_BINDER, abs=1e-6)
    assert pytest.approx(0.270520, abs=5e-7) == exact.CURIE_WEISS_BINDER


# Rings and forests.


@pytest.mark.parametrize("n", [2, 3, 6, 9])
@pytest.mark.parametrize("coupling", [1.0, -0.7, -12.0, 0.0])
@pytest.mark.parametrize("field", [0.0, 0.4, -1.5])
def test_ring_equals_enumeration(n, coupling, field):
    model = IsingModel.from_edges(
        [(i, (i + 1) % n, coupling) for i in range(n)], n, fields=np.full(n, field)
    )
    want = exact.thermodynamics(model, 0.9)
    states, _ = exact.enumerate_states(model)
    pairs = exact.boltzmann(model, 0.9) @ (states[:, :1] * states.astype(float))
    got = exact.ring(n, 0.9, coupling=coupling, field=field)
    assert (got.ln_z, got.energy) == pytest.approx((want.ln_z, want.energy), rel=REL, abs=0)
    assert got.magnetization == pytest.approx(want.m, rel=REL, abs=1e-15)
    np.testing.assert_allclose(got.correlations, pairs, rtol=0, atol=4e-15)  # n eps


@pytest.mark.parametrize("coupling", [1e-50, -1e-50])
def test_hot_ring_is_correlated_by_its_shorter_way_round(coupling):
    # <s_0 s_r> = K^min(r, n - r), relative corrections K.
    got = exact.ring(9, 1.0, coupling=coupling).correlations
    want = [coupling**r for r in (0, 1, 2, 3, 4, 4, 3, 2, 1)]
    assert got == pytest.approx(want, rel=REL, abs=0)


@pytest.mark.parametrize("coupling", [1.0, -1.0])
def test_cold_ring_is_in_its_ground_states(coupling):
    got = exact.ring(5, 150.0, coupling=coupling)
    energy, states = (-5, 2) if coupling > 0 else (-3, 10)
    assert got.energy == pytest.approx(energy, rel=REL, abs=0)
    assert got.ln_z == pytest.approx(-150 * energy + math.log(states), rel=REL, abs=0)


def test_cold_ring_in_a_small_field_is_one_large_spin():
    # m = tanh(n beta h) up to exp(-4K) = 1e-35.
    assert exact.ring(8, 20.0, field=1e-9).magnetization == pytest.approx(
        math.tanh(1.6e-7), rel=REL, abs=0
    )


def test_forest_equals_enumeration():
    rng = np.random.default_rng(3)
    tree = nx.random_labeled_tree(8, seed=4)
    edges = [(i, j, rng.normal()) for i, j in tree.edges] + [(8, 9, -1.2)]
    model = IsingModel.from_edges(edges, 11, offset=0.25)
    got, want = exact.forest(model, 0.7), exact.thermodynamics(model, 0.7)
    assert max(relative_errors(got, want)) < REL


def test_forest_refuses_cycles_and_fields():
    with pytest.raises(ValueError, match="1 independent cycles"):
        exact.forest(IsingModel.from_edges([(0, 1, 1), (1, 2, 1), (2, 0, 1)]), 1.0)
    with pytest.raises(ValueError, match=r"field 1 is 0.5"):
        exact.forest(IsingModel.from_edges([(0, 1, 1)], fields=[0, 0.5]), 1.0)


# Master equation.

RULES = [exact.metropolis_probability, exact.heat_bath_probability]


@pytest.mark.parametrize("rule", RULES)
def test_site_kernel_is_in_detailed_balance(rule):
    model = random_model(5, 5)
    p = exact.boltzmann(model, 0.6)
    for site in range(5):
        flow = p[:, None] * exact.site_kernel(model, 0.6, site, rule).toarray()
        np.testing.assert_allclose(flow, flow.T, rtol=1e-13, atol=0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("order", [None, (4, 0, 2, 1, 3, 0)])
def test_sweep_keeps_the_boltzmann_distribution(rule, order):
    model = random_model(5, 6)
    matrix = exact.sweep_matrix(model, 0.6, rule, order)
    p = exact.boltzmann(model, 0.6)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=0, atol=1e-14)
    np.testing.assert_allclose(p @ matrix, p, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("rule", "accept"),
    [
        (exact.metropolis_probability, lambda x: min(1.0, math.exp(-x))),
        (exact.heat_bath_probability, lambda x: 1 / (1 + math.exp(x))),
    ],
)
def test_sweep_matrix_is_the_product_of_decisions_along_the_only_path(rule, accept):
    model, beta, order = random_model(3, 7), 0.8, (2, 0, 1)
    states, _ = exact.enumerate_states(model)
    matrix = exact.sweep_matrix(model, beta, rule, order)
    for start, end in itertools.product(range(8), repeat=2):
        spins, probability = states[start].copy(), 1.0
        for site in order:
            flipped = spins.copy()
            flipped[site] *= -1
            w = accept(beta * float(model.energy(flipped) - model.energy(spins)))
            stays = spins[site] == states[end, site]
            probability *= 1 - w if stays else w
            spins = spins if stays else flipped
        assert matrix[start, end] == pytest.approx(probability, rel=1e-13, abs=1e-16)


def test_heat_bath_forgets_the_old_spin():
    kernel = exact.site_kernel(random_model(4, 8), 0.5, 2, exact.heat_bath_probability).toarray()
    np.testing.assert_allclose(kernel, kernel[np.arange(16) ^ 4], rtol=1e-14)


def test_metropolis_sweep_of_free_spins_flips_all():
    model = IsingModel.from_edges([], 4)
    matrix = exact.sweep_matrix(model, 1.0, exact.metropolis_probability)
    assert np.array_equal(matrix, np.eye(16)[::-1])


def test_master_equation_refuses_bad_rules_sites_and_sizes():
    model = random_model(3, 9)
    with pytest.raises(ValueError, match=r"the rule gave probability 1\.5 for state 0"):
        exact.site_kernel(model, 1.0, 0, lambda d, beta: np.full(d.shape, 1.5))
    with pytest.raises(ValueError, match=r"site is 3, allowed are 0\.\.2"):
        exact.site_kernel(model, 1.0, 3, exact.heat_bath_probability)
    with pytest.raises(ValueError, match="at most 10 sites"):
        exact.sweep_matrix(IsingModel.from_edges([], 11), 1.0, exact.heat_bath_probability)
