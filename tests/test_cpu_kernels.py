"""The jitted decisions of the cpu backend against whole-number arithmetic in Python.

The random integer r of a decision is given by the contract, so ties are made by moving the
threshold: T = r - 1, r, r + 1.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from engine import FROZEN, Trial, start
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import exact_threshold, tie_faults

from isingnpu import IsingModel, disorder, rng
from isingnpu.backend import get_backend
from isingnpu.dynamics import (
    exponential_tables,
    fixed_point_exponential,
    get_dynamics,
    thresholds,
)

get_backend("cpu")  # backends lie beside the package in a checkout: find them first

from isingnpu.backends import usual  # noqa: E402
from isingnpu.backends.cpu import (  # noqa: E402
    KERNELS,
    choose_kernel,
    kernels,
    sites_sweep,
)
from isingnpu.backends.cpu.sites import SitePlan  # noqa: E402

FULL = 2**64 - 1
LAYOUTS = {"lane": kernels.LANE, "plane": kernels.PLANE, "lattice": kernels.LATTICE}
TABLES = exponential_tables()
numbers = st.integers(0, FULL)


@pytest.mark.parametrize("rounds", [7, 10])
def test_jitted_philox_equals_the_specification(rounds):
    source = np.random.default_rng(1)
    for words in source.integers(0, 2**32, (50, 6), dtype=np.uint64).tolist():
        c, k0, k1 = words[:4], words[4], words[5]
        got = kernels.philox(*c, np.uint32(k0), np.uint32(k1), rounds)
        expected = rng.philox4x32(*c, seed=k0 | k1 << 32, rounds=rounds)
        assert [int(x) for x in got] == [int(x) for x in expected]


@given(a=numbers, b=numbers)
def test_mulhi_is_the_upper_half_of_the_product(a, b):
    assert int(kernels.mulhi(np.uint64(a), np.uint64(b))) == a * b >> 64


@settings(max_examples=400)
@given(constant=st.integers(0, 1 << 95) | st.integers(0, 1 << 60), v=st.integers(0, 2**31))
def test_jitted_exponential_equals_whole_number_arithmetic(constant, v):
    high, low = np.uint64(constant >> 32), np.uint64(constant & 0xFFFFFFFF)
    e = kernels.fixed_exponential(v, high, low, _cutoff(constant), TABLES)
    assert int(e) == fixed_point_exponential(v, constant)


def _cutoff(constant):
    """Smallest v >= 1 whose exponential is 0, by bisection."""
    low, high = 0, 1 << 62
    while high - low > 1:
        middle = (low + high) // 2
        if fixed_point_exponential(middle, constant) == 0:
            high = middle
        else:
            low = middle
    return high


class Decision:
    """One decision of the cpu kernels, with its place in the random numbers."""

    def __init__(self, layout, number, rounds=10, seed=0x0123456789ABCDEF):
        self.counts = np.zeros(3, np.int64)
        self.seed, self.sweep, self.site = seed, 3 * number + 1, 7 * number
        replica, share = 29 * number, 16 if layout == "lane" else 64
        key = np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)
        self.draw = (*key, rounds, LAYOUTS[layout])
        if layout == "lattice":
            column = np.array([5 * number])
            word, position = column[0] % 3, column[0] // 3
            r = rng.lattice_integers(replica, [self.site], column, 3, self.sweep, seed, rounds)[0]
            c0, c3 = word, replica << 11
        else:
            integers = rng.lane_integers if layout == "lane" else rng.plane_integers
            r = integers([replica], [self.site], self.sweep, seed, rounds)[0, 0]
            c0, c3, position = replica // share, 0, replica % share
        self.r = int(r)
        counter = tuple(np.uint32(x) for x in (c0, self.site, self.sweep, c3))
        self.place = counter, int(position)

    def by_table(self, threshold, *, heat_bath):
        """Whether the jitted comparison accepts at x = 1 with this threshold."""
        table = np.zeros((2, 4), np.uint64)
        table[1, 3 if heat_bath else 1] = threshold
        return self._decide(1, table, TABLES, heat_bath)

    def by_exponential(self, e, x, *, heat_bath):
        """The same by the fixed-point formula, with tables for which e(x) = e."""
        tables = np.full((6, 256), FULL, np.uint64)
        tables[0, 0] = e + 5  # each mulhi by 2^64 - 1 takes one off
        return self._decide(x, np.zeros((2, 0), np.uint64), tables, heat_bath)

    def _decide(self, x, table, tables, heat_bath):
        limits = table, np.zeros((2, 2), np.uint64), np.full(2, 1 << 62), tables
        first = np.uint8(self.r >> 56)
        return bool(
            kernels.decide(
                first, 8, np.int64(x), 1, limits, heat_bath, 2, *self.place, self.draw, self.counts
            )
        )


@pytest.mark.parametrize(("layout", "rounds"), [("lane", 7), ("plane", 10), ("lattice", 7)])
def test_ties_and_neighbours_of_ties_are_decided_as_r_below_t(layout, rounds):
    for k in range(25):
        decision = Decision(layout, k, rounds)
        for heat_bath in (False, True):
            accepts = partial(decision.by_table, heat_bath=heat_bath)
            assert tie_faults(accepts, decision.r) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fixed_point_metropolis_ties_are_rejections(layout):
    for k in range(25):
        decision = Decision(layout, k)
        for e in (decision.r - 1, decision.r, decision.r + 1, 1, FULL - 6):
            assert decision.by_exponential(e, 1, heat_bath=False) == (decision.r < e)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("x", [0, 1, -1])
def test_fixed_point_heat_bath_turns_where_whole_numbers_say(layout, x):
    def up(r, e):
        return r + (r * e >> 64) < (2**64 if x >= 0 else e)

    for k in range(25):
        decision = Decision(layout, k)
        turn = _turn(lambda e, r=decision.r: up(r, e))
        for e in (turn - 2, turn - 1, turn, turn + 1, 1, FULL - 6):
            e = min(max(e, 1), FULL - 6)
            assert decision.by_exponential(e, x, heat_bath=True) == up(decision.r, e)


def _turn(holds):
    """Smallest e in 1..2^64 - 1 at which `holds` is not what it is at e = 1."""
    low, high = 1, FULL
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) == holds(1) else (low, middle)
    return high


MANY = IsingModel.from_edges([(0, 1, 90), (1, 2, -80), (0, 2, 70)], 3, fields=[1, 0, -1])


@pytest.mark.parametrize("rule", ["metropolis", "heat-bath"])
@pytest.mark.parametrize("model", [MANY, FROZEN], ids=["table", "fixed point"])
@pytest.mark.parametrize("beta", [0.0, 1e-30, 1e-4, 0.003, 0.3, 7.0, 1e6, 1e300])
def test_bounds_of_the_first_byte_never_contradict_the_threshold(rule, model, beta):
    plan = SitePlan(Trial(model, np.zeros(1), dynamics=rule).request)
    limits = thresholds(get_dynamics(rule), [beta], model.quantized)
    _, slopes = plan._limits(np.array([beta]), shared=True)
    bound, pairs = limits.bound, np.empty((512, 2), np.int32)
    sites_sweep.barriers(limits.heat_bath, slopes[0], bound, plan.edges, pairs)
    for byte in range(256):
        for down in (0, -1):
            may, sure = (int(x) for x in pairs[byte + 256 * (down < 0)])
            assert sure <= may
            for turned in {sure, sure + 1, may, may + 1, -1, 0}:
                h = turned ^ down
                if abs(h) <= bound:
                    flips = turns(limits, h, down, byte)
                    assert flips == {True} or turned > sure
                    assert flips == {False} or turned <= may


def turns(limits, h, down, byte):
    """Whether a spin flips for some, and for all, integers of this first byte."""
    x = h if limits.heat_bath else (h ^ down) - down
    limit = exact_threshold(limits, 0, x)
    accepted = {limit > byte << 56, limit >= (byte + 1) << 56}
    return {yes != (down == 0) for yes in accepted} if limits.heat_bath else accepted


def test_bounds_leave_few_decisions_open():
    model = disorder.edwards_anderson((6, 6, 6), seed=1)
    plan = SitePlan(Trial(model, np.zeros(1), replicas=range(1)).request)
    plan.load(start(Trial(model, np.zeros(1), replicas=range(1))))
    words = plan.sweep(np.linspace(0.1, 1, 200), first=0).counts.random_words
    visits = 200 * model.n
    # 1 of 256 bytes leaves a threshold open, and then one more byte 1 of 256 times
    assert 4 * visits < words < 4 * visits * (1 + 2 / 256)


def test_warming_covers_every_kernel():
    kernels_of = {choose_kernel(request) for _, request in usual.requests()}
    assert kernels_of == set(KERNELS)


def test_warming_sweeps_each_request_and_says_how_long_it_took(monkeypatch):
    first = list(usual.requests())[:2]
    monkeypatch.setattr(usual, "requests", lambda: iter(first))
    made = dict(get_backend("cpu").warm())
    assert list(made) == [name for name, _ in first]
    assert all(seconds > 0 for seconds in made.values())
