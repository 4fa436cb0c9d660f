"""Sampled averages against exact ones: the z-scores are standard normal, no more and no less.

Each z-score has 64 replicas of its own, so those of one observable are independent: their mean
square is chi-square distributed, which gives the alpha of the band. z-scores of two observables
of one run are correlated and are never pooled.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from engine import dense_graph, graph
from laws import (
    MOST,
    Case,
    bias_faults,
    deviations,
    energies,
    enumerated,
    spread_alpha,
    spread_faults,
    transition_p,
    transitions,
)

from isingnpu import IsingModel, disorder, exact, lattice, sample
from isingnpu.backend import get_backend
from isingnpu.layout import choose_layout

BETA_3D = 0.221654626
# 4x4x4 torus there, from its density of states (Bhanot et al., J. Stat. Phys. 49, 985 (1987)).
U4_4, M2_4 = 0.494790116729, 0.331217164183
TREE = IsingModel.from_edges([(k, (k - 1) // 3, 1 + k % 2) for k in range(1, 20)], 20)
SPLIT = IsingModel(graph(14, share=0.3, seed=6).couplings, np.arange(14) % 5 - 2.25)
ORDER = tuple(np.random.default_rng(8).permutation(16).tolist())


def torus(side, beta, couplings=(1.0, 1.0), **options):
    solved = exact.kaufman(side, side, beta, couplings)
    model = lattice.square(side, Jy=couplings[0], Jx=couplings[1])
    return Case(model, beta, energies(solved), **options)


def ring_case():
    ring = exact.ring(9, 0.6, coupling=1, field=0.25)
    averages = {"energy": ring.energy, "magnetization": ring.magnetization}
    averages["m2"] = float(ring.correlations.mean())
    return Case(lattice.chain(9, h=0.25), 0.6, averages, every=2)


def field_case():
    t = exact.transfer_matrix((5, 6), 0.3, field=0.25)
    return Case(lattice.square((5, 6), h=0.25), 0.3, energies(t))


def dense_case():
    t = exact.curie_weiss(64, 0.8)
    moments = {"abs_magnetization": t.abs_m, "m2": t.m2, "m4": t.m4}
    return Case(disorder.curie_weiss(64), 0.8, energies(t) | moments, every=2)


def cube_case():
    m4 = 3 * M2_4**2 * (1 - U4_4)
    return Case(lattice.cubic(4), BETA_3D, {"m2": M2_4, "m4": m4}, every=4)


# Sequential Metropolis accepts every v <= 0, so where v = 0 is possible it has states that it
# carries through all sweeps unchanged in energy, whatever the temperature: seen on the 4x4 torus.
# The cases of that rule have fields or couplings for which no v is 0, and it is ergodic.
METROPOLIS = {"rule": "metropolis"}
UNEVEN = lattice.square(4, h=0.1)
CASES = {
    "4x4": enumerated(lattice.square(4), 0.3, every=2, signed=True),
    "4x4 critical": enumerated(lattice.square(4), 0.44, every=4),
    "4x4 metropolis": enumerated(UNEVEN, 0.44, every=4, **METROPOLIS),
    "4x4 plane": enumerated(lattice.square(4), 0.25, layout="plane", signed=True),
    "4x4 plane metropolis": enumerated(UNEVEN, 0.35, layout="plane", every=3, **METROPOLIS),
    "4x4 lattice": enumerated(lattice.square(4), 0.25, layout="lattice", signed=True),
    "4x4 lattice metropolis": enumerated(UNEVEN, 0.3, layout="lattice", every=2, **METROPOLIS),
    "4x4 order": enumerated(lattice.square(4), 0.25, order=ORDER, signed=True),
    "3x4 field": enumerated(lattice.square((3, 4), h=0.2), 0.3, every=2, signed=True),
    "3x4 field metropolis": enumerated(lattice.square((3, 4), h=0.2), 0.4, every=3, **METROPOLIS),
    "2x3x3": enumerated(lattice.cubic((2, 3, 3)), 0.15, signed=True),
    "2x3x3 metropolis": enumerated(lattice.cubic((2, 3, 3), h=0.3), 0.15, every=2, **METROPOLIS),
    "4x4x4": cube_case(),
    "6x6": torus(6, 0.4, every=2),
    "8x8 plane": torus(8, 0.35, layout="plane"),
    "8x8 lattice": torus(8, 0.3, layout="lattice"),
    "12x12": torus(12, 0.3),
    "12x12 metropolis": torus(12, 0.3, (1.0, 1.25), **METROPOLIS),
    "5x6 field": field_case(),
    "9-ring field": ring_case(),
    "tree": Case(TREE, 0.4, energies(exact.forest(TREE, 0.4)), every=2),
    "frustrated triangular": enumerated(lattice.triangular((3, 4), J=-1), 0.4),
    "triangular metropolis": enumerated(
        lattice.triangular((3, 4), J=-1, h=0.2), 0.4, **METROPOLIS
    ),
    "glass": enumerated(disorder.edwards_anderson((4, 4), seed=3), 0.5, signed=True),
    "glass fields": enumerated(graph(12, seed=5), 0.15, signed=True),
    "glass fields metropolis": enumerated(SPLIT, 0.2, **METROPOLIS),
    "wide couplings": enumerated(graph(10, most=60, most_field=60, seed=2), 0.008, signed=True),
    "real": enumerated(graph(10, real=True, most=1, seed=7), 0.25, signed=True),
    "real metropolis": enumerated(graph(11, real=True, most=1, seed=8), 0.3, **METROPOLIS),
    "dense graph": enumerated(dense_graph(11, seed=9), 0.1, signed=True),
    "sk": enumerated(disorder.sherrington_kirkpatrick(12, seed=2), 0.7, signed=True),
    "curie-weiss 64": dense_case(),
}


def group_count(case):
    """One replica at a time is slower; the fewer groups are made up for by the other cases."""
    return 4 if case.layout == "lattice" or case.model.is_dense else 32


ALPHA = 5e-5


@pytest.fixture(scope="module")
def scores():
    """(observable, case) -> z-scores of its groups."""
    return {
        (observable, name): z
        for seed, (name, case) in enumerate(CASES.items(), start=1)
        for observable, z in deviations(case, group_count(case), seed=seed).items()
    }


@pytest.mark.statistical(alpha=ALPHA)
def test_z_scores_of_each_observable_are_standard_normal(scores):
    # power: error bars a quarter off are rejected (test_mutants)
    faults, spent = [], 0.0
    for observable in sorted({observable for observable, _ in scores}):
        z = np.concatenate([z for (name, _), z in scores.items() if name == observable])
        spent += spread_alpha(len(z))
        faults += [f"{observable}: {fault}" for fault in spread_faults(z)]
    assert faults == []
    assert sum(map(len, scores.values())) >= 200
    assert spent <= ALPHA


@pytest.mark.statistical(alpha=1e-6)
def test_no_case_is_biased(scores):
    # power: a bias of 1.2 error bars of a group; 64 x 256 samples put that at 1 % of a spread
    assert bias_faults(scores) == []
    assert 2 * len(scores) * math.erfc(MOST / math.sqrt(2)) / 2 <= 1e-6


# 64 states of the 4x4 torus, 8 of 3x3 and 2 of the 9-ring are of this kind.
STAIRS = np.array([[-1, 1, 1, 1], [-1, -1, 1, 1], [-1, -1, -1, 1], [-1, -1, -1, -1]]).ravel()


def test_sequential_metropolis_never_leaves_some_states_and_heat_bath_does():
    model = lattice.square(4)
    options = {"sweeps": 100, "initial": STAIRS, "seed": 1, "observe": ("energy", "acceptance")}
    metropolis = sample(model, 0.4, dynamics="metropolis", **options)
    assert np.all(metropolis.series["energy"] == model.energy(STAIRS))
    assert np.all(metropolis.series["acceptance"] == 1.0)
    assert np.ptp(sample(model, 0.4, **options).series["energy"]) > 0


# One sweep from every state against the master equation.

TRIANGLE = IsingModel.from_edges([(0, 1, 1), (1, 2, -1), (0, 2, 2)], 3, fields=[1, 0, -1])
SQUARE = lattice.square((2, 2), h=1)  # two bonds per pair, and layout lattice
SMALL = {
    "triangle": (TRIANGLE, 0.3),
    "torus": (SQUARE, 0.15),
    "real": (graph(4, real=True, most=1, share=1.0, seed=4), 0.4),
}
RATES = {"metropolis": exact.metropolis_probability, "heat-bath": exact.heat_bath_probability}


@pytest.mark.statistical(alpha=1e-6)
@pytest.mark.parametrize("sweeps", [1, 2])
@pytest.mark.parametrize("rule", RATES)
@pytest.mark.parametrize(
    ("name", "layout"),
    [("triangle", "lane"), ("triangle", "plane"), ("torus", "lane"), ("torus", "lattice"),
     ("real", "lane")],
)  # fmt: skip
def test_sweep_has_the_transition_probabilities_of_the_master_equation(name, layout, rule, sweeps):
    # power: test_mutants, with a tenth of the reads
    model, beta = SMALL[name]
    reads = 500 if layout == "lattice" else 10_000
    order = choose_layout(model, 1, layout).order
    matrix = exact.sweep_matrix(model, beta, RATES[rule], order)
    counts = transitions(
        get_backend("cpu").plan, model, beta, rule=rule, reads=reads, sweeps=sweeps, layout=layout
    )
    assert transition_p(counts, np.linalg.matrix_power(matrix, sweeps)) >= 1e-6
