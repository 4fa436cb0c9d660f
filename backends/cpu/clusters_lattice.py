"""Swendsen-Wang on hypercubic lattices: bonds as words of bits, clusters joined run by run.

A run is a maximal row of sites joined along the last axis within one word; its first site stands
for it in the union-find.
"""

# mypy: allow-untyped-decorators, disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .clusters_code import add_ones, highest, lowest, ones, part_bonds, peek, satisfied
from .clusters_draw import (
    ALL,
    LOW6,
    ONE,
    PAD,
    PLACE_BYTES,
    SIX,
    U,
    decide,
    join,
    toss_coins,
)

# Columns of `axes`: where the words begin that hold another site of the bonds, and at which bit.
AHEAD, BACK, UP, FAR = 0, 2, 4, 6


@njit(inline="always")
def run_of(code: Any, starts: Any, site: Any) -> Any:
    """First site of the run of a site."""
    word = site >> SIX
    begun = starts[U(PAD) + word] & (ALL >> (LOW6 - (site & LOW6)))
    return (word << SIX) | highest(code, begun)


@njit(inline="always")
def shifted(words: Any, word: Any, shift: Any) -> Any:
    """The 64 bits that begin `shift` bits into a word of a padded array."""
    at = PAD + word
    return (words[at] >> shift) | ((words[at + 1] << (LOW6 - shift)) << ONE)


@njit(inline="always")
def begun_before(bits: Any, joined: Any) -> Any:
    """Positions with a set bit below them in the same stretch; joined: bit k if k - 1 and k are
    in one stretch."""
    seen = bits
    for step in (U(1), U(2), U(4), U(8), U(16)):
        seen |= (seen << step) & joined
        joined &= joined << step
    seen |= (seen << U(32)) & joined
    return seen


@njit(inline="always")
def not_first(bits: Any, joined: Any) -> Any:
    """The set bits that have another below them in the same stretch."""
    return bits & (begun_before(bits, joined) << ONE) & joined


@njit(inline="always")
def addresses(spins: Any, lattice: Any, places: Any, scratch: Any) -> Any:
    """Where `draw_group` finds spins, masks, axes, places, limits, bits, links and loops; then the
    numbers of words and axes."""
    masks, axes, _, _, _ = lattice
    links, loops, bits, limits = scratch[0], scratch[1], scratch[2], scratch[3]
    return (
        U(spins.ctypes.data) + U(8 * PAD), U(masks.ctypes.data), U(axes.ctypes.data),
        U(places.ctypes.data), U(limits.ctypes.data), U(bits.ctypes.data),
        U(links.ctypes.data), U(loops.ctypes.data), U(masks.shape[2]), U(axes.shape[0]),
    )  # fmt: skip


@njit(inline="always")
def find_satisfied(code: Any, at: Any, group: Any, axis: Any) -> None:
    """Satisfied bonds of eight words of owners to the first words of bits."""
    spins, masks, axes, _, _, bits, _, _, size, d = at
    row = axes + U(64) * axis
    word, words = U(8) * group, np.int64(size)
    ahead = min(np.int64(word + peek(code, row + U(8 * AHEAD))), words)
    back = max(np.int64(word + peek(code, row + U(8 * BACK))), np.int64(-8))
    satisfied(
        code, spins + U(8) * word, spins + U(8 * ahead), peek(code, row + U(8 * AHEAD + 8)),
        spins + U(8 * back), peek(code, row + U(8 * BACK + 8)),
        masks + U(8) * (axis * size + word), U(8) * size * d, bits,
    )  # fmt: skip


@njit
def draw_group(code: Any, at: Any, draw: Any, group: Any, clock: Any) -> Any:
    """Active bonds of eight words: `links` within the box and `loops` around it; returns the
    vector calls made."""
    _, masks, _, places, limits, bits, links, loops, size, d = at
    calls, word = U(0), U(8) * group
    for axis in range(d):
        find_satisfied(code, at, group, axis)
        line = U(8) * (axis * size + word)
        place = places + PLACE_BYTES * group
        calls += decide(code, bits, place, axis, clock, draw, limits + line)
        padded = U(8) * (axis * (size + U(2 * PAD)) + word + U(PAD))
        around = masks + U(16) * size * d + line
        part_bonds(code, bits + U(64), around, links + padded, loops + padded)
    return calls


@njit
def draw_lattice(code: Any, clock: Any, spins: Any, lattice: Any, places: Any, scratch: Any,
                 draw: Any) -> Any:  # fmt: skip
    """The active bonds of all words, the first sites of runs, and coins; returns the calls."""
    links, starts, coins = scratch[0], scratch[4], scratch[5]
    valid, last, keys = lattice[4], links.shape[0] - 1, draw[0]
    at = addresses(spins, lattice, places, scratch)
    use = U(keys.ctypes.data), draw[1]
    calls = U(0)
    for group in range(places.shape[0]):
        calls += draw_group(code, at, use, U(group), clock)
    for word in range(valid.size):
        starts[PAD + word] = ~(links[last, PAD + word] << ONE) & valid[word]
    return calls + toss_coins(code, coins, places, clock, keys, draw[2])


