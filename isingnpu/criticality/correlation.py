"""Exponential correlation length from the correlations of planes.

    C(r) = 1 / N sum_x <S(x) S(x + r)>,   S(x) = sum of the spins of layer x of one axis
    C(r) -> A (exp(-r / xi) + exp(-(L - r) / xi))        disordered phase, box of L layers

Layers have no transverse momentum, so that C decays without a power of r, and sum_r C(r) is
chi = N <m^2>. The effective length at r is the xi for which C(r) / C(r + 1) has that form; it is
constant down to where heavier states matter. Their mass is at least three times as large; on the
square lattice they make it 0.05 % too small at r = xi / 2 and 0.005 % at r = xi.
xi is fitted with the covariance of all points, which is estimated from independent blocks: the
chi2 of such a fit follows Hotelling's T^2 distribution, and the error of xi is larger than the
formula of least squares says by sqrt(n (n - 1) / ((n - dof) (n - dof - 1))), n = blocks - 1 (Rao,
Biometrika 54, 259 (1967)).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from isingnpu import rng
from isingnpu.annealing import resume, sample
from isingnpu.criticality.estimators import Array
from isingnpu.criticality.refusals import BadFit
from isingnpu.geometry import Geometry
from isingnpu.model import IsingModel
from isingnpu.statistics import Estimate, Refusal

MIN_P = 1e-3
MAX_POINTS = 16
SPAN = 3.0  # of the fit in units of xi, beyond its first point
BLOCKS_PER_POINT = 4


class NoDecay(Refusal):
    """Correlations do not fall off in a way that defines a length. r: where, C(r), C(r + 1)."""

    def __init__(self, r: int, here: float, there: float) -> None:
        super().__init__(r, here, there)
        self.r, self.here, self.there = r, here, there

    def __str__(self) -> str:
        return (
            f"C({self.r}) = {self.here:.4g}, C({self.r + 1}) = {self.there:.4g}: no exponential "
            "decay there; sample more, take a larger box, or a smaller beta (in the ordered phase "
            "C has a constant part)"
        )


@dataclass(frozen=True, eq=False)
class ExponentialLength:
    """xi with its error in lattice constants, and the fit behind it.

    amplitude: A; distances: (points,) fitted r in layers; chi2, dof and p, which knows that the
    covariance was estimated; effective: (L // 2,) effective length at r = 0, 1, ..., nan where
    there is none."""

    xi: Estimate
    amplitude: float
    distances: tuple[int, ...]
    chi2: float
    dof: int
    p: float
    effective: Array


def plane_correlations(spins: Array, geometry: Geometry, axes: Sequence[int] = (0,)) -> Array:
    """C(r) of each state, (states, L // 2 + 1), r in layers; mean over `axes` of equal extent.

    spins: (states, sites). C(r) and C(L - r) are equal. Raises ValueError for axes that are not
    periodic or of different extents."""
    extents = {geometry.shape[a] for a in axes}
    if len(extents) != 1 or any(geometry.boundary[a] != "periodic" for a in axes):
        raise ValueError(
            f"layers are counted along periodic axes of one extent, got axes {tuple(axes)} of a "
            f"box {geometry.shape} with boundary {geometry.boundary}"
        )
    cells = np.asarray(spins, np.float64).reshape(len(spins), *geometry.shape, -1).sum(axis=-1)
    d, total = len(geometry.shape), 0.0
    for axis in axes:
        others = tuple(1 + a for a in range(d) if a != axis)
        layers = cells.sum(axis=others)  # (states, L)
        power = np.abs(np.fft.rfft(layers, axis=1)) ** 2
        # irfft has 1 / L, so that its mean over x is sum_x S(x) S(x + r) / N after this
        total = total + np.fft.irfft(power, layers.shape[1], axis=1) / spins.shape[1]
    (length,) = extents
    return np.asarray(total)[:, : length // 2 + 1] / len(axes)


def layer_distance(geometry: Geometry, axis: int = 0) -> float:
    """Distance of neighbouring layers of one axis in lattice constants, 1 / |b| of its reciprocal
    vector: 1 on a square lattice, sin 60 degrees on a triangular one."""
    if geometry.vectors is None:
        raise ValueError(f"{geometry.family} has no layers: it is a graph, not a lattice")
    return float(1 / np.linalg.norm(np.linalg.inv(geometry.vectors)[:, axis]))


def sampled_correlations(
    model: IsingModel,
    beta: float,
    *,
    samples: int,
    every: int,
    burn_in: int,
    replicas: int = 256,
    axes: Sequence[int] = (0,),
    dynamics: str = "metropolis",
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    backend: str = "auto",
    threads: int | None = None,
) -> Array:
    """Mean C(r) of each replica, (replicas, L // 2 + 1): independent blocks.

    samples states are taken `every` sweeps after `burn_in` sweeps; tau / 2 is a good stride.
    Raises ValueError for a model without geometry and as `plane_correlations`."""
    geometry = model.geometry
    if geometry is None:
        raise ValueError("layers need a lattice, this model has no geometry")
    run = sample(model, beta, burn_in=burn_in, sweeps=every, every=every, replicas=replicas,
                 dynamics=dynamics, observe="energy", seed=rng.as_seed(seed), backend=backend,
                 threads=threads)  # fmt: skip
    total = plane_correlations(run.spins, geometry, axes)
    for _ in range(samples - 1):
        run = resume(run, sweeps=every)
        total += plane_correlations(run.spins, geometry, axes)
    return np.asarray(total / samples)


def effective_length(correlations: Array, period: int) -> Array:
    """(points - 1,) xi for which C(r) / C(r + 1) is that of cosh((L/2 - r) / xi); L is the
    period in layers, xi nan where C does not fall or is not positive."""
    found = np.full(len(correlations) - 1, np.nan)
    for r, (here, there) in enumerate(itertools.pairwise(correlations)):
        if not here > there > 0:
            continue
        ratio = math.log(here / there)
        far, near = period / 2 - r, period / 2 - r - 1
        excess = _Excess(far, near, ratio)
        top = 1.0
        while excess(top) < 0:
            top *= 2
        found[r] = 1 / optimize.brentq(excess, 1e-12, top, xtol=1e-15, rtol=1e-14)
    return found


@dataclass(frozen=True)
class _Excess:
    """ln cosh(m far) - ln cosh(m near) - ratio, growing with the mass m."""

    far: float
    near: float
    ratio: float

    def __call__(self, mass: float) -> float:
        a, b = (np.logaddexp(mass * x, -mass * x) for x in (self.far, self.near))
        return float(a - b) - self.ratio


def exponential_length(
    blocks: Array, period: int, *, distance: float = 1.0, first: int | None = None
) -> ExponentialLength:
    """Fit of xi to independent blocks (blocks, L // 2 + 1) of C(r), L = period.

    distance: of layers, `layer_distance`. first: smallest r of the fit, by default xi / 2. Up
    to MAX_POINTS distances over SPAN xi.
    Raises ValueError for other shapes or less than BLOCKS_PER_POINT blocks per point, NoDecay,
    and BadFit for p < 0.001: then take a larger `first`."""
    blocks = np.asarray(blocks, np.float64)
    if blocks.ndim != 2 or blocks.shape[1] != period // 2 + 1:
        raise ValueError(f"blocks must be (blocks, {period // 2 + 1}), got {blocks.shape}")
    mean = blocks.mean(axis=0)
    effective = effective_length(mean, period)
    r = _distances(mean, effective, first, min(MAX_POINTS, len(blocks) // BLOCKS_PER_POINT))
    n = len(blocks) - 1
    covariance = np.cov(blocks[:, r].T) / len(blocks)
    root = np.linalg.cholesky(covariance)

    def residuals(x: Array) -> Array:
        return np.asarray(np.linalg.solve(root, np.exp(x[0]) * _decay(r, x[1], period) - mean[r]))

    mass = 1 / float(effective[r[0]])
    start = np.array([math.log(mean[r[0]] / _decay(r[:1], mass, period)[0]), mass])
    fit = optimize.least_squares(residuals, start, x_scale=[0.01, 0.01 * mass], xtol=1e-12)
    chi2, dof = 2 * float(fit.cost), len(r) - 2
    p = float(special.fdtrc(dof, n - dof + 1, chi2 * (n - dof + 1) / (dof * n)))
    spread = np.linalg.inv(fit.jac.T @ fit.jac)[1, 1] * n * (n - 1) / ((n - dof) * (n - dof - 1))
    xi = 1 / float(fit.x[1])
    error = xi**2 * math.sqrt(spread)
    if p < MIN_P:
        raise BadFit(chi2, dof, p, xi * distance, error * distance)
    return ExponentialLength(
        xi=Estimate(xi * distance, error * distance, n_eff=len(blocks)),
        amplitude=math.exp(float(fit.x[0])),
        distances=tuple(int(x) for x in r),
        chi2=chi2,
        dof=dof,
        p=p,
        effective=effective * distance,
    )


def _decay(r: Array, mass: float, period: int) -> Array:
    return np.asarray(np.exp(-mass * r) + np.exp(-mass * (period - r)))


def _distances(mean: Array, effective: Array, first: int | None, points: int) -> Array:
    """Whole distances r of the fit; NoDecay where C does not fall."""
    if points < 4:
        raise ValueError(
            f"a fit with its covariance needs at least {4 * BLOCKS_PER_POINT} blocks, got fewer"
        )
    start = first
    if start is None:
        start = 1
        while start < len(effective) - 4 and effective[start] > 2 * start:
            start += 1
    if not 0 <= start < len(effective) - 3:
        raise ValueError(f"first must leave four distances below {len(mean)}, got {start}")
    if not np.isfinite(effective[start]):
        raise NoDecay(start, float(mean[start]), float(mean[start + 1]))
    last = min(len(mean) - 1, start + max(3, math.ceil(SPAN * effective[start])))
    step = max(1, -(-(last - start) // (points - 1)))
    return np.arange(start, last + 1, step)
