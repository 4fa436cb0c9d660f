"""Conformance: every backend gives the reference's bits, for every model, layout and request.

A backend that `backend_names()` lists is tested unasked. Compared with `==`: spins, best states,
energies, magnetization, flips, projections and the energy after every sweep.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine import (
    CHAIN_127,
    FROZEN,
    NARROW,
    STAR,
    QuickReference,
    Trial,
    compared_backends,
    dense_graph,
    differing,
    graph,
    outcome,
    start,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import alone_faults, cut_faults, repeated_draws
from scipy import sparse

from isingnpu import IsingModel, anneal, disorder, lattice, sample
from isingnpu.backend import BackendUnavailable, backend_names, find_backend, get_backend
from isingnpu.backends.reference import ReferencePlan
from isingnpu.dynamics import get_dynamics

NAMES = compared_backends()
THREADS = {"cpu": (1, 2)}  # of all others, one


@pytest.fixture(params=NAMES)
def backend(request):
    """Each backend that can run here."""
    return get_backend(request.param)


@pytest.mark.parametrize("name", sorted({*backend_names()} - {"reference", *NAMES}))
def test_backend_is_compared_where_it_can_run(name):
    pytest.skip(f"{name}: {find_backend(name).unavailable()}")


def ramp(sweeps, last=1.5):
    return np.linspace(0.0, last, sweeps)


def columns(sweeps, replicas, seed=5):
    """A beta of its own for every sweep and replica, hot, cold and frozen."""
    betas = np.random.default_rng(seed).choice([0.0, 0.1, 0.4, 1.3, 1e6], (sweeps, replicas))
    return betas + np.arange(replicas) * 1e-3


def seam(shape, boundary="periodic"):
    """A hypercubic spin glass with fields, for layout `lattice`."""
    model = disorder.edwards_anderson(shape, seed=3, boundary=boundary)
    fields = np.random.default_rng(1).integers(-1, 2, model.n)
    return IsingModel(model.couplings, fields, geometry=model.geometry)


def diluted(model):
    """The model without every third of its bonds."""
    bonds = sparse.triu(model.csr).tocoo()
    kept = np.arange(bonds.nnz) % 3 > 0
    edges = bonds.row[kept], bonds.col[kept], bonds.data[kept]
    return IsingModel.from_edges(edges, model.n, geometry=model.geometry)


WIDE = graph(11, most=60, most_field=60, seed=2)
LARGEST_TABLE = IsingModel.from_edges([(0, 1, 1 << 13), (1, 2, 1 << 13), (2, 3, 3)], 5)

TRIALS = {
    "lane, 8-bit fields": Trial(graph(13), ramp(6)),
    "lane, one replica": Trial(graph(13), ramp(6), replicas=range(1)),
    "lane, replicas across groups": Trial(graph(13), ramp(5), replicas=range(61, 140)),
    "lane, few replicas far away": Trial(graph(13), ramp(5), replicas=range(1000, 1003)),
    "lane, last groups of a wide block": Trial(graph(7), ramp(4), replicas=range(3, 290)),
    "lane, 7 rounds": Trial(graph(13), ramp(5), rounds=7),
    "lane, largest seed": Trial(graph(13), ramp(5), seed=2**64 - 1),
    "lane, seed of one high word": Trial(graph(13), ramp(5), seed=1 << 63, replicas=range(2)),
    "lane, late sweeps": Trial(graph(9), ramp(5), first=2**31 - 6),
    "lane, permuted order": Trial(
        graph(13), ramp(5), order=np.random.default_rng(2).permutation(13)
    ),
    "lane, own betas": Trial(graph(13), columns(5, 21), replicas=range(30, 51)),
    "lane, own betas, few": Trial(graph(13), columns(5, 3), replicas=range(3)),
    "lane, quench": Trial(graph(13), np.full(5, 1e6)),
    "lane, infinite temperature": Trial(graph(13), np.zeros(4)),
    "lane, every sweep": Trial(graph(13), ramp(5), every=1),
    "lane, never sampled": Trial(graph(13), ramp(5), every=0),
    "lane, all of int8": Trial(STAR, ramp(4, 0.2), replicas=range(64, 75)),
    "lane, all of int8, few": Trial(STAR, ramp(4, 0.2), replicas=range(3)),
    "lane, large couplings in int8": Trial(CHAIN_127, ramp(6, 0.02), every=1),
    "lane, 16-bit fields": Trial(WIDE, ramp(5, 0.05)),
    "lane, largest table": Trial(LARGEST_TABLE, ramp(5, 2e-4)),
    "lane, 16-bit fixed point": Trial(FROZEN, ramp(5, 2e-4)),
    "lane, 32-bit fixed point": Trial(graph(12, real=True), ramp(5)),
    "lane, fixed point, few": Trial(graph(12, real=True), ramp(5), replicas=range(9, 11)),
    "lane, fixed point, own betas": Trial(graph(9, real=True), columns(4, 10), replicas=range(10)),
    "lane, fixed point, quench": Trial(graph(12, real=True), np.full(4, 1e6)),
    "lane, largest fixed point": Trial(NARROW, np.geomspace(1e-10, 1.0, 5)),
    "lane, largest fixed point, few": Trial(NARROW, ramp(4, 1e-8), replicas=range(2)),
    "lane, no couplings": Trial(IsingModel.from_edges([], 3, fields=[1, -2, 0]), ramp(5)),
    "lane, one site": Trial(IsingModel.from_edges([], 1, fields=[1]), ramp(5)),
    "lane, no site": Trial(IsingModel.from_edges([], 0), ramp(3)),
    "lane, no site, few": Trial(IsingModel.from_edges([], 0), ramp(3), replicas=range(2)),
    "lane, more sites than flip counts hold": Trial(lattice.chain(300), ramp(2, 0.1)),
    "lane, more sites than a tile": Trial(lattice.chain(300), ramp(2, 0.1), replicas=range(2)),
    "plane": Trial(graph(13), ramp(4), layout="plane", replicas=range(60, 75)),
    "plane, few": Trial(graph(13), ramp(4), layout="plane", replicas=range(62, 66)),
    "plane, one by one": Trial(graph(13), ramp(4), layout="plane", replicas=range(31, 34)),
    "plane, 7 rounds": Trial(graph(9), ramp(4), layout="plane", rounds=7),
    "plane, own betas": Trial(
        graph(9), columns(4, 70), layout="plane", replicas=range(70), seed=2**63
    ),
    "plane, 16-bit fields": Trial(WIDE, ramp(4, 0.05), layout="plane", replicas=range(70)),
    "plane, more than a block": Trial(
        graph(7), ramp(3), layout="plane", replicas=range(60, 573)
    ),
    "plane, permuted order": Trial(graph(9), ramp(3), layout="plane", order=range(8, -1, -1)),
    "dense, 8-bit": Trial(dense_graph(65, most=1, most_field=1), ramp(3, 0.3)),
    "dense, 16-bit": Trial(dense_graph(65), ramp(3, 0.1), replicas=range(30, 33)),
    "dense, fixed point": Trial(dense_graph(70, real=True), ramp(3, 0.1), replicas=range(2)),
    "dense, planes": Trial(dense_graph(64), ramp(3, 0.1), layout="plane", replicas=range(3)),
    "dense, own betas": Trial(dense_graph(64), columns(3, 3), replicas=range(3)),
    "lattice": Trial(lattice.square((4, 6)), ramp(4), layout="lattice", replicas=range(3)),
    "lattice, glass with fields": Trial(
        seam((4, 10)), ramp(4), layout="lattice", replicas=range(5, 8)
    ),
    "lattice, two words, masked tail": Trial(
        seam((2, 134)), ramp(3), layout="lattice", replicas=range(1)
    ),
    "lattice, three words, whole and masked": Trial(
        lattice.chain(262), ramp(3), layout="lattice", replicas=range(2)
    ),
    "lattice, cubic, open and antiperiodic": Trial(
        seam((4, 2, 6), ("open", "antiperiodic", "periodic")),
        ramp(3), layout="lattice", replicas=range(2),
    ),
    "lattice, 7 rounds, own betas": Trial(
        seam((4, 6)), columns(4, 4), layout="lattice", replicas=range(4), rounds=7
    ),
    "lattice, late sweeps, high replica": Trial(
        seam((4, 6)), ramp(3), layout="lattice", first=2**31 - 4,
        replicas=range(2**21 - 1, 2**21), seed=2**64 - 1,
    ),
    "lattice, triangular": Trial(
        lattice.triangular((6, 9)), ramp(3), layout="lattice", replicas=range(2)
    ),
    "lattice, honeycomb": Trial(
        lattice.honeycomb((3, 70)), ramp(3), layout="lattice", replicas=range(2)
    ),
    "lattice, kagome, antiperiodic": Trial(
        lattice.kagome((4, 5), boundary=("antiperiodic", "periodic")),
        ramp(3), layout="lattice", replicas=range(2),
    ),
    "lattice, diamond": Trial(
        lattice.diamond(2), ramp(3), layout="lattice", replicas=range(2)
    ),
    "lattice, bcc, open": Trial(
        lattice.bcc((2, 3, 5), boundary="open"), ramp(3), layout="lattice", replicas=range(2)
    ),
    "lattice, fcc": Trial(
        lattice.fcc((2, 2, 3)), ramp(3), layout="lattice", replicas=range(2)
    ),
    "lattice, kagome, open and diluted": Trial(
        diluted(lattice.kagome((3, 70), boundary="open")), ramp(3), layout="lattice",
        replicas=range(2),
    ),
    "lattice, four dimensions": Trial(
        lattice.hypercubic((2, 4, 2, 4)), ramp(3), layout="lattice", replicas=range(2)
    ),
    "lattice, anisotropic with a field": Trial(
        lattice.hypercubic((4, 6), J=(1, 2), h=1), ramp(3), layout="lattice", replicas=range(2)
    ),
}  # fmt: skip
RULES = ("metropolis", "heat-bath")
ANSWERS: dict[tuple[str, str], object] = {}


def reference_answer(name, rule):
    if (name, rule) not in ANSWERS:
        ANSWERS[name, rule] = outcome(QuickReference, replace(TRIALS[name], dynamics=rule))
    return ANSWERS[name, rule]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", TRIALS)
def test_backend_equals_reference_bit_for_bit(backend, name, rule):
    for threads in THREADS.get(backend.name, (1,)):
        trial = replace(TRIALS[name], dynamics=rule, threads=threads)
        assert differing(outcome(backend.plan, trial), reference_answer(name, rule)) == []


# No trial of layout lattice takes it unasked.
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "name", ["lattice, late sweeps, high replica", "lattice, triangular", "lattice, honeycomb"]
)
def test_scalar_kernel_equals_the_reference_on_lattices(name, rule):
    def scalar(request):
        return get_backend("cpu").plan(replace(request, kernel="scalar"))

    trial = replace(TRIALS[name], dynamics=rule)
    assert differing(outcome(scalar, trial), reference_answer(name, rule)) == []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("layout", ["lane", "plane", "lattice"])
def test_quick_reference_equals_the_reference(layout, rule):
    model = seam((2, 4)) if layout == "lattice" else graph(7)
    trial = Trial(model, columns(3, 3), layout, rule, range(15, 18))
    assert differing(outcome(QuickReference, trial), outcome(ReferencePlan, trial)) == []


def test_trials_run_every_kernel_of_the_cpu_backend():
    kernels = {get_backend("cpu").plan(trial.request).kernel for trial in TRIALS.values()}
    assert kernels >= {"lanes", "popcount", "dense", "scalar", "bitlattice"}


def test_trials_have_every_width_of_field_and_threshold():
    quantized = [trial.model.quantized for trial in TRIALS.values()]
    bounds = {q.bound for q in quantized}
    assert {127, 1 << 14, 32767} <= bounds
    assert any(127 < b < 1 << 14 for b in bounds)
    assert max(bounds) > 1 << 29
    assert {q.table for q in quantized} == {True, False}


@st.composite
def trials(draw):
    """Any request of up to 20 sites and 70 replicas."""
    real = draw(st.booleans())
    model = graph(
        draw(st.integers(1, 20)),
        most=draw(st.sampled_from([1, 3, 40])),
        share=draw(st.sampled_from([0.2, 0.7])),
        seed=draw(st.integers(0, 99)),
        real=real,
    )
    start, count = draw(st.integers(0, 200)), draw(st.sampled_from([1, 7, 8, 20, 70]))
    sweeps = draw(st.integers(1, 4))
    last = draw(st.sampled_from([0.01, 0.7, 1e6]))
    return Trial(
        model,
        columns(sweeps, count) if draw(st.booleans()) else ramp(sweeps, last),
        layout=draw(st.sampled_from(["lane"] if real else ["lane", "plane"])),
        dynamics=draw(st.sampled_from(RULES)),
        replicas=range(start, start + count),
        seed=draw(st.integers(0, 2**64 - 1)),
        rounds=draw(st.sampled_from([7, 10])),
        threads=draw(st.sampled_from([1, 2])),
        order=draw(st.permutations(range(model.n))),
        every=draw(st.integers(0, 3)),
        first=draw(st.integers(0, 2**31 - 8)),
    )


@settings(max_examples=60)
@given(trial=trials())
def test_any_request_equals_the_reference(trial):
    expected = outcome(QuickReference, trial)
    for name in NAMES:
        assert differing(outcome(get_backend(name).plan, trial), expected) == []


@settings(max_examples=25)
@given(trial=trials(), cuts=st.sets(st.integers(1, 3)))
def test_cuts_between_calls_do_not_change_the_result(trial, cuts):
    ends = sorted(cut for cut in cuts if cut < len(trial.betas))
    for make_plan in (QuickReference, *(get_backend(name).plan for name in NAMES)):
        assert cut_faults(make_plan, trial, ends) == []


@pytest.mark.parametrize(
    "name",
    ["lane, replicas across groups", "lane, fixed point, own betas", "plane", "dense, 16-bit",
     "plane, own betas", "lane, own betas", "lattice, 7 rounds, own betas"],
)  # fmt: skip
def test_read_alone_equals_the_same_read_of_a_batch(backend, name):
    assert alone_faults(backend.plan, TRIALS[name]) == []


@pytest.mark.parametrize("name", ["lane, 16-bit fields", "lane, 32-bit fixed point", "plane"])
def test_best_has_the_lowest_energy_of_the_path(backend, name):
    trial = replace(TRIALS[name], every=1)
    seen, quantum = outcome(backend.plan, trial), trial.model.quantized.quantum
    first = trial.model.energy(start(trial).spins) / quantum
    lowest = np.minimum(seen.path.min(axis=1), first)
    # a real coupling is up to half a quantum from its integer
    slack = 0 if trial.model.is_integer else trial.model.n_edges
    assert np.all(np.abs(trial.model.energy(seen.best) / quantum - lowest) <= slack)
    assert np.all(np.abs(trial.model.energy(seen.spins) / quantum - seen.path[:, -1]) <= slack)
    assert np.array_equal(seen.energy, seen.path)


@pytest.mark.parametrize("layout", ["lane", "plane", "lattice"])
def test_unlike_seeds_sweeps_and_replicas_draw_unlike_numbers(backend, layout):
    assert repeated_draws(backend.plan, layout) == []


def test_sites_of_one_word_draw_unlike_bits(backend):
    trial = Trial(lattice.chain(256), np.zeros(1), "lattice", "heat-bath", range(1))
    spins = outcome(backend.plan, trial).spins[0]
    halves = {bytes(spins[start : start + 16]) for start in range(0, 256, 16)}
    assert len(halves) == 16


def test_attempts_and_flips_are_those_of_the_reads_asked_for(backend):
    trial = TRIALS["lane, replicas across groups"]
    counts = []
    for plan in (backend.plan(trial.request), QuickReference(trial.request)):
        plan.load(start(trial))
        counts.append(plan.sweep(trial.betas, first=0).counts)
    assert counts[0].attempted == len(trial.betas) * len(trial.replicas) * trial.model.n
    assert counts[0].flips == counts[1].flips


# The verbs above the plans.


def test_backends_agree_through_anneal_and_sample(backend):
    model = seam((4, 4))
    for name in ("lane", "plane", "lattice"):
        options = {"replicas": 2, "seed": 5, "layout": name}
        runs = [anneal(model, sweeps=6, backend=b, **options) for b in ("reference", backend.name)]
        assert np.array_equal(runs[0].spins, runs[1].spins)
        runs = [
            sample(
                model, 0.3, sweeps=4, observe=("energy", "overlap", "work"), backend=b, **options
            )
            for b in ("reference", backend.name)
        ]
        for series in runs[0].series:
            assert np.array_equal(runs[0].series[series], runs[1].series[series])


def test_unknown_backend_names_those_that_exist():
    with pytest.raises(ValueError, match=r"unknown backend 'cpx', allowed are auto, reference"):
        get_backend("cpx")


def test_backend_that_cannot_run_says_why(monkeypatch):
    monkeypatch.setattr(type(get_backend("cpu")), "unavailable", lambda self: "no such chip")
    with pytest.raises(BackendUnavailable, match="'cpu' is not available: no such chip") as error:
        get_backend("cpu")
    assert (error.value.name, error.value.reason) == ("cpu", "no such chip")


def test_auto_passes_over_a_device_that_lacks_the_dynamics(monkeypatch):
    monkeypatch.setattr(type(find_backend("cuda")), "unavailable", lambda self: None)
    assert get_backend("auto").name == "cuda"
    assert get_backend("auto", get_dynamics("swendsen-wang")).name == "cuda"
    assert get_backend("auto", get_dynamics("wolff")).name == "cpu"


def test_auto_takes_a_backend_that_can_run_and_records_it():
    run = sample(lattice.chain(4), 0.1, sweeps=2, seed=1)
    assert run.settings.backend in NAMES
    assert run.provenance["backend"] == run.settings.backend
