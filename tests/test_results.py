"""What people and programs read: files that are whole, refusals before any computing, one status
line that stays one line."""

from __future__ import annotations

import builtins
import os
import pty
import re
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest
from planted_point import GIVEN, planted_point

from isingnpu import plot, results
from isingnpu.criticality import NoCrossing, Unsupported, illustration, quotient
from isingnpu.model import Reference
from isingnpu.statistics import Estimate

SIGNATURES = {".png": b"\x89PNG\r\n\x1a\n", ".pdf": b"%PDF-", ".svg": b"<?xml"}


@pytest.mark.parametrize("suffix", SIGNATURES)
def test_a_figure_is_written_in_the_format_of_its_name(tmp_path, suffix):
    path = tmp_path / f"point{suffix}"
    results.save_critical(planted_point(), path)
    assert path.read_bytes().startswith(SIGNATURES[suffix])


def test_a_figure_that_fails_leaves_the_file_of_before(tmp_path):
    path = tmp_path / "point.png"
    path.write_bytes(b"before")
    fig, _ = plot.figure()

    def fail(file, **options):
        file.write(b"half")
        raise OSError("disk full")

    fig.savefig = fail
    with pytest.raises(OSError, match="disk full"):
        results.save_figure(fig, path)
    assert [p.name for p in tmp_path.iterdir()] == ["point.png"]
    assert path.read_bytes() == b"before"


def test_a_folder_of_figures_holds_three_whole_files(tmp_path, monkeypatch):
    monkeypatch.setattr(illustration, "SNAPSHOT_SITES", {2: 64})
    monkeypatch.setattr(illustration, "DECAY_SITES", {2: 256})
    monkeypatch.setattr(illustration, "DECAY_SAMPLES", {2: 30})
    told = []
    made = list(
        results.save_figures(
            planted_point(), tmp_path / "new" / "figures", backend="cpu", threads=1,
            progress=told.append,
        )
    )  # fmt: skip
    assert [path.name for path in made] == ["critical.png", "snapshots.png", "correlation.png"]
    assert sorted(path.name for path in (tmp_path / "new" / "figures").iterdir()) == sorted(
        path.name for path in made
    )
    for path in made:
        content = path.read_bytes()
        assert content.startswith(SIGNATURES[".png"])
        assert content.endswith(b"IEND\xaeB`\x82")
    assert told == ["sampling states at three temperatures ...", "sampling correlations ..."]


def test_figures_that_cannot_be_written_are_refused_beforehand(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for path, said in [
        (tmp_path / "point.jpg", "must end in .png, .pdf, .svg"),
        (tmp_path / "point", "must end in .png, .pdf, .svg"),
        (tmp_path / "none" / "point.png", "a folder that exists"),
    ]:
        with pytest.raises(ValueError, match=said):
            results.check_figures("square", path, None)
    with pytest.raises(ValueError, match="is a file; name a folder"):
        results.check_figures("square", None, file)
    with pytest.raises(Unsupported, match=r"random_regular.*no layers"):
        results.check_figures("random_regular", None, tmp_path)
    results.check_figures("random_regular", tmp_path / "point.png", None)
    results.check_figures("kagome", tmp_path / "point.svg", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_matplotlib_figures_are_refused_and_numbers_are_not(tmp_path, monkeypatch):
    known = builtins.__import__

    def absent(name, *rest):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return known(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ValueError, match=r"pip install 'isingnpu\[plot\]'"):
        results.check_figures("square", tmp_path / "point.png", None)
    results.check_figures("square", None, None)


@contextmanager
def terminal(monkeypatch, said):
    """A pseudo-terminal of 40 columns as standard error; what it got is appended to `said`."""
    main, other = pty.openpty()
    with monkeypatch.context() as patch, os.fdopen(other, "w") as stream:
        patch.setenv("COLUMNS", "40")
        patch.setattr(sys, "stderr", stream)
        yield
    with os.fdopen(main, "rb", buffering=0) as reader, suppress(OSError):  # EIO is the end
        while True:
            said.append(reader.read(4096).decode())


def test_the_status_line_is_rewritten_in_place_and_erased_at_the_end(monkeypatch):
    long, said = "production, 2 s: beta_c = 0.4407(2), " + "x" * 100, []
    with terminal(monkeypatch, said), results.status_line(sys.stderr.isatty()) as show:
        show("survey, 1 s")
        show(long)
    assert "".join(said).split("\r\033[K") == ["", "survey, 1 s", long[:39], ""]


def test_the_status_line_is_erased_when_the_computation_fails(monkeypatch):
    said = []
    with terminal(monkeypatch, said), suppress(ValueError), results.status_line(True) as show:
        show("survey")
        raise ValueError
    assert "".join(said).endswith("survey\r\033[K")


def test_nothing_is_shown_where_nobody_looks(capsys):
    with results.status_line(False) as show:
        show("survey")
    assert capsys.readouterr() == ("", "")


def test_the_text_of_a_critical_point_says_what_was_assumed_and_what_is_known():
    exact = Reference(0.501, 0.0, "planted")
    said = results.critical_text(planted_point(exact=exact).to_json()).splitlines()
    assert said == [
        "lattice  square, sizes 8 16 32",
        "beta_c   0.5000(10)",
        "exact    0.501000000, -1.00 sigma away",
        "fit      chi2 = 1.50 for 2 dof, p = 0.5",
        "class    nu = 1, crossing values fitted",
        "seed     7, 2.5 s, sweeps 100 100 100",
    ]
    literature = planted_point(exact=Reference(0.4999, 1e-5, "planted"))
    assert "known    0.499900(10), +0.10 sigma" in results.critical_text(literature.to_json())
    given = results.critical_text(planted_point(ratios=GIVEN, dimension=0).to_json())
    assert "class    nu = 2, crossing values given" in given
    assert "exact" not in given


def test_exponents_are_measured_where_asked_for_and_say_why_not(monkeypatch):
    tau = tuple(Estimate(0.1 * size**2.0 * np.exp(2 * size**-1.75), 0.01) for size in (8, 16, 32))
    point = replace(planted_point(), tau=tau)
    assert "nu" not in results.critical_result(point)
    found = quotient.Exponents(Estimate(1.004, 0.005), Estimate(0.249, 0.002), 1.0, 2, 0.6)
    monkeypatch.setattr(quotient, "exponents", lambda point: found)
    made = results.critical_result(point, exponents=True)
    assert made["nu"]["value"] == 1.004
    assert made["z"]["value"] == pytest.approx(2, abs=1e-9)
    said = results.critical_text(made)
    assert re.search(
        r"measured nu = 1.004\(5\), eta = 0.249\(2\), z = 2.00.* \(metropolis\)", said
    )

    def refuse(point):
        raise NoCrossing((8, 16), 0.4, 0.5)

    monkeypatch.setattr(quotient, "exponents", refuse)
    clusters = replace(point, dynamics=("metropolis", "wolff", "wolff"))
    made = results.critical_result(clusters, exponents=True)
    assert made["nu"] is made["eta"] is made["z"] is None
    said = results.critical_text(made)
    assert "measured" not in said
    assert "refused  nu and eta: the ratios of sizes 8 and 16 do not cross" in said
