"""Estimates of beta_c from the spectrum of a coupling graph: no sampling, seconds for 10^5 sites.

With t_ij = tanh(beta J_ij), each is the first beta at which the paramagnet is unstable, that is
at which the smallest eigenvalue of H(beta) is zero:

    mean field  H_ij = delta_ij - beta J_ij                                  1 / lambda_max(J)
    TAP         H_ij = delta_ij (1 + beta^2 sum_k J_ik^2) - beta J_ij
    Bethe       H_ij = delta_ij (1 + sum_k t_ik^2 / (1 - t_ik^2)) - t_ij / (1 - t_ij^2)

The Bethe-Hessian is singular where the non-backtracking matrix of the weights t has eigenvalue 1.
Ferromagnets (all J >= 0): mean field <= Bethe <= beta_c for every family of graphs whose spectral
estimates converge; TAP bounds nothing and may not exist. Couplings of both signs: the zero says
where belief propagation leaves the paramagnet in a direction that one real eigenvector gives; a
glass is seen by the weights t^2 ("glass"), and the Bethe value of |J| stays a lower bound of any
order, because |<s_i s_j>_J| <= <s_i s_j>_|J| (Griffiths). Where the glass comes first, "bethe" and
"tap" have no zero that means anything and are inf.

Saade, Krzakala, Zdeborova, "Spectral bounds for the Ising ferromagnet on an arbitrary given
graph", arXiv:1609.08269; Watanabe & Fukumizu, NIPS 2009 (Ihara-Bass with weights); Thouless,
Anderson & Palmer, Phil. Mag. 35, 593 (1977).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.sparse import csgraph

from isingnpu.couplings import leading_pair
from isingnpu.model import Array, IsingModel

METHODS = ("mean-field", "tap", "bethe", "glass")

# tanh(9.2) = 1 - 2e-8: a stronger bond ties its spins together, and counting it as this strong
# moves the result by less than 1e-7 while the eigenvalue keeps eight digits.
TIED = 9.2


@dataclass(frozen=True)
class Bracket:
    """low <= beta_c <= high, each with what proves it; high is inf where nothing does."""

    low: float
    high: float
    low_source: str
    high_source: str

    def __contains__(self, beta: float) -> bool:
        return self.low <= beta <= self.high


def beta_c_estimate(model: IsingModel, method: str = "bethe") -> float:
    """The first zero of the smallest eigenvalue of H(beta), in units of 1/J; inf if there is none.

    method: "mean-field", "tap", "bethe", or "glass", which is "bethe" with t^2 for t and
    estimates the transition of a spin glass of symmetric couplings. Fields do not enter. A
    q-regular ferromagnet gives atanh(1 / (q - 1)) for "bethe" to rounding; trees and rings give
    inf, as does "tap" on graphs of degree below 4. Relative error 1e-11, but 1e-7 if a coupling
    is so strong that tanh(beta J) > 1 - 2e-8.
    Raises ValueError for another method or a model without couplings.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    couplings = model.csr.astype(np.float64)
    if couplings.nnz == 0:
        raise ValueError("the model has no couplings, so nothing orders: beta_c is not defined")
    if method == "mean-field":
        largest = largest_eigenvalue(couplings)
        return 1 / largest if largest > 0 else math.inf
    weights = {"tap": _tap, "bethe": _bethe, "glass": _glass}[method]
    if method == "glass":
        couplings = abs(couplings)
    if method != "tap" and couplings.data.min() > 0 and not _has_two_cycles(couplings):
        return math.inf
    return _first_instability(couplings, weights)


def beta_c_bracket(model: IsingModel) -> Bracket:
    """What the couplings alone prove about beta_c of the infinite system they stand for.

    low: the Bethe value of |J|, which is that of the infinite system for periodic lattices and
    regular graphs and tends to it for random graphs. high: inf, but for the uniform square,
    triangular and honeycomb lattice that of `tessellation_bracket`. Raises ValueError for a model
    without couplings, or for another lattice with an open boundary: a finite piece has fewer walks
    than the infinite lattice, so its spectrum bounds nothing."""
    geometry = model.geometry
    strengths = np.unique(model.csr.data)
    if geometry and geometry.family in EUCLIDEAN and strengths.size == 1 and strengths[0] > 0:
        return tessellation_bracket(*EUCLIDEAN[geometry.family], J=float(strengths[0]))
    if geometry and "open" in geometry.boundary:
        raise ValueError(
            f"{geometry.family} has an open boundary and its spectrum is not that of the infinite "
            "lattice: take a periodic one, or tessellation_bracket for {p,q}"
        )
    source = "Bethe-Hessian (arXiv:1609.08269)"
    if strengths.size and strengths[0] < 0:
        source += " of |J|: no order of any kind below (Griffiths)"
    ferromagnet = IsingModel(abs(model.csr), np.zeros(model.n, np.int64))
    low = beta_c_estimate(ferromagnet, "bethe")
    return Bracket(low, math.inf, source, "none: the spectrum gives no upper bound")


# Schlaefli symbols: faces of p sides, q of them at each vertex.
EUCLIDEAN = {"square": (4, 4), "triangular": (3, 6), "honeycomb": (6, 3)}


