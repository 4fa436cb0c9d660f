"""What lies on the device: states and betas taken from it and left there, and one launch for a
whole schedule. On the processor, whose arrays are foreign to NumPy's functions here."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from cluster_trials import ClusterTrial
from engine import QuickReference, Trial, dense_graph, graph, start
from foreign import ForeignDevice, foreign, plain

from isingnpu import lattice
from isingnpu.backend import Ladder, State, get_backend
from isingnpu.backends.cuda import CudaBackend, host
from isingnpu.backends.cuda.cupy_device import CupyDevice
from isingnpu.backends.cuda.host import HostDevice

pytestmark = pytest.mark.skipif(host.compiler() is None, reason="g++ not found")

COLD = np.linspace(0.1, 0.8, 6)
TRIALS = {
    "lanes": Trial(graph(21), COLD, replicas=range(5, 24)),
    "planes": Trial(graph(21, most=1, share=0.3), COLD, "plane", replicas=range(60, 70)),
    "planes, one read": Trial(graph(21, most=1, share=0.3), COLD, "plane", replicas=range(1)),
    "dense": Trial(dense_graph(65, most=1), COLD, replicas=range(3)),
    "lattice": Trial(lattice.square((4, 262)), COLD, "lattice", replicas=range(2, 4)),
    "lattice, two to a cell": Trial(
        lattice.honeycomb((3, 70)), COLD, "lattice", replicas=range(2)
    ),
    "lattice, three colours": Trial(
        lattice.triangular((6, 201)), COLD, "lattice", replicas=range(2)
    ),
    "clusters": ClusterTrial(lattice.square((6, 70)), COLD, replicas=range(6), every=2),
}
KERNELS = {"lattice, two to a cell": "bitlattice", "lattice, three colours": "bitlattice",
           "lattice": "bitlattice", "clusters": "swendsen-wang"}  # fmt: skip


def plan_of(trial, device):
    """A plan that stands at the first state of the trial."""
    plan = CudaBackend(device, "there").plan(trial.request)
    plan.load(start(trial))
    return plan


class OnlyDlpack:
    """An array of some package that offers nothing but DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("name", TRIALS)
def test_states_are_taken_from_the_device_and_given_there(name):
    trial, given = TRIALS[name], start(TRIALS[name])
    plan = plan_of(trial, ForeignDevice())
    assert plan.kernel == KERNELS.get(name, name.split(",")[0])
    turned = -given.spins
    for there in (foreign(turned.copy()), OnlyDlpack(turned.copy())):
        plan.load(start(trial))
        plan.load(State(there, there, given.flips))
        held = plan.spins_on_device()
        assert type(held) is type(plan.device.zeros((1,), np.int8))
        assert np.array_equal(np.from_dlpack(plain(held)), turned)
        assert np.array_equal(plan.state().best, turned)
    plan.sweep(COLD, first=0)
    assert np.array_equal(plain(plan.spins_on_device()), plan.state().spins)
    assert not np.array_equal(plan.state().spins, turned)


@pytest.mark.parametrize("name", TRIALS)
def test_states_of_another_kind_are_refused(name):
    trial, given = TRIALS[name], start(TRIALS[name])
    plan = plan_of(trial, HostDevice())
    with pytest.raises(TypeError, match="spins must be int8, got int64"):
        plan.load(State(given.spins.astype(np.int64), given.best, given.flips))
    with pytest.raises(ValueError, match=r"spins must have shape \(\d+, \d+\), got \(\d+, \d+\)"):
        plan.load(State(given.spins[:, 1:], given.best, given.flips))


