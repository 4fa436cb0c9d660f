"""What the sweeps of a call decide by: a form of comparison, its tables, and the exact limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from isingnpu.backend import Request
from isingnpu.dynamics import (
    check_betas,
    exponential_tables,
    fixed_point_constant,
    thresholds,
)
from isingnpu.rng import W0, W1

from .lanes_code import CHAIN, ESTIMATE, PERMUTE
from .lanes_estimate import estimates

Array = NDArray[Any]

CHAIN_VALUES = 16  # more field values than this are estimated


@dataclass(frozen=True, eq=False)
class Limits:
    """form: of the comparison; bytes_ (betas, 2, fields) uint8: first and second byte of T by the
    lowest 7 bits of v or 8 of h; values: the fields that CHAIN looks up; slopes (betas, 2) int32:
    see `lanes_estimate.estimates`; exact, bound: what `kernels.accepts` takes."""

    form: int
    bytes_: Array
    values: Array
    slopes: Array
    exact: tuple[Array, Array, Array, Array]
    bound: int


def lane_limits(request: Request, betas: Array, values: Array | None, *, shared: bool) -> Limits:
    """Limits of distinct betas (k,). values: all that an 8-bit local field can be, or None for
    wider ones; shared: whether all lanes of a sweep have one beta."""
    model, heat_bath = request.model.quantized, request.dynamics.heat_bath
    exact = exact_limits(request, betas)
    slopes = estimates(betas, model.quantum)
    looked_up = np.zeros(0, np.int64)
    form, bytes_ = ESTIMATE, np.zeros((1, 2, 0), np.uint8)
    if values is not None:
        looked_up = values if heat_bath else values[values > 0]
        if shared and has_feature("avx512vbmi"):
            form = PERMUTE
        elif len(looked_up) <= CHAIN_VALUES:
            form = CHAIN
        if form != ESTIMATE:
            bytes_ = _first_bytes(exact[0], model.bound, heat_bath=heat_bath)
    return Limits(form, bytes_, looked_up, slopes, exact, model.bound)


def exact_limits(request: Request, betas: Array) -> tuple[Array, Array, Array, Array]:
    """(table, constant, cutoff, exponential) as in `dynamics.Thresholds`."""
    model = request.model.quantized
    if model.table:
        limits = thresholds(request.dynamics, betas, model)
        return limits.table, limits.constant, limits.cutoff, exponential_tables()
    wholes = [fixed_point_constant(float(beta), model.quantum) for beta in check_betas(betas)]
    halves = [(c >> 32, c & 0xFFFFFFFF) for c in wholes]
    # y = floor(v C / 2^32) and n >= 64 where y >= 2^54
    cutoff = [min(-(-(1 << 86) // c), 1 << 62) if c else 1 << 62 for c in wholes]
    return (
        np.zeros((len(betas), 0), np.uint64),
        np.array(halves, np.uint64).reshape(-1, 2),
        np.array(cutoff, np.int64),
        exponential_tables(),
    )


def _first_bytes(table: Array, bound: int, *, heat_bath: bool) -> Array:
    x = np.arange(-bound if heat_bath else 0, bound + 1)
    bytes_ = np.zeros((len(table), 2, 256 if heat_bath else 128), np.uint8)
    for k in (0, 1):
        bytes_[:, k, x] = table >> np.uint64(56 - 8 * k) & np.uint64(255)
    return bytes_


def round_keys(seed: int, rounds: int) -> Array:
    """Keys of Philox's rounds, (rounds, 2) uint64."""
    low, high = seed & 0xFFFFFFFF, seed >> 32
    keys = [((low + r * W0) & 0xFFFFFFFF, (high + r * W1) & 0xFFFFFFFF) for r in range(rounds)]
    return np.array(keys, np.uint64)


def has_feature(feature: str) -> bool:
    """Whether code is made for a processor with this feature, as LLVM names it."""
    return f"+{feature}" in cpu_target.target_context.codegen()._tm_features.split(",")
