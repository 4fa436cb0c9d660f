"""Laws of the Ising model: symmetries of E(s), conversions against dimod and networkx."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from typing import Any

import dimod
import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from isingnpu.model import Geometry, IsingModel
from tests.strategies import all_states, dyadic, law, models, real, same, whole

EPS = 2.0**-52


# Energies.


@law
@given(models(real))
def test_energy_is_the_hamiltonian_in_rational_arithmetic(model: IsingModel) -> None:
    j, h = model.dense, model.fields
    terms = model.n**2 + model.n + 1  # additions made; each rounds by at most EPS / 2 of the sum
    size = abs(j).sum() + abs(h).sum() + abs(model.offset)
    for s in all_states(model.n):
        exact = Fraction(model.offset) - sum(
            Fraction(float(h[i])) * int(s[i]) for i in range(len(s))
        )
        for a, b in combinations(range(model.n), 2):
            exact -= Fraction(float(j[a, b])) * int(s[a]) * int(s[b])
        assert abs(Fraction(float(model.energy(s))) - exact) <= terms * EPS * size


@law
@given(models(dyadic, least=1))
def test_flipping_a_site_costs_twice_spin_times_local_field(model: IsingModel) -> None:
    states = all_states(model.n)
    cost = 2 * states * model.local_fields(states)
    for i in range(model.n):
        flipped = states.copy()
        flipped[:, i] *= -1
        assert np.array_equal(model.energy(flipped) - model.energy(states), cost[:, i])


@law
@given(models(real, fields=False))
def test_energy_is_invariant_under_global_flip_without_fields(model: IsingModel) -> None:
    states = all_states(model.n)
    assert np.array_equal(model.energy(-states), model.energy(states))


@law
@given(models(real), st.randoms(use_true_random=False))
def test_energy_is_gauge_invariant(model: IsingModel, random: Any) -> None:
    gauge = np.array([random.choice((-1, 1)) for _ in range(model.n)], np.int8)
    turned = IsingModel(model.dense * np.outer(gauge, gauge), model.fields * gauge, model.offset)
    dense = IsingModel(model.dense, model.fields, model.offset)
    states = all_states(model.n)
    assert np.array_equal(turned.energy(states * gauge), dense.energy(states))


@law
@given(models(dyadic), st.randoms(use_true_random=False))
def test_energy_does_not_depend_on_the_numbering_of_sites(model: IsingModel, random: Any) -> None:
    order = list(range(model.n))
    random.shuffle(order)
    moved = IsingModel(
        model.csr[order][:, order] if model.n else model.csr, model.fields[order], model.offset
    )
    states = all_states(model.n)
    assert np.array_equal(moved.energy(states[:, order]), model.energy(states))


@law
@given(models(dyadic, least=1))
def test_energies_are_those_of_dimod(model: IsingModel) -> None:
    states = all_states(model.n)
    bqm = model.to_bqm()
    assert np.array_equal(model.energy(states), bqm.energies((states, list(model.variables))))
    binary = (states.astype(int) + 1) // 2
    bqm.change_vartype(dimod.BINARY, inplace=True)
    assert np.array_equal(model.energy(states), bqm.energies((binary, list(model.variables))))


@law
@given(models(dyadic))
def test_qubo_energies_are_the_ising_energies(model: IsingModel) -> None:
    qubo, constant = model.to_qubo()
    for s in all_states(model.n):
        x = dict(zip(model.variables, (s.astype(int) + 1) // 2, strict=True))
        assert constant + sum(q * x[u] * x[v] for (u, v), q in qubo.items()) == model.energy(s)


@pytest.mark.parametrize("dense", [False, True])
def test_integer_energies_are_exact_at_two_to_the_forty(dense: bool) -> None:
    rng = np.random.default_rng(3)
    n = 40
    upper = np.triu(rng.integers(-(2**40), 2**40, (n, n)), 1)
    h = rng.integers(-(2**40), 2**40, n)
    matrix = upper + upper.T
    model = IsingModel(matrix if dense else sparse.csr_array(matrix), h)
    assert model.is_integer
    for s in rng.choice([-1, 1], (20, n)):
        pair = sum(int(upper[i, j]) * int(s[i]) * int(s[j]) for i, j in combinations(range(n), 2))
        assert int(model.energy(s)) == -pair - sum(
            int(a) * int(b) for a, b in zip(h, s, strict=True)
        )


def test_whole_numbers_too_large_for_exact_sums_are_floats() -> None:
    limit = 2**51
    assert IsingModel.from_edges([(0, 1, limit - 1)]).is_integer
    assert not IsingModel.from_edges([(0, 1, limit)]).is_integer
    assert IsingModel.from_edges([(0, 1, 2.0**1000)]).energy([1, 1]) == -(2.0**1000)


def test_small_integer_types_do_not_wrap() -> None:
    int8 = np.array([100, 100], np.int8)
    assert IsingModel.from_edges((np.array([0, 0]), np.array([1, 1]), int8)).dense[0, 1] == 200
    ends = [0, 0, 1, 1], [1, 1, 0, 0]
    repeated = sparse.coo_array((np.full(4, 100, np.int8), ends), shape=(2, 2))
    assert IsingModel(repeated, np.zeros(2)).dense[0, 1] == 200


@law
@given(models(dyadic, least=1), st.integers(1, 40))
def test_chunks_of_states_have_the_energies_of_the_whole(model: IsingModel, chunk: int) -> None:
    states = all_states(model.n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isingnpu.model.CHUNK_SPINS", chunk)
        in_chunks = model.energy(states)
    assert in_chunks.tolist() == [float(model.energy(s)) for s in states]


@law
@given(models(dyadic))
def test_any_leading_axes_are_replicas(model: IsingModel) -> None:
    states = np.stack([all_states(model.n)] * 3)
    energies = model.energy(states)
    assert energies.shape == states.shape[:-1]
    assert energies.tolist() == [[float(model.energy(s)) for s in states[0]]] * 3
    assert model.local_fields(states[0, 0]).shape == (model.n,)


def test_empty_model_has_one_state_of_energy_offset() -> None:
    model = IsingModel.from_edges([], 0, offset=1.5)
    assert model.energy([]) == 1.5
    assert model.energy(np.zeros((3, 0))).tolist() == [1.5] * 3
    assert (model.n, model.n_edges, model.field_bound, model.colours) == (0, 0, 0.0, ())
    assert model.quantized.bound == 0
    assert same(IsingModel.from_dense(np.zeros((0, 0)), offset=1.5), model)
    for back in (IsingModel.from_bqm(model.to_bqm()), IsingModel.from_qubo(*model.to_qubo())):
        assert same(back, model)


# Max-cut.


@law
@given(models(dyadic))
def test_cut_value_is_the_weight_networkx_cuts(model: IsingModel) -> None:
    graph = nx.Graph()
    graph.add_nodes_from(range(model.n))
    graph.add_weighted_edges_from(
        (i, j, -model.dense[i, j]) for i, j in combinations(range(model.n), 2)
    )
    states = all_states(model.n)
    cuts = [nx.cut_size(graph, np.flatnonzero(s == 1).tolist(), weight="weight") for s in states]
    assert model.cut_value(states).tolist() == cuts
    assert model.total_weight == graph.size(weight="weight")


# Bounds and colours.


@law
@given(models(dyadic, least=1))
def test_field_bound_is_the_largest_field_of_any_state(model: IsingModel) -> None:
    fields = model.local_fields(all_states(model.n)) - model.fields + abs(model.fields)
    assert model.field_bound == fields.max()


@law
@given(models(whole))
def test_colours_are_independent_sets_that_cover_the_graph(model: IsingModel) -> None:
    for colour in model.colours:
        assert not model.dense[np.ix_(colour, colour)].any()
    assert sorted(np.concatenate([*model.colours, np.zeros(0, int)]).tolist()) == list(
        range(model.n)
    )


def test_bipartite_graphs_have_two_colours_and_odd_rings_three() -> None:
    ring = [IsingModel.from_networkx(nx.cycle_graph(n)) for n in (8, 9)]
    assert [len(model.colours) for model in ring] == [2, 3]


# What is kept, and what is refused.


@law
@given(models(dyadic, least=2), st.data())
def test_fingerprint_differs_when_anything_differs(model: IsingModel, data: st.DataObject) -> None:
    i, j = data.draw(st.permutations(range(model.n)))[:2]
    couplings, fields = model.dense + 0.0, model.fields + 0.0
    couplings[i, j] = couplings[j, i] = couplings[i, j] + 0.5
    fields[i] += 0.5
    grown = np.pad(model.dense, (0, 1)), np.pad(model.fields, (0, 1))
    others = [
        IsingModel(couplings, model.fields, model.offset),
        IsingModel(model.dense, fields, model.offset),
        IsingModel(model.dense, model.fields, model.offset + 0.5),
        IsingModel(*grown, model.offset),
    ]
    assert len({model.fingerprint, *(other.fingerprint for other in others)}) == 5
    one, other = (IsingModel.from_edges([(0, j, 1), (1, 5 - j, 1)]) for j in (2, 3))
    assert one.fingerprint != other.fingerprint  # the same number of neighbours everywhere


@law
@given(models(real))
def test_fingerprint_does_not_depend_on_the_form(model: IsingModel) -> None:
    forms = [
        IsingModel.from_dense(model.dense, model.fields, model.offset),
        IsingModel.from_sparse(model.csr.tocsc(), model.fields, model.offset),
        IsingModel.from_dense(model.dense, model.fields * -1.0 * -1.0, model.offset - 0.0),
        IsingModel.from_bqm(model.to_bqm()),
    ]
    assert {form.fingerprint for form in forms} == {model.fingerprint}


def test_model_is_a_copy_and_leaves_what_it_was_given_alone() -> None:
    matrix = sparse.csr_array(np.array([[0, 1.5, 0], [1.5, 0, 2.5], [0, 2.5, 0]]))
    matrix.data[[0, 1]] = 0.0  # two stored zeros
    before = matrix.toarray()
    fields = np.zeros(3, np.int64)
    model = IsingModel(matrix, fields)
    assert np.array_equal(matrix.toarray(), before)
    assert (matrix.nnz, model.csr.nnz) == (4, 2)
    matrix.data[:] = 9.0
    fields[:] = 9
    assert model.dense.tolist() == before.tolist()
    assert not model.fields.any()
    dense = np.array([[0, 1], [1, 0]])
    model = IsingModel.from_dense(dense)
    dense[:] = 7
    assert model.dense.tolist() == [[0, 1], [1, 0]]


def test_edges_are_counted_once_and_zeros_not_at_all() -> None:
    model = IsingModel.from_edges([(0, 1, 1), (1, 0, 2), (1, 2, 5), (2, 1, -5)], 4)
    assert model.n_edges == 1
    assert model.dense[0, 1] == 3


def test_a_quarter_of_all_pairs_makes_a_model_dense() -> None:
    pairs = list(combinations(range(64), 2))
    edges = [(i, j, 1) for i, j in pairs[: len(pairs) // 4]]
    assert IsingModel.from_edges(edges, 64).is_dense
    assert not IsingModel.from_edges(edges[1:], 64).is_dense


square = [[0.0, 1.0], [1.0, 0.0]]
refused: list[tuple[Callable[[], object], str]] = [
    (lambda: IsingModel.from_dense([[0, 0.5], [0.25, 0]]), "J[0, 1] = 0.5 but J[1, 0] = 0.25"),
    (lambda: IsingModel.from_sparse(np.triu(square)), "J[0, 1] = 1 but J[1, 0] = 0"),
    (lambda: IsingModel.from_dense([[0, 1], [1, 3]]), "self-loop: J[1, 1] = 3"),
    (lambda: IsingModel.from_dense(np.zeros((2, 3))), "square matrix, got shape (2, 3)"),
    (lambda: IsingModel.from_dense([[0, np.nan], [np.nan, 0]]), "coupling [0, 1] is nan"),
    (lambda: IsingModel.from_sparse([[0, 0], [np.inf, 0]]), "coupling [1, 0] is inf"),
    (lambda: IsingModel.from_dense(square, [0, np.inf]), "field [1] is inf, must be finite"),
    (
        lambda: IsingModel.from_dense(square, [1, 2, 3]),
        "shape (2,) to match the couplings, got (3",
    ),
    (lambda: IsingModel.from_dense(square, offset=np.nan), "offset must be finite, got nan"),
    (lambda: IsingModel.from_dense([[0, 2**53], [2**53, 0]]), "below 2^53"),
    (lambda: IsingModel.from_edges([(0, 1, 1e308), (1, 2, 1e308)]), "as large as 1e+308"),
    (
        lambda: IsingModel.from_edges([(0, 1, 1), (0, 5, 1)], 4),
        "edge 1 has j = 5, allowed are 0..3",
    ),
    (lambda: IsingModel.from_edges([(-1, 1, 1)]), "edge 0 has i = -1, allowed are 0..1"),
    (lambda: IsingModel.from_edges([(0, 1, 1), (2, 2, 4)]), "edge 1 is a self-loop: J[2, 2] = 4"),
    (lambda: IsingModel.from_edges([(0, 1, 1), (2, 1, np.nan)]), "coupling [2, 1] is nan"),
    (lambda: IsingModel.from_edges(iter([[0, 1, 1], [1, 2]])), "edge 1 is [1, 2]"),
    (lambda: IsingModel.from_edges(([0], [1, 2], [1.0])), "differ in length: 1, 2, 1"),
    (lambda: IsingModel.from_edges([(0, 1, 1)], labels="a"), "1 labels for 2 sites"),
    (lambda: IsingModel.from_edges([(0, 1, 1)], labels="aa"), "'a' occurs more than once"),
    (lambda: IsingModel.from_sparse(square, triangle="up"), "'upper' or 'lower', got 'up'"),
    (lambda: IsingModel.from_sparse(square, triangle="upper"), "J[1, 0] = 1.0 lies outside"),
    (lambda: IsingModel.from_sparse(square, triangle="lower"), "J[0, 1] = 1.0 lies outside"),
    (lambda: IsingModel.from_networkx(nx.DiGraph([(0, 1)])), "pass graph.to_undirected()"),
    (lambda: IsingModel.from_qubo({("a", "b"): np.inf}), "coefficient of ('a', 'b') is inf"),
    (lambda: IsingModel.from_dense(square).energy([1, -1, 1]), "shape (..., 2), got (3,)"),
    (lambda: IsingModel.from_dense(square).energy([[1, 1], [1, 0]]), "spins[1, 1] = 0"),
    (lambda: IsingModel.from_dense(square).local_fields([1, 2]), "spins[1] = 2"),
    (lambda: IsingModel.from_dense(square).cut_value([1, np.nan]), "spins[1] = nan"),
    (lambda: Geometry("graph", (3,)).positions, "graph has no positions"),
    (lambda: Geometry("graph", (3,)).k_min, "graph has no wave vectors"),
]


@pytest.mark.parametrize(("make", "message"), refused, ids=[message for _, message in refused])
def test_errors_name_the_index_and_the_value(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: IsingModel.from_dense(np.array(square) * 1j),
        lambda: IsingModel.from_dense(square, ["a", "b"]),
        lambda: IsingModel.from_edges([(0, 1, "x")]),
        lambda: IsingModel.from_edges([(0.5, 1, 1)]),
        lambda: IsingModel.from_sparse(sparse.csr_array(np.array(square) * 1j)),
    ],
)
def test_values_that_are_not_real_numbers_are_type_errors(make: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        make()


def test_smallest_wave_vectors_are_dual_to_the_box() -> None:
    vectors = np.array([[1.0, 0.0], [0.5, 0.75**0.5]])
    geometry = Geometry("triangular", (4, 6), vectors=vectors, basis=np.zeros((1, 2)))
    box = np.diag([4, 6]) @ vectors
    # phases of 24 sites are multiples of 2 pi / 4 and 2 pi / 6 up to a few roundings of 2 pi
    assert np.abs(geometry.k_min @ box.T - 2 * np.pi * np.eye(2)).max() <= 8 * EPS * 2 * np.pi
    assert geometry.positions[6 * 1 + 2].tolist() == (vectors[0] + 2 * vectors[1]).tolist()
