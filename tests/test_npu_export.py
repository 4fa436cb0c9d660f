"""Potts models as Ising models, and two phases as a gradient, by enumeration and sampling."""

from __future__ import annotations

import dimod
import numpy as np
import pytest

from isingnpu import IsingModel, exact
from isingnpu.backend import find_backend
from isingnpu.npu.export import ENCODINGS, penalty_study, to_ising, valid_fraction
from isingnpu.npu.output import OutputBlock
from isingnpu.npu.potts import PottsModel
from isingnpu.npu.two_phase import (
    SampledPhase,
    clamp,
    exact_phase,
    two_phase_statistics,
)

rng = np.random.default_rng(31)


def machine() -> OutputBlock:
    """An output spin of 4 colours, 3 hidden spins, a selector over 3 positions."""
    selector = (rng.normal(size=3), rng.normal(size=(3, 4)))
    return OutputBlock(
        rng.normal(size=4), rng.normal(size=3), rng.normal(size=(4, 3)), (selector,)
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_energies_of_valid_states_are_those_of_the_potts_model(encoding: str) -> None:
    model = machine().model()
    exported = to_ising(model, 3.0, encoding)
    assert exported.ising.n == (4 + 3 + 3 if encoding == "one-hot" else 3 + 3 + 2)
    states = model.states()
    spins = exported.encode(states)
    np.testing.assert_allclose(exported.ising.energy(spins), model.energy(states), atol=1e-12)
    back, valid = exported.decode(spins)
    assert valid.all()
    assert np.array_equal(back, states)


@pytest.mark.parametrize("penalty", [0.5, 4.0])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_given_validity_the_ising_law_is_the_heat_bath(encoding: str, penalty: float) -> None:
    """Enumerated over all 2^n spin states, and traced over hidden spins and the selector."""
    block = machine()
    exported = to_ising(block.model(), penalty, encoding)
    spins, _ = exact.enumerate_states(exported.ising)
    p = exact.boltzmann(exported.ising, 1.0)
    states, valid = exported.decode(spins)
    assert valid.sum() == 4 * 8 * 3
    law = np.bincount(states[valid, 0], p[valid], 4)
    np.testing.assert_allclose(np.log(law / law.sum()), block.log_law(), atol=1e-12)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_penalty_costs_at_least_itself_and_nothing_on_valid_states(encoding: str) -> None:
    exported = to_ising(PottsModel((np.zeros(5),)), 7.0, encoding)
    spins, energies = exact.enumerate_states(exported.ising)
    valid = exported.decode(spins)[1]
    assert abs(energies[valid]).max() < 1e-12
    assert energies[~valid].min() > 7.0 - 1e-9
    if encoding == "one-hot":
        up = (spins == 1).sum(1)
        np.testing.assert_allclose(energies, 7.0 * (up - 1.0) ** 2, atol=1e-11)


def test_dimod_finds_the_most_probable_state() -> None:
    model = machine().model()
    exported = to_ising(model, 20.0)
    best = dimod.ExactSolver().sample(exported.ising.to_bqm()).first
    spins = [best.sample[label] for label in exported.ising.variables]
    states, valid = exported.decode(np.array(spins))
    assert valid
    assert model.energy(states) == pytest.approx(model.energy(model.states()).min(), rel=1e-12)
    assert best.energy == pytest.approx(float(model.energy(states)), rel=1e-9)


def test_exports_that_mean_nothing_are_refused() -> None:
    model = PottsModel((np.zeros(3),))
    with pytest.raises(ValueError, match="penalty must be > 0"):
        to_ising(model, 0.0)
    with pytest.raises(ValueError, match="encoding must be one of"):
        to_ising(model, 1.0, "binary")


def test_valid_fraction_is_the_enumerated_one() -> None:
    scores = rng.normal(size=7)
    exported = to_ising(PottsModel((scores,)), 1.5)
    spins, _ = exact.enumerate_states(exported.ising)
    p = exact.boltzmann(exported.ising, 1.0)
    assert valid_fraction(scores, 1.5) == pytest.approx(p[exported.decode(spins)[1]].sum())


@pytest.mark.statistical(alpha=1e-6)
def test_penalties_trade_validity_for_acceptance() -> None:
    """64 positions, Metropolis from random states. At A = 2 few states are valid, as many as in
    equilibrium within Hoeffding's bound for independent reads. At A = 8 nearly all are, but a
    move takes hundreds of attempts: after 20 sweeps the states are those that became valid first,
    far from the law, where a native heat bath leaves sampling noise."""
    scores, replicas = rng.normal(size=64), 2048
    loose, _, tight = penalty_study(scores, replicas=replicas, sweeps=100, seed=3)
    bound = np.sqrt(np.log(2 / 1e-6) / (2 * replicas))
    assert abs(loose.valid - loose.valid_exact) < bound
    assert loose.valid < 0.3 < 0.9 < tight.valid
    assert tight.attempts_per_move > 5 * loose.attempts_per_move
    (early,) = penalty_study(scores, [8.0], replicas=replicas, sweeps=20, seed=3)
    assert early.distance > 4 * early.native


def random_ising(n: int) -> IsingModel:
    J = rng.normal(size=(n, n)) / 2
    return IsingModel.from_dense(np.triu(J, 1) + np.triu(J, 1).T, rng.normal(size=n) / 2)


X, Y = (np.array([0, 1, 2]), np.array([1, -1, 1])), (np.array([5, 8]), np.array([-1, 1]))


def log_likelihood(model: IsingModel) -> float:
    """ln p(y | x) from two partition functions."""

    def log_z(sites: np.ndarray, spins: np.ndarray) -> float:
        return exact.thermodynamics(clamp(model, sites, spins), 1.0).ln_z

    both = np.concatenate([X[0], Y[0]]), np.concatenate([X[1], Y[1]])
    return log_z(*both) - log_z(*X)


def test_clamping_keeps_the_energy() -> None:
    model = random_ising(9)
    part = clamp(model, *X)
    spins, energies = exact.enumerate_states(part)
    whole = np.empty((len(spins), 9), np.int8)
    whole[:, X[0]], whole[:, 3:] = X[1], spins
    np.testing.assert_allclose(model.energy(whole), energies, atol=1e-12)
    with pytest.raises(ValueError, match="-1 or \\+1"):
        clamp(model, [0], [0])


def slopes(model: IsingModel) -> tuple[np.ndarray, np.ndarray]:
    """Central differences of ln p(y | x) in every coupling and field."""
    n, step = model.n, 1e-5
    J, h = np.zeros((n, n)), np.zeros(n)
    for i in range(n):
        for j in range(i, n):
            ends = []
            for sign in (step, -step):
                couplings, fields = model.dense.copy(), model.fields.copy()
                if i == j:
                    fields[i] += sign
                else:
                    couplings[i, j] += sign
                    couplings[j, i] += sign
                ends.append(log_likelihood(IsingModel.from_dense(couplings, fields)))
            slope = (ends[0] - ends[1]) / (2 * step)
            if i == j:
                h[i] = slope
            else:
                J[i, j] = J[j, i] = slope
    return J, h


def test_clamped_minus_free_is_the_gradient_of_the_log_likelihood() -> None:
    model = random_ising(9)
    J, h = slopes(model)
    delta_j, delta_h = two_phase_statistics(model, X, Y)
    assert np.linalg.norm(delta_j - J) < 1e-6 * np.linalg.norm(J)
    assert np.linalg.norm(delta_h - h) < 1e-6 * np.linalg.norm(h)


@pytest.mark.parametrize("betas", [None, (*np.linspace(0.2, 1, 10).tolist(), *[1.0] * 30)])
@pytest.mark.statistical(alpha=1e-6)
def test_sampled_phases_are_unbiased(betas: tuple[float, ...] | None) -> None:
    """Two phases of independent reads of +-1: Hoeffding on every entry, union over n^2."""
    model, replicas = random_ising(9), 40_000
    exact_j, exact_h = two_phase_statistics(model, X, Y, exact_phase)
    phase = SampledPhase(replicas, sweeps=40, betas=betas, seed=4)
    found_j, found_h = two_phase_statistics(model, X, Y, phase)
    bound = 2 * np.sqrt(2 * np.log(2 * 2 * (81 + 9) / 1e-6) / replicas)
    assert abs(found_j - exact_j).max() < bound
    assert abs(found_h - exact_h).max() < bound
    assert bound < 0.2 * abs(exact_j).max()  # so that it says something


@pytest.mark.parametrize("betas", [None, (0.3, 0.6, 1.0)])
def test_phases_are_the_same_on_every_backend(betas: tuple[float, ...] | None) -> None:
    reason = find_backend("cuda-host").unavailable()
    if reason is not None:
        pytest.skip(reason)
    model = random_ising(9)
    found = [
        SampledPhase(70, sweeps=5, betas=betas, backend=name, seed=3)(model)
        for name in ("cpu", "cuda-host")
    ]
    assert np.array_equal(found[0].pairs, found[1].pairs)
    assert np.array_equal(found[0].means, found[1].means)


def test_a_phase_that_ends_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="ends at beta = 1"):
        SampledPhase(10, betas=(0.5, 0.9))(random_ising(4))


def test_an_exported_machine_learns_by_its_own_phases() -> None:
    """The output spin clamped through its code: clamped minus free of the exported model equals
    the central difference of ln p of that code word, penalty states included on both sides."""
    exported = to_ising(
        PottsModel((np.zeros(3), rng.normal(size=2)), {(0, 1): rng.normal(size=(3, 2))}), 2.0
    )
    model, block = exported.ising, exported.blocks[0]
    sites = np.arange(block.start, block.stop)
    y = exported.encode([1, 0])[block]
    delta = two_phase_statistics(model, (np.zeros(0, int), np.zeros(0)), (sites, y))[1]

    def likelihood(fields: np.ndarray) -> float:
        moved = IsingModel(model.couplings, fields)
        clamped = exact.thermodynamics(clamp(moved, sites, y), 1.0)
        return clamped.ln_z - exact.thermodynamics(moved, 1.0).ln_z

    step = 1e-5 * np.eye(model.n)
    found = [(likelihood(model.fields + e) - likelihood(model.fields - e)) / 2e-5 for e in step]
    np.testing.assert_allclose(delta, found, atol=1e-9)
