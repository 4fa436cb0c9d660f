"""A k-body Potts field learned by counting: modified Kneser-Ney as a field on the output spin.

    p_k(y | c) = max(n_k(c y) - D_k(n), 0) / N_k(c) + gamma_k(c) p_{k-1}(y | c'),   field log p_K

c: the k tokens before y, c' all but the oldest; n_K are counts, n_k below K the number of distinct
tokens that precede c y; three discounts D_k(1), D_k(2), D_k(3+) per order; p_{-1} is uniform.
Chen and Goodman, Computer Speech and Language 13, 359 (1999), sec. 3. An order whose context was
never seen is skipped.

Held-out field: the training text is cut into folds, and a position of a fold gets the field of the
counts of the other folds, which is what unseen text gets. A machine that learns its gains and
couplings beside the field of its own counts would trust it too much.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.npu.corpus import Corpus

Array = NDArray[Any]

TOTALS = (1, 2, 4, 8, 16, 40, 200)  # classes of a context: how often it was seen
SPREADS = (0.15, 0.35, 0.7)  # distinct successors over that; 0 is "always the same one"
CLASSES = (len(TOTALS) + 1) * (len(SPREADS) + 2)
PIECE = 1 << 16  # positions computed together


@dataclass(frozen=True, eq=False)
class _Order:
    """The grams of one order: contexts sorted by code = shorter context x q + oldest token, grams
    by context x q + y; parent: the gram without its oldest token, in the order below."""

    codes: Array
    grams: Array
    counts: Array
    parent: Array


@dataclass(frozen=True, eq=False)
class _Weights:
    """What `interpolate` reads, orders one after another; classes -1 for contexts without counts.

    pointers (contexts + 1,) into symbols and values; gammas, classes (contexts,)."""

    first: Array
    pointers: Array
    symbols: Array
    values: Array
    gammas: Array
    classes: Array


class KBodyField:
    """Fit on the training part of a corpus; order K: tokens of context; experts: two fields, of
    order K and of order `low`, each with gains of its own in a machine."""

    def __init__(self, order: int = 6, *, low: int = 3, folds: int = 6) -> None:
        if not 1 <= low <= order <= 8:
            raise ValueError(f"1 <= low <= order <= 8 must hold, got low={low}, order={order}")
        if folds < 2:
            raise ValueError(f"a held-out field needs at least 2 folds, got {folds}")
        self.order, self.low, self.folds = order, low, folds
        self.colours = self.begin = self.end = 0
        self._orders: list[_Order] = []
        self._full: _Weights | None = None

    @property
    def states(self) -> tuple[int, int]:
        """Gain classes of the two experts: order reached x class of its context."""
        return (self.order + 1) * CLASSES, (self.low + 1) * CLASSES

    @property
    def n_entries(self) -> int:
        """Stored counts: distinct grams of all orders."""
        return sum(len(o.grams) for o in self._orders)

    def fit(self, tokens: Array, colours: int, end: int | None = None) -> KBodyField:
        """Count the grams of tokens[:end]; positions from `order` on."""
        end = len(tokens) if end is None else end
        if end <= self.order + self.folds:
            raise ValueError(f"{end} tokens are too few for order {self.order}")
        self.colours, self.begin, self.end = colours, self.order, end
        self._orders, self._full = [], None
        context = np.zeros(end - self.begin, np.int64)
        y = tokens[self.begin : end].astype(np.int64)
        grams = np.empty(0, np.int64)
        for k in range(self.order + 1):
            codes, above = np.zeros(1, np.int64), context
            if k:
                code = context * colours + tokens[self.begin - k : end - k]
                codes, context = np.unique(code, return_inverse=True)
            own, first, counts = np.unique(context * colours + y, return_index=True,
                                           return_counts=True)  # fmt: skip
            parent = np.searchsorted(grams, (above * colours + y)[first]) if k else first * 0
            self._orders.append(_Order(codes, own, counts, parent))
            grams = own
        return self

    def held_out(self, tokens: Array, low: int, high: int) -> tuple[Array, Array]:
        """(log p (n, 2, q) float16, states (n, 2) int16) at training positions low..high - 1,
        each from the counts of the other folds. ValueError for tokens that were not counted."""
        self._check_fitted()
        if not self.begin <= low < high <= self.end:
            raise ValueError(
                f"held-out positions lie in {self.begin}..{self.end}, got {low}..{high}"
            )
        logs = np.empty((high - low, 2, self.colours), np.float16)
        states = np.empty((high - low, 2), np.int16)
        edges = [self.begin + (self.end - self.begin) * f // self.folds
                 for f in range(self.folds + 1)]  # fmt: skip
        for begin, end in pairwise(edges):
            inside = slice(max(begin, low), min(end, high))
            if inside.start >= inside.stop:
                continue
            weights = self._weights(self._counts_without(tokens, begin, end))
            out = slice(inside.start - low, inside.stop - low)
            logs[out], states[out] = self._evaluate(weights, tokens, inside.start, inside.stop)
        return logs, states

    def fields(self, tokens: Array, low: int, high: int) -> tuple[Array, Array]:
        """(log p (n, 2, q) float32, states (n, 2) int16) at positions of unseen text."""
        self._check_fitted()
        if not self.order <= low < high <= len(tokens):
            raise ValueError(f"positions lie in {self.order}..{len(tokens)}, got {low}..{high}")
        if self._full is None:
            self._full = self._weights([o.counts for o in self._orders])
        return self._evaluate(self._full, tokens, low, high)

    def log_probabilities(
        self, tokens: Array, low: int, high: int, *, held_out: bool = False
    ) -> Array:
        """(n, q) log p of order K, natural: what a model beside this one needs of the field. At
        training positions pass held_out=True."""
        if held_out:
            return self.held_out(tokens, low, high)[0][:, 0].astype(np.float32)
        return self.fields(tokens, low, high)[0][:, 0]

    def table(self, corpus: Corpus) -> Array:
        """(tokens, q) float32: `log_probabilities` of a corpus that it was fitted on, held out
        before corpus.train, zeros for the first `order` tokens."""
        logs = np.zeros((len(corpus.tokens), corpus.colours), np.float32)
        learned, judged = slice(self.order, corpus.train), slice(corpus.train, corpus.end)
        logs[learned] = self.log_probabilities(
            corpus.tokens, learned.start, learned.stop, held_out=True
        )
        logs[judged] = self.log_probabilities(corpus.tokens, judged.start, judged.stop)
        return logs

    def losses(self, corpus: Corpus, context: int = 0) -> Array:
        """-log2 p of the field alone, the Kneser-Ney n-gram model, at the judged positions."""
        positions = corpus.positions(max(self.order, context))
        low, high = int(positions[0]), int(positions[-1]) + 1
        logs = self.log_probabilities(corpus.tokens, low, high)
        return -np.asarray(logs[np.arange(high - low), corpus.tokens[low:high]]) / math.log(2)

    def _check_fitted(self) -> None:
        if not self._orders:
            raise ValueError("the field has no counts yet: call fit first")

    def _contexts(self, tokens: Array, low: int, high: int) -> Array:
        """(n, K + 1) int64: context of each order, -1 where it was never seen."""
        found = np.zeros((high - low, self.order + 1), np.int64)
        for k in range(1, self.order + 1):
            codes = self._orders[k].codes
            code = found[:, k - 1] * self.colours + tokens[low - k : high - k]
            place = np.minimum(np.searchsorted(codes, code), len(codes) - 1)
            known = (found[:, k - 1] >= 0) & (codes[place] == code)
            found[:, k] = np.where(known, place, -1)
        return found

    def _counts_without(self, tokens: Array, begin: int, end: int) -> list[Array]:
        """Counts of every order without those of the positions begin..end - 1."""
        contexts = self._contexts(tokens, begin, end)
        left = []
        for k, order in enumerate(self._orders):
            gram = contexts[:, k] * self.colours + tokens[begin:end]
            place = np.minimum(np.searchsorted(order.grams, gram), len(order.grams) - 1)
            left.append(order.counts - np.bincount(place, minlength=len(order.grams)))
            if left[-1].min() < 0 or not np.array_equal(order.grams[place], gram):
                raise ValueError("a held-out field is one of the tokens that were counted")
        return left

    def _weights(self, counts: list[Array]) -> _Weights:
        """Discounted values, backing-off masses and classes from the counts of each order."""
        parts: list[tuple[Array, ...]] = []
        for k, order in enumerate(self._orders):
            kn = counts[k]
            if k < self.order:
                alive = counts[k + 1] > 0
                kn = np.bincount(self._orders[k + 1].parent[alive], minlength=len(order.grams))
                # the first gram of the text has nothing before it
                kn = np.where(counts[k] > 0, np.maximum(kn, 1), 0)
            context, symbol = np.divmod(order.grams, self.colours)
            n = len(order.codes)
            taken = discounts(kn)[np.minimum(kn, 3)]
            total = np.bincount(context, weights=kn, minlength=n)
            seen = np.maximum(total, 1)
            raw = np.bincount(context, weights=counts[k], minlength=n)
            distinct = np.bincount(context, weights=counts[k] > 0, minlength=n)
            parts.append((
                np.searchsorted(context, np.arange(n + 1)),
                symbol,
                np.maximum(kn - taken, 0) / seen[context],
                np.bincount(context, weights=taken, minlength=n) / seen,
                np.where(raw > 0, context_class(raw, distinct), -1),
            ))  # fmt: skip
        sizes = np.cumsum([0] + [len(p[1]) for p in parts])
        first = np.cumsum([0] + [len(p[3]) for p in parts])
        return _Weights(
            first[:-1],
            np.concatenate([p[0][:-1] + s for p, s in zip(parts, sizes[:-1], strict=True)]
                           + [sizes[-1:]]),
            np.concatenate([p[1] for p in parts]).astype(np.uint8),
            np.concatenate([p[2] for p in parts]).astype(np.float32),
            np.concatenate([p[3] for p in parts]).astype(np.float32),
            np.concatenate([p[4] for p in parts]).astype(np.int16),
        )  # fmt: skip

    def _evaluate(
        self, weights: _Weights, tokens: Array, low: int, high: int
    ) -> tuple[Array, Array]:
        # counts are kept and read by the processor, whichever device learns beside them
        kernels = importlib.import_module("isingnpu.backends.cpu.machine_counts")
        logs = np.empty((high - low, 2, self.colours), np.float32)
        states = np.empty((high - low, 2), np.int16)
        for begin in range(low, high, PIECE):
            end = min(begin + PIECE, high)
            contexts = self._contexts(tokens, begin, end)
            contexts = np.where(contexts >= 0, contexts + weights.first, -1)
            here = slice(begin - low, end - low)
            kernels.interpolate(
                contexts,
                self.low,
                weights.pointers,
                weights.symbols,
                weights.values,
                weights.gammas,
                weights.classes,
                CLASSES,
                logs[here],
                states[here],
            )
        return np.log(logs, out=logs), states

    def description(self) -> dict[str, Any]:
        """What `restored` needs beside `arrays`, fit for JSON."""
        return {"order": self.order, "low": self.low, "folds": self.folds,
                "colours": self.colours, "begin": self.begin, "end": self.end}  # fmt: skip

    def arrays(self) -> dict[str, Array]:
        """The counts."""
        return {
            f"{name}{k}": getattr(o, name)
            for k, o in enumerate(self._orders)
            for name in ("codes", "grams", "counts", "parent")
        }

    @classmethod
    def restored(cls, description: dict[str, Any], arrays: dict[str, Array]) -> KBodyField:
        field = cls(description["order"], low=description["low"], folds=description["folds"])
        field.colours, field.begin = description["colours"], description["begin"]
        field.end = description["end"]
        field._orders = [
            _Order(*(arrays[f"{name}{k}"] for name in ("codes", "grams", "counts", "parent")))
            for k in range(field.order + 1)
        ]
        return field


def discounts(counts: Array) -> Array:
    """(4,): what is taken from counts of 0, 1, 2 and 3 or more. Chen and Goodman eq. 26, kept
    between 0.05 and the count where a text is too short for them."""
    n = [0.0] + [float((counts == i).sum()) for i in (1, 2, 3, 4)]
    y = n[1] / max(n[1] + 2 * n[2], 1.0)
    taken = [0.0]
    for i in (1, 2, 3):
        wanted = i - (i + 1) * y * n[i + 1] / n[i] if n[i] else i / 2
        taken.append(min(max(wanted, 0.05), float(i)))
    return np.array(taken)


def context_class(totals: Array, distinct: Array) -> Array:
    """0..CLASSES - 1: how often a context was seen, and how much its successors vary."""
    ratio = distinct / np.maximum(totals, 1)
    spread = np.where(distinct <= 1, 0, 1 + np.digitize(ratio, SPREADS))
    return np.asarray(np.digitize(totals, TOTALS, right=True) * (len(SPREADS) + 2) + spread)
