"""Which random bits decide which spin: the four draw layouts and the order of visits.

lane:    replicas share a Philox call as its 16 bytes; any model.
plane:   64 replicas share a Philox call as its bits; models with a threshold table.
lattice: 64 sites of one colour share a call; lattices whose unit cells have a regular colouring.
shared:  all replicas share one number, so they are not independent; on request only.

The choice depends on the model and on the number of reads only, never on the machine, so a
request names its result; `layout=` forces another one. Results of two layouts differ.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.cell import nearest_neighbour_cell
from isingnpu.geometry import Geometry
from isingnpu.model import IsingModel
from isingnpu.rng import LAYOUT_VERSION

Array = NDArray[Any]
LAYOUTS = ("lane", "plane", "lattice", "shared")
# Read indices that the counter words hold.
MAX_READS = {"lane": 1 << 36, "plane": 1 << 38, "lattice": 1 << 21, "shared": 1 << 38}

# One large lattice, few reads: sites fill the words better than replicas do.
LATTICE_SITES = 4096
LATTICE_READS = 16
MAX_PERIOD = 8  # of colours; more of them would leave most of a row's words empty
# Many reads of a sparse model with few thresholds: bits fill the words better than bytes do.
# Each binary digit of the couplings and fields, at most PLANE_WEIGHT quanta, is counted apart.
PLANE_READS = 256
PLANE_BOUND = 127
PLANE_WEIGHT = 4


@dataclass(frozen=True)
class Colouring:
    """Colours of a lattice, and where its sites lie in rows of packed words.

    For basis site k of cell x, with steps[d - 1] = 1 if period > 1:

        colour = k period + (steps . x mod period)
        row = index of (x_0 .. x_{d-2}) in C order,   column = x_{d-1} // period
        word = column mod words,   bit = column // words

    basis: sites per cell. Bonds join unlike colours, or `lattice_obstacle` names the first fault.
    """

    shape: tuple[int, ...]
    basis: int
    period: int
    steps: tuple[int, ...]

    @property
    def colours(self) -> int:
        """Number of colours."""
        return self.basis * self.period

    @property
    def rows(self) -> int:
        """Number of rows, the same for every colour."""
        return math.prod(self.shape[:-1])

    @property
    def words(self) -> int:
        """64-bit words per row and colour."""
        return -(-self.shape[-1] // (64 * self.period))

    @property
    def phases(self) -> Array:
        """(rows,) what the axes but the last add to the colour."""
        along = np.indices(self.shape[:-1]).reshape(len(self.shape) - 1, self.rows)
        return np.asarray(np.array(self.steps[:-1], np.int64) @ along % self.period)

    def first(self, colour: int, phase: ArrayLike) -> Array:
        """x_{d-1} of column 0: x_{d-1} = period * column + first."""
        return np.asarray((colour % self.period - np.asarray(phase)) % self.period)

    def columns(self, colour: int, phase: ArrayLike) -> Array:
        """Sites of the colour in a row of that phase."""
        return np.asarray(-((self.first(colour, phase) - self.shape[-1]) // self.period))

    def site(self, colour: int, row: ArrayLike, column: ArrayLike, phase: ArrayLike) -> Array:
        """Site index of a place."""
        x = self.period * np.asarray(column) + self.first(colour, phase)
        return np.asarray((np.asarray(row) * self.shape[-1] + x) * self.basis) + (
            colour // self.period
        )

    def place(self) -> tuple[Array, Array, Array]:
        """(colour, row, column) of every site, (n,) each."""
        cell = np.arange(math.prod(self.shape))
        row, x = np.divmod(cell, self.shape[-1])
        inside = (self.phases[row] + x) % self.period
        colour = np.arange(self.basis) * self.period + inside[:, None]
        return colour.ravel(), np.repeat(row, self.basis), np.repeat(x // self.period, self.basis)


def colouring(
    shape: tuple[int, ...], vectors: Array, basis: Array, closed: Sequence[bool]
) -> Colouring | None:
    """The regular colouring of least period, then least steps, in which no nearest neighbours
    share a colour, also not around an axis that is closed; None if its period exceeds MAX_PERIOD.

    Basis sites have colours of their own: only bonds between copies of one basis site ask for a
    period above 1. Odd extents that two colours do not close around take a factor they share."""
    cell = nearest_neighbour_cell(vectors, basis)
    offsets = np.array([o for source, target, o in cell.bonds if source == target], np.int64)
    around = np.array([extent if c else 0 for extent, c in zip(shape, closed, strict=True)])
    for period in range(1, MAX_PERIOD + 1):
        for head in itertools.product(range(period), repeat=len(shape) - 1):
            steps = (*head, 1 % period)
            apart = len(offsets) == 0 or np.all(offsets @ np.array(steps) % period)
            if apart and not np.any(around * steps % period):
                return Colouring(tuple(shape), len(basis), period, steps)
    return None


@dataclass(frozen=True, eq=False)
class Layout:
    """A layout bound to a model: its name and the order in which a sweep visits the sites.

    order: (n,) site indices. Layout `lattice` also has colour, row, column (n,), words and
    colours: the site's colour, its global row and compact column, the number of 64-bit words per
    row and colour, and of colours; its order is colour by colour, each by row, word and bit.
    colouring is the rule behind them.
    """

    name: str
    order: Array
    colour: Array | None = None
    row: Array | None = None
    column: Array | None = None
    words: int = 0
    colours: int = 2
    colouring: Colouring | None = None

    @property
    def version(self) -> str:
        """Name and version as stored in a Run, for example lane-1."""
        return f"{self.name}-{LAYOUT_VERSION}"


def choose_layout(
    model: IsingModel, reads: int, layout: str | None = None, order: ArrayLike | None = None
) -> Layout:
    """The layout that the rule picks for this many reads, or the one asked for.

    Raises ValueError if the model cannot have the layout or the order is no permutation."""
    name = layout or ("lane" if order is not None else _rule(model, reads))
    if name not in LAYOUTS:
        raise ValueError(f"unknown layout {name!r}, allowed are {', '.join(LAYOUTS)}")
    if name == "lattice":
        if order is not None:
            raise ValueError("layout 'lattice' has its own order: colour, row, word, bit")
        return lattice_layout(model)
    if name in ("plane", "shared") and not model.quantized.table:
        raise ValueError(
            f"layout {name!r} needs couplings that are small multiples of one number; "
            f"this model has sum_j |J_ij| + |h_i| = {model.quantized.bound} quanta; use 'lane'"
        )
    return Layout(name, _check_order(order, model.n))


def _rule(model: IsingModel, reads: int) -> str:
    if not model.quantized.table or model.is_dense:
        return "lane"
    if model.n >= LATTICE_SITES and reads < LATTICE_READS and lattice_obstacle(model) is None:
        return "lattice"
    return "plane" if reads >= PLANE_READS and _counts_quickly(model) else "lane"


def _counts_quickly(model: IsingModel) -> bool:
    """Whether the sums of couplings and fields are quickly counted in bits."""
    quanta = model.quantized
    largest = max(int(np.abs(x).max(initial=0)) for x in (quanta.couplings, quanta.fields))
    return quanta.bound <= PLANE_BOUND and largest <= PLANE_WEIGHT


def _check_order(order: ArrayLike | None, n: int) -> Array:
    if order is None:
        return np.arange(n)
    visits = np.asarray(order)
    if visits.shape != (n,) or not np.array_equal(np.sort(visits), np.arange(n)):
        raise ValueError(f"order must hold each site 0..{n - 1} once")
    return visits.astype(np.int64)


def geometry_colouring(geometry: Geometry) -> Colouring | None:
    """`colouring` of a geometry with positions."""
    assert geometry.vectors is not None
    assert geometry.basis is not None
    boundary = geometry.boundary or ("periodic",) * len(geometry.shape)
    closed = [name != "open" for name in boundary]
    return colouring(geometry.shape, geometry.vectors, geometry.basis, closed)


def lattice_obstacle(model: IsingModel) -> str | None:
    """Why the model cannot have layout `lattice`, or None."""
    geometry = model.geometry
    if geometry is None or geometry.vectors is None or geometry.basis is None:
        return "it has no lattice geometry"
    if not model.quantized.table:
        return "its couplings are not small multiples of one number"
    colours = geometry_colouring(geometry)
    if colours is None:
        return (
            f"no colouring of at most {MAX_PERIOD} colours per basis site closes around the axes "
            f"that are not open, of extents {geometry.shape}"
        )
    colour, _, _ = colours.place()
    csr = model.csr
    own = np.repeat(np.arange(model.n), np.diff(csr.indptr))
    fault = np.flatnonzero(colour[own] == colour[csr.indices])
    if len(fault):
        return f"it couples sites {own[fault[0]]} and {csr.indices[fault[0]]} of one colour"
    return None


def lattice_layout(model: IsingModel) -> Layout:
    """Layout `lattice` of a model whose unit cells have a regular colouring; see `Colouring`."""
    obstacle = lattice_obstacle(model)
    if obstacle is not None:
        raise ValueError(f"layout 'lattice' does not fit this model: {obstacle}")
    geometry = model.geometry
    assert geometry is not None
    colours = geometry_colouring(geometry)
    assert colours is not None
    colour, row, column = colours.place()
    words = colours.words
    order = np.lexsort((column // words, column % words, row, colour))
    return Layout("lattice", order, colour, row, column, words, colours.colours, colours)
