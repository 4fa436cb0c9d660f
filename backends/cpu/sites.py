"""One replica at a time, site by site: any model and layout, sparse or dense couplings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Measured, Request, State, threshold_rows
from isingnpu.dynamics import exponential_tables, thresholds

from . import kernels
from .blocks import Block, Blocks, field_dtype, graph

Array = NDArray[Any]

LAYOUTS = {"lane": kernels.LANE, "plane": kernels.PLANE, "lattice": kernels.LATTICE}


class SitePlan:
    """Spins and cached fields (sites,) of each replica."""

    kernel = "scalar"

    def __init__(self, request: Request) -> None:
        self.request = request
        self.dtype = field_dtype(request.model.quantized.bound)
        self.graph = graph(request)
        self.dense = self._dense()
        self.tiles = _tiles(request)
        self.blocks = Blocks(request, [range(r, r + 1) for r in request.replicas])
        self.parts: list[Block] = []

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        name = request.layout.name
        return None if name in LAYOUTS else f"it has no layout {name!r}"

    def _dense(self) -> Array:
        return np.zeros((0, 0), self.dtype)

    def load(self, state: State) -> None:
        self.parts = self.blocks.split(state, self.dtype, single=True)

    def state(self) -> State:
        return self.blocks.join(self.parts)

    def sweep(
        self,
        betas: Array,
        *,
        first: int,
        every: int = 0,
        weights: Array | None = None,
        track: bool = False,
    ) -> Measured:
        request = self.request
        distinct, rows = threshold_rows(betas, len(request.replicas))
        limit = thresholds(request.dynamics, distinct, request.model.quantized)
        limits = (
            limit.early, limit.table, limit.constant, limit.cutoff, limit.shift,
            exponential_tables(),
        )  # fmt: skip
        rule = (limit.heat_bath, limit.bound, limit.origin)
        draw = (
            np.uint32(request.seed & 0xFFFFFFFF), np.uint32(request.seed >> 32),
            request.rounds, LAYOUTS[request.layout.name], first,
        )  # fmt: skip
        weights = np.zeros((0, request.model.n)) if weights is None else weights
        weights = np.ascontiguousarray(weights, np.float64)
        samples = (first + len(rows)) // every - first // every if every else 0

        def one(block: Block) -> tuple[list[Array], Array]:
            return self._sweep(block, rows, limits, rule, draw, (every, weights, track, samples))

        results = self.blocks.map(one, self.parts)
        energy, magnetization, flips, projections, path = (
            np.concatenate([np.moveaxis(part[k], -1, 0) for part, _ in results])[self.blocks.own]
            for k in range(5)
        )
        return Measured(
            energy=energy,
            magnetization=magnetization,
            flips=flips,
            projections=projections,
            path=path,
            counts=self._counts(len(rows), np.sum([counts for _, counts in results], axis=0)),
        )

    def _sweep(
        self, block: Block, rows: Array, limits: Any, rule: Any, draw: Any, watch: Any
    ) -> tuple[list[Array], Array]:
        every, weights, track, samples = watch
        replica = block.replicas.start
        own = rows[:, 0 if rows.shape[1] == 1 else replica - self.request.replicas.start]
        out = [np.zeros(samples, np.int64) for _ in range(3)]
        projections = np.zeros((samples, len(weights)))
        path = np.zeros(len(rows) if track else 0, np.int64)
        counts = np.zeros(3, np.int64)
        kernels.sweep_sites(
            block.spins, block.field, self.graph, self.dense, self.tiles,
            self.request.layout.colours, limits, np.ascontiguousarray(own), rule, draw, replica,
            block.best, block.energy, block.flips, every, weights, track, (*out, projections),
            path, counts,
        )  # fmt: skip
        return [*(part[:, None] for part in out), projections[:, :, None], path[:, None]], counts

    def _counts(self, sweeps: int, counts: Array) -> Counts:
        visits = sweeps * len(self.request.replicas) * self.request.model.n
        size, couplings = self.dtype.itemsize, int(counts[kernels.COUPLINGS])
        per_coupling = 2 * size + (size if self.dense.size else 8)
        return Counts(
            attempted=visits,
            flips=int(counts[kernels.FLIPS]),
            random_words=4 * int(counts[kernels.CALLS]),
            couplings=couplings,
            bytes=int(visits * (1 + size) + counts[kernels.FLIPS] + couplings * per_coupling),
        )


class DensePlan(SitePlan):
    """The same with a row of couplings per accepted flip."""

    kernel = "dense"

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        if not request.model.is_dense:
            return "fewer than a quarter of all pairs are coupled"
        return SitePlan.obstacle(request)

    def _dense(self) -> Array:
        return _dense_twice(self.request, self.dtype)


def _tiles(request: Request) -> Array:
    """Where the visiting order is cut: (tiles + 1, 4) start, word, row, colour."""
    layout, n = request.layout, request.model.n
    if layout.name != "lattice":
        cuts = [*range(0, n, 256), n] if n > 256 else [0, n]
        return np.array([(a, 0, 0, 0) for a in cuts], np.int64)
    assert layout.colour is not None
    assert layout.row is not None
    assert layout.column is not None
    place = np.stack(
        [layout.column % layout.words, layout.row, layout.colour], axis=1
    )[layout.order]  # fmt: skip
    starts = np.flatnonzero(np.any(np.diff(place, axis=0, prepend=-1), axis=1))
    tiles = np.zeros((len(starts) + 1, 4), np.int64)
    tiles[:-1, 0], tiles[:-1, 1:] = starts, place[starts]
    tiles[-1, 0] = n
    return tiles


def _dense_twice(request: Request, dtype: np.dtype[Any]) -> Array:
    csr, model = request.model.csr, request.model.quantized
    twice = np.zeros((request.model.n, request.model.n), dtype)
    row = np.repeat(np.arange(request.model.n), np.diff(csr.indptr))
    twice[row, csr.indices] = (2 * model.couplings).astype(dtype)  # wraps like the sums it joins
    return twice
