"""The Wang-Landau walk against enumeration, the exact count of states and its own specification.

Levels of one walk are correlated, walks are independent: each level gives a Student t over WALKERS
walks, and Bonferroni over the levels bounds the false alarms.
"""

import importlib
import itertools
import math

import networkx as nx
import numpy as np
import pytest
from scipy import stats

from isingnpu import exact, lattice, rng
from isingnpu.criticality import flat_walk
from isingnpu.criticality.flat_walk import BARRED, BATCH, UNIT, UNSEEN
from isingnpu.criticality.wang_landau import UnfinishedWalk, _follow, _result, wang_landau
from isingnpu.model import IsingModel

WALKERS = 32
ALPHA = 1e-6


def random_model(n, seed, *, largest=2, fields=True):
    draw = np.random.default_rng(seed)
    pairs = itertools.combinations(range(n), 2)
    edges = [(i, j, int(draw.integers(-largest, largest + 1))) for i, j in pairs]
    h = draw.integers(-largest, largest + 1, n) if fields else np.zeros(n, np.int64)
    return IsingModel.from_edges([e for e in edges if e[2]], n, fields=h)


MODELS = {
    "square": lattice.square(4),
    "square in a field": lattice.square(4, h=1),
    "cubic": lattice.cubic(3),
    "frustrated": lattice.triangular(4, J=-1),
    "dense with fields": random_model(9, 1),
    "wide couplings": random_model(7, 2, largest=300),
    "free spins": IsingModel.from_edges([], 5),
}


def counted(model):
    energies, counts = np.unique(exact.state_energies(model), return_counts=True)
    return energies, np.log(counts)


def worst_t(walks, want):
    spread = walks.std(axis=0, ddof=1) / math.sqrt(len(walks))
    return float(np.max(np.abs(walks.mean(axis=0) - want) / spread))


def limit(levels, walkers=WALKERS):
    return float(stats.t.isf(ALPHA / 2 / levels, walkers - 1))


# The walk itself.


@pytest.mark.parametrize("name", MODELS)
def test_kernel_and_specification_make_the_same_walk(name):
    model = MODELS[name]
    land = flat_walk.landscape(model)
    kernel = importlib.import_module("isingnpu.backends.cpu.wang_landau").advance
    ends = []
    for advance in (flat_walk.walk, kernel):
        walker = flat_walk.first_walker(model, land, 3, 2**63 + 5)
        advance(land, walker, UNIT, 2 * BATCH, 2**63 + 5)
        advance(land, walker, UNIT >> 7, BATCH, 2**63 + 5)
        ends.append(walker)
    assert ends[0].level == ends[1].level
    assert ends[0].steps == ends[1].steps == 3 * BATCH
    assert np.array_equal(ends[0].spins, ends[1].spins)
    assert np.array_equal(ends[0].ln_g, ends[1].ln_g)


@pytest.mark.parametrize("name", MODELS)
def test_the_level_of_a_walk_is_the_energy_of_its_spins(name):
    model = MODELS[name]
    land = flat_walk.landscape(model)
    walker = flat_walk.first_walker(model, land, 0, 1)
    for _ in range(3):
        energy = model.energy(walker.spins) / model.quantized.quantum
        assert 2 * walker.level - land.total == energy
        flat_walk.walk(land, walker, UNIT, BATCH, 1)


def test_barriers_are_minus_the_logarithm_of_the_uniform_numbers():
    x = np.concatenate([2.0 ** np.arange(40) - 0.5, 2.0 ** np.arange(40) + 0.5, [2.0**40 - 0.5]])
    want = [(40 * math.log(2) - math.log(value)) * UNIT for value in x]
    # -ln u to 28 has an ulp of 4e-15, 0.004 units of 2^-40; the floor takes less than one.
    np.testing.assert_allclose(flat_walk._barriers(x), want, rtol=0, atol=1.05)


