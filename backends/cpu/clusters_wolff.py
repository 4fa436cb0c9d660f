"""Wolff on hypercubic lattices: a cluster grows word by word, and only words it meets are drawn.

The cluster is that of Swendsen-Wang which holds the first site. A word waits in a queue with the
sites that were reached in it; when it leaves, they spread along their runs, and on to other words.
"""

# mypy: allow-untyped-decorators, disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .clusters_code import ones
from .clusters_lattice import (
    AHEAD,
    BACK,
    FAR,
    LOW6,
    ONE,
    PAD,
    UP,
    U,
    draw_group,
    shifted,
)


@njit(inline="always")
def spread(bits: Any, links: Any) -> Any:
    """All positions of a word that links join to one of the bits; link k joins k and k + 1."""
    down, up = links, links << ONE
    for step in (U(1), U(2), U(4), U(8), U(16)):
        bits |= ((bits << step) & up) | ((bits >> step) & down)
        up &= up << step
        down &= down >> step
    return bits | ((bits << U(32)) & up) | ((bits >> U(32)) & down)


@njit(inline="always")
def reach(word: Any, bits: Any, joined: Any, waiting: Any, queue: Any, tail: Any) -> Any:
    """Sites of a word that the cluster has come to: the word waits for its turn. New tail."""
    new, before = bits & ~joined[word], waiting[word]
    waiting[word] = before | new
    queue[tail & (queue.size - 1)] = word
    tail += np.int64(new != U(0)) & np.int64(before == U(0))
    return tail


@njit(inline="always")
def reach_shifted(
    word: Any, shift: Any, bits: Any, joined: Any, waiting: Any, queue: Any, tail: Any
) -> Any:
    """The same for bits that begin `shift` bits into the word."""
    tail = reach(word, bits << shift, joined, waiting, queue, tail)
    if shift != U(0):
        over = (bits >> (LOW6 - shift)) >> ONE
        tail = reach(word + 1, over, joined, waiting, queue, tail)
    return tail


@njit
def grow(code: Any, site: Any, mark: Any, clock: Any, spins: Any, lattice: Any, scratch: Any,
         limits: Any, draw: Any) -> Any:  # fmt: skip
    """Grow and flip the cluster of a site; returns its size and the vector calls made.

    scratch: links, loops and bits as for Swendsen-Wang; drawn (groups,), the mark of the cluster
    that a group of words was drawn for; joined and waiting (words + 1,), 0 between clusters;
    queue, a ring; met, the words of the cluster."""
    masks, axes, _, _, valid = lattice
    links, loops, bits, drawn, joined, waiting, queue, met, _ = scratch
    d, size = axes.shape[0], valid.size
    calls, head, tail, many, flipped = U(0), 0, 0, np.int64(0), U(0)
    tail = reach(site >> 6, ONE << U(site & 63), joined, waiting, queue, tail)
    while head < tail:
        word = queue[head & (queue.size - 1)]
        head += 1
        new, waiting[word] = waiting[word], U(0)
        if drawn[word >> 3] != mark:
            drawn[word >> 3] = mark
            calls += draw_group(
                code, word >> 3, clock, spins, lattice, links, loops, bits, limits, draw
            )
        along = links[d - 1, PAD + word]
        new = spread(new, along)
        met[many] = word
        many += np.int64(joined[word] == U(0))
        joined[word] |= new
        flipped += ones(code, new)
        if (new & along) >> LOW6 != U(0):
            tail = reach(word + 1, ONE, joined, waiting, queue, tail)
        if new & ONE != U(0) and word > 0:
            if drawn[(word - 1) >> 3] != mark:
                drawn[(word - 1) >> 3] = mark
                calls += draw_group(
                    code, (word - 1) >> 3, clock, spins, lattice, links, loops, bits, limits, draw
                )
            end = links[d - 1, PAD + word - 1] >> LOW6
            if end != U(0):
                tail = reach(word - 1, ONE << LOW6, joined, waiting, queue, tail)
        for axis in range(d):
            for around in range(2):
                if around:
                    forward, way = new & loops[axis, PAD + word], BACK
                    back, away = new & masks[3, axis, word], FAR
                elif axis == d - 1:
                    continue
                else:
                    forward, way = new & links[axis, PAD + word], AHEAD
                    back, away = new, UP
                if forward != U(0):
                    at, shift = word + axes[axis, way], U(axes[axis, way + 1])
                    tail = reach_shifted(at, shift, forward, joined, waiting, queue, tail)
                at, shift = word + axes[axis, away], U(axes[axis, away + 1])
                if back == U(0) or at < -1 or at >= size:
                    continue
                for owner in range(max(at, 0), min(at + 2, size)):
                    if drawn[owner >> 3] != mark:
                        drawn[owner >> 3] = mark
                        calls += draw_group(
                            code,
                            owner >> 3,
                            clock,
                            spins,
                            lattice,
                            links,
                            loops,
                            bits,
                            limits,
                            draw,
                        )
                back &= shifted(loops[axis] if around else links[axis], at, shift)
                if back != U(0):
                    tail = reach_shifted(at, shift, back, joined, waiting, queue, tail)
    for k in range(many):
        word = met[k]
        spins[PAD + word] ^= joined[word]
        joined[word] = U(0)
    return flipped, calls