def tessellation_bracket(p: int, q: int, *, J: float = 1) -> Bracket:
    """Bounds of the bulk beta_c of the infinite tessellation {p,q}, ferromagnetic, J > 0.

    low: branching is at most q - 1, atanh(1 / (q - 1)) / J. high: the same bound for the dual
    {q,p}, carried over by sinh 2K sinh 2K* = 1, which is atanh(1 - 2 / p) / J. In the hyperbolic
    plane, (p - 2)(q - 2) > 4, the bulk orders with wired boundary first, and duality relates that
    point to the one of {q,p} with free boundary, which is not smaller: so both bounds hold for
    the wired point; the free point is only bounded from below. In the Euclidean plane the points
    agree. Raises ValueError unless p, q >= 3, (p - 2)(q - 2) >= 4 and J > 0.
    """
    if p < 3 or q < 3 or (p - 2) * (q - 2) < 4:
        raise ValueError(f"need p, q >= 3 with (p - 2)(q - 2) >= 4, got {{{p},{q}}}")
    if not J > 0:
        raise ValueError(f"J must be > 0, got {J}")
    return Bracket(
        math.atanh(1 / (q - 1)) / J,
        math.atanh(1 - 2 / p) / J,
        f"atanh(1 / (q - 1)), q = {q}: non-backtracking walks",
        f"dual of atanh(1 / (p - 1)), p = {p}: Kramers and Wannier",
    )


def planar_bound(degree: int) -> float:
    """atanh(tan(pi / 2q)): lower bound of beta_c J on periodic planar Euclidean lattices whose
    largest degree is q >= 3; equal to beta_c on the honeycomb, square and triangular lattice.

    Joseph & Boettcher, arXiv:2601.02502, for the bound; this form of it is a reading that
    reproduces the three exact points. It does not hold in the hyperbolic plane, where beta_c
    falls to atanh(1 / (q - 1)) as p grows. Raises ValueError for q < 3."""
    if degree < 3:
        raise ValueError(f"the largest degree must be >= 3, got {degree}")
    return math.atanh(math.tan(math.pi / (2 * degree)))


def largest_eigenvalue(matrix: Any) -> float:
    """Of a symmetric matrix, sparse or dense, (n, n), to 1e-12 relative; 1e-9 if the next one
    is closer than 1e-6."""
    return leading_pair(matrix, None)[0]


def _has_two_cycles(couplings: Any) -> bool:
    """Whether some component has more edges than vertices, so that non-backtracking walks grow."""
    count, label = csgraph.connected_components(couplings, directed=False)
    vertices = np.bincount(label, minlength=count)
    edges = np.bincount(label, weights=np.diff(couplings.indptr), minlength=count) / 2
    return bool(np.any(edges > vertices))


Weights = Callable[[Array], tuple[Array, Array]]


def _tap(x: Array) -> tuple[Array, Array]:
    """(on the diagonal, off it) of H for bonds x = beta J."""
    return x**2, x


def _bethe(x: Array) -> tuple[Array, Array]:
    """t^2 / (1 - t^2) = sinh^2 x and t / (1 - t^2) = sinh x cosh x."""
    x = np.clip(x, -TIED, TIED)
    return np.sinh(x) ** 2, np.sinh(2 * x) / 2


def _glass(x: Array) -> tuple[Array, Array]:
    """The same with t^2 for t: sinh^4 x / cosh 2x and sinh^2 x cosh^2 x / cosh 2x."""
    x = np.minimum(x, TIED)
    return np.sinh(x) ** 4 / np.cosh(2 * x), np.sinh(2 * x) ** 2 / (4 * np.cosh(2 * x))


def _normalised(couplings: Any, beta: float, weights: Weights) -> Any:
    """D^-1/2 A D^-1/2 for H = D - A: the smallest eigenvalue of H has the sign of 1 - lambda_max,
    and the entries stay of order 1."""
    diagonal, off = weights(beta * couplings.data)
    row = np.repeat(np.arange(couplings.shape[0]), np.diff(couplings.indptr))
    scale = 1 / np.sqrt(1 + np.bincount(row, weights=diagonal, minlength=couplings.shape[0]))
    scaled = off * scale[row] * scale[couplings.indices]
    return type(couplings)((scaled, couplings.indices, couplings.indptr), couplings.shape)


def _first_instability(couplings: Any, weights: Weights) -> float:
    """First beta at which `_normalised` has the eigenvalue 1, searched upwards from the
    mean-field point of |J|.

    For ferromagnets and "glass" the Bethe root is the only one. Otherwise a root that is followed
    by a second one within 4 % of it may be missed."""
    low = 1 / largest_eigenvalue(abs(couplings)) * (1 - 1e-9)  # Bethe may agree to rounding
    step = 2.0 if weights is _glass or (weights is _bethe and couplings.data.min() > 0) else 1.04
    last = _last_instability(couplings, weights)
    vector: Array | None = None

    def instability(beta: float) -> float:
        nonlocal vector
        largest, vector = leading_pair(_normalised(couplings, beta, weights), vector)
        return largest - 1

    while low < last:
        high = min(low * step, last)
        if instability(high) > 0:
            return float(brentq(instability, low, high, xtol=1e-300, rtol=1e-13))
        low = high
    return math.inf


def _last_instability(couplings: Any, weights: Weights) -> float:
    """No root above this beta counts: for couplings of both signs the glass comes first."""
    if couplings.data.min() < 0:
        if weights is _tap:  # beta^2 sum J^2 = 1, the line of de Almeida & Thouless
            return 1 / math.sqrt(largest_eigenvalue(couplings**2))
        return _first_instability(abs(couplings), _glass)
    if weights is _tap:  # beyond, 1 + beta^2 sum_k J_ik^2 > beta sum_k J_ik in every row
        total, squares = couplings.sum(axis=1), (couplings**2).sum(axis=1)
        return float((total[squares > 0] / squares[squares > 0]).max())
    return TIED / float(couplings.data.min())
