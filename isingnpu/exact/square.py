"""The square lattice without field: Kaufman's torus, Onsager's and Yang's infinite lattice.

Torus of sides L_0, L_1 with couplings J_0, J_1 along the axes, y_a = exp(-2 beta J_a):

    Z = 1/2 exp(beta N (J_0 + J_1)) (P_11 + P_10 + P_01 + P_00),
    P_ab = prod_{p, q} F(p, q)^{1/2},  p = 2 pi (k + a/2) / L_0,  q = 2 pi (l + b/2) / L_1,
    F = r^2 + 4 y_1 (1 - y_0^2) sin^2(p/2) + 4 y_0 (1 - y_1^2) sin^2(q/2),
    r = 1 - y_0 - y_1 - y_0 y_1

r changes sign at the critical point and P_00 contains r itself, not F(0, 0)^{1/2} = |r|.
Taking the product over p gives the factors 2 cosh(L_0 gamma_q / 2) and 2 sinh(L_0 gamma_q / 2) of
Kaufman, Phys. Rev. 76, 1232 (1949). Lengths are in lattice units.
"""

from __future__ import annotations

import math

import numpy as np

from isingnpu.exact.partition import Partition, check_beta, check_k, check_side
from isingnpu.model import Array

# Polynomials in y_0, y_1 as (coefficient, power of y_0, power of y_1).
_ROOT = ((1, 0, 0), (-1, 1, 0), (-1, 0, 1), (-1, 1, 1))
_SINE_0 = ((4, 0, 1), (-4, 2, 1))
_SINE_1 = ((4, 1, 0), (-4, 1, 2))
_ONE = np.array([1.0, 0.0, 0.0])


def kaufman(
    rows: int, columns: int, beta: float, couplings: tuple[float, float] = (1.0, 1.0)
) -> Partition:
    """`Partition` of the rows x columns torus, beta >= 0; J_0 couples sites of a column.

    Derivatives in beta are analytic. Relative error about 1e-15, but at small K = beta J
    1e-14 / K of the energy and at large K 1e-17 exp(6K) of the heat capacity, which vanishes
    there. A side of 2 carries two bonds per pair. Raises ValueError for a side < 2, for
    |K| > 150, and for J < 0 along an odd side (frustrated: the four terms cancel)."""
    check_beta(beta)
    sides = (rows, columns)
    for axis, (side, coupling) in enumerate(zip(sides, couplings, strict=True)):
        check_side(("rows", "columns")[axis], side)
        check_k(f"J_{axis}", beta * coupling)
        if coupling < 0 and side % 2:
            raise ValueError(
                f"J_{axis} = {coupling} along an odd side of {side} is frustrated; "
                "use an even side or transfer_matrix"
            )
    j = (abs(couplings[0]), abs(couplings[1]))  # even sides: flip every second line
    first = _sector(sides, beta, j, (1, 1))
    total = _ONE + sum(
        _times_exp(_ONE, _sector(sides, beta, j, s) - first) for s in ((1, 0), (0, 1))
    )
    total = total + _times_exp(_jet(_ROOT, beta, j), _sector(sides, beta, j, (0, 0)) - first)
    g1, g2 = total[1] / total[0], total[2] / total[0]
    n = rows * columns
    return Partition(
        n=n,
        beta=beta,
        ln_z=n * beta * (j[0] + j[1]) + float(first[0]) + math.log(total[0] / 2),
        energy=-n * (j[0] + j[1]) - float(first[1] + g1),
        heat_capacity=beta**2 * float(first[2] + g2 - g1**2),
    )


def _jet(
    terms: tuple[tuple[int, int, int], ...], beta: float, couplings: tuple[float, float]
) -> Array:
    """A polynomial in y_0, y_1 with its first two derivatives in beta, (3,)."""
    jet = np.zeros(3)
    for coefficient, a, b in terms:
        rate = -2 * (a * couplings[0] + b * couplings[1])  # y_0^a y_1^b = exp(rate beta)
        jet += coefficient * math.exp(rate * beta) * np.array([1.0, rate, rate**2])
    return jet


