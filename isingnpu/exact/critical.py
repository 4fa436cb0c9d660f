"""Exact critical points, in units of J = 1, k_B = 1; infinity where there is no transition.

Square: Kramers & Wannier 1941, Onsager 1944. Triangular and honeycomb: Houtappel, Physica 16, 425
(1950). Kagome: Kano & Naya, Prog. Theor. Phys. 10, 158 (1953). Bethe lattice: Baxter, Exactly
Solved Models (1982), ch. 4. Random graphs: Dorogovtsev, Goltsev & Mendes, PRE 66, 016104 (2002).
"""

from __future__ import annotations

import math

_CRITICAL_BETA = {
    "chain": math.inf,
    "square": math.asinh(1) / 2,  # sinh 2K = 1
    "triangular": math.log(3) / 4,  # e^4K = 3
    "honeycomb": math.acosh(2) / 2,  # cosh 2K = 2
    "kagome": math.log(3 + 2 * math.sqrt(3)) / 4,  # e^4K = 3 + 2 sqrt 3
    "curie-weiss": 1.0,  # couplings J / N
}


def critical_beta(lattice: str) -> float:
    """beta_c J of chain, square, triangular, honeycomb, kagome or curie-weiss (couplings J/N)."""
    if lattice not in _CRITICAL_BETA:
        raise ValueError(
            f"no exact critical point for {lattice!r}; allowed are {', '.join(_CRITICAL_BETA)}"
        )
    return _CRITICAL_BETA[lattice]


def critical_beta_square(couplings: tuple[float, float]) -> float:
    """beta_c of the anisotropic square lattice, sinh 2 beta J_0 sinh 2 beta J_1 = 1.

    The signs of the couplings do not matter; infinite if one of them is 0 (chains)."""
    low, high = sorted(abs(coupling) for coupling in couplings)
    if not math.isfinite(high):
        raise ValueError(f"couplings must be finite, got {couplings}")
    if low == 0:
        return math.inf
    # x = 2 beta high solves ln sinh x + ln sinh(r x) = 0. The left side is increasing and concave
    # and asinh(1) lies left of the root, so Newton's steps are positive until rounding.
    ratio = low / high
    x = math.asinh(1)
    while True:
        value = math.log(math.sinh(x)) + math.log(math.sinh(ratio * x))
        step = -value / (1 / math.tanh(x) + ratio / math.tanh(ratio * x))
        if x + step <= x:
            return x / (2 * high)
        x += step


def critical_beta_bethe(coordination: int) -> float:
    """tanh K = 1 / (q - 1): Bethe lattice and random q-regular graph; infinite for q <= 2."""
    if coordination < 1:
        raise ValueError(f"coordination must be >= 1, got {coordination}")
    return critical_beta_erdos_renyi(coordination - 1)


def critical_beta_erdos_renyi(mean_degree: float) -> float:
    """tanh K = 1 / c on a random graph of mean degree c; infinite for c <= 1, where no giant
    component exists."""
    if not math.isfinite(mean_degree) or mean_degree < 0:
        raise ValueError(f"mean degree must be finite and >= 0, got {mean_degree}")
    return math.atanh(1 / mean_degree) if mean_degree > 1 else math.inf
