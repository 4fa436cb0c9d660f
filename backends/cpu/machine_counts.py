"""Fields of counted contexts (isingnpu.npu.count_field), in numba."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from typing import Any

import numpy as np
from numba import njit

f4 = np.float32

_options: Any = {"fastmath": True, "error_model": "numpy", "cache": True}


@njit(**_options)
def interpolate(
    contexts, low, pointers, symbols, values, gammas, classes, n_classes, probabilities, states
):
    """Kneser-Ney by order: p = gamma(c) p, p[y] += value(c y). contexts (n, K + 1), -1 unknown.

    probabilities (n, 2, q) and states (n, 2): of the highest order reached, and of that up to
    `low`; state = order x n_classes + class of the context."""
    q = probabilities.shape[2]
    for b in range(contexts.shape[0]):
        p, lower = probabilities[b, 0], probabilities[b, 1]
        for y in range(q):
            p[y] = f4(1) / f4(q)
        for k in range(contexts.shape[1]):
            c = contexts[b, k]
            if c < 0 or classes[c] < 0:
                break
            gamma = gammas[c]
            for y in range(q):
                p[y] *= gamma
            for e in range(pointers[c], pointers[c + 1]):
                p[symbols[e]] += values[e]
            states[b, 0] = k * n_classes + classes[c]
            if k <= low:
                states[b, 1] = states[b, 0]
                for y in range(q):
                    lower[y] = p[y]
