"""The jitted decisions of the cpu backend against whole-number arithmetic in Python.

The random integer r of a decision is given by the contract, so ties are made by moving the
threshold: T = r - 1, r, r + 1.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import tie_faults

from isingnpu import rng
from isingnpu.backend import get_backend
from isingnpu.dynamics import exponential_tables, fixed_point_exponential

get_backend("cpu")  # backends lie beside the package in a checkout: find them first

from isingnpu.backends.cpu import KERNELS, choose_kernel, kernels, warm  # noqa: E402

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
        self.draw = (*key, rounds, LAYOUTS[layout], 0)
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
        counter = (np.uint32(x) for x in (c0, self.site, self.sweep, c3))
        self.place = (*counter, int(position))

    def by_table(self, threshold, *, heat_bath):
        """Whether the jitted comparison accepts at x = 1 with this threshold.

        It goes on behind the first byte, whose bounds settle all that differ there."""
        if threshold >> 56 != self.r >> 56:
            return self.r < threshold
        table = np.zeros((2, 4), np.uint64)
        table[1, 3 if heat_bath else 1] = threshold
        return self._exact(1, table, TABLES, heat_bath)

    def by_exponential(self, e, x, *, heat_bath):
        """The same by the fixed-point formula, with tables for which e(x) = e."""
        tables = np.full((6, 256), FULL, np.uint64)
        tables[0, 0] = e + 5  # each mulhi by 2^64 - 1 takes one off
        return self._exact(x, np.zeros((2, 0), np.uint64), tables, heat_bath)

    def _exact(self, x, table, tables, heat_bath):
        limits = (
            np.zeros((2, 1), np.int32), table, np.zeros((2, 2), np.uint64),
            np.full(2, 1 << 62), np.zeros(2, np.int64), tables,
        )  # fmt: skip
        rule = heat_bath, 2, 0
        return bool(
            kernels.exact(np.int64(x), 1, *self.place, limits, rule, self.draw, self.counts)
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


def test_warming_covers_every_kernel():
    kernels_of = {choose_kernel(request) for _, request in warm.requests()}
    assert kernels_of == set(KERNELS)


def test_warming_sweeps_each_request_and_says_how_long_it_took(monkeypatch):
    first = list(warm.requests())[:2]
    monkeypatch.setattr(warm, "requests", lambda: iter(first))
    made = dict(get_backend("cpu").warm())
    assert list(made) == [name for name, _ in first]
    assert all(seconds > 0 for seconds in made.values())
