"""Kernel of the flat-histogram walk: isingnpu.criticality.flat_walk bit for bit.

Words are drawn and turned into sites and barriers for BATCH steps at a time, loops that LLVM makes
vector code of; the steps themselves take no branch that depends on a random number.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit, uint32, uint64

from isingnpu.rng import Stream

if TYPE_CHECKING:
    from isingnpu.criticality.flat_walk import Landscape, Walker

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85

BATCH = 1024
HALF = BATCH // 2

LN2 = 0.6931471805599453
ROOT2 = 1.4142135623730951
MANTISSA = 0xFFFFFFFFFFFFF
ONE = 1023 << 52


@njit(inline="always")
def _round(x0, x1, x2, x3, k0, k1):
    p0 = uint64(M0) * uint64(x0)
    p1 = uint64(M1) * uint64(x2)
    return (
        uint32(uint32(p1 >> uint64(32)) ^ x1 ^ k0),
        uint32(p1),
        uint32(uint32(p0 >> uint64(32)) ^ x3 ^ k1),
        uint32(p0),
    )


@njit(nogil=True)
def _draw(low, high, block, walker, stream, k0, k1):
    """Words 2b and 2b + 1 of Philox4x32-10 blocks block + b, b < HALF."""
    for b in range(HALF):
        c = uint64(block) + uint64(b)
        x0, x1, x2, x3 = uint32(c), uint32(c >> uint64(32)), uint32(walker), uint32(stream)
        a0, a1 = k0, k1
        for _ in range(10):
            x0, x1, x2, x3 = _round(x0, x1, x2, x3, a0, a1)
            a0, a1 = uint32(a0 + uint32(W0)), uint32(a1 + uint32(W1))
        low[b] = uint64(x0) | (uint64(x1) << uint64(32))
        high[b] = uint64(x2) | (uint64(x3) << uint64(32))


@njit(nogil=True, error_model="numpy")
def _decode(words, n, sites, barriers, x, bits, exponent):
    """Sites (word >> 40) n >> 24 and barriers -ln u 2^40 of u = (word mod 2^40 + 1/2) 2^-40.

    bits: x as integers. ln m = 2 atanh f, f = (m - 1) / (m + 1), m in (1 / sqrt 2, sqrt 2]."""
    for k in range(HALF):
        word = words[k]
        sites[k] = np.int64(((word >> uint64(40)) * n) >> uint64(24))
        x[k] = np.float64(np.int64(word & uint64((1 << 40) - 1))) + 0.5
    for k in range(HALF):
        b = bits[k]
        exponent[k] = np.float64((b >> 52) - 1063)
        bits[k] = (b & MANTISSA) | ONE
    for k in range(HALF):
        m, e = x[k], exponent[k]
        large = m > ROOT2
        m = m * 0.5 if large else m
        e = e + 1.0 if large else e
        f = (m - 1.0) / (m + 1.0)
        g = f * f
        p = g * (1 / 19) + 1 / 17
        p = p * g + 1 / 15
        p = p * g + 1 / 13
        p = p * g + 1 / 11
        p = p * g + 1 / 9
        p = p * g + 1 / 7
        p = p * g + 1 / 5
        p = p * g + 1 / 3
        p = (p * g + 1.0) * (2.0 * f)
        barriers[k] = np.int64((p + e * LN2) * -1099511627776.0)


@njit(inline="always")
def _step(site, barrier, spins, near, weights, slots, fields, ln_g, level, here, increment):
    """One proposed flip: (level, ln g there) after it, found levels included."""
    site = uint64(site)
    spin = np.int64(spins[site])
    local = np.int64(fields[site])
    row, end = uint64(site * slots), uint64((site + uint64(1)) * slots)
    while row < end:  # four neighbours at a time; spare slots have weight 0
        local += (
            np.int64(weights[row]) * np.int64(spins[near[row]])
            + np.int64(weights[row + uint64(1)]) * np.int64(spins[near[row + uint64(1)]])
            + np.int64(weights[row + uint64(2)]) * np.int64(spins[near[row + uint64(2)]])
            + np.int64(weights[row + uint64(3)]) * np.int64(spins[near[row + uint64(3)]])
        )
        row += uint64(4)
    change = spin * local
    there = ln_g[uint64(level + change)]
    if there < 0:  # never visited
        there = here
    rise = there - here
    accepted = (rise - barrier) >> 63  # -1 or 0
    level += change & accepted
    here += (rise & accepted) + increment
    ln_g[uint64(level)] = here
    spins[site] = spin - 2 * (spin & accepted)
    return level, here


@njit(nogil=True, cache=True)
def walk(
    spins, near, weights, fields, ln_g, level, increment, first, batches, walker, stream, seed
):
    """`batches` times BATCH steps from step `first` on; returns the level, changes spins, ln_g."""
    k0, k1 = uint32(seed & uint64(0xFFFFFFFF)), uint32(seed >> uint64(32))
    n = uint64(len(fields))
    slots = uint64(len(near) // len(fields))
    low, high = np.empty(HALF, np.uint64), np.empty(HALF, np.uint64)
    sites = np.empty((2, HALF), np.int64)
    barriers = np.empty((2, HALF), np.int64)
    x, exponent = np.empty(HALF), np.empty(HALF)
    bits = x.view(np.int64)
    here = ln_g[level]
    for batch in range(batches):
        _draw(low, high, first // 2 + batch * HALF, walker, stream, k0, k1)
        _decode(low, n, sites[0], barriers[0], x, bits, exponent)
        _decode(high, n, sites[1], barriers[1], x, bits, exponent)
        for k in range(HALF):
            level, here = _step(
                sites[0, k], barriers[0, k], spins, near, weights, slots, fields, ln_g,
                level, here, increment,
            )  # fmt: skip
            level, here = _step(
                sites[1, k], barriers[1, k], spins, near, weights, slots, fields, ln_g,
                level, here, increment,
            )  # fmt: skip
    return level


def advance(land: Landscape, walker: Walker, increment: int, steps: int, seed: int) -> None:
    """flat_walk.walk without the interpreter."""
    walker.level = walk(
        walker.spins, land.near, land.weights, land.fields, walker.ln_g, walker.level, increment,
        walker.steps, steps // BATCH, walker.number, Stream.WANG_LANDAU << 5, np.uint64(seed),
    )  # fmt: skip
    walker.steps += steps
