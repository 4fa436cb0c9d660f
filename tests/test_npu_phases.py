"""Two-phase statistics against enumeration and float64 finite differences of log p(label)."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from float64 import Float64Device
from scipy import stats

from isingnpu.npu.blocks import Block
from isingnpu.npu.draws import Draw, Independent, Stratified
from isingnpu.npu.gibbs import softmax
from isingnpu.npu.ladder import settle, symmetric, weak
from isingnpu.npu.learning import (
    ContrastiveDivergence,
    Exact,
    Gibbs,
    LocalAdam,
    MeanField,
    SymmetricFeedback,
    WeakFeedback,
)
from isingnpu.npu.phases import relax, traced_logits
from isingnpu.npu.sheets import Dense, Layer, Sheets
from isingnpu.npu.units import Binary, HardTower, PlusMinus, Tower, Unit, unit_name
from isingnpu.rng import Stream

device = Float64Device()
DRAW = Draw(11, Stream.HIDDEN, step=4)
HEAT_BATHS: list[Unit] = [Binary(), PlusMinus(), Tower(2)]
N, Q = 5, 3


def machine(layers: list[Layer], seed: int = 0) -> tuple[list[Block], np.ndarray, np.ndarray]:
    """Blocks with random float64 couplings over N images of 6 x 6 pixels, and their labels."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(N, 6, 6, 1))
    below, states, blocks = (6, 6, 1), images, []
    for i, layer in enumerate(layers):
        block = Block(layer, below, Q, device)
        block.start(seed, i, states)
        block.couplings = {
            name: np.asarray(array, float) + 0.3 * rng.normal(size=array.shape) * (name in "cb")
            for name, array in block.couplings.items()
        }
        states = block.above(device.mean(block.unit, block.fields(states).field))
        blocks.append(block)
        below = block.shape
    return blocks, images, rng.integers(0, Q, N)


def slope(loss, array: np.ndarray, direction: np.ndarray, step: float = 1e-5) -> float:
    """Derivative of loss() along a direction of an array changed in place, O(step^4)."""
    here, values = array.copy(), []
    for k in (-2, -1, 1, 2):
        array[:] = here + k * step * direction
        values.append(loss())
    array[:] = here
    return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)


def log_p(logits: np.ndarray, labels: np.ndarray) -> float:
    """Sum of log p(label)."""
    return float(np.log(softmax(logits, np)[np.arange(N), labels]).sum())


def worst_error(loss, blocks, found, scale: float) -> float:
    """Largest error of the statistics along random directions, relative to the slope there."""
    rng, errors = np.random.default_rng(3), []
    for name, statistic in found.items():
        i, letter = name.split(".")
        array = blocks[int(i)].couplings[letter]
        for _ in range(2):
            direction = rng.normal(size=array.shape)
            wanted = slope(loss, array, direction)
            errors.append(abs(scale * (statistic * direction).sum() - wanted) / abs(wanted))
    return max(errors)


def statistics(block: Block, images: np.ndarray, answer) -> dict[str, np.ndarray]:
    """Of all couplings of a one-block machine, sums over images."""
    at_sites = block.at_sites(answer.hidden, block.fields(images), answer.rows)
    found = block.correlate(images, at_sites, answer.rows, 1.0)
    return {f"0.{k}": v for k, v in (found | {"u": answer.output, "b": answer.bias}).items()}


@pytest.mark.parametrize("unit", HEAT_BATHS, ids=unit_name)
@pytest.mark.parametrize("replicas", [1, 2])
def test_traced_output_is_that_of_enumerated_spins(unit: Unit, replicas: int) -> None:
    (block,), images, _ = machine([Dense(3, unit)])
    f = block.fields(images).field
    values = (-1, 1) if isinstance(unit, PlusMinus) else (0, 1)
    offsets = np.arange(unit.levels) + 0.5 if isinstance(unit, Tower) else np.zeros(1)
    spins = np.array(list(product(values, repeat=block.spins * unit.levels * replicas)))
    spins = spins.reshape(-1, block.spins, unit.levels, replicas)
    own = -(spins * offsets[None, None, :, None]).sum((1, 2, 3))
    u = block.couplings["u"]
    for image in range(2):
        weights = [
            np.exp(
                own + spins.sum((2, 3)) @ (f[image] + u[y] / replicas) + block.couplings["b"][y]
            ).sum()
            for y in range(Q)
        ]
        p = softmax(traced_logits(block, f[image : image + 1], replicas), np)[0]
        np.testing.assert_allclose(p, np.array(weights) / np.sum(weights), rtol=1e-10)


