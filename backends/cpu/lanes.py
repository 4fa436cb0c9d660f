"""Replicas as the lanes of byte vectors: any model, layouts lane and plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Measured, Request, State, threshold_rows
from isingnpu.dynamics import exponential_tables, thresholds

from . import kernels
from .blocks import Block, Blocks, field_dtype, graph

Array = NDArray[Any]

LANES = 128  # replicas per block: long enough to vectorise, small enough for the L1 cache
LAYOUTS = {"lane": kernels.LANE, "plane": kernels.PLANE}


class LanePlan:
    """Spins and cached fields (sites, lanes) of up to 128 replicas per block."""

    kernel = "lanes"

    def __init__(self, request: Request) -> None:
        self.request = request
        self.dtype = field_dtype(request.model.quantized.bound)
        self.graph = graph(request)
        self.blocks = Blocks.of(request, kernels.WIDTH, LANES)
        self.parts: list[Block] = []

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        if request.layout.name not in LAYOUTS:
            return f"it has no layout {request.layout.name!r}"
        return None

    def load(self, state: State) -> None:
        self.parts = self.blocks.split(state, self.dtype, single=False)

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
        lanes = len(block.replicas)
        share = 16 if draw[3] == kernels.LANE else 64
        words, open_eights = np.zeros(lanes // 4, np.uint32), np.zeros(lanes // 8, np.uint64)
        change = np.zeros(lanes, self.dtype)
        scratch = (
            words.view(np.uint8), words, np.zeros(lanes, np.uint8), open_eights.view(np.uint8),
            open_eights, change, change.view(np.uint64), np.zeros(lanes, np.uint8),
        )  # fmt: skip
        out = [np.zeros((samples, lanes), np.int64) for _ in range(3)]
        out.append(np.zeros((samples, len(weights), lanes)))
        path = np.zeros((len(rows) if track else 0, lanes), np.int64)
        counts = np.zeros(3, np.int64)
        kernels.sweep_lanes(
            block.spins, block.field, self.graph, limits,
            self.blocks.columns(rows, block.replicas), rule, draw,
            block.replicas.start // share, self.blocks.own_lanes(block.replicas), scratch,
            block.best, block.energy, block.flips, every, weights, track, tuple(out), path, counts,
        )  # fmt: skip
        counts[kernels.COUPLINGS] *= lanes
        return [out[0], out[1], out[2], out[3], path], counts

    def _counts(self, sweeps: int, counts: Array) -> Counts:
        visits = sweeps * len(self.request.replicas) * self.request.model.n
        size = self.dtype.itemsize
        couplings = int(counts[kernels.COUPLINGS])
        return Counts(
            attempted=visits,
            flips=int(counts[kernels.FLIPS]),
            random_words=4 * int(counts[kernels.CALLS]),
            couplings=couplings,
            bytes=int(
                visits * (1 + size) + counts[kernels.FLIPS] + couplings * (2 * size + 8 / LANES)
            ),
        )
