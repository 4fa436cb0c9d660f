"""What the plans of this backend share: states in blocks of replicas, threads over blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from isingnpu import rng
from isingnpu.backend import Counts, Ladder, Measured, Request, State, threshold_rows

Array = NDArray[Any]
T = TypeVar("T")
R = TypeVar("R")


class Blocks:
    """How the replicas of a request are cut: ranges of lanes, which may reach beyond them.

    Lanes outside the request are padding: they are swept like the others and never reported."""

    def __init__(self, request: Request, ranges: Sequence[range]) -> None:
        self.request, self.ranges = request, list(ranges)
        self.start, self.stop = self.ranges[0].start, self.ranges[-1].stop

    @classmethod
    def of(cls, request: Request, share: int, lanes: int) -> Blocks:
        """Whole groups of `share` replicas in blocks of at most `lanes`, at least one a thread."""
        own = request.replicas
        start, stop = own.start // share * share, -(-own.stop // share) * share
        per_thread = -(-(stop - start) // (share * request.threads)) * share
        width = min(lanes, per_thread)
        return cls(request, [range(a, min(a + width, stop)) for a in range(start, stop, width)])

    @property
    def own(self) -> slice:
        """Where the request's replicas stand among all lanes, padding included."""
        own = self.request.replicas
        return slice(own.start - self.start, own.stop - self.start)

    def lanes(self, block: range) -> slice:
        """Where a block stands among all lanes."""
        return slice(block.start - self.start, block.stop - self.start)

    def own_lanes(self, block: range) -> tuple[int, int]:
        """First and end lane of a block that is no padding."""
        own = self.request.replicas
        first = max(own.start - block.start, 0)
        return first, min(own.stop - block.start, len(block))

    def padded(self, spins: Array) -> Array:
        """(sites, all lanes) from (replicas, sites); padding lanes get their own first spins."""
        whole = range(self.start, self.stop)
        states = np.empty((spins.shape[1], len(whole)), np.int8)
        if len(whole) > len(spins):
            states[:] = rng.initial_spins(whole, spins.shape[1], self.request.seed).T
        states[:, self.own] = spins.T
        return states

    def columns(self, rows: Array, block: range) -> Array:
        """Threshold rows (sweeps, 1 or lanes); padding lanes take the first replica's."""
        if rows.shape[1] == 1:
            return rows
        own = self.request.replicas
        columns = [r - own.start if r in own else 0 for r in block]
        return np.ascontiguousarray(rows[:, columns])

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """function(item) for all items, on as many threads as the request has."""
        threads = min(self.request.threads, len(items))
        if threads <= 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, items))


class Series(NamedTuple):
    """What the lanes of a block saw; lanes are the last axis, which a single replica may drop.

    energy, magnetization, flips (samples, lanes) int64; projections (samples, k, lanes) float64;
    path (sweeps or 0, lanes) int64; see isingnpu.backend.Measured."""

    energy: Array
    magnetization: Array
    flips: Array
    projections: Array
    path: Array


@dataclass(frozen=True, eq=False)
class Task:
    """What a call of `sweep` asks of every block.

    rows (sweeps, 1 or replicas): row of `limits` for each sweep; weights (k, sites) in the order
    of visits; first, every, track: as in isingnpu.backend.Plan."""

    limits: Any
    rows: Array
    first: int
    every: int
    weights: Array
    track: bool


