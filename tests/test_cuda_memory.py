"""Memory of a device: what a plan asks for covers what it takes, and what it says fits does."""

from __future__ import annotations

import re
import weakref
from dataclasses import replace

import numpy as np
import pytest
from cluster_trials import ClusterTrial
from engine import Trial, dense_graph, start

from isingnpu import disorder, lattice
from isingnpu.backends.cuda import CudaBackend, clusters, dense, host, lanes, planes, replicas
from isingnpu.backends.cuda import lattice as lattices
from isingnpu.backends.cuda.device import OutOfMemory
from isingnpu.backends.cuda.host import HostDevice

pytestmark = pytest.mark.skipif(host.compiler() is None, reason="g++ not found")

COLD = np.linspace(0.1, 0.8, 4)
SPARSE = disorder.random_regular(3000, 3, seed=1)
REAL = disorder.edwards_anderson((10, 10, 10), disorder="gaussian", seed=1)
TRIALS = {
    "lanes": Trial(SPARSE, COLD, replicas=range(96)),
    "lanes, fixed point": Trial(REAL, COLD, replicas=range(96)),
    "planes": Trial(SPARSE, COLD, "plane", replicas=range(320)),
    "dense": Trial(dense_graph(300, most=1), COLD, replicas=range(32)),
    "dense, wide couplings": Trial(dense_graph(200, most=300), COLD / 100, replicas=range(32)),
    "bitlattice": Trial(lattice.square((64, 1024)), COLD, "lattice", replicas=range(4)),
    "bitlattice, glass": Trial(
        disorder.edwards_anderson((16, 16, 256), seed=1), COLD, "lattice", replicas=range(4)
    ),
    "swendsen-wang": ClusterTrial(lattice.square((64, 512)), COLD, replicas=range(6)),
    "swendsen-wang, graph": ClusterTrial(SPARSE, COLD, replicas=range(80)),
}


@pytest.fixture(autouse=True)
def small_launches(monkeypatch):
    """Launches whose tables and series do not hide what states and models take."""
    for module in (replicas, lanes, planes, dense, clusters, lattices):
        monkeypatch.setattr(module, "PIECE", 1 << 12)


class Accounting(HostDevice):
    """Counts the bytes of arrays that are alive, and the most there were."""

    def __init__(self, memory=1 << 30):
        super().__init__(memory=memory)
        self.held = self.peak = 0

    def _counted(self, array):
        self.held += array.nbytes
        self.peak = max(self.peak, self.held)
        weakref.finalize(array, self._release, array.nbytes)
        return array

    def _release(self, number):
        self.held -= number

    def empty(self, shape, dtype):
        return self._counted(super().empty(shape, dtype))

    def zeros(self, shape, dtype):
        return self._counted(super().zeros(shape, dtype))

    def put(self, array):
        return self._counted(super().put(array))


def needed(trial):
    """Bytes that the plan asks for."""
    for memory in (0, 1 << 40):  # with none, the message says
        try:
            CudaBackend(HostDevice(memory=memory), "there").plan(trial.request)
        except OutOfMemory as error:
            return float(re.search(r"needs (\S+) MiB", str(error)).group(1)) * 2**20
    raise AssertionError("memory was never asked for")


@pytest.mark.parametrize("name", TRIALS)
def test_a_plan_asks_for_what_it_takes_and_not_much_more(name):
    trial, device = TRIALS[name], Accounting()
    plan = CudaBackend(device, "there").plan(trial.request)
    plan.load(start(trial))
    plan.sweep(COLD, first=0, every=2, track=True)
    own = COLD[:, None] + 1e-3 * np.arange(len(trial.replicas))
    plan.sweep(own, first=4)
    plan.state()
    assert device.peak <= needed(trial) <= 2 * device.peak


def fitting(trial, memory):
    """How many reads fit, by the message."""
    try:
        CudaBackend(HostDevice(memory=memory), "there").plan(trial.request)
    except OutOfMemory as error:
        found = re.search(r"(\d+) reads fit$", str(error))
        return int(found.group(1)) if found else 0
    return None


@pytest.mark.parametrize("name", TRIALS)
def test_so_many_reads_fit_as_the_message_says(name):
    trial = TRIALS[name]
    one = replace(trial, replicas=range(1))
    memory = int(0.3 * needed(one) + 0.7 * needed(trial))
    many = fitting(trial, memory)
    assert 0 < many < len(trial.replicas)
    assert fitting(replace(trial, replicas=range(many)), memory) is None
    assert fitting(replace(trial, replicas=range(many + 64)), memory) is not None


@pytest.mark.parametrize("name", TRIALS)
def test_too_little_memory_for_one_read_is_said(name):
    trial = TRIALS[name]
    said = r"with \d+ reads needs \S+ MiB of device memory, host has 0.010 MiB free: not one read"
    with pytest.raises(OutOfMemory, match=said):
        CudaBackend(HostDevice(memory=10_500), "there").plan(trial.request)
