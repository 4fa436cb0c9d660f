"""Replicas as the bits of a row and the lanes of vectors: any model, layouts lane and plane."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Request, State

from . import lanes_sweep
from .blocks import BlockPlan, Blocks, Series, Task, field_dtype, graph
from .kernels import CALLS, FLIPS
from .lanes_code import EARLY, ESTIMATE, UNIT, Lanes
from .lanes_limits import Limits, lane_limits, round_keys

Array = NDArray[Any]

LANES = 128  # replicas of a block; more do not make a visit cheaper per lane
CACHE = 1 << 19  # bytes of rows that stay close to the core


@dataclass(eq=False)
class LaneBlock:
    """Replicas that one thread sweeps.

    replicas: global indices, some of which may be padding; order: their place by lane; own: 0
    for padding. spins, best: (sites, lanes / 64) uint64, rows in the order of visits, 1 is down;
    now, energy: of both; flips: since the last sample, all (lanes,) int64; stale: whether `now` is
    not known."""

    replicas: range
    order: Array
    own: Array
    spins: Array
    best: Array
    now: Array
    energy: Array
    flips: Array
    stale: bool

    @property
    def lanes(self) -> int:
        return len(self.replicas)


class Rows:
    """The model as visits read it: row q belongs to site `order[q]`.

    sites (rows + padding,) uint64; starts (rows,): field and sum of couplings; first (rows + 1,)
    and entries (couplings,) uint64: byte offset of the neighbour's row and -2 J repeated to 32
    bits; fields (rows,); values: all that a local field can be."""

    def __init__(self, request: Request, width: int) -> None:
        order, indptr, indices, couplings, fields = graph(request)
        n = self.n = len(order)
        self.order, self.width = order, width
        row_of = np.empty(n, np.int64)
        row_of[order] = np.arange(n)
        degree = np.diff(indptr)
        totals = np.bincount(np.repeat(np.arange(n), degree), couplings, n).astype(np.int64)
        bounds = np.bincount(np.repeat(np.arange(n), degree), abs(couplings), n).astype(np.int64)
        self.fields = fields[order].astype(np.int64)
        self.starts = self.fields + totals[order]
        self.bounds = (bounds + abs(fields))[order]
        self.first = np.concatenate([[0], np.cumsum(degree[order])]).astype(np.int64)
        gather = np.repeat(indptr[order] - self.first[:-1], degree[order])
        gather += np.arange(len(indices))
        self.neighbours = row_of[indices[gather]].astype(np.uint64)
        self.twice = _repeated(-2 * couplings[gather].astype(np.int64), width)
        self.sites = np.concatenate([order, np.zeros(32)]).astype(np.uint64)

    def graph(self, lanes: int) -> tuple[Array, ...]:
        """What the jitted functions take, for rows of this many lanes."""
        entries = self.neighbours * np.uint64(lanes // 8) | self.twice << np.uint64(32)
        entries = np.concatenate([entries, np.zeros(EARLY, np.uint64)])
        return self.sites, self.starts, self.first, entries, self.fields

    @cached_property
    def values(self) -> Array:
        """All values of h that a site can have: from -bound to bound in steps of 2."""
        reached = [np.arange(-b, b + 1, 2) for b in np.unique(self.bounds)]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *reached]))


def _repeated(numbers: Array, width: int) -> Array:
    """The lowest `width` bits of each number, repeated to fill 32, as uint64."""
    low = numbers.astype(np.uint64) & np.uint64((1 << width) - 1)
    return low * np.uint64(sum(1 << at for at in range(0, 32, width)))


class LanePlan(BlockPlan):
    """Spins as bits, up to 128 replicas per block; fields are summed at every visit."""

    kernel = "lanes"

    def __init__(self, request: Request) -> None:
        super().__init__(request, Blocks.of(request, UNIT, LANES))
        self.width = 8 * field_dtype(request.model.quantized.bound).itemsize
        self.rows = Rows(request, self.width)
        self.graphs = {n: self.rows.graph(n) for n in {len(r) for r in self.blocks.ranges}}
        self.keys = round_keys(request.seed, request.rounds)

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        if request.layout.name not in ("lane", "plane"):
            return f"it has no layout {request.layout.name!r}"
        return None

    def _code(self, lanes: int, form: int) -> Lanes:
        heat_bath = self.request.dynamics.heat_bath
        plane, far = self.request.layout.name == "plane", self.rows.n * lanes // 8 > CACHE
        return Lanes(lanes, self.width, form, heat_bath, plane, far)

    def _block(self, replicas: range, spins: Array, best: Array, flips: Array) -> LaneBlock:
        config = self._code(len(replicas), ESTIMATE)
        order = config.order
        own = np.zeros(len(replicas), np.int64)
        own[slice(*self.blocks.own_lanes(replicas))] = 1
        rows = [
            np.ascontiguousarray(
                np.packbits(states[self.order][:, order] < 0, axis=1, bitorder="little")
            ).view(np.uint64)
            for states in (spins, best)
        ]
        energy = np.zeros(len(replicas), np.int64)
        block = LaneBlock(
            replicas, order, own[order], rows[0], rows[1],
            energy.copy(), energy, flips[order], stale=True,
        )  # fmt: skip
        lanes_sweep.energies(config, block.best, self.graphs[block.lanes], block.energy)
        return block

    def _state(self, block: LaneBlock) -> State:
        spins, best = (self._unpacked(block, rows) for rows in (block.spins, block.best))
        return State(spins, best, _by_replica(block, block.flips))

    def _unpacked(self, block: LaneBlock, rows: Array) -> Array:
        """(replicas, sites) int8 from rows of bits."""
        bits = np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little")
        spins = np.empty((block.lanes, self.rows.n), np.int8)
        spins[block.order[:, None], self.order] = 1 - 2 * bits.T.astype(np.int8)
        return spins

    def _limits(self, betas: Array, *, shared: bool) -> Limits:
        values = self.rows.values if self.width == 8 else None
        return lane_limits(self.request, betas, values, shared=shared)

    def _sweep(self, block: LaneBlock, task: Task, out: Series) -> Array:
        limits, graph = task.limits, self.graphs[block.lanes]
        config = self._code(block.lanes, limits.form)
        watched = task.track or task.every > 0
        if watched and block.stale:
            lanes_sweep.energies(config, block.spins, graph, block.now)
        block.stale = not watched
        columns = self.blocks.columns(task.rows, block.replicas)
        if columns.shape[1] > 1:
            columns = np.ascontiguousarray(columns[:, block.order])
        share = 64 if config.plane else 16
        counts = np.zeros(3, np.int64)
        lanes_sweep.sweep(
            config, (block.spins, block.best, block.now, block.energy, block.flips),
            graph, limits.exact, limits.bound, limits.bytes_, limits.values, limits.slopes,
            columns, block.order, block.own,
            (self.keys, block.replicas.start // share, task.first),
            _scratch(config, len(limits.values)),
            (watched, task.every, task.weights, task.track), out, counts,
        )  # fmt: skip
        for part in out:
            part[:] = _by_replica(block, part)
        return counts

    def _counts(self, sweeps: int, counts: Array) -> Counts:
        visits = sweeps * len(self.request.replicas) * self.rows.n
        couplings = sweeps * len(self.rows.neighbours) * (self.blocks.stop - self.blocks.start)
        return Counts(
            attempted=visits,
            flips=int(counts[FLIPS]),
            random_words=4 * int(counts[CALLS]),
            couplings=couplings,
            bytes=visits // 4 + couplings // 8 + couplings * 8 // LANES,
        )


def _by_replica(block: LaneBlock, lanes: Array) -> Array:
    """The last axis in the order of replicas."""
    out = np.empty_like(lanes)
    out[..., block.order] = lanes
    return out


def _scratch(config: Lanes, values: int) -> tuple[Array, ...]:
    """(open lanes, their v or h, flip counts, sums of v, chain), see `lanes_code.visit`."""
    lanes, size = config.lanes, config.width // 8
    work = np.zeros(64 + lanes * size, np.uint8)
    tally = np.zeros(lanes * (1 + 2 * size), np.uint8)
    chain = np.zeros(64 + values * (64 + 2 * lanes), np.uint8)
    chain[:8].view(np.int64)[0] = values
    return (
        work[:64].view(np.uint64), work[64:].view(f"i{size}"),
        tally[:lanes], tally[lanes:].view(f"i{min(8, 2 * size)}"),
        chain[64:].reshape(values, 64 + 2 * lanes),
    )  # fmt: skip
