"""The machine that reads text as a whole: learning, its bits, files, sampling, refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from isingnpu.npu.budget import Budget
from isingnpu.npu.committee import Committee
from isingnpu.npu.corpus import Corpus
from isingnpu.npu.count_field import KBodyField
from isingnpu.npu.draws import Draw, Stratified, uniforms
from isingnpu.npu.language import PottsIsingLM
from isingnpu.npu.learning import LocalAdam, WeakFeedback
from isingnpu.npu.ngram_fields import NgramFields
from isingnpu.npu.selectors import Selectors
from isingnpu.npu.text_net import TextSpec
from isingnpu.npu.text_study import (
    committee_row,
    designs,
    judged_context,
    text_error,
    text_rows,
)
from isingnpu.npu.text_training import TextTraining
from isingnpu.npu.units import HardTower
from isingnpu.rng import Stream

Q, N = 6, 6000
TRANSITION = np.array([
    [0.0, 0.9, 0.1, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.8, 0.2, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.7, 0.3, 0.0],
    [0.1, 0.0, 0.0, 0.0, 0.9, 0.0],
    [0.0, 0.2, 0.0, 0.0, 0.0, 0.8],
    [0.6, 0.0, 0.4, 0.0, 0.0, 0.0],
])  # fmt: skip


def chain() -> Corpus:
    """A text of a known Markov chain."""
    u = uniforms((N,), Draw(8, Stream.DATA))
    x = np.zeros(N, np.uint8)
    for t in range(1, N):
        x[t] = np.searchsorted(TRANSITION[x[t - 1]].cumsum(), u[t], side="right")
    return Corpus("a Markov chain", x, tuple("abcdef"), N * 2 // 3, N)


def entropies() -> tuple[float, float]:
    """(order 0, rate) of the chain in bits."""
    values, vectors = np.linalg.eig(TRANSITION.T)
    p = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    p /= p.sum()
    logs = np.where(TRANSITION > 0, np.log2(np.where(TRANSITION > 0, TRANSITION, 1)), 0)
    return float(-(p * np.log2(p)).sum()), float(-(p @ (TRANSITION * logs).sum(1)))


FULL = TextSpec(
    Q,
    context=3,
    hidden=8,
    unit=HardTower(4),
    ngrams=NgramFields(orders=(1, 2), folds=4),
    selectors=Selectors(heads=2, window=24, match=2, values_to_hidden=True),
)
QUICK = TextTraining(rule=LocalAdam(rate=1e-2, decay=0.0, warm_up=10), runs=2, length=64)
SPECS = {
    "pairs": replace(FULL, hidden=0, ngrams=None, selectors=None),
    "hidden": replace(FULL, ngrams=None, selectors=None),
    "n-grams": replace(FULL, hidden=0, selectors=None),
    "selectors": replace(FULL, hidden=0, ngrams=None),
    "all": FULL,
}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.statistical(alpha=1e-7)
def test_a_planted_text_is_learned_and_nothing_beats_its_entropy(name: str) -> None:
    """Every machine has pairwise couplings to the token before, so it can reach the entropy rate;
    it must come by half of what there is to learn below order 0. And it must not know more than
    there is: P(machine) / P(truth) of the judged text has the mean 1 over texts, so by Markov's
    inequality it exceeds 1 / alpha with a probability below alpha."""
    corpus, (order0, rate) = chain(), entropies()
    machine = PottsIsingLM(SPECS[name], QUICK, seed=4)
    machine.fit(corpus, Budget(steps=250))
    losses = machine.losses(corpus)
    x = corpus.tokens[corpus.positions(machine.spec.reach)]
    before = corpus.tokens[corpus.positions(machine.spec.reach) - 1]
    truth = -np.log2(TRANSITION[before, x])
    assert (truth - losses).sum() < math.log2(1 / 1e-7)
    assert losses.mean() < truth.mean() + (order0 - rate) / 2
    assert machine.score(corpus) == -machine.bpc(corpus)


@pytest.mark.parametrize("name", ["hidden", "all"])
def test_an_interrupted_run_has_the_bits_of_an_uninterrupted_one(
    name: str, tmp_path: Path
) -> None:
    corpus, budget = chain(), Budget(steps=50)
    whole = PottsIsingLM(SPECS[name], QUICK, seed=4)
    whole.fit(corpus, budget)
    cut = PottsIsingLM(SPECS[name], QUICK, seed=4)
    cut.fit(corpus, budget, until=13)
    cut.fit(corpus, budget, until=40)
    cut.save(tmp_path / "machine.npz", training=True)
    again = PottsIsingLM.load(tmp_path / "machine.npz")
    progress = again.fit(corpus, budget)
    assert progress.steps == 50
    assert progress.events.samples == 50 * 128
    for name_, coupling in whole.net.couplings.items():
        assert np.array_equal(coupling, again.net.couplings[name_]), name_
    assert again.bpc(corpus) == whole.bpc(corpus)


@pytest.mark.parametrize("bits", [None, 5])
def test_rows_by_context_go_on_with_their_own_text_alone(bits: int | None, tmp_path: Path) -> None:
    """Parts by fold of another text, or of none, would be read and written beyond their array."""
    corpus, budget = chain(), Budget(steps=4)
    spec = replace(SPECS["n-grams"], ngrams=NgramFields(orders=(1, 2), folds=4, bits=bits))
    machine = PottsIsingLM(spec, QUICK, seed=4)
    machine.fit(corpus, budget, until=2)
    other = replace(corpus, tokens=corpus.tokens[::-1].copy())
    with pytest.raises(ValueError, match="are of another text"):
        machine.fit(other, budget)
    machine.save(tmp_path / "machine.npz")
    with pytest.raises(ValueError, match=r"from save\(training=True\)"):
        PottsIsingLM.load(tmp_path / "machine.npz").fit(corpus, budget)
    assert machine.fit(corpus, budget).steps == 4


def test_counts_of_another_text_are_refused() -> None:
    corpus = chain()
    counts = KBodyField(2, low=1, folds=4).fit(corpus.tokens, Q, corpus.train)
    spec = replace(SPECS["pairs"], count_states=counts.states)
    for tokens in (corpus.tokens[::-1].copy(), np.sort(corpus.tokens)):
        with pytest.raises(ValueError, match="tokens that were counted"):
            PottsIsingLM(spec, QUICK, counts=counts).fit(
                replace(corpus, tokens=tokens), Budget(steps=1)
            )


def test_seeds_differ() -> None:
    corpus, budget = chain(), Budget(steps=3)
    machines = [PottsIsingLM(FULL, QUICK, seed=s) for s in (1, 2)]
    for machine in machines:
        machine.fit(corpus, budget)
    assert not np.array_equal(*(m.net.couplings["W"] for m in machines))


def test_a_stored_machine_is_the_same_machine(tmp_path: Path) -> None:
    corpus = chain()
    counts = KBodyField(2, low=1, folds=4).fit(corpus.tokens, Q, corpus.train)
    spec = replace(FULL, count_states=counts.states)
    machine = PottsIsingLM(spec, QUICK, counts=counts, seed=9)
    machine.fit(corpus, Budget(steps=5))
    machine.save(tmp_path / "machine.npz")
    again = PottsIsingLM.load(tmp_path / "machine.npz")
    assert again.spec == machine.spec
    assert again.training == machine.training
    assert again.seed == 9
    assert again.n_couplings == machine.n_couplings
    assert again.n_table_entries == machine.n_table_entries
    assert np.array_equal(again.losses(corpus), machine.losses(corpus))


def test_probabilities_are_normalised_and_do_not_depend_on_how_a_text_is_cut() -> None:
    corpus = chain()
    machine = PottsIsingLM(FULL, QUICK, seed=4)
    machine.fit(corpus, Budget(steps=20))
    whole = machine.log_probabilities(corpus.tokens, 4100, 5900)
    np.testing.assert_allclose(np.exp(whole).sum(1), 1, rtol=1e-12)
    pieces = [
        machine.log_probabilities(corpus.tokens, a, b) for a, b in ((4100, 4117), (4117, 5900))
    ]
    # float32 sums of matrix products in another order
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)
    future = corpus.tokens.copy()
    future[5000:] = 0
    same = machine.log_probabilities(future, 4100, 5000)
    np.testing.assert_allclose(same, whole[:900], atol=1e-4)
    guesses = machine.predict(corpus.tokens, 4100, 5900)
    assert np.array_equal(guesses, whole.argmax(1))


def test_a_count_field_alone_is_passed_on() -> None:
    """With gains of 1 and 0, and all else zero, the machine's law is the field's."""
    corpus = chain()
    counts = KBodyField(2, low=1, folds=4).fit(corpus.tokens, Q, corpus.train)
    spec = replace(SPECS["pairs"], context=1, count_states=counts.states)
    machine = PottsIsingLM(spec, QUICK, counts=counts)
    assert machine.reach == 2
    np.testing.assert_allclose(machine.losses(corpus, 50), counts.losses(corpus, 50), atol=1e-5)
    machine.fit(corpus, Budget(steps=20))
    assert machine.bpc(corpus, 50) != counts.losses(corpus, 50).mean()


@pytest.mark.statistical(alpha=1e-6)
def test_samples_follow_the_heat_bath() -> None:
    """chi-square of 4,000 first tokens against the machine's probabilities at beta = 1 and 2."""
    corpus = chain()
    machine = PottsIsingLM(SPECS["hidden"], QUICK, seed=4)
    machine.fit(corpus, Budget(steps=60))
    prompt = corpus.tokens[4000:4010]
    logs = machine.log_probabilities(np.append(prompt, 0).astype(np.uint8), 10, 11)[0]
    for beta in (1.0, 2.0):
        drawn = machine.sample(prompt, 1, replicas=4000, beta=beta, seed=int(beta))[:, 0]
        p = np.exp(beta * logs) / np.exp(beta * logs).sum()
        counts = np.bincount(drawn, minlength=Q)
        order = np.argsort(p)
        rare = p[order].cumsum() < 5 / 4000
        seen = np.append(counts[order][~rare], counts[order][rare].sum())
        wanted = np.append(p[order][~rare], p[order][rare].sum()) * 4000
        keep = wanted > 0
        assert stats.chisquare(seen[keep], wanted[keep]).pvalue > 5e-7


