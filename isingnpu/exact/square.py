"""The square lattice without field: Kaufman's torus, Onsager's and Yang's infinite lattice.

The torus is the triangular one of isingnpu.exact.free_fermions with J_2 = 0. Taking its product
over p gives the factors 2 cosh(L_0 gamma_q / 2) and 2 sinh(L_0 gamma_q / 2) of Kaufman, Phys. Rev.
76, 1232 (1949). Lengths are in lattice units.
"""

from __future__ import annotations

import math

import numpy as np

from isingnpu.exact import free_fermions
from isingnpu.exact.partition import Partition, check_beta, check_k, check_side


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
    log_z = free_fermions.torus(sides, beta, (*j, 0.0)).tolist()
    return Partition(rows * columns, beta, log_z[0], -log_z[1], beta**2 * log_z[2])


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
