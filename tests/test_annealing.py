"""The verbs: stopping early, resuming to the same bits, and what they refuse."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from isingnpu import IsingModel, Run, anneal, lattice, resume, rng, sample
from isingnpu import loop as loop_module
from isingnpu.disorder import edwards_anderson

MODEL = edwards_anderson((4, 4, 4), seed=1)
WATCHED = ("energy", "work", "heat", "overlap", "acceptance", "structure_factor")


def assert_same(a: Run, b: Run) -> None:
    for name in ("spins", "best", "flips"):
        assert np.array_equal(getattr(a.state, name), getattr(b.state, name))
    assert a.series.keys() == b.series.keys()
    for name, series in a.series.items():
        assert np.array_equal(series, b.series[name]), name
    assert np.array_equal(a.work, b.work)
    assert np.array_equal(a.heat, b.heat)
    assert a.sweeps_done == b.sweeps_done
    assert (a.ledger.counts.attempted, a.ledger.counts.flips) == (
        b.ledger.counts.attempted,
        b.ledger.counts.flips,
    )


def stopped_after(chunks: int):
    """An interrupt that stops a run after that many chunks."""
    calls = iter([False] * (chunks - 1) + [True] * 1000)
    return lambda: next(calls)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 1, 4, 16, ... sweeps."""
    monkeypatch.setattr(loop_module, "FIRST_CHUNK", 1)
    monkeypatch.setattr(loop_module, "CHUNK_S", 1e3)


def whole_and_stopped(**changes):
    options = {"replicas": 6, "sweeps": 40, "seed": 3, "observe": WATCHED, "every": 3} | changes
    stopped = anneal(MODEL, interrupt=stopped_after(3), **options)
    assert 0 < stopped.sweeps_done < 40
    assert stopped.stopped == "interrupt"
    return anneal(MODEL, **options), stopped


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("dynamics", ["metropolis", "heat-bath"])
@pytest.mark.parametrize("layout", ["lane", "plane"])
def test_resuming_gives_the_bits_of_not_stopping(dynamics, layout):
    whole, stopped = whole_and_stopped(dynamics=dynamics, layout=layout)
    assert_same(resume(stopped), whole)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("changes", [{"threads": 2}, {"threads": 1}, {"backend": "reference"}])
def test_a_saved_run_resumes_on_other_threads_and_backends(tmp_path, changes):
    # but for structure_factor: backends add its cosines in different orders
    whole, stopped = whole_and_stopped(observe=WATCHED[:-1])
    stopped.save(tmp_path / "half")
    assert_same(resume(tmp_path / "half.npz", **changes), whole)


@pytest.mark.usefixtures("small_chunks")
def test_resuming_carries_flips_between_samples():
    whole, stopped = whole_and_stopped(observe="acceptance", every=16)
    assert stopped.sweeps_done % 16
    assert_same(resume(stopped), whole)


def test_resume_extends_a_sample_at_its_beta():
    options = {"burn_in": 5, "replicas": 4, "seed": 9, "observe": ("energy", "m2")}
    longer = resume(sample(MODEL, 0.5, sweeps=10, **options), sweeps=15)
    assert_same(longer, sample(MODEL, 0.5, sweeps=25, **options))


