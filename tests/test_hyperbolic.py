"""Hyperbolic lattices: layer recursions, an independent construction by isometries, known maps."""

from __future__ import annotations

import math
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest

from isingnpu import hyperbolic
from isingnpu.hyperbolic import bolza, patch, quotient

PATCHES = [
    (3, 7, "vertex", 4),
    (7, 3, "vertex", 4),
    (7, 3, "face", 4),
    (5, 4, "vertex", 3),
    (4, 5, "face", 3),
    (8, 3, "face", 3),
    (5, 5, "vertex", 2),
    (4, 4, "vertex", 4),
    (6, 3, "face", 4),
    (3, 6, "face", 3),
]
QUOTIENTS = [(7, 3, 7), (7, 3, 13), (3, 7, 13), (5, 5, 11), (8, 3, 17), (5, 4, 31)]


def layer_sizes(p: int, q: int, layers: int, centre: str = "vertex") -> list[int]:
    return np.bincount(patch(p, q, layers, centre=centre).layer).tolist()


def graph_of(tessellation) -> nx.Graph:
    return nx.from_scipy_sparse_array(tessellation.model.csr)


def sides_of(tessellation) -> tuple[np.ndarray, np.ndarray]:
    """Sides i < j of all faces, each once, and how often each occurs."""
    faces = tessellation.faces
    sides = np.sort(np.stack([faces, np.roll(faces, 1, axis=1)], -1).reshape(-1, 2), axis=1)
    return np.unique(sides, axis=0, return_counts=True)


# Growth.


@pytest.mark.parametrize("q", [7, 8, 11])
def test_layers_of_triangles_obey_their_two_term_recursion(q):
    sizes = layer_sizes(3, q, 5)
    assert sizes[:2] == [1, q]
    assert sizes[2] == (q - 4) * q
    assert all(
        c == (q - 4) * b - a for a, b, c in zip(sizes[1:], sizes[2:], sizes[3:], strict=False)
    )


def test_spheres_of_the_order_7_triangular_tiling_are_7_times_fibonacci():
    # 7 F(2k): 7, 21, 56, 147, 385
    assert layer_sizes(3, 7, 5) == [1, 7, 21, 56, 147, 385]


@pytest.mark.parametrize("p", [7, 8, 10])
def test_layers_around_a_face_of_cubic_tessellations_are_dual_to_those_of_triangles(p):
    sizes = layer_sizes(p, 3, 4, "face")
    assert sizes[:2] == [p, p * (p - 3)]
    assert all(c == (p - 4) * b - a for a, b, c in zip(sizes, sizes[1:], sizes[2:], strict=False))


@pytest.mark.parametrize(("p", "q"), [(5, 4), (4, 5), (5, 5), (6, 4), (4, 4)])
def test_layers_for_p_and_q_above_3_obey_the_transfer_matrix(p, q):
    # a: vertices of a layer without a bond to the layer before, b: with one
    a, b = q * (p - 3), q
    expected = [1, a + b]
    for _ in range(2):
        out = a * (q - 2) + b * (q - 3)  # bonds to the next layer
        inner = (a * (q - 3) + b * (q - 4)) * (p - 3)  # faces between two bonds of a vertex
        a, b = inner + (a + b) * (p - 4), out
        expected.append(a + b)
    assert layer_sizes(p, q, 3) == expected


def test_flat_patches_are_squares_and_hexagons():
    assert layer_sizes(4, 4, 4) == [1, 8, 16, 24, 32]
    assert layer_sizes(3, 6, 4) == [1, 6, 12, 18, 24]
    assert layer_sizes(6, 3, 4, "face") == [6, 18, 30, 42, 54]


