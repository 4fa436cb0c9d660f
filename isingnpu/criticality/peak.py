"""The pseudo-critical beta of one finite graph: where its susceptibility is largest.

    chi'(beta) = <M^2> - <|M|>^2,   M = sum_i u_i s_i,   u the Perron vector of J >= 0, |u| = 1

without a factor beta; where all sites are alike, M^2 = N m^2 and this is chi' of `estimators`. One
finite graph has no transition. The maximum marks where this graph orders; only for a family of
growing graphs does it tend to a beta_c, from below or from above.

Betas are searched in steps from the Bethe value, up and down, until no higher maximum can lie
beyond: <M^2> grows with beta (Griffiths, J. Math. Phys. 8, 478 (1967)), and |M| <= S = sum_i u_i
makes

    chi' <= <M^2> (1 - <M^2> / S^2),

which falls with beta once <M^2> > S^2 / 2. The maximum is found on the reweighted curve of one
long run near it; its jackknife samples, over independent chains, are one Newton step away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.sparse import csgraph

from isingnpu import rng
from isingnpu.backend import get_backend
from isingnpu.criticality.chains import MAX_DIFFERENCE, Clock, Sampler, System, start_difference
from isingnpu.criticality.estimators import (
    Array,
    Histogram,
    connected_susceptibility,
    thermal_slope,
)
from isingnpu.criticality.locate import check_effort
from isingnpu.criticality.peak_result import SusceptibilityPeak, bracket_of
from isingnpu.criticality.pilot import CLUSTER_SWEEPS, MAX_TRIES, Survey, survey_one
from isingnpu.criticality.production import (
    GROWTH,
    RESERVE,
    ROUND_WORK,
    SHORTEST,
    Chains,
    further,
)
from isingnpu.criticality.refusals import (
    NoPeak,
    NoTransition,
    OutOfRange,
    SmallBudget,
    StartRemembered,
)
from isingnpu.criticality.requirements import check_order, family_of, lower_bound
from isingnpu.criticality.result import CURVE_REACH, curves
from isingnpu.criticality.reweight import STEP, observables, weighted, weights
from isingnpu.criticality.spectral import beta_c_estimate
from isingnpu.dynamics import get_dynamics
from isingnpu.model import IsingModel
from isingnpu.statistics import Estimate, ShortChain

SEARCH_STEP = 1.2  # factor between betas of the search, which starts at the Bethe value
SEARCH_SPAN = 8.0  # it ends this factor above and below, at the latest
GRID = 13  # betas that a reweighted curve is looked at
ORDERED = 0.5  # of the largest m^2
LOCAL_TRIES = 5  # of surveys, each twice as long as the one before; then clusters
SEARCH_CHAINS = 16  # of clusters
COUNTED = 8.0  # neighbours that an update of `System.work` has room for; more take longer
ROUND_SAMPLES = 1 << 18  # of the first round at most, where small graphs would fill the memory
SETTLED = 0.5  # production moves to a maximum farther away, in units of 1 / deviation of E
MAX_MOVES = 3
MAX_ERROR = 0.25  # of the position, in the same units


def susceptibility_peak(
    model: IsingModel,
    *,
    budget_s: float = 20.0,
    sweeps: int | None = None,
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    backend: str = "auto",
    threads: int | None = None,
    progress: Callable[[str], object] | None = None,
) -> SusceptibilityPeak:
    """The beta at which chi' of this one connected graph with couplings J >= 0 is largest.

    It is a property of the finite graph and no beta_c. budget_s: wall time of the call (compiling
    apart). sweeps: production sweeps instead, for a result that depends on nothing but the
    arguments; `SusceptibilityPeak.sweeps` reproduces a timed one. progress: called with a line of
    text now and then.
    Raises ValueError and TypeError for what is not allowed; refuses with NoTransition (fields,
    J < 0, several components, no two loops that meet), NoPeak, OutOfRange, StartRemembered,
    ShortChain (less than SHORTEST tau) and SmallBudget.
    """
    check_effort(budget_s, None if sweeps is None else [sweeps])
    bound = check_graph(model)
    taken = get_backend(backend, get_dynamics("wolff"))
    system = System.of([model], model.n).on(taken)
    system = replace(system, box=replace(system.box, k=math.nan))  # no structure factor
    key, name, irregular = rng.as_seed(seed), taken.name, np.ptp(model.perron) > 0
    Sampler(key, name, threads, Clock(math.inf), perron=irregular).compile(system, bound)
    clock = Clock(budget_s if sweeps is None else math.inf)
    sampler = Sampler(key, name, threads, clock, perron=irregular)

    def tell(stage: str, now: str) -> None:
        if progress is not None:
            progress(f"{stage}, {clock.elapsed:.0f} s: {now}")

    surveys = search(system, sampler, bound, tell)
    made, beta, closer = approach(surveys, sampler)
    tell("search", f"largest chi' near {beta:.4g}")
    if made.moves != system.local:  # those of the search are few
        moves = system.moves(math.inf, made.m2)
        made = survey_one(system, moves, beta, sampler, made.tau.value, None)
    if sweeps is not None:
        check_length(made, sweeps)
    long = produce(made, beta, sampler, sweeps, tell)
    at, height = accept(made, long, clock)
    return _result(bound, [*surveys, *closer], made, long, (at, height), sampler)


def check_graph(model: IsingModel) -> float:
    """The Bethe value of a connected ferromagnet with two loops that meet; TypeError for what is
    no model, NoTransition for any other."""
    if not isinstance(model, IsingModel):
        raise TypeError(
            f"susceptibility_peak takes one IsingModel, got {model!r}; find_beta_c takes families"
        )
    name = family_of(model)
    check_order(model, name)
    pieces, label = csgraph.connected_components(model.csr, directed=False)
    if pieces > 1:
        raise NoTransition(
            name, f"it has {pieces} components, which order each by itself",
            f"take one of them, the largest has {np.bincount(label).max()} of {model.n} sites",
        )  # fmt: skip
    return lower_bound(model, name)


# Where to sample.


def search(
    system: System, sampler: Sampler, bound: float, tell: Callable[[str, str], object]
) -> list[Survey]:
    """Surveys at increasing betas around the Bethe value, hot and cold starts in agreement, as far
    as a higher maximum could lie, and the largest not at an end. Raises NoPeak."""
    made = [_visit(system, sampler, bound, None)]

    def go(beta: float, near: Survey) -> Survey:
        tell("search", f"beta = {beta:.4g}")
        return _visit(system, sampler, beta, near)

    while _may_rise_above(made) and _beta(made[-1]) * SEARCH_STEP < bound * SEARCH_SPAN:
        made.append(go(_beta(made[-1]) * SEARCH_STEP, made[-1]))
    while _may_rise_below(made) and _beta(made[0]) * SEARCH_SPAN > bound * SEARCH_STEP:
        made.insert(0, go(_beta(made[0]) / SEARCH_STEP, made[0]))
    k = _highest_of(made)
    if k in (0, len(made) - 1):
        raise NoPeak(_beta(made[0]), _beta(made[-1]), _beta(made[k]))
    return made


def _visit(system: System, sampler: Sampler, beta: float, near: Survey | None) -> Survey:
    """A survey with the moves that did well nearby; with clusters where local ones do not, and in
    order, where hot starts of local moves freeze in domains."""
    tau, m2 = (1.0, 0.0) if near is None else (near.tau.value, near.m2)
    local = near is None or (near.moves == system.local and m2 < ORDERED * _largest_m2(system))
    m2 = max(m2, system.box.sites**-0.5)
    moves = system.moves(tau if local else math.inf, m2)
    if moves == system.local:
        try:
            return survey_one(system, moves, beta, sampler, max(tau, 1.0), None, LOCAL_TRIES)
        except (ShortChain, StartRemembered):
            moves = system.moves(math.inf, m2)
    few = replace(moves, chains=SEARCH_CHAINS)
    return survey_one(system, few, beta, sampler, CLUSTER_SWEEPS, None)


def _largest_m2(system: System) -> float:
    """S^2 / N of the state of all spins up."""
    model = system.models[0]
    return float(model.perron.sum()) ** 2 / model.n


def _beta(made: Survey) -> float:
    return made.histogram.beta


def _chi(made: Survey) -> Estimate:
    """chi' where the survey was made."""
    return observables(made.histogram, _beta(made))["chi'"]


