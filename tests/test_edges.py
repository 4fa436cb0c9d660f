"""Requests, files and ledgers at the edge of what is allowed: right, or refused by name."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from isingnpu import IsingModel, Run, anneal, lattice, loop, resume, sample
from isingnpu.backend import Counts
from isingnpu.ledger import EnergyReading, Ledger
from isingnpu.schedule import default_schedule

MODEL = lattice.square(4)
RUN = {"sweeps": 4, "replicas": 2, "seed": 1}


def test_acceptance_after_burn_in_is_that_of_its_own_sweeps():
    run = sample(MODEL, 0.4, **RUN, burn_in=10, every=2, observe="acceptance")
    whole = sample(MODEL, 0.4, **RUN | {"sweeps": 14}, every=2, observe="acceptance")
    assert np.array_equal(run.series["acceptance"], whole.series["acceptance"][:, -2:])


def test_reads_that_the_lattice_counter_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="first_replica"):
        anneal(MODEL, **RUN, layout="lattice", first_replica=1 << 21)


def test_reads_that_the_lane_counter_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="first_replica"):
        anneal(MODEL, **RUN, layout="lane", first_replica=1 << 36)


@pytest.mark.parametrize("name", ["replicas", "first_replica", "every", "rounds", "threads"])
def test_numpy_integers_are_numbers(tmp_path, name):
    value = {"rounds": 10, "replicas": 2}.get(name, 1)
    options = RUN | {"observe": "energy", name: np.int64(value)}
    run = anneal(MODEL, **options)
    run.save(tmp_path / "a")
    assert json.loads((tmp_path / "a.json").read_text())["settings"][name] == value


@pytest.mark.parametrize(
    ("name", "value"), [("replicas", float("nan")), ("every", float("inf")), ("threads", "two")]
)
def test_what_is_no_number_is_named(name, value):
    with pytest.raises((TypeError, ValueError), match=f"{name} must be a whole number >= 1"):
        anneal(MODEL, **RUN | {name: value})


def test_a_whole_float_is_a_count_as_it_is_for_sweeps():
    assert anneal(MODEL, **RUN | {"sweeps": 4.0}).sweeps_done == 4
    assert anneal(MODEL, **RUN | {"replicas": 4.0}).spins.shape == (4, 16)


@pytest.mark.parametrize(
    ("name", "value"), [("sweeps", -1), ("sweeps", 2.5), ("threads", -1), ("threads", 1.5)]
)
def test_resume_names_what_it_cannot_do(name, value):
    run = sample(MODEL, 0.4, **RUN)
    with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        resume(run, **{name: value})


def test_labels_that_no_checkpoint_can_hold_are_refused_before_the_first_sweep(tmp_path):
    model = IsingModel.from_edges([(0, 1, 1)], 2, labels=[frozenset("a"), "b"])
    looks = []
    with pytest.raises(ValueError, match="does not fit into JSON"):
        anneal(
            model, sweeps=2, seed=1, checkpoint=tmp_path / "c",
            interrupt=lambda: bool(looks.append(1)),
        )  # fmt: skip
    assert looks == []


def test_a_checkpoint_names_its_thresholds_and_resume_compares_them(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "FIRST_CHUNK", 1)
    seen = []

    def look():
        if (tmp_path / "c.npz").exists():
            seen.append(Run.load(tmp_path / "c").provenance.get("thresholds"))
        return False

    options = {"checkpoint": tmp_path / "c", "checkpoint_every": 0.0, "interrupt": look}
    whole = anneal(MODEL, **RUN | {"sweeps": 20}, **options)
    assert set(seen) == {whole.provenance["thresholds"]}
    other = tmp_path / "c.npz"
    with np.load(other) as stored:
        arrays = dict(stored)
    text = str(arrays["header"]).replace(whole.provenance["thresholds"], "0" * 64)
    np.savez(other, **arrays | {"header": np.array(text)})
    with pytest.raises(ValueError, match="thresholds"):
        resume(other, sweeps=2)


def test_a_model_without_sites_is_sampled():
    run = sample(IsingModel.from_edges([], 0, offset=2.5), 0.4, **RUN)
    assert np.all(run.series["energy"] == 2.5)


def test_one_sweep_may_have_beta_zero():
    betas = default_schedule(MODEL, 1, beta_start=0.0, shape="linear").betas
    assert betas.tolist() == [0.0]


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_a_file_that_is_no_run_is_named(tmp_path, content):
    file = tmp_path / "a.npz"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(file))):
        Run.load(tmp_path / "a")


def test_half_a_run_is_named(tmp_path):
    file = tmp_path / "a.npz"
    sample(MODEL, 0.4, **RUN).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=re.escape(str(file))):
        Run.load(file)


def test_windows_of_one_sensor_are_added_and_a_missing_one_leaves_the_sum_unmeasured():
    first, second = EnergyReading(3.0, "rapl", 2.0), EnergyReading(4.0, "rapl", 2.0)
    missing = EnergyReading(None, "rapl", 0.2, "window 0.2 s shorter than 1 s")
    told = [
        Ledger(Counts(), energy=energy).to_json()["measured_joules"]
        for energy in ((first, second), (first, missing), (missing, second))
    ]
    assert told == [{"rapl": 7.0}, {"rapl": "not measured"}, {"rapl": "not measured"}]


def test_the_first_sweep_is_made_even_if_the_first_spins_are_at_the_target():
    run = anneal(MODEL, **RUN, initial=np.ones(16), target=-32.0)
    assert (run.stopped, run.sweeps_done) == ("target", 1)
    assert run.best[1] == -32.0
