"""n-gram fields against dictionaries, and that held-out fields know nothing of their own fold."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest

from isingnpu.npu.device import find_device
from isingnpu.npu.draws import Draw, uniforms
from isingnpu.npu.ngram_fields import EVIDENCE_CLASSES, ContextRows, NgramFields, fold_parts
from isingnpu.npu.text_net import Batch, TextNet, TextSpec
from isingnpu.rng import Stream

Q, ORDERS, FOLDS = 4, (1, 2, 4), 3
NGRAMS = NgramFields(orders=ORDERS, folds=FOLDS, rate=0.5, decay=0.1)
device = find_device("cpu")


def text(n: int = 300) -> np.ndarray:
    return (uniforms((n,), Draw(9, Stream.DATA)) ** 2 * Q).astype(np.uint8)


def prepared(spec: NgramFields = NGRAMS) -> tuple[TextNet, Batch, np.ndarray]:
    """A net without rows yet, all positions from 4 on in one run, and the text."""
    x = text()
    net = TextNet(TextSpec(Q, context=1, hidden=0, ngrams=spec), device, seed=1, dtype=np.float64)
    rows = ContextRows.of(spec, x, 4, len(x))
    at = rows(x, 4, len(x))
    parts, n_parts = fold_parts(at, FOLDS)
    net.resize_rows(rows.count, n_parts)
    return net, Batch(x, np.array([4]), len(at), at, parts), x


class Dictionary:
    """The same law with dictionaries, a context at a time: row[fold][context] -> (q,)."""

    def __init__(self, rate: float, decay: float) -> None:
        self.rate, self.decay = rate, decay
        self.rows: dict[tuple[int, bytes, int], np.ndarray] = defaultdict(lambda: np.zeros(Q))
        self.evidence: dict[tuple[int, bytes, int], float] = defaultdict(float)

    def field(self, x: np.ndarray, t: int, gains: np.ndarray, own: int) -> np.ndarray:
        """Of all folds but `own`."""
        g, above = np.zeros(Q), 0
        for k in reversed(range(len(ORDERS))):
            context = x[t - ORDERS[k] : t].tobytes()
            others = [f for f in range(FOLDS) if f != own]
            weight = sum(self.evidence[k, context, f] for f in others)
            s = 0
            if weight > 1e-9:
                s = 1 + min(EVIDENCE_CLASSES - 2, int(1.5 * math.log2(1 + weight)))
                g += gains[k, s, above] * sum(self.rows[k, context, f] for f in others)
                above = s
        return g

    def learn(self, x: np.ndarray, t: int, e: np.ndarray, own: int) -> None:
        for k, order in enumerate(ORDERS):
            at = k, x[t - order : t].tobytes()
            self.evidence[*at, own] += e @ e
            weight = sum(self.evidence[*at, f] for f in range(FOLDS))
            step = self.rate / math.sqrt(weight + 0.1)
            self.rows[*at, own] = self.rows[*at, own] + (
                step * e - self.rate * self.decay * self.rows[*at, own]
            )


def test_fields_and_rule_are_those_of_dictionaries() -> None:
    net, batch, x = prepared()
    slow = Dictionary(0.3, NGRAMS.decay)
    gains = net.couplings["alpha"]
    gains *= uniforms(gains.shape, Draw(2, Stream.DATA))
    n = batch.size
    for _ in range(3):
        fold = np.arange(n) * FOLDS // n
        wanted = np.array([slow.field(x, t + 4, gains, fold[t]) for t in range(n)])
        net.statistics(batch, 0.5)
        # b and J are zero still, so the errors tell the fields
        e = net._space["g"].copy()
        p = np.exp(wanted - wanted.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        np.testing.assert_allclose(e, np.eye(Q)[x[4:]] - p, atol=1e-6)
        net.learn_rows(batch, 0.3)
        for t in range(n):
            slow.learn(x, t + 4, e[t], fold[t])


def test_a_row_is_the_sum_of_what_the_folds_have_written() -> None:
    net, batch, _ = prepared()
    for _ in range(4):
        net.statistics(batch, 0.5)
        net.learn_rows(batch, 0.3)
    for whole, part in (net.tables, net.weights):
        total = np.zeros_like(whole)
        row_of = np.zeros(len(part), np.int64)
        row_of[batch.parts.reshape(-1)] = batch.rows.reshape(-1)
        np.add.at(total, row_of, part)
        np.testing.assert_allclose(total, whole, atol=1e-12)
        assert np.abs(whole).max() > 0.1


def test_a_fold_cannot_see_what_it_wrote_itself() -> None:
    """Another text in fold 1 changes what folds 0 and 2 see, and not what fold 1 sees."""
    net, batch, _ = prepared()
    n = batch.size
    fold = np.arange(n) * FOLDS // n
    before = net.output_fields(batch).copy()
    e = np.zeros((n, Q))
    e[fold == 1] = [0.9, -0.3, -0.3, -0.3]
    net._space["g"] = e
    net.learn_rows(batch, 0.3)
    after = net.output_fields(batch)
    assert np.array_equal(after[fold == 1], before[fold == 1])
    assert (np.abs(after - before).max(1) > 0)[fold != 1].mean() > 0.9


def test_gains_have_the_gradient_of_log_p() -> None:
    net, batch, _ = prepared()
    for _ in range(2):
        net.statistics(batch, 0.5)
        net.learn_rows(batch, 0.3)
    net.statistics(batch, 0.5)
    tables = [a.copy() for a in (*net.tables, *net.weights)]
    statistics = net.learn_rows(batch, 0.0)
    net.tables, net.weights = tuple(tables[:2]), tuple(tables[2:])
    gains = net.couplings["alpha"]
    busy = np.argwhere(np.abs(statistics) > 0.5)
    assert len(busy) > 3
    for index in map(tuple, busy[:6]):
        kept, logs = gains[index], []
        for step in (1e-5, -1e-5):
            gains[index] = kept + step
            logs.append(-net.errors(batch)[1].sum())
        gains[index] = kept
        assert (logs[0] - logs[1]) / 2e-5 == pytest.approx(statistics[index], rel=1e-4)


def test_every_context_of_the_text_has_a_row_and_no_other() -> None:
    x = text()
    rows = ContextRows.of(NGRAMS, x, 4, 200)
    for k, order in enumerate(ORDERS):
        seen = {x[t - order : t].tobytes() for t in range(4, 200)}
        at = rows(x, 200, 300)[:, k]
        assert rows.offsets[k + 1] - rows.offsets[k] == len(seen)
        for t, row in zip(range(200, 300), at, strict=True):
            assert (row >= 0) == (x[t - order : t].tobytes() in seen)
        trained = rows(x, 4, 200)[:, k]
        assert len(set(trained.tolist())) == len(seen)


@pytest.mark.parametrize("spec", [
    NGRAMS, NgramFields(orders=(2, 5, 8), folds=7), NgramFields(orders=(1, 3), folds=4, bits=6),
])  # fmt: skip
def test_rows_and_parts_are_numbered_in_the_order_of_their_keys(spec: NgramFields) -> None:
    x, low, high = (uniforms((700,), Draw(3, Stream.DATA)) ** 3 * 250).astype(np.uint8), 8, 500
    rows = ContextRows.of(spec, x, low, high)
    at = rows(x, low, high)
    parts, n_parts = fold_parts(at, spec.folds)
    fold, total = np.arange(len(at)) * spec.folds // len(at), 0
    for k, order in enumerate(spec.orders):
        if spec.bits is None:
            keys, row = np.unique(spec.keys(x, low, high, order), return_inverse=True)
            assert np.array_equal(rows.contexts[k], keys)
            assert np.array_equal(at[:, k], row + rows.offsets[k])
        pairs, part = np.unique(at[:, k] * spec.folds + fold, return_inverse=True)
        assert np.array_equal(parts[:, k], part + total)
        total += len(pairs)
    assert n_parts == total
    assert at.dtype == parts.dtype == np.int32
    assert at.flags.c_contiguous
    assert rows(x, high, high).shape == (0, len(spec.orders))


@pytest.mark.statistical(alpha=1e-6)
def test_hashed_rows_are_equal_for_equal_contexts_and_spread() -> None:
    """chi-square of distinct contexts over 2^bits rows of a hash, against the uniform law."""
    from scipy import stats

    spec = NgramFields(orders=(3,), folds=2, bits=6)
    contexts = np.array([[a, b, c] for a in range(16) for b in range(16) for c in range(16)])
    x = np.append(contexts, 0).astype(np.uint8)
    at = ContextRows.of(spec, x, 3, len(x))(x, 3, len(x))[::3, 0]
    assert at.min() >= 0
    assert at.max() < 64
    assert stats.chisquare(np.bincount(at, minlength=64)).pvalue > 1e-6
    twice = np.concatenate([x, x])
    again = ContextRows.of(spec, x, 3, len(x))(twice, 3 + len(x), 2 * len(x))[::3, 0]
    assert np.array_equal(at, again)


@pytest.mark.parametrize(("wrong", "says"), [
    ({"orders": ()}, "rise"), ({"orders": (2, 1)}, "rise"), ({"orders": (1, 9)}, "1..8"),
    ({"folds": 1}, "2 folds"), ({"bits": 40}, "bits"),
])  # fmt: skip
def test_wrong_fields_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        NgramFields(**wrong)  # type: ignore[arg-type]
