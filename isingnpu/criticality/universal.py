"""Universality classes: exponents, and the values that dimensionless ratios cross at.

    nu of xi ~ |t|^-nu,   omega of the leading correction L^-omega,   chi ~ L^(2 - eta)

At beta_c a ratio tends to a number R* that depends on the class, on the boundary and on the shape
of the box in the metric in which correlations are isotropic: a square torus and the 60 degree
rhombus of a triangular lattice have different R*. In two dimensions xi/L* follows for every shape
from the two-point function on a torus of periods 1 and tau (Di Francesco, Saleur & Zuber, Nucl.
Phys. B 290, 527 (1987)):

    G(z) ~ |theta_1'(0) / theta_1(z)|^(1/4) sum_{nu = 1..4} |theta_nu(z / 2)|
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isingnpu.criticality.estimators import Array
from isingnpu.criticality.refusals import Unsupported
from isingnpu.exact import CURIE_WEISS_BINDER
from isingnpu.geometry import Reference
from isingnpu.model import IsingModel

NODES = 48  # Gauss-Legendre nodes per direction; 32 already give 12 digits of xi/L*
ISOTROPIC = ("square", "triangular", "honeycomb", "kagome")  # if all couplings are equal


@dataclass(frozen=True)
class Universality:
    """Exponents of one class: nu, omega, eta and z of local moves, tau ~ L^z; corrections beyond
    the leading one are smaller by L^-step."""

    nu: float
    omega: float
    eta: float
    z: float
    step: float = 1.0

    def omega_range(self, smallest: int) -> tuple[float, float]:
        """Effective correction exponents to allow for when the smallest size is this."""
        spread = 2 / smallest**self.step
        return self.omega - spread, self.omega + spread


# 2D: exact; L^-7/4 is the regular part of the susceptibility.
# 3D: Kos et al., arXiv:1603.04436 (nu, eta); Hasenbusch, arXiv:1004.4486 (omega = 0.832(6)).
# z: Nightingale & Blote, PRB 62, 1089 (2000); Hasenbusch, arXiv:1908.01702.
ISING = {
    2: Universality(1.0, 1.75, 0.25, 2.1667),
    3: Universality(0.629971, 0.832, 0.0362978, 2.0245),
}
# Random graphs and the complete graph, with L standing for the number of sites N: t N^(1/2) is
# the scaling variable, chi ~ N^(1/2), tau ~ N^(1/2), corrections
# N^-1/2 in powers. Above the upper critical
# dimension, Brezin & Zinn-Justin, Nucl. Phys. B 257, 867 (1985).
MEAN_FIELD = Universality(2.0, 0.5, 1.5, 0.5, step=0.5)


@dataclass(frozen=True)
class CriticalRatios:
    """xi/L* and U4* of one class, boundary and shape; None where nobody here knows it."""

    xi: Reference | None
    binder: Reference | None

    @property
    def values(self) -> Array:
        """(2,) in the order of RATIOS, nan where not known."""
        return np.array([r.value if r else math.nan for r in (self.xi, self.binder)])

    @property
    def errors(self) -> Array:
        """(2,) standard errors, 0 where not known."""
        return np.array([r.error if r else 0.0 for r in (self.xi, self.binder)])


# U4 of the complete graph for N -> infinity, which random graphs share.
MEAN_FIELD_RATIOS = CriticalRatios(None, Reference(CURIE_WEISS_BINDER, 0.0, "Curie-Weiss, exact"))


def critical_ratios(model: IsingModel) -> CriticalRatios:
    """R* of a periodic box of equal sides with one coupling J > 0 between nearest neighbours.

    Two dimensions: xi/L* from `torus_length_ratio`; U4* on the square torus, Kamieniarz & Blote,
    J. Phys. A 26, 201 (1993). Cubic: Hasenbusch, PRB 82, 174433 (2010), where <m^4> / <m^2>^2 =
    1.6036(1) is called U4. Raises Unsupported for anything else."""
    geometry = model.geometry
    name = geometry.family if geometry else "a graph"
    shape = geometry.shape if geometry else ()
    if geometry is None or name not in (*ISOTROPIC, "cubic"):
        allowed = ", ".join((*ISOTROPIC, "cubic"))
        raise Unsupported(name, "its R* are not stored", f"leave R* free or take one of {allowed}")
    if len(set(shape)) > 1 or set(geometry.boundary) != {"periodic"}:
        raise Unsupported(
            name, f"R* of a box {shape} {geometry.boundary} are not stored",
            "take equal sides with periodic boundary or leave R* free",
        )  # fmt: skip
    couplings = model.csr.data
    if couplings.size == 0 or couplings.min() != couplings.max() or couplings.min() <= 0:
        raise Unsupported(
            name, "R* depends on the ratio of unequal couplings", "leave R* free"
        )  # fmt: skip
    if name == "cubic":
        source = "Hasenbusch, PRB 82, 174433 (2010)"
        return CriticalRatios(Reference(0.6431, 1e-4, source), Reference(0.46548, 5e-5, source))
    source = "two-point function on the torus, Di Francesco et al. (1987)"
    if name == "square":
        binder = Reference(0.6106901, 5e-7, "Kamieniarz & Blote (1993)")
        return CriticalRatios(Reference(torus_length_ratio(1j), 0.0, source), binder)
    rhombus = torus_length_ratio(complex(0.5, math.sqrt(0.75)), wave=2 / math.sqrt(3))
    return CriticalRatios(Reference(rhombus, 0.0, source), None)


def torus_length_ratio(tau: complex, wave: float = 1.0) -> float:
    """xi/L* of the 2D Ising class on the torus of periods 1 and tau, Im tau > 0.

    S(k_min) is the mean over both axes, as the observable is; wave: |k_min| L / (2 pi), which is
    2 / sqrt 3 on the rhombus. Raises ValueError unless Im tau > 0."""
    if not tau.imag > 0:
        raise ValueError(f"the second period must lie above the real axis, got tau = {tau}")
    nodes, widths = np.polynomial.legendre.leggauss(NODES)
    p, dp = (nodes + 1) / 2, widths / 2  # (NODES,) in 0..1
    # triangles with the singular point as a corner: s = p^4 / 2 makes s^(3/4) ds smooth
    s = p[:, None] ** 4 / 2
    area = s * 2 * p[:, None] ** 3 * dp[:, None] * widths[None, :]
    zero = both = 0.0
    for u, v in ((s + 0 * nodes, s * nodes), (s * nodes, s + 0 * nodes)):
        g = area * _two_point(u + v * tau, tau)  # -z gives the same: half of the torus
        zero += float(g.sum())
        both += float((g * (np.cos(2 * np.pi * u) + np.cos(2 * np.pi * v))).sum()) / 2
    return math.sqrt(zero / both - 1) / (2 * math.pi * wave)


def _two_point(z: np.ndarray[tuple[int, ...], np.dtype[np.complex128]], tau: complex) -> Array:
    """G(z) up to a factor."""
    singular = np.abs(_thetas(z, tau)[0]) ** -0.25
    return np.asarray(singular * np.abs(_thetas(z / 2, tau)).sum(axis=0))


def _thetas(
    z: np.ndarray[tuple[int, ...], np.dtype[np.complex128]], tau: complex
) -> np.ndarray[tuple[int, ...], np.dtype[np.complex128]]:
    """(4, ...) Jacobi's theta_1 .. theta_4(pi z | tau), from their series in exp(i pi tau)."""
    terms = 2 + math.ceil(math.sqrt(40 / (math.pi * tau.imag)))  # until exp(-40)
    one, two, three, four = (np.zeros_like(z) for _ in range(4))
    for n in range(-terms, terms + 1):
        half = np.exp(1j * np.pi * (tau * (n + 0.5) ** 2 + (2 * n + 1) * z))
        whole = np.exp(1j * np.pi * (tau * n**2 + 2 * n * z))
        one, two = one - 1j * (-1) ** n * half, two + half
        three, four = three + whole, four + (-1) ** n * whole
    return np.stack([one, two, three, four])
