"""Estimators against enumeration of all states, histograms and their files against the samples
they were made of."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import networkx as nx
import numpy as np
import pytest

from isingnpu import IsingModel, exact, lattice
from isingnpu.criticality import OutOfRange
from isingnpu.criticality.accumulator import Accumulator
from isingnpu.criticality.estimators import (
    Box,
    Histogram,
    binder,
    binder_slope,
    connected_susceptibility,
    graph_length,
    moment_ratio,
    second_moment_length,
    specific_heat,
    susceptibility,
    thermal_slope,
)
from isingnpu.criticality.reweight import observable_names, observables
from isingnpu.statistics import jackknife

SIDE, SITES = 4, 16
MODEL = lattice.square(SIDE)
BETAS = (0.2, 0.44, 0.7)


@cache
def states():
    """E, m and S(k_min) of all states of the 4 x 4 torus; S by FFT."""
    spins, energy = exact.enumerate_states(MODEL)
    power = np.abs(np.fft.fft2(spins.reshape(-1, SIDE, SIDE))) ** 2 / SITES
    return energy, spins.mean(axis=1), (power[:, 0, 1] + power[:, 1, 0]) / 2


def average(beta, function):
    """<function(E, m, S)> by summation over all states."""
    energy, m, s = states()
    p = np.exp(-beta * (energy - energy.min()))
    return float((p * function(energy, m, s)).sum() / p.sum())


def drawn(beta, replicas=20, samples=400, seed=1):
    """Independent samples of the exact distribution as series (replicas, samples)."""
    energy, m, s = states()
    p = np.exp(-beta * (energy - energy.min()))
    pick = np.random.default_rng(seed).choice(len(p), (replicas, samples), p=p / p.sum())
    return {
        "energy": energy[pick].astype(float),
        "m2": m[pick] ** 2,
        "m4": m[pick] ** 4,
        "structure_factor": s[pick],
        "abs_magnetization": np.abs(m[pick]),
    }


def exact_histogram(beta):
    """What infinitely many samples give, in two equal blocks, with |m| and E^2."""
    energy, m, s = states()
    box = Box.of(MODEL, SIDE)
    p = np.exp(-beta * (energy - energy.min()))
    columns = (np.ones_like(p), energy, m**2, m**4, s, np.abs(m), energy**2.0)
    rows = [np.bincount(box.level(energy), p * x / p.sum(), box.levels) for x in columns]
    names = ("count", "energy", "m2", "m4", "s", "abs_m", "energy2")
    return Histogram(box, beta, np.stack(rows)[:, None, :].repeat(2, axis=1), names)


# --- Functions of averages ----------------------------------------------------------------------


@pytest.mark.parametrize("beta", BETAS)
def test_estimators_give_the_enumerated_thermodynamics(beta):
    t = exact.thermodynamics(MODEL, beta)
    energy2 = average(beta, lambda energy, m, s: energy**2.0)
    assert susceptibility(t.m2, SITES) == SITES * t.m2
    assert binder(t.m2, t.m4) == pytest.approx(t.binder, rel=1e-15)
    found = specific_heat(t.energy, energy2, beta, SITES)
    assert found == pytest.approx(t.heat_capacity / SITES, rel=1e-12)


@pytest.mark.parametrize("beta", BETAS)
def test_connected_susceptibility_is_the_variance_of_the_modulus(beta):
    mean = average(beta, lambda energy, m, s: np.abs(m))
    variance = average(beta, lambda energy, m, s: (np.abs(m) - mean) ** 2)
    t = exact.thermodynamics(MODEL, beta)
    # <m^2> - <|m|>^2 of numbers below 1
    assert connected_susceptibility(t.abs_m, t.m2, SITES) / SITES == pytest.approx(
        variance, abs=1e-14
    )


def test_susceptibilities_part_in_the_ordered_phase():
    t = exact.thermodynamics(MODEL, 1.5)
    assert susceptibility(t.m2, SITES) == pytest.approx(SITES, rel=1e-3)
    assert connected_susceptibility(t.abs_m, t.m2, SITES) < 1e-3


def test_cumulant_is_not_the_ratio_that_other_programs_print():
    # at the critical point <m^4> / <m^2>^2 = 1.1679229(47) (Salas & Sokal, cond-mat/9904038) and
    # U4 = 0.6106901(5) (Kamieniarz & Blote 1993)
    assert binder(1.0, 1.1679229) == pytest.approx(0.6106901, abs=4 * 0.0000047 / 3)


def test_moment_ratio_of_gaussian_and_ordered_moments():
    assert moment_ratio(math.sqrt(2 / math.pi), 1.0) == pytest.approx(math.pi / 2, rel=1e-15)
    assert moment_ratio(0.7, 0.49) == pytest.approx(1.0, rel=1e-15)


@pytest.mark.parametrize("beta", BETAS)
def test_slopes_are_derivatives_in_beta(beta):
    h = 1e-4
    below, t, above = (exact.thermodynamics(MODEL, beta + d) for d in (-h, 0, h))
    slope2, slope4 = (
        float(thermal_slope(average(beta, lambda e, m, s, k=k: m**k),
                            average(beta, lambda e, m, s, k=k: e * m**k), t.energy))
        for k in (2, 4)
    )  # fmt: skip
    # third derivatives are below <(E - <E>)^3> ~ N^(3/2): central differences are off by h^2 N^2
    assert slope2 == pytest.approx((above.m2 - below.m2) / (2 * h), abs=h**2 * SITES**2)
    found = binder_slope(t.m2, t.m4, slope2, slope4)
    expected = (above.binder - below.binder) / (2 * h)
    assert found == pytest.approx(expected, abs=h**2 * SITES**2)


def test_graph_length_on_a_torus_is_the_one_of_its_waves():
    side = 6
    graph = nx.grid_2d_graph(side, side, periodic=True)
    value, vectors = np.linalg.eigh(nx.laplacian_matrix(graph).toarray().astype(float))
    lowest = vectors[:, 1:5]  # four waves have the smallest eigenvalue
    spins = np.where(np.random.default_rng(2).random(side**2) < 0.7, 1, -1)
    s = ((lowest.T @ spins) ** 2).mean()
    power = np.abs(np.fft.fft2(spins.reshape(side, side))) ** 2 / side**2
    assert s == pytest.approx((power[0, 1] + power[1, 0]) / 2, rel=1e-10)
    m2 = spins.mean() ** 2
    found = graph_length(m2, s, side**2, value[1])
    expected = second_moment_length(m2, s, side**2, 2 * math.pi / side)
    assert found == pytest.approx(expected, rel=1e-10)


# --- Histograms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0.40, 0.44, 0.47])
def test_observables_of_an_exact_histogram_are_the_enumerated_ones_elsewhere(target):
    found = observables(exact_histogram(0.44), target)
    t, h = exact.thermodynamics(MODEL, target), 1e-4
    above, below = (exact.thermodynamics(MODEL, target + d) for d in (h, -h))
    expected = {
        "energy": t.energy,
        "U4": t.binder,
        "chi": SITES * t.m2,
        "specific_heat": t.heat_capacity / SITES,
        "U2": t.m2 / t.abs_m**2,
        "chi'": SITES * (t.m2 - t.abs_m**2),
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, rel=1e-11), name
    for name, value in (
        ("dU4/dbeta", (above.binder - below.binder) / (2 * h)),
        ("dln(m2)/dbeta", math.log(above.m2 / below.m2) / (2 * h)),
    ):
        assert found[name].value == pytest.approx(value, abs=h**2 * SITES**2), name


def test_observables_have_the_errors_of_a_jackknife_over_replicas():
    series = drawn(0.4)
    histogram = Histogram.of(Box.of(MODEL, SIDE), 0.4, series, extra=("abs_magnetization",))
    found = observables(histogram, 0.4)
    means = {name: x.mean(axis=1) for name, x in series.items()}
    energy2 = (series["energy"] ** 2).mean(axis=1)
    expected = {
        "chi'": jackknife(
            lambda a, m2: SITES * (m2 - a**2), means["abs_magnetization"], means["m2"]
        ),
        "specific_heat": jackknife(
            lambda e, e2: 0.4**2 * (e2 - e**2) / SITES, means["energy"], energy2
        ),
        "dln(m2)/dbeta": jackknife(
            lambda m2, e, me: e - me / m2,
            means["m2"],
            means["energy"],
            (series["m2"] * series["energy"]).mean(axis=1),
        ),
    }
    for name, estimate in expected.items():
        assert found[name].value == pytest.approx(estimate.value, rel=1e-9), name
        assert found[name].error == pytest.approx(estimate.error, rel=1e-9), name


def test_squared_energies_make_the_specific_heat_exact_in_wide_levels():
    series = drawn(0.4)
    narrow = Box.of(MODEL, SIDE)
    wide = replace(narrow, width=16.0, levels=5)
    expected = observables(Histogram.of(narrow, 0.4, series), 0.4)["specific_heat"].value
    with_squares, without = (
        observables(Histogram.of(wide, 0.4, series, extra=extra), 0.4)["specific_heat"].value
        for extra in (("energy2",), ())
    )
    assert with_squares == pytest.approx(expected, rel=1e-9)
    assert 0 < expected - without < (16 * 0.4) ** 2 / 4 / SITES


def test_a_moment_that_was_not_kept_is_named():
    histogram = Histogram.of(Box.of(MODEL, SIDE), 0.4, drawn(0.4))
    assert "chi'" not in observable_names(histogram)
    with pytest.raises(ValueError, match=r"abs_m was not kept.*name it in `extra`"):
        histogram.row("abs_m")


def test_histograms_of_different_betas_do_not_add_up():
    box, series = Box.of(MODEL, SIDE), drawn(0.4)
    with pytest.raises(ValueError, match="add up at one beta"):
        Histogram.of(box, 0.4, series) + Histogram.of(box, 0.41, series)


def test_a_graph_has_a_cumulant_but_no_length():
    graph = IsingModel(MODEL.couplings, np.zeros(SITES))
    series = drawn(0.4)
    of_lattice = observables(Histogram.of(Box.of(MODEL, SIDE), 0.4, series), 0.4)
    del series["structure_factor"]
    found = observables(Histogram.of(Box.of(graph, SITES), 0.4, series), 0.4)
    assert found["U4"] == of_lattice["U4"]
    assert math.isnan(found["xi/L"].value)


def test_observables_out_of_range_or_of_one_block_are_refused():
    histogram = exact_histogram(0.44)
    with pytest.raises(OutOfRange):
        observables(histogram, -0.2)
    with pytest.raises(ValueError, match="at least 2 independent blocks, got 1"):
        observables(replace(histogram, sums=histogram.sums[:, :1]), 0.44)


# --- Files --------------------------------------------------------------------------------------


def accumulator(seed=1, beta=0.4):
    histogram = Histogram.of(Box.of(MODEL, SIDE), beta, drawn(beta, seed=seed), ("energy2",))
    return Accumulator.of(histogram, MODEL, seed)


def test_a_saved_accumulator_comes_back_bit_by_bit(tmp_path):
    written = accumulator()
    written.save(tmp_path / "run.npz")
    read = Accumulator.load(tmp_path / "run.npz", MODEL)
    assert np.array_equal(read.histogram.sums, written.histogram.sums)
    assert (read.fingerprint, read.seeds) == (MODEL.fingerprint, (1,))
    assert read.histogram.moments == written.histogram.moments
    assert vars(read.histogram.box) == vars(written.histogram.box)
    assert read.histogram.beta == 0.4
    read.save(tmp_path / "again.npz")
    again = Accumulator.load(tmp_path / "again.npz")
    assert np.array_equal(again.histogram.sums, written.histogram.sums)


def test_merged_runs_are_blocks_side_by_side():
    a, b = accumulator(1), accumulator(2)
    both = a.merged(b)
    assert both.seeds == (1, 2)
    assert np.array_equal(
        both.histogram.sums, np.concatenate([a.histogram.sums, b.histogram.sums], axis=1)
    )
    assert observables(both.histogram, 0.4)["U4"].n_eff == 40


def test_runs_that_do_not_belong_together_are_not_merged():
    other = lattice.square(SIDE, Jx=2)
    foreign = Accumulator(accumulator(2).histogram, other.fingerprint, (2,))
    with pytest.raises(ValueError, match="samples of different models"):
        accumulator(1).merged(foreign)
    with pytest.raises(ValueError, match=r"got beta 0\.4 and 0\.41"):
        accumulator(1).merged(accumulator(2, beta=0.41))
    with pytest.raises(ValueError, match="seed 1 is in both: the same samples would count twice"):
        accumulator(1).merged(accumulator(1))


def test_files_of_another_model_or_format_or_damaged_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    accumulator().save(path)
    with pytest.raises(ValueError, match="holds samples of a model with fingerprint"):
        Accumulator.load(path, lattice.square(SIDE, Jx=2))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="not saved histograms, or a damaged one"):
        Accumulator.load(path)
    np.savez(path, header=np.array('{"format": "other"}'), sums=np.ones(1), levels=np.ones(1))
    with pytest.raises(ValueError, match="format other, this version reads isingnpu-histogram-1"):
        Accumulator.load(path)


def test_a_histogram_that_was_cut_is_not_saved(tmp_path):
    whole = accumulator()
    cut = Accumulator(whole.histogram.occupied, whole.fingerprint, whole.seeds)
    with pytest.raises(ValueError, match="was cut to the"):
        cut.save(tmp_path / "run.npz")
    assert not list(tmp_path.iterdir())
