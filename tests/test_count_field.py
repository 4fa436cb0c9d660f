"""The Kneser-Ney field against a slow one made of dictionaries, held out and not."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from isingnpu.npu.corpus import Corpus
from isingnpu.npu.count_field import CLASSES, KBodyField, context_class, discounts
from isingnpu.npu.draws import Draw, uniforms
from isingnpu.rng import Stream

Q, ORDER, LOW, FOLDS = 5, 3, 1, 4


def text(n: int = 700) -> np.ndarray:
    """Tokens that depend on the one before."""
    u = uniforms((n,), Draw(4, Stream.DATA))
    x = np.zeros(n, np.uint8)
    for t in range(1, n):
        x[t] = (x[t - 1] + int(u[t] ** 2 * Q)) % Q
    return x


def slow_field(x: np.ndarray, learned: list[int], t: int, order: int) -> np.ndarray:
    """p_order(y | context of t) from the tokens at the positions `learned`, gram by gram."""
    p = np.full(Q, 1 / Q)
    for k in range(order + 1):
        counts: Counter[tuple[int, ...]] = Counter()
        for s in learned:
            counts[tuple(x[s - k : s + 1])] += 1
        if k < ORDER:  # continuations: distinct longer grams
            longer = {tuple(x[s - k - 1 : s + 1]) for s in learned}
            counts = Counter(gram[1:] for gram in longer)
        d = discounts(np.array(list(counts.values())))
        context = tuple(x[t - k : t])
        successors = {gram[-1]: c for gram, c in counts.items() if gram[:-1] == context}
        if not successors:
            break
        total = sum(successors.values())
        gamma = sum(d[min(c, 3)] for c in successors.values()) / total
        p = gamma * p
        for y, c in successors.items():
            p[y] += max(c - d[min(c, 3)], 0) / total
    return p


def test_probabilities_are_those_of_dictionaries_and_normalised() -> None:
    x = text()
    field = KBodyField(ORDER, low=LOW, folds=FOLDS).fit(x, Q, 500)
    logs, _ = field.fields(x, 520, 700)
    learned = list(range(ORDER, 500))
    for t in range(520, 700, 9):
        for expert, order in ((0, ORDER), (1, LOW)):
            wanted = slow_field(x, learned, t, order)
            np.testing.assert_allclose(np.exp(logs[t - 520, expert]), wanted, rtol=1e-5)
    # each order rounds a sum of q float32
    np.testing.assert_allclose(np.exp(logs.astype(float)).sum(-1), 1, atol=(ORDER + 1) * Q * 6e-8)


def test_a_held_out_position_gets_the_counts_of_the_other_folds() -> None:
    x = text(400)
    field = KBodyField(ORDER, low=LOW, folds=FOLDS).fit(x, Q)
    logs, _ = field.held_out(x, ORDER, 400)
    n = 400 - ORDER
    for f in range(FOLDS):
        own = range(ORDER + n * f // FOLDS, ORDER + n * (f + 1) // FOLDS)
        learned = [t for t in range(ORDER, 400) if t not in own]
        for t in own[:: len(own) // 4]:
            wanted = slow_field(x, learned, t, ORDER)
            # float16: 11 bits of a logarithm below 8
            np.testing.assert_allclose(logs[t - ORDER, 0], np.log(wanted), atol=8 * 2.0**-11)


def test_a_table_is_held_out_where_the_field_was_fitted() -> None:
    x = text(400)
    corpus = Corpus("text", x, tuple("abcdef"[:Q]), 300, 380)
    field = KBodyField(ORDER, low=LOW, folds=FOLDS).fit(x, Q, 300)
    table = field.table(corpus)
    assert table.shape == (400, Q)
    assert not table[:ORDER].any()
    assert not table[380:].any()
    assert np.array_equal(table[ORDER:300], field.log_probabilities(x, ORDER, 300, held_out=True))
    assert np.array_equal(table[300:380], field.log_probabilities(x, 300, 380))


def test_held_out_fields_do_not_depend_on_their_own_fold() -> None:
    """Tokens rotated inside fold 2: what its first position gets stays the same bits."""
    x = text(400)
    n = 400 - ORDER
    begin, end = ORDER + n * 2 // FOLDS, ORDER + n * 3 // FOLDS
    other = x.copy()
    other[begin + ORDER : end - ORDER] = (other[begin + ORDER : end - ORDER] + 1) % Q
    first = [
        KBodyField(ORDER, low=LOW, folds=FOLDS).fit(y, Q).held_out(y, begin, begin + 1)[0]
        for y in (x, other)
    ]
    assert np.array_equal(*first)


def test_discounts_follow_chen_and_goodman() -> None:
    counts = np.repeat([1, 2, 3, 4, 7], [60, 25, 14, 9, 3])
    y = 60 / (60 + 2 * 25)
    wanted = [0, 1 - 2 * y * 25 / 60, 2 - 3 * y * 14 / 25, 3 - 4 * y * 9 / 14]
    np.testing.assert_allclose(discounts(counts), wanted)
    assert (discounts(np.array([5, 6])) > 0)[1:].all()


def test_states_name_the_order_reached_and_the_class_of_its_context() -> None:
    x = text()
    field = KBodyField(ORDER, low=LOW, folds=FOLDS).fit(x, Q, 500)
    _, states = field.fields(x, 520, 700)
    reached = {
        t: max(k for k in range(ORDER + 1)
               if any(np.array_equal(x[s - k : s], x[t - k : t]) for s in range(ORDER, 500)))
        for t in range(520, 700)
    }  # fmt: skip
    assert [int(s) // CLASSES for s in states[:, 0]] == list(reached.values())
    assert states.max() < max(field.states)
    table = defaultdict(set)
    for total in range(1, 300):
        for distinct in range(1, min(total, Q) + 1):
            table[int(context_class(np.array(total), np.array(distinct)))].add(distinct == 1)
    assert set(table) <= set(range(CLASSES))
    assert all(len(kinds) == 1 for kinds in table.values())  # "always the same" is a class


def test_the_loss_is_that_of_the_field_alone() -> None:
    x = text()
    corpus = Corpus("t", x, tuple("abcde"), 500, 700)
    field = KBodyField(ORDER, low=LOW).fit(x, Q, 500)
    losses = field.losses(corpus, 20)
    logs = field.log_probabilities(x, 520, 700)
    assert len(losses) == 180
    assert losses[7] == pytest.approx(-logs[7, x[527]] / math.log(2))


def test_a_stored_field_is_the_same_field() -> None:
    x = text()
    field = KBodyField(ORDER, low=LOW, folds=FOLDS).fit(x, Q, 500)
    again = KBodyField.restored(field.description(), field.arrays())
    assert np.array_equal(field.fields(x, 520, 600)[0], again.fields(x, 520, 600)[0])
    assert again.n_entries == field.n_entries


def test_wrong_requests_are_refused() -> None:
    for wrong in ({"order": 9}, {"order": 2, "low": 3}, {"order": 2, "low": 1, "folds": 1}):
        with pytest.raises(ValueError, match=r"must hold|at least 2 folds"):
            KBodyField(**wrong)
    with pytest.raises(ValueError, match="call fit first"):
        KBodyField(2, low=1).fields(text(), 10, 20)
    with pytest.raises(ValueError, match="too few"):
        KBodyField(2, low=1).fit(text(8), Q)
    field = KBodyField(2, low=1).fit(text(), Q, 500)
    with pytest.raises(ValueError, match="held-out positions lie in"):
        field.held_out(text(), 400, 501)
    with pytest.raises(ValueError, match="positions lie in"):
        field.fields(text(), 1, 5)
