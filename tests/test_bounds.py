"""Kernels of the cpu backend stay inside their memory.

numba can check the indices of arrays. Addresses that vector code reads and writes it cannot:
those kernels get guard words around their memory.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from engine import Trial, outcome

from isingnpu import disorder, lattice
from isingnpu.backend import get_backend

get_backend("cpu")  # backends lie beside the package in a checkout: find them first

from isingnpu.backends.cpu import KERNELS, bitlattice, bitlattice_tables, planes  # noqa: E402

CHECKED = """
import numpy as np
from numba import njit
from isingnpu import lattice
from isingnpu.backend import get_backend
from isingnpu.criticality.wang_landau import wang_landau

@njit
def beyond(values):
    return values[values.size]

try:
    beyond(np.zeros(3))
except IndexError:
    for what, _ in get_backend("cpu").warm():
        print(what)
    wang_landau(lattice.square(4), steps=1 << 18, walkers=2, seed=1)
else:
    raise SystemExit("bounds are not checked")
"""


@pytest.mark.slow
def test_no_kernel_indexes_an_array_beyond_its_end(tmp_path):
    held = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": "."}
    environment = {**os.environ, **held}
    done = subprocess.run([sys.executable, "-c", CHECKED], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


GUARD = 64  # words on either side: eight cache lines
PATTERN = np.uint64(0xA5C396F05A3C690F)


@pytest.fixture
def guards(monkeypatch):
    """The words around all memory that kernels of bits allocate from now on."""
    found = []

    def guarded(plain):
        def allocate(shape):
            words = int(np.prod(shape))
            whole = plain(words + 2 * GUARD)
            whole[:] = PATTERN
            inner = whole[GUARD : GUARD + words]
            inner[:] = 0
            found.extend([whole[:GUARD], whole[GUARD + words :]])
            return inner.reshape(shape)

        return allocate

    plain = bitlattice_tables.aligned
    for module in (bitlattice, bitlattice_tables, planes):
        monkeypatch.setattr(module, "aligned", guarded(plain))
    return found


ADDRESSED = {
    "bitlattice": Trial(lattice.square((4, 270)), np.linspace(0, 0.8, 6), "lattice"),
    "planes": Trial(
        disorder.random_regular(50, 3, seed=1), np.linspace(0, 0.8, 6), "plane", replicas=range(70)
    ),
}


@pytest.mark.parametrize("kernel", ADDRESSED)
def test_no_word_around_the_memory_of_vector_code_is_written(guards, kernel):
    outcome(KERNELS[kernel], ADDRESSED[kernel])
    assert len(guards) > 0
    assert all(np.all(words == PATTERN) for words in guards)
