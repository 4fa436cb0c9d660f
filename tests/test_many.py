"""Many models side by side: the bits of each alone."""

from __future__ import annotations

import numpy as np
import pytest
from engine import CHAIN_127, FROZEN, NARROW, Trial, dense_graph, graph

from isingnpu import IsingModel, anneal, anneal_many, disorder, lattice, many, sample, sample_many
from isingnpu.backend import State, find_backend, get_backend
from isingnpu.backends.cuda import CudaBackend
from isingnpu.backends.cuda import many as batches
from isingnpu.backends.cuda.device import OutOfMemory
from isingnpu.backends.cuda.host import HostDevice
from isingnpu.backends.cuda.many import estimates

MODELS = [
    *(graph(n, seed=n) for n in (13, 1, 30, 7)),
    disorder.random_regular(24, 3, seed=1),
    lattice.chain(9),  # heat bath
    graph(12, real=True),
    graph(11, most=60, most_field=60, seed=2),
    CHAIN_127,
    FROZEN,
    NARROW,
    dense_graph(65, most=1),
    IsingModel.from_edges([], 3, fields=[1, -2, 0]),
    IsingModel.from_edges([], 0),
    graph(21, real=True, seed=4),
]
BACKENDS = ["cpu", "cuda-host"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    reason = find_backend(request.param).unavailable()
    if reason is not None:
        pytest.skip(reason)
    return request.param


@pytest.mark.parametrize("replicas", [1, 20, 70])
def test_annealing_gives_each_model_the_bits_it_has_alone(backend, replicas):
    options = {"sweeps": 5, "replicas": replicas}
    runs = anneal_many(MODELS, backend=backend, seed=3, **options)
    for model, run in zip(MODELS, runs, strict=True):
        alone = anneal(model, backend="cpu", seed=run.settings.seed, **options)
        assert np.array_equal(run.spins, alone.spins)
        assert np.array_equal(run.state.spins, alone.state.spins)
        assert np.array_equal(run.state.flips, alone.state.flips)
        assert (run.stopped, run.sweeps_done) == ("finished", 5)
        counts = run.ledger.counts
        assert (counts.attempted, counts.flips) == (
            alone.ledger.counts.attempted, alone.ledger.counts.flips,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("dynamics", "layout"),
    [
        ("metropolis", "lane"),
        ("heat-bath", "lane"),
        ("metropolis", "plane"),
        ("swendsen-wang", None),
    ],
)
def test_sampling_gives_each_model_the_series_it_has_alone(backend, dynamics, layout):
    models = [model for model in MODELS if layout == "lane" or model.quantized.table]
    if layout is None:
        models = [model for model in MODELS if not np.any(model.fields)]
    watch = {"observe": many.NAMES, "every": 2, "burn_in": 3, "sweeps": 4, "replicas": 5,
             "dynamics": dynamics, "layout": layout}  # fmt: skip
    betas = np.linspace(0.1, 0.9, len(models))
    runs = sample_many(models, betas, backend=backend, seed=8, **watch)
    for model, beta, run in zip(models, betas, runs, strict=True):
        alone = sample(model, beta, backend="cpu", seed=run.settings.seed, **watch)
        assert list(run.series) == list(alone.series)
        for name, series in alone.series.items():
            assert np.array_equal(run.series[name], series), name
        assert np.array_equal(run.spins, alone.spins)


def batch_of(device, trials):
    batch = CudaBackend(device, "many").batch([trial.request for trial in trials])
    batch.load([State.at(start(trial)) for trial in trials])
    return batch


def start(trial):
    return (
        np.where(np.arange(trial.model.n) % 3, 1, -1)
        .astype(np.int8)[None]
        .repeat(len(trial.replicas), axis=0)
    )


def answers(trials, betas, track=True):
    """What each gives alone on the cpu."""
    made = []
    for trial, own in zip(trials, betas, strict=True):
        plan = get_backend("cpu").plan(trial.request)
        plan.load(State.at(start(trial)))
        made.append((plan.sweep(own, first=2, every=3, track=track), plan.state()))
    return made


def alike(batch, seen, expected):
    for measured, state, (right, after) in zip(seen, batch.states(), expected, strict=True):
        for name in ("energy", "magnetization", "flips"):
            assert np.array_equal(getattr(measured, name), getattr(right, name)), name
        for name in ("spins", "best", "flips"):
            assert np.array_equal(getattr(state, name), getattr(after, name)), name


# Replicas that begin anywhere, of lattices too; two codes.
MIXED = [
    Trial(graph(11), [], replicas=range(13, 18), seed=1),
    Trial(graph(40, seed=3), [], replicas=range(40), seed=2),
    Trial(graph(17, seed=5), [], replicas=range(30, 61), seed=2**64 - 1),
    Trial(lattice.square((4, 6)), [], replicas=range(2), seed=3, order=range(23, -1, -1)),
]
OTHERS = [
    Trial(lattice.square((4, 6)), [], "lattice", replicas=range(2, 5)),
    Trial(lattice.triangular((6, 9)), [], "lattice", replicas=range(4)),
]


@pytest.mark.parametrize("order", [1, 20])
@pytest.mark.parametrize("piece", [60, 1 << 24])
def test_cuts_into_launches_and_schedules_of_fibers_change_nothing(monkeypatch, piece, order):
    monkeypatch.setattr(batches, "PIECE", piece)
    trials = MIXED + OTHERS
    source = np.random.default_rng(1)
    betas = [source.uniform(0, 1, 7) for _ in trials]  # in orders of their own
    betas[1] = betas[0]  # one schedule of models with unlike bounds
    assert trials[0].model.quantized.bound != trials[1].model.quantized.bound
    batch = batch_of(HostDevice(order), trials)
    seen = batch.sweep(betas, first=2, every=3, track=True)
    alike(batch, seen, answers(trials, betas))


@pytest.mark.parametrize("dynamics", ["metropolis", "heat-bath"])
def test_whole_integers_are_decided_by_the_limits_of_their_own_model(monkeypatch, dynamics):
    """Real couplings, an estimate that leaves every decision open, and temperatures of unlike
    magnitude: the constant and the cutoff of another model would freeze or free the spins."""

    def undecided(betas, quantum):
        slopes = estimates(betas, quantum)
        slopes[:, 0] = np.array(np.nan, np.float32).view(np.int32)
        return slopes

    monkeypatch.setattr(batches, "estimates", undecided)
    models = [graph(n, real=True, seed=n) for n in (9, 12, 10, 7)]
    trials = [Trial(m, [], dynamics=dynamics, replicas=range(3, 8), seed=4) for m in models]
    betas = [scale * np.linspace(0.5, 1, 6) for scale in (1e6, 0.1, 1e3, 1e-3)]
    batch = batch_of(HostDevice(), trials)
    seen = batch.sweep(betas, first=2, every=3, track=True)
    alike(batch, seen, answers(trials, betas))


class Counting(HostDevice):
    """The processor, with the grids of the sweeps that were launched."""

    def __init__(self):
        super().__init__()
        self.sweeps = []

    def kernel(self, code, name):
        kernel = super().kernel(code, name)

        def launch(grid, *args, **options):
            if name == "sweep":
                self.sweeps.append(grid)
            kernel(grid, *args, **options)

        return launch


def test_models_of_one_code_are_one_launch_and_the_largest_comes_first():
    device = Counting()
    trials = [Trial(graph(n, seed=n), [], replicas=range(20)) for n in range(3, 40)]
    batch = batch_of(device, trials)
    batch.sweep([np.linspace(0, 1, 30)] * len(trials), first=0, every=7, track=True)
    assert device.sweeps == [(1, len(trials))]
    (own, part), = batch.parts  # fmt: skip
    work = [trials[k].model.csr.nnz for k in own]
    assert work == sorted(work, reverse=True) != [trial.model.csr.nnz for trial in trials]
    assert batch.kernels == ["lanes"] * len(trials)
    assert len(part.parts) == len(trials)


def test_a_launch_has_no_more_groups_than_a_grid(monkeypatch):
    monkeypatch.setattr(batches, "GROUPS", 3)
    device = Counting()
    trials = MIXED[:3] * 2
    betas = [np.linspace(0, 1, 4)] * len(trials)
    batch = batch_of(device, trials)
    seen = batch.sweep(betas, first=2, every=3, track=True)
    assert all(groups <= 3 for _, groups in device.sweeps)
    alike(batch, seen, answers(trials, betas))


def test_large_models_and_forced_kernels_have_plans_of_their_own(monkeypatch):
    monkeypatch.setattr(batches, "SMALL", 30)
    trials = [*MIXED, Trial(dense_graph(65, most=1), [], replicas=range(3))]
    batch = batch_of(HostDevice(), trials)
    assert batch.kernels == ["lanes"] * 4 + ["dense"]
    betas = [np.linspace(0, 0.3, 4)] * len(trials)
    seen = batch.sweep(betas, first=2, every=3, track=True)
    assert all(measured.path.shape[1] == 0 for measured in seen)
    alike(batch, seen, answers(trials, betas))


def test_seeds_of_models_do_not_depend_on_their_number():
    seeds = many.model_seeds(7, 1000)
    assert seeds[:3] == many.model_seeds(7, 3)
    assert len(set(seeds) | set(many.model_seeds(8, 1000))) == 2000


def test_models_are_swept_in_pieces_that_memory_holds(monkeypatch):
    models = [graph(n, seed=n) for n in (9, 20, 5, 6)]
    whole = anneal_many(models, sweeps=3, replicas=2, backend="cpu", seed=1)
    calls, together = [], many._swept_together

    def noting(runs):
        calls.append(len(runs))
        return together(runs)

    monkeypatch.setattr(many, "_swept_together", noting)
    monkeypatch.setattr(many, "HELD", 24)
    pieces = anneal_many(models, sweeps=3, replicas=2, backend="cpu", seed=1)
    assert calls == [1, 1, 2]
    for a, b in zip(whole, pieces, strict=True):
        assert np.array_equal(a.spins, b.spins)
    assert anneal_many([], seed=1) == []


def test_shares_of_the_time_add_up():
    runs = anneal_many(MODELS, sweeps=3, backend="cpu", seed=1)
    sites = sum(model.n for model in MODELS)
    total = sum(run.ledger.wall_s for run in runs)
    for model, run in zip(MODELS, runs, strict=True):
        assert run.ledger.wall_s == pytest.approx(total * model.n / sites, rel=1e-12)


def test_a_batch_that_is_too_large_says_how_many_models_fit(monkeypatch):
    monkeypatch.setattr(batches, "PIECE", 1 << 10)
    trials = [Trial(graph(40, seed=3), [], replicas=range(400))] * 50
    with pytest.raises(OutOfMemory, match=r"a batch with 50 models needs .*: 9 models fit"):
        batch_of(HostDevice(memory=1 << 20), trials)


def test_what_is_not_offered_is_refused():
    with pytest.raises(ValueError, match=r"betas of many models must be \(sweeps,\)"):
        anneal_many(MODELS[:2], np.ones((3, 1)))
    with pytest.raises(ValueError, match="anneal has no swendsen-wang"):
        anneal_many(MODELS[:2], dynamics="swendsen-wang")
    with pytest.raises(ValueError, match="overlap is not recorded of many models"):
        sample_many(MODELS[:2], 0.1, observe="overlap")
    with pytest.raises(ValueError, match="unknown observable 'spins'"):
        sample_many(MODELS[:2], 0.1, observe="spins")
    batch = batch_of(HostDevice(), MIXED[:2])
    with pytest.raises(ValueError, match="the same for all models"):
        batch.sweep([np.ones(2), np.ones(3)], first=0)
