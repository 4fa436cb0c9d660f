"""What the sweeps of a call decide by: a form of comparison, its tables, and the exact limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from isingnpu.backend import Request
from isingnpu.rng import W0, W1

from ..limits import estimates, exact_limits
from .lanes_code import CHAIN, ESTIMATE, PERMUTE

Array = NDArray[Any]

CHAIN_VALUES = 16  # more field values than this are estimated


@dataclass(frozen=True, eq=False)
class Limits:
    """form: of the comparison; bytes_ (betas, 2, fields) uint8: first and second byte of T by the
    lowest 7 bits of v or 8 of h; values: the fields that CHAIN looks up; slopes (betas, 2) int32:
    see `limits.estimates`; exact, bound: what `kernels.accepts` takes."""

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
