"""Lattices against networkx, textbook formulas and enumeration."""

import itertools
import math

import networkx as nx
import numpy as np
import pytest

from isingnpu.lattice import (
    bcc,
    chain,
    cubic,
    diamond,
    fcc,
    honeycomb,
    hypercubic,
    kagome,
    square,
    triangular,
)

# builder, shape, neighbours, sites per cell, nearest-neighbour distance (lattice constant 1),
# bipartite when all extents are even
LATTICES = {
    "chain": (chain, (6,), 2, 1, 1.0, True),
    "square": (square, (4, 6), 4, 1, 1.0, True),
    "triangular": (triangular, (4, 6), 6, 1, 1.0, False),
    "honeycomb": (honeycomb, (4, 6), 3, 2, 1 / math.sqrt(3), True),
    "kagome": (kagome, (4, 6), 4, 3, 0.5, False),
    "cubic": (cubic, (4, 4, 6), 6, 1, 1.0, True),
    "diamond": (diamond, (2, 2, 4), 4, 8, math.sqrt(3) / 4, True),
    "bcc": (bcc, (4, 4, 2), 8, 2, math.sqrt(3) / 2, True),
    "fcc": (fcc, (4, 3, 4), 12, 4, math.sqrt(0.5), False),
    "hypercubic": (hypercubic, (4, 4, 4, 6), 8, 1, 1.0, True),
}
EACH = pytest.mark.parametrize("name", LATTICES)


def make(name, J=1, **options):
    builder, shape = LATTICES[name][:2]
    options |= {"Jx": J, "Jy": J} if name == "square" else {"J": J}
    return builder(shape[0] if name == "chain" else shape, **options)


def weights(graph):
    return nx.to_scipy_sparse_array(graph, nodelist=sorted(graph), weight=None)


def spectrum(model):
    """(energies, states) of all 2^n states, by the definition of E."""
    s = 1 - 2 * (np.arange(2**model.n)[:, None] >> np.arange(model.n) & 1)
    upper = np.triu(model.dense)
    energies = np.zeros(len(s))
    for i, j in zip(*np.nonzero(upper), strict=True):
        energies -= upper[i, j] * s[:, i] * s[:, j]
    return energies - s @ model.fields, s


# Counting.


@EACH
def test_every_site_has_the_coordination_number_of_the_lattice(name):
    model = make(name)
    assert set(np.diff(model.csr.indptr)) == {LATTICES[name][2]}
    assert model.geometry.coordination == LATTICES[name][2]


