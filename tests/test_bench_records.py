"""Records of benchmarks: ratios with intervals, files, tables."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtri

from isingnpu import bench, cli
from isingnpu.bench import ratios, records
from isingnpu.bench.ratios import Trials
from isingnpu.bench.records import Record

ROOT = Path(__file__).resolve().parents[1]
PEER = "dwave-samplers"


# Ratios.


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_bootstrap_of_the_median_is_that_of_all_resamples(n):
    samples = [3.0, 1.0, 7.0, 4.0, 6.0][:n]
    resamples = itertools.product(samples, repeat=n)
    medians = [sorted(resample)[(n - 1) // 2] for resample in resamples]
    values, probabilities = ratios.bootstrap_median(samples)
    expected = [medians.count(value) / n**n for value in values]
    assert probabilities == pytest.approx(expected, abs=1e-12)


def test_the_interval_of_a_ratio_of_medians_is_that_of_all_pairs_of_resamples():
    a, b = [1.0, 2.0, 4.0], [3.0, 5.0, 9.0]
    medians = [[sorted(r)[1] for r in itertools.product(x, repeat=3)] for x in (a, b)]
    pairs = [x / y for x in medians[0] for y in medians[1]]
    expected = np.quantile(pairs, [0.16, 0.84], method="inverted_cdf")
    value, *interval = ratios.median_ratio(a, b)
    assert value == 2.0 / 5.0
    assert interval == pytest.approx(expected, rel=1e-12)


def test_a_ratio_of_times_has_the_error_of_two_binomials():
    p, reads = 0.3, 10**6
    trials = Trials(int(p * reads), reads, 1.0)
    value, low, high = ratios.target_ratio(trials, replace(trials, read_s=5.0))
    # ln TTS has slope 1 / ((1 - p) ln(1 - p)) in p, whose variance is p (1 - p) / reads
    sigma = math.sqrt(2 * p * (1 - p) / reads) / abs((1 - p) * math.log1p(-p))
    assert value == pytest.approx(5.0, rel=sigma / 50)
    # 256 of equally probable values lack the far tails: their variance is 0.5 % low
    assert math.log(high / low) == pytest.approx(2 * ndtri(0.84) * sigma, rel=0.01)


def test_a_ratio_of_times_needs_a_success_of_both():
    some, none = Trials(3, 16, 1.0), Trials(0, 16, 1.0)
    assert ratios.target_ratio(some, none) is None
    assert ratios.target_ratio(none, some) is None


# Files.

SPEED = Record(
    case="ring", metric="throughput", unit="updates/ns of CPU time", value=2.0, low=1.0, high=3.0,
    cycles=1.75, ratio_to={PEER: 20.0}, ratio_range={PEER: (10.0, 30.0)}, n=32, edges=32,
    replicas=16, sweeps=10, repeats=3, backend="cpu", kernel="lanes", layout="lane-1",
    samples=(1.0, 2.0, 3.0), excluded="all else",
)  # fmt: skip
TIME = replace(
    SPEED, metric="TTS99", case="tts-ring", unit="s of CPU time", samples=(0.5, 0.5, 0.5),
    successes=24, value=3.0, low=2.5, high=3.5,
)  # fmt: skip
SKIPPED = Record("graph-G1", "throughput", SPEED.unit, notes=("not measured: no file",))
MACHINE = {"processor": "abacus", "cores": 1, "python": "3.11.0", "numpy": "2.0.0"}


def test_records_come_back_from_a_file_as_they_were(tmp_path):
    path = tmp_path / "new" / "records.jsonl"
    bench.append_jsonl(path, [SPEED, SKIPPED], MACHINE)
    bench.append_jsonl(path, [TIME], MACHINE)
    first, second = bench.read_jsonl(path)
    assert first.records == (SPEED, SKIPPED)
    assert second.records == (TIME,)
    assert first.machine == MACHINE


def test_stable_keys_are_in_each_record(tmp_path):
    path = tmp_path / "records.jsonl"
    bench.append_jsonl(path, [SPEED, SKIPPED])
    entry = json.loads(path.read_text())
    assert {"records", "machine", "commit", "date", "version"} == set(entry)
    assert {"processor", "cores", "python", "numpy", "numba"} <= set(entry["machine"])
    for record in entry["records"]:
        keys = {"case", "metric", "unit", "value", "low", "high", "ratio_to"}
        assert keys <= set(record)


def test_records_of_a_version_with_fewer_fields_are_read(tmp_path):
    path = tmp_path / "records.jsonl"
    bench.append_jsonl(path, [SPEED], MACHINE)
    entry = json.loads(path.read_text())
    del entry["records"][0]["threads"]
    path.write_text(json.dumps(entry) + "\n")
    assert bench.read_jsonl(path)[0].records == (SPEED,)


def test_a_line_that_is_no_record_is_named(tmp_path):
    path = tmp_path / "records.jsonl"
    bench.append_jsonl(path, [SPEED], MACHINE)
    path.write_text(path.read_text() + '{"records": [{"case": "x"}]}\n')
    with pytest.raises(ValueError, match=r"records.jsonl:2: not a line of benchmark records"):
        bench.read_jsonl(path)


# Tables.


def test_the_table_shows_value_spread_ratio_and_what_is_missing():
    text = bench.table([SPEED, SKIPPED]).splitlines()
    assert text[0].split(" | ")[-3:] == [
        "updates/ns of CPU time",
        "cycles each",
        f"times faster than {PEER} |",
    ]
    assert text[2] == (
        "| ring | 32 | 32 | 16 x 10 | lanes (lane-1) | 2 (1 .. 3) | 1.75 | 20 (10 .. 30) |"
    )
    assert text[3] == "| graph-G1 |  |  |  |  | not measured |  |  |"
    assert "Excluded: all else." in text
    assert text[-1] == "- graph-G1: not measured: no file"


def test_metrics_have_tables_of_their_own():
    heads = [line for line in bench.table([SPEED, TIME, SKIPPED]).splitlines() if "case" in line]
    assert len(heads) == 2


def test_a_target_not_reached_is_shown_as_a_bound():
    never = replace(TIME, value=math.nan, high=math.nan, successes=0, ratio_to={}, ratio_range={})
    assert "| > 2.5 |" in bench.table([never])


def _file(path: Path, *recorded: Record) -> Path:
    bench.append_jsonl(path, recorded, MACHINE)
    return path


def test_comparing_twice_the_speed_gives_two(tmp_path):
    a = _file(tmp_path / "a.jsonl", replace(SPEED, samples=(1.0,) * 3), TIME)
    b = _file(
        tmp_path / "b.jsonl",
        replace(SPEED, samples=(2.0,) * 3),
        replace(TIME, samples=(0.25, 0.25, 0.25)),
    )
    rows = bench.compare(a, b).splitlines()[-2:]
    assert rows[0].endswith("| 2 (2 .. 2) |")
    assert rows[1].split("|")[-2].strip().startswith("2 (1.")


def test_comparing_takes_the_newest_record_and_skips_what_was_not_measured(tmp_path):
    a = _file(tmp_path / "a.jsonl", replace(SPEED, samples=(8.0,) * 3))
    _file(a, replace(SPEED, samples=(1.0,) * 3), SKIPPED)
    b = _file(tmp_path / "b.jsonl", replace(SPEED, samples=(2.0,) * 3), SKIPPED)
    rows = bench.compare(a, b).splitlines()
    assert rows[-1].endswith("| 2 (2 .. 2) |")
    assert not any("graph-G1" in row for row in rows)


def test_other_instances_are_not_comparable(tmp_path):
    a = _file(tmp_path / "a.jsonl", SPEED)
    b = _file(tmp_path / "b.jsonl", replace(SPEED, n=64))
    assert "not comparable: n 32 and 64" in bench.compare(a, b)


def test_files_without_a_common_case_are_refused(tmp_path):
    a, b = _file(tmp_path / "a.jsonl", SPEED), _file(tmp_path / "b.jsonl", TIME)
    with pytest.raises(ValueError, match="no measured case in common"):
        bench.compare(a, b)


@pytest.fixture
def folder(tmp_path):
    text = "# Title\n\n<!-- tables: begin -->\nold\n<!-- tables: end -->\nlast line\n"
    (tmp_path / "README.md").write_text(text)
    return tmp_path


def test_the_report_replaces_what_stands_between_the_markers(folder):
    _file(folder / "results" / "abacus.jsonl", SPEED)
    tables = bench.report(folder)
    text = (folder / "README.md").read_text()
    assert text.startswith("# Title\n\n<!-- tables: begin -->\n### abacus, 1 cores")
    assert text.endswith("<!-- tables: end -->\nlast line\n")
    assert "old" not in text
    assert bench.table([SPEED]) in tables
    bench.report(folder)
    assert (folder / "README.md").read_text() == text


def test_the_report_shows_the_newest_full_record_of_a_case(folder, monkeypatch):
    path = folder / "results" / "abacus.jsonl"
    for value in (5.0, 6.0):
        _file(path, replace(SPEED, value=value), TIME if value == 5.0 else SKIPPED)
    lines = path.read_text().splitlines()
    dated = [json.loads(line) | {"date": f"2025-01-0{k}"} for k, line in enumerate(lines, 1)]
    dated.append(dated[1] | {"date": "2025-01-03"})
    dated[2]["records"] = [replace(SPEED, value=7.0, quick=True).to_json()]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in dated))
    tables = bench.report(folder)
    assert "| 6 (1 .. 3) |" in tables
    assert "| 5 (1 .. 3) |" not in tables
    assert "| 7 (1 .. 3) |" not in tables
    assert "| tts-ring |" in tables
    assert "graph-G1" not in tables


def test_a_page_without_markers_is_left_alone(folder):
    (folder / "README.md").write_text("# Title\n")
    with pytest.raises(ValueError, match="must hold the lines <!-- tables: begin -->"):
        bench.report(folder)
    assert (folder / "README.md").read_text() == "# Title\n"


def test_the_stored_tables_are_those_of_the_stored_results(tmp_path):
    copied = shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    bench.report(copied)
    assert (copied / "README.md").read_text() == (ROOT / "benchmarks" / "README.md").read_text()


def test_the_checkout_keeps_full_runs_and_no_quick_ones(monkeypatch):
    from benchmarks import __main__ as checkout

    calls = []
    monkeypatch.setattr(cli, "main", lambda arguments: calls.append(arguments) or 0)
    monkeypatch.setattr(records, "processor_name", lambda: "AMD EPYC 9654 96-Core")
    monkeypatch.setattr(records.os, "cpu_count", lambda: 2)
    assert checkout.main(["kernels"]) == 0
    assert checkout.main(["--quick"]) == 0
    kept = ROOT / "benchmarks" / "results" / "amd-epyc-9654-96-core-2-cores.jsonl"
    assert calls == [["bench", "--out", str(kept), "kernels"], ["bench", "--quick"]]
