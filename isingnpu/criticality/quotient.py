"""Exponents from the quotients of two sizes where a dimensionless ratio R = xi/L or U4 is equal.

    R_L(beta*) = R_rL(beta*)
    Q = O_rL(beta*) / O_L(beta*) = r^(x / nu) (1 + c L^-omega)     for O that diverges as t^-x
    1 / nu = ln Q / ln r of O = dR/dbeta,    2 - eta = ln Q / ln r of O = chi = N <m^2>

Nothing is fitted and beta_c is not needed. Errors are jackknife errors over the independent blocks
of both sizes; each block moves beta* too. Pairs that share a size are correlated: `extrapolate`
keeps that. Ballesteros et al., Phys. Lett. B 378, 207 (1996).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from isingnpu.criticality.estimators import RATIOS, Array, Histogram, binder_slope, thermal_slope
from isingnpu.criticality.fit import MIN_P
from isingnpu.criticality.refusals import BadFit, NoCrossing
from isingnpu.criticality.result import CriticalPoint
from isingnpu.criticality.reweight import STEP, weighted, weights
from isingnpu.statistics import Estimate

MAX_STEPS = 20
EXPONENTS = ("nu", "eta")


@dataclass(frozen=True, eq=False)
class Quotient:
    """Exponents of one pair of sizes; beta, ratio: where the ratio named `of` is equal.

    moved: per size (2, blocks), by how much leaving out each block moves nu and eta."""

    of: str
    sizes: tuple[int, int]
    beta: Estimate
    ratio: Estimate
    nu: Estimate
    eta: Estimate
    moved: tuple[Array, Array]


@dataclass(frozen=True)
class Exponents:
    """nu and eta for L -> infinity with the chi2 of both extrapolations."""

    nu: Estimate
    eta: Estimate
    chi2: float
    dof: int
    p: float


def quotient(
    small: Histogram, large: Histogram, *, of: str = "xi/L", beta: float | None = None
) -> Quotient:
    """nu and eta of two sizes of one family from the crossing of "xi/L" or "U4".

    beta: where the search begins, by default between the betas of the histograms. chi grows as
    size^(2 - eta): where sizes are numbers of sites, nu and eta are in those units.
    Raises ValueError for another ratio or sizes that do not increase, NoCrossing, OutOfRange
    where the samples do not reach the crossing."""
    if of not in RATIOS or not small.box.size < large.box.size:
        raise ValueError(
            f"quotients need a ratio of {RATIOS} and two increasing sizes, got {of!r} of "
            f"{small.box.size} and {large.box.size}"
        )
    start = (small.beta + large.beta) / 2 if beta is None else beta
    at = _crossing(small, large, RATIOS.index(of), start)
    a, b = (_Local.of(h, at, RATIOS.index(of)) for h in (small, large))
    log_r = math.log(large.box.size / small.box.size)
    steeper = b.full[1] - a.full[1]

    def found(x: Array, y: Array, move: Array) -> Array:
        """(4, ...) beta*, R, nu, eta from (ratio, slope, chi) of both sizes at at + move."""
        nu = log_r / np.log(y[1] / x[1])
        return np.stack([at + move, x[0], nu, 2 - np.log(y[2] / x[2]) / log_r])

    full = found(a.full, b.full, np.zeros(()))
    moved, bias, variance = [], np.zeros(4), np.zeros(4)
    for k, side in enumerate((a, b)):
        gap = (side.samples[0] - side.full[0]) * (1 if k else -1)
        move = -gap / steeper  # of the crossing, per block left out
        pair = [a.full[:, None] + a.slopes[:, None] * move,
                b.full[:, None] + b.slopes[:, None] * move]  # fmt: skip
        pair[k] = side.samples + side.slopes[:, None] * move
        left_out = found(pair[0], pair[1], move)
        n = left_out.shape[1]
        bias += (n - 1) * (left_out.mean(axis=1) - full)
        variance += (n - 1) * left_out.var(axis=1)
        moved.append(left_out[2:] - left_out[2:].mean(axis=1, keepdims=True))
    made = [
        Estimate(float(v), float(e), n_eff=len(moved[0][0]) + len(moved[1][0]))
        for v, e in zip(full - bias, np.sqrt(variance), strict=True)
    ]
    return Quotient(of, (small.box.size, large.box.size), made[0], made[1], made[2], made[3],
                    (moved[0], moved[1]))  # fmt: skip


def exponents(point: CriticalPoint) -> Exponents:
    """nu and eta from what `find_beta_c` has sampled: quotients of neighbouring sizes where xi/L
    is equal (U4 on graphs, whose sizes are numbers of sites), extrapolated with its omega.

    Raises NoCrossing, OutOfRange and BadFit."""
    of = RATIOS[int(math.isnan(point.histograms[0].box.k))]
    pairs = [
        quotient(a, b, of=of, beta=point.beta_c.value)
        for a, b in itertools.pairwise(point.histograms)
    ]
    return extrapolate(pairs, point.universality.omega)


@dataclass(frozen=True, eq=False)
class _Local:
    """(3,) ratio, its slope and chi at one beta, their derivatives, jackknife samples (3, n)."""

    full: Array
    slopes: Array
    samples: Array

    @classmethod
    def of(cls, histogram: Histogram, beta: float, ratio: int) -> _Local:
        total = histogram.sums.sum(axis=1)
        h = STEP / histogram.energy_deviation
        below, full, above = (_values(histogram, total, beta + d, ratio) for d in (-h, 0.0, h))
        rest = total[:, None] - histogram.sums
        return cls(full, (above - below) / (2 * h), _values(histogram, rest, beta, ratio))


def _values(histogram: Histogram, sums: Array, beta: float, ratio: int) -> Array:
    """(3, ...) ratio, its slope in beta and chi from sums (moments, ..., levels)."""
    w, energies, box = weights(histogram, beta), np.nan_to_num(histogram.energies), histogram.box
    total = weighted(sums, w)
    mean = total / total[0]
    slopes = [
        thermal_slope(mean[k], weighted(sums[k], w * energies) / total[0], mean[1])
        for k in (2, 3, 4)
    ]
    m2, m4, s = mean[2:5]
    value = box.ratios(total)[ratio]
    if ratio == 0:  # xi/L is the root of N m2 / s - 1 up to a factor
        slope = value * (slopes[0] - m2 * slopes[2] / s) / (2 * (m2 - s / box.sites))
    else:
        slope = binder_slope(m2, m4, slopes[0], slopes[1])
    return np.stack([value, slope, box.sites * m2])


def _crossing(small: Histogram, large: Histogram, ratio: int, beta: float) -> float:
    """Where the ratio is equal, by Newton's method; NoCrossing if it does not get there."""
    totals = [h.sums.sum(axis=1) for h in (small, large)]
    first = beta
    for _ in range(MAX_STEPS):
        a, b = (
            _values(h, total, beta, ratio) for h, total in zip((small, large), totals, strict=True)
        )
        if not b[1] > a[1]:
            break
        step = -float((b[0] - a[0]) / (b[1] - a[1]))
        beta += step
        if abs(step) * large.energy_deviation < 1e-9:
            return beta
    raise NoCrossing((small.box.size, large.box.size), min(first, beta), max(first, beta))


