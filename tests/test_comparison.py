"""Rows of a comparison: statistics over seeds, kinds of joules kept apart, files, figure."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from isingnpu.npu.budget import Budget, Events, Marks, Point, Progress, mean_joules
from isingnpu.npu.comparison import (
    BACKPROP,
    TWO_PHASE,
    Row,
    append_rows,
    read_rows,
    row_of,
    table,
)
from isingnpu.npu.corpus import Corpus
from isingnpu.npu.draws import Draw, uniforms
from isingnpu.npu.image_study import image_rows
from isingnpu.npu.images import planted_images
from isingnpu.npu.prices import DIGITAL, SPIN_DEVICE, joules_of
from isingnpu.npu.small_studies import planted_rows, recall_rows
from isingnpu.npu.text_study import committee_row, text_rows
from isingnpu.rng import Stream

DRAWN = Events(draws=1_000_000, macs=10_000, writes=100, reads=50, samples=10)


def row(name: str = "spins", learning: str = TWO_PHASE, events: Events = DRAWN) -> Row:
    return Row("task", name, learning, "nats", (1.0, 1.2, 1.4), 10, 2.0, 10, events)


def test_score_is_the_mean_over_seeds_with_its_standard_error() -> None:
    score = row().score
    assert score.value == pytest.approx(1.2)
    assert row().deviation == pytest.approx(0.2)
    assert score.error == pytest.approx(0.2 / math.sqrt(3))
    single = Row("task", "one", TWO_PHASE, "nats", (1.0,), 1, 1.0, 1, DRAWN)
    assert math.isnan(single.score.error)
    assert "| 1 |" in table([single])


def test_device_joules_are_events_times_prices() -> None:
    wanted = 1e6 * 7.09e-15 + 50 * 1.692e-12 + 100 * 153.6e-12 + 1e4 * 4.6e-12
    assert joules_of(DRAWN, SPIN_DEVICE) == pytest.approx(wanted)
    assert row().device_joules == pytest.approx(wanted)
    assert joules_of(Events(macs=3), DIGITAL) == pytest.approx(3 * 4.6e-12)


def test_means_and_backprop_are_not_priced_as_spins_of_a_device() -> None:
    assert row(events=Events(evaluations=10**6, macs=10)).device_joules is None
    assert row(events=Events(draws=5, evaluations=10**6)).device_joules is None
    assert row(learning=BACKPROP).device_joules is None
    assert row(learning=BACKPROP).digital_joules > 0


def test_missing_sensor_is_not_measured() -> None:
    line = next(line for line in table([row()]).splitlines() if line.startswith("| spins"))
    assert "not measured" in line
    assert row().to_json()["joules"] == "not measured"


def test_rows_come_back_from_a_file_and_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first = row()
    curve = ((Point(1, 0.5, 10, 2.0, 1.9),),)
    again = Row("task", "spins", TWO_PHASE, "nats", (0.9,), 10, 2.0, 10, DRAWN, 3.5, curve)
    append_rows(path, [first, row("other", BACKPROP)], {"processor": "x"})
    append_rows(path, [again], {"processor": "x"})
    rows = {r.name: r for r in read_rows(path)}
    assert rows["spins"].scores == (0.9,)
    assert rows["spins"].joules == 3.5
    assert rows["spins"].curve == curve
    assert rows["spins"].events == DRAWN
    assert rows["other"].joules is None
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(ValueError, match=r"rows.jsonl:3: not a line"):
        read_rows(path)


def test_figure_has_a_panel_for_each_kind_of_cost(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from isingnpu.npu_plot import plot_comparison, save_comparison

    fig = plot_comparison([row(), row("net", BACKPROP)])
    labels = [ax.get_xlabel() for ax in fig.axes]
    assert len(labels) == len(set(labels)) == 4
    counted, joules = fig.axes[1], fig.axes[2]
    assert len(counted.containers) == 2  # both rows have events.draws here
    assert "not measured" in joules.texts[0].get_text()
    assert not joules.containers
    save_comparison([row()], tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_budget_ends_at_the_first_limit() -> None:
    with Progress(Budget(steps=10, flips=25)) as progress:
        while not progress.spent:
            progress.count(Events(draws=10))
    assert progress.steps == 3
    assert progress.events.draws == 30


def test_a_pause_costs_nothing_seen_from_inside_or_after() -> None:
    with Progress(Budget(steps=1)) as progress:
        before = progress.cpu_s
        with progress.pause():
            began = time.process_time()
            while time.process_time() < began + 0.05:
                pass
            assert progress.cpu_s - before < 0.05
        assert progress.cpu_s - before < 0.05


def test_marks_score_off_the_budget_when_a_part_of_it_is_spent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A clock set by hand: ten steps of a second, each scoring takes a hundred."""
    clocks = SimpleNamespace(now=3.0)
    clocks.process_time = clocks.perf_counter = lambda: clocks.now
    monkeypatch.setattr("isingnpu.npu.budget.time", clocks)

    def score() -> float:
        clocks.now += 100.0
        return clocks.now

    marks = Marks(4, score)
    with Progress(Budget(cpu_s=10)) as progress:
        while not progress.spent:
            clocks.now += 1.0
            progress.count(Events(draws=5), math.nan if progress.steps else 2.0)
            if progress.steps == 5:
                with progress.pause():  # as learners do that call their watch off the budget
                    marks(progress)
            else:
                marks(progress)
    assert progress.steps == 10
    assert progress.curve == [
        Point(3, 3.0, 15, None, 106.0), Point(5, 5.0, 25, None, 208.0),
        Point(8, 8.0, 40, None, 311.0),
    ]  # fmt: skip


