"""Weights as spins: the law of the sweeps by enumeration, planted teachers, small images."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from isingnpu.npu.budget import Budget
from isingnpu.npu.images import planted_images
from isingnpu.npu.weights import WeightAnnealer

rng = np.random.default_rng(61)


def plain_loss(W: np.ndarray, U: np.ndarray, x: np.ndarray, y: np.ndarray, gain: float) -> float:
    T = np.where(x @ W.T >= 0, 1, -1) if len(W) else x
    S = gain * (T @ U.T)
    return float((np.log(np.exp(S).sum(1)) - S[np.arange(len(y)), y]).sum())


@pytest.mark.parametrize("hidden", [0, 2])
@pytest.mark.statistical(alpha=2e-7)
def test_weights_are_drawn_from_their_boltzmann_law(hidden: int) -> None:
    """Fixed beta, independent replicas, chi-square over all 2^6 or 2^8 weight states after 20
    sweeps at energy differences of a few k_B T."""
    D, K, replicas, beta = 3 if not hidden else 2, 2, 1500, 0.8
    x, y = rng.normal(size=(7, D)), np.array([0, 1, 1, 0, 1, 0, 0])
    machine = WeightAnnealer(hidden=hidden, replicas=replicas, betas=(beta, beta), seed=3)
    machine.fit(x, y, Budget(steps=20))
    bits = np.concatenate(
        [machine.hidden_weights.reshape(replicas, -1), machine.output.reshape(replicas, -1)], 1
    )
    n = bits.shape[1]
    states, width = np.array(list(product((-1, 1), repeat=n))), hidden or D
    energies = [
        plain_loss(
            s[: hidden * D].reshape(hidden, D), s[hidden * D :].reshape(K, width), x, y,
            1 / np.sqrt(width),
        )
        for s in states
    ]  # fmt: skip
    p = np.exp(-beta * np.array(energies))
    number = (bits > 0) @ (1 << np.arange(n)[::-1])
    expected = replicas * p / p.sum()
    seen = np.bincount(number, minlength=2**n)
    rare = expected < 5
    if rare.any():
        seen = np.append(seen[~rare], seen[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    assert len(seen) > 20
    assert stats.chisquare(seen, expected).pvalue > 1e-7
    # the losses that were kept through every sweep are those of the weights
    np.testing.assert_allclose(machine.energies, np.array(energies)[number], rtol=1e-10)


@pytest.mark.statistical(alpha=1e-7)
def test_attracting_replicas_follow_the_joint_law() -> None:
    """Three replicas of 200 weights without data to speak of: each weight is a triangle of three
    spins, enumerated; 40 annealers, Hoeffding for the mean overlap in [-1/3, 1] of 8,000."""
    x, y, pull = np.zeros((2, 100)), np.array([0, 1]), 1.2
    overlaps = []
    for seed in range(40):
        machine = WeightAnnealer(replicas=3, attraction=pull, betas=(1, 1), seed=seed)
        machine.fit(x, y, Budget(steps=30))
        w = machine.output.reshape(3, 200).astype(int)
        overlaps.append((w[0] * w[1] + w[0] * w[2] + w[1] * w[2]).mean() / 3)
    triples = np.array(list(product((-1, 1), repeat=3)))
    pairs = triples[:, 0] * triples[:, 1] + triples[:, 0] * triples[:, 2]
    pairs = pairs + triples[:, 1] * triples[:, 2]
    p = np.exp(pull / 3 * pairs)
    wanted = p @ pairs / p.sum() / 3
    assert abs(np.mean(overlaps) - wanted) < 4 / 3 * np.sqrt(np.log(2 / 1e-7) / (2 * 8000))


def test_a_planted_perceptron_is_found() -> None:
    """A teacher with weights +-1, 25 inputs, 300 labels: annealing reaches a loss no higher than
    the teacher's, and new labels as the teacher gives them."""
    teacher, gain = np.where(rng.random((2, 25)) < 0.5, -1, 1), 1.0
    x, new = rng.normal(size=(300, 25)), rng.normal(size=(1000, 25))
    y = (x @ teacher.T).argmax(1)
    machine = WeightAnnealer(replicas=3, betas=(0.02, 3.0), gain=gain, seed=2)
    progress = machine.fit(x, y, Budget(steps=60))
    assert machine.energies.min() <= plain_loss(np.zeros((0, 25)), teacher, x, y, gain) + 1e-9
    assert machine.score(new, (new @ teacher.T).argmax(1)) > 0.98
    assert machine.score(new, (new @ teacher.T).argmax(1), vote=True) > 0.98
    assert progress.events.flips == 60 * 3 * 50
    assert 0 < progress.events.writes < progress.events.flips


