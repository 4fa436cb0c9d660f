"""The lanes kernel: its early decisions never contradict the exact threshold, in all its forms."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Context, Decimal
from pathlib import Path

import numpy as np
import pytest
from engine import FROZEN, QuickReference, Trial, differing, graph, outcome, start
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import close_faults, exact_threshold
from numba import njit

from isingnpu import IsingModel, disorder, lattice, rng
from isingnpu.backend import get_backend
from isingnpu.dynamics import DYNAMICS, fixed_point_constant, thresholds

get_backend("cpu")  # backends lie beside the package in a checkout: find them first

from isingnpu.backends import limits as decisions  # noqa: E402
from isingnpu.backends.cpu import (  # noqa: E402
    lanes,
    lanes_code,
    lanes_estimate,
    lanes_sweep,
)
from isingnpu.backends.cpu.blocks import field_dtype  # noqa: E402
from isingnpu.backends.cpu.ir import I16, I32, emits, vector  # noqa: E402
from isingnpu.backends.cpu.lanes import LanePlan  # noqa: E402
from isingnpu.backends.limits import estimates, exact_limits  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
RULES = ("metropolis", "heat-bath")


@emits
def compared(code, config, x, r, slopes, out):
    """Bits of accepted lanes at `out`, of open ones behind them, for 16 values and numbers."""
    kind = vector(I32, 16)
    k, cut = code.load(slopes, kind), code.load(slopes, kind, 64)
    yes, no = lanes_estimate.compare(
        code, code.load(x, kind), code.load(r, kind), k, cut, heat_bath=config.heat_bath
    )
    for at, bits in ((0, yes), (2, ~(yes | no))):
        code.store(bits.bitcast(I16), out, at)


@njit
def compare_all(config, x, r, slopes, out):
    for k in range(0, x.size, 16):
        compared(
            config, np.uint64(x[k:].ctypes.data), np.uint64(r[k:].ctypes.data),
            np.uint64(slopes.ctypes.data), np.uint64(out[k // 16].ctypes.data),
        )  # fmt: skip


def estimated(limits, beta, quantum, x, r):
    """(accepted, open) of the estimate for values x and their first 16 bits r."""
    config = lanes_code.Lanes(64, 32, lanes_code.ESTIMATE, limits.heat_bath, False, False)
    slopes = estimates(np.array([beta]), quantum)
    pad = -len(x) % 16
    x, r = (np.concatenate([part, np.ones(pad)]).astype(np.int32) for part in (x, r))
    out = np.zeros((len(x) // 16, 2), np.uint16)
    compare_all(config, x, r, np.repeat(slopes[0], 16), out)
    bits = np.unpackbits(out.view(np.uint8), axis=1, bitorder="little").astype(bool)
    yes, open_ = bits[:, :16].ravel(), bits[:, 16:].ravel()
    return yes[: len(x) - pad], open_[: len(x) - pad]


def corners(limits, x):
    """First 16 bits on both sides of the threshold of x, and the ends of their range."""
    at = exact_threshold(limits, 0, x) >> 48
    near = {at + step for step in range(-4, 5)} | {0, 1, 2, 65534, 65535}
    return sorted(r for r in near if 0 <= r < 65536)


def contradictions(limits, beta, quantum, values):
    """(x, r16) that the estimate decides and the rest of the 64 bits could decide otherwise."""
    pairs = [(x, r) for x in values for r in corners(limits, x)]
    x, r = (np.array(part) for part in zip(*pairs, strict=True))
    yes, open_ = estimated(limits, beta, quantum, x, r)
    wrong = []
    for (value, first), accepted, left in zip(pairs, yes, open_, strict=True):
        limit = exact_threshold(limits, 0, value)
        sure = (first + 1) << 48 <= limit if accepted else first << 48 >= limit
        if not left and not sure:
            wrong.append((value, first))
    return wrong


FIXED = IsingModel.from_edges([(0, 1, 2.0**30 - 5), (1, 2, 1.0)], 3).quantized
TABLE = IsingModel.from_edges([(0, 1, 9000), (1, 2, 7000)], 3).quantized


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("beta", [0.0, 1e-10, 3e-9, 1e-6, 2.2e-5, 1e-3, 0.3, 7.0, 30.0, 1e300])
@pytest.mark.parametrize("model", [FIXED, TABLE], ids=["fixed point", "table"])
def test_estimates_never_contradict_the_threshold(model, beta, rule):
    limits = thresholds(DYNAMICS[rule], [beta], model)
    reach = min(model.bound, 60 / (2 * beta * model.quantum) if beta else model.bound)
    values = {1, 2, 3, model.bound, *np.geomspace(1, max(1, reach), 120).astype(int).tolist()}
    values |= set(np.linspace(1, max(1, reach), 120).astype(int).tolist())
    if limits.heat_bath:
        values |= {0} | {-x for x in values}
    assert contradictions(limits, beta, model.quantum, sorted(values)) == []


@pytest.mark.parametrize("rule", RULES)
def test_an_estimate_leaves_few_numbers_open(rule):
    limits = thresholds(DYNAMICS[rule], [1e-9], FIXED)
    x = np.linspace(1, FIXED.bound, 1600).astype(np.int64)
    r = np.random.default_rng(1).integers(0, 65536, 1600)
    _, open_ = estimated(limits, 1e-9, FIXED.quantum, x, r)
    assert open_.mean() < 5 / 1600


def test_polynomial_is_as_close_as_the_margin_allows():
    f = np.linspace(-0.5, 0.5, 100_001)
    error = np.abs(np.polyval(lanes_estimate.COEFFICIENTS, f) - 2.0 ** (16 + f)).max()
    assert error < 0.183
    assert lanes_estimate.MARGIN > 0.183 + 0.006 + 0.032 + 2.0**-15


@settings(max_examples=300)
@given(beta=st.just(0.0) | st.floats(1e-30, 1e300), quantum=st.floats(2.0**-60, 2.0**60))
def test_constants_are_those_of_decimal_arithmetic(beta, quantum):
    exact = Context(prec=700)
    whole = exact.divide(exact.multiply(Decimal(2 * beta), Decimal(quantum)), exact.ln(Decimal(2)))
    rounded = exact.multiply(whole, Decimal(2**80)).to_integral_value(context=exact)
    assert fixed_point_constant(beta, quantum) == min(int(rounded), 1 << 95)


def test_exact_limits_are_those_of_the_dynamics():
    request = Trial(FROZEN, np.zeros(1)).request
    betas = np.concatenate([[0.0], np.geomspace(1e-12, 1e12, 60)])
    expected = thresholds(request.dynamics, betas, FROZEN.quantized)
    table, constant, cutoff, _ = exact_limits(request, betas)
    assert np.array_equal(table, expected.table)
    assert np.array_equal(constant, expected.constant)
    assert np.array_equal(cutoff, expected.cutoff)


@pytest.mark.parametrize("plane", [False, True])
@pytest.mark.parametrize("width", [64, 128])
def test_shared_rounds_continue_to_the_words_of_the_generator(width, plane):
    seed, group, sweep, site = 0xFEDC_BA98_7654_3210, 2**32 - 3, 2**31 + 5, 12345
    keys = np.array(
        [((seed + r * rng.W0) % 2**32, ((seed >> 32) + r * rng.W1) % 2**32) for r in range(3)],
        np.uint64,
    )
    streams = np.zeros((4, width // 8), np.uint64)
    base = int(lanes_sweep.prepare(plane, width, keys, group, sweep, streams))
    product = rng.M0 * (base ^ site)
    for k, (c, d, e, f) in enumerate(streams.T.tolist()):
        p = rng.M1 * ((product >> 32) ^ c)
        third = [(p >> 32) ^ d, p % 2**32, (product % 2**32) ^ e, f]
        per_byte = width // 16
        c0, c3 = (group + k // 8, k % 8) if plane else (group + k % per_byte, k // per_byte)
        words = rng.philox4x32(c0, site, sweep, c3, seed, 3)
        assert third == [int(x) for x in words]


# Every form of the comparison, against the reference.


def columns(sweeps, replicas):
    return np.random.default_rng(5).choice([0.1, 0.4, 1.3], (sweeps, replicas))


FEW = lattice.square(4)
MANY = graph(14, most=9, most_field=3)
# Sweeps enough that some lanes stay open behind two bytes.
# Each once: the other rule of a form and width runs in test_backends or in another trial here.
TRIALS = {
    "few fields, own betas": Trial(
        FEW, columns(90, 70), dynamics="heat-bath", replicas=range(70)
    ),
    "many 8-bit fields, own betas": Trial(MANY, columns(90, 70), replicas=range(70)),
    "16 bits, 128 lanes": Trial(
        graph(12, most=60, seed=2), np.linspace(0, 0.05, 90), dynamics="heat-bath",
        replicas=range(20, 130),
    ),
    "32 bits, 128 lanes": Trial(
        graph(12, real=True), np.linspace(0, 1, 90), replicas=range(100)
    ),
    "more visits than a flip count holds": Trial(
        lattice.chain(600), np.full(3, 1e-3), replicas=range(64)
    ),
    "largest sums of energies": Trial(
        IsingModel.from_edges([], 500, fields=[127] * 500), np.zeros(3), replicas=range(64)
    ),
    "blocks of both sizes": Trial(
        FEW, np.linspace(0, 1, 60), replicas=range(40, 300)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRIALS)
def test_every_form_equals_the_reference(name):
    trial = TRIALS[name]
    assert differing(outcome(LanePlan, trial), outcome(QuickReference, trial)) == []


def test_all_bits_of_close_thresholds_are_read():
    trial = TRIALS["few fields, own betas"]
    assert LanePlan(trial.request)._limits(np.zeros(1), shared=False).form == lanes_code.CHAIN
    assert close_faults(LanePlan, trial, decisions) == []


@pytest.mark.parametrize(
    ("bound", "bits"), [(127, 8), (128, 16), (32767, 16), (32768, 32), (2**31 - 1, 32)]
)
def test_fields_are_as_wide_as_their_bound_needs(bound, bits):
    assert field_dtype(bound).itemsize * 8 == bits


def test_rows_asked_for_early_are_the_same_rows(monkeypatch):
    trial = Trial(MANY, np.linspace(0, 1, 3), replicas=range(64))
    near = outcome(LanePlan, trial)
    monkeypatch.setattr(lanes, "CACHE", 0)
    assert LanePlan(trial.request)._code(64, lanes_code.PERMUTE).far
    assert differing(outcome(LanePlan, trial), near) == []


def test_energies_are_right_after_sweeps_that_nobody_watched():
    trial = Trial(MANY, np.full(2, 0.2), replicas=range(64))
    plan = LanePlan(trial.request)
    reference = QuickReference(trial.request)
    seen = []
    for made in (plan, reference):
        made.load(start(trial))
        made.sweep(np.full(3, 0.2), first=0)
        seen.append(made.sweep(np.full(2, 0.2), first=3, every=1).energy)
    assert np.array_equal(*seen)


def test_two_bytes_settle_almost_every_visit():
    model = disorder.edwards_anderson((4, 4, 4), seed=1)
    trial = Trial(model, np.linspace(0.1, 1, 50), replicas=range(128))
    plan = LanePlan(trial.request)
    plan.load(start(trial))
    words = plan.sweep(trial.betas, first=0).counts.random_words
    visits = 50 * model.n
    ahead = 4 * 16 * visits
    # an open lane costs 8 calls: at most 128 / 65536 of the visits have one
    assert ahead < words < ahead + 4 * 8 * visits * 128 / 65536 * 2


PORTABLE = """
import sys
sys.path.insert(0, "tests")
import test_lanes
from engine import QuickReference, differing, outcome
from isingnpu.backends.cpu import lanes, lanes_limits
assert not lanes_limits.has_feature("avx512f")
for name in ("few fields, own betas", "32 bits, 128 lanes"):
    trial = test_lanes.TRIALS[name]
    faults = differing(outcome(lanes.LanePlan, trial), outcome(QuickReference, trial))
    assert faults == [], (name, faults)
"""


@pytest.mark.skipif(
    not (sys.platform == "linux" and os.uname().machine == "x86_64"), reason="names an x86 chip"
)
def test_bits_are_the_same_without_avx512(tmp_path):
    chip = {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2,+popcnt,+sse4.2,+lzcnt",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    subprocess.run(
        [sys.executable, "-c", PORTABLE], cwd=ROOT, env={**os.environ, **chip}, check=True
    )
