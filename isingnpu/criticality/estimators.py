"""Energy-resolved sums of samples, and the dimensionless ratios computed from them.

Per sample: energy E, magnetisation per site m, structure factor S = S(k_min) averaged over axes.
A histogram keeps, per independent block and energy level, the sums of 1, E, m^2, m^4 and S: all
that reweighting (`reweight`) needs. With <.> the average, N sites and extent L:

    xi / L = sqrt(N <m^2> / <S> - 1) / (2 L sin(|k_min| / 2))      second-moment length
    U4 = 1 - <m^4> / (3 <m^2>^2)                                   Binder cumulant

S(0) = N <m^2> is not connected. xi is nan where S(0) < S(k_min). Cooper, Freedman & Preston,
Nucl. Phys. B 210, 210 (1982); Binder, Z. Phys. B 43, 119 (1981).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.model import IsingModel

Array = NDArray[np.float64]

OBSERVED = ("energy", "m2", "m4", "structure_factor")
MOMENTS = ("count", "energy", "m2", "m4", "s")
RATIOS = ("xi/L", "U4")
MAX_LEVELS = 2048


def binder(m2: ArrayLike, m4: ArrayLike) -> Array:
    """U4 = 1 - <m^4> / (3 <m^2>^2) of averages of any shape."""
    return np.asarray(1 - np.asarray(m4) / (3 * np.asarray(m2) ** 2))


def second_moment_length(m2: ArrayLike, s: ArrayLike, sites: int, k: float) -> Array:
    """sqrt(N <m^2> / <S(k)> - 1) / (2 sin(k / 2)) in lattice constants, of averages of any shape;
    nan where N <m^2> < <S(k)>. k: length of the wave vector."""
    with np.errstate(divide="ignore", invalid="ignore"):  # the root of a negative number is nan
        excess = sites * np.asarray(m2, np.float64) / np.asarray(s) - 1
        return np.asarray(np.sqrt(excess) / (2 * math.sin(k / 2)))


@dataclass(frozen=True, eq=False)
class Box:
    """A finite lattice without field as scaling sees it: size L, sites N, |k_min| (mean over
    axes), and the energy levels: floor((E - lowest) / width), width whole energy quanta."""

    size: int
    sites: int
    k: float
    lowest: float
    width: float
    levels: int

    @classmethod
    def of(cls, model: IsingModel, size: int) -> Box:
        """The box of a model with geometry whose size, the parameter of its family, is given."""
        assert model.geometry is not None
        quantum = model.quantized.quantum
        reach = int(np.abs(model.quantized.couplings).sum()) // 2  # |E| <= reach quanta
        width = max(1, -(-2 * reach // MAX_LEVELS))
        k = float(np.linalg.norm(model.geometry.k_min, axis=1).mean())
        lowest = model.offset - (reach + 0.5) * quantum
        return cls(size, model.n, k, lowest, width * quantum, 2 * reach // width + 1)

    def level(self, energy: Array) -> NDArray[np.int64]:
        """Number of the level of each energy, of any shape."""
        return np.floor((energy - self.lowest) / self.width).astype(np.int64)

    def ratios(self, sums: Array) -> Array:
        """RATIOS (2, ...) from sums (5, ...) in the order of MOMENTS."""
        m2, m4, s = sums[2:] / sums[0]
        length = second_moment_length(m2, s, self.sites, self.k)
        return np.stack([length / self.size, binder(m2, m4)])


@dataclass(frozen=True, eq=False)
class Histogram:
    """Sums (moments, blocks, levels) of samples taken at one beta; blocks are independent."""

    box: Box
    beta: float
    sums: Array

    @classmethod
    def of(cls, box: Box, beta: float, series: dict[str, Array]) -> Histogram:
        """Of series (replicas, samples) of OBSERVED; each replica is a block."""
        energy, m2, m4, s = (series[name] for name in OBSERVED)
        replicas = len(energy)
        cell = (box.level(energy) + box.levels * np.arange(replicas)[:, None]).ravel()
        sums = [
            np.bincount(cell, None if x is None else x.ravel(), replicas * box.levels)
            for x in (None, energy, m2, m4, s)
        ]
        return cls(box, beta, np.stack(sums).reshape(-1, replicas, box.levels).astype(np.float64))

    def __add__(self, other: Histogram) -> Histogram:
        return replace(self, sums=self.sums + other.sums)

    @property
    def occupied(self) -> Histogram:
        """Without the levels that no sample has."""
        return replace(self, sums=self.sums[:, :, self.sums[0].any(axis=0)])

    @property
    def energies(self) -> Array:
        """(levels,) mean energy of the samples in each level; nan in an empty one."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.sums[1].sum(axis=0) / self.sums[0].sum(axis=0))

    @property
    def energy_deviation(self) -> float:
        """Standard deviation of the energy of one sample."""
        count, energy = self.sums[0].sum(axis=0), np.nan_to_num(self.energies)
        mean = (count @ energy) / count.sum()
        return float(np.sqrt(count @ (energy - mean) ** 2 / count.sum()))


def length_response(series: dict[str, Array]) -> Array:
    """(replicas, samples) m^2 / <m^2> - S / <S>: how a sample moves xi, for its tau."""
    m2, s = series["m2"], series["structure_factor"]
    return np.asarray(m2 / m2.mean() - s / s.mean())
