"""The CUDA kernels on the processor: their bits in any schedule and launch shape, and what the
host that runs them must notice. `test_backends` and `test_golden` run all requests on it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine import QuickReference, Trial, differing, graph, outcome

from isingnpu import disorder, lattice
from isingnpu.backend import get_backend
from isingnpu.backends.cuda import CudaBackend, host, sources
from isingnpu.backends.cuda.device import Code, OutOfMemory
from isingnpu.backends.cuda.host import FORWARD, REVERSE, HostDevice, LaunchError
from isingnpu.backends.cuda.lanes import LanePlan, Shape
from isingnpu.backends.cuda.lattice import LatticePlan

pytestmark = pytest.mark.skipif(host.compiler() is None, reason="g++ not found")

SHUFFLED = 12345
ORDERS = (FORWARD, REVERSE, SHUFFLED)
PLANTED = Path(__file__).with_name("planted.cu")
BUGS = Code("planted.cu", headers=(("planted.cu", PLANTED.read_text()),))


def ran(name, order=FORWARD, *, blocks=1, together=False, sanitize=False, size=64):
    """What a planted kernel writes with 64 threads."""
    out = np.zeros(size, np.int32)
    kernel = HostDevice(order, sanitize=sanitize).kernel(BUGS, name)
    kernel((blocks,), (64,), [out], shared_mem=128, together=together)
    return out.tolist()


# What the host notices.


@pytest.mark.parametrize("name", ["no_barrier", "uninitialized", "dynamic_uninitialized"])
def test_mistake_shows_as_results_that_depend_on_the_schedule(name):
    assert (
        len({tuple(ran(name, order)[: 32 if "dynamic" in name else 64]) for order in ORDERS}) > 1
    )


def test_order_of_blocks_depends_on_the_schedule():
    assert len({tuple(ran("order_of_blocks", order, blocks=5)) for order in ORDERS}) == 3


@pytest.mark.parametrize("order", ORDERS)
def test_right_kernel_gives_the_same_in_any_schedule(order):
    assert ran("with_barrier", order) == list(range(63, -1, -1))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("name", "place"), [("divergent", "__syncthreads"), ("half_a_warp", "in a warp operation")]
)
def test_barrier_that_not_all_reach_is_an_error(name, place, order):
    with pytest.raises(LaunchError, match=rf"{name}: divergent barrier in block 0: .*{place}"):
        ran(name, order)
    assert ran("with_barrier", order) == list(range(63, -1, -1))  # and harms no later launch


def test_blocks_wait_for_each_other_only_if_launched_together():
    assert ran("waits_for_another_block", blocks=2, together=True)[:3] == [2, 1, 1]
    with pytest.raises(LaunchError, match="1 in __nanosleep"):
        ran("waits_for_another_block", blocks=2)


def test_wrong_arguments_are_refused():
    kernel = HostDevice().kernel(BUGS, "divergent")
    with pytest.raises(LaunchError, match="takes 1 arguments, got 2"):
        kernel((1,), (32,), [np.zeros(64, np.int32), np.int32(1)])
    with pytest.raises(TypeError, match="takes arrays and NumPy scalars, got 3"):
        kernel((1,), (32,), [3])
    with pytest.raises(LaunchError, match="no block has 1025 threads"):
        kernel((1,), (1025,), [np.zeros(64, np.int32)])


# Kernels: the bits of the cpu backend after hundreds of sweeps.

LONG = {
    "graph": Trial(graph(37), np.linspace(0.05, 0.6, 200), replicas=range(19, 60), every=7),
    "own betas, fixed point": Trial(
        graph(23, real=True), np.random.default_rng(1).uniform(0, 2, (200, 21)),
        dynamics="heat-bath", replicas=range(21), every=50,
    ),
    "square": Trial(
        lattice.square((6, 266)), np.linspace(0.3, 0.6, 200), "lattice", replicas=range(2),
    ),
    "odd glass": Trial(
        disorder.edwards_anderson((3, 3, 195), seed=2), np.linspace(0.2, 1.2, 200), "lattice",
        "heat-bath", range(4, 6), every=3,
    ),
}  # fmt: skip
EXPECTED = {}


def expected(name):
    if name not in EXPECTED:
        EXPECTED[name] = outcome(get_backend("cpu").plan, LONG[name])
    return EXPECTED[name]


SHAPES = {
    "chosen": {},
    "many blocks": {"blocks": 3, "threads": 32},
    "each its own tail": {"queued": False, "threads": 64},
}
LANE_SHAPES = {
    "chosen": None,
    "many blocks": Shape(32, 64, 3),
    "each its own tail": Shape(128, 96, 1),
}


@pytest.mark.parametrize(("shape", "order"), [*zip(SHAPES, ORDERS, strict=True)])
@pytest.mark.parametrize("name", LONG)
def test_bits_after_hundreds_of_sweeps_are_those_of_the_cpu_backend(name, shape, order):
    device, trial = HostDevice(order), LONG[name]
    if trial.layout == "lattice":
        make = lambda request: LatticePlan(request, device, **SHAPES[shape])  # noqa: E731
    else:
        make = lambda request: LanePlan(request, device, LANE_SHAPES[shape])  # noqa: E731
    assert differing(outcome(make, trial), expected(name)) == []


def test_lanes_serve_lattices_too():
    trial = replace(LONG["odd glass"], betas=np.linspace(0.2, 1.0, 20))
    make = lambda request: LanePlan(request, HostDevice(REVERSE))  # noqa: E731
    assert differing(outcome(make, trial), outcome(QuickReference, trial)) == []


# A mistake planted in a kernel is seen.

CUTS = {
    "lanes.cu": "#else\n            __syncthreads();\n#endif\n        }\n        drain",
    "lattice.cu": "            MEET();\n        }\n        const u64 all_flips",
}


@pytest.mark.parametrize("source", CUTS)
def test_lost_barrier_of_a_kernel_is_seen(source):
    text, cut = sources.text(source), CUTS[source]
    assert text.count(cut) == 1
    mutant = text.replace(cut, cut.replace("__syncthreads();", "").replace("MEET();", ""))
    trial = replace(LONG["square"], betas=np.full(20, 0.3), every=0)
    if source == "lanes.cu":  # two levels, each the work of two warps
        colours = np.argsort(np.indices((12, 12)).sum(axis=0).ravel() % 2, kind="stable")
        trial = replace(trial, model=lattice.square(12), layout="lane", order=colours)
    right = outcome(get_backend("cpu").plan, trial)
    seen = []
    for order in ORDERS:
        device = HostDevice(order)
        if source == "lanes.cu":
            plan = LanePlan(trial.request, device, Shape(16, 64, 1))
        else:
            plan = LatticePlan(trial.request, device, threads=32, queued=False)
            plan.threads = 64
        plan.code = replace(plan.code, headers=(*plan.code.headers, (source, mutant)))
        seen += differing(outcome(lambda request, plan=plan: plan, trial), right)
    assert seen


# Memory.


def test_out_of_memory_says_what_is_needed_and_what_fits():
    tight = CudaBackend(HostDevice(memory=200 << 20), "tight")
    trial = Trial(lattice.chain(100_000), np.zeros(1), replicas=range(2000))
    said = (
        r"100000 sites with 2000 reads needs 0\.\d\d GiB of device memory, "
        r"host has 0\.20 GiB free: \d+ reads fit"
    )
    with pytest.raises(OutOfMemory, match=said):
        tight.plan(trial.request)
    with pytest.raises(OutOfMemory, match="not one read fits"):
        CudaBackend(HostDevice(memory=1 << 20), "tight").plan(trial.request)


SANITIZED = """
import os, sys
sys.path.insert(0, "tests")
import test_cuda_host as tests
from dataclasses import replace
for name in sys.argv[1:]:
    print("BEGIN", name, file=sys.stderr, flush=True)
    if name.startswith("beyond"):
        tests.ran(name, sanitize=True, size=32 if name == "beyond_global" else 64)
        continue
    if name == "machines":
        import test_cuda_machine, test_cuda_text as text
        device = text.machine.CudaMachine(tests.HostDevice(tests.SHUFFLED, sanitize=True))
        text.everything(text.There(device))
        text.There(device).gibbs(*test_cuda_machine.sweeping(test_cuda_machine.Binary(), 2))
        print([], file=sys.stderr, flush=True)
        continue
    trial = replace(tests.LONG[name], betas=tests.LONG[name].betas[:8])
    device = tests.HostDevice(tests.SHUFFLED, sanitize=True)
    if trial.layout == "lattice":
        make = lambda request: tests.LatticePlan(request, device, blocks=2, threads=32)
    else:
        make = lambda request: tests.LanePlan(request, device, tests.Shape(32, 64, 1))
    right = tests.outcome(tests.QuickReference, trial)
    print(tests.differing(tests.outcome(make, trial), right), file=sys.stderr, flush=True)