def ball_sizes(p: int, q: int, radius: int) -> list[int]:
    """Vertices within 0..radius bonds of one, by isometries of x^2 + y^2 - t^2 = -1: a frame turns
    about its vertex and steps along its bond."""
    cosine, sine = math.cos(2 * math.pi / q), math.sin(2 * math.pi / q)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    half = math.cos(math.pi / p) / math.sin(math.pi / q)  # cosh of half a bond
    c, s = 2 * half**2 - 1, 2 * half * math.sqrt(half**2 - 1)
    step = np.array([[c, 0, s], [0, 1, 0], [s, 0, c]]) @ np.diag([-1.0, -1.0, 1.0])
    place = lambda frame: tuple(np.round(frame[:, 2], 5) + 0.0)  # noqa: E731
    frontier, seen, sizes = [np.eye(3)], {place(np.eye(3))}, [1]
    for _ in range(radius):
        new = {}
        for frame in frontier:
            for _ in range(q):
                frame = frame @ turn
                there = frame @ step
                if place(there) not in seen:
                    new.setdefault(place(there), there)
        seen |= new.keys()
        frontier = list(new.values())
        sizes.append(len(seen))
    return sizes


@pytest.mark.parametrize(("p", "q"), [(7, 3), (8, 3), (5, 4), (4, 5), (3, 7), (5, 5)])
def test_balls_around_the_centre_are_those_of_the_hyperbolic_plane(p, q):
    radius = 4
    graph = graph_of(patch(p, q, radius))  # a bond crosses at most one layer
    distance = nx.single_source_shortest_path_length(graph, 0, cutoff=radius)
    found = np.cumsum(np.bincount(list(distance.values())))
    assert found.tolist() == ball_sizes(p, q, radius)


# The map.


@pytest.mark.parametrize(("p", "q", "centre", "layers"), PATCHES)
def test_a_patch_is_a_disk_of_p_gons_with_q_around_every_inner_vertex(p, q, centre, layers):
    disk = patch(p, q, layers, centre=centre)
    assert disk.euler_characteristic == 1
    assert nx.check_planarity(graph_of(disk))[0]
    assert (np.sort(disk.faces, axis=1)[:, 1:] > np.sort(disk.faces, axis=1)[:, :-1]).all()
    bulk = np.isin(np.arange(disk.model.n), disk.bulk)
    assert np.all(bulk[disk.layer < layers])
    assert np.all(disk.degrees[bulk] == q)
    assert np.all(disk.degrees <= q)
    sides, times = sides_of(disk)
    assert np.array_equal(sides, np.stack([disk.model.terms.i, disk.model.terms.j], axis=1))
    assert times.max() == 2


@pytest.mark.parametrize(("p", "q", "prime"), QUOTIENTS)
def test_a_quotient_is_a_closed_surface_of_p_gons_with_q_around_every_vertex(p, q, prime):
    surface = quotient(p, q, prime)
    n, edges, faces = surface.model.n, surface.model.n_edges, len(surface.faces)
    assert n * q == faces * p == 2 * edges
    assert n - edges + faces == 2 - 2 * surface.genus
    assert np.all(surface.degrees == q)
    assert surface.bulk.size == n
    assert nx.is_connected(graph_of(surface))
    sides, times = sides_of(surface)
    assert np.array_equal(sides, np.stack([surface.model.terms.i, surface.model.terms.j], axis=1))
    assert np.all(times == 2)


@pytest.mark.parametrize(("p", "q", "prime"), QUOTIENTS)
def test_all_sites_of_a_quotient_see_the_same_distances(p, q, prime):
    graph = graph_of(quotient(p, q, prime))
    shells = {
        tuple(np.bincount(list(nx.single_source_shortest_path_length(graph, v).values())))
        for v in list(graph)[:60]
    }
    assert len(shells) == 1


def test_a_quotient_looks_like_the_plane_up_to_half_its_shortest_loop():
    graph = graph_of(quotient(7, 3, 29))
    distance = nx.single_source_shortest_path_length(graph, 0, cutoff=5)
    found = np.cumsum(np.bincount(list(distance.values())))
    assert found.tolist() == ball_sizes(7, 3, 5)


