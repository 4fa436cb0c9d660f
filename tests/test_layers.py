"""The layers of pyproject.toml hold, also for backends/, and a break of them is noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"
DOWNWARDS, PROTOCOL = "imports only go downwards", "a backend knows the protocol"
APART = "backends do not know each other"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The package as installed: backends inside it, where import-linter sees them."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "isingnpu", tmp_path / "isingnpu", ignore=ignored)
    shutil.copytree(ROOT / "backends", tmp_path / "isingnpu" / "backends", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(tree: Path) -> tuple[int, str]:
    """Exit status and report of import-linter."""
    command = [sys.executable, "-c", LINT, "--no-cache"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_imports_only_go_downwards(tree: Path) -> None:
    status, report = lint(tree)
    assert status == 0, report
    assert "3 kept, 0 broken" in report


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("rng", "import isingnpu.model", DOWNWARDS),
        ("model", "import isingnpu.layout", DOWNWARDS),
        ("dynamics", "import isingnpu.annealing", DOWNWARDS),
        ("annealing", "import isingnpu.backends.cpu", DOWNWARDS),
        ("backend", "from isingnpu.backends import reference", DOWNWARDS),
        ("backends/reference", "from isingnpu.run import Run", PROTOCOL),
        (
            "backends/cuda/levels",
            "from isingnpu.backends.cpu.lanes_limits import round_keys",
            APART,
        ),
        ("backends/limits", "from isingnpu.backends import reference", APART),
        ("of_no_layer", "", DOWNWARDS),
    ],
)
def test_break_of_a_layer_is_noticed(tree: Path, module: str, line: str, broken: str) -> None:
    with (tree / "isingnpu" / f"{module}.py").open("a") as file:
        file.write(f"{line}\n")
    status, report = lint(tree)
    assert status == 1
    assert any(broken in row and "BROKEN" in row for row in report.splitlines()), report
