"""Layer normalisation: a thermostat that pins the heat capacity of a block of sites.

    f -> beta_b (f - mu_b),   mu_b = mean(f),   beta_b = gamma / std(f)
    C_b = beta_b^2 Var(f) = gamma^2 per block, at every input

mu_b is a chemical potential, which fixes the sum of the fields; beta_b is an inverse temperature
of the block's own. RMSNorm is the spherical constraint sum f^2 = n gamma^2 (Berlin and Kac, Phys.
Rev. 86, 821, 1952) with mu_b = 0.

Identity: the map is LayerNorm with gain gamma (Ba, Kiros & Hinton, arXiv:1607.06450); a vector of
gains and biases are couplings and fields of the next block. C_b is exact as the heat capacity of
the block's levels -f at infinite temperature; a Potts spin in these fields has C = gamma^2 (1 +
O(gamma)): the pin is a high-temperature one.
Rule: couplings learn with the thermostat frozen, that is with d(beta_b f)/df = beta_b. What this
leaves out of the derivative is its part along the block's mean and along its normalised field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Thermostat:
    """gamma: square root of the pinned heat capacity. spherical: no chemical potential (RMSNorm).
    floor: added to the variance; 0 pins C exactly and refuses a block without spread."""

    gamma: float = 1.0
    spherical: bool = False
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not (self.gamma > 0 and self.floor >= 0):
            raise ValueError(f"need gamma > 0 and floor >= 0, got {self}")

    def state(self, fields: ArrayLike) -> tuple[Array, Array]:
        """(mu, beta) of blocks (..., n), each (..., 1), float64. ValueError for a block without
        spread if floor = 0: no temperature gives it a heat capacity."""
        f = np.asarray(fields, np.float64)
        mu = f.mean(-1, keepdims=True)
        if self.spherical:
            mu = np.zeros_like(mu)
        variance = ((f - mu) ** 2).mean(-1, keepdims=True) + self.floor
        flat = np.argwhere(variance[..., 0] == 0)
        if len(flat):
            raise ValueError(
                f"block {flat[0].tolist()} has equal fields, so no temperature pins its heat "
                "capacity; pass floor > 0, which bounds beta"
            )
        return mu, self.gamma / np.sqrt(variance)

    def __call__(self, fields: ArrayLike) -> Array:
        """beta (f - mu), (..., n) in the dtype of the fields."""
        f = np.asarray(fields)
        mu, beta = self.state(f)
        dtype = f.dtype if np.issubdtype(f.dtype, np.floating) else np.float64
        return np.asarray(beta * (f - mu), dtype)
