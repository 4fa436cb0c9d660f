"""The Curie-Weiss model of any finite size, exactly.

    E = -(J / 2N) (M^2 - N) - h M,  M = sum_i s_i,  that is J_ij = J / N for every pair.

States with k spins up have M = 2k - N and number binomial(N, k). beta_c J = 1.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln

from isingnpu.exact.enumeration import Thermodynamics, average
from isingnpu.exact.partition import check_finite

# U4 at beta_c for N -> infinity, p(m) ~ exp(-m^4 N / 12): 1 - Gamma(1/4)^4 / (24 pi^2).
CURIE_WEISS_BINDER = 1 - math.gamma(0.25) ** 4 / (24 * math.pi**2)


def curie_weiss(
    n: int, beta: float, *, coupling: float = 1.0, field: float = 0.0
) -> Thermodynamics:
    """`Thermodynamics` of n >= 1 spins, O(n) time and memory, any sign of beta, J and h.

    Weights are multiplied up from sector to sector outwards from the most probable one, because
    ln binomial(N, k) by log-gamma loses N ln N / 1e16."""
    if n < 1:
        raise ValueError(f"n must be >= 1, got {n}")
    check_finite(beta=beta, coupling=coupling, field=field)
    up = np.arange(n + 1)
    m = 2.0 * up - n
    energies = -coupling / (2 * n) * (m**2 - n) - field * m
    gain = 2 * coupling * (m[:-1] + 1) / n + 2 * field  # -dE from sector k to k + 1
    steps = np.log((n - up[:-1]) / (up[:-1] + 1)) + beta * gain
    peak = int(np.argmax(np.concatenate([[0.0], np.cumsum(steps)])))
    left = np.cumsum(-steps[:peak][::-1])[::-1]
    weights = np.exp(np.concatenate([left, [0.0], np.cumsum(steps[peak:])]))
    log_states = float(gammaln(n + 1) - gammaln(peak + 1) - gammaln(n - peak + 1))
    return average(n, beta, weights, energies, float(energies[peak]), weights, log_states)
