"""Equilibrium chains of one size, half of them started hot and half cold, and the clock.

Sequential Metropolis: where dE = 0 it always flips, which makes it decorrelate 3.5 times faster
than heat bath on the square lattice at beta_c. The replicas are independent: each is a block.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from isingnpu import rng
from isingnpu.annealing import resume, sample
from isingnpu.criticality.estimators import OBSERVED, Histogram
from isingnpu.criticality.refusals import SmallBudget
from isingnpu.model import IsingModel
from isingnpu.run import Run

REPLICAS = 256
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: keys of neighbouring seeds do not coincide
MAX_DIFFERENCE = 5.0  # standard errors between hot and cold starts


@dataclass(eq=False)
class Clock:
    """Wall time of one call; seconds is infinite when sweeps are prescribed."""

    seconds: float
    started: float = field(default_factory=time.perf_counter)
    updates: int = 0
    sweeping: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def afford(self, updates: int, share: float) -> None:
        """Raise SmallBudget if this many spin updates, at the pace so far, go beyond the share
        of the budget."""
        pace = self.sweeping / self.updates if self.updates else 0.0
        expected = self.elapsed + pace * updates
        if expected > share * self.seconds:
            raise SmallBudget(self.seconds, 1.5 * expected / share)


@dataclass(eq=False)
class Sampler:
    """Draws runs for one call: every run has its own key, so no two share random numbers."""

    seed: int
    backend: str
    threads: int | None
    clock: Clock
    runs: int = 0

    def begin(
        self,
        model: IsingModel,
        beta: float,
        *,
        burn_in: int,
        sweeps: int,
        every: int,
        initial: NDArray[np.int8] | None = None,
    ) -> Run:
        """REPLICAS chains, hot and cold or from `initial`, `burn_in` sweeps and then `sweeps`."""
        self.runs += 1
        key = (self.seed + self.runs * GOLDEN) % 2**64
        started = time.perf_counter()
        run = sample(
            model, beta, burn_in=burn_in, sweeps=sweeps, every=every, replicas=REPLICAS,
            initial=hot_and_cold(model.n, key) if initial is None else initial, seed=key,
            dynamics="metropolis", observe=OBSERVED, backend=self.backend, threads=self.threads,
        )  # fmt: skip
        self._note(model, burn_in + sweeps, started)
        return run

    def go_on(self, run: Run, sweeps: int) -> Run:
        """The same chains `sweeps` further; only the new samples are in the result."""
        started = time.perf_counter()
        longer = resume(replace(run, series={}), sweeps=sweeps)
        self._note(run.model, sweeps, started)
        return longer

    def _note(self, model: IsingModel, sweeps: int, started: float) -> None:
        self.clock.updates += updates(model, sweeps)
        self.clock.sweeping += time.perf_counter() - started


def updates(model: IsingModel, sweeps: int) -> int:
    """Spin updates of that many sweeps of all replicas."""
    return model.n * REPLICAS * sweeps


def hot_and_cold(sites: int, key: int) -> NDArray[np.int8]:
    """(REPLICAS, sites) first spins: the first half random, the second half all up."""
    spins = np.ones((REPLICAS, sites), np.int8)
    spins[: REPLICAS // 2] = rng.initial_spins(np.arange(REPLICAS // 2), sites, key)
    return spins


def start_difference(histogram: Histogram) -> float:
    """Largest |z| of <E> and <m^2> between the blocks that started hot and cold."""
    means = histogram.sums[1:3].sum(axis=2) / histogram.sums[0].sum(axis=1)  # (2, blocks)
    hot, cold = np.split(means, 2, axis=1)
    variance = (hot.var(axis=1, ddof=1) + cold.var(axis=1, ddof=1)) / hot.shape[1]
    return float(np.max(np.abs(hot.mean(axis=1) - cold.mean(axis=1)) / np.sqrt(variance)))