def extrapolate(pairs: Sequence[Quotient], omega: float) -> Exponents:
    """nu and eta for infinite size, fits of x(L) = x + c L^-omega with L the smaller size.

    pairs: in order of size; neighbours that share a size must be from the same histogram.
    Raises ValueError for fewer than two pairs, BadFit for p < 0.001."""
    if len(pairs) < 2:
        raise ValueError(f"an extrapolation needs at least 2 pairs of sizes, got {len(pairs)}")
    small = np.array([q.sizes[0] for q in pairs], dtype=float)
    design = np.stack([np.ones(len(pairs)), (small / small[0]) ** -omega], axis=1)
    chi2, made = 0.0, []
    for k, name in enumerate(EXPONENTS):
        values = np.array([getattr(q, name).value for q in pairs])
        root = np.linalg.cholesky(_covariance(pairs, k))
        x, y = np.linalg.solve(root, design), np.linalg.solve(root, values)
        inverse = np.linalg.pinv(x)
        found = inverse @ y
        chi2 += float(((y - x @ found) ** 2).sum())
        made.append(Estimate(float(found[0]), float(np.linalg.norm(inverse[0]))))
    dof = 2 * (len(pairs) - 2)
    p = float(special.gammaincc(dof / 2, chi2 / 2)) if dof else 1.0
    if p < MIN_P:
        raise BadFit(chi2, dof, p, made[0].value, made[0].error)
    return Exponents(made[0], made[1], chi2, dof, p)


def _covariance(pairs: Sequence[Quotient], k: int) -> Array:
    """(pairs, pairs) covariance of one exponent, from the blocks that pairs have in common."""
    covariance = np.zeros((len(pairs), len(pairs)))
    for i, a in enumerate(pairs):
        for j, b in enumerate(pairs):
            for size, block in zip(a.sizes, a.moved, strict=True):
                if size in b.sizes:
                    other = b.moved[b.sizes.index(size)]
                    n = block.shape[1]
                    covariance[i, j] += (n - 1) / n * float(block[k] @ other[k])
    return covariance
