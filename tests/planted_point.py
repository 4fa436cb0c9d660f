"""A CriticalPoint whose curves follow a scaling form: R = F(x), chi' = L^(2 - eta) G(x)."""

from __future__ import annotations

import math

import numpy as np

from isingnpu.criticality import CriticalPoint, Curve, Quality
from isingnpu.criticality.universal import ISING, MEAN_FIELD, CriticalRatios
from isingnpu.model import Reference
from isingnpu.statistics import Estimate

BETA_C = 0.5
POINTS = 11


def binder_form(x):
    return 0.6 + 0.1 * np.tanh(x)


def length_form(x):
    return np.exp(x)


def chi_form(x):
    return 0.1 / (1 + (4 * x + 0.5) ** 2)


def planted_point(
    sizes=(8, 16, 32), *, dimension=2, exact=None, ratios=None, error=1e-3, lattice="square"
):
    """dimension 0: a random graph without xi. The beta_c found is BETA_C, its error `error`."""
    u = ISING[dimension] if dimension else MEAN_FIELD
    curves = []
    for k, size in enumerate(sizes):
        beta = BETA_C + np.linspace(-0.01, 0.01, POINTS)
        x = (beta - BETA_C) * size ** (1 / u.nu)
        spread = (k + 1) * 1e-3 * np.ones(POINTS)
        xi = length_form(x) if dimension else np.full(POINTS, math.nan)
        curves.append(
            Curve(
                size=size,
                beta=beta,
                xi=xi,
                xi_error=spread if dimension else xi,
                binder=binder_form(x),
                binder_error=2 * spread,
                chi=size ** (2 - u.eta) * chi_form(x),
                chi_error=3 * spread,
            )
        )
    return CriticalPoint(
        lattice=lattice,
        sizes=tuple(sizes),
        beta_c=Estimate(BETA_C, error, n_eff=64.0),
        statistical=error,
        systematic=0.0,
        bound=0.3,
        universality=u,
        ratios=ratios,
        exact=exact,
        fit=Quality(1.5, 2, 0.5),
        shift=0.3,
        crossings=(),
        curves=tuple(curves),
        sampled_at=BETA_C,
        tau=tuple(Estimate(3.0, 0.1) for _ in sizes),
        sweeps=tuple(100 for _ in sizes),
        dynamics=tuple("metropolis" for _ in sizes),
        histograms=(),
        seconds=2.5,
        seed=7,
        provenance={"version": "0"},
    )


GIVEN = CriticalRatios(Reference(0.9, 0.0, "planted"), Reference(0.61, 1e-6, "planted"))
