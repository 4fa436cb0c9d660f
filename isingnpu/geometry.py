"""Where the sites of a model lie, and reference values with their sources.

positions = cell . vectors + basis[k];   k_a . (L_b a_b) = 2 pi delta_ab.
Lengths are in units of the lattice constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isingnpu.couplings import Array


@dataclass(frozen=True)
class Reference:
    """A value nobody here measured: exact (error 0) or from the literature."""

    value: float
    error: float = 0.0
    source: str = ""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the sites of a lattice lie, and what is known of it.

    Sites are numbered in C order over `shape`, the basis index fastest: site = cell * b + k.
    vectors: (d, d) primitive vectors, one per row; basis: (b, d) positions inside the cell.
    boundary: per axis "periodic", "open" or "antiperiodic". Graphs without positions have
    shape (n,) and empty vectors. coordination: mean number of neighbours of a bulk site.
    """

    family: str
    shape: tuple[int, ...]
    boundary: tuple[str, ...] = ()
    vectors: Array | None = None
    basis: Array | None = None
    coordination: float = 0.0
    bonds: int = 0
    ground_energy: Reference | None = None
    ground_state: Array | None = None
    beta_c: Reference | None = None

    @cached_property
    def positions(self) -> Array:
        """(n, d) site positions in units of the lattice constant."""
        if self.vectors is None or self.basis is None:
            raise ValueError(f"{self.family} has no positions: it is a graph, not a lattice")
        cells = np.indices(self.shape).reshape(len(self.shape), -1).T @ self.vectors  # (cells, d)
        return np.asarray((cells[:, None, :] + self.basis[None, :, :]).reshape(-1, cells.shape[1]))

    @cached_property
    def k_min(self) -> Array:
        """(d, d) smallest reciprocal vectors of the box, one per axis: k_a . (L_b a_b) = 2 pi."""
        if self.vectors is None:
            raise ValueError(f"{self.family} has no wave vectors: it is a graph, not a lattice")
        box = np.asarray(self.shape)[:, None] * self.vectors
        return np.asarray(2 * np.pi * np.linalg.inv(box).T)
