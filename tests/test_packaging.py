"""Every way of installing and running isingnpu, and what the wheel and the sdist hold.

All environments are built without a network: dependencies come from the interpreter that runs
the tests, isingnpu itself from the wheel, from an editable install or from a bare checkout.
"""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from isingnpu._version import __version__

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = {"isingnpu": "isingnpu", "backends": "isingnpu/backends"}  # folder: place in the wheel
HEAVY = {"dimod", "matplotlib", "networkx", "numba", "numpy", "pandas", "scipy", "xarray"}

PROBE = """
from isingnpu.backend import get_backend
def test_backend_is_found():
    assert get_backend("cpu").name == "cpu"
"""


def source_files(root: Path) -> dict[str, Path]:
    """Place in the wheel -> file, for everything under isingnpu/ and backends/."""
    return {
        f"{place}/{path.relative_to(root / folder).as_posix()}": path
        for folder, place in SOURCES.items()
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def run(folder: Path, *command: str | Path) -> str:
    """Standard output of a command run in a folder, as from a fresh shell."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} in {folder}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Environment:
    """A virtual environment that sees the dependencies of the interpreter of the tests."""

    folder: Path
    checkout: Path

    def place(self, name: str) -> Path:
        base = {"base": str(self.folder), "platbase": str(self.folder)}
        return Path(sysconfig.get_path(name, "venv", base))

    @property
    def python(self) -> Path:
        return self.place("scripts") / "python"

    def install(self, *what: str | Path) -> None:
        venv.create(self.folder, symlinks=os.name != "nt")
        outer = [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
        (self.place("purelib") / "dependencies.pth").write_text("\n".join(outer))
        if what:
            pip = (sys.executable, "-m", "pip", "--python", self.python, "install", "--quiet")
            offline = ("--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed")
            run(self.folder, *pip, *offline, *what)


def copy_checkout(target: Path) -> Path:
    """The tree without version control, caches and products of builds."""
    ignored = shutil.ignore_patterns(
        ".git", ".*cache", ".hypothesis", ".venv", "__pycache__", "build", "dist", "*.egg-info"
    )
    shutil.copytree(ROOT, target, ignore=ignored)
    (target / "tests" / "test_probe.py").write_text(PROBE)
    return target


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with tree/*.whl, built from the tree, and sdist/*.tar.gz with its own *.whl."""
    folder = tmp_path_factory.mktemp("built")
    checkout = copy_checkout(folder / "checkout")
    (checkout / "tests" / "test_probe.py").unlink()
    build = (sys.executable, "-m", "build", "--no-isolation", checkout, "--outdir")
    run(folder, *build, folder / "sdist")
    run(folder, *build, folder / "tree", "--wheel")
    return folder


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory, built: Path) -> dict[str, Environment]:
    """One environment per way of installing, each with a checkout of its own."""
    made = {}
    for name in ("wheel", "editable", "nothing"):
        folder = tmp_path_factory.mktemp(name)
        made[name] = Environment(folder / "env", copy_checkout(folder / "checkout"))
    made["wheel"].install(*(built / "tree").glob("*.whl"))
    made["editable"].install("--editable", made["editable"].checkout)
    made["nothing"].install()
    return made


def wheel_contents(folder: Path) -> dict[str, bytes]:
    """File name -> bytes of the only wheel in the folder."""
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_package_list_names_every_folder_with_sources() -> None:
    folders = {name.rpartition("/")[0].replace("/", ".") for name in source_files(ROOT)}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders


def test_wheel_holds_the_source_files_and_no_others(built: Path) -> None:
    code = {k: v for k, v in wheel_contents(built / "tree").items() if ".dist-info/" not in k}
    assert code == {name: path.read_bytes() for name, path in source_files(ROOT).items()}


def test_sdist_builds_the_same_wheel(built: Path) -> None:
    assert wheel_contents(built / "sdist") == wheel_contents(built / "tree")


