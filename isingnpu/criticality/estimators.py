"""Estimators of critical phenomena, and the energy-resolved sums they are computed from.

Per sample: energy E, magnetisation per site m, structure factor S = S(k_min) averaged over axes.
With <.> the average, N sites and extent L:

    xi / L = sqrt(N <m^2> / <S> - 1) / (2 L sin(|k_min| / 2))      second-moment length
    U4 = 1 - <m^4> / (3 <m^2>^2),   U2 = <m^2> / <|m|>^2           cumulant, moment ratio
    chi = N <m^2>,   chi' = N (<m^2> - <|m|>^2)                    susceptibilities
    c = beta^2 (<E^2> - <E>^2) / N                                 specific heat

S(0) = N <m^2> is not connected. xi is nan where S(0) < S(k_min). chi diverges at the critical
point and is the one of finite-size scaling; chi' has its peak there and vanishes in the ordered
phase. k_B T times the response to a field is chi above T_c and chi' below: multiply by beta for
the response itself. U4 is 0 for a Gaussian and 2/3 in order; other programs print <m^4> / <m^2>^2
under the same name.
A histogram keeps, per independent block and energy level, the sums of 1, E, m^2, m^4, S and, if
asked for, |m| and E^2: all that reweighting (`reweight`, `multihistogram`) needs.
Cooper, Freedman & Preston, Nucl. Phys. B 210, 210 (1982); Binder, Z. Phys. B 43, 119 (1981);
Wolff, Nucl. Phys. B 334, 581 (1990) (cluster estimators).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.model import IsingModel

Array = NDArray[np.float64]

OBSERVED = ("energy", "m2", "m4", "structure_factor")
MOMENTS = ("count", "energy", "m2", "m4", "s")
EXTRA = {"abs_magnetization": "abs_m", "energy2": "energy2"}  # what may be kept beside MOMENTS
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


def graph_length(m2: ArrayLike, s: ArrayLike, sites: int, eigenvalue: float) -> Array:
    """The same on a graph, sqrt((N <m^2> / <S> - 1) / lambda) in steps of an edge.

    S = (sum_i v_i s_i)^2 with v a unit eigenvector of the graph's Laplacian for its smallest
    eigenvalue lambda > 0, averaged over the eigenvectors of lambda. On a lattice without
    sublattices v are plane waves and lambda = 4 sin^2(k / 2)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = sites * np.asarray(m2, np.float64) / np.asarray(s) - 1
        return np.asarray(np.sqrt(excess / eigenvalue))


def moment_ratio(abs_m: ArrayLike, m2: ArrayLike) -> Array:
    """U2 = <m^2> / <|m|>^2: pi / 2 for a Gaussian, 1 in order."""
    return np.asarray(np.asarray(m2, np.float64) / np.asarray(abs_m) ** 2)


def susceptibility(m2: ArrayLike, sites: int) -> Array:
    """chi = N <m^2>, disconnected, without the factor beta."""
    return np.asarray(sites * np.asarray(m2, np.float64))


def connected_susceptibility(abs_m: ArrayLike, m2: ArrayLike, sites: int) -> Array:
    """chi' = N (<m^2> - <|m|>^2), without the factor beta."""
    return np.asarray(sites * (np.asarray(m2, np.float64) - np.asarray(abs_m) ** 2))


def specific_heat(energy: ArrayLike, energy2: ArrayLike, beta: float, sites: int) -> Array:
    """c = beta^2 (<E^2> - <E>^2) / N per site in units of k_B, from totals E."""
    variance = np.asarray(energy2, np.float64) - np.asarray(energy) ** 2
    return np.asarray(beta**2 * variance / sites)


def thermal_slope(average: ArrayLike, with_energy: ArrayLike, energy: ArrayLike) -> Array:
    """d<A>/dbeta = <A> <E> - <A E> of an observable A that does not depend on beta."""
    return np.asarray(np.asarray(average) * np.asarray(energy) - np.asarray(with_energy))


def binder_slope(m2: ArrayLike, m4: ArrayLike, slope2: ArrayLike, slope4: ArrayLike) -> Array:
    """dU4/dbeta from <m^2>, <m^4> and their slopes in beta."""
    m2, m4 = np.asarray(m2, np.float64), np.asarray(m4, np.float64)
    return np.asarray((2 * m4 * slope2 / m2 - slope4) / (3 * m2**2))


