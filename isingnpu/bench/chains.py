"""Markov chains of the square lattice at one temperature, timed: ours, peapods and ALPS spinmc.

All start from equilibrium: burn-in and set-up are not in their seconds. What is timed is updates
and the measurement of energy and magnetisation, each package in its own best way: peapods makes a
Metropolis sweep and a Wolff cluster per measurement, spinmc one Wolff cluster, with the size of
the cluster as its estimate of m^2.

Traps: peapods has no seed, but equal temperatures in one instance are independent chains, whose
random numbers go on from call to call; its energies have the opposite sign. spinmc prints
<m^4> / <m^2>^2 as "Binder Cumulant", so U4 is computed from its moments; it sweeps on until it
looks at the clock, so its sweeps are counted.
"""

from __future__ import annotations

import importlib
import math
import os
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isingnpu import lattice
from isingnpu.annealing import resume, sample
from isingnpu.bench.clock import Clock, timed
from isingnpu.run import Run
from isingnpu.statistics import binning

Array = NDArray[np.float64]

PEAPODS, SPINMC = "peapods", "ALPS spinmc"
OBSERVED = ("energy", "m2", "m4")


@dataclass(frozen=True, eq=False)
class Blocks:
    """Means (3, blocks) of energy per site, m^2 and m^4 over blocks much longer than tau, and the
    seconds (blocks,) that each took."""

    means: Array
    seconds: Array

    def __add__(self, other: Blocks) -> Blocks:
        means = np.concatenate([self.means, other.means], axis=1)
        return Blocks(means, np.concatenate([self.seconds, other.seconds]))


class Chains(Protocol):
    """Chains in equilibrium that can be sampled further."""

    @property
    def name(self) -> str: ...

    def advance(self) -> Blocks:
        """The next samples of all chains."""


@dataclass(frozen=True)
class Recipe:
    """How we sample: `replicas` chains, a sample after every `every`-th sweep (`clusters` of
    them in Wolff), `samples` of each chain per call, cut into `blocks`."""

    dynamics: str
    replicas: int
    every: int
    samples: int
    burn_in: int
    clusters: int = 1
    blocks: int = 1


@dataclass(eq=False)
class OwnChains:
    """Our chains, from all spins up; one call of `resume` per advance."""

    name: str
    run: Run
    recipe: Recipe
    clock: Clock

    @classmethod
    def start(
        cls, name: str, size: int, beta: float, recipe: Recipe, clock: Clock, **options: Any
    ) -> OwnChains:
        """Chains after their burn-in; options of `sample`: seed, backend, threads."""
        run = sample(
            lattice.square(size), beta, sweeps=recipe.every, burn_in=recipe.burn_in,
            replicas=recipe.replicas, dynamics=recipe.dynamics, clusters=recipe.clusters,
            every=recipe.every, initial="up", observe=OBSERVED, **options,
        )  # fmt: skip
        return cls(name, run, recipe, clock)

    def advance(self) -> Blocks:
        sweeps = self.recipe.samples * self.recipe.every
        seconds, self.run = timed(
            self.clock, lambda: resume(replace(self.run, series={}), sweeps=sweeps)
        )
        series = self.run.series
        means = np.stack([binning(series[name], self.recipe.blocks) for name in OBSERVED])
        means[0] /= self.run.model.n
        return Blocks(means, np.full(means.shape[1], seconds / means.shape[1]))