@pytest.mark.parametrize("hidden", [0, 4])
def test_writes_are_the_weights_that_a_sweep_has_turned_over(hidden: int) -> None:
    """A sweep visits each weight once, so that a flip it accepts is a weight that differs."""
    x, y = rng.normal(size=(30, 6)), rng.integers(0, 3, 30)
    machine = WeightAnnealer(hidden=hidden, replicas=2, betas=(0.1, 1.0), seed=9)
    budget = Budget(steps=6)
    machine.fit(x, y, budget, until=1)
    assert machine.progress is not None
    for step in range(2, 7):
        before = machine.hidden_weights.copy(), machine.output.copy()
        counted = machine.progress.events.writes
        machine.fit(x, y, budget, until=step)
        turned = [
            np.count_nonzero(old != new)
            for old, new in zip(before, (machine.hidden_weights, machine.output), strict=True)
        ]
        assert machine.progress.events.writes - counted == sum(turned)
        assert turned[1] > 0
        assert (turned[0] > 0) == (hidden > 0)


def test_binary_weights_read_small_images(tmp_path) -> None:
    """Planted images without a hidden layer, against nearest class means, and saved."""
    images = planted_images(seed=1, n_train=500, n_test=500)
    (x, y), (new, labels) = images.train, images.test
    flat, new = x.reshape(500, -1) - 0.5, new.reshape(500, -1) - 0.5
    machine = WeightAnnealer(betas=(0.5, 20.0), gain=0.15, seed=1)
    machine.fit(flat, y, Budget(steps=4))
    assert machine.score(new, labels) > 0.5  # chance is 0.1
    machine.save(tmp_path / "w.npz")
    again = WeightAnnealer.load(tmp_path / "w.npz")
    assert np.array_equal(again.predict(new), machine.predict(new))
    second = WeightAnnealer(betas=(0.5, 20.0), gain=0.15, seed=1)
    second.fit(flat, y, Budget(steps=4))
    assert np.array_equal(second.output, machine.output)


def test_an_interrupted_annealing_has_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    x, y = rng.normal(size=(40, 6)), rng.integers(0, 3, 40)
    options = {"hidden": 5, "replicas": 2, "attraction": 0.3, "betas": (0.1, 2.0), "gain": 0.7}
    whole, cut = (WeightAnnealer(**options, seed=2**63) for _ in range(2))
    budget = Budget(steps=9)
    whole.fit(x, y, budget)
    cut.fit(x, y, budget, until=2)
    cut.fit(x, y, budget, until=5)
    cut.save(tmp_path / "w.npz")
    again = WeightAnnealer.load(tmp_path / "w.npz")
    assert again.progress is not None
    assert again.progress.steps == 5
    assert again.fit(x, y, budget).steps == 9
    assert again.progress.events == whole.progress.events
    assert np.array_equal(again.output, whole.output)
    assert np.array_equal(again.hidden_weights, whole.hidden_weights)
    assert np.array_equal(again.energies, whole.energies)
    assert np.array_equal(again.sample(x), whole.sample(x))
    with pytest.raises(ValueError, match="6 inputs and 3 classes"):
        again.fit(x[:, :4], y, Budget(steps=10))


@pytest.mark.statistical(alpha=1e-7)
def test_without_a_gain_every_weight_costs_the_same() -> None:
    x, y = rng.normal(size=(9, 4)), np.arange(9) % 3
    machine = WeightAnnealer(gain=0.0, replicas=2)
    machine.fit(x, y, Budget(steps=2))
    np.testing.assert_allclose(machine.energies, 9 * np.log(3), rtol=1e-14)


def test_labels_are_drawn_from_the_law_whose_loss_was_annealed() -> None:
    """Chi-square of 40,000 draws for one input, three classes; their cross entropy is E."""
    x, y = rng.normal(size=(30, 6)), rng.integers(0, 3, 30)
    machine = WeightAnnealer(hidden=5, gain=0.4, seed=3)
    machine.fit(x, y, Budget(steps=3))
    p = np.exp(0.4 * machine.scores(x))
    p /= p.sum(1, keepdims=True)
    assert machine.energies[0] == pytest.approx(-np.log(p[np.arange(30), y]).sum(), rel=1e-9)
    drawn = machine.sample(np.repeat(x[:1], 40_000, axis=0), seed=4)
    seen = np.bincount(drawn, minlength=3)
    assert stats.chisquare(seen, 40_000 * p[0]).pvalue > 1e-7
    assert not np.array_equal(drawn, machine.sample(np.repeat(x[:1], 40_000, axis=0), seed=5))


def test_what_cannot_be_annealed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no weights yet"):
        WeightAnnealer().save(tmp_path / "w.npz")
    with pytest.raises(ValueError, match="no weights yet"):
        WeightAnnealer().predict(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="replicas >= 1"):
        WeightAnnealer(replicas=0)
    for x, y in (
        (np.zeros((3, 2)), np.array([0, 0, 0])),
        (np.zeros((3, 2)), np.array([0.0, 1.0, 0.0])),
        (np.full((3, 2), np.nan), np.array([0, 1, 0])),
        (np.zeros((3, 2)), np.array([0, 1])),
    ):
        with pytest.raises(ValueError, match=r"labels|inputs"):
            WeightAnnealer().fit(x, y, Budget(steps=1))
