"""Exact transition matrices of single-site dynamics on up to a few thousand states.

    P_i(s, s^i) = w(E(s^i) - E(s)),  P_i(s, s) = 1 - w,   s^i = s with site i flipped

Rows are the old state, columns the new one, in the order of `enumerate_states`; a distribution
p (2^n,) becomes p @ P. One sweep is the product of the site matrices in visiting order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import expit

from isingnpu.exact.enumeration import spins_of
from isingnpu.exact.partition import check_finite
from isingnpu.model import Array, IsingModel

MAX_SITES_KERNEL = 20  # two non-zeros in each of 2^n rows
MAX_SITES_SWEEP = 10  # dense, 8 MiB

# Flip probability from energy differences (states,) and beta.
Rule = Callable[[Array, float], Array]


def metropolis_probability(energy_difference: Array, beta: float) -> Array:
    """min(1, exp(-beta dE)). Metropolis et al., J. Chem. Phys. 21, 1087 (1953)."""
    return np.asarray(np.exp(np.minimum(0.0, -beta * energy_difference)))


def heat_bath_probability(energy_difference: Array, beta: float) -> Array:
    """1 / (1 + exp(beta dE)). Glauber, J. Math. Phys. 4, 294 (1963)."""
    return np.asarray(expit(-beta * energy_difference))


def site_kernel(model: IsingModel, beta: float, site: int, rule: Rule) -> Any:
    """Transition matrix (2^n, 2^n), CSR, of one update of `site`; n <= 20.

    Raises ValueError for a site outside 0..n-1 or a probability outside [0, 1]."""
    check_finite(beta=beta)
    _check_size(model.n, MAX_SITES_KERNEL, "site kernel")
    if not 0 <= site < model.n:
        raise ValueError(f"site is {site}, allowed are 0..{model.n - 1}")
    number = np.arange(1 << model.n)
    states = spins_of(number, model.n)
    local = states @ model.dense[site] + model.fields[site]
    flip = np.asarray(rule(2.0 * states[:, site] * local, beta))
    bad = np.flatnonzero(~((flip >= 0) & (flip <= 1)))
    if bad.size:
        raise ValueError(f"the rule gave probability {flip[bad[0]]} for state {bad[0]}")
    return sparse.csr_array(
        (
            np.concatenate([1 - flip, flip]),
            (np.concatenate([number, number]), np.concatenate([number, number ^ (1 << site)])),
        ),
        shape=(number.size, number.size),
    )


def sweep_matrix(
    model: IsingModel, beta: float, rule: Rule, order: Iterable[int] | None = None
) -> Array:
    """Transition matrix (2^n, 2^n), dense, of sites updated one after another; n <= 10.

    order: sites in visiting order, default 0..n-1; a site may occur any number of times."""
    _check_size(model.n, MAX_SITES_SWEEP, "sweep matrix")
    matrix = np.eye(1 << model.n)
    for site in range(model.n) if order is None else order:
        matrix = np.asarray(matrix @ site_kernel(model, beta, site, rule))
    return matrix


def _check_size(n: int, most: int, what: str) -> None:
    if n > most:
        raise ValueError(
            f"the {what} of {n} sites has 2^{n} rows, allowed are at most {most} sites"
        )
