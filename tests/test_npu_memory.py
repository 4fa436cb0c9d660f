"""Memories against theory: capacity, heat baths, gradients; learned recall against enumeration."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from isingnpu.npu.budget import Budget
from isingnpu.npu.draws import Draw
from isingnpu.npu.learning import LocalAdam
from isingnpu.npu.memory import (
    HopfieldMemory,
    SelectorMemory,
    hopfield_capacity,
    hopfield_overlap,
    noisy_cues,
    random_patterns,
)
from isingnpu.npu.recall import AssociativeRecall, Episodes, accuracy_of, recall_episodes
from isingnpu.rng import Stream


def test_capacity_and_overlap_are_the_published_ones() -> None:
    """Amit, Gutfreund and Sompolinsky: 0.138, and 0.967 just below it."""
    assert hopfield_capacity() == pytest.approx(0.138, abs=2e-4)
    assert hopfield_overlap(0.1379) == pytest.approx(0.967, abs=2e-3)
    assert hopfield_overlap(0.14) == 0


@pytest.mark.statistical(alpha=1e-6)
def test_recall_follows_the_theory_below_capacity_and_fails_above() -> None:
    """500 spins from stored patterns. At load 0.05 and 0.1 the mean overlap is the theory's
    within six deviations over patterns, plus 2 / sqrt N of overlap error for finite size; at 0.3,
    twice the capacity, less than one pattern in twenty is found from a cue with a tenth of its
    spins wrong (remanent overlaps are near 0.4)."""
    n = 500
    for load in (0.05, 0.1):
        xi = random_patterns(int(load * n), n, seed=3)
        overlaps = HopfieldMemory(backend="cpu").fit(xi).overlaps(xi, np.arange(len(xi)))
        error = overlaps.std() / np.sqrt(len(xi))
        missing = 1 - hopfield_overlap(load)
        assert abs(1 - overlaps.mean() - missing) < 6 * error + 2 / np.sqrt(n) * missing + 1e-4
    xi = random_patterns(150, n, seed=4)
    memory = HopfieldMemory(backend="cpu").fit(xi)
    assert memory.score(noisy_cues(xi, 0.1, 5), np.arange(150)) < 0.05


@pytest.mark.statistical(alpha=1e-7)
def test_thermal_states_of_a_hebbian_memory_follow_its_boltzmann_law() -> None:
    """Chi-square over all 128 states of 7 spins, two patterns, T = 1 / 0.8: 60 sweeps from a
    pattern. States with fewer than 5 expected are counted together."""
    xi = random_patterns(2, 7, seed=8)
    memory = HopfieldMemory(sweeps=60, backend="cpu", seed=5).fit(xi)
    count, beta = 40_000, 0.8
    drawn = memory.sample(np.repeat(xi[:1], count, axis=0), beta=beta)
    states = np.array(list(product((-1, 1), repeat=7)))
    energy = -((states @ xi.T.astype(float)) ** 2).sum(1) / (2 * 7)  # up to a constant
    expected = count * np.exp(-beta * energy) / np.exp(-beta * energy).sum()
    seen = np.bincount(((drawn + 1) // 2) @ (1 << np.arange(7)[::-1]), minlength=128)
    rare = expected < 5
    seen, expected = (np.append(a[~rare], a[rare].sum()) for a in (seen, expected))
    keep = expected > 0
    assert stats.chisquare(seen[keep], expected[keep]).pvalue > 1e-7
    with pytest.raises(ValueError, match="beta must be"):
        memory.sample(xi, beta=-1.0)


def test_recalled_states_are_minima_of_the_energy() -> None:
    xi = random_patterns(10, 128, seed=1)
    memory = HopfieldMemory(sweeps=30, backend="cpu").fit(xi)
    found = memory.predict(noisy_cues(xi, 0.3, 2))
    fields = memory.model().local_fields(found)
    assert (found * fields >= 0).all()
    assert memory.model().is_integer


@pytest.mark.statistical(alpha=2e-7)
def test_a_selector_memory_draws_from_the_softmax_over_patterns() -> None:
    xi = random_patterns(5, 8, seed=6)
    memory, cue = SelectorMemory(beta=0.3, seed=7).fit(xi), random_patterns(1, 8, seed=8)
    p = np.exp(0.3 * (cue @ xi.T.astype(float)))[0]
    np.testing.assert_allclose(memory.law(cue)[0], p / p.sum(), rtol=1e-12)
    drawn = np.bincount(memory.sample(np.repeat(cue, 50_000, axis=0)), minlength=5)
    assert stats.chisquare(drawn, 50_000 * p / p.sum()).pvalue > 1e-7
    mean = SelectorMemory(beta=0.3, draws=0).fit(xi).predict(cue)
    assert np.array_equal(mean[0], np.where(p @ xi < 0, -1, 1))
    many = SelectorMemory(beta=0.3, draws=4001, seed=9).fit(xi).predict(cue)[0]
    clear = abs(p @ xi / p.sum()) > np.sqrt(2 * np.log(2 * 8 / 1e-7) / 4001)  # Hoeffding
    assert clear.any()
    assert np.array_equal(many[clear], mean[0][clear])


@pytest.mark.statistical(alpha=1e-6)
def test_a_selector_recalls_far_above_the_hebbian_capacity() -> None:
    """128 spins, 1,024 patterns, a fifth of each cue wrong. One draw finds a pattern with its
    probability in the softmax: Hoeffding for 200 independent draws."""
    xi = random_patterns(1024, 128, seed=1)
    cues, wanted = noisy_cues(xi, 0.2, 2)[:200], np.arange(200)
    memory = SelectorMemory(beta=0.2).fit(xi)
    right = memory.law(cues)[wanted, wanted].mean()
    assert right > 0.9
    assert abs(memory.score(cues, wanted) - right) < np.sqrt(np.log(2 / 1e-6) / (2 * 200))
    assert HopfieldMemory(backend="cpu").fit(xi).score(cues, wanted) == 0


@pytest.mark.parametrize("memory", [HopfieldMemory(sweeps=3), SelectorMemory(beta=0.5, draws=2)])
def test_memories_are_saved_whole(memory, tmp_path) -> None:
    xi = random_patterns(4, 128, seed=2)
    memory.fit(xi).save(tmp_path / "m.npz")
    again = type(memory).load(tmp_path / "m.npz")
    cues = noisy_cues(xi, 0.2, 3)
    assert np.array_equal(again.predict(cues), memory.predict(cues))
    with pytest.raises(ValueError, match="cues must be"):
        memory.predict(cues[:, :5])
    with pytest.raises(ValueError, match="patterns must be"):
        memory.fit(xi * 0)
    with pytest.raises(ValueError, match="not a saved"):
        AssociativeRecall.load(tmp_path / "m.npz")


def episodes(count: int = 30, seed: int = 1) -> Episodes:
    return recall_episodes(count, pairs=3, symbols=5, draw=Draw(seed, Stream.DATA))


def test_episodes_hold_each_key_once_and_the_answer_is_its_value() -> None:
    e = episodes(500)
    assert all(len(set(keys)) == 3 for keys in e.keys.tolist())
    assert ((e.keys == e.query[:, None]).sum(1) == 1).all()
    assert np.array_equal(e.values[e.keys == e.query[:, None]], e.answer)
    x = e.tokens(5)
    assert x.shape == (500, 7)
    assert x[:, 1:-1:2].min() == 5
    for row, answer in zip(x, e.answer, strict=True):
        assert dict(zip(row[0:-1:2], row[1::2], strict=True))[row[-1]] == 5 + answer
    with pytest.raises(ValueError, match="different keys"):
        recall_episodes(5, pairs=6, symbols=5, draw=Draw(1, Stream.DATA))


def random_machine(**options) -> AssociativeRecall:
    rng = np.random.default_rng(51)
    machine = AssociativeRecall(5, **options)
    machine.metric, machine.readout = rng.normal(size=(2, 5, 5))
    return machine


def test_exact_statistics_are_the_gradient_of_the_log_likelihood() -> None:
    machine, e = random_machine(), episodes()

    def likelihood() -> float:
        return float(machine.log_law(e)[np.arange(30), e.answer].mean())

    found = machine.statistics(e, Draw(1, Stream.SELECTOR))
    for name, couplings in (("metric", machine.metric), ("readout", machine.readout)):
        slopes = np.zeros((5, 5))
        for index in np.ndindex(5, 5):
            ends = []
            for step in (1e-5, -2e-5):
                couplings[index] += step
                ends.append(likelihood())
            couplings[index] += 1e-5
            slopes[index] = (ends[0] - ends[1]) / 2e-5
        # statistics are stored in float32
        assert np.linalg.norm(found[name] - slopes) < 1e-6 * np.linalg.norm(slopes)


@pytest.mark.statistical(alpha=1e-6)
def test_sampled_statistics_average_to_the_exact_ones() -> None:
    """40,000 copies of one episode, each with draws of its own: Hoeffding, two draws per phase,
    union over 50 couplings."""
    one = episodes(1)
    many = Episodes(*(np.repeat(x, 40_000, axis=0) for x in vars(one).values()))
    exact = random_machine().statistics(one, Draw(1, Stream.SELECTOR))
    drawn = random_machine(sampled=True).statistics(many, Draw(2, Stream.SELECTOR))
    bound = 2 * np.sqrt(np.log(2 * 2 * 50 / 1e-6) / (2 * 40_000))
    for name in exact:
        assert abs(exact[name] - drawn[name]).max() < bound


@pytest.mark.statistical(alpha=1e-6)
def test_answers_are_drawn_from_the_law() -> None:
    one, machine = episodes(1, seed=4), random_machine()
    many = Episodes(*(np.repeat(x, 40_000, axis=0) for x in vars(one).values()))
    drawn = np.bincount(machine.sample(many, seed=3), minlength=5)
    assert stats.chisquare(drawn, 40_000 * np.exp(machine.log_law(one)[0])).pvalue > 1e-6


@pytest.mark.parametrize("sampled", [False, True])
def test_interrupted_recall_has_the_bits_of_an_uninterrupted_one(
    sampled: bool, tmp_path: Path
) -> None:
    budget = Budget(steps=30)
    adam = LocalAdam(rate=0.1, decay=0.01, warm_up=4, floor=0.1)
    whole = AssociativeRecall(8, sampled=sampled, adam=adam, batch=16, seed=4)
    whole.fit(budget, pairs=4)
    cut = AssociativeRecall(8, sampled=sampled, adam=adam, batch=16, seed=4)
    cut.fit(budget, pairs=4, until=11)
    cut.save(tmp_path / "r.npz")
    again = AssociativeRecall.load(tmp_path / "r.npz")
    assert again.progress is not None
    assert again.progress.steps == 11
    assert again.fit(budget, pairs=4).steps == 30
    assert again.progress.events == whole.progress.events
    assert np.array_equal(again.metric, whole.metric)
    assert np.array_equal(again.readout, whole.readout)


@pytest.mark.parametrize("sampled", [False, True])
def test_recall_of_sixteen_pairs_is_learned(sampled: bool, tmp_path) -> None:
    """32 symbols, 16 pairs: 99 % of 2,000 new episodes; chance is 1 in 32, and 1 in 16 for a
    machine that guesses among the values."""
    machine = AssociativeRecall(32, sampled=sampled, seed=1)
    test = recall_episodes(2000, pairs=16, symbols=32, draw=Draw(9, Stream.DATA))
    assert machine.score(test) < 0.15
    progress = machine.fit(Budget(steps=500))
    assert machine.score(test) >= 0.99
    assert accuracy_of(machine.sample(test), test) > 0.9
    assert progress.events.flips == 3 * 64 * 500
    machine.save(tmp_path / "r.npz")
    assert np.array_equal(
        AssociativeRecall.load(tmp_path / "r.npz").predict(test), machine.predict(test)
    )
