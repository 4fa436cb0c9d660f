"""The Ising model on an attention graph: lengths and susceptibilities against enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from isingnpu import IsingModel, exact, lattice
from isingnpu.criticality.attention_graph import (
    GraphModes,
    StartRemembered,
    attention_model,
    correlation_by_distance,
    decay_length,
    graph_length,
    measure,
    measure_correlations,
    mode_structure_factor,
    perron_susceptibility,
)
from isingnpu.criticality.estimators import second_moment_length
from isingnpu.criticality.softmax import probabilities


def normal_scores(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def attention(n: int, seed: int = 0, beta: float = 0.5) -> np.ndarray:
    return probabilities(normal_scores(n, n, seed=seed) * 2, beta)


def exact_correlations(model: IsingModel, beta: float) -> np.ndarray:
    states = exact.enumerate_states(model)[0].astype(float)
    return states.T @ (exact.boltzmann(model, beta)[:, None] * states)


def test_energy_of_the_attention_model_is_the_quadratic_form_of_attention():
    p = attention(8)
    model = attention_model(p)
    states = exact.enumerate_states(model)[0]
    form = -0.5 * np.einsum("ki,ij,kj->k", states, p, states)
    assert model.energy(states) == pytest.approx(form, abs=1e-14)


def test_causal_attention_makes_a_symmetric_model():
    p = probabilities(np.where(np.tril(np.ones((6, 6), bool)), normal_scores(6, 6), -np.inf), 1.0)
    model = attention_model(p)
    assert np.array_equal(model.dense, model.dense.T)
    assert model.dense[3, 1] == p[3, 1] / 2


@pytest.mark.parametrize(("d", "size"), [(1, 12), (2, 5), (3, 4)])
def test_smallest_laplacian_mode_of_a_periodic_lattice_is_the_smallest_wave(d, size):
    modes = GraphModes.of(lattice.hypercubic((size,) * d, J=0.3))
    assert modes.eigenvalue == pytest.approx(4 * math.sin(math.pi / size) ** 2, rel=1e-12)
    assert modes.vectors.shape == (2 * d, size**d)


def test_graph_length_of_a_lattice_is_its_second_moment_length():
    model = lattice.square(4)
    beta = 0.35
    correlation = exact_correlations(model, beta)
    modes = GraphModes.of(model)
    waves = np.exp(1j * model.geometry.k_min @ model.geometry.positions.T)  # (d, n)
    s = np.mean([(w.conj() @ correlation @ w).real / model.n for w in waves])
    m2 = exact.thermodynamics(model, beta).m2
    expected = second_moment_length(m2, s, model.n, math.pi / 2)
    assert mode_structure_factor(correlation, modes.vectors) == pytest.approx(s, rel=1e-12)
    assert graph_length(correlation, modes) == pytest.approx(float(expected), rel=1e-11)


def test_correlations_of_an_open_chain_decay_with_its_exact_length():
    model, beta = lattice.chain(9, J=0.8, boundary="open"), 0.9
    modes = GraphModes.of(model)
    distances, g = correlation_by_distance(exact_correlations(model, beta), modes.distance)
    t = math.tanh(0.8 * beta)
    assert distances.tolist() == list(range(1, 9))
    assert g == pytest.approx(t ** np.arange(1, 9), rel=1e-12)
    length = decay_length(distances, g, 0.1 * g)
    assert length == pytest.approx(-1 / math.log(t), rel=1e-12)


def test_perron_vector_of_a_regular_graph_gives_the_uniform_susceptibility():
    model = lattice.square(4)
    correlation = exact_correlations(model, 0.3)
    uniform = correlation.sum() / model.n
    assert perron_susceptibility(correlation, GraphModes.of(model)) == pytest.approx(uniform)


def test_perron_susceptibility_of_an_irregular_graph_is_the_variance_of_its_projection():
    model = attention_model(attention(7))
    modes = GraphModes.of(model)
    j = model.dense
    assert j @ modes.perron == pytest.approx(np.linalg.eigvalsh(j)[-1] * modes.perron)
    states = exact.enumerate_states(model)[0]
    expected = exact.boltzmann(model, 0.8) @ (states @ modes.perron) ** 2
    found = perron_susceptibility(exact_correlations(model, 0.8), modes)
    assert found == pytest.approx(expected, rel=1e-12)


def test_hops_count_bonds_above_the_threshold():
    # a ring of strong bonds, with one weak chord across it
    edges = [(i, (i + 1) % 8, 1.0) for i in range(8)] + [(0, 4, 0.01)]
    model = IsingModel.from_edges(edges, 8)
    assert GraphModes.of(model, 0.5).distance[0, 4] == 4
    assert GraphModes.of(model, 0.0).distance[0, 4] == 1


def test_measured_means_are_those_of_the_states():
    model = lattice.chain(10, boundary="open")
    states = np.sign(normal_scores(100, 10) + 0.3)
    found = measure(states, 0.5, GraphModes.of(model))
    used = states[4:]  # 32 blocks of 3, what is left over lies at the start
    assert found.susceptibility.value == pytest.approx(np.mean(used.sum(axis=1) ** 2) / 10)
    bonds = np.mean(used[:, 1:] * used[:, :-1])
    assert found.correlation[0].value == pytest.approx(bonds)
    blocks = (used.sum(axis=1) ** 2 / 10).reshape(32, 3).mean(axis=1)
    assert found.susceptibility.error == pytest.approx(blocks.std(ddof=1) / math.sqrt(32))


# Four estimates with 31 degrees of freedom each.
@pytest.mark.statistical(alpha=4e-6)
def test_measured_lengths_and_susceptibilities_agree_with_enumeration():
    model, beta = attention_model(attention(10, beta=0.8)), 1.2
    modes = GraphModes.of(model)
    correlation = exact_correlations(model, beta)
    found = measure_correlations(model, beta, sweeps=100, replicas=3200, seed=5)
    _, g = correlation_by_distance(correlation, modes.distance)
    limit = stats.t.isf(0.5e-6, 31)
    assert abs(found.length.sigmas(graph_length(correlation, modes))) < limit
    assert abs(found.susceptibility.sigmas(correlation.sum() / 10)) < limit
    assert abs(found.perron.sigmas(perron_susceptibility(correlation, modes))) < limit
    assert abs(found.correlation[0].sigmas(g[0])) < limit


@pytest.mark.statistical(alpha=2e-6)
def test_measured_decay_length_of_a_chain_agrees_with_its_exact_length():
    model, beta = lattice.chain(24, boundary="open"), 1.0
    found = measure_correlations(model, beta, sweeps=300, replicas=1600, seed=2)
    assert found.decay is not None
    assert abs(found.decay.sigmas(-1 / math.log(math.tanh(beta)))) < stats.t.isf(1e-6, 31)


def test_chains_that_remember_their_start_are_refused():
    with pytest.raises(StartRemembered) as refused:
        measure_correlations(lattice.square(8), 0.44, sweeps=2, replicas=256, seed=1)
    assert refused.value.sweeps == 2
    assert "take more sweeps" in str(refused.value)


def test_wrong_graphs_and_states_are_refused_with_what_is_allowed():
    for p, message in (
        (np.ones((2, 3)), r"must be \(n, n\)"),
        (np.array([[1.5, -0.5], [0.5, 0.5]]), ">= 0"),
        (normal_scores(4, 4) ** 2, "pass the softmax"),
    ):
        with pytest.raises(ValueError, match=message):
            attention_model(p)
    with pytest.raises(ValueError, match="J >= 0"):
        GraphModes.of(lattice.square(4, Jx=-1))
    with pytest.raises(ValueError, match="2 components"):
        GraphModes.of(IsingModel.from_edges([(0, 1, 1), (2, 3, 1)]))
    modes = GraphModes.of(lattice.square(4))
    with pytest.raises(ValueError, match="samples >= 64"):
        measure(np.ones((63, 16)), 0.1, modes)
    assert math.isnan(decay_length(np.array([1, 2]), np.array([0.5, 0.6]), np.array([0.1, 0.1])))
    assert math.isnan(graph_length(np.eye(16) - 0.05, modes))
