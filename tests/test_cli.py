"""The command line: stable keys, exit codes, one-line errors that leave nothing behind."""

import json
import subprocess
import sys

import numpy as np
import pytest
from planted_point import planted_point

from isingnpu import Run, criticality, families, results
from isingnpu.backend import find_backend
from isingnpu.cli import main

RING = "6 6\n" + "".join(f"{i + 1} {(i + 1) % 6 + 1} 1\n" for i in range(6))


@pytest.fixture
def ring(tmp_path, monkeypatch):
    """The folder of a 6-ring max-cut file, as working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ring.txt").write_text(RING)
    return tmp_path


def run_json(capsys, *arguments):
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_anneal_finds_the_cut_of_a_ring_and_prints_the_stable_keys(ring, capsys):
    code, made = run_json(capsys, "anneal", "ring.txt", "--reads", "8", "--sweeps", "50")
    assert code == 0
    assert made["best"] == {"energy": -6.0, "cut": 6.0}
    assert made["model"] == {"n": 6, "edges": 6, "source": "ring.txt"}
    for key in ("energies", "time_to_target", "schedule", "ledger", "provenance"):
        assert key in made
    assert len(made["energies"]) == 8
    assert made["time_to_target"].keys() == {"value", "error", "n_eff", "tau"}
    assert made["ledger"]["attempted_updates"] >= 8 * 50 * 6
    assert set(made["provenance"]) >= {"version", "commit", "seed", "backend", "kernel", "command"}


def test_a_kernel_and_a_layout_can_be_forced(ring, capsys):
    forced = ["anneal", "ring.txt", "--backend", "cpu", "--layout", "plane", "--kernel", "scalar"]
    code, made = run_json(capsys, *forced, "--reads", "3", "--sweeps", "9")
    assert code == 0
    assert made["provenance"]["kernel"] == "scalar"
    assert made["provenance"]["layout"] == "plane-1"


def test_info_warm_says_what_it_compiled(capsys, monkeypatch):
    warmed = [("lanes", 1.25), ("planes", 2.0)]
    monkeypatch.setattr(type(find_backend("cpu")), "warm", lambda self: iter(warmed))
    monkeypatch.setattr(type(find_backend("cuda")), "unavailable", lambda self: "no such chip")
    assert run_json(capsys, "info", "--warm") == (0, {"seconds": {"cpu": dict(warmed)}})
    assert main(["info", "--warm"]) == 0
    assert "cpu: planes" in capsys.readouterr().out


def test_info_warms_one_backend_or_says_why_not(capsys, monkeypatch):
    monkeypatch.setattr(type(find_backend("cuda")), "warm", lambda self: iter([("lanes", 1.0)]))
    monkeypatch.setattr(type(find_backend("cuda")), "unavailable", lambda self: None)
    warm = ["info", "--warm", "--backend", "cuda"]
    assert run_json(capsys, *warm) == (0, {"seconds": {"cuda": {"lanes": 1.0}}})
    monkeypatch.setattr(type(find_backend("cuda")), "unavailable", lambda self: "no such chip")
    assert main(warm) == 2
    assert "'cuda' is not available: no such chip" in capsys.readouterr().err
    assert main(["info", "--backend", "cuda"]) == 2
    assert "--backend is for --warm" in capsys.readouterr().err


def test_bench_compares_two_files_and_wants_two(tmp_path, capsys):
    assert main(["bench", "compare", "a.jsonl"]) == 2
    assert "takes two files" in capsys.readouterr().err
    assert main(["bench", "report", str(tmp_path), "b"]) == 2
    assert "takes a folder" in capsys.readouterr().err


def test_anneal_twice_prints_the_same_energies(ring, capsys):
    arguments = [
        "anneal",
        "ring.txt",
        "--reads",
        "16",
        "--sweeps",
        "3",
        "--seed",
        "5",
        "--schedule",
        "geometric",
    ]
    first = run_json(capsys, *arguments)[1]["energies"]
    assert run_json(capsys, *arguments, "--threads", "1")[1]["energies"] == first
    assert run_json(capsys, *arguments, "--backend", "reference")[1]["energies"] == first


def test_anneal_exits_1_when_the_target_is_not_reached(ring, capsys):
    base = ["anneal", "ring.txt", "--reads", "8", "--sweeps", "50"]
    assert run_json(capsys, *base, "--target", "-6")[0] == 0
    code, made = run_json(capsys, *base, "--target", "-7")
    assert (code, made["reached"], made["time_to_target"]) == (1, False, None)
    code, made = run_json(capsys, *base, "--target", "-6", "--stop-at-target")
    assert (code, made["stopped"]) == (0, "target")


def test_anneal_saves_a_run_that_loads(ring, capsys):
    assert main(["anneal", "ring.txt", "--reads", "4", "--sweeps", "9", "--save", "out"]) == 0
    saved = Run.load("out")
    assert saved.energies.shape == (4,)
    assert json.loads((ring / "out.json").read_text())["settings"]["replicas"] == 4


def test_anneal_continues_from_its_checkpoint(ring, capsys):
    arguments = [
        "anneal",
        "ring.txt",
        "--reads",
        "4",
        "--sweeps",
        "30",
        "--seed",
        "2",
        "--checkpoint",
        "ck",
    ]
    first = run_json(capsys, *arguments)[1]
    assert run_json(capsys, *arguments)[1]["energies"] == first["energies"]
    (ring / "other.txt").write_text("2 1\n1 2 1\n")
    arguments[1] = "other.txt"
    assert main(arguments) == 2
    assert "another model" in capsys.readouterr().err


def test_empty_model_has_energy_offset(ring, capsys):
    (ring / "empty.txt").write_text("0 0\n")
    code, made = run_json(capsys, "anneal", "empty.txt", "--reads", "2")
    assert (code, made["energies"]) == (0, [0.0, 0.0])


def test_duplicate_edges_add_up(ring, capsys):
    (ring / "twice.txt").write_text("2 2\n1 2 1\n2 1 2\n")
    assert run_json(capsys, "anneal", "twice.txt", "--reads", "2")[1]["best"]["cut"] == 3.0


BAD_FILES = {
    "truncated": ("3 3\n1 2 1\n", "truncated"),
    "index out of range": ("3 1\n1 7 1\n", "7"),
    "nan": ("3 1\n1 2 nan\n", "nan"),
    "infinite": ("3 1\n1 2 inf\n", "inf"),
    "self-loop": ("3 1\n2 2 1\n", "self-loop"),
    "no number": ("3 1\n1 2 x\n", "x"),
    "no header": ("\n", "empty"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_line_with_exit_code_2(ring, capsys, case):
    content, said = BAD_FILES[case]
    (ring / "bad.txt").write_text(content)
    assert_refused(ring, capsys, ["anneal", "bad.txt", "--save", "out"], "bad.txt", said)


BAD_ARGUMENTS = {
    "missing file": (["anneal", "none.txt"], "none.txt"),
    "zero sweeps": (["anneal", "ring.txt", "--sweeps", "0"], "sweeps"),
    "zero reads": (["anneal", "ring.txt", "--reads", "0"], "replicas"),
    "negative beta": (["anneal", "ring.txt", "--beta-start", "-1", "--beta-end", "1"], "-1"),
    "unknown backend": (["anneal", "ring.txt", "--backend", "tpu"], "'tpu'"),
    "cuda without a device": (["anneal", "ring.txt", "--backend", "cuda"], "cuda"),
    "unknown family": (
        ["anneal", "--family", "sqare"],
        "'sqare'; did you mean 'square'?",
    ),
    "family like none": (["anneal", "--family", "zz"], "'zz', `isingnpu anneal --family help`"),
    "unknown dynamics": (["anneal", "ring.txt", "--dynamics", "kawasaki"], "heat-bath"),
    "unknown schedule": (["anneal", "ring.txt", "--schedule", "cosine"], "geometric"),
    "bad seed": (["anneal", "ring.txt", "--seed", "-3"], "-3"),
    "file and family": (["anneal", "ring.txt", "--family", "chain"], "not both"),
    "neither": (["anneal"], "--family"),
    "target without value": (["anneal", "ring.txt", "--stop-at-target"], "--target"),
    "zero time": (["anneal", "ring.txt", "--time-limit", "0"], "time_limit"),
    "unknown lattice": (["critical", "--lattice", "penrose"], "penrose"),
    "no transition": (["critical", "--lattice", "chain", "--sizes", "8", "16"], "chain"),
    "figure format": (["critical", "--plot", "point.jpg"], ".png, .pdf, .svg"),
    "figure folder": (["critical", "--plot", "none/point.png"], "a folder that exists"),
    "figures on a file": (["critical", "--figures", "ring.txt"], "ring.txt is a file"),
    "figures of a graph": (
        ["critical", "--lattice", "random_regular", "--figures", "out"],
        "no layers to draw",
    ),
    "report on a file": (["report", "--out", "ring.txt"], "ring.txt"),
    "unknown suite": (["bench", "speed"], "speed"),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_a_bad_argument_is_one_line_with_exit_code_2(ring, capsys, case):
    arguments, said = BAD_ARGUMENTS[case]
    extra = ["--save", "out"] if arguments[0] == "anneal" else []
    assert_refused(ring, capsys, [*arguments, *extra], said)


def assert_refused(folder, capsys, arguments, *said):
    before = sorted(folder.iterdir())
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("isingnpu: error: ")
    assert captured.err.count("\n") == 1
    for text in said:
        assert text in captured.err
    assert sorted(folder.iterdir()) == before


def test_an_asymmetric_matrix_is_refused(ring, capsys):
    arrays = {
        "header": np.array('{"version": 1, "offset": 0, "labels": null, "geometry": null}'),
        "fields": np.zeros(2),
        "dense": np.array([[0.0, 1.0], [2.0, 0.0]]),
    }  # fmt: skip
    np.savez(ring / "skew.npz", **arrays)
    assert_refused(ring, capsys, ["anneal", "skew.npz"], "skew.npz", "symmetric", "J[0, 1]")


@pytest.fixture
def found(monkeypatch):
    """find_beta_c returns a planted point after one line of progress; the arguments it got."""
    got = {}

    def find(family, sizes, *, progress, **options):
        got.update(family=family, sizes=sizes, **options)
        progress("production, 1 s: beta_c = 0.4407(2)")
        return planted_point()

    monkeypatch.setattr(criticality, "find_beta_c", find)
    return got


def test_critical_asks_for_what_was_given_and_prints_json(found, tmp_path, capsys):
    plot = tmp_path / "point.png"
    code, made = run_json(
        capsys, "critical", "--lattice", "triangular", "--sizes", "4", "6", "8", "--seconds", "3",
        "--universality", "ising", "--seed", "5", "--threads", "1", "--plot", str(plot),
        "--sweeps", "70", "80", "90", "--instances", "9",
    )  # fmt: skip
    assert code == 0
    assert found == {
        "family": "triangular", "sizes": [4, 6, 8], "budget_s": 3.0, "universality": "ising",
        "seed": 5, "threads": 1, "backend": "auto", "sweeps": [70, 80, 90], "instances": 9,
    }  # fmt: skip
    assert made == json.loads(json.dumps(planted_point().to_json()))
    assert [path.name for path in tmp_path.iterdir()] == ["point.png"]


def test_critical_leaves_sizes_to_the_family_and_shows_no_progress_in_a_pipe(found, capsys):
    assert main(["critical"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "beta_c   0.5000(10)" in captured.out
    assert (found["family"], found["sizes"], found["universality"]) == ("square", None, None)


def test_critical_prints_the_result_before_figures_can_fail(found, tmp_path, monkeypatch, capsys):
    def fail(point, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(results, "save_critical", fail)
    assert main(["critical", "--plot", str(tmp_path / "point.png")]) == 2
    captured = capsys.readouterr()
    assert "beta_c   0.5000(10)" in captured.out
    assert "No space left" in captured.err


def test_critical_names_the_figures_it_wrote(found, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        results, "save_figures", lambda point, folder, **options: iter([folder / "a.png"])
    )
    folder = tmp_path / "figures"
    assert main(["critical", "--figures", str(folder)]) == 0
    assert f"wrote    {folder / 'a.png'}\n" in capsys.readouterr().out


def test_info_names_backends_and_sensors_with_reasons(capsys):
    code, made = run_json(capsys, "info")
    assert code == 0
    assert made["backends"]["cpu"] == {"available": True, "reason": None}
    for kind in ("backends", "sensors"):
        for state in made[kind].values():
            assert state["available"] == (state["reason"] is None)


def test_families_are_listed(ring, capsys):
    assert main(["anneal", "--family", "help"]) == 0
    assert capsys.readouterr().out.split() == list(families.FAMILIES)


def test_family_is_built_with_its_size_and_instance(ring, capsys):
    arguments = ["anneal", "--family", "ea2d", "--size", "6", "--instance", "3", "--reads", "4"]
    assert main([*arguments, "--save", "out"]) == 0
    assert Run.load("out").model.fingerprint == families.build("ea2d", 6, 3).fingerprint


def test_version_and_help_run_as_a_module():
    for option in ("--version", "--help"):
        done = subprocess.run(
            [sys.executable, "-m", "isingnpu", option], capture_output=True, text=True, check=True
        )
        assert "isingnpu" in done.stdout