@pytest.mark.parametrize("unit", [*HEAT_BATHS, HardTower(3)], ids=unit_name)
@pytest.mark.parametrize("layer", ["dense", "sheets"])
def test_exact_statistics_are_the_gradient_of_log_p(unit: Unit, layer: str) -> None:
    (block,), images, labels = machine(
        [Dense(7, unit) if layer == "dense" else Sheets(3, 2, stride=1, unit=unit)]
    )
    answer = relax(Exact(), block, block.fields(images).field, labels, draw=DRAW)

    def loss() -> float:
        return log_p(traced_logits(block, block.fields(images).field, 1), labels)

    assert worst_error(loss, [block], statistics(block, images, answer), 1.0) < 1e-6
    assert answer.loss == pytest.approx(-loss(), rel=1e-12)


def test_exact_threshold_leaves_out_settled_states() -> None:
    (block,), images, labels = machine([Dense(7, Binary())])
    f = block.fields(images).field
    p = softmax(traced_logits(block, f, 1), np)
    error = np.eye(Q)[labels] - p
    cut = float(np.median(np.abs(error)))
    some = relax(Exact(threshold=cut), block, f, labels, draw=DRAW)
    kept = np.where(np.abs(error) > cut, error, 0)
    states = np.stack([block.unit.mean(f + block.couplings["u"][y]) for y in range(Q)], 1)
    np.testing.assert_allclose(some.hidden, (kept[..., None] * states).sum(1), atol=1e-12)
    assert some.events.evaluations < relax(Exact(), block, f, labels, draw=DRAW).events.evaluations


LADDERS: dict[str, list[Layer]] = {
    "dense": [Dense(8, Binary())],
    "towers": [Dense(8, Tower(3))],
    "two sheets": [Sheets(3, 3, unit=Tower(2)), Sheets(2, 4, stride=2, unit=Binary())],
    "pooled": [Sheets(3, 3, pool=True, unit=PlusMinus()), Dense(6, Tower(3))],
}


@pytest.mark.parametrize("name", LADDERS)
def test_bias_of_weak_feedback_vanishes_as_beta_squared(name: str) -> None:
    """Against finite differences of log p(label) of the same machine, its limit of weak feedback,
    which is the gradient that backprop computes."""
    blocks, images, labels = machine(LADDERS[name])

    def loss() -> float:
        states = images
        for block in blocks:
            h = device.mean(block.unit, block.fields(states).field)
            states = block.above(h)
        return log_p(blocks[-1].logits(h), labels)

    errors = []
    for beta in (0.4, 0.2, 0.02):
        rule = WeakFeedback(beta=(beta, beta))
        found, mean_loss, _ = weak(rule, blocks, images, labels, beta=beta, draw=DRAW)
        errors.append(worst_error(loss, blocks, found, N))
    assert mean_loss * N == pytest.approx(-loss(), rel=1e-12)
    # (0.4 / 0.2)^2 = 4 and (0.2 / 0.02)^2 = 100 up to the next order
    assert 3 < errors[0] / errors[1] < 5
    assert 60 < errors[1] / errors[2] < 140


@pytest.mark.parametrize("name", ["dense", "two sheets", "pooled"])
def test_symmetric_feedback_is_the_gradient_at_its_free_point(name: str) -> None:
    blocks, images, labels = machine(LADDERS[name])
    gamma, sweeps = 0.3, 60

    def loss() -> float:
        return log_p(blocks[-1].logits(settle(blocks, images, gamma, sweeps)[-1]), labels)

    errors = []
    for beta in (0.2, 0.1, 0.01):
        rule = SymmetricFeedback(beta=beta, gamma=gamma, sweeps=sweeps)
        found, mean_loss, _ = symmetric(rule, blocks, images, labels)
        errors.append(worst_error(loss, blocks, found, N))
    assert mean_loss * N == pytest.approx(-loss(), rel=1e-12)
    assert 3 < errors[0] / errors[1] < 5
    assert 60 < errors[1] / errors[2] < 140


