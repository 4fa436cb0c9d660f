"""Replicas as the bits of words: table models of small bound, layout plane; kernels/planes.cu."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Ladder, Request, threshold_rows
from isingnpu.dynamics import Thresholds, thresholds
from isingnpu.layout import PLANE_BOUND

from ..limits import leaves, needed
from .calls import Series
from .device import Code, Device, Properties, filled, require, scalars
from .planes_lists import BITS, PlaneLists, plane_lists
from .replicas import LANE_BYTES, PIECE, WEIGHED, ReplicaPlan

Array = NDArray[Any]

MAX_THREADS = 512  # of a block, as in planes.cu: one of them fits on any multiprocessor
WORTH_SPLITTING = 4 * MAX_THREADS  # threads that a level asks for
DEEP = 12  # planes of a tally, as in planes.cu
MOST_TOTAL = 1 << 30  # unsatisfied terms of a block are counted in 32 bits


@dataclass(frozen=True)
class Shape:
    """words: of 64 replicas that a group of blocks owns; threads: of a block; blocks: of a
    group."""

    words: int
    threads: int
    blocks: int

    @classmethod
    def choose(cls, device: Properties, words: int, sites_per_level: float) -> Shape:
        """Groups as large as keeps all multiprocessors busy, and not below a memory sector of
        four words where there are so many; several blocks share a group where its levels hold
        work for them, since a barrier between blocks takes microseconds."""
        own = next((w for w in (16, 8) if words >= w * device.processors), 4)
        if sites_per_level * own < WORTH_SPLITTING:  # many blocks rather than large ones
            own = next((w for w in (16, 8, 4, 2) if words >= w * device.processors), 1)
        own = min(own, 1 << max(0, (words - 1).bit_length()))
        wanted = int(np.ceil(sites_per_level)) * own
        threads = min(MAX_THREADS, -(-max(wanted, 1) // 32) * 32)
        blocks = 1
        if wanted >= WORTH_SPLITTING:
            groups = -(-words // own)
            blocks = max(1, min(-(-wanted // MAX_THREADS), device.processors // groups))
        return cls(own, threads, blocks)


class PlanePlan(ReplicaPlan):
    """Spins of 64 replicas as the bits of a word, (groups, n + 1, words) on the device."""

    kernel = "planes"

    def __init__(self, request: Request, device: Device, shape: Shape | None = None) -> None:
        super().__init__(request, device)
        self.lists = plane_lists(request)
        self.order = self.lists.order
        self.start = request.replicas.start // 64 * 64
        words = max(1, -(-(request.replicas.stop - self.start) // 64))
        mean = request.model.n / max(1, len(self.lists.levels) - 1)
        self.shape = shape or Shape.choose(device.properties, words, mean)
        self.groups = -(-words // self.shape.words)
        self.words = self.groups * self.shape.words
        self.lanes = 64 * self.words
        self._require(request.model.n)
        put, lists = device.put, self.lists
        self.model = [
            put(filled(part))
            for part in (lists.place, lists.pairs, lists.entries, lists.edges, lists.cuts)
        ]
        self.levels = put(lists.levels)
        self.sites = put(self.order.astype(np.uint32))
        self.code, self.own_code = (
            self.code_of(request, lists, self.shape, own=own) for own in (False, True)
        )

    @property
    def codes(self) -> tuple[Code, ...]:
        """All that is compiled for the request."""
        return self.code, self.own_code

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        if request.dynamics.moves_clusters:
            return "it moves single spins"
        if request.layout.name != "plane":
            return f"it has no layout {request.layout.name!r}"
        model = request.model.quantized
        if model.bound > PLANE_BOUND:
            return f"max_i sum_j |J_ij| + |h_i| is {model.bound} quanta, at most {PLANE_BOUND} fit"
        total = int(np.abs(model.couplings).sum()) // 2 + int(np.abs(model.fields).sum())
        if total > MOST_TOTAL:
            return f"sum_(i<j) |J_ij| + sum_i |h_i| is {total} quanta, at most {MOST_TOTAL} fit"
        return None

    @staticmethod
    def code_of(request: Request, lists: PlaneLists, shape: Shape, *, own: bool) -> Code:
        """What is compiled for a request; own: replicas have betas of their own."""
        return Code.of(
            "planes.cu",
            WORDS=shape.words,
            BITS=lists.bits,
            DIGITS=lists.digits,
            CALLS=calls_of(lists),
            OWN=own,
            SPLIT=shape.blocks > 1,
            ROUNDS=request.rounds,
            HEAT_BATH=request.dynamics.heat_bath,
        )

    def _require(self, n: int) -> None:
        lists, shape = self.lists, self.shape
        model = (lists.place, lists.pairs, lists.entries, lists.edges)
        fixed = sum(part.nbytes for part in model) + 4 * n + 4 * 8 * PIECE

        def cost(reads: int) -> int:
            # spins, best states and flips, and states on their way to or from the host
            groups = self._lanes_of(reads, 64 * shape.words) // (64 * shape.words)
            held = 8 * DEEP * shape.blocks * shape.threads + 64 * LANE_BYTES * shape.words
            return fixed + groups * (3 * 8 * (n + 1) * shape.words + held) + n * reads

        require(self.device, cost, len(self.request.replicas), f"a model of {n} sites")

    def _launch(
        self, name: str, grid: tuple[int, ...], threads: int, *args: Any, own: bool = False
    ) -> None:
        code = self.own_code if own else self.code
        together = name == "sweep" and self.shape.blocks > 1
        self.device.kernel(code, name)(grid, (threads,), args, together=together)

    # States

    def _empty_states(self) -> Any:
        return self.device.zeros(((len(self.order) + 1) * self.words,), np.uint64)

    def _copy(self, kernel: str, given: Any, made: Any) -> None:
        n, replicas = len(self.order), len(self.request.replicas)
        blocks = min(-(-n * self.words // 256), 32 * self.device.properties.processors)
        self._launch(
            kernel, (blocks,), 256, given, made, self.sites,
            *scalars(n, replicas, self.first, self.words),
        )  # fmt: skip

    def _measure(self, spins: str, energy: str) -> None:
        n, edges = len(self.order), self.lists.edges
        blocks = len(edges) * self.shape.words // (8 * 256)
        made = self.device.put(np.full(self.lanes, -self.lists.total))
        self._launch(
            "measure", (max(1, min(blocks, 4 * self.device.properties.processors)), self.groups),
            256, self.memory[spins], made, *self.model[3:], *scalars(n),
        )  # fmt: skip
        self.memory[energy] = made

    def energies_on_device(self) -> Any:
        """(replicas,) int64 in quanta, offset not included: an array of the device."""
        self._measure("spins", "now")
        return super().energies_on_device()

    # Sweeps

    def _numbers(self, columns: int) -> int:
        sides = 2 if self.request.dynamics.heat_bath else 1
        leaf = (sides << self.lists.bits) * 2 * calls_of(self.lists)  # both parities, all planes
        width = 2 * self.request.model.quantized.bound + 1
        return columns * width + leaf * (1 if columns == 1 else self.words)

    def _sweep(
        self, betas: Array | Ladder, first: int, every: int, track: bool
    ) -> tuple[Series, tuple[int, int]]:
        put, zeros, empty, memory = (
            self.device.put, self.device.zeros, self.device.empty, self.memory,
        )  # fmt: skip
        request, n, lists, shape = self.request, len(self.order), self.lists, self.shape
        distinct, rows = threshold_rows(betas, len(request.replicas))
        limits = thresholds(request.dynamics, distinct, request.model.quantized)
        depths = self._depths(limits, rows)
        sweeps, own = len(rows), rows.shape[1] > 1 or type(rows) is not np.ndarray
        if own:
            masks, patterns = self._own_masks(limits, rows)
            rows = self._wide(rows)
        else:
            masks, patterns = self._masks(limits, rows)
        series, samples = self._series(sweeps, first, every, track)
        total, counts = zeros((self.lanes,), np.int64), zeros((1,), np.uint64)
        threads = self.groups * shape.blocks * shape.threads
        self._launch(
            "sweep", (shape.blocks, self.groups), shape.threads,
            memory["spins"], memory["best"], empty(((n + 1) * self.words,), np.uint64),
            empty((DEEP * threads,), np.uint64), put(np.full(self.lanes, -lists.total)),
            memory["lowest"], put(np.full(self.lanes, -n)), memory["since"], total, *self.model,
            self.levels, *scalars(len(lists.levels) - 1, n), np.int64(lists.total),
            put(limits.table), *scalars(limits.table.shape[1]), np.int32(limits.bound),
            put(masks), put(patterns), put(depths), put(rows),
            *scalars(rows.shape[1], sweeps), np.uint64(request.seed),
            *scalars(self.start // 64, first, every, track), *series, counts,
            zeros((self.groups,), np.uint32), own=own,
        )  # fmt: skip
        flips = int(self.device.get(total)[self._own].sum())
        seen = self._seen(series, samples, sweeps if track else 0)
        return seen, (flips, int(self.device.get(counts)[0]))

    def _masks(self, limits: Thresholds, rows: Array) -> tuple[Array, Array]:
        """Bits of thresholds (betas, 2 parities, planes, sides, classes) as masks of 32 bits, and
        the beta of each sweep."""
        by_class = self._leaves(limits)
        shift = np.arange(63, 63 - 2 * calls_of(self.lists), -1).astype(np.uint64)[:, None, None]
        bits = by_class[:, :, None] >> shift & np.uint64(1)
        return np.uint32(0) - bits.astype(np.uint32), rows[:, 0].astype(np.uint32)

    def _own_masks(self, limits: Thresholds, rows: Any) -> tuple[Any, Array]:
        """Bits of the thresholds of all lanes, (patterns, 2 parities, planes, sides, classes,
        words of 64), made on the device; and the pattern of each sweep."""
        if type(rows) is np.ndarray:
            rows, patterns = np.unique(rows, axis=0, return_inverse=True)
        else:  # the same for all sweeps, see `Ladder`
            rows, patterns = rows[:1], np.zeros(len(rows), np.int64)
        found = self._leaves(limits)
        planes, number = 2 * calls_of(self.lists), len(rows) * found[0].size * self.words
        masks = self.device.empty((number * planes,), np.uint64)
        blocks = min(-(-number // 256), 32 * self.device.properties.processors)
        self._launch(
            "own_masks", (blocks,), 256, self.device.put(found), self._wide(rows), masks,
            *scalars(len(rows), self.words), own=True,
        )  # fmt: skip
        return masks, patterns.ravel().astype(np.uint32)

    def _leaves(self, limits: Thresholds) -> Array:
        """Thresholds (betas, 2 parities, sides, classes)."""
        classes = 1 << self.lists.bits - 1
        found = leaves(limits, 2 * classes).reshape(len(limits.table), classes, 2, -1)
        return np.ascontiguousarray(found.transpose(0, 2, 3, 1))

    def _depths(self, limits: Thresholds, rows: Any) -> Array:
        """(sweeps,) bits of the class that the first planes depend on, at least 1."""
        classes, planes = 1 << self.lists.bits - 1, 2 * calls_of(self.lists)
        need = needed(limits, classes, self.lists.parities, planes).max(axis=1)
        depth = [max(1, int(most - 1).bit_length()) if most else 1 for most in need]
        if type(rows) is not np.ndarray:
            return np.full(len(rows), max(depth), np.uint32)
        return np.asarray(np.array(depth, np.uint32)[rows].max(axis=1))

    def _weigh(self, k: int, pieces: int, partial: Any) -> None:
        self._launch(
            "weigh", (pieces, self.words, k), 64, self.memory["spins"], self.weights, partial,
            *scalars(len(self.order), WEIGHED),
        )  # fmt: skip

    def _counts(self, sweeps: int, flips: int, drawn: int) -> Counts:
        n, entries = len(self.order), self.lists.entries.size
        visits = sweeps * n * self.words
        return Counts(
            attempted=sweeps * n * len(self.request.replicas),
            flips=flips,
            random_words=4 * (calls_of(self.lists) * visits + drawn),
            couplings=64 * sweeps * self.words * entries,
            bytes=visits * (24 + 16 + 4 * self.lists.digits) + sweeps * self.words * 12 * entries,
        )


def calls_of(lists: PlaneLists) -> int:
    """Calls of Philox for every word: with few classes a plane costs less than what it spares,
    replicas that are finished one by one while their warp waits."""
    return 6 if lists.bits == BITS[0] else 5
