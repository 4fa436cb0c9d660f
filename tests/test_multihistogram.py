"""Multi-histogram reweighting against enumeration, Kaufman's torus and a fixed-point iteration on
single samples."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import special, stats

from isingnpu import exact, lattice, sample
from isingnpu.criticality import OutOfRange
from isingnpu.criticality.estimators import OBSERVED, Box, Histogram
from isingnpu.criticality.multihistogram import MultiHistogram, solve
from isingnpu.criticality.reweight import observables

SIDE, SITES = 4, 16
MODEL = lattice.square(SIDE)
BOX = Box.of(MODEL, SIDE)
BETAS = np.array([0.30, 0.38, 0.46])


@cache
def states():
    """E, m^2, m^4 and S(k_min) of all states of the 4 x 4 torus."""
    spins, energy = exact.enumerate_states(MODEL)
    m = spins.mean(axis=1)
    power = np.abs(np.fft.fft2(spins.reshape(-1, SIDE, SIDE))) ** 2 / SITES
    return energy.astype(float), m**2, m**4, (power[:, 0, 1] + power[:, 1, 0]) / 2


def probabilities(beta):
    energy = states()[0]
    p = np.exp(-beta * (energy - energy.min()))
    return p / p.sum()


def exact_histogram(beta, samples=1e6, blocks=2):
    """What infinitely many samples give, as if they were `samples` in equal blocks."""
    p = probabilities(beta) * samples / blocks
    rows = [np.bincount(BOX.level(states()[0]), p * x, BOX.levels) for x in (1, *states())]
    return Histogram(BOX, beta, np.stack(rows)[:, None, :].repeat(blocks, axis=1))


def drawn(beta, rng, replicas=12, samples=60):
    """Independent samples of the exact distribution, a block per replica."""
    pick = rng.choice(2**SITES, (replicas, samples), p=probabilities(beta))
    series = dict(zip(OBSERVED, (x[pick] for x in states()), strict=True))
    return Histogram.of(BOX, beta, series)


def test_exact_distributions_give_exact_free_energies():
    found = MultiHistogram.of([exact_histogram(beta) for beta in BETAS]).free_energies
    ln_z = np.array([exact.kaufman(SIDE, SIDE, beta).ln_z for beta in BETAS])
    np.testing.assert_allclose(found, ln_z[0] - ln_z, rtol=1e-11, atol=0)


@pytest.mark.parametrize("beta", [0.27, 0.34, 0.4406867935, 0.5])
def test_exact_distributions_give_exact_averages_between_and_beyond_them(beta):
    found = MultiHistogram.of([exact_histogram(b) for b in BETAS]).observables(beta)
    t = exact.thermodynamics(MODEL, beta)
    assert found["energy"].value == pytest.approx(t.energy, rel=1e-11)
    assert found["specific_heat"].value == pytest.approx(t.heat_capacity / SITES, rel=1e-10)
    assert found["chi"].value == pytest.approx(SITES * t.m2, rel=1e-11)
    assert found["U4"].value == pytest.approx(t.binder, rel=1e-10)


def test_free_energies_are_the_fixed_point_over_single_samples():
    """f_i = -ln sum_n exp(-beta_i E_n) / sum_k N_k exp(f_k - beta_k E_n) over all samples n,
    iterated as it stands (Shirts & Chodera 2008, eq. 11)."""
    rng = np.random.default_rng(4)
    histograms = [drawn(beta, rng, samples=40 + 20 * k) for k, beta in enumerate(BETAS)]
    energies, counts = [], np.array([h.sums[0].sum() for h in histograms])
    for h in histograms:
        n = h.sums[0].sum(axis=0).astype(int)
        energies.append(np.repeat(np.nan_to_num(h.energies), n))
    reduced = np.outer(BETAS, np.concatenate(energies))  # (betas, samples)
    f = np.zeros(3)
    for _ in range(2000):
        log = special.logsumexp(f[:, None] - reduced, axis=0, b=counts[:, None])
        f = -special.logsumexp(-reduced - log, axis=1)
        f -= f[0]
    found = MultiHistogram.of(histograms).free_energies
    np.testing.assert_allclose(found, f, rtol=1e-9)


def test_order_of_the_runs_does_not_matter():
    rng = np.random.default_rng(5)
    runs = [drawn(beta, rng) for beta in BETAS]
    forth = MultiHistogram.of(runs, [1.0, 2.0, 3.0])
    back = MultiHistogram.of(runs[::-1], [3.0, 2.0, 1.0])
    assert np.array_equal(forth.free_energies, back.free_energies)
    assert np.array_equal(forth.betas, BETAS)


def test_samples_written_twice_count_once_with_their_inefficiency():
    rng = np.random.default_rng(6)
    runs = [drawn(beta, rng) for beta in BETAS]
    twice = [runs[0], replace(runs[1], sums=2 * runs[1].sums), runs[2]]
    plain = MultiHistogram.of(runs).observables(0.4)
    corrected = MultiHistogram.of(twice, [1.0, 2.0, 1.0]).observables(0.4)
    for name, expected in plain.items():
        assert corrected[name].value == pytest.approx(expected.value, rel=1e-9), name
        assert corrected[name].error == pytest.approx(expected.error, rel=1e-9), name


def test_errors_are_those_of_leaving_blocks_out_and_solving_from_the_start():
    rng = np.random.default_rng(7)
    runs = [drawn(beta, rng) for beta in BETAS]
    found = MultiHistogram.of(runs)
    variance, beta = np.zeros(2), 0.42
    for k, run in enumerate(runs):
        samples = []
        for b in range(run.sums.shape[1]):
            rest = list(runs)
            rest[k] = replace(run, sums=np.delete(run.sums, b, axis=1))
            again = MultiHistogram.of(rest)
            sums = np.sum([h.sums.sum(axis=1) for h in again.histograms], axis=0)
            samples.append(BOX.ratios(sums @ again.weights(beta)))
        variance += (len(samples) - 1) * np.var(samples, axis=0)
    # one step of Newton's method from a solution that is off by 1 / 12 of a run
    np.testing.assert_allclose(found.ratios(beta)[1], np.sqrt(variance), rtol=2e-3)


ALPHA = 1e-6


@pytest.mark.statistical(alpha=4 * ALPHA)
def test_pulls_are_standard_normal_between_the_betas():
    rng, n, beta = np.random.default_rng(8), 150, 0.42
    t = exact.thermodynamics(MODEL, beta)
    truth = {"energy": t.energy, "chi": SITES * t.m2, "U4": t.binder,
             "specific_heat": t.heat_capacity / SITES}  # fmt: skip
    pulls: dict[str, list[float]] = {name: [] for name in truth}
    for _ in range(n):
        runs = [drawn(b, rng, replicas=30, samples=40) for b in BETAS]
        found = MultiHistogram.of(runs).observables(beta)
        for name, value in truth.items():
            pulls[name].append(found[name].sigmas(value))
    # the jackknife's own error of 90 blocks is 1/13: t distribution, 6 % wider tails at most
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], n) * np.array([0.97, 1.03])
    for name, z in pulls.items():
        assert low < np.square(z).sum() < high, name


@cache
def chains():
    """Histograms of the 8 x 8 torus, sampled at four betas; replicas are blocks."""
    model = lattice.square(8)
    box = Box.of(model, 8)
    runs = []
    for k, beta in enumerate((0.36, 0.40, 0.44, 0.48)):
        run = sample(model, beta, burn_in=150, sweeps=600, every=5, replicas=128, seed=40 + k,
                     dynamics="metropolis", observe=OBSERVED, backend="cpu")  # fmt: skip
        runs.append(Histogram.of(box, beta, run.series))
    return runs


@pytest.mark.statistical(alpha=3e-6)
def test_chains_reweight_to_kaufmans_energies_and_heat_over_their_whole_range():
    joined = MultiHistogram.of(chains())
    for beta in np.linspace(0.36, 0.48, 13):
        found, t = joined.observables(beta), exact.kaufman(8, 8, beta)
        # 26 numbers, correlated: Bonferroni with Student's t of about 128 blocks
        bound = stats.t.isf(3e-6 / 52, 127)
        assert abs(found["energy"].sigmas(t.energy)) < bound, beta
        assert abs(found["specific_heat"].sigmas(t.specific_heat)) < bound, beta


def test_runs_together_are_more_precise_than_each_alone():
    joined, alone = MultiHistogram.of(chains()), chains()[1]
    for beta in (0.40, 0.41):
        both = joined.observables(beta)["energy"].error
        assert both < 0.9 * observables(alone, beta)["energy"].error


def test_betas_out_of_range_are_refused():
    joined = MultiHistogram.of(chains())
    joined.weights(0.35)
    with pytest.raises(OutOfRange) as caught:
        joined.weights(0.2)
    assert (caught.value.beta, caught.value.target) == (0.36, 0.2)
    assert caught.value.n_eff < 0.1 * caught.value.n


def test_betas_that_share_no_energies_are_refused():
    runs = chains()
    far = replace(runs[3], beta=2.0, sums=np.roll(runs[3].sums, -60, axis=2))
    with pytest.raises(OutOfRange) as caught:
        MultiHistogram.of([runs[0], far])
    assert (caught.value.beta, caught.value.target) == (0.36, 2.0)


def test_solution_is_reached_from_a_bad_start():
    histograms = [exact_histogram(beta) for beta in BETAS]
    counts = np.stack([h.sums[0].sum(axis=0) for h in histograms])
    full = counts.any(axis=0)
    energies = histograms[0].energies[full]
    good = MultiHistogram.of(histograms).free_energies
    found = solve(counts[:, full], BETAS, energies, np.array([0.0, 30.0, -40.0]))
    np.testing.assert_allclose(found, good, rtol=1e-9)


@pytest.mark.parametrize(
    ("histograms", "inefficiency", "said"),
    [
        ([0.3], None, "at least 2 betas, got 1"),
        ([0.3, 0.3], None, r"two runs at beta = 0\.3: merge"),
        ([0.3, 0.4], [1.0], "one number > 0 for each of 2 runs"),
        ([0.3, 0.4], [1.0, math.nan], "one number > 0 for each of 2 runs"),
    ],
)
def test_bad_arguments_are_named(histograms, inefficiency, said):
    with pytest.raises(ValueError, match=said):
        MultiHistogram.of([exact_histogram(beta) for beta in histograms], inefficiency)


def test_histograms_of_two_models_are_refused():
    other = Histogram(Box.of(lattice.square(4, Jx=2), 4), 0.4, np.ones((5, 2, 97)))
    with pytest.raises(ValueError, match="must be of one model with the same levels"):
        MultiHistogram.of([exact_histogram(0.3), other])


def test_a_single_block_has_no_error():
    runs = [exact_histogram(beta, blocks=1) for beta in BETAS]
    with pytest.raises(ValueError, match=r"at least 2 independent blocks per run, got 1 at"):
        MultiHistogram.of(runs).observables(0.4)
