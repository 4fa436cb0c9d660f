"""The dimod sampler: dimod's own conformance, and equality with `anneal` bit for bit."""

# mypy: disable-error-code="no-untyped-call"
# dimod annotates a part of its functions

from __future__ import annotations

import inspect
import json
import time
import unittest
from typing import Any

import dimod
import networkx as nx
import numpy as np
import pytest
from dimod.core.initialized import Initialized
from scipy import stats

from isingnpu.annealing import anneal
from isingnpu.dimod_sampler import IsingSampler
from isingnpu.layout import PLANE_READS
from isingnpu.model import IsingModel
from isingnpu.rng import initial_spins
from isingnpu.schedule import default_schedule

SAMPLER: Any = IsingSampler()
BIASES = {
    "integer": lambda rng, size: rng.integers(-3, 4, size).astype(float),
    "dyadic": lambda rng, size: rng.integers(-64, 65, size) / 32,
    "generic": lambda rng, size: rng.normal(size=size),
}


def glass(n: int, kind: str = "integer", vartype: str = "SPIN", seed: int = 0) -> Any:
    """A random model on a 4-regular graph, labels of three types, some biases zero."""
    rng = np.random.default_rng(seed)
    names = [(k, str(k), ("t", k))[k % 3] for k in range(n)]
    edges = list(nx.random_regular_graph(4, n, seed=seed).edges)
    couplings = BIASES[kind](rng, len(edges))
    fields = BIASES[kind](rng, n) * rng.integers(0, 2, n)
    return dimod.BinaryQuadraticModel(
        dict(zip(names, fields, strict=True)),
        {(names[i], names[j]): value for (i, j), value in zip(edges, couplings, strict=True)},
        1.5,
        vartype,
    )


def spins(sampleset: Any, order: Any = None) -> Any:
    """(reads, sites) samples as -1, +1, columns in the order given or the sample set's own."""
    names = list(sampleset.variables)
    columns = [names.index(name) for name in order or names]
    return sampleset.change_vartype("SPIN", inplace=False).record.sample[:, columns]


# dimod's conformance.


@dimod.testing.load_sampler_bqm_tests(IsingSampler)
class TestSmallModels(unittest.TestCase):
    """Empty, one, two and three variables, both vartypes, all of dimod's model classes."""


def test_sampler_has_the_interface_of_dimod() -> None:
    dimod.testing.assert_sampler_api(SAMPLER)
    assert isinstance(SAMPLER, Initialized)


def test_parameters_are_the_keywords_of_sample_and_name_existing_properties() -> None:
    signature = inspect.signature(IsingSampler.sample).parameters
    assert list(SAMPLER.parameters) == [*signature][2:-1]  # without self, bqm and **kwargs
    named = {name for names in SAMPLER.parameters.values() for name in names}
    assert named == set(SAMPLER.properties)


def test_keywords_of_dwave_samplers_are_accepted() -> None:
    peer = pytest.importorskip("dwave.samplers").SimulatedAnnealingSampler()
    assert set(peer.parameters) - set(SAMPLER.parameters) == {"randomize_order"}


def test_unknown_keyword_is_reported() -> None:
    with pytest.warns(dimod.exceptions.SamplerUnknownArgWarning, match="'num_read'"):
        SAMPLER.sample(glass(6), num_read=3)


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
@pytest.mark.parametrize("kind", BIASES)
def test_energies_vartype_and_labels_are_the_callers(kind: str, vartype: str) -> None:
    bqm = glass(20, kind, vartype)
    sampleset = SAMPLER.sample(bqm, num_reads=5, num_sweeps=10)
    dimod.testing.assert_sampleset_energies(sampleset, bqm, precision=12)
    assert sampleset.vartype is bqm.vartype
    assert list(sampleset.variables) == list(bqm.variables)
    assert sampleset.record.num_occurrences.tolist() == [1] * 5


# The samples are those of `anneal`, in read order.

