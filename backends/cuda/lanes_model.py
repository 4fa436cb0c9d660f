"""A model as kernels/lanes.cu reads it: sites sorted by level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Request
from isingnpu.layout import Layout

from .levels import levels

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class LaneModel:
    """Rows are sites in order of level, then of visit.

    order: (n,) site of each row; levels: (levels + 1,) first rows; places: (n, 4), see `places`;
    starts: (n,) h_i + sum_j J_ij; fields: (n,) h_i, both int32 in quanta; firsts: (n + 1,) first
    entry of each row; entries: (nnz, 2) row of the neighbour and coupling, uint32."""

    order: Array
    levels: Array
    places: Array
    starts: Array
    fields: Array
    firsts: Array
    entries: Array

    @classmethod
    def of(cls, request: Request) -> LaneModel:
        """The model of a request."""
        csr, model, n = request.model.csr, request.model.quantized, request.model.n
        visits = request.layout.order
        level = levels(csr.indptr, csr.indices, visits)
        order = visits[np.argsort(level[visits], kind="stable")]
        degree = np.diff(csr.indptr)
        row_of = np.empty(n, np.int64)
        row_of[order] = np.arange(n)
        firsts = np.concatenate([[0], np.cumsum(degree[order])]).astype(np.int64)
        gather = np.repeat(csr.indptr[order] - firsts[:-1], degree[order])
        gather = gather + np.arange(csr.nnz)
        entries = np.empty((csr.nnz, 2), np.uint32)
        entries[:, 0] = row_of[csr.indices[gather]]
        entries[:, 1] = model.couplings[gather].astype(np.int64) & 0xFFFFFFFF
        totals = np.bincount(np.repeat(np.arange(n), degree), model.couplings, n)
        starts = (totals.astype(np.int64) + model.fields)[order]
        return cls(
            order=order,
            levels=np.concatenate([[0], np.cumsum(np.bincount(level))]).astype(np.uint32),
            places=places(request.layout, order),
            starts=starts.astype(np.int32),
            fields=model.fields[order].astype(np.int32),
            firsts=firsts.astype(np.uint32),
            entries=entries,
        )

    @property
    def sites_per_level(self) -> float:
        """Mean number of sites that can be visited at once."""
        return len(self.order) / max(1, len(self.levels) - 1)


def places(layout: Layout, order: Array) -> Array:
    """(n, 4) uint32 of the sites in this order, see `place_of` in draws.cuh."""
    made = np.zeros((len(order), 4), np.uint32)
    if layout.name != "lattice":
        made[:, 0] = order
        return made
    assert layout.colour is not None
    assert layout.row is not None
    assert layout.column is not None
    column = layout.column[order]
    made[:, 0] = column % layout.words
    made[:, 1] = layout.row[order]
    made[:, 2] = layout.colour[order]
    made[:, 3] = column // layout.words
    return made
