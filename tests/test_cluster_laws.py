"""Cluster moves have the transition probabilities of their definition and the exact averages, and
mutants that do not are rejected."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from cluster_trials import RAMP, ClusterTrial
from engine import differing, outcome
from laws import (
    Case,
    alone_faults,
    bias_faults,
    deviations,
    energies,
    enumerated,
    transition_p,
    transitions,
)
from scipy import sparse, stats
from scipy.sparse.csgraph import connected_components
from test_clusters import MOVES, cpu

from isingnpu import IsingModel, disorder, exact, lattice, sample
from isingnpu.backends.reference import ClusterPlan
from isingnpu.bonds import improved_moments

BETA_C = math.log1p(math.sqrt(2)) / 2

# Transition probabilities from the definition of the moves.

SMALL = {
    "frustrated": IsingModel.from_edges(
        [(0, 1, 1), (1, 2, -1), (0, 2, 2), (2, 3, 1)], 4),
    "torus": lattice.square(2),
    "ladder": lattice.square((2, 3), boundary="open"),
}  # fmt: skip


def cluster_matrix(model, beta, rule):
    """P[s, t] by the sum over all sets of active bonds."""
    terms, states = model.terms, exact.enumerate_states(model)[0]
    matrix = np.zeros((len(states), len(states)))
    number = 1 << np.arange(model.n)
    for row, s in enumerate(states):
        satisfied = terms.couplings * s[terms.i] * s[terms.j] > 0
        p = np.where(satisfied, -np.expm1(-2 * beta * np.abs(terms.couplings)), 0.0)
        for drawn in product((False, True), repeat=len(p)):
            active = np.array(drawn)
            weight = float(np.prod(np.where(active, p, 1 - p)))
            if weight == 0:
                continue
            joined = sparse.coo_array(
                (active[active], (terms.i[active], terms.j[active])), shape=(model.n, model.n)
            )
            count, label = connected_components(joined, directed=False)
            if rule == "wolff":
                flips = [(label == label[site], 1 / model.n) for site in range(model.n)]
            else:
                coins = product((False, True), repeat=count)
                flips = [(np.array(coin)[label], 0.5**count) for coin in coins]
            for flip, chance in flips:
                matrix[row, (np.where(flip, -s, s) > 0) @ number] += weight * chance
    return matrix


def transition_law(model, beta, rule, reads):
    def faults(make_plan):
        counts = transitions(make_plan, model, beta, rule=rule, reads=reads)
        p = transition_p(counts, cluster_matrix(model, beta, rule))
        return [] if p >= 1e-6 else [p]

    return faults


@pytest.mark.parametrize("rule", MOVES)
def test_cluster_matrix_has_the_boltzmann_weights_as_its_stationary_state(rule):
    model = SMALL["frustrated"]
    weights = exact.boltzmann(model, 0.4)
    after = weights @ cluster_matrix(model, 0.4, rule)
    np.testing.assert_allclose(after, weights, rtol=1e-12)


@pytest.mark.statistical(alpha=1e-6)
@pytest.mark.parametrize("rule", MOVES)
@pytest.mark.parametrize("name", SMALL)
def test_one_sweep_has_the_transition_probabilities_of_the_move(name, rule):
    # power: the mutants below
    model = SMALL[name]
    assert transition_law(model, 0.35, rule, 30_000 >> model.n)(cpu) == []


# Exact averages.


def torus(side, beta, rule, every):
    solved = energies(exact.kaufman(side, side, beta))
    return Case(lattice.square(side), beta, solved, rule=rule, layout="cluster", every=every)


def small(model, beta, rule, every=1):
    """Improved moments have the exact averages too."""
    case = enumerated(model, beta, rule=rule, layout="cluster", every=every)
    more = {"improved_m2": case.averages["m2"]}
    if rule == "swendsen-wang":
        more["improved_m4"] = case.averages["m4"]
    return replace(case, averages=case.averages | more)


CASES = {
    f"{rule} {name}": case
    for rule in MOVES
    for name, case in {
        "3x4": small(lattice.square((3, 4)), 0.4, rule),
        "open cube": small(lattice.cubic((2, 2, 3), boundary="open"), 0.5, rule),
        "triangular": small(lattice.triangular((3, 4)), 0.25, rule),
        "two couplings": small(
            IsingModel.from_edges([(k, (k + 1) % 9, 1 + k % 2) for k in range(9)], 9), 0.6, rule
        ),
        "glass": enumerated(
            disorder.edwards_anderson((4, 4), seed=3), 0.4, rule=rule, layout="cluster", every=3
        ),
        "8x8": torus(8, BETA_C, rule, 2),
        "16x16": torus(16, BETA_C, rule, 3),
        "12x12 hot": torus(12, 0.35, rule, 6 if rule == "wolff" else 2),
    }.items()
}


@pytest.mark.statistical(alpha=1e-6)
def test_no_case_is_biased():
    z = {
        (name, observable): scores
        for seed, (name, case) in enumerate(CASES.items(), start=1)
        for observable, scores in deviations(case, 4, seed=seed).items()
    }
    assert bias_faults(z) == []
    assert len(z) * 2 * stats.norm.sf(6) <= 1e-6


@pytest.mark.slow
@pytest.mark.statistical(alpha=1e-7)
@pytest.mark.parametrize("rule", MOVES)
def test_large_tori_have_kaufmans_energy_and_heat_capacity(rule):
    z = {}
    for side in (32, 64):
        case = torus(side, BETA_C, rule, 12 if rule == "wolff" else 4)
        z |= {(side, name): s for name, s in deviations(case, 4, seed=side).items()}
    assert bias_faults(z) == []


@pytest.mark.statistical(alpha=1e-7)
@pytest.mark.parametrize("beta", [0.1, 0.2, 0.25])
def test_cluster_and_local_moves_have_equal_energies(beta):
    model = lattice.cubic(6)
    seen = [
        sample(
            model, beta, sweeps=400, burn_in=100, replicas=32, every=2, seed=8, initial="up",
            dynamics=rule, clusters=40 if beta == 0.1 else 4, kernel=kernel,
        ).estimate("energy")
        for rule, kernel in [*zip(MOVES, MOVES, strict=True), ("heat-bath", "scalar")]
    ]  # fmt: skip
    for a, b in pairwise(seen):
        assert abs(a.value - b.value) < 6 * math.hypot(a.error, b.error)


@pytest.mark.parametrize("sizes", [(1,), (2, 1), (3, 3, 2), (5, 4, 1, 1, 1)])
def test_improved_moments_are_averages_over_all_signs_of_the_clusters(sizes):
    n, c = sum(sizes), np.array(sizes)
    m = np.array(list(product((-1, 1), repeat=len(c)))) @ c
    got = improved_moments((c**2).sum(), float((c**4).sum()), n)
    np.testing.assert_allclose(got, [(m**2).mean() / n**2, (m**4).mean() / n**4], rtol=1e-14)


# Mutants.


class HalfTheBeta(ClusterPlan):
    """Bonds with probability 1 - exp(-beta J)."""

    def _limits(self, betas):
        return super()._limits(betas / 2)


class BondsOfUnequalSpins(ClusterPlan):
    """Satisfied or not."""

    def _roots(self, limits, clock):
        kept, self.spins = self.spins, np.ones_like(self.spins)
        roots = super()._roots(limits, clock)
        self.spins = kept
        return roots


class LargestRoot(ClusterPlan):
    def _roots(self, limits, clock):
        roots = super()._roots(limits, clock)
        return np.array([[np.flatnonzero(row == r)[-1] for r in row] for row in roots])


class CoinPerSite(ClusterPlan):
    """Clusters do not move as one."""

    def _flipped(self, roots, clock):
        return super()._flipped(np.arange(roots.shape[1]) + 0 * roots, clock)


class OneClusterTooFew(ClusterPlan):
    def _flipped(self, roots, clock):
        flip = super()._flipped(roots, clock)
        return flip & (clock % self.request.dynamics.clusters != 0)


class SameBondsEverySweep(ClusterPlan):
    def _roots(self, limits, clock):
        return super()._roots(limits, 0)


class SeedAlwaysFirst(ClusterPlan):
    def _flipped(self, roots, clock):
        return roots == roots[:, :1]


class LocalReplica(ClusterPlan):
    """Draws by the place among the reads asked for instead of the global index."""

    def __init__(self, request):
        super().__init__(replace(request, replicas=range(len(request.replicas))))


class LostBond(ClusterPlan):
    def __init__(self, request):
        super().__init__(request)
        b = self.bonds
        self.bonds = replace(
            b, owner=b.owner[1:], other=b.other[1:], slot=b.slot[1:], coupling=b.coupling[1:]
        )


EQUAL = {rule: ClusterTrial(SMALL["frustrated"], RAMP, dynamics=rule, seed=7) for rule in MOVES}
LAWS = {
    "equal": lambda make_plan: differing(
        outcome(make_plan, EQUAL["swendsen-wang"]), outcome(ClusterPlan, EQUAL["swendsen-wang"])
    ),
    "equal wolff": lambda make_plan: differing(
        outcome(make_plan, EQUAL["wolff"]), outcome(ClusterPlan, EQUAL["wolff"])
    ),
    "moves": transition_law(SMALL["frustrated"], 0.35, "swendsen-wang", 200),
    "wolff moves": transition_law(SMALL["frustrated"], 0.35, "wolff", 200),
    "alone": lambda make_plan: alone_faults(
        make_plan, replace(EQUAL["wolff"], betas=np.tile(RAMP, 5))
    ),
}
REJECTED = {
    HalfTheBeta: ("equal", "equal wolff", "moves", "wolff moves"),
    BondsOfUnequalSpins: ("equal", "equal wolff", "moves", "wolff moves"),
    LargestRoot: ("equal",),
    CoinPerSite: ("equal", "moves"),
    OneClusterTooFew: ("equal wolff", "wolff moves"),
    SameBondsEverySweep: ("equal", "equal wolff"),
    SeedAlwaysFirst: ("equal wolff", "wolff moves"),
    LocalReplica: ("equal", "equal wolff", "alone"),
    LostBond: ("equal", "equal wolff", "moves", "wolff moves"),
}


@pytest.mark.statistical(alpha=2e-6)
def test_the_reference_keeps_every_law():
    assert {name: law(ClusterPlan) for name, law in LAWS.items()} == {name: [] for name in LAWS}


@pytest.mark.parametrize(
    ("mutant", "law"),
    [(mutant, law) for mutant, laws in REJECTED.items() for law in laws],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_mutant_is_rejected(mutant, law):
    assert LAWS[law](mutant) != []
