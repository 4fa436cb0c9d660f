"""Potts selectors over a window of tokens, in numba (isingnpu.npu.selectors).

Positions of a run share their work: for each token c of the run and each distance l, the row
M[l, c, x[a - 1 - l]] over all keys a is looked up once, and the score of a position is a sum of
such rows, contiguous in memory. Statistics go the same way back.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from typing import Any

import numpy as np
from numba import njit

from .machine_text import exp_below

_options: Any = {"fastmath": True, "error_model": "numpy", "cache": True}


@njit(**_options)
def _slots(x, begin, end, slot):
    """Number the tokens that occur in x[begin:end]; -1 for the others."""
    slot[:] = -1
    n = 0
    for i in range(begin, end):
        if slot[x[i]] < 0:
            slot[x[i]] = n
            n += 1


@njit(**_options)
def select(x, starts, length, match, bias, mass, prior):
    """The heat bath of one selector at every position of the runs.

    match (L, q, q); bias (W,), of key j, which is the position a = t - W + j. prior[b, j] becomes
    P(a), mass[b, c] the probability that a token c is selected."""
    reach, q, window = match.shape[0], match.shape[1], bias.size
    span = window + length - 1
    table = np.empty((reach, q, span), match.dtype)
    slot = np.empty(q, np.int64)
    for run in range(starts.size):
        begin = starts[run]
        first = begin - window
        _slots(x, begin - reach, begin + length - 1, slot)
        for lag in range(reach):
            seen = x[first - 1 - lag : first - 1 - lag + span]
            for c in range(q):
                if slot[c] >= 0:
                    row, out = match[lag, c], table[lag, slot[c]]
                    for o in range(span):
                        out[o] = row[seen[o]]
        for i in range(length):
            b, t = run * length + i, begin + i
            score = prior[b]
            for j in range(window):
                score[j] = bias[j]
            for lag in range(reach - reach % 2, reach):
                rows = table[lag, slot[x[t - 1 - lag]]]
                for j in range(window):
                    score[j] += rows[i + j]
            for lag in range(0, reach - 1, 2):
                near, far = table[lag, slot[x[t - 1 - lag]]], table[lag + 1, slot[x[t - 2 - lag]]]
                for j in range(window):
                    score[j] += near[i + j] + far[i + j]
            top = score[0]
            for j in range(window):
                top = max(top, score[j])
            total = score[0] * 0
            for j in range(window):
                e = exp_below(score[j] - top)
                score[j] = e
                total += e
            for c in range(q):
                mass[b, c] = 0
            share = 1 / total
            for j in range(window):
                score[j] *= share
                mass[b, x[t - window + j]] += score[j]


@njit(**_options)
def learn(x, starts, length, prior, credit, expected, distance, statistics):
    """Posterior minus prior: with D_a = P(a) (credit[b, x_a] - expected[b]),
    statistics[l, x[t - 1 - l], x[a - 1 - l]] += D_a; returns -sum of D_a distance[j]."""
    reach, q, window = statistics.shape[0], statistics.shape[1], distance.size
    span = window + length - 1
    table = np.empty((reach, q, span), statistics.dtype)
    slot = np.empty(q, np.int64)
    change = np.empty(window, statistics.dtype)
    pull = distance[0] * 0
    for run in range(starts.size):
        begin = starts[run]
        first = begin - window
        _slots(x, begin - reach, begin + length - 1, slot)
        table[:, : slot.max() + 1] = 0
        for i in range(length):
            b, t = run * length + i, begin + i
            gain, mean, p = credit[b], expected[b], prior[b]
            values = x[t - window : t]
            for j in range(window):
                change[j] = p[j] * (gain[values[j]] - mean)
            for j in range(window):
                pull -= change[j] * distance[j]
            for lag in range(reach):
                rows = table[lag, slot[x[t - 1 - lag]], i : i + window]
                for j in range(window):
                    rows[j] += change[j]
        for lag in range(reach):
            seen = x[first - 1 - lag : first - 1 - lag + span]
            for c in range(q):
                if slot[c] >= 0:
                    rows, out = table[lag, slot[c]], statistics[lag, c]
                    for o in range(span):
                        out[seen[o]] += rows[o]
    return pull
