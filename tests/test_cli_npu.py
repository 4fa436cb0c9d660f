"""`isingnpu npu`: what a user types, what is printed, written and refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from isingnpu.cli import main
from isingnpu.npu.factored import FactoredAttention
from isingnpu.npu.images import planted_images
from isingnpu.npu.store import write_machine

TEXT = "the cat sat on the mat and the dog sat on the log. " * 120


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = planted_images(n_train=600, n_test=100)
    path = tmp_path_factory.mktemp("images") / "set.npz"
    (x, y), (u, v) = made.train, made.test
    np.savez(path, x_train=x, y_train=y, x_test=u, y_test=v)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    assert main(["npu", *map(str, words), "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_default_machine_trains_is_saved_judged_and_drawn_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "m.npz"
    made = run(capsys, "train", "--steps", 30, "--out", file)
    assert set(made) >= {"task", "score", "metric", "params", "budget", "ledger", "provenance"}
    assert made["steps"] == 30
    again = run(capsys, "train", "--steps", 30)
    assert made["score"] == again["score"]
    judged = run(capsys, "eval", file)
    assert judged["score"] == made["score"]
    drawn = run(capsys, "sample", file, "--count", 3, "--seed", 5)["sample"]
    assert [len(line) for line in drawn] == [20, 20, 20]  # type: ignore[attr-defined]
    assert drawn == run(capsys, "sample", file, "--count", 3, "--seed", 5)["sample"]


def test_a_machine_goes_on_with_its_own_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "m.npz"
    run(capsys, "train", "--steps", 2, "--seed", 7, "--out", file)
    on = run(capsys, "train", "--steps", 4, "--resume", file)
    assert on["seeds"] == [7]
    assert on["provenance"]["seed"] == 7  # type: ignore[index]
    assert main(["npu", "train", "--steps", "4", "--seed", "8", "--resume", str(file)]) == 2
    assert "leave out --seed," in capsys.readouterr().err


def test_a_machine_that_reads_counts_alone_is_drawn_from(
    tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its counts reach further back than its couplings."""
    file = tmp_path / "t.npz"
    run(capsys, "train", "--text", text, "--design", "count field, gains alone", "--steps", 1,
        "--out", file)  # fmt: skip
    drawn = run(capsys, "sample", file, "--text", text, "--count", 9)["sample"]
    assert len("\n".join(drawn)) == 9  # type: ignore[call-overload]


