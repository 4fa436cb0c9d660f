"""Boxes of unit cells: which bonds each boundary makes, and which boxes are refused."""

import numpy as np
import pytest

from isingnpu.lattice import chain, cubic, fcc, hypercubic, square, triangular


def test_axis_of_extent_two_carries_a_double_bond():
    expected = [[0, 2, 2, 0], [2, 0, 0, 2], [2, 0, 0, 2], [0, 2, 2, 0]]
    model = square(2)
    assert np.array_equal(model.dense, expected)
    assert model.geometry.bonds == 8


def test_antiperiodic_axis_of_extent_two_cancels_its_bond():
    model = chain(2, boundary="antiperiodic")
    assert (model.n_edges, model.geometry.bonds) == (0, 2)


def test_antiperiodic_axis_flips_exactly_the_bonds_across_its_seam():
    model = square((3, 5), boundary=("periodic", "antiperiodic"))
    upper = np.argwhere(np.triu(model.dense) == -1)
    assert upper.tolist() == [[5 * y, 5 * y + 4] for y in range(3)]


def test_one_number_means_that_many_cells_along_each_axis():
    assert fcc(2).fingerprint == fcc((2, 2, 2)).fingerprint
    assert fcc(np.int64(2)).geometry.shape == (2, 2, 2)


@pytest.mark.parametrize(
    ("builder", "size", "error", "text"),
    [
        (square, 0, ValueError, "extent of axis 0 must be at least 1, got 0"),
        (square, (4, -2), ValueError, "extent of axis 1 must be at least 1, got -2"),
        (square, (4, 2.0), TypeError, "extent of axis 1 must be a whole number, got 2.0"),
        (square, (4, True), TypeError, "extent of axis 1 must be a whole number, got True"),
        (square, 4.0, TypeError, "size must be a whole number or one per axis, got 4.0"),
        (square, "44", TypeError, "size must be a whole number or one per axis, got '44'"),
        (square, True, TypeError, "size must be a whole number or one per axis, got True"),
        (cubic, (4, 4), ValueError, r"expected 3 extents, got \(4, 4\)"),
        (hypercubic, (), ValueError, r"expected one or more extents, got \(\)"),
        (chain, 1, ValueError, r"shape \(1,\) .* couples site 0 to itself; use at least 2"),
        (triangular, (1, 4), ValueError, "couples site 0 to itself"),
    ],
)
def test_wrong_extents_are_named(builder, size, error, text):
    with pytest.raises(error, match=text):
        builder(size)


def test_extent_one_is_allowed_on_an_open_axis():
    model = square((1, 5), boundary=("open", "periodic"))
    assert (model.csr != chain(5).csr).nnz == 0


@pytest.mark.parametrize(
    ("boundary", "text"),
    [
        ("helical", r"boundary of axis 0 must be one of .* got 'helical'"),
        (("open", "free"), r"boundary of axis 1 must be one of .* got 'free'"),
        (("open",), r"expected one boundary or 2, one per axis, got \('open',\)"),
    ],
)
def test_wrong_boundaries_are_named(boundary, text):
    with pytest.raises(ValueError, match=text):
        square(4, boundary=boundary)