@dataclass(frozen=True, eq=False)
class Box:
    """A finite lattice without field as scaling sees it: size L, sites N, |k_min| (mean over
    axes), and the energy levels: floor((E - lowest) / width), width whole energy quanta.

    k is nan for a graph without positions; its xi is then nan."""

    size: int
    sites: int
    k: float
    lowest: float
    width: float
    levels: int

    @classmethod
    def of(cls, model: IsingModel, size: int) -> Box:
        """The box of a model whose size, the parameter of its family, is given."""
        quantum = model.quantized.quantum
        reach = int(np.abs(model.quantized.couplings).sum()) // 2  # |E| <= reach quanta
        width = max(1, -(-2 * reach // MAX_LEVELS))
        k = math.nan
        if model.geometry is not None and model.geometry.vectors is not None:
            k = float(np.linalg.norm(model.geometry.k_min, axis=1).mean())
        lowest = model.offset - (reach + 0.5) * quantum
        return cls(size, model.n, k, lowest, width * quantum, 2 * reach // width + 1)

    def window(self, low: float, high: float, quantum: float) -> Box:
        """The same box with up to MAX_LEVELS levels between two energies, each as wide as a whole
        number of `quantum`, that of the model: where couplings are real, levels of the whole range
        are wide beside the energies that one beta visits."""
        first = math.floor((low - self.lowest) / quantum)
        reach = math.ceil((high - self.lowest) / quantum) - first
        width = max(1, math.ceil(reach / MAX_LEVELS))
        lowest = self.lowest + first * quantum
        return replace(self, lowest=lowest, width=width * quantum, levels=-(-reach // width))

    def level(self, energy: Array) -> NDArray[np.int64]:
        """Number of the level of each energy, of any shape; beyond an end the level at this end,
        whose mean energy then stands for it."""
        number = np.floor((np.asarray(energy) - self.lowest) / self.width).astype(np.int64)
        return np.asarray(number.clip(0, self.levels - 1))

    def ratios(self, sums: Array) -> Array:
        """RATIOS (2, ...) from sums (5 or more, ...) that begin in the order of MOMENTS."""
        m2, m4, s = sums[2:5] / sums[0]
        length = second_moment_length(m2, s, self.sites, self.k)
        return np.stack([length / self.size, binder(m2, m4)])


@dataclass(frozen=True, eq=False)
class Histogram:
    """Sums (moments, blocks, levels) of samples taken at one beta; blocks are independent.

    moments: names of the rows, MOMENTS and then any of EXTRA's."""

    box: Box
    beta: float
    sums: Array
    moments: tuple[str, ...] = MOMENTS

    @classmethod
    def of(
        cls,
        box: Box,
        beta: float,
        series: dict[str, Array],
        extra: Sequence[str] = (),
        *,
        blocks: int | None = None,
    ) -> Histogram:
        """Of series (replicas, samples) of OBSERVED; each replica is a block, or each group of
        consecutive ones if the number of `blocks` is given, a divisor of that of replicas.

        extra: "abs_magnetization" (a series) or "energy2" (computed; exact <E^2> where a level
        holds several energies). A model without positions has no structure factor: nan."""
        energy, m2, m4 = (series[name] for name in OBSERVED[:3])
        s = series["structure_factor"] if math.isfinite(box.k) else np.full_like(energy, np.nan)
        more = [energy**2 if name == "energy2" else series[name] for name in extra]
        blocks = len(energy) if blocks is None else blocks
        if len(energy) % blocks:
            raise ValueError(f"{len(energy)} replicas do not divide into {blocks} blocks")
        block = np.arange(len(energy)) // (len(energy) // blocks)
        cell = (box.level(energy) + box.levels * block[:, None]).ravel()
        sums = [
            np.bincount(cell, None if x is None else x.ravel(), blocks * box.levels)
            for x in (None, energy, m2, m4, s, *more)
        ]
        shaped = np.stack(sums).reshape(-1, blocks, box.levels).astype(np.float64)
        return cls(box, beta, shaped, (*MOMENTS, *(EXTRA[name] for name in extra)))

    def row(self, moment: str) -> int:
        """Row of a moment in `sums`. Raises ValueError for one that was not kept."""
        if moment not in self.moments:
            raise ValueError(
                f"{moment} was not kept, this histogram has {', '.join(self.moments)}; name it "
                "in `extra` of Histogram.of"
            )
        return self.moments.index(moment)

    def __add__(self, other: Histogram) -> Histogram:
        """The same chains sampled further: block i with block i."""
        if (self.beta, self.moments) != (other.beta, other.moments):
            raise ValueError(
                "histograms add up at one beta with the same moments, got "
                f"{self.beta} {self.moments} and {other.beta} {other.moments}"
            )
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
    """(replicas, samples) m^2 / <m^2> - S / <S>: how a sample moves xi, for its tau; without
    positions m^2 / <m^2>, which moves U4."""
    relative = series["m2"] / series["m2"].mean()
    if "structure_factor" not in series:
        return np.asarray(relative)
    s = series["structure_factor"]
    return np.asarray(relative - s / s.mean())
