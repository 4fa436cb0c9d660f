"""Data collapse: beta_c and exponents for which all sizes lie on one curve.

    y L^-kappa = F(x),   x = (beta - beta_c) L^(1/nu)

kappa is 0 for xi/L and U4, 2 - eta for chi, -(beta exponent) / nu for <|m|>. Two measures of it:

`collapse_quality`: S of Houdayer & Hartmann, PRB 70, 014418 (2004), eq. 8: the mean squared
distance of each point from the straight line through its neighbours of other sizes, in units of
the errors; about 1 for a collapse. F is assumed to be straight between neighbours.
`collapse`: F is a Gaussian process (Harada, PRE 84, 056704 (2011)) with covariance
a^2 exp(-(x - x')^2 / (2 l^2)); the parameters and a, l maximise their posterior with a wide
prior for ln a and ln l. With a correction to scaling, y L^-kappa = F(x) + L^-omega G(x), G a
second process (Harada, PRE 92, 012106 (2015)). Errors are those of the posterior's curvature.
Points must have independent errors: take few betas per size, or runs of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize, special

from isingnpu.criticality.estimators import Array
from isingnpu.criticality.refusals import BadFit
from isingnpu.statistics import Estimate

MIN_P = 1e-3
MIN_DOF = 0.25  # per point
PARAMETERS = ("beta_c", "nu", "kappa")
WIDTH = 3.0  # of the normal prior of ln(amplitude) and ln(length): a factor of 20 either way
JITTER = 1e-9  # of the variance, so that matrices of neighbouring points stay regular
STEP = 1e-3  # of a second derivative, in units of the scale of the parameter


@dataclass(frozen=True, eq=False)
class Points:
    """Measured values with standard errors, all arrays (points,), in any order."""

    size: Array
    beta: Array
    value: Array
    error: Array

    @classmethod
    def of(cls, size: ArrayLike, beta: ArrayLike, value: ArrayLike, error: ArrayLike) -> Points:
        """Checked copies; raises ValueError for different lengths, fewer than two sizes, errors
        that are not > 0, or what is not finite."""
        columns = [np.array(x, dtype=np.float64).ravel() for x in (size, beta, value, error)]
        if len({len(x) for x in columns}) > 1 or not all(np.isfinite(x).all() for x in columns):
            raise ValueError(
                "size, beta, value and error must be finite and of one length, got lengths "
                f"{[len(x) for x in columns]}"
            )
        if np.unique(columns[0]).size < 2 or columns[3].min() <= 0:
            raise ValueError(
                f"a collapse needs two sizes and errors > 0, got sizes {np.unique(columns[0])} "
                f"and a smallest error {columns[3].min() if columns[3].size else math.nan}"
            )
        return cls(*columns)

    def scaled(self, beta_c: float, nu: float, kappa: float) -> tuple[Array, Array, Array]:
        """x, y and its error, with sizes in units of their geometric mean over points."""
        log = np.log(self.size)
        relative = np.exp(log - log.mean())
        factor = relative**-kappa
        x = (self.beta - beta_c) * relative ** (1 / nu)
        return x, self.value * factor, self.error * factor


@dataclass(frozen=True)
class Collapse:
    """Parameters that collapse the data; fixed ones have error 0.

    chi2, dof, p: of the points around the curve; dof = points - effective parameters of the curve
    - free parameters. length: of the Gaussian process, in x."""

    beta_c: Estimate
    nu: Estimate
    kappa: Estimate
    chi2: float
    dof: float
    p: float
    length: float


def collapse_quality(points: Points, beta_c: float, nu: float, kappa: float = 0.0) -> float:
    """S of Houdayer & Hartmann for one set of parameters; inf if no point lies between others."""
    x, y, dy = points.scaled(beta_c, nu, kappa)
    w = dy**-2.0
    sums = np.zeros((5, len(x)))
    for size in np.unique(points.size):
        own = points.size == size
        order = np.flatnonzero(own)[np.argsort(x[own])]
        at = np.searchsorted(x[order], x)
        inside = ~own & (at > 0) & (at < len(order))
        for j in (order[at[inside] - 1], order[at[inside]]):
            terms = np.stack([w[j], w[j] * x[j], w[j] * y[j], w[j] * x[j] ** 2,
                              w[j] * x[j] * y[j]])  # fmt: skip
            sums[:, inside] += terms
    k, kx, ky, kxx, kxy = sums
    delta = k * kxx - kx**2
    known = delta > 0
    if not known.any():
        return math.inf
    k, kx, ky, kxx, kxy, delta = (v[known] for v in (k, kx, ky, kxx, kxy, delta))
    x, y, dy = x[known], y[known], dy[known]
    line = ((kxx * ky - kx * kxy) + x * (k * kxy - kx * ky)) / delta
    variance = (kxx - 2 * x * kx + x**2 * k) / delta
    return float(((y - line) ** 2 / (dy**2 + variance)).mean())


def collapse_by_quality(
    points: Points,
    *,
    beta_c: float,
    nu: float,
    kappa: float = 0.0,
    free: Sequence[str] = PARAMETERS,
) -> tuple[dict[str, Estimate], float]:
    """Parameters that minimise S from a start, and the S that they reach.

    free: which of beta_c, nu, kappa are varied. The error of a parameter is half the width of the
    range in which S <= S_min + 1 with the others fitted anew, Houdayer & Hartmann's rule: a bound
    for what the data allow, larger than a standard error of many points."""
    start = _start(points, beta_c, nu, kappa, free)
    best, least = _minimise(points, start, free)
    errors = dict.fromkeys(PARAMETERS, 0.0)
    for name in free:
        low, high = (_crosses(points, best, least + 1, name, free, side) for side in (-1, 1))
        errors[name] = (high - low) / 2
    return {name: Estimate(best[name], errors[name]) for name in PARAMETERS}, least


def _minimise(
    points: Points, start: dict[str, float], free: Sequence[str]
) -> tuple[dict[str, float], float]:
    """Parameters of the least S and that S, by two runs of the simplex method."""
    scales, best = _scales(points), start
    if not free:
        return start, collapse_quality(points, **start)

    def quality(t: Array) -> float:
        at = _moved(best, free, t, scales)
        return collapse_quality(points, **at) if at["nu"] > 0.05 else math.inf

    for _ in range(2):
        found = optimize.minimize(
            quality, np.zeros(len(free)), method="Nelder-Mead",
            options={"xatol": 1e-4, "fatol": 1e-6, "maxfev": 400 * len(free)},
        )  # fmt: skip
        best = _moved(best, free, found.x, scales)
    return best, float(found.fun)


def _moved(
    at: dict[str, float], free: Sequence[str], t: Array, scales: dict[str, float]
) -> dict[str, float]:
    return at | {n: at[n] + float(x) * scales[n] for n, x in zip(free, t, strict=True)}


def _crosses(
    points: Points,
    best: dict[str, float],
    level: float,
    name: str,
    free: Sequence[str],
    side: int,
) -> float:
    """Value of a parameter on one side of the best where S, with the others fitted, is `level`."""
    others = [n for n in free if n != name]
    inside, step = best[name], side * _scales(points)[name] / 10
    outside = inside + step
    while _minimise(points, best | {name: outside}, others)[1] < level:
        step *= 2
        inside, outside = outside, outside + step
    for _ in range(6):
        middle = (inside + outside) / 2
        if _minimise(points, best | {name: middle}, others)[1] < level:
            inside = middle
        else:
            outside = middle
    return (inside + outside) / 2


def _scales(points: Points) -> dict[str, float]:
    """By how much a parameter has to change to matter."""
    return {"beta_c": float(np.ptp(points.beta)) / 10, "nu": 0.1, "kappa": 0.1}


def _start(
    points: Points, beta_c: float, nu: float, kappa: float, free: Sequence[str]
) -> dict[str, float]:
    if not set(free) <= set(PARAMETERS) or not free:
        raise ValueError(f"free must name some of {', '.join(PARAMETERS)}, got {tuple(free)}")
    if not nu > 0 or not points.beta.min() <= beta_c <= points.beta.max():
        raise ValueError(
            f"the start must have nu > 0 and beta_c among the betas {points.beta.min():.6g} .. "
            f"{points.beta.max():.6g}, got nu = {nu} and beta_c = {beta_c}"
        )
    return {"beta_c": beta_c, "nu": nu, "kappa": kappa}


# --- Gaussian process ---------------------------------------------------------------------------


def collapse(
    points: Points,
    *,
    beta_c: float,
    nu: float,
    kappa: float = 0.0,
    free: Sequence[str] = PARAMETERS,
    omega: float | None = None,
) -> Collapse:
    """Maximum-likelihood parameters from a start, with F (and G, if omega is given) integrated
    out.

    free: which of beta_c, nu, kappa are varied. Points far from beta_c, where no F(x) exists,
    spoil the result: keep |x| to a few. Raises ValueError for a start that is not allowed, and
    BadFit where the points scatter around the curve with p < 0.001, or where the curve takes more
    than three quarters of the degrees of freedom (p = 0)."""
    start = _start(points, beta_c, nu, kappa, free)
    process = _Process(points, start, tuple(free), omega)
    best = process.fit()
    covariance = np.linalg.inv(_hessian(process, best))
    at = _moved(start, free, best[: len(free)], _scales(points))
    errors = dict.fromkeys(PARAMETERS, 0.0)
    for k, name in enumerate(free):
        errors[name] = math.sqrt(covariance[k, k]) * _scales(points)[name]
    chi2, dof = process.residual(best)
    # a curve that has to follow nearly every point is none
    smooth = dof > MIN_DOF * len(points.value)
    p = float(special.gammaincc(dof / 2, chi2 / 2)) if smooth else 0.0
    if p < MIN_P:
        raise BadFit(chi2, round(dof), p, at["beta_c"], errors["beta_c"])
    made = {name: Estimate(at[name], errors[name]) for name in PARAMETERS}
    unit = math.exp(float(np.log(points.size).mean()) / at["nu"])  # of x in `Points.scaled`
    length = math.exp(best[len(free) + 1]) * unit
    return Collapse(made["beta_c"], made["nu"], made["kappa"], chi2, dof, p, length)


@dataclass(frozen=True, eq=False)
class _Process:
    """-ln posterior of theta: free parameters in units of their scales from the start, then
    ln(amplitude / spread of y) and ln(length) of F, and the same amplitude of G if omega."""

    points: Points
    start: dict[str, float]
    free: tuple[str, ...]
    omega: float | None

    def data(self, theta: Array) -> tuple[Array, Array, Array]:
        """Residual y, its error, covariance (points, points) of the process."""
        at = _moved(self.start, self.free, theta[: len(self.free)], _scales(self.points))
        x, y, dy = self.points.scaled(**at)
        spread = float(y.std())
        log_a, log_l = theta[len(self.free) : len(self.free) + 2]
        near = np.exp(-0.5 * ((x[:, None] - x[None, :]) / math.exp(log_l)) ** 2)
        kernel = math.exp(2 * log_a) * near
        if self.omega is not None:
            log_size = np.log(self.points.size)
            small = np.exp(-self.omega * (log_size - log_size.min()))
            kernel = kernel + math.exp(2 * theta[-1]) * near * small[:, None] * small[None, :]
        # a constant of any value, far larger than the spread, is part of F
        kernel = kernel + 100.0 + JITTER * np.eye(len(x))
        return (y - y.mean()) / spread, dy / spread, kernel

    def __call__(self, theta: Array) -> float:
        at = _moved(self.start, self.free, theta[: len(self.free)], _scales(self.points))
        if at["nu"] < 0.05 or np.abs(theta[len(self.free) :]).max() > 12:
            return math.inf
        y, dy, kernel = self.data(theta)
        try:
            factor = linalg.cho_factor(kernel + np.diag(dy**2), lower=True)
        except linalg.LinAlgError:
            return math.inf
        # y was divided by its spread, which depends on the parameters: ln of that per point
        spread = float(np.std(self.points.scaled(**at)[1]))
        log_det = float(np.log(np.diag(factor[0])).sum()) + len(y) * math.log(spread)
        prior = 0.5 * float(((theta[len(self.free) :] - self.centre) ** 2).sum()) / WIDTH**2
        return 0.5 * float(y @ linalg.cho_solve(factor, y)) + log_det + prior

    @cached_property
    def centre(self) -> Array:
        """ln(amplitude) and ln(length) around which the prior lies."""
        spread = float(self.points.scaled(**self.start)[0].std())
        return np.array([0.0, math.log(spread), *([] if self.omega is None else [-3.0])])

    def fit(self) -> Array:
        """Best theta from two lengths of the process."""
        best: tuple[float, Array] | None = None
        for share in (0.5, 2.0):
            theta = np.concatenate([np.zeros(len(self.free)), self.centre])
            theta[len(self.free) + 1] += math.log(share)
            for _ in range(3):  # a simplex may degenerate: begin again where it ended
                found = optimize.minimize(
                    self, theta, method="Nelder-Mead",
                    options={"xatol": 1e-4, "fatol": 1e-6, "maxfev": 400 * len(theta)},
                )  # fmt: skip
                settled = float(np.abs(found.x - theta).max()) < 1e-2
                theta = found.x
                if settled:
                    break
            if best is None or found.fun < best[0]:
                best = float(found.fun), theta
        assert best is not None
        return best[1]

    def residual(self, theta: Array) -> tuple[float, float]:
        """chi2 of the points around the most likely curve, and its degrees of freedom."""
        y, dy, kernel = self.data(theta)
        smoother = np.linalg.solve(kernel + np.diag(dy**2), kernel).T
        chi2 = float((((y - smoother @ y) / dy) ** 2).sum())
        # E chi2 = tr (1 - S)^T (1 - S) for unit errors
        rest = (np.eye(len(y)) - smoother) * dy[None, :] / dy[:, None]
        return chi2, float((rest**2).sum()) - len(self.free)


def _hessian(function: _Process, at: Array) -> Array:
    """Second derivatives by central differences, over a step that lowers the likelihood by about
    one half: noise of the function does not matter there."""
    n, steps = len(at), np.empty(len(at))
    least = function(at)
    for k in range(n):
        step = STEP
        while function(at + step * np.eye(n)[k]) - least < 0.1 and step < 1:
            step *= 1.5
        steps[k] = step
    made = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            a, b = steps[i] * np.eye(n)[i], steps[j] * np.eye(n)[j]
            corners = [function(at + s * a + t * b) * s * t for s in (1, -1) for t in (1, -1)]
            made[i, j] = made[j, i] = sum(corners) / (4 * steps[i] * steps[j])
        above, below = (function(at + s * steps[i] * np.eye(n)[i]) for s in (1, -1))
        made[i, i] = (above - 2 * least + below) / steps[i] ** 2
    return made
