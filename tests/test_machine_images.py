"""What devices do for images, against NumPy, SciPy and the float64 formulas."""

from __future__ import annotations

import numpy as np
import pytest
from float64 import Float64Device
from scipy import ndimage

from isingnpu.npu.augment import STILL, Warp, shifts
from isingnpu.npu.blocks import Block
from isingnpu.npu.device import find_device
from isingnpu.npu.draws import Draw, Independent, Stratified
from isingnpu.npu.sheets import Sheets
from isingnpu.npu.units import Binary, HardTower, PlusMinus, Tower, Unit, unit_name
from isingnpu.rng import Stream

device, formula = find_device("cpu"), Float64Device()
DRAW = Draw(5, Stream.AUGMENT, step=2)
UNITS: list[Unit] = [Binary(), PlusMinus(), Tower(3), HardTower(4)]
SHAPES = [
    (3, 9, 8, 1, 4, 2), (5, 11, 10, 1, 6, 2), (2, 7, 7, 5, 3, 1), (4, 12, 12, 8, 4, 2),
    (1, 3, 3, 2, 3, 1),
]  # fmt: skip


def states(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("n", "height", "width", "c", "field", "stride"), SHAPES)
def test_windows_are_those_of_a_sliding_view(n, height, width, c, field, stride) -> None:
    x = states(n, height, width, c)
    assert np.array_equal(device.windows(x, field, stride), formula.windows(x, field, stride))
    rows = np.array([n - 1, 0])
    out = np.full_like(formula.windows(x, field, stride), np.nan).repeat(2, 0)
    some = device.windows(x, field, stride, rows, out)
    assert np.array_equal(some, formula.windows(x, field, stride)[rows])
    assert np.shares_memory(some, out)


@pytest.mark.parametrize(("n", "height", "width", "c", "field", "stride"), SHAPES)
def test_adding_windows_is_the_transpose_of_cutting_them(
    n, height, width, c, field, stride
) -> None:
    """<windows(x), p> = <x, add_windows(p)> in integers that float32 holds exactly."""
    x = np.round(4 * states(n, height, width, c))
    p = np.round(4 * states(*device.windows(x, field, stride).shape, seed=1))
    back = device.add_windows(p, x.shape, field, stride)
    assert (device.windows(x, field, stride) * p).sum() == (x * back).sum()


@pytest.mark.parametrize("rows", [None, np.array([6, 0, 3, 3, 5])], ids=["all", "some"])
def test_pieces_of_a_block_add_up(rows, monkeypatch) -> None:
    """Fields and statistics with receptive fields of two images at a time, in integers that
    float32 holds exactly."""
    block = Block(Sheets(3, 4, stride=2), (7, 9, 2), 5, device)
    x = np.round(4 * states(7, 7, 9, 2))
    block.start(0, 0, x)
    block.couplings["w"] = np.round(4 * states(18, 4, seed=1))
    block.couplings["c"] = np.round(4 * states(4, seed=2))
    monkeypatch.setattr(device, "window_bytes", 2 * 4 * block.sites * block.inputs, raising=False)
    assert [part.stop - part.start for part in block.parts(7)] == [2, 2, 2, 1]
    patches = formula.windows(x, 3, 2).reshape(-1, 18)
    wanted = (patches @ block.couplings["w"] + block.couplings["c"]).reshape(7, -1)
    assert np.array_equal(block.fields(x).field, wanted)
    moved = wanted if rows is None else wanted[rows]
    found = block.correlate(x, moved.reshape(-1, 4), rows, 0.5)
    patches = formula.windows(x, 3, 2, rows).reshape(-1, 18)
    assert np.array_equal(found["w"], patches.T @ moved.reshape(-1, 4) / 2)
    assert np.array_equal(found["c"], moved.reshape(-1, 4).sum(0) / 2)


def test_nothing_correlates_to_zero() -> None:
    block = Block(Sheets(3, 4, stride=2), (7, 9, 2), 5, device)
    x, none = states(2, 7, 9, 2), np.zeros(0, np.int64)
    block.start(0, 0, x)
    found = block.correlate(x, np.zeros((0, 4), np.float32), none, 1.0)
    assert found["w"].shape == (18, 4)
    assert not found["w"].any()