@dataclass(eq=False)
class Peapods:
    """`streams` chains of peapods, a Wolff cluster after every Metropolis sweep."""

    model: Any
    sweeps: int
    calls: int
    clock: Clock
    name: str = PEAPODS

    @classmethod
    def start(
        cls, size: int, beta: float, clock: Clock, *, streams: int, sweeps: int, calls: int
    ) -> Peapods:
        """Chains after a burn-in of Swendsen-Wang, which forgets a random start within tens of
        sweeps. ImportError without the package."""
        model = importlib.import_module("peapods").Ising(
            (size, size), temperatures=np.full(streams, 1 / beta)
        )
        chains = cls(model, sweeps, calls, clock)
        chains.sweep(100, "sw")
        return chains

    def advance(self) -> Blocks:
        parts = [self._call() for _ in range(self.calls)]
        return sum(parts[1:], parts[0])

    def _call(self) -> Blocks:
        seconds, _ = timed(self.clock, lambda: self.sweep(self.sweeps, "wolff"))
        model = self.model
        means = np.array([-model.energies_avg, model.mags2, model.mags4], np.float64)
        return Blocks(means, np.full(means.shape[1], seconds / means.shape[1]))

    def sweep(self, sweeps: int, cluster_mode: str) -> None:
        """Sample every sweep from where the chains stand, in one thread."""
        self.model.sample(
            sweeps, cluster_update_interval=1, cluster_mode=cluster_mode, warmup_ratio=0.0,
            sequential=True,
        )  # fmt: skip


@dataclass(eq=False)
class Spinmc:
    """`streams` runs of ALPS spinmc with seeds of their own in one process per advance.

    The seconds are CPU time of that process less that of one with hardly any sweeps, per sweep:
    its start, input, output and thermalization do not count. A block is a bin of ALPS."""

    size: int
    beta: float
    sweeps: int
    streams: int
    seed: int
    name: str = SPINMC
    package: Any = field(default_factory=lambda: importlib.import_module("pyalps"))

    THERMALIZATION = 100  # flipped sites in units of the lattice, before the first measurement

    def advance(self) -> Blocks:
        with tempfile.TemporaryDirectory() as folder:
            short, few = self._execute(Path(folder) / "short", 1)
            long, many = self._execute(Path(folder) / "long", self.sweeps)
        self.seed = (self.seed + self.streams) % (1 << 31)
        done, start = (sum(sweeps for _, sweeps in runs) for runs in (many, few))
        if long <= short or done <= start:
            raise RuntimeError(
                f"spinmc took {long:.3g} s for {done} sweeps and {short:.3g} s for {start}, which "
                "leaves no time for the sweeps: measure again where less else is running"
            )
        pace = (long - short) / (done - start)
        means = np.concatenate([means for means, _ in many], axis=1)
        seconds = [np.full(m.shape[1], pace * _bin_sweeps(n, m.shape[1])) for m, n in many]
        return Blocks(means, np.concatenate(seconds))

    def _execute(self, folder: Path, sweeps: int) -> tuple[float, list[tuple[Array, int]]]:
        """CPU seconds of a process; of each of its runs the bins (3, bins) and the sweeps."""
        folder.mkdir()
        common = {
            "LATTICE": "square lattice", "MODEL": "Ising", "UPDATE": "cluster", "J": 1,
            "L": self.size, "T": repr(1 / self.beta), "SWEEPS": sweeps,
            "THERMALIZATION": self.THERMALIZATION,
        }  # fmt: skip
        tasks = [common | {"SEED": self.seed + k} for k in range(self.streams)]
        job = self.package.writeInputFiles(str(folder / "job"), tasks)
        program = Path(self.package.__file__).parent / "bin" / "spinmc"
        seconds = _cpu_seconds([str(program), "--Tmin", "0", job])
        files = [folder / f"job.task{k + 1}.out.h5" for k in range(self.streams)]
        return seconds, [_read(file) for file in files]


def _cpu_seconds(command: list[str]) -> float:
    """CPU time of a child process; CalledProcessError if it fails."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return usage.ru_utime + usage.ru_stime


def _read(file: Path) -> tuple[Array, int]:
    """Means (3, bins) of energy per site, m^2 and m^4 of a run of spinmc, and its sweeps."""
    made = []
    for name in ("Energy Density", "Magnetization^2", "Magnetization^4"):
        observable = importlib.import_module("pyalps.alea").MCScalarData()
        observable.load(str(file), f"/simulation/results/{name}")
        made.append(np.array(observable.bins))
    return np.stack(made), int(observable.count)


def _bin_sweeps(sweeps: int, bins: int) -> int:
    """Sweeps of a bin: ALPS doubles it whenever there are 128 bins, and drops the last sweeps."""
    return 1 << int(math.log2(sweeps / bins))