os._exit(0)  # what lies beyond memory is no longer what it was
"""
BEYOND = {
    "beyond_global": "heap-buffer-overflow",
    "beyond_dynamic": "heap-buffer-overflow",
    "beyond_shared": "out of bounds",
}
INSIDE = ("graph", "own betas, fixed point", "odd glass", "machines")


@pytest.fixture(scope="module")
def watched():
    """What a process whose kernels watch their memory said of each."""
    libraries = host.sanitizer_libraries()
    if len(libraries) < len(host.SANITIZERS):
        pytest.skip("g++ has no libasan and libubsan")
    held = {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=0",
        "PYTHONPATH": ".",
    }
    done = subprocess.run(
        [sys.executable, "-c", SANITIZED, *INSIDE, *BEYOND],
        env={**os.environ, **held}, cwd=Path(__file__).parents[1], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parts = [part.partition("\n") for part in done.stderr.split("BEGIN ")[1:]]
    return {name: said for name, _, said in parts}


@pytest.mark.parametrize("name", BEYOND)
def test_access_beyond_memory_is_found_with_its_line(watched, name):
    assert BEYOND[name] in watched[name]
    assert "planted.cu:" in watched[name]


@pytest.mark.parametrize("name", INSIDE)
def test_kernels_stay_inside_their_memory(watched, name):
    assert watched[name] == "[]\n"
