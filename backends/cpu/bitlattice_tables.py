"""What a bit-plane kernel reads besides spins, laid out in memory: planes, rows, descriptors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from isingnpu.dynamics import Dynamics
from isingnpu.program import Plane, Program

from . import bitlattice_code as code

Array = NDArray[Any]
ALIGNED = 8  # words; rows start on cache lines


def aligned(words: int) -> Array:
    """(words,) zeros of uint64 that start on a cache line."""
    memory = np.zeros(words + ALIGNED, np.uint64)
    start = -(memory.ctypes.data // 8) % ALIGNED
    return memory[start : start + words]


def lanes() -> int:
    """64-bit words per vector: what the registers of this processor hold, or two of them."""
    features = cpu_target.target_context.codegen()._tm_features
    return 8 if "+avx512f" in features.split(",") else 4


class Tables:
    """What all replicas of a program share: planes, row offsets, and the code's configuration."""

    def __init__(self, program: Program, dynamics: Dynamics, rounds: int) -> None:
        c, width = program.colouring, lanes()
        self.program = program
        self.vectors = -(-c.words // width)
        self.stride = -(-c.words // ALIGNED) * ALIGNED + ALIGNED  # words of a row
        self.config = code.Kernel(
            slots=program.slots,
            rounds=rounds,
            heat_bath=dynamics.heat_bath,
            masked=program.masked or c.words % width != 0,
            ragged=program.masked,
            closed=program.closed,
            lanes=width,
            together=4 if width == 8 else 1,
        )
        self.kept: list[Array] = []  # memory that descriptors point to
        self.fixed = np.array([self._descriptor(colour) for colour in range(c.colours)], np.uint64)
        self.sources = np.array(
            [[max(term.source, 0) for term in terms] for terms in program.terms], np.int64
        )
        self.ends = self._ends()
        self.factors, self.constant = program.energy()

    def _keep(self, memory: Array) -> int:
        self.kept.append(memory)
        return int(memory.ctypes.data)

    def _plane(self, plane: Plane | None) -> tuple[int, int]:
        """Addresses of a plane and of the byte offsets of its rows."""
        if plane is None:
            return 0, 0
        k, words = plane.bits.shape
        size = self.stride
        memory = aligned(k * size)
        memory.reshape(k, size)[:, :words] = plane.bits
        return self._keep(memory), self._keep(np.asarray(plane.index * (8 * size), np.int64))

    def _descriptor(self, colour: int) -> list[int]:
        """All but the addresses of spins."""
        fields = [0, 8 * self.stride, *self._plane(self.program.valid[colour])]
        for term in self.program.terms[colour]:
            offsets = (term.row.astype(np.int64) * self.stride + term.shift) * 8
            fields += [0, self._keep(offsets), *self._plane(term.sign), *self._plane(term.present)]
        return fields

    def _ends(self) -> Array:
        """What `close` asks for; rows of an axis that goes around all have the same columns."""
        c = self.program.colouring
        columns = c.shape[-1] // c.period
        ends = np.array([8 * c.words, 0, 0, 0, 0, 0], np.uint64)
        if self.program.closed:
            last = columns - 1
            ends[1:3] = 8 * (columns % c.words), columns // c.words
            ends[3:5] = 8 * (last % c.words), last // c.words
            ends[5] = np.uint64(2**64 - 1) if self.program.seam else 0
        return ends

    def descriptors(self, spins: Array) -> Array:
        """(colours, fields) for the spins of one replica."""
        table = self.fixed.copy()
        c = self.program.colouring
        per_colour = 8 * c.rows * self.stride
        base = spins.ctypes.data
        table[:, code.OWN] = base + per_colour * np.arange(c.colours)
        for k in range(len(self.program.slots)):
            table[:, code.SLOTS + code.PER_SLOT * k] = base + per_colour * self.sources[:, k]
        return table
