"""Couplings and fields as they are given, made into the arrays that a model keeps.

Whole numbers become int64 if their magnitudes sum to less than 2^52: every |E| is then below 2^53
and exact, in int64 as in float64. All else is float64. What is kept is a copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse import csgraph
from scipy.sparse.linalg import eigsh

Array = NDArray[Any]

_EXACT_SUM = 2.0**52
# Below this many sites all eigenvalues are computed.
DENSE_SITES = 100


def own_couplings(couplings: Any) -> Any:
    """A checked (n, n) copy: CSR for a sparse matrix of any kind, else an ndarray.

    Duplicates of a sparse matrix are summed, its indices sorted, stored zeros dropped. Raises
    ValueError if it is not square, symmetric, finite and zero on the diagonal."""
    if sparse.issparse(couplings):
        own = _own_csr(couplings)
    else:
        dense = np.atleast_2d(np.asarray(couplings))
        own = _own_dense(dense if dense.size else dense.reshape(0, 0), "coupling")
    if own.ndim != 2 or own.shape[0] != own.shape[1]:
        raise ValueError(f"couplings must be a square matrix, got shape {own.shape}")
    _check_symmetric(own)
    return own


def own_fields(fields: ArrayLike, n: int) -> Array:
    """A checked (n,) copy."""
    own = np.atleast_1d(np.asarray(fields))
    if own.shape != (n,):
        raise ValueError(f"fields must have shape ({n},) to match the couplings, got {own.shape}")
    return _own_dense(own, "field")


def edge_matrix(edges: Any, n: int | None, at_least: int) -> Any:
    """Symmetric (n, n) CSR matrix of `edge_arrays`; n from the largest index if it is None.

    at_least: the smallest n to make then. Raises ValueError for a self-loop, an index outside
    0..n-1, or a coupling that is not finite."""
    i, j, values = edge_arrays(edges)
    if n is None:
        n = max(int(i.max(initial=-1)) + 1, int(j.max(initial=-1)) + 1, at_least)
    _check_edges(i, j, values, n)
    numbers = _numbers(
        _floats(values, "coupling"), "coupling", values.dtype, lambda k: (i[k], j[k])
    )
    pairs = np.minimum(i, j), np.maximum(i, j)
    # Each pair is summed once: the order of a float sum must not differ between the triangles.
    upper = sparse.coo_array((numbers, pairs), shape=(n, n)).tocsr()
    return upper + upper.T


def edge_arrays(edges: Any) -> tuple[Array, Array, Array]:
    """(i, j, J) arrays from a sequence of triples or a tuple of three sequences.

    Raises TypeError for indices that are not integers."""
    three = isinstance(edges, tuple) and len(edges) == 3
    if three and all(np.ndim(part) == 1 and not isinstance(part, tuple) for part in edges):
        i, j, values = (np.asarray(part) for part in edges)
        if not len(i) == len(j) == len(values):
            raise ValueError(f"edge arrays differ in length: {len(i)}, {len(j)}, {len(values)}")
    else:
        triples = list(edges)
        for k, triple in enumerate(triples):
            if len(triple) != 3:
                raise ValueError(f"edge {k} is {triple}, must be a triple (i, j, J)")
        i, j, values = (np.array([triple[k] for triple in triples]) for k in range(3))
    if values.size == 0:
        empty = np.zeros(0, np.int64)
        return empty, empty, empty
    for index in (i, j):
        if index.dtype.kind not in "iu":
            raise TypeError(f"site indices must be integers, got dtype {index.dtype}")
    return i.astype(np.int64), j.astype(np.int64), values


def _check_edges(i: Array, j: Array, couplings: Array, n: int) -> None:
    """ValueError for an index outside 0..n-1 or a self-loop."""
    for name, index in (("i", i), ("j", j)):
        bad = np.flatnonzero((index < 0) | (index >= n))
        if bad.size:
            k = bad[0]
            raise ValueError(f"edge {k} has {name} = {index[k]}, allowed are 0..{n - 1} (n = {n})")
    loops = np.flatnonzero(i == j)
    if loops.size:
        k = loops[0]
        raise ValueError(
            f"edge {k} is a self-loop: J[{i[k]}, {j[k]}] = {couplings[k]}; "
            "s_i s_i = 1, so add it to `offset`"
        )


def _own_csr(couplings: Any) -> Any:
    """A copy as CSR: duplicates summed, indices sorted, no stored zeros, int64 or float64."""
    csr = sparse.csr_array(_floats(couplings, "coupling"))
    csr.sum_duplicates()

    def place(k: int) -> tuple[int, ...]:
        return int(np.searchsorted(csr.indptr, k, side="right")) - 1, int(csr.indices[k])

    csr.data = _numbers(csr.data, "coupling", couplings.dtype, place)
    csr.eliminate_zeros()
    return csr


def _floats(values: Any, what: str) -> Any:
    """A float64 copy of an array or a sparse matrix, or TypeError."""
    if values.dtype.kind not in "iubf":
        raise TypeError(f"{what}s must be real numbers, got dtype {values.dtype}")
    return values.astype(np.float64)


def _numbers(
    values: Array, what: str, given: np.dtype[Any], place: Callable[[int], tuple[int, ...]]
) -> Array:
    """float64 `values` as int64 if they are whole and of small sum, else as they are.

    given: dtype before the change to float64; place: index of values.ravel()[k]. Raises
    ValueError for a value that is not finite, or an integer that float64 may have rounded."""
    limit = 2.0**53 if given.kind in "iu" else math.inf
    bad = np.flatnonzero(~(abs(values) < limit))
    if bad.size:
        allowed = "finite" if limit == math.inf else "below 2^53 in size, or be a float"
        at = ", ".join(str(index) for index in place(int(bad[0])))
        raise ValueError(f"{what} [{at}] is {values.ravel()[bad[0]]}, must be {allowed}")
    with np.errstate(over="ignore"):
        total = abs(values).sum()
    if total == math.inf:
        raise ValueError(
            f"{what}s as large as {abs(values).max()} add up to more than float64 holds: "
            "divide the model by a common scale"
        )
    if total < _EXACT_SUM and np.all(values == np.rint(values)):
        return values.astype(np.int64)
    return values


def _own_dense(values: Array, what: str) -> Array:
    """`_numbers` of a copy of an ndarray."""

    def place(k: int) -> tuple[int, ...]:
        return tuple(int(index) for index in np.unravel_index(k, values.shape))

    return _numbers(_floats(values, what), what, values.dtype, place)


def _check_symmetric(couplings: Any) -> None:
    diagonal = np.flatnonzero(couplings.diagonal())
    if diagonal.size:
        i = diagonal[0]
        raise ValueError(
            f"self-loop: J[{i}, {i}] = {couplings[i, i]}; s_i s_i = 1, so add it to `offset`"
        )
    if sparse.issparse(couplings):
        bad = np.array((couplings - couplings.T).nonzero()).T
    else:
        bad = np.argwhere(couplings != couplings.T)
    if len(bad):
        i, j = (int(k) for k in bad[0])
        raise ValueError(
            f"couplings must be symmetric: J[{i}, {j}] = {couplings[i, j]} but "
            f"J[{j}, {i}] = {couplings[j, i]}; pass J + J.T if J is one triangle"
        )


def leading_pair(matrix: Any, start: Array | None) -> tuple[float, Array]:
    """Largest eigenvalue and its vector (n,), by Lanczos from `start` or from a vector that no
    eigenvector is orthogonal to: the uniform one if no entry is negative (Perron)."""
    n = matrix.shape[0]
    if n < DENSE_SITES:
        dense = matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
        values, vectors = eigh(dense, subset_by_index=[n - 1, n - 1])
        return float(values[0]), vectors[:, 0]
    if start is None:
        start = np.ones(n)
        if matrix.min() < 0:
            start += 0.1 * np.cos(np.arange(n) ** 2 * 0.7)
    # the residual is 1e-9, the eigenvalue its square over the gap
    values, vectors = eigsh(matrix, k=1, which="LA", v0=start, ncv=40, tol=1e-9)
    return float(values[0]), vectors[:, 0]


def perron_vector(couplings: Any) -> Array:
    """(n,) the leading eigenvector u > 0 of a CSR array of couplings J >= 0, |u| = 1.

    Raises ValueError for another sign or a graph in several pieces, on only one of which it would
    live. Uniform to the last bit where all sites have the same sum_j J_ij."""
    n = couplings.shape[0]
    if couplings.data.min(initial=0) < 0:
        raise ValueError(f"the Perron vector needs couplings J >= 0, got {couplings.data.min()}")
    pieces = csgraph.connected_components(couplings, directed=False)[0]
    if pieces != 1:
        raise ValueError(
            f"the Perron vector needs a connected graph, this one of {n} sites has {pieces} "
            "components: take one of them"
        )
    strength = couplings.sum(axis=1)
    if np.ptp(strength) <= 1e-12 * strength.max():
        return np.full(n, n**-0.5)
    vector = np.abs(leading_pair(couplings.astype(np.float64), None)[1])
    return np.asarray(vector / np.linalg.norm(vector))
