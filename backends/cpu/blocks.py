"""What the plans of this backend share: states in blocks of replicas, threads over blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from isingnpu import rng
from isingnpu.backend import Request, State

Array = NDArray[Any]
T = TypeVar("T")
R = TypeVar("R")


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

    # Blocks of spins, fields and best states as arrays of one dtype.

    def split(self, state: State, dtype: np.dtype[Any], *, single: bool) -> list[Block]:
        """The state in blocks; single: without the axis of lanes."""
        spins, best = self.padded(state.spins), self.padded(state.best)  # (sites, lanes)
        local = fields(self.request, spins).astype(dtype)
        energy = energies(self.request, best, fields(self.request, best))
        flips = np.zeros(spins.shape[1], np.int64)
        flips[self.own] = state.flips
        made = []
        for replicas in self.ranges:
            at = self.lanes(replicas)
            lanes = at.start if single else at
            spin, field, own_best = (
                np.ascontiguousarray(part[:, lanes]) for part in (spins, local, best)
            )
            made.append(
                Block(replicas, spin, field, own_best, energy[at].copy(), flips[at].copy())
            )
        return made

    def join(self, blocks: Sequence[Block]) -> State:
        """The state that the blocks hold."""
        n, own = self.request.model.n, self.own

        def lanes(parts: list[Array]) -> Array:
            rows = [
                part.reshape(n, len(block.replicas)).T
                for part, block in zip(parts, blocks, strict=True)
            ]
            return np.ascontiguousarray(np.concatenate(rows)[own])

        return State(
            lanes([block.spins for block in blocks]),
            lanes([block.best for block in blocks]),
            np.concatenate([block.flips for block in blocks])[own],
        )


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
