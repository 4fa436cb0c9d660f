"""Lattices without field that are solved: square, triangular, honeycomb, kagome, infinite or tori.

Honeycomb and kagome become triangular lattices, on a torus as well as infinite, for J of any sign:

star-triangle   sum_s exp(K s (s_1 + s_2 + s_3)) = R exp(K' (s_1 s_2 + s_2 s_3 + s_3 s_1)),
                exp(4 K') = 2 cosh 2K - 1,  R = 2 cosh(K) exp(K')
decoration      sum_s exp(L' s (s_1 + s_2)) = D exp(L s_1 s_2),  exp(2 L) = cosh 2L',  D = 2 exp(L)

Summing over one sublattice of the honeycomb leaves triangles. The kagome lattice is what is left
of a honeycomb decorated on every bond when its own sites are summed over:
2 cosh 2L' = exp(4K) + 1.
Onsager, Phys. Rev. 65, 117 (1944); Houtappel, Physica 16, 425 (1950); Syozi, Prog. Theor. Phys.
6, 306 (1951); Kano & Naya, Prog. Theor. Phys. 10, 158 (1953).

All results are `Partition`: of the torus, or of one site (n = 1) of the infinite lattice. The
heat capacity of an infinite lattice is inf where r of isingnpu.exact.free_fermions vanishes to the
last bit. Relative errors are about 1e-15, but at small K = beta J 1e-15 / K of the energy, and at
low temperature 1e-16 exp(8 K) of the heat capacity, which vanishes there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from isingnpu.exact import free_fermions, jets
from isingnpu.exact.jets import Jet
from isingnpu.exact.partition import (
    Partition,
    check_beta,
    check_finite,
    check_k,
    check_side,
)

# ln Z of the triangular lattice as a function of K >= 0, with derivatives in K.
Triangular = Callable[[float], Jet]


def infinite_square(beta: float, couplings: tuple[float, float] = (1.0, 1.0)) -> Partition:
    """One site of the infinite square lattice, couplings of any sign; beta >= 0.

    ln z = K_0 + K_1 + 1/2 <ln F> with J_2 = 0. Raises ValueError for |K| > 150."""
    _check(beta, couplings)
    j0, j1 = (abs(j) for j in couplings)
    return _partition(1, beta, free_fermions.infinite(beta, (j0, j1, 0.0)))


def infinite_triangular(
    beta: float, couplings: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Partition:
    """One site of the infinite triangular lattice; beta >= 0. e = -2 J at K_c.

    Two of the signs can be changed together by flipping every other line; what remains must be a
    ferromagnet or three equal negative couplings. Raises ValueError for other couplings and for
    |K| > 150."""
    _check(beta, couplings)
    strengths = abs(couplings[0]), abs(couplings[1]), abs(couplings[2])
    if sum(j < 0 for j in couplings) % 2 and 0 not in couplings:
        if len(set(strengths)) > 1:
            raise ValueError(
                f"couplings {couplings} are frustrated and not of equal strength; allowed are "
                "three equal antiferromagnetic couplings or an even number of negative ones"
            )
        return _partition(1, beta, free_fermions.frustrated(beta, strengths[0]))
    return _partition(1, beta, free_fermions.infinite(beta, strengths))


def infinite_honeycomb(beta: float, coupling: float = 1.0) -> Partition:
    """One site of the infinite honeycomb lattice, J of any sign; beta >= 0, |K| <= 150.

    e = -2 J / sqrt 3 at K_c."""
    _check(beta, (coupling,))
    log_z = _honeycomb(_infinite_triangular, 1, beta * coupling)
    return _partition(1, beta, _in_beta(log_z / 2, coupling))


def infinite_kagome(beta: float, coupling: float = 1.0) -> Partition:
    """One site of the infinite kagome lattice, J of any sign; beta >= 0, |K| <= 150.

    e = -(1 + 2 sqrt 3) J / 3 at K_c."""
    _check(beta, (coupling,))
    log_z = _kagome(_infinite_triangular, 1, beta * coupling)
    return _partition(1, beta, _in_beta(log_z / 3, coupling))


def triangular_torus(
    rows: int, columns: int, beta: float, couplings: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Partition:
    """rows x columns cells with one site each, J >= 0 along axes 0, 1 and the diagonal; beta >= 0.

    The diagonal joins (x_0, x_1) to (x_0 + 1, x_1 - 1), or to (x_0 + 1, x_1 + 1): the same Z. A
    side of 2 carries two bonds per pair. Raises ValueError for a side < 2, J < 0 or |K| > 150."""
    check_side("rows", rows)
    check_side("columns", columns)
    _check(beta, couplings)
    if min(couplings) < 0:
        raise ValueError(f"couplings must be >= 0 on a triangular torus, got {couplings}")
    jet = free_fermions.torus((rows, columns), beta, couplings)
    return _partition(rows * columns, beta, jet)


def honeycomb_torus(rows: int, columns: int, beta: float, coupling: float = 1.0) -> Partition:
    """rows x columns cells with two sites each, J of any sign; beta >= 0, |K| <= 150."""
    check_side("rows", rows)
    check_side("columns", columns)
    _check(beta, (coupling,))
    log_z = _honeycomb(_torus(rows, columns), rows * columns, beta * coupling)
    return _partition(2 * rows * columns, beta, _in_beta(log_z, coupling))


def kagome_torus(rows: int, columns: int, beta: float, coupling: float = 1.0) -> Partition:
    """rows x columns cells with three sites each, J of any sign; beta >= 0,
    |K| <= 150."""
    check_side("rows", rows)
    check_side("columns", columns)
    _check(beta, (coupling,))
    log_z = _kagome(_torus(rows, columns), rows * columns, beta * coupling)
    return _partition(3 * rows * columns, beta, _in_beta(log_z, coupling))


def _infinite_triangular(k: float) -> Jet:
    return free_fermions.infinite(k, (1.0, 1.0, 1.0))


def _torus(rows: int, columns: int) -> Triangular:
    def log_z(k: float) -> Jet:
        return free_fermions.torus((rows, columns), k, (1.0, 1.0, 1.0))

    return log_z


def _honeycomb(triangular: Triangular, cells: int, k: float) -> Jet:
    """ln Z of `cells` cells of two sites and its derivatives in K."""
    y = math.exp(-2 * abs(k))
    d = 1 - y + y**2
    inner = np.array(
        [
            math.log1p(4 * math.sinh(k) ** 2) / 4,
            math.copysign((1 - y**2) / (2 * d), k),
            y * (4 * y - 1 - y**2) / d**2,
        ]
    )
    t = math.tanh(k)
    log_cosh = np.array([abs(k) + math.log1p(y), t, 4 * y / (1 + y) ** 2])  # of 2 cosh K
    summed = jets.through(triangular(float(inner[0])), inner)
    return np.asarray(summed + cells * (log_cosh + inner))


def _kagome(triangular: Triangular, cells: int, k: float) -> Jet:
    """ln Z of `cells` cells of three sites and its derivatives in K: with w = exp(4K),
    L = 1/2 ln((w + 1) / 2) and R^2 = exp(2K) (w + 3), it is
    3 ln D(L) + ln Z_honeycomb(L) - 2 ln R."""
    w, inverse = math.exp(4 * k), math.exp(-4 * k)
    sech = 1 / math.cosh(2 * k)
    bond = np.array(
        [
            k + math.log(math.cosh(2 * k)) / 2,
            1 + math.tanh(2 * k),
            2 * sech**2,
        ]
    )  # fmt: skip
    star = np.array(
        [
            2 * k + float(np.logaddexp(4 * k, math.log(3))),
            2 + 4 / (1 + 3 * inverse),
            48 / (w + 6 + 9 * inverse),
        ]
    )
    decorated = 3 * bond + np.array([3 * math.log(2), 0.0, 0.0]) - star
    honeycomb = jets.through(_honeycomb(triangular, cells, float(bond[0])), bond)
    return np.asarray(honeycomb + cells * decorated)


def _in_beta(jet: Jet, coupling: float) -> Jet:
    """Derivatives in beta from those in K = beta J."""
    return np.asarray(jet * np.array([1.0, coupling, coupling**2]))


def _partition(n: int, beta: float, jet: Jet) -> Partition:
    log_z, slope, curvature = jet.tolist()
    return Partition(n, beta, log_z, -slope, beta**2 * curvature)


def _check(beta: float, couplings: tuple[float, ...]) -> None:
    check_beta(beta)
    for axis, coupling in enumerate(couplings):
        check_finite(**{f"J_{axis}": coupling})
        check_k(f"J_{axis}", beta * coupling)
