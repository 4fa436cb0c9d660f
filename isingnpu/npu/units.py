"""Hidden spins: what stands in a transformer's feed-forward layer.

A unit sees a field f (k_B T = 1, beta = 1) and answers with a count of raised spins, 0..levels.
Its mean is the derivative of its potential, which for a heat bath is minus the free energy of the
unit in that field:

    Binary        one 0/1 spin:  mean sigma(f),  potential log(1 + e^f)
    PlusMinus     one -1/+1 spin:  mean tanh(f),  potential log 2 cosh f
    Tower(m)      m 0/1 spins that share their couplings, with offsets 1/2, 3/2, ...: mean
                  sum_j sigma(f - j - 1/2); a rectified linear unit made of spins (Nair and Hinton,
                  ICML 2010)
    HardTower(m)  m spins whose noise is uniform instead of logistic: spin j is up where
                  f - j > u, u uniform in [0, 1); mean clip(f, 0, m). What a digital p-bit without
                  a table of tanh computes. No heat bath: its potential, the integral of the mean,
                  is no free energy of a fixed energy.

This module is the float64 specification; devices (isingnpu.npu.device) compute it in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

Array = NDArray[Any]


class Unit(Protocol):
    """A kind of hidden spin; `kind` and `levels` are what kernels see of it."""

    @property
    def kind(self) -> int:
        """BINARY, PLUS_MINUS, TOWER or HARD_TOWER."""

    @property
    def levels(self) -> int:
        """Spins of the unit."""

    @property
    def centre(self) -> float:
        """What is taken from the state before it acts on the next block."""

    @property
    def is_heat_bath(self) -> bool:
        """Whether the law is a heat bath of an energy."""

    def mean(self, fields: ArrayLike) -> Array:
        """Expected state in these fields, any shape."""

    def potential(self, fields: ArrayLike) -> Array:
        """The function whose derivative is the mean; minus the free energy of a heat bath."""


BINARY, PLUS_MINUS, TOWER, HARD_TOWER = range(4)


@dataclass(frozen=True)
class Binary:
    """One 0/1 spin."""

    kind: ClassVar[int] = BINARY
    levels: ClassVar[int] = 1
    centre: ClassVar[float] = 0.5
    is_heat_bath: ClassVar[bool] = True

    def mean(self, fields: ArrayLike) -> Array:
        return np.asarray(expit(np.asarray(fields, np.float64)))

    def potential(self, fields: ArrayLike) -> Array:
        return np.asarray(np.logaddexp(0.0, fields))


@dataclass(frozen=True)
class PlusMinus:
    """One -1/+1 spin."""

    kind: ClassVar[int] = PLUS_MINUS
    levels: ClassVar[int] = 1
    centre: ClassVar[float] = 0.0
    is_heat_bath: ClassVar[bool] = True

    def mean(self, fields: ArrayLike) -> Array:
        return np.asarray(np.tanh(np.asarray(fields, np.float64)))

    def potential(self, fields: ArrayLike) -> Array:
        f = np.asarray(fields, np.float64)
        return np.asarray(np.logaddexp(f, -f))


@dataclass(frozen=True)
class Tower:
    """`levels` 0/1 spins with shared couplings and offsets 1/2, 3/2, ..."""

    levels: int = 4
    kind: ClassVar[int] = TOWER
    centre: ClassVar[float] = 0.0
    is_heat_bath: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_levels(self.levels)

    def mean(self, fields: ArrayLike) -> Array:
        return np.asarray(expit(self._shifted(fields)).sum(-1))

    def potential(self, fields: ArrayLike) -> Array:
        return np.asarray(np.logaddexp(0.0, self._shifted(fields)).sum(-1))

    def _shifted(self, fields: ArrayLike) -> Array:
        """(..., levels): the field of every spin."""
        offsets = np.arange(self.levels) + 0.5
        return np.asarray(fields, np.float64)[..., None] - offsets


@dataclass(frozen=True)
class HardTower:
    """`levels` spins with uniform noise: mean clip(f, 0, levels)."""

    levels: int = 4
    kind: ClassVar[int] = HARD_TOWER
    centre: ClassVar[float] = 0.0
    is_heat_bath: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_levels(self.levels)

    def mean(self, fields: ArrayLike) -> Array:
        return np.clip(np.asarray(fields, np.float64), 0.0, self.levels)

    def potential(self, fields: ArrayLike) -> Array:
        f = np.asarray(fields, np.float64)
        inside = self.mean(f)
        return np.asarray(inside**2 / 2 + self.levels * np.maximum(f - self.levels, 0.0))


UNITS: dict[str, type[Binary | PlusMinus | Tower | HardTower]] = {
    "binary": Binary,
    "plus-minus": PlusMinus,
    "tower": Tower,
    "hard-tower": HardTower,
}


def unit_of(text: str) -> Unit:
    """`binary`, `plus-minus`, `tower:8`, `hard-tower:4` as a unit; ValueError otherwise."""
    name, _, levels = text.partition(":")
    if name not in UNITS or (levels and not levels.isdigit()):
        raise ValueError(f"unknown unit {text!r}, allowed are {', '.join(UNITS)}, tower:LEVELS")
    kind = UNITS[name]
    if not levels:
        return kind()
    if issubclass(kind, Tower | HardTower):
        return kind(int(levels))
    raise ValueError(f"{name} has one spin: {text!r} should read {name!r}")


def unit_name(unit: Unit) -> str:
    """The inverse of `unit_of`."""
    name = next(name for name, kind in UNITS.items() if isinstance(unit, kind))
    return f"{name}:{unit.levels}" if unit.levels > 1 or "tower" in name else name


def _check_levels(levels: int) -> None:
    if not 1 <= levels <= 64:
        raise ValueError(f"a tower has 1 to 64 spins, got {levels}")
