"""The chains of find_beta_c against exact values of small tori, its search, survey and rounds, and
what its answer must survive."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from isingnpu import IsingModel, ShortChain, disorder, exact, lattice, sample
from isingnpu.backend import find_backend
from isingnpu.criticality import (
    BadFit,
    OutOfRange,
    SmallBudget,
    chains,
    find_beta_c,
    pilot,
    production,
)
from isingnpu.criticality.chains import (
    Clock,
    Sampler,
    System,
    collect,
    independent,
    start_difference,
)
from isingnpu.criticality.estimators import length_response
from isingnpu.criticality.fit import locate
from isingnpu.criticality.locate import accept
from isingnpu.criticality.pilot import search, survey
from isingnpu.criticality.production import ROUND_WORK, produce, round_sweeps
from isingnpu.criticality.refusals import StartRemembered
from isingnpu.criticality.reweight import ratios
from isingnpu.criticality.universal import ISING

K_C = math.asinh(1) / 2
# Square tori at K_c: xi/L and U4, from enumeration and transfer matrices (Salas & Sokal,
# cond-mat/9904038, study the same ratios).
EXACT = {
    4: (0.953183766417, 0.617199318412),
    6: (0.933274688876, 0.614356239125),
    8: (0.923686207112, 0.613045384943),
}


# --- Sampling -----------------------------------------------------------------------------------


def systems_of(sizes):
    return [System.of([lattice.square(L)], L) for L in sizes]


def sampler(seed=1):
    return Sampler(seed, "cpu", 2, Clock(math.inf))


@cache
def sampled(beta, sweeps=2000):
    """Histograms of the tori 4, 6 and 8, and their runs."""
    draw = sampler(seed=77)
    histograms, runs = [], []
    for system in systems_of((4, 6, 8)):
        run = draw.begin(system, system.local, beta, burn_in=60, sweeps=sweeps, every=2)
        histograms.append(collect(system, beta, run, (0.0,)))
        runs += run
    return histograms, runs


@pytest.mark.statistical(alpha=1e-5)
def test_sampled_ratios_of_small_tori_are_the_exact_ones():
    for histogram in sampled(K_C)[0]:
        point = ratios(histogram.occupied, K_C)
        z = (point.values - EXACT[histogram.box.size]) / np.sqrt(np.diag(point.covariance))
        assert np.abs(z).max() < 5, (histogram.box.size, z)


@pytest.mark.statistical(alpha=1e-5)
def test_clusters_give_the_exact_ratios_too():
    system = systems_of((6,))[0]
    moves = system.moves(math.inf, 0.6)
    assert (moves.dynamics, moves.clusters) == ("wolff", 2)
    runs = sampler(seed=3).begin(system, moves, K_C, burn_in=30, sweeps=2000, every=1)
    point = ratios(collect(system, K_C, runs, (0.0,)).occupied, K_C)
    z = (point.values - EXACT[6]) / np.sqrt(np.diag(point.covariance))
    assert np.abs(z).max() < 5, z


def test_no_two_runs_of_a_sampler_share_their_seed():
    _, runs = sampled(K_C)
    assert len({run.settings.seed for run in runs}) == 3


def test_local_moves_are_left_where_clusters_decorrelate_faster():
    planes, lanes = (
        System.of([lattice.square(8, Jx=Jx)], 8) for Jx in (1, math.pi / 3)
    )  # only small whole numbers are counted in bits
    limit = chains.CLUSTER_TAU * 4 * chains.LATTICE_COST
    assert planes.moves(0.99 * limit, 0.5) == planes.local
    assert planes.moves(1.01 * limit, 0.26).clusters == 4
    assert lanes.local.chains == chains.LANE_CHAINS < planes.local.chains
    assert lanes.moves(1.01 * limit / chains.LANE_COST, 0.5).dynamics == "wolff"
    graph = System.of([lattice.honeycomb(8)], 8)
    assert graph.moves(1.01 * limit, 0.5) == graph.local


def test_a_device_without_wolff_moves_all_clusters_at_once():
    system = System.of([lattice.square(8)], 8)
    assert system.on(find_backend("cpu")).clusters == "wolff"
    moves = system.on(find_backend("cuda-host")).moves(math.inf, 0.5)
    assert moves == chains.Moves("swendsen-wang", chains.CLUSTER_CHAINS, 1, system.cluster_cost)
    point = find_beta_c("square", (4, 6, 8), sweeps=(200,) * 3, seed=1, backend="cuda-host")
    same = find_beta_c("square", (4, 6, 8), sweeps=(200,) * 3, seed=1, backend="cpu")
    # local moves at these sizes: the same bits, but for sums of structure factors
    assert point.beta_c.value == pytest.approx(same.beta_c.value, rel=1e-10)


def test_hot_and_cold_starts_differ_until_they_are_equilibrated():
    system = systems_of((16,))[0]
    begin = sampler().begin
    early = begin(system, system.local, 0.5, burn_in=0, sweeps=4, every=1)
    late = begin(system, system.local, 0.44, burn_in=150, sweeps=150, every=5)
    assert start_difference(collect(system, 0.5, early, (0.0,))) > 20
    assert start_difference(collect(system, 0.44, late, (0.0,))) < 5


def test_going_on_gives_the_samples_of_one_long_run():
    system = systems_of((6,))[0]
    moves = system.local
    whole = sampler().begin(system, moves, 0.44, burn_in=5, sweeps=60, every=3)
    draw = sampler()
    first = draw.begin(system, moves, 0.44, burn_in=5, sweeps=24, every=3)
    second = draw.go_on(system, moves, first, 36)
    parts = [collect(system, 0.44, runs, (0.0,)) for runs in (first, second)]
    assert np.array_equal(
        (parts[0] + parts[1]).sums[0], collect(system, 0.44, whole, (0.0,)).sums[0]
    )


def test_blocks_are_groups_of_chains():
    system = systems_of((4,))[0]
    runs = sampler().begin(system, system.local, 0.4, burn_in=5, sweeps=8, every=1)
    histogram = collect(system, 0.4, runs, (0.0,))
    per_block = runs[0].series["m2"].reshape(chains.BLOCKS, -1).sum(axis=1)
    np.testing.assert_allclose(histogram.sums[2].sum(axis=1), per_block, rtol=1e-12)


# --- Several instances of a graph ----------------------------------------------------------------


def unequal(size, instance):
    """Two rings of triangles, one with stronger bonds: their mean energies differ."""
    model = lattice.triangular(4)
    terms = model.terms
    strength = np.full(terms.i.size, 1 + instance)
    return IsingModel.from_edges((terms.i, terms.j, strength), model.n)


@cache
def two_instances():
    system = System.of([unequal(16, 0), unequal(16, 1)], 16)
    runs = sampler(seed=8).begin(system, system.local, 0.2, burn_in=20, sweeps=400, every=2)
    return system, runs, collect(system, 0.2, runs, chains.mean_energies(runs))


def test_instances_are_the_independent_blocks():
    _, runs, histogram = two_instances()
    assert histogram.sums.shape[1] == 4  # hot of each, then cold of each
    blocks = independent(histogram, 2)
    assert blocks.sums.shape[1] == 2
    for i, run in enumerate(runs):
        m2, count = run.series["m2"], run.series["m2"].size
        assert blocks.sums[2, i].sum() == pytest.approx(m2.sum(), rel=1e-12)
        assert blocks.sums[0, i].sum() == count
        half = m2.shape[0] // 2
        assert histogram.sums[2, i].sum() == pytest.approx(m2[:half].sum(), rel=1e-12)


def test_slopes_of_instances_are_means_of_their_own_slopes():
    """d[<m^2>]/dbeta = [<m^2><E> - <m^2 E>]: that instances differ in energy and order must not
    count. Exact up to the rounding of the subtracted energies to quanta."""
    _, runs, histogram = two_instances()
    own = [
        run.series["m2"].mean() * run.series["energy"].mean()
        - (run.series["m2"] * run.series["energy"]).mean()
        for run in runs
    ]
    whole = independent(histogram, 2)
    total = whole.sums.sum(axis=1)
    mean = (total / total[0].sum()).sum(axis=1)
    slope = mean[2] * mean[1] - (total[2] @ np.nan_to_num(whole.energies)) / total[0].sum()
    between = abs(np.cov([run.series["m2"].mean() for run in runs],
                         [run.series["energy"].mean() for run in runs])[0, 1])  # fmt: skip
    assert between > 0.1 * np.mean(own)  # what it would be off by
    assert slope == pytest.approx(np.mean(own), rel=0.02)


def test_starts_of_instances_are_compared_pairwise():
    _, _, histogram = two_instances()
    assert start_difference(histogram, 2) < 5 < 100 * start_difference(histogram, 2)
    sums = histogram.sums.copy()
    sums[2, :2] += 0.3 * sums[0, :2]  # hot halves of both
    assert start_difference(replace(histogram, sums=sums), 2) > 20


# --- Search and survey ---------------------------------------------------------------------------


def test_length_response_is_the_derivative_of_the_logarithm():
    series = {"m2": np.array([[1.0, 3.0]]), "structure_factor": np.array([[4.0, 12.0]])}
    assert np.array_equal(length_response(series), [[0.5 - 0.5, 1.5 - 1.5]])


def test_search_finds_the_crossing_of_two_small_tori():
    """Exact: xi/L of L = 4 and 6 is equal where the linearised exact values meet."""
    draw = sampler()
    beta = search(systems_of((4, 8)), draw, ISING[2], math.atanh(1 / 3))
    assert draw.runs <= 2 * (2 + 4)  # two steps up from the Bethe bound, then Newton's method
    gap = EXACT[4][0] - EXACT[8][0]
    assert beta == pytest.approx(K_C + gap / (11.93 - 6.2), abs=0.1 / 8)


@cache
def surveyed():
    draw = sampler()
    return survey(systems_of((4, 6, 8)), 0.445, draw, ISING[2]), draw


def test_survey_moves_to_the_crossing_and_measures_tau():
    (surveys, beta), _ = surveyed()
    assert abs(beta - K_C) * 8 < 0.1
    assert all(1 < made.tau.value < 6 for made in surveys)
    assert surveys[0].tau.value < surveys[2].tau.value


def test_survey_made_far_away_is_repeated_nearer():
    surveys, beta = survey(systems_of((4, 6, 8)), 0.50, sampler(), ISING[2])
    assert abs(surveys[0].histogram.beta - beta) * 8 < pilot.SURVEY_REACH
    assert abs(beta - K_C) * 8 < 0.1


def test_a_round_is_divided_among_the_sizes_by_their_weight():
    (surveys, _), _ = surveyed()
    steps = round_sweeps(surveys, ISING[2].omega)
    done = [made.system.work(made.moves, n) for made, n in zip(surveys, steps, strict=True)]
    assert sum(done) == pytest.approx(ROUND_WORK, rel=0.01)
    assert 2 * done[0] < done[1] < done[2]
    assert all(n % made.every == 0 for made, n in zip(surveys, steps, strict=True))


# --- What an answer must survive ----------------------------------------------------------------


def test_production_far_from_the_fitted_beta_c_is_refused(monkeypatch):
    """The linearised fit around a bad pilot: 9.6 sigma wrong when it was accepted."""
    monkeypatch.setattr(production, "MAX_MOVES", 0)
    (surveys, _), draw = surveyed()
    made = produce(surveys, K_C + 0.02, ISING[2], draw, (600, 600, 600), lambda _: None)
    with pytest.raises(OutOfRange, match="size 8"):
        accept(made, surveys, ISING[2], draw.clock)


def test_production_moves_to_the_beta_c_of_its_first_round():
    (surveys, _), draw = surveyed()
    made = produce(surveys, K_C + 0.02, ISING[2], draw, (1500, 1500, 1500), lambda _: None)
    assert abs(made[0].histogram.beta - K_C) * 8 < 0.1
    assert [long.sweeps for long in made] == [1500, 1500, 1500]
    accept(made, surveys, ISING[2], draw.clock)


def test_rounds_add_up_to_the_sweeps_asked_for(monkeypatch):
    monkeypatch.setattr(production, "ROUND_WORK", 1 << 20)
    (surveys, beta), draw = surveyed()
    rounds: list[int] = []
    made = produce(
        surveys, beta, ISING[2], draw, (60, 90, 120), lambda now: rounds.append(now[2].sweeps)
    )
    assert len(rounds) > 2
    assert [long.sweeps for long in made] == [60, 90, 120]
    for long, source in zip(made, surveys, strict=True):
        burn_in = long.runs[0].settings.burn_in
        samples = (burn_in + long.sweeps) // source.every - burn_in // source.every
        assert long.histogram.sums[0].sum() == source.moves.chains * samples


def test_an_error_as_wide_as_the_linear_range_is_refused():
    (surveys, beta), draw = surveyed()
    made = produce(surveys, beta, ISING[2], draw, (120, 120, 120), lambda _: None)
    with pytest.raises(SmallBudget) as caught:
        accept(made, surveys, ISING[2], draw.clock)
    assert caught.value.needed > caught.value.seconds


def test_ratios_that_do_not_cross_in_one_point_are_refused():
    histograms = [histogram.occupied for histogram in sampled(K_C)[0]]
    sums = histograms[1].sums.copy()
    sums[3] *= 0.998  # m^4 too small: U4 of one size is off, xi/L is not
    histograms[1] = replace(histograms[1], sums=sums)
    with pytest.raises(BadFit, match="drop the smallest size") as caught:
        locate(histograms, K_C, ISING[2])
    assert caught.value.p < 1e-3
    assert caught.value.dof == 1


def test_chains_shorter_than_twenty_tau_are_refused():
    (surveys, beta), draw = surveyed()
    made = produce(surveys, beta, ISING[2], draw, (300, 300, 30), lambda _: None)
    with pytest.raises(ShortChain):
        accept(made, surveys, ISING[2], draw.clock)


def test_starts_that_disagree_are_refused():
    (surveys, beta), draw = surveyed()
    made = produce(surveys, beta, ISING[2], draw, (300, 300, 300), lambda _: None)
    sums = made[2].histogram.sums.copy()
    sums[1, : chains.BLOCKS // 2] *= 1.1  # energies of the hot half
    stuck = replace(made[2], histogram=replace(made[2].histogram, sums=sums))
    with pytest.raises(StartRemembered):
        accept([*made[:2], stuck], surveys, ISING[2], draw.clock)


def test_sweeps_below_the_stride_are_refused():
    (surveys, _), draw = surveyed()
    long = [replace(made, every=3) for made in surveys]
    with pytest.raises(ShortChain, match="0 samples"):
        produce(long, K_C, ISING[2], draw, (3, 2, 3), lambda _: None)


def test_a_first_round_that_takes_too_long_is_refused():
    (surveys, beta), draw = surveyed()
    hurry = replace(draw, clock=Clock(100.0, pace=1e-6))
    with pytest.raises(SmallBudget):
        produce(surveys, beta, ISING[2], hurry, None, lambda _: None)


def test_a_survey_takes_clusters_once_tau_is_longer_than_was_expected(monkeypatch):
    monkeypatch.setattr(chains, "CLUSTER_TAU", 0.02)  # tau of two sweeps
    monkeypatch.setattr(pilot, "expected_tau", lambda size, universality: 1.0)
    surveys, _ = survey(systems_of((12, 14, 16)), K_C, sampler(), ISING[2])
    assert [made.moves.dynamics for made in surveys] == ["wolff"] * 3
    assert all(0.2 < made.tau.value < 5 for made in surveys)


# --- Traps --------------------------------------------------------------------------------------


def cubic_graph():
    return disorder.random_regular(14, 3, seed=5)


def exact_binder(model, beta):
    spins, energy = exact.enumerate_states(model)
    p = np.exp(-beta * (energy - energy.min()))
    m = spins.mean(axis=1)
    return 1 - (p @ m**4) * p.sum() / (3 * (p @ m**2) ** 2)


def sampled_binder(states):
    """U4 of magnetisations (replicas, samples), its error from leaving out replicas."""
    m2, m4 = (states**2).mean(axis=1), (states**4).mean(axis=1)
    n = len(states)
    rest = 1 - (m4.sum() - m4) * (n - 1) / (3 * (m2.sum() - m2) ** 2)
    return 1 - m4.mean() / (3 * m2.mean() ** 2), rest.std() * math.sqrt(n - 1)


@pytest.mark.statistical(alpha=2e-5)
@pytest.mark.parametrize("clusters", [1, 3])
def test_a_fixed_number_of_clusters_does_not_bias_and_a_size_reached_does(clusters):
    """Measuring once so many spins have flipped prefers states with large clusters."""
    model, beta = cubic_graph(), math.atanh(1 / 2)
    run = sample(model, beta, dynamics="wolff", clusters=clusters, replicas=256, sweeps=400,
                 burn_in=20, seed=3, observe=("magnetization", "acceptance"))  # fmt: skip
    wanted = exact_binder(model, beta)
    value, error = sampled_binder(run.series["magnetization"])
    assert abs(value - wanted) < 4.5 * error
    if clusters == 1:  # the state in which the flips since the last measurement reach n
        flips, m = run.series["acceptance"] * model.n, run.series["magnetization"]
        stopped = [stopping(f, s, model.n) for f, s in zip(flips, m, strict=True)]
        least = min(map(len, stopped))
        biased, scatter = sampled_binder(np.array([s[:least] for s in stopped]))
        assert abs(biased - wanted) > 10 * scatter


def stopping(flips, states, enough):
    kept, since = [], 0.0
    for flipped, state in zip(flips, states, strict=True):
        since += flipped
        if since >= enough:
            kept.append(state)
            since = 0.0
    return kept


def test_clusters_of_a_hot_start_are_melted_first(monkeypatch):
    """Clusters of a random state are small: of it alone, Wolff takes long to order."""
    system = systems_of((64,))[0]
    moves = system.moves(math.inf, 0.5)

    def difference():
        runs = sampler().begin(system, moves, K_C, burn_in=0, sweeps=8, every=1)
        return start_difference(collect(system, K_C, runs, (0.0,)))

    melted = difference()
    monkeypatch.setattr(chains, "MELTING", 1)
    assert difference() > 20 > melted


@pytest.mark.statistical(alpha=1e-5)
def test_sites_without_bonds_do_not_remember_their_start():
    ring = IsingModel.from_edges([(k, (k + 1) % 6, 1.0) for k in range(6)], 9)
    system = System.of([ring], 9)
    assert system.local.dynamics == "heat-bath"
    runs = sampler(seed=4).begin(
        system, system.local, 0.4, burn_in=40, sweeps=400, every=4, initial="up"
    )
    spins, energy = exact.enumerate_states(ring)
    p = np.exp(-0.4 * energy)
    wanted = (p @ spins.mean(axis=1) ** 2) / p.sum()
    means = runs[0].series["m2"].mean(axis=1)
    assert abs(means.mean() - wanted) < 4.5 * means.std() / math.sqrt(len(means))