def test_symmetric_feedback_becomes_weak_feedback() -> None:
    blocks, images, labels = machine(LADDERS["two sheets"])
    beta = 1e-3
    wanted, _, _ = weak(WeakFeedback((beta, beta)), blocks, images, labels, beta=beta, draw=DRAW)
    errors = []
    for gamma in (1e-2, 1e-3):
        found, _, _ = symmetric(SymmetricFeedback(beta, gamma, 40), blocks, images, labels)
        errors.append(max(np.abs(found[k] - wanted[k]).max() for k in wanted))
    assert 7 < errors[0] / errors[1] < 13  # the difference is of order gamma


def test_thermostat_pins_the_fields_and_is_learned_as_frozen() -> None:
    (block,), images, _ = machine([Sheets(3, 4, unit=Binary(), thermostat=1.5)])
    fields = block.fields(images)
    np.testing.assert_allclose(fields.field.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(fields.field.std(1), 1.5, rtol=1e-5)
    moved = np.random.default_rng(0).normal(size=fields.field.shape)
    at_sites = block.at_sites(moved, fields, None)
    np.testing.assert_allclose(at_sites.reshape(N, -1), moved * fields.gain)


def test_mean_field_phases_are_clamped_minus_free() -> None:
    (block,), images, labels = machine([Dense(6, Binary())])
    f, u = block.fields(images).field, block.couplings["u"]
    answer = relax(MeanField(iterations=200), block, f, labels, draw=DRAW)
    clamped = block.unit.mean(f + u[labels])
    free = clamped - answer.hidden
    p = softmax(block.logits(free), np)
    np.testing.assert_allclose(block.unit.mean(f + p @ u), free, atol=1e-10)
    np.testing.assert_allclose(answer.bias, (np.eye(Q)[labels] - p).sum(0), atol=1e-10)


@pytest.mark.parametrize("unit", HEAT_BATHS, ids=unit_name)
@pytest.mark.parametrize("rule", ["rao-blackwell", "drawn", "two replicas", "persistent"])
@pytest.mark.statistical(alpha=1e-7)
def test_gibbs_phases_are_unbiased(unit: Unit, rule: str) -> None:
    """24 images, 1,000 copies each, against the exact statistics after sweeps enough to forget
    the start: chi-square of the hidden statistics in their own covariance, and of the drawn
    output states, each summed over images and at half of alpha.

    A limit of 3 standard errors on each of these 168 means would fail one run in three without
    any bias. The sums are as strict: of a bias of 3 standard errors in every image, two to four
    directions each, they miss 1 in 100,000."""
    phases = {
        "rao-blackwell": Gibbs(betas=(0.5,) * 4 + (1.0,) * 12),
        "drawn": Gibbs(betas=(1.0,) * 16, rao_blackwell=False),
        "two replicas": Gibbs(betas=(1.0,) * 16, replicas=2),
        "persistent": ContrastiveDivergence(k=16, persistent=True),
    }[rule]
    replicas = phases.replicas if isinstance(phases, Gibbs) else 1
    (block,), _, _ = machine([Dense(4, unit)])
    block.couplings["u"] *= 2  # one sweep does not forget
    images = 0.3 * np.random.default_rng(9).normal(size=(24, 6, 6, 1))  # no spin is frozen
    copies, label = 1000, np.eye(Q)[1]
    hidden, hidden_directions, output = 0.0, 0, 0.0
    for step, f in enumerate(block.fields(images).field):
        answer = relax(
            phases,
            block,
            np.repeat(f[None], copies, axis=0),
            np.ones(copies, np.int64),
            draw=Draw(11, Stream.HIDDEN, step=step),
            chains=np.arange(copies) % Q,
        )
        p = softmax(traced_logits(block, f[None], replicas), np)[0]
        states = np.array(
            [block.unit.mean(f + block.couplings["u"][y] / replicas) for y in range(Q)]
        )
        squared, directions = hotelling(answer.hidden, replicas * (label - p) @ states)
        hidden, hidden_directions = hidden + squared, hidden_directions + directions
        drawn = label - answer.bias / copies  # share of every output state
        output += stats.chisquare(copies * drawn, copies * p).statistic
        if rule == "rao-blackwell":
            np.testing.assert_allclose(
                answer.output / copies, (label - drawn)[:, None] * states, atol=1e-12
            )
    assert stats.chi2.sf(hidden, hidden_directions) > 0.5e-7
    assert stats.chi2.sf(output, len(images) * (Q - 1)) > 0.5e-7


def hotelling(samples: np.ndarray, mean: np.ndarray) -> tuple[float, int]:
    """(T^2, directions that vary) of samples (n, d) against a mean (d,); in a direction that does
    not vary the mean must be right."""
    variances, axes = np.linalg.eigh(np.cov(samples.T))
    off = (samples.mean(0) - mean) @ axes
    varied = variances > 1e-12 * variances.max()
    np.testing.assert_allclose(off[~varied], 0, atol=1e-9)
    squared = (off[varied] ** 2 / variances[varied]).sum() * len(samples)
    return float(squared), int(varied.sum())


def test_contrastive_divergence_starts_at_the_label() -> None:
    """The output spin in a field of 80 k_B T falls into state 0 within a sweep: no statistics for
    label 0, and for label 1 those of 1 against 0; a persistent chain starts where it stood."""
    (block,), images, _ = machine([Dense(4, Binary())])
    block.couplings["b"] = np.array([80.0, 0, 0])
    f, zeros = block.fields(images).field, np.zeros(N, np.int64)
    still = relax(ContrastiveDivergence(), block, f, zeros, draw=DRAW)
    assert not still.hidden.any()
    away = relax(ContrastiveDivergence(), block, f, zeros + 1, draw=DRAW)
    assert np.array_equal(away.chains, zeros)
    u = block.couplings["u"]
    np.testing.assert_allclose(away.hidden, block.unit.mean(f + u[1]) - block.unit.mean(f + u[0]))


@pytest.mark.parametrize("draws", [Stratified(4), Independent(1)], ids=str)
@pytest.mark.parametrize("unit", [*HEAT_BATHS, HardTower(3)], ids=unit_name)
@pytest.mark.statistical(alpha=1e-7)
def test_mean_nudge_is_the_expectation_of_the_drawn_one(unit: Unit, draws) -> None:
    """Same free draw, many nudges: 7 spins, Hoeffding with values within levels w / beta."""
    (block,), images, labels = machine([Dense(7, unit)])
    f = block.fields(images).field[:1]
    beta, copies = 0.5, 40_000
    mean = WeakFeedback((beta, beta), draws)
    sampled = WeakFeedback((beta, beta), draws, nudge="sampled")
    one = relax(mean, block, f, labels[:1], draw=DRAW)
    error = np.eye(Q)[labels[:1]] - softmax(block.logits(one.states), np)
    feedback = (error @ block.couplings["u"]).repeat(copies, 0)
    noise = Draw(1, Stream.NUDGE)
    total = device.sampled_displacement(
        unit, f.repeat(copies, 0), feedback, beta, draws, noise
    ).mean(0)
    width = 2 * unit.levels * (2 if isinstance(unit, PlusMinus) else 1) / (2 * beta)
    bound = width * np.sqrt(np.log(2 * 7 * 8 / 1e-7) / (2 * copies))
    assert np.abs(total - one.hidden[0]).max() < bound
    assert np.array_equal(relax(sampled, block, f, labels[:1], draw=DRAW).states, one.states)


def test_settled_images_are_not_nudged() -> None:
    (block,), images, labels = machine([Dense(7, Binary())])
    f = block.fields(images).field
    everyone = relax(WeakFeedback(), block, f, labels, draw=DRAW)
    error = np.abs(np.eye(Q)[labels] - softmax(block.logits(everyone.states), np)).max(1)
    cut = float(np.sort(error)[2])
    some = relax(WeakFeedback(threshold=cut), block, f, labels, draw=DRAW)
    assert np.array_equal(some.rows, np.flatnonzero(error > cut))
    assert np.array_equal(some.hidden, everyone.hidden[some.rows])
    np.testing.assert_allclose(
        block.correlate(images, some.hidden, some.rows, 1.0)["w"],
        images.reshape(N, -1)[some.rows].T @ some.hidden,
        atol=1e-12,
    )


def test_rules_refuse_what_they_cannot_do() -> None:
    for make in (
        lambda: WeakFeedback(threshold=1.0),
        lambda: Gibbs(betas=(0.5,)),
        lambda: Gibbs(replicas=0),
        lambda: ContrastiveDivergence(k=0),
        lambda: MeanField(damping=0),
        lambda: SymmetricFeedback(gamma=0),
        lambda: Exact(threshold=-0.1),
        lambda: LocalAdam(rate=0.0),
        lambda: LocalAdam(decay=-1.0),
        lambda: LocalAdam(betas=(0.9, 1.0)),
        lambda: LocalAdam(warm_up=0),
        lambda: LocalAdam(floor=2.0),
    ):
        with pytest.raises(ValueError, match="got"):
            make()
