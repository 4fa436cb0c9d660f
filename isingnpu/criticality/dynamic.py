"""Dynamic exponent z from autocorrelation times at the critical point.

    tau(L) = a L^z (1 + b L^-omega),    fitted as ln tau = ln a + z ln L + b L^-omega

z belongs to the dynamics and to the observable's slowest mode: 2.17 for single-spin flips of the
two-dimensional Ising model (Nightingale & Blote, PRL 76, 4548 (1996)), below 0.3 for clusters.
All tau must be in one unit of time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from isingnpu.criticality.refusals import BadFit
from isingnpu.statistics import Estimate

MIN_P = 1e-3


@dataclass(frozen=True)
class DynamicExponent:
    """z and the amplitude a of tau = a L^z, with the quality of the fit."""

    z: Estimate
    amplitude: Estimate
    chi2: float
    dof: int
    p: float


def dynamic_exponent(
    sizes: Sequence[float], taus: Sequence[Estimate], *, omega: float | None = None
) -> DynamicExponent:
    """Weighted fit of ln tau to one estimate of tau per size; no correction if omega is None.

    Raises ValueError for fewer sizes than parameters, for tau or errors that are not > 0, and
    BadFit for p < 0.001: small sizes need the correction, or are to be dropped."""
    least = 2 if omega is None else 3
    size = np.asarray(sizes, np.float64)
    tau = np.array([t.value for t in taus])
    error = np.array([t.error for t in taus])
    if len(size) != len(tau) or np.unique(size).size < least:
        raise ValueError(
            f"the form has {least} parameters and needs one tau for each of at least {least} "
            f"sizes, got {len(tau)} for sizes {list(sizes)}"
        )
    if not (np.isfinite(error) & (error > 0) & (tau > 0) & (size > 0)).all():
        k = int(np.argmin(np.isfinite(error) & (error > 0) & (tau > 0) & (size > 0)))
        raise ValueError(
            f"sizes, tau and errors must be > 0 and finite, got tau = {taus[k].value} with error "
            f"{taus[k].error} at size {size[k]:g}"
        )
    columns = [np.ones(len(size)), np.log(size)]
    columns += [] if omega is None else [size**-omega]
    weight = tau / error  # 1 / error of ln tau
    design, target = np.stack(columns, axis=1) * weight[:, None], np.log(tau) * weight
    inverse = np.linalg.pinv(design)
    found = inverse @ target
    errors = np.linalg.norm(inverse, axis=1)
    chi2, dof = float(((target - design @ found) ** 2).sum()), len(size) - least
    p = float(special.gammaincc(dof / 2, chi2 / 2)) if dof else 1.0
    if p < MIN_P:
        raise BadFit(chi2, dof, p, float(found[1]), float(errors[1]))
    amplitude = math.exp(float(found[0]))
    return DynamicExponent(
        z=Estimate(float(found[1]), float(errors[1])),
        amplitude=Estimate(amplitude, amplitude * float(errors[0])),
        chi2=chi2,
        dof=dof,
        p=p,
    )
