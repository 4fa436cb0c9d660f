"""Replicas as the bytes of words: any model, every layout; kernels/lanes.cu."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Ladder, Request, threshold_rows

from ..limits import estimates, exact_limits
from .calls import Series
from .device import Code, Device, Properties, filled, require, scalars
from .lanes_model import LaneModel
from .replicas import LANE_BYTES, PIECE, WEIGHED, ReplicaPlan

Array = NDArray[Any]

DRAWS = {"lane": 0, "plane": 1, "lattice": 2, "shared": 3}
UNIT = 16  # replicas that share a Philox call
MAX_THREADS = 768  # of a block, as in lanes.cu: one of them fits on any multiprocessor
WORTH_SPLITTING = 4 * MAX_THREADS  # threads that a level asks for
NARROW = 127


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


class LanePlan(ReplicaPlan):
    """Spins as bytes on the device; rows of the state are sites sorted by level."""

    kernel = "lanes"

    def __init__(self, request: Request, device: Device, shape: Shape | None = None) -> None:
        super().__init__(request, device)
        model, n = LaneModel.of(request), request.model.n
        self.order, self.n_levels = model.order, len(model.levels) - 1
        self.start = request.replicas.start // UNIT * UNIT
        self.shape = shape or Shape.choose(
            device.properties, request.replicas.stop - self.start, model.sites_per_level
        )
        self.groups = -(-(request.replicas.stop - self.start) // self.shape.lanes)
        self.lanes = self.groups * self.shape.lanes
        self._require(n, len(model.entries))
        self.code = self.code_of(request, self.shape)
        put = device.put
        self.places, self.starts, self.fields = map(
            put, (model.places, model.starts, model.fields)
        )
        self.firsts, self.entries = put(model.firsts), put(filled(model.entries))
        self.level_ends, self.sites = put(model.levels), put(self.order.astype(np.uint32))

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        return "it moves single spins" if request.dynamics.moves_clusters else None

    @staticmethod
    def code_of(request: Request, shape: Shape, *, many: bool = False) -> Code:
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
            MANY=many,
        )

    def _require(self, n: int, nnz: int) -> None:
        fixed = 32 * n + 8 * nnz + 4 * 8 * PIECE

        def cost(reads: int) -> int:
            # spins and best states, and states on their way to or from the host
            lanes = self._lanes_of(reads, self.shape.lanes)
            return fixed + (2 * n + LANE_BYTES) * lanes + n * reads

        require(self.device, cost, len(self.request.replicas), f"a model of {n} sites")

    def _launch(self, name: str, grid: tuple[int, ...], threads: int, *args: Any) -> None:
        together = name == "sweep" and self.shape.blocks > 1
        self.device.kernel(self.code, name)(grid, (threads,), args, together=together)

    # States

    def _empty_states(self) -> Any:
        return self.device.zeros((self.lanes * len(self.order),), np.uint8)

    def _copy(self, kernel: str, given: Any, made: Any) -> None:
        n, replicas = len(self.order), len(self.request.replicas)
        blocks = min(-(-n * self.shape.lanes // 256), 32 * self.device.properties.processors)
        self._launch(
            kernel, (blocks, self.groups), 256, given, made, self.sites,
            *scalars(n, replicas, self.first),
        )  # fmt: skip

    def _measure(self, spins: str, energy: str) -> None:
        n, memory = len(self.order), self.memory
        up = memory["up" if spins == "spins" else "best_up"]
        doubled = self.device.zeros((self.lanes,), np.int64)
        blocks = max(
            1, min(n * self.shape.lanes // 4 // 256, 4 * self.device.properties.processors)
        )
        self._launch(
            "measure", (blocks, self.groups), 256, memory[spins], doubled, up,
            self.starts, self.fields, self.firsts, self.entries, *scalars(n),
        )  # fmt: skip
        memory[energy] = self.device.put(self.device.get(doubled) // 2)

    # Sweeps

    def _sweep(
        self, betas: Array | Ladder, first: int, every: int, track: bool
    ) -> tuple[Series, tuple[int, int]]:
        put, zeros, memory, n = self.device.put, self.device.zeros, self.memory, len(self.order)
        request = self.request
        distinct, rows = threshold_rows(betas, len(request.replicas))
        table, constant, cutoff, exponential = exact_limits(request, distinct)
        slopes = estimates(distinct, request.model.quantized.quantum)
        rows = self._wide(rows)
        sweeps = len(rows)
        series, samples = self._series(sweeps, first, every, track)
        total, counts = zeros((self.lanes,), np.int64), zeros((1,), np.uint64)
        self._launch(
            "sweep", (self.shape.blocks, self.groups), self.shape.threads,
            memory["spins"], memory["best"], memory["now"], memory["lowest"], memory["up"],
            memory["since"], total, self.places, self.starts, self.firsts, self.entries,
            self.level_ends, *scalars(self.n_levels, n, request.layout.colours),
            put(filled(table)), put(constant), put(cutoff), put(exponential), put(slopes),
            np.int32(request.model.quantized.bound), put(rows),
            *scalars(rows.shape[1], sweeps), np.uint64(request.seed),
            *scalars(self.start, first, every, 3 * track), *series, counts,
            zeros((self.groups,), np.uint32),
        )  # fmt: skip
        flips = int(self.device.get(total)[self._own].sum())
        seen = self._seen(series, samples, sweeps if track else 0)
        return seen, (flips, int(self.device.get(counts)[0]))

    def _weigh(self, k: int, pieces: int, partial: Any) -> None:
        self._launch(
            "weigh", (pieces, self.groups, k), self.shape.lanes, self.memory["spins"],
            self.weights, partial, *scalars(len(self.order), WEIGHED),
        )  # fmt: skip

    def _counts(self, sweeps: int, flips: int, wholes: int) -> Counts:
        return counts_of(self.request, self.lanes, sweeps, flips, wholes)


def counts_of(request: Request, lanes: int, sweeps: int, flips: int, wholes: int) -> Counts:
    """What sweeps of all lanes take; wholes: whole integers drawn."""
    n, nnz = request.model.n, request.model.csr.nnz
    visits = sweeps * n * lanes
    # two calls for 16 replicas, 8 for 4 in plane, 32 for 4 in lattice, 1 for 4 in shared
    calls = {"lane": visits // 8, "plane": 2 * visits, "lattice": 8 * visits}
    whole = {"lane": 8, "shared": 1}.get(request.layout.name, 32)
    drawn = calls.get(request.layout.name, visits // 4) + whole * wholes
    quads = sweeps * lanes // 4
    return Counts(
        attempted=sweeps * n * len(request.replicas),
        flips=flips,
        random_words=4 * drawn,
        couplings=sweeps * nnz * lanes,
        bytes=quads * (n * (4 + 4 + 16 + 12) + nnz * 12),
    )
