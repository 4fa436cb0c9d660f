"""Benchmark of critical chains: the figure of merit, the check, and what the packages return.

The tests beside peapods and ALPS spinmc run where these are installed (extra `peers`)."""

from __future__ import annotations

import itertools
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from isingnpu import bench, exact, lattice, sample
from isingnpu.bench import chains, critical
from isingnpu.bench.cases import Options
from isingnpu.bench.chains import Blocks, OwnChains, Peapods, Recipe, Spinmc
from isingnpu.bench.critical import CRITICAL, ENERGY, U4, Disagreement
from isingnpu.bench.records import Record

K = math.log(1 + math.sqrt(2)) / 2
SIGMAS = 5.0
ALPHA = 6e-7  # two-sided, of five standard errors


def options(**changes) -> Options:
    ticks = itertools.count()
    default = Options(
        quick=True, backend="cpu", threads=1, repeats=2, seed=1, data=None,
        clock=lambda: float(next(ticks)),
    )  # fmt: skip
    return replace(default, **changes)


@pytest.fixture
def no_peers(monkeypatch):
    for package in ("peapods", "pyalps"):
        monkeypatch.setitem(sys.modules, package, None)  # import raises ImportError


def noise(blocks: int, seed: int, energy: float = -1.4) -> Blocks:
    """Blocks of different lengths around energy, m^2 = 0.46, m^4 = 0.25, one second each unit."""
    generator = np.random.default_rng(seed)
    seconds = generator.integers(1, 5, blocks).astype(np.float64)
    spread = generator.normal(size=(3, blocks)) / np.sqrt(seconds)
    centre = np.array([energy, 0.46, 0.25])
    return Blocks(centre[:, None] + 0.01 * spread, seconds)


# The figure of merit.


def test_the_response_of_u4_is_its_derivative_along_the_block():
    blocks = noise(50, 1)
    value, responses = critical.responses(U4, blocks)
    _, m2, m4 = np.average(blocks.means, axis=1, weights=blocks.seconds)
    step = 1e-30  # complex step: no subtraction, no rounding
    along = np.array([m2, m4])[:, None]
    along = along + 1j * step * (blocks.means[1:] - along)
    derivative = (1 - along[1] / (3 * along[0] ** 2)).imag / step
    assert value == pytest.approx(1 - m4 / (3 * m2**2), rel=1e-14)
    assert responses == pytest.approx(derivative, rel=1e-10, abs=1e-14)


def test_of_equal_blocks_it_is_their_variance_times_their_seconds():
    blocks = replace(noise(40, 2), seconds=np.full(40, 0.25))
    v = critical.variance_time(ENERGY, blocks)
    assert v.value == pytest.approx(0.25 * blocks.means[0].var(ddof=1), rel=1e-12)
    made = critical.estimate(ENERGY, blocks)
    assert made.value == pytest.approx(blocks.means[0].mean(), rel=1e-14)
    assert made.error == pytest.approx(blocks.means[0].std(ddof=1) / math.sqrt(40), rel=1e-12)


