"""What decides a spin, in the forms that kernels of several backends read.

`dynamics.thresholds` says what T(v) and T(h) are; estimates of them decide early what they can.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Request
from isingnpu.dynamics import (
    Thresholds,
    check_betas,
    exponential_tables,
    fixed_point_constant,
    thresholds,
)

Array = NDArray[Any]

REACH = 64.0  # -log2 of the smallest estimate
SLACK = 2.0**-30  # relative error allowed for; thresholds and quotients are closer than that
NEVER = 45.0  # 2^64 exp(-45) < 1
SLOPES = 1e-300, 1e300  # 2 beta q, kept where quotients are finite
FULL = np.uint64(2**64 - 1)


def exact_limits(request: Request, betas: Array) -> tuple[Array, Array, Array, Array]:
    """(table, constant, cutoff, exponential) as in `dynamics.Thresholds`."""
    model = request.model.quantized
    if model.table:
        limits = thresholds(request.dynamics, betas, model)
        return limits.table, limits.constant, limits.cutoff, exponential_tables()
    wholes = [fixed_point_constant(float(beta), model.quantum) for beta in check_betas(betas)]
    halves = [(c >> 32, c & 0xFFFFFFFF) for c in wholes]
    # y = floor(v C / 2^32) and n >= 64 where y >= 2^54
    cutoff = [min(-(-(1 << 86) // c), 1 << 62) if c else 1 << 62 for c in wholes]
    return (
        np.zeros((len(betas), 0), np.uint64),
        np.array(halves, np.uint64).reshape(-1, 2),
        np.array(cutoff, np.int64),
        exponential_tables(),
    )


def estimates(betas: NDArray[np.float64], quantum: float) -> NDArray[np.int32]:
    """(k, cut) of each beta, (betas, 2) int32; k = -2 beta q log2(e) by the bits of its float32.

    k is at least -REACH and cut at least 1, so that cut k lies in -REACH .. -REACH / 2 wherever
    x can be beyond cut. cpu/lanes_estimate.py says what is made of them."""
    with np.errstate(over="ignore"):
        slope = np.minimum(2.0 * betas * quantum / np.log(2.0), REACH)
    with np.errstate(divide="ignore"):
        cut = np.minimum(np.floor(REACH / slope), 2.0**31 - 1)
    k = (-slope).astype(np.float32)
    return np.stack([k.view(np.int32), cut.astype(np.int64).astype(np.int32)], axis=-1)


def first_byte_edges(*, heat_bath: bool, bits: int = 8) -> Array:
    """Bounds of x = 2 beta q v, or h, over the integers r = 2^64 u of each first byte, (2, 256),
    or of other first bits, up to 16.

    Metropolis flips up to -ln u, heat bath turns up from ln(u / (1 - u)) on: the least and the
    largest of the byte, moved apart by the errors."""
    u = np.arange((1 << bits) + 1) / (1 << bits)
    with np.errstate(divide="ignore"):
        if heat_bath:
            turn = np.log(u) - np.log1p(-u)
            return np.stack([np.maximum(turn[:-1], -NEVER) - SLACK, turn[1:] + SLACK])
        turn = np.minimum(-np.log(u), NEVER)
    return np.stack([np.maximum(turn[1:] - SLACK, 0.0), turn[:-1] + SLACK])


# Thresholds as planes of bits.


def leaves(limits: Thresholds, number: int) -> Array:
    """Thresholds (betas, number, sides) of the leaves; classes that do not occur are beyond.

    Leaf j = 2 class + parity is T(v = j + 1) for Metropolis; for heat bath T(h = j), and beside
    it that of the negative field of the same class and parity, which is h = -(j + 2) for even j
    and h = -j for odd j."""
    j = np.arange(number)
    if not limits.heat_bath:
        found = np.zeros((len(limits.table), number, 1), np.uint64)
        inside = j < limits.bound
        found[:, inside, 0] = limits.table[:, 1 + j[inside]]
        return found
    found = np.zeros((len(limits.table), number, 2), np.uint64)
    found[:, :, 0] = FULL
    for side, h in enumerate((j, np.where(j % 2 == 0, -j - 2, -j))):
        inside = np.abs(h) <= limits.bound
        found[:, inside, side] = limits.table[:, limits.bound + h[inside]]
    return found


def needed(limits: Thresholds, classes: int, parities: tuple[int, ...], planes: int) -> Array:
    """(betas, planes) classes from the lowest one on whose bit may differ from those beyond:
    classes far up have thresholds whose first planes are all zero, or all one for h > 0."""
    found = leaves(limits, 2 * classes)
    if limits.heat_bath:
        found = found.copy()
        found[:, :, 0] = ~found[:, :, 0]
    largest = found.max(axis=2)
    need = np.zeros((len(largest), planes), np.int64)
    for parity in parities:
        own = largest[:, parity::2]
        for plane in range(planes):
            seen = own >> np.uint64(63 - plane) != 0
            rank = np.where(seen, np.arange(1, classes + 1), 0).max(axis=1)
            need[:, plane] = np.maximum(need[:, plane], rank)
    return need
