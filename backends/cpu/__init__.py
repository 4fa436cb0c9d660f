"""The numba backend: every model, every layout, threads over replicas.

Kernels: `lanes` holds blocks of up to 128 replicas side by side; `scalar`, `dense` and `lattice`
hold one replica at a time (few reads; dense couplings; layout lattice). Which one runs changes
the speed, never the result.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu import rng
from isingnpu.backend import Counts, Measured, Request, State, threshold_rows
from isingnpu.dynamics import exponential_tables, thresholds

from . import kernels

Array = NDArray[Any]

LANES = 128  # replicas per block: long enough to vectorise, small enough for the L1 cache
MIN_LANES = 8  # below, one replica at a time is quicker
_LAYOUTS = {"lane": kernels.LANE, "plane": kernels.PLANE, "lattice": kernels.LATTICE}


@dataclass(eq=False)
class Block:
    """Replicas that one thread sweeps: lanes side by side, or a single one.

    replicas: global indices of the lanes, some of which may be padding. spins, field and best:
    (sites, lanes), or (sites,) for a single replica; energy: of best, flips: since the last
    sample, both (lanes,).
    """

    replicas: range
    spins: Array
    field: Array
    best: Array
    energy: Array
    flips: Array


class CpuPlan:
    """Spins of the request's replicas in blocks, and the kernel that sweeps them."""

    def __init__(self, request: Request) -> None:
        self.request = request
        model, layout = request.model.quantized, request.layout
        csr = request.model.csr
        self.bound = model.bound
        self.dtype = np.dtype(
            np.int8 if model.bound <= 127 else np.int16 if model.bound <= 32767 else np.int32
        )
        self.graph = (
            layout.order.astype(np.int64),
            csr.indptr.astype(np.int64),
            csr.indices.astype(np.int32),
            model.couplings.astype(np.int32),
            model.fields.astype(np.int32),
        )
        if layout.name == "lattice":
            self.kernel = "lattice"
        elif request.model.is_dense:
            self.kernel = "dense"
        else:
            self.kernel = "lanes" if len(request.replicas) >= MIN_LANES else "scalar"
        self.dense = np.zeros((0, 0), self.dtype)
        if self.kernel == "dense":
            self.dense = _dense_twice(request, self.dtype)
        self.tiles = _tiles(request)
        self.ranges = self._block_ranges()
        self.start = self.ranges[0].start
        self.blocks: list[Block] = []

    def load(self, state: State) -> None:
        spins, best = self._padded(state.spins), self._padded(state.best)  # (sites, lanes)
        fields = _fields(self.request, spins)
        energies = _energies(self.request, best, _fields(self.request, best))
        flips = np.zeros(spins.shape[1], np.int64)
        flips[self._own] = state.flips
        self.blocks = []
        for replicas in self.ranges:
            at = slice(replicas.start - self.start, replicas.stop - self.start)
            lanes = at if self.kernel == "lanes" else at.start
            spin, field, own_best = (
                np.ascontiguousarray(part[:, lanes])
                for part in (spins, fields.astype(self.dtype), best)
            )
            self.blocks.append(
                Block(replicas, spin, field, own_best, energies[at].copy(), flips[at].copy())
            )

    def state(self) -> State:
        flips = np.concatenate([block.flips for block in self.blocks])
        return State(
            self._gather([block.spins for block in self.blocks]),
            self._gather([block.best for block in self.blocks]),
            flips[self._own],
        )

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
            request.rounds, _LAYOUTS[request.layout.name], first,
        )  # fmt: skip
        weights = np.zeros((0, request.model.n)) if weights is None else weights
        weights = np.ascontiguousarray(weights, np.float64)
        samples = (first + len(rows)) // every - first // every if every else 0
        run = self._sweep_lanes if self.kernel == "lanes" else self._sweep_single

        def one(block: Block) -> tuple[list[Array], Array]:
            return run(block, rows, limits, rule, draw, (every, weights, track, samples))

        results = self._map(one)
        energy, magnetization, flips, projections, path = (
            np.concatenate([np.moveaxis(part[k], -1, 0) for part, _ in results])[self._own]
            for k in range(5)
        )
        return Measured(
            energy=energy,
            magnetization=magnetization,
            flips=flips,
            projections=projections,
            path=path,
            counts=self._counts(len(rows), sum(counts for _, counts in results)),
        )

    def _sweep_lanes(
        self, block: Block, rows: Array, limits: Any, rule: Any, draw: Any, watch: Any
    ) -> tuple[list[Array], Array]:
        every, weights, track, samples = watch
        lanes, reads = len(block.replicas), self.request.replicas
        own = (
            max(reads.start - block.replicas.start, 0),
            min(reads.stop - block.replicas.start, lanes),
        )
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
            block.spins, block.field, self.graph, limits, self._lane_rows(rows, block), rule,
            draw, block.replicas.start // share, own, scratch, block.best,
            block.energy, block.flips, every, weights, track, tuple(out), path, counts,
        )  # fmt: skip
        counts[kernels.COUPLINGS] *= lanes
        return [out[0], out[1], out[2], out[3], path], counts

    def _lane_rows(self, rows: Array, block: Block) -> Array:
        """Threshold rows (sweeps, 1 or lanes); padding lanes take the first replica's."""
        if rows.shape[1] == 1:
            return rows
        own = self.request.replicas
        columns = [r - own.start if r in own else 0 for r in block.replicas]
        return np.ascontiguousarray(rows[:, columns])

    def _sweep_single(
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
            block.spins, block.field, self.graph, self.dense, self.tiles, limits,
            np.ascontiguousarray(own), rule, draw, replica, block.best, block.energy,
            block.flips, every, weights, track, (*out, projections), path, counts,
        )  # fmt: skip
        return [*(part[:, None] for part in out), projections[:, :, None], path[:, None]], counts

    def _map(self, one: Callable[[Block], Any]) -> list[Any]:
        threads = min(self.request.threads, len(self.blocks))
        if threads <= 1:
            return [one(block) for block in self.blocks]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(one, self.blocks))

    # Blocks cover the request's replicas, widened to whole Philox groups for the lanes kernel.

    def _block_ranges(self) -> list[range]:
        own = self.request.replicas
        if self.kernel != "lanes":
            return [range(r, r + 1) for r in own]
        share = kernels.WIDTH
        start, stop = own.start // share * share, -(-own.stop // share) * share
        per_thread = -(-(stop - start) // (share * self.request.threads)) * share
        width = min(LANES, per_thread)
        return [range(a, min(a + width, stop)) for a in range(start, stop, width)]

    @property
    def _own(self) -> slice:
        """Where the request's replicas stand among all lanes, padding included."""
        own = self.request.replicas
        return slice(own.start - self.start, own.stop - self.start)

    def _padded(self, spins: Array) -> Array:
        """(sites, lanes of all blocks); padding lanes get their own first spins."""
        whole = range(self.start, self.ranges[-1].stop)
        states = np.empty((spins.shape[1], len(whole)), np.int8)
        if len(whole) > len(spins):
            states[:] = rng.initial_spins(whole, spins.shape[1], self.request.seed).T
        states[:, self._own] = spins.T
        return states

    def _gather(self, parts: list[Array]) -> Array:
        lanes = [
            part.reshape(self.request.model.n, len(block.replicas)).T
            for part, block in zip(parts, self.blocks, strict=True)
        ]
        return np.ascontiguousarray(np.concatenate(lanes)[self._own])

    def _counts(self, sweeps: int, counts: Array) -> Counts:
        visits = sweeps * len(self.request.replicas) * self.request.model.n
        size = self.dtype.itemsize
        couplings = int(counts[kernels.COUPLINGS])
        per_coupling = 2 * size + (size if self.kernel == "dense" else 8 / LANES)
        return Counts(
            attempted=visits,
            flips=int(counts[kernels.FLIPS]),
            random_words=4 * int(counts[kernels.CALLS]),
            couplings=couplings,
            bytes=int(visits * (1 + size) + counts[kernels.FLIPS] + couplings * per_coupling),
        )


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


def _fields(request: Request, states: Array) -> Array:
    """J s + h in quanta, (sites, lanes) int64."""
    csr, model = request.model.csr, request.model.quantized
    matrix = type(csr)((model.couplings, csr.indices, csr.indptr), csr.shape)
    return np.asarray(matrix @ states.astype(np.int64) + model.fields[:, None])


def _energies(request: Request, states: Array, fields: Array) -> Array:
    own = request.model.quantized.fields[:, None]
    return -np.asarray((states * (fields + own)).sum(axis=0)) // 2


class CpuBackend:
    """Always available: numba is a core dependency."""

    name = "cpu"

    def unavailable(self) -> str | None:
        return None

    def plan(self, request: Request) -> CpuPlan:
        return CpuPlan(request)


backend = CpuBackend()
