"""Models whose pairs are mostly coupled: fields by tensor cores; kernels/dense.cu."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Ladder, Request, threshold_rows

from ..limits import SLOPES, exact_limits, first_byte_edges
from .calls import Series
from .device import Code, Device, Properties, filled, require, scalars
from .lanes import DRAWS
from .lanes_model import places
from .replicas import LANE_BYTES, PIECE, WEIGHED, ReplicaPlan

Array = NDArray[Any]

TILE = 32  # sites, as in dense.cu
THREADS = 512
UNIT = 16  # replicas that share a Philox call
FIRST_BITS = 16


class DensePlan(ReplicaPlan):
    """Spins as bytes of -1 and 1, (lanes, sites padded to whole tiles) on the device.

    group: replicas of a block, 8, 16 or 32; tensor: fields by tensor cores."""

    kernel = "dense"

    def __init__(
        self, request: Request, device: Device, *, group: int | None = None, tensor: bool = True
    ) -> None:
        super().__init__(request, device)
        self.order, n = request.layout.order, request.model.n
        self.tiles = -(-n // TILE)
        self.start = request.replicas.start // UNIT * UNIT
        replicas = request.replicas.stop - self.start
        self.group = group or _group(device.properties, replicas)
        self.groups = -(-replicas // self.group)
        self.lanes = self.groups * self.group
        self.limbs = limbs_of(request)
        self._require(n)
        self.code = self.code_of(request, self.group, self.limbs, tensor=tensor)
        put, model = device.put, request.model.quantized
        fields = np.zeros(self.width, np.int32)
        fields[:n] = model.fields[self.order]
        self.fields = put(filled(fields))
        self.couplings, self.squares = (
            put(part) for part in _bytes(request, self.tiles, self.limbs, tensor=tensor)
        )
        self.places = put(places(request.layout, self.order))
        self.sites = put(self.order.astype(np.uint32))
        heat_bath = request.dynamics.heat_bath
        self.edges = put(first_byte_edges(heat_bath=heat_bath, bits=FIRST_BITS))

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        if request.dynamics.moves_clusters:
            return "it moves single spins"
        if not request.model.is_dense:
            return "fewer than a quarter of all pairs are coupled"
        return None

    @staticmethod
    def code_of(request: Request, group: int, limbs: int, *, tensor: bool) -> Code:
        """What is compiled for a request."""
        return Code.of(
            "dense.cu",
            LANES=group,
            PRODUCTS=tensor,
            LIMBS=limbs,
            DRAWS=DRAWS[request.layout.name],
            ROUNDS=request.rounds,
            HEAT_BATH=request.dynamics.heat_bath,
            TABLE=request.model.quantized.table,
        )

    @property
    def width(self) -> int:
        """Bytes of a replica's state."""
        return self.tiles * TILE

    def _require(self, n: int) -> None:
        fixed = self.limbs * self.width * (self.width + TILE) + 24 * n
        fixed += (16 << FIRST_BITS) + 4 * 8 * PIECE

        def cost(reads: int) -> int:
            lanes = self._lanes_of(reads, self.group)
            return fixed + (2 * self.width + LANE_BYTES) * lanes + n * reads

        require(self.device, cost, len(self.request.replicas), f"a dense model of {n} sites")

    def _launch(self, name: str, grid: tuple[int, ...], threads: int, *args: Any) -> None:
        self.device.kernel(self.code, name)(grid, (threads,), args)

    # States

    def _empty_states(self) -> Any:
        return self.device.zeros((self.lanes * self.width,), np.int8)

    def _copy(self, kernel: str, given: Any, made: Any) -> None:
        n, replicas = len(self.order), len(self.request.replicas)
        blocks = min(-(-n * replicas // 256), 32 * self.device.properties.processors)
        self._launch(
            kernel, (blocks,), 256, given, made, self.sites,
            *scalars(n, self.width, replicas, self.first),
        )  # fmt: skip

    def _measure(self, spins: str, energy: str) -> None:
        memory, empty = self.memory, self.device.empty
        doubled = empty((self.lanes,), np.int64)
        up = memory["up" if spins == "spins" else "best_up"]
        self._launch(
            "measure", (self.groups,), THREADS, memory[spins], doubled, up, self.couplings,
            self.fields, *scalars(self.tiles, len(self.order)),
        )  # fmt: skip
        memory[energy] = self.device.put(self.device.get(doubled) // 2)

    # Sweeps

    def _sweep(
        self, betas: Array | Ladder, first: int, every: int, track: bool
    ) -> tuple[Series, tuple[int, int]]:
        put, zeros, memory, n = self.device.put, self.device.zeros, self.memory, len(self.order)
        request, model = self.request, self.request.model.quantized
        distinct, rows = threshold_rows(betas, len(request.replicas))
        table, constant, cutoff, exponential = exact_limits(request, distinct)
        steps = 1.0 / np.clip(2.0 * distinct * model.quantum, *SLOPES)
        rows, sweeps = self._wide(rows), len(rows)
        series, samples = self._series(sweeps, first, every, track)
        total, counts = zeros((self.lanes,), np.int64), zeros((1,), np.uint64)
        self._launch(
            "sweep", (self.groups,), THREADS,
            memory["spins"], memory["best"], memory["now"], memory["lowest"], memory["up"],
            memory["since"], total, self.couplings, self.squares, self.fields, self.places,
            *scalars(self.tiles, n, request.layout.colours),
            put(filled(table)), put(filled(constant)), put(filled(cutoff)), put(exponential),
            np.int32(model.bound), self.edges, put(steps), put(rows),
            *scalars(rows.shape[1], sweeps), np.uint64(request.seed),
            *scalars(self.start, first, every, track), *series, counts,
        )  # fmt: skip
        flips = int(self.device.get(total)[self._own].sum())
        seen = self._seen(series, samples, sweeps if track else 0)
        return seen, (flips, int(self.device.get(counts)[0]))

    def _weigh(self, k: int, pieces: int, partial: Any) -> None:
        self._launch(
            "weigh", (pieces, self.groups, k), self.group, self.memory["spins"], self.weights,
            partial, *scalars(len(self.order), self.width, WEIGHED),
        )  # fmt: skip

    def _counts(self, sweeps: int, flips: int, wholes: int) -> Counts:
        n, quads = len(self.order), sweeps * self.lanes // 4
        # calls for the first bits of four replicas, and for the whole integer of one
        name = self.request.layout.name
        first = {"lane": 2, "plane": 8, "lattice": 32}.get(name, 1)
        whole = {"lane": 8, "shared": 1}.get(name, 32)
        cells = n * n
        return Counts(
            attempted=sweeps * n * len(self.request.replicas),
            flips=flips,
            random_words=4 * (first * quads * n + whole * wholes),
            couplings=sweeps * self.lanes * cells,
            bytes=sweeps * (self.groups * self.limbs * cells + self.lanes * (cells // TILE + n)),
        )


def limbs_of(request: Request) -> int:
    """Digits -128..127 to the base 256 that every coupling needs."""
    couplings = request.model.quantized.couplings.astype(np.int64)
    limbs = 1
    while couplings.size and (couplings.min() < -128 or couplings.max() > 127):
        couplings = couplings - _low(couplings) >> 8
        limbs += 1
    return limbs


def _low(numbers: Array) -> Array:
    """The lowest digit of each."""
    return np.asarray((numbers + 128 & 255) - 128)


def _bytes(request: Request, tiles: int, limbs: int, *, tensor: bool) -> tuple[Array, Array]:
    """Couplings (limbs, tiles, tiles, 1024) int8, as dense.cu says, and those of each tile among
    its own sites, (tiles, limbs, 32, 32)."""
    csr, order = request.model.csr, request.layout.order
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    rest = np.zeros((tiles * TILE, tiles * TILE), np.int32)
    of = np.repeat(np.arange(len(order)), np.diff(csr.indptr))
    rest[place[of], place[csr.indices]] = request.model.quantized.couplings
    couplings = np.empty((limbs, tiles, tiles, TILE, TILE), np.int8)
    for limb in range(limbs):
        low = _low(rest)
        couplings[limb] = low.reshape(tiles, TILE, tiles, TILE).transpose(0, 2, 1, 3)
        rest = rest - low >> 8
    same = np.arange(tiles)
    squares = np.ascontiguousarray(couplings[:, same, same].swapaxes(0, 1))
    if tensor:  # rows 16 m + 8 h + g, columns 16 c + 4 t + byte; lane 4 g + t, word 2 c + h
        parts = couplings.reshape(limbs, tiles, tiles, 2, 2, 8, 2, 4, 4)
        couplings = parts.transpose(0, 1, 2, 3, 5, 7, 6, 4, 8)
    flat = np.ascontiguousarray(couplings).reshape(limbs, tiles, tiles, TILE * TILE)
    return filled(flat), filled(squares)


def _group(device: Properties, replicas: int) -> int:
    """Replicas of a block: every block reads all couplings from the cache that they share, so that
    a quarter of the multiprocessors is enough."""
    fits = (group for group in (8, 16) if 4 * replicas <= group * device.processors)
    return next(fits, 32)
