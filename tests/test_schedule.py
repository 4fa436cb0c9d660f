"""Schedules: their shapes, their natural unit, and what they refuse."""

import math
import re

import dimod
import numpy as np
import pytest
from engine import graph
from hypothesis import given
from strategies import dyadic, law, models

from isingnpu import IsingModel, anneal, lattice
from isingnpu.schedule import (
    SHAPES,
    Schedule,
    as_schedule,
    beta_range,
    constant,
    default_schedule,
    geometric,
    glass_scale,
    linear,
    linear_temperature,
)

# a quotient or a sum of two rounded numbers and its own rounding, generously
ROUNDED = 8 * np.finfo(float).eps
MODEL = graph(9, seed=2)


def test_constant_is_one_beta_for_every_sweep():
    assert constant(0.44, 7).betas.tolist() == [0.44] * 7


@pytest.mark.parametrize("sweeps", [2, 3, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_has_its_length_and_its_ends(shape, sweeps):
    made = SHAPES[shape](0.3, 5.7, sweeps)
    assert made.name == shape
    assert made.sweeps == len(made.betas) == sweeps
    np.testing.assert_allclose(made.betas[[0, -1]], [0.3, 5.7], rtol=ROUNDED)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_schedule_of_one_sweep_is_its_start(shape):
    np.testing.assert_allclose(SHAPES[shape](0.3, 5.7, 1).betas, [0.3], rtol=ROUNDED)


def test_linear_grows_by_a_constant_difference():
    assert linear(0, 2, 5).betas.tolist() == [0, 0.5, 1, 1.5, 2]


def test_geometric_grows_by_a_constant_factor():
    betas = geometric(0.25, 4, 9).betas
    np.testing.assert_allclose(betas[1:] / betas[:-1], math.sqrt(2), rtol=4 * ROUNDED)


def test_linear_temperature_is_linear_in_one_over_beta():
    assert linear_temperature(0.25, 1, 4).betas.tolist() == [1 / 4, 1 / 3, 1 / 2, 1]


def test_glass_scale_is_the_root_mean_square_local_field_by_hand():
    model = IsingModel.from_edges([(0, 1, 3), (1, 2, -4)], 3, fields=[0, 2, 6])
    # sites: 3^2 + 0, 3^2 + 4^2 + 2^2, 4^2 + 6^2 = 9 + 29 + 52
    assert glass_scale(model) == math.sqrt(90 / 3)


def test_glass_scale_of_a_regular_ferromagnet_is_the_root_of_its_degree():
    assert glass_scale(lattice.square(6)) == 2.0


def test_glass_scale_is_one_without_couplings():
    assert glass_scale(IsingModel.from_edges([], 4)) == 1.0


@law
@given(models(dyadic))
def test_glass_scale_is_the_spread_of_local_fields_over_all_states(model):
    if model.n == 0 or not (np.any(model.dense) or np.any(model.fields)):
        assert glass_scale(model) == 1.0
        return
    states = 1 - 2 * ((np.arange(2**model.n)[:, None] >> np.arange(model.n)) & 1)
    fields = states @ model.dense + model.fields
    np.testing.assert_allclose(glass_scale(model), math.sqrt(np.mean(fields**2)), rtol=1e-13)


def test_the_default_is_a_ramp_of_95_percent_and_a_quench_of_5():
    sigma = glass_scale(MODEL)
    made = default_schedule(MODEL, 1000)
    t = 1 / made.betas / sigma
    assert made.name == "linear-T+quench"
    np.testing.assert_allclose(t[:950], np.linspace(0.9, 0.2, 950), rtol=1e-13)
    np.testing.assert_allclose(t[949:], np.linspace(0.2, 0.001, 51), rtol=1e-11)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sweeps", [1, 2, 19, 20, 21, 1000])
def test_the_default_cools_at_every_sweep(shape, sweeps):
    betas = default_schedule(MODEL, sweeps, shape=shape).betas
    assert len(betas) == sweeps
    assert (np.diff(betas) > 0).all()
    assert betas[0] == pytest.approx(1 / (0.9 * glass_scale(MODEL)), rel=ROUNDED)
    if sweeps >= 20:
        assert betas[-1] == pytest.approx(1000 / glass_scale(MODEL), rel=1e-12)


def test_naming_the_last_beta_drops_the_quench():
    made = default_schedule(MODEL, 100, beta_start=0.5, beta_end=3, shape="linear")
    assert made.name == "linear"
    assert np.array_equal(made.betas, linear(0.5, 3, 100).betas)


def test_naming_the_first_beta_keeps_the_quench():
    made = default_schedule(MODEL, 100, beta_start=0.01)
    assert made.betas[0] == pytest.approx(0.01, rel=ROUNDED)
    assert made.betas[-1] == default_schedule(MODEL, 100).betas[-1]


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("power", [3, -5, 12])
def test_couplings_times_a_power_of_two_divide_the_betas_exactly(power, shape, real):
    model = graph(9, seed=3, real=real)
    scale = 2.0**power
    scaled = IsingModel(model.couplings * scale, model.fields * scale)
    betas = default_schedule(model, 50, shape=shape).betas
    exactly = default_schedule(scaled, 50, shape=shape).betas * scale
    if shape == "geometric":  # it goes through logarithms
        np.testing.assert_allclose(exactly, betas, rtol=1e-13)
    else:
        assert np.array_equal(exactly, betas)


@pytest.mark.parametrize("seed", range(4))
def test_spin_and_binary_forms_of_a_problem_have_the_same_betas(seed):
    source = np.random.default_rng(seed)
    linear_terms = dict(enumerate(source.integers(-40, 41, 6) / 8))
    pairs = {(i, j): float(source.integers(-40, 41) / 8) for j in range(6) for i in range(j)}
    spin = dimod.BinaryQuadraticModel(linear_terms, pairs, 0.5, "SPIN")
    betas = [
        default_schedule(IsingModel.from_bqm(bqm), 60).betas
        for bqm in (spin, spin.change_vartype("BINARY", inplace=False))
    ]
    assert np.array_equal(*betas)


def test_as_schedule_takes_a_schedule_a_name_an_array_and_nothing():
    mine = linear(0.1, 2, 8)
    assert as_schedule(mine, MODEL, 5) is mine
    assert as_schedule([0.5, 1], MODEL, 5).betas.tolist() == [0.5, 1]
    assert as_schedule([0.5, 1], MODEL, 5).name == "custom"
    named = as_schedule("geometric", MODEL, 30)
    assert np.array_equal(named.betas, default_schedule(MODEL, 30, shape="geometric").betas)
    assert np.array_equal(as_schedule(None, MODEL, 30).betas, default_schedule(MODEL, 30).betas)


def test_a_schedule_keeps_its_betas_from_later_changes():
    betas = np.array([0.5, 1.0])
    made = Schedule("mine", betas)
    betas[0] = 9
    assert made.betas.tolist() == [0.5, 1]
    with pytest.raises(ValueError, match="read-only"):
        made.betas[0] = 9


def test_the_summary_tells_name_length_and_ends():
    summary = {"name": "mine", "sweeps": 3, "beta_first": 0.5, "beta_last": 2.0}
    assert Schedule("mine", [[0.5, 1], [1, 2], [2, 4]]).to_json() == summary


def test_the_range_is_nine_and_two_tenths_of_the_glass_scale():
    assert beta_range(lattice.square(6)) == (1 / 1.8, 1 / 0.4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constant(1, 0), "sweeps must be a whole number >= 1, got 0"),
        (lambda: linear(1, 2, -3), "sweeps must be a whole number >= 1, got -3"),
        (lambda: geometric(1, 2, 2.5), "sweeps must be a whole number >= 1, got 2.5"),
        (lambda: default_schedule(MODEL, 0), "sweeps must be a whole number >= 1, got 0"),
        (lambda: constant(1, True), "sweeps must be a whole number >= 1, got True"),
        (lambda: constant(-0.5, 3), "beta[0] = -0.5: inverse temperatures are finite and >= 0"),
        (lambda: linear(0, math.nan, 3), "beta[1] = nan"),
        (lambda: linear(math.inf, 1, 3), "beta[0] = inf"),
        (lambda: Schedule("x", [1, 2, -7.5]), "beta[2] = -7.5"),
        (lambda: Schedule("x", [[1, 2], [3, math.nan]]), "beta[1, 1] = nan"),
        (lambda: geometric(0, 2, 3), "a geometric schedule needs betas > 0, got 0.0 and 2.0"),
        (lambda: linear_temperature(2, 0, 3), "a linear-T schedule needs betas > 0, got 2.0 and"),
        (lambda: Schedule("x", []), "got shape (0,)"),
        (lambda: Schedule("x", 1.0), "got shape ()"),
        (lambda: Schedule("x", np.ones((2, 2, 2))), "got shape (2, 2, 2)"),
        (lambda: default_schedule(MODEL, 9, shape="cubic"), "unknown schedule 'cubic', allowed"),
        (lambda: anneal(MODEL, "cubic"), "unknown schedule 'cubic', allowed are linear, geometri"),
        (lambda: anneal(MODEL, sweeps=0), "sweeps must be a whole number >= 1, got 0"),
        (lambda: anneal(MODEL, np.ones((4, 2)), replicas=3), "(sweeps, 3), got (4, 2)"),
    ],
)
def test_what_is_not_a_schedule_is_refused_with_its_value(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
