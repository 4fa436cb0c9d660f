"""Bit planes and dense models of the cuda backend, run on the processor: their bits in any
schedule and launch shape, mistakes planted in them, and what they take of a device."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import test_planes
from architectures import compilations
from engine import QuickReference, Trial, dense_graph, differing, graph, outcome
from laws import alone_faults, close_faults, cut_faults

from isingnpu import IsingModel, lattice
from isingnpu.backend import get_backend
from isingnpu.dynamics import DYNAMICS, thresholds

get_backend("cpu")  # backends lie beside the package in a checkout: find them first

from isingnpu.backends.cuda import choose_kernel, compiler, host, planes, sources  # noqa: E402
from isingnpu.backends.cuda.dense import DensePlan, limbs_of  # noqa: E402
from isingnpu.backends.cuda.device import Code  # noqa: E402
from isingnpu.backends.cuda.host import FORWARD, REVERSE, HostDevice  # noqa: E402
from isingnpu.backends.cuda.planes import PlanePlan, Shape  # noqa: E402
from isingnpu.backends.limits import first_byte_edges  # noqa: E402

needs_host = pytest.mark.skipif(host.compiler() is None, reason="g++ not found")

SHUFFLED = 12345
ORDERS = (FORWARD, REVERSE, SHUFFLED)
SOURCE = np.random.default_rng(4)
SPARSE = graph(37, most=1, most_field=1, share=0.15)
# 200 sweeps; reads that begin and end within a word, a block of 16 lanes or a group.
LONG = {
    "planes": Trial(
        SPARSE, np.linspace(0.05, 1.2, 200), "plane", replicas=range(19, 220), every=7
    ),
    "planes, own betas": Trial(
        SPARSE, SOURCE.uniform(0, 2, (200, 90)), "plane", "heat-bath", range(50, 140), every=50
    ),
    "dense": Trial(
        dense_graph(97, most=1), np.linspace(0.01, 0.3, 200), replicas=range(5, 30), every=7
    ),
    "dense, own betas, fixed point": Trial(
        dense_graph(71, real=True), SOURCE.uniform(0, 0.4, (200, 9)), dynamics="heat-bath",
        replicas=range(60, 69), every=50, rounds=7,
    ),
}  # fmt: skip
SHAPES = {
    FORWARD: (None, {}),
    REVERSE: (Shape(1, 64, 3), {"group": 8, "tensor": False}),
    SHUFFLED: (Shape(2, 96, 1), {"group": 32}),
}
EXPECTED: dict[str, object] = {}


def maker(trial, order, shape=None, options=None, edit=None):
    """A function that makes the plan of a trial; edit: (source, old, new) text of a kernel."""

    def make(request):
        device = HostDevice(order)
        if trial.layout == "plane":
            plan = PlanePlan(request, device, shape)
        else:
            plan = DensePlan(request, device, **(options or {}))
        if edit is not None:
            source, old, new = edit
            text = sources.text(source)
            assert text.count(old) == 1
            header = ((source, text.replace(old, new)),)
            plan.code = replace(plan.code, headers=header)
            if trial.layout == "plane":
                plan.own_code = replace(plan.own_code, headers=header)
        return plan

    return make


def expected(name):
    if name not in EXPECTED:
        EXPECTED[name] = outcome(get_backend("cpu").plan, LONG[name])
    return EXPECTED[name]


@needs_host
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", LONG)
def test_bits_after_hundreds_of_sweeps_are_those_of_the_cpu_backend(name, order):
    make = maker(LONG[name], order, *SHAPES[order])
    assert differing(outcome(make, LONG[name]), expected(name)) == []


@pytest.mark.parametrize("name", LONG)
def test_cpu_backend_and_reference_agree_on_the_long_trials(name):
    trial = replace(LONG[name], betas=LONG[name].betas[:20])
    assert differing(outcome(get_backend("cpu").plan, trial), outcome(QuickReference, trial)) == []


@needs_host
@pytest.mark.parametrize("name", test_planes.TRIALS)
def test_planes_have_the_bits_of_the_reference(name):
    trial = test_planes.TRIALS[name]
    found = outcome(maker(trial, SHUFFLED), trial)
    assert differing(found, test_planes.reference_answer(name)) == []


@needs_host
@pytest.mark.parametrize("name", ["own betas", "own betas, heat bath"])
def test_all_bits_of_close_thresholds_are_read(name):
    trial = test_planes.TRIALS[name]
    assert close_faults(maker(trial, FORWARD), trial, planes) == []


@needs_host
@pytest.mark.parametrize("name", ["planes, own betas", "dense, own betas, fixed point"])
def test_cuts_and_reads_alone_do_not_change_the_result(name):
    trial = replace(LONG[name], betas=LONG[name].betas[:6])
    make = maker(trial, FORWARD)
    assert cut_faults(make, trial, [1, 4]) == []
    assert alone_faults(make, trial) == []


@needs_host
def test_couplings_of_several_bytes_give_the_bits_of_the_reference():
    i, j = np.triu_indices(65, 1)
    values = SOURCE.choice([-40_000, -129, -128, 127, 128, 33_000], i.size)
    model = IsingModel.from_dense(IsingModel.from_edges((i, j, values), 65).dense)
    trial = Trial(model, np.geomspace(1e-6, 1e-4, 5), replicas=range(3))
    assert limbs_of(trial.request) == 3
    right = outcome(QuickReference, trial)
    for tensor in (False, True):
        make = maker(trial, REVERSE, options={"tensor": tensor})
        assert differing(outcome(make, trial), right) == []


@needs_host
@pytest.mark.parametrize("layout", ["plane", "shared"])
def test_dense_kernel_serves_other_layouts(layout):
    trial = Trial(dense_graph(65, most=1), np.linspace(0, 0.3, 3), layout, replicas=range(62, 67))
    found = outcome(lambda request: DensePlan(request, HostDevice(SHUFFLED)), trial)
    assert differing(found, outcome(QuickReference, trial)) == []


@needs_host
@pytest.mark.parametrize("name", ["planes", "planes, own betas"])
def test_counters_that_fill_up_are_emptied_in_time(name):
    edit = "planes.cu", "#define DEEP 12", "#define DEEP 5"
    trial = replace(LONG[name], betas=LONG[name].betas[:8], every=5)
    right = outcome(QuickReference, trial)
    for shape in (Shape(1, 32, 1), Shape(2, 32, 2)):
        assert differing(outcome(maker(trial, REVERSE, shape, edit=edit), trial), right) == []


# A mistake planted in a kernel is seen.

PLANES, WIDE = Shape(1, 64, 1), Shape(2, 96, 2)
MUTANTS = {
    "no barrier between levels": (
        PLANES, "planes.cu",
        "            MEET;\n        }\n        const bool", "        }\n        const bool",
    ),
    "carry of two": (
        PLANES, "adder.cuh",
        "carry[k] = (c[D] & a) | (b & (c[D] | a));", "carry[k] = c[D] & (a | b);",
    ),
    "half of the lanes": (WIDE, "adder.cuh", "(lane & 15) / W", "(lane & 7) / W"),
    "halves exchanged": (
        WIDE, "adder.cuh", "own = upper ? high : low", "own = upper ? low : high"
    ),
    "a plane read twice": (
        PLANES, "planes.cu", "u32 call = CALLS; call", "u32 call = CALLS - 1; call"
    ),
    "best states of all": (
        PLANES, "planes.cu",
        "(own_best[at] & ~mask) | (load(state + at) & mask)", "load(state + at)",
    ),
    "no barrier before the rest of a tile": (
        {}, "dense.cu",
        "            __syncthreads();\n#if PRODUCTS\n            if (more) contribute_late",
        "#if PRODUCTS\n            if (more) contribute_late",
    ),
    "a tile counted twice": (
        {"tensor": False}, "dense.cu",
        "next, tile, tile + 1, NONE", "next, tile, tile + 2 < tiles ? tile + 2 : tiles, NONE",
    ),
    "earlier flips of a tile": ({}, "dense_tile.cuh", "change[p] = current;", "change[p] = 0;"),
    "fields of the tile before": ({}, "dense.cu", "            clear(here, thread);\n", ""),
    "unsure taken for sure": (
        {}, "dense_tile.cuh", "                if (unsure) {", "                if (0) {"
    ),
    "unsure lane passed over": ({}, "dense_tile.cuh", ", doubt)) {", ", false)) {"),
}  # fmt: skip


@needs_host
@pytest.mark.parametrize("mistake", MUTANTS)
def test_planted_mistake_is_seen(mistake):
    place, *edit = MUTANTS[mistake]
    if isinstance(place, Shape):
        name, shape, options = "planes", place, None
    else:
        name, shape, options = "dense", None, place
    trial = replace(LONG[name], betas=LONG[name].betas[: 200 if mistake[0] == "u" else 40])
    right = outcome(get_backend("cpu").plan, trial)
    assert any(
        differing(outcome(maker(trial, order, shape, options, tuple(edit)), trial), right)
        for order in ORDERS
    )


# What decides which kernel runs, and early.


@pytest.mark.parametrize(
    ("trial", "kernel"),
    [
        (LONG["planes"], "planes"),
        (LONG["dense"], "dense"),
        (replace(LONG["dense"], layout="plane"), "dense"),
        (Trial(SPARSE, [0.1]), "lanes"),
        (Trial(graph(9, most=60), [0.1], "plane"), "lanes"),
    ],
)
def test_kernel_follows_from_the_request(trial, kernel):
    assert choose_kernel(trial.request) == kernel


@pytest.mark.parametrize("rule", DYNAMICS)
def test_first_bits_decide_only_what_all_bits_decide_alike(rule):
    model, betas = lattice.chain(3, J=200).quantized, np.array([1e-4, 3e-3, 0.02, 0.3])
    limits = thresholds(DYNAMICS[rule], betas, model)
    edges = first_byte_edges(heat_bath=limits.heat_bath, bits=16)
    x = np.arange(limits.table.shape[1]) - (limits.bound if limits.heat_bath else 0)
    for table, slope in zip(limits.table, 2 * betas * model.quantum, strict=True):
        first = (table >> np.uint64(48)).astype(int)
        below, above = np.maximum(first - 1, 0), np.minimum(first + 1, 65535)
        sure, unsure = np.floor(edges / slope)
        if limits.heat_bath:
            assert np.all((x > sure[below]) | (first == 0))
            assert np.all((x <= unsure[above]) | (first == 65535))
        else:
            assert np.all((x <= unsure[below]) | (first == 0))
            assert np.all((x > sure[above]) | (first == 65535))
        inside = np.all([x > sure[first], x <= unsure[first]], axis=0)
        alike = table == first.astype(np.uint64) << np.uint64(48)  # all of the first bits
        assert np.all(inside | alike | ((x <= 0) & (not limits.heat_bath)))


@pytest.mark.parametrize(
    ("words", "per_level", "shape"),
    [
        (16, 130_000.0, Shape(4, 512, 33)),  # 1,024 reads of a large lattice of two colours
        (16, 60.0, Shape(1, 64, 1)),  # of a small graph
        (2112, 60.0, Shape(16, 512, 1)),
        (1, 1.0, Shape(1, 32, 1)),
    ],
)
def test_shape_keeps_the_multiprocessors_busy(words, per_level, shape):
    assert Shape.choose(HostDevice(processors=132).properties, words, per_level) == shape


# What they take of devices that need not be there.

TABLE = json.loads(Path(__file__).with_name("cuda_registers_graphs.json").read_text())


def planes_code(**defines):
    usual = {"WORDS": 4, "BITS": 3, "DIGITS": 1, "CALLS": 6, "OWN": 0, "SPLIT": 0}
    return Code.of("planes.cu", **{**usual, "ROUNDS": 10, "HEAT_BATH": 0, **defines})


def dense_code(**defines):
    usual = {"LANES": 16, "PRODUCTS": 1, "LIMBS": 1, "DRAWS": 0, "ROUNDS": 10, "HEAT_BATH": 0}
    return Code.of("dense.cu", **{**usual, "TABLE": 1, **defines})


VARIANTS = {
    "planes": planes_code(SPLIT=1),
    "planes, many classes": planes_code(WORDS=16, BITS=7, DIGITS=3, CALLS=5),
    "planes, own betas, heat bath": planes_code(WORDS=1, BITS=7, CALLS=5, OWN=1, HEAT_BATH=1),
    "dense": dense_code(),
    "dense, fixed point, heat bath": dense_code(LANES=32, LIMBS=4, TABLE=0, HEAT_BATH=1),
    "dense, without tensor cores": dense_code(LANES=8, PRODUCTS=0, DRAWS=1),
}


def used(name, arch):
    """Registers by kernel; a kernel that spills or keeps arrays in memory is an error."""
    _, usage = compiler.compile_cubin(VARIANTS[name], arch)
    assert set(usage) == set(sources.kernel_names(VARIANTS[name]))
    assert {k: (u.spilled, u.stack) for k, u in usage.items()} == dict.fromkeys(usage, (0, 0))
    return {kernel: u.registers for kernel, u in usage.items()}


@pytest.mark.parametrize(("name", "arch"), compilations(VARIANTS, ("planes", "dense")))
def test_kernel_compiles_without_spills_within_its_registers(name, arch):
    try:
        compiler.version()
    except Exception as error:
        pytest.skip(f"NVRTC: {error}")
    assert {k: n for k, n in used(name, arch).items() if n > TABLE[name][k]} == {}
