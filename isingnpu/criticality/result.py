"""The result of `find_beta_c`: beta_c with its errors, the fit, and what plots need."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from isingnpu.criticality.estimators import RATIOS, Array, Histogram
from isingnpu.criticality.refusals import OutOfRange
from isingnpu.criticality.reweight import observable_names, observable_samples, ratios
from isingnpu.criticality.universal import CriticalRatios, Universality
from isingnpu.model import Reference
from isingnpu.statistics import Estimate

CURVE_POINTS = 31
CURVE_REACH = 1.5
CROSSING_STEPS = 4


@dataclass(frozen=True)
class Quality:
    """chi2 of a fit with dof degrees of freedom; p = probability of a larger one."""

    chi2: float
    dof: int
    p: float


@dataclass(frozen=True)
class Crossing:
    """Where one ratio ("xi/L" or "U4") of two sizes is equal; statistical error only."""

    ratio: str
    sizes: tuple[int, int]
    beta: Estimate


@dataclass(frozen=True, eq=False)
class Curve:
    """Reweighted ratios of one size over beta, and chi' = N (<m^2> - <|m|>^2); all arrays
    (points,). xi is nan on a graph without positions."""

    size: int
    beta: Array
    xi: Array
    xi_error: Array
    binder: Array
    binder_error: Array
    chi: Array
    chi_error: Array

    def to_json(self) -> dict[str, Any]:
        """Arrays as lists, null for what is not finite."""
        names = tuple(field.name for field in fields(self) if field.name != "size")
        made: dict[str, Any] = {"size": self.size}
        for name in names:
            made[name] = [x if math.isfinite(x) else None for x in getattr(self, name).tolist()]
        return made


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """beta_c of a lattice or of a family of graphs.

    beta_c: error = statistical and systematic in quadrature, n_eff = number of independent
    blocks; bound: the Bethe value, below beta_c; exact: what is known of it, and sigmas the
    distance from it. universality: exponents of the fit; ratios: R* that were given, None if
    fitted. shift: how far beta_c moves when the smallest size is dropped, in standard errors of
    that change, None where too few sizes are left. sampled_at: beta of production. tau (sweeps),
    sweeps (per chain, after burn-in), dynamics, histograms (what was sampled, in independent
    blocks): one per size; sweeps given to `find_beta_c` reproduces the result. seconds: wall time
    used.
    """

    lattice: str
    sizes: tuple[int, ...]
    beta_c: Estimate
    statistical: float
    systematic: float
    bound: float
    universality: Universality
    ratios: CriticalRatios | None
    exact: Reference | None
    fit: Quality
    shift: float | None
    crossings: tuple[Crossing, ...]
    curves: tuple[Curve, ...]
    sampled_at: float
    tau: tuple[Estimate, ...]
    sweeps: tuple[int, ...]
    dynamics: tuple[str, ...]
    histograms: tuple[Histogram, ...]
    seconds: float
    seed: int
    provenance: dict[str, Any]

    @property
    def sigmas(self) -> float | None:
        """(beta_c - exact) in standard errors, None where nothing is known."""
        if self.exact is None:
            return None
        return self.beta_c.sigmas(self.exact.value, self.exact.error)

    def __str__(self) -> str:
        known = "" if self.sigmas is None else f", {self.sigmas:+.1f} sigma from the known value"
        return f"beta_c = {self.beta_c}{known} ({self.lattice}, p = {self.fit.p:.2g})"

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries."""
        exact = None if self.exact is None else asdict(self.exact)
        return {
            "lattice": self.lattice,
            "sizes": list(self.sizes),
            "beta_c": self.beta_c.to_json(),
            "bound": self.bound,
            "universality": asdict(self.universality),
            "ratios": None if self.ratios is None else asdict(self.ratios),
            "exact": exact,
            "sigmas": self.sigmas,
            "fit": {"chi2": self.fit.chi2, "dof": self.fit.dof, "p": self.fit.p},
            "shift": self.shift,
            "statistical": self.statistical,
            "systematic": self.systematic,
            "crossings": [
                {"ratio": c.ratio, "sizes": list(c.sizes), "beta": c.beta.to_json()}
                for c in self.crossings
            ],
            "curves": [curve.to_json() for curve in self.curves],
            "sampled_at": self.sampled_at,
            "tau": [tau.to_json() for tau in self.tau],
            "sweeps": list(self.sweeps),
            "dynamics": list(self.dynamics),
            "seconds": self.seconds,
            "seed": self.seed,
            "provenance": self.provenance,
        }


def curves(histograms: Sequence[Histogram]) -> tuple[Curve, ...]:
    """Ratios of every size as far around the sampled beta as its samples reach: 1.5 inverse
    standard deviations of its energy, nan where less than a tenth of them is effective."""
    made = []
    for histogram in histograms:
        reach = CURVE_REACH / histogram.energy_deviation
        grid = histogram.beta + reach * np.linspace(-1, 1, CURVE_POINTS)
        rows = [observable_names(histogram).index(name) for name in (*RATIOS, "chi'")]
        values, errors = np.full((2, len(rows), CURVE_POINTS), np.nan)
        for i, beta in enumerate(grid):
            try:
                at, samples = observable_samples(histogram, float(beta))
            except OutOfRange:
                continue
            values[:, i] = at[rows]
            errors[:, i] = samples[rows].std(axis=1) * math.sqrt(samples.shape[1] - 1)
        pairs = [x for pair in zip(values, errors, strict=True) for x in pair]
        made.append(Curve(histogram.box.size, grid, *pairs))
    return tuple(made)


def crossings(histograms: Sequence[Histogram], beta: float) -> tuple[Crossing, ...]:
    """Of neighbouring sizes, by Newton's method from beta; those out of reach are left out."""
    made = []
    for small, large in itertools.pairwise(histograms):
        for k, name in enumerate(RATIOS):
            if k == 0 and math.isnan(small.box.k):
                continue
            try:
                at = _crossing(small, large, k, beta)
            except OutOfRange:
                continue
            made.append(Crossing(name, (small.box.size, large.box.size), at))
    return tuple(made)


def _crossing(small: Histogram, large: Histogram, k: int, beta: float) -> Estimate:
    for _ in range(CROSSING_STEPS):
        a, b = ratios(small, beta), ratios(large, beta)
        slope = b.slopes[k] - a.slopes[k]
        beta -= float((b.values[k] - a.values[k]) / slope)
    error = math.sqrt(a.covariance[k, k] + b.covariance[k, k]) / abs(slope)
    return Estimate(beta, error, n_eff=small.sums.shape[1])
