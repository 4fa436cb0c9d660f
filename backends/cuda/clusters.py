"""Swendsen-Wang on the device, for lattices and graphs; kernels/clusters.cu."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Ladder, Measured, Request, State, threshold_rows
from isingnpu.bitlogic import words_of
from isingnpu.bonds import Bonds, cluster_bonds, improved_moments
from isingnpu.dynamics import bond_thresholds

from .calls import Series, cuts, joined
from .device import Code, Device, Properties, put_states, require, scalars

Array = NDArray[Any]

THREADS = 512  # of a block at most, as in clusters.cu
RESIDENT = 1024  # threads that surely find room on a multiprocessor
TILE = 64  # words, as in clusters.cu
PIECE = 1 << 22  # numbers in the larger arrays of one launch
WEIGHED = 1024  # sites that one thread weighs
SUMS = 5  # 64-bit numbers in Sums of clusters.cu


@dataclass(frozen=True)
class Shape:
    """blocks: that share a replica; threads: of a block; teams: replicas at a time."""

    blocks: int
    threads: int
    teams: int

    @classmethod
    def choose(cls, device: Properties, replicas: int, words: int) -> Shape:
        """Blocks that share a replica wait for each other, so all of them must find room."""
        threads = min(THREADS, 64 * words)
        room = device.processors * (RESIDENT // threads)
        blocks = max(1, min(-(-words // TILE), room // max(1, replicas)))
        return cls(blocks, threads, max(1, min(replicas, room // blocks)))


class SwendsenWangPlan:
    """Spins as bits on the device; a launch sweeps until the spins themselves are asked for."""

    kernel = "swendsen-wang"

    def __init__(self, request: Request, device: Device, shape: Shape | None = None) -> None:
        self.request, self.device = request, device
        bonds, n, replicas = cluster_bonds(request.model), request.model.n, len(request.replicas)
        self.words = max(1, -(-n // 64))
        self.shape = shape or Shape.choose(device.properties, replicas, self.words)
        self.lattice = bonds.alike_along_axes
        self.code = Code.of("clusters.cu", LATTICE=self.lattice, ROUNDS=request.rounds)
        self.bonds = len(bonds.owner)
        self._require()
        if self.lattice:
            self._send_lattice(bonds)
        else:
            self._send_graph(bonds)
        self.memory: dict[str, Any] = {}

    @property
    def codes(self) -> tuple[Code, ...]:
        """All that is compiled for the request."""
        return (self.code,)

    @classmethod
    def obstacle(cls, request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        if request.dynamics.name != cls.kernel:
            return f"it is for dynamics {cls.kernel!r}, not {request.dynamics.name!r}"
        return None

    def _require(self) -> None:
        sites = 64 * self.words
        held = 0.5 * self.bonds if self.lattice else 16 * self.bonds
        labels = 4 * (1 + self.request.improved)
        fixed, per_team = int(held) + 8 * 8 * PIECE, sites * labels + self.bonds // 8

        def cost(reads: int) -> int:
            # states on their way to or from the host, spins and best states
            teams = min(self.shape.teams, reads)
            return fixed + teams * per_team + (sites + sites // 4) * reads

        what = f"a model of {self.request.model.n} sites"
        require(self.device, cost, len(self.request.replicas), what)

    def _send_lattice(self, bonds: Bonds) -> None:
        geometry, n = self.request.model.geometry, self.request.model.n
        assert geometry is not None
        shape = geometry.shape
        d = len(shape)
        stride = np.append(np.cumprod(shape[:0:-1])[::-1], 1).astype(np.int64)
        masks = np.zeros((3, d, self.words), np.uint64)
        self.magnitude = np.zeros(d, np.int64)
        for a in range(d):
            own = (bonds.slot == a) & (bonds.coupling != 0)
            around = own & (bonds.other < bonds.owner)
            for k, those in enumerate((own, own & (bonds.coupling < 0), around)):
                bits = np.zeros(64 * self.words, bool)
                bits[bonds.owner[those]] = True
                masks[k, a] = words_of(bits)
            self.magnitude[a] = np.abs(bonds.coupling[own]).max(initial=0)
        steps = np.stack([stride, stride - stride * np.array(shape)], axis=1)
        if n and shape[-1] % 64 == 0:
            line = shape[-1] // 64
            wide = 2 if line % 2 == 0 else 1
            tile = line, TILE // wide, wide
        else:
            tile = self.words, 1, TILE
        self._send(masks, steps, np.zeros((1, 4), np.uint32), 0, tile)

    def _send_graph(self, bonds: Bonds) -> None:
        kept = bonds.coupling != 0
        coupling = bonds.coupling[kept]
        self.magnitude, kind = np.unique(np.abs(coupling), return_inverse=True)
        table = np.zeros((max(1, len(coupling)), 4), np.uint32)
        columns = bonds.owner[kept], bonds.other[kept], bonds.slot[kept], 2 * kind + (coupling < 0)
        for k, column in enumerate(columns):
            table[: len(coupling), k] = column
        if not len(self.magnitude):
            self.magnitude = np.ones(1, np.int64)
        nothing = np.zeros(1, np.uint64), np.zeros(2, np.int64)
        self._send(*nothing, table, len(coupling), (self.words, 1, TILE))

    def _send(
        self, masks: Array, steps: Array, bonds: Array, count: int, tile: tuple[int, int, int]
    ) -> None:
        """The arguments that clusters.cu calls a Model."""
        put = self.device.put
        self.model = [
            put(masks), put(steps), put(bonds), put(self.magnitude),
            *scalars(len(self.magnitude), count, self.request.model.n, *tile),
        ]  # fmt: skip

    def _launch(self, name: str, grid: int, threads: int, *args: Any) -> None:
        """A kernel that is no sweep."""
        self.device.kernel(self.code, name)((max(1, grid),), (threads,), args)

    def _spread(self, items: int) -> int:
        """Blocks for a kernel whose threads take one item after the other."""
        return min(-(-items // THREADS), 32 * self.device.properties.processors)

    # States

    def load(self, state: State) -> None:
        replicas = len(self.request.replicas)
        self.memory = {
            name: self.device.zeros((replicas, self.words), np.uint64)
            for name in ("spins", "best")
        }
        for name, states in (("spins", state.spins), ("best", state.best)):
            given = put_states(self.device, states, replicas, self.request.model.n)
            self._copy("pack", given, self.memory[name])
        self.memory["since"] = self.device.put(np.asarray(state.flips, np.int64))
        self.memory["lowest"] = None  # only tracking asks for it

    def state(self) -> State:
        flips = self.device.get(self.memory["since"])
        return State(self._unpacked("spins"), self._unpacked("best"), flips)

    def spins_on_device(self) -> Any:
        """(replicas, sites) int8, an array of the device; a GPU's has `__dlpack__` and
        `__cuda_array_interface__`."""
        return self._on_device("spins")

    def energies_on_device(self) -> Any:
        """(replicas,) int64 in quanta, offset not included: an array of the device."""
        return self._energies("spins")

    def _on_device(self, name: str) -> Any:
        made = self.device.empty((len(self.request.replicas), self.request.model.n), np.int8)
        self._copy("unpack", self.memory[name], made)
        return made

    def _unpacked(self, name: str) -> Array:
        return self.device.get(self._on_device(name))

    def _copy(self, kernel: str, given: Any, made: Any) -> None:
        n, replicas = self.request.model.n, len(self.request.replicas)
        if n * replicas:
            self._launch(
                kernel, self._spread(n * replicas), THREADS, given, made, *scalars(n, replicas)
            )

    def _energies(self, name: str) -> Any:
        replicas = len(self.request.replicas)
        made = self.device.zeros((replicas,), np.int64)
        self._launch("measure", replicas, THREADS, self.memory[name], made, *self.model)
        return made

    def _lowest(self) -> Any:
        """Energies of the best states."""
        if self.memory["lowest"] is None:
            self.memory["lowest"] = self._energies("best")
        return self.memory["lowest"]

    # Sweeps

    def sweep(
        self,
        betas: Array | Ladder,
        *,
        first: int,
        every: int = 0,
        weights: Array | None = None,
        track: bool = False,
    ) -> Measured:
        replicas = len(self.request.replicas)
        if not isinstance(betas, Ladder):
            betas = np.asarray(betas, np.float64)
        threshold_rows(betas[:0], replicas)  # refuses another shape
        k = 0 if weights is None else len(weights)
        sent = self.device.put(np.ascontiguousarray(weights, np.float64)) if k else None
        empty = np.zeros((replicas, 0), np.int64)
        parts, of_clusters = [], []
        counts, projections = Counts(), []
        for begin, end in cuts(len(betas), self._most(betas), first, every if k else 0):
            with self.device.current():
                series, sums, counted = self._sweep(betas[begin:end], first + begin, every, track)
            parts.append(series)
            of_clusters.append(sums)
            counts = counts + self._counts(end - begin, *counted)
            if k and every and (first + end) % every == 0:
                projections.append(self._project(sent, k))
        improved = None
        if self.request.improved:
            squares, fourths = (
                np.concatenate([empty, *(sums[at] for sums in of_clusters)], axis=1)
                for at in range(2)
            )
            improved = improved_moments(squares, fourths, self.request.model.n)
        return joined(parts, projections, counts, replicas, k, improved)

    def _most(self, betas: Array | Ladder) -> int:
        """Sweeps of one launch: no more than memory holds tables for."""
        width = math.prod(betas.shape[1:]) * len(self.magnitude)
        return PIECE // max(len(self.request.replicas), width, 1)

    def _sweep(
        self, betas: Array | Ladder, first: int, every: int, track: bool
    ) -> tuple[Series, tuple[Array, Array], tuple[int, int]]:
        """One launch: energy, magnetization, flips and path; squares and fourths; all flips and
        Philox calls."""
        put, zeros, request, shape = self.device.put, self.device.zeros, self.request, self.shape
        replicas, sites = len(request.replicas), 64 * self.words
        distinct, rows = threshold_rows(betas, replicas)
        limits = bond_thresholds(distinct, self.magnitude, request.model.quantized.quantum)
        sweeps, columns = rows.shape
        samples = (first + sweeps) // every - first // every if every else 0
        lowest = self._lowest() if track else zeros((1,), np.int64)
        seams = len(self.magnitude) * 2 * self.words if self.lattice else 1
        series = [zeros((replicas, max(1, samples)), np.int64) for _ in range(4)]
        fourths = zeros((replicas, max(1, samples)), np.float64)
        path = zeros((replicas, sweeps if track else 1), np.int64)
        total, counts = zeros((replicas,), np.int64), zeros((1,), np.uint64)
        memory = self.memory
        args = (
            memory["spins"], memory["best"], lowest, memory["since"], total, *self.model,
            put(limits), put(rows), *scalars(columns, sweeps),
            np.uint64(request.seed),
            *scalars(request.replicas.start, replicas, first, every, track, request.improved),
            *scalars(max(1, samples), shape.blocks),
            zeros((shape.teams, sites), np.uint32),
            zeros((shape.teams if request.improved else 1, sites), np.uint32),
            zeros((shape.teams, seams), np.uint32), zeros((shape.teams, self.words), np.uint64),
            zeros((shape.teams, SUMS), np.uint64), zeros((shape.teams,), np.uint32),
            *series, fourths, path, counts,
        )  # fmt: skip
        shared = TILE * (8 * len(self.magnitude) + 2 * 4 * 64) if self.lattice else 0
        sweep = self.device.kernel(self.code, "sweep")
        sweep(
            (shape.teams * shape.blocks,), (shape.threads,), args,
            shared_mem=shared, together=shape.blocks > 1,
        )  # fmt: skip
        get = self.device.get
        energy, magnetization, flips, squares, fourth = (
            get(part)[:, :samples] for part in (*series, fourths)
        )
        walked = get(path)[:, : sweeps if track else 0]
        counted = int(get(total).sum()), int(get(counts)[0])
        return (energy, magnetization, flips, walked), (squares, fourth), counted

    def _project(self, weights: Any, k: int) -> Array:
        """(replicas, k) sums of weights; pieces are added in order, so that the result does not
        depend on the device."""
        n, replicas = self.request.model.n, len(self.request.replicas)
        pieces = -(-n // WEIGHED)
        partial = self.device.zeros((pieces, k, replicas), np.float64)
        if n:
            self._launch(
                "weigh", self._spread(pieces * k * replicas), THREADS, self.memory["spins"],
                weights, partial, *scalars(n, WEIGHED, pieces, k, replicas),
            )  # fmt: skip
        total = np.zeros((k, replicas))
        for part in self.device.get(partial):
            total += part
        return np.ascontiguousarray(total.T)

    def _counts(self, sweeps: int, flips: int, calls: int) -> Counts:
        n, edges = self.request.model.n, self.request.model.n_edges
        made = sweeps * len(self.request.replicas)
        # words of spins at both ends and in flips; masks, or bonds
        bits = 5 * len(self.magnitude) * n if self.lattice else 8 * (16 + 2) * self.bonds
        return Counts(
            attempted=made * n,
            flips=flips,
            random_words=4 * calls,
            couplings=made * edges,
            bytes=made * (bits + 2 * n) // 8,
        )
