"""Potts selectors over a window of tokens, in numba (isingnpu.npu.selectors).

Positions of a run share their work: for each token c of the run and each distance l, the row
M[l, c, x[a - 1 - l]] over all keys a is looked up once, and the score of a position is a sum of
such rows, contiguous in memory. Statistics go the same way back. Sums by token take four rows at a
time, because one that waits for the same token's last addition is slow.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from typing import Any

import numpy as np
from numba import njit

from .machine_text import exp_below

_options: Any = {"fastmath": True, "error_model": "numpy", "cache": True}

PART = 64  # numbers of which the largest is found place by place


@njit(**_options)
def _slots(x, begin, end, slot):
    """Number the tokens that occur in x[begin:end]; -1 for the others. Returns how many."""
    slot[:] = -1
    n = 0
    for i in range(begin, end):
        if slot[x[i]] < 0:
            slot[x[i]] = n
            n += 1
    return n


@njit(**_options)
def _largest(values, part):
    """max of the values; part (PART,): scratch."""
    whole = values.size - values.size % PART
    for k in range(PART):
        part[k] = values[0]
    for start in range(0, whole, PART):
        for k in range(PART):
            part[k] = max(part[k], values[start + k])
    top = values[0]
    for k in range(PART):
        top = max(top, part[k])
    for k in range(whole, values.size):
        top = max(top, values[k])
    return top


@njit(**_options)
def _score(table, slot, x, t, i, bias, score):
    """bias + sum of the rows of the tokens before t, from place i on, up to three at a time."""
    reach, window = table.shape[0], score.size
    for j in range(window):
        score[j] = bias[j]
    for lag in range(reach - reach % 3, reach):
        one = table[lag, slot[x[t - 1 - lag]], i : i + window]
        for j in range(window):
            score[j] += one[j]
    for lag in range(0, reach - 2, 3):
        one = table[lag, slot[x[t - 1 - lag]], i : i + window]
        two = table[lag + 1, slot[x[t - 2 - lag]], i : i + window]
        three = table[lag + 2, slot[x[t - 3 - lag]], i : i + window]
        for j in range(window):
            score[j] += one[j] + two[j] + three[j]


@njit(**_options)
def _add_by_token(tokens, values, sums):
    """sums[k, tokens[o]] += values[k, o]."""
    four = values.shape[0] - values.shape[0] % 4
    for k in range(0, four, 4):
        a, b, c, d = values[k], values[k + 1], values[k + 2], values[k + 3]
        to_a, to_b, to_c, to_d = sums[k], sums[k + 1], sums[k + 2], sums[k + 3]
        for o in range(tokens.size):
            token = tokens[o]
            to_a[token] += a[o]
            to_b[token] += b[o]
            to_c[token] += c[o]
            to_d[token] += d[o]
    for k in range(four, values.shape[0]):
        for o in range(tokens.size):
            sums[k, tokens[o]] += values[k, o]


@njit(**_options)
def _sum_by_token(tokens, values, sums, other):
    """sums[c] = sum of the values where the token is c; other: scratch of the same shape."""
    half = values.size // 2
    for c in range(sums.size):
        sums[c] = other[c] = 0
    late, later = tokens[half:], values[half:]
    for j in range(half):
        sums[tokens[j]] += values[j]
        other[late[j]] += later[j]
    if values.size % 2:
        sums[late[half]] += later[half]
    for c in range(sums.size):
        sums[c] += other[c]


@njit(**_options)
def select(x, starts, length, match, bias, mass, prior):
    """The heat bath of one selector at every position of the runs.

    match (L, q, q); bias (W,), of key j, which is the position a = t - W + j. prior[b, j] becomes
    P(a), mass[b, c] the probability that a token c is selected."""
    reach, q, window = match.shape[0], match.shape[1], bias.size
    span = window + length - 1
    table = np.empty((reach, q, span), match.dtype)
    slot = np.empty(q, np.int64)
    part, other = np.empty(PART, match.dtype), np.empty(q, match.dtype)
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
            _score(table, slot, x, t, i, bias, score)
            top = _largest(score, part)
            total = top * 0
            for j in range(window):
                e = exp_below(score[j] - top)
                score[j] = e
                total += e
            share = 1 / total
            for j in range(window):
                score[j] *= share
            _sum_by_token(x[t - window : t], score, mass[b], other)


@njit(**_options)
def learn(x, starts, length, prior, credit, expected, distance, statistics):
    """Posterior minus prior: with D_a = P(a) (credit[b, x_a] - expected[b]),
    statistics[l, x[t - 1 - l], x[a - 1 - l]] += D_a; returns -sum of D_a distance[j]."""
    reach, q, window = statistics.shape[0], statistics.shape[1], distance.size
    span = window + length - 1
    table = np.empty((reach, q, span), statistics.dtype)
    sums = np.empty((q, q), statistics.dtype)
    slot = np.empty(q, np.int64)
    change = np.empty(window, statistics.dtype)
    pull = distance[0] * 0
    for run in range(starts.size):
        begin = starts[run]
        first = begin - window
        slots = _slots(x, begin - reach, begin + length - 1, slot)
        table[:, :slots] = 0
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
            sums[:slots] = 0
            _add_by_token(
                x[first - 1 - lag : first - 1 - lag + span], table[lag, :slots], sums[:slots]
            )
            for c in range(q):
                if slot[c] >= 0:
                    for other in range(q):
                        statistics[lag, c, other] += sums[slot[c], other]
    return pull