@pytest.mark.statistical(alpha=3 * ALPHA)
def test_it_does_not_depend_on_the_cut_and_its_error_is_right():
    generator = np.random.default_rng(3)
    samples = generator.normal(size=60_000)  # sigma^2 t = 1 with a second each
    for lengths in ([1], [7], [2, 1, 5]):
        ends = np.cumsum(np.tile(lengths, 60_000 // sum(lengths)))
        sizes = np.diff(ends, prepend=0).astype(np.float64)
        means = np.add.reduceat(samples, ends - sizes.astype(int)) / sizes
        means[-1] = samples[ends[-2] : ends[-1]].mean()
        v = critical.variance_time(ENERGY, Blocks(np.stack([means] * 3), sizes))
        assert abs(v.sigmas(1.0)) < SIGMAS
        assert v.error == pytest.approx(math.sqrt(2 / sizes.size), rel=0.1)  # chi squared


def test_blocks_add_up_as_the_longer_run():
    both = noise(3, 4) + noise(2, 5)
    assert (both.means[:, 3:] == noise(2, 5).means).all()
    assert both.seconds.tolist() == [*noise(3, 4).seconds, *noise(2, 5).seconds]


# The check.


def blocks_at(energy: float, m4: float = 0.25) -> Blocks:
    """1000 blocks whose means are exactly these, with errors of about 3e-4."""
    made = noise(1000, 6)
    target = np.array([energy, 0.46, m4])
    shift = target - np.average(made.means, axis=1, weights=made.seconds)
    return replace(made, means=made.means + shift[:, None])


def test_an_energy_that_is_not_kaufmans_is_refused():
    expected = exact.kaufman(32, 32, K).energy_per_site
    critical.check("case", 32, K, {"ours": blocks_at(expected)})
    with pytest.raises(Disagreement, match=r"theirs gives -1\.42.*the exact energy is -1\.433"):
        critical.check("case", 32, K, {"theirs": blocks_at(expected + 0.005)})


def test_a_different_u4_is_refused():
    energy = exact.kaufman(32, 32, K).energy_per_site
    ours = blocks_at(energy)
    critical.check("case", 32, K, {"ours": ours, "theirs": blocks_at(energy)})
    with pytest.raises(Disagreement, match=r"case: theirs gives 0\.5.*, ours 0\.60"):
        critical.check("case", 32, K, {"ours": ours, "theirs": blocks_at(energy, m4=0.26)})


# Records.


@pytest.mark.parametrize("case", CRITICAL, ids=lambda case: case.name)
def test_without_the_peers_ours_is_measured_and_the_extra_named(case, no_peers, tmp_path):
    record = critical.measure_critical(case, options())
    others = list(case.recipes)[1:]
    assert list(record.ratio_to) == list(record.ratio_range) == others
    assert len(record.samples) == record.repeats == 2
    assert record.low <= record.value <= record.high
    missing = [note for note in record.notes if note.startswith("no ratio to ")]
    assert len(missing) == len(case.peers)
    assert all(
        note.startswith(f"no ratio to {name}: ")
        for name, note in zip(case.peers, missing, strict=True)
    )
    assert all(note.endswith("pip install 'isingnpu[peers]'") for note in missing)
    assert Record.from_json(record.to_json()) == record
    path = tmp_path / "records.jsonl"
    bench.append_jsonl(path, [record])
    assert f"| {case.name} | 64 | 128 |" in bench.table([record])
    assert "| 1 (" in bench.compare(path, path)


def test_the_rate_is_the_inverse_of_variance_times_seconds(no_peers):
    case = CRITICAL[0]
    record = critical.measure_critical(case, options(repeats=1))
    twice = critical.measure_critical(case, options(repeats=1, clock=_twice()))
    assert twice.value == pytest.approx(record.value / 2, rel=1e-12)
    assert twice.ratio_to == pytest.approx(record.ratio_to, rel=1e-12)


def test_all_chains_are_at_the_critical_point(no_peers, monkeypatch):
    seen = []
    monkeypatch.setattr(critical, "check", lambda case, size, beta, blocks: seen.append(beta))
    record = critical.measure_critical(CRITICAL[1], options(repeats=1))
    assert seen == [pytest.approx(K, rel=1e-15)]
    assert record.n == critical.QUICK_SIZE**2


def _twice():
    ticks = itertools.count(step=2)
    return lambda: float(next(ticks))


def test_a_ratio_is_the_median_of_the_repeats_of_ours_over_theirs():
    recipe = Recipe("wolff", 2, every=1, samples=1, burn_in=0)
    ours = OwnChains.start("ours", 4, K, recipe, time.process_time, seed=1, backend="reference")
    rates = {"ours": [6.0, 8.0, 9.0], "theirs": [3.0, 2.0, 3.0]}
    record = critical._record(CRITICAL[0], options(repeats=3), ours, rates, [])
    assert record.ratio_to == {"theirs": 3.0}
    assert record.ratio_range == {"theirs": (2.0, 4.0)}
    assert (record.low, record.value, record.high) == (6.0, 8.0, 9.0)


def test_no_peer_is_timed_beside_another_clock():
    made, (note,) = critical._peers(CRITICAL[0], 8, K, options(backend="cuda"))
    assert made == []
    assert note.startswith("no ratio to peapods, ALPS spinmc")


def test_the_suite_runs_when_it_is_named(monkeypatch):
    asked = []
    monkeypatch.setattr(bench, "measure_critical", lambda case, options: asked.append(case.name))
    bench.run_suite(["critical", "binder-32"])
    assert asked == ["binder-32", "binder-128", "energy-64"]
    assert "critical" not in bench.SUITES
    with pytest.raises(ValueError, match=r"there are .*, binder-32,.*, critical\b"):
        bench.run_suite(["criticality"])


# Chains against the 65536 states of the 4 x 4 torus.


@pytest.fixture(scope="module")
def torus() -> tuple[float, float]:
    """Energy per site and U4 of the 4 x 4 torus at K, from all its states."""
    spins = 1 - 2 * ((np.arange(1 << 16)[:, None] >> np.arange(16)) & 1).reshape(-1, 4, 4)
    energy = -sum((spins * np.roll(spins, 1, axis)).sum(axis=(1, 2)) for axis in (1, 2))
    weight = np.exp(-K * (energy - energy.min()))
    m = spins.mean(axis=(1, 2))
    m2, m4 = (np.average(m**k, weights=weight) for k in (2, 4))
    return np.average(energy, weights=weight) / 16, 1 - m4 / (3 * m2**2)


def agree(blocks: Blocks, torus: tuple[float, float]) -> None:
    for observable, expected in zip((ENERGY, U4), torus, strict=True):
        made = critical.estimate(observable, blocks)
        assert abs(made.sigmas(expected)) < SIGMAS
        assert made.error < 0.01


@pytest.mark.statistical(alpha=4 * ALPHA)
@pytest.mark.parametrize("dynamics", ["metropolis", "wolff"])
def test_our_chains_sample_the_torus(dynamics, torus):
    recipe = Recipe(dynamics, 64, every=2, samples=500, burn_in=100, blocks=5)
    made = OwnChains.start("ours", 4, K, recipe, options().clock, seed=1, backend="cpu", threads=1)
    first, second = made.advance(), made.advance()
    assert first.seconds.sum() == pytest.approx(1.0)
    assert first.means.shape == (3, 64 * 5)
    assert not (first.means == second.means).all(axis=0).any()
    agree(first + second, torus)


def test_the_second_call_holds_only_the_samples_after_the_first():
    recipe = Recipe("wolff", 4, every=2, samples=6, burn_in=10, clusters=1, blocks=3)
    common = {"seed": 5, "backend": "reference"}
    made = OwnChains.start("ours", 4, K, recipe, options().clock, **common)
    made.advance()
    second = made.advance().means
    run = sample(
        lattice.square(4), K, sweeps=26, burn_in=10, replicas=4, dynamics="wolff", clusters=1,
        every=2, initial="up", observe=chains.OBSERVED, **common,
    )  # fmt: skip
    for row, name in enumerate(chains.OBSERVED):
        means = run.series[name][:, 7:].reshape(4, 3, 2).mean(axis=2).ravel()
        assert (second[row] == means / (16 if name == "energy" else 1)).all()


@pytest.mark.statistical(alpha=2 * ALPHA)
def test_peapods_chains_of_one_temperature_are_independent_and_sample_the_torus(torus):
    pytest.importorskip("peapods")
    made = Peapods.start(4, K, options().clock, streams=16, sweeps=500, calls=3)
    blocks = made.advance()
    assert blocks.means.shape == (3, 48)
    assert np.unique(blocks.means, axis=1).shape == (3, 48)
    assert blocks.seconds.sum() == pytest.approx(3.0)
    agree(blocks, torus)


@pytest.mark.statistical(alpha=2 * ALPHA)
def test_spinmc_samples_the_torus(torus):
    pytest.importorskip("pyalps")
    blocks = Spinmc(4, K, 500_000, 2, seed=1).advance()
    assert blocks.seconds.min() > 0
    agree(blocks, torus)


# Runs of spinmc.


class Executed(Spinmc):
    """Spinmc whose processes take prescribed seconds."""

    def _execute(self, folder: Path, sweeps: int):
        means = np.ones((3, 100))
        return (1.5, [(means, 3_250)] * 2) if sweeps == 1 else (self.took, [(means, 25_650)] * 2)


def test_the_start_of_spinmc_is_not_in_its_seconds():
    made = Executed(32, K, 24_000, 2, seed=1, package=None)
    made.took = 1.5 + 2 * 22_400 * 1e-4
    blocks = made.advance()
    assert blocks.seconds == pytest.approx(np.full(200, 256 * 1e-4))
    assert made.seed == 3


def test_no_two_runs_of_spinmc_have_a_seed_in_common(monkeypatch):
    written = []
    package = SimpleNamespace(
        __file__="", writeInputFiles=lambda name, tasks: written.append(tasks) or name
    )
    seconds = itertools.count(1.0)
    monkeypatch.setattr(chains, "_cpu_seconds", lambda command: next(seconds))
    monkeypatch.setattr(chains, "_read", lambda file: (np.ones((3, 64)), 64 * int(next(seconds))))
    made = Spinmc(32, K, 24_000, 3, seed=7, package=package)
    made.advance()
    made.advance()
    long = [task["SEED"] for tasks in written for task in tasks if task["SWEEPS"] == 24_000]
    assert long == [7, 8, 9, 10, 11, 12]
    assert all(float(task["T"]) == 1 / K for tasks in written for task in tasks)


def test_a_run_of_spinmc_lost_in_its_start_is_refused():
    made = Executed(32, K, 24_000, 2, seed=1, package=None)
    made.took = 1.5
    with pytest.raises(RuntimeError, match=r"spinmc took 1\.5 s for 51300 sweeps and 1\.5 s for"):
        made.advance()


def test_the_sweeps_of_a_bin_are_those_of_doubling_at_128_bins():
    size, bins = 1, 0
    for sweeps in range(1, 20_000):
        bins += sweeps % size == 0
        if bins == 128:
            size, bins = 2 * size, 64
        assert chains._bin_sweeps(sweeps, bins) == size
    # as seen in files of spinmc 3.0.0, whose bins were sums then
    assert [chains._bin_sweeps(*seen) for seen in ((3033, 94), (11056, 86), (47569, 92))] == [
        32, 128, 512,
    ]  # fmt: skip
