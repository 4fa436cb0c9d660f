"""Machines that read text, in numba: rows added for tokens, the output spin, the n-gram fields.

A batch is `starts.size` runs of `length` consecutive positions; b = run * length + i counts them.
The position t = starts[run] + i sees the tokens before it: x[t - 1], x[t - 2], ...
Arrays are float32, or all float64.

exp is 2^k times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes, expf), within 1.2e-7 of exp down
to e^-20 and 3e-7 below: the one of numba keeps loops from being vectorised.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

f4 = np.float32

_options: Any = {"fastmath": True, "error_model": "numpy", "cache": True}
_inline: Any = {"fastmath": True, "error_model": "numpy", "inline": "always"}

LOG2_E, LN2_HIGH, LN2_LOW = f4(1.44269504), f4(0.693359375), f4(-2.12194440e-4)
E0, E1, E2 = f4(5.0000001201e-1), f4(1.6666665459e-1), f4(4.1665795894e-2)
E3, E4, E5 = f4(8.3334519073e-3), f4(1.3981999507e-3), f4(1.9875691500e-4)


@intrinsic
def _power_of_two(context, k):
    """2^k for k in -126..127: the exponent bits of a float32."""

    def build(context, builder, signature, arguments):
        from llvmlite import ir

        word = ir.IntType(32)
        biased = builder.add(arguments[0], ir.Constant(word, 127))
        bits = builder.shl(biased, ir.Constant(word, 23))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.int32), build


@njit(**_inline)
def exp_below(x):
    """e^x for x <= 0 (and up to 80); e^-87 below that."""
    x = max(x, f4(-87))
    k = np.int32(x * LOG2_E - f4(0.5))
    r = x - f4(k) * LN2_HIGH - f4(k) * LN2_LOW
    p = E0 + r * (E1 + r * (E2 + r * (E3 + r * (E4 + r * E5))))
    return (f4(1) + r + r * r * p) * _power_of_two(k)  # type: ignore[call-arg]


@njit(**_options)
def gather(x, starts, length, table, out):
    """out[b] += sum_d table[d, x[t - 1 - d]]; table (n, q, H)."""
    n, width = table.shape[0], table.shape[2]
    for run in range(starts.size):
        for i in range(length):
            b, t = run * length + i, starts[run] + i
            for d in range(0, n - 1, 2):
                first, second = table[d, x[t - 1 - d]], table[d + 1, x[t - 2 - d]]
                for j in range(width):
                    out[b, j] += first[j] + second[j]
            if n % 2:
                row = table[n - 1, x[t - n]]
                for j in range(width):
                    out[b, j] += row[j]


@njit(**_options)
def scatter(x, starts, length, values, out):
    """out[d, x[t - 1 - d]] += values[b]: the statistics of `gather`'s table."""
    n, width = out.shape[0], out.shape[2]
    for run in range(starts.size):
        for i in range(length):
            b, t = run * length + i, starts[run] + i
            for d in range(n):
                row = out[d, x[t - 1 - d]]
                for j in range(width):
                    row[j] += values[b, j]


@njit(**_options)
def output(x, starts, length, g, loss):
    """g becomes delta - p, p the heat bath of the output spin in the fields g; loss[b] -log p."""
    q = g.shape[1]
    for run in range(starts.size):
        for i in range(length):
            b, y = run * length + i, x[starts[run] + i]
            row = g[b]
            top = row[0]
            for c in range(q):
                top = max(top, row[c])
            own = row[y] - top
            total = row[0] * 0
            for c in range(q):
                e = exp_below(row[c] - top)
                row[c] = e
                total += e
            scale = -1 / total
            for c in range(q):
                row[c] *= scale
            row[y] += 1
            loss[b] = math.log(total) - own


@njit(**_inline)
def _evidence(weight, classes):
    """0 for none, then a class per factor of 2^(2/3) in 1 + weight."""
    if weight <= 0:
        return 0
    return 1 + min(classes - 2, int(1.5 * math.log2(1 + weight)))


@njit(**_options)
def ngram_fields(rows, own, table, part, weights, part_weights, gains, out, states):
    """out[b] += sum_k gains[k, s] (table[rows[b, k]] - part[own[b, k]]).

    own < 0 takes nothing away. s = (class of the evidence that is left, class of the next order's)
    is kept in states[b, k] as one number; -1 where the context has no row."""
    orders, q, classes = rows.shape[1], out.shape[1], gains.shape[1]
    for b in range(rows.shape[0]):
        above = 0
        for k in range(orders - 1, -1, -1):
            row, mine = rows[b, k], own[b, k]
            states[b, k] = -1
            if row < 0:
                continue
            weight = weights[row]
            if mine >= 0:
                weight -= part_weights[mine]
            s = _evidence(weight, classes)
            states[b, k] = s * classes + above
            if s == 0:
                continue
            gain = gains[k, s, above]
            above = s
            if mine >= 0:
                for y in range(q):
                    out[b, y] += gain * (table[row, y] - part[mine, y])
            else:
                for y in range(q):
                    out[b, y] += gain * table[row, y]


@njit(**_options)
def ngram_learn(
    rows, own, table, part, weights, part_weights, states, errors, rate, decay, statistics
):
    """Rows move by their own error: weight += |e|^2, row += rate / sqrt(weight + 0.1) e - decay.

    part keeps what this fold has written, table what all folds have. statistics[k, s] +=
    e . (table - part), of the gains."""
    orders, q, classes = rows.shape[1], errors.shape[1], statistics.shape[1]
    for b in range(rows.shape[0]):
        e = errors[b]
        size = e[0] * 0
        for y in range(q):
            size += e[y] * e[y]
        for k in range(orders):
            row, mine, s = rows[b, k], own[b, k], states[b, k]
            if s < 0:
                continue
            if s >= classes:
                overlap = size * 0
                for y in range(q):
                    overlap += e[y] * (table[row, y] - part[mine, y])
                statistics[k, s // classes, s % classes] += overlap
            weights[row] += size
            part_weights[mine] += size
            step = rate / math.sqrt(weights[row] + f4(0.1))
            for y in range(q):
                change = step * e[y] - decay * part[mine, y]
                part[mine, y] += change
                table[row, y] += change
