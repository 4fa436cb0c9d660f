"""Metropolis sweeps over weights that are spins, numba, float64: fields are updated, not remade.

    E = sum_n ln sum_k exp(g S_nk) - g S_n,y(n),    S = T U^T,    T = sign(x W^T) or the inputs x

A trial of a weight changes one column of fields by twice its input; for a hidden weight only
samples whose hidden spin turns over see another energy. Both kernels visit every weight in order,
u[k, i] decides, `own` holds further fields on the weights, and the loss of every sample is kept.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
import math
from typing import Any

from numba import njit

_options: Any = {"error_model": "numpy", "cache": True}


@njit(inline="always")
def _loss(S, n, label, gain):
    top = S[n, 0]
    for k in range(1, S.shape[1]):
        top = max(top, S[n, k])
    z = 0.0
    for k in range(S.shape[1]):
        z += math.exp(gain * (S[n, k] - top))
    return math.log(z) - gain * (S[n, label] - top)


@njit(inline="always")
def _accepts(change, beta, u):
    """Metropolis, but a free flip by a coin: visits in a fixed order that accept every free flip
    leave some states to themselves for ever."""
    return change < 0 or u < (0.5 if change == 0 else math.exp(-beta * change))


@njit(**_options)
def losses(S, labels, gain, out):
    """(N,) loss of every sample."""
    for n in range(S.shape[0]):
        out[n] = _loss(S, n, labels[n], gain)


@njit(**_options)
def sweep_output(U, T, S, labels, loss, gain, beta, own, u, new):
    """One visit of every output weight U (K, M) on states T (N, M); returns accepted flips."""
    N, accepted = T.shape[0], 0
    for k in range(U.shape[0]):
        for i in range(U.shape[1]):
            turn, change = -2.0 * U[k, i], 2.0 * own[k, i] * U[k, i]
            for n in range(N):
                S[n, k] += turn * T[n, i]
                new[n] = _loss(S, n, labels[n], gain)
                change += new[n] - loss[n]
            if _accepts(change, beta, u[k, i]):
                U[k, i] = -U[k, i]
                accepted += 1
                for n in range(N):
                    loss[n] = new[n]
            else:
                for n in range(N):
                    S[n, k] -= turn * T[n, i]
    return accepted


@njit(**_options)
def sweep_hidden(W, x, F, T, U, S, labels, loss, gain, beta, own, u, new, turned):
    """One visit of every hidden weight W (H, D); F = x W^T, T = sign F with sign 0 = 1. `turned`:
    (N,) work space for the samples whose hidden spin turns over. Returns accepted flips."""
    N, K, accepted = x.shape[0], U.shape[0], 0
    for j in range(W.shape[0]):
        for i in range(W.shape[1]):
            turn, change, many = -2.0 * W[j, i], 2.0 * own[j, i] * W[j, i], 0
            for n in range(N):
                F[n, j] += turn * x[n, i]
                state = 1.0 if F[n, j] >= 0 else -1.0
                if state != T[n, j]:
                    turned[many] = n
                    many += 1
                    T[n, j] = state
                    for k in range(K):
                        S[n, k] += 2.0 * state * U[k, j]
                    new[n] = _loss(S, n, labels[n], gain)
                    change += new[n] - loss[n]
            if _accepts(change, beta, u[j, i]):
                W[j, i] = -W[j, i]
                accepted += 1
                for m in range(many):
                    loss[turned[m]] = new[turned[m]]
            else:
                for n in range(N):
                    F[n, j] -= turn * x[n, i]
                for m in range(many):
                    n = turned[m]
                    T[n, j] = -T[n, j]
                    for k in range(K):
                        S[n, k] += 2.0 * T[n, j] * U[k, j]
    return accepted