def test_proposals_are_the_words_of_the_walkers_own_counter():
    """Word 2b and 2b + 1 of counter (b, 0, walker, stream << 5), taken apart in whole numbers."""
    sites, barriers = flat_walk.proposals(3, 10, 0, BATCH, 7)
    for b in range(BATCH // 2):
        x = [int(w) for w in rng.philox4x32(b, 0, 3, int(rng.Stream.WANG_LANDAU) << 5, 7)]
        for k, word in ((2 * b, x[0] | x[1] << 32), (2 * b + 1, x[2] | x[3] << 32)):
            u = ((word & (1 << 40) - 1) + 0.5) / UNIT
            assert sites[k] == (word >> 40) * 10 >> 24
            assert abs(barriers[k] + math.log(u) * UNIT) < 1.05


@pytest.mark.statistical(alpha=2e-8)
def test_proposals_visit_all_sites_alike():
    sites, _ = flat_walk.proposals(0, 7, 0, 1 << 16, 1)
    counts = np.bincount(sites, minlength=7)
    # 6 sigma of one of seven binomial counts
    assert np.all(np.abs(counts - sites.size / 7) < 6 * math.sqrt(sites.size / 7))


def test_proposals_do_not_depend_on_where_a_run_was_cut():
    whole = flat_walk.proposals(2, 10, 0, 4 * BATCH, 9)
    parts = [flat_walk.proposals(2, 10, k * BATCH, BATCH, 9) for k in range(4)]
    for k in range(2):
        assert np.array_equal(whole[k], np.concatenate([part[k] for part in parts]))


def bipartite(seed):
    """Couplings in -2..2 between four and five sites; seed 0: a single bond, where no state with
    E <= 0 is next to another."""
    draw = np.random.default_rng(seed)
    edges = [(i, j, int(draw.integers(-2, 3))) for i in range(4) for j in range(4, 9)]
    return IsingModel.from_edges([e for e in edges if e[2]] if seed else [(0, 1, 1)])


@pytest.mark.parametrize("seed", range(8))
def test_states_below_the_top_of_a_mirrored_landscape_communicate(seed):
    model = bipartite(seed)
    land = flat_walk.landscape(model)
    assert land.mirrored
    levels = (exact.state_energies(model) / model.quantized.quantum + land.total) / 2
    inside = np.flatnonzero(levels <= land.top)
    moves = ((s, s ^ 1 << i) for s in inside for i in range(model.n))
    graph = nx.Graph((s, end) for s, end in moves if levels[end] <= land.top)
    graph.add_nodes_from(inside)
    assert nx.is_connected(graph)


def test_only_bipartite_models_without_fields_are_mirrored():
    mirrored = {name: flat_walk.landscape(model).mirrored for name, model in MODELS.items()}
    assert [name for name, yes in mirrored.items() if yes] == ["square", "free spins"]


# The schedule.


def test_the_increment_is_halved_and_then_follows_levels_over_steps():
    """A walk that sees every level in every stride halves each time until 1/t is larger; the
    first quarter has twice the increment."""
    model = lattice.square(4)
    land = flat_walk.landscape(model)
    walker = flat_walk.first_walker(model, land, 0, 1)
    seen, levels = [], 7

    def advance(land, walker, increment, steps, seed):
        seen.append((walker.steps, increment))
        walker.ln_g[:levels] = np.maximum(walker.ln_g[:levels], 0) + increment
        walker.ln_g[levels : land.top + 1] = UNSEEN
        walker.level, walker.steps = 0, walker.steps + steps

    walker.ln_g[: land.top + 1] = UNSEEN
    total = 1 << 24
    reached = _follow(land, walker, advance, total, 1)
    assert seen[0][1] == seen[1][1] == UNIT  # the levels are found, then visited again
    began = seen[1][0]
    for k, (steps, increment) in enumerate(seen[1:]):
        inverse_time = levels * UNIT // max(1, steps - began)
        if steps < reached:
            assert increment == UNIT >> k
        elif steps < total / 4:
            assert increment == 2 * levels * UNIT // (steps - began)
        else:
            assert increment == inverse_time
    assert began < reached < total / 4


def test_a_walk_with_more_levels_than_steps_keeps_the_first_increment():
    """levels / steps > 1 is no time to follow it: ln f = 1 until every level was met twice."""
    model = lattice.chain(4096)
    land = flat_walk.landscape(model)
    walker = flat_walk.first_walker(model, land, 0, 1)
    seen = []

    def advance(land, walker, increment, steps, seed):
        seen.append(increment)
        walker.ln_g[: land.top + 1] = np.maximum(walker.ln_g[: land.top + 1], 0)
        walker.ln_g[0] += increment
        walker.steps += steps

    _follow(land, walker, advance, 4 * BATCH, 1)
    assert set(seen) == {UNIT}


# The density of states.


@pytest.mark.statistical(alpha=1e-6)
@pytest.mark.parametrize(
    ("model", "steps"),
    [
        (lattice.square(4), 1 << 20),
        (random_model(10, 1), 1 << 21),
        (lattice.triangular((3, 4), J=-1), 1 << 20),
    ],
    ids=["square", "fields", "frustrated"],
)
def test_density_of_states_is_that_of_enumeration(model, steps):
    got = wang_landau(model, steps=steps, walkers=WALKERS, seed=1)
    energies, ln_g = counted(model)
    assert got.energies.tolist() == energies.tolist()
    assert worst_t(got.walks, ln_g) < limit(len(energies))


@pytest.mark.statistical(alpha=1e-6)
def test_density_of_states_of_a_torus_is_beales():
    got = wang_landau(lattice.square(8), steps=1 << 22, walkers=WALKERS, seed=1)
    want = exact.beale(8, 8)
    assert got.energies.tolist() == want.energies.tolist()
    assert worst_t(got.walks, want.ln_g) < limit(len(want.energies))


@pytest.mark.statistical(alpha=1e-6)
@pytest.mark.parametrize("beta", [-0.3, 0.1, 0.44, 1.0])
def test_averages_at_any_beta_are_kaufmans(beta):
    averages = wang_landau(lattice.square(6), steps=1 << 20, walkers=WALKERS, seed=2).at(beta)
    want = exact.kaufman(6, 6, abs(beta))
    sign = math.copysign(1, beta)
    for name, value in [
        ("ln_z", want.ln_z),
        ("energy", sign * want.energy),
        ("heat_capacity", want.heat_capacity),
        ("free_energy", -want.ln_z / beta),
        ("entropy", want.entropy),
    ]:
        assert abs(getattr(averages, name).sigmas(value)) < limit(5), name


def test_every_walk_counts_all_states():
    got = wang_landau(MODELS["dense with fields"], steps=1 << 18, walkers=4, seed=1)
    totals = np.log(np.exp(got.walks).sum(axis=1))
    np.testing.assert_allclose(totals, 9 * math.log(2), rtol=1e-13, atol=0)
    assert got.at(0.0).ln_z.value == pytest.approx(9 * math.log(2), rel=1e-3)
    assert math.isnan(got.at(0.0).free_energy.value)


def test_units_and_offset_of_the_model_are_those_of_the_result():
    plain = lattice.square(3)
    terms = plain.terms
    scaled = IsingModel.from_edges((terms.i, terms.j, 0.25 * terms.couplings), 9, offset=1.5)
    got, want = (wang_landau(m, steps=1 << 18, walkers=2, seed=1) for m in (scaled, plain))
    assert np.array_equal(got.energies, 1.5 + 0.25 * want.energies)
    assert np.array_equal(got.walks, want.walks)


def test_the_result_is_a_function_of_the_seed_alone():
    def walks(**options):
        return wang_landau(lattice.square(3), steps=1 << 18, walkers=2, **options).walks

    whole = walks(seed=5)
    assert np.array_equal(walks(seed=5, threads=1), whole)
    assert np.array_equal(walks(seed=5, backend="reference"), whole)
    assert not np.array_equal(walks(seed=6), whole)
    assert not np.array_equal(whole[0], whole[1])


# Refusals.


def test_a_walk_that_never_reached_one_over_t_is_refused():
    with pytest.raises(UnfinishedWalk, match=r"2 of 2 walkers needed .* 8192 steps"):
        wang_landau(lattice.square(6), steps=8192, walkers=2, seed=1)


def two_walkers(model):
    land = flat_walk.landscape(model)
    walkers = [flat_walk.first_walker(model, land, k, 1) for k in range(2)]
    for walker in walkers:
        flat_walk.walk(land, walker, UNIT, 8 * BATCH, 1)
    return land, walkers


def test_walkers_that_found_different_levels_are_refused():
    model = lattice.square(3)
    land, walkers = two_walkers(model)
    assert _result(model, land, [(walker, BATCH // 8) for walker in walkers], 1).n == 9
    walkers[1].ln_g[np.flatnonzero(walkers[1].ln_g >= 0)[0]] = UNSEEN
    with pytest.raises(UnfinishedWalk, match=r"1 levels were found by some walkers only"):
        _result(model, land, [(walker, BATCH // 8) for walker in walkers], 1)


def test_a_walk_stops_before_ln_g_of_a_level_reaches_that_of_forbidden_ones():
    model = lattice.square(3)
    land, (walker, _) = two_walkers(model)

    def advance(land, walker, increment, steps, seed):
        walker.ln_g[walker.level] += BARRED // 8
        walker.steps += steps

    with pytest.raises(UnfinishedWalk, match="increments of common levels hide a rare one"):
        _follow(land, walker, advance, 1 << 30, 1)
    assert walker.ln_g[walker.level] < BARRED


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (IsingModel.from_edges([(0, 1, math.pi), (1, 2, math.e)], 3), "whole multiples of one"),
        (IsingModel.from_edges([], 0), "0 sites"),
        (IsingModel.from_edges([(0, 1, 1), (1, 2, 5_000_000)], 3), "at most 4194304"),
    ],
)
def test_models_that_have_no_levels_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        wang_landau(model, steps=1000, seed=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"walkers": 1}, "walkers must be >= 2"),
        ({"steps": 0}, "steps >= 1"),
        ({"backend": "cuda"}, "backend must be 'cpu' or 'reference', got 'cuda'"),
    ],
)
def test_impossible_requests_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        wang_landau(lattice.square(4), **({"steps": 1000, "seed": 1} | options))


# Accuracy that the project promises; a core makes 1e8 steps in a second. Measured 0.0003, 0.006.


@pytest.mark.slow
@pytest.mark.parametrize(("side", "steps", "bound"), [(8, 5e8, 0.002), (32, 4e9, 0.01)])
def test_mean_error_of_the_torus(side, steps, bound):
    got = wang_landau(lattice.square(side), steps=int(steps), walkers=8, seed=1)
    assert np.abs(got.ln_g - exact.beale(side, side).ln_g).mean() < bound
