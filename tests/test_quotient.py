"""Quotients of two sizes on the complete graph, whose distribution and exponents are exact."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import special, stats

from isingnpu import exact, lattice, sample
from isingnpu.criticality import BadFit, NoCrossing, OutOfRange
from isingnpu.criticality.estimators import OBSERVED, Box, Histogram
from isingnpu.criticality.quotient import extrapolate, quotient
from isingnpu.criticality.reweight import reweighted
from isingnpu.criticality.universal import MEAN_FIELD

ALPHA = 1e-6


@cache
def complete(n, beta=1.0):
    """|M| = n, n - 2, ... of the complete graph, E and probabilities at beta."""
    m = np.arange(n % 2, n + 1, 2.0)
    energy = -(m**2 - n) / (2 * n)
    log = special.gammaln(n + 1) - special.gammaln((n + m) / 2 + 1)
    log = log - special.gammaln((n - m) / 2 + 1) - beta * energy + math.log(2) * (m > 0)
    p = np.exp(log - log.max())
    return m / n, energy, p / p.sum()


def histogram(n, counts, beta=1.0):
    """Of counts (blocks, levels) over |M|; a level is one |M|, whatever the box says."""
    m, energy, _ = complete(n, beta)
    box = Box(n, n, math.nan, 0.0, 1.0, len(m))
    rows = [np.ones_like(m), energy, m**2, m**4, np.full_like(m, np.nan)]
    return Histogram(box, beta, np.stack([counts * x for x in rows]))


def exact_histogram(n):
    return histogram(n, np.tile(complete(n)[2], (2, 1)))


def drawn(n, rng, blocks=100, samples=200):
    return histogram(n, rng.multinomial(samples, complete(n)[2], size=blocks).astype(float))


def u4(n, beta):
    return exact.curie_weiss(n, beta).binder


@pytest.mark.parametrize("sizes", [(64, 128), (100, 400)])
def test_quotient_of_exact_distributions_is_that_of_exact_derivatives(sizes):
    found = quotient(*(exact_histogram(n) for n in sizes), of="U4")
    beta, h = found.beta.value, 1e-5
    a, b = (u4(n, beta) for n in sizes)
    # Newton's method ends 1e-9 standard deviations of the energy from the crossing
    assert a == pytest.approx(b, abs=1e-10)
    assert found.ratio.value == pytest.approx(a, rel=1e-9)
    slopes = [(u4(n, beta + h) - u4(n, beta - h)) / (2 * h) for n in sizes]
    r = math.log(sizes[1] / sizes[0])
    assert found.nu.value == pytest.approx(r / math.log(slopes[1] / slopes[0]), rel=1e-6)
    chi = [n * exact.curie_weiss(n, beta).m2 for n in sizes]
    assert found.eta.value == pytest.approx(2 - math.log(chi[1] / chi[0]) / r, rel=1e-9)


def test_quotients_extrapolate_to_the_exponents_of_mean_field():
    """In units of the number of sites: x = t N^(1/2), chi ~ N^(1/2), corrections N^(-1/2)."""
    sizes = (512, 1024, 2048, 4096)
    pairs = [
        quotient(exact_histogram(a), exact_histogram(b), of="U4")
        for a, b in itertools.pairwise(sizes)
    ]
    off = [abs(q.nu.value - 2) for q in pairs]
    assert off[0] > off[1] > off[2]
    design = np.stack([np.ones(3), np.array(sizes[:3]) ** -MEAN_FIELD.omega], axis=1)
    for name, expected in (("nu", 2.0), ("eta", 1.5)):
        values = [getattr(q, name).value for q in pairs]
        limit = np.linalg.lstsq(design, values, rcond=None)[0][0]
        # the next correction is N^-1
        assert limit == pytest.approx(expected, abs=10 / sizes[0]), name


@pytest.mark.statistical(alpha=8 * ALPHA)
def test_pulls_of_all_results_are_standard_normal():
    rng, n, sizes = np.random.default_rng(1), 200, (64, 256)
    truth = quotient(*(exact_histogram(size) for size in sizes), of="U4")
    found = [quotient(*(drawn(size, rng) for size in sizes), of="U4") for _ in range(n)]
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], n)
    for name in ("beta", "ratio", "nu", "eta"):
        pulls = [getattr(q, name).sigmas(getattr(truth, name).value) for q in found]
        # jackknife errors of 200 blocks have 5 % noise of their own
        assert 0.97 * low < np.square(pulls).sum() < 1.03 * high, name
        assert abs(np.mean(pulls)) * math.sqrt(n) < stats.norm.isf(ALPHA / 2), name


def test_errors_are_those_of_leaving_out_blocks_and_searching_anew():
    rng = np.random.default_rng(2)
    pair = [drawn(64, rng, blocks=30), drawn(128, rng, blocks=20)]
    found, variance = quotient(*pair, of="U4"), np.zeros(4)
    for k in (0, 1):
        samples = []
        for b in range(pair[k].sums.shape[1]):
            rest = list(pair)
            kept = np.delete(pair[k].sums, b, axis=1)
            rest[k] = Histogram(pair[k].box, 1.0, kept)
            # without the bias correction: the value of the sums themselves
            merged = [Histogram(h.box, 1.0, np.repeat(h.sums.sum(axis=1, keepdims=True), 2, 1))
                      for h in rest]  # fmt: skip
            q = quotient(*merged, of="U4")
            samples.append([q.beta.value, q.ratio.value, q.nu.value, q.eta.value])
        variance += (len(samples) - 1) * np.var(samples, axis=0)
    errors = [found.beta.error, found.ratio.error, found.nu.error, found.eta.error]
    # beta* moves linearly with the blocks up to terms of relative order 1 / blocks
    np.testing.assert_allclose(errors, np.sqrt(variance), rtol=0.05)


@pytest.mark.statistical(alpha=5 * ALPHA)
def test_extrapolation_knows_that_neighbouring_pairs_share_a_size():
    rng, n, sizes = np.random.default_rng(3), 150, (64, 128, 256, 512)
    pulls, chi2 = {"nu": [], "eta": []}, 0.0
    neighbours, predicted = [], []
    exacts = [exact_histogram(size) for size in sizes]
    truths = [quotient(a, b, of="U4") for a, b in itertools.pairwise(exacts)]
    small = np.array(sizes[:3], dtype=float)
    design = np.stack([np.ones(3), (small / small[0]) ** -0.5], axis=1)
    for _ in range(n):
        runs = [drawn(size, rng) for size in sizes]
        pairs = [quotient(a, b, of="U4") for a, b in itertools.pairwise(runs)]
        limit = extrapolate(pairs, 0.5)
        neighbours.append([pairs[0].nu.value, pairs[1].nu.value])
        shared = pairs[0].moved[1][0] @ pairs[1].moved[0][0] * 99 / 100
        predicted.append(shared / (pairs[0].nu.error * pairs[1].nu.error))
        chi2 += limit.chi2
        for name, z in pulls.items():
            truth = np.linalg.lstsq(design, [getattr(q, name).value for q in truths])[0][0]
            z.append(getattr(limit, name).sigmas(float(truth)))
        assert limit.nu.error == pytest.approx(limit_error(pairs, shared, design), rel=1e-9)
    seen = np.corrcoef(np.transpose(neighbours))[0, 1]
    # Fisher: artanh of a correlation of 150 pairs has the standard deviation 1 / sqrt(147)
    apart = abs(np.arctanh(seen) - np.arctanh(np.mean(predicted)))
    assert apart < stats.norm.isf(ALPHA / 2) / math.sqrt(n - 3)
    assert np.mean(predicted) < -0.3
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], n)
    for name, z in pulls.items():
        assert 0.95 * low < np.square(z).sum() < 1.05 * high, name
    # nu and eta are nearly uncorrelated; what the form lacks is far below the errors
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], 2 * n)
    assert 0.8 * low < chi2 < 1.25 * high


def limit_error(pairs, shared, design):
    """Error of nu from generalised least squares in normal form, neighbours correlated."""
    covariance = np.diag([q.nu.error**2 for q in pairs])
    covariance[0, 1] = covariance[1, 0] = shared
    after = pairs[1].moved[1][0] @ pairs[2].moved[0][0] * 99 / 100
    covariance[1, 2] = covariance[2, 1] = after
    normal = design.T @ np.linalg.inv(covariance) @ design
    return math.sqrt(np.linalg.inv(normal)[0, 0])


def test_pairs_that_contradict_each_other_are_refused():
    rng = np.random.default_rng(4)
    sizes = (64, 128, 256, 512)
    runs = [drawn(size, rng, samples=4000) for size in sizes]
    pairs = [quotient(a, b, of="U4") for a, b in itertools.pairwise(runs)]
    extrapolate(pairs, 0.5)
    nu = pairs[1].nu
    wrong = replace(pairs[1], nu=replace(nu, value=nu.value + 10 * nu.error))
    with pytest.raises(BadFit) as caught:
        extrapolate([pairs[0], wrong, pairs[2]], 0.5)
    assert caught.value.dof == 2
    with pytest.raises(ValueError, match="at least 2 pairs of sizes, got 1"):
        extrapolate(pairs[:1], 0.5)


def test_length_ratio_slope_is_the_derivative_of_reweighted_values():
    """Square tori of 4 and 8: nu from slopes by <A><E> - <A E> and by differences."""
    runs = tori()
    found, h = quotient(*runs), 1e-4
    values = [
        [run.box.ratios(reweighted(run, found.beta.value + d).sum(axis=1))[0] for d in (-h, 0, h)]
        for run in runs
    ]
    full = math.log(2) / math.log((values[1][2] - values[1][0]) / (values[0][2] - values[0][0]))
    # `nu` is without its bias, of the order error^2
    assert found.nu.value == pytest.approx(full, abs=found.nu.error**2 * 10 + h)
    # and beta* too
    assert values[0][1] == pytest.approx(values[1][1], abs=0.1 * found.ratio.error)


@cache
def tori():
    made = []
    for size in (4, 8):
        model = lattice.square(size)
        run = sample(model, 0.43, burn_in=100, sweeps=400, every=4, replicas=128, seed=size,
                     dynamics="metropolis", observe=OBSERVED, backend="cpu")  # fmt: skip
        made.append(Histogram.of(Box.of(model, size), 0.43, run.series).occupied)
    return made


@pytest.mark.parametrize(("of", "order"), [("U2", 1), ("xi/L", -1)])
def test_unknown_ratios_and_sizes_in_the_wrong_order_are_named(of, order):
    with pytest.raises(ValueError, match="two increasing sizes, got"):
        quotient(*tori()[::order], of=of)


def test_crossings_out_of_reach_are_refused():
    with pytest.raises(OutOfRange):
        quotient(*tori(), beta=0.9)
    flat = exact_histogram(128)
    flat.sums[2:4] = flat.sums[0] * np.array([0.3, 0.2])[:, None, None]
    with pytest.raises(NoCrossing) as caught:
        quotient(exact_histogram(64), flat, of="U4")
    assert caught.value.sizes == (64, 128)


@pytest.mark.slow
@pytest.mark.statistical(alpha=4e-6)
def test_exponents_of_the_square_lattice_are_onsagers():
    runs = []
    for size, sweeps in ((16, 4000), (64, 8000)):
        model = lattice.square(size)
        run = sample(model, math.asinh(1) / 2, burn_in=200, sweeps=sweeps, every=2, replicas=256,
                     seed=size, dynamics="swendsen-wang", observe=OBSERVED,
                     backend="cpu")  # fmt: skip
        runs.append(Histogram.of(Box.of(model, size), math.asinh(1) / 2, run.series).occupied)
    found = quotient(*runs)
    assert found.nu.error < 0.005
    assert found.eta.error < 0.003
    # corrections of 0.78 / 0.905 16^-7/4 in R are 1 % of nu and eta at most
    assert found.nu.value == pytest.approx(1, abs=0.01 + 4.8 * found.nu.error)
    assert found.eta.value == pytest.approx(0.25, abs=0.005 + 4.8 * found.eta.error)
