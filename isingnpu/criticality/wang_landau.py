"""Density of states by the 1/t algorithm: ln g(E) of any model with whole-number couplings.

Several independent walks (isingnpu.criticality.flat_walk) each start with the increment ln f = 1
and halve it whenever every known level was visited again. As soon as ln f <= levels / steps it is
levels / steps from then on (twice that in the first quarter), so that the error falls as
steps^-1/2 instead of saturating. A level that is found later starts the schedule anew.

ln g of a walk is normalised by sum_E g(E) = 2^N. The result is the mean over walks; its error and
those of the averages at any beta come from their spread. A walk that feels its own increments is
biased by an amount that falls as 1 / steps, faster than the error: rather few long walks than many
short ones.

Belardinelli & Pereyra, Phys. Rev. E 75, 046701 (2007); J. Chem. Phys. 127, 184105 (2007).
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isingnpu import rng
from isingnpu.backend import get_backend
from isingnpu.criticality import flat_walk
from isingnpu.criticality.flat_walk import BARRED, BATCH, UNIT, UNSEEN, Landscape, Walker
from isingnpu.exact.density_of_states import level_averages
from isingnpu.model import IsingModel
from isingnpu.statistics import Estimate, Refusal

Array = NDArray[np.float64]
Advance = Callable[[Landscape, Walker, int, int, int], None]

# The increment stays constant for at most this part of the steps done, and this many steps.
STRIDE_SHARE, MAX_STRIDE = 64, 256 * BATCH
# ln f = gain levels / steps forgets the start as steps^-gain and has gain^2 / (2 gain - 1) times
# the least variance: 2 in the first quarter costs 8 % of the variance in the end.
EARLY_GAIN, EARLY_SHARE = 2, 0.25
# A walk is biased by an amount that falls as 1 / steps; with this many times the steps to
# ln f = levels / steps it is half the error of the mean of eight (8 x 8 torus).
SETTLED = 20


class UnfinishedWalk(Refusal):
    """Walks that cannot carry a density of states yet.

    reason: what is missing; steps: steps per walk that were made."""

    def __init__(self, reason: str, steps: int) -> None:
        super().__init__(reason, steps)
        self.reason, self.steps = reason, steps

    def __str__(self) -> str:
        return f"{self.reason} after {self.steps} steps per walker; run more steps"


@dataclass(frozen=True, eq=False)
class CanonicalAverages:
    """Averages of all n sites at beta, totals: mean energy, heat capacity beta^2 Var E, free
    energy -ln Z / beta (nan at beta = 0), entropy and ln Z; k_B = 1."""

    beta: float
    ln_z: Estimate
    energy: Estimate
    heat_capacity: Estimate
    free_energy: Estimate
    entropy: Estimate


@dataclass(frozen=True, eq=False)
class WangLandau:
    """Estimated density of states of n spins.

    energies: (levels,) ascending, in units of J, offset included; walks: (walkers, levels) ln g of
    each walk, normalised; steps: per walker; onset: steps after which the last walker followed
    ln f = levels / steps; seed: the key that reproduces the result."""

    n: int
    energies: Array
    walks: Array
    steps: int
    onset: int
    seed: int

    @property
    def ln_g(self) -> Array:
        """ln g(E), (levels,): the mean over walks."""
        return np.asarray(self.walks.mean(axis=0))

    @property
    def error(self) -> Array:
        """Standard error of ln_g, (levels,), from the spread of the walks."""
        return np.asarray(self.walks.std(axis=0, ddof=1) / math.sqrt(len(self.walks)))

    def at(self, beta: float) -> CanonicalAverages:
        """Averages at one beta of either sign.

        Values are those of the mean ln g, errors the jackknife over walks: the averages are not
        linear in ln g."""
        without = [np.delete(self.walks, k, axis=0).mean(axis=0) for k in range(len(self.walks))]
        best, *left = (_averages(self.n, self.energies, x, beta) for x in (self.ln_g, *without))
        spread = np.array(left).std(axis=0) * math.sqrt(len(left) - 1)
        numbers = [Estimate(v, e) for v, e in zip(best, spread.tolist(), strict=True)]
        return CanonicalAverages(beta, *numbers)


def wang_landau(
    model: IsingModel,
    *,
    steps: int,
    walkers: int = 8,
    seed: int | None = None,
    backend: str = "cpu",
    threads: int | None = None,
) -> WangLandau:
    """Density of states of a model whose couplings and fields are multiples of one number.

    steps: proposed flips per walker, rounded up to a multiple of 1024; the error falls as
    (walkers * steps)^-1/2. backend: "cpu" or "reference" (plain Python, the same bits); threads
    does not change the result. Raises ValueError for other models, backends or numbers, and
    UnfinishedWalk if a walk needed more than 1/20 of its steps to reach ln f = levels / steps
    or the walks found different levels, or one so rare that it is never met again."""
    if walkers < 2 or steps < 1:
        raise ValueError(f"walkers must be >= 2 and steps >= 1, got {walkers} and {steps}")
    land, key = flat_walk.landscape(model), rng.as_seed(seed)
    advance = _advance(backend)

    def one(number: int) -> tuple[Walker, int | None]:
        walker = flat_walk.first_walker(model, land, number, key)
        return walker, _follow(land, walker, advance, steps, key)

    with ThreadPoolExecutor(min(walkers, threads or len(os.sched_getaffinity(0)))) as pool:
        done = list(pool.map(one, range(walkers)))
    return _result(model, land, done, key)


def _advance(backend: str) -> Advance:
    """The walk of a backend, by name: the core imports none."""
    if backend == "reference":
        return flat_walk.walk
    if backend != "cpu":
        raise ValueError(f"backend must be 'cpu' or 'reference', got {backend!r}")
    get_backend(backend)
    module = importlib.import_module(f"isingnpu.backends.{backend}.wang_landau")
    advance: Advance = module.advance
    return advance


def _follow(
    land: Landscape, walker: Walker, advance: Advance, steps: int, seed: int
) -> int | None:
    """The whole schedule of one walker; the step at which it reached 1/t, or None."""
    window = slice(land.top + 1)
    known, began, increment = 1, 0, UNIT
    reached = None
    before = walker.ln_g[window].copy()
    while walker.steps < steps:
        stride = min(walker.steps // STRIDE_SHARE, MAX_STRIDE, steps - walker.steps)
        advance(land, walker, increment, max(1, -(-stride // BATCH)) * BATCH, seed)
        ln_g = walker.ln_g[window]
        if ln_g.max() > BARRED // 2:  # one stride adds less than the other half
            raise UnfinishedWalk("the increments of common levels hide a rare one", walker.steps)
        levels = int(np.count_nonzero(ln_g != UNSEEN))
        if levels > known:
            known, began, increment, reached = levels, walker.steps, UNIT, None
            before = ln_g.copy()
            continue
        if reached is None and np.all((ln_g != before) | (ln_g == UNSEEN)):
            increment, before = increment // 2, ln_g.copy()
        gain = EARLY_GAIN if walker.steps < EARLY_SHARE * steps else 1
        inverse_time = gain * levels * UNIT // (walker.steps - began)
        if reached is None and increment < UNIT and increment <= inverse_time:
            reached = walker.steps
        if reached is not None:
            increment = inverse_time
    return reached


def _result(
    model: IsingModel, land: Landscape, done: list[tuple[Walker, int | None]], seed: int
) -> WangLandau:
    steps = done[0][0].steps
    found = np.array([walker.ln_g[: land.top + 1] != UNSEEN for walker, _ in done])
    if not np.all(found == found[0]):
        missing = int((found.any(axis=0) & ~found.all(axis=0)).sum())
        raise UnfinishedWalk(f"{missing} levels were found by some walkers only", steps)
    started = [steps if reached is None else reached for _, reached in done]
    if SETTLED * max(started) > steps:
        late = sum(SETTLED * start > steps for start in started)
        raise UnfinishedWalk(
            f"{late} of {len(done)} walkers needed more than 1/{SETTLED} of their steps to reach "
            "ln f = levels / steps",
            steps,
        )
    levels = np.flatnonzero(found[0])
    ln_g: Array = np.array([walker.ln_g[levels] for walker, _ in done]) / float(UNIT)
    levels, ln_g = _mirror(land, levels, ln_g) if land.mirrored else (levels, ln_g)
    top = ln_g.max(axis=1, keepdims=True)
    ln_g -= top + np.log(np.exp(ln_g - top).sum(axis=1, keepdims=True)) - model.n * math.log(2)
    quanta = (2 * levels - land.total).astype(np.float64)
    energies = model.offset + model.quantized.quantum * quanta
    return WangLandau(model.n, energies, ln_g, steps, max(started), seed)


def _mirror(
    land: Landscape, levels: NDArray[np.int64], ln_g: Array
) -> tuple[NDArray[np.int64], Array]:
    """Both halves from the levels with E <= 0."""
    low = 2 * levels <= land.total
    below = 2 * levels < land.total
    both = np.concatenate([levels[low], land.total - levels[below][::-1]])
    return both, np.concatenate([ln_g[:, low], ln_g[:, below][:, ::-1]], axis=1)


def _averages(n: int, energies: Array, ln_g: Array, beta: float) -> tuple[float, ...]:
    """ln Z, energy, heat capacity, free energy, entropy."""
    z = level_averages(n, energies, ln_g, beta)
    free = -z.ln_z / beta if beta else math.nan
    return z.ln_z, z.energy, z.heat_capacity, free, z.entropy
