"""Replicas as the bytes of words: any model, every layout; kernels/lanes.cu."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Measured, Request, State, threshold_rows

from ..cpu.lanes_estimate import estimates
from ..cpu.lanes_limits import exact_limits
from .device import Code, Device, Properties, require, scalars
from .levels import levels

Array = NDArray[Any]

DRAWS = {"lane": 0, "plane": 1, "lattice": 2, "shared": 3}
UNIT = 16  # replicas that share a Philox call
MAX_THREADS = 768  # of a block, as in lanes.cu: one of them fits on any multiprocessor
WORTH_SPLITTING = 4 * MAX_THREADS  # threads that a level asks for
NARROW = 127
PIECE = 1 << 24  # numbers in the larger arrays of one launch
WEIGHED = 1024  # sites that one thread weighs


@dataclass(frozen=True)
class Shape:
    """lanes: replicas that a group of blocks owns; threads: of a block; blocks: of a group."""

    lanes: int
    threads: int
    blocks: int

    @classmethod
    def choose(cls, device: Properties, replicas: int, sites_per_level: float) -> Shape:
        """Groups as large as keeps all multiprocessors busy; several blocks share a group where
        its levels hold work for them, since a barrier between blocks takes microseconds."""
        lanes = next((w for w in (128, 64) if replicas >= w * device.processors), 32)
        lanes = min(lanes, -(-replicas // UNIT) * UNIT) if replicas <= 32 else lanes
        groups = -(-replicas // lanes)
        wanted = int(np.ceil(sites_per_level / 4)) * lanes // 4
        threads = min(MAX_THREADS, -(-max(wanted, 1) // 32) * 32)
        blocks = 1
        if wanted >= WORTH_SPLITTING:
            blocks = max(1, min(-(-wanted // MAX_THREADS), device.processors // groups))
        return cls(lanes, threads, blocks)


class LanePlan:
    """Spins as bytes on the device; a launch sweeps until the spins themselves are asked for.

    Rows of the state are sites sorted by level. Lanes beyond the request are padding: they are
    swept like the others and never reported."""

    kernel = "lanes"

    def __init__(self, request: Request, device: Device, shape: Shape | None = None) -> None:
        self.request, self.device = request, device
        model, n = request.model.quantized, request.model.n
        csr, order = request.model.csr, request.layout.order
        level = levels(csr.indptr, csr.indices, order)
        self.order = order[np.argsort(level[order], kind="stable")]
        sizes = np.bincount(level)
        mean = n / max(1, len(sizes))
        self.start = request.replicas.start // UNIT * UNIT
        self.first = request.replicas.start - self.start
        self.shape = shape or Shape.choose(
            device.properties, request.replicas.stop - self.start, mean
        )
        self.groups = -(-(request.replicas.stop - self.start) // self.shape.lanes)
        self.lanes = self.groups * self.shape.lanes
        self.levels = np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint32)
        self._require(n, csr.nnz)
        self.code = self.code_of(request, self.shape)
        self._send_model(model, csr)
        self.memory: dict[str, Any] = {}

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        return "it moves single spins" if request.dynamics.moves_clusters else None

    @staticmethod
    def code_of(request: Request, shape: Shape) -> Code:
        """What is compiled for a request."""
        model = request.model.quantized
        return Code.of(
            "lanes.cu",
            LANES=shape.lanes,
            DRAWS=DRAWS[request.layout.name],
            ROUNDS=request.rounds,
            HEAT_BATH=request.dynamics.heat_bath,
            TABLE=model.table,
            NARROW=model.bound <= NARROW,
            SPLIT=shape.blocks > 1,
        )

    def _require(self, n: int, nnz: int) -> None:
        whole = self.request.replicas
        per_read = 3 * n  # spins, best states, and states on their way to or from the host
        fixed = 28 * n + 8 * nnz + 3 * n * (self.lanes - len(whole)) + 4 * 8 * PIECE
        require(self.device, fixed, per_read, len(whole), f"a model of {n} sites")

    def _send_model(self, model: Any, csr: Any) -> None:
        put, order, n = self.device.put, self.order, len(self.order)
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
        self.places = put(self._places())
        self.starts = put(starts.astype(np.int32))
        self.fields = put(model.fields[order].astype(np.int32))
        self.firsts = put(firsts.astype(np.uint32))
        self.entries = put(entries)
        self.level_ends = put(self.levels)
        self.sites = put(order.astype(np.uint32))

    def _places(self) -> Array:
        """(n, 4) uint32, see `place_of` in draws.cuh."""
        layout, n = self.request.layout, len(self.order)
        places = np.zeros((n, 4), np.uint32)
        if layout.name != "lattice":
            places[:, 0] = self.order
            return places
        assert layout.colour is not None
        assert layout.row is not None
        assert layout.column is not None
        column = layout.column[self.order]
        places[:, 0] = column % layout.words
        places[:, 1] = layout.row[self.order]
        places[:, 2] = layout.colour[self.order]
        places[:, 3] = column // layout.words
        return places

    def _launch(self, name: str, grid: tuple[int, ...], threads: int, *args: Any) -> None:
        together = name == "sweep" and self.shape.blocks > 1
        self.device.kernel(self.code, name)(grid, (threads,), args, together=together)

    # States

    def load(self, state: State) -> None:
        zeros = self.device.zeros
        size = self.lanes * len(self.order)
        self.memory = {
            "spins": zeros((size,), np.uint8),
            "best": zeros((size,), np.uint8),
            **{k: zeros((self.lanes,), np.int64) for k in ("now", "lowest", "up", "best_up")},
        }
        for name, states in (("spins", state.spins), ("best", state.best)):
            given = states if hasattr(states, "__cuda_array_interface__") else np.asarray(states)
            self._copy("pack", self.device.put(given), self.memory[name])
        since = np.zeros(self.lanes, np.int64)
        since[self._own] = state.flips
        self.memory["since"] = self.device.put(since)
        self._measure("spins", "now", "up")
        self._measure("best", "lowest", "best_up")

    def state(self) -> State:
        flips = self.device.get(self.memory["since"])[self._own]
        return State(self._unpacked("spins"), self._unpacked("best"), flips)

    @property
    def _own(self) -> slice:
        """The lanes of the request's replicas."""
        return slice(self.first, self.first + len(self.request.replicas))

    def spins_on_device(self) -> Any:
        """(replicas, sites) int8, an array of the device; a GPU's has `__dlpack__` and
        `__cuda_array_interface__`."""
        made = self.device.empty((len(self.request.replicas), len(self.order)), np.int8)
        self._copy("unpack", self.memory["spins"], made)
        return made

    def _unpacked(self, name: str) -> Array:
        made = self.device.empty((len(self.request.replicas), len(self.order)), np.int8)
        self._copy("unpack", self.memory[name], made)
        return self.device.get(made)

    def _copy(self, kernel: str, given: Any, made: Any) -> None:
        n, replicas = len(self.order), len(self.request.replicas)
        if n * replicas == 0:
            return
        blocks = min(-(-n * replicas // 256), 32 * self.device.properties.processors)
        self._launch(
            kernel, (blocks,), 256, given, made, self.sites, *scalars(n, replicas, self.first)
        )

    def _measure(self, spins: str, energy: str, up: str) -> None:
        n, memory = len(self.order), self.memory
        if n == 0:
            return
        doubled = self.device.zeros((self.lanes,), np.int64)
        blocks = max(
            1, min(n * self.shape.lanes // 4 // 256, 4 * self.device.properties.processors)
        )
        self._launch(
            "measure", (blocks, self.groups), 256, memory[spins], doubled, memory[up],
            self.starts, self.fields, self.firsts, self.entries, *scalars(n),
        )  # fmt: skip
        memory[energy] = self.device.put(self.device.get(doubled) // 2)

    # Sweeps

    def sweep(
        self,
        betas: Array,
        *,
        first: int,
        every: int = 0,
        weights: Array | None = None,
        track: bool = False,
    ) -> Measured:
        betas = np.asarray(betas, np.float64)
        threshold_rows(betas[:0], len(self.request.replicas))  # refuses another shape
        k = 0 if weights is None else len(weights)
        if k:
            ordered = np.asarray(weights, np.float64)[:, self.order]
            self.weights = self.device.put(np.ascontiguousarray(ordered))
        parts = []
        counts, projections = Counts(), []
        for begin, end in self._cuts(betas, first, every if k else 0):
            series, flips = self._sweep(betas[begin:end], first + begin, every, track)
            parts.append(series)
            counts = counts + self._counts(end - begin, *flips)
            if k and every and (first + end) % every == 0:
                projections.append(self._project(k))
        empty = np.zeros((len(self.request.replicas), 0), np.int64)
        energy, magnetization, flips_between, path = (
            np.concatenate([empty, *(part[at] for part in parts)], axis=1) for at in range(4)
        )
        return Measured(
            energy=energy,
            magnetization=magnetization,
            flips=flips_between,
            projections=np.stack(projections, axis=1)
            if projections
            else np.zeros((len(self.request.replicas), energy.shape[1], k)),
            path=path,
            counts=counts,
        )

    def _cuts(self, betas: Array, first: int, every: int) -> Iterator[tuple[int, int]]:
        """Ranges of sweeps for one launch: up to each sample whose spins are weighed, and not
        more than memory holds tables for."""
        model, columns = self.request.model.quantized, betas.size // max(1, len(betas))
        width = 2 * model.bound + 1 if model.table else 1
        most = max(1, PIECE // max(self.lanes, columns * width))
        begin = 0
        while begin < len(betas):
            end = min(len(betas), begin + most)
            if every:
                end = min(end, begin + every - (first + begin) % every)
            yield begin, end
            begin = end

    def _sweep(
        self, betas: Array, first: int, every: int, track: bool
    ) -> tuple[tuple[Array, Array, Array, Array], tuple[int, int]]:
        """One launch: (energy, magnetization, flips, path) of the own replicas, and all flips
        and whole integers drawn."""
        put, zeros, memory, n = self.device.put, self.device.zeros, self.memory, len(self.order)
        request = self.request
        distinct, rows = threshold_rows(betas, len(request.replicas))
        table, constant, cutoff, exponential = exact_limits(request, distinct)
        slopes = estimates(distinct, request.model.quantized.quantum)
        if rows.shape[1] > 1:
            wide = np.zeros((len(rows), self.lanes), np.int32)
            wide[:, self._own] = rows
            rows = wide
        sweeps = len(rows)
        samples = (first + sweeps) // every - first // every if every else 0
        series = [zeros((max(1, samples), self.lanes), np.int64) for _ in range(3)]
        path = zeros((sweeps if track else 1, self.lanes), np.int64)
        total, counts = zeros((self.lanes,), np.int64), zeros((1,), np.uint64)
        self._launch(
            "sweep", (self.shape.blocks, self.groups), self.shape.threads,
            memory["spins"], memory["best"], memory["now"], memory["lowest"], memory["up"],
            memory["since"], total, self.places, self.starts, self.firsts, self.entries,
            self.level_ends, *scalars(len(self.levels) - 1, n, request.layout.colours),
            put(_filled(table)), put(constant), put(cutoff), put(exponential), put(slopes),
            np.int32(request.model.quantized.bound), put(np.ascontiguousarray(rows)),
            *scalars(rows.shape[1], sweeps), np.uint64(request.seed),
            *scalars(self.start, first, every, track), *series, path, counts,
            zeros((self.groups,), np.uint32),
        )  # fmt: skip
        own = self._own
        seen = [self.device.get(part)[:samples, own].T for part in series]
        seen.append(self.device.get(path)[: sweeps if track else 0, own].T)
        flips = int(self.device.get(total)[own].sum())
        return (seen[0], seen[1], seen[2], seen[3]), (flips, int(self.device.get(counts)[0]))

    def _project(self, k: int) -> Array:
        """(replicas, k) sums of weights; pieces are added in order, so that the result does not
        depend on the device."""
        n, lanes = len(self.order), self.shape.lanes
        pieces = -(-n // WEIGHED)
        partial = self.device.zeros((pieces, k, self.lanes), np.float64)
        if n:
            self._launch(
                "weigh", (pieces, self.groups, k), lanes, self.memory["spins"], self.weights,
                partial, *scalars(n, WEIGHED),
            )  # fmt: skip
        total = np.zeros((k, self.lanes))
        for part in self.device.get(partial):
            total += part
        return np.ascontiguousarray(total[:, self._own].T)

    def _counts(self, sweeps: int, flips: int, wholes: int) -> Counts:
        n, nnz = len(self.order), self.request.model.csr.nnz
        visits = sweeps * n * self.lanes
        # two calls for 16 replicas, 8 for 4 in plane, 32 for 4 in lattice, 1 for 4 in shared
        calls = {"lane": visits // 8, "plane": 2 * visits, "lattice": 8 * visits}
        whole = {"lane": 8, "shared": 1}.get(self.request.layout.name, 32)
        drawn = calls.get(self.request.layout.name, visits // 4) + whole * wholes
        quads = sweeps * self.lanes // 4
        return Counts(
            attempted=sweeps * n * len(self.request.replicas),
            flips=flips,
            random_words=4 * drawn,
            couplings=sweeps * nnz * self.lanes,
            bytes=quads * (n * (4 + 4 + 16 + 12) + nnz * 12),
        )


def _filled(table: Array) -> Array:
    """Not empty, since an array without elements has no address."""
    return table if table.size else np.zeros((1, 1), np.uint64)
