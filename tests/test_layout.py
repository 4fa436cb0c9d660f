"""The draw layouts: who picks them, what they ask of a model, where they put a site."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engine import STAR, dense_graph, graph

from isingnpu import IsingModel, disorder, lattice
from isingnpu.layout import (
    LATTICE_READS,
    LATTICE_SITES,
    LAYOUTS,
    PLANE_BOUND,
    PLANE_READS,
    PLANE_WEIGHT,
    choose_layout,
    lattice_obstacle,
)

ROOT = Path(__file__).resolve().parents[1]
SHAPES = [(2,), (6,), (256,), (258,), (4, 6), (2, 134), (4, 2, 6), (2, 2, 2, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_lattice_order_is_colour_row_word_bit(shape):
    layout = choose_layout(lattice.hypercubic(shape), 1, "lattice")
    place = []
    for site, cell in enumerate(np.ndindex(*shape)):
        column, words = cell[-1] // 2, -(-shape[-1] // 128)
        row = site // shape[-1]  # all axes but the last
        place.append((sum(cell) % 2, row, column % words, column // words, site))
    assert layout.order.tolist() == [site for *_, site in sorted(place)]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_two_sites_of_a_colour_share_a_bit(shape):
    layout = choose_layout(lattice.hypercubic(shape), 1, "lattice")
    word, bit = layout.column % layout.words, layout.column // layout.words
    assert bit.max() < 64
    places = set(zip(layout.colour, layout.row, word, bit, strict=True))
    assert len(places) == np.prod(shape)


@pytest.mark.parametrize("shape", [(6,), (4, 6), (4, 2, 6)])
@pytest.mark.parametrize("boundary", ["periodic", "open", "antiperiodic"])
def test_sites_of_one_colour_are_not_coupled(shape, boundary):
    model = lattice.hypercubic(shape, boundary=boundary)
    colour = choose_layout(model, 1, "lattice").colour
    for k in (0, 1):
        sites = np.flatnonzero(colour == k)
        assert model.csr[sites][:, sites].nnz == 0


def test_rule_looks_at_model_and_reads_alone():
    large, small = lattice.square(64), lattice.square(62)
    assert large.n >= LATTICE_SITES > small.n
    assert choose_layout(large, 1).version == "lattice-1"
    assert choose_layout(large, LATTICE_READS - 1).version == "lattice-1"
    assert choose_layout(large, LATTICE_READS).version == "lane-1"
    assert choose_layout(small, 1).version == "lane-1"
    assert choose_layout(lattice.square((64, 65)), 1).version == "lane-1"
    assert choose_layout(dense_graph(64), 1).version == "lane-1"
    assert choose_layout(graph(9, real=True), 10_000).version == "lane-1"


def test_many_reads_of_few_thresholds_take_planes():
    at_hub = np.zeros(STAR.n)
    at_hub[0] = 1
    beyond = IsingModel(STAR.couplings, at_hub)
    assert [m.quantized.bound - PLANE_BOUND for m in (STAR, beyond)] == [0, 1]
    assert choose_layout(STAR, PLANE_READS).version == "plane-1"
    assert choose_layout(STAR, PLANE_READS - 1).version == "lane-1"
    assert choose_layout(STAR, PLANE_READS, order=range(STAR.n)).version == "lane-1"
    assert choose_layout(beyond, PLANE_READS).version == "lane-1"
    assert choose_layout(dense_graph(64, most=1, most_field=1), PLANE_READS).version == "lane-1"
    assert choose_layout(lattice.square(64), PLANE_READS).version == "plane-1"


def test_the_page_on_randomness_states_the_rule():
    page = " ".join((ROOT / "docs" / "randomness.md").read_text().split())
    assert f"at least {LATTICE_SITES} sites, and fewer than {LATTICE_READS} reads" in page
    assert f"`plane` for at least {PLANE_READS} reads" in page
    assert f"a bound of at most {PLANE_BOUND} quanta" in page
    assert f"no coupling or field above {PLANE_WEIGHT} quanta" in page


@pytest.mark.parametrize("weight", [PLANE_WEIGHT, PLANE_WEIGHT + 1])
def test_large_weights_keep_many_reads_in_lanes(weight):
    coupled = IsingModel.from_edges([(0, 1, -weight), (1, 2, 1)], 3)
    fields = IsingModel.from_edges([(0, 1, 1)], 2, fields=[0, -weight])
    for model in (coupled, fields):
        expected = "plane" if weight <= PLANE_WEIGHT else "lane"
        assert choose_layout(model, PLANE_READS).name == expected


def test_order_alone_picks_a_layout_that_can_have_it():
    model = lattice.square(64)
    order = np.arange(model.n)[::-1]
    assert np.array_equal(choose_layout(model, 1, order=order).order, order)


@pytest.mark.parametrize("layout", ["lane", "plane"])
def test_order_is_kept_and_defaults_to_site_order(layout):
    model, order = graph(6), [3, 1, 0, 5, 4, 2]
    assert choose_layout(model, 1, layout, order).order.tolist() == order
    assert choose_layout(model, 1, layout).order.tolist() == list(range(6))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 1, 2, 3, 4, 4], [1, 2, 3, 4, 5, 6], [[0]]])
def test_order_that_is_no_permutation_is_refused(order):
    with pytest.raises(ValueError, match=r"order must hold each site 0\.\.5 once"):
        choose_layout(graph(6), 1, order=order)


def test_lattice_layout_has_no_other_order():
    with pytest.raises(ValueError, match="'lattice' has its own order"):
        choose_layout(lattice.square(4), 1, "lattice", range(16))


def test_unknown_layout_names_the_allowed_ones():
    with pytest.raises(ValueError, match=f"'row', allowed are {', '.join(LAYOUTS)}"):
        choose_layout(graph(6), 1, "row")


def test_planes_need_a_table():
    with pytest.raises(ValueError, match=r"'plane' needs couplings .* use 'lane'"):
        choose_layout(graph(6, real=True), 1, "plane")


def with_diagonal():
    """A square lattice with one bond between two sites of a colour."""
    model = lattice.square(4)
    terms = model.terms
    i, j, values = (np.append(a, b) for a, b in zip(
        (terms.i, terms.j, terms.couplings), (0, 5, 1), strict=True))  # fmt: skip
    return IsingModel.from_edges((i, j, values), 16, geometry=model.geometry)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (graph(6), "no lattice geometry"),
        (disorder.complete(8), "no lattice geometry"),
        (lattice.triangular(11), r"at most 8 colours .* extents \(11, 11\)"),
        (lattice.square((4, 5)), r"no colouring .* closes around .* extents \(4, 5\)"),
        (lattice.square((3, 4), boundary=("antiperiodic", "periodic")), "no colouring"),
        (disorder.edwards_anderson((4, 4), disorder="gaussian"), "not small multiples"),
        (with_diagonal(), "it couples sites 0 and 5 of one colour"),
    ],
)
def test_obstacle_to_the_lattice_layout_is_named(model, reason):
    with pytest.raises(ValueError, match=f"'lattice' does not fit this model: .*{reason}"):
        choose_layout(model, 1, "lattice")


def test_lattice_without_obstacle():
    assert lattice_obstacle(lattice.square(4, h=1)) is None
    assert lattice_obstacle(lattice.cubic((4, 6, 2), boundary="open")) is None


@pytest.mark.parametrize(
    ("model", "colours"),
    [
        (lattice.square((4, 6)), 2),
        (lattice.square((5, 7), boundary="open"), 2),
        (lattice.square((5, 3), boundary=("open", "antiperiodic")), 3),
        (lattice.square(25), 5),
        (lattice.square((7, 21)), 7),
        (lattice.cubic((3, 9, 15)), 3),
        (lattice.triangular((6, 9)), 3),
        (lattice.triangular(8), 4),
        (lattice.honeycomb(7), 2),
    ],
)
def test_extents_that_two_colours_do_not_fit_take_more(model, colours):
    layout = choose_layout(model, 1, "lattice")
    assert layout.colours == colours
    for k in range(colours):
        sites = np.flatnonzero(layout.colour == k)
        assert model.csr[sites][:, sites].nnz == 0
    place = layout.colour, layout.row, layout.column
    assert len(set(zip(*(x.tolist() for x in place), strict=True))) == model.n
