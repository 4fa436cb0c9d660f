"""Rows of attention scores as Gibbs measures: p_i = exp(beta s_i) / Z over the keys of one query.

    ln Z,   E = sum p s,   Var = sum p s^2 - E^2,   H = ln Z - beta E   (nats)
    dH/dbeta = -beta Var          exact for every row and every number of keys
    C = beta^2 Var = -dH/dln beta     the heat capacity of the row
    Y2 = sum p^2                  participation; 1 / Y2 keys carry the weight

Scores are (..., N) NumPy arrays, unscaled (q . k); beta is in units of 1/score, 1 / sqrt(d_k) in a
transformer. A masked key has score -inf and belongs to no sum. Results have the shape (...).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

GRID = 96
GOLDEN = (np.sqrt(5) - 1) / 2


@dataclass(frozen=True, eq=False)
class Softmax:
    """The averages above, one per row; n: visible keys, largest: the largest p."""

    beta: Array
    n: NDArray[np.int64]
    log_z: Array
    mean: Array
    variance: Array
    entropy: Array
    participation: Array
    largest: Array

    @property
    def entropy_slope(self) -> Array:
        """dH/dbeta = -beta Var."""
        return -self.beta * self.variance

    @property
    def heat_capacity(self) -> Array:
        """C = beta^2 Var."""
        return self.beta**2 * self.variance

    @property
    def n_eff(self) -> Array:
        """exp(H), between 1 and n."""
        return np.exp(self.entropy)


def softmax(scores: ArrayLike, beta: ArrayLike) -> Softmax:
    """The Gibbs measure of every row: scores (..., N), beta (...) or a number, >= 0 and finite.

    Sums are made relative to the largest score, so nothing overflows. Raises ValueError for a
    score that is nan or +inf, a row whose keys are all masked, or beta < 0."""
    s = check_scores(scores)
    b = np.asarray(beta, np.float64)
    if not np.all((b >= 0) & (b < np.inf)):
        raise ValueError(f"beta must be finite and >= 0, got {beta!r}")
    b = np.broadcast_to(b, s.shape[:-1])
    return _gibbs(_Rows.of(s), b)


def probabilities(scores: ArrayLike, beta: float) -> Array:
    """(..., N) p_i = exp(beta s_i) / Z; exactly 0 for masked keys. Raises as `softmax`."""
    s = check_scores(scores)
    at = softmax(s, beta)
    rows = _Rows.of(s)
    weight = np.where(rows.visible, np.exp(-beta * rows.gap), 0.0)
    return np.asarray(weight * at.largest[..., None])


def check_scores(scores: ArrayLike) -> Array:
    """`scores` as float64 (..., N), or ValueError."""
    s = np.asarray(scores, np.float64)
    if s.ndim == 0 or s.shape[-1] == 0:
        raise ValueError(f"scores must be (..., N) with N >= 1, got shape {s.shape}")
    wrong = np.argwhere(np.isnan(s) | (s == np.inf))
    if len(wrong):
        at = tuple(int(k) for k in wrong[0])
        raise ValueError(f"scores{list(at)} = {s[at]}: must be finite, or -inf for a masked key")
    empty = np.argwhere(s.max(axis=-1) == -np.inf)
    if len(empty):
        row = [int(k) for k in empty[0]]
        raise ValueError(f"row {row} of scores has no visible key; leave such rows out")
    return s


@dataclass(frozen=True, eq=False)
class _Rows:
    """Scores below their row's maximum: gap (..., N) >= 0 (0 where masked), visible (..., N)."""

    top: Array
    gap: Array
    visible: NDArray[np.bool_]

    @classmethod
    def of(cls, s: Array) -> _Rows:
        top = s.max(axis=-1)
        visible = s > -np.inf
        return cls(top, np.where(visible, top[..., None] - s, 0.0), visible)

    @property
    def n(self) -> NDArray[np.int64]:
        return np.asarray(self.visible.sum(axis=-1))

    @property
    def sigma(self) -> Array:
        """Standard deviation of the visible scores of each row, with 1/n."""
        mean = self.gap.sum(axis=-1) / self.n
        spread = np.where(self.visible, self.gap - mean[..., None], 0.0)
        return np.asarray(np.sqrt((spread**2).sum(axis=-1) / self.n))


def _gibbs(rows: _Rows, beta: Array) -> Softmax:
    weight = np.where(rows.visible, np.exp(-beta[..., None] * rows.gap), 0.0)
    z = weight.sum(axis=-1)
    p = weight / z[..., None]
    gap = (p * rows.gap).sum(axis=-1)
    return Softmax(
        beta=np.array(beta),
        n=rows.n,
        log_z=beta * rows.top + np.log(z),
        mean=rows.top - gap,
        variance=(p * (rows.gap - gap[..., None]) ** 2).sum(axis=-1),
        entropy=np.log(z) + beta * gap,
        participation=(p**2).sum(axis=-1),
        largest=1 / z,
    )


def score_deviation(scores: ArrayLike) -> Array:
    """(...) standard deviation of the visible scores of each row (divided by n, not n - 1)."""
    return _Rows.of(check_scores(scores)).sigma


