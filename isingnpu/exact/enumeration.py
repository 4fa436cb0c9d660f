"""Exact thermodynamics of any model of up to 24 sites: all 2^n states are visited.

    p(s) = exp(-beta E(s)) / Z

State number k has s_i = +1 where bit i of k is set, -1 elsewhere; every function of this package
that lists states uses this order. Energies are in units of J, k_B = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isingnpu.exact.partition import check_finite
from isingnpu.model import Array, IsingModel

# 2^24 energies are 128 MiB and 2^24 states of 24 int8 spins 384 MiB.
MAX_SITES = 24


@dataclass(frozen=True)
class Thermodynamics:
    """Exact averages of n sites at beta.

    ln_z, energy, heat_capacity = beta^2 Var E and entropy are totals; m, abs_m, m2, m4 are
    <m>, <|m|>, <m^2>, <m^4> of the magnetisation per site m = sum s_i / n (nan for n = 0).
    """

    n: int
    beta: float
    ln_z: float
    energy: float
    heat_capacity: float
    entropy: float
    m: float
    abs_m: float
    m2: float
    m4: float

    @property
    def binder(self) -> float:
        """U4 = 1 - <m^4> / (3 <m^2>^2), nan if m is always 0."""
        return 1 - self.m4 / (3 * self.m2**2) if self.m2 else math.nan


def enumerate_states(model: IsingModel) -> tuple[Array, Array]:
    """All states (2^n, n) int8 and their energies (2^n,) float64. Raises ValueError, n > 24."""
    energies = state_energies(model)
    return spins_of(np.arange(energies.size), model.n), energies


def state_energies(model: IsingModel) -> Array:
    """Energies (2^n,) of all states in state order, without the states.

    Built by doubling: E(s, s_k) = E(s) - s_k (h_k + sum_{j<k} J_jk s_j) in O(2^n) additions;
    exact for whole-number couplings. Raises ValueError for more than 24 sites."""
    _check_size(model)
    dtype = np.int64 if model.is_integer else np.float64
    couplings = model.dense.astype(dtype)
    energies = np.zeros(1, dtype)
    for k, field in enumerate(model.fields.astype(dtype)):
        local = np.array([field])  # field on site k, (2^j,) after neighbour j
        for coupling in couplings[:k, k]:
            local = np.concatenate([local - coupling, local + coupling])
        energies = np.concatenate([energies + local, energies - local])
    return energies + model.offset


def spins_of(numbers: Array, n: int) -> Array:
    """States (len(numbers), n) int8 of the given state numbers."""
    states = np.empty((numbers.size, n), np.int8)
    for i in range(n):  # one column at a time: no (2^n, n) int64 intermediate
        states[:, i] = 2 * ((numbers >> i) & 1) - 1
    return states


def boltzmann(model: IsingModel, beta: float) -> Array:
    """Probabilities (2^n,) of all states, in the order of `enumerate_states`."""
    weights, _ = _weights(state_energies(model), beta)
    return np.asarray(weights / weights.sum())


def thermodynamics(model: IsingModel, beta: float) -> Thermodynamics:
    """Exact `Thermodynamics` of a model of at most 24 sites at one beta of either sign."""
    energies = state_energies(model)
    weights, reference = _weights(energies, beta)
    up = np.zeros(1, np.int8)
    for _ in range(model.n):
        up = np.concatenate([up, up + np.int8(1)])
    sectors = np.array([weights[up == k].sum() for k in range(model.n + 1)])
    return average(model.n, beta, weights, energies, reference, sectors)


def average(
    n: int,
    beta: float,
    weights: Array,
    energies: Array,
    reference: float,
    sectors: Array,
    log_scale: float = 0.0,
) -> Thermodynamics:
    """`Thermodynamics` of levels whose weight is exp(log_scale) times `weights`, the number of
    states times exp(-beta (E - reference)).

    weights, energies: (levels,); sectors: (n + 1,) weight of k = 0..n up spins."""
    z = weights.sum()
    p = weights / z
    # (p * x).sum() adds pairwise; p @ x loses three digits over 2^24 terms.
    excess = float((p * (energies - reference)).sum())
    variance = float((p * (energies - reference - excess) ** 2).sum())
    ln_z = log_scale + float(np.log(z))
    m = (2 * np.arange(n + 1) - n) / n if n else np.full(1, np.nan)
    q = sectors / z
    return Thermodynamics(
        n=n,
        beta=beta,
        ln_z=ln_z - beta * reference,
        energy=reference + excess,
        heat_capacity=beta**2 * variance,
        entropy=ln_z + beta * excess,
        m=float(q @ m),
        abs_m=float(q @ np.abs(m)),
        m2=float(q @ m**2),
        m4=float(q @ m**4),
    )


def ground_states(model: IsingModel) -> tuple[float, Array]:
    """Lowest energy and all states (g, n) int8 that have it.

    Energies of real couplings that differ by less than the rounding of their sum count as
    equal; whole-number couplings are compared exactly. Raises ValueError for n > 24."""
    energies = state_energies(model)
    lowest = energies.min()
    rounding = 0.0
    if not model.is_integer:
        terms = np.abs(model.csr.data).sum() / 2 + np.abs(model.fields).sum() + abs(model.offset)
        rounding = 2 * (model.n + 1) * math.ulp(1.0) * float(terms)
    return float(lowest), spins_of(np.flatnonzero(energies <= lowest + rounding), model.n)


def _weights(energies: Array, beta: float) -> tuple[Array, float]:
    """exp(-beta (E - reference)) with the reference the most probable energy."""
    check_finite(beta=beta)
    reference = float(energies.min() if beta >= 0 else energies.max())
    return np.exp(-beta * (energies - reference)), reference


def _check_size(model: IsingModel) -> None:
    if model.n > MAX_SITES:
        raise ValueError(
            f"enumeration of {model.n} sites needs 2^{model.n} energies "
            f"({2.0 ** (model.n - 27):.3g} GiB); at most {MAX_SITES} sites are enumerated: "
            "use transfer_matrix, kaufman or a sampler"
        )