@EACH
def test_sites_and_bonds_number_cells_times_basis_and_half_the_degree(name):
    _, shape, degree, per_cell, _, _ = LATTICES[name]
    model = make(name)
    n = math.prod(shape) * per_cell
    assert (model.n, model.n_edges, model.geometry.bonds) == (n, n * degree // 2, n * degree // 2)


@EACH
def test_unit_couplings_are_stored_as_ones_in_int64(name):
    model = make(name)
    assert model.csr.dtype == np.int64
    assert set(model.csr.data) == {1}


@EACH
def test_bipartite_lattices_are_two_colourable(name):
    assert nx.is_bipartite(nx.from_scipy_sparse_array(make(name).csr)) == LATTICES[name][5]


def test_odd_periodic_square_is_not_bipartite_but_odd_honeycomb_is():
    assert not nx.is_bipartite(nx.from_scipy_sparse_array(square(5).csr))
    assert nx.is_bipartite(nx.from_scipy_sparse_array(honeycomb(5).csr))


# Symmetry and metric.


@EACH
def test_translation_by_any_lattice_vector_leaves_the_couplings_unchanged(name):
    _, shape, _, per_cell, _, _ = LATTICES[name]
    model = make(name, J=-3)
    sites = np.arange(model.n).reshape(*shape, per_cell)
    for axis in range(len(shape)):
        moved = np.roll(sites, 1, axis=axis).ravel()
        assert (model.csr[moved][:, moved] != model.csr).nnz == 0


@EACH
def test_bonds_are_exactly_the_pairs_at_the_nearest_neighbour_distance(name):
    _, shape, _, _, distance, _ = LATTICES[name]
    if name == "hypercubic":
        shape = (3, 3, 3, 4)  # the pair table of the larger one is slow
    if min(shape) < 3:
        shape = tuple(max(3, extent) for extent in shape)
    model = LATTICES[name][0](shape[0] if name == "chain" else shape)
    geometry = model.geometry
    fractional = geometry.positions @ np.linalg.inv(geometry.vectors)  # (n, d), in cells
    shortest = np.full((model.n, model.n), np.inf)
    for image in itertools.product((-1, 0, 1), repeat=len(shape)):
        apart = fractional[:, None] - fractional[None] + np.array(image) * shape
        shortest = np.minimum(shortest, np.linalg.norm(apart @ geometry.vectors, axis=-1))
    np.fill_diagonal(shortest, np.inf)
    # rounding: coordinates below 10, a few operations each
    assert abs(shortest.min() - distance) < 100 * np.finfo(float).eps
    assert np.array_equal(shortest < distance * 1.01, model.dense == 1)


# Graphs made by others.


def test_ring_is_the_cycle_graph():
    assert (chain(7).csr != weights(nx.cycle_graph(7))).nnz == 0


@pytest.mark.parametrize("boundary", list(itertools.product(("periodic", "open"), repeat=3)))
def test_hypercubic_is_the_grid_graph_under_every_boundary(boundary):
    # networkx numbers axes from the last dimension
    grid = nx.grid_graph((5, 4, 3), periodic=[b == "periodic" for b in reversed(boundary)])
    assert (cubic((3, 4, 5), boundary=boundary).csr != weights(grid)).nnz == 0


def test_triangular_is_the_triangular_lattice_graph_where_the_boxes_agree():
    # six rows sheared by half a step each close after a whole turn of three sites
    graph = nx.triangular_lattice_graph(6, 6, periodic=True)
    assert nx.is_isomorphic(nx.from_scipy_sparse_array(triangular((6, 3)).csr), graph)


def test_honeycomb_is_the_hexagonal_lattice_graph_where_the_boxes_agree():
    graph = nx.hexagonal_lattice_graph(3, 6, periodic=True)
    assert nx.is_isomorphic(nx.from_scipy_sparse_array(honeycomb((3, 6)).csr), graph)


def test_kagome_is_the_line_graph_of_the_honeycomb():
    lines = nx.line_graph(nx.from_scipy_sparse_array(honeycomb((3, 4)).csr))
    assert nx.is_isomorphic(nx.from_scipy_sparse_array(kagome((3, 4)).csr), lines)


def test_bcc_is_a_component_of_the_tensor_product_of_three_rings():
    product = nx.tensor_product(
        nx.tensor_product(nx.cycle_graph(6), nx.cycle_graph(6)), nx.cycle_graph(4)
    )
    component = product.subgraph(next(nx.connected_components(product)))
    assert nx.is_isomorphic(nx.from_scipy_sparse_array(bcc((3, 3, 2)).csr), component)


@pytest.mark.parametrize(
    ("model", "count"),
    [(triangular(5), 6), (kagome(3), 2), (fcc(3), 24), (bcc(3), 0), (diamond(2), 0)],
)
def test_triangles_through_a_site(model, count):
    assert set(nx.triangles(nx.from_scipy_sparse_array(model.csr)).values()) == {count}


@pytest.mark.parametrize("model", [honeycomb(5), diamond(2)])
def test_shortest_ring_of_honeycomb_and_diamond_has_six_sites(model):
    assert nx.girth(nx.from_scipy_sparse_array(model.csr)) == 6


# Boundaries.


@pytest.mark.parametrize("n", [3, 4, 9])
@pytest.mark.parametrize(("boundary", "sign"), [("periodic", 1), ("antiperiodic", -1)])
def test_ring_energies_are_binomial_in_the_number_of_walls(n, boundary, sign):
    # walls: satisfied bonds have product +-1, so their number has fixed parity (Ising 1925)
    energies, _ = spectrum(chain(n, boundary=boundary))
    parity = 0 if sign == 1 else 1
    expected = [2 * math.comb(n, k) if k % 2 == parity else 0 for k in range(n + 1)]
    assert [int(np.sum(energies == 2 * k - n)) for k in range(n + 1)] == expected


@pytest.mark.parametrize(
    "shape", [(3, 3), (3, 4), (2, 5)]
)  # odd, mixed, and with double bonds across the seam
def test_antiperiodic_square_ferromagnet_pays_two_per_line(shape):
    model = square(shape, boundary=("periodic", "antiperiodic"))
    assert model.geometry.ground_energy.value == -2 * math.prod(shape) + 2 * shape[0]
    assert spectrum(model)[0].min() == model.geometry.ground_energy.value


# Ground states.

GROUND = [
    (chain, 7, {"J": -1}),
    (chain, 8, {"J": -2, "boundary": "antiperiodic"}),
    (chain, 6, {"J": -1, "boundary": "open"}),
    (chain, 7, {"h": -2}),
    (square, (3, 4), {"Jx": -1, "Jy": 2}),
    (square, (3, 5), {"Jx": -1, "Jy": -2, "boundary": ("antiperiodic", "periodic")}),
    (square, (3, 3), {"Jx": 0, "Jy": -1}),
    (square, (3, 3), {"h": 1, "boundary": "antiperiodic"}),
    (cubic, (2, 2, 3), {"J": -1}),
    (triangular, (3, 4), {"J": -1}),
    (triangular, (4, 3), {"J": -1}),
    (triangular, (3, 3), {"J": -2}),
    (triangular, (2, 5), {"J": -1}),
    (triangular, (3, 4), {"h": -1, "boundary": "open"}),
    (honeycomb, (2, 3), {"J": -1}),
    (honeycomb, (3, 2), {"J": -1, "boundary": ("open", "periodic")}),
    (kagome, (2, 2), {"J": -1}),
    (kagome, (1, 4), {"J": -1}),
    (diamond, 1, {"J": -1}),
    (bcc, (1, 2, 3), {"J": -1}),
    (fcc, (1, 1, 3), {"J": -1}),
    (fcc, (1, 2, 2), {"J": -1}),
    (fcc, (1, 1, 2), {"h": 3}),
]


@pytest.mark.parametrize(("builder", "size", "options"), GROUND)
def test_stated_ground_energy_is_the_minimum_over_all_states(builder, size, options):
    model = builder(size, **options)
    assert model.geometry.ground_energy.value == spectrum(model)[0].min()


@pytest.mark.parametrize(("builder", "size", "options"), GROUND)
def test_stated_ground_state_has_the_stated_energy(builder, size, options):
    model = builder(size, **options)
    assert model.energy(model.geometry.ground_state) == model.geometry.ground_energy.value


@EACH
def test_ferromagnet_has_minus_one_per_bond(name):
    _, shape, degree, per_cell, _, _ = LATTICES[name]
    assert (
        make(name, J=3).geometry.ground_energy.value
        == -3 * math.prod(shape) * per_cell * degree / 2
    )


@pytest.mark.parametrize("name", ["triangular", "honeycomb", "kagome", "diamond", "bcc", "fcc"])
def test_antiferromagnetic_ground_energies_per_site(name):
    # Wannier 1950; bipartite z/2; one of three bonds per triangle; two of six per tetrahedron
    per_site = {"triangular": 1, "honeycomb": 1.5, "kagome": 2 / 3, "diamond": 2, "bcc": 4}
    model = make(name, J=-1)
    expected = -per_site.get(name, 2) * model.n
    assert model.geometry.ground_energy.value == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("builder", "size", "options"),
    [
        (triangular, (3, 5), {"J": -1}),
        (triangular, (4, 4), {"J": -1, "boundary": "open"}),
        (triangular, (4, 4), {"J": 1, "boundary": "antiperiodic"}),
        (honeycomb, 3, {"J": -1, "boundary": "antiperiodic"}),
        (kagome, 3, {"J": -1, "boundary": "open"}),
        (square, 4, {"Jx": -1, "Jy": -1, "h": 1}),
        (bcc, 2, {"J": -1, "h": 1}),
    ],
)
def test_ground_energy_is_withheld_where_it_is_not_known(builder, size, options):
    geometry = builder(size, **options).geometry
    assert geometry.ground_energy is None
    assert geometry.ground_state is None


