"""Disorder: random couplings on lattices, and random graphs.

    J_ij = J x,   x = 1 ("none"), -1 or +1 ("bimodal"), standard normal ("gaussian")

`seed` is the instance number: the same arguments give the same couplings (stream COUPLINGS of
`rng`) and, with the same version of networkx, the same graph (its generators take an integer
drawn from stream GRAPH).
"""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from isingnpu import rng
from isingnpu.cell import Boundary, Size, boundaries, extents, hypercubic_cell, lattice_bonds
from isingnpu.lattice import lattice_model, uniform_state
from isingnpu.model import Array, Geometry, IsingModel, Reference

DISORDERS = ("none", "bimodal", "gaussian")

_NO_GLASS = Reference(math.inf, 0.0, "no glass at T > 0: d = 1 exact, d = 2 Hartmann, Young 2001")
# T_c = 1.1019(29) and 0.951(9)
_GLASS_3D = {
    "bimodal": Reference(
        1 / 1.1019, 0.0029 / 1.1019**2, "Baity-Jesi et al. 2013, arXiv:1310.2910"
    ),
    "gaussian": Reference(
        1 / 0.951, 0.009 / 0.951**2, "Katzgraber, Korner, Young 2006, PRB 73, 224432"
    ),
}


def draw_couplings(disorder: str, count: int, seed: int) -> Array:
    """(count,) values of x: int64 for "none" and "bimodal", float64 for "gaussian"."""
    key = rng.as_seed(seed)
    if disorder == "none":
        return np.ones(count, np.int64)
    if disorder == "bimodal":
        return rng.random_signs(key, rng.Stream.COUPLINGS, count)
    if disorder == "gaussian":
        return rng.random_normals(key, rng.Stream.COUPLINGS, count)
    raise ValueError(f"disorder must be one of {DISORDERS}, got {disorder!r}")


def edwards_anderson(
    shape: Size, *, disorder: str = "bimodal", seed: int = 0, boundary: Boundary = "periodic"
) -> IsingModel:
    """Spin glass on the hypercubic lattice of any dimension (Edwards, Anderson 1975).

    The coupling of site x along axis a is draw a * N + x, for every boundary: an open or
    antiperiodic sample has the bulk of the periodic one with that seed. Exactly known are
    neither energy nor state; beta_c for d = 1, 2 (none) and d = 3."""
    sides = extents(shape)
    names = boundaries(boundary, len(sides))
    cell = hypercubic_cell(len(sides))
    bonds = lattice_bonds(sides, cell, names)
    draws = draw_couplings(disorder, len(sides) * math.prod(sides), seed)
    couplings = draws[bonds.number] * bonds.sign
    d = sum(side > 1 for side in sides)
    beta_c = _NO_GLASS if d in (1, 2) else _GLASS_3D.get(disorder) if d == 3 else None
    return lattice_model("edwards_anderson", sides, cell, names, bonds, couplings, beta_c=beta_c)


# Every site coupled to every other.


def complete(n: int, *, J: float = 1, h: float = 0) -> IsingModel:
    """Every pair coupled by J, as a dense matrix: E = -J (M^2 - n) / 2 - h M, M = sum s.

    The ground state minimises that over M for either sign of J. For J > 0 the model is
    Curie-Weiss with coupling n J, so beta_c = 1 / (n J)."""
    return _all_pairs("complete", extents(n, 1)[0], J, h)


def curie_weiss(n: int, *, J: float = 1, h: float = 0) -> IsingModel:
    """`complete` with coupling J / n, so that the energy is extensive: beta_c = 1 / J."""
    n = extents(n, 1)[0]
    return _all_pairs("curie_weiss", n, J / n, h)


def _all_pairs(family: str, n: int, J: float, h: float) -> IsingModel:
    couplings = np.full((n, n), J)
    np.fill_diagonal(couplings, 0)
    magnetisations = np.arange(-n, n + 1, 2)
    energies = -J * (magnetisations**2 - n) / 2 - h * magnetisations
    n_up = int(np.argmin(energies))
    beta_c = None
    if J > 0 and h == 0:
        beta_c = Reference(1 / (n * J), 0.0, "exact: Curie-Weiss, n beta J = 1")
    geometry = Geometry(
        family=family,
        shape=(n,),
        coordination=n - 1,
        bonds=n * (n - 1) // 2,
        ground_energy=Reference(float(energies[n_up]), 0.0, "exact: minimum over M"),
        ground_state=np.where(np.arange(n) < n_up, 1, -1).astype(np.int8),
        beta_c=beta_c,
    )
    return IsingModel(couplings, np.full(n, h), geometry=geometry)