def test_text_machine_trains_and_goes_on(
    tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, design = tmp_path / "t.npz", "hidden alone"
    words = ("train", "--text", text, "--design", design)
    whole = run(capsys, *words, "--steps", 6)
    run(capsys, *words, "--steps", 3, "--out", file)
    on = run(capsys, "train", "--text", text, "--resume", file, "--steps", 6)
    assert on["steps"] == 6
    assert whole["params"] == on["params"]
    main(["npu", "sample", str(file), "--text", str(text), "--count", "40"])
    assert len(capsys.readouterr().out) >= 40


@pytest.mark.parametrize("command", ["eval", "sample"])
def test_a_text_of_other_characters_is_refused(
    command: str, tmp_path: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many of them, which would pass for those that were learned."""
    file, other = tmp_path / "t.npz", tmp_path / "other.txt"
    other.write_text(TEXT.upper())
    run(capsys, "train", "--text", text, "--design", "hidden alone", "--steps", 1, "--out", file)
    assert main(["npu", command, str(file), "--text", str(other)]) == 2
    assert "other characters than those that were learned" in capsys.readouterr().err


def test_image_machine_is_scored_with_its_binomial_error(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "i.npz"
    made = run(capsys, "train", "--images", images, "--design", "dense", "--steps", 3, "--seeds",
               2, "--out", file)  # fmt: skip
    assert made["seeds"] == [0, 1]
    score = run(capsys, "eval", file, "--mnist", images)["score"]
    share = score["value"] / 100  # type: ignore[index]
    error = 100 * (max(share * (1 - share), 0.01) / 100) ** 0.5
    assert score["error"] == pytest.approx(error)  # type: ignore[index]
    drawn = run(capsys, "sample", file, "--images", images, "--count", 2)["sample"]
    assert all("label" in line for line in drawn)  # type: ignore[attr-defined]


def test_comparison_is_written_and_read_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    made = run(
        capsys, "compare", "--cpu-seconds", 0.05, "--seeds", 2, "--no-backprop", "--out", out
    )
    rows = made["rows"]
    assert [row["learning"] for row in rows] == ["two-phase"] * 4  # type: ignore[attr-defined]
    assert {Path(name).name for name in made["files"]} == {  # type: ignore[attr-defined]
        "rows.jsonl",
        "comparison-0.png",
    }
    read = run(capsys, "compare", out / "rows.jsonl", "--backend", "cuda")
    assert read["provenance"]["backend"] is None  # type: ignore[index]
    with monkeypatch.context() as patch:
        patch.setattr("isingnpu.cli_npu.find_spec", lambda name: None)
        bare = run(capsys, "compare", out / "rows.jsonl", "--out", tmp_path / "bare")
    assert bare["files"] == []
    assert "pip install 'isingnpu[plot]'" in bare["notes"][0]  # type: ignore[index]
    assert main(["npu", "compare", str(out / "rows.jsonl")]) == 0
    table = capsys.readouterr().out
    assert "pseudo-likelihood" in table
    assert "not measured" in table


@pytest.mark.parametrize("kind", ["text", "images"])
def test_a_comparison_runs_on_the_backend_it_names(
    kind: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a device of another name in the place of the one found: what trains and the
    provenance name it."""
    asked: list[str] = []

    def rows(*args: object, device: str, **options: object) -> list[dict[str, object]]:
        asked.append(device)
        return [{"name": str(options["names"]), "scores": [1.0], "params": 1, "cpu_s": [1.0],
                 "events": {}}]  # fmt: skip

    found = {"auto": "cpu", "other": "cuda"}
    monkeypatch.setattr(
        "isingnpu.npu.tasks.find_device", lambda name: SimpleNamespace(name=found[name])
    )
    monkeypatch.setattr("isingnpu.npu.text_study.text_rows", rows)
    monkeypatch.setattr("isingnpu.npu.image_study.image_rows", rows)
    file = request.getfixturevalue(kind)
    for backend, name in found.items():
        asked.clear()
        made = run(capsys, "compare", f"--{kind}", file, "--no-backprop", "--backend", backend)
        assert made["provenance"]["backend"] == name  # type: ignore[index]
        assert set(asked) == {name}


def test_designs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["npu", "train", "--design", "help"]) == 0
    assert "PCD-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--design", "perceptron"], "unknown design 'perceptron', `--design help`"),
        (["train", "--design", "CD-2"], "unknown design 'CD-2'; did you mean 'CD-1'?"),
        (["train", "--text", "text.txt", "--design", "hiden"], "`--design help` lists all"),
        (["train", "--steps", "0"], "error: --steps must be above 0, got 0\n"),
        (["train", "--cpu-seconds", "-1"], "error: --cpu-seconds must be above 0, got -1\n"),
        (["train", "--cpu-seconds", "nan"], "error: --cpu-seconds must be above 0, got nan\n"),
        (["train", "--wall-seconds", "0"], "error: --wall-seconds must be above 0, got 0\n"),
        (["train", "--out", "absent/m.npz"], "a folder that exists, got absent/m.npz\n"),
        (["train", "--out", "."], "a folder that exists, got .\n"),
        (["train", "--text", "latin.txt"], "latin.txt: not UTF-8, byte 3 is"),
        (["train", "--text", "short.txt"], "short.txt: 3 characters, at least 1,000"),
        (["train", "--images", "other.npz"], "not an image set"),
        (["train", "--resume", "planted.npz", "--text", "text.txt"], "takes PottsIsingLM; name"),
        (["eval", "planted.npz", "--text", "text.txt"], "FactoredAttention does not fit this"),
        (["sample", "planted.npz", "--seed", "-4"], "error: seed must lie in 0..2^64-1, got -4"),
        (["compare", "--cpu-seconds", "-1"], "error: --cpu-seconds must be above 0, got -1\n"),
        (["compare", "empty.txt"], "empty.txt: no rows"),
        (["train", "--steps", "1", "--backend", "cuda"], "run on the cpu alone"),
        (["compare", "--backend", "cuda"], "run on the cpu alone"),
        (["eval", "other.npz", "--backend", "cuda"], "run on the cpu alone"),
        (["train", "--seeds", "0"], "--seeds"),
        (["train", "--text", "absent.txt"], "absent.txt"),
        (["train", "--text", "a", "--images", "b"], "not both"),
        (["eval", "absent.npz"], "absent.npz"),
        (["eval", "other.npz"], "which this command does not run"),
        (["eval", "text.txt"], "not a saved machine"),
        (["sample", "other.npz", "--count", "0"], "--count"),
        (["compare", "--seeds", "0"], "--seeds"),
        (["compare", "text.txt"], "text.txt:1"),
        (["train", "--resume", "other.npz", "--seeds", "2"], "leave out --seed, --seeds"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "short.txt").write_text("abc")
    (tmp_path / "empty.txt").write_text("")
    write_machine("other.npz", "toaster", {}, {})
    FactoredAttention(3, 2).save("planted.npz")
    assert main(["npu", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("isingnpu: error: ")
    assert err.count("\n") == 1
    assert message in err
