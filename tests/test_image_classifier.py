"""The image classifier as a user meets it: bits, files, refusals, and a planted task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from isingnpu.npu.augment import Warp, shifts
from isingnpu.npu.budget import Budget
from isingnpu.npu.classifier import IsingClassifier
from isingnpu.npu.draws import Independent, Stratified
from isingnpu.npu.image_study import designs, image_rows
from isingnpu.npu.images import ImageSet, planted_images
from isingnpu.npu.learning import (
    ContrastiveDivergence,
    Exact,
    Gibbs,
    LocalAdam,
    MeanField,
    SymmetricFeedback,
    WeakFeedback,
)
from isingnpu.npu.readout import READOUTS, Readout
from isingnpu.npu.sheets import Dense, Sheets, layer_from_json, layer_to_json
from isingnpu.npu.units import Binary, HardTower, Tower

IMAGES = planted_images(n_train=1200, n_test=400)
DENSE = (Dense(48, Binary()),)
SHEETS = (Sheets(5, 6, unit=HardTower(4)), Sheets(3, 8, stride=2, unit=Tower(2)))
MACHINES = {
    "weak": IsingClassifier(SHEETS, warp=Warp()),
    "drawn": IsingClassifier(
        SHEETS, phases=WeakFeedback(draws=Stratified(2), threshold=0.01), warp=shifts(1)
    ),
    "drawn nudges": IsingClassifier(
        DENSE, phases=WeakFeedback((4.0, 2.0), Independent(2), nudge="sampled")
    ),
    "exact": IsingClassifier(DENSE, phases=Exact(1e-3)),
    "gibbs": IsingClassifier(DENSE, phases=Gibbs((0.5, 1.0), replicas=2)),
    "persistent": IsingClassifier(DENSE, phases=ContrastiveDivergence(persistent=True)),
    "mean field": IsingClassifier(DENSE, phases=MeanField(4)),
    "ladder": IsingClassifier(SHEETS, credit="ladder", average=0.9),
    "symmetric": IsingClassifier(SHEETS, credit="ladder", phases=SymmetricFeedback(sweeps=2)),
    "thermostat": IsingClassifier((Sheets(5, 6, pool=True, thermostat=1.5), Dense(20))),
}


def fresh(name: str) -> IsingClassifier:
    return replace(MACHINES[name], device="cpu", seed=7, batch=32, machine=None)


def bits(machine: IsingClassifier) -> bytes:
    assert machine.machine is not None
    return b"".join(array.tobytes() for array in machine.machine.couplings.values())


@pytest.mark.parametrize("name", MACHINES)
def test_the_same_settings_give_the_same_bits_in_one_piece_or_in_three(name, tmp_path) -> None:
    """Whole run, repeated run, and a run stopped twice, once through a file: 12 steps."""
    budget = Budget(steps=12)
    whole, again, pieces = fresh(name), fresh(name), fresh(name)
    whole.fit(IMAGES, budget)
    again.fit(IMAGES, budget)
    assert bits(again) == bits(whole)
    pieces.fit(IMAGES, budget, pause_after=5)
    pieces.fit(IMAGES, budget, pause_after=2)
    assert bits(pieces) != bits(whole)
    pieces.save(tmp_path / "machine.npz")
    read = IsingClassifier.load(tmp_path / "machine.npz", device="cpu")
    assert bits(read) == bits(pieces)
    assert vars(replace(read, machine=None)) == vars(replace(pieces, machine=None))
    progress = read.fit(IMAGES, budget)
    assert bits(read) == bits(whole)
    assert progress.steps == 12
    assert progress.events.samples == 12 * 32
    assert read.fit(IMAGES, budget).steps == 12  # the budget is spent: nothing more is learned
    assert bits(read) == bits(whole)
    other = replace(fresh(name), seed=8)
    other.fit(IMAGES, budget)
    assert bits(other) != bits(whole)


def test_a_learning_curve_goes_on_where_it_stopped(tmp_path) -> None:
    budget, asked = Budget(steps=9), {"every": 3, "validation": IMAGES}
    whole, pieces = fresh("weak"), fresh("weak")
    wanted = [(p.steps, p.score) for p in whole.fit(IMAGES, budget, **asked).curve]
    assert [steps for steps, _ in wanted] == [3, 6, 9]
    pieces.fit(IMAGES, budget, pause_after=4, **asked)
    pieces.save(tmp_path / "machine.npz")
    read = IsingClassifier.load(tmp_path / "machine.npz", device="cpu")
    assert [(p.steps, p.score) for p in read.fit(IMAGES, budget, **asked).curve] == wanted


@pytest.mark.parametrize("name", MACHINES)
def test_every_rule_learns_the_planted_task(name) -> None:
    """Chance is 1 in 10: 90 of 400 right by chance has probability 1e-13."""
    assert stats.binom.sf(89, 400, 0.1) < 1e-12
    machine = replace(fresh(name), rule=LocalAdam(rate=0.01, warm_up=10))
    before = replace(machine, machine=None)
    before.fit(IMAGES, Budget(steps=120), pause_after=0)
    machine.fit(IMAGES, Budget(steps=120))
    assert (machine.predict(IMAGES.test[0]) == IMAGES.test[1]).sum() >= 90
    assert machine.score(*IMAGES.test) > before.score(*IMAGES.test) + 0.1


def test_depth_and_every_readout_on_the_planted_task() -> None:
    """Two blocks for 500 steps; by every read-out far above chance, drawn ones too."""
    machine = replace(fresh("weak"), rule=LocalAdam(rate=0.01, warm_up=20), batch=64)
    progress = machine.fit(IMAGES, Budget(steps=500), every=100, validation=IMAGES)
    assert [point.steps for point in progress.curve] == [100, 200, 300, 400, 500]
    assert progress.curve[-1].loss < progress.curve[0].loss
    assert progress.curve[-1].score is not None
    for rule in READOUTS:
        readout = Readout(rule, draws=Stratified(2), sweeps=8)
        assert machine.score(*IMAGES.test, readout) > 0.4, rule
    p = machine.predict_proba(IMAGES.test[0])
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert np.array_equal(p.argmax(1), machine.predict(IMAGES.test[0]))


@pytest.mark.parametrize("sweeps", [1, 3, 4])
def test_votes_are_those_of_the_last_half_of_the_sweeps(sweeps) -> None:
    """One for the state and 0.001 p after each, the middle one of an odd number included."""
    machine = fresh("gibbs")
    machine.fit(IMAGES, Budget(steps=5))
    images = IMAGES.test[0][:40]
    votes, events = machine.decision(images, Readout("gibbs", sweeps=sweeps))
    counted = (sweeps + 1) // 2
    np.testing.assert_allclose(votes.sum(1), 1.001 * counted, rtol=1e-5)
    assert events.reads == 40 * counted
    assert len(np.unique(machine.predict(images, Readout("gibbs", sweeps=sweeps)))) > 1


@pytest.mark.statistical(alpha=1e-9)
def test_samples_follow_the_heat_bath_of_the_output_spin() -> None:
    machine = fresh("exact")
    machine.fit(IMAGES, Budget(steps=40))
    x = np.repeat(IMAGES.test[0][:1], 4000, axis=0)
    p = machine.predict_proba(x[:1])[0].astype(float)
    counts = np.bincount(machine.sample(x), minlength=10)
    keep = p * 4000 >= 5
    seen = np.append(counts[keep], counts[~keep].sum())
    wanted = np.append(p[keep], p[~keep].sum()) * 4000
    chi = ((seen - wanted)[wanted > 0] ** 2 / wanted[wanted > 0]).sum()
    assert stats.chi2.sf(chi, keep.sum()) > 1e-9
    assert not np.array_equal(machine.sample(x), machine.sample(x, ask=1))


def test_first_fields_have_the_promised_scale() -> None:
    machine = fresh("weak")
    machine.fit(IMAGES, Budget(steps=1), pause_after=0)
    state = machine.machine
    assert state is not None
    x = IMAGES.train[0][:256, :, :, None] - IMAGES.train[0].mean(0)[..., None]
    for block in state.blocks:
        f = block.fields(x).field
        assert f.std() == pytest.approx(1.5, rel=1e-4)
        x = block.above(state.device.mean(block.unit, f))


def test_events_are_counted() -> None:
    """Dense, 48 binary spins, 3 steps of 32 images: by hand."""
    machine = replace(fresh("weak"), blocks=DENSE, warp=None)
    events = machine.fit(IMAGES, Budget(steps=3)).events
    couplings = 14 * 14 * 48 + 48 + 10 * 48 + 10
    assert machine.parameters == couplings
    assert events.writes == 3 * couplings
    assert events.evaluations == 3 * 32 * 48 * 3  # the free phase and two nudged ones
    assert events.macs == 3 * 32 * (2 * 14 * 14 * 48 + 3 * 10 * 48)
    assert events.draws == events.random_words == events.potts_draws == 0
    drawn = replace(machine, phases=WeakFeedback(draws=Independent(2)), machine=None)
    events = drawn.fit(IMAGES, Budget(steps=3)).events
    assert events.draws == events.random_words == 3 * 32 * 48 * 2
    moved = replace(machine, warp=Warp(), machine=None)
    assert moved.fit(IMAGES, Budget(steps=3)).events.random_words == 3 * 32 * 6
    gibbs = replace(machine, phases=Gibbs((1.0, 1.0), replicas=3), machine=None)
    events = gibbs.fit(IMAGES, Budget(steps=3)).events
    assert events.draws == 3 * 32 * 2 * 48 * 3
    assert events.potts_draws == 3 * 32 * 2


def test_images_of_any_size_and_number_of_labels() -> None:
    rng = np.random.default_rng(0)
    for height, width, labels in ((16, 16, 3), (9, 20, 2)):
        y = np.arange(90) % labels
        x = rng.random((90, height, width)).astype(np.float32)
        part = x, y.astype(np.int64)
        machine = replace(fresh("weak"), warp=Warp())
        machine.fit(ImageSet("noise", part, part), Budget(steps=2))
        assert machine.predict_proba(x).shape == (90, labels)


def test_persistent_chains_stay_where_the_last_visit_left_them(tmp_path) -> None:
    """12 steps of 32 of 1,200 images: chains of the others still stand at their labels."""
    machine = fresh("persistent")
    machine.fit(IMAGES, Budget(steps=12))
    assert machine.machine is not None
    assert machine.machine.chains is not None
    moved = machine.machine.chains[0] != IMAGES.train[1]
    # an untrained machine leaves a label about 9 times in 10
    assert 12 * 32 / 4 < moved.sum() <= 12 * 32
    machine.save(tmp_path / "chains.npz")
    read = IsingClassifier.load(tmp_path / "chains.npz", device="cpu")
    assert read.machine is not None
    assert np.array_equal(read.machine.chains, machine.machine.chains)


@pytest.mark.parametrize("credit", ["local", "ladder"])
def test_where_every_image_is_settled_only_the_decay_moves_couplings(credit) -> None:
    machine = replace(fresh("weak"), credit=credit, phases=WeakFeedback(threshold=0.999))
    machine.fit(IMAGES, Budget(steps=1), pause_after=0)
    assert machine.machine is not None
    before = machine.machine.blocks[0].couplings["w"].copy()
    machine.fit(IMAGES, Budget(steps=1))
    rule = machine.rule
    factor = 1 - rule.rate / rule.warm_up * rule.decay
    np.testing.assert_allclose(
        machine.machine.blocks[0].couplings["w"], factor * before, rtol=1e-6
    )


def test_wrong_inputs_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="at least one block"):
        IsingClassifier(())
    with pytest.raises(ValueError, match="unknown credit 'global'"):
        IsingClassifier(credit="global")
    with pytest.raises(ValueError, match="weak or symmetric"):
        IsingClassifier(credit="ladder", phases=Exact())
    with pytest.raises(ValueError, match="pass credit='ladder'"):
        IsingClassifier(phases=SymmetricFeedback())
    with pytest.raises(ValueError, match="0 <= average < 1"):
        IsingClassifier(average=1.0)
    with pytest.raises(ValueError, match="unknown readout"):
        Readout("best")
    with pytest.raises(ValueError, match="learned nothing yet"):
        IsingClassifier().predict(IMAGES.test[0])
    with pytest.raises(ValueError, match="15 x 15 field at stride 1 has 0 x 0 places"):
        replace(fresh("weak"), blocks=(Sheets(15, 4),)).fit(IMAGES, Budget(steps=1))
    machine = fresh("weak")
    machine.fit(IMAGES, Budget(steps=1))
    with pytest.raises(ValueError, match=r"must be \(n, 14, 14\)"):
        machine.predict(np.zeros((2, 13, 14), np.float32))
    more = ImageSet("more", (IMAGES.train[0], IMAGES.train[1] + 1), IMAGES.test)
    with pytest.raises(ValueError, match="11 labels, the machine has 10"):
        machine.fit(more, Budget(steps=2))
    flat = ImageSet("flat", (IMAGES.train[0] * 0, IMAGES.train[1]), IMAGES.test)
    with pytest.raises(ValueError, match="all images are alike"):
        fresh("weak").fit(flat, Budget(steps=1))
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="IsingClassifier"):
        IsingClassifier.load(tmp_path / "other.npz")


def test_blocks_as_json() -> None:
    for layer in (*SHEETS, *DENSE, Sheets(3, 2, pool=True, thermostat=2.0)):
        assert layer_from_json(layer_to_json(layer)) == layer
    with pytest.raises(ValueError, match="no block of spins"):
        layer_from_json({"kind": "conv"})


def test_study_has_a_row_for_every_readout() -> None:
    rows = image_rows(IMAGES, cpu_s=0.2, seeds=(0, 1), names=["dense"], marks=2)
    assert [row["name"] for row in rows] == list(designs()["dense"].readouts)
    for row in rows:
        assert len(row["scores"]) == len(row["events"]) == 2
        assert row["mean"] == pytest.approx(sum(row["scores"]) / 2)
        assert min(row["cpu_s"]) >= 0.2
        assert row["samples"][0] == row["events"][0]["samples"]
        assert row["asking"]["flips"] > 0
    for (*before, end), score in zip(rows[0]["curves"], rows[0]["scores"], strict=True):
        assert all(0.1 <= half["cpu_s"] < end["cpu_s"] for half in before)
        assert end["score"] == score
    assert rows[1]["curves"] == []
