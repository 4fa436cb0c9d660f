"""Frozen results: layout version 1 may never give other spins than these.

Each digest is the start of the SHA-256 of the int8 spins (replicas, sites) after the last sweep.
A change of counter, byte or bit order, tie rule, threshold formula or E table shows here; it needs
a new layout version, and old Runs must then replay with the old one or refuse.
"""

from __future__ import annotations

import hashlib

import contract
import numpy as np
import pytest
from engine import NARROW, QuickReference, Trial, compared_backends, dense_graph, outcome

from isingnpu import IsingModel, disorder, lattice
from isingnpu.backend import get_backend
from isingnpu.rng import LAYOUT_VERSION

BETAS = np.linspace(0.05, 0.4, 5)
CYCLE = [(k, (k + 1) % 7) for k in range(7)]
RING = IsingModel.from_edges([(*e, 2 * e[0] - 7) for e in CYCLE], 7, fields=range(-3, 4))
REAL = IsingModel.from_edges([(*e, 0.1 + e[0] / 7) for e in CYCLE], 7)
GLASS = disorder.edwards_anderson((4, 6), seed=9)
WORDS = lattice.square((2, 132), h=1)
TRIANGULAR = lattice.triangular((6, 9))  # 3 colours of one basis site
HONEYCOMB = lattice.honeycomb((3, 70))  # 2 basis sites, two words per row
DENSE = dense_graph(64, most=1, most_field=1, seed=4)

# (model, layout, replicas, rounds)
CASES = {
    "ring lane": (RING, "lane", range(14, 33), 10),
    "ring lane 7 rounds": (RING, "lane", range(14, 33), 7),
    "ring plane": (RING, "plane", range(60, 70), 10),
    "ring plane 7 rounds": (RING, "plane", range(60, 70), 7),
    "real lane": (REAL, "lane", range(20), 10),
    "powers of two lane": (NARROW, "lane", range(3), 10),
    "glass lattice": (GLASS, "lattice", range(2, 4), 10),
    "glass lattice 7 rounds": (GLASS, "lattice", range(2, 4), 7),
    "two words lattice": (WORDS, "lattice", range(1), 10),
    "triangular lattice": (TRIANGULAR, "lattice", range(2, 4), 10),
    "honeycomb lattice": (HONEYCOMB, "lattice", range(2, 4), 10),
    "dense lane": (DENSE, "lane", range(2), 10),
}
SEED = 0xFEEDBEEF12345678
GOLDEN = {
    "ring lane, metropolis": "799e5bdf98edbd9e8664c257639d0314",
    "ring lane, heat-bath": "22ad9639d6ae30406346ab01071aac7e",
    "ring lane 7 rounds, metropolis": "17424426cb7318b186d2cc75635105e8",
    "ring lane 7 rounds, heat-bath": "dd42bea4364422410f2003522c976c93",
    "ring plane, metropolis": "e90862bb99c75cfe9ce4be6d87ac69de",
    "ring plane, heat-bath": "8dc77336b1580d4014e4f2a33180b415",
    "ring plane 7 rounds, metropolis": "3fc2f2450f68f6607bce2d823f9baa0b",
    "ring plane 7 rounds, heat-bath": "44abcb43e1901f92bae39a6d41e58fb4",
    "real lane, metropolis": "332f417d9261b70693a767a751c5ce21",
    "real lane, heat-bath": "f2c60a26c3a419ec092d0caea0c4fb54",
    "powers of two lane, metropolis": "6c3bcddd9b83b9c666231304155b34cc",
    "powers of two lane, heat-bath": "e477d1ce7ebe25f075d748f2514f1c20",
    "glass lattice, metropolis": "e83fb379152dc37a2f0317e232515425",
    "glass lattice, heat-bath": "96e93214c7b33a4b6b0e833c973046f6",
    "glass lattice 7 rounds, metropolis": "3d047324ce30e4336396788e9a810bf1",
    "glass lattice 7 rounds, heat-bath": "72f53ac40cc6a70e4f9049755f7f8ea9",
    "two words lattice, metropolis": "a44be3b16ad9107afb1a7687aa89979b",
    "two words lattice, heat-bath": "8ba413fd743c39e067895952514f8cc2",
    "triangular lattice, metropolis": "aa32dc195394c8cc64b4a6c0b6ae4892",
    "triangular lattice, heat-bath": "8d341fdd16720ea4b9e89481a2977614",
    "honeycomb lattice, metropolis": "6b0adf825430659755abb19f380d15da",
    "honeycomb lattice, heat-bath": "00a4296a4158b32977a89823955f1fd4",
    "dense lane, metropolis": "9064c61b6ae02dd01bf04c0c29e16a93",
    "dense lane, heat-bath": "7e6868bcb9a66e1b962a7bc0c2670888",
}


