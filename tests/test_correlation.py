"""Correlations of planes and the exponential correlation length, against exact strips and
Onsager's solution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from isingnpu import IsingModel, exact, lattice
from isingnpu.criticality import BadFit, correlation
from isingnpu.criticality.correlation import (
    NoDecay,
    effective_length,
    exponential_length,
    layer_distance,
    plane_correlations,
    sampled_correlations,
)

ALPHA = 1e-6


def exact_planes(width, period, k):
    """C(r) of `period` rings of `width` sites by the dense transfer matrix of the rings."""
    states = 2.0 * ((np.arange(1 << width)[:, None] >> np.arange(width)) & 1) - 1
    ring = k * (states * np.roll(states, 1, axis=1)).sum(axis=1)
    matrix = np.exp(k * (states @ states.T - 2 * width) + ring[:, None] / 2 + ring[None, :] / 2)
    values, vectors = np.linalg.eigh(matrix)
    values /= values.max()
    elements = (vectors.T @ (states.sum(axis=1)[:, None] * vectors)) ** 2
    z = (values**period).sum()
    return np.array([values ** (period - r) @ elements @ values**r / z
                     for r in range(period // 2 + 1)]) / width  # fmt: skip


# --- Correlations of states ---------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_plane_correlations_are_products_of_sums_over_layers(axis):
    model = lattice.cubic((4, 5, 6))
    spins = np.where(np.random.default_rng(1).random((3, model.n)) < 0.5, 1, -1)
    length = model.geometry.shape[axis]
    layers = np.moveaxis(spins.reshape(3, 4, 5, 6), 1 + axis, 1).reshape(3, length, -1).sum(axis=2)
    found = plane_correlations(spins, model.geometry, (axis,))
    assert found.shape == (3, length // 2 + 1)
    for r in range(length // 2 + 1):
        expected = (layers * np.roll(layers, -r, axis=1)).sum(axis=1) / model.n
        np.testing.assert_allclose(found[:, r], expected, rtol=0, atol=1e-12 * model.n)


def test_plane_correlations_add_up_to_the_susceptibility():
    model = lattice.triangular(6)
    spins = np.where(np.random.default_rng(2).random((4, model.n)) < 0.7, 1, -1)
    found = plane_correlations(spins, model.geometry, (0, 1))
    both_ways = found[:, 0] + found[:, 3] + 2 * found[:, 1:3].sum(axis=1)
    np.testing.assert_allclose(both_ways, model.n * spins.mean(axis=1) ** 2, rtol=1e-12)


def test_sites_of_one_cell_are_in_one_layer():
    model = lattice.honeycomb(4)
    spins = np.ones((1, model.n))
    # every layer has 8 sites: C(r) = 4 * 64 / 32
    np.testing.assert_allclose(plane_correlations(spins, model.geometry), [[8.0, 8.0, 8.0]])


def test_layers_of_a_triangular_lattice_are_closer_than_its_sites():
    assert layer_distance(lattice.square(4).geometry) == 1
    assert layer_distance(lattice.triangular(4).geometry) == pytest.approx(math.sqrt(0.75))


def test_axes_that_have_no_layers_are_refused():
    spins = np.ones((1, 24))
    with pytest.raises(ValueError, match="axes of one extent"):
        plane_correlations(spins, lattice.square((4, 6)).geometry, (0, 1))
    with pytest.raises(ValueError, match="boundary"):
        plane_correlations(spins, lattice.square((4, 6), boundary="open").geometry)
    graph = IsingModel(lattice.square(4).couplings, np.zeros(16))
    with pytest.raises(ValueError, match="no geometry"):
        sampled_correlations(graph, 0.3, samples=1, every=1, burn_in=0)


# --- Effective length ---------------------------------------------------------------------------


@pytest.mark.parametrize("period", [23, 40])
def test_effective_length_of_a_cosh_is_its_length(period):
    r = np.arange(period // 2 + 1)
    c = 3.0 * np.cosh((period / 2 - r) / 4.5)
    np.testing.assert_allclose(effective_length(c, period), 4.5, rtol=1e-9)


@pytest.mark.parametrize(("k", "width"), [(0.30, 6), (0.36, 8), (0.40, 9)])
def test_effective_length_of_an_exact_torus_becomes_the_strips(k, width):
    strip = exact.infinite_strip(width, k).correlation_length
    period = round(16 * strip)
    found = effective_length(exact_planes(width, period, k), period)
    # states of mass 3 / xi, and the trace over states that wind around the box: exp(-16)
    assert found[round(4 * strip)] == pytest.approx(strip, rel=math.exp(-8))
    errors = 1 - found / strip
    assert 0 < errors[math.ceil(strip)] < 1e-4
    assert 0 < errors[math.ceil(strip / 2)] < 1e-3


def test_effective_length_is_undefined_where_nothing_decays():
    found = effective_length(np.array([1.0, 0.5, 0.6, 0.1, -0.1]), 8)
    assert np.isfinite(found[[0, 2]]).all()
    assert np.isnan(found[[1, 3]]).all()


# --- Fit ----------------------------------------------------------------------------------------


def noisy(blocks, rng, period=48, xi=4.0, noise=0.02):
    """(blocks, points) of a cosh with errors that are correlated between distances."""
    r = np.arange(period // 2 + 1)
    c = np.exp(-r / xi) + np.exp(-(period - r) / xi)
    covariance = noise**2 * np.exp(-np.abs(r[:, None] - r[None, :]) / 5)
    return c + rng.standard_normal((blocks, len(r))) @ np.linalg.cholesky(covariance).T


def test_fit_returns_the_length_of_data_without_noise():
    found = exponential_length(noisy(64, np.random.default_rng(1), noise=1e-9), 48, distance=0.5)
    assert found.xi.value == pytest.approx(2.0, rel=1e-7)
    assert found.amplitude == pytest.approx(1.0, rel=1e-7)
    assert found.distances[0] == 2


@pytest.mark.statistical(alpha=4 * ALPHA)
@pytest.mark.parametrize("blocks", [48, 256])
def test_errors_cover_and_p_is_uniform_although_the_covariance_is_estimated(blocks, monkeypatch):
    monkeypatch.setattr(correlation, "MIN_P", 0.0)
    rng, n = np.random.default_rng(blocks), 2000 if blocks == 48 else 400
    found = [exponential_length(noisy(blocks, rng), 48, first=2) for _ in range(n)]
    pulls = np.array([f.xi.sigmas(4.0) for f in found])
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], n)
    # pulls have Student's distribution of about 40 degrees: their variance is 5 % above 1
    assert 0.97 * low < (pulls**2).sum() < 1.08 * high
    assert stats.kstest([f.p for f in found], "uniform").pvalue > ALPHA


def test_default_distances_begin_at_half_of_the_length():
    for xi in (2.8, 4.8, 6.8):
        found = exponential_length(noisy(200, np.random.default_rng(3), xi=xi, noise=1e-3), 48)
        assert found.distances[0] == math.ceil(xi / 2)
        assert found.distances[-1] <= 24
        assert len(found.distances) <= 16


def test_a_constant_part_is_refused():
    rng = np.random.default_rng(4)
    with pytest.raises(BadFit) as caught:
        exponential_length(noisy(256, rng, noise=1e-3) + 0.05, 48)
    assert caught.value.p < 1e-3


def test_correlations_without_decay_are_refused():
    rng = np.random.default_rng(5)
    flat = 1 + 1e-3 * rng.standard_normal((64, 25))
    flat[:, 1:3] = [1.0, 1.1]
    with pytest.raises(NoDecay, match=r"C\(1\) = 1, C\(2\) = 1.1: no exponential decay"):
        exponential_length(flat, 48, first=1)


@pytest.mark.parametrize(
    ("shape", "first", "said"),
    [
        ((64, 20), None, r"must be \(blocks, 25\), got \(64, 20\)"),
        ((12, 25), None, "at least 16 blocks"),
        ((64, 25), 23, "must leave four distances"),
    ],
)
def test_bad_arguments_are_named(shape, first, said):
    with pytest.raises(ValueError, match=said):
        exponential_length(np.ones(shape), 48, first=first)


# --- Chains -------------------------------------------------------------------------------------


@pytest.mark.statistical(alpha=ALPHA)
def test_sampled_length_of_a_torus_is_that_of_the_exact_strip():
    """12 x 40 at K = 0.36: xi of the strip of width 12, 2.92, which 40 layers hold 14 times."""
    blocks = sampled_correlations(lattice.square((40, 12)), 0.36, samples=40, every=8, burn_in=80,
                                  replicas=192, seed=3, backend="cpu")  # fmt: skip
    found = exponential_length(blocks, 40)
    strip = exact.strip_correlation_length(12, 0.36)
    assert found.xi.error < 0.015 * strip
    # the states of mass 3 / xi lower the effective length by 0.05 % at xi / 2, far below the error
    bound = stats.t.isf(ALPHA / 2, 191 - found.dof)
    assert abs(found.xi.sigmas(strip)) < bound


@pytest.mark.parametrize(("k", "size", "xi"), [(0.40, 64, 5.96238), (0.42, 128, 11.90558)])
def test_boxes_of_ten_lengths_hold_the_length_of_the_infinite_lattice(k, size, xi):
    assert exact.onsager_correlation_length(k) == pytest.approx(xi, abs=5e-6)
    assert exact.strip_correlation_length(size, k) == pytest.approx(xi, rel=1e-4)


@pytest.mark.slow
@pytest.mark.statistical(alpha=2e-5)
@pytest.mark.parametrize(("k", "size", "samples"), [(0.40, 64, 1600), (0.42, 128, 1600)])
def test_length_is_onsagers_within_half_a_percent(k, size, samples):
    blocks = sampled_correlations(
        lattice.square(size), k, samples=samples, every=2, burn_in=30, replicas=256, axes=(0, 1),
        dynamics="swendsen-wang", seed=5, backend="cpu",
    )  # fmt: skip
    found, expected = exponential_length(blocks, size), exact.onsager_correlation_length(k)
    assert found.xi.value == pytest.approx(expected, rel=5e-3)
    assert found.xi.error < 1.2e-3 * expected
    assert abs(found.xi.sigmas(expected)) < 4.4