def _highest_of(surveys: Sequence[Survey]) -> int:
    return int(np.argmax([_chi(made).value for made in surveys]))


def _may_rise_above(surveys: Sequence[Survey]) -> bool:
    """Whether chi' could exceed all of these above the last beta."""
    last, top = surveys[-1], max(_chi(made).value for made in surveys)
    share = last.m2 / _largest_m2(last.system)
    return share < 0.5 or last.system.box.sites * last.m2 * (1 - share) > top


def _may_rise_below(surveys: Sequence[Survey]) -> bool:
    """Whether it could below the first beta."""
    top = max(_chi(made).value for made in surveys)
    return _highest_of(surveys) == 0 or surveys[0].system.box.sites * surveys[0].m2 > top


def approach(
    surveys: Sequence[Survey], sampler: Sampler
) -> tuple[Survey, float, tuple[Survey, ...]]:
    """The first survey whose own samples reach a maximum, its beta, and the surveys on the way,
    each in the middle of the interval that is left. Raises OutOfRange."""
    k = _highest_of(surveys)
    low, made, high = surveys[k - 1], surveys[k], _beta(surveys[k + 1])
    closer: list[Survey] = []
    for _ in range(2 * MAX_TRIES):
        beta, inside = highest(made.histogram)
        if inside:
            return made, beta, tuple(closer)
        if beta > _beta(made):
            low = made
        else:
            high = _beta(made)
        made = _visit(made.system, sampler, math.sqrt(_beta(low) * high), low)
        closer.append(made)
    raise OutOfRange(made.system.box.size, _beta(made), beta, math.nan, math.nan)


