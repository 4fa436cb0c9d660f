"""A model in integers: coupling = quantum * integer, the form that every kernel uses.

The coarsest quantum of which every coupling and field is a multiple is looked for; if there is
none that 31 bits leave room for, the values are rounded to a fine power of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isingnpu.couplings import Array

# A model with integer couplings this small gets one threshold per field value.
MAX_TABLE_BOUND = 1 << 14
# Fixed-point models keep sum_j |J_ij| + |h_i| below this many quanta.
MAX_FIXED_BOUND = 1 << 31


@dataclass(frozen=True, eq=False)
class Quantized:
    """A model in integers: coupling = quantum * integer, the form that every kernel uses.

    bound: max_i (|h_i| + sum_j |J_ij|) in quanta. table: one threshold per field value is kept
    (bound <= 2^14), otherwise thresholds come from the fixed-point exponential of the
    randomness contract. error: largest |J - quantum * integer| over couplings and fields; 0 when
    the integers are the model.
    """

    quantum: float
    couplings: Array  # aligned with the CSR data, int64
    fields: Array  # (n,), int64
    bound: int
    table: bool
    error: float


def quantize(csr: Any, fields: Array, field_bound: float) -> Quantized:
    """The couplings of a CSR array and the (n,) fields in integers.

    field_bound: max_i (|h_i| + sum_j |J_ij|). A common factor (J = 0.1 k, 1/sqrt(N) k, ...) is
    tried first, because small integers get narrow kernels; then powers of two, exact when the
    mantissas are short enough."""
    data = csr.data
    values = np.unique(np.abs(np.concatenate([data, fields]).astype(np.float64)))
    if values.max(initial=0.0) == 0.0:
        zeros = np.zeros(data.shape, np.int64), np.zeros(fields.shape, np.int64)
        return Quantized(1.0, *zeros, bound=0, table=True, error=0.0)
    quantum = _common_factor(values)
    if quantum is None or field_bound / quantum >= MAX_FIXED_BOUND / 2:
        quantum = _power_of_two(values, field_bound)
    j = np.rint(data / quantum).astype(np.int64)
    h = np.rint(fields / quantum).astype(np.int64)
    row = np.repeat(np.arange(fields.size), np.diff(csr.indptr))
    sums = np.bincount(row, weights=np.abs(j), minlength=fields.size).astype(np.int64) + np.abs(h)
    bound = int(sums.max())
    error = max(
        np.abs(data - quantum * j).max(initial=0.0), np.abs(fields - quantum * h).max(initial=0.0)
    )
    return Quantized(quantum, j, h, bound, bound <= MAX_TABLE_BOUND, float(error))


def _common_factor(values: Array) -> float | None:
    """The largest c with every value a whole multiple of c to 2^-44 of the largest, if c is the
    smallest value over 1..16. Rounding left over from a change of variables (0/1 to -1/+1)
    counts as zero; it is large beside a small value, so c is also read off the largest."""
    largest = values.max()
    tolerance = largest * 2.0**-44
    smallest = values[values > tolerance].min()
    for divisor in range(1, 17):
        c = smallest / divisor
        for factor in (c, largest / np.rint(largest / c)):
            if all(
                np.all(np.abs(part - factor * np.rint(part / factor)) <= tolerance)
                for part in (values[:64], values)  # most factors already fail on a few values
            ):
                return float(factor)
    return None


def _power_of_two(values: Array, bound: float) -> float:
    """2^k: the coarsest that divides every value, or the finest that 31 bits leave room for."""
    finest = int(np.ceil(np.log2(bound))) - 30
    fractions, exponents = np.frexp(values[values > 0])
    mantissas = (fractions * 2.0**53).astype(np.int64)
    trailing = np.log2((mantissas & -mantissas).astype(np.float64)).astype(np.int64)
    exact = int((exponents - 53 + trailing).min())
    return float(2.0 ** max(exact, finest))