GLASS = IsingModel.from_bqm(glass(40))
GEOMETRIC = {"beta_schedule_type": "geometric"}
LINEAR = {"beta_schedule_type": "linear"}
CUSTOM = {"beta_schedule_type": "custom"}
TWICE = {"num_sweeps_per_beta": 2}
SCHEDULES: list[tuple[dict[str, Any], Any]] = [
    ({}, default_schedule(GLASS, 1000).betas),
    ({"num_sweeps": 30}, default_schedule(GLASS, 30).betas),
    ({"num_sweeps": 30, **GEOMETRIC}, default_schedule(GLASS, 30, shape="geometric").betas),
    ({"num_sweeps": 9, "beta_range": (0.1, 0.5)}, 1 / np.linspace(10, 2, 9)),
    ({"num_sweeps": 9, "beta_range": [0.0, 0.5], **LINEAR}, np.linspace(0, 0.5, 9)),
    (
        {"num_sweeps": 8, "beta_range": (0.1, 0.8), **TWICE, **GEOMETRIC},
        np.repeat([0.1, 0.2, 0.4, 0.8], 2),
    ),
    ({"num_sweeps": 2, "beta_range": (0.1, 0.5), **TWICE}, [0.5, 0.5]),
    ({"num_sweeps": 4, "beta_schedule": [0.3, 0.1], **TWICE}, [0.3, 0.3, 0.1, 0.1]),
    ({"beta_schedule": (0.3, 0.1), **CUSTOM}, [0.3, 0.1]),
]


@pytest.mark.parametrize(("keywords", "betas"), SCHEDULES)
def test_schedule_keywords_name_these_betas(keywords: dict[str, Any], betas: Any) -> None:
    sampleset = SAMPLER.sample(glass(40), num_reads=9, seed=5, **keywords)
    run = anneal(GLASS, betas, replicas=9, seed=5)
    assert np.array_equal(sampleset.record.sample, run.spins)
    assert sampleset.info["beta_range"] == pytest.approx([betas[0], betas[-1]], rel=1e-15, abs=0)
    assert sampleset.info["sweeps"] == len(betas)


def test_info_names_the_schedule() -> None:
    info = SAMPLER.sample(glass(12), num_sweeps=20).info
    assert (info["beta_schedule_type"], info["schedule"]) == ("linear-T", "linear-T+quench")
    info = SAMPLER.sample(glass(12), beta_schedule=[1.0]).info
    assert (info["beta_schedule_type"], info["schedule"]) == ("custom", "custom")


METROPOLIS = {"proposal_acceptance_criteria": "Metropolis"}
GIBBS = {"proposal_acceptance_criteria": "Gibbs"}
HEAT_BATH = [GIBBS, {"dynamics": "heat-bath"}, {"dynamics": "glauber", **GIBBS}]


@pytest.mark.parametrize("keywords", [{}, METROPOLIS, *HEAT_BATH])
def test_dynamics_has_two_names(keywords: dict[str, Any]) -> None:
    dynamics = "heat-bath" if keywords in HEAT_BATH else "metropolis"
    sampleset = SAMPLER.sample(glass(40), num_reads=9, seed=5, num_sweeps=8, **keywords)
    run = anneal(GLASS, sweeps=8, replicas=9, seed=5, dynamics=dynamics)
    assert np.array_equal(sampleset.record.sample, run.spins)


def test_backends_agree_and_are_named() -> None:
    request = {"num_reads": 3, "seed": 1, "num_sweeps": 8, "threads": 1}
    reference, cpu = (
        SAMPLER.sample(glass(20, "generic"), backend=name, **request)
        for name in ("reference", "cpu")
    )
    assert (reference.info["backend"], cpu.info["backend"]) == ("reference", "cpu")
    assert np.array_equal(reference.record.sample, cpu.record.sample)


@pytest.mark.parametrize("kind", BIASES)
@pytest.mark.parametrize("first", ["SPIN", "BINARY"])
def test_spin_and_binary_forms_give_the_same_samples(first: str, kind: str) -> None:
    for seed in range(5):
        bqm = glass(40, kind, first, seed)
        forms = [bqm.change_vartype(name, inplace=False) for name in ("SPIN", "BINARY")]
        a, b = (SAMPLER.sample(form, num_reads=9, seed=4, num_sweeps=40) for form in forms)
        assert np.array_equal(spins(a), spins(b))
        assert a.info["beta_range"] == b.info["beta_range"]


# Reads.


@pytest.mark.parametrize("reads", [50, 600])
@pytest.mark.parametrize("layout", [None, "lane", "plane"])
def test_seeded_reads_differ_and_can_be_replayed_alone(layout: str | None, reads: int) -> None:
    bqm = glass(200)
    request = {"num_sweeps": 2, "seed": 2**64 - 1}
    sampleset = SAMPLER.sample(bqm, num_reads=reads, layout=layout, **request)
    assert len(np.unique(sampleset.record.sample, axis=0)) == reads
    used = sampleset.info["layout"]
    assert used == f"{layout or ('plane' if reads >= PLANE_READS else 'lane')}-1"
    for k in (0, 17, reads - 1):
        for name in {layout or used, used}:  # one read alone would choose lane
            one = SAMPLER.sample(bqm, num_reads=1, first_read=k, layout=name, **request)
            assert np.array_equal(one.record.sample, sampleset.record.sample[k : k + 1])


