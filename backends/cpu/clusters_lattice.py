"""Swendsen-Wang on hypercubic lattices: bonds as words of bits, clusters joined run by run.

A run is a maximal row of sites joined along the last axis within one word; its first site stands
for it. `parent` holds for each run the first site of another one of the same cluster, never a
larger one, so that a cluster's root is its smallest site.

Union-find with splicing: Rem in Dijkstra, A Discipline of Programming (1976), chapter 23;
compared by Patwary, Blair, Manne, SEA 2010.
"""

# mypy: allow-untyped-decorators, disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .clusters_code import (
    coin_words,
    first_planes,
    highest,
    lowest,
    next_planes,
    ones,
    satisfied,
)

U = np.uint64
ONE, SIX, ALL = U(1), U(6), U(0xFFFFFFFFFFFFFFFF)
LOW6 = U(63)
PAD = 16  # words before and after those of the lattice, so that any shifted load stays inside
CALLS = 32
# Columns of `axes`: where the words begin that hold another site of the bonds, and at which bit.
AHEAD, BACK, UP, FAR = 0, 2, 4, 6


@njit(inline="always")
def join(parent: Any, u: Any, v: Any) -> None:
    """Put two runs into one cluster."""
    while parent[u] != parent[v]:
        if parent[u] < parent[v]:
            u, v = v, u
        above = U(parent[u])
        parent[u] = parent[v]
        if above == u:
            break
        u = above


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


@njit
def count_satisfied(code: Any, group: Any, axis: Any, spins: Any, masks: Any, axes: Any,
                    bits: Any) -> Any:  # fmt: skip
    """Satisfied bonds of eight words of owners to bits[:8]; returns their number."""
    size = masks.shape[2]
    base = U(spins.ctypes.data)
    word = 8 * group
    ahead = min(word + axes[axis, AHEAD], size) + PAD
    back = max(word + axes[axis, BACK], -8) + PAD
    mask = U(masks.ctypes.data) + U(8 * (axis * size + word))
    return satisfied(
        code, base + U(8 * (word + PAD)), base + U(8 * ahead), U(axes[axis, AHEAD + 1]),
        base + U(8 * back), U(axes[axis, BACK + 1]), mask, U(8 * size * masks.shape[1]),
        U(bits.ctypes.data),
    )  # fmt: skip


@njit
def draw_bonds(code: Any, group: Any, axis: Any, clock: Any, last: Any, keys: Any, planes: Any,
               stride: Any, bits: Any) -> Any:  # fmt: skip
    """Make the bonds bits[:8] to be decided into the active ones bits[8:]; returns the calls."""
    state, key, plane = U(bits.ctypes.data), U(keys.ctypes.data), planes
    word, slot = U(8 * group), U(axis)
    left = first_planes(code, state, word, slot, clock, last, key, plane, stride)
    call = U(4)
    while left != U(0) and call < U(CALLS):
        plane = planes + U(2) * call * stride
        left = next_planes(code, state, word, slot, clock, last | call, key, plane, stride)
        call += ONE
    return call


@njit
def draw_group(code: Any, group: Any, clock: Any, spins: Any, lattice: Any, links: Any,
               loops: Any, bits: Any, limits: Any, draw: Any) -> Any:  # fmt: skip
    """Active bonds of eight words: `links` within the box and `loops` around it; returns the
    vector calls made."""
    masks, axes, _, _, _ = lattice
    word = 8 * group
    calls = U(0)
    for axis in range(axes.shape[0]):
        count_satisfied(code, group, axis, spins, masks, axes, bits)
        plane = U(limits.ctypes.data) + U(512 * axis)
        calls += draw_bonds(code, group, axis, clock, draw[1], draw[0], plane, U(8), bits)
        for k in range(8):
            around = masks[2, axis, word + k]
            links[axis, PAD + word + k] = bits[8 + k] & ~around
            loops[axis, PAD + word + k] = bits[8 + k] & around
    return calls


