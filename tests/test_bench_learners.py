"""The tables of docs/npu.md and the command that makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import __main__ as checkout
from benchmarks import learners
from benchmarks.learners import Data, Learner, Table, measure, tables
from isingnpu.npu.budget import Events
from isingnpu.npu.comparison import TWO_PHASE, Row, read_rows, table

RECORDS = Path(learners.__file__).parent / "npu" / "amd-epyc-2-cores.jsonl"


def row(name: str, *scores: float) -> Row:
    return Row("task", name, TWO_PHASE, "accuracy %", scores, 5, 1.0, 3, Events(samples=3))


def test_the_docs_show_the_records() -> None:
    shown = learners.DOCS.read_text().split(learners.BEGIN)[1].split(learners.END)[0]
    assert shown.strip() == table(learners.in_order(read_rows(RECORDS))).strip()


def test_records_are_of_learners_that_the_command_trains() -> None:
    known = [
        (one.title, name)
        for one in tables(Data(Path("absent"))).values()
        for learner in one.learners
        for name in learner.names
    ]
    assert len(set(known)) == len(known)
    assert {(row.task, row.name) for row in read_rows(RECORDS)} <= set(known)


def test_rows_are_shown_in_the_order_of_the_program() -> None:
    first, second = (
        Row("recall of 16 pairs", name, TWO_PHASE, "accuracy %", (1.0,), 5, 1.0, 3, Events())
        for name in ("selector, exact phases", "transformer, 2-token inputs")
    )
    other = row("of another program", 1.0)
    assert learners.in_order([other, second, first]) == [first, second, other]


def test_learners_are_chosen_by_their_names(tmp_path, capsys) -> None:
    asked = []

    def trained(name):
        def rows(seeds):
            asked.append((name, list(seeds)))
            return [row(name, *(1 / 3 for _ in seeds))]

        return Learner(name, rows)

    both = Table("task", (trained("one block"), trained("two blocks")))
    measure([both], "^two", [4, 5], tmp_path / "rows.jsonl")
    assert asked == [("two blocks", [4, 5])]
    [kept] = read_rows(tmp_path / "rows.jsonl")
    assert kept.scores == (0.333333, 0.333333)
    assert "two blocks: 0.333333(0), 3 samples" in capsys.readouterr().err


def test_a_table_is_trained_in_small(tmp_path) -> None:
    out = tmp_path / "rows.jsonl"
    words = ["npu", "recall", "planted", "--only", "selectors|CD-1", "--seeds", "0", "1"]
    assert (
        checkout.main([*words, "--share", "0.002", "--data", str(tmp_path), "--out", str(out)])
        == 0
    )
    rows = read_rows(out)
    assert [row.name for row in rows] == [
        "selector, exact phases", "selector, sampled phases", "CD-1", "PCD-1",
    ]  # fmt: skip
    assert all(len(row.scores) == 2 for row in rows)


def test_a_part_of_the_budgets_does_not_go_into_the_records(tmp_path, capsys) -> None:
    """Of rows with one name the last counts: a trial would take the place of a result."""
    words = ["npu", "recall", "--share", "0.002", "--only", "none", "--data", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        checkout.main(words)
    assert stopped.value.code == 2
    assert "name --out" in capsys.readouterr().err
    assert checkout.main([*words, "--out", str(tmp_path / "rows.jsonl")]) == 0


def test_tables_of_docs_are_replaced(tmp_path, monkeypatch) -> None:
    docs, records = tmp_path / "npu.md", tmp_path / "rows.jsonl"
    docs.write_text(f"before\n{learners.BEGIN}old\n{learners.END}\nafter\n")
    measure([Table("task", (Learner("new", lambda seeds: [row("new", 1.0)]),))], "", [0], records)
    monkeypatch.setattr(learners, "DOCS", docs)
    assert checkout.main(["npu", "report", "--out", str(records)]) == 0
    text = docs.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "| new |" in text
    assert "old" not in text


def test_an_unknown_table_is_refused(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        checkout.main(["npu", "poetry", "--data", str(tmp_path)])
    assert stopped.value.code == 2
    assert "no table is called 'poetry'; there are mnist, usps" in capsys.readouterr().err
