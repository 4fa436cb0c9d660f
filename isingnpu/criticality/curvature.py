"""How far beta_c lies above the mean-field value 1 / lambda_max, and an exponential law for it.

    f = beta_c lambda_max(J) >= 1,    proposed:  beta_c = exp(C delta r_eff) / lambda_max

delta and r_eff describe the graph's negative curvature and its effective radius; C has no value
in theory. Here C is fitted to measured f and reported with its error and with chi^2, so that the
law can fail. It does where f is known: on a q-regular graph without short loops, the limit of
{p,q} for p -> infinity, f = q atanh(1 / (q - 1)), which falls to 1 with q and does not grow with
the radius.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from isingnpu.exact import critical_beta_bethe
from isingnpu.statistics import Estimate


def bethe_ratio(q: int) -> float:
    """beta_c lambda_max = q atanh(1 / (q - 1)) of random q-regular graphs, lambda_max = q (Perron
    vector; the spectral radius of the infinite tree is 2 sqrt(q - 1)). inf for q <= 2."""
    return q * critical_beta_bethe(q)


def exponential_ratio(C: float, delta: float, r_eff: float) -> float:
    """exp(C delta r_eff), the proposed beta_c lambda_max; C from `fit_exponential_ratio`."""
    return math.exp(C * delta * r_eff)


@dataclass(frozen=True)
class CurvatureFit:
    """C of ln(beta_c lambda_max) = C delta r_eff, and whether the law holds.

    p: probability of a chi2 at least as large if it does; nan for dof = 0, where any law fits."""

    C: Estimate
    chi2: float
    dof: int
    p: float

    def __str__(self) -> str:
        return f"C = {self.C}, chi2 = {self.chi2:.3g} for {self.dof} dof, p = {self.p:.2g}"


def fit_exponential_ratio(
    beta_c: Sequence[Estimate], lambda_max: ArrayLike, delta_r_eff: ArrayLike
) -> CurvatureFit:
    """Weighted least squares of ln(beta_c lambda_max) = C x through the origin, x = delta r_eff.

    beta_c: measured, with errors; lambda_max, delta_r_eff: one number per graph. The error of C is
    from those of beta_c alone and is not enlarged when chi2 is bad: then C means nothing. Raises
    ValueError for different lengths, values that are not positive, or an error of 0."""
    value = np.array([x.value for x in beta_c])
    error = np.array([x.error for x in beta_c])
    top, x = np.asarray(lambda_max, np.float64), np.asarray(delta_r_eff, np.float64)
    if not value.shape == top.shape == x.shape or not value.size:
        raise ValueError(
            f"need as many beta_c as lambda_max and delta_r_eff, got {value.shape}, {top.shape} "
            f"and {x.shape}"
        )
    if not (np.all(value > 0) and np.all(error > 0) and np.all(top > 0) and np.all(x > 0)):
        raise ValueError("beta_c, its errors, lambda_max and delta_r_eff must all be positive")
    y, weight = np.log(value * top), (value / error) ** 2
    norm = float(weight @ x**2)
    c = float(weight @ (x * y)) / norm
    chi2 = float(weight @ (y - c * x) ** 2)
    dof = len(y) - 1
    p = float(stats.chi2.sf(chi2, dof)) if dof else math.nan
    return CurvatureFit(Estimate(c, norm**-0.5, n_eff=len(y)), chi2, dof, p)