def _sector(
    sides: tuple[int, int], beta: float, couplings: tuple[float, float], shift: tuple[int, int]
) -> Array:
    """ln P_ab and its derivatives, (3,); for shift (0, 0) without the factor r."""
    sines = [
        np.sin(np.pi * (np.arange(side) + s / 2) / side) ** 2
        for side, s in zip(sides, shift, strict=True)
    ]
    r, s0, s1 = (_jet(terms, beta, couplings) for terms in (_ROOT, _SINE_0, _SINE_1))
    square = (r[0] ** 2, 2 * r[0] * r[1], 2 * (r[1] ** 2 + r[0] * r[2]))
    f, f1, f2 = (
        (square[k] + s0[k] * sines[0][:, None] + s1[k] * sines[1][None, :]).ravel()
        for k in range(3)
    )
    if shift == (0, 0):
        f, f1, f2 = f[1:], f1[1:], f2[1:]
    slope = f1 / f
    return 0.5 * np.array([np.log(f).sum(), slope.sum(), (f2 / f - slope**2).sum()])


def _times_exp(factor: Array, exponent: Array) -> Array:
    """Jet of r exp(d) from the jets of r and d."""
    r, r1, r2 = factor
    d, d1, d2 = exponent
    return math.exp(d) * np.array([r, r1 + r * d1, r2 + 2 * r1 * d1 + r * (d2 + d1**2)])


def strip_correlation_length(
    width: int, beta: float, couplings: tuple[float, float] = (1.0, 1.0)
) -> float:
    """Correlation length along an infinite periodic strip, J_0 > 0 along, J_1 > 0 across.

    1 / xi = 1/2 sum_q (gamma_q(odd) - gamma_q(even)), odd q = pi (2 l + 1) / width,
    sinh^2(gamma_q / 2) = sinh^2(gamma_0 / 2) + (sinh 2K_1 / sinh 2K_0) sin^2(q / 2),
    gamma_0 = 2 K_1 + ln tanh K_0 with its sign. xi / width -> 4 / pi at the critical point of
    J_0 = J_1 (Cardy, J. Phys. A 17, L385 (1984)). The ordered phase has xi ~ exp(width): raises
    ValueError when rounding leaves fewer than three digits, and for other widths or couplings."""
    check_side("width", width)
    k0, k1 = _positive_k(beta, couplings)
    gamma_0 = 2 * k1 + math.log(math.tanh(k0))
    ratio = math.sinh(2 * k1) / math.sinh(2 * k0)
    q = np.pi * np.arange(2 * width) / width  # even and odd wave numbers alternate
    gammas = 2 * np.arcsinh(np.sqrt(math.sinh(gamma_0 / 2) ** 2 + ratio * np.sin(q / 2) ** 2))
    gammas[0] = gamma_0
    signs = np.where(np.arange(2 * width) % 2, 0.5, -0.5)
    inverse = math.fsum(signs * gammas)
    rounding = math.ulp(1.0) * float(np.abs(gammas).sum())
    if inverse < 1e3 * rounding:
        raise ValueError(
            f"1 / xi = {inverse:.1e} is lost in the rounding {rounding:.1e} of its sum "
            f"(width {width}, beta {beta}); reduce the width or beta"
        )
    return 1 / inverse


def onsager_energy(beta: float, coupling: float = 1.0) -> float:
    """Energy per site of the infinite lattice, e = -J coth 2K (1 + (2/pi) kappa K1(k)).

    kappa = 2 tanh^2 2K - 1, k^2 + kappa^2 = 1, K = beta |J| > 0. With the arithmetic-geometric
    mean A = AGM(1, |kappa|), (2/pi) K1 = 1 / A. Onsager, Phys. Rev. 65, 117 (1944)."""
    (k,) = _positive_k(beta, (abs(coupling),))
    t = math.tanh(2 * k)
    return -abs(coupling) / t * _agm(k)[0]


