"""Tests of the CUDA kernels, run again where AddressSanitizer watches their memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isingnpu.backends.cuda import host

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(host.compiler() is None, reason="g++ not found")

# All devices of the process watch.
WATCHED = """
import sys
import pytest
sys.path.insert(0, "tests")

class Watch:
    def pytest_configure(self, config):
        from isingnpu import backend
        backend.find_backend("reference")
        from isingnpu.backends.cuda.host import HostDevice
        HostDevice.__init__.__kwdefaults__["sanitize"] = True
        if "cuda-host" in backend.backend_names():
            backend.find_backend("cuda-host").device.sanitize = True

options = ["-p", "no:cacheprovider", "-q", "-x", "-s"]
sys.exit(pytest.main([*options, *sys.argv[1:]], plugins=[Watch()]))
"""


def watched(*arguments):
    """A run of pytest in which the first access beyond an array ends the process."""
    libraries = host.sanitizer_libraries()
    if len(libraries) < len(host.SANITIZERS):
        pytest.skip("g++ has no libasan and libubsan")
    held = {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
        "UBSAN_OPTIONS": "halt_on_error=1",
        "PYTHONPATH": ".",
    }
    return subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        env={**os.environ, **held}, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


PLANTED = """
import numpy as np
from test_cuda_host import BUGS, HostDevice

def test_planted():
    out = np.zeros({size}, np.int32)
    HostDevice().kernel(BUGS, "beyond_global")((1,), (64,), [out])
"""


@pytest.mark.parametrize(
    ("size", "found"), [(32, True), pytest.param(64, False, marks=pytest.mark.slow)]
)
def test_access_beyond_an_array_ends_the_run(tmp_path, size, found):
    path = tmp_path / "test_planted.py"
    path.write_text(PLANTED.format(size=size))
    done = watched(str(path))
    assert ("heap-buffer-overflow" in done.stderr) == found, done.stdout + done.stderr
    assert (done.returncode == 0) != found


RUNS = {
    "lanes and lattices": ("tests/test_cuda_host.py", "bits_after or lanes_serve"),
    "planes and dense models": (
        "tests/test_cuda_graphs.py",
        "bits_after or planes_have or couplings_of or other_layouts or cuts_and",
    ),
    "clusters": ("tests/test_cuda_clusters.py", "kernel_equals or tiles or improved_sums"),
    "states and betas": ("tests/test_cuda_arrays.py", "device or ladder or launch"),
    "many models": ("tests/test_many.py", "cuda or cuts or launch"),
    "machines": ("tests/test_cuda_machine.py", "not compile"),  # NVRTC does not run there
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_kernels_stay_inside_their_memory(name):
    path, some = RUNS[name]
    done = watched(path, "-k", some)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