# On a reweighted curve.


def highest(histogram: Histogram) -> tuple[float, bool]:
    """The beta of the largest chi' among those that the samples reach, and whether it is inside
    them, not at an end."""
    reach = CURVE_REACH / histogram.energy_deviation
    grid, values = [], []
    for beta in histogram.beta + reach * np.linspace(-1, 1, GRID):
        try:
            values.append(_chi_and_slope(histogram, histogram.sums.sum(axis=1), float(beta))[0])
        except OutOfRange:
            continue
        grid.append(float(beta))
    k = int(np.argmax(values))
    if k in (0, len(grid) - 1):
        return grid[k], False
    total = histogram.sums.sum(axis=1)
    found = minimize_scalar(
        lambda beta: -float(_chi_and_slope(histogram, total, beta)[0]),
        bounds=(grid[k - 1], grid[k + 1]), method="bounded", options={"xatol": 1e-6 * reach},
    )  # fmt: skip
    return float(found.x), True


def _chi_and_slope(histogram: Histogram, sums: Array, beta: float) -> tuple[Array, Array]:
    """chi' and dchi'/dbeta (...,) at beta from sums (moments, ..., levels)."""
    w, energies = weights(histogram, beta), np.nan_to_num(histogram.energies)
    total = weighted(sums, w)
    mean, energy = total / total[0], weighted(sums[0], w * energies) / total[0]
    rows = histogram.row("m2"), histogram.row("abs_m")
    m2, abs_m = (mean[k] for k in rows)
    slope2, slope1 = (
        thermal_slope(mean[k], weighted(sums[k], w * energies) / total[0], energy) for k in rows
    )
    sites = histogram.box.sites
    return connected_susceptibility(abs_m, m2, sites), sites * (slope2 - 2 * abs_m * slope1)


def maximum(histogram: Histogram, beta: float) -> tuple[Estimate, Estimate]:
    """Position and height of the maximum near beta, with jackknife errors and without their 1/n
    bias; errors are inf where the curve of some jackknife sample is not concave.

    With slope g and curvature c at beta: position beta - g / c, height chi' - g^2 / (2 c)."""
    total = histogram.sums.sum(axis=1, keepdims=True)
    sums = np.concatenate([total, total - histogram.sums], axis=1)  # all, then all but one block
    step = STEP / histogram.energy_deviation
    chi, slope = _chi_and_slope(histogram, sums, beta)
    above, below = (_chi_and_slope(histogram, sums, beta + h)[1] for h in (step, -step))
    curvature = (above - below) / (2 * step)
    made = np.stack([beta - slope / curvature, chi - slope**2 / (2 * curvature)])
    n = made.shape[1] - 1
    values = n * made[:, 0] - (n - 1) * made[:, 1:].mean(axis=1)
    errors = made[:, 1:].std(axis=1) * math.sqrt(n - 1)
    if curvature.max() >= 0:
        errors[:] = math.inf
    at, height = (Estimate(float(v), float(e)) for v, e in zip(values, errors, strict=True))
    return at, height


# Production.


def check_length(made: Survey, sweeps: int) -> None:
    """ShortChain for production of less than SHORTEST tau."""
    samples, tau = sweeps // made.every, made.tau.value / made.every
    if samples < SHORTEST * tau:
        raise ShortChain(tau, samples, math.ceil(max(2 * samples, SHORTEST * tau)))