@njit
def join_runs(code: Any, lattice: Any, scratch: Any) -> None:
    """Union-find over the runs, word by word; a word's bonds lead to earlier words."""
    _, axes, _, _, valid = lattice
    links, loops, starts, parent = scratch[0], scratch[1], scratch[4], scratch[6]
    d = axes.shape[0]
    for word in range(valid.size):
        base = U(word) << SIX
        for k in range(64):
            parent[64 * word + k] = 64 * word + k
        own = ~starts[PAD + word]
        for step in range(1, d):
            axis = d - 1 - step
            up, shift = max(word + axes[axis, UP], -2), U(axes[axis, UP + 1])
            bonds = shifted(links[axis], up, shift)
            top = ~shifted(starts, up, shift)
            stride = (U(-axes[axis, UP]) << SIX) - shift
            bonds &= ~not_first(bonds, own & top)
            if step == 1:
                first = bonds & ~not_first(bonds, own)
                bonds ^= first
                while first != U(0):
                    site = base | lowest(code, first)
                    first &= first - ONE
                    run = run_of(code, starts, site)
                    parent[run] = parent[run_of(code, starts, site - stride)]
            while bonds != U(0):
                site = base | lowest(code, bonds)
                bonds &= bonds - ONE
                join(parent, run_of(code, starts, site), run_of(code, starts, site - stride))
        if links[d - 1, PAD + word - 1] >> LOW6 != U(0):
            join(parent, base, run_of(code, starts, base - ONE))
        for axis in range(d):
            bonds = loops[axis, PAD + word]
            distance = (U(-axes[axis, BACK]) << SIX) - U(axes[axis, BACK + 1])
            while bonds != U(0):
                site = base | lowest(code, bonds)
                bonds &= bonds - ONE
                join(parent, run_of(code, starts, site), run_of(code, starts, site - distance))


@njit
def flip_clusters(code: Any, spins: Any, lattice: Any, scratch: Any, width: Any, flipped: Any,
                  measure: Any) -> None:  # fmt: skip
    """Flip the clusters whose root has a coin; the number of spins flipped goes to the replicas.

    parent becomes root << 1 | coin. measure: the sizes of all clusters go to their roots, and the
    roots to the bits of heads."""
    valid = lattice[4]
    starts, coins, parent = scratch[4], scratch[5], scratch[6]
    heads, sizes = scratch[7], scratch[8]
    for word in range(valid.size):
        base, own = U(word) << SIX, starts[PAD + word]
        coin, down, head = coins[word], U(0), U(0)
        left = own
        while left != U(0):
            place = lowest(code, left)
            left &= left - ONE
            run = base | place
            above = U(parent[run])
            made = (run << ONE) | ((coin >> place) & ONE) if above == run else U(parent[above])
            parent[run] = made
            down |= (made & ONE) << place
            if measure:
                length = lowest(code, left | ~valid[word]) - place
                root = made >> ONE
                head |= U(root == run) << place
                sizes[root] = (U(0) if root == run else U(sizes[root])) + length
        if measure:
            heads[word] = head
        inner = ~own
        down = (down | (inner & ~(inner + (down << ONE)))) & valid[word]
        spins[PAD + word] ^= down
        flipped[word // width] += np.int64(ones(code, down))


@njit
def energies(code: Any, spins: Any, lattice: Any, places: Any, scratch: Any, width: Any,
             now: Any) -> None:  # fmt: skip
    """E in quanta of each replica: satisfied bonds count - |J|, the others + |J|."""
    _, axes, magnitude, bonds, _ = lattice
    bits, sums = scratch[2], scratch[-1]
    at = addresses(spins, lattice, places, scratch)
    for word in range(sums.size):
        sums[word] = 0
    for axis in range(axes.shape[0]):
        for group in range(places.shape[0]):
            find_satisfied(code, at, U(group), U(axis))
            line = U(sums.ctypes.data) + U(64 * group)
            add_ones(code, U(bits.ctypes.data), U(-2 * magnitude[axis]), line)
    for r in range(now.size):
        now[r] = 0
        for axis in range(axes.shape[0]):
            now[r] += magnitude[axis] * bonds[axis]
        for word in range(r * width, (r + 1) * width):
            now[r] += sums[word]


@njit
def fill_limits(table: Any, rows: Any, width: Any, limits: Any) -> None:
    """Thresholds of every axis and word, by the row of the word's replica."""
    for axis in range(limits.shape[0]):
        for word in range(limits.shape[1]):
            limits[axis, word] = table[rows[min(word // width, rows.size - 1)], axis]


@njit
def swendsen_wang(code: Any, clock: Any, spins: Any, lattice: Any, places: Any, scratch: Any,
                  draw: Any, width: Any, flipped: Any, measure: Any) -> Any:  # fmt: skip
    """One sweep; returns the vector calls."""
    calls = draw_lattice(code, clock, spins, lattice, places, scratch, draw)
    join_runs(code, lattice, scratch)
    flip_clusters(code, spins, lattice, scratch, width, flipped, measure)
    return calls
