"""Layout shared: bits of the reference, reads that meet and stay together, and its warning."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine import QuickReference, Trial, differing, graph, outcome
from laws import close_faults, cut_faults
from scipy import stats

from isingnpu import IsingModel, anneal, lattice, sample
from isingnpu.annealing import SharedRandomness
from isingnpu.backend import State, get_backend
from isingnpu.dynamics import thresholds
from isingnpu.layout import choose_layout
from isingnpu.rng import initial_spins

get_backend("cpu")  # backends lie beside the package in a checkout: find them first

from isingnpu.backends.cpu import choose_kernel, planes  # noqa: E402
from isingnpu.backends.cpu.planes_sweep import COUNTED  # noqa: E402
from isingnpu.backends.cpu.shared import SharedPlan, falling_thresholds  # noqa: E402
from isingnpu.backends.cpu.shared_sweep import TILE, limit_tile  # noqa: E402
from isingnpu.backends.reference import ReferencePlan  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
RULES = ("metropolis", "heat-bath")
RAMP = np.concatenate([[0.0], np.geomspace(0.02, 4, 6), [1e300]])
OWN = np.random.default_rng(5).choice([0.0, 0.1, 0.4, 1.3, 1e6], (6, 20))
MANY = graph(13)  # sums of both parities, couplings of two digits, fields
LONELY = IsingModel.from_edges([(0, 1, 2), (1, 2, -1)], 6, fields=[0, 0, 0, 3, 0, 1])
HEAVY = IsingModel.from_edges([(0, 1, 9000), (1, 2, 7000), (2, 3, -1)], 4)  # bound near 2^14


def copies(model, number):
    """Copies side by side: more sites, the same sums."""
    first = model.n * np.arange(number)[:, None]
    terms = model.terms
    i, j = ((first + ends).ravel() for ends in (terms.i, terms.j))
    edges = (i, j, np.tile(terms.couplings, number))
    return IsingModel.from_edges(edges, number * model.n, fields=np.tile(model.fields, number))


def trial(model, betas, dynamics="metropolis", replicas=range(64), **options):
    return Trial(model, betas, "shared", dynamics, replicas, **options)


TRIALS = {
    f"{name}, {rule}": replace(made, dynamics=rule)
    for name, made in {
        "fields and many values": trial(MANY, RAMP, replicas=range(70, 90)),
        "8 words, 7 rounds": trial(lattice.square(4), RAMP, replicas=range(3, 500), rounds=7),
        "own betas": trial(MANY, OWN, replicas=range(1000, 1020)),
        "permuted order": trial(MANY, RAMP, order=np.random.default_rng(2).permutation(13)),
    }.items()
    for rule in RULES
} | {
    "zero degrees": trial(LONELY, [0.0, 0.3], replicas=range(9), every=3),
    "largest sums": trial(HEAVY, [0.0, 1e-4, 3e-4], "heat-bath", range(9), first=2**31 - 4),
    "more sites than a tile": trial(copies(MANY, 1 + 2 * TILE // MANY.n), RAMP, replicas=range(9)),
    "no site": trial(IsingModel.from_edges([], 0), [0.3], replicas=range(9)),
}
FAR = ("zero degrees", "8 words, 7 rounds, heat-bath")  # as if spins lay far away


@pytest.mark.parametrize("name", TRIALS)
def test_bits_are_those_of_the_reference(name, monkeypatch):
    monkeypatch.setattr(planes, "CACHE", 0 if name in FAR else planes.CACHE)
    expected = outcome(QuickReference, TRIALS[name])
    assert differing(outcome(SharedPlan, TRIALS[name]), expected) == []


def test_the_quick_reference_draws_as_the_slow_one():
    small = trial(MANY, RAMP, replicas=range(64, 70))
    assert differing(outcome(QuickReference, small), outcome(ReferencePlan, small)) == []


def test_two_threads_give_the_same_bits():
    one = TRIALS["8 words, 7 rounds, metropolis"]
    two = replace(one, threads=2)
    assert SharedPlan(one.request).blocks.ranges != SharedPlan(two.request).blocks.ranges
    assert differing(outcome(SharedPlan, two), outcome(SharedPlan, one)) == []


@pytest.mark.parametrize("rule", RULES)
def test_all_bits_of_close_thresholds_are_read(rule):
    assert close_faults(SharedPlan, TRIALS[f"own betas, {rule}"], planes) == []


@pytest.mark.parametrize("rule", RULES)
def test_cuts_and_other_plans_do_not_change_the_bits(rule):
    assert cut_faults(SharedPlan, TRIALS[f"fields and many values, {rule}"], (1, 4)) == []


def test_flips_of_free_spins_are_all_visits():
    model = lattice.chain(9000)
    plan = SharedPlan(trial(model, [0.0], replicas=range(3)).request)
    assert model.n * 8 > COUNTED
    plan.load(State.at(initial_spins(range(3), model.n, 1)))
    seen = plan.sweep(np.zeros(8), first=0, every=8)
    assert np.array_equal(seen.flips, np.full((3, 1), 8 * model.n))
    assert seen.counts.random_words == 4 * 8 * model.n  # one call a visit of all reads


@pytest.mark.parametrize("make_plan", [QuickReference, SharedPlan])
def test_replicas_that_start_equal_stay_equal(make_plan):
    request = trial(MANY, RAMP, replicas=range(70, 110)).request
    first = initial_spins([7], MANY.n, 1)
    plan = make_plan(request)
    plan.load(State.at(np.repeat(first, 40, axis=0)))
    path = plan.sweep(np.full(20, 0.2), first=0, track=True).path
    assert np.all(plan.state().spins == plan.state().spins[0])
    assert len(np.unique(path[0])) > 1
    assert np.all(path == path[0])


def test_heat_bath_replicas_of_a_ferromagnet_keep_their_order():
    """With one r for both, s <= s' at all sites stays so (Propp, Wilson 1996)."""
    model = lattice.square(6)
    lower = initial_spins(range(32), model.n, 1)
    upper = np.maximum(lower, initial_spins(range(32, 64), model.n, 1))
    plan = SharedPlan(trial(model, [0.3], "heat-bath", range(64)).request)
    plan.load(State.at(np.concatenate([lower, upper])))
    plan.sweep(np.full(3, 0.3), first=0)
    spins = plan.state().spins
    assert np.all(spins[:32] <= spins[32:])
    assert np.any(spins[:32] < spins[32:])