def trial(name, rule):
    model, layout, replicas, rounds = CASES[name]
    return Trial(model, BETAS, layout, rule, replicas, SEED, rounds)


def digest(make_plan, name, rule):
    spins = outcome(make_plan, trial(name, rule)).spins
    return hashlib.sha256(np.ascontiguousarray(spins, np.int8).tobytes()).hexdigest()[:32]


@pytest.mark.parametrize("rule", ["metropolis", "heat-bath"])
@pytest.mark.parametrize("name", CASES)
def test_layout_version_1_gives_the_frozen_spins(name, rule):
    assert LAYOUT_VERSION == 1
    assert digest(QuickReference, name, rule) == GOLDEN[f"{name}, {rule}"]


@pytest.mark.parametrize("backend", compared_backends())
@pytest.mark.parametrize("rule", ["metropolis", "heat-bath"])
@pytest.mark.parametrize("name", CASES)
def test_backend_gives_the_frozen_spins(backend, name, rule):
    assert digest(get_backend(backend).plan, name, rule) == GOLDEN[f"{name}, {rule}"]


def test_frozen_results_differ_from_each_other():
    assert len(set(GOLDEN.values())) == len(GOLDEN) == 2 * len(CASES)


# The same trajectories from a second statement of the contract.

DRAWS = {"lane": contract.lane_integer, "plane": contract.plane_integer}


@pytest.mark.parametrize("rule", ["metropolis", "heat-bath"])
@pytest.mark.parametrize("name", ["ring lane", "ring plane", "ring lane 7 rounds",
                                  "ring plane 7 rounds"])  # fmt: skip
def test_reference_equals_a_second_statement_of_the_contract(name, rule):
    model, layout, replicas, rounds = CASES[name]
    expected = outcome(QuickReference, trial(name, rule)).spins
    for k in (0, len(replicas) - 1):
        spins = contract.spins_after(
            _edges(model), model.fields.tolist(), BETAS.tolist(), integer=DRAWS[layout],
            order=range(model.n), clock=lambda sweep, site: sweep, rule=rule,
            replica=replicas[k], seed=SEED, rounds=rounds,
        )  # fmt: skip
        assert spins == expected[k].tolist()


@pytest.mark.parametrize("rule", ["metropolis", "heat-bath"])
@pytest.mark.parametrize("shape", [(4, 6), (2, 132), (2, 4, 4)])
def test_reference_equals_a_second_statement_of_the_lattice_layout(shape, rule):
    model, replica = disorder.edwards_anderson(shape, seed=9), 5
    sweeps = Trial(model, BETAS[:2], "lattice", rule, range(replica, replica + 1), SEED)
    site = np.indices(shape).reshape(len(shape), -1)
    colour = site.sum(axis=0) % 2
    spins = contract.spins_after(
        _edges(model), [0] * model.n, BETAS[:2].tolist(),
        integer=contract.lattice_integer(shape[-1]),
        order=np.argsort(colour, kind="stable").tolist(),  # sites of a colour do not interact
        clock=lambda sweep, k: 2 * sweep + int(colour[k]), rule=rule,
        replica=replica, seed=SEED, rounds=10,
    )  # fmt: skip
    assert spins == outcome(QuickReference, sweeps).spins[0].tolist()


def _edges(model):
    terms = model.terms
    return list(zip(terms.i.tolist(), terms.j.tolist(), terms.couplings.tolist(), strict=True))
