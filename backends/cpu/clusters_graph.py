"""Swendsen-Wang and Wolff on any graph: bonds are drawn 512 at a time, then joined one by one.

A group is eight words of owners of one slot. `place` of a bond is its bit among the words of all
groups; groups without bonds do not exist.
"""

# mypy: allow-untyped-decorators, disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .clusters_code import coin_words, first_planes, next_planes
from .clusters_lattice import ONE, SIX, U, join


@njit(inline="always")
def fill_planes(thresholds: Any, first: Any, last: Any, planes: Any) -> None:
    """Bits first .. last - 1 of 512 thresholds, most significant first, into planes (64, 8)."""
    for k in range(first, last):
        for word in range(8):
            bits = U(0)
            for b in range(64):
                bits |= ((thresholds[64 * word + b] >> U(63 - k)) & ONE) << U(b)
            planes[k, word] = bits


@njit
def draw_group(code: Any, group: Any, clock: Any, limits: Any, graph: Any, scratch: Any,
               draw: Any) -> Any:  # fmt: skip
    """Decide the bonds of a group, satisfied or not; returns the vector calls made."""
    _, _, _, groups, kinds, present = graph
    active, planes, thresholds, bits = scratch[0], scratch[1], scratch[2], scratch[3]
    for k in range(512):
        thresholds[k] = limits[kinds[group, k]]
    for k in range(8):
        bits[k] = present[group, k]
    state, key, at = U(bits.ctypes.data), U(draw[0].ctypes.data), U(planes.ctypes.data)
    word, slot, stride = U(8 * groups[group, 1]), U(groups[group, 0]), U(64)
    fill_planes(thresholds, 0, 8, planes)
    left = first_planes(code, state, word, slot, clock, draw[1], key, at, stride)
    call = 4
    while left != U(0) and call < 32:
        fill_planes(thresholds, 2 * call, 2 * call + 2, planes)
        plane, last = at + U(2 * call) * stride, draw[1] | U(call)
        left = next_planes(code, state, word, slot, clock, last, key, plane, stride)
        call += 1
    for k in range(8):
        active[8 * group + k] = bits[8 + k]
    return U(call)


@njit(inline="always")
def is_active(active: Any, place: Any) -> Any:
    """Whether a bond was drawn as active."""
    return (active[place >> 6] >> U(place & 63)) & ONE != U(0)


@njit
def swendsen_wang(code: Any, clock: Any, spins: Any, graph: Any, scratch: Any, limits: Any,
                  draw: Any, measure: Any) -> Any:  # fmt: skip
    """One sweep; returns spins flipped and vector calls."""
    indptr, indices, edges, groups, _, _ = graph
    active, _, _, _, coins, parent, sizes = scratch
    keys, _, coin, _ = draw
    calls = U(0)
    for group in range(groups.shape[0]):
        calls += draw_group(code, group, clock, limits, graph, scratch, draw)
    for i in range(spins.size):
        parent[i] = i
    for i in range(spins.size):
        for e in range(indptr[i], indptr[i + 1]):
            j = indices[e]
            aligned = np.int64(spins[i]) * np.int64(spins[j]) * edges[e, 0]
            if j < i and aligned > 0 and is_active(active, edges[e, 1]):
                join(parent, U(i), U(j))
    for word in range(0, coins.size, 8):
        out = U(coins.ctypes.data) + U(8 * word)
        coin_words(code, out, U(word), clock, coin, U(keys.ctypes.data))
        calls += ONE
    flipped = U(0)
    for i in range(spins.size):
        site, above = U(i), U(parent[i])
        toss = (coins[site >> SIX] >> (site & U(63))) & ONE
        made = (site << ONE) | toss if above == site else U(parent[above])
        parent[i] = made
        if made & ONE != U(0):
            spins[i] = -spins[i]
            flipped += ONE
        if measure:
            if above == site:
                sizes[i] = 0
            sizes[made >> ONE] += 1
    return flipped, calls


@njit
def size_sums(scratch: Any) -> Any:
    """sum |c|^2, and sum |c|^4 in float64 in the order of the roots."""
    parent, sizes = scratch[5], scratch[6]
    squares, fourths = np.int64(0), 0.0
    for i in range(parent.size):
        if U(parent[i]) >> ONE == U(i):
            square = np.int64(sizes[i]) * np.int64(sizes[i])
            squares += square
            fourths += float(square) * float(square)
    return squares, fourths


@njit
def grow(code: Any, site: Any, mark: Any, clock: Any, spins: Any, graph: Any, scratch: Any,
         limits: Any, draw: Any) -> Any:  # fmt: skip
    """Grow and flip the cluster of a site; returns its size and the vector calls made.

    scratch: after those of `draw_group`, drawn (groups,) and member (sites,), the mark of the
    cluster that they were last used for; queue (sites,)."""
    indptr, indices, edges, _, _, _ = graph
    active, drawn, member, queue = scratch[0], scratch[4], scratch[5], scratch[6]
    calls, head, tail = U(0), 0, 1
    queue[0], member[site] = site, mark
    while head < tail:
        i = queue[head]
        head += 1
        for e in range(indptr[i], indptr[i + 1]):
            j = indices[e]
            if member[j] == mark or np.int64(spins[i]) * np.int64(spins[j]) * edges[e, 0] <= 0:
                continue
            place = edges[e, 1]
            if drawn[place >> 9] != mark:
                drawn[place >> 9] = mark
                calls += draw_group(code, place >> 9, clock, limits, graph, scratch, draw)
            if is_active(active, place):
                queue[tail], member[j] = j, mark
                tail += 1
    for k in range(tail):
        spins[queue[k]] = -spins[queue[k]]
    return U(tail), calls


@njit
def energy(spins: Any, graph: Any) -> Any:
    """E in quanta."""
    indptr, indices, edges, _, _, _ = graph
    total = np.int64(0)
    for i in range(spins.size):
        for e in range(indptr[i], indptr[i + 1]):
            j = indices[e]
            if j < i:
                total -= np.int64(spins[i]) * np.int64(spins[j]) * edges[e, 0]
    return total


@njit
def magnetization(spins: Any) -> Any:
    """sum_i s_i."""
    total = np.int64(0)
    for spin in spins:
        total += np.int64(spin)
    return total


@njit
def projection(spins: Any, weights: Any) -> Any:
    """sum_i weights[i] s_i."""
    total = 0.0
    for i in range(spins.size):
        total += weights[i] * spins[i]
    return total