# Critical points.


@pytest.mark.parametrize(
    ("ratio", "published"),
    [
        (0.25, 0.80705186),
        (0.5, 0.60937786),
        (1.0, 0.4406867935),
        (2.0, 0.30468893),
        (4.0, 0.20176296),
    ],
)
def test_anisotropic_square_beta_c_matches_the_table(ratio, published):
    beta_c = square(4, Jx=1, Jy=ratio).geometry.beta_c.value
    assert abs(beta_c - published) < 0.5e-8


@pytest.mark.parametrize(("Jx", "Jy"), [(1, 1), (-2, 0.3), (1e-3, 1e3), (5, -5)])
def test_square_beta_c_satisfies_onsagers_condition(Jx, Jy):
    beta = square(4, Jx=Jx, Jy=Jy).geometry.beta_c.value
    small, large = sorted((2 * beta * abs(Jx), 2 * beta * abs(Jy)))
    # ln sinh a + ln sinh b = 0; the sensitivity to a relative error of beta is a coth a + b coth b
    residual = math.log(math.sinh(small)) + large + math.log1p(-math.exp(-2 * large)) - math.log(2)
    assert abs(residual) < 8 * np.finfo(float).eps * (2 + large + abs(math.log(small)))


@pytest.mark.parametrize(
    ("builder", "published"),
    [
        (triangular, 0.274653072167027),
        (honeycomb, 0.658478948462408),
        (kagome, 0.466566010314718),
        (square, 0.440686793509771512616),
    ],
)
def test_planar_beta_c_matches_published_digits(builder, published):
    beta_c = builder(4).geometry.beta_c
    assert abs(beta_c.value - published) < 0.5e-15 + 2 * np.finfo(float).eps
    assert beta_c.error == 0