def test_klein_quartic_has_56_vertices_24_heptagons_and_genus_3():
    klein = quotient(7, 3, 7)
    assert (klein.model.n, klein.model.n_edges, len(klein.faces), klein.genus) == (56, 84, 24, 3)
    # the Klein graph: girth 7, diameter 6 (Brouwer, Cohen, Neumaier 1989)
    graph = graph_of(klein)
    assert nx.girth(graph) == 7
    assert nx.diameter(graph) == 6


def test_bolza_surface_carries_the_moebius_kantor_graph():
    surface = bolza()
    assert nx.is_isomorphic(graph_of(surface), nx.moebius_kantor_graph())
    assert (surface.genus, len(surface.faces)) == (2, 6)


def test_dual_maps_exchange_sites_and_faces():
    klein, dual = quotient(7, 3, 7), quotient(3, 7, 7)
    assert (klein.model.n, len(klein.faces)) == (len(dual.faces), dual.model.n)
    assert klein.genus == dual.genus


def test_models_say_which_of_bulk_and_free_boundary_they_are():
    disk, surface = patch(7, 3, 2), quotient(7, 3, 7)
    assert (disk.boundary, disk.model.geometry.boundary) == ("free", ("open",))
    assert (surface.boundary, surface.model.geometry.boundary) == ("periodic", ("periodic",))
    assert disk.genus is None
    assert disk.model.geometry.family == "hyperbolic {7,3}"
    assert patch(4, 4, 2).model.geometry.family == "flat {4,4}"
    assert disk.model.geometry.beta_c is None


def test_boundary_holds_a_finite_fraction_of_a_hyperbolic_patch_and_less_of_a_flat_one():
    # {7,3}: layers grow by (3 + sqrt 5) / 2 = g, so the last one has the share 1 - 1 / g
    disk = patch(7, 3, 7, centre="face")
    share = np.bincount(disk.layer)[-1] / disk.model.n
    assert share == pytest.approx(1 - 2 / (3 + math.sqrt(5)), rel=1e-2)
    flat = patch(6, 3, 7, centre="face")
    assert np.bincount(flat.layer)[-1] / flat.model.n < share / 2


def test_couplings_and_fields_are_those_asked_for():
    model = patch(5, 4, 2, J=0.5, h=-2).model
    assert set(model.csr.data) == {0.5}
    assert set(model.fields) == {-2}
    surface = quotient(7, 3, 7, J=2, h=1).model
    assert surface.energy(np.ones(surface.n)) == -2 * 84 - 56


def test_wrong_arguments_are_refused_with_what_is_allowed(monkeypatch):
    for p, q in ((5, 3), (3, 5), (2, 8), (8, 2)):
        with pytest.raises(ValueError, match="no tessellation of a plane"):
            patch(p, q, 2)
    with pytest.raises(ValueError, match="layers must be at least 1"):
        patch(7, 3, 0)
    with pytest.raises(ValueError, match="centre must be"):
        patch(7, 3, 2, centre="edge")
    with pytest.raises(ValueError, match="odd prime"):
        quotient(7, 3, 9)
    with pytest.raises(ValueError, match="not hyperbolic"):
        quotient(4, 4, 7)
    with pytest.raises(ValueError, match="try another prime"):
        quotient(5, 4, 7)
    monkeypatch.setattr(hyperbolic, "MAX_SITES", 100)
    with pytest.raises(ValueError, match="more than 100 sites"):
        patch(7, 3, 5)


def test_layers_of_a_patch_are_nested():
    small, large = patch(7, 3, 2), patch(7, 3, 3)
    n = small.model.n
    assert np.array_equal(small.layer, large.layer[:n])
    assert np.array_equal(small.faces, large.faces[: len(small.faces)])
    assert all(x <= y for x, y in pairwise(large.layer.tolist()))