@pytest.mark.parametrize("where", [1, 2])
def test_arrays_of_the_host_are_copied_to_a_gpu_and_those_of_a_gpu_taken_as_they_are(
    monkeypatch, where
):
    """where: the device type of dlpack.h, 1 the host."""
    took = []

    def note(name):
        return lambda array: took.append((name, type(array))) or array

    cupy = SimpleNamespace(
        cuda=SimpleNamespace(Device=lambda index: host.nullcontext()),
        from_dlpack=note("from_dlpack"), asarray=note("asarray"),
        ascontiguousarray=note("ascontiguousarray"),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    array = OnlyDlpack(np.ones(3))
    array.__class__ = type("There", (OnlyDlpack,), {"__dlpack_device__": lambda self: (where, 0)})
    monkeypatch.setattr(np, "from_dlpack", lambda array: array.array)
    CupyDevice().put(array)
    assert took[0][0] == ("asarray" if where == 1 else "from_dlpack")


# Betas on the device.

RUNGS = np.geomspace(0.05, 1.5, 5)


@pytest.mark.parametrize("name", TRIALS)
def test_ladder_is_the_array_of_its_betas_on_every_backend(name):
    trial, source = TRIALS[name], np.random.default_rng(1)
    reads = len(trial.replicas)
    plans = {where: get_backend("cpu").plan(trial.request) for where in ("ladder", "array")}
    plans |= {"there": plan_of(trial, ForeignDevice())}
    if name == "lanes":
        plans |= {"reference": QuickReference(trial.request)}
    for plan in plans.values():
        plan.load(start(trial))
    for call in range(3):
        rungs = source.integers(0, 5, reads)
        seen = {}
        for where, plan in plans.items():
            held = foreign(rungs.copy()) if where == "there" else rungs
            betas = Ladder(RUNGS, held, 2)
            if where == "array":
                betas = np.tile(RUNGS[rungs], (2, 1))
            seen[where] = plan.sweep(betas, first=2 * call, every=1)
        for where in plans:
            assert np.array_equal(seen[where].energy, seen["array"].energy)
            assert np.array_equal(plans[where].state().spins, plans["array"].state().spins)


@pytest.mark.parametrize("name", ["lanes", "planes", "dense", "clusters"])
def test_exchanges_of_betas_need_no_number_from_the_host(name):
    """Neighbours in beta exchange where that cannot raise the weight of their states: tempering
    without chance. The device decides by itself; the cpu must take the same way."""
    trial = TRIALS[name]
    reads = len(trial.replicas)
    betas = np.linspace(0.1, 1.0, reads)
    there, here = plan_of(trial, ForeignDevice()), get_backend("cpu").plan(trial.request)
    here.load(start(trial))
    xp = there.device.xp
    held, rungs = foreign(np.arange(reads)), np.arange(reads)
    exchanged = 0
    for call in range(8):
        there.sweep(Ladder(betas, held, 2), first=2 * call)
        seen = here.sweep(Ladder(betas, rungs, 2), first=2 * call, every=2)
        energies = there.energies_on_device()
        assert np.array_equal(plain(energies), seen.energy[:, -1])
        held = ordered(xp, held, energies, call % 2)
        before, rungs = rungs, ordered(np, rungs, seen.energy[:, -1], call % 2)
        exchanged += int((before != rungs).sum())
        assert np.array_equal(plain(held), rungs)
    assert exchanged
    assert np.array_equal(there.state().spins, here.state().spins)


def ordered(xp, rungs, energies, odd):
    """The rungs after every other pair of neighbours, from the first or second, is in the order
    of its energies: the lower one colder."""
    at = xp.argsort(rungs)  # the replica on each rung
    hot, cold = at[odd:-1:2], at[odd + 1 :: 2]
    swap = energies[hot] < energies[cold]
    changed = rungs.copy()
    changed[hot], changed[cold] = (
        xp.where(swap, rungs[cold], rungs[hot]), xp.where(swap, rungs[hot], rungs[cold]),
    )  # fmt: skip
    return changed


def test_ladders_that_do_not_fit_are_refused():
    plan = plan_of(TRIALS["lanes"], HostDevice())
    with pytest.raises(ValueError, match=r"rungs must have shape \(19,\), got \(3,\)"):
        plan.sweep(Ladder(RUNGS, [0, 1, 2], 2), first=0)
    with pytest.raises(ValueError, match=r"rungs must lie in 0\.\.4"):
        plan.sweep(Ladder(RUNGS, np.full(19, 5), 2), first=0)
    with pytest.raises(ValueError, match=r"a ladder has betas \(k,\) and rungs \(replicas,\)"):
        Ladder(RUNGS, [[0], [1]], 2)


# Launches.


class Counting(HostDevice):
    """The processor, with a list of the kernels that were launched."""

    def __init__(self):
        super().__init__()
        self.launched = []

    def kernel(self, code, name):
        kernel = super().kernel(code, name)

        def launch(*args, **options):
            self.launched.append(name)
            kernel(*args, **options)

        return launch


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("track", [False, True])
@pytest.mark.parametrize("name", TRIALS)
def test_a_schedule_is_one_launch_also_if_it_is_watched(name, track, own):
    trial, device = TRIALS[name], Counting()
    plan = plan_of(trial, device)
    betas = np.tile(COLD, 4)
    if own:
        betas = betas[:, None] + 0.01 * np.arange(len(trial.replicas))
    plan.sweep(betas[:3], first=0, track=track)  # the first one measures the best states
    device.launched.clear()
    plan.sweep(betas, first=3, every=2, track=track)
    masks = own and len(trial.replicas) > 1 and plan.kernel == "planes"
    assert device.launched == ["own_masks"] * masks + ["sweep"]


@pytest.mark.parametrize("name", TRIALS)
def test_a_launch_ends_where_spins_are_asked_for(name):
    trial, device = TRIALS[name], Counting()
    plan, weights = plan_of(trial, device), np.ones((1, TRIALS[name].model.n))
    device.launched.clear()
    seen = plan.sweep(np.tile(COLD, 2), first=1, every=4, weights=weights)
    assert device.launched.count("sweep") == 4  # to sweeps 4, 8, 12 and 13
    assert np.array_equal(seen.projections[..., 0], seen.magnetization)