def test_samples_continue_their_prompt() -> None:
    corpus = chain()
    machine = PottsIsingLM(FULL, QUICK, seed=4)
    machine.fit(corpus, Budget(steps=5))
    prompt = corpus.tokens[4000:4050]
    drawn = machine.sample(prompt, 12, replicas=3, seed=1)
    assert drawn.shape == (3, 12)
    assert np.array_equal(drawn, machine.sample(prompt, 12, replicas=3, seed=1))
    assert not np.array_equal(drawn[0], drawn[1])
    with pytest.raises(ValueError, match="the prompt has 5 tokens"):
        machine.sample(prompt[:5], 2)
    with pytest.raises(ValueError, match="must be positive"):
        machine.sample(prompt, 0)


def test_a_committee_loses_no_more_than_its_members_on_average() -> None:
    """-log p = mean of -log p_i + log Z with Z <= 1, at every position."""
    corpus = chain()
    members = [PottsIsingLM(SPECS["hidden"], QUICK, seed=s) for s in (1, 2, 3)]
    for member in members:
        member.fit(corpus, Budget(steps=8))
    each = np.array([m.losses(corpus) for m in members])
    pooled = Committee(members).losses(corpus)
    assert np.all(pooled <= each.mean(0) + 1e-12)
    assert pooled.mean() < each.mean() - 1e-4
    np.testing.assert_allclose(Committee(members[:1] * 2).losses(corpus), each[0], atol=1e-12)
    logs = Committee(members).log_probabilities(corpus.tokens, 4100, 4200)
    np.testing.assert_allclose(np.exp(logs).sum(1), 1, rtol=1e-12)
    with pytest.raises(ValueError, match="at least one machine"):
        Committee([])
    with pytest.raises(ValueError, match="same number of colours"):
        Committee([members[0], PottsIsingLM(TextSpec(3))])


