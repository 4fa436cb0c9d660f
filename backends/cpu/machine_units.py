"""Hidden spins in numba, float32: means, draws, nudged phases, the local rule.

The heat-bath law is tanh by a rational minimax fit, tanh(x) = z P(z^2) / Q(z^2) with z = x / 8 cut
to [-1, 1]: within 4e-7 of tanh everywhere, one division, no exponential, so that loops vectorise.
Philox is restated here because numba's cache does not see edits in other files.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
import math
from typing import Any

import numpy as np
from numba import njit, uint32, uint64

f4 = np.float32

# The default division check of numba keeps loops from being vectorised.
_options: Any = {"fastmath": True, "error_model": "numpy", "cache": True}
_inline: Any = {"fastmath": True, "error_model": "numpy", "inline": "always"}

P0, P1, P2 = f4(8.0), f4(66.45360565185547), f4(97.84059906005859)
P3, P4, P5 = f4(20.716968536376953), f4(-1.973547697067261), f4(0.20193341374397278)
Q1, Q2, Q3 = f4(29.64002227783203), f4(98.41831970214844), f4(62.18125915527344)
ONE, HALF, EIGHTH = f4(1), f4(0.5), f4(0.125)

BINARY, PLUS_MINUS, TOWER, HARD_TOWER = 0, 1, 2, 3
LANES = 64


@njit(**_inline)
def tanh(x):
    z = max(-ONE, min(ONE, x * EIGHTH))
    y = z * z
    p = P0 + y * (P1 + y * (P2 + y * (P3 + y * (P4 + y * P5))))
    return z * p / (ONE + y * (Q1 + y * (Q2 + y * Q3)))


@njit(**_inline)
def sigma(x):
    return HALF + HALF * tanh(x * HALF)


@njit(**_inline)
def _cut(x, levels):
    return max(f4(0), min(levels, x))


@njit(**_options)
def mean(kind, levels, f, out):
    """Expected states of a unit (isingnpu.npu.units)."""
    n, top = f.size, f4(levels)
    if kind == BINARY:
        for i in range(n):
            out[i] = sigma(f[i])
    elif kind == PLUS_MINUS:
        for i in range(n):
            out[i] = tanh(f[i])
    elif kind == HARD_TOWER:
        for i in range(n):
            out[i] = _cut(f[i], top)
    else:
        for i in range(n):
            out[i] = sigma(f[i] - HALF)
        for j in range(1, levels):
            shift = f4(j) + HALF
            for i in range(n):
                out[i] += sigma(f[i] - shift)


@njit(**_inline)
def _softplus(x):
    return max(f4(0), x) + f4(math.log(ONE + f4(math.exp(-abs(x)))))


@njit(**_options)
def potential(kind, levels, f, out):
    """The function whose derivative is the mean (isingnpu.npu.units)."""
    n, top = f.size, f4(levels)
    for i in range(n):
        if kind == BINARY:
            out[i] = _softplus(f[i])
        elif kind == PLUS_MINUS:
            out[i] = _softplus(f[i] + f[i]) - f[i]
        elif kind == HARD_TOWER:
            m = _cut(f[i], top)
            out[i] = HALF * m * m + top * max(f4(0), f[i] - top)
        else:
            out[i] = f4(0)
            for j in range(levels):
                out[i] += _softplus(f[i] - f4(j) - HALF)


@njit(**_options)
def displacement(kind, levels, f, k, beta, out):
    """(mean(f + beta k) - mean(f - beta k)) / (2 beta)."""
    n, top, scale = f.size, f4(levels), HALF / beta
    if kind == BINARY:
        for i in range(n):
            out[i] = scale * (sigma(f[i] + beta * k[i]) - sigma(f[i] - beta * k[i]))
    elif kind == PLUS_MINUS:
        for i in range(n):
            out[i] = scale * (tanh(f[i] + beta * k[i]) - tanh(f[i] - beta * k[i]))
    elif kind == HARD_TOWER:
        for i in range(n):
            out[i] = scale * (_cut(f[i] + beta * k[i], top) - _cut(f[i] - beta * k[i], top))
    else:
        for i in range(n):
            out[i] = f4(0)
        for j in range(levels):
            shift = f4(j) + HALF
            for i in range(n):
                g = f[i] - shift
                out[i] += scale * (sigma(g + beta * k[i]) - sigma(g - beta * k[i]))


@njit(**_inline)
def _raised(kind, levels, f, bit, u, draws):
    """Sum over stratified draws of spin `bit` of a unit; of all spins of a hard tower, whose
    draws are settled by one number: sum_s floor(f + (u + s) / S) = floor(S f + u)."""
    if kind == HARD_TOWER:
        return min(f4(levels) * draws, f4(math.floor(max(f4(0), f) * draws + u)))
    if kind == TOWER:
        return f4(math.floor(sigma(f - f4(bit) - HALF) * draws + u))
    if kind == PLUS_MINUS:
        return f4(2) * f4(math.floor(sigma(f + f) * draws + u)) - draws
    return f4(math.floor(sigma(f) * draws + u))


@njit(**_options)
def add_sample(kind, levels, f, bit, u, draws, out):
    """out += average over `draws` stratified draws that share the numbers u."""
    s = f4(draws)
    for i in range(f.size):
        out[i] += _raised(kind, levels, f[i], bit, u[i], s) / s


@njit(**_options)
def add_sampled_displacement(kind, levels, f, k, beta, bit, u, draws, out):
    """out += the displacement of the same draws in both nudged phases."""
    s = f4(draws)
    scale = HALF / (beta * s)
    for i in range(f.size):
        up = _raised(kind, levels, f[i] + beta * k[i], bit, u[i], s)
        down = _raised(kind, levels, f[i] - beta * k[i], bit, u[i], s)
        out[i] += scale * (up - down)


@njit(**_options)
def adam(w, g, m, v, rate, b1, b2, c1, c2, decay):
    for i in range(w.size):
        m[i] = b1 * m[i] + (ONE - b1) * g[i]
        v[i] = b2 * v[i] + (ONE - b2) * g[i] * g[i]
        w[i] += rate * (m[i] * c1 / (math.sqrt(v[i] * c2) + f4(1e-7)) - decay * w[i])


@njit(inline="always")
def _round(x0, x1, x2, x3, k0, k1):
    p0 = uint64(0xD2511F53) * uint64(x0)
    p1 = uint64(0xCD9E8D57) * uint64(x2)
    return (
        uint32(uint32(p1 >> uint64(32)) ^ x1 ^ k0),
        uint32(p1),
        uint32(uint32(p0 >> uint64(32)) ^ x3 ^ k1),
        uint32(p0),
    )


@njit(cache=True)
def uniforms(c1, c2, c3, k0, k1, out):
    """(blocks, 4) float32: (word >> 8) 2^-24 of Philox4x32-10 at counter (block, c1, c2, c3).

    Words are gathered by kind and sorted afterwards: neighbours in memory come from one block,
    which would keep the rounds from being vectorised."""
    words = np.empty((4, LANES), np.uint32)
    for first in range(0, out.shape[0], LANES):
        for lane in range(LANES):
            x0, x1, x2, x3 = uint32(first + lane), uint32(c1), uint32(c2), uint32(c3)
            a0, a1 = uint32(k0), uint32(k1)
            for _ in range(10):
                x0, x1, x2, x3 = _round(x0, x1, x2, x3, a0, a1)
                a0, a1 = uint32(a0 + uint32(0x9E3779B9)), uint32(a1 + uint32(0xBB67AE85))
            words[0, lane], words[1, lane], words[2, lane], words[3, lane] = x0, x1, x2, x3
        for lane in range(min(LANES, out.shape[0] - first)):
            for c in range(4):
                out[first + lane, c] = f4(words[c, lane] >> uint32(8)) * f4(2.0**-24)
