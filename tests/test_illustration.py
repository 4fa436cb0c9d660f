"""States and correlations for figures, against Yang's magnetisation and Onsager's length."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from isingnpu import exact, lattice
from isingnpu.criticality import Unsupported, illustration
from isingnpu.criticality.correlation import plane_correlations
from isingnpu.criticality.illustration import decay, snapshots

K_C = math.asinh(1) / 2
ALPHA = 1e-6


@pytest.fixture
def short(monkeypatch):
    """Correlations of few samples, where their values do not matter."""
    monkeypatch.setattr(illustration, "DECAY_SAMPLES", {2: 8})


@pytest.mark.statistical(alpha=ALPHA)
def test_ordered_states_have_the_spontaneous_magnetisation():
    # at 1.1 beta_c xi is 2.9, so that a torus of 32 differs from the plane by exp(-11)
    found = [
        abs(snapshots("square", K_C, ratios=[1.1], size=32, seed=1000 + k)[0].magnetization)
        for k in range(64)
    ]
    z = (np.mean(found) - exact.yang_magnetization(1.1 * K_C)) / stats.sem(found)
    assert abs(z) < stats.t.isf(ALPHA / 2, 63)


@pytest.mark.statistical(alpha=ALPHA)
def test_the_fitted_length_is_onsagers():
    # error about 1 %; heavier states and the finite box shift it by less than 0.1 %
    found = decay("square", K_C, nu=1, size=32, seed=3)
    assert found.exact.value == exact.onsager_correlation_length(found.beta)
    assert found.refused == ""
    blocks = found.fit.xi.n_eff  # less up to 16 distances
    assert abs(found.fit.xi.sigmas(found.exact.value)) < stats.t.isf(ALPHA / 2, blocks - 16)
    assert found.fit.xi.error < 0.04 * found.exact.value


@pytest.mark.parametrize("nu", [0.63, 1.0])
def test_the_length_is_aimed_at_a_ninth_of_the_box(short, nu):
    found = decay("square", K_C, nu=nu, size=18, seed=1)
    assert 0.5 * (1 - found.beta / K_C) ** -nu == pytest.approx(2, rel=1e-12)


def test_layers_of_a_triangular_lattice_are_its_rows_apart(short):
    found = decay("triangular", math.log(3) / 4, nu=1, size=18, seed=1)
    assert np.allclose(np.diff(found.distance), math.sqrt(0.75), rtol=1e-12, atol=0)
    assert found.period == pytest.approx(18 * math.sqrt(0.75), rel=1e-12)
    assert found.exact is None  # of the square lattice only


def test_the_measured_correlations_are_those_of_the_samples(monkeypatch):
    blocks = plane_correlations(
        np.where(np.random.default_rng(2).random((64, 18 * 18)) < 0.8, 1.0, -1.0),
        lattice.square(18).geometry,
    )
    monkeypatch.setattr(illustration, "sampled_correlations", lambda *a, **k: blocks)
    found = decay("square", K_C, nu=1, size=18)
    assert np.array_equal(found.correlation, blocks.mean(axis=0))
    assert np.allclose(found.error, stats.sem(blocks), rtol=1e-12, atol=0)
    # most spins are up: C tends to a constant, which is no decay
    assert found.fit is None
    assert found.refused


def test_states_are_those_of_their_seed_and_differ_between_temperatures():
    first, second = (snapshots("square", K_C, size=16, sweeps=20, seed=5) for _ in range(2))
    assert [shot.ratio for shot in first] == [0.9, 1.0, 1.1]
    assert [shot.beta for shot in first] == [0.9 * K_C, K_C, 1.1 * K_C]
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.spins, b.spins)
    cold = snapshots("square", K_C, ratios=[1.0, 1.0], size=16, sweeps=20, seed=5)
    assert not np.array_equal(cold[0].spins, cold[1].spins)


@pytest.mark.parametrize(
    ("family", "sites"),
    [("square", 256**2), ("kagome", 3 * 148**2), ("cubic", 51**3), ("fcc", 4 * 32**3)],
)
def test_the_usual_size_has_about_the_same_number_of_sites(monkeypatch, family, sites):
    asked = []

    def count(model, beta, **options):
        asked.append(model.n)
        raise KeyboardInterrupt

    monkeypatch.setattr(illustration, "sample", count)
    with pytest.raises(KeyboardInterrupt):
        snapshots(family, 0.1)
    assert asked == [sites]


@pytest.mark.parametrize("family", ["random_regular", "chain"])
def test_what_has_no_layers_is_refused(family):
    for call in (
        lambda: illustration.check_family(family),
        lambda: snapshots(family, 0.5, size=16),
        lambda: decay(family, 0.5, nu=1, size=16),
    ):
        with pytest.raises(Unsupported, match="no layers to draw"):
            call()


@pytest.mark.parametrize("beta_c", [0.0, -1.0, math.inf, math.nan])
def test_a_beta_c_that_is_none_is_refused(beta_c):
    with pytest.raises(ValueError, match="finite and > 0"):
        snapshots("square", beta_c, size=8)
    with pytest.raises(ValueError, match="finite and > 0"):
        decay("square", beta_c, nu=1, size=18)


def test_a_function_of_the_size_is_a_family(short):
    anisotropic = snapshots(lambda n: lattice.square(n, Jx=1, Jy=2), 0.3, size=8, sweeps=2)
    assert anisotropic[0].geometry.shape == (8, 8)
    found = decay(lambda n: lattice.square(n, Jx=1, Jy=2), 0.3, nu=1, size=18, seed=1)
    assert found.exact is None
