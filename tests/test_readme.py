"""The code blocks of README.md and of docs/*.md do what they say.

How a block is read:
    ```python            runs; all blocks of a file share one namespace and one empty folder
    ```console           lines after `$ ` run in bash, in that folder; the lines below a command
                         are its output, where `...` stands for anything (seconds, paths)
    ```bash              every line runs in bash; a `\\` at the end continues it
    other languages      are not read
Commands run with this checkout as `isingnpu` and this interpreter as `python`; the folder also
holds links to the entries of the repository, so that paths are those of a reader in its root.
Not executed: installations (checked: the project, extras it has and no unknown package), pytest
and .ci/run (checked: the README runs the suite as .ci/run does), `git clone`, `cd`.
A command that names cuda runs where a CUDA device can be used, and is skipped visibly elsewhere.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from isingnpu.backend import backend_names, find_backend

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALL = re.compile(r"(uv |python3? -m )?pip install ")
SUITE = re.compile(r"((python3? -m )?pytest|bash \.ci/run|\.ci/run)\b")


@dataclass(frozen=True)
class Block:
    """A fenced block: language, text and the line of the page on which the text starts."""

    page: Path
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A shell command and, in console blocks, the output that the page shows for it."""

    page: Path
    line: int
    text: str
    output: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: {self.text}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start(2)) + 1
        yield Block(page, line, match.group(1), match.group(2))


def commands(page: Path) -> Iterator[Command]:
    """The commands of all console, bash and sh blocks in order."""
    for block in blocks(page):
        if block.language == "console":
            starts = [m.start() for m in re.finditer(r"^\$ ", block.text, re.MULTILINE)]
            parts = [block.text[i:j] for i, j in zip(starts, [*starts[1:], None], strict=True)]
            yield from _console(block, starts, parts)
        elif block.language in ("bash", "sh", "shell"):
            for match in re.finditer(r"^(?!\s*#)(\S(?:.*\\\n)*.*)$", block.text, re.MULTILINE):
                line = block.line + block.text.count("\n", 0, match.start())
                yield Command(page, line, match.group(1), "")


def _console(block: Block, starts: list[int], parts: list[str]) -> Iterator[Command]:
    for start, part in zip(starts, parts, strict=True):
        match = re.match(r"\$ ((?:.*\\\n)*.*)\n?", part)
        assert match is not None
        line = block.line + block.text.count("\n", 0, start)
        yield Command(block.page, line, match.group(1), part[match.end() :])


def known_requirement(text: str) -> bool:
    """True for this project with extras that exist, or a package that one of them names."""
    extras = PROJECT["optional-dependencies"]
    own = re.fullmatch(r"(?:\.|isingnpu)(?:\[([\w,]+)\])?", text)
    if own is not None:
        return set((own.group(1) or "").split(",")) - {""} <= set(extras)
    named = {Requirement(line).name for extra in extras.values() for line in extra}
    return Requirement(text).name in named | {"uv"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: links to the repository's entries, written files stay out of it."""
    made = tmp_path_factory.mktemp("reader")
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") or entry.name == ".ci":
            (made / entry.name).symlink_to(entry)
    return made


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which python and isingnpu are this interpreter and this checkout."""
    bin_folder = tmp_path_factory.mktemp("bin")
    python = shlex.quote(sys.executable)
    programs = {"python": "", "python3": "", "isingnpu": "-m isingnpu"}
    for name, module in programs.items():
        (bin_folder / name).write_text(f'#!/bin/sh\nexec {python} {module} "$@"\n')
        (bin_folder / name).chmod(0o755)
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}


def without_cuda() -> str | None:
    """Why commands that name cuda cannot run here, or None."""
    if "cuda" not in backend_names():
        return "this version has no cuda backend"
    return find_backend("cuda").unavailable()


def check_only(text: str) -> bool:
    """True for a command that is checked, here, instead of executed."""
    if SUITE.match(text):
        return True
    if INSTALL.match(text):
        words = shlex.split(INSTALL.sub("", text, count=1), comments=True)
        wanted = [word for word in words if not word.startswith("-")]
        unknown = [word for word in wanted if not known_requirement(word)]
        assert wanted, f"{text!r} installs nothing"
        assert not unknown, f"pyproject.toml knows no {unknown}"
        return True
    return text.startswith(("git clone ", "cd "))


ALL = [command for page in PAGES if page.is_file() for command in commands(page)]
# The quick suite gives the studies five seconds instead of 45, tests -m slow run them as shown.
REPORT = "isingnpu report"
SLOW = [
    pytest.param(command, marks=[pytest.mark.slow] if command.text.endswith(REPORT) else [])
    for command in ALL
]
SHORT = [
    replace(command, text=f"{command.text} --seconds 5")
    for command in ALL
    if command.text.endswith(REPORT)
]


@pytest.mark.parametrize("command", [*SLOW, *SHORT], ids=str)
def test_command_runs_and_prints_what_the_page_shows(
    command: Command, folder: Path, shell: dict[str, str]
) -> None:
    parts = [part.strip() for part in command.text.split("&&")]
    text = " && ".join(part for part in parts if not check_only(part))
    reason = without_cuda()
    if "cuda" in text and reason is not None:
        pytest.skip(f"{command}: {reason}")
    script = ["bash", "-eu", "-c", text]
    done = subprocess.run(script, cwd=folder, env=shell, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if command.output.strip():
        same = doctest.OutputChecker().check_output(command.output, done.stdout, flags)
        assert same, f"{command} printed\n{done.stdout}\nthe page shows\n{command.output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run_in_one_namespace(
    page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLBACKEND", "agg")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            padded = "\n" * (block.line - 1) + block.text  # tracebacks name the line of the page
            exec(compile(padded, str(page), "exec"), namespace)


def test_readme_shows_a_command_a_python_block_and_how_to_run_the_suite() -> None:
    readme = PAGES[0]
    texts = [command.text for command in commands(readme)]
    assert any(text.startswith("isingnpu ") for text in texts)
    assert any(block.language == "python" for block in blocks(readme))
    parts = [part.strip() for text in texts for part in text.split("&&")]
    script = (ROOT / ".ci" / "run").read_text()
    used = [
        part for part in parts if re.search(rf"^{re.escape(part)}( \||$)", script, re.MULTILINE)
    ]
    assert any(SUITE.match(part) for part in used), ".ci/run runs the suite in another way"


def test_every_fence_of_a_page_is_read_or_of_another_language() -> None:
    for page in PAGES:
        fences = re.findall(r"^\s*(?:```|~~~)", page.read_text(), re.MULTILINE)
        assert len(fences) == 2 * len(list(blocks(page))), f"{page.name}: a fence has no language"
