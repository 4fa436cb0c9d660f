"""The popcount kernel: dense models whose couplings have few binary digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine import QuickReference, Trial, dense_graph, differing, graph, outcome

from isingnpu import IsingModel, disorder
from isingnpu.backend import get_backend

get_backend("cpu")  # backends lie beside the package in a checkout: find them first

from isingnpu.backends.cpu import popcount  # noqa: E402
from isingnpu.backends.cpu.popcount import PopcountPlan  # noqa: E402

RULES = ("metropolis", "heat-bath")
SKIPPED = "all couplings alike", "heat-bath"  # its code has no part of its own


def columns(sweeps, replicas):
    return np.random.default_rng(5).choice([0.0, 0.1, 0.4, 1e6], (sweeps, replicas))


# The first has sweeps enough that some lanes stay open behind two bytes.
TRIALS = {
    "one digit, no zeros": Trial(
        disorder.sherrington_kirkpatrick(70, seed=1), np.linspace(0, 0.3, 25),
        replicas=range(5, 300),
    ),
    "whole words": Trial(disorder.sherrington_kirkpatrick(128, seed=2), np.full(2, 0.1)),
    "zeros, own betas, permuted order": Trial(
        graph(90, most=1, share=0.6), columns(3, 20), replicas=range(20),
        order=np.random.default_rng(1).permutation(90), rounds=7, seed=2**64 - 1,
    ),
    "all couplings alike": Trial(
        IsingModel.from_dense(3 * (np.ones((65, 65)) - np.eye(65))), np.linspace(0, 0.01, 3)
    ),
    "eight digits, fixed point": Trial(
        dense_graph(300, most=127), np.linspace(0, 0.001, 2), replicas=range(1), first=2**31 - 5
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rule"),
    [(name, rule) for name in TRIALS for rule in RULES if (name, rule) != SKIPPED],
)
def test_counting_bits_equals_the_reference(name, rule):
    trial = replace(TRIALS[name], dynamics=rule)
    assert differing(outcome(PopcountPlan, trial), outcome(QuickReference, trial)) == []


def test_trials_have_every_number_of_digits_that_matters():
    digits = {popcount._digits(trial.request)[2] for trial in TRIALS.values()}
    assert {0, 1, 2, 8} <= digits
    assert not TRIALS["eight digits, fixed point"].model.quantized.table


def test_couplings_of_many_digits_are_refused_with_their_number():
    request = Trial(dense_graph(64, most=200), np.zeros(1)).request
    assert PopcountPlan.obstacle(request) == "its couplings need 9 binary digits, more than 8"


@pytest.mark.parametrize(
    ("change", "obstacle"),
    [
        ({"layout": "plane"}, "it has no layout 'plane'"),
        ({"model": graph(64, share=0.1)}, "fewer than a quarter of all pairs are coupled"),
    ],
)
def test_requests_that_do_not_fit_are_refused(change, obstacle):
    trial = replace(TRIALS["whole words"], **change)
    assert PopcountPlan.obstacle(trial.request) == obstacle
