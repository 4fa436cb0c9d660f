"""The triangular lattice with three couplings: what all solvable lattices here reduce to.

Cells on a torus of sides L_0, L_1; J_0 couples along axis 0, J_1 along axis 1, J_2 along the third
axis of the triangles. y_a = exp(-2 beta J_a):

    Z = 1/2 exp(beta N (J_0 + J_1 + J_2)) (P_11 + P_10 + P_01 + P_00),
    P_ab = prod_{p, q} F(p, q)^{1/2},  p = 2 pi (k + a/2) / L_0,  q = 2 pi (l + b/2) / L_1,
    F = r^2 + a_0 sin^2(p/2) + a_1 sin^2(q/2) + a_2 sin^2((p + q)/2),
    r = 1 - y_0 y_1 - y_1 y_2 - y_2 y_0,   a_0 = 4 y_1 y_2 (1 - y_0^2) and so on

and for the infinite lattice ln z = beta (J_0 + J_1 + J_2) + 1/2 <ln F> over p and q. r changes
sign at the critical point and P_00 contains r itself, not F(0, 0)^{1/2} = |r|. J_2 = 0 is the
square lattice (Kaufman, Phys. Rev. 76, 1232 (1949)). Houtappel, Physica 16, 425 (1950); Wannier,
Phys. Rev. 79, 357 (1950); four sectors of the triangular torus: Stephenson, J. Math. Phys. 5,
1009 (1964).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from isingnpu.exact import jets
from isingnpu.exact.jets import Jet
from isingnpu.model import Array

# Nodes t of x = 1 / (1 + exp(-pi sinh t)) on (0, 1): step 1/32, ends 1e-30 away from 0 and 1.
_T = np.arange(-122, 123) / 32


def torus(sides: tuple[int, int], beta: float, couplings: tuple[float, float, float]) -> Jet:
    """ln Z of the whole torus and its derivatives in beta, for couplings >= 0."""
    first = _sector(sides, beta, couplings, (1, 1))
    total = jets.constant(1.0)
    for shift in ((1, 0), (0, 1)):
        total = total + jets.exponential(_sector(sides, beta, couplings, shift) - first)
    even = jets.exponential(_sector(sides, beta, couplings, (0, 0)) - first)
    total = total + jets.product(_mass(beta, couplings), even)
    logarithm = first + jets.logarithm(total / 2)
    bonds = sides[0] * sides[1] * sum(couplings)
    return np.asarray(logarithm + np.array([beta * bonds, bonds, 0.0]))


def _mass(beta: float, couplings: Sequence[float]) -> Jet:
    """r."""
    rates = [-2 * (a + b) for a, b in _others(couplings)]
    return jets.exponentials([(1.0, 0.0), *((-math.exp(k * beta), k) for k in rates)])


def _amplitudes(beta: float, couplings: Sequence[float]) -> list[Jet]:
    """a_0, a_1, a_2."""
    made = []
    for own, (a, b) in zip(couplings, _others(couplings), strict=True):
        k = -2 * (a + b)
        value = 4 * math.exp(k * beta)
        made.append(
            jets.exponentials([(value, k), (-value * math.exp(-4 * own * beta), k - 4 * own)])
        )
        made[-1][0] = -value * math.expm1(-4 * own * beta)
    return made


def _others(couplings: Sequence[float]) -> list[tuple[float, float]]:
    j0, j1, j2 = couplings
    return [(j1, j2), (j2, j0), (j0, j1)]


def _sector(
    sides: tuple[int, int],
    beta: float,
    couplings: tuple[float, float, float],
    shift: tuple[int, int],
) -> Jet:
    """ln P_ab; for shift (0, 0) without the factor r."""
    p, q = (np.pi * (np.arange(side) + s / 2) / side for side, s in zip(sides, shift, strict=True))
    r, (a0, a1, a2) = _mass(beta, couplings), _amplitudes(beta, couplings)
    sines = np.sin(p)[:, None] ** 2, np.sin(q)[None, :] ** 2, np.sin(p[:, None] + q[None, :]) ** 2
    square = jets.product(r, r)
    f = np.stack(
        [
            (square[k] + a0[k] * sines[0] + a1[k] * sines[1] + a2[k] * sines[2]).ravel()
            for k in range(3)
        ]
    )
    return np.asarray(0.5 * jets.logarithm(f[:, 1:] if shift == (0, 0) else f).sum(axis=1))


def infinite(beta: float, couplings: tuple[float, float, float]) -> Jet:
    """ln z per site of the infinite lattice and its derivatives in beta, for couplings >= 0; the
    second is infinite at the critical point.

    With m = r^2 + a_0 sin^2(p/2) the integral over q is ln((A + Q^{1/2}) / 2),
    A = m + (a_1 + a_2) / 2,  Q = m (m + a_1 + a_2) + a_1 a_2 sin^2(p/2): sums of positive terms.
    Q^{1/2} turns sharply within |r| of p = 0, where the nodes of the double-exponential rule
    lie closest (Takahasi & Mori 1974)."""
    r, (a0, a1, a2) = _mass(beta, couplings), _amplitudes(beta, couplings)
    x, weights = _nodes()
    sine = np.sin(np.pi / 2 * x) ** 2
    square = jets.product(r, r)[:, None]
    m = square + a0[:, None] * sine
    both = (a1 + a2)[:, None]
    q = jets.product(m, m + both) + jets.product(a1, a2)[:, None] * sine
    mean = _half_logarithm(m + both / 2, q) @ weights
    if r[0] == 0:
        mean[2] = math.inf
    return np.asarray(mean + np.array([beta * sum(couplings), sum(couplings), 0.0]))


def frustrated(beta: float, strength: float) -> Jet:
    """The same for J_0 = J_1 = J_2 = -strength < 0.

    In units of y^4, with x = exp(-2 beta strength): ln z = beta strength + 1/2 <ln F>,
    a = 4 (1 - x^2), d = 3 x^2 + x^4, A = d + a (5/4 - s), s = sin^2(p/2),
    Q = d^2 + d a (5/2 - 2 s) + a^2 (s - 3/4)^2, which turns sharply at p = 2 pi / 3."""
    k = -4 * strength
    x2 = math.exp(k * beta)
    d = jets.exponentials([(3 * x2, k), (x2**2, 2 * k)])[:, None]
    a = jets.exponentials([(4.0, 0.0), (-4 * x2, k)])[:, None]
    x, weights = _nodes()
    mean = np.zeros(3)
    for length, side in ((2 * np.pi / 3, -1), (np.pi / 3, 1)):
        t = length * x  # distance from p = 2 pi / 3
        away = np.sin(2 * np.pi / 3 + side * t / 2) * np.sin(side * t / 2)  # s - 3/4
        q = jets.product(d, d) + jets.product(d, a) * (1 - 2 * away)
        q = q + jets.product(a, a) * away**2
        mean += _half_logarithm(d + a * (0.5 - away), q) @ weights * length / np.pi
    return np.asarray(mean + np.array([beta * strength, strength, 0.0]))


def _half_logarithm(a: Jet, q: Jet) -> Jet:
    """1/2 ln((A + Q^{1/2}) / 2)."""
    return np.asarray(0.5 * jets.logarithm((a + jets.root(q)) / 2))


def _nodes() -> tuple[Array, Array]:
    """Double-exponential rule on (0, 1), nodes close to 0 exact to their own rounding."""
    decay = np.exp(-np.pi * np.sinh(_T))
    return 1 / (1 + decay), np.pi / 32 * np.cosh(_T) * decay / (1 + decay) ** 2