@pytest.mark.parametrize("generator", ["tile", "random"])
def test_read_with_a_given_start_can_be_replayed_alone(generator: str) -> None:
    bqm = glass(100, vartype="BINARY")
    states = np.random.default_rng(4).integers(0, 2, (4, 100)), list(bqm.variables)
    start = {"initial_states": states, "initial_states_generator": generator}
    request = {"num_sweeps": 1, "seed": 3, **start}
    sampleset = SAMPLER.sample(bqm, num_reads=7, **request)
    for k in range(7):
        one = SAMPLER.sample(bqm, num_reads=1, first_read=k, layout="lane", **request)
        assert np.array_equal(one.record.sample, sampleset.record.sample[k : k + 1])


@pytest.mark.parametrize("seed", [None, np.random.SeedSequence(5), np.random.default_rng(5)])
def test_seed_in_info_repeats_the_samples(seed: Any) -> None:
    bqm = glass(100)
    start = dict.fromkeys(bqm.variables, 1)  # the other reads start at random
    request = {"num_reads": 3, "num_sweeps": 1, "initial_states": start}
    drawn = SAMPLER.sample(bqm, seed=seed, **request)
    again = SAMPLER.sample(bqm, seed=drawn.info["seed"], **request)
    assert np.array_equal(drawn.record.sample, again.record.sample)


def test_without_a_seed_the_samples_differ() -> None:
    first, second = (SAMPLER.sample(glass(100), num_sweeps=2) for _ in range(2))
    assert not np.array_equal(first.record.sample, second.record.sample)


# Variables in the order c, b, e, d, a. The states below, over a..e, are minima that no cold sweep
# leaves.
CLUSTERS: Any = dimod.BinaryQuadraticModel(
    {}, {("c", "b"): -1, ("e", "d"): -1, ("b", "a"): -1}, 0.0, "SPIN"
)
MINIMA = np.array([[1, 1, 1, -1, -1], [-1, -1, -1, 1, 1], [1, 1, 1, 1, 1]])
STATES = (MINIMA, list("abcde"))
COLD = {"beta_schedule": [100.0] * 3}


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
@pytest.mark.parametrize("given", ["SPIN", "BINARY"])
def test_row_k_of_the_initial_states_starts_read_k(given: str, vartype: str) -> None:
    states = MINIMA if given == "SPIN" else (MINIMA + 1) // 2
    shuffled = (states[:, [3, 0, 4, 2, 1]], ["d", "a", "e", "c", "b"])
    bqm = CLUSTERS.change_vartype(vartype, inplace=False)
    for generator in ("none", "tile", "random"):
        start = {"initial_states": shuffled, "initial_states_generator": generator}
        sampleset = SAMPLER.sample(bqm, **start, **COLD)
        assert list(sampleset.variables) == list("cbeda")
        assert np.array_equal(spins(sampleset, "abcde"), MINIMA)


def test_tile_repeats_the_initial_states_and_drops_surplus_ones() -> None:
    start = {"initial_states": STATES, "initial_states_generator": "tile"}
    sampleset = SAMPLER.sample(CLUSTERS, num_reads=5, **start, **COLD)
    assert np.array_equal(spins(sampleset, "abcde"), MINIMA[[0, 1, 2, 0, 1]])
    sampleset = SAMPLER.sample(CLUSTERS, num_reads=2, **start, **COLD)
    assert np.array_equal(spins(sampleset, "abcde"), MINIMA[:2])


def test_random_starts_are_those_of_the_read_index() -> None:
    bqm = glass(40)
    given = np.ones((2, 40), np.int8)
    sampleset = SAMPLER.sample(
        bqm, num_reads=5, seed=8, num_sweeps=1, initial_states=(given, list(bqm.variables))
    )
    first = np.concatenate([given, initial_spins(range(2, 5), 40, 8)])
    run = anneal(GLASS, sweeps=1, replicas=5, seed=8, initial=first)
    assert np.array_equal(sampleset.record.sample, run.spins)


