"""Observables against the spins they are made of, and the laws of work and heat."""

import math

import numpy as np
import pytest
from engine import graph

from isingnpu import IsingModel, anneal, exact, lattice, loop, resume, sample
from isingnpu.observables import NAMES, check_names

EPS = np.finfo(float).eps
SQUARE = lattice.square((4, 8))
RAMP = np.linspace(0.2, 1.5, 37)
BETAS = {"shared": RAMP, "per replica": np.stack([RAMP, RAMP[::-1], RAMP**2, 0 * RAMP], axis=1)}


@pytest.fixture(scope="module")
def watched():
    """All observables of four replicas, a sample after every fourth of 24 sweeps."""
    return sample(SQUARE, 0.4, sweeps=24, every=4, replicas=4, seed=3, observe=NAMES)


@pytest.mark.parametrize("betas", BETAS.values(), ids=BETAS)
@pytest.mark.parametrize("rule", ["metropolis", "heat-bath"])
@pytest.mark.parametrize("real", [False, True], ids=["whole", "real"])
def test_work_minus_heat_is_the_change_of_beta_times_energy(betas, rule, real):
    bare = graph(11, seed=4, real=real)
    model = IsingModel(bare.couplings, bare.fields, offset=2.5)
    first = np.where(np.random.default_rng(5).random((4, 11)) < 0.5, -1, 1)
    run = anneal(
        model, betas, replicas=4, seed=1, initial=first, observe=("work", "heat"), dynamics=rule
    )
    change = betas[-1] * model.energy(run.state.spins) - betas[0] * model.energy(first)
    # real couplings are swept as whole numbers of quanta, each off by at most quantized.error
    rounding = (betas[0] + betas[-1]) * model.quantized.error * (model.n + model.n_edges)
    assert (np.abs(run.work - run.heat - change) <= rounding + 1e-11).all()
    assert (rounding < 1e-5).all()
    assert np.array_equal(run.series["work"][:, -1], run.work)
    assert np.array_equal(run.series["heat"][:, -1], run.heat)


def test_work_is_the_sum_of_beta_steps_times_the_energy_before_each():
    run = anneal(SQUARE, RAMP, replicas=4, seed=2, observe=("energy", "work"))
    before = run.series["energy"][:, :-1]
    by_hand = np.cumsum(np.diff(RAMP) * before, axis=1)
    np.testing.assert_allclose(run.series["work"][:, 1:], by_hand, rtol=1e-12, atol=1e-12)
    assert np.array_equal(run.series["work"][:, 0], np.zeros(4))


@pytest.mark.statistical(alpha=1e-6)
@pytest.mark.parametrize("rule", ["metropolis", "heat-bath"])
def test_the_work_of_a_ramp_from_infinite_temperature_obeys_jarzynski(rule):
    # random first spins are in equilibrium at beta = 0
    model, betas = lattice.square(3), np.linspace(0, 0.25, 6)
    run = anneal(model, betas, replicas=20_000, seed=11, observe="work", every=6, dynamics=rule)
    ln_ratio = exact.thermodynamics(model, 0.25).ln_z - model.n * math.log(2)
    weights = np.exp(-run.work - ln_ratio)
    error = weights.std(ddof=1) / math.sqrt(weights.size)
    assert error < 0.02  # k = 4.9 of them: the energy after the step instead of before is seen
    assert abs(weights.mean() - 1) < 4.9 * error  # P(|z| > 4.9) = 9.6e-7


@pytest.mark.parametrize("shape", [(4, 6), (5, 3), (3, 4, 5)])
def test_structure_factor_is_that_of_the_fourier_transform(shape):
    model = lattice.square(shape) if len(shape) == 2 else lattice.cubic(shape)
    run = sample(model, 0.2, sweeps=3, replicas=5, seed=4, observe="structure_factor")
    d, n = len(shape), model.n
    waves = np.fft.fftn(run.state.spins.reshape(5, *shape), axes=range(1, d + 1))
    smallest = [waves[(slice(None), *row)] for row in np.eye(d, dtype=int)]
    by_hand = (np.abs(smallest) ** 2).mean(axis=0) / n
    last = run.series["structure_factor"][:, -1]
    # n terms of relative error eps and magnitude 1, squared with |sum| <= n and divided by n
    np.testing.assert_allclose(last, by_hand, rtol=0, atol=8 * n * n * EPS)


def test_the_last_sample_is_that_of_the_last_spins(watched):
    spins, last = watched.state.spins.astype(int), {k: v[:, -1] for k, v in watched.series.items()}
    assert watched.series["energy"].shape == (4, 6)
    assert last["energy"].tolist() == SQUARE.energy(spins).tolist()
    assert last["magnetization"].tolist() == (spins.sum(axis=1) / 32).tolist()


