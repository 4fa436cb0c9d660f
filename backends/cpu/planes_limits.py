"""Thresholds as planes of bits, and how many classes of v or h each plane has to look at.

Leaf j = 2 class + parity of a table is the bit of T(v = j + 1) for Metropolis; for heat bath that
of T(h = j), and beside it that of the negative field of the same class and parity, which is
h = -(j + 2) for even j and h = -j for odd j. Classes far up have thresholds whose first planes
are all zero, or all one for positive h: these need no leaf.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.dynamics import Thresholds

from .planes_sweep import transposed

Array = NDArray[Any]
FULL = np.uint64(2**64 - 1)
ONE = np.uint64(1)


@lru_cache(maxsize=64)
def ladder(classes: int, calls: int) -> tuple[tuple[int, ...], ...]:
    """Classes per call of Philox, two planes each, for the coldest betas first.

    T(v) falls exponentially: a class whose first bit stands in plane k has one of half the size
    in plane k / 2."""
    steps = []
    most = 2
    while True:
        most = min(most, classes)
        tapered = tuple(max(1, -(-most * (c + 1) // calls)) for c in range(calls))
        steps.append(tapered)
        if most == classes:
            return tuple(dict.fromkeys([*steps, (classes,) * calls]))
        most *= 2


def leaves(limits: Thresholds, number: int) -> Array:
    """Thresholds (betas, number, sides) of the leaves; classes that do not occur are beyond."""
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
    """(betas, planes) classes from the lowest one on whose bit may differ from those beyond."""
    thresholds = leaves(limits, 2 * classes)
    if limits.heat_bath:
        thresholds = thresholds.copy()
        thresholds[:, :, 0] = ~thresholds[:, :, 0]
    largest = thresholds.max(axis=2)
    need = np.zeros((len(largest), planes), np.int64)
    for parity in parities:
        own = largest[:, parity::2]
        for plane in range(planes):
            seen = own >> np.uint64(63 - plane) != 0
            rank = np.where(seen, np.arange(1, classes + 1), 0).max(axis=1)
            need[:, plane] = np.maximum(need[:, plane], rank)
    return need


def masks(thresholds: Array) -> Array:
    """(betas, 64 planes, leaves, sides) words of all ones or zeros from `leaves`."""
    shift = np.arange(63, -1, -1).astype(np.uint64)
    bits = thresholds[:, None] >> shift[:, None, None] & ONE
    return np.ascontiguousarray(np.uint64(0) - bits)


def own_masks(thresholds: Array, rows: Array) -> Array:
    """(patterns, 64 planes, leaves, sides, words) from `leaves` and rows (patterns, lanes); room
    behind it for a whole vector at the last place."""
    patterns, lanes = rows.shape
    shape = (patterns, 64, *thresholds.shape[1:], lanes // 64)
    found = np.zeros(int(np.prod(shape)) + 8, np.uint64)[:-8].reshape(shape)
    for pattern, row in enumerate(rows):
        transposed(thresholds, row, found[pattern])
    return found