def test_interrupt_ends_with_the_best_so_far() -> None:
    bqm, answers = glass(100), iter([False, True])
    sampleset = SAMPLER.sample(
        bqm, num_reads=10, seed=6, num_sweeps=100_000, interrupt_function=lambda: next(answers)
    )
    info = sampleset.info
    assert info["stopped"] == "interrupt"
    assert info["sweeps"] < 100_000
    betas = default_schedule(IsingModel.from_bqm(bqm), 100_000).betas[: info["sweeps"]]
    same = SAMPLER.sample(bqm, num_reads=10, seed=6, beta_schedule=betas)
    assert np.array_equal(sampleset.record.sample, same.record.sample)


def test_time_limit_ends_the_run() -> None:
    info = SAMPLER.sample(glass(100), num_reads=10, num_sweeps=100_000, time_limit=1e-6).info
    assert info["stopped"] == "time limit"
    assert info["sweeps"] < 100_000


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
def test_target_is_an_energy_of_the_callers_model(vartype: str) -> None:
    bqm = glass(12).change_vartype(vartype)
    ground = dimod.ExactSolver().sample(bqm).first.energy
    reached = SAMPLER.sample(bqm, num_reads=8, seed=1, target=ground)
    assert (reached.info["stopped"], reached.first.energy) == ("target", ground)
    below = SAMPLER.sample(bqm, num_reads=8, seed=1, target=ground - 0.01)
    assert below.info["stopped"] == "finished"


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
def test_ground_state_is_that_of_the_exact_solver(vartype: Any) -> None:
    for seed in range(10):
        bqm = dimod.generators.gnp_random_bqm(12, 0.7, vartype, random_state=seed)
        best = SAMPLER.sample(bqm, num_reads=50, seed=seed).first.sample
        assert best == dimod.ExactSolver().sample(bqm).first.sample


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
def test_model_without_variables_has_reads_of_energy_offset(vartype: str) -> None:
    sampleset = SAMPLER.sample(dimod.BinaryQuadraticModel({}, {}, 1.5, vartype), num_reads=3)
    assert sampleset.record.sample.shape == (3, 0)
    assert sampleset.record.energy.tolist() == [1.5] * 3


def test_spins_without_couplings_align_with_their_fields() -> None:
    fields = dict(zip("abcdef", [0.3, -2.0, 1e-3, -0.7, 5.0, -0.1], strict=True))
    sampleset = SAMPLER.sample_ising(fields, {}, num_reads=4)
    assert np.array_equal(sampleset.record.sample, [[-1, 1, -1, 1, -1, 1]] * 4)


def test_zero_and_cancelling_biases_leave_their_variables_free() -> None:
    bqm = dimod.BinaryQuadraticModel({"a": 0.0, "b": 2.0}, {("a", "b"): 0.5}, 0.0, "SPIN")
    bqm.add_quadratic("b", "a", -0.5)
    sampleset = SAMPLER.sample(bqm, num_reads=60, seed=1)
    assert set(spins(sampleset)[:, 0]) == {-1, 1}
    assert set(spins(sampleset)[:, 1]) == {-1}
    silent = dimod.BinaryQuadraticModel(dict.fromkeys("ab", 0.0), {("a", "b"): 0.0}, 0, "BINARY")
    assert SAMPLER.sample(silent, num_reads=3).record.energy.tolist() == [0.0] * 3


def test_info_is_complete_and_serializable() -> None:
    began = time.perf_counter_ns()
    sampleset = SAMPLER.sample(glass(30), num_reads=4, num_sweeps=10, seed=np.uint64(7))
    elapsed = time.perf_counter_ns() - began
    info = json.loads(json.dumps(sampleset.info))
    timing = info["timing"]
    assert sorted(timing) == ["postprocessing_ns", "preprocessing_ns", "sampling_ns"]
    assert min(timing.values()) > 0
    assert sum(timing.values()) <= elapsed
    assert timing["sampling_ns"] >= 1e9 * info["ledger"]["wall_s"]
    assert (info["seed"], info["stopped"], info["sweeps"]) == (7, "finished", 10)
    assert info["ledger"]["attempted_updates"] == 30 * 4 * 10
    assert dimod.SampleSet.from_serializable(sampleset.to_serializable()) == sampleset


# Refusals.

