"""Benchmarks: what is measured, not how fast it is. The clocks here count, they do not tick."""

from __future__ import annotations

import gc
import itertools
import math
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from isingnpu import IsingModel, anneal, bench, disorder, exact, lattice, write
from isingnpu.backend import get_backend
from isingnpu.bench import cases, ceilings, kernels, peer, targets
from isingnpu.bench.cases import KERNELS, TARGETS, KernelCase, Options, TargetCase
from isingnpu.bench.ceilings import CEILINGS, measure_ceiling
from isingnpu.bench.checkerboard import Checkerboard
from isingnpu.bench.clock import clock_name, clock_of, timed
from isingnpu.statistics import time_to_target

PEER = "dwave-samplers"


@pytest.fixture(scope="session")
def small_gset(tmp_path_factory):
    """A data folder whose G-set files are 4-regular graphs of 40 sites."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "gset").mkdir()
    for seed, name in enumerate(("G1", "G22", "G55", "G81")):
        model = disorder.random_regular(40, 4, J=-1, seed=seed)
        write(folder / "gset" / f"{name}.txt", replace(model, geometry=None), "rudy")
    return folder


@pytest.fixture
def no_peer(monkeypatch):
    monkeypatch.setitem(sys.modules, "dwave.samplers", None)  # import raises ImportError


def clock(*durations: float) -> Iterator[float]:
    """Readings such that the k-th pair of them is durations[k] apart, over and over."""
    now = 0.0
    for duration in itertools.cycle(durations):
        yield now
        now += duration
        yield now


def options(durations=(1.0,), **changes) -> Options:
    readings = clock(*durations)
    default = Options(
        quick=True, backend="cpu", threads=1, repeats=3, seed=1, data=None,
        clock=lambda: next(readings),
    )  # fmt: skip
    return replace(default, **changes)


RING = KernelCase("ring", lambda o: lattice.chain(32), reads=16, sweeps=10, peer_reads=4)
RING_TARGET = TargetCase("ring", lambda o: (lattice.chain(8), -8.0), (10,), (10,))


# Every case at a tiny size; each checks its energies as it runs.


@pytest.mark.parametrize("case", [case.name for case in (*KERNELS, *TARGETS)])
def test_every_case_yields_one_record_with_its_spread(case, small_gset):
    (record,) = bench.run_suite([case], quick=True, repeats=2, data=small_gset)
    assert record.case == case
    assert record.measured
    assert record.quick
    assert len(record.samples) == record.repeats == 2
    assert record.n > 0
    assert record.edges > 0
    assert record.kernel != ""
    assert record.layout.endswith("-1")
    assert record.excluded
    assert record.unit in (
        "updates/ns of CPU time",
        "updates/ns of wall time",
        "flips/ns of CPU time",
        "s of CPU time",
    )
    if math.isnan(record.value):
        assert record.successes == 0
        assert record.low > 0
    else:
        assert 0 < record.low <= record.value <= record.high
    for name, ratio in record.ratio_to.items():
        low, high = record.ratio_range[name]
        assert 0 < low <= ratio <= high


def test_case_names_are_those_that_other_tools_read():
    names = "square-p10 square-p7 square-p10-avx2 square-p10-2threads square-1024 cubic-p10 "
    names += "ea3d-p10 graph-G1 graph-G22 graph-G55 graph-ea16 graph-regular6-1e5 "
    names += "graph-regular6-1e6 bitgraph-G1 bitgraph-G22 bitgraph-G55 bitgraph-G81 "
    names += "bitgraph-ea16 dense-k2000 real-degree6 real-degree6-frozen swendsen-wang wolff"
    assert {case.name for case in bench.SUITES["kernels"]} == set(names.split())
    assert len({case.name for suite in bench.SUITES.values() for case in suite}) == sum(
        map(len, bench.SUITES.values())
    )


def test_no_name_means_all_suites_and_a_name_counts_once(monkeypatch):
    measured = []
    monkeypatch.setattr(bench, "_measure", lambda case, *rest: measured.append(case.name))
    bench.run_suite([], quick=True)
    assert measured == [case.name for case in (*KERNELS, *TARGETS)]
    measured.clear()
    bench.run_suite(["graph-G1", "kernels", "graph-G1"], quick=True)
    assert sorted(measured) == sorted(case.name for case in KERNELS)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'speed'; there are kernels, tts, square-p10"):
        bench.run_suite(["speed"])


@pytest.mark.parametrize("name", ["repeats", "threads"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be a whole number >= 1, got 0"):
        bench.run_suite(["kernels"], **{name: 0})


def test_progress_names_each_case_before_it_runs(tmp_path):
    seen = []
    bench.run_suite(["graph-G1", "tts-G22"], progress=seen.append, data=tmp_path)
    assert seen == ["graph-G1 ...", "tts-G22 ..."]


# Instances.


def test_a_missing_file_is_a_record_that_says_where_it_was_looked_for(tmp_path):
    (record,) = bench.run_suite(["graph-G1"], data=tmp_path)
    assert not record.measured
    assert record.to_json()["value"] is None
    assert record.notes[0].startswith(f"not measured: no G1.txt in {tmp_path} or its gset/")


def test_the_dense_case_takes_the_instance_of_the_data_folder(tmp_path):
    (case,) = (case for case in KERNELS if case.name == "dense-k2000")
    weights = np.random.default_rng(1).integers(0, 2, 2000 * 1999 // 2)
    (tmp_path / "k2000").mkdir()
    np.save(tmp_path / "k2000" / "k2000c_seed1_bits.npy", np.packbits(weights.astype(np.uint8)))
    model = case.build(options(quick=False, data=tmp_path))
    assert model.n_edges == weights.size
    spins = np.where(np.random.default_rng(2).integers(0, 2, 2000), 1, -1)
    energy, start = 0, 0
    for i in range(2000):
        row = weights[start : start + 1999 - i]
        energy += spins[i] * ((2 * row - 1) @ spins[i + 1 :])
        start += row.size
    assert model.energy(spins) == energy
    assert case.instance(options(quick=False, data=tmp_path)).startswith("instance of k2000/")


def test_the_dense_case_says_that_it_took_its_own_instance(tmp_path):
    (record,) = bench.run_suite(["dense-k2000"], quick=True, repeats=1, data=tmp_path)
    assert record.notes[0].startswith("own instance of seed 1: k2000/k2000c_seed1_bits.npy")


def test_a_file_of_another_size_is_refused(tmp_path):
    (tmp_path / "k2000").mkdir()
    np.save(tmp_path / "k2000" / "k2000c_seed1_bits.npy", np.zeros(10, np.uint8))
    (case,) = (case for case in KERNELS if case.name == "dense-k2000")
    with pytest.raises(ValueError, match="has 80 bits, 1999000 filled up"):
        case.build(options(quick=False, data=tmp_path))


def test_ceilings_are_rates_of_the_instructions_they_name():
    records = bench.run_suite(["ceilings"], quick=True, repeats=1)
    if not records[0].measured:
        pytest.skip(records[0].notes[0])
    assert records[0].unit == "cycles per ns"
    assert all(record.measured and record.value > 0 for record in records)
    by_name = {record.case: record.kernel for record in records}
    assert by_name["ceiling-product"] == "vpmuludq"
    assert by_name["ceiling-philox"] == "vpmuludq vpsrlq vpternlogq"


def test_a_rate_is_instructions_over_cycles_of_the_chain(monkeypatch):
    monkeypatch.setattr(ceilings, "_obstacle", lambda: None)
    monkeypatch.setattr(ceilings, "_compiled", lambda lines, memory: lambda rounds, at: None)
    (case,) = (case for case in CEILINGS if case.name == "ceiling-logic")
    record = measure_ceiling(case, options(durations=(3.0, 2.0)))
    assert record.samples == (1.5, 1.5, 1.5)  # 48 cycles in 3 s, 48 instructions in 2 s
    (chain,) = (case for case in CEILINGS if case.name == "ceiling-clock")
    record = measure_ceiling(chain, options(durations=(4.8e-6, 1.0)))
    assert record.value == pytest.approx(1.0, rel=1e-12)  # 100 x 48 cycles in 4800 ns


def test_ceilings_are_not_measured_without_the_instructions(monkeypatch):
    monkeypatch.setattr(ceilings, "_obstacle", lambda: "the processor lacks avx512f")
    record = measure_ceiling(CEILINGS[0], options())
    assert not record.measured
    assert record.notes == ("not measured: the processor lacks avx512f",)


def test_the_data_argument_comes_before_the_environment(small_gset, tmp_path, monkeypatch):
    monkeypatch.setenv("ISINGNPU_DATA", str(small_gset))
    assert bench.run_suite(["graph-G1"], quick=True, repeats=1)[0].n == 40
    assert not bench.run_suite(["graph-G1"], quick=True, repeats=1, data=tmp_path)[0].measured


def test_the_target_is_the_energy_of_999_permille_of_the_best_cut(small_gset):
    case = next(case for case in TARGETS if case.name == "tts-G1")
    model, target = case.build(options(data=small_gset))
    assert (model.total_weight - target) / 2 == math.ceil(0.999 * 11624) == 11613


def test_outside_a_checkout_no_folder_is_guessed(tmp_path, monkeypatch):
    monkeypatch.delenv("ISINGNPU_DATA", raising=False)
    monkeypatch.setattr(cases, "__file__", str(tmp_path / "site" / "isingnpu" / "bench" / "x.py"))
    (record,) = bench.run_suite(["graph-G1"], quick=True)
    assert record.notes[0].startswith("not measured: no folder with G1.txt is known")


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("name", ["tts-tile32", "tts-loops12"])
def test_planted_targets_are_energies_of_a_known_state(name, quick):
    case = next(case for case in TARGETS if case.name == name)
    model, target = case.build(options(quick=quick))
    assert model.energy(model.geometry.ground_state) == target


# Throughput.


def test_no_garbage_is_collected_while_the_clock_runs():
    assert gc.isenabled()
    assert timed(lambda: 0.0, gc.isenabled) == (0.0, False)
    assert gc.isenabled()


def test_only_sweeps_on_the_cpu_are_timed_by_cpu_time():
    names = [clock_name(clock_of(backend)) for backend in ("cpu", "reference", "cuda")]
    assert names == ["CPU time", "CPU time", "wall time"]


def test_throughput_is_attempted_updates_over_seconds(no_peer):
    record = kernels.measure_kernel(RING, options([0.5]))
    assert record.samples == (16 * 32 * 10 / 0.5 * 1e-9,) * 3
    assert record.value == record.low == record.high == record.samples[0]


def test_median_and_range_are_those_of_the_repeats(no_peer):
    record = kernels.measure_kernel(RING, options([4.0, 1.0, 2.0]))
    updates = 1e-9 * 16 * 32 * 10
    assert (record.low, record.value, record.high) == (updates / 4, updates / 2, updates)


def test_the_ratio_is_the_median_of_pairs_without_the_peers_one_sweep_call():
    pytest.importorskip("dwave.samplers")
    # in each repeat: ours, then the peer's long call, then its call of one sweep
    seconds = [1.0, 5.0, 2.0, 1.0, 9.0, 3.0, 1.0, 5.0, 4.0]
    record = kernels.measure_kernel(RING, options(seconds))
    ours, theirs = 16 * 32 * 10, [4 * 32 * 9 / t for t in (3.0, 6.0, 1.0)]
    expected = sorted(ours / t for t in theirs)
    assert record.ratio_to[PEER] == pytest.approx(expected[1], rel=1e-12)
    assert record.ratio_range[PEER] == pytest.approx((expected[0], expected[2]), rel=1e-12)


def test_a_ratio_lost_in_the_peers_set_up_is_withheld():
    pytest.importorskip("dwave.samplers")
    # of the three repeats, the second one's call of one sweep is as long as the other
    seconds = [1.0, 3.0, 2.0, 1.0, 2.0, 2.0, 1.0, 3.0, 2.0]
    record = kernels.measure_kernel(RING, options(seconds))
    assert record.ratio_to == record.ratio_range == {}
    assert record.notes == (f"no ratio to {PEER}: its sweeps drown in the noise of its set-up",)


def test_our_own_rivals_are_timed_by_their_own_updates(no_peer):
    ring = replace(RING, simple_sweeps=2, threads=2)
    # in each repeat: ours, one read of one spin per byte, ours with one thread
    record = kernels.measure_kernel(ring, options([1.0, 4.0, 3.0]))
    ratios = {kernels.SIMPLE: 16 * 32 * 10 / (32 * 2 / 4.0), kernels.ALONE: 3.0}
    assert record.ratio_to == pytest.approx(ratios, rel=1e-12)
    assert record.threads == 2


@pytest.mark.statistical(alpha=1e-6)
def test_the_checkerboard_samples_the_square_lattice():
    spins = np.ones((256, 256), np.int8)
    board = Checkerboard(spins, np.full(200, 0.3), clock_of("cpu"))
    energies = []
    for _ in range(12):
        assert board.speed() > 0
        bonds = spins * (np.roll(spins, 1, 0) + np.roll(spins, 1, 1))
        energies.append(-float(bonds.mean(dtype=np.float64)))
    mean, error = np.mean(energies[2:]), np.std(energies[2:], ddof=1) / math.sqrt(10)
    # 200 sweeps apart at a correlation length of 2: independent; Student t, 9 degrees of freedom
    assert 2 * stats.t.sf(abs(mean - exact.onsager_energy(0.3)) / error, 9) > 1e-6


def test_cycles_are_those_of_the_measured_frequency(no_peer, monkeypatch):
    monkeypatch.setattr(kernels, "frequency", lambda: 2.5)
    assert math.isnan(kernels.measure_kernel(RING, options()).cycles)  # not a processor's clock
    monkeypatch.setattr(kernels, "clock_name", lambda clock: "CPU time")
    record = kernels.measure_kernel(RING, options())
    assert record.cycles == 2.5 / record.value
    monkeypatch.setattr(kernels, "frequency", lambda: None)
    assert math.isnan(kernels.measure_kernel(RING, options()).cycles)


def test_another_processor_is_measured_in_a_child_process():
    (record,) = bench.run_suite(["square-p10-avx2"], quick=True, repeats=1)
    assert record.measured
    assert record.notes[-1] == "code for haswell, in a child process"


def test_openjij_is_given_the_betas_and_the_problem():
    pytest.importorskip("openjij")
    model = disorder.random_regular(20, 3, disorder="bimodal", seed=1)
    found = peer.find_peer("graph", model, clock_of("cpu"), peer.OPENJIJ)
    _, cold = found.sample(**found._schedule(np.full(30, 3.0), 3, 1))  # energies are checked
    _, hot = found.sample(**found._schedule(np.zeros(30), 3, 1))
    assert cold.shape == hot.shape == (3,)
    assert cold.max() < hot.min()


@pytest.mark.parametrize(
    ("measure", "case"),
    [(kernels.measure_kernel, RING), (targets.measure_target, RING_TARGET)],
)
def test_without_the_peer_the_reason_takes_the_ratios_place(measure, case, no_peer):
    record = measure(case, options())
    assert record.measured
    assert record.ratio_to == {}
    assert record.notes[-1].startswith(f"no ratio to {PEER}: ")
    assert record.notes[-1].endswith("pip install 'isingnpu[peers]'")


def test_fields_and_an_offset_are_part_of_the_checked_energy():
    terms = {"fields": np.arange(32.0), "offset": 0.5}
    ring = IsingModel.from_edges([(i, (i + 1) % 32, 2.0) for i in range(32)], **terms)
    assert kernels.measure_kernel(replace(RING, build=lambda o: ring), options()).measured


class _Shifted:
    """A plan that reports energies one quantum too high."""

    def __init__(self, plan):
        self.plan, self.kernel = plan, plan.kernel
        self.load, self.state = plan.load, plan.state

    def sweep(self, *arguments, **keywords):
        measured = self.plan.sweep(*arguments, **keywords)
        return replace(measured, energy=measured.energy + 1)


def test_a_kernel_with_a_wrong_energy_is_not_recorded(monkeypatch, no_peer):
    class Backend:
        def plan(self, request):
            return _Shifted(get_backend("cpu").plan(request))

    monkeypatch.setattr(kernels, "get_backend", lambda name: Backend())
    with pytest.raises(bench.WrongEnergy, match="ring: lanes gives read 0 the energy"):
        kernels.measure_kernel(RING, options())


@pytest.mark.parametrize("coupling_disorder", ["bimodal", "gaussian"])
def test_the_energy_check_sees_one_flipped_spin_and_passes_rounding(coupling_disorder):
    model = disorder.edwards_anderson((4, 4, 4), disorder=coupling_disorder, seed=3)
    spins = np.random.default_rng(1).choice(np.array([-1, 1], np.int8), size=(8, 64))
    q, j = model.quantized, model.csr.copy()
    j.data = q.couplings.astype(float)
    quanta = -np.einsum("ri,ri->r", spins, (j @ spins.T).T) / 2
    peer.check_energies("ea", "kernel", model, spins, q.quantum * quanta)
    for site in range(model.n):
        wrong = spins.copy()
        wrong[5, site] *= -1
        if abs(model.energy(wrong[5]) - model.energy(spins[5])) > 0.01:
            with pytest.raises(bench.WrongEnergy) as caught:
                peer.check_energies("ea", "kernel", model, wrong, q.quantum * quanta)
            assert caught.value.read == 5


def test_a_peer_that_solves_another_problem_is_noticed():
    pytest.importorskip("dwave.samplers")
    model = IsingModel.from_edges([(0, 1, 1), (1, 2, -1)])
    found = peer.find_peer("path", model, lambda: 0.0)
    opposite = IsingModel.from_edges([(0, 1, -1), (1, 2, 1)])
    found.sample(num_reads=2, num_sweeps=10, seed=1)
    with pytest.raises(bench.WrongEnergy, match="path: dwave-samplers gives read 0"):
        replace(found, bqm=opposite.to_bqm()).sample(num_reads=2, num_sweeps=10, seed=1)


def test_the_peer_is_given_the_models_labels_in_any_order():
    pytest.importorskip("dwave.samplers")
    edges = [(0, 1, 2.0), (1, 2, -1.0), (2, 3, 4.0)]
    model = IsingModel.from_edges(edges, fields=[1.0, 0, 0, 3.0], labels=["b", "d", "a", "c"])
    found = peer.find_peer("labels", model, lambda: 0.0)
    _, energies = found.sample(num_reads=4, num_sweeps=200, seed=1)
    states = np.array(list(itertools.product([-1, 1], repeat=4)))
    assert energies.min() == model.energy(states).min()


# Time to target.


def test_time_to_target_is_that_of_the_counted_successes(no_peer):
    case = TargetCase("ring", lambda o: (lattice.chain(16), -16.0), (10,), (10,))
    record = targets.measure_target(case, options([8.0], repeats=4))
    reads = 4 * targets.QUICK_READS
    hits = sum(
        np.abs(run.spins.sum(axis=1)) == 16  # the ring's ground states: all up or all down
        for batch in range(1, 5)
        for run in [
            anneal(
                lattice.chain(16), sweeps=record.sweeps, seed=1, backend="cpu",
                replicas=targets.QUICK_READS, first_replica=batch * targets.QUICK_READS,
            )
        ]
    ).sum()  # fmt: skip
    assert 0 < hits < reads
    assert record.successes == hits
    expected = time_to_target(int(hits), reads, 8.0 / targets.QUICK_READS)
    assert record.value == expected.value
    assert record.samples == (0.5,) * 4


def test_a_target_never_reached_has_a_bound_and_no_value(no_peer):
    case = TargetCase("ring", lambda o: (lattice.chain(8), -9.0), (10,), (10,))
    record = targets.measure_target(case, options())
    assert math.isnan(record.value)
    assert record.to_json()["value"] is None
    assert record.to_json()["high"] is None
    assert record.low > 0
    assert "TTS99 > " in record.notes[0]


def test_the_measured_reads_are_not_those_of_the_choice():
    asked = []

    def solve(sweeps, batch):
        asked.append((sweeps, batch))
        return (8, 1.0) if sweeps == 30 else (1, 1.0)

    contestant = targets._Contestant("x", solve, 16, (10, 30, 100))
    targets._compete([contestant], 2)
    assert asked == [(10, 0), (30, 0), (100, 0), (30, 1), (30, 2)]


def test_the_pilot_has_as_many_reads_for_the_peer_as_for_us():
    pytest.importorskip("dwave.samplers")
    for case in TARGETS:
        full = options(quick=False)
        ours, _ = targets._ours(case, lattice.chain(8), -8.0, full)
        found = peer.find_peer(case.name, lattice.chain(8), full.clock)
        theirs = targets._theirs(case, found, -8.0, full)
        assert ours.n_pilot * ours.reads == theirs.n_pilot * theirs.reads == targets.PILOT_READS


def test_measured_batches_follow_a_pilot_of_several():
    asked = []
    contestant = targets._Contestant("x", lambda *a: asked.append(a) or (8, 1.0), 16, (10,), 3)
    targets._compete([contestant], 2)
    assert asked == [(10, 0), (10, 1), (10, 2), (10, 3), (10, 4)]


def test_the_chosen_count_of_sweeps_has_the_least_time_to_target():
    outcomes = {10: (1, 1.0), 30: (8, 2.0), 100: (16, 8.0)}  # TTS 4.4, 0.9, 0.5 reads * seconds
    contestant = targets._Contestant("x", lambda s, batch: outcomes[s], 16, (10, 30, 100))
    contestant.choose_sweeps()
    times = {s: time_to_target(k, 16, t / 16).value for s, (k, t) in outcomes.items()}
    assert times[contestant.sweeps] == min(times.values())


def test_without_a_success_the_most_sweeps_are_taken():
    contestant = targets._Contestant("x", lambda s, batch: (0, 1.0), 16, (30, 100, 10))
    contestant.choose_sweeps()
    assert contestant.sweeps == 100


@pytest.mark.parametrize(
    ("sweeps", "remark"), [(10, "; fewer sweeps were not tried"), (30, ""), (100, "; more")]
)
def test_a_best_count_at_the_edge_of_those_tried_is_remarked(sweeps, remark):
    contestant = targets._Contestant(
        "x", lambda s, batch: (4, 1.0), 16, (10, 30, 100), sweeps=sweeps
    )
    contestant.solve_next()
    text = contestant.describe().partition("4 of 16 reads")[2]
    assert text.startswith(remark)
    assert bool(text) == bool(remark)
