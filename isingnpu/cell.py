"""Unit cells repeated over a box: which sites a bond joins, under each boundary.

    site = cell * b + k,    position = cell . vectors + basis[k]

Cells are numbered in C order over `shape`, the b basis sites of a cell fastest.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isingnpu.model import Array

Size = int | Sequence[int]
Boundary = str | Sequence[str]
BOUNDARIES = ("periodic", "open", "antiperiodic")


@dataclass(frozen=True, eq=False)
class Cell:
    """A unit cell: vectors (d, d) and basis (b, d) as in `Geometry`, and the kinds of bond
    (from basis site, to basis site, offset in cells), each written in one direction."""

    vectors: Array
    basis: Array
    bonds: tuple[tuple[int, int, tuple[int, ...]], ...]


@dataclass(frozen=True, eq=False)
class Bonds:
    """Bonds i - j of a finite lattice, ordered by kind, then by cell.

    number: kind * cells + cell, whatever the boundary, so that a draw indexed by it belongs to
    the same place for every boundary. sign: -1 where an antiperiodic seam is crossed an odd
    number of times, else +1. All (bonds,) int64."""

    i: Array
    j: Array
    number: Array
    sign: Array


def extents(size: Size, dimension: int | None = None) -> tuple[int, ...]:
    """`size` as one extent per axis; ValueError or TypeError names what is wrong."""
    if isinstance(size, int | np.integer) and not isinstance(size, bool):
        size = (int(size),) * (dimension or 1)
    if isinstance(size, bool | str) or not isinstance(size, Sequence | np.ndarray):
        raise TypeError(f"size must be a whole number or one per axis, got {size!r}")
    if len(size) == 0 or (dimension is not None and len(size) != dimension):
        raise ValueError(f"expected {dimension or 'one or more'} extents, got {tuple(size)}")
    for axis, extent in enumerate(size):
        if isinstance(extent, bool) or not isinstance(extent, int | np.integer):
            raise TypeError(f"extent of axis {axis} must be a whole number, got {extent!r}")
        if extent < 1:
            raise ValueError(f"extent of axis {axis} must be at least 1, got {extent}")
    return tuple(int(extent) for extent in size)


def boundaries(boundary: Boundary, dimension: int) -> tuple[str, ...]:
    """`boundary` as one name per axis."""
    names = (boundary,) * dimension if isinstance(boundary, str) else tuple(boundary)
    if len(names) != dimension:
        raise ValueError(f"expected one boundary or {dimension}, one per axis, got {names}")
    for axis, name in enumerate(names):
        if name not in BOUNDARIES:
            raise ValueError(f"boundary of axis {axis} must be one of {BOUNDARIES}, got {name!r}")
    return names


def lattice_bonds(shape: tuple[int, ...], cell: Cell, boundary: tuple[str, ...]) -> Bonds:
    """Every bond of the finite lattice. Raises ValueError where a site would meet itself."""
    n_cells, b = math.prod(shape), len(cell.basis)
    parts = []
    for kind, (source, target, offset) in enumerate(cell.bonds):
        there, sign, exists = _shift(shape, offset, boundary)
        here = np.flatnonzero(exists)
        i, j = here * b + source, there[here] * b + target
        if np.any(i == j):
            raise ValueError(
                f"shape {shape} with boundary {boundary} couples site {i[i == j][0]} to itself; "
                "use at least 2 cells along that axis, or boundary 'open'"
            )
        parts.append((i, j, kind * n_cells + here, sign[here]))
    return Bonds(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _shift(
    shape: tuple[int, ...], offset: tuple[int, ...], boundary: tuple[str, ...]
) -> tuple[Array, Array, Array]:
    """For each cell: index of cell + offset, the sign met on the way, whether the way exists."""
    d = len(shape)
    there: Array = np.zeros((1,) * d, np.int64)
    sign: Array = np.ones((1,) * d, np.int64)
    exists: Array = np.ones((1,) * d, np.bool_)
    for axis, (extent, step, name) in enumerate(zip(shape, offset, boundary, strict=True)):
        along = [1] * d
        along[axis] = extent
        wraps, place = np.divmod(np.arange(extent) + step, extent)
        there = there * extent + place.reshape(along)
        if name == "antiperiodic":
            sign = sign * (1 - 2 * (wraps % 2)).reshape(along)
        elif name == "open":
            exists = exists & (wraps == 0).reshape(along)
    # each broadcasts to shape, then (cells,) in C order
    there, sign, exists = (np.broadcast_to(x, shape).ravel() for x in (there, sign, exists))
    return there, sign, exists


def nearest_neighbour_cell(vectors: Array, basis: Array) -> Cell:
    """The cell whose bonds join every pair of sites at the smallest distance there is."""
    d, b = vectors.shape[0], len(basis)
    zero = (0,) * d
    pairs = [
        (source, target, offset)
        for offset in itertools.product((-1, 0, 1), repeat=d)
        for source, target in itertools.product(range(b), repeat=2)
        if offset > zero or (offset == zero and source < target)
    ]
    length = [np.linalg.norm(basis[t] + np.array(o) @ vectors - basis[s]) for s, t, o in pairs]
    shortest = min(length) * (1 + 1e-9)
    bonds = (pair for pair, r in zip(pairs, length, strict=True) if r <= shortest)
    return Cell(vectors, basis, tuple(bonds))


def hypercubic_cell(dimension: int) -> Cell:
    """One site, one bond kind per axis, in axis order."""
    steps = np.eye(dimension, dtype=np.int64).tolist()
    bonds = tuple((0, 0, tuple(step)) for step in steps)
    return Cell(np.eye(dimension), np.zeros((1, dimension)), bonds)