@pytest.mark.parametrize(
    "shape", [(1300, 400, 7), (7, 400, 1300), (3, 5, 3), (0, 5, 3), (3, 5, 0)]
)
def test_narrow_products_are_products(shape) -> None:
    """In integers that float32 holds exactly; two of the shapes are made in pieces."""
    n, inner, m = shape
    a, b = np.round(4 * states(inner, n)).T, np.round(4 * states(inner, m, seed=1))
    wanted = a.astype(float) @ b.astype(float)
    assert np.array_equal(device.narrow_product(a, b), wanted)


@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (1, 5, 7, 2)])
def test_winners_and_their_transpose(shape) -> None:
    f = states(*shape)
    largest, index = device.winners(f)
    wanted, at = formula.winners(f)
    assert np.array_equal(largest, wanted)
    assert np.array_equal(index, at)
    back = device.scatter_winners(largest, index, shape)
    assert np.array_equal(back, formula.scatter_winners(wanted, at, shape))
    assert np.count_nonzero(back) == largest.size


def test_warp_reads_bilinearly() -> None:
    """scipy.ndimage with order 1 and zeros outside, float64. A position up to 32 has a rounding
    of 2^-20, the slope of pixels in 0..1 is at most 2 in all."""
    images = np.random.default_rng(1).random((5, 11, 13)).astype(np.float32)
    mean = images.mean(0)
    rows = np.array([4, 0, 0, 2])
    maps = Warp(0.5, 0.3, 0.3, 3.0).maps(device, len(rows), DRAW)
    got = device.warp(images, rows, maps, mean)
    centre = np.array([5.0, 6.0])
    for image, row, m in zip(got, rows, maps.astype(float), strict=True):
        matrix, shift = m.reshape(2, 3)[:, :2], m.reshape(2, 3)[:, 2]
        offset = centre + shift - matrix @ centre
        wanted = ndimage.affine_transform(
            images[row].astype(float), matrix, offset, order=1, mode="grid-constant"
        )
        assert np.abs(image + mean - wanted).max() < 8 * 2.0**-20


def test_whole_shifts_move_pixels_and_nothing_else() -> None:
    images = np.random.default_rng(2).random((1, 8, 8)).astype(np.float32)
    rows, zero = np.zeros(400, np.int64), np.zeros((8, 8), np.float32)
    moved = device.warp(images, rows, shifts(1).maps(device, 400, DRAW), zero)
    padded = np.pad(images[0], 1)
    allowed = [padded[y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    seen = [sum(np.array_equal(image, a) for image in moved) for a in allowed]
    assert sum(seen) == 400
    assert min(seen) > 0  # a given shift is missed by 400 images with chance (8/9)^400 < 1e-20
    still = device.warp(images, rows[:2], STILL.maps(device, 2, DRAW), zero)
    assert np.array_equal(still, images.repeat(2, 0))


def test_maps_stay_within_their_bounds() -> None:
    warp = Warp(rotation=0.2, log_scale=0.12, shear=0.0, shift=1.5)
    maps = warp.maps(device, 2000, DRAW).astype(float)
    stretch = np.hypot(maps[:, 0], maps[:, 1]), np.hypot(maps[:, 3], maps[:, 4])
    angle = np.arctan2(-maps[:, 1], maps[:, 0])
    for values, bound in ((angle, 0.2), (np.log(stretch[0]), 0.12), (np.log(stretch[1]), 0.12),
                          (maps[:, 2], 1.5), (maps[:, 5], 1.5)):  # fmt: skip
        assert np.abs(values).max() <= bound * (1 + 1e-6)
        # the largest of 2,000 uniform |values| is below 0.98 of its bound with chance 0.98^2000
        assert np.abs(values).max() > 0.98 * bound


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_device_potential_follows_the_specification(unit: Unit) -> None:
    """float32: a few roundings of 2^-24 of numbers up to 16 per spin."""
    f = np.linspace(-12, 12, 4001).astype(np.float32)
    error = np.abs(device.potential(unit, f) - unit.potential(f)).max()
    assert error < 4 * 16 * 2.0**-24 * unit.levels


@pytest.mark.parametrize("draws", [Stratified(3), Independent(2)], ids=str)
@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_draws_are_those_of_the_formulas(unit: Unit, draws) -> None:
    """The same but where S p + u lies within a rounding of a whole number: |error| < 1e-5 there,
    so of 20,000 numbers fewer than 4 are expected, and 40 or more with chance below 1e-20."""
    f = np.linspace(-6, 6, 20_000).astype(np.float32)
    got, wanted = (d.sample(unit, f, draws, DRAW) for d in (device, formula))
    assert np.count_nonzero(np.abs(got - wanted) > 1e-4) < 40
