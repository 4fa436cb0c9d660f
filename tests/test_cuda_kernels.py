"""The CUDA kernels compiled for devices that need not be there, and the search for a device."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from architectures import compilations
from engine import Trial

from isingnpu import disorder, lattice
from isingnpu.backend import BackendUnavailable, find_backend, get_backend
from isingnpu.backends import usual
from isingnpu.backends.cuda import KERNELS, CudaBackend, choose_kernel, compiler, sources
from isingnpu.backends.cuda.device import Code
from isingnpu.backends.cuda.host import HostDevice
from isingnpu.backends.cuda.lattice import LatticePlan, shared_bytes

EVERYWHERE = ("lanes", "lanes, many models", "bits, square", "states of lattices")
# Registers of each kernel on any of them, rounded up to eight, which is how they are given out.
TABLE = json.loads(Path(__file__).with_name("cuda_registers.json").read_text())


def lanes(**defines):
    usual = {"LANES": 32, "DRAWS": 0, "ROUNDS": 10, "HEAT_BATH": 0, "TABLE": 1, "NARROW": 1}
    return Code.of("lanes.cu", **{**usual, "SPLIT": 0, "MANY": 0, **defines})


def bits(model, rule, **options):
    request = Trial(model, np.zeros(1), "lattice", rule, range(1)).request
    return LatticePlan(request, HostDevice(), **options).code


GLASS = disorder.edwards_anderson((4, 4, 4), seed=1)
VARIANTS = {
    "lanes": lanes(),
    "lanes, 16 replicas of one word, shared by blocks": lanes(LANES=16, SPLIT=1, ROUNDS=7),
    "lanes, fixed point, heat bath": lanes(LANES=128, TABLE=0, NARROW=0, HEAT_BATH=1, SPLIT=1),
    "lanes, many models": lanes(MANY=1),
    "lanes, many models, fixed point, heat bath": lanes(
        LANES=16, TABLE=0, NARROW=0, HEAT_BATH=1, MANY=1
    ),
    "lanes, layout plane": lanes(DRAWS=1, NARROW=0),
    "lanes, layout lattice": lanes(LANES=64, DRAWS=2, HEAT_BATH=1),
    "bits, square": bits(lattice.square((4, 256)), "metropolis", blocks=2),
    "bits, square, heat bath": bits(lattice.square((4, 6)), "heat-bath"),
    "bits, each its own tail": bits(lattice.square((4, 6)), "metropolis", queued=False),
    "bits, cubic glass": bits(GLASS, "metropolis", blocks=2),
    "bits, cubic glass, heat bath": bits(GLASS, "heat-bath"),
    "states of lattices": Code.of("words.cu"),
}


@pytest.fixture(scope="module")
def nvrtc():
    """Skips where NVRTC is not installed."""
    try:
        compiler.version()
    except Exception as error:
        pytest.skip(f"NVRTC: {error}")


def used(name, arch):
    """Registers by kernel; a kernel that spills or keeps arrays in memory is an error."""
    cubin, usage = compiler.compile_cubin(VARIANTS[name], arch)
    assert cubin[:4] == b"\x7fELF"
    assert set(usage) == set(sources.kernel_names(VARIANTS[name]))
    assert {k: (u.spilled, u.stack) for k, u in usage.items()} == dict.fromkeys(usage, (0, 0))
    return {kernel: u.registers for kernel, u in usage.items()}


@pytest.mark.parametrize(("name", "arch"), compilations(VARIANTS, EVERYWHERE))
def test_kernel_compiles_without_spills_within_its_registers(nvrtc, name, arch):
    assert {k: n for k, n in used(name, arch).items() if n > TABLE[name][k]} == {}


@pytest.mark.parametrize(
    ("name", "classes"),
    [("bits, square", 2), ("bits, square, heat bath", 5), ("bits, cubic glass, heat bath", 7)],
)
def test_blocks_of_lattices_take_the_shared_memory_that_is_counted(nvrtc, name, classes):
    _, usage = compiler.compile_cubin(VARIANTS[name], "sm_120")
    assert 0.99 * shared_bytes(classes) <= usage["sweep"].shared <= shared_bytes(classes)


def test_table_has_the_kernels_that_are_compiled():
    kernels = {name: set(sources.kernel_names(code)) for name, code in VARIANTS.items()}
    assert {name: set(row) for name, row in TABLE.items()} == kernels


def test_source_that_does_not_compile_gives_the_compilers_words(nvrtc):
    broken = Code("x.cu", headers=(("x.cu", "__global__ void f() { nothing(); }"),))
    with pytest.raises(compiler.CompileError, match=r"x\.cu for sm_90.*\n.*nothing"):
        compiler.compile_cubin(broken, "sm_90")


def test_digest_sees_headers_and_defines():
    plain = Code.of("lanes.cu", LANES=16)
    other = Code.of("lanes.cu", LANES=32)
    changed = Code("lanes.cu", plain.defines, (("philox.cuh", "// another"),))
    assert len({sources.digest(code) for code in (plain, other, changed)}) == 3
    assert sources.digest(plain, "sm_80") != sources.digest(plain, "sm_90")


# Compilation beforehand.


class Recording(HostDevice):
    """A device of so many multiprocessors that notes what it should compile."""

    def __init__(self, processors=132):
        super().__init__(processors=processors)
        self.asked = []

    def kernel(self, code, name):
        assert name in sources.kernel_names(code)
        self.asked.append(code)


def test_warming_compiles_what_usual_requests_run():
    device = Recording()
    warmed = dict(CudaBackend(device).warm())
    assert all(seconds > 0 for seconds in warmed.values())
    kernels = {choose_kernel(r) for _, r in usual.requests() if r.dynamics.name != "wolff"}
    assert kernels == set(KERNELS)
    regular = disorder.random_regular(10_000, 3, seed=1)
    for trial in (
        Trial(regular, np.zeros(1), replicas=range(128)),
        Trial(regular, np.zeros(1), replicas=range(4096)),
        Trial(regular, np.zeros(1), replicas=range(1), dynamics="heat-bath"),
        Trial(regular, np.zeros(1), "plane", replicas=range(1024)),
        Trial(disorder.random_regular(200, 3, seed=1), np.zeros(1), "plane", replicas=range(512)),
        Trial(disorder.sherrington_kirkpatrick(200, seed=1), np.zeros(1), replicas=range(1024)),
        Trial(lattice.square(64), np.zeros(1), "lattice", replicas=range(1)),
        Trial(lattice.square(512), np.zeros(1), "lattice", replicas=range(1)),
    ):
        assert set(CudaBackend(device).plan(trial.request).codes) <= set(device.asked)


# Why there is no device.


def fake_cupy(*, count=None, error=None, driver=13000):
    """A cupy whose runtime answers so."""

    def device_count():
        if error is not None:
            raise RuntimeError(error)
        return count

    runtime = SimpleNamespace(
        getDeviceCount=device_count,
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: 13020,
    )
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))


@pytest.mark.parametrize(
    ("cupy", "reason"),
    [
        (None, "cupy not installed"),
        (fake_cupy(error="cudaErrorInsufficientDriver: ...", driver=0), "no NVIDIA driver"),
        (
            fake_cupy(error="cudaErrorInsufficientDriver: ...", driver=12040),
            r"driver too old: it serves CUDA 12\.4, cupy needs 13\.2",
        ),
        (fake_cupy(error="cudaErrorNoDevice: ..."), "no CUDA device"),
        (fake_cupy(count=0), "no CUDA device"),
        (fake_cupy(count=1), r"no CUDA device 1, there are 1: 0\.\.0"),
        (fake_cupy(error="cudaErrorUnknown: ..."), "no usable CUDA device: cudaErrorUnknown"),
    ],
)
def test_reason_why_no_device_can_be_used(monkeypatch, cupy, reason):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(BackendUnavailable, match=reason):
        get_backend("cuda:1")


def test_devices_are_named_by_number():
    assert find_backend("cuda:3").name == "cuda:3"
    assert find_backend("cuda").name == "cuda"
    for name in ("cuda:x", "cuda:", "cpu:0"):
        with pytest.raises(ValueError, match=f"unknown backend '{name}'"):
            find_backend(name)


def test_auto_never_takes_the_processor_in_the_place_of_a_gpu():
    assert get_backend("auto").name in ("cuda", "cpu")
