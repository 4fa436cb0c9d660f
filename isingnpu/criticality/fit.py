"""beta_c from the common crossing of dimensionless ratios of several sizes.

    R_q,L(beta) = R*_q + s_q,L (beta - beta_c) + a_q L^-omega

R*_q, a_q and beta_c are fitted, the slopes s are measured. The form is used at beta = beta_c (the
ratios are reweighted there), so that neither its linearity nor the errors of the slopes matter.

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

from isingnpu.criticality.estimators import Array, Histogram
from isingnpu.criticality.refusals import BadFit, OutOfRange
from isingnpu.criticality.reweight import Ratios, ratios

MIN_P = 1e-3
MAX_STEPS = 8
CONVERGED = 1e-3  # of the standard error


@dataclass(frozen=True)
class Universality:
    """Exponents of the short-range Ising ferromagnets of one dimension: nu of the correlation
    length, omega of the leading correction to scaling."""

    nu: float
    omega: float

    def omega_range(self, smallest: int) -> tuple[float, float]:
        """Effective correction exponents to allow for when the smallest size is this."""
        return self.omega - 2 / smallest, self.omega + 2 / smallest


# 2D: exact; L^-7/4 is the regular part of the susceptibility.
# 3D: Kos et al., arXiv:1603.04436 (nu); Hasenbusch, arXiv:1004.4486 (omega = 0.832(6)).
ISING = {2: Universality(1.0, 1.75), 3: Universality(0.629971, 0.832)}


@dataclass(frozen=True, eq=False)
class Fit:
    """beta_c with its statistical error, and how well the form holds.

    weights: (sizes, ratios), the change of beta_c with each measured ratio."""

    beta_c: float
    error: float
    chi2: float
    dof: int
    weights: Array

    @property
    def p(self) -> float:
        """Probability of a larger chi2 if the form holds; 1 without degrees of freedom."""
        return float(special.gammaincc(self.dof / 2, self.chi2 / 2)) if self.dof else 1.0


def fit_crossing(
    beta: float, sizes: Sequence[int], measured: Sequence[Ratios], omega: float | None
) -> Fit:
    """The fit to ratios measured at beta; no correction term if omega is None.

    Raises ValueError for fewer sizes than the form has parameters per ratio."""
    least = 2 if omega is None else 3
    if len(sizes) < least or len(sizes) != len(measured):
        raise ValueError(
            f"the form has {least} parameters per ratio and needs at least {least} sizes, got "
            f"{len(sizes)} sizes and {len(measured)} measurements"
        )
    values, slopes, covariance = (np.stack(part) for part in zip(*measured, strict=True))
    terms = np.ones((len(sizes), least - 1))  # (sizes, terms): 1 and (L / L_min)^-omega
    if omega is not None:
        terms[:, 1] = (np.asarray(sizes) / sizes[0]) ** -omega
    weights, precision = np.empty_like(values), np.empty(values.shape[1])
    for k in range(values.shape[1]):
        deviation = np.sqrt(covariance[:, k, k])
        design = np.column_stack([-slopes[:, k], terms]) / deviation[:, None]
        response = np.linalg.pinv(design)[0]
        weights[:, k], precision[k] = response / deviation, 1 / (response @ response)
    weights *= precision / precision.sum()
    chi2, dof = _goodness(values, slopes, covariance, terms)
    variance = np.einsum("li,lij,lj->", weights, covariance, weights)
    return Fit(beta + float((weights * values).sum()), math.sqrt(variance), chi2, dof, weights)


def _goodness(values: Array, slopes: Array, covariance: Array, terms: Array) -> tuple[float, int]:
    """chi2 and dof of one beta_c for all ratios; (sizes, k), covariance (sizes, k, k)."""
    n, k = values.shape
    design = [
        np.concatenate([-slopes[i][:, None], np.kron(terms[i], np.eye(k))], axis=1)
        for i in range(n)
    ]  # each (k, 1 + terms * k)
    roots = np.linalg.cholesky(covariance)
    x = np.linalg.solve(roots, np.stack(design)).reshape(n * k, -1)
    y = np.linalg.solve(roots, values[:, :, None]).reshape(n * k)
    rest = y - x @ (np.linalg.pinv(x) @ y)
    return float(rest @ rest), x.shape[0] - x.shape[1]


@dataclass(frozen=True, eq=False)
class Located:
    """beta_c: the accepted fit and the systematic error of its correction term."""

    fit: Fit
    systematic: float

    @property
    def error(self) -> float:
        """Statistical and systematic standard errors in quadrature."""
        return math.hypot(self.fit.error, self.systematic)


def locate(histograms: Sequence[Histogram], beta: float, universality: Universality) -> Located:
    """The fit at its own beta_c, reached from beta, with both errors.

    Raises OutOfRange when the samples do not reach beta_c, BadFit when p < 0.001."""
    sizes = [h.box.size for h in histograms]
    for _ in range(MAX_STEPS):
        measured = [ratios(h, beta) for h in histograms]
        fit = fit_crossing(beta, sizes, measured, universality.omega)
        converged = abs(fit.beta_c - beta) < CONVERGED * fit.error
        if converged:
            break
        beta = fit.beta_c
    if fit.p < MIN_P:
        raise BadFit(fit.chi2, fit.dof, fit.p, fit.beta_c, fit.error)
    if not converged:
        largest = histograms[-1]
        n = float(largest.sums[0].sum())
        raise OutOfRange(sizes[-1], largest.beta, beta, math.nan, n)
    shifts = [
        fit_crossing(beta, sizes, measured, omega).beta_c - fit.beta_c
        for omega in universality.omega_range(sizes[0])
    ]
    return Located(fit, max(map(abs, shifts)))