def test_events_are_counted() -> None:
    """A step of 128 positions: three evaluations of each of 8 hidden spins, two selectors, y.
    Eight positions share the 8 draws of what is left out. A selector adds 2 numbers to each of 24
    scores and to as many statistics, and three more for each key."""
    progress = PottsIsingLM(FULL, QUICK, seed=4).fit(chain(), Budget(steps=2))
    assert progress.events.samples == 256
    assert progress.events.evaluations == 256 * (3 * 8 + 2 + 1)
    assert progress.events.draws == progress.events.random_words == 256 // 8 * 8
    products = 3 * Q * 8 + 2 * (3 * Q * Q + 3 * Q * 8)
    assert progress.events.macs == 256 * (products + 2 * 24 * (2 * 2 + 3))
    machine = PottsIsingLM(SPECS["hidden"], replace(QUICK, dropout=0.0))
    events = machine.fit(chain(), Budget(steps=1)).events
    assert events.macs == 128 * 3 * Q * 8
    assert events.writes == machine.n_couplings
    assert events.draws == events.random_words == 0
    assert events.flips == events.evaluations


def test_rows_of_the_study() -> None:
    corpus = chain()
    rows = text_rows(
        corpus,
        cpu_s=1e6,
        steps=3,
        seeds=(0, 1),
        window=16,
        names=["Kneser-Ney", "selectors, hidden", "count field, selectors"],
    )
    assert [r["name"] for r in rows] == [
        "Kneser-Ney",
        "selectors, hidden",
        "count field, selectors",
    ]
    assert len({r["positions"] for r in rows}) == 1
    for row in rows[1:]:
        assert len(row["bpc"]) == 2
        assert row["mean"] == pytest.approx(np.mean(row["bpc"]))
        assert row["tokens"] == [3 * 512] * 2
    assert rows[0]["entries"] == rows[2]["entries"] > 0
    assert set(designs()) >= {"selectors, hidden"}
    [gains] = text_rows(
        corpus, cpu_s=1e6, steps=3, seeds=(0,), window=16, names=["count field, gains alone"]
    )
    assert gains["positions"] == rows[0]["positions"]
    with pytest.raises(ValueError, match="unknown machines"):
        text_rows(corpus, cpu_s=1, names=["transformer"])


