"""The bit-plane graph kernel: bits of the reference, for every form of its code."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine import QuickReference, Trial, differing, outcome, start
from laws import alone_faults, close_faults, cut_faults

from isingnpu import IsingModel, lattice
from isingnpu.backend import get_backend, threshold_rows
from isingnpu.dynamics import DYNAMICS, thresholds

get_backend("cpu")  # backends lie beside the package in a checkout: find them first

from isingnpu.backends.cpu import planes, planes_limits, planes_sweep  # noqa: E402
from isingnpu.backends.cpu.planes import PlanePlan  # noqa: E402
from isingnpu.backends.cpu.planes_code import EARLY  # noqa: E402
from isingnpu.backends.cpu.planes_graph import BATCH  # noqa: E402
from isingnpu.backends.limits import leaves, needed  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
RULES = ("metropolis", "heat-bath")


def columns(sweeps, replicas):
    """A beta of its own for every sweep and replica, hot, cold and frozen."""
    return np.random.default_rng(5).choice([0.0, 0.1, 0.4, 1.3, 1e6], (sweeps, replicas))


def plane(model, betas, dynamics="metropolis", replicas=range(64), **options):
    return Trial(model, betas, "plane", dynamics, replicas, **options)


CUBIC = IsingModel.from_edges(  # three neighbours each
    [(0, 1, 1), (0, 2, -1), (0, 3, 1), (1, 2, 1), (1, 3, -1), (2, 3, -1)], 4
)
# Degrees and sums of both parities, three digits, fields; the last two sites have no neighbours.
MANY = IsingModel.from_edges(
    [(0, 1, 2), (0, 2, -1), (0, 3, 2), (0, 4, -1), (1, 2, 1), (2, 3, -4), (3, 4, 1)],
    7, fields=[1, 0, -2, 0, 1, 3, 0],
)  # fmt: skip
HUB = IsingModel.from_edges([(0, k, 1 - 2 * (k % 3 == 0)) for k in range(1, 69)], 69)
# Everything from free to frozen spins: thresholds of all classes, then of ever fewer.
ALL = np.concatenate([[0.0], np.geomspace(0.02, 4, 16), [1e300]])
COLD = [1.0, 1.5, 1e300]  # narrow trees of thresholds
OWN = columns(6, 70)
WIDE = plane(lattice.square(4), np.linspace(0, 0.3, 25), replicas=range(3, 700), rounds=7)

TRIALS = {
    "blocks of 8 and 4 words": WIDE,
    "8 words": replace(WIDE, replicas=range(3, 500)),
    "even degree, heat bath": plane(lattice.square(4), [0.4, 0.45], "heat-bath", range(130, 190)),
    "odd degree": plane(CUBIC, [0.0, 0.1, 0.2], replicas=range(60, 75)),
    "odd degree, heat bath, 7 rounds": plane(
        CUBIC, [0.0, 0.3], "heat-bath", range(1000, 1003), rounds=7
    ),
    "many values": plane(MANY, ALL, replicas=range(60, 75)),
    "many values, heat bath": plane(MANY, COLD, "heat-bath", range(9), seed=2**64 - 1),
    "own betas": plane(MANY, OWN, replicas=range(70)),
    "own betas, heat bath": plane(MANY, OWN, "heat-bath", range(58, 128)),
    "blocks of own betas": plane(MANY, columns(3, 200), replicas=range(40, 240), threads=2),
    "no samples": plane(MANY, OWN, replicas=range(70), every=0),
    "no coupling": plane(IsingModel.from_edges([], 3), ALL, replicas=range(9), every=1),
    "no site": plane(IsingModel.from_edges([], 0), ALL, replicas=range(9)),
    "hub, late sweeps": plane(HUB, [0.0, 0.02], first=2**31 - 4, every=0),
    "permuted order": plane(
        MANY, ALL, replicas=range(60, 75), order=np.random.default_rng(2).permutation(7)
    ),
}  # fmt: skip
FAR = ("odd degree", "hub, late sweeps", "even degree, heat bath")  # as if spins lay far away
ANSWERS: dict[str, object] = {}


def reference_answer(name):
    if name not in ANSWERS:
        ANSWERS[name] = outcome(QuickReference, TRIALS[name])
    return ANSWERS[name]


@pytest.mark.parametrize("name", TRIALS)
def test_bits_are_those_of_the_reference(name, monkeypatch):
    monkeypatch.setattr(planes, "CACHE", 0 if name in FAR else planes.CACHE)
    assert differing(outcome(PlanePlan, TRIALS[name]), reference_answer(name)) == []


def test_blocks_of_two_threads_give_the_same_bits():
    trial = replace(TRIALS["8 words"], threads=2)
    assert [len(block) for block in PlanePlan(trial.request).blocks.ranges] == [256, 256]
    assert differing(outcome(PlanePlan, trial), reference_answer("8 words")) == []


@pytest.mark.parametrize(
    ("replicas", "threads", "words"),
    [
        (range(1), 1, [2]),
        (range(63, 193), 1, [4]),
        (range(64, 193), 1, [4]),
        (range(257), 1, [8]),
        (range(513), 1, [8, 2]),
        (range(256), 3, [2, 2]),
        (range(700), 3, [4, 4, 4]),
    ],
)
def test_blocks_are_two_four_or_eight_words_that_hold_the_reads(replicas, threads, words):
    request = plane(CUBIC, [0.1], replicas=replicas, threads=threads).request
    ranges = PlanePlan(request).blocks.ranges
    assert [len(block) // 64 for block in ranges] == words
    assert ranges[0].start == replicas.start // 64 * 64
    assert [a.stop for a in ranges[:-1]] == [b.start for b in ranges[1:]]


@pytest.mark.parametrize(("sites", "far"), [(8192, False), (8193, True)])
def test_spins_of_512_reads_lie_far_beyond_half_a_megabyte(sites, far):
    model = IsingModel.from_edges([(0, 1, 1)], sites)
    plan = PlanePlan(plane(model, [0.1], replicas=range(512)).request)
    visit, _ = plan._configurations(8, (1, 1, 1, 1), own=False)
    assert visit.far is far
    assert len(plan._entries(8)) == len(plan.graph.entries) + EARLY


def forms(trial):
    """Words, parities, unrolled lists, own betas and classes per call of what a trial compiles."""
    plan = PlanePlan(trial.request)
    betas = np.asarray(trial.betas, float)
    distinct, rows = threshold_rows(betas, len(trial.replicas))
    limits = thresholds(trial.request.dynamics, distinct, trial.model.quantized)
    for block in plan.blocks.ranges:
        columns = plan.blocks.columns(rows, block)
        for _, sizes, _, _ in plan._segments(columns, limits):
            own = columns.shape[1] > 1
            yield plan._configurations(len(block) // 64, sizes, own)[0]


def test_trials_have_every_form():
    found = {name: list(forms(trial)) for name, trial in TRIALS.items()}
    seen = [form for some in found.values() for form in some]
    for heat_bath in (False, True):
        some = [form for form in seen if form.heat_bath is heat_bath]
        assert {form.parity for form in some} == {0, 1, 2}
        assert {bool(form.fixed) for form in some} == {False, True}
        assert {form.own for form in some} == {False, True}
        assert {form.rounds for form in some} == {7, 10}
    assert {form.words for form in seen} == {2, 4, 8}
    assert max(form.classes for form in seen) > 33
    steps = planes_limits.ladder(found["many values"][0].classes, planes.CALLS)
    assert {form.sizes for form in found["many values"]} == set(steps)
    cold = found["many values, heat bath"]
    assert max(form.sizes[0] for form in cold) < cold[0].classes


@pytest.mark.parametrize("name", ["own betas", "own betas, heat bath"])
def test_all_bits_of_close_thresholds_are_read(name):
    assert close_faults(PlanePlan, TRIALS[name], planes) == []


@pytest.mark.parametrize("name", ["many values", "own betas"])
def test_cuts_between_calls_do_not_change_the_result(name):
    assert cut_faults(PlanePlan, TRIALS[name], [1, 3]) == []


def test_segments_of_sweeps_do_not_change_the_result(monkeypatch):
    monkeypatch.setattr(planes, "SEGMENT", 2)  # of 6 sweeps of one form
    assert differing(outcome(PlanePlan, TRIALS["own betas"]), reference_answer("own betas")) == []


def test_read_alone_equals_the_same_read_of_a_batch():
    assert alone_faults(PlanePlan, TRIALS["own betas"]) == []


def test_bits_are_the_same_when_most_words_stay_undecided(monkeypatch):
    monkeypatch.setattr(planes, "CALLS", 2)
    model = lattice.chain(3 * BATCH)  # batches filled to their limit
    order = [*range(0, model.n, 2), *range(1, model.n, 2)]
    trial = plane(model, np.linspace(0, 0.5, 4), "heat-bath", range(500), order=order)
    plan = PlanePlan(trial.request)
    plan.load(start(trial))
    words = plan.sweep(trial.betas, first=0).counts.random_words
    assert words > 2 * 4 * 2 * 4 * model.n * 8  # as many again for words of the queue
    assert differing(outcome(PlanePlan, trial), outcome(QuickReference, trial)) == []


# Sums that outgrow the counters of one bit per replica.


def test_flips_of_free_spins_are_all_visits():
    model = IsingModel.from_edges([], 9000)
    trial = plane(model, np.zeros(8), replicas=range(3))
    assert model.n * 8 > planes_sweep.COUNTED
    plan = PlanePlan(trial.request)
    plan.load(start(trial))
    seen = plan.sweep(trial.betas, first=0, every=8)
    assert np.array_equal(seen.flips, np.full((3, 1), 8 * model.n))


def test_energies_and_magnetizations_of_many_sites_are_exact():
    model = lattice.chain(planes_sweep.COUNTED + 4000, h=1)
    trial = plane(model, np.full(1, 0.4), replicas=range(3))
    plan = PlanePlan(trial.request)
    plan.load(start(trial))
    seen = plan.sweep(trial.betas, first=0, every=1)
    spins = plan.state().spins
    assert np.array_equal(seen.energy[:, 0], model.energy(spins) / model.quantized.quantum)
    assert np.array_equal(seen.magnetization[:, 0], spins.sum(axis=1, dtype=np.int64))


# Tables of thresholds.


def whole(bits):
    """The integers whose planes, most significant first, are along axis 0."""
    return sum(int(2 ** (63 - k)) * bits[k].astype(object) for k in range(64))


@pytest.mark.parametrize("model", [CUBIC, MANY], ids=["odd degree", "many values"])
@pytest.mark.parametrize("rule", RULES)
def test_masks_hold_the_thresholds(model, rule):
    limits = thresholds(DYNAMICS[rule], ALL, model.quantized)
    bound = limits.bound
    found = leaves(limits, 2 * (bound // 2 + 1))
    shared = planes_limits.masks(found)
    assert set(np.unique(shared)) <= {0, 2**64 - 1}
    rows = np.random.default_rng(1).integers(0, len(ALL), (1, 128))
    own = planes_limits.own_masks(found, rows)[0]
    lanes = own[..., None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    own_integers = whole(lanes)  # (leaves, sides, words, 64)
    for row, table in enumerate(limits.table):
        integers = whole(shared[row] & np.uint64(1))  # (leaves, sides)
        for leaf in range(bound):
            if rule == "metropolis":
                values = {0: leaf + 1}
            else:
                values = {0: leaf + bound, 1: bound - leaf - 2 * (leaf % 2 == 0)}
            for side, value in values.items():
                if 0 <= value < len(table):
                    assert integers[leaf, side] == table[value]
                    same = own_integers[leaf, side].ravel()[rows[0] == row]
                    assert np.all(same == table[value])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("parities", [(0,), (1,), (0, 1)])
def test_classes_beyond_the_needed_ones_share_their_bit(rule, parities):
    limits = thresholds(DYNAMICS[rule], ALL, MANY.quantized)
    classes = limits.bound // 2 + 1
    bits = planes_limits.masks(leaves(limits, 2 * classes)) != 0
    beyond = np.array([rule == "heat-bath", False])[: bits.shape[-1]]
    need = needed(limits, classes, parities, 12)
    for row, p in np.ndindex(need.shape):
        other = np.zeros(classes, bool)  # in this plane or one before it
        for parity in parities:
            other |= np.any(bits[row, : p + 1, parity::2] != beyond, axis=(0, 2))
        assert need[row, p] == max(np.flatnonzero(other) + 1, default=0)


@pytest.mark.parametrize("classes", [1, 2, 3, 10, 64])
def test_last_step_of_the_ladder_looks_at_every_class(classes):
    steps = planes_limits.ladder(classes, 6)
    assert steps[-1] == (classes,) * 6
    assert all(len(sizes) == 6 and {*sizes} <= {*range(1, classes + 1)} for sizes in steps)


# What the kernel serves, and on which chips.


def test_bound_beyond_the_limit_is_an_obstacle():
    fits, beyond = (
        IsingModel.from_edges([(0, 1, planes.MAX_BOUND - 1)], 2, fields=fields)
        for fields in ([0, 1], [1, 2])
    )
    assert fits.quantized.bound == planes.MAX_BOUND
    assert PlanePlan.obstacle(plane(fits, ALL).request) is None
    assert "is 128 quanta, at most 127 fit" in PlanePlan.obstacle(plane(beyond, ALL).request)
    assert "no layout 'lane'" in PlanePlan.obstacle(Trial(fits, ALL).request)


PORTABLE = """
import sys
sys.path.insert(0, "tests")
import test_planes
from engine import QuickReference, differing, outcome
from isingnpu import lattice
from isingnpu.backends.cpu import lanes_limits
assert not lanes_limits.has_feature("avx512f")
trial = test_planes.plane(lattice.chain(6), test_planes.OWN[:, :5], replicas=range(66, 71))
assert differing(outcome(test_planes.PlanePlan, trial), outcome(QuickReference, trial)) == []
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
