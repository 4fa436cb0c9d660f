"""The planted language and its entropies, and what learns it, against enumeration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from isingnpu.npu.budget import Budget
from isingnpu.npu.elimination import eliminate
from isingnpu.npu.factored import FactoredAttention, PseudoLikelihood, Rule
from isingnpu.npu.learning import ContrastiveDivergence, LocalAdam
from isingnpu.npu.planted_language import PlantedLanguage, planted_language
from isingnpu.npu.potts import PottsModel

rng = np.random.default_rng(41)


def small(seed: int = 0) -> PlantedLanguage:
    return planted_language(length=7, colours=3, n_edges=9, most=4, seed=seed)


def entropy(p: np.ndarray) -> float:
    return float(-(p * np.log(p)).sum())


def test_entropies_are_the_enumerated_ones() -> None:
    language = small()
    p = np.exp(language.model.log_law())
    weights = np.exp(-language.model.energy(language.model.states()))
    assert language.log_z == pytest.approx(np.log(weights.sum()), rel=1e-12)
    assert language.entropy == pytest.approx(entropy(p) / 7, rel=1e-12)
    masked = np.mean([entropy(p) - entropy(p.sum(i)) for i in range(7)])
    assert language.masked_entropy == pytest.approx(masked, rel=1e-11)


def test_marginals_of_kept_spins_are_the_enumerated_ones() -> None:
    model = PottsModel(
        (rng.normal(size=2), rng.normal(size=3), rng.normal(size=4), rng.normal(size=2)),
        {(0, 1): rng.normal(size=(2, 3)), (1, 3): rng.normal(size=(3, 2))},
    )
    for keep in ((0,), (0, 2), (1, 2, 3)):
        np.testing.assert_allclose(
            eliminate(model, keep).marginal, model.marginal(keep), rtol=1e-12
        )
    with pytest.raises(ValueError, match="were kept"):
        eliminate(model, (0,)).sample(3, 0)
    dense = {(i, j): np.zeros((9, 9)) for i in range(9) for j in range(i + 1, 9)}
    with pytest.raises(ValueError, match="sparser graph"):
        eliminate(PottsModel((np.zeros(9),) * 9, dense))


@pytest.mark.statistical(alpha=1e-7)
def test_sequences_are_independent_draws_of_the_law() -> None:
    language, count = planted_language(length=4, colours=3, n_edges=4, seed=2), 50_000
    x = language.sequences(count, seed=5)
    seen = np.bincount(np.ravel_multi_index(tuple(x.T), (3,) * 4), minlength=81)
    expected = count * np.exp(language.model.log_law()).ravel()
    assert stats.chisquare(seen, expected).pvalue > 1e-7
    assert not np.array_equal(x, language.sequences(count, seed=6))


@pytest.mark.statistical(alpha=1e-7)
def test_the_true_law_scores_the_masked_entropy() -> None:
    """The default language: 20,000 sequences, mean against the exact value by its own error."""
    language = planted_language()
    assert (language.length, language.colours, len(language.edges)) == (20, 6, 31)
    x = language.sequences(20_000, seed=1).astype(int)
    loss = -np.take_along_axis(language.log_law(x), x[..., None], -1)[..., 0].mean(1)
    z = (loss.mean() - language.masked_entropy) / (loss.std() / np.sqrt(len(x)))
    assert abs(z) < stats.norm.isf(1e-7 / 2)


def test_a_planted_corpus_has_lines_of_known_entropy() -> None:
    language = small()
    corpus = language.corpus(50, seed=3)
    text = corpus.text(corpus.tokens)
    assert corpus.alphabet == ("a", "b", "c", "\n")
    assert [len(line) for line in text.splitlines()] == [7] * 50
    assert corpus.train == 45 * 8
    first = language.sequences(50, seed=3)[0]
    assert text[:7] == "".join("abc"[token] for token in first)


def test_languages_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        planted_language(length=4, n_edges=7)
    with pytest.raises(ValueError, match="colours"):
        planted_language(colours=1)


def log_pseudo_likelihood(machine: FactoredAttention, x: np.ndarray) -> float:
    return machine.length * machine.score(x)


def test_pseudo_likelihood_statistics_are_half_its_gradient() -> None:
    """Central differences in float64; J_ij and J_ji are one coupling, hence the half."""
    machine, x = FactoredAttention(4, 3), rng.integers(0, 3, (50, 4))
    J = rng.normal(size=(12, 12)) * machine._between
    machine.couplings, machine.fields = J + J.T, rng.normal(size=12)
    statistics, _, _ = machine._phases(x, x, 0)
    start, worst = machine.couplings.copy(), 0.0
    for i, j in ((0, 4), (2, 11), (5, 9), (3, 8)):
        ends = []
        for step in (1e-5, -1e-5):
            machine.couplings = start.copy()
            machine.couplings[i, j] += step
            machine.couplings[j, i] += step
            ends.append(log_pseudo_likelihood(machine, x))
        slope = (ends[0] - ends[1]) / 2e-5
        worst = max(worst, abs(2 * statistics["couplings"][i, j] - slope))
    assert worst < 1e-7  # statistics of float32 indicators, means over 50 of them
    assert not statistics["couplings"][:3, :3].any()
    machine.couplings = start
    for i in range(12):
        ends = []
        for step in (1e-5, -1e-5):
            machine.fields[i] += step
            ends.append(log_pseudo_likelihood(machine, x))
            machine.fields[i] -= step
        assert statistics["fields"][i] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-7)


@pytest.mark.statistical(alpha=2e-7)
def test_free_phases_reach_the_law_of_the_machine() -> None:
    """Chi-square of final states of independent chains; 60 sweeps of weak couplings. The second:
    a sampled pseudo-likelihood averages to the exact one, Hoeffding over 12 fields."""
    machine = FactoredAttention(3, 3, batch=4)
    J = 0.3 * rng.normal(size=(9, 9)).astype(np.float32) * machine._between
    machine.couplings, machine.fields = J + J.T, 0.3 * rng.normal(size=9).astype(np.float32)
    x = machine.sample(40_000, sweeps=60, seed=8)
    seen = np.bincount(np.ravel_multi_index(tuple(x.T), (3, 3, 3)), minlength=27)
    expected = 40_000 * np.exp(machine.model().log_law()).ravel()
    assert stats.chisquare(seen, expected).pvalue > 1e-7
    exact = machine._phases(x, x, 0)[0]["fields"]
    machine.rule = PseudoLikelihood(sampled=True)
    sampled = machine._phases(x, x, 0)[0]["fields"]
    assert abs(sampled - exact).max() < np.sqrt(np.log(2 * 9 / 1e-7) / (2 * 40_000))


@pytest.mark.parametrize(
    "rule",
    [
        PseudoLikelihood(),
        PseudoLikelihood(sampled=True),
        ContrastiveDivergence(1),
        ContrastiveDivergence(1, persistent=True),
    ],
    ids=["exact", "sampled", "cd", "pcd"],
)
def test_every_rule_finds_all_edges_of_a_small_language(rule: Rule) -> None:
    """Within 0.02 nats of the truth on new text: four times what 560 couplings of pairs, each in
    two conditionals, cost at 6,000 x 8 tokens without shrinkage."""
    language = planted_language(length=8, colours=4, n_edges=10, seed=4)
    x, new = language.sequences(6000, seed=1), language.sequences(6000, seed=2)
    machine = FactoredAttention(8, 4, rule=rule, seed=3)
    progress = machine.fit(x, Budget(steps=800))
    true = float(np.take_along_axis(language.log_law(new), new[..., None].astype(int), -1).mean())
    assert true - machine.score(new) < 0.02
    assert machine.edge_precision(language.edges) == 1
    assert machine.coupling_error(language.tensor) < 0.3
    assert np.array_equal(machine.couplings, machine.couplings.T)
    best = (language.log_law(new).argmax(-1) == new).mean()
    assert (machine.predict(new) == new).mean() > best - 0.02
    assert progress.events.flips == 800 * 256 * 8
    assert progress.events.samples == 800 * 256


def test_training_is_reproducible_and_saved_bit_by_bit(tmp_path) -> None:
    language = small()
    x = language.sequences(500, seed=1)
    machines = [FactoredAttention(7, 3, seed=5) for _ in range(2)]
    for machine in machines:
        machine.fit(x, Budget(steps=20))
    assert np.array_equal(machines[0].couplings, machines[1].couplings)
    machines[0].save(tmp_path / "m.npz")
    again = FactoredAttention.load(tmp_path / "m.npz")
    assert np.array_equal(again.log_law(x), machines[0].log_law(x))
    with pytest.raises(ValueError, match="sequences must be"):
        again.score(x[:, :5])
    with pytest.raises(ValueError, match="tokens must be"):
        again.score(x + 1)
    with pytest.raises(ValueError, match="shrinkage"):
        FactoredAttention(7, 3, shrinkage=-1)


@pytest.mark.parametrize(
    "rule", [PseudoLikelihood(sampled=True), ContrastiveDivergence(2, persistent=True)], ids=str
)
def test_an_interrupted_training_has_the_bits_of_an_uninterrupted_one(
    rule: Rule, tmp_path: Path
) -> None:
    """Moments, persistent chains and every setting are kept: a machine made with none of the
    defaults is stopped twice, once saved and loaded."""
    x, budget = small().sequences(300, seed=1), Budget(steps=30)
    adam = LocalAdam(rate=0.05, betas=(0.8, 0.95), decay=0.01, warm_up=5, floor=0.1)

    def untrained() -> FactoredAttention:
        return FactoredAttention(7, 3, rule=rule, adam=adam, shrinkage=0.2, batch=32, seed=2**63)

    whole, cut = untrained(), untrained()
    whole.fit(x, budget)
    cut.fit(x, budget, until=7)
    cut.fit(x, budget, until=19)
    cut.save(tmp_path / "m.npz")
    again = FactoredAttention.load(tmp_path / "m.npz")
    assert again.progress is not None
    assert again.progress.steps == 19
    assert again.fit(x, budget).steps == 30
    assert again.progress.events == whole.progress.events
    assert np.array_equal(again.couplings, whole.couplings)
    assert np.array_equal(again.fields, whole.fields)
    assert np.array_equal(again.sample(20, sweeps=3), whole.sample(20, sweeps=3))


def test_shrinkage_is_a_proximal_step_of_the_group_lasso() -> None:
    """The shrunk block minimises |K - J|^2 / 2 + t |K|: its optimality condition."""
    machine = FactoredAttention(3, 2)
    J = rng.normal(size=(6, 6)).astype(np.float32) * machine._between
    J = J + J.T
    machine.couplings = J.copy()
    machine._shrink(1.2)
    for i in range(3):
        for j in range(3):
            block = (slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2))
            K, start = machine.couplings[block], J[block]
            norm = np.linalg.norm(K)
            if norm:
                np.testing.assert_allclose(K - start + 1.2 * K / norm, 0, atol=1e-5)
            else:
                assert np.linalg.norm(start) <= 1.2 + 1e-6
