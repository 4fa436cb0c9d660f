"""Selector heads: a Potts spin that points at one of the tokens before the position it serves.

    score   s_a = sum_{l=1..L} M_l[x_{t-l}, x_{a-l}] - kappa d(t - a),   a = t-W .. t-1
    prior   P(a) = e^{s_a} / sum_b e^{s_b},   m_c = sum_{a: x_a = c} P(a)
    energy  -V[x_a, y]: the output spin gets the field log sum_c m_c e^{V[c, y]} =: log Z_y

in units of k_B T. d is the distance of a parabolic Moebius flow, 2 asinh(D / 2): e^{-kappa d}
falls as the power -2 kappa of the distance D. The heat bath of the selector is softmax(s); traced
out it gives a mixture, where a transformer averages values before its nonlinearity.

Learning is posterior minus prior: with the error e_y = delta_y - p_y of the output spin and
r_c = sum_y e_y e^{V[c, y]} / Z_y, which is P(a | y) / P(a) - 1 averaged over the error,

    D_a = P(a) (r_{x_a} - sum_c m_c r_c)
    dM_l[x_{t-l}, x_{a-l}] = D_a,   dkappa = -sum_a D_a d_a
    dV[c, y] = m_c e_y e^{V[c, y]} / Z_y

which is the gradient of log p(y | x). A value field X lets the selector act on the hidden spins by
its mean, f += sum_c m_c X[c]; their displacement k comes back as r_c += sum_j k_j X[c, j] (linear
response).

The functions here are the specification, one position at a time, in the precision of their
arguments; devices compute batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.npu.positions import Parabolic

Array = NDArray[Any]


@dataclass(frozen=True)
class Selectors:
    """Heads of a machine. window: tokens W a head may select from; match: tokens L before them
    that are compared; values_to_hidden: whether there is a value field X; start: "match", equal
    tokens attract from the start, or "zero"; rate: their rate relative to the machine's."""

    heads: int = 2
    window: int = 256
    match: int = 6
    values_to_hidden: bool = False
    start: str = "match"
    rate: float = 1.0

    def __post_init__(self) -> None:
        if self.heads < 1 or self.window < 1 or self.match < 1:
            raise ValueError(f"heads, window and match must be at least 1, got {self}")
        if self.start not in ("match", "zero"):
            raise ValueError(f"start must be 'match' or 'zero', got {self.start!r}")

    @property
    def reach(self) -> int:
        """How many tokens before a position its selectors read."""
        return self.window + self.match


def key_distances(window: int) -> Array:
    """(W,): the distance of key j, which stands W - j tokens before the position."""
    return Parabolic().distance(np.arange(window, 0, -1))


def prior(tokens: Array, t: int, match: Array, kappa: float, window: int) -> tuple[Array, Array]:
    """(P (W,), m (q,)) of one head at position t; key j is the token at t - W + j."""
    reach, q = match.shape[:2]
    keys = np.arange(t - window, t)
    scores = -kappa * key_distances(window)
    for lag in range(1, reach + 1):
        scores = scores + match[lag - 1, tokens[t - lag], tokens[keys - lag]]
    p = np.exp(scores - scores.max())
    p /= p.sum()
    return p, np.bincount(tokens[keys], weights=p, minlength=q)


def output_field(mass: Array, values: Array) -> Array:
    """log sum_c m_c e^{V[c, y]}: mass (..., q), values (q, q)."""
    return np.asarray(np.log(mass @ np.exp(values)))
