"""Rows of the small studies: what they hold, at budgets of a moment."""

from __future__ import annotations

import json

import numpy as np
import pytest

from isingnpu.npu.budget import Budget
from isingnpu.npu.factored import FactoredAttention
from isingnpu.npu.recall import AssociativeRecall
from isingnpu.npu.small_studies import (
    PLANTED_RULES,
    memory_rows,
    penalty_rows,
    planted_rows,
    recall_rows,
    selector_rows,
)
from isingnpu.npu.tasks import PlantedTask

COLUMNS = {"name", "task", "metric", "params", "budget", "seeds", "scores", "events", "cpu_s"}


def check(rows, seeds) -> None:
    assert len({row["name"] for row in rows}) == len(rows)
    for row in rows:
        assert row.keys() >= COLUMNS
        assert row["seeds"] == list(seeds)
        assert len(row["scores"]) == len(row["cpu_s"]) == len(seeds)
        assert np.isfinite(row["scores"]).all()
        assert all(events["flips"] > 0 for events in row["events"])


def test_planted_rows_measure_from_the_exact_entropy() -> None:
    rows = planted_rows(cpu_s=0.1, seeds=(5,), sequences=2000, marks=2)
    check(rows, (5,))
    assert [row["name"] for row in rows] == list(PLANTED_RULES)
    for row in rows:
        assert row["params"] == 190 * 36 + 120
        assert row["loss"][0] - row["truth"][0] == pytest.approx(row["scores"][0])
        # a reader without context loses ln 6 at most; nobody gains on the truth but by chance
        assert 0 < row["scores"][0] < np.log(6) - row["truth"][0]
        [[*before, end]] = row["curves"]  # a step that compiles may pass over the mark
        assert all(0.05 <= half["cpu_s"] < end["cpu_s"] for half in before)
        assert end["cpu_s"] == row["cpu_s"][0]
        assert end["score"] == row["scores"][0]
        json.dumps(row, allow_nan=False)


@pytest.mark.parametrize("kind", [FactoredAttention, AssociativeRecall])
def test_another_machine_compiles_before_the_clock_runs(kind, monkeypatch) -> None:
    """Every training in CPU seconds, the first one too, comes after a step of a machine beside."""
    whole, asked = kind.fit, []

    def fit(self, *args, **options):
        budget = next(a for a in args if isinstance(a, Budget))
        asked.append("steps" if budget.cpu_s is None else "seconds")
        return whole(self, *args, **options)

    monkeypatch.setattr(kind, "fit", fit)
    if kind is FactoredAttention:
        planted_rows(cpu_s=0.01, seeds=(1,), sequences=200, names=["CD-1"])
        PlantedTask().train("CD-1", Budget(cpu_s=0.01), 1, "cpu", None)
    else:
        recall_rows(cpu_s=0.01, seeds=(1,), pairs=2, symbols=4)
    assert asked == ["steps", "seconds"] * 2


def test_recall_rows_count_right_answers() -> None:
    rows = recall_rows(cpu_s=0.05, seeds=(1, 2), pairs=4, symbols=8)
    check(rows, (1, 2))
    for row in rows:
        assert row["params"] == 128
        assert all(0 <= x <= 1 for x in row["scores"] + row["one_draw"])


def test_selector_rows_fall_as_the_root_of_the_draws() -> None:
    rows = selector_rows(seeds=(1,), draws=(100, 10_000), keys=8, width=64)
    check(rows, (1,))
    few, many = (row["expected"][0] for row in rows)
    assert few / many == pytest.approx(10, rel=1e-12)
    assert [events["potts_draws"] for events in rows[0]["events"]] == [1600]
    assert np.isfinite(rows[1]["p"][0])


def test_memory_and_penalty_rows() -> None:
    rows = memory_rows(seeds=(1,), spins=128, counts=(4, 40), cues=20)
    check(rows, (1,))
    assert [row["params"] for row in rows] == [8128, 512, 8128, 5120]
    assert [row["scores"][0] for row in rows[:2]] == [1.0, 1.0]
    assert rows[2]["theory"] == 0
    rows = penalty_rows(seeds=(1,), penalties=(2.0,), replicas=512, sweeps=(10,), backend="cpu")
    check(rows, (1,))
    assert 0 < rows[0]["measured"][0]["valid"] < 1