def keys_beta(scores: ArrayLike) -> Array:
    """(...) sqrt(2 ln n) / sigma, n visible keys: where a row of n independent normal scores of
    deviation sigma freezes for n -> infinity (random-energy model). inf where sigma = 0 and
    n > 1; 0 for n = 1."""
    rows = _Rows.of(check_scores(scores))
    return _keys_beta(rows)


def _keys_beta(rows: _Rows) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = np.sqrt(2 * np.log(rows.n)) / rows.sigma
    return np.where(rows.n == 1, 0.0, beta)


def self_consistent_beta(scores: ArrayLike) -> Array:
    """(...) the root of beta sigma = sqrt(2 H(beta)): the same formula with n_eff = exp(H(beta)).

    It is unique, because H falls with beta, and lies in (0, `keys_beta`]: there H <= ln n. For
    normal scores it tends to `keys_beta` / sqrt 2. inf where sigma = 0 and n > 1; 0 for n = 1."""
    rows = _Rows.of(check_scores(scores))
    sigma, limit = rows.sigma, _keys_beta(rows)
    finite = np.isfinite(limit) & (limit > 0)

    def excess(beta: Array) -> tuple[Array, Array]:
        at = _gibbs(rows, beta)
        slope = 2 * beta * (sigma**2 + at.variance)
        return (beta * sigma) ** 2 - 2 * at.entropy, slope

    high = np.where(finite, limit, 1.0)
    return np.where(finite, _increasing_root(excess, high), limit)


def _increasing_root(function: Callable[[Array], tuple[Array, Array]], high: Array) -> Array:
    """Roots in (0, high] of increasing functions (value, slope): Newton, halving where it leaves
    the bracket, until no step exceeds 4 units in the last place."""
    low, x = np.zeros_like(high), high.copy()
    for _ in range(200):
        value, slope = function(x)
        low, high = np.where(value < 0, x, low), np.where(value >= 0, x, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = x - value / slope
        # ends included: a converged step may not move at all
        new = np.where((step >= low) & (step <= high), step, (low + high) / 2)
        done = abs(new - x) <= 4 * np.spacing(x)
        x = new
        if np.all(done):
            break
    return np.asarray(x)


def heat_capacity_peak(scores: ArrayLike) -> tuple[Array, Array]:
    """(beta, height) of the highest maximum of C(beta) = beta^2 Var, each (...).

    Searched for beta (s_max - s_min) in 0.3 .. 40 ln n + 40 on 96 points, then by golden section
    to 1e-7. nan where all visible scores are equal (C = 0)."""
    rows = _Rows.of(check_scores(scores))
    reach = rows.gap.max(axis=-1)
    with np.errstate(divide="ignore"):
        unit = np.where(reach > 0, 1 / reach, 1.0)
    grid = 0.3 * ((40 * np.log(rows.n) + 40)[..., None] / 0.3) ** (np.arange(GRID) / (GRID - 1))
    best, at = np.full(reach.shape, -1.0), np.zeros(reach.shape, np.int64)
    for k in range(GRID):
        c = _gibbs(rows, grid[..., k] * unit).heat_capacity
        at, best = np.where(c > best, k, at), np.maximum(c, best)
    low = np.take_along_axis(grid, np.maximum(at - 1, 0)[..., None], -1)[..., 0] * unit
    high = np.take_along_axis(grid, np.minimum(at + 1, GRID - 1)[..., None], -1)[..., 0] * unit
    for _ in range(36):  # 0.16 * GOLDEN^36 < 1e-8
        a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        rising = _gibbs(rows, a).heat_capacity < _gibbs(rows, b).heat_capacity
        low, high = np.where(rising, a, low), np.where(rising, high, b)
    beta = np.where(reach > 0, (low + high) / 2, np.nan)
    height = _gibbs(rows, (low + high) / 2).heat_capacity
    return beta, np.where(reach > 0, height, np.nan)


def gap_counting_beta(scores: ArrayLike) -> Array:
    """(...) sup over g > 0 of ln N(g) / g, with N(g) the number of competitors, keys other than
    the largest one, whose score lies within g of the maximum.

    At larger beta no crowd of competitors can outweigh its distance: N(g) exp(-beta g) < 1 for
    every g. Normal scores give sqrt(2 ln n) / sigma in the limit, scores -a ln k give 1 / a, at
    which sum k^(-a beta) converges. One near tie is no crowd and does not count; two exact ties
    with the maximum give inf, one competitor or none gives 0. Two near ties make a heavy tail
    over rows: quote medians. The gap-counting function is that of Hayase & Karakida,
    arXiv:2605.12697, of which the abstract was read: this supremum is a reading of their scale.
    """
    rows = _Rows.of(check_scores(scores))
    gap = np.sort(np.where(rows.visible, rows.gap, np.inf), axis=-1)[..., 1:]  # competitors
    count = np.arange(1, gap.shape[-1] + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(count > 1, np.log(count) / gap, 0.0)
    return np.asarray(ratio.max(axis=-1, initial=0.0))
