"""Token embedding: a clamped Potts spin puts a lattice field on other spins.

    one-hot block    f_j = sum_i W_i[x_i, j]          a row of couplings per token: no products
    code block       f_j = sum_k c_k(x) V[k, j],      c(x) in {-1, +1}^d, d spins per token
    initial spins    s_j = sign f_j

Identity: the one-hot block is the dense product of a 0/1 vector and the couplings, bit for bit.
Approximation: a code block of d spins reaches tables W of rank d (d + 1 with a field); the nearest
one is a projection, `code_couplings` gives it with what is left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.rng import Stream, permutation

Array = NDArray[Any]


def one_hot(tokens: ArrayLike, colours: int) -> Array:
    """(..., colours) float32: 1 at each token's colour. ValueError for a token out of range."""
    x = _check_tokens(tokens, colours)
    return np.eye(colours, dtype=np.float32)[x]


def token_field(couplings: Array, tokens: ArrayLike) -> Array:
    """(..., H) sum over sites of the coupling rows of their tokens; tokens (..., n), couplings
    (n, colours, H), added in the order of the sites."""
    sites, colours, _ = couplings.shape
    x = _check_tokens(tokens, colours)
    if x.shape[-1:] != (sites,):
        raise ValueError(f"tokens must be (..., {sites}), one per site, got {x.shape}")
    total = couplings[0][x[..., 0]]
    for i in range(1, sites):
        total = total + couplings[i][x[..., i]]
    return np.asarray(total)


def initial_spins(fields: ArrayLike) -> Array:
    """int8 spins along their fields, up where the field is 0."""
    return np.where(np.asarray(fields) < 0, -1, 1).astype(np.int8)


def token_codes(colours: int, spins: int, seed: int = 0) -> Array:
    """(colours, spins) int8 codes of -1 and +1, all different: binary numbers that a permutation
    hands out. ValueError if `spins` < log2(colours)."""
    if not 1 <= spins <= 20 or 1 << spins < colours:
        raise ValueError(
            f"{colours} tokens need codes of at least {max(1, (colours - 1).bit_length())} and at "
            f"most 20 spins, got {spins}"
        )
    numbers = permutation(seed, Stream.WEIGHTS, 1 << spins)[:colours]
    bits = numbers[:, None] >> np.arange(spins) & 1
    return (2 * bits - 1).astype(np.int8)


def code_field(couplings: Array, codes: Array, tokens: ArrayLike) -> Array:
    """(..., H) field of code blocks: codes[x] @ couplings, couplings (spins, H)."""
    return np.asarray(codes[_check_tokens(tokens, len(codes))].astype(couplings.dtype) @ couplings)


def code_couplings(table: Array, codes: Array) -> tuple[Array, Array, Array]:
    """(couplings (spins, H), fields (H,), rest (colours, H)): the code block nearest to a one-hot
    table (colours, H) in least squares, table = codes @ couplings + fields + rest."""
    design = np.column_stack([codes.astype(np.float64), np.ones(len(codes))])
    solution = np.linalg.lstsq(design, np.asarray(table, np.float64), rcond=None)[0]
    return solution[:-1], solution[-1], np.asarray(table - design @ solution)


def _check_tokens(tokens: ArrayLike, colours: int) -> Array:
    x = np.asarray(tokens)
    if not np.issubdtype(x.dtype, np.integer) or (
        x.size and not (x.min() >= 0 and x.max() < colours)
    ):
        raise ValueError(f"tokens must be integers in 0..{colours - 1}, got {x.dtype} {x}")
    return x
