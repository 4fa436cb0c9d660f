"""Replicas as the bits of words: table models of small bound, layout plane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Ladder, Measured, Request, State, threshold_rows
from isingnpu.dynamics import Thresholds, thresholds
from isingnpu.layout import PLANE_BOUND
from isingnpu.rng import W0, W1

from ..limits import leaves, needed
from . import planes_limits, planes_sweep
from .blocks import Blocks
from .planes_code import EARLY, QUEUE, VECTORS, Settle, Tally, Visit
from .planes_graph import BATCH, GROUP, plane_graph

Array = NDArray[Any]
Watch = tuple[int, int, Array, bool]  # sweeps before, every, weights, track

WORDS = 8  # of 64 replicas in a block
CALLS = 4  # of Philox in a visit, two planes each
MAX_BOUND = PLANE_BOUND  # quanta; beyond, a threshold costs more to choose than byte lanes do
CACHE = 1 << 19  # bytes of spins that stay close to the core
SEGMENT = 128  # sweeps whose thresholds are prepared at once


@dataclass(eq=False)
class Block:
    """Replicas that one thread sweeps.

    spins, best: (slots, words) uint64, 1 = up; energy: of best, flips: since the last sample,
    both (lanes,) int64."""

    replicas: range
    spins: Array
    best: Array
    energy: Array
    flips: Array

    @property
    def states(self) -> tuple[Array, Array, Array, Array]:
        """All of it, as the jitted functions take it."""
        return self.spins, self.best, self.energy, self.flips


class PlanePlan:
    """Spins of up to 512 replicas per block, as bits."""

    kernel = "planes"

    def __init__(self, request: Request) -> None:
        self.request = request
        self.graph = plane_graph(request)
        self.blocks = Blocks(request, _ranges(request))
        self.parts: list[Block] = []
        self.entries: dict[int, Array] = {}
        rounds = range(request.rounds)
        low, high = request.seed & 0xFFFFFFFF, request.seed >> 32
        self.keys = np.array(
            [[(low + r * W0) & 0xFFFFFFFF, (high + r * W1) & 0xFFFFFFFF] for r in rounds],
            np.uint64,
        ).ravel()
        self.cuts = np.cumsum([0, *(len(edges) for edges in self.graph.edges)])
        self.edges = np.concatenate(self.graph.edges)
        self.terms = request.model.n, self.edges, self.cuts, self.graph.total
        starts = -np.arange(int(self.graph.visits[:, 1].max(initial=0)) + 1)
        bits = starts[:, None] >> np.arange(self.graph.bits) & 1
        self.starts = np.ascontiguousarray(-bits).astype(np.uint64)
        self.parities = tuple(int(p) for p in np.unique(self.graph.visits[:, 2])) or (0,)

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        if request.layout.name != "plane":
            return f"it has no layout {request.layout.name!r}"
        if request.model.quantized.bound > MAX_BOUND:
            bound = request.model.quantized.bound
            return f"max_i sum_j |J_ij| + |h_i| is {bound} quanta, at most {MAX_BOUND} fit"
        return None

    def load(self, state: State) -> None:
        self.parts = []
        for replicas in self.blocks.ranges:
            own = self._own(replicas)
            first, end = self.blocks.own_lanes(replicas)
            flips = np.zeros(len(replicas), np.int64)
            flips[first:end] = state.flips[own]
            spins = self._packed(state.spins[own], len(replicas), first)
            best = self._packed(state.best[own], len(replicas), first)
            energy = np.empty(len(replicas), np.int64)
            tally = Tally(len(replicas) // 64)
            planes_sweep.energies(
                tally, best, self.edges, self.cuts, self.graph.total,
                np.zeros((16, tally.words), np.uint64), energy,
            )  # fmt: skip
            self.parts.append(Block(replicas, spins, best, energy, flips))

    def _own(self, replicas: range) -> slice:
        """Where a block's replicas stand among those of the request."""
        own = self.request.replicas
        start = max(replicas.start, own.start)
        return slice(start - own.start, max(min(replicas.stop, own.stop), start) - own.start)

    def _packed(self, spins: Array, lanes: int, first: int) -> Array:
        """Words (slots, lanes / 64) of states (replicas, sites); padding lanes are down."""
        n = self.request.model.n
        words = aligned((n + BATCH + GROUP, lanes // 64))
        planes_sweep.pack(np.ascontiguousarray(spins), self.graph.site, first, words)
        return words

    def state(self) -> State:
        replicas = len(self.request.replicas)
        spins, best = (np.empty((replicas, self.request.model.n), np.int8) for _ in range(2))
        flips = np.empty(replicas, np.int64)
        for block in self.parts:
            own, (first, end) = self._own(block.replicas), self.blocks.own_lanes(block.replicas)
            planes_sweep.unpack(block.spins, self.graph.site, first, spins[own])
            planes_sweep.unpack(block.best, self.graph.site, first, best[own])
            flips[own] = block.flips[first:end]
        return State(spins, best, flips)

    def sweep(
        self,
        betas: Array | Ladder,
        *,
        first: int,
        every: int = 0,
        weights: Array | None = None,
        track: bool = False,
    ) -> Measured:
        request = self.request
        distinct, rows = threshold_rows(betas, len(request.replicas))
        limits = thresholds(request.dynamics, distinct, request.model.quantized)
        if weights is None:
            weights = np.zeros((0, request.model.n))
        weights = np.asarray(weights, np.float64)[:, self.graph.site]
        weights = np.ascontiguousarray(np.column_stack([weights, weights.sum(axis=1)]))
        samples = (first + len(rows)) // every - first // every if every else 0

        def one(block: Block) -> tuple[list[Array], tuple[int, int]]:
            lanes = len(block.replicas)
            out: list[Array] = [np.zeros((samples, lanes), np.int64) for _ in range(3)]
            out.append(np.zeros((samples, len(weights), lanes)))
            out.append(np.zeros((len(rows) if track else 0, lanes), np.int64))
            before = block.flips.copy()
            watch = first, every, weights, track
            calls = self._sweep(block, rows, limits, watch, tuple(out))
            flips = block.flips + out[2].sum(axis=0) - before
            begin, end = self.blocks.own_lanes(block.replicas)
            return out, (calls, int(flips[begin:end].sum()))

        results = self.blocks.map(one, self.parts)
        energy, magnetization, flips, projections, path = (
            np.concatenate([np.moveaxis(part[k], -1, 0) for part, _ in results])[self.blocks.own]
            for k in range(5)
        )
        calls, flipped = (sum(count[k] for _, count in results) for k in range(2))
        return Measured(
            energy=energy,
            magnetization=magnetization,
            flips=flips,
            projections=projections,
            path=path,
            counts=self._counts(len(rows), calls, flipped),
        )

    def _sweep(self, block: Block, rows: Array, limits: Thresholds, watch: Watch, out: Any) -> int:
        """All sweeps of one block, into `out`; returns the calls of Philox."""
        tally = Tally(len(block.replicas) // 64)
        graph = self._entries(tally.words), self.graph.visits, self.graph.batches, self.starts
        columns = self.blocks.columns(rows, block.replicas)
        first_word = block.replicas.start // 64
        work = _workspace(tally.words, self.graph.bits + 2)
        calls = 0
        for begin, sizes, masks, patterns in self._segments(columns, limits):
            visit, settle = self._configurations(tally.words, sizes, columns.shape[1] > 1)
            calls += planes_sweep.sweep_planes(
                visit, settle, tally, graph, block.states, (masks, patterns),
                (self.keys, first_word, watch[0] + begin), work, self.terms, watch, out,
            )  # fmt: skip
        return calls

    def _entries(self, words: int) -> Array:
        """The entries with the slot's first word in the place of the slot, and some more that the
        kernel looks ahead to."""
        if words not in self.entries:
            more = np.zeros((EARLY, 2), np.uint32)
            entries = np.concatenate([self.graph.entries, more])
            entries[:, 0] *= np.uint32(words)
            self.entries[words] = entries
        return self.entries[words]

    def _far(self, words: int) -> bool:
        """Whether the spins of a block outgrow the cache close to a core."""
        return 8 * words * self.request.model.n > CACHE

    def _configurations(
        self, words: int, sizes: tuple[int, ...], own: bool
    ) -> tuple[Visit, Settle]:
        graph = self.graph
        shared: dict[str, Any] = {
            "words": words,
            "bits": graph.bits,
            "parity": 2 if len(self.parities) > 1 else self.parities[0],
            "classes": graph.classes,
            "heat_bath": self.request.dynamics.heat_bath,
            "own": own,
            "rounds": self.request.rounds,
            "calls": CALLS,
        }
        start = int(graph.visits[0, 1]) if graph.fixed else 0
        visit = Visit(
            **shared,
            fixed=graph.fixed,
            start=start,
            block=graph.block,
            digits=graph.digits,
            far=self._far(words),
            sizes=sizes,
        )
        return visit, Settle(**shared)

    def _segments(
        self, rows: Array, limits: Thresholds
    ) -> Iterator[tuple[int, tuple[int, ...], Array, Array]]:
        """Runs of sweeps of one variant: begin, classes per call, masks and the pattern of each
        sweep."""
        planes, classes = 2 * CALLS, self.graph.classes
        steps = planes_limits.ladder(classes, CALLS)
        need = needed(limits, classes, self.parities, planes)
        fits = np.stack([np.all(need <= np.repeat(sizes, 2), axis=1) for sizes in steps])
        step = np.argmax(fits, axis=0)[rows].max(axis=1)  # the widest that a sweep needs
        found = leaves(limits, 2 * classes)
        for begin, end in _runs(step):
            used, patterns = np.unique(rows[begin:end], axis=0, return_inverse=True)
            if rows.shape[1] == 1:
                masks = planes_limits.masks(found[used[:, 0]])
            else:
                masks = planes_limits.own_masks(found, used)
            yield begin, steps[step[begin]], masks, patterns.ravel()

    def _counts(self, sweeps: int, calls: int, flips: int) -> Counts:
        words = sum(len(block.replicas) for block in self.parts) // 64
        n, entries = self.request.model.n, len(self.graph.entries)
        return Counts(
            attempted=sweeps * len(self.request.replicas) * n,
            flips=flips,
            random_words=4 * calls,
            couplings=64 * sweeps * words * entries,
            bytes=sweeps * (8 * words * (2 * n + entries) + 8 * entries * len(self.parts)),
        )


def _ranges(request: Request) -> list[range]:
    """Blocks of 2, 4 or 8 whole words that hold the replicas: at least one per thread if there
    are so many words, and as many words more as make a power of two. A visit of 2, 4 and 8 words
    takes about as long as 4 to 7; of a single one, longer than of two."""
    own = request.replicas
    word, stop = own.start // 64, -(-own.stop // 64)
    share = -(-(stop - word) // request.threads)
    ranges: list[range] = []
    while word < stop or not ranges:
        wanted = min(share, WORDS, stop - word)
        words = 1 << max(1, (wanted - 1).bit_length())
        ranges.append(range(64 * word, 64 * (word + words)))
        word += words
    return ranges


def _runs(step: Array) -> Iterator[tuple[int, int]]:
    """Begin and end of the runs of equal values, at most SEGMENT long."""
    edges = np.flatnonzero(np.diff(step, prepend=-1, append=-1))
    for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        for begin in range(a, b, SEGMENT):
            yield begin, min(begin + SEGMENT, b)


def _workspace(words: int, columns: int) -> tuple[Any, ...]:
    """What a sweep needs beside the spins: random state, queue, flips, their counters, and
    `scratch`."""
    return (
        aligned((VECTORS // 8 + words * (1 + 3 * CALLS), 1)).ravel(),
        aligned((columns, QUEUE // 8)),
        aligned((planes_sweep.FLIP_ROWS, words)),
        aligned((16, words)),
        scratch(words),
    )


def scratch(words: int) -> tuple[Array, Array]:
    """What a look needs: counters and the energies of all replicas."""
    return aligned((16, words)), np.zeros(64 * words, np.int64)


def aligned(shape: tuple[int, int]) -> Array:
    """Zero words (slots, words) that begin at a cache line."""
    size = shape[0] * shape[1]
    whole = np.zeros(size + 8, np.uint64)
    skipped = -whole.ctypes.data // 8 % 8
    return whole[skipped : skipped + size].reshape(shape)
