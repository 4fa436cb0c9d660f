"""Machines of hidden spins on the cuda device: its kernels on the processor in any schedule, and
with -m gpu on a GPU, against the formulas in float64 and the cpu device."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from float64 import Float64Device, numbers
from foreign import Foreign, ForeignDevice
from machine_devices import PLACES, There, device_at
from scipy import ndimage
from scipy.special import expit
from test_image_classifier import IMAGES, MACHINES, fresh
from test_machine_images import SHAPES, states
from test_machine_units import TOLERANCE

from isingnpu.backend import BackendUnavailable
from isingnpu.backends.cuda import compiler, host, machine, sources, text
from isingnpu.backends.cuda.cupy_device import CupyDevice
from isingnpu.backends.cuda.host import FORWARD, HostDevice
from isingnpu.npu import classifier
from isingnpu.npu.augment import STILL, Warp, shifts
from isingnpu.npu.budget import Budget
from isingnpu.npu.classifier import IsingClassifier
from isingnpu.npu.device import find_device
from isingnpu.npu.draws import Draw, Independent, Stratified, normals, uniforms
from isingnpu.npu.learning import LocalAdam
from isingnpu.npu.readout import READOUTS, Readout
from isingnpu.npu.units import (
    HARD_TOWER,
    PLUS_MINUS,
    TOWER,
    Binary,
    HardTower,
    PlusMinus,
    Tower,
    unit_name,
)
from isingnpu.rng import Stream

UNITS = [Binary(), PlusMinus(), Tower(3), HardTower(4)]
DRAWS = [Stratified(1), Stratified(3), Independent(3)]
DRAW = Draw(2024 << 33 | 5, Stream.HIDDEN, step=3, block=1, call=2)
ROUNDING = 2.0**-24
cpu, formula = find_device("cpu"), Float64Device()


@pytest.fixture(params=PLACES)
def device(request, monkeypatch):
    return device_at(request.param, monkeypatch)


@pytest.fixture
def there(device):
    return There(device)


def fields(n=1303):
    return np.linspace(-12, 12, n).astype(np.float32)


def feedback(n=1303):
    return np.sin(np.arange(n)).astype(np.float32)


# Hidden spins


@pytest.mark.parametrize("shape", [(1,), (7,), (5, 13), (1303,)])
def test_uniform_numbers_are_those_of_the_specification(there, shape):
    assert np.array_equal(there.uniforms(shape, DRAW), uniforms(shape, DRAW))


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_mean_and_potential_follow_the_specification(there, unit):
    """Tolerances of the cpu device: the fit of tanh; a few roundings of numbers up to 16."""
    f = fields().reshape(1, -1)
    assert np.abs(there.mean(unit, f) - unit.mean(f)).max() < TOLERANCE * unit.levels
    error = np.abs(there.potential(unit, f) - unit.potential(f)).max()
    assert error < 4 * 16 * ROUNDING * unit.levels


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_mean_is_that_of_the_cpu_device(there, unit):
    """The same fit: z P and Q by at most 6 products and sums each, a division, all positive but
    one small term; 16 roundings of either device for every spin and their sum."""
    f = fields()
    difference = np.abs(there.mean(unit, f) - cpu.mean(unit, f)).max()
    assert difference <= 2 * 16 * ROUNDING * unit.levels


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_displacement_is_the_difference_of_two_means(there, unit):
    f, k, beta = fields(), feedback(), 0.3
    wanted = formula.displacement(unit, f.astype(float), k, beta)
    error = np.abs(there.displacement(unit, f, k, beta) - wanted).max()
    assert error < 2 * TOLERANCE * unit.levels / (2 * beta)


def open_draws(unit, f, draws, draw):
    """Where a number lies so near the edge of a decision that float32 may decide
    otherwise: S p + u within S times the error of p and two roundings."""
    near = np.zeros(f.shape, bool)
    for bit, u, count in numbers(unit, f.shape, draws, draw):
        if unit.kind == HARD_TOWER:
            sums = np.maximum(f, 0) * count + u
        else:
            shifted = f - bit - 0.5 if unit.kind == TOWER else f
            sums = expit(2 * shifted if unit.kind == PLUS_MINUS else shifted) * count + u
        near |= np.abs(sums - np.round(sums)) < count * TOLERANCE + 2 * 16 * ROUNDING * count
    return near


@pytest.mark.parametrize("draws", DRAWS, ids=str)
@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_draws_are_those_of_the_formulas(there, unit, draws):
    f = fields(1303) / 2
    drawn, wanted = (
        there.sample(unit, f, draws, DRAW),
        formula.sample(unit, f.astype(float), draws, DRAW),
    )
    near = open_draws(unit, f.astype(float), draws, DRAW)
    assert near.mean() < 0.01
    # a quotient of whole numbers, rounded once
    assert np.abs(drawn - wanted)[~near].max() <= unit.levels * ROUNDING
    assert len(np.unique(drawn)) > 1


@pytest.mark.parametrize("draws", DRAWS, ids=str)
@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_nudged_draws_are_those_of_the_formulas(there, unit, draws):
    f, k, beta = fields(1303) / 2, feedback(1303), 0.25
    moved = there.sampled_displacement(unit, f, k, beta, draws, DRAW)
    wanted = formula.sampled_displacement(unit, f.astype(float), k, beta, draws, DRAW)
    ends = (f + sign * beta * k.astype(float) for sign in (1, -1))
    near = np.any([open_draws(unit, end, draws, DRAW) for end in ends], axis=0)
    assert near.mean() < 0.01
    assert np.abs(moved - wanted)[~near].max() <= 2 * unit.levels / beta * ROUNDING
    assert np.count_nonzero(moved) > 20
    assert not there.sampled_displacement(unit, f, 0 * k, beta, draws, DRAW).any()


def sweeping(unit, replicas):
    """What 60 images of 21 spins and 5 labels go through in six sweeps."""
    n, width, q = 60, 21, 5
    shapes = ((n, width), (q, width), (q,))
    f, u, b = (normals(shape, Draw(9, Stream.DATA, block=k)) for k, shape in enumerate(shapes))
    y, betas = np.arange(n) % q, (0.2, 0.4, 0.6, 0.8, 1.0)
    return unit, f, (u, b), y, betas, replicas, DRAW


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
@pytest.mark.parametrize("replicas", [1, 3])
def test_gibbs_sweeps_are_those_of_the_cpu_device(there, unit, replicas):
    """The same numbers decide: output states and votes are the same, but where a number of the
    60 x 5 decisions lies within float32 of an edge, which is off by less than 1e-5 of them. One in
    60 images may go another way: two have a probability below (300 x 5 x 1e-5)^2 / 2."""
    given = sweeping(unit, replicas)
    y, (n, q) = given[3], (60, 5)
    votes, wanted = np.zeros((2, n, q), np.float32)
    drawn, same = there.gibbs(*given, votes), cpu.gibbs(*given, wanted)
    alike = drawn == same
    assert alike.sum() >= n - 1
    assert np.count_nonzero(drawn != y) > n / 2
    alike &= np.abs(votes - wanted).max(1) < 0.5
    assert alike.sum() >= n - 1
    # three sums of a chance and a whole number up to 3
    assert np.abs(votes - wanted)[alike].max() <= 3 * (3 + 1) * ROUNDING + 3e-3 * 1e-5
    np.testing.assert_allclose(votes.sum(1), 3 * 1.001, rtol=1e-6)
    again = there.gibbs(*given)
    assert np.array_equal(again, drawn)
    assert not np.array_equal(there.gibbs(*given[:-1], replace(DRAW, step=4)), drawn)


def test_adam_follows_its_formula(device):
    """Tolerance of the cpu test: five steps of size 0.01, a few roundings of moments near 1."""
    n, xp, get = 301, device.xp, device.device.get
    w = xp.asarray(np.linspace(-1, 1, n).astype(np.float32))
    m, v = xp.zeros_like(w), xp.zeros_like(w)
    x, first, second = get(w).astype(float), np.zeros(n), np.zeros(n)
    for step in range(1, 6):
        g = np.cos(np.arange(n) * step).astype(np.float32)
        device.adam(w, xp.asarray(g), (m, v), rate=0.01, decay=0.1, step=step, betas=(0.9, 0.99))
        first = 0.9 * first + 0.1 * g
        second = 0.99 * second + 0.01 * g.astype(float) ** 2
        x += 0.01 * (
            first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-7) - 0.1 * x
        )
    np.testing.assert_allclose(get(w), x, atol=5 * 0.01 * 1e-5)
    np.testing.assert_allclose(get(m), first, atol=10 * ROUNDING)
    np.testing.assert_allclose(get(v), second, atol=10 * ROUNDING)


# Images


@pytest.mark.parametrize("shape", SHAPES)
def test_windows_are_those_of_a_sliding_view(device, there, shape):
    n, height, width, c, field, stride = shape
    x = states(n, height, width, c)
    wanted = formula.windows(x, field, stride)
    assert np.array_equal(there.windows(x, field, stride), wanted)
    rows = np.array([n - 1, 0])
    out = device.xp.full((len(rows) + 1, *wanted.shape[1:]), np.nan, np.float32)
    some = there.windows(x, field, stride, rows, out)
    assert np.array_equal(some, wanted[rows])
    kept = device.device.get(out)
    assert np.array_equal(kept[:2], some)
    assert np.isnan(kept[2]).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_added_windows_have_the_bits_of_the_cpu_device(there, shape):
    n, height, width, c, field, stride = shape
    size = n, height, width, c
    p = states(*formula.windows(states(*size), field, stride).shape, seed=1)
    back = there.add_windows(p, size, field, stride)
    assert np.array_equal(back, cpu.add_windows(p, size, field, stride))
    whole = np.round(4 * p)
    exact = formula.add_windows(whole, size, field, stride)
    assert np.array_equal(there.add_windows(whole, size, field, stride), exact)


@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (3, 5, 7, 2), (1, 40, 40, 1)])
def test_winners_and_their_transpose(there, shape):
    f = np.round(states(*shape) * 2)  # with ties
    largest, index = there.winners(f)
    wanted, at = formula.winners(f)
    assert np.array_equal(largest, wanted)
    assert np.array_equal(index, at)
    values = states(*wanted.shape, seed=1)
    back = there.scatter_winners(values, index, shape)
    assert np.array_equal(back, formula.scatter_winners(values, at, shape))


def test_warp_reads_bilinearly(there):
    """scipy.ndimage in float64, tolerance of the cpu test: positions up to 32 have roundings of
    2^-20, the slope of pixels is at most 2 in all."""
    images = np.random.default_rng(1).random((5, 17, 23)).astype(np.float32)
    mean, rows, centre = images.mean(0), np.array([4, 0, 2]), np.array([8.0, 11.0])
    maps = Warp(0.5, 0.3, 0.3, 3.0).maps(cpu, len(rows), DRAW)
    got = there.warp(images, rows, maps, mean)
    for image, row, m in zip(got, rows, maps.astype(float), strict=True):
        matrix, shift = m.reshape(2, 3)[:, :2], m.reshape(2, 3)[:, 2]
        wanted = ndimage.affine_transform(
            images[row].astype(float), matrix, centre + shift - matrix @ centre, order=1,
            mode="grid-constant",
        )  # fmt: skip
        assert np.abs(image + mean - wanted).max() < 8 * 2.0**-20


def test_whole_shifts_move_pixels_and_nothing_else(there):
    images = np.random.default_rng(2).random((2, 8, 7)).astype(np.float32)
    rows, zero = np.arange(60) % 2, np.zeros((8, 7), np.float32)
    for warp in (shifts(2), STILL):
        maps = warp.maps(cpu, 60, DRAW)
        assert np.array_equal(
            there.warp(images, rows, maps, zero), cpu.warp(images, rows, maps, zero)
        )


@pytest.mark.skipif(host.compiler() is None, reason="g++ not found")
@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_bits_are_the_same_on_every_device(there, unit):
    """A GPU and the processor, in any schedule."""
    other = There(machine.CudaMachine(HostDevice(FORWARD)))
    f, k, draws = fields(), feedback(), Independent(2)
    images, maps = states(2, 9, 8), Warp().maps(cpu, 2, DRAW)
    for name, args in {
        "mean": (unit, f),
        "displacement": (unit, f, k, 0.3),
        "sample": (unit, f, draws, DRAW),
        "sampled_displacement": (unit, f, k, 0.3, draws, DRAW),
        "warp": (images, np.array([1, 0]), maps, images[0]),
        "gibbs": (
            unit,
            f.reshape(-1, 1)[:20],
            (k[:3].reshape(-1, 1), k[:3]),
            np.arange(20) % 3,
            (0.5, 1.0),
            2,
            DRAW,
        ),
    }.items():
        assert np.array_equal(getattr(there, name)(*args), getattr(other, name)(*args)), name


# Arguments


def test_nothing_is_no_launch(there):
    empty, rows = np.zeros((0, 5), np.float32), np.zeros(0, np.int64)
    assert there.mean(Binary(), empty).shape == (0, 5)
    assert there.sample(Binary(), empty, Stratified(2), DRAW).shape == (0, 5)
    assert there.windows(states(2, 4, 4, 1), 3, 1, rows).shape == (0, 2, 2, 9)
    assert there.winners(states(2, 1, 4, 3))[0].shape == (2, 0, 2, 3)


def test_arrays_that_a_kernel_would_misread_are_refused(device):
    xp = device.xp
    f, g = xp.zeros((4, 6), np.float32), xp.zeros((6, 4), np.float32)
    with pytest.raises(TypeError, match="takes float32 arrays, got float64"):
        device.mean(Binary(), f.astype(np.float64))
    with pytest.raises(ValueError, match=r"shape \(4, 6\) is needed, got \(6, 4\)"):
        device.displacement(Binary(), f, g, 0.5)
    with pytest.raises(ValueError, match="written in place: pass a contiguous array"):
        device.adam(g.T, f, (f, f), rate=0.1, decay=0.0, step=1, betas=(0.9, 0.99))
    turned = device.mean(Binary(), (g + xp.arange(6, dtype=np.float32)[:, None]).T)
    assert np.array_equal(device.device.get(turned), np.tile(device.device.get(turned)[0], (4, 1)))


def test_device_is_found_by_name_where_a_gpu_is(monkeypatch):
    monkeypatch.setattr(CupyDevice, "unavailable", lambda self: "no CUDA device")
    with pytest.raises(BackendUnavailable, match="no CUDA device"):
        find_device("cuda")
    assert find_device("auto") is cpu
    monkeypatch.setattr(CupyDevice, "unavailable", lambda self: None)
    assert find_device("cuda") is machine.device
    assert find_device("auto") is machine.device
    with pytest.raises(BackendUnavailable, match="first device: pass 'cuda'"):
        find_device("cuda:1")


@pytest.mark.parametrize("name", ["reference", "cuda-host"])
def test_backend_without_kernels_for_machines_says_so(name):
    with pytest.raises(BackendUnavailable, match=f"{name}.*no kernels for machines of hidden"):
        find_device(name)


# Machines


def learned(found, name, monkeypatch):
    """A machine that made three steps on a device; how far its couplings moved, its answers."""
    monkeypatch.setattr(classifier, "find_device", lambda _: found)
    rule = LocalAdam(rate=0.01, warm_up=1)
    start, end = (replace(fresh(name), rule=rule) for _ in range(2))
    start.fit(IMAGES, Budget(steps=3), pause_after=0)
    end.fit(IMAGES, Budget(steps=3))
    get = np.asarray if found is cpu else found.device.get
    before = start.machine.couplings
    moved = {key: get(w) - get(before[key]) for key, w in end.machine.couplings.items()}
    return end, moved | {"answers": end.predict_proba(IMAGES.test[0][:50])}


@pytest.mark.parametrize("name", MACHINES)
def test_learning_is_that_of_the_cpu_device(device, name, monkeypatch):
    """Three steps: the couplings move alike, and are read alike. Stored to 2^-24 of themselves,
    couplings near 1 that move by 0.01 a step have relative errors of 2^-24 / 0.01 < 1e-5 a step;
    sums in float32 and statistics near zero, whose sign Adam sees, may make that 100 times as
    much. Other random numbers move them by another 100 %."""
    _, wanted = learned(cpu, name, monkeypatch)
    _, moved = learned(device, name, monkeypatch)
    for key, far in wanted.items():
        assert np.linalg.norm(moved[key] - far) <= 1e-3 * np.linalg.norm(far), key


@pytest.mark.skipif(host.compiler() is None, reason="g++ not found")
@pytest.mark.parametrize("name", MACHINES)
def test_arrays_of_a_machine_stay_on_its_device(name, monkeypatch, tmp_path):
    """With arrays that numpy refuses: learning, reading out, saving, loading, the same bits."""
    _, wanted = learned(machine.CudaMachine(HostDevice()), name, monkeypatch)
    trained, moved = learned(machine.CudaMachine(ForeignDevice()), name, monkeypatch)
    assert all(np.array_equal(moved[key], far) for key, far in wanted.items())
    for rule in READOUTS:
        trained.decision(IMAGES.test[0][:20], Readout(rule, draws=Stratified(2), sweeps=2))
    trained.save(tmp_path / "machine.npz")
    read = IsingClassifier.load(tmp_path / "machine.npz")
    assert all(isinstance(w, Foreign) for w in read.machine.couplings.values())
    images = IMAGES.test[0][:50]
    assert np.array_equal(read.predict_proba(images), trained.predict_proba(images))
    assert len(trained.sample(images)) == 50


# What they take of devices that need not be there


def test_cupy_has_all_that_machines_ask_of_an_array_module():
    cupy = pytest.importorskip("cupy")
    root = Path(__file__).resolve().parents[1]
    files = [*(root / "isingnpu" / "npu").glob("*.py"), *(root / "backends" / "cuda").glob("*.py")]
    asked = {name for file in files for name in re.findall(r"\bxp\.(\w+)", file.read_text())}
    assert {"matmul", "einsum", "asnumpy", "sort"} <= asked
    assert {name for name in asked if not hasattr(cupy, name)} == set()


TABLE = json.loads(Path(__file__).with_name("cuda_registers_machines.json").read_text())


@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100", "sm_120"])
@pytest.mark.parametrize(
    "code",
    [machine.UNITS, machine.GIBBS, machine.IMAGES, text.TEXT, text.HEADS],
    ids=lambda code: code.source,
)
def test_kernels_compile_without_spills_within_their_registers(code, arch):
    try:
        compiler.version()
    except Exception as error:
        pytest.skip(f"NVRTC: {error}")
    _, usage = compiler.compile_cubin(code, arch)
    table = TABLE[code.source]
    assert set(usage) == set(table) == set(sources.kernel_names(code))
    assert {k: (u.spilled, u.stack) for k, u in usage.items()} == dict.fromkeys(usage, (0, 0))
    assert {k: u.registers for k, u in usage.items() if u.registers > table[k]} == {}
