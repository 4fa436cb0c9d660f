"""Equilibrium chains of one size, half of them started hot and half cold, and the clock.

Local moves are sequential Metropolis: where dE = 0 it always flips, which makes it decorrelate 3.5
times faster than heat bath on the square lattice at beta_c. A site without bonds would flip in
every sweep and remember its start for ever, so graphs that have one take heat bath. Hundreds of
these chains share the bits of words, so that as long as their tau is short they tell more per
second than Wolff clusters. Chains are independent; a random graph has several instances, which are
independent too.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from isingnpu import rng
from isingnpu.annealing import resume, sample
from isingnpu.backend import Backend, lacks
from isingnpu.bonds import cluster_bonds
from isingnpu.criticality.estimators import OBSERVED, Box, Histogram
from isingnpu.criticality.refusals import SmallBudget
from isingnpu.dynamics import get_dynamics
from isingnpu.layout import choose_layout
from isingnpu.model import IsingModel
from isingnpu.run import Run

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: keys of neighbouring seeds do not coincide
MAX_DIFFERENCE = 5.0  # standard errors between hot and cold starts
KEPT = ("abs_magnetization",)  # beside the moments of every histogram
BLOCKS = 128  # of the chains of one model
PLANE_CHAINS = 512
LANE_CHAINS, LANE_COST = 128, 5.0  # and the time of an update in units of one in planes
CLUSTER_CHAINS = 64
LATTICE_COST, GRAPH_COST = 25.0, 85.0  # per neighbour: clusters on hypercubic lattices, on others
MIN_WORK = float(
    1 << 26
)  # of a run that tells the pace; the start of a run counts in shorter ones
MELTING = 20  # Swendsen-Wang sweeps before the first Wolff cluster
CLUSTER_TAU = 0.5  # tau of local moves beyond which clusters win, the work of both counted


@dataclass(frozen=True)
class Moves:
    """dynamics of `sample`, chains per model, Wolff clusters per sweep; cost: time of a sweep per
    site and chain, in units of an update in bit planes."""

    dynamics: str
    chains: int
    clusters: int
    cost: float


@dataclass(frozen=True, eq=False)
class System:
    """One size: its box, and its models, of one number of sites; several for a random graph.

    local: how it moves as long as tau is short; cluster_cost: `Moves.cost` of clusters; clusters:
    their dynamics, "swendsen-wang" where the backend has no Wolff clusters."""

    models: tuple[IsingModel, ...]
    box: Box
    local: Moves
    cluster_cost: float
    clusters: str = "wolff"

    @classmethod
    def of(cls, models: Sequence[IsingModel], size: int) -> System:
        """The models of one size, the parameter of their family."""
        boxes = [Box.of(model, size) for model in models]
        widest = max(boxes, key=lambda box: box.levels * box.width)
        planes = choose_layout(models[0], PLANE_CHAINS).name == "plane"
        chains, cost = (PLANE_CHAINS, 1.0) if planes else (LANE_CHAINS, LANE_COST)
        fewest = min(int(np.diff(model.csr.indptr).min(initial=1)) for model in models)
        local = Moves("metropolis" if fewest else "heat-bath", chains, 1, cost)
        per_neighbour = LATTICE_COST if cluster_bonds(models[0]).axes else GRAPH_COST
        neighbours = models[0].csr.nnz / models[0].n
        return cls(tuple(models), widest, local, per_neighbour * neighbours)

    def moves(self, tau: float, m2: float) -> Moves:
        """What decorrelates fastest where local moves have this tau and <m^2> is about m2: a
        Wolff cluster has N m2 sites on average, a sweep of 1 / m2 of them flips N."""
        if tau * self.local.cost < CLUSTER_TAU * self.cluster_cost:
            return self.local
        if self.clusters != "wolff":
            return Moves(self.clusters, CLUSTER_CHAINS, 1, self.cluster_cost)
        return Moves("wolff", CLUSTER_CHAINS, max(1, round(1 / m2)), self.cluster_cost)

    def on(self, backend: Backend) -> System:
        """The system as this backend moves it."""
        able = lacks(backend, get_dynamics("wolff")) is None
        return replace(self, clusters="wolff" if able else "swendsen-wang")

    def work(self, moves: Moves, sweeps: int) -> float:
        """Of that many sweeps of all chains, in updates in bit planes."""
        return len(self.models) * self.box.sites * moves.chains * sweeps * moves.cost


@dataclass(eq=False)
class Clock:
    """Wall time of one call; seconds is infinite when sweeps are prescribed."""

    seconds: float
    started: float = field(default_factory=time.perf_counter)
    work: float = 0.0
    pace: float = 0.0  # seconds per unit of work of the longest run so far
    longest: float = MIN_WORK

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def afford(self, work: float, share: float) -> None:
        """Raise SmallBudget if this much work, at the pace so far, goes beyond the share of the
        budget."""
        expected = self.elapsed + self.pace * work
        if expected > share * self.seconds:
            raise SmallBudget(self.seconds, 1.5 * expected / share)

    def note(self, work: float, started: float) -> None:
        """Work that was begun at `started`, of time.perf_counter(), and has ended now."""
        self.work += work
        if work >= self.longest:
            self.pace, self.longest = (time.perf_counter() - started) / work, work


@dataclass(eq=False)
class Sampler:
    """Draws runs for one call: every run has its own key, so no two share random numbers.

    perron: the m of its series is the projection on the Perron vector of J over sqrt(N), what
    orders where sites differ."""

    seed: int
    backend: str
    threads: int | None
    clock: Clock
    runs: int = 0
    perron: bool = False

    def compile(self, system: System, bound: float) -> None:
        """Run each kind of moves briefly above `bound`, so that compiling does not count as
        sampling; bit planes have variants for several ranges of beta."""
        one = replace(system, models=system.models[:1])
        for moves in (one.local, one.moves(math.inf, 1.0)):
            for factor in (1.0, 1.2, 1.44):
                self.begin(one, moves, factor * bound, burn_in=0, sweeps=1, every=1)

    def begin(
        self,
        system: System,
        moves: Moves,
        beta: float,
        *,
        burn_in: int,
        sweeps: int,
        every: int,
        initial: Sequence[Run] | str | None = None,
    ) -> tuple[Run, ...]:
        """One run per model: chains that go on from the spins of `initial`, all cold ("up") or
        half hot and half cold (None); `burn_in` sweeps and then `sweeps`."""
        started = time.perf_counter()
        names = (*(OBSERVED if np.isfinite(system.box.k) else OBSERVED[:3]), *KEPT)
        if self.perron:
            names = ("energy", "perron")
        keys = [self._key() for _ in system.models]

        def one(i: int, threads: int | None) -> Run:
            model, key = system.models[i], keys[i]
            if initial is None:
                first: NDArray[np.int8] | str = hot_and_cold(moves.chains, model.n, key)
                if moves.dynamics == "wolff":  # its clusters in a hot state are single spins
                    first = sample(
                        model, beta, sweeps=MELTING, replicas=moves.chains, initial=first,
                        seed=(key + 1) % 2**64, dynamics="swendsen-wang", observe=(),
                        backend=self.backend, threads=threads,
                    ).spins  # fmt: skip
            else:
                first = initial if isinstance(initial, str) else initial[i].spins
            return sample(
                model, beta, burn_in=burn_in, sweeps=sweeps, every=every, replicas=moves.chains,
                initial=first, seed=key, dynamics=moves.dynamics, clusters=moves.clusters,
                observe=names, backend=self.backend, threads=threads,
            )  # fmt: skip

        made = self._for_each(one, len(system.models))
        self.clock.note(system.work(moves, burn_in + sweeps), started)
        return self._projected(made)

    def go_on(
        self, system: System, moves: Moves, runs: Sequence[Run], sweeps: int
    ) -> tuple[Run, ...]:
        """The same chains `sweeps` further; only the new samples are in the result."""
        started = time.perf_counter()

        def one(i: int, threads: int | None) -> Run:
            return resume(replace(runs[i], series={}), sweeps=sweeps, threads=threads)

        longer = self._for_each(one, len(runs))
        self.clock.note(system.work(moves, sweeps), started)
        return self._projected(longer)

    def _projected(self, runs: tuple[Run, ...]) -> tuple[Run, ...]:
        """The runs with the series of m made of those of "perron", if that is what counts."""
        if not self.perron:
            return runs
        made = []
        for run in runs:
            m = run.series["perron"] / math.sqrt(run.model.n)
            series = {"energy": run.series["energy"], "m2": m**2, "m4": m**4, KEPT[0]: np.abs(m)}
            made.append(replace(run, series=series))
        return tuple(made)

    def _key(self) -> int:
        self.runs += 1
        return (self.seed + self.runs * GOLDEN) % 2**64

    def _for_each(self, one: Callable[[int, int | None], Run], count: int) -> tuple[Run, ...]:
        """one(i, threads) for all i: threads share the chains of one model, or many models."""
        if count == 1:
            return (one(0, self.threads),)
        with ThreadPoolExecutor(self.threads or len(os.sched_getaffinity(0))) as pool:
            return tuple(pool.map(lambda i: one(i, 1), range(count)))


def hot_and_cold(chains: int, sites: int, key: int) -> NDArray[np.int8]:
    """(chains, sites) first spins: the first half random, the second half all up."""
    spins = np.ones((chains, sites), np.int8)
    spins[: chains // 2] = rng.initial_spins(np.arange(chains // 2), sites, key)
    return spins


def mean_energies(runs: Sequence[Run]) -> tuple[float, ...]:
    """<E> of each of several models, in whole quanta; 0 for a single one.

    Subtracted from the energies, it makes reweighting normalise every instance of a random graph
    by itself, as an average over disorder must be: <A> = mean_i <A>_i."""
    if len(runs) == 1:
        return (0.0,)
    quanta = [run.model.quantized.quantum for run in runs]
    means = [run.series["energy"].mean() for run in runs]
    return tuple(float(np.round(m / q) * q) for m, q in zip(means, quanta, strict=True))


def collect(
    system: System, beta: float, runs: Sequence[Run], energies: Sequence[float]
) -> Histogram:
    """The samples of all models in one histogram, `energies` (models,) subtracted.

    Its blocks are groups of chains, hot ones first; of several models, one block for the hot
    chains of each and then one for the cold ones."""
    parts = []
    for run, energy in zip(runs, energies, strict=True):
        series = run.series | {"energy": run.series["energy"] - energy}
        blocks = min(BLOCKS, len(series["energy"])) if len(runs) == 1 else 2
        parts.append(Histogram.of(system.box, beta, series, KEPT, blocks=blocks))
    sums = np.stack([part.sums for part in parts], axis=2)  # (moments, blocks, models, levels)
    return replace(parts[0], sums=sums.reshape(len(sums), -1, sums.shape[-1]))


def independent(histogram: Histogram, models: int) -> Histogram:
    """Occupied levels of what `collect` gave, in independent blocks: one per model, or groups of
    chains of the only one."""
    sums = histogram.sums
    if models > 1:
        sums = sums.reshape(len(sums), 2, models, -1).sum(axis=1)
    return replace(histogram, sums=sums).occupied


def start_difference(histogram: Histogram, models: int = 1) -> float:
    """Largest |z| of <E> and <m^2> between blocks of `collect` that started hot and cold."""
    means = histogram.sums[1:3].sum(axis=2) / histogram.sums[0].sum(axis=1)  # (2, blocks)
    hot, cold = np.split(means, 2, axis=1)
    if models > 1:  # of the same instances
        variance = (hot - cold).var(axis=1, ddof=1) / models
    else:
        variance = (hot.var(axis=1, ddof=1) + cold.var(axis=1, ddof=1)) / hot.shape[1]
    gap, error = np.abs(hot.mean(axis=1) - cold.mean(axis=1)), np.sqrt(variance)
    if np.any((error == 0) & (gap > 0)):
        return math.inf
    return float(np.max(gap / np.where(error == 0, 1.0, error)))  # nothing moved: no difference
