"""Cluster moves: the bits of the reference on every model, and what `sample` makes of them.

Their probabilities and averages are in test_cluster_laws."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from cluster_trials import MODELS, ClusterTrial, answer, trial_of
from engine import differing, outcome, start
from laws import (
    alone_faults,
    cut_faults,
)
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from isingnpu import anneal, lattice, resume, rng, sample
from isingnpu.backend import State, get_backend
from isingnpu.backends import reference
from isingnpu.backends.reference import ClusterPlan
from isingnpu.bonds import Bonds, cluster_bonds
from isingnpu.dynamics import bond_thresholds

MOVES = ("swendsen-wang", "wolff")
cpu = get_backend("cpu").plan

from isingnpu.backends.cpu import clusters_tables  # noqa: E402


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rule", MOVES)
@pytest.mark.parametrize("name", MODELS)
def test_kernel_equals_reference_bit_for_bit(name, rule, threads):
    trial = trial_of(name, rule, threads=threads)
    assert differing(outcome(cpu, trial), answer(name, rule)) == []


@pytest.mark.parametrize("rule", MOVES)
@pytest.mark.parametrize(
    "name",
    ["square within a word", "odd square", "square across words", "cubic", "glass", "triangular",
     "real graph"],
)  # fmt: skip
def test_replicas_that_share_vectors_equal_the_reference(name, rule):
    betas = np.random.default_rng(5).choice([0.2, 0.4, 0.5], (3, 19))
    trial = ClusterTrial(MODELS[name], betas, dynamics=rule, replicas=range(5, 24))
    assert differing(outcome(cpu, trial), outcome(ClusterPlan, trial)) == []


def test_long_runs_with_few_bonds_between_them_equal_the_reference():
    model = lattice.hypercubic((6, 64), J=(1, 100), boundary=("periodic", "open"))
    trial = ClusterTrial(model, np.full(40, 0.02))
    assert differing(outcome(cpu, trial), outcome(ClusterPlan, trial)) == []


@pytest.mark.parametrize("name", ["odd square", "graph", "real graph"])
def test_all_bits_of_thresholds_close_to_the_integers_are_read(name, monkeypatch):
    """Those of a read and sweep are the integer of the first bond, or one less or more."""
    betas = 1e-3 * np.arange(1, 61).reshape(20, 3)
    trial = ClusterTrial(MODELS[name], betas)
    r = [rng.bond_integers(k, [0], [0], sweep, 7)[0] for sweep in range(20) for k in (3, 4, 5)]
    near = np.array(r) + np.arange(60, dtype=np.uint64) % np.uint64(3) - np.uint64(1)

    def close(betas, magnitudes, quantum):
        return near[:, None].repeat(len(magnitudes), axis=1)

    for module in (clusters_tables, reference):
        monkeypatch.setattr(module, "bond_thresholds", close)
    assert differing(outcome(cpu, trial), outcome(ClusterPlan, trial)) == []


def test_clusters_of_more_words_than_wait_in_one_word_are_those_of_the_graph(monkeypatch):
    """Eight words a group, 64 groups a word of those that wait; rows begin within words."""
    model, seen = lattice.square((1100, 62)), []
    trial = ClusterTrial(model, np.full(2, 0.45), dynamics="wolff", replicas=range(1))
    for alike in (Bonds.alike_along_axes, False):
        monkeypatch.setattr(Bonds, "alike_along_axes", alike)
        plan = cpu(trial.request)
        plan.load(State.at(np.ones((1, model.n), np.int8)))
        seen.append(plan.sweep(trial.betas, first=0, every=1).flips)
        seen.append(plan.state().spins)
    assert seen[0].max() > model.n  # of two clusters
    assert np.array_equal(seen[0], seen[2])
    assert np.array_equal(seen[1], seen[3])


@pytest.mark.parametrize("name", ["square", "odd square"])
def test_seven_rounds_equal_the_reference(name):
    trial = replace(trial_of(name, "swendsen-wang"), rounds=7, seed=2**64 - 1, first=2**31 - 9)
    seven, ten = outcome(cpu, trial), answer(name, "swendsen-wang")
    assert differing(seven, outcome(ClusterPlan, trial)) == []
    assert "spins" in differing(seven, ten)


@pytest.mark.parametrize("rule", MOVES)
@pytest.mark.parametrize("name", ["square", "graph"])
def test_cuts_and_hand_over_do_not_change_the_result(name, rule):
    assert cut_faults(cpu, trial_of(name, rule, every=3), [1, 2]) == []


@pytest.mark.parametrize("rule", MOVES)
@pytest.mark.parametrize("name", ["odd square", "glass", "real graph"])
def test_read_alone_equals_the_same_read_of_a_batch(name, rule):
    trial = trial_of(name, rule, every=1)
    assert alone_faults(cpu, replace(trial, replicas=range(2**21 - 3, 2**21))) == []


@pytest.mark.parametrize("rule", MOVES)
@pytest.mark.parametrize("name", ["square within a word", "cubic", "unlike axes", "triangular"])
def test_improved_sums_equal_the_references(name, rule):
    seen = []
    for make_plan in (cpu, ClusterPlan):
        trial = trial_of(name, rule)
        plan = make_plan(trial.request)
        plan.load(start(trial))
        seen.append(plan.sweep(trial.betas, first=0, every=1).improved)
    assert seen[0].shape == (3, 4, 2)
    assert np.array_equal(*seen, equal_nan=True)


@pytest.mark.parametrize("name", ["cubic", "glass", "antiperiodic", "graph"])
def test_components_of_the_active_bonds_flip_by_the_coin_of_their_smallest_site(name):
    trial = replace(trial_of(name, "swendsen-wang"), betas=np.array([0.4]), first=5)
    before, after = start(trial).spins, outcome(cpu, trial).spins
    bonds, n = cluster_bonds(trial.model), trial.model.n
    i, j = bonds.owner, bonds.other
    for replica, old, new in zip(trial.replicas, before, after, strict=True):
        r = rng.bond_integers(replica, i, bonds.slot, 5, trial.seed)
        quantum = trial.model.quantized.quantum
        limit = bond_thresholds([0.4], np.abs(bonds.coupling), quantum)[0]
        active = (r < limit) & (bonds.coupling * old[i] * old[j] > 0)
        matrix = sparse.coo_array((active[active], (i[active], j[active])), shape=(n, n))
        count, label = connected_components(matrix, directed=False)
        root = np.array([np.flatnonzero(label == c)[0] for c in range(count)])[label]
        assert np.array_equal(old != new, rng.cluster_coins(replica, root, 5, trial.seed))


# Frozen results: layout version 1 may never give others.

GOLDEN = {
    ("square", "swendsen-wang"): "8496e70530a1f47172788b99d47dc4fd",
    ("square", "wolff"): "f78600f2248a74f1d8769e8898fe54ed",
    ("real graph", "swendsen-wang"): "ded54b4720e456b9fa0dc8c691c263b5",
    ("real graph", "wolff"): "28f45539e44194ffadd807e98a45d3b6",
}


@pytest.mark.parametrize(("name", "rule"), GOLDEN)
def test_layout_version_1_gives_the_frozen_spins(name, rule):
    spins = answer(name, rule).spins
    assert hashlib.sha256(spins.tobytes()).hexdigest()[:32] == GOLDEN[name, rule]


# What `sample` makes of it.


@pytest.mark.parametrize("rule", MOVES)
def test_run_records_the_move_and_resumes_to_the_same_bits(rule, tmp_path):
    options = {"dynamics": rule, "clusters": 3, "replicas": 2, "seed": 4, "initial": "up",
               "observe": ("energy", "improved_m2", "acceptance")}  # fmt: skip
    whole = sample(MODELS["odd square"], 0.4, sweeps=9, **options)
    sample(MODELS["odd square"], 0.4, sweeps=4, **options).save(tmp_path / "run")
    more = resume(tmp_path / "run", sweeps=5)
    assert whole.provenance["kernel"] == rule
    assert whole.settings.layout == "cluster-1"
    assert whole.settings.clusters == (3 if rule == "wolff" else 0)
    assert np.array_equal(more.spins, whole.spins)
    assert all(np.array_equal(more.series[name], whole.series[name]) for name in whole.series)


def test_wolff_improved_m2_is_the_share_of_spins_flipped_per_cluster():
    run = sample(lattice.square(6), 0.4, sweeps=30, dynamics="wolff", clusters=4, seed=2,
                 observe=("improved_m2", "acceptance"))  # fmt: skip
    assert np.array_equal(run.series["improved_m2"], run.series["acceptance"] / 4)


def test_initial_up_starts_with_all_spins_up():
    # at zero temperature the one cluster is the lattice
    run = sample(lattice.square(4), 1e6, sweeps=1, initial="up", seed=1, dynamics="wolff")
    assert np.all(run.spins == -1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "lane"}, "leave out layout='lane'"),
        ({"order": range(16)}, "leave out layout=None and order"),
        ({"clusters": 0}, "clusters must be a whole number >= 1, got 0"),
        ({"initial": "down"}, "'up' or None, got 'down'"),
        ({"first_replica": 1 << 21}, "must be at most 2097152"),
        ({"observe": "improved_m4"}, "improved_m4 needs all clusters"),
        ({"dynamics": "heat-bath", "observe": "improved_m2"}, "use dynamics='swendsen-wang'"),
    ],
)
def test_sample_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        sample(lattice.square(4), 0.4, **{"sweeps": 2, "dynamics": "wolff"} | options)


def test_fields_signs_and_schedules_are_refused():
    with pytest.raises(ValueError, match=r"without fields, got h\[0\] = 0.5"):
        sample(lattice.square(4, h=0.5), 0.4, dynamics="wolff")
    with pytest.raises(ValueError, match="improved_m2 needs couplings J >= 0, got -1"):
        sample(lattice.square(4, Jx=-1), 0.4, dynamics="wolff", observe="improved_m2")
    with pytest.raises(ValueError, match="anneal has no wolff"):
        anneal(lattice.square(4), dynamics="wolff")
    request = replace(trial_of("square", "wolff").request, kernel="scalar")
    with pytest.raises(ValueError, match="kernel 'scalar' does not fit"):
        cpu(request)
