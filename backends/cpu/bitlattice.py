"""Sites as the bits of words: layout lattice at one bit per spin.

`BitLattice` holds the packed spins of one replica and sweeps them, from a program alone, so that
its size is bound by memory only. `BitLatticePlan` serves requests with one of them per replica.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.backend import Counts, Ladder, Measured, Request, State, threshold_rows
from isingnpu.bitlogic import coefficients, pack, unpack
from isingnpu.dynamics import Dynamics, thresholds
from isingnpu.layout import Layout
from isingnpu.model import IsingModel
from isingnpu.program import Program, model_program
from isingnpu.rng import W0, W1, Stream, philox4x32

from . import barrier
from . import bitlattice_run as loop
from .bitlattice_draw import HIGH_HALVES
from .bitlattice_tables import ALIGNED, Tables, aligned

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Series:
    """What a `BitLattice` saw: energy in quanta, magnetization in spins, flips since the sample
    before, (samples,) int64 each; path (sweeps,) or (0,) energy after every sweep."""

    energy: Array
    magnetization: Array
    flips: Array
    path: Array

    @classmethod
    def joined(cls, parts: Sequence[Series]) -> Series:
        """Series of consecutive calls as one."""
        none = np.zeros(0, np.int64)
        return cls(
            *(
                np.concatenate([none, *(getattr(part, name) for part in parts)])
                for name in ("energy", "magnetization", "flips", "path")
            )
        )


class BitLattice:
    """Packed spins of one replica, swept in place.

    program: see `isingnpu.program`; threads share the rows of each colour. Spins start up."""

    def __init__(
        self,
        program: Program,
        dynamics: Dynamics,
        *,
        seed: int,
        replica: int = 0,
        rounds: int = 10,
        threads: int = 1,
        tables: Tables | None = None,
    ) -> None:
        self.program, self.dynamics, self.seed, self.replica = program, dynamics, seed, replica
        self.tables = tables or Tables(program, dynamics, rounds)
        c = program.colouring
        self.threads = max(1, min(threads, c.rows))
        self.memory = aligned(ALIGNED + c.colours * c.rows * self.tables.stride)
        self.spins = self.memory[ALIGNED:]
        self.colours = self.tables.descriptors(self.spins)
        self.best = np.zeros(0, np.uint64)
        self.lowest = 0
        self.flips = 0  # since the last sample
        self.swept = 0
        self._prepare()
        self.fill(up=True)

    @property
    def sites(self) -> int:
        """Number of spins."""
        c = self.program.colouring
        return int(np.prod(c.shape, dtype=object)) * c.basis

    def _prepare(self) -> None:
        config, c = self.tables.config, self.program.colouring
        size, self.places, self.capacity = loop.work_words(config, self.tables.vectors)
        self.batch = max(1, (self.capacity - config.pair) // (self.tables.vectors * config.lanes))
        self.work = aligned(self.threads * size).reshape(self.threads, size)
        k0, k1 = self.seed & 0xFFFFFFFF, self.seed >> 32
        for r in range(config.rounds):
            keys = np.array([(k0 + r * W0) & 0xFFFFFFFF, (k1 + r * W1) & 0xFFFFFFFF], np.uint64)
            both_halves = keys | keys << np.uint64(32)
            self.work[:, self.places[0] + 2 * r : self.places[0] + 2 * r + 2] = both_halves
        self.work[:, self.places[0] + HIGH_HALVES] = 0xAAAAAAAAAAAAAAAA
        self.cuts = [c.rows * k // self.threads for k in range(self.threads + 1)]

    # Spins

    def view(self, spins: Array) -> Array:
        """(colours, rows, words) of memory laid out as `spins`."""
        c = self.program.colouring
        return spins.reshape(c.colours, c.rows, self.tables.stride)[:, :, : c.words]

    @property
    def words(self) -> Array:
        """(colours, rows, words) the packed spins, a view."""
        return self.view(self.spins)

    def energy(self) -> int:
        """E in quanta, without an offset."""
        return self._measured()[0]

    def magnetization(self) -> int:
        """Sum of all spins."""
        return self._measured()[1]

    def _measured(self) -> tuple[int, int]:
        t = self.tables
        unsatisfied, up = loop.measure_rows(
            t.config, self.colours, self.cuts[-1], t.vectors, t.factors
        )
        return t.constant + int(unsatisfied), 2 * int(up) - self.sites

    def fill(self, *, up: bool | None) -> None:
        """All spins up or down, or with None `isingnpu.rng.initial_spins` of seed and replica."""
        if up is None:
            for row in range(self.program.colouring.rows):
                self._fill_row(row)
        else:
            for colour, words in enumerate(self.words):
                valid = self.program.valid[colour]
                for phase, bits in enumerate(valid.bits):  # without a copy of the lattice
                    words[valid.index == phase] = bits if up else 0
        self.close()

    def _fill_row(self, row: int) -> None:
        """First spins of one row, of all colours."""
        c, replica = self.program.colouring, self.replica
        phase = self.program.valid[0].index[row]
        for colour in range(c.colours):
            site = c.site(colour, row, np.arange(int(c.columns(colour, phase))), phase)
            x0, x1, _, _ = philox4x32(replica // 64, site, 0, int(Stream.INIT) << 5, self.seed)
            half = x0 if replica % 64 < 32 else x1
            bits = half >> np.uint64(replica % 32) & np.uint64(1)
            self.words[colour, row] = pack(bits[None], c.words)[0]

    def close(self) -> None:
        """Bring the copies beyond the ends of rows up to date after a change of `words`."""
        loop.close_rows(self.tables.config, self.colours, self.tables.ends, self.cuts[-1])

    # Sweeps

    def sweep(self, betas: ArrayLike, *, every: int = 0, track: bool = False) -> Series:
        """One sweep per entry of betas (sweeps,); samples as in `isingnpu.backend.Plan`."""
        distinct, rows = threshold_rows(np.asarray(betas, np.float64), 1)
        series = self.run(distinct, rows[:, 0], self.swept, every, track)
        self.swept += len(rows)
        return series

    def run(
        self, distinct: Array, rows: Array, first: int, every: int, track: bool
    ) -> Series:  # fmt: skip
        """Sweeps first, first + 1, .. at the betas `distinct[rows]`; `total` flips."""
        t, c = self.tables, self.program.colouring
        limit = thresholds(self.dynamics, distinct, self.program.quantized)
        heat_bath = self.dynamics.heat_bath
        by_class = self.program.classes.table(limit.table, limit.bound, heat_bath)
        samples = (first + len(rows)) // every - first // every if every else 0
        out = (*(np.zeros(samples, np.int64) for _ in range(3)), np.zeros(len(rows), np.int64))
        best = self.best if track else np.zeros(0, np.uint64)
        threads, cuts = self.threads, np.array(self.cuts, np.int64)
        sums = np.zeros((threads, 8), np.int64)
        lowest = np.full(threads, self.lowest, np.int64)
        counter = aligned(ALIGNED * (1 + threads))
        rows = np.ascontiguousarray(rows, np.int64)
        # of one memory order, or numba compiles the kernel for both
        polynomial = np.ascontiguousarray(coefficients(by_class))

        def part(rank: int) -> None:
            loop.run(
                t.config, self.colours, t.ends,
                (cuts, t.vectors, self.batch, self.capacity, t.stride, c.rows),
                polynomial, rows, (first, self.replica), self.work[rank], self.places,
                (every, track, t.constant, self.sites), t.factors,
                (counter.ctypes.data, threads, rank, barrier.yield_address()), sums, self.spins,
                best, lowest, out,
            )  # fmt: skip

        barrier.together(part, threads, counter)
        self.lowest = int(lowest[0])
        total = int(sums[:, loop.FLIPS].sum())
        energy, magnetization, flips, path = out
        self.total = total
        if samples:
            flips[0] += self.flips
            self.flips = self.flips + total - int(flips.sum())
        else:
            self.flips += total
        return Series(energy, magnetization, flips, path if track else path[:0])


@functools.lru_cache(maxsize=4)
def _program(model: IsingModel, layout: Layout) -> Program | str:
    """The program of a model, or why it has none."""
    try:
        return model_program(model, layout)
    except ValueError as error:
        return str(error)


class BitLatticePlan:
    """One `BitLattice` per replica; threads share the replicas, or the rows of too few."""

    kernel = "bitlattice"

    def __init__(self, request: Request) -> None:
        self.request = request
        program = _program(request.model, request.layout)
        assert not isinstance(program, str)
        self.program = program
        self.by_rows = len(request.replicas) < request.threads
        tables = Tables(program, request.dynamics, request.rounds)
        self.lattices = [
            BitLattice(
                program, request.dynamics, seed=request.seed, replica=replica,
                rounds=request.rounds, threads=request.threads if self.by_rows else 1,
                tables=tables,
            )
            for replica in request.replicas
        ]  # fmt: skip

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        if request.layout.name != "lattice":
            return f"it has no layout {request.layout.name!r}"
        program = _program(request.model, request.layout)
        return program if isinstance(program, str) else None

    def load(self, state: State) -> None:
        parts = zip(self.lattices, state.spins, state.best, state.flips, strict=True)
        for lattice, spins, best, flips in parts:
            lattice.words[:] = self._packed(best)
            lattice.close()
            lattice.lowest = lattice.energy()
            lattice.best = lattice.spins.copy()
            lattice.words[:] = self._packed(spins)
            lattice.close()
            lattice.flips = int(flips)

    def state(self) -> State:
        spins = [self._unpacked(lattice.words) for lattice in self.lattices]
        best = [self._unpacked(lattice.view(lattice.best)) for lattice in self.lattices]
        flips = np.array([lattice.flips for lattice in self.lattices], np.int64)
        return State(np.array(spins), np.array(best), flips)

    def _packed(self, spins: Array) -> Array:
        """(colours, rows, words) from (sites,) int8."""
        layout, c = self.request.layout, self.program.colouring
        bits = np.zeros((c.colours, c.rows, 64 * c.words), np.uint8)
        bits[layout.colour, layout.row, layout.column] = spins > 0
        return np.array([pack(part, c.words) for part in bits])

    def _unpacked(self, words: Array) -> Array:
        layout, c = self.request.layout, self.program.colouring
        bits = np.array([unpack(part, 64 * c.words) for part in words])
        up = bits[layout.colour, layout.row, layout.column].astype(np.int8)
        return np.asarray(2 * up - 1, np.int8)

    def sweep(
        self,
        betas: Array | Ladder,
        *,
        first: int,
        every: int = 0,
        weights: Array | None = None,
        track: bool = False,
    ) -> Measured:
        distinct, rows = threshold_rows(betas, len(self.lattices))
        columns = [rows[:, k % rows.shape[1]] for k in range(len(self.lattices))]
        weights = np.zeros((0, self.request.model.n)) if weights is None else weights
        watch = (first, every, weights, track)

        def one(k: int) -> tuple[Series, Array, int]:
            return self._sweep(self.lattices[k], distinct, columns[k], watch)

        if self.by_rows or self.request.threads == 1:
            seen = [one(k) for k in range(len(self.lattices))]
        else:
            seen = barrier.share(one, len(self.lattices), self.request.threads)
        series = [part for part, _, _ in seen]
        return Measured(
            energy=np.array([part.energy for part in series]),
            magnetization=np.array([part.magnetization for part in series]),
            flips=np.array([part.flips for part in series]),
            projections=np.array([projections for _, projections, _ in seen]),
            path=np.array([part.path for part in series]),
            counts=self._counts(len(rows), sum(total for _, _, total in seen)),
        )

    def _sweep(
        self, lattice: BitLattice, distinct: Array, rows: Array, watch: Any
    ) -> tuple[Series, Array, int]:
        """One replica: its series, projections (samples, k) and flips."""
        first, every, weights, track = watch
        if not every or len(weights) == 0:
            series = lattice.run(distinct, rows, first, every, track)
            return series, np.zeros((len(series.energy), len(weights))), lattice.total
        parts, projections, total, begin = [], [], 0, 0
        while begin < len(rows):  # up to each sample, whose spins are read
            end = min(len(rows), begin + every - (first + begin) % every)
            parts.append(lattice.run(distinct, rows[begin:end], first + begin, every, track))
            total += lattice.total
            if (first + end) % every == 0:
                projections.append(self._unpacked(lattice.words) @ weights.T)
            begin = end
        return Series.joined(parts), np.reshape(projections, (-1, len(weights))), total

    def _counts(self, sweeps: int, flips: int) -> Counts:
        p, c = self.program, self.program.colouring
        words = sweeps * len(self.lattices) * c.colours * c.rows * c.words
        neighbours = sum(not slot.field for slot in p.slots)
        planes = neighbours + sum(slot.sign + slot.present for slot in p.slots)
        return Counts(
            attempted=sweeps * len(self.lattices) * self.request.model.n,
            flips=flips,
            random_words=16 * words,
            couplings=sweeps * len(self.lattices) * self.request.model.csr.nnz,
            bytes=8 * words * (2 + planes),  # spins in and out; neighbours, signs, presence
        )
