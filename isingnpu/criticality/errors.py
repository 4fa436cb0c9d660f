"""Errors of functions of averages by two methods that fail differently.

F(<A_1>, ..., <A_k>) has, from series of n samples in all,

    Gamma method   error^2 = 2 tau Var(sum_a (dF/dA_a) A_a) / n,   tau of the projected series
    jackknife      error^2 = (B - 1) / B sum_b (F_b - mean F_b)^2,  block b of B left out

The Gamma method cuts off slow modes that its window does not see; the jackknife is too small for
blocks shorter than a few tau and noisy for few of them, 1 / sqrt(2 B). Both are computed.
Wolff, Comput. Phys. Commun. 156, 143 (2004); Efron, The Jackknife (1982).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isingnpu.criticality.estimators import Array
from isingnpu.statistics import (
    Estimate,
    binning,
    integrated_time,
    jackknife_covariance,
    jackknife_samples,
)

MIN_TAUS = 50  # samples per replica in units of tau
MAX_RATIO = 1.2  # of the two errors
BLOCKS = 256  # of the jackknife, at most where there are fewer replicas
MIN_BLOCKS = 16
BLOCK_TAUS = 20  # length of a block in units of tau, where that leaves MIN_BLOCKS


@dataclass(frozen=True)
class Derived:
    """A function of averages without its bias of order 1/n, with both of its errors.

    tau: of the projected series, in stored samples; samples: per replica; replicas; blocks: of
    the jackknife."""

    value: float
    gamma: float
    jackknife: float
    tau: float
    samples: int
    replicas: int
    blocks: int

    @property
    def error(self) -> float:
        """The larger of the two errors."""
        return max(self.gamma, self.jackknife)

    @property
    def estimate(self) -> Estimate:
        """Value and larger error; n_eff = n / (2 tau). Read `trouble` too."""
        n_eff = self.replicas * self.samples / (2 * self.tau)
        return Estimate(self.value, self.error, self.tau, n_eff)

    @property
    def trouble(self) -> str:
        """What speaks against the error, "" if nothing does.

        Of equilibrated runs with 256 blocks one in 10^4 has errors apart by 20 % by chance."""
        found = []
        if self.samples < MIN_TAUS * self.tau:
            found.append(
                f"each replica is {self.samples / self.tau:.0f} tau long, less than {MIN_TAUS}: "
                "tau itself is uncertain; run longer"
            )
        low, high = sorted((self.gamma, self.jackknife))
        if high > MAX_RATIO * low:
            found.append(
                f"the errors of the Gamma method, {self.gamma:.3g}, and of the jackknife over "
                f"{self.blocks} blocks, {self.jackknife:.3g}, differ by more than 20 %"
            )
        return "; ".join(found)


def derived(function: Callable[..., float], *series: ArrayLike) -> Derived:
    """function(<A_1>, ..., <A_k>) of equilibrated series (samples,) or (replicas, samples).

    function takes one number per series. Replicas are independent; blocks are whole replicas
    where there are BLOCKS of them, otherwise pieces of BLOCK_TAUS tau or as short as MIN_BLOCKS
    needs. Raises ValueError for series of different shapes or not finite, ShortChain where tau
    cannot be measured."""
    rows = [np.atleast_2d(np.asarray(s, dtype=np.float64)) for s in series]
    if not rows or len({x.shape for x in rows}) > 1:
        raise ValueError(f"series must have one shape, got {[x.shape for x in rows]}")
    replicas, samples = rows[0].shape
    means = np.array([x.mean() for x in rows])
    gradient = _gradient(function, means, [float(x.std()) for x in rows], rows[0].size)
    projected = np.asarray(sum(g * (x - m) for g, x, m in zip(gradient, rows, means, strict=True)))
    tau = integrated_time(projected).value
    n = rows[0].size
    variance = float((projected**2).mean()) * (1 + 2 * tau / n)
    pieces = _pieces(replicas, samples, tau)
    blocks = [binning(x, pieces) for x in rows]
    left_out = jackknife_samples(function, *blocks)
    full = float(function(*(b.mean(axis=0) for b in blocks)))
    count = len(left_out)
    return Derived(
        value=count * full - (count - 1) * float(left_out.mean()),
        gamma=math.sqrt(2 * tau * variance / n),
        jackknife=math.sqrt(jackknife_covariance(left_out[:, None])[0, 0]),
        tau=tau,
        samples=samples,
        replicas=replicas,
        blocks=count,
    )


def _gradient(
    function: Callable[..., float], means: Array, deviations: list[float], n: int
) -> Array:
    """dF/dA_a by central differences over the error that independent samples would have."""
    gradient = np.zeros(len(means))
    for a, deviation in enumerate(deviations):
        if deviation == 0:
            continue
        step = np.zeros(len(means))
        step[a] = deviation / math.sqrt(n)
        gradient[a] = (function(*(means + step)) - function(*(means - step))) / (2 * step[a])
    return gradient


def _pieces(replicas: int, samples: int, tau: float) -> int:
    """Blocks per replica."""
    long_enough = int(samples / (BLOCK_TAUS * tau))
    wanted = min(max(1, BLOCKS // replicas), long_enough)
    return min(samples, max(1, wanted, math.ceil(MIN_BLOCKS / replicas)))