def test_overlap_is_the_mean_product_of_replicas_two_by_two(watched):
    spins = watched.state.spins.astype(int)
    by_hand = [sum(a * b for a, b in zip(*spins[k : k + 2], strict=True)) / 32 for k in (0, 2)]
    assert watched.series["overlap"].shape == (2, 6)
    assert watched.series["overlap"][:, -1].tolist() == by_hand


def test_each_overlap_is_that_of_the_spins_after_its_own_sweep(watched):
    for k in range(1, 7):
        run = sample(SQUARE, 0.4, sweeps=4 * k, replicas=4, seed=3)
        spins = run.state.spins.astype(int)
        by_hand = (spins[0::2] * spins[1::2]).sum(axis=1) / 32
        assert watched.series["overlap"][:, k - 1].tolist() == by_hand.tolist()


def test_powers_of_the_magnetization_are_those_of_the_series(watched):
    m = watched.series["magnetization"]
    assert np.array_equal(watched.series["abs_magnetization"], np.abs(m))
    assert np.array_equal(watched.series["m2"], m**2)
    assert np.array_equal(watched.series["m4"], m**4)
    assert len(np.unique(m)) > 3


def test_acceptance_counts_every_flip_once(watched):
    # 32 sites, every 4 sweeps: the division by 128 is exact
    assert watched.series["acceptance"].sum() * 32 * 4 == watched.ledger.counts.flips


@pytest.mark.parametrize("observe", [NAMES, tuple(n for n in NAMES if n != "overlap")])
@pytest.mark.parametrize("every", [1, 3])
def test_series_do_not_depend_on_the_chunks(observe, every, monkeypatch):
    model = lattice.square(16)

    def made(seconds):
        looks = []
        monkeypatch.setattr(loop, "FIRST_CHUNK", 1)
        monkeypatch.setattr(loop, "CHUNK_S", seconds)
        run = anneal(
            model, np.linspace(0.1, 0.9, 90), replicas=64, seed=6, observe=observe, every=every,
            interrupt=lambda: bool(looks.append(1)),
        )  # fmt: skip
        return run, len(looks)

    (many, cuts), (few, fewer) = made(1e-9), made(1e9)
    assert cuts > fewer or "overlap" in observe  # the overlap cuts after every sample anyway
    assert list(many.series) == list(few.series) == list(observe)
    for name in observe:
        assert np.array_equal(many.series[name], few.series[name]), name
    assert np.array_equal(many.state.spins, few.state.spins)


@pytest.mark.parametrize("every", [1, 7])
def test_series_do_not_depend_on_an_interruption(every, monkeypatch):
    monkeypatch.setattr(loop, "FIRST_CHUNK", 64 * 256)
    monkeypatch.setattr(loop, "CHUNK_S", 1e-9)
    model, betas = lattice.square(16), np.linspace(0.1, 0.9, 90)
    names = tuple(n for n in NAMES if n != "overlap")
    ask = {"replicas": 64, "seed": 6, "observe": names, "every": every}
    begun = anneal(model, betas, interrupt=lambda: True, **ask)
    assert begun.stopped == "interrupt"
    assert 0 < begun.sweeps_done < 90
    whole, resumed = anneal(model, betas, **ask), resume(begun)
    for name in names:
        assert np.array_equal(whole.series[name], resumed.series[name]), name
    assert np.array_equal(whole.work, resumed.work)
    assert np.array_equal(whole.heat, resumed.heat)


def test_samples_begin_after_burn_in_and_keep_its_trajectory():
    late = sample(SQUARE, 0.4, sweeps=12, burn_in=8, every=4, replicas=2, seed=3)
    whole = sample(SQUARE, 0.4, sweeps=20, every=4, replicas=2, seed=3)
    assert late.series["energy"].shape == (2, 3)
    assert np.array_equal(late.series["energy"], whole.series["energy"][:, 2:])


def test_a_name_given_twice_is_recorded_once():
    assert check_names(["m2", "energy", "m2"], SQUARE, 1) == ("m2", "energy")


@pytest.mark.parametrize(
    ("names", "replicas", "message"),
    [
        ("entropy", 2, "unknown observable 'entropy', allowed are energy, magnetization"),
        (("energy", "overlap"), 3, "must be even, got 3"),
        ("structure_factor", 2, "needs a model with positions"),
    ],
)
def test_an_impossible_observable_is_refused_before_the_run(names, replicas, message):
    with pytest.raises(ValueError, match=message):
        sample(graph(5), 0.4, sweeps=2, observe=names, replicas=replicas)
