"""What an exact solution gives: ln Z and its first two derivatives in beta.

E = -d ln Z / d beta,  C = beta^2 d^2 ln Z / d beta^2,  S = ln Z + beta E;  k_B = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# exp(4K) and its square stay within the range of a double.
MAX_K = 150.0


@dataclass(frozen=True)
class Partition:
    """ln Z, mean energy and heat capacity of n sites at beta: totals, not per site."""

    n: int
    beta: float
    ln_z: float
    energy: float
    heat_capacity: float

    @property
    def entropy(self) -> float:
        """S = ln Z + beta E."""
        return self.ln_z + self.beta * self.energy

    @property
    def ln_z_per_site(self) -> float:
        """ln Z / n."""
        return self.ln_z / self.n

    @property
    def energy_per_site(self) -> float:
        """e = E / n."""
        return self.energy / self.n

    @property
    def specific_heat(self) -> float:
        """c = C / n."""
        return self.heat_capacity / self.n


def check_finite(**values: float) -> None:
    """ValueError naming the first value that is not a finite number."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}")


def check_beta(beta: float, *, positive: bool = False) -> None:
    """ValueError unless beta is finite and >= 0 (> 0 if `positive`)."""
    if not math.isfinite(beta) or beta < 0 or (positive and beta == 0):
        allowed = "> 0" if positive else ">= 0"
        raise ValueError(
            f"beta must be finite and {allowed}, got {beta}; a negative temperature is the "
            "model with all couplings and fields negated"
        )


def check_k(name: str, k: float) -> None:
    """ValueError unless the reduced coupling |K| = |beta J| is at most 150."""
    if not abs(k) <= MAX_K:
        raise ValueError(
            f"|beta J| must be <= {MAX_K:g}, got beta J = {k} for {name}; raise the temperature: "
            "excitations weigh less than exp(-2 |beta J|)"
        )


def check_side(name: str, side: int, boundary: str = "periodic") -> None:
    """ValueError unless `side` sites fit the boundary: periodic >= 2, open >= 1."""
    if boundary not in ("periodic", "open"):
        raise ValueError(f"boundary must be 'periodic' or 'open', got {boundary!r}")
    least = 2 if boundary == "periodic" else 1
    if side < least:
        raise ValueError(
            f"{name} must be >= {least} with a {boundary} boundary, got {side}; "
            "a periodic side of 2 carries two bonds per pair"
        )
