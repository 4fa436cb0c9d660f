"""Positional encoding: tokens ride on a Moebius flow of the upper half plane.

    z_t = M^t z_0,   M in SL(2, R),   z -> (a z + b) / (c z + d)
    sinh(d(z, w) / 2) = |z - w| / (2 sqrt(Im z Im w))                    hyperbolic distance
    J(D) = exp(-kappa d(z_t, z_{t-D}))     or as an energy of a selector, -kappa d

The class of M, read off its trace, is the class of the kernel; it depends on D = t - t' alone:

    |tr M| = 2   parabolic    sinh(d/2) = |D| / (2 y)                 J ~ (|D| / y)^(-2 kappa)
    |tr M| > 2   hyperbolic   sinh(d/2) = cosh(rho) sinh(l |D| / 2)   J ~ exp(-kappa l |D|)
    |tr M| < 2   elliptic     sinh(d/2) = sinh(r) |sin(theta D / 2)|  period 2 pi / theta

rho: distance of z_0 from the axis of the flow, r: from its fixed point, y: height over the fixed
point at infinity in units of the step. On the axis (rho = 0) -kappa d = -kappa l |D| exactly: the
linear bias of ALiBi (Press, Smith & Lewis, ICLR 2022). An elliptic flow has
cosh d = 1 + sinh(r)^2 (1 - cos theta D): affine in the cosine of the angle by which RoPE (Su et
al., arXiv:2104.09864) turns a key; a periodic kernel, not RoPE's product of queries and keys.
Beardon, The Geometry of Discrete Groups (1983), section 7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.model import IsingModel

Array = NDArray[Any]

# A determinant or a trace that misses 1 or 2 by less is that of a rounded matrix.
ROUNDING = 1e-12


def hyperbolic_distance(z: ArrayLike, w: ArrayLike) -> Array:
    """d(z, w) of points of the upper half plane; ValueError unless Im > 0."""
    z, w = np.asarray(z, np.complex128), np.asarray(w, np.complex128)
    if not (np.all(z.imag > 0) and np.all(w.imag > 0)):
        raise ValueError("points of the upper half plane have Im z > 0")
    return np.asarray(2 * np.arcsinh(abs(z - w) / (2 * np.sqrt(z.imag * w.imag))))


def translate(matrix: ArrayLike, z: ArrayLike) -> Array:
    """z -> (a z + b) / (c z + d)."""
    (a, b), (c, d) = np.asarray(matrix, np.float64)
    z = np.asarray(z, np.complex128)
    return np.asarray((a * z + b) / (c * z + d))


@dataclass(frozen=True)
class Parabolic:
    """z -> z + 1 at height y = `height`: a power law."""

    height: float = 1.0

    def distance(self, delta: ArrayLike) -> Array:
        """d(z_t, z_{t - delta}), even in delta."""
        return np.asarray(2 * np.arcsinh(abs(np.asarray(delta, np.float64)) / (2 * self.height)))

    @property
    def flow(self) -> tuple[Array, complex]:
        """(M, z_0)."""
        return np.array([[1.0, 1.0], [0.0, 1.0]]), complex(0, self.height)


@dataclass(frozen=True)
class Hyperbolic:
    """z -> e^rate z, started at distance `offset` from the axis: an exponential."""

    rate: float = 0.1
    offset: float = 0.0

    def distance(self, delta: ArrayLike) -> Array:
        half = self.rate * abs(np.asarray(delta, np.float64)) / 2
        return np.asarray(2 * np.arcsinh(math.cosh(self.offset) * np.sinh(half)))

    @property
    def flow(self) -> tuple[Array, complex]:
        """(M, z_0); |Re z_0| / Im z_0 = sinh(offset)."""
        half = self.rate / 2
        return np.diag([math.exp(half), math.exp(-half)]), complex(math.sinh(self.offset), 1)


@dataclass(frozen=True)
class Elliptic:
    """Rotation by `angle` about i, started at distance `radius` from it: a period."""

    angle: float = math.pi / 8
    radius: float = 1.0

    def distance(self, delta: ArrayLike) -> Array:
        sine = abs(np.sin(self.angle * np.asarray(delta, np.float64) / 2))
        return np.asarray(2 * np.arcsinh(math.sinh(self.radius) * sine))

    @property
    def flow(self) -> tuple[Array, complex]:
        """(M, z_0)."""
        c, s = math.cos(self.angle / 2), math.sin(self.angle / 2)
        return np.array([[c, s], [-s, c]]), complex(0, math.exp(self.radius))


Flow = Parabolic | Hyperbolic | Elliptic


def flow_of(matrix: ArrayLike, start: complex) -> Flow:
    """The flow M^t z_0 as one of the three normal forms: its closed form of the distance.

    Raises ValueError for a determinant off 1 by more than 1e-12, Im z_0 <= 0, and M = +-1."""
    m = np.asarray(matrix, np.float64)
    if m.shape != (2, 2) or not abs(np.linalg.det(m) - 1) <= ROUNDING * max(1, abs(m).max() ** 2):
        raise ValueError(f"M must be 2 x 2 with determinant 1, got {m.tolist()}")
    if np.allclose(m, m[0, 0] * np.eye(2), rtol=0, atol=ROUNDING):
        raise ValueError("M = +-1 moves no point: it encodes no position")
    trace = abs(float(np.trace(m)))
    first = float(hyperbolic_distance(start, translate(m, start)))
    if abs(trace - 2) <= ROUNDING:
        return Parabolic(1 / (2 * math.sinh(first / 2)))
    if trace > 2:
        rate = 2 * math.acosh(trace / 2)
        return Hyperbolic(rate, math.acosh(max(1.0, math.sinh(first / 2) / math.sinh(rate / 2))))
    angle = 2 * math.acos(trace / 2)
    return Elliptic(angle, math.asinh(math.sinh(first / 2) / math.sin(angle / 2)))


def position_energy(flow: Flow, kappa: float, delta: ArrayLike) -> Array:
    """-kappa d(delta): what a selector adds to the score of a key `delta` positions back."""
    return -kappa * flow.distance(delta)


def position_kernel(flow: Flow, kappa: float, delta: ArrayLike) -> Array:
    """exp(-kappa d(delta)): a coupling between spins `delta` positions apart."""
    return np.asarray(np.exp(position_energy(flow, kappa, delta)))


def ring_model(
    flow: Flow, kappa: float, n: int, *, J: float = 1.0, boundary: str = "antiperiodic"
) -> IsingModel:
    """n spins on a ring, J_ij = J (K(D) + sigma K(n - D)), D = |i - j|: both ways round add.

    sigma = -1 for "antiperiodic", where a way that crosses the seam changes its sign as in
    isingnpu.lattice (a Moebius band: J_{i, i+n} = -J); +1 for "periodic"."""
    if boundary not in ("periodic", "antiperiodic") or n < 3:
        raise ValueError(
            f"need n >= 3 spins and a periodic or antiperiodic ring, got {n}, {boundary!r}"
        )
    sign = -1 if boundary == "antiperiodic" else 1
    i = np.arange(n)
    gap = abs(i[:, None] - i)
    couplings = position_kernel(flow, kappa, gap) + sign * position_kernel(flow, kappa, n - gap)
    np.fill_diagonal(couplings, 0.0)
    return IsingModel.from_dense(J * couplings)
