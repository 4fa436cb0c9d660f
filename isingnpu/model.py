"""The Ising model: one Hamiltonian, one sign convention, and its conversions.

    E(s) = - sum_{i<j} J_ij s_i s_j - sum_i h_i s_i + c,    s_i in {-1, +1}

J > 0 is ferromagnetic, k_B = 1, states weigh exp(-beta E). dimod and QUBO files have the
opposite sign of J and h; only `from_bqm`, `from_qubo` and their inverses convert.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from isingnpu import convert
from isingnpu.convert import Terms
from isingnpu.couplings import Array, edge_matrix, own_couplings, own_fields, perron_vector
from isingnpu.geometry import Geometry, Reference
from isingnpu.quantize import MAX_FIXED_BOUND, MAX_TABLE_BOUND, Quantized, quantize

if TYPE_CHECKING:
    import dimod
    import networkx as nx

__all__ = [
    "MAX_FIXED_BOUND",
    "MAX_TABLE_BOUND",
    "Array",
    "Geometry",
    "IsingModel",
    "Quantized",
    "Reference",
]

# Energies of more spins than this are summed piece by piece: 128 MiB of int64.
CHUNK_SPINS = 1 << 24


@dataclass(frozen=True, eq=False)
class IsingModel:
    """Couplings J, fields h and offset c of E(s) = -sum_{i<j} J_ij s_i s_j - h.s + c.

    couplings: (n, n) scipy CSR or dense ndarray, symmetric, zero diagonal, finite; copied.
    fields: (n,); offset: energy constant; labels: n distinct hashables, default 0..n-1.
    Whole numbers whose magnitudes sum to less than 2^52 are kept as int64, and energies are
    then exact. Raises ValueError naming the index and value of the first coupling that is not
    allowed, TypeError for values that are not real numbers.
    """

    couplings: Any
    fields: Array
    offset: float = 0.0
    labels: tuple[Hashable, ...] | None = None
    geometry: Geometry | None = None

    def __post_init__(self) -> None:
        couplings = own_couplings(self.couplings)
        fields = own_fields(self.fields, couplings.shape[0])
        if not np.isfinite(self.offset):
            raise ValueError(f"offset must be finite, got {self.offset}")
        if self.labels is not None:
            _check_labels(self.labels, couplings.shape[0])
            object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "couplings", couplings)
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "offset", float(self.offset))

    def __repr__(self) -> str:
        kind = self.geometry.family if self.geometry else "graph"
        return f"IsingModel({kind}, n={self.n}, edges={self.n_edges})"

    @property
    def n(self) -> int:
        """Number of sites."""
        return int(self.fields.size)

    @property
    def n_edges(self) -> int:
        """Number of non-zero couplings J_ij, i < j."""
        return int(self.csr.nnz) // 2

    @property
    def variables(self) -> tuple[Hashable, ...]:
        """Site labels in site order."""
        return self.labels if self.labels is not None else tuple(range(self.n))

    @property
    def is_integer(self) -> bool:
        """True when couplings and fields are whole numbers, so that energies are exact."""
        return bool(self.couplings.dtype.kind == "i" and self.fields.dtype.kind == "i")

    @property
    def is_dense(self) -> bool:
        """True when at least a quarter of all pairs are coupled: dense kernels then win."""
        return self.n >= 64 and 4 * self.csr.nnz >= self.n * (self.n - 1)

    @cached_property
    def csr(self) -> Any:
        """(n, n) couplings as a CSR array with sorted indices and no stored zeros."""
        csr = sparse.csr_array(self.couplings)
        csr.sort_indices()
        return csr

    @property
    def dense(self) -> Array:
        """(n, n) couplings as an ndarray."""
        if sparse.issparse(self.couplings):
            return np.asarray(self.couplings.toarray())
        return np.asarray(self.couplings)

    @property
    def terms(self) -> Terms:
        """The pairs i < j with J_ij != 0 in row order, the fields, the offset, the labels."""
        upper = sparse.coo_array(sparse.triu(self.csr, 1, format="csr"))
        i, j = (index.astype(np.int64) for index in upper.coords)
        return Terms(i, j, upper.data, self.fields, self.offset, self.labels)

    @cached_property
    def field_bound(self) -> float:
        """max_i (|h_i| + sum_j |J_ij|), the largest local field any state can make."""
        if self.n == 0:
            return 0.0
        return float((abs(self.couplings).sum(axis=1) + abs(self.fields)).max())

    @cached_property
    def quantized(self) -> Quantized:
        """The model in integers; see `Quantized`."""
        return quantize(self.csr, self.fields, self.field_bound)

    @cached_property
    def colours(self) -> tuple[Array, ...]:
        """Independent sets that cover the graph: two if it is bipartite, else greedy."""
        import networkx as nx

        graph = nx.from_scipy_sparse_array(self.csr)
        try:
            colour = nx.bipartite.color(graph)
        except nx.NetworkXError:
            colour = nx.greedy_color(graph, strategy="largest_first")
        of_site = np.fromiter((colour[i] for i in range(self.n)), np.int64, self.n)
        return tuple(np.flatnonzero(of_site == c) for c in range(of_site.max(initial=-1) + 1))

    @cached_property
    def perron(self) -> Array:
        """(n,) the Perron vector of the couplings J >= 0 of a connected graph, |u| = 1."""
        return perron_vector(self.csr)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of couplings, fields and offset: two models with it equal are the same."""
        csr = self.csr
        digest = hashlib.sha256()
        for part in (csr.indptr, csr.indices):
            digest.update(np.ascontiguousarray(part, dtype="<i8").tobytes())
        for values in (csr.data, self.fields, np.array([self.offset])):
            # below 2^52 whole numbers are floats too; adding 0.0 makes -0.0 the same as 0.0
            digest.update((np.ascontiguousarray(values, dtype="<f8") + 0.0).tobytes())
        return digest.hexdigest()

    def energy(self, spins: ArrayLike) -> Array:
        """Energies (...,) of states (..., n), float64.

        If `is_integer`, the sums are made in int64 and the result is exact (the offset apart).
        Raises ValueError for a wrong last axis or a value other than -1, +1."""
        states = self.check_spins(spins)
        return np.asarray(self.offset - self._alignments(states, self.fields))

    def _alignments(self, states: Array, fields: Array) -> Array:
        """sum_{i<j} J_ij s_i s_j + fields . s, shape (...,); int64 if all of them are."""
        flat = states.reshape(math.prod(states.shape[:-1]), self.n)
        integer = self.couplings.dtype.kind == fields.dtype.kind == "i"
        dtype = np.int64 if integer else np.float64
        total = np.empty(len(flat), dtype)
        step = max(1, CHUNK_SPINS // max(self.n, 1))
        for start in range(0, len(flat), step):
            s = flat[start : start + step].astype(dtype)  # (replicas, n)
            pair = (s * self._neighbour_sums(s)).sum(axis=1)
            pair = pair // 2 if integer else 0.5 * pair
            total[start : start + step] = pair + s @ fields
        return total.reshape(states.shape[:-1])

    def local_fields(self, spins: ArrayLike) -> Array:
        """sum_j J_ij s_j + h_i, shape (..., n): flipping site i costs 2 s_i times this."""
        states = self.check_spins(spins)
        dtype = np.int64 if self.is_integer else np.float64
        flat = states.reshape(math.prod(states.shape[:-1]), self.n).astype(dtype)
        return np.asarray((self._neighbour_sums(flat) + self.fields).reshape(states.shape))

    def _neighbour_sums(self, states: Array) -> Array:
        """sum_j J_ij s_j for (replicas, n) states."""
        if sparse.issparse(self.couplings):
            return np.asarray((self.couplings @ states.T).T)
        if states.dtype.kind == "i":
            # BLAS; every partial sum is a whole number below 2^53, so float64 is exact.
            product = states.astype(np.float64) @ self.couplings.astype(np.float64)
            return np.asarray(np.rint(product).astype(np.int64))
        return np.asarray(states @ self.couplings)

    def check_spins(self, spins: ArrayLike) -> Array:
        """`spins` as an int8 array (..., n) of -1 and +1, or ValueError."""
        states = np.asarray(spins)
        if states.ndim == 0 or states.shape[-1] != self.n:
            raise ValueError(f"spins must have shape (..., {self.n}), got {states.shape}")
        wrong = np.argwhere((states != 1) & (states != -1))
        if len(wrong):
            at = tuple(int(k) for k in wrong[0])
            raise ValueError(
                f"spins must be -1 or +1: spins{list(at)} = {states[at]}; "
                "map 0/1 variables by s = 2 x - 1"
            )
        return states.astype(np.int8, copy=False)

    # Max-cut: a file's weight w_ij is the coupling J_ij = -w_ij.

    @property
    def total_weight(self) -> float:
        """W = sum_{i<j} w_ij = -sum_{i<j} J_ij of the max-cut reading of the model."""
        return float(-self.csr.sum()) / 2

    def cut_value(self, spins: ArrayLike) -> Array:
        """Weight of the edges between up and down spins, (W - E_pair) / 2, shape (...,)."""
        states = self.check_spins(spins)
        no_fields = np.zeros(self.n, np.int64)
        return np.asarray((self.total_weight + self._alignments(states, no_fields)) / 2)

    # Conversions.

    @classmethod
    def from_edges(
        cls,
        edges: Iterable[tuple[int, int, float]] | tuple[ArrayLike, ArrayLike, ArrayLike],
        n: int | None = None,
        *,
        fields: ArrayLike | None = None,
        offset: float = 0.0,
        labels: Sequence[Hashable] | None = None,
        geometry: Geometry | None = None,
    ) -> IsingModel:
        """From (i, j, J_ij) triples, or from a tuple of three arrays or lists i, j, J.

        Repeated pairs add up. Raises ValueError for a self-loop (a constant: put it into
        `offset`), an index outside 0..n-1, or a value that is not finite."""
        matrix = edge_matrix(edges, n, 0 if fields is None else np.size(fields))
        h = np.zeros(matrix.shape[0], np.int64) if fields is None else np.asarray(fields)
        return cls(matrix, h, offset, None if labels is None else tuple(labels), geometry)

    @classmethod
    def from_terms(cls, terms: Terms) -> IsingModel:
        """From `Terms`; the inverse of `terms`."""
        return cls.from_edges(
            (terms.i, terms.j, terms.couplings),
            terms.fields.size,
            fields=terms.fields,
            offset=terms.offset,
            labels=terms.labels,
        )

    @classmethod
    def from_dense(
        cls, couplings: ArrayLike, fields: ArrayLike | None = None, offset: float = 0.0
    ) -> IsingModel:
        """From a symmetric (n, n) array; it stays dense."""
        matrix = np.asarray(couplings)
        h = np.zeros(len(matrix), np.int64) if fields is None else np.asarray(fields)
        return cls(matrix, h, offset)

    @classmethod
    def from_sparse(
        cls,
        couplings: Any,
        fields: ArrayLike | None = None,
        offset: float = 0.0,
        *,
        triangle: str = "both",
    ) -> IsingModel:
        """From any scipy sparse matrix: symmetric (`triangle="both"`), or one triangle of it
        (`triangle="upper"` or `"lower"`)."""
        if triangle not in ("both", "upper", "lower"):
            raise ValueError(f"triangle must be 'both', 'upper' or 'lower', got {triangle!r}")
        matrix = sparse.csr_array(couplings)
        if triangle != "both":
            outside = (sparse.tril if triangle == "upper" else sparse.triu)(matrix, 0)
            i, j = outside.nonzero()
            if i.size:
                raise ValueError(
                    f"triangle='{triangle}' but J[{i[0]}, {j[0]}] = {matrix[i[0], j[0]]} "
                    "lies outside it"
                )
            matrix = matrix + matrix.T
        h = np.zeros(matrix.shape[0], np.int64) if fields is None else np.asarray(fields)
        return cls(matrix, h, offset)

    @classmethod
    def from_networkx(
        cls, graph: nx.Graph, *, weight: str = "weight", field: str = "field"
    ) -> IsingModel:
        """From an undirected graph: J = edge attribute `weight` (default 1), h = node attribute
        `field` (default 0), offset = graph attribute `offset` (default 0), labels = nodes.
        Parallel edges add up."""
        return cls.from_terms(convert.from_networkx(graph, weight, field))

    def to_networkx(self) -> nx.Graph:
        """Graph with edge attribute `weight` = J, node attribute `field` = h and graph
        attribute `offset`."""
        return convert.to_networkx(self.terms)

    @classmethod
    def from_qubo(cls, qubo: Mapping[tuple[Any, Any], float], offset: float = 0.0) -> IsingModel:
        """From E(x) = sum_{u,v} Q_uv x_u x_v + offset, x = (1 + s) / 2; (u, v) and (v, u) add."""
        return cls.from_terms(convert.from_qubo(qubo, offset))

    def to_qubo(self) -> tuple[dict[tuple[Hashable, Hashable], float], float]:
        """(Q, offset) with sum Q_uv x_u x_v + offset = E(2 x - 1)."""
        return convert.to_qubo(self.terms)

    @classmethod
    def from_bqm(cls, bqm: dimod.BinaryQuadraticModel) -> IsingModel:
        """From a dimod model of either vartype: J = -quadratic, h = -linear of its SPIN form."""
        return cls.from_terms(convert.from_bqm(bqm))

    def to_bqm(self) -> dimod.BinaryQuadraticModel:
        """The same energy as a dimod SPIN model: quadratic = -J, linear = -h."""
        return convert.to_bqm(self.terms)


def _check_labels(labels: Sequence[Hashable], n: int) -> None:
    if len(labels) != n:
        raise ValueError(f"{len(labels)} labels for {n} sites")
    if len(set(labels)) != n:
        twice = next(x for k, x in enumerate(labels) if x in labels[:k])
        raise ValueError(f"labels must differ: {twice!r} occurs more than once")
