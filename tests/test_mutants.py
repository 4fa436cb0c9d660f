"""Every law of the suite rejects the mistakes it is there for.

A mutant is the reference with one mistake. The laws are the functions that test_backends,
test_cpu_kernels and test_equilibrium call; each must pass the reference and reject its mutants.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from engine import QuickReference, Trial, differing, graph, outcome
from laws import (
    alone_faults,
    bias_faults,
    close_faults,
    cut_faults,
    deviations,
    enumerated,
    repeated_draws,
    spread_alpha,
    spread_faults,
    tie_faults,
    transition_p,
    transitions,
)

from isingnpu import IsingModel, exact
from isingnpu.backends import reference
from isingnpu.dynamics import METROPOLIS, thresholds
from isingnpu.statistics import ShortChain


class Synchronous(QuickReference):
    """All fields of a sweep from the spins before it."""

    def _one_sweep(self, limits, row, sweep):
        before = self.spins.copy()
        flips = np.zeros(len(before), np.int64)
        after = before.copy()
        for site in range(before.shape[1]):
            self.spins = before.copy()
            kept, self.request = self.request, _only(self.request, site)
            flips += super()._one_sweep(limits, row, sweep)
            self.request = kept
            after[:, site] = self.spins[:, site]
        self.spins = after
        return flips


class StaleField(QuickReference):
    """Every field misses the flip of the site visited just before."""

    def _one_sweep(self, limits, row, sweep):
        flips, whole, late = np.zeros(len(self.spins), np.int64), self.request, None
        for site in whole.layout.order:
            now = self.spins.copy()
            if late is not None:
                self.spins[:, late[0]] = late[1]
            self.request = _only(whole, site)
            flips += super()._one_sweep(limits, row, sweep)
            now[:, site], late = self.spins[:, site], (site, now[:, site].copy())
            self.spins = now
        self.request = whole
        return flips


class LastSiteSkipped(QuickReference):
    def _one_sweep(self, limits, row, sweep):
        whole = self.request
        self.request = _only(whole, *whole.layout.order[:-1])
        flips = super()._one_sweep(limits, row, sweep)
        self.request = whole
        return flips


class Backwards(QuickReference):
    """The order of visits is ignored."""

    def _one_sweep(self, limits, row, sweep):
        whole = self.request
        self.request = _only(whole, *whole.layout.order[::-1])
        flips = super()._one_sweep(limits, row, sweep)
        self.request = whole
        return flips


def _only(request, *sites):
    """The request with an order that visits only these sites."""
    return replace(request, layout=replace(request.layout, order=np.array(sites)))


class HalfCost(QuickReference):
    """dE = v instead of 2 v."""

    def sweep(self, betas, **options):
        return super().sweep(np.asarray(betas) / 2, **options)


class ThresholdOffByOne(QuickReference):
    """T(x + 1) in the place of T(x)."""

    def _one_sweep(self, limits, row, sweep):
        table = np.concatenate([limits.table[:, 1:], limits.table[:, -1:]], axis=1)
        return super()._one_sweep(replace(limits, table=table), row, sweep)


class WrongFieldSign(QuickReference):
    def __init__(self, request):
        super().__init__(request)
        self.model = replace(self.model, fields=-self.model.fields)


class LostField(QuickReference):
    def __init__(self, request):
        super().__init__(request)
        self.model = replace(self.model, fields=0 * self.model.fields)


class ByteFields(QuickReference):
    """Fields wrap around as int8."""

    def _one_sweep(self, limits, row, sweep):
        wrap = _Wrapped(self.model.couplings)
        kept, self.model = self.model, replace(self.model, couplings=wrap)
        flips = super()._one_sweep(limits, row, sweep)
        self.model = kept
        return flips


class _Wrapped:
    """Couplings whose sums with spins wrap around."""

    __array_ufunc__ = None

    def __init__(self, values):
        self.values = values

    def __getitem__(self, part):
        return _Wrapped(self.values[part])

    def __rmatmul__(self, spins):
        return (spins @ self.values).astype(np.int8).astype(np.int64)


class SameNumberForEverySite(QuickReference):
    def draw(self, sweep):
        return np.repeat(super().draw(sweep)[:, :1], self.request.model.n, axis=1)


class SameNumberForTwoColours(QuickReference):
    """A site of one half of the order draws what its partner in the other half has drawn."""

    def draw(self, sweep):
        drawn, half = super().draw(sweep), self.request.model.n // 2
        drawn[:, half : 2 * half] = drawn[:, :half]
        return drawn


class SameNumberForEveryReplica(QuickReference):
    def draw(self, sweep):
        return np.repeat(super().draw(sweep)[:1], len(self.spins), axis=0)


class SameNumbersEverySweep(QuickReference):
    def draw(self, sweep):
        return super().draw(0)


class LowNibbleLost(QuickReference):
    """The low half of the first byte is zero."""

    def draw(self, sweep):
        return super().draw(sweep) & np.uint64(0xF0FFFFFFFFFFFFFF)


class LastBitLost(QuickReference):
    """All integers are odd."""

    def draw(self, sweep):
        return super().draw(sweep) | np.uint64(1)


class LocalReplica(QuickReference):
    """Replicas are counted from the start of the batch."""

    def draw(self, sweep):
        whole = self.request
        self.request = replace(whole, replicas=range(len(whole.replicas)))
        drawn = super().draw(sweep)
        self.request = whole
        return drawn


class LowSeedWord(QuickReference):
    """The upper half of the seed is ignored."""

    def __init__(self, request):
        super().__init__(replace(request, seed=request.seed & 0xFFFFFFFF))


class CallsRestart(QuickReference):
    """The sweep count starts anew with every call."""

    def sweep(self, betas, *, first, every=0, **options):
        return super().sweep(betas, first=0, every=every, **options)


class ForgottenFlips(QuickReference):
    """Flips since the last sample are lost between calls."""

    def sweep(self, betas, **options):
        self.flips[:] = 0
        return super().sweep(betas, **options)


class FlipsNotLoaded(QuickReference):
    """A plan that continues counts the flips since the last sample from zero."""

    def load(self, state):
        super().load(replace(state, flips=0 * state.flips))


class BestOfLastCall(QuickReference):
    def sweep(self, betas, **options):
        self.best = self.spins.copy()
        return super().sweep(betas, **options)


# The laws, each as faults(make_plan): empty for the reference.

TRIANGLE = IsingModel.from_edges([(0, 1, 1), (1, 2, -1), (0, 2, 2)], 3, fields=[1, 0, -1])
WIDE = IsingModel.from_edges([(0, 1, 90), (1, 2, -80), (0, 2, 70)], 3, fields=[1, 0, -1])
PENTAGON = IsingModel.from_edges(
    [(k, (k + 1) % 5, 1) for k in range(5)], 5, fields=[1, 0, 0, 0, 1]
)
CASE, WIDE_CASE = enumerated(PENTAGON, 0.25, signed=True), enumerated(WIDE, 0.006)
TRIAL = Trial(graph(9), np.linspace(0.1, 0.6, 5), replicas=range(21, 40))


def equality(make_plan):
    return differing(outcome(make_plan, TRIAL), outcome(QuickReference, TRIAL))


def transition_law(model, beta, *, rule, sweeps):
    rate = {"metropolis": exact.metropolis_probability, "heat-bath": exact.heat_bath_probability}
    matrix = exact.sweep_matrix(model, beta, rate[rule])

    def faults(make_plan):
        counts = transitions(make_plan, model, beta, rule=rule, reads=2000, sweeps=sweeps)
        p = transition_p(counts, np.linalg.matrix_power(matrix, sweeps))
        return [] if p >= 1e-6 else [p]

    return faults


def average_law(case):
    def faults(make_plan):
        point = SimpleNamespace(
            name="mutant",
            load=lambda: SimpleNamespace(
                backend=SimpleNamespace(name="mutant", plan=make_plan, unavailable=lambda: None)
            ),
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(importlib.metadata, "entry_points", lambda **group: [point])
            try:
                return bias_faults(deviations(case, 3, seed=1, backend="mutant"))
            except ShortChain as refusal:
                return [str(refusal)]

    return faults


LAWS = {
    "equality": equality,
    "close thresholds": lambda make_plan: close_faults(make_plan, TRIAL, reference),
    "metropolis sweep": transition_law(TRIANGLE, 0.3, rule="metropolis", sweeps=1),
    "heat-bath sweep": transition_law(TRIANGLE, 0.3, rule="heat-bath", sweeps=1),
    "two sweeps": transition_law(TRIANGLE, 0.3, rule="heat-bath", sweeps=2),
    "wide sweep": transition_law(WIDE, 0.006, rule="metropolis", sweeps=1),
    "averages": average_law(CASE),
    "wide averages": average_law(WIDE_CASE),
    "cuts": lambda make_plan: cut_faults(make_plan, TRIAL, [1, 2, 4]),
    "alone": lambda make_plan: alone_faults(make_plan, TRIAL),
    "draws": lambda make_plan: repeated_draws(make_plan, "lane"),
}
SWEEPS = ("metropolis sweep", "heat-bath sweep")
REJECTED = {
    Synchronous: ("equality", *SWEEPS, "averages"),
    StaleField: ("equality", *SWEEPS, "averages"),
    LastSiteSkipped: ("equality", *SWEEPS, "averages"),
    Backwards: ("equality", *SWEEPS),
    HalfCost: ("equality", *SWEEPS, "averages"),
    ThresholdOffByOne: ("equality", *SWEEPS, "averages"),
    WrongFieldSign: ("equality", *SWEEPS, "averages"),
    LostField: ("equality", *SWEEPS, "averages"),
    ByteFields: ("wide sweep", "wide averages"),
    SameNumberForEverySite: ("equality", *SWEEPS, "averages"),
    SameNumberForTwoColours: ("equality", *SWEEPS, "averages"),
    SameNumberForEveryReplica: ("equality", *SWEEPS, "alone", "draws"),
    SameNumbersEverySweep: ("equality", "two sweeps", "averages", "draws"),
    LowNibbleLost: ("equality", *SWEEPS, "averages"),
    LastBitLost: ("close thresholds",),
    LocalReplica: ("equality", "alone", "draws"),
    LowSeedWord: ("draws",),
    CallsRestart: ("cuts", "draws"),
    ForgottenFlips: ("cuts",),
    FlipsNotLoaded: ("cuts",),
    BestOfLastCall: ("cuts",),
}


@pytest.mark.statistical(alpha=6e-6)
def test_the_reference_keeps_every_law():
    assert {name: faults(QuickReference) for name, faults in LAWS.items()} == {
        name: [] for name in LAWS
    }


@pytest.mark.parametrize(
    ("mutant", "law"),
    [(mutant, law) for mutant, laws in REJECTED.items() for law in laws],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_mutant_is_rejected(mutant, law):
    assert LAWS[law](mutant) != []


# Mistakes that no trajectory shows: ties have probability 2^-64.


def decisions(accepted):
    """accepts(T), r for the Metropolis decision of `accepted` at v = 1."""
    limits = thresholds(METROPOLIS, [0.3], TRIANGLE.quantized)
    for r in (0, 1, 2**32, 2**63 - 1, 0x0123456789ABCDEF, 2**64 - 1):

        def accepts(t, r=r):
            table = limits.table.copy()
            table[0, 1] = t
            moved, one = replace(limits, table=table), np.array([1])
            return bool(accepted(moved, np.array([0]), np.array([r], np.uint64), one)[0])

        yield accepts, r


def accepts_ties(limits, row, r, x):
    return reference._accepted(limits, row, r, x) | (r == limits.table[row, x])


def rejects_below(limits, row, r, x):
    return reference._accepted(limits, row, r + np.uint64(1), x) & (r != np.uint64(2**64 - 1))


def compares_32_bits(limits, row, r, x):
    return (r >> np.uint64(32)) < (limits.table[row, x] >> np.uint64(32))


def compares_floats(limits, row, r, x):
    return r.astype(float) < limits.table[row, x].astype(float)


def test_the_reference_decides_ties_as_rejections():
    assert [tie_faults(*decision) for decision in decisions(reference._accepted)] == [[]] * 6


@pytest.mark.parametrize(
    "mutant", [accepts_ties, rejects_below, compares_32_bits, compares_floats]
)
def test_wrong_comparison_is_rejected(mutant):
    assert any(tie_faults(*decision) for decision in decisions(mutant))


# Error bars that are off.

NORMAL = np.random.default_rng(4).standard_normal(380)


@pytest.mark.statistical(alpha=4e-5)
def test_spread_accepts_normal_scores():
    assert spread_alpha(380) <= 4e-5
    assert spread_faults(NORMAL) == []


@pytest.mark.parametrize("factor", [0.78, 1.28])
def test_spread_rejects_error_bars_a_quarter_off(factor):
    assert spread_faults(factor * NORMAL) != []


def test_spread_rejects_one_score_far_off():
    assert spread_faults(np.append(NORMAL, 6.5)) != []


def test_bias_rejects_a_case_whose_groups_lie_on_one_side():
    assert bias_faults({"fair": NORMAL[:32], "tilted": NORMAL[32:64] + 1.2}) != []
    assert bias_faults({"fair": NORMAL[:32]}) == []
