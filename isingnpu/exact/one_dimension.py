"""Rings in a field and forests without: exact by a 2 x 2 transfer matrix, bond by bond.

Energies are in units of J, k_B = 1. Baxter, Exactly Solved Models (1982), ch. 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csgraph

from isingnpu.exact.partition import Partition, check_finite, check_k, check_side
from isingnpu.model import Array, IsingModel


@dataclass(frozen=True, eq=False)
class Ring:
    """Exact averages of a ring: ln_z and energy are totals, magnetization is <s>,
    correlations (n,) is <s_0 s_r>, not connected."""

    n: int
    beta: float
    ln_z: float
    energy: float
    magnetization: float
    correlations: Array


def ring(n: int, beta: float, *, coupling: float = 1.0, field: float = 0.0) -> Ring:
    """n >= 2 spins on a ring, E = -J sum s_i s_{i+1} - h sum s_i.

    Eigenvalues lambda = e^K cosh H +- sqrt(e^2K sinh^2 H + e^-2K), rho = lambda_- / lambda_+,
    <s_0 s_r> = c^2 + (1 - c^2)(rho^r + rho^(n-r)) / (1 + rho^n), <s> = c (1 - rho^n)/(1 + rho^n).
    A ring of 2 has two bonds. Raises ValueError for n < 2 and for |K| > 150."""
    check_side("n", n)
    check_finite(beta=beta, coupling=coupling, field=field)
    k, h = beta * coupling, beta * field
    check_k("coupling", k)
    # All exponentials are divided by exp(|K| + |H|).
    like, unlike, decay = math.exp(k - abs(k)), math.exp(-k - abs(k)), math.exp(-2 * abs(h))
    half_trace = like * (1 + decay) / 2
    tilt = math.copysign(-like * math.expm1(-2 * abs(h)) / 2, h)
    root = math.hypot(tilt, unlike * math.sqrt(decay))
    largest = half_trace + root
    c = tilt / root
    rho = math.copysign(math.expm1(-4 * abs(k)), k) * decay / largest**2
    gap = 2 * min(root, half_trace) / largest  # 1 - |rho|, without cancellation
    log_rho = math.log1p(-gap) if gap < 0.5 else float(np.log(max(abs(rho), 5e-324)))
    lost = -math.expm1(n * log_rho)  # 1 - |rho|^n
    r = np.minimum(np.arange(n), n - np.arange(n))  # the shorter way round
    if rho < 0 and n % 2:
        closed, difference = lost, 2 - lost  # 1 + rho^n, 1 - rho^n
        pair = -(rho**r) * np.expm1((n - 2 * r) * log_rho)
    else:
        closed, difference = 2 - lost, lost
        pair = rho**r + rho ** (n - r)
    correlations = c**2 + (1 - c**2) * pair / closed
    magnetization = c * difference / closed
    return Ring(
        n=n,
        beta=beta,
        ln_z=n * (abs(k) + abs(h) + math.log(largest)) + math.log(closed),
        energy=-n * (coupling * float(correlations[1]) + field * magnetization),
        magnetization=magnetization,
        correlations=correlations,
    )


def forest(model: IsingModel, beta: float) -> Partition:
    """`Partition` of a model without cycles and without fields, any size and any couplings:

        Z = 2^n exp(-beta c) prod_ij cosh(beta J_ij)

    Raises ValueError for a cycle or a field."""
    check_finite(beta=beta)
    if model.n == 0:
        raise ValueError("the model has no sites")
    cycles = model.n_edges - model.n + csgraph.connected_components(model.csr, directed=False)[0]
    if cycles:
        raise ValueError(f"the graph has {cycles} independent cycles, a forest has none")
    site = np.flatnonzero(model.fields)
    if site.size:
        raise ValueError(f"field {site[0]} is {model.fields[site[0]]}, a forest allows only 0")
    # The diagonal is empty, so half of all stored couplings is one per edge.
    j = model.csr.data.astype(float)
    x = np.abs(beta * j)
    log_cosh = x + np.log1p(np.exp(-2 * x)) - math.log(2)
    sech = 2 * np.exp(-x) / (1 + np.exp(-2 * x))
    return Partition(
        n=model.n,
        beta=beta,
        ln_z=model.n * math.log(2) + float(log_cosh.sum()) / 2 - beta * model.offset,
        energy=model.offset - float((j * np.tanh(beta * j)).sum()) / 2,
        heat_capacity=float(((x * sech) ** 2).sum()) / 2,
    )