def produce(
    made: Survey,
    beta: float,
    sampler: Sampler,
    sweeps: int | None,
    tell: Callable[[str, str], object],
) -> Chains:
    """Chains at one beta: `sweeps` of them, or rounds until the clock's seconds are over.

    After its first round it starts again at the maximum if that is SETTLED away, at most
    MAX_MOVES times. Energies are resolved around those of the survey."""
    made, chains, clock = _resolved(made), None, sampler.clock
    unit = _round_sweeps(made)
    moves = rounds = 0
    while True:
        started, done = clock.elapsed, 0 if chains is None else chains.sweeps
        step = unit * (1 + rounds // GROWTH)
        step = step if sweeps is None else min(step, sweeps - done)
        if step == 0:
            assert chains is not None
            return chains
        chains = further(made, chains, step, beta, sampler)
        rounds += 1
        aim = highest(chains.independent)[0]
        away = abs(aim - beta) * chains.histogram.energy_deviation
        if rounds == 1 and moves < MAX_MOVES and away > SETTLED:
            beta, chains, rounds, moves = aim, None, 0, moves + 1
            continue
        tell("production", f"largest chi' near {aim:.5g}")
        # stop where the next round would end more than half a round late
        if clock.elapsed + (clock.elapsed - started) / 2 > (1 - RESERVE) * clock.seconds:
            return chains


def _round_sweeps(made: Survey) -> int:
    """Of the first round, a multiple of the measuring stride."""
    model, work = made.system.models[0], made.system.work(made.moves, made.every)
    if made.moves == made.system.local:
        work *= max(1.0, model.csr.nnz / model.n / COUNTED)
    strides = min(ROUND_WORK / work, ROUND_SAMPLES / made.moves.chains)
    return made.every * max(1, round(strides))


def _resolved(made: Survey) -> Survey:
    """With narrow levels of energy, half as far again on either side as its samples lie."""
    energy, quantum = made.runs[0].series["energy"], made.system.models[0].quantized.quantum
    low, high = float(energy.min()), float(energy.max())
    margin = (high - low) / 2 + quantum
    box = made.system.box.window(low - margin, high + margin, quantum)
    return replace(made, system=replace(made.system, box=box))


def accept(made: Survey, chains: Chains, clock: Clock) -> tuple[Estimate, Estimate]:
    """Position and height, after every check that could make them wrong answers.

    Raises ShortChain, StartRemembered, OutOfRange and SmallBudget."""
    samples, tau = chains.sweeps // made.every, made.tau.value / made.every
    check_length(made, chains.sweeps)
    sigmas = start_difference(chains.histogram)
    if sigmas > MAX_DIFFERENCE:
        raise StartRemembered(sigmas, chains.sweeps)
    histogram = chains.independent
    beta, inside = highest(histogram)
    if not inside:
        n = float(histogram.sums[0].sum())
        raise OutOfRange(histogram.box.size, histogram.beta, beta, math.nan, n)
    found = maximum(histogram, beta)
    excess = found[0].error * histogram.energy_deviation / MAX_ERROR
    if excess > 1:
        spent = clock.elapsed
        raise SmallBudget(min(clock.seconds, spent), 1.5 * spent * min(excess, 100.0) ** 2)
    n_eff = made.moves.chains * samples / (2 * tau)
    at, height = (replace(x, tau=tau, n_eff=n_eff) for x in found)
    return at, height


def _result(
    bound: float,
    surveys: Sequence[Survey],
    made: Survey,
    long: Chains,
    found: tuple[Estimate, Estimate],
    sampler: Sampler,
) -> SusceptibilityPeak:
    run = long.runs[0]
    points = sorted((_beta(s), _chi(s)) for s in surveys)
    return SusceptibilityPeak(
        n=run.model.n,
        edges=run.model.n_edges,
        beta=found[0],
        height=found[1],
        mean_field=beta_c_estimate(run.model, "mean-field"),
        bethe=bound,
        bracket=bracket_of(run.model),
        searched=(points[0][0], points[-1][0]),
        points=tuple(points),
        curve=curves([long.independent])[0],
        sampled_at=long.histogram.beta,
        tau=made.tau,
        sweeps=long.sweeps,
        dynamics=made.moves.dynamics,
        seconds=sampler.clock.elapsed,
        seed=sampler.seed,
        provenance=run.provenance | {"seed": sampler.seed},
    )