@njit
def draw_lattice(code: Any, clock: Any, spins: Any, lattice: Any, scratch: Any, limits: Any,
                 draw: Any) -> Any:  # fmt: skip
    """The active bonds of all words, the first sites of runs, and coins; returns the calls."""
    links, loops, starts, coins, _, _, bits = scratch
    valid = lattice[4]
    last = links.shape[0] - 1
    calls = U(0)
    for group in range(valid.size // 8):
        calls += draw_group(code, group, clock, spins, lattice, links, loops, bits, limits, draw)
        for word in range(8 * group, 8 * group + 8):
            starts[PAD + word] = ~(links[last, PAD + word] << ONE) & valid[word]
        out = U(coins.ctypes.data) + U(64 * group)
        coin_words(code, out, U(8 * group), clock, draw[2], U(draw[0].ctypes.data))
        calls += ONE
    return calls


@njit
def join_runs(code: Any, lattice: Any, scratch: Any) -> None:
    """Union-find over the runs, word by word; a word's bonds lead to earlier words."""
    _, axes, _, _, valid = lattice
    links, loops, starts, _, parent, _, _ = scratch
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
def flip_clusters(code: Any, spins: Any, lattice: Any, scratch: Any, measure: Any) -> Any:
    """Flip the clusters whose root has a coin; returns the number of spins flipped.

    parent becomes root << 1 | coin; measure: the sizes of all clusters go to their roots."""
    valid = lattice[4]
    _, _, starts, coins, parent, sizes, _ = scratch
    flipped = U(0)
    for word in range(valid.size):
        base, own = U(word) << SIX, starts[PAD + word]
        coin, down = coins[word], U(0)
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
                end = lowest(code, left) if left != U(0) else ones(code, valid[word])
                if above == run:
                    sizes[run] = 0
                sizes[made >> ONE] += end - place
        inner = ~own
        down = (down | (inner & ~(inner + (down << ONE)))) & valid[word]
        spins[PAD + word] ^= down
        flipped += ones(code, down)
    return flipped


@njit
def size_sums(lattice: Any, scratch: Any) -> Any:
    """sum |c|^2, and sum |c|^4 in float64 in the order of the roots."""
    valid = lattice[4]
    starts, parent, sizes = scratch[2], scratch[4], scratch[5]
    squares, fourths = np.int64(0), 0.0
    for word in range(valid.size):
        for k in range(64):
            site = U(64 * word + k)
            if (starts[PAD + word] >> U(k)) & ONE and (U(parent[site]) >> ONE) == site:
                square = np.int64(sizes[site]) * np.int64(sizes[site])
                squares += square
                fourths += float(square) * float(square)
    return squares, fourths


@njit
def energy(code: Any, spins: Any, lattice: Any, bits: Any) -> Any:
    """E in quanta: satisfied bonds count - |J|, the others + |J|."""
    masks, axes, magnitude, bonds, valid = lattice
    total = np.int64(0)
    for axis in range(axes.shape[0]):
        many = U(0)
        for group in range(valid.size // 8):
            many += count_satisfied(code, group, axis, spins, masks, axes, bits)
        total -= magnitude[axis] * (2 * np.int64(many) - bonds[axis])
    return total


@njit
def magnetization(code: Any, spins: Any, n: Any) -> Any:
    """sum_i s_i of spins as bits."""
    up = U(0)
    for word in spins[PAD : spins.size - PAD]:
        up += ones(code, word)
    return 2 * np.int64(up) - n


@njit
def projection(spins: Any, weights: Any, n: Any) -> Any:
    """sum_i weights[i] s_i for spins as bits."""
    total = 0.0
    for i in range(n):
        up = (spins[PAD + (i >> 6)] >> U(i & 63)) & ONE
        total += weights[i] if up else -weights[i]
    return total


@njit
def swendsen_wang(code: Any, clock: Any, spins: Any, lattice: Any, scratch: Any, limits: Any,
                  draw: Any, measure: Any) -> Any:  # fmt: skip
    """One sweep; returns spins flipped and vector calls."""
    calls = draw_lattice(code, clock, spins, lattice, scratch, limits, draw)
    join_runs(code, lattice, scratch)
    return flip_clusters(code, spins, lattice, scratch, measure), calls
