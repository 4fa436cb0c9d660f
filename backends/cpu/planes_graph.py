"""The couplings of a model as the bit-plane kernel reads them: lists of spins to count.

With x = 1 for a neighbour that favours spin up and weight |J_ij| (|h_i| for the field),

    S_i = sum_j |J_ij| + |h_i|,  X_i = sum of the weights with x = 1,  h = 2 X_i - S_i.

Sites are put into slots, the order in which the kernel visits them. Sites that are not coupled
may be visited in either order with the same result; slots are sorted by level, one more than the
highest level among the neighbours visited before, so that the sites of a level do not see each
other and every site still sees exactly the earlier flips of the order asked for.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from isingnpu.backend import Request

Array = NDArray[Any]
Parts = tuple[Array, Array, Array]  # of each term: its slot, the other slot, the coupling

GROUP = 16  # words that one step of a tally adds
BATCH = 64  # sites of one level that are visited before undecided replicas are settled
MOST_FIXED = 12  # entries up to which a list of equal length at every site is unrolled
MASK = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True, eq=False)
class PlaneGraph:
    """Lists of one model, rule and order. Slot n and those behind it hold words of zeros.

    site: (n,) site of each slot. entries: (entries, 2) uint32 slot and mask: x = word ^ mask;
    slot after slot, digit after digit of the weight, each digit's part filled up to whole blocks.
    visits: (n, 3 + digits) uint32 site, start of the counter, v parity, blocks of each digit.
    batches: (batches, 2) first slot and end. fixed: entries of each digit, if the same at every
    site, else (). edges: per digit (edges, 3) uint32 slot, slot, mask: the bit is set where the
    term is unsatisfied. total: sum of all weights, so E = 2 sum_d 2^d unsatisfied_d - total.
    """

    site: Array
    entries: Array
    visits: Array
    batches: Array
    fixed: tuple[int, ...]
    block: int
    digits: int
    bits: int
    classes: int
    edges: tuple[Array, ...]
    total: int


def plane_graph(request: Request) -> PlaneGraph:
    """The lists for this request."""
    model, csr, n = request.model.quantized, request.model.csr, request.model.n
    heat_bath = request.dynamics.heat_bath
    weight, field = np.abs(model.couplings), np.abs(model.fields)
    row = np.repeat(np.arange(n), np.diff(csr.indptr))
    total = np.bincount(row, weights=weight, minlength=n).astype(np.int64) + field  # S_i
    even = total % 2 == 0
    # the counter starts at -start, so that its sign tells the sign of v or h
    start = (total + 1) // 2 if heat_bath else total // 2 + 1
    order = request.layout.order.astype(np.int64)
    level = _levels(order, csr.indptr.astype(np.int64), csr.indices.astype(np.int64))
    length = np.diff(csr.indptr)
    visited = np.empty(n, np.int64)
    visited[order] = np.arange(n)
    site = np.lexsort((visited, length, level))
    slot = np.empty(n, np.int64)
    slot[site] = np.arange(n)
    parts = (
        np.concatenate([slot[row], slot]),
        np.concatenate([slot[csr.indices], np.full(n, n)]),
        np.concatenate([model.couplings, -model.fields]),  # x of a word of zeros is its mask
    )
    digits = max(1, int(np.abs(parts[2]).max(initial=0)).bit_length())
    counts = _counts(parts, digits, n)
    same = n > 0 and bool(np.all(counts == counts[:, :1]) and np.all(total == total[0]))
    few = same and counts[:, 0].sum() <= MOST_FIXED
    fixed = tuple(int(c) for c in counts[:, 0]) if few else ()
    if not heat_bath and not fixed:
        # v = 1 + parity + 2 class for either parity of S: even sums take their own -s
        own = slot[even], slot[even], np.full(int(even.sum()), -1)
        more = [np.concatenate(pair) for pair in zip(parts, own, strict=True)]
        parts = (more[0], more[1], more[2])
        counts = _counts(parts, digits, n)
    block = 1 if fixed else _best_block(counts)
    blocks = -(-counts // block)
    visits = np.concatenate([
        np.stack([site, start[site], (even != heat_bath)[site]]), blocks
    ]).T.astype(np.uint32)  # fmt: skip
    largest = int(total.max(initial=0))
    return PlaneGraph(
        site=site,
        entries=_entries(parts, blocks * block, n),
        visits=np.ascontiguousarray(visits),
        batches=_batches(level[site]),
        fixed=fixed,
        block=block,
        digits=digits,
        bits=max(2, (largest // 2).bit_length() + 1),
        classes=largest // 2 + 1 if heat_bath else max(1, (largest + 1) // 2),
        edges=_edges(request, slot, row, digits),
        total=int(weight.sum()) // 2 + int(field.sum()),
    )


@njit(cache=True)
def _levels(order, indptr, indices):
    """Level of each site: neighbours visited before it have lower ones, the others higher."""
    level = np.full(order.size, -1, np.int64)
    for site in order:
        highest = -1
        for j in indices[indptr[site] : indptr[site + 1]]:
            highest = max(highest, level[j])
        level[site] = highest + 1
    return level


def _counts(parts: Parts, digits: int, n: int) -> Array:
    """Entries of each digit and slot, (digits, n)."""
    owner, _, coupling = parts
    chosen = (owner[np.abs(coupling) >> d & 1 == 1] for d in range(digits))
    return np.stack([np.bincount(slots, minlength=n) for slots in chosen])


def _best_block(counts: Array) -> int:
    """Entries that one step of the counter takes: 4, 8 or 16, by the number of operations."""

    def cost(block: int) -> float:
        return float((-(-counts // block)).sum()) * (3 * block + 8)

    return min((4, 8, 16), key=cost)


def _entries(parts: Parts, room: Array, n: int) -> Array:
    """The entries of all slots; room: places for each digit and slot, (digits, n)."""
    owner, other, coupling = parts
    before = np.concatenate([np.zeros((1, n), np.int64), np.cumsum(room, axis=0)])
    first = np.concatenate([[0], np.cumsum(before[-1])])
    entries = np.zeros((int(first[-1]), 2), np.uint32)
    entries[:, 0] = n
    for d in range(len(room)):
        used = np.flatnonzero(np.abs(coupling) >> d & 1)
        used = used[np.argsort(owner[used], kind="stable")]
        slots = owner[used]
        rank = np.arange(len(used)) - np.searchsorted(slots, slots)
        place = first[slots] + before[d, slots] + rank
        entries[place, 0] = other[used]
        entries[place, 1] = np.where(coupling[used] < 0, MASK, 0)
    return entries


def _batches(level: Array) -> Array:
    """Slots of one level at a time, at most BATCH."""
    edges = np.flatnonzero(np.diff(level, prepend=-1, append=-1))
    cuts = [np.arange(a, b, BATCH) for a, b in itertools.pairwise(edges)]
    first = np.concatenate([*cuts, [len(level)]]).astype(np.int64)
    return np.stack([first[:-1], first[1:]], axis=1)


def _edges(request: Request, slot: Array, row: Array, digits: int) -> tuple[Array, ...]:
    """Terms of the energy by digit of their weight, each filled up to whole groups."""
    model, csr, n = request.model.quantized, request.model.csr, request.model.n
    once = row < csr.indices
    a = np.concatenate([slot[row[once]], slot])
    b = np.concatenate([slot[csr.indices[once]], np.full(n, n)])
    value = np.concatenate([model.couplings[once], -model.fields])
    found = []
    for d in range(digits):
        used = np.flatnonzero(np.abs(value) >> d & 1)
        used = used[np.argsort(a[used], kind="stable")]
        edges = np.zeros((-(-len(used) // GROUP) * GROUP, 3), np.uint32)
        edges[:, :2] = n
        edges[: len(used), 0], edges[: len(used), 1] = a[used], b[used]
        edges[: len(used), 2] = np.where(value[used] < 0, MASK, 0)
        found.append(edges)
    return tuple(found)
