"""Ising terms, and the forms in which other programs keep them: dimod, QUBO, networkx.

Ising: E(s) = - sum_k J_k s_i(k) s_j(k) - sum_i h_i s_i + c      s in {-1, +1}
dimod: E(s) = + sum_uv b_uv s_u s_v + sum_u b_u s_u + c          J = -b_uv, h = -b_u
QUBO:  E(x) = + sum_uv Q_uv x_u x_v + c                          x = (1 + s) / 2
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from isingnpu.couplings import Array, edge_arrays

if TYPE_CHECKING:
    import dimod
    import networkx as nx


@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of E(s), one coupling per pair: what a model is without its matrix.

    i, j, couplings: (edges,) site indices and J_ij; fields: (n,); offset: c; labels: n distinct
    hashables, None for 0..n-1."""

    i: Array
    j: Array
    couplings: Array
    fields: Array
    offset: float = 0.0
    labels: Sequence[Hashable] | None = None

    @property
    def names(self) -> Sequence[Hashable]:
        """Labels of the sites."""
        return range(self.fields.size) if self.labels is None else self.labels


def qubo_terms(i: Array, j: Array, q: Array, n: int, offset: float) -> Terms:
    """Terms of E(x) = sum_k q_k x_i(k) x_j(k) + offset over n sites, x = (1 + s) / 2.

    Off the diagonal x_i x_j = (1 + s_i + s_j + s_i s_j) / 4; on it x^2 = x."""
    pair = i != j
    h = np.zeros(n)
    h += np.bincount(i[~pair], q[~pair] / -2, n)
    for end in (i, j):
        h += np.bincount(end[pair], q[pair] / -4, n)
    constant = offset + q[~pair].sum() / 2 + q[pair].sum() / 4
    return Terms(i[pair], j[pair], q[pair] / -4, h, float(constant))


def qubo_arrays(terms: Terms) -> tuple[Array, Array, Array, float]:
    """(i, j, q, constant) with sum_k q_k x_i(k) x_j(k) + constant = E(2 x - 1).

    The n diagonal entries come first, in site order."""
    sites = np.arange(terms.fields.size)
    linear = -2.0 * terms.fields
    for end in (terms.i, terms.j):
        linear += np.bincount(end, 2.0 * terms.couplings, sites.size)
    constant = terms.offset - float(terms.couplings.sum()) + float(terms.fields.sum())
    return (
        np.concatenate([sites, terms.i]),
        np.concatenate([sites, terms.j]),
        np.concatenate([linear, -4.0 * terms.couplings]),
        constant,
    )


def from_qubo(qubo: Mapping[tuple[Any, Any], float], offset: float) -> Terms:
    """Terms of a QUBO dictionary; labels in order of appearance, (u, v) and (v, u) add."""
    index: dict[Hashable, int] = {}
    for pair, q in qubo.items():
        if not np.isfinite(q):
            raise ValueError(f"QUBO coefficient of {pair} is {q}, must be finite")
        for label in pair:
            index.setdefault(label, len(index))
    i = np.array([index[u] for u, _ in qubo], np.int64)
    j = np.array([index[v] for _, v in qubo], np.int64)
    values = np.array(list(qubo.values()), float)
    return replace(qubo_terms(i, j, values, len(index), offset), labels=list(index))


def to_qubo(terms: Terms) -> tuple[dict[tuple[Hashable, Hashable], float], float]:
    """(Q, constant) with every (u, u) in Q, zero or not."""
    i, j, q, constant = qubo_arrays(terms)
    names = terms.names
    pairs = zip(i.tolist(), j.tolist(), q.tolist(), strict=True)
    return {(names[u], names[v]): value for u, v, value in pairs}, constant


def from_bqm(bqm: dimod.BinaryQuadraticModel) -> Terms:
    """Terms of a dimod model of either vartype, converted in float64 whatever it stores."""
    import dimod

    spin = dimod.BinaryQuadraticModel(bqm, dtype=np.float64).spin
    names = list(spin.variables)
    vectors: Any = spin.to_numpy_vectors(variable_order=names)
    linear, (i, j, quadratic), constant = vectors
    j_values, h = -np.asarray(quadratic, float), -np.asarray(linear, float)
    return Terms(np.asarray(i), np.asarray(j), j_values, h, float(constant), names)


def to_bqm(terms: Terms) -> dimod.BinaryQuadraticModel:
    """The same energy as a dimod SPIN model."""
    import dimod

    return dimod.BinaryQuadraticModel.from_numpy_vectors(
        -terms.fields.astype(float),
        (terms.i, terms.j, -terms.couplings.astype(float)),
        terms.offset,
        dimod.SPIN,
        variable_order=list(terms.names),
    )


def from_networkx(graph: nx.Graph, weight: str, field: str) -> Terms:
    """Terms of an undirected graph: edge attribute `weight`, node attribute `field`."""
    if graph.is_directed():
        raise ValueError("couplings have no direction: pass graph.to_undirected()")
    nodes = list(graph)
    index = {node: k for k, node in enumerate(nodes)}
    edges = [(index[u], index[v], w) for u, v, w in graph.edges(data=weight, default=1)]
    h = [value for _, value in graph.nodes(data=field, default=0)]
    return Terms(*edge_arrays(edges), np.array(h), graph.graph.get("offset", 0.0), nodes)


def to_networkx(terms: Terms) -> nx.Graph:
    """Graph with edge attribute `weight`, node attribute `field`, graph attribute `offset`."""
    import networkx as nx

    graph = nx.Graph(offset=terms.offset)
    names = terms.names
    fields = zip(names, terms.fields.tolist(), strict=True)
    graph.add_nodes_from((name, {"field": h}) for name, h in fields)
    edges = zip(terms.i.tolist(), terms.j.tolist(), terms.couplings.tolist(), strict=True)
    graph.add_edges_from((names[i], names[j], {"weight": value}) for i, j, value in edges)
    return graph
