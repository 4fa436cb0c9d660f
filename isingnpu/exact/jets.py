"""Jets: a value and its first two derivatives, stacked on the first axis, shape (3, ...)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from isingnpu.model import Array

Jet = Array


def constant(value: float) -> Jet:
    """(value, 0, 0)."""
    return np.array([value, 0.0, 0.0])


def exponentials(terms: Sequence[tuple[float, float]]) -> Jet:
    """sum of c exp(r t) and its derivatives in t; terms are (c exp(r t), r)."""
    return np.array([math.fsum(value * rate**k for value, rate in terms) for k in range(3)])


def product(a: Jet, b: Jet) -> Jet:
    return np.stack([a[0] * b[0], a[1] * b[0] + a[0] * b[1], _second(a, b)])


def _second(a: Jet, b: Jet) -> Array:
    return np.asarray(a[2] * b[0] + 2 * a[1] * b[1] + a[0] * b[2])


def root(a: Jet) -> Jet:
    """Square root of a positive jet."""
    r = np.sqrt(a[0])
    slope = a[1] / (2 * r)
    return np.stack([r, slope, (a[2] / 2 - slope**2) / r])


def logarithm(a: Jet) -> Jet:
    slope = a[1] / a[0]
    return np.stack([np.log(a[0]), slope, a[2] / a[0] - slope**2])


def exponential(a: Jet) -> Jet:
    value = np.exp(a[0])
    return np.stack([value, value * a[1], value * (a[2] + a[1] ** 2)])


def through(outer: Jet, inner: Jet) -> Jet:
    """Jet of f(g(t)) from the jets of f at g(t) and of g at t."""
    return np.stack(
        [outer[0], outer[1] * inner[1], outer[2] * inner[1] ** 2 + outer[1] * inner[2]]
    )
