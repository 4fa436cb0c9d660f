"""Wolff on hypercubic lattices: clusters of all replicas of a block grow eight words at a time.

The cluster is that of Swendsen-Wang which holds the first site. Groups of eight words wait for a
visit, in rising and falling order by turns, as paths lead far in few turns. One that is visited is
drawn if it was not, and takes in what its own bonds and those of its neighbours join to the
cluster, until nothing is added. Then the groups that it may reach wait.
"""

# mypy: allow-untyped-decorators, disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .clusters_code import (
    flip_words,
    highest,
    leads_out,
    lowest,
    ones,
    peek,
    spread_words,
    step_in,
)
from .clusters_draw import ALL, ONE, PAD, U
from .clusters_lattice import AHEAD, BACK, FAR, UP, addresses, draw_group


@njit(inline="always")
def away(code: Any, at: Any, group: Any, axis: Any, way: Any) -> Any:
    """Bytes from a group to where the words begin that lie that way, and at which bit; beyond the
    ends of the arrays only as far as their zeros reach."""
    axes, size = at[2], np.int64(at[8])
    row = axes + U(64) * axis + U(8 * way)
    word = np.int64(U(8) * group)
    there = min(max(word + np.int64(peek(code, row)), np.int64(-10)), size + 1)
    return U(8 * (there - word)), peek(code, row + U(8))


@njit(inline="always")
def take_in(code: Any, at: Any, joined: Any, fresh: Any, group: Any) -> Any:
    """Add to a group what one step and then its runs join to the cluster; whether this is more."""
    _, _, _, _, _, _, links, loops, size, d = at
    own = U(8) * (U(8) * group + U(PAD))
    line = U(8) * (size + U(2 * PAD))
    for axis in range(d):
        bonds = own + line * axis
        ahead, ahead_shift = away(code, at, group, axis, AHEAD)
        up, up_shift = away(code, at, group, axis, UP)
        step_in(code, fresh, joined + own, links + bonds, ahead, ahead_shift, up, up_shift)
        back, back_shift = away(code, at, group, axis, BACK)
        far, far_shift = away(code, at, group, axis, FAR)
        step_in(code, fresh, joined + own, loops + bonds, back, back_shift, far, far_shift)
    return spread_words(code, fresh, joined + own, links + own + line * (d - ONE)) != U(0)


@njit(inline="always")
def await_visit(first: Any, last: Any, group: Any, groups: Any, waiting: Any, span: Any) -> None:
    """Let the groups of the words first .. last wait, but not `group`.

    waiting: bits of the groups; span: how many wait, and the words of bits they may be in."""
    for other in range(max(first >> 3, 0), min((last >> 3) + 1, groups)):
        word, place = other >> 6, U(other & 63)
        new = (~waiting[word] >> place) & U(other != group)
        waiting[word] |= new << place
        span[0] += np.int64(new)
        span[1], span[2] = min(span[1], word), max(span[2], word)


@njit(inline="always")
def next_waiting(code: Any, group: Any, rising: Any, waiting: Any, span: Any) -> Any:
    """The next group that waits, from `group` upwards or downwards; -1 if none does."""
    word = group >> 6
    if rising:
        left = waiting[word] & (ALL << U(group & 63))
        while left == U(0) and word < span[2]:
            word += 1
            left = waiting[word]
        return 64 * word + np.int64(lowest(code, left)) if left != U(0) else -1
    left = waiting[word] & (ALL >> U(63 - (group & 63)))
    while left == U(0) and word > span[1]:
        word -= 1
        left = waiting[word]
    return 64 * word + np.int64(highest(code, left)) if left != U(0) else -1


@njit(inline="always")
def reach(code: Any, at: Any, joined: Any, valid: Any, group: Any, groups: Any, waiting: Any,
          span: Any) -> None:  # fmt: skip
    """Let the groups wait that the cluster may enter from this one."""
    _, masks, axes, _, _, _, links, loops, size, d = at
    own, line = U(64) * group + U(8 * PAD), U(8) * (size + U(2 * PAD))
    for axis in range(d):
        mask = U(8) * (axis * size + U(8) * group)
        far = masks + U(24) * size * d + mask
        under = (links + own + line * axis, loops + own + line * axis, valid + U(64) * group, far)
        for k, way in enumerate((AHEAD, BACK, UP, FAR)):
            there, shift = away(code, at, group, axis, U(way))
            if leads_out(code, joined + own, under[k], there, shift) != U(0):
                word = np.int64(U(8) * group) + np.int64(
                    peek(code, axes + U(64) * axis + U(8 * way))
                )
                last = word + 7 + np.int64(shift != U(0))
                await_visit(word, last, np.int64(group), groups, waiting, span)


@njit
def grow(code: Any, live: Any, width: Any, mark: Any, clock: Any, spins: Any, lattice: Any,
         places: Any, scratch: Any, keys: Any, use: Any, flipped: Any) -> Any:  # fmt: skip
    """Grow and flip the clusters of the first sites of all replicas; returns the vector calls.

    scratch: links, loops, bits and limits as for Swendsen-Wang; drawn (groups,), the mark of the
    clock that a group was drawn for; joined, padded words, 0 between clusters; waiting, span: see
    `await_visit`; met, the groups of the clusters; first sites."""
    bits, drawn, joined, waiting = scratch[2], scratch[4], scratch[5], scratch[6]
    span, met, sites = scratch[7], scratch[8], scratch[-2]
    at, draw = addresses(spins, lattice, places, scratch), (U(keys.ctypes.data), use)
    into, fresh = U(joined.ctypes.data), U(bits.ctypes.data)
    valid, groups = U(lattice[4].ctypes.data), places.shape[0]
    calls, many, group, rising = U(0), 0, np.int64(sites[0] >> U(9)), True
    span[0], span[1], span[2] = 0, group >> 6, group >> 6
    for r in range(live):
        word = r * width + np.int64(sites[r] >> U(6))
        joined[PAD + word] |= ONE << (sites[r] & U(63))
        await_visit(word, word, -1, groups, waiting, span)
    while span[0] > 0:
        found = next_waiting(code, group, rising, waiting, span)
        if found < 0:
            rising = not rising
            continue
        group = found
        waiting[group >> 6] &= ~(ONE << U(group & 63))
        span[0] -= 1
        more = drawn[group] != mark
        if more:
            drawn[group] = mark
            met[many] = group
            many += 1
            calls += draw_group(code, at, draw, U(group), clock)
        for k in range(8):
            bits[k] = 0
        while take_in(code, at, into, fresh, U(group)):
            more = True
        if more:
            reach(code, at, into, valid, U(group), groups, waiting, span)
    for k in range(many):
        first = 8 * met[k]
        replica = first // width
        for word in range(first, first + 8):
            replica += np.int64(word == (replica + 1) * width)
            flipped[replica] += np.int64(ones(code, joined[PAD + word]))
        flip_words(code, at[0] + U(8 * first), into + U(8 * (first + PAD)))
    return calls
