"""The Bethe lattice: the interior of an infinite tree of coordination q, and the limit of random
q-regular graphs.

A spin without one of its neighbours feels the cavity field x (in units of 1 / beta),

    x = h + (q - 1) u,  u = artanh(t tanh x),  t = tanh K,  K = beta J,  h = beta H,

a whole one h + q u. With T = tanh x,

    m = tanh(h + q u),   <s s'> = (t + T^2) / (1 + t T^2) for neighbours,
    ln z = (q/2) ln(cosh K / (1 + t T^2)) + ln(exp(h) (1 + t T)^q + exp(-h) (1 - t T)^q).

Below T_c without field the ordered solution x > 0 is taken, with field the one along it.
Baxter, Exactly Solved Models (1982), ch. 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from isingnpu.exact.partition import check_beta, check_finite, check_k


@dataclass(frozen=True)
class BetheLattice:
    """Averages per site: energy, specific heat beta^2 Var E / N, <s>, susceptibility d<s> / dH.

    specific_heat is at fixed field and counts the change of the ordered state; at the critical
    point it is that of the disordered side and the susceptibility is infinite."""

    coordination: int
    beta: float
    ln_z: float
    energy: float
    specific_heat: float
    magnetization: float
    susceptibility: float


def bethe_lattice(
    coordination: int, beta: float, *, coupling: float = 1.0, field: float = 0.0
) -> BetheLattice:
    """Exact averages for q >= 2 neighbours, J > 0, any field and beta >= 0, |K| <= 150.

    q = 2 is the infinite chain. Without field, beta_c is `critical_beta_bethe`."""
    check_beta(beta)
    check_finite(coupling=coupling, field=field)
    check_k("coupling", beta * coupling)
    if coordination < 2:
        raise ValueError(f"coordination must be >= 2, got {coordination}")
    if coupling <= 0:
        raise ValueError(f"coupling must be > 0, got {coupling}")
    q, branches, k, h = coordination, coordination - 1, beta * coupling, beta * abs(field)
    x = _cavity_field(branches, k, h)
    t, cavity, y = math.tanh(k), math.tanh(x), h + q * _passed(k, x)
    by_x, by_k = _slopes(k, x)
    m, rest = math.tanh(y), 1 - branches * by_x
    dx = (abs(field) + branches * by_k * coupling) / rest if x > 0 else 0.0  # dx / dbeta
    dm = _sech2(y) * (abs(field) + q * (by_k * coupling + by_x * dx))
    d_pair = (
        coupling * _sech2(k) * (1 + cavity**2) + 2 * cavity * _sech2(k) * dx
    ) * _sech2(x) / (1 + t * cavity**2) ** 2  # fmt: skip
    pair = (t + cavity**2) / (1 + t * cavity**2)
    log_site = h + q * math.log1p(t * cavity) + math.log1p(math.exp(-2 * y))
    return BetheLattice(
        coordination=q,
        beta=beta,
        ln_z=q / 2 * (_log_cosh(k) - math.log(2) - math.log1p(t * cavity**2)) + log_site,
        energy=-q / 2 * coupling * pair - abs(field) * m,
        specific_heat=beta**2 * (q / 2 * coupling * d_pair + abs(field) * dm),
        magnetization=math.copysign(m, field) if field else m,
        susceptibility=beta * _sech2(y) * (1 + by_x) / rest if rest > 0 else math.inf,
    )


def _cavity_field(branches: int, k: float, h: float) -> float:
    """Largest root of h + (q - 1) u(x) - x, which is concave for x >= 0: Newton's steps from
    above only go down, until rounding."""
    if h == 0 and branches * math.tanh(k) <= 1:
        return 0.0
    x = h + branches * k
    while True:
        step = (h + branches * _passed(k, x) - x) / (branches * _slopes(k, x)[0] - 1)
        if not x - step < x:
            return x
        x -= step


def _passed(k: float, x: float) -> float:
    """u = artanh(tanh k tanh x) = 1/2 ln(cosh(k + x) / cosh(k - x))."""
    return (_log_cosh(k + x) - _log_cosh(k - x)) / 2


def _slopes(k: float, x: float) -> tuple[float, float]:
    """Derivatives of u in x and in k."""
    near, far = math.tanh(k + x), math.tanh(k - x)
    return (near + far) / 2, (near - far) / 2


def _log_cosh(x: float) -> float:
    """ln 2 cosh x."""
    return abs(x) + math.log1p(math.exp(-2 * abs(x)))


def _sech2(x: float) -> float:
    """1 / cosh^2 x."""
    decay = math.exp(-2 * abs(x))
    return 4 * decay / (1 + decay) ** 2
