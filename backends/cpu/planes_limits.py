"""Thresholds as planes of bits, and how many classes of v or h each plane has to look at.

`limits.leaves` says what the leaves of a table are. Classes far up have thresholds whose first
planes are all zero, or all one for positive h: these need no leaf.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .planes_sweep import transposed

Array = NDArray[Any]
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
