"""The random-energy model as the reference for attention rows: N independent normal scores.

    p_i = exp(beta s_i) / Z,   s_i normal with deviation sigma,   b = beta / beta_c
    beta_c = sqrt(2 ln N) / sigma                       freezing point for N -> infinity
    H / ln N -> 1 - b^2 for b < 1, 0 above;   Y2 = sum p^2 -> 0 for b < 1, 1 - 1 / b above

With exp(H(beta)) in place of N the same formula gives beta_c / sqrt 2 in the limit: there
E[Z^2] / E[Z]^2 - 1 = exp(beta^2 sigma^2) / N is of order 1, which ends self-averaging but freezes
nothing. Corrections fall like 1 / ln N: no context length is in the limit, and rows must be
compared with `disorder_average` at their own N.

Derrida, Phys. Rev. B 24, 2613 (1981); for attention at initialisation: Giorlandino & Goldt,
arXiv:2505.24333.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from isingnpu import rng
from isingnpu.criticality.softmax import softmax
from isingnpu.statistics import Estimate

Array = NDArray[np.float64]

CHUNK_SCORES = 1 << 18
RATIOS = tuple(np.round(np.arange(0.4, 1.6001, 0.05), 2).tolist())


def freezing_beta(n: int, sigma: float = 1.0) -> float:
    """sqrt(2 ln N) / sigma. Raises ValueError unless n >= 2 and sigma > 0."""
    if n < 2 or not sigma > 0:
        raise ValueError(f"need n >= 2 keys and sigma > 0, got n = {n}, sigma = {sigma}")
    return math.sqrt(2 * math.log(n)) / sigma


def limiting_entropy(b: float) -> float:
    """H / ln N of the infinite model at b = beta / beta_c >= 0."""
    return max(0.0, 1 - b * b)


def limiting_participation(b: float) -> float:
    """Disorder average of Y2 of the infinite model at b = beta / beta_c > 0."""
    return max(0.0, 1 - 1 / b)


@dataclass(frozen=True, eq=False)
class DisorderAverage:
    """Averages over `draws` rows of n normal scores at each ratio b = beta / beta_c, (len(b),).

    entropy: <H> / ln n; spread: deviation of H between rows, in nats; heat_capacity: <beta^2 Var>;
    participation <Y2>; largest <max p>. *_error: standard errors, all rows independent."""

    n: int
    draws: int
    seed: int
    b: Array
    entropy: Array
    entropy_error: Array
    participation: Array
    participation_error: Array
    largest: Array
    largest_error: Array
    heat_capacity: Array
    heat_capacity_error: Array
    spread: Array
    spread_error: Array

    def at(self, name: str, b: float) -> Estimate:
        """Quantity `name` at one of the ratios. Raises ValueError for a ratio not computed."""
        found = np.flatnonzero(np.isclose(self.b, b, rtol=1e-9, atol=0))
        if not found.size:
            raise ValueError(f"b = {b} was not computed; there are {self.b.tolist()}")
        k = found[0]
        value, error = getattr(self, name)[k], getattr(self, f"{name}_error")[k]
        return Estimate(float(value), float(error), n_eff=self.draws)

    @property
    def heat_capacity_peak(self) -> float:
        """b of the maximum of <beta^2 Var>, by a parabola through the three highest ratios."""
        return _peak(self.b, self.heat_capacity)

    @property
    def spread_peak(self) -> float:
        """b at which H differs most from row to row."""
        return _peak(self.b, self.spread)

    @property
    def self_consistent(self) -> float:
        """b at which b^2 ln n = <H>, from interpolated entropies; 1 / sqrt 2 for n -> infinity.

        Raises ValueError if the ratios do not enclose it."""
        excess = self.b**2 - self.entropy
        crossed = np.flatnonzero((excess[:-1] < 0) & (excess[1:] >= 0))
        if not crossed.size:
            raise ValueError(f"b^2 = <H> / ln n has no root between {self.b[0]} and {self.b[-1]}")
        k = crossed[0]

        def difference(b: float) -> float:
            return b**2 - float(np.interp(b, self.b, self.entropy))

        return float(brentq(difference, self.b[k], self.b[k + 1]))


def disorder_average(
    n: int, b: Sequence[float] = RATIOS, *, draws: int = 1000, seed: int = 0
) -> DisorderAverage:
    """Averages of rows of n scores with sigma = 1 at beta = b sqrt(2 ln n), the ratios ascending.

    Row k has the normals k n .. k n + n - 1 of stream ATTENTION, the same for every b. H
    spreads by 0.6 to 0.9 nats at b = 1, so that H / ln n has an error of 0.9 / (ln n sqrt(draws))
    at most. Raises ValueError unless n >= 2, draws >= 2 and the ratios are positive and ascend."""
    ratios = np.asarray(b, np.float64)
    if ratios.ndim != 1 or not ratios.size or ratios[0] <= 0 or np.any(np.diff(ratios) <= 0):
        raise ValueError(f"ratios b must be positive and ascend, got {b!r}")
    if draws < 2:
        raise ValueError(f"draws must be at least 2, got {draws}")
    beta = ratios * freezing_beta(n)
    key = rng.as_seed(seed)
    scores = rng.random_normals(key, rng.Stream.ATTENTION, draws * n).reshape(draws, n)
    step = max(1, CHUNK_SCORES // n)
    parts = [[softmax(scores[k : k + step], x) for k in range(0, draws, step)] for x in beta]

    def values(name: str) -> Array:
        """(ratios, draws)"""
        rows = [np.concatenate([np.asarray(getattr(part, name)) for part in row]) for row in parts]
        return np.stack(rows)

    quantities = ("entropy", "participation", "largest", "heat_capacity")
    drawn = {name: values(name) for name in quantities}
    fields = {}
    for name, x in drawn.items():
        scale = math.log(n) if name == "entropy" else 1.0
        fields[name] = x.mean(axis=1) / scale
        fields[f"{name}_error"] = x.std(axis=1, ddof=1) / math.sqrt(draws) / scale
    spread = drawn["entropy"].std(axis=1, ddof=1)
    fourth = ((drawn["entropy"] - drawn["entropy"].mean(axis=1)[:, None]) ** 4).mean(axis=1)
    # variance of a sample variance, without assuming normal H
    error = np.sqrt(np.maximum(fourth - spread**4, 0) / draws) / (2 * spread)
    return DisorderAverage(n, draws, key, ratios, spread=spread, spread_error=error, **fields)


def _peak(b: Array, y: Array) -> float:
    """Vertex of the parabola through the highest point and its neighbours; an end stays as it
    is."""
    k = int(np.argmax(y))
    if k in (0, len(b) - 1):
        return float(b[k])
    curve = np.polyfit(b[k - 1 : k + 2] - b[k], y[k - 1 : k + 2], 2)
    return float(b[k] - curve[1] / (2 * curve[0]))