SEEDS, SWEEPS = 1500, 12


@pytest.mark.statistical(alpha=1e-6)
@pytest.mark.parametrize("rule", RULES)
def test_one_replica_of_each_seed_has_the_law_of_the_model(rule):
    """Counts of the states at the end of independent runs against exp(-beta E), chi-square."""
    model, beta = graph(4, most=2, most_field=1, share=1.0, seed=3), 0.25
    made = trial(model, np.full(SWEEPS, beta), rule, range(1), every=0).request
    last = np.empty((SEEDS, model.n), np.int64)
    for seed in range(SEEDS):
        plan = SharedPlan(replace(made, seed=seed))
        plan.load(State.at(initial_spins([0], model.n, seed)))
        plan.sweep(np.full(SWEEPS, beta), first=0)
        last[seed] = plan.state().spins[0]
    states = 1 - 2 * (np.arange(16)[:, None] >> np.arange(4) & 1)
    weight = np.exp(-beta * np.array([model.energy(s) for s in states]))
    found = np.bincount((last < 0) @ (1 << np.arange(4)), minlength=16)
    assert stats.chisquare(found, SEEDS * weight / weight.sum()).pvalue > 1e-6


CALLS = {
    "anneal": lambda **options: anneal(MANY, sweeps=2, replicas=3, seed=1, **options),
    "sample": lambda **options: sample(MANY, 0.3, sweeps=2, replicas=3, seed=1, **options),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_shared_randomness_is_warned_of(call, backend):
    with pytest.warns(SharedRandomness, match="average over seeds") as caught:
        run = CALLS[call](layout="shared", backend=backend)
    assert len(caught) == 1
    assert run.settings.layout == "shared-1"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("layout", [None, "lane", "plane"])
def test_independent_reads_are_not_warned_of(call, layout):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CALLS[call](layout=layout, backend="reference")


@pytest.mark.parametrize("reads", [1, 16, 128, 100_000])
@pytest.mark.parametrize("model", [MANY, lattice.square(64), graph(9, real=True)])
def test_no_rule_picks_shared(model, reads):
    assert choose_layout(model, reads).name != "shared"


def test_models_without_a_threshold_table_are_refused():
    with pytest.raises(ValueError, match="layout 'shared' needs couplings that are small"):
        choose_layout(graph(6, real=True), 1, "shared")


def test_no_other_kernel_takes_the_layout():
    request = trial(MANY, RAMP).request
    assert choose_kernel(request) == "shared"
    for kernel in ("scalar", "dense", "lanes", "planes", "popcount", "bitlattice"):
        with pytest.raises(ValueError, match=f"kernel '{kernel}' does not fit"):
            choose_kernel(replace(request, kernel=kernel))
    with pytest.raises(ValueError, match="it has no layout 'lane'"):
        choose_kernel(replace(trial(MANY, RAMP).request, kernel="shared",
                              layout=choose_layout(MANY, 1, "lane")))  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_limits_decide_as_the_thresholds_do(rule):
    """For every sum S and count X, with r on either side of each threshold and equal to it."""
    made = trial(MANY, [0.3], rule).request
    limits = thresholds(made.dynamics, [0.0, 0.3, 1e300], MANY.quantized)
    table, bound = limits.table[1], limits.bound
    below, above = table - np.minimum(table, np.uint64(1)), np.maximum(table, table + np.uint64(1))
    drawn = np.unique(np.concatenate([below, table, above, [np.uint64(0)]]))
    for total in range(bound + 1):
        found = np.zeros((len(drawn), 1, 2), np.int64)
        limit_tile(
            SharedPlan(made)._configuration(2), found, drawn, np.full(len(drawn), total),
            falling_thresholds(limits), np.array([1]), bound,
        )  # fmt: skip
        assert np.all((found >= 0) & (found <= total + 1))
        for x in range(total + 1):
            h = 2 * x - total
            if rule == "heat-bath":
                assert np.array_equal(x >= found[:, 0, 1], drawn < table[h + bound])
            else:
                stays = (h > 0) & (drawn >= table[max(h, 0)])
                rises = (h >= 0) | (drawn < table[max(-h, 0)])
                assert np.array_equal(x >= found[:, 0, 0], stays)
                assert np.array_equal(x >= found[:, 0, 1], rises)


def test_thresholds_that_rise_are_refused():
    """Bisection needs them to fall, which rounding could break for betas close to 0."""
    made = trial(MANY, [0.3])
    limits = thresholds(made.request.dynamics, [0.0, 0.3], MANY.quantized)
    falling_thresholds(limits)
    limits.table[1, 3] = limits.table[1, 2] + np.uint64(1)
    with pytest.raises(ValueError, match=r"of beta number 2 .* is followed by .* take beta = 0"):
        falling_thresholds(limits)


PORTABLE = """
import sys
sys.path.insert(0, "tests")
import test_shared
from engine import QuickReference, differing, outcome
from isingnpu.backends.cpu import lanes_limits
assert not lanes_limits.has_feature("avx512f")
trial = test_shared.TRIALS["8 words, 7 rounds, metropolis"]
assert differing(outcome(test_shared.SharedPlan, trial), outcome(QuickReference, trial)) == []
"""


@pytest.mark.skipif(
    not (sys.platform == "linux" and os.uname().machine == "x86_64"), reason="names an x86 chip"
)
def test_bits_are_the_same_without_avx512(tmp_path):
    chip = {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    subprocess.run(
        [sys.executable, "-c", PORTABLE], cwd=ROOT, env={**os.environ, **chip}, check=True
    )