def sherrington_kirkpatrick(n: int, *, disorder: str = "bimodal", seed: int = 0) -> IsingModel:
    """J_ij = x_ij / sqrt(n) for every pair, dense; beta_c = 1 (Sherrington, Kirkpatrick 1975).

    The pairs i < j take their draws in the order (0,1), (0,2), ..., (1,2), ..."""
    n = extents(n, 1)[0]
    if disorder == "none":
        raise ValueError("disorder must be 'bimodal' or 'gaussian': without it, use curie_weiss")
    couplings = np.zeros((n, n))
    upper = np.arange(n)[:, None] < np.arange(n)
    couplings[upper] = draw_couplings(disorder, n * (n - 1) // 2, seed) / math.sqrt(n)
    geometry = Geometry(
        family="sherrington_kirkpatrick",
        shape=(n,),
        coordination=n - 1,
        bonds=n * (n - 1) // 2,
        beta_c=Reference(1.0, 0.0, "exact: Sherrington, Kirkpatrick 1975; Aizenman et al. 1987"),
    )
    return IsingModel(couplings + couplings.T, np.zeros(n, np.int64), geometry=geometry)


# Random graphs.


def random_regular(
    n: int, degree: int, *, J: float = 1, h: float = 0, disorder: str = "none", seed: int = 0
) -> IsingModel:
    """A random graph in which every site has `degree` neighbours; n * degree must be even.

    Locally a Bethe lattice of branching degree - 1, which gives beta_c."""
    n = extents(n, 1)[0]
    _check_whole("degree", degree)
    if not 0 <= degree < n or n * degree % 2:
        raise ValueError(
            f"degree must lie in 0..n-1 with n * degree even, got n = {n}, degree = {degree}"
        )
    graph = nx.random_regular_graph(degree, n, seed=_graph_seed(seed))
    return _graph_model("random_regular", graph, J, h, disorder, seed, branching=degree - 1)


def erdos_renyi(
    n: int,
    mean_degree: float,
    *,
    J: float = 1,
    h: float = 0,
    disorder: str = "none",
    seed: int = 0,
) -> IsingModel:
    """Each pair is an edge with probability mean_degree / (n - 1), independently.

    Locally a tree of mean branching `mean_degree`, which gives beta_c."""
    n = extents(n, 1)[0]
    if not 0 <= mean_degree <= n - 1:
        raise ValueError(f"mean_degree must lie in 0..n-1 = {n - 1}, got {mean_degree}")
    probability = mean_degree / max(n - 1, 1)
    graph = nx.fast_gnp_random_graph(n, probability, seed=_graph_seed(seed))
    return _graph_model("erdos_renyi", graph, J, h, disorder, seed, branching=mean_degree)


def watts_strogatz(
    n: int,
    neighbours: int,
    rewiring: float,
    *,
    J: float = 1,
    h: float = 0,
    disorder: str = "none",
    seed: int = 0,
) -> IsingModel:
    """A ring with `neighbours` (even) neighbours per site, each edge rewired with probability
    `rewiring` (Watts, Strogatz 1998)."""
    n = extents(n, 1)[0]
    _check_whole("neighbours", neighbours)
    if not 0 <= neighbours < n or neighbours % 2:
        raise ValueError(f"neighbours must be even and in 0..n-1 = {n - 1}, got {neighbours}")
    if not 0 <= rewiring <= 1:
        raise ValueError(f"rewiring must lie in 0..1, got {rewiring}")
    graph = nx.watts_strogatz_graph(n, neighbours, rewiring, seed=_graph_seed(seed))
    return _graph_model("watts_strogatz", graph, J, h, disorder, seed)


def barabasi_albert(
    n: int, attached: int, *, J: float = 1, h: float = 0, disorder: str = "none", seed: int = 0
) -> IsingModel:
    """Growth by preferential attachment, `attached` edges per new site (Barabasi, Albert 1999).

    beta_c of the infinite ferromagnet is 0, approached like 1 / ln n, and is not given."""
    n = extents(n, 1)[0]
    _check_whole("attached", attached)
    if not 1 <= attached < n:
        raise ValueError(f"attached must lie in 1..n-1 = {n - 1}, got {attached}")
    graph = nx.barabasi_albert_graph(n, attached, seed=_graph_seed(seed))
    return _graph_model("barabasi_albert", graph, J, h, disorder, seed)


def _check_whole(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, got {value!r}")


def _graph_seed(seed: int) -> int:
    return int(rng.random_words(rng.as_seed(seed), rng.Stream.GRAPH, 1)[0])


def _graph_model(
    family: str,
    graph: nx.Graph,
    J: float,
    h: float,
    disorder: str,
    seed: int,
    *,
    branching: float | None = None,
) -> IsingModel:
    """J x on each edge, the draws given to the edges (i, j), i < j, in sorted order."""
    n, m = graph.number_of_nodes(), graph.number_of_edges()
    ends = np.sort(np.array(graph.edges, np.int64).reshape(m, 2), axis=1)
    i, j = ends[np.lexsort((ends[:, 1], ends[:, 0]))].T
    couplings = J * draw_couplings(disorder, m, seed)
    energy: Reference | None = None
    state: NDArray[np.int8] | None = None
    if np.all(couplings >= 0):
        state = uniform_state(n, h)
        energy = Reference(
            float(-couplings.sum() - abs(h) * n), 0.0, "exact: every bond and field is satisfied"
        )
    beta_c = None
    if branching is not None and J != 0 and h == 0:
        beta_c = _tree_beta_c(branching, J, disorder)
    geometry = Geometry(
        family=family,
        shape=(n,),
        coordination=2 * m / n,
        bonds=m,
        ground_energy=energy,
        ground_state=state,
        beta_c=beta_c,
    )
    return IsingModel.from_edges((i, j, couplings), n, fields=np.full(n, h), geometry=geometry)


def _tree_beta_c(branching: float, J: float, disorder: str) -> Reference | None:
    """Ferromagnet: branching * tanh(beta J) = 1. Bimodal glass: branching * tanh(beta J)^2 = 1."""
    if branching <= 1:
        return Reference(math.inf, 0.0, "exact: branching <= 1, no order at T > 0")
    if disorder == "none" and J > 0:
        source = "exact: branching tanh(beta J) = 1 (Bethe lattice; Dembo, Montanari 2010)"
        return Reference(math.atanh(1 / branching) / J, 0.0, source)
    if disorder == "bimodal":
        source = "exact: branching tanh(beta J)^2 = 1 (Viana, Bray 1985; Thouless 1986)"
        return Reference(math.atanh(1 / math.sqrt(branching)) / abs(J), 0.0, source)
    return None
