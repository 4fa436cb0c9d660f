"""Potts spins: a spin of q colours, its heat bath, and small models of them with exact laws.

    E(y) = - sum_i f_i[y_i] - sum_{i<j} J_ij[y_i, y_j],    y_i in 0..q_i - 1,  p(y) ~ exp(-beta E)

An Ising or hidden 0/1 spin is a spin of two colours. Scores are minus energies: the heat bath of
one spin given the others is softmax(beta scores). Energies are in k_B T at beta = 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax

from isingnpu.npu.draws import Draw, uniforms

Array = NDArray[Any]

MAX_STATES = 1 << 22


def draw_states(scores: ArrayLike, u: ArrayLike) -> Array:
    """States (...,) int64 drawn from softmax(scores), scores (..., q), by the uniform numbers
    u (...,) in [0, 1): the first state whose cumulated probability exceeds u."""
    s = np.asarray(scores, np.float64)
    weights = np.exp(s - s.max(-1, keepdims=True))
    cumulated = np.cumsum(weights, -1)
    below = cumulated <= np.asarray(u, np.float64)[..., None] * cumulated[..., -1:]
    return np.asarray(np.minimum(below.sum(-1), s.shape[-1] - 1))


@dataclass(frozen=True, eq=False)
class PottsModel:
    """Fields and pair couplings of n Potts spins.

    fields: one (q_i,) array per spin; couplings: (i, j) with i < j -> (q_i, q_j). ValueError for
    a shape that does not fit."""

    fields: tuple[Array, ...]
    couplings: Mapping[tuple[int, int], Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fields = tuple(np.asarray(f, np.float64) for f in self.fields)
        couplings = {pair: np.asarray(J, np.float64) for pair, J in self.couplings.items()}
        for i, f in enumerate(fields):
            if f.ndim != 1 or f.size < 2 or not np.isfinite(f).all():
                raise ValueError(f"fields[{i}] must be (q,) finite with q >= 2, got {f!r}")
        for (i, j), J in couplings.items():
            if not 0 <= i < j < len(fields):
                raise ValueError(f"a coupling needs sites i < j < {len(fields)}, got {(i, j)}")
            wanted = (fields[i].size, fields[j].size)
            if J.shape != wanted or not np.isfinite(J).all():
                raise ValueError(f"couplings[{i}, {j}] must be {wanted} finite, got {J.shape}")
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "couplings", couplings)

    @property
    def n(self) -> int:
        """Number of spins."""
        return len(self.fields)

    @property
    def colours(self) -> tuple[int, ...]:
        """q_i of every spin."""
        return tuple(f.size for f in self.fields)

    def __add__(self, other: PottsModel) -> PottsModel:
        """Energies add: the product of the two laws, normalised. ValueError for other spins."""
        if self.colours != other.colours:
            raise ValueError(f"spins of {self.colours} and of {other.colours} colours")
        couplings = dict(self.couplings)
        for pair, J in other.couplings.items():
            couplings[pair] = couplings[pair] + J if pair in couplings else J
        fields = zip(self.fields, other.fields, strict=True)
        return PottsModel(tuple(f + g for f, g in fields), couplings)

    def energy(self, states: ArrayLike) -> Array:
        """Energies (...,) of states (..., n)."""
        y = np.asarray(states)
        total = np.zeros(y.shape[:-1])
        for i, f in enumerate(self.fields):
            total -= f[y[..., i]]
        for (i, j), J in self.couplings.items():
            total -= J[y[..., i], y[..., j]]
        return total

    def scores(self, states: ArrayLike, site: int) -> Array:
        """(..., q_site) minus the energy of every colour of one spin, the others as given."""
        y = np.asarray(states)
        total = np.broadcast_to(self.fields[site], (*y.shape[:-1], self.fields[site].size)).copy()
        for (i, j), J in self.couplings.items():
            if i == site:
                total += J.T[y[..., j]]
            elif j == site:
                total += J[y[..., i]]
        return total

    def sweep(self, states: ArrayLike, draw: Draw, beta: float = 1.0) -> Array:
        """States (replicas, n) after a heat-bath visit of every spin in order; spin i takes the
        numbers of block i of `draw`."""
        y = np.array(states)
        for i in range(self.n):
            y[:, i] = draw_states(beta * self.scores(y, i), uniforms((len(y),), draw.at(block=i)))
        return y

    def clamped(self, states: Mapping[int, int]) -> PottsModel:
        """The model of the other spins, in their order, when these spins hold these states."""
        free = [i for i in range(self.n) if i not in states]
        place = {site: k for k, site in enumerate(free)}
        fields = [self.fields[i].copy() for i in free]
        couplings: dict[tuple[int, int], Array] = {}
        for (i, j), J in self.couplings.items():
            if i in place and j in place:
                couplings[place[i], place[j]] = J
            elif i in place:
                fields[place[i]] += J[:, states[j]]
            elif j in place:
                fields[place[j]] += J[states[i]]
        return PottsModel(tuple(fields), couplings)

    def states(self) -> Array:
        """All states (prod q, n), the last spin fastest. ValueError above 2^22 of them."""
        number = math.prod(self.colours)
        if number > MAX_STATES:
            raise ValueError(f"{number} states are too many to list, at most {MAX_STATES} are")
        return np.stack(np.unravel_index(np.arange(number), self.colours), axis=-1)

    def log_law(self, beta: float = 1.0) -> Array:
        """ln p of all states, shape `colours`."""
        scores = -beta * self.energy(self.states())
        return np.asarray(scores - logsumexp(scores)).reshape(self.colours)

    def marginal(self, sites: tuple[int, ...], beta: float = 1.0) -> Array:
        """Exact law of some spins, (q_i for i in sites), the others traced; sites ascend."""
        others = tuple(i for i in range(self.n) if i not in sites)
        return np.asarray(np.exp(self.log_law(beta)).sum(axis=others))


def heat_bath(scores: ArrayLike, beta: float = 1.0) -> Array:
    """Law of one Potts spin, softmax(beta scores) over the last axis, float64."""
    return np.asarray(softmax(beta * np.asarray(scores, np.float64), axis=-1))
