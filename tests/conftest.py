"""Rules of the whole suite: where data lies, the false-alarm budget, one kernel cache.

False-alarm budget: a test that is statistical carries `@pytest.mark.statistical(alpha=...)`, the
probability that it fails although the code is right. By Bonferroni the suite as a whole fails
falsely with at most the sum of all alphas, which must not exceed BUDGET; every parametrised case
counts, and so do the tests that `-m` deselects.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
BUDGET = 1e-3
SPENT = pytest.StashKey[float]()
FAULTS = pytest.StashKey[list[str]]()


def kernel_cache() -> Path:
    """Folder for numba's compiled kernels, outside the tree, one per content of the kernels.

    numba's cache does not see an edit in a jitted function of another file; the hash of all of
    backends/cpu does. Workers of pytest-xdist and subprocesses inherit the variable."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "backends" / "cpu").rglob("*.py")):
        digest.update(path.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "isingnpu" / f"numba-{digest.hexdigest()[:16]}"


os.environ.setdefault("NUMBA_CACHE_DIR", str(kernel_cache()))  # read when numba is imported

from isingnpu.backend import find_backend, register  # noqa: E402

find_backend("reference")  # backends lie beside the package in a checkout: find them first

from isingnpu.backends.cuda import CudaBackend  # noqa: E402
from isingnpu.backends.cuda.host import HostDevice  # noqa: E402

# The kernels of the cuda backend on the processor: tests of all backends run on them too.
register(CudaBackend(HostDevice(order=20), "cuda-host"))

settings.register_profile("isingnpu", deadline=None, derandomize=True)
settings.load_profile("isingnpu")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Instances that are too large for the repository: gset/, k2000/."""
    default = ROOT.parent / "shared" / "data"
    folder = Path(os.environ.get("ISINGNPU_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; ISINGNPU_DATA names the folder that has gset/")
    return folder


def alpha_of(item: pytest.Item) -> float:
    """Probability that the test fails falsely; 0 if it is not statistical."""
    mark = item.get_closest_marker("statistical")
    if mark is None:
        return 0.0
    alpha = mark.kwargs.get("alpha")
    if mark.args or not isinstance(alpha, float) or not 0 < alpha < 1:
        got = ", ".join([*map(repr, mark.args), *(f"{k}={v!r}" for k, v in mark.kwargs.items())])
        raise ValueError(f"{item.nodeid}: got statistical({got}), write statistical(alpha=1e-6)")
    return float(alpha)  # of NumPy too: workers send it home


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    spent, faults = 0.0, []
    for item in items:
        try:
            spent += alpha_of(item)
        except ValueError as error:
            faults.append(str(error))
    if spent > BUDGET:
        faults.append("over budget: lower some alpha and sample more")
    config.stash[SPENT], config.stash[FAULTS] = spent, faults


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist is done: all workers collect the same tests, keep one account."""
    output, stash = getattr(node, "workeroutput", {}), node.config.stash
    stash[SPENT] = output.get("spent", stash.get(SPENT, 0.0))
    stash[FAULTS] = output.get("faults", stash.get(FAULTS, []))


def pytest_sessionfinish(session: pytest.Session) -> None:
    stash = session.config.stash
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["spent"] = stash.get(SPENT, 0.0)
        session.config.workeroutput["faults"] = stash.get(FAULTS, [])
    elif stash.get(FAULTS, []):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    spent = config.stash.get(SPENT, 0.0)
    terminalreporter.write_line(f"false-alarm budget: {spent:.2g} of {BUDGET:g} spent")
    for fault in config.stash.get(FAULTS, []):
        terminalreporter.write_line(f"false-alarm budget FAILED: {fault}", red=True)
