"""Sites that a sweep may visit at once, although it visits them one after another."""

# mypy: allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


def levels(indptr: Array, indices: Array, order: Array) -> Array:
    """(n,) level of each site: 1 + the largest one of the neighbours visited before it, or 0.

    Sites of a level are not neighbours. Visiting level after level, in any order within one, a
    site sees the flips of exactly those neighbours that it sees in a sweep in `order`."""
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return np.asarray(
        _levels(indptr.astype(np.int64), indices.astype(np.int64), order.astype(np.int64), rank)
    )


@njit(cache=True)
def _levels(indptr: Array, indices: Array, order: Array, rank: Array) -> Array:
    level = np.zeros(order.size, np.int64)
    for k in range(order.size):
        site = order[k]
        for e in range(indptr[site], indptr[site + 1]):
            other = indices[e]
            if rank[other] < k and level[other] >= level[site]:
                level[site] = level[other] + 1
    return level
