"""Which random bits decide which spin: the three draw layouts and the order of visits.

lane:    replicas share a Philox call as its 16 bytes; any model.
plane:   64 replicas share a Philox call as its bits; models with a threshold table, on request.
lattice: 64 sites of one colour share a call; periodic or open hypercubic lattices.

The choice depends on the model and on the number of reads only, never on the machine, so a
request names its result; `layout=` forces another one. Results of two layouts differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.model import IsingModel
from isingnpu.rng import LAYOUT_VERSION

Array = NDArray[Any]
LAYOUTS = ("lane", "plane", "lattice")
# Read indices that the counter words hold.
MAX_READS = {"lane": 1 << 36, "plane": 1 << 38, "lattice": 1 << 21}

# One large lattice, few reads: sites fill the words better than replicas do.
LATTICE_SITES = 4096
LATTICE_READS = 16


@dataclass(frozen=True, eq=False)
class Layout:
    """A layout bound to a model: its name and the order in which a sweep visits the sites.

    order: (n,) site indices. Layout `lattice` also has colour, row, column (n,), words and
    colours: the site's colour, its global row and compact column, the number of 64-bit words per
    row and colour, and of colours; its order is colour by colour, each by row, word and bit.
    """

    name: str
    order: Array
    colour: Array | None = None
    row: Array | None = None
    column: Array | None = None
    words: int = 0
    colours: int = 2

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
    if name == "plane" and not model.quantized.table:
        raise ValueError(
            "layout 'plane' needs couplings that are small multiples of one number; "
            f"this model has sum_j |J_ij| + |h_i| = {model.quantized.bound} quanta; use 'lane'"
        )
    return Layout(name, _check_order(order, model.n))


def _rule(model: IsingModel, reads: int) -> str:
    if not model.quantized.table or model.is_dense:
        return "lane"
    if model.n >= LATTICE_SITES and reads < LATTICE_READS and lattice_obstacle(model) is None:
        return "lattice"
    return "lane"


def _check_order(order: ArrayLike | None, n: int) -> Array:
    if order is None:
        return np.arange(n)
    visits = np.asarray(order)
    if visits.shape != (n,) or not np.array_equal(np.sort(visits), np.arange(n)):
        raise ValueError(f"order must hold each site 0..{n - 1} once")
    return visits.astype(np.int64)


def lattice_obstacle(model: IsingModel) -> str | None:
    """Why the model cannot have layout `lattice`, or None."""
    geometry = model.geometry
    if geometry is None or geometry.vectors is None or geometry.basis is None:
        return "it has no lattice geometry"
    d = len(geometry.shape)
    if len(geometry.basis) != 1 or not np.array_equal(geometry.vectors, np.eye(d)):
        return f"{geometry.family} is not hypercubic"
    if any(extent % 2 for extent in geometry.shape):
        return f"its extents {geometry.shape} are not all even"
    if not model.quantized.table:
        return "its couplings are not small multiples of one number"
    colour = np.indices(geometry.shape).sum(axis=0).ravel() % 2
    csr = model.csr
    if np.any(np.repeat(colour, np.diff(csr.indptr)) == colour[csr.indices]):
        return "it couples sites of one checkerboard colour"
    return None


def lattice_layout(model: IsingModel) -> Layout:
    """Layout `lattice` of a hypercubic model with even extents.

    The row of a site counts all axes but the last; its compact column is x // 2, word
    column % words, bit column // words, words = ceil(extent / 128)."""
    obstacle = lattice_obstacle(model)
    if obstacle is not None:
        raise ValueError(f"layout 'lattice' does not fit this model: {obstacle}")
    assert model.geometry is not None
    shape = model.geometry.shape
    colour = np.indices(shape).sum(axis=0).ravel() % 2
    site = np.arange(model.n)
    row, column = site // shape[-1], site % shape[-1] // 2
    words = -(-shape[-1] // 128)
    order = np.lexsort((column // words, column % words, row, colour))
    return Layout("lattice", order, colour, row, column, words)