def test_triangular_and_honeycomb_beta_c_are_dual():
    product = math.sinh(2 * triangular(3).geometry.beta_c.value) * math.sinh(
        2 * honeycomb(3).geometry.beta_c.value
    )
    assert abs(product - 1) < 10 * np.finfo(float).eps


@EACH
def test_beta_c_lies_above_the_bethe_lattice_bound(name):
    branching = LATTICES[name][2] - 1
    bound = math.atanh(1 / branching) if branching > 1 else math.inf
    beta_c = make(name).geometry.beta_c.value
    assert beta_c > bound or beta_c == bound == math.inf


@EACH
def test_beta_c_scales_inversely_with_the_coupling(name):
    unit, half = make(name).geometry.beta_c, make(name, J=0.5).geometry.beta_c
    assert (half.value, half.error) == (2 * unit.value, 2 * unit.error)


@EACH
def test_bipartite_antiferromagnet_shares_beta_c_and_frustrated_ones_do_not(name):
    beta_c = make(name, J=-1).geometry.beta_c
    if LATTICES[name][5]:
        assert beta_c == make(name).geometry.beta_c
    elif name == "fcc":
        assert beta_c is None  # first order, no value stated
    else:
        assert beta_c.value == math.inf


@EACH
def test_field_removes_the_transition(name):
    assert make(name, h=0.5).geometry.beta_c is None


def test_axis_that_cannot_order_drops_out_of_the_dimension():
    line = square((1, 8), boundary=("open", "periodic")).geometry.beta_c
    plane = cubic(4, J=(1, 0, 1)).geometry.beta_c
    assert line.value == math.inf
    assert plane.value == square(4).geometry.beta_c.value


def test_unequal_couplings_in_three_dimensions_have_no_stated_beta_c():
    assert cubic(4, J=(1, 1, 2)).geometry.beta_c is None


# Arguments.


def test_square_couples_x_along_the_last_axis():
    model = square((3, 4), Jx=5, Jy=7, boundary="open")
    assert (model.dense[0, 1], model.dense[0, 4]) == (5, 7)


def test_uniform_field_reaches_every_site():
    assert np.array_equal(kagome(2, h=-3).fields, np.full(12, -3))


def test_wrong_number_of_axis_couplings_is_named():
    with pytest.raises(ValueError, match="J must be one number or 3, one per axis"):
        cubic(4, J=(1, 2))


def test_coupling_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match=r"coupling .* is nan"):
        bcc(2, J=math.nan)