class BlockPlan:
    """A plan whose blocks of replicas are swept one by one, on threads.

    A kernel adds: `order`, in which weights are wanted; `_block`, which makes a block of states;
    `_state`, which reads it; `_limits` of distinct betas; `_sweep`, which sweeps a block and
    writes its series; `_counts`, which reads what the latter counted."""

    kernel: str

    def __init__(self, request: Request, blocks: Blocks) -> None:
        self.request, self.blocks = request, blocks
        self.order = request.layout.order
        self.parts: list[Any] = []

    def _block(self, replicas: range, spins: Array, best: Array, flips: Array) -> Any:
        """The block of these lanes: states (sites, lanes) int8, flips since the last sample."""
        raise NotImplementedError

    def _state(self, block: Any) -> State:
        """The states of a block, padding included."""
        raise NotImplementedError

    def _limits(self, betas: Array, *, shared: bool) -> Any:
        """What decides at distinct betas (k,). shared: all lanes of a sweep have one beta."""
        raise NotImplementedError

    def _sweep(self, block: Any, task: Task, out: Series) -> Array:
        """Sweep a block len(task.rows) times; returns its counts."""
        raise NotImplementedError

    def _counts(self, sweeps: int, counts: Array) -> Counts:
        """The counts of a call from the sum of those of its blocks."""
        raise NotImplementedError

    def load(self, state: State) -> None:
        spins, best = self.blocks.padded(state.spins), self.blocks.padded(state.best)
        flips = np.zeros(spins.shape[1], np.int64)
        flips[self.blocks.own] = state.flips
        self.parts = [
            self._block(replicas, spins[:, at], best[:, at], flips[at])
            for replicas in self.blocks.ranges
            for at in [self.blocks.lanes(replicas)]
        ]

    def state(self) -> State:
        states = [self._state(block) for block in self.parts]
        own = self.blocks.own
        return State(
            np.concatenate([state.spins for state in states])[own],
            np.concatenate([state.best for state in states])[own],
            np.concatenate([state.flips for state in states])[own],
        )

    def sweep(
        self,
        betas: Array | Ladder,
        *,
        first: int,
        every: int = 0,
        weights: Array | None = None,
        track: bool = False,
    ) -> Measured:
        n = self.request.model.n
        distinct, rows = threshold_rows(betas, len(self.request.replicas))
        weights = np.zeros((0, n)) if weights is None else weights
        task = Task(
            limits=self._limits(distinct, shared=rows.shape[1] == 1),
            rows=rows,
            first=first,
            every=every,
            weights=np.ascontiguousarray(np.asarray(weights, np.float64)[:, self.order]),
            track=track,
        )

        def one(block: Any) -> tuple[Series, Array]:
            out = _series(task, len(block.replicas))
            return out, self._sweep(block, task, out)

        results = self.blocks.map(one, self.parts)
        whole = Series(*(
            np.concatenate([np.moveaxis(part, -1, 0) for part in parts])[self.blocks.own]
            for parts in zip(*(out for out, _ in results), strict=True)
        ))  # fmt: skip
        counts = np.sum([counts for _, counts in results], axis=0)
        return Measured(**whole._asdict(), counts=self._counts(len(rows), counts))


def _series(task: Task, lanes: int) -> Series:
    sweeps = len(task.rows)
    samples = (task.first + sweeps) // task.every - task.first // task.every if task.every else 0
    energy, magnetization, flips = (np.zeros((samples, lanes), np.int64) for _ in range(3))
    projections = np.zeros((samples, len(task.weights), lanes))
    path = np.zeros((sweeps if task.track else 0, lanes), np.int64)
    return Series(energy, magnetization, flips, projections, path)


def field_dtype(bound: int) -> np.dtype[Any]:
    """The narrowest integers that hold every local field."""
    return np.dtype(np.int8 if bound <= 127 else np.int16 if bound <= 32767 else np.int32)


def fields(request: Request, states: Array) -> Array:
    """J s + h in quanta, (sites, lanes) int64."""
    csr, model = request.model.csr, request.model.quantized
    matrix = type(csr)((model.couplings, csr.indices, csr.indptr), csr.shape)
    return np.asarray(matrix @ states.astype(np.int64) + model.fields[:, None])


def energies(request: Request, states: Array, local: Array) -> Array:
    """E in quanta without the offset from states and their fields (sites, lanes): (lanes,)."""
    own = request.model.quantized.fields[:, None]
    return -np.asarray((states * (local + own)).sum(axis=0)) // 2


def graph(request: Request) -> tuple[Array, Array, Array, Array, Array]:
    """(order, indptr, indices, couplings, fields) as the kernels take them."""
    model, csr = request.model.quantized, request.model.csr
    return (
        request.layout.order.astype(np.int64),
        csr.indptr.astype(np.int64),
        csr.indices.astype(np.int32),
        model.couplings.astype(np.int32),
        model.fields.astype(np.int32),
    )
