"""Swendsen-Wang and Wolff on any graph: bonds are drawn 512 at a time, then joined one by one.

A group is eight words of owners of one slot, and of one coupling magnitude where models have few.
`place` of a bond is its bit among the words of all groups; groups without bonds do not exist.
Sites are bits of the words of a block: site i of replica r is 64 width r + i.
"""

# mypy: allow-untyped-decorators, disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .clusters_code import lowest, ones
from .clusters_draw import ONE, PAD, PLACE_BYTES, SIX, U, decide, join, toss_coins

BEFORE = U(64 * PAD)
SLOT, EIGHT, KIND = range(3)  # columns of groups: the eighth words of owners stand in


@njit(inline="always")
def bit(words: Any, site: Any) -> Any:
    """The bit of a site."""
    return (words[site >> SIX] >> (site & U(63))) & ONE


@njit
def fill_planes(code: Any, graph: Any, group: Any, table: Any, rows: Any, width: Any,
                planes: Any) -> None:  # fmt: skip
    """All bits of the thresholds of 512 bonds, most significant first, to planes (64, 8)."""
    groups, kinds = graph[3], graph[4]
    for word in range(8):
        for k in range(64):
            planes[k, word] = 0
        replica = min((8 * groups[group, EIGHT] + word) // width, rows.size - 1)
        limits = table[rows[replica]]
        for b in range(64):
            left = limits[kinds[group, 64 * word + b]]
            while left != U(0):
                k = lowest(code, left)
                left &= left - ONE
                planes[63 - k, word] |= ONE << U(b)


@njit(inline="always")
def limits_of(code: Any, graph: Any, group: Any, table: Any, rows: Any, width: Any,
              scratch: Any) -> Any:  # fmt: skip
    """Address of the thresholds of a group, as `decide` takes them."""
    limits = scratch[2]
    if code.mixed:
        fill_planes(code, graph, group, table, rows, width, limits)
        return U(limits.ctypes.data)
    return U(limits.ctypes.data) + U(64 * group)


@njit
def draw_group(code: Any, group: Any, clock: Any, graph: Any, places: Any, scratch: Any,
               table: Any, rows: Any, width: Any, keys: Any, use: Any) -> Any:  # fmt: skip
    """Decide the bonds of a group, satisfied or not; returns the vector calls made."""
    groups, present = graph[3], graph[5]
    active, bits = scratch[0], scratch[1]
    limits = limits_of(code, graph, group, table, rows, width, scratch)
    for k in range(8):
        bits[k] = present[group, k]
    place = U(places.ctypes.data) + PLACE_BYTES * U(groups[group, EIGHT])
    draw = U(keys.ctypes.data), use
    slot = U(groups[group, SLOT])
    calls = decide(code, U(bits.ctypes.data), place, slot, clock, draw, limits)
    for k in range(8):
        active[8 * group + k] = bits[8 + k]
    return calls


@njit(inline="always")
def aligned_bonds(code: Any, graph: Any, group: Any, active: Any, spins: Any, pairs: Any) -> Any:
    """The active bonds of a group that are satisfied, as pairs of sites; returns their number."""
    groups, others, negative = graph[3], graph[6], graph[7]
    many = np.int64(0)
    for k in range(8):
        word = U(8 * groups[group, EIGHT] + k)
        own = spins[U(PAD) + word] ^ negative[group, k]
        left = active[8 * group + k]
        while left != U(0):
            lane = lowest(code, left)
            left &= left - ONE
            other = others[group, U(64 * k) + lane]
            pairs[many, 0], pairs[many, 1] = (word << SIX) | lane, other
            unlike = (own >> lane) ^ (spins[U(PAD) + (other >> SIX)] >> (other & U(63)))
            many += np.int64(~unlike & ONE)
    return many


@njit
def swendsen_wang(code: Any, clock: Any, spins: Any, graph: Any, places: Any, scratch: Any,
                  table: Any, rows: Any, draw: Any, width: Any, flipped: Any,
                  measure: Any) -> Any:  # fmt: skip
    """One sweep; returns the vector calls."""
    active, _, _, pairs, coins, parent, heads, sizes, _ = scratch
    keys, calls = draw[0], U(0)
    for i in range(parent.size):
        parent[i] = i
    for group in range(graph[3].shape[0]):
        calls += draw_group(
            code, group, clock, graph, places, scratch, table, rows, width, keys, draw[1]
        )
        for k in range(aligned_bonds(code, graph, group, active, spins, pairs)):
            join(parent, pairs[k, 0], pairs[k, 1])
    calls += toss_coins(code, coins, places, clock, keys, draw[2])
    for word in range(coins.size):
        coin, down, head = coins[word], U(0), U(0)
        for place in range(64):
            site = (U(word) << SIX) | U(place)
            above = U(parent[site])
            toss = (coin >> U(place)) & ONE
            made = (site << ONE) | toss if above == site else U(parent[above])
            parent[site] = made
            down |= (made & ONE) << U(place)
            if measure:
                root = made >> ONE
                head |= U(root == site) << U(place)
                sizes[root] = (U(0) if root == site else U(sizes[root])) + ONE
        down &= graph[8][word]
        if measure:
            heads[word] = head & graph[8][word]
        spins[PAD + word] ^= down
        flipped[word // width] += np.int64(ones(code, down))
    return calls


@njit
def grow(code: Any, site: Any, mark: Any, clock: Any, spins: Any, graph: Any, places: Any,
         scratch: Any, table: Any, rows: Any, width: Any, keys: Any, use: Any) -> Any:  # fmt: skip
    """Grow the cluster of a site and flip it, spin by spin; returns its size, vector calls and
    change of energy, the sum of what each flip changes.

    scratch: after those of `draw_group`, drawn (groups,), the mark of the clock that a group was
    drawn for; joined (words,), 0 between clusters; queue (sites,)."""
    indptr, indices, places_of, couplings = graph[0], graph[1], graph[2], graph[12]
    active, drawn, joined, queue = scratch[0], scratch[3], scratch[4], scratch[5]
    calls, change, head, tail = U(0), np.int64(0), U(0), ONE
    queue[head] = site
    joined[site] = 1
    while head < tail:
        i = U(queue[head])
        head += ONE
        own = bit(spins, BEFORE + i)
        for e in range(indptr[i], indptr[i + ONE]):
            j, place, coupling = U(indices[e]), places_of[e], couplings[e]
            group = place >> U(9)
            if drawn[group] != mark:
                drawn[group] = mark
                calls += draw_group(
                    code, group, clock, graph, places, scratch, table, rows, width, keys, use
                )
            apart = own ^ bit(spins, BEFORE + j)
            change += coupling * (1 - 2 * np.int64(apart))
            # spins that have flipped already are in `joined`, so what they say here is not used
            unlike = apart ^ (U(coupling) >> U(63))
            new = bit(active, place) & ~(unlike | U(joined[j]))
            queue[tail] = np.uint32(j)
            tail += new
            joined[j] |= np.uint8(new)
        spins[U(PAD) + (i >> SIX)] ^= ONE << (i & U(63))
    for k in range(tail):
        joined[U(queue[k])] = 0
    return tail, calls, 2 * change


@njit
def grow_all(code: Any, mark: Any, clock: Any, spins: Any, graph: Any, places: Any, scratch: Any,
             table: Any, rows: Any, width: Any, keys: Any, use: Any, flipped: Any,
             now: Any) -> Any:  # fmt: skip
    """Grow and flip the clusters of the first sites of all replicas; returns the vector calls."""
    sites, calls = scratch[-2], U(0)
    for r in range(rows.size):
        site = U(64 * width * r) + sites[r]
        size, made, change = grow(
            code, site, mark, clock, spins, graph, places, scratch, table, rows, width, keys, use
        )
        flipped[r] += np.int64(size)
        now[r] += change
        calls += made
    return calls


@njit
def energies(spins: Any, graph: Any, now: Any) -> None:
    """E in quanta of each replica."""
    ends, couplings = graph[9], graph[10]
    bonds = graph[11]
    for r in range(now.size):
        total = np.int64(0)
        for b in range(r * bonds, (r + 1) * bonds):
            unlike = bit(spins, BEFORE + U(ends[b, 0])) ^ bit(spins, BEFORE + U(ends[b, 1]))
            total -= couplings[b] * (1 - 2 * np.int64(unlike))
        now[r] = total


@njit
def fill_limits(graph: Any, table: Any, rows: Any, width: Any, limits: Any) -> None:
    """Thresholds of the eight words of every group, by the row of their replica."""
    groups = graph[3]
    for group in range(groups.shape[0]):
        for k in range(8):
            replica = min((8 * groups[group, EIGHT] + k) // width, rows.size - 1)
            limits[group, k] = table[rows[replica], groups[group, KIND]]