def test_sdist_holds_backends_and_tests(built: Path) -> None:
    (path,) = (built / "sdist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    checkout = built / "checkout"
    parts = ("backends", "isingnpu", "tests", "benchmarks", "docs", "examples", "requirements")
    wanted = {
        path.relative_to(checkout).as_posix()
        for part in (*parts, ".ci")
        for path in (checkout / part).rglob("*")
        if path.is_file()
    }
    assert wanted - names == set()


def test_core_needs_no_gpu_library(built: Path) -> None:
    contents = wheel_contents(built / "tree")
    (name,) = (name for name in contents if name.endswith(".dist-info/METADATA"))
    found = email.message_from_bytes(contents[name])
    requirements = [Requirement(line) for line in found.get_all("Requires-Dist", [])]
    core = {one.name for one in requirements if one.marker is None}
    assert core == {Requirement(line).name for line in PROJECT["project"]["dependencies"]}
    assert not [name for name in core if re.match("torch|cupy|nvidia|jax", name)]
    assert all(one.marker is None or "extra ==" in str(one.marker) for one in requirements)


SCRIPT, MODULE = ("isingnpu",), ("python", "-m", "isingnpu")


@pytest.mark.parametrize(
    ("installed", "from_root", "command"),
    [
        ("wheel", False, SCRIPT),
        ("wheel", False, MODULE),
        ("wheel", True, SCRIPT),
        ("wheel", True, MODULE),
        ("editable", False, SCRIPT),
        ("editable", True, MODULE),
        ("nothing", True, MODULE),
    ],
)
def test_command_finds_its_backends(
    environments: dict[str, Environment],
    installed: str,
    from_root: bool,
    command: tuple[str, ...],
    tmp_path: Path,
) -> None:
    environment = environments[installed]
    first, *rest = command
    program = environment.place("scripts") / first
    folder = environment.checkout if from_root else tmp_path
    info = json.loads(run(folder, program, *rest, "info", "--json"))
    available = {name for name, entry in info["backends"].items() if entry["available"]}
    assert info["version"] == __version__
    assert available >= {"reference", "cpu"}


@pytest.mark.parametrize(
    ("installed", "from_root", "checkout_wins"),
    [
        ("wheel", False, False),
        ("wheel", True, True),
        ("editable", False, True),
        ("nothing", True, True),
    ],
)
def test_code_and_backends_come_from_one_place(
    environments: dict[str, Environment],
    installed: str,
    from_root: bool,
    checkout_wins: bool,
    tmp_path: Path,
) -> None:
    environment = environments[installed]
    folder = environment.checkout if from_root else tmp_path
    show = (
        "import isingnpu.backend as b; from isingnpu.backends import reference as r;"
        "print(b.__file__); print(r.__file__)"
    )
    found = [Path(line) for line in run(folder, environment.python, "-c", show).splitlines()]
    if checkout_wins:
        root = environment.checkout
        assert found == [root / "isingnpu" / "backend.py", root / "backends" / "reference.py"]
    else:
        package = environment.place("purelib") / "isingnpu"
        assert found == [package / "backend.py", package / "backends" / "reference.py"]


def test_foreign_package_named_backends_is_left_alone(
    environments: dict[str, Environment], tmp_path: Path
) -> None:
    environment = environments["wheel"]
    site = environment.place("purelib")
    (site / "backends").mkdir()
    (site / "backends" / "__init__.py").touch()
    show = "import isingnpu.backend; print(*isingnpu.__path__, sep='\\n')"
    found = run(tmp_path, environment.python, "-c", show).splitlines()
    assert found == [str(site / "isingnpu")]


@pytest.mark.parametrize(
    ("installed", "command"),
    [
        ("wheel", ("-m", "pytest")),
        ("editable", ("-P", "-m", "pytest")),  # -P: as the script `pytest`
        ("nothing", ("-P", "-m", "pytest")),
        ("nothing", ("-m", "pytest", "--import-mode=importlib")),
    ],
)
def test_suite_runs_from_the_root(
    environments: dict[str, Environment], installed: str, command: tuple[str, ...]
) -> None:
    environment = environments[installed]
    out = run(environment.checkout, environment.python, *command, "tests/test_probe.py")
    assert re.search(r"\b1 passed\b", out)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["anneal", "--help"]])
def test_help_imports_no_heavy_library(arguments: list[str]) -> None:
    code = (
        "import sys, isingnpu.cli\n"
        "try: isingnpu.cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('\\nLOADED', *sys.modules)"
    )
    out = run(ROOT, sys.executable, "-c", code, *arguments)
    loaded = out.rpartition("LOADED")[2].split()
    assert "isingnpu.cli" in loaded
    assert HEAVY.intersection(loaded) == set()


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_flag_prints_and_exits_with_zero(flag: str) -> None:
    out = run(ROOT, sys.executable, "-m", "isingnpu", flag)
    assert {"--version": __version__, "--help": "anneal"}[flag] in out


def test_version_is_the_same_everywhere() -> None:
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    changes = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert citation is not None
    assert citation.group(1) == changes[0] == __version__


def test_pins_of_continuous_integration_cover_all_requirements_and_name_no_address() -> None:
    lines = (ROOT / "requirements" / "ci-3.11.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[\w.]+", pin) for pin in pins)
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"]]
    for extra in ("dev", "plot", "xarray", "peers"):
        wanted += extras[extra]
    names = {Requirement(line).name for line in wanted} - {"isingnpu"}
    assert names <= {pin.partition("==")[0] for pin in pins}
