"""beta_c from the common crossing of dimensionless ratios of several sizes.

    R_q,L(beta) = R*_q + s_q,L (beta - beta_c) + a_q L^-omega

a_q and beta_c are fitted, R*_q is fitted or fixed by universality, the slopes s are measured.
`locate` uses the form at beta = beta_c (the ratios are reweighted there), so that neither its
linearity nor the errors of the slopes matter. `locate_at` uses it at one beta and is allowed to
only within REACH / L_max^(1/nu) of it, the curvature counting as an error.

Each ratio q is fitted alone; beta_c is the mean with weights 1 / variance, its error comes from
the joint covariance. (xi/L and U4 are correlated by about 0.95: least squares with that covariance
gains 5 % and, where the form is a little wrong, returns values outside both.) chi2 is that of all
ratios with one beta_c and the joint covariance.

omega is that of the universality class; small sizes follow an effective exponent that differs
from it by about 2 / L_min (square lattice, exact: 1.37 from L = 4 to 8, 1.48 from 6 to 12, omega =
7/4), and the change of beta_c over that range is the systematic error.
Ferrenberg, Xu & Landau, PRE 97, 043301 (2018); Hasenbusch, PRB 82, 174433 (2010).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from isingnpu.criticality.estimators import RATIOS, Array, Histogram
from isingnpu.criticality.refusals import BadFit, OutOfRange
from isingnpu.criticality.reweight import Ratios, ratios
from isingnpu.criticality.universal import ISING, CriticalRatios, Universality

__all__ = [
    "ISING",
    "REACH",
    "Fit",
    "Located",
    "Universality",
    "check_reach",
    "fit_crossing",
    "locate",
    "locate_at",
]

MIN_P = 1e-3  # of chi2, and of the shift of beta_c when the smallest size is dropped
MAX_STEPS = 8
CONVERGED = 1e-3  # of the standard error
REACH = 0.1  # |beta - beta_c| L_max^(1/nu) within which a ratio is linear enough
CURVATURE = 3.0  # half of R'' / R' in x, at most 1.5 (square, cubic), twice for R* that is free


@dataclass(frozen=True, eq=False)
class Fit:
    """beta_c with its statistical error, and how well the form holds.

    weights: (sizes, ratios), the change of beta_c with each measured ratio; minus their sum over
    sizes is the change with R* where that is fixed."""

    beta_c: float
    error: float
    chi2: float
    dof: int
    weights: Array

    @property
    def p(self) -> float:
        """Probability of a larger chi2 if the form holds; nan without degrees of freedom."""
        return float(special.gammaincc(self.dof / 2, self.chi2 / 2)) if self.dof else math.nan


def fit_crossing(
    beta: float,
    sizes: Sequence[int],
    measured: Sequence[Ratios],
    omega: float | None,
    fixed: CriticalRatios | None = None,
) -> Fit:
    """The fit to ratios measured at beta; no correction term if omega is None.

    fixed: R* that are not fitted. Ratios that are nan (xi on a graph) are left out.
    Raises ValueError for fewer sizes than the form has parameters for one of the ratios."""
    values, slopes, covariance = (np.stack(part) for part in zip(*measured, strict=True))
    if fixed and values.shape[1] != fixed.values.size:
        raise ValueError(f"fixed R* are for {RATIOS}, got {values.shape[1]} ratios per size")
    star = fixed.values if fixed else np.full(values.shape[1], np.nan)
    used = np.isfinite(values).all(axis=0)
    least = 1 + (omega is not None) + int(np.isnan(star[used]).any())
    if len(sizes) < least or len(sizes) != len(measured) or not used.any():
        raise ValueError(
            f"the form has {least} parameters per ratio and needs at least {least} sizes, got "
            f"{len(sizes)} sizes and {len(measured)} measurements of {used.sum()} ratios"
        )
    correction = None if omega is None else (np.asarray(sizes) / sizes[0]) ** -omega
    terms = [_terms(len(sizes), correction, free=math.isnan(r)) for r in star[used]]
    values = values[:, used] - np.nan_to_num(star[used])
    slopes, covariance = slopes[:, used], covariance[:, used][:, :, used]
    weights, precision = np.empty_like(values), np.empty(values.shape[1])
    for k in range(values.shape[1]):
        deviation = np.sqrt(covariance[:, k, k])
        design = np.column_stack([-slopes[:, k], terms[k]]) / deviation[:, None]
        response = np.linalg.pinv(design)[0]
        weights[:, k], precision[k] = response / deviation, 1 / (response @ response)
    weights *= precision / precision.sum()
    chi2, dof = _goodness(values, slopes, covariance, terms)
    variance = np.einsum("li,lij,lj->", weights, covariance, weights)
    every = np.zeros((len(sizes), used.size))
    every[:, used] = weights
    return Fit(beta + float((weights * values).sum()), math.sqrt(variance), chi2, dof, every)


def _terms(sizes: int, correction: Array | None, *, free: bool) -> Array:
    """(sizes, terms) columns of one ratio beside its slope: 1 if R* is free, L^-omega."""
    columns = [np.ones(sizes)] if free else []
    columns += [] if correction is None else [correction]
    return np.stack(columns, axis=1) if columns else np.empty((sizes, 0))


def _goodness(
    values: Array, slopes: Array, covariance: Array, terms: Sequence[Array]
) -> tuple[float, int]:
    """chi2 and dof of one beta_c for all ratios; (sizes, k), covariance (sizes, k, k)."""
    n, k = values.shape
    count = [part.shape[1] for part in terms]
    design = np.zeros((n, k, 1 + sum(count)))
    design[:, :, 0] = -slopes
    for q, first in enumerate(np.cumsum([1, *count[:-1]])):
        design[:, q, first : first + count[q]] = terms[q]
    roots = np.linalg.cholesky(covariance)
    x = np.linalg.solve(roots, design).reshape(n * k, -1)
    y = np.linalg.solve(roots, values[:, :, None]).reshape(n * k)
    rest = y - x @ (np.linalg.pinv(x) @ y)
    return float(rest @ rest), x.shape[0] - x.shape[1]


@dataclass(frozen=True, eq=False)
class Located:
    """beta_c: the accepted fit and its systematic error, the sum in quadrature of what omega, the
    errors of fixed R* and the curvature contribute.

    shift: change of beta_c when the smallest size is dropped, in standard errors of that change
    (systematic error included); nan where too few sizes are left."""

    fit: Fit
    systematic: float
    shift: float = math.nan

    @property
    def error(self) -> float:
        """Statistical and systematic standard errors in quadrature."""
        return math.hypot(self.fit.error, self.systematic)


def locate(
    histograms: Sequence[Histogram],
    beta: float,
    universality: Universality,
    fixed: CriticalRatios | None = None,
) -> Located:
    """The fit at its own beta_c, reached from beta, with both errors.

    Raises OutOfRange when the samples do not reach beta_c, BadFit when p < 0.001 of chi2
    or of the change of beta_c without the smallest size."""
    sizes = [h.box.size for h in histograms]
    for _ in range(MAX_STEPS):
        measured = [ratios(h, beta) for h in histograms]
        fit = fit_crossing(beta, sizes, measured, universality.omega, fixed)
        converged = abs(fit.beta_c - beta) < CONVERGED * fit.error
        if converged:
            break
        beta = fit.beta_c
    if not converged and not fit.p < MIN_P:
        largest = histograms[-1]
        n = float(largest.sums[0].sum())
        raise OutOfRange(sizes[-1], largest.beta, beta, math.nan, n)
    return _accepted(beta, sizes, measured, fit, universality, fixed)


def locate_at(
    beta: float,
    sizes: Sequence[int],
    measured: Sequence[Ratios],
    universality: Universality,
    fixed: CriticalRatios | None = None,
) -> Located:
    """The fit to ratios measured at one beta, without reweighting.

    A ratio is a function of x = (beta - beta_c) L^(1/nu); what it bends within x moves beta_c by
    CURVATURE x^2 / L^(1/nu) at most, which is part of the systematic error.
    Raises as `locate`, and OutOfRange as `check_reach`."""
    fit = fit_crossing(beta, sizes, measured, universality.omega, fixed)
    check_reach(beta, fit, max(sizes), universality)
    curvature = CURVATURE * (beta - fit.beta_c) ** 2 * max(sizes) ** (1 / universality.nu)
    return _accepted(beta, sizes, measured, fit, universality, fixed, curvature)


def check_reach(beta: float, fit: Fit, size: int, universality: Universality) -> None:
    """Raise OutOfRange if |beta - beta_c| L^(1/nu) > REACH for the largest size.

    Around a beta farther away the linear form is wrong, and its error says nothing of it."""
    if not abs(beta - fit.beta_c) * size ** (1 / universality.nu) <= REACH:
        raise OutOfRange(size, beta, fit.beta_c, math.nan, math.nan)


def _accepted(
    beta: float,
    sizes: Sequence[int],
    measured: Sequence[Ratios],
    fit: Fit,
    universality: Universality,
    fixed: CriticalRatios | None,
    curvature: float = 0.0,
) -> Located:
    """The fit with its systematic errors, or BadFit."""
    if fit.p < MIN_P:
        raise BadFit(fit.chi2, fit.dof, fit.p, fit.beta_c, fit.error)
    omegas = max(
        abs(fit_crossing(beta, sizes, measured, omega, fixed).beta_c - fit.beta_c)
        for omega in universality.omega_range(sizes[0])
    )
    # the errors of xi/L* and U4* may be correlated: they add up
    stars = float(np.abs(fit.weights.sum(axis=0)) @ fixed.errors) if fixed else 0.0
    systematic = math.hypot(omegas, stars, curvature)
    shift = _shift(beta, sizes, measured, fit, universality, fixed, systematic)
    p = math.erfc(abs(shift) / math.sqrt(2))
    if p < MIN_P:
        raise BadFit(shift**2, 1, p, fit.beta_c, fit.error)
    return Located(fit, systematic, shift)


def _shift(
    beta: float,
    sizes: Sequence[int],
    measured: Sequence[Ratios],
    fit: Fit,
    universality: Universality,
    fixed: CriticalRatios | None,
    systematic: float,
) -> float:
    """Change of beta_c without the smallest size, in standard errors; nan if it cannot be."""
    try:
        rest = fit_crossing(beta, sizes[1:], measured[1:], universality.omega, fixed)
    except ValueError:
        return math.nan
    change = np.concatenate([np.zeros_like(fit.weights[:1]), rest.weights]) - fit.weights
    covariance = np.stack([point.covariance for point in measured])
    used = np.isfinite(covariance)
    variance = np.einsum("li,lij,lj->", change, np.where(used, covariance, 0.0), change)
    return (rest.beta_c - fit.beta_c) / math.hypot(math.sqrt(variance), systematic)