START = {"initial_states": STATES, "initial_states_generator": "none"}
NO_ROWS = dimod.SampleSet.from_samples(([], "abcde"), energy=[], vartype="SPIN")
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"num_reads": 0}, r"num_reads must be a whole number >= 1, got 0"),
    ({"num_sweeps": 0}, r"num_sweeps must be a whole number >= 1, got 0"),
    ({"num_sweeps_per_beta": 0}, r"num_sweeps_per_beta must be a whole number >= 1, got 0"),
    ({"num_sweeps": 10, "num_sweeps_per_beta": 4}, r"multiple of .*_per_beta=4, got 10; .* 8$"),
    ({"beta_range": (1, 2, 3)}, r"must be two betas \(first, last\), got \(1, 2, 3\)"),
    ({"beta_range": (0, 2)}, r"a linear-T schedule needs betas > 0, got 0.0 and 2.0"),
    ({"beta_schedule_type": "cubic"}, r"'cubic', allowed are linear, geometric, linear-T, cus"),
    (CUSTOM, r"'custom' needs the betas: pass beta_schedule"),
    ({"beta_schedule": [1], **LINEAR}, r"_type='linear'; .*leave out one"),
    ({"beta_schedule": [1], "beta_range": (1, 1)}, r"beta_range=\(1, 1\); leave out one"),
    ({"beta_schedule": [1, 2], "num_sweeps": 3}, r"num_sweeps=3 and .* 2 betas .*=1, 2 sweeps"),
    ({"beta_schedule": [[1, 2]]}, r"beta_schedule must have shape \(betas,\), got \(1, 2\)"),
    ({"beta_schedule": []}, r"at least one sweep, got shape \(0,\)"),
    ({"initial_states_generator": "none"}, r"got 0 initial states for reads 0..0, .*'none'"),
    ({"num_reads": 2, **START}, r"got 3 initial states for reads 0..1"),
    ({"num_reads": 4, **START}, r"got 3 initial states for reads 0..3"),
    ({"initial_states_generator": "tile"}, r"'tile' needs initial_states to repeat"),
    ({"initial_states_generator": "copy"}, r"'copy', allowed are none, tile, random"),
    ({"initial_states": {"a": 1}}, r"mismatch between variables"),
    ({"initial_states": NO_ROWS}, r"insufficient number of initial states given"),
    ({"proposal_acceptance_criteria": "gibbs"}, r"'gibbs', allowed are Metropolis, Gibbs"),
    ({"dynamics": "metropolis", **GIBBS}, r"'metropolis' contradicts .*criteria='Gibbs'"),
    ({"backend": "gpu"}, r"unknown backend 'gpu', allowed are auto"),
    ({"threads": 0}, r"threads must be a whole number >= 1, got 0"),
    ({"layout": "lane-9"}, r"got layout 'lane-9', this version of isingnpu has lane-1"),
    ({"first_read": -1}, r"first_read must be a whole number >= 0, got -1"),
    ({"first_read": 3}, r"first_read=3 .* pass seed=info\['seed'\]"),
]


WRONG_TYPES: list[tuple[dict[str, Any], str]] = [
    ({"num_reads": 2.0}, r"num_reads must be a whole number >= 1, got 2.0"),
    ({"num_sweeps": True}, r"num_sweeps must be a whole number >= 1, got True"),
    ({"interrupt_function": True}, r"interrupt_function must be a function .*, got True"),
    ({"bqm": {"a": 1}}, r"bqm must be a dimod.BinaryQuadraticModel, got dict"),
]


@pytest.mark.parametrize(
    ("error", "keywords", "message"),
    [(ValueError, *case) for case in REFUSED] + [(TypeError, *case) for case in WRONG_TYPES],
)
def test_what_is_not_allowed_is_refused_with_its_value(
    error: type[Exception], keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(error, match=message):
        SAMPLER.sample(**{"bqm": CLUSTERS, **keywords})


@pytest.mark.statistical(alpha=1e-5)
def test_mean_energy_is_that_of_dwave_samplers_at_equal_betas() -> None:
    """Welch's t between 1000 reads each. A temperature wrong by a factor 2 is off by 15 sigma,
    heat bath instead of Metropolis by 40. Here the best states are compared with the peer's last
    ones; after the quench they differ by 0.2 sigma."""
    peer = pytest.importorskip("dwave.samplers").SimulatedAnnealingSampler()
    rng = np.random.default_rng(7)
    edges = nx.random_regular_graph(4, 256, seed=5).edges
    bqm = dimod.BinaryQuadraticModel.from_ising({}, {e: 2.0 * rng.integers(2) - 1 for e in edges})
    betas = np.concatenate([np.linspace(0.15, 1.5, 30), np.full(10, 20.0)])
    schedule = {"beta_schedule_type": "custom", "beta_schedule": betas, "num_reads": 1000}
    ours, theirs = (sampler.sample(bqm, seed=3, **schedule) for sampler in (SAMPLER, peer))
    energies = ours.record.energy, theirs.record.energy
    assert stats.ttest_ind(*energies, equal_var=False).pvalue > 1e-5
