"""Swendsen-Wang of the cuda backend, on the processor: the bits of the reference."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from architectures import compilations
from cluster_trials import MODELS, ClusterTrial, answer, trial_of
from engine import differing, outcome, start
from laws import alone_faults, cut_faults

from isingnpu import IsingModel, lattice, rng, sample
from isingnpu.backend import State, get_backend
from isingnpu.backends import reference
from isingnpu.backends.cuda import CudaBackend, clusters, sources
from isingnpu.backends.cuda import compiler as nvrtc
from isingnpu.backends.cuda.clusters import Shape, SwendsenWangPlan
from isingnpu.backends.cuda.device import Code, OutOfMemory
from isingnpu.backends.cuda.host import HostDevice, compiler
from isingnpu.backends.reference import ClusterPlan

RULE = "swendsen-wang"
pytestmark = pytest.mark.skipif(compiler() is None, reason="g++ not found")


def made_by(order=20, shape=None, **device):
    """A maker of plans on the processor."""
    return lambda request: SwendsenWangPlan(request, HostDevice(order, **device), shape)


@pytest.mark.parametrize("name", MODELS)
def test_kernel_equals_reference_bit_for_bit(name):
    assert differing(outcome(made_by(), trial_of(name, RULE)), answer(name, RULE)) == []


@pytest.mark.parametrize("order", [0, 1, 7])
@pytest.mark.parametrize("shape", [Shape(1, 64, 1), Shape(2, 128, 2), Shape(3, 96, 1)])
@pytest.mark.parametrize("name", ["square of two words a row", "cubic", "many groups", "graph"])
def test_shapes_and_schedules_do_not_change_the_result(name, shape, order):
    trial = trial_of(name, RULE)
    assert differing(outcome(made_by(order, shape), trial), answer(name, RULE)) == []


# Tiles of 64 rows and 64 columns, 32 and 128 where rows are of an even number of words.
TILED = {
    "several tiles of lines": lattice.square((70, 64)),
    "wide tiles, the last cut": lattice.square((40, 128)),
    "tiles side by side": lattice.square((70, 192)),
    "wide tiles side by side": lattice.square((34, 256), boundary="antiperiodic"),
    "chain of tiles": lattice.chain(4096 + 65),
    "planes of tiles": lattice.cubic((3, 34, 128), boundary=("periodic", "open", "periodic")),
}


@pytest.mark.parametrize("beta", [0.3, 0.44, 0.8])
@pytest.mark.parametrize("name", TILED)
def test_bonds_between_tiles_join_their_clusters(name, beta):
    trial = ClusterTrial(TILED[name], np.full(2, beta), replicas=range(2, 4), every=1)
    shape = Shape(2, 256, 1)
    assert differing(outcome(made_by(1, shape), trial), outcome(ClusterPlan, trial)) == []


@pytest.mark.parametrize("name", ["odd square", "graph", "real graph"])
def test_all_bits_of_thresholds_close_to_the_integers_are_read(name, monkeypatch):
    """Those of a read and sweep are the integer of the first bond, or one less or more."""
    betas = 1e-3 * np.arange(1, 61).reshape(20, 3)
    trial = ClusterTrial(MODELS[name], betas)
    r = [rng.bond_integers(k, [0], [0], sweep, 7)[0] for sweep in range(20) for k in (3, 4, 5)]
    near = np.array(r) + np.arange(60, dtype=np.uint64) % np.uint64(3) - np.uint64(1)

    def close(betas, magnitudes, quantum):
        asked = np.rint(np.asarray(betas) / 1e-3).astype(int) - 1
        return near[asked, None].repeat(len(magnitudes), axis=1)

    for module in (clusters, reference):
        monkeypatch.setattr(module, "bond_thresholds", close)
    assert differing(outcome(made_by(), trial), outcome(ClusterPlan, trial)) == []


@pytest.mark.parametrize("name", ["square", "odd square"])
def test_seven_rounds_equal_the_reference(name):
    trial = replace(trial_of(name, RULE), rounds=7, seed=2**64 - 1, first=2**31 - 9)
    assert differing(outcome(made_by(), trial), outcome(ClusterPlan, trial)) == []


@pytest.mark.parametrize("name", ["square", "graph"])
def test_cuts_and_hand_over_do_not_change_the_result(name):
    assert cut_faults(made_by(), trial_of(name, RULE, every=3), [1, 2]) == []


@pytest.mark.parametrize("name", ["odd square", "real graph"])
def test_read_alone_equals_the_same_read_of_a_batch(name):
    trial = trial_of(name, RULE, every=1)
    assert alone_faults(made_by(), replace(trial, replicas=range(2**21 - 3, 2**21))) == []


def improved(make_plan, trial):
    """The improved moments of a trial, sampled every sweep."""
    plan = make_plan(trial.request)
    plan.load(start(trial))
    return plan.sweep(np.asarray(trial.betas), first=0, every=1).improved


@pytest.mark.parametrize("name", ["square within a word", "cubic", "unlike axes", "triangular"])
def test_improved_sums_equal_the_references(name):
    trial = trial_of(name, RULE)
    assert np.array_equal(improved(made_by(), trial), improved(ClusterPlan, trial))


@pytest.mark.parametrize("model", [TILED["tiles side by side"], lattice.triangular((60, 70))])
def test_rounded_sums_of_fourth_powers_equal_the_references(model):
    """Clusters of more than 2^13 sites, whose fourth powers fill the float64's digits."""
    assert model.n < 2**14
    trial = ClusterTrial(model, np.geomspace(0.3, 3.0, 8), replicas=range(1))
    spins = State.at(np.ones((1, model.n), np.int8))
    seen = []
    for make_plan in (made_by(), get_backend("cpu").plan):
        plan = make_plan(trial.request)
        plan.load(spins)
        seen.append(plan.sweep(trial.betas, first=0, every=1).improved)
    assert np.array_equal(*seen)


