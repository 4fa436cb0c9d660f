"""Hidden spins on a device against the float64 specification and exact enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from isingnpu.npu.device import find_device
from isingnpu.npu.draws import Draw, Independent, Stratified, uniforms
from isingnpu.npu.units import Binary, HardTower, PlusMinus, Tower, Unit, unit_name, unit_of
from isingnpu.rng import Stream

UNITS: list[Unit] = [Binary(), PlusMinus(), Tower(3), HardTower(4)]
HEAT_BATHS = [unit for unit in UNITS if unit.is_heat_bath]
DRAW = Draw(2024, Stream.HIDDEN, step=3, block=1)
# tanh of the device is within 4e-7; float32 rounding of an argument up to 12 adds 2^-24 x 12 x 1/4
TOLERANCE = 1e-6

device = find_device("cpu")


def fields(n: int = 4001) -> np.ndarray:
    return np.linspace(-12, 12, n).astype(np.float32)


@pytest.mark.parametrize("unit", HEAT_BATHS, ids=unit_name)
def test_mean_and_potential_are_those_of_enumerated_spins(unit: Unit) -> None:
    values = (-1, 1) if isinstance(unit, PlusMinus) else (0, 1)
    offsets = np.arange(unit.levels) + 0.5 if isinstance(unit, Tower) else np.zeros(1)
    states = np.array(list(product(values, repeat=unit.levels)))
    for f in (-3.0, -0.4, 0.0, 1.7, 5.0):
        weights = np.exp(states @ (f - offsets))
        total = weights.sum()
        assert unit.potential(f) == pytest.approx(np.log(total), rel=1e-12)
        assert unit.mean(f) == pytest.approx(weights @ states.sum(1) / total, rel=1e-12)


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_mean_is_the_derivative_of_the_potential(unit: Unit) -> None:
    f, step = np.linspace(-6, 6, 101) + 0.013, 1e-5
    slope = (unit.potential(f + step) - unit.potential(f - step)) / (2 * step)
    np.testing.assert_allclose(slope, unit.mean(f), atol=1e-9)


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_device_mean_follows_the_specification(unit: Unit) -> None:
    f = fields()
    error = np.abs(device.mean(unit, f) - unit.mean(f)).max()
    assert error < TOLERANCE * unit.levels


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_displacement_is_the_difference_of_two_means(unit: Unit) -> None:
    f, beta = fields(), 0.5
    k = np.sin(np.arange(f.size)).astype(np.float32)
    wanted = (unit.mean(f + beta * k) - unit.mean(f - beta * k)) / (2 * beta)
    error = np.abs(device.displacement(unit, f, k, beta) - wanted).max()
    assert error < 2 * TOLERANCE * unit.levels / (2 * beta)


def test_uniform_numbers_are_those_of_the_specification() -> None:
    for shape in ((1,), (7,), (5, 13)):
        assert np.array_equal(device.uniforms(shape, DRAW), uniforms(shape, DRAW))
    assert not np.array_equal(uniforms((8,), DRAW), uniforms((8,), DRAW.at(call=1)))
    assert not np.array_equal(uniforms((8,), DRAW), uniforms((8,), DRAW.at(block=2)))


@pytest.mark.parametrize("draws", [Stratified(1), Stratified(4), Independent(3)], ids=str)
@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
@pytest.mark.statistical(alpha=1e-7)
def test_draws_average_to_the_mean(unit: Unit, draws: Stratified | Independent) -> None:
    """Hoeffding: states lie in an interval of width w, n independent numbers each: |error| <
    w sqrt(log(2 / alpha) / 2 n). Stratified draws have one number for all of a spin's draws."""
    n = 200_000
    for f in (-1.3, 0.2, 2.6):
        drawn = device.sample(unit, np.full(n, f, np.float32), draws, DRAW)
        width = 2 if isinstance(unit, PlusMinus) else unit.levels
        bound = width * np.sqrt(np.log(2 * 3 / 1e-7) / (2 * n))
        assert abs(drawn.mean(dtype=np.float64) - unit.mean(f)) < bound
        states = drawn * draws.draws
        assert np.abs(states - np.round(states)).max() < 1e-4  # whole spins were drawn


def test_stratified_draws_share_one_number() -> None:
    """Their sum is floor(S p + u) for each spin, so it takes two neighbouring values only."""
    drawn = device.sample(Binary(), np.full(1000, 0.3, np.float32), Stratified(8), DRAW) * 8
    p = 8 * Binary().mean(0.3)
    assert set(drawn.round().tolist()) == {np.floor(p), np.ceil(p)}


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_sampled_nudges_share_their_numbers(unit: Unit) -> None:
    f = fields(1000)
    k = np.zeros_like(f)
    still = device.sampled_displacement(unit, f, k, 0.5, Independent(2), DRAW)
    assert not still.any()
    k[:] = 0.7
    moved = device.sampled_displacement(unit, f, k, 0.5, Stratified(2), DRAW)
    up = device.sample(unit, f + np.float32(0.35), Stratified(2), DRAW)
    down = device.sample(unit, f - np.float32(0.35), Stratified(2), DRAW)
    np.testing.assert_allclose(moved, up - down, atol=1e-6 * unit.levels)


def test_adam_follows_its_formula() -> None:
    w = np.linspace(-1, 1, 50).astype(np.float32)
    m, v = np.zeros_like(w), np.zeros_like(w)
    x, first, second = w.astype(float), np.zeros(50), np.zeros(50)
    for step in range(1, 6):
        g = np.cos(np.arange(50) * step).astype(np.float32)
        device.adam(w, g, (m, v), rate=0.01, decay=0.1, step=step, betas=(0.9, 0.99))
        first = 0.9 * first + 0.1 * g
        second = 0.99 * second + 0.01 * g.astype(float) ** 2
        x += 0.01 * (
            first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-7) - 0.1 * x
        )
    # five steps of size 0.01, each with a few roundings of 2^-24 of moments near 1
    np.testing.assert_allclose(w, x, atol=5 * 0.01 * 1e-5)


def test_names_of_units() -> None:
    for unit in UNITS:
        assert unit_of(unit_name(unit)) == unit
    for wrong in ("relu", "tower:x", "binary:3", "tower:0"):
        with pytest.raises(ValueError, match=r"unknown unit|has one spin|1 to 64"):
            unit_of(wrong)