def test_a_learning_curve_ends_with_the_score() -> None:
    corpus = chain()
    [row] = text_rows(
        corpus, cpu_s=1e6, steps=40, seeds=(0, 1), window=16, names=["hidden alone"], marks=4
    )
    for curve, score in zip(row["curves"], row["bpc"], strict=True):
        assert [point["steps"] for point in curve] == [10, 20, 30, 40]
        assert curve[0]["score"] > curve[-1]["score"] == score
    again = PottsIsingLM(
        replace(designs(16)["hidden alone"].spec, colours=Q), designs(16)["hidden alone"].training
    )
    again.fit(corpus, Budget(steps=40), until=20)
    # the rate at a step depends on the whole budget, so a shorter one would not do
    assert row["curves"][0][1]["score"] == again.bpc(corpus, judged_context(16))


def test_a_row_of_committees_is_that_of_their_members() -> None:
    corpus, name = chain(), "selectors, hidden"
    made: dict[str, Any] = committee_row(
        corpus, name, cpu_s=1e6, members=2, seeds=(0, 2), window=16, steps=3
    )
    design = designs(16)[name]
    members = []
    for seed in (4, 5):
        machine = PottsIsingLM(replace(design.spec, colours=Q), design.training, seed=seed)
        machine.fit(corpus, Budget(steps=3))
        members.append(machine)
    losses = Committee(members).losses(corpus, judged_context(16))
    assert made["bpc"][1] == losses.mean()
    assert made["positions"] == len(losses)
    assert made["params"] == sum(machine.n_couplings for machine in members)
    assert made["tokens"] == [2 * 3 * 512] * 2
    assert made["name"] == f"committee of 2: {name}"


def test_error_over_a_text_counts_correlated_positions_once() -> None:
    """Blocks of 1,000 equal losses: the mean of n blocks has the error s / sqrt(n)."""
    values = uniforms((40,), Draw(3, Stream.DATA)).astype(np.float64)
    wanted = values.std(ddof=1) / 40**0.5
    assert text_error(np.repeat(values, 1000)) == pytest.approx(wanted)
    assert text_error(values[:20]) == pytest.approx(values[:20].std(ddof=1) / 20**0.5)


def test_wrong_requests_are_refused() -> None:
    corpus = chain()
    with pytest.raises(ValueError, match="2 to 256 colours"):
        TextSpec(1)
    with pytest.raises(ValueError, match="context must be at least 1"):
        TextSpec(5, context=0)
    with pytest.raises(ValueError, match="multiple of 8"):
        TextTraining(length=12)
    with pytest.raises(ValueError, match="dropout"):
        TextTraining(dropout=1.0)
    with pytest.raises(ValueError, match="mean fields"):
        TextTraining(phases=WeakFeedback(draws=Stratified(2)))
    with pytest.raises(ValueError, match="pass both or neither"):
        PottsIsingLM(replace(FULL, count_states=(3, 3)))
    machine = PottsIsingLM(FULL, QUICK)
    with pytest.raises(ValueError, match="call fit first"):
        machine.bpc(corpus)
    with pytest.raises(ValueError, match="has 6 colours, the machine 7"):
        PottsIsingLM(replace(FULL, colours=7)).fit(corpus, Budget(steps=1))
    with pytest.raises(ValueError, match="training tokens, at least"):
        machine.fit(replace(corpus, train=100), Budget(steps=1))
    with pytest.raises(ValueError, match="its parts end at 4000 and 9000"):
        machine.fit(replace(corpus, end=9000), Budget(steps=1))
    machine.fit(corpus, Budget(steps=1))
    with pytest.raises(ValueError, match="positions must lie between"):
        machine.log_probabilities(corpus.tokens, 3, 10)
    with pytest.raises(ValueError, match="a token is 9"):
        machine.log_probabilities(np.full(50, 9, np.uint8), 40, 50)