def onsager_specific_heat(beta: float, coupling: float = 1.0) -> float:
    """Specific heat per site of the infinite lattice, infinite at the critical point.

    c = (2/pi) (K coth 2K)^2 (2 K1 - 2 E1 - (1 - kappa)(pi/2 + kappa K1)), Onsager 1944. The
    terms cancel at low temperature: relative error about 1e-16 exp(4K) for K > K_c."""
    (k,) = _positive_k(beta, (abs(coupling),))
    t = math.tanh(2 * k)
    bracket, k1_minus_e1 = _agm(k)  # both in units of pi/2
    if math.isinf(k1_minus_e1):
        return math.inf
    one_minus_kappa = 2 * (1 / math.cosh(2 * k)) ** 2
    return (k / t) ** 2 * (2 * k1_minus_e1 - one_minus_kappa * bracket)


def _agm(k: float) -> tuple[float, float]:
    """(1 + kappa (2/pi) K1, (2/pi) (K1 - E1)) by the arithmetic-geometric mean of 1, |kappa|.

    Below K_c the first is 1 - |kappa| / A: a - |kappa| and g - |kappa| are carried, so nothing
    cancels at high temperature. K1 - E1 = K1 sum_n 2^(n-1) c_n^2, Abramowitz & Stegun 17.6."""
    tanh, sech = math.tanh(2 * k), 1 / math.cosh(2 * k)
    kappa = 2 * tanh**2 - 1
    low = abs(kappa)
    if low == 0:
        return 1.0, math.inf
    above, above_g = 2 * min(tanh**2, sech**2), 0.0  # a - |kappa|, g - |kappa|
    total = 2 * (tanh * sech) ** 2  # c_0^2 / 2 with c_0 the modulus
    for n in range(10):  # the least |kappa| of a double, 1e-16, converges in eight
        total += 2.0**n * ((above - above_g) / 2) ** 2
        g = math.sqrt((low + above) * (low + above_g))
        above, above_g = (
            (above + above_g) / 2,
            (low * (above + above_g) + above * above_g) / (g + low),
        )
    mean = low + above
    return (1 + kappa / mean if kappa > 0 else above / mean), total / mean


def yang_magnetization(beta: float, couplings: tuple[float, float] = (1.0, 1.0)) -> float:
    """Spontaneous magnetisation per site, m^8 = 1 - (sinh 2K_0 sinh 2K_1)^-2, 0 above T_c.

    Yang, Phys. Rev. 85, 808 (1952); Chang, Phys. Rev. 88, 1422 (1952) for J_0 != J_1 > 0."""
    k0, k1 = _positive_k(beta, couplings)
    log = _log_sinh(2 * k0) + _log_sinh(2 * k1)
    return (-math.expm1(-2 * log)) ** 0.125 if log > 0 else 0.0


def onsager_correlation_length(
    beta: float, direction: str = "axis", couplings: tuple[float, float] = (1.0, 1.0)
) -> float:
    """Exponential correlation length xi of the infinite lattice, infinite at T_c.

    Above T_c 1 / xi = ln coth K_0 - 2 K_1 along axis 0 ("axis") and
    -ln(sinh 2K_0 sinh 2K_1) / sqrt 2 per unit length along the diagonal ("diagonal"); below T_c
    connected correlations decay with twice the modulus. McCoy & Wu, The Two-Dimensional Ising
    Model (1973), ch. XI and XII."""
    k0, k1 = _positive_k(beta, couplings)
    if direction == "axis":
        inverse = -math.log(math.tanh(k0)) - 2 * k1
    elif direction == "diagonal":
        inverse = -(_log_sinh(2 * k0) + _log_sinh(2 * k1)) / math.sqrt(2)
    else:
        raise ValueError(f"direction must be 'axis' or 'diagonal', got {direction!r}")
    if inverse == 0:
        return math.inf
    return 1 / inverse if inverse > 0 else -0.5 / inverse


def _log_sinh(x: float) -> float:
    """ln sinh x for x > 0, without overflow."""
    return x + math.log(-math.expm1(-2 * x) / 2)


def _positive_k(beta: float, couplings: tuple[float, ...]) -> tuple[float, ...]:
    """K_a = beta J_a, each in (0, 150]."""
    check_beta(beta, positive=True)
    for axis, coupling in enumerate(couplings):
        check_k(f"J_{axis}", beta * coupling)
        if coupling <= 0:
            raise ValueError(
                f"J_{axis} must be > 0, got {coupling}; the energies of an antiferromagnet on "
                "this lattice are those of |J|"
            )
    return tuple(beta * coupling for coupling in couplings)
