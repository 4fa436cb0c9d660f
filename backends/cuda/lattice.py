"""Sites as the bits of words: layout lattice at one bit per spin; kernels/lattice.cu."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Ladder, Measured, Request, State, threshold_rows
from isingnpu.bitlogic import coefficients
from isingnpu.dynamics import thresholds
from isingnpu.layout import Layout
from isingnpu.model import IsingModel
from isingnpu.program import Program, model_program

from .calls import Series, cuts, joined
from .device import Code, Device, put_states, require, scalars
from .logic import program_header
from .records import make_records

Array = NDArray[Any]

THREADS = 256  # of a block, as in lattice.cu
# Blocks that find room on any multiprocessor, 64 registers per thread, and those of models whose
# decisions have more classes than that leaves room for.
RESIDENT, RESIDENT_MANY, CLASSES = 4, 3, 5
STATES = Code.of("words.cu")
PIECE = 1 << 20  # sweeps times replicas of one launch


@functools.lru_cache(maxsize=4)
def _program(model: IsingModel, layout: Layout) -> Program | str:
    """The program of a model, or why it has none."""
    try:
        return model_program(model, layout)
    except ValueError as error:
        return str(error)


class LatticePlan:
    """Packed spins of all replicas on the device, (replicas, colours, rows, words).

    blocks: that share a replica, None for as many as find room; threads: of a block; queued:
    undecided words are finished by dense warps, not each by its own thread."""

    kernel = "bitlattice"

    def __init__(
        self,
        request: Request,
        device: Device,
        *,
        blocks: int | None = None,
        threads: int = THREADS,
        queued: bool = True,
    ) -> None:
        self.request, self.device = request, device
        program = _program(request.model, request.layout)
        assert not isinstance(program, str)
        self.program = program
        c, replicas = program.colouring, len(request.replicas)
        self.items = c.rows * c.words
        columns = c.shape[-1] // c.period  # of a row that goes around
        heat_bath = request.dynamics.heat_bath
        classes = program.classes.number(heat_bath)
        resident = 1 if not queued else RESIDENT if classes <= CLASSES else RESIDENT_MANY
        room = (device.properties.shared + 1024) // (shared_bytes(classes) + 1024)
        self.blocks = blocks or _blocks(
            min(resident, max(1, room)) * device.properties.processors, self.items, replicas
        )
        self.threads = min(threads, -(-self.items // 32) * 32)
        record, entries, planes = make_records(program)
        self.code = Code(
            "lattice.cu",
            (
                ("HEAT_BATH", int(heat_bath)),
                ("QUEUED", int(queued)),
                ("RESIDENT", resident),
                ("ROUNDS", request.rounds),
                ("SPLIT", int(self.blocks > 1)),
                ("WHOLE", int(program.closed and not program.seam and columns == 64 * c.words)),
            ),
            (("program.cuh", program_header(program.slots, record, heat_bath)),),
        )
        self._send_program(entries, planes)

    @property
    def codes(self) -> tuple[Code, ...]:
        """All that is compiled for the request."""
        return self.code, STATES

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        if request.dynamics.moves_clusters:
            return "it moves single spins"
        if request.layout.name != "lattice":
            return f"it has no layout {request.layout.name!r}"
        program = _program(request.model, request.layout)
        return program if isinstance(program, str) else None

    def _send_program(self, entries: Array, planes: Array) -> None:
        p, c = self.program, self.program.colouring
        self._require(entries.nbytes + planes.nbytes, len(self.request.replicas))
        put = self.device.put
        self.tables = [put(entries), put(planes)]
        factors, self.constant = p.energy()
        self.factors = put(factors)
        self.phases = put(c.phases.astype(np.uint32))
        columns = c.shape[-1] // c.period  # of a row that goes around
        last, first = divmod(columns - 1, c.words), divmod(columns, c.words)
        self.extents = scalars(c.colours, c.rows, c.words, 8 * c.words)
        self.seam = scalars(p.closed, *reversed(first), *reversed(last), p.seam)

    def _shares(self, threads: int) -> tuple[int, int, int]:
        """Threads below each other, rows of each, and how often they go through a row."""
        c = self.program.colouring
        lines = max(threads // c.words, 1)
        return lines, -(-c.rows // lines), -(-c.words // threads)

    def _require(self, fixed: int, replicas: int) -> None:
        # spins and best states, and states on their way to or from the host
        per_read = 16 * self.program.colouring.colours * self.items + self.request.model.n
        what = f"a lattice of {self.request.model.n} sites"
        fixed += 32 * PIECE
        require(self.device, lambda reads: fixed + per_read * reads, replicas, what)

    # States

    def load(self, state: State) -> None:
        self.spins, self.best = (self._packed(states) for states in (state.spins, state.best))
        self.lowest: Any = None  # only tracking asks for it
        self.since = self.device.put(np.array(state.flips, np.int64))

    def state(self) -> State:
        get = self.device.get
        spins, best = (get(self._unpacked(words)) for words in (self.spins, self.best))
        return State(spins, best, get(self.since))

    def spins_on_device(self) -> Any:
        """(replicas, sites) int8, an array of the device; a GPU's has `__dlpack__` and
        `__cuda_array_interface__`."""
        return self._unpacked(self.spins)

    def _packed(self, states: Any) -> Any:
        """(replicas, colours, rows, words) from states (replicas, sites)."""
        replicas, c = len(self.request.replicas), self.program.colouring
        made = self.device.empty((replicas, c.colours, c.rows, c.words), np.uint64)
        self._copy("pack", put_states(self.device, states, replicas, self.request.model.n), made)
        return made

    def _unpacked(self, words: Any) -> Any:
        shape = len(self.request.replicas), self.request.model.n
        made = self.device.empty(shape, np.int8)
        self._copy("unpack", words, made)
        return made

    def _copy(self, kernel: str, given: Any, made: Any) -> None:
        """See words.cu."""
        c, replicas = self.program.colouring, len(self.request.replicas)
        blocks = -(-replicas * c.colours * self.items // THREADS)
        self.device.kernel(STATES, kernel)(
            (max(1, min(blocks, 32 * self.device.properties.processors)),), (THREADS,),
            [
                given, made, self.phases, *scalars(c.basis, c.period, c.rows, c.words),
                np.uint64(c.shape[-1]), np.uint64(self.request.model.n),
                np.uint64(c.colours * self.items), *scalars(replicas),
            ],
        )  # fmt: skip

    def _lowest(self) -> Any:
        """Energies of the best states."""
        if self.lowest is None:
            best = self.device.get(self._unpacked(self.best))
            self.lowest = self.device.put(self._energies(best))
        return self.lowest

    def _energies(self, states: Array) -> Array:
        """E in quanta of (replicas, sites) int8."""
        csr, model = self.request.model.csr, self.request.model.quantized
        matrix = type(csr)((model.couplings, csr.indices, csr.indptr), csr.shape)
        spins = np.asarray(states, np.int64).T
        fields = model.fields[:, None]
        local = np.asarray(matrix @ spins) + 2 * fields
        return -np.asarray((spins * local).sum(axis=0)) // 2

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
        betas = betas if isinstance(betas, Ladder) else np.asarray(betas, np.float64)
        replicas = len(self.request.replicas)
        k = 0 if weights is None else len(weights)
        parts, projections, counts = [], [], Counts()
        for begin, end in cuts(len(betas), PIECE // replicas, first, every if k else 0):
            series, part_counts = self._sweep(betas[begin:end], first + begin, every, track)
            parts.append(series)
            counts = counts + part_counts
            if k and every and (first + end) % every == 0:
                assert weights is not None
                projections.append(self.state().spins @ np.asarray(weights, np.float64).T)
        return joined(parts, projections, counts, replicas, k)

    def _sweep(
        self, betas: Array | Ladder, first: int, every: int, track: bool
    ) -> tuple[Series, Counts]:
        """One launch: (energy, magnetization, flips, path) of the replicas, and its counts."""
        put, zeros, get = self.device.put, self.device.zeros, self.device.get
        request, p = self.request, self.program
        replicas = len(request.replicas)
        distinct, rows = threshold_rows(betas, replicas)
        limit = thresholds(request.dynamics, distinct, p.quantized)
        by_class = p.classes.table(limit.table, limit.bound, request.dynamics.heat_bath)
        polynomial = np.ascontiguousarray(coefficients(by_class))
        sweeps = len(rows)
        samples = (first + sweeps) // every - first // every if every else 0
        series = [zeros((max(1, samples), replicas), np.int64) for _ in range(3)]
        path = zeros((sweeps if track else 1, replicas), np.int64)
        total, calls = zeros((replicas,), np.int64), zeros((1,), np.uint64)
        lowest = self._lowest() if track else zeros((1,), np.int64)
        self.device.kernel(self.code, "sweep")(
            (self.blocks, replicas), (self.threads,),
            [
                self.spins, self.best, lowest, self.since, total, *self.tables,
                *self.extents, *scalars(*self._shares(self.blocks * self.threads)), *self.seam,
                put(polynomial), put(rows),
                *scalars(rows.shape[1], sweeps), np.uint64(request.seed),
                *scalars(request.replicas.start, first, every, track), self.factors,
                np.int64(self.constant), np.int64(request.model.n), *series, path,
                zeros((2, replicas, 2), np.uint64), calls, zeros((replicas,), np.uint32),
            ],
            together=self.blocks > 1,
        )  # fmt: skip
        seen = [get(part)[:samples].T for part in series]
        seen.append(get(path)[: sweeps if track else 0].T)
        counts = self._counts(sweeps, int(get(total).sum()), int(get(calls)[0]))
        return (seen[0], seen[1], seen[2], seen[3]), counts

    def _counts(self, sweeps: int, flips: int, calls: int) -> Counts:
        p, c, replicas = self.program, self.program.colouring, len(self.request.replicas)
        words = sweeps * replicas * c.colours * self.items
        neighbours = sum(not slot.field for slot in p.slots)
        planes = neighbours + sum(slot.sign + slot.present for slot in p.slots)
        return Counts(
            attempted=sweeps * replicas * self.request.model.n,
            flips=flips,
            random_words=16 * words + 4 * calls,
            couplings=sweeps * replicas * self.request.model.csr.nnz,
            bytes=words * (8 * (2 + planes) + 4 * planes),  # spins, planes, their rows
        )


def shared_bytes(classes: int) -> int:
    """Of a block of lattice.cu at most: masks, columns, places, and queues of 64 words; a device
    keeps 1024 more of each block."""
    digits = max(1, (classes - 1).bit_length())
    return 256 * classes + THREADS * 40 + THREADS // 32 * (64 * (16 + 8 * digits) + 16) + 64


def _blocks(resident: int, items: int, replicas: int) -> int:
    """One block where replicas fill the device or are small; else as many as are resident."""
    room = resident // replicas
    return max(1, min(-(-items // THREADS), room)) if items > 4 * THREADS else 1
