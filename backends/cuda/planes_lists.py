"""The couplings of a model as kernels/planes.cu reads them: lists of spins to count.

With x = 1 for a neighbour that favours spin up and weight |J_ij| (|h_i| for the field),

    S_i = sum_j |J_ij| + |h_i|,  X_i = sum of the weights with x = 1,  h = 2 X_i - S_i.

Binary digits of the weights have lists of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Request

from .levels import levels

Array = NDArray[Any]

# Few forms are compiled: numbers of bits of X - start and of digits are rounded up to these.
BITS = (3, 5, 7)
DIGITS = (1, 3, 7)
TURNED = np.uint32(1 << 31)  # of an entry that favours up where its spin is down


@dataclass(frozen=True, eq=False)
class PlaneLists:
    """Lists of one model, rule and order. Rows are sites sorted by level; row n is always down.

    order: (n,) site of each row. levels: (levels + 1,) first rows. place: (n, 4) uint32 site,
    -start, first pair, parity: X - start tells the sign of v or h, which is 1 + parity + 2 class
    (Metropolis) or parity + 2 class (heat bath). pairs: (n, digits) pairs of entries; entries:
    (pairs, 2) row | TURNED. edges: (edges, 2) row, row | TURNED, terms of the energy, each bit set
    where one is unsatisfied; those of digit d begin at cuts[d]. total: sum of all weights.
    bits: of X - start; parities: that occur."""

    order: Array
    levels: Array
    place: Array
    pairs: Array
    entries: Array
    edges: Array
    cuts: Array
    total: int
    bits: int
    parities: tuple[int, ...]

    @property
    def digits(self) -> int:
        """Binary digits of weights that have lists."""
        return len(self.cuts) - 1


def plane_lists(request: Request) -> PlaneLists:
    """The lists for this request."""
    model, csr, n = request.model.quantized, request.model.csr, request.model.n
    heat_bath, degree = request.dynamics.heat_bath, np.diff(csr.indptr)
    site_of = np.repeat(np.arange(n), degree)
    weight, field = np.abs(model.couplings), np.abs(model.fields)
    total = np.bincount(site_of, weights=weight, minlength=n).astype(np.int64) + field  # S_i
    start = (total + 1) // 2 if heat_bath else total // 2 + 1
    parity = (total % 2 == 0) != heat_bath
    level = levels(csr.indptr, csr.indices, request.layout.order)
    visited = np.empty(n, np.int64)
    visited[request.layout.order] = np.arange(n)
    order = np.lexsort((visited, degree, level))
    row = np.empty(n, np.int64)
    row[order] = np.arange(n)
    owner = np.concatenate([row[site_of], row])
    other = np.concatenate([row[csr.indices], np.full(n, n)])
    coupling = np.concatenate([model.couplings, -model.fields]).astype(np.int64)
    digits = _rounded(int(np.abs(coupling).max(initial=0)).bit_length(), DIGITS)
    pairs, entries = _entries(owner, other, coupling, digits, n)
    once = np.concatenate([site_of < csr.indices, np.ones(n, bool)])
    edges, cuts = _edges(owner[once], other[once], coupling[once], digits)
    firsts = np.cumsum(pairs.sum(axis=1)) - pairs.sum(axis=1)
    return PlaneLists(
        order=order,
        levels=np.concatenate([[0], np.cumsum(np.bincount(level))]).astype(np.uint32),
        place=np.stack([order, -start[order], firsts, parity[order]], axis=1).astype(np.uint32),
        pairs=pairs.astype(np.uint32),
        entries=entries,
        edges=edges,
        cuts=cuts,
        total=int(weight.sum()) // 2 + int(field.sum()),
        bits=_rounded((int(total.max(initial=0)) // 2).bit_length() + 1, BITS),
        parities=tuple(int(p) for p in np.unique(parity)) or (0,),
    )


def _rounded(number: int, up_to: tuple[int, ...]) -> int:
    return next(size for size in up_to if number <= size)


def _turned(rows: Array, coupling: Array) -> Array:
    return rows.astype(np.uint32) | np.where(coupling < 0, TURNED, np.uint32(0))


def _entries(
    owner: Array, other: Array, coupling: Array, digits: int, n: int
) -> tuple[Array, Array]:
    """Pairs of each row and digit (n, digits), and the entries (pairs, 2): row after row, digit
    after digit, an odd one beside row n."""
    bits = [np.flatnonzero(np.abs(coupling) >> d & 1) for d in range(digits)]
    lengths = np.stack([np.bincount(owner[used], minlength=n) for used in bits], axis=1)
    pairs = -(-lengths // 2)
    firsts = (np.cumsum(pairs) - pairs.ravel()).reshape(n, digits)
    entries = np.full(2 * int(pairs.sum()), n, np.uint32)
    for d, used in enumerate(bits):
        ordered = used[np.argsort(owner[used], kind="stable")]
        rows = owner[ordered]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        entries[2 * firsts[rows, d] + rank] = _turned(other[ordered], coupling[ordered])
    return pairs, entries.reshape(-1, 2)


def _edges(a: Array, b: Array, coupling: Array, digits: int) -> tuple[Array, Array]:
    """Terms of the energy (edges, 2) by digit, and where each digit's begin (digits + 1,)."""
    found = []
    for d in range(digits):
        used = np.flatnonzero(np.abs(coupling) >> d & 1)
        used = used[np.argsort(a[used], kind="stable")]
        found.append(
            np.stack([a[used].astype(np.uint32), _turned(b[used], coupling[used])], axis=1)
        )
    cuts = np.cumsum([0, *(len(part) for part in found)]).astype(np.uint32)
    return np.concatenate(found), cuts
