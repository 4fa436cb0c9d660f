"""Self-attention: a Potts selector spin whose states are the positions it may look at.

    E(a) = -s_a,   s_a = phi(x)^T M phi(x_a) + kappa(t, a)
    P(a) = exp(beta s_a) / Z = softmax(beta s)_a                 heat bath of the selector
    <V_a> = sum_a P(a) V_a                                       output of attention

Identity: P is the softmax of a transformer's head, 1 / sqrt(d_k) is beta, a mask is s_a = -inf;
heads are several selectors. Averages over S draws miss the output by sqrt(Var V / S); a peaked
law needs few: see `draws_needed` and n_eff = e^H of isingnpu.criticality.softmax.

What differs from a transformer. Coupled to an output spin y by V[x_a, y], a selector is summed
out of the Boltzmann weight, so that y sees a mixture of experts,

    ln sum_a P(a) e^{V_a(y)} = sum_a P(a) V_a(y) + Var_P(V_a(y)) / 2 + O(V^3),

where a transformer hands on the average sum_a P(a) V_a(y). They agree where P is peaked or V is
small; the mixture is never below the average.

Learning. Clamped minus free selector statistics, posterior minus prior, which is the gradient of
ln p(y | x) at the clamped y:

    ds_ma = P(a_m = a | x, y) - P(a_m = a | x),    dM_m = beta sum_a ds_ma phi(x) phi(x_a)^T
    dV_m[a, y'] = P(a_m = a | x, y) delta_{y y'} - P(a_m = a, y' | x)

Vaswani et al., NeurIPS 2017; Ramsauer et al., ICLR 2021 (modern Hopfield networks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax

from isingnpu.criticality.softmax import probabilities
from isingnpu.npu.draws import Draw, uniforms
from isingnpu.npu.potts import draw_states

Array = NDArray[Any]


def selector_scores(
    query: ArrayLike, keys: ArrayLike, metric: ArrayLike, bias: ArrayLike = 0.0
) -> Array:
    """s (..., L) = phi(x)^T M phi(x_a) + bias; query (..., d), keys (..., L, d), M (d, d), or
    with heads in front: M (heads, d, d) gives (..., heads, L)."""
    q, k, M = (np.asarray(x, np.float64) for x in (query, keys, metric))
    if M.ndim == 3:
        turned = np.einsum("...i,mij->...mj", q, M)  # (..., heads, d)
        return np.asarray(np.einsum("...mj,...aj->...ma", turned, k) + bias)
    return np.asarray(np.einsum("...i,ij,...aj->...a", q, M, k) + bias)


def attend(scores: ArrayLike, values: ArrayLike, beta: float = 1.0) -> Array:
    """<V_a> (..., d) of values (..., L, d): the output of attention, exactly."""
    v = np.asarray(values, np.float64)
    return np.asarray(np.einsum("...a,...ad->...d", probabilities(scores, beta), v))


def draw_selectors(scores: ArrayLike, draws: int, draw: Draw, beta: float = 1.0) -> Array:
    """(draws, ...) states of selectors in their heat bath, independent draws."""
    s = beta * np.asarray(scores, np.float64)
    return draw_states(s, uniforms((draws, *s.shape[:-1]), draw))


def attend_sampled(
    scores: ArrayLike, values: ArrayLike, draws: int, draw: Draw, beta: float = 1.0
) -> Array:
    """(..., d) average of V_a over that many draws of the selectors."""
    states = draw_selectors(scores, draws, draw, beta)
    v = np.asarray(values, np.float64)
    picked = np.take_along_axis(v[None], states[..., None, None], axis=-2)  # (draws, ..., 1, d)
    return np.asarray(picked[..., 0, :].mean(0))


def draws_needed(scores: ArrayLike, values: ArrayLike, error: float, beta: float = 1.0) -> Array:
    """(...) draws at which the root-mean-square error of the average, over draws and components,
    is `error`: mean_d Var_P(V_ad) / error^2."""
    p, v = probabilities(scores, beta), np.asarray(values, np.float64)
    mean = np.einsum("...a,...ad->...d", p, v)
    variance = np.einsum("...a,...ad->...d", p, (v - mean[..., None, :]) ** 2)
    return np.asarray(variance.mean(-1) / error**2)


@dataclass(frozen=True, eq=False)
class SelectorStatistics:
    """What a selector's couplings learn from, clamped minus free; batch and heads in front.

    log_law: (..., q) ln p(y | x). scores: (..., heads, L) the ds of the module's text; values:
    (..., heads, L, q). base: (..., q) delta_y - p(y | x), for every other energy of y."""

    log_law: Array
    scores: Array
    values: Array
    base: Array


def selector_law(scores: ArrayLike, values: ArrayLike, base: ArrayLike = 0.0) -> Array:
    """ln p(y | x) (..., q) with the selectors summed out: softmax over y of
    base_y + sum_m ln sum_a exp(s_ma + V_m[a, y]); scores (..., heads, L), values
    (..., heads, L, q), base (..., q) the energies of other blocks, which add."""
    s, v = np.asarray(scores, np.float64), np.asarray(values, np.float64)
    energies = base + logsumexp(s[..., None] + v, axis=-2).sum(-2)
    return np.asarray(energies - logsumexp(energies, axis=-1, keepdims=True))


def average_law(scores: ArrayLike, values: ArrayLike, base: ArrayLike = 0.0) -> Array:
    """ln p(y | x) of a transformer's head: the average of the values in place of the mixture."""
    p = softmax(np.asarray(scores, np.float64), axis=-1)
    energies = base + np.einsum("...ma,...may->...y", p, np.asarray(values, np.float64))
    return np.asarray(energies - logsumexp(energies, axis=-1, keepdims=True))


def selector_statistics(
    scores: ArrayLike, values: ArrayLike, labels: ArrayLike, base: ArrayLike = 0.0
) -> SelectorStatistics:
    """Exact clamped minus free statistics; labels (...,) the clamped output states."""
    s, v = np.asarray(scores, np.float64), np.asarray(values, np.float64)
    y = np.asarray(labels)
    log_law = selector_law(s, v, base)
    given = softmax(s[..., None] + v, axis=-2)  # P(a | x, y) for every y
    clamp = np.eye(v.shape[-1])[y]  # (..., q)
    error = clamp - np.exp(log_law)
    both = given * error[..., None, None, :]  # P(a | y) (delta_y - p_y), (..., heads, L, q)
    return SelectorStatistics(log_law, both.sum(-1), both, error)


def metric_statistics(ds: ArrayLike, query: ArrayLike, keys: ArrayLike) -> Array:
    """dM (heads, d, d) = sum over the batch of ds_ma phi(x) phi(x_a)^T; ds (B, heads, L), query
    (B, d), keys (B, L, d)."""
    s, q, k = (np.asarray(x, np.float64) for x in (ds, query, keys))
    return np.asarray(np.einsum("bi,bmj->mij", q, np.einsum("bma,baj->bmj", s, k)))
