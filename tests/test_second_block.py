"""The second block of a machine that reads text, against plain loops and finite differences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from float64 import Float64Device

from isingnpu.npu.budget import Budget
from isingnpu.npu.corpus import Corpus
from isingnpu.npu.count_field import KBodyField
from isingnpu.npu.device import find_device
from isingnpu.npu.draws import Draw, normals, uniforms
from isingnpu.npu.language import PottsIsingLM
from isingnpu.npu.learning import LocalAdam
from isingnpu.npu.ngram_fields import NgramFields
from isingnpu.npu.second_block import FreePhase, SecondBlock, SecondNet
from isingnpu.npu.selectors import Selectors
from isingnpu.npu.text_net import Batch, TextNet, TextSpec
from isingnpu.npu.text_training import TextTraining
from isingnpu.npu.units import Binary, HardTower, Tower, Unit, unit_name
from isingnpu.rng import Stream

E, Q, RUNS, LENGTH = 3, 5, 2, 12
BLOCK = SecondBlock(hidden=4, windows=(1, 3))
UNITS: list[Unit] = [Binary(), Tower(2), HardTower(2)]


class Exact(Float64Device):
    """Tokens one by one."""

    def gather(self, text, starts, length, table, out):
        for run, start in enumerate(starts):
            for i in range(length):
                for d in range(len(table)):
                    out[run * length + i] += table[d, text[start + i - 1 - d]]

    def scatter(self, text, starts, length, values, out):
        for run, start in enumerate(starts):
            for i in range(length):
                for d in range(len(out)):
                    out[d, text[start + i - 1 - d]] += values[run * length + i]


TEXT = (uniforms((60,), Draw(5, Stream.DATA)) * Q).astype(np.uint8)
PLACES = TEXT, np.array([7, 31]), LENGTH


def tokens() -> np.ndarray:
    """(runs, length)."""
    return np.stack([TEXT[start : start + LENGTH] for start in PLACES[1]]).astype(np.int64)


def fields() -> np.ndarray:
    """Of three parts, of order one."""
    return normals((E, RUNS * LENGTH, Q), Draw(6, Stream.DATA)).astype(np.float64)


def couplings() -> dict[str, np.ndarray]:
    """All of order one, so that hidden spins of every unit are between their ends."""
    found = BLOCK.first_couplings(E, Q, 3)
    return {
        name: array.astype(float) + 0.4 * normals(array.shape, Draw(11, Stream.WEIGHTS, block=i))
        for i, (name, array) in enumerate(found.items())
    }


def net(unit: Unit, w: dict[str, np.ndarray]) -> SecondNet:
    return SecondNet(BLOCK, w, Exact(), unit)


def free(unit: Unit, w: dict[str, np.ndarray]) -> FreePhase:
    return net(unit, w).free_phase(fields(), PLACES)


def log_law(unit: Unit, w: dict[str, np.ndarray]) -> np.ndarray:
    g = free(unit, w).output
    return g - np.log(np.exp(g).sum(1, keepdims=True))


def test_answers_of_the_past_are_read_as_written() -> None:
    f, x = fields().reshape(E, RUNS, LENGTH, Q), tokens()
    z = BLOCK.read(f, x, np)
    assert z.shape == (RUNS, LENGTH - 3, E * 3)
    log_p = f - np.log(np.exp(f).sum(-1, keepdims=True))
    for run in range(RUNS):
        for i, t in enumerate(range(3, LENGTH)):
            for e in range(E):
                said = [log_p[e, run, t - k, x[run, t - k]] for k in (1, 2, 3)]
                wanted = [
                    2 * np.exp(log_p[e, run, t].max()) - 1, 1 + said[0] / 2, 1 + np.mean(said) / 2
                ]  # fmt: skip
                np.testing.assert_allclose(z[run, i, 3 * e : 3 * e + 3], wanted, rtol=1e-12)


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_fields_of_both_blocks_add_up_as_written(unit: Unit) -> None:
    w, f = couplings(), fields().reshape(E, RUNS, LENGTH, Q)[:, :, 3:].reshape(E, -1, Q)
    z = BLOCK.read(fields().reshape(E, RUNS, LENGTH, Q), tokens(), np).reshape(-1, 9)
    got = free(unit, w).output
    places = [start + i for start in PLACES[1] for i in range(3, LENGTH)]
    for b, t in enumerate(places):
        seen = w["T"][0, TEXT[t - 1]] + w["T"][1, TEXT[t - 2]]
        h = unit.mean(w["c2"] + z[b] @ w["D"] + seen)
        gains = w["a2"] + w["G"] @ h
        wanted = sum((1 + gains[e]) * f[e, b] for e in range(E))
        np.testing.assert_allclose(got[b], wanted, rtol=1e-12)


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
@pytest.mark.parametrize("name", ["a2", "c2", "D", "G", "T"])
def test_statistics_are_the_gradient_of_log_p(unit: Unit, name: str) -> None:
    """All components; differences of fourth order, and a nudge whose own error is beta^2."""
    w, x = couplings(), tokens()[:, 3:].reshape(-1)
    row = np.arange(len(x))
    error = np.eye(Q)[x] - np.exp(log_law(unit, w))
    found = net(unit, w).statistics(free(unit, w), error, 1e-4, PLACES)[name]
    wanted, array, step = np.zeros_like(found), w[name], 1e-4
    for index in np.ndindex(array.shape):
        here, ends = array[index], []
        for k in (-2, -1, 1, 2):
            array[index] = here + k * step
            ends.append(log_law(unit, w)[row, x].sum())
        array[index] = here
        wanted[index] = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * step)
    assert np.abs(wanted).max() > 0.01
    assert np.abs(found - wanted).max() < 1e-6 * np.abs(wanted).max()


SPEC = TextSpec(
    6,
    context=3,
    hidden=8,
    unit=HardTower(4),
    ngrams=NgramFields(orders=(1, 2), folds=4),
    selectors=Selectors(heads=2, window=24, match=2, values_to_hidden=True),
    second=SecondBlock(hidden=16, windows=(1, 4, 8)),
)
QUICK = TextTraining(rule=LocalAdam(rate=1e-2, decay=0.0, warm_up=10), runs=2, length=64)


def repeats(n: int = 9024) -> Corpus:
    """Stretches of 24 random tokens, every second one a copy of the stretch before."""
    u = uniforms((n,), Draw(8, Stream.DATA))
    x = (u * 6).astype(np.uint8).reshape(-1, 2, 24)
    x[:, 1] = x[:, 0]
    return Corpus("repeats", x.reshape(-1), tuple("abcdef"), n * 2 // 3, n)


def test_nothing_flows_back_to_the_first_block() -> None:
    """Its statistics are bit by bit those of a machine without a second block."""
    x = repeats().tokens
    where = Batch(x, np.array([100, 300]), 32)
    both, alone = (
        TextNet(replace(spec, ngrams=None), find_device("cpu"), seed=3)
        for spec in (SPEC, replace(SPEC, second=None))
    )
    found, wanted = both.statistics(where, 0.5)[0], alone.statistics(where, 0.5)[0]
    assert set(found) == set(wanted) | {"a2", "c2", "D", "G", "T"}
    for name, array in wanted.items():
        assert np.array_equal(found[name], array), name
    assert np.array_equal(both.output_fields(where), alone.output_fields(where))


def test_without_gains_the_machine_answers_as_its_first_block() -> None:
    """Sums of parts in another order: some tens of float32 roundings of fields of order ten."""
    machine = TextNet(replace(SPEC, ngrams=None), find_device("cpu"), seed=3)
    machine.couplings["G"][:] = 0
    where = Batch(repeats().tokens, np.array([100, 300]), 32)
    got = machine.answer_fields(where).copy()
    wanted = machine.output_fields(where).reshape(2, 32, 6)[:, 8:].reshape(-1, 6)
    np.testing.assert_allclose(got, wanted, atol=10 * 30 * 2.0**-23)


def test_a_part_is_trusted_where_it_has_foretold_the_past() -> None:
    """In a text whose stretches are new or a copy, selectors foretell all or nothing. The second
    block sees which; gains that are the same everywhere cannot."""
    corpus = repeats()
    spec = replace(SPEC, hidden=0, ngrams=None)
    machine = PottsIsingLM(spec, QUICK, seed=4)
    machine.fit(corpus, Budget(steps=300))
    both = machine.bpc(corpus)
    for name in ("a2", "G"):
        machine.net.couplings[name][:] = 0
    assert both < machine.bpc(corpus) - 0.1


def test_an_interrupted_run_has_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    corpus, budget = repeats(), Budget(steps=30)
    whole, cut = (PottsIsingLM(SPEC, QUICK, seed=4) for _ in range(2))
    whole.fit(corpus, budget)
    cut.fit(corpus, budget, until=13)
    cut.save(tmp_path / "m.npz", training=True)
    again = PottsIsingLM.load(tmp_path / "m.npz")
    assert again.spec == SPEC
    again.fit(corpus, budget)
    for name, coupling in whole.net.couplings.items():
        assert np.array_equal(coupling, again.net.couplings[name]), name
    assert again.bpc(corpus) == whole.bpc(corpus)


def test_probabilities_do_not_depend_on_how_a_text_is_cut() -> None:
    corpus = repeats()
    counts = KBodyField(2, low=1, folds=4).fit(corpus.tokens, 6, corpus.train)
    machine = PottsIsingLM(replace(SPEC, count_states=counts.states), QUICK, counts=counts)
    machine.fit(corpus, Budget(steps=20))
    whole = machine.log_probabilities(corpus.tokens, 7000, 8800)
    np.testing.assert_allclose(np.exp(whole).sum(1), 1, rtol=1e-12)
    pieces = [
        machine.log_probabilities(corpus.tokens, a, b) for a, b in ((7000, 7017), (7017, 8800))
    ]
    # float32 sums of matrix products in another order
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)
    future = corpus.tokens.copy()
    future[8000:] = 0
    same = machine.log_probabilities(future, 7000, 8000)
    np.testing.assert_allclose(same, whole[:1000], atol=1e-4)


def test_a_machine_reads_what_stands_before_the_longest_window() -> None:
    assert PottsIsingLM(SPEC, QUICK).reach == (24 + 2) + 8
    corpus = repeats()
    counts = KBodyField(5, low=1, folds=4).fit(corpus.tokens, 6, corpus.train)
    spec = TextSpec(6, context=3, hidden=0, count_states=counts.states, second=SPEC.second)
    machine = PottsIsingLM(spec, QUICK, counts=counts)
    assert machine.reach == 5 + 8
    machine.fit(corpus, Budget(steps=3))
    first = machine.log_probabilities(corpus.tokens, 13, 14)
    longer = np.concatenate([np.zeros(7, np.uint8), corpus.tokens[:14]])
    np.testing.assert_allclose(first, machine.log_probabilities(longer, 20, 21), atol=1e-4)


def test_a_block_evaluates_each_spin_three_times_a_position() -> None:
    """In the free and two nudged phases, and the output spin of each of the six parts once."""
    corpus = repeats()
    two = PottsIsingLM(SPEC, QUICK).fit(corpus, Budget(steps=1)).events
    one = PottsIsingLM(replace(SPEC, second=None), QUICK).fit(corpus, Budget(steps=1)).events
    assert two.evaluations - one.evaluations == 2 * (64 - 8) * (3 * 16 + 5)
    assert two.writes - one.writes == 5 + 16 + 5 * 4 * 16 + 5 * 16 + 2 * 6 * 16
    assert two.samples == one.samples


def test_wrong_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 hidden spin"):
        SecondBlock(hidden=0)
    with pytest.raises(ValueError, match="windows must rise"):
        SecondBlock(windows=(4, 1))
    with pytest.raises(ValueError, match="at least 1 token"):
        SecondBlock(windows=(0, 4))
    with pytest.raises(ValueError, match=r"context must lie in 1\.\.4"):
        SecondBlock(windows=(4,), context=5)
    with pytest.raises(ValueError, match="too short for a second block"):
        PottsIsingLM(replace(SPEC, second=SecondBlock(windows=(64,))), QUICK)
