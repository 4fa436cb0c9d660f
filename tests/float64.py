"""The device of the formulas: float64, NumPy and the specifications of units and draws alone."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from isingnpu.npu.draws import Draw, Stratified, uniforms
from isingnpu.npu.gibbs import sweep_blocks
from isingnpu.npu.units import HARD_TOWER, PLUS_MINUS, TOWER, Unit


class Float64Device:
    """Implements isingnpu.npu.device.Device slowly, for tiny machines."""

    name = "float64"
    xp = np
    window_bytes = 1 << 28

    def uniforms(self, shape, draw):
        return uniforms(shape, draw)

    def narrow_product(self, a, b):
        return a @ b

    def mean(self, unit, fields):
        return unit.mean(fields)

    def potential(self, unit, fields):
        return unit.potential(fields)

    def displacement(self, unit, fields, feedback, beta):
        return (unit.mean(fields + beta * feedback) - unit.mean(fields - beta * feedback)) / (
            2 * beta
        )

    def sample(self, unit, fields, draws, draw):
        return sum(
            raised(unit, fields, bit, u, count) / draws.draws
            for bit, u, count in numbers(unit, fields.shape, draws, draw)
        )

    def sampled_displacement(self, unit, fields, feedback, beta, draws, draw):
        ends = fields + beta * feedback, fields - beta * feedback
        up, down = (self.sample(unit, field, draws, draw) for field in ends)
        return (up - down) / (2 * beta)

    def gibbs(self, *args, **options):
        return sweep_blocks(self, *args, **options)

    def warp(self, images, rows, maps, mean):
        raise NotImplementedError

    def windows(self, states, field, stride, rows=None, out=None):
        states = states if rows is None else states[rows]
        view = np.lib.stride_tricks.sliding_window_view(states, (field, field), axis=(1, 2))
        view = view[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)
        return view.reshape(*view.shape[:3], -1)

    def add_windows(self, patches, shape, field, stride):
        out = np.zeros(shape)
        n, rows, columns, _ = patches.shape
        cells = patches.reshape(n, rows, columns, field, field, shape[3])
        for y in range(rows):
            for x in range(columns):
                top, left = y * stride, x * stride
                out[:, top : top + field, left : left + field] += cells[:, y, x]
        return out

    def winners(self, fields):
        n, height, width, c = fields.shape
        even = fields[:, : height // 2 * 2, : width // 2 * 2]
        cells = even.reshape(n, height // 2, 2, width // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
        cells = cells.reshape(n, height // 2, width // 2, 4, c)
        return cells.max(3), cells.argmax(3)

    def scatter_winners(self, values, index, shape):
        out = np.zeros(shape)
        for at, value in np.ndenumerate(values):
            i, y, x, c = at
            k = int(index[at])
            out[i, 2 * y + (k >> 1), 2 * x + (k & 1), c] = value
        return out


def numbers(unit: Unit, shape, draws, draw: Draw):
    """(spin of the unit, uniform numbers, stratified draws that share them)."""
    stratified = isinstance(draws, Stratified)
    for s in range(1 if stratified else draws.draws):
        for bit in range(unit.levels if unit.kind == TOWER else 1):
            u = uniforms((int(np.prod(shape)),), draw.at(block=draw.block << 16 | s << 6 | bit))
            yield bit, u.reshape(shape), draws.draws if stratified else 1


def raised(unit: Unit, fields, bit, u, count):
    """Sum of `count` stratified draws: floor(S p + u) of every spin."""
    if unit.kind == HARD_TOWER:
        return np.minimum(unit.levels * count, np.floor(np.maximum(fields, 0) * count + u))
    shifted = fields - bit - 0.5 if unit.kind == TOWER else fields
    p = expit(2 * shifted if unit.kind == PLUS_MINUS else shifted)
    up = np.floor(p * count + u)
    return 2 * up - count if unit.kind == PLUS_MINUS else up
