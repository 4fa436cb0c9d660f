"""What lattices and graphs share: where things lie, and the drawing of bonds and coins.

Replicas of a block stand one after the other in an array of words, so that eight words of small
models are of several replicas. Kernels hand addresses on: arrays would be counted as references.
"""

# mypy: allow-untyped-decorators, disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .clusters_code import coin_words, first_planes, first_sites, lowest, next_planes

U = np.uint64
ONE, SIX, ALL = U(1), U(6), U(0xFFFFFFFFFFFFFFFF)
LOW6 = U(63)
PAD = 16  # words before and after those of the spins, so that any shifted load stays inside
CALLS = U(32)
PLACE_BYTES = U(128)


@njit(inline="always")
def decide(code: Any, bits: Any, place: Any, slot: Any, clock: Any, draw: Any,
           limits: Any) -> Any:  # fmt: skip
    """Make the bonds of bits[:8] to be decided into the active ones, bits[8:]; returns the calls.

    All are numbers: bits, place and limits addresses, draw those of round keys and the stream."""
    keys, use = draw
    left = first_planes(code, bits, place, slot, clock, use, keys, limits)
    call = U(4)
    while left != U(0) and call < CALLS:
        left = next_planes(code, bits, place, slot, clock, use, call, keys, limits)
        call += ONE
    return call


@njit
def toss_coins(code: Any, coins: Any, places: Any, clock: Any, keys: Any, use: Any) -> Any:
    """A coin for every site; returns the vector calls made."""
    out, place, key = U(coins.ctypes.data), U(places.ctypes.data), U(keys.ctypes.data)
    for group in range(places.shape[0]):
        at = place + PLACE_BYTES * U(group)
        coin_words(code, out + U(64 * group), at, clock, use, key)
    return U(places.shape[0])


@njit
def draw_sites(code: Any, sites: Any, tags: Any, n: Any, clock: Any, keys: Any, use: Any) -> None:
    """First sites of Wolff clusters of up to eight replicas; tags: as places of word 0."""
    out, tag = U(sites.ctypes.data), U(tags.ctypes.data)
    first_sites(code, out, tag, U(n), clock, use, U(keys.ctypes.data))


@njit(inline="always")
def join(parent: Any, u: Any, v: Any) -> None:
    """Put two sites into one cluster.

    `parent` holds for each site another one of the same cluster, never a larger one, so that a
    cluster's root is its smallest site. Union-find with splicing: Rem in Dijkstra, A Discipline of
    Programming (1976), chapter 23; compared by Patwary, Blair, Manne, SEA 2010."""
    while parent[u] != parent[v]:
        if parent[u] < parent[v]:
            u, v = v, u
        above = U(parent[u])
        parent[u] = parent[v]
        if above == u:
            break
        u = above


@njit
def size_sums(code: Any, first: Any, last: Any, heads: Any, sizes: Any) -> Any:
    """sum |c|^2, and sum |c|^4 in float64 in the order of the roots, of clusters whose roots are
    the bits of heads[first:last]."""
    squares, fourths = np.int64(0), 0.0
    for word in range(first, last):
        left = heads[word]
        while left != U(0):
            size = np.int64(sizes[(U(word) << SIX) | lowest(code, left)])
            left &= left - ONE
            square = size * size
            squares += square
            fourths += float(square) * float(square)
    return squares, fourths
