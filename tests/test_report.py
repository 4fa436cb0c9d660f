"""The page of all studies, at tiny size, and the figures on it."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from isingnpu import lattice, plot, report
from isingnpu.annealing import anneal
from isingnpu.ledger import transformer_step

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report written with small studies: its folder and its JSON."""
    out = tmp_path_factory.mktemp("report") / "page"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "PLANTED_SIZE", 8)
        patch.setattr(report, "READS", 16)
        patch.setattr(report, "SWEEPS", 50)
        patch.setattr(report, "SIZES", (4, 6, 8))
        patch.setattr(report, "SNAPSHOT_SIZE", 64)
        patch.setattr(report, "SNAPSHOT_SWEEPS", 3)
        result = report.write_report(out, seconds=4.0, seed=1, threads=1)
    return out, result


def test_the_folder_holds_page_json_and_figures(made):
    out, result = made
    names = {path.name for path in out.iterdir()}
    assert names == {
        "index.html", "report.json", "anneal.png", "critical.png", "lattice.png", "costs.png"
    }  # fmt: skip
    assert {name.rsplit("/", 1)[1] for name in result["files"]} == names
    assert all(path.read_bytes().startswith(PNG) for path in out.glob("*.png"))
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(result))


def test_the_page_is_well_formed_and_fetches_nothing(made):
    page = (made[0] / "index.html").read_text()
    opened: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img"):
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Checker().feed(page)
    assert opened == []
    assert not re.search(r"(src|href)=[\"']?+(?!data:)", page)
    assert page.count("data:image/png;base64,") == 4


def test_the_planted_ground_state_is_the_target(made):
    target = made[1]["anneal"]["target"]
    assert target["source"] == "given"
    assert made[1]["anneal"]["best"]["energy"] >= target["energy"]


def test_costs_are_the_ledger_per_event(made):
    ledger = made[1]["anneal"]["ledger"]
    per_update, per_flip, per_step, per_token = made[1]["costs"]
    assert per_update["bytes"] == ledger["bytes"] / ledger["attempted_updates"]
    assert per_flip["bytes"] == ledger["bytes"] / ledger["flips"]
    operations = (
        5 * ledger["random_words"] + ledger["couplings_read"] + ledger["attempted_updates"]
    )
    assert per_flip["integer_operations"] == operations / ledger["flips"]
    assert per_token["flops"] * 16 * 64 == per_step["flops"]


def test_measured_and_modelled_joules_have_columns_of_their_own(made):
    for row in made[1]["costs"]:
        assert (
            isinstance(row["measured_joules"], float) or row["measured_joules"] == "not measured"
        )
        assert row["modelled_joules"] > 0


def test_transformer_step_counts_a_matrix_by_hand():
    # one layer of width 2, context 1, 3 characters, one sequence
    step = transformer_step(layers=1, width=2, context=1, vocabulary=3, batch=1)
    matrices = 4 * 2 * 2 + 2 * (2 * 8) + 3 * 2  # q k v o, up and down, tied output
    assert step.parameters == matrices + 1 * 2
    assert step.flops == 6 * matrices + 6 * 2 * 1 * 1 * 2  # scores and values: 2 x 2 x 1 x 2 each


def test_text_names_every_file(made):
    text = report.text(made[1])
    assert all(name in text for name in made[1]["files"])


def test_report_without_matplotlib_says_so(made, monkeypatch):
    def missing():
        raise ValueError("figures need matplotlib")

    monkeypatch.setattr(report.results, "require_plots", missing)
    assert report._figures(made[0], None, None, {}, []) == {}
    without = {**made[1], "files": ["report.json"]}
    assert "matplotlib is not installed" in report.text(without)
    assert "matplotlib is not installed" in report._page(made[1], {})


@pytest.mark.parametrize("seconds", [0, -1])
def test_report_refuses_an_empty_budget(tmp_path, seconds):
    with pytest.raises(ValueError, match="seconds must be > 0"):
        report.write_report(tmp_path / "x", seconds=seconds)
    assert not (tmp_path / "x").exists()


def test_anneal_figure_draws_median_best_and_ground_state():
    run = anneal(lattice.square(4), sweeps=20, replicas=8, seed=1, observe="energy")
    _, ax = plot.figure()
    assert plot.plot_anneal(run, ax) is ax
    labels = [line.get_label() for line in ax.lines]
    assert labels == ["median read", "best read", "exact ground state"]
    assert np.array_equal(ax.lines[1].get_ydata(), run.series["energy"].min(axis=0) / 16)
    assert ax.lines[2].get_ydata()[0] == -2.0


def test_snapshot_shows_the_state():
    spins = np.array([1, -1, -1, 1, 1, 1], np.int8)
    _, ax = plot.figure()
    plot.plot_snapshot(spins, (2, 3), ax)
    assert np.array_equal(ax.images[0].get_array(), spins.reshape(2, 3))
