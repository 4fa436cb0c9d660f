"""Fields of whole contexts on the output spin, learned by a local rule: n-gram Potts fields.

    g_y += sum_k alpha_k[s, s'] T_k[x_{t-k} .. x_{t-1}, y]

A context of k tokens has a row of its own, or shares one with others that have the same hash. A
row moves by the error it sees, e_y = delta_y - p_y, with a step of its own (AdaGrad: Duchi, Hazan
and Singer, JMLR 12, 2121, 2011):  A += |e|^2,  T += rate / sqrt(A + 0.1) e.

Held-out learning: the training text is cut into folds, and the rows keep apart what each fold has
written. A position of fold f sees T - T_f, the field that the other folds have learned, so that
gains and the rest of the machine learn with fields of unseen text: with its own fold in it a row
remembers its answer, and a machine that learns beside it learns to trust it too much.

alpha is a gain by evidence: class s of a row is 0 without any, else 1 and one more for each factor
of 2^(2/3) in 1 + A - A_f; s' is the class of the next longer context of the position that has
evidence, 0 where none has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

EVIDENCE_CLASSES = 16
MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class NgramFields:
    """orders: context lengths, 1 to 8; folds of held-out learning; bits: None for a row per
    distinct context of the training text, or 2^bits hashed rows per order; rate: of the rows;
    decay: of a fold's part of a row at each visit, times the rate; start: first gain."""

    orders: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    folds: int = 20
    bits: int | None = None
    rate: float = 0.5
    decay: float = 0.0
    start: float = 1.0

    def __post_init__(self) -> None:
        if not self.orders or list(self.orders) != sorted(set(self.orders)):
            raise ValueError(f"orders must rise, got {self.orders}")
        if self.orders[0] < 1 or self.orders[-1] > 8:
            raise ValueError(f"orders must lie in 1..8, got {self.orders}")
        if self.folds < 2:
            raise ValueError(f"held-out learning needs at least 2 folds, got {self.folds}")
        if self.bits is not None and not 1 <= self.bits <= 26:
            raise ValueError(f"bits must be None or lie in 1..26, got {self.bits}")

    def keys(self, tokens: Array, low: int, high: int, order: int) -> Array:
        """(high - low,) uint64: the context before each position, one byte a token."""
        key = np.zeros(high - low, np.uint64)
        for back in range(order, 0, -1):
            key = key << np.uint64(8) | tokens[low - back : high - back].astype(np.uint64)
        return key

    def sorted_keys(
        self, tokens: Array, low: int, high: int
    ) -> Iterator[tuple[Array, Array, Array]]:
        """For every order: the distinct keys of low..high - 1, rising; the positions - low in the
        order of their keys; (high - low,) which distinct key each of these has.

        One radix sort from the last token backwards, a byte at a time: what is sorted by k tokens
        is on its way to be sorted by k + 1."""
        place, key = np.arange(high - low), np.zeros(high - low, np.uint64)
        for back in range(1, self.orders[-1] + 1):
            token = tokens[place + (low - back)]
            turn = np.argsort(token, kind="stable")
            place = place[turn]
            key = key[turn] | token[turn].astype(np.uint64) << np.uint64(8 * (back - 1))
            if back in self.orders:
                new = np.append(True, key[1:] != key[:-1])[: len(key)]
                yield key[new], place, np.cumsum(new) - 1


class ContextRows:
    """Which row a context has. `contexts`: the sorted keys of each order, empty if hashed."""

    def __init__(self, spec: NgramFields, contexts: list[Array]) -> None:
        self.spec, self.contexts = spec, contexts
        sizes = [len(c) if spec.bits is None else 1 << spec.bits for c in contexts]
        self.offsets = np.concatenate([[0], np.cumsum(sizes)])

    @classmethod
    def of(cls, spec: NgramFields, tokens: Array, low: int, high: int) -> ContextRows:
        """The rows for the training positions low..high - 1."""
        if spec.bits is not None:
            return cls(spec, [np.empty(0, np.uint64)] * len(spec.orders))
        return cls(spec, [key for key, _, _ in spec.sorted_keys(tokens, low, high)])

    @property
    def count(self) -> int:
        """Rows of all orders."""
        return int(self.offsets[-1])

    def __call__(self, tokens: Array, low: int, high: int) -> Array:
        """(high - low, orders) int32: rows of the positions, -1 for contexts never trained."""
        spec = self.spec
        rows = np.empty((len(spec.orders), high - low), np.int32)  # by order: shorter strides
        if spec.bits is not None:
            for k, order in enumerate(spec.orders):
                key = spec.keys(tokens, low, high, order)
                mixed = (key ^ key >> np.uint64(31)) * MIX
                row = (mixed ^ mixed >> np.uint64(29)) * MIX >> np.uint64(64 - spec.bits)
                rows[k] = row.astype(np.int64) + self.offsets[k]
            return np.ascontiguousarray(rows.T)
        for k, (key, place, which) in enumerate(spec.sorted_keys(tokens, low, high)):
            row = np.searchsorted(self.contexts[k], key)
            row[row == len(self.contexts[k])] = 0
            known = self.contexts[k][row] == key
            rows[k][place] = np.where(known, row + self.offsets[k], -1).astype(np.int32)[which]
        return np.ascontiguousarray(rows.T)


def fold_parts(rows: Array, folds: int) -> tuple[Array, int]:
    """(positions, orders) int32 and their number: one part for every (row, fold) that occurs, in
    rising order; folds are equal consecutive pieces of the positions. Work space: 5 bytes for
    every (row, fold) of an order, whether it occurs or not."""
    fold = np.arange(len(rows)) * folds // len(rows)
    parts = np.empty_like(rows)
    total = 0
    for k in range(rows.shape[1]):
        first = int(rows[:, k].min())
        pairs = (rows[:, k] - first).astype(np.int64) * folds + fold
        occurs = np.zeros(pairs.max() + 1, bool)
        occurs[pairs] = True
        number = np.cumsum(occurs, dtype=rows.dtype)
        parts[:, k] = number[pairs] + (total - 1)
        total += int(number[-1])
    return parts, total