def test_wall_seconds_pass_while_the_process_waits_and_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two clocks set by hand: a process that waits 2 s a step for a device at 0.25 CPU s each."""
    clocks = SimpleNamespace(wall=5.0, cpu=1.0)
    clocks.process_time, clocks.perf_counter = lambda: clocks.cpu, lambda: clocks.wall
    monkeypatch.setattr("isingnpu.npu.budget.time", clocks)

    def wait() -> None:
        clocks.wall, clocks.cpu = clocks.wall + 2.0, clocks.cpu + 0.25

    with Progress(Budget(wall_s=6, cpu_s=100)) as progress:
        while not progress.spent:
            wait()
            progress.count(Events())
            with progress.pause():
                wait()
    assert (progress.steps, progress.wall_s, progress.cpu_s) == (3, 6.0, 0.75)
    stored = Progress.from_json(json.loads(json.dumps(progress.to_json())))
    assert (stored.wall_s, stored.cpu_s) == (6.0, 0.75)
    with Progress.after(stored, Budget(wall_s=12)) as later:
        assert later.fraction == 0.5
    assert later.steps == 3


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "a budget needs a limit"),
        ({"cpu_s": 0.0}, "cpu_s must be above 0, got 0.0"),
        ({"cpu_s": 3.0, "steps": -1}, "steps must be above 0, got -1"),
        ({"flips": float("nan")}, "flips must be above 0, got nan"),
    ],
)
def test_a_budget_without_a_positive_limit_is_refused(
    limits: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"^{message}"):
        Budget(**limits)


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """An energy counter set by hand, in joules, and windows of any length."""
    counter = SimpleNamespace(joules=5.0)
    monkeypatch.setattr("isingnpu.ledger.sensors", lambda: {"rapl": None, "nvml": "none"})
    monkeypatch.setattr(
        "isingnpu.ledger._rapl_microjoules", lambda: [(round(counter.joules * 1e6), 10**12)]
    )
    monkeypatch.setattr("isingnpu.ledger.SHORTEST_WINDOW", 0.0)
    return counter


def test_joules_of_a_pause_are_not_of_the_training(counter: SimpleNamespace) -> None:
    """Steps of 2 J, each scored for 100 J."""
    with Progress(Budget(joules=8.0)) as progress:
        while not progress.spent:
            counter.joules += 2
            progress.count(Events())
            with progress.pause():
                counter.joules += 100
    assert progress.steps == 4
    assert mean_joules([progress]) == {"rapl": 8.0, "nvml": "not measured"}


@pytest.mark.parametrize("study", ["planted", "recall", "images", "text", "committee"])
def test_rows_of_spins_have_the_joules_of_a_sensor(
    study: str, counter: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A joule a step. Of images 2 steps compile and are not of the training."""
    whole = Progress.count

    def count(progress: Progress, *args: object) -> None:
        counter.joules += 1
        whole(progress, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Progress, "count", count)
    u = uniforms((6000,), Draw(8, Stream.DATA))
    corpus = Corpus("noise", (4 * u).astype(np.uint8), tuple("abcd"), 4000, 6000)
    text = {"cpu_s": 1e6, "steps": 3, "seeds": (0,), "window": 16}
    images = planted_images(n_train=300, n_test=50)
    made = {
        "planted": lambda: planted_rows(cpu_s=0.01, seeds=(0,), sequences=500, names=["CD-1"]),
        "recall": lambda: recall_rows(cpu_s=0.01, seeds=(0,), pairs=2, symbols=4)[:1],
        "images": lambda: image_rows(images, cpu_s=0.01, seeds=(0,), names=["drawn nudges"]),
        "text": lambda: text_rows(corpus, names=["hidden alone"], **text),
        "committee": lambda: [committee_row(corpus, "hidden alone", members=2, **text)],
    }
    [row] = made[study]()
    wanted = {"text": 3.0, "committee": 6.0}.get(study)
    if wanted is None:
        samples = row["events"][0]["samples"]
        batch = {"planted": 256, "recall": 64, "images": 128}[study]
        wanted = samples / batch - 2 * (study == "images")
    assert row_of(row, "task", "nats", TWO_PHASE).joules == wanted


def test_a_budget_in_joules_needs_a_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isingnpu.ledger.sensors", lambda: {"rapl": "none", "nvml": "none"})
    with Progress(Budget(joules=1.0)) as progress, pytest.raises(ValueError, match="no energy"):
        _ = progress.spent


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "figure.png").write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match=r"figure\.png: not a file of compared rows"):
        read_rows(tmp_path / "figure.png")


@pytest.mark.parametrize(("ratio", "scale"), [(9.0, "linear"), (11.0, "log")])
def test_costs_of_less_than_a_decade_stand_on_a_linear_axis(ratio: float, scale: str) -> None:
    pytest.importorskip("matplotlib")
    from isingnpu.npu_plot import plot_comparison

    slow = replace(row("slow"), cpu_s=row().cpu_s * ratio)
    assert plot_comparison([row(), slow]).axes[0].get_xscale() == scale