def test_launches_are_cut_where_tables_would_not_fit(monkeypatch):
    monkeypatch.setattr(clusters, "PIECE", 7)
    trial = trial_of("odd square", RULE)
    assert differing(outcome(made_by(), trial), answer("odd square", RULE)) == []


def test_a_run_equals_that_of_the_cpu():
    options = {"dynamics": RULE, "replicas": 3, "seed": 4, "initial": "up",
               "observe": ("energy", "improved_m2", "improved_m4")}  # fmt: skip
    runs = [sample(lattice.square((9, 64)), 0.44, sweeps=6, backend=name, **options)
            for name in ("cuda-host", "cpu")]  # fmt: skip
    assert runs[0].provenance["kernel"] == RULE
    assert np.array_equal(runs[0].spins, runs[1].spins)
    for name in runs[0].series:
        assert np.array_equal(runs[0].series[name], runs[1].series[name])


def test_shapes_fill_the_device_and_no_more():
    device = HostDevice(processors=132).properties
    assert Shape.choose(device, 1, 1 << 14) == Shape(256, 512, 1)
    assert Shape.choose(device, 1, 1 << 22) == Shape(264, 512, 1)
    assert Shape.choose(device, 3, 1 << 22) == Shape(88, 512, 3)
    assert Shape.choose(device, 1000, 1 << 22) == Shape(1, 512, 264)
    assert Shape.choose(device, 1000, 1) == Shape(1, 64, 1000)


CODES = {(lattice_code, rounds): Code.of("clusters.cu", LATTICE=lattice_code, ROUNDS=rounds)
         for lattice_code in (0, 1) for rounds in (10, 7)}  # fmt: skip


@pytest.mark.parametrize(("name", "arch"), compilations(CODES, ((0, 10), (1, 10))))
def test_kernels_compile_without_spills_for_two_blocks_on_a_multiprocessor(name, arch):
    try:
        nvrtc.version()
    except Exception as error:
        pytest.skip(f"NVRTC: {error}")
    cubin, usage = nvrtc.compile_cubin(CODES[name], arch)
    assert set(usage) == set(sources.kernel_names(CODES[name]))
    for used in usage.values():
        assert (used.spilled, used.stack) == (0, 0)
        assert used.registers * clusters.RESIDENT <= 1 << 16
    # 64-bit ELF: program headers, the last of a cubin's parts, end with the file
    (headers,) = struct.unpack_from("<Q", cubin, 32)
    size, number = struct.unpack_from("<HH", cubin, 54)
    assert headers + size * number == len(cubin)


def test_wolff_and_other_kernels_are_refused():
    backend = CudaBackend(HostDevice())
    with pytest.raises(ValueError, match=r"no kernel for dynamics 'wolff'.*use backend 'cpu'"):
        backend.plan(trial_of("square", "wolff").request)
    request = trial_of("square", RULE).request
    with pytest.raises(ValueError, match="kernel 'lanes' does not fit"):
        backend.plan(replace(request, kernel="lanes"))


def test_a_device_that_is_too_small_says_what_fits():
    trial = ClusterTrial(lattice.square(64), np.full(1, 0.4), replicas=range(1000))
    with pytest.raises(OutOfMemory, match=r"1000 reads needs .* free: not one read fits"):
        made_by(memory=1 << 20)(trial.request)


def test_zero_temperature_joins_all_and_infinite_temperature_nothing():
    model = lattice.square((6, 64))
    for beta, groups in ((1e6, 1), (0.0, model.n)):
        trial = ClusterTrial(model, np.array([beta]), replicas=range(1))
        plan = made_by()(trial.request)
        plan.load(State.at(np.ones((1, model.n), np.int8)))
        squares = plan.sweep(trial.betas, first=0, every=1).improved[0, 0, 0] * model.n**2
        assert squares == model.n**2 / groups


def test_a_model_with_absent_bonds_only_is_one_of_single_sites():
    model = IsingModel.from_edges([(0, 1, 0.0)], 70)
    trial = ClusterTrial(model, np.full(2, 0.4))
    assert differing(outcome(made_by(), trial), outcome(ClusterPlan, trial)) == []