def test_a_checkpoint_holds_the_run(tmp_path):
    run = anneal(MODEL, sweeps=30, replicas=4, seed=1, checkpoint=tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.json", "c.npz"]
    assert_same(Run.load(tmp_path / "c"), run)
    assert_same(resume(tmp_path / "c"), run)


def test_checkpoints_on_the_way_resume_to_the_same_end(tmp_path, monkeypatch):
    monkeypatch.setattr(loop_module, "FIRST_CHUNK", 1)
    monkeypatch.setattr(loop_module, "CHUNK_S", 0.0)
    options = {"sweeps": 12, "replicas": 4, "seed": 5, "observe": ("energy",)}
    saved = []

    def keep():
        if (tmp_path / "c.npz").exists():
            saved.append(Run.load(tmp_path / "c"))
        return False

    path = tmp_path / "c"
    whole = anneal(MODEL, interrupt=keep, checkpoint=path, checkpoint_every=0.0, **options)
    assert {run.stopped for run in saved} == {"checkpoint"}
    for run in saved[::3]:
        assert_same(resume(run), whole)


def test_one_read_replays_alone():
    whole = anneal(MODEL, sweeps=20, replicas=40, seed=7)
    for read in (0, 17, 39):
        alone = anneal(MODEL, sweeps=20, replicas=1, first_replica=read, seed=7)
        assert np.array_equal(alone.spins[0], whole.spins[read])


def test_a_forced_kernel_is_recorded_and_changes_no_bit():
    chosen, forced = (
        anneal(MODEL, sweeps=10, replicas=5, seed=7, backend="cpu", kernel=kernel)
        for kernel in (None, "scalar")
    )
    assert chosen.provenance["kernel"] == "lanes"
    assert forced.provenance["kernel"] == forced.settings.kernel == "scalar"
    assert np.array_equal(chosen.spins, forced.spins)


def test_a_forced_kernel_stays_on_resume_unless_the_backend_changes():
    run = anneal(MODEL, sweeps=4, replicas=3, seed=7, backend="cpu", kernel="scalar")
    assert resume(run, sweeps=1).provenance["kernel"] == "scalar"
    assert resume(run, sweeps=1, backend="reference").provenance["kernel"] == "reference"


@pytest.mark.parametrize("chunk_s", [0.0, 1e-4, 10.0])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_target_stops_after_the_first_sweep_that_reaches_it(monkeypatch, chunk_s, threads):
    options = {"sweeps": 200, "replicas": 70, "seed": 2}
    path = anneal(MODEL, observe="energy", **options).series["energy"]
    target = float(np.sort(path.min(axis=0))[3])
    first = int(np.flatnonzero((path <= target).any(axis=0))[0]) + 1
    monkeypatch.setattr(loop_module, "FIRST_CHUNK", 1)
    monkeypatch.setattr(loop_module, "CHUNK_S", chunk_s)
    run = anneal(MODEL, target=target, threads=threads, **options)
    assert (run.stopped, run.sweeps_done) == ("target", first)
    assert run.energies.min() <= target
    assert np.array_equal(run.energies, path[:, :first].min(axis=1))
    assert run.ledger.counts.attempted == 70 * 64 * first


def test_what_a_pass_beyond_the_target_took_is_in_the_ledger(monkeypatch):
    options = {"replicas": 70, "seed": 2, "backend": "reference"}
    monkeypatch.setattr(loop_module, "FIRST_CHUNK", 10**9)  # one chunk of all sweeps
    run = anneal(MODEL, sweeps=20, target=0.0, **options)
    assert run.sweeps_done < 20
    once = anneal(MODEL, run.betas[:1], **options).ledger.counts
    swept = 20 + run.sweeps_done
    assert run.ledger.counts.random_words == swept * once.random_words
    assert run.ledger.counts.couplings == swept * once.couplings
    assert run.ledger.counts.attempted == run.sweeps_done * once.attempted


def test_the_ground_energy_of_real_couplings_is_a_target_that_is_reached():
    generator = np.random.default_rng(1)
    i, j = np.triu_indices(8, 1)
    for _ in range(20):
        model = IsingModel.from_edges((i, j, generator.normal(size=i.size)), 8)
        best = anneal(model, sweeps=100, replicas=64, seed=1).best[1]
        assert anneal(model, sweeps=100, replicas=64, seed=1, target=best).stopped == "target"


def test_a_time_limit_ends_the_run_with_its_best_states():
    run = anneal(MODEL, sweeps=10**7, replicas=4, seed=1, time_limit=0.2)
    assert run.stopped == "time limit"
    assert 0 < run.sweeps_done < 10**7
    assert np.array_equal(run.energies, MODEL.energy(run.spins))
    assert np.all(run.energies <= MODEL.energy(run.state.spins))


def test_best_states_are_the_lowest_of_the_path():
    run = anneal(MODEL, np.full(60, 0.3), replicas=5, seed=4, observe="energy")
    assert np.array_equal(run.energies, run.series["energy"].min(axis=1))
    first = rng.initial_spins(range(5), MODEL.n, 4)
    cold = anneal(MODEL, np.full(3, 0.01), replicas=5, seed=4, initial=first)
    assert np.all(cold.energies <= MODEL.energy(first))


def test_ctrl_c_returns_the_best_so_far(tmp_path):
    script = (
        "import isingnpu, sys\n"
        "model = isingnpu.lattice.square(64)\n"
        "isingnpu.anneal(model, sweeps=2, seed=1)\n"
        "print('ready', flush=True)\n"
        "run = isingnpu.anneal(model, sweeps=10**5, replicas=2, seed=1)\n"
        "print(run.stopped, run.energies.shape, run.sweeps_done > 0)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert said == "interrupt (2,) True\n"
    assert process.returncode == 0


def test_chains_and_rings_are_annealed_to_their_ground_state():
    # Sequential Metropolis carries all domain walls along in step: they would never meet.
    ring = lattice.chain(6)
    assert anneal(ring, sweeps=100, replicas=16, seed=1).energies.tolist() == [-6.0] * 16
    assert anneal(ring, sweeps=1, seed=1).settings.dynamics == "heat-bath"
    assert anneal(MODEL, sweeps=1, seed=1).settings.dynamics == "metropolis"


def test_first_spins_can_be_given():
    spins = rng.initial_spins(range(3), MODEL.n, 77)
    run = anneal(MODEL, [1e6], replicas=3, seed=1, initial=spins)
    alike = anneal(MODEL, [1e6], replicas=3, seed=1, initial=spins[0])
    assert np.array_equal(run.spins[0], alike.spins[0])


def test_no_seed_is_drawn_and_recorded():
    a, b = (anneal(MODEL, sweeps=2) for _ in range(2))
    assert a.settings.seed != b.settings.seed
    assert np.array_equal(anneal(MODEL, sweeps=2, seed=a.settings.seed).spins, a.spins)


@pytest.mark.parametrize("n", [0, 1])
def test_the_smallest_models_work(n):
    model = IsingModel.from_edges([], n, fields=np.ones(n), offset=2.0)
    run = anneal(model, sweeps=5, replicas=3, seed=1)
    assert run.energies.tolist() == [2.0 - n] * 3


def test_progress_is_silent_unless_asked_for(capsys):
    anneal(MODEL, sweeps=3, seed=1)
    assert capsys.readouterr() == ("", "")
    anneal(MODEL, sweeps=3, seed=1, progress=True)
    assert "sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sweeps": 0}, "sweeps must be a whole number >= 1, got 0"),
        ({"sweeps": 1.5}, "got 1.5"),
        ({"replicas": 0}, "replicas must be a whole number >= 1, got 0"),
        ({"first_replica": -1}, "first_replica .* got -1"),
        ({"every": 0, "observe": "energy"}, "every .* got 0"),
        ({"threads": 0}, "threads .* got 0"),
        ({"rounds": 8}, "rounds must be one of"),
        ({"schedule": [0.1, -0.5]}, r"beta\[1\] = -0.5"),
        ({"schedule": []}, "at least one sweep"),
        ({"schedule": np.ones((4, 3))}, r"\(4, 3\)"),
        ({"schedule": "cosine"}, "linear, geometric, linear-T"),
        ({"dynamics": "kawasaki"}, "metropolis, heat-bath"),
        ({"backend": "tpu"}, "unknown backend 'tpu'"),
        ({"layout": "rows"}, "lane, plane, lattice"),
        ({"layout": "lattice", "order": range(64)}, "its own order"),
        ({"order": [0, 0]}, "each site"),
        ({"observe": "entropy"}, "unknown observable 'entropy'"),
        ({"observe": "overlap", "replicas": 3}, "must be even, got 3"),
        ({"initial": np.zeros(64)}, "spins must be -1 or"),
        ({"initial": np.ones((2, 64)), "replicas": 3}, r"got \(2, 64\)"),
        ({"time_limit": 0}, "time_limit must be > 0"),
        ({"target": np.nan}, "target must be a finite"),
        ({"checkpoint": "/no/such/folder/c"}, "does not exist"),
        ({"checkpoint_every": -1.0}, r"checkpoint_every must be >= 0 seconds, got -1\.0"),
        ({"seed": -1}, "-1"),
        (
            {"kernel": "quick", "backend": "cpu"},
            "unknown kernel 'quick', the cpu backend has lane",
        ),
        ({"kernel": "dense", "backend": "cpu"}, "does not fit this request: fewer than a quarter"),
    ],
)
def test_what_is_not_allowed_is_named(changes, said):
    with pytest.raises(ValueError, match=said):
        anneal(MODEL, **changes)
