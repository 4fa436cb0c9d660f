"""Round trips of the Ising model through dimod, QUBO, networkx, matrices and edges."""

from __future__ import annotations

import dimod
import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from isingnpu.model import IsingModel
from tests.strategies import all_states, dyadic, law, models, real, same


@law
@given(models(real))
def test_spin_bqm_and_back_is_the_model(model: IsingModel) -> None:
    assert same(IsingModel.from_bqm(model.to_bqm()), model)


@law
@given(models(dyadic))
def test_binary_bqm_and_back_is_the_model(model: IsingModel) -> None:
    assert same(
        IsingModel.from_bqm(model.to_bqm().change_vartype(dimod.BINARY, inplace=False)), model
    )


@law
@given(models(dyadic))
def test_dict_bqm_and_back_is_the_model(model: IsingModel) -> None:
    assert same(IsingModel.from_bqm(dimod.DictBQM(model.to_bqm())), model)


@law
@given(models(dyadic))
def test_qubo_and_back_is_the_model(model: IsingModel) -> None:
    assert same(IsingModel.from_qubo(*model.to_qubo()), model)


@law
@given(models(real))
def test_networkx_and_back_is_the_model(model: IsingModel) -> None:
    assert same(IsingModel.from_networkx(model.to_networkx()), model)


@law
@given(models(real))
def test_terms_and_back_are_the_model(model: IsingModel) -> None:
    terms = model.terms
    assert np.all(terms.i < terms.j)
    assert same(IsingModel.from_terms(terms), model)


@law
@given(models(real))
def test_every_form_of_a_matrix_is_the_same_model(model: IsingModel) -> None:
    h, c, names = model.fields, model.offset, model.labels
    upper, lower = sparse.triu(model.csr, 1), sparse.tril(model.csr, -1)
    forms = [
        IsingModel.from_sparse(model.csr, h, c),
        IsingModel.from_sparse(model.csr.tolil(), h, c),
        IsingModel.from_sparse(upper, h, c, triangle="upper"),
        IsingModel.from_sparse(lower, h, c, triangle="lower"),
        IsingModel.from_dense(model.dense, h, c),
    ]
    for form in forms:
        assert same(IsingModel(form.couplings, form.fields, form.offset, names), model)


def test_stored_zeros_do_not_lie_outside_a_triangle() -> None:
    stored = sparse.coo_array(([2.0, 0.0, 0.0], ([0, 0, 1], [1, 0, 0])), shape=(2, 2))
    model = IsingModel.from_sparse(stored, triangle="upper")
    assert model.dense.tolist() == [[0, 2], [2, 0]]


repeated = st.tuples(st.integers(0, 3), st.integers(1, 3), real).map(
    lambda t: (t[0], (t[0] + t[1]) % 4, t[2])
)


@law
@given(st.lists(repeated, max_size=40))
def test_repeated_edges_add_up_in_both_directions(edges: list[tuple[int, int, float]]) -> None:
    model = IsingModel.from_edges(edges, 4)
    for i in range(4):
        for j in range(i):
            given_values = [w for u, v, w in edges if {u, v} == {i, j}]
            # any order of a float sum is within (number - 1) roundings of sum |w|
            slack = len(given_values) * 2.0**-52 * sum(map(abs, given_values))
            assert abs(model.dense[i, j] - sum(given_values)) <= slack
            assert model.dense[i, j] == model.dense[j, i]


def test_three_triples_in_a_tuple_are_triples() -> None:
    triples = ((0, 1, 2), (1, 2, 3), (0, 2, 1))
    assert IsingModel.from_edges(triples).dense.tolist() == [[0, 2, 1], [2, 0, 3], [1, 3, 0]]
    arrays = ([0, 1, 0], [1, 2, 2], [2, 3, 1])
    assert same(IsingModel.from_edges(arrays), IsingModel.from_edges(triples))


def test_number_of_sites_covers_edges_and_fields() -> None:
    assert IsingModel.from_edges([(0, 4, 1.0)]).n == 5
    assert IsingModel.from_edges([(0, 1, 1.0)], fields=[0, 0, 1]).n == 3
    assert IsingModel.from_edges(iter([(0, 1, 1.0)]), 7).n == 7


@pytest.mark.parametrize("kind", [nx.Graph, nx.MultiGraph])
def test_networkx_attributes_have_defaults_and_parallel_edges_add(kind: type) -> None:
    graph = kind()
    graph.add_node("a", field=0.5)
    graph.add_edge("a", "b")
    graph.add_edge("b", "c", weight=2)
    graph.add_edge("b", "c", weight=3)
    model = IsingModel.from_networkx(graph)
    assert model.variables == ("a", "b", "c")
    assert model.fields.tolist() == [0.5, 0, 0]
    assert model.dense[0, 1] == 1
    assert model.dense[1, 2] == (5 if kind is nx.MultiGraph else 3)
    assert IsingModel.from_networkx(graph, weight="none", field="none").dense[1, 2] in (1, 2)


@law
@given(st.dictionaries(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), dyadic))
def test_qubo_dictionary_has_the_energies_of_dimod(qubo: dict[tuple[str, str], float]) -> None:
    model = IsingModel.from_qubo(qubo, 0.25)
    bqm = dimod.BinaryQuadraticModel.from_qubo(qubo, 0.25)
    states = all_states(model.n)
    assert set(model.variables) == set(bqm.variables)
    if model.n:
        binary = (states.astype(int) + 1) // 2
        energies = bqm.energies((binary, list(model.variables)))
        assert model.energy(states).tolist() == energies.tolist()
