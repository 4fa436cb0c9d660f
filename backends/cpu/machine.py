"""The cpu device of machines of hidden spins: numpy for matrix products, numba for the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.npu.draws import Draw, Draws, Stratified
from isingnpu.npu.gibbs import sweep_blocks
from isingnpu.npu.units import TOWER, Unit

from . import machine_units as code
from .machine_sheets import CpuSheets
from .text import CpuText

Array = NDArray[Any]

UNPACKED = 100**3  # multiply-adds up to which OpenBLAS does not copy matrices before a product


class CpuDevice(CpuSheets, CpuText):
    """Implements isingnpu.npu.device.Device."""

    name = "cpu"
    xp: Any = np

    def uniforms(self, shape: tuple[int, ...], draw: Draw) -> Array:
        size = int(np.prod(shape))
        out = np.empty(((size + 3) // 4, 4), np.float32)
        k0, k1 = draw.seed & 0xFFFFFFFF, draw.seed >> 32
        code.uniforms(draw.block, draw.step, draw.last, k0, k1, out)
        return out.reshape(-1)[:size].reshape(shape)

    def narrow_product(self, a: Array, b: Array) -> Array:
        (n, inner), m = a.shape, b.shape[1]
        out = np.empty((n, m), a.dtype)
        piece = max(1, UNPACKED // (inner * min(n, m)) if out.size else 1)
        for i in range(0, max(n, m), piece):
            at = slice(i, i + piece)
            if n > m:
                np.matmul(a[at], b, out=out[at])
            else:
                np.matmul(a, b[:, at], out=out[:, at])
        return out

    def mean(self, unit: Unit, fields: Array, out: Array | None = None) -> Array:
        out = np.empty_like(fields) if out is None else out
        code.mean(unit.kind, unit.levels, fields.reshape(-1), out.reshape(-1))
        return out

    def potential(self, unit: Unit, fields: Array) -> Array:
        out = np.empty_like(fields)
        code.potential(unit.kind, unit.levels, fields.reshape(-1), out.reshape(-1))
        return out

    def sample(self, unit: Unit, fields: Array, draws: Draws, draw: Draw) -> Array:
        out = np.zeros_like(fields)
        for bit, u, together in self._numbers(unit, fields.size, draws, draw):
            code.add_sample(
                unit.kind, unit.levels, fields.reshape(-1), bit, u, together, out.reshape(-1)
            )
        return out if isinstance(draws, Stratified) else out / np.float32(draws.draws)

    def displacement(
        self,
        unit: Unit,
        fields: Array,
        feedback: Array,
        beta: float,
        out: Array | None = None,
    ) -> Array:
        out = np.empty_like(fields) if out is None else out
        code.displacement(
            unit.kind,
            unit.levels,
            fields.reshape(-1),
            feedback.reshape(-1),
            fields.dtype.type(beta),
            out.reshape(-1),
        )
        return out

    def sampled_displacement(
        self, unit: Unit, fields: Array, feedback: Array, beta: float, draws: Draws, draw: Draw
    ) -> Array:
        out = np.zeros_like(fields)
        for bit, u, together in self._numbers(unit, fields.size, draws, draw):
            code.add_sampled_displacement(
                unit.kind,
                unit.levels,
                fields.reshape(-1),
                feedback.reshape(-1),
                np.float32(beta),
                bit,
                u,
                together,
                out.reshape(-1),
            )
        return out if isinstance(draws, Stratified) else out / np.float32(draws.draws)

    def gibbs(
        self,
        unit: Unit,
        fields: Array,
        couplings: tuple[Array, Array],
        states: Array,
        betas: tuple[float, ...],
        replicas: int,
        draw: Draw,
        votes: Array | None = None,
    ) -> Array:
        given = fields, couplings, states, betas, replicas, draw, votes
        return np.asarray(sweep_blocks(self, unit, *given))

    def adam(
        self,
        couplings: Array,
        gradient: Array,
        moments: tuple[Array, Array],
        *,
        rate: float,
        decay: float,
        step: int,
        betas: tuple[float, float],
    ) -> None:
        first, second = moments
        b1, b2 = betas
        code.adam(
            couplings.reshape(-1),
            gradient.reshape(-1),
            first.reshape(-1),
            second.reshape(-1),
            np.float32(rate),
            np.float32(b1),
            np.float32(b2),
            np.float32(1 / (1 - b1**step)),
            np.float32(1 / (1 - b2**step)),
            np.float32(decay),
        )

    def _numbers(
        self, unit: Unit, size: int, draws: Draws, draw: Draw
    ) -> Any:  # iterator of (bit, uniform numbers, draws they serve)
        bits = unit.levels if unit.kind == TOWER else 1
        stratified = isinstance(draws, Stratified)
        for s in range(1 if stratified else draws.draws):
            for bit in range(bits):
                # one array of numbers per spin and independent draw: a block of its own
                place = draw.at(block=draw.block << 16 | s << 6 | bit)
                yield bit, self.uniforms((size,), place), draws.draws if stratified else 1


device = CpuDevice()
