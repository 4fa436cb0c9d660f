"""Planted problems: Ising models whose ground state is known because it was put there.

Each is a sum of terms that the planted state t minimises one by one, so that t minimises the
sum. t is random (stream PLANT of `rng`); tiles, numbers and constraints take stream COUPLINGS,
loops take stream GRAPH. `seed` is the instance number. Where couplings are whole numbers the
ground energy is exact; elsewhere it is exact up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from isingnpu import rng
from isingnpu.cell import Size, extents
from isingnpu.model import Array, Geometry, IsingModel, Reference


def frustrated_loops(
    graph: IsingModel, *, density: float = 0.5, min_length: int = 3, seed: int = 0
) -> IsingModel:
    """round(density * n) random loops on the edges of `graph`, whose couplings are ignored.

    A loop of l edges has l - 1 satisfied couplings and one unsatisfied one in the state t: its
    least energy is -(l - 2). Couplings add where loops meet: E0 = -sum_loops (l - 2).
    A loop is where a random walk without immediate return first meets itself; loops shorter
    than `min_length` are drawn again. Hen et al. 2015, PRA 92, 042325.
    Raises ValueError if the graph yields too few such loops."""
    n, key = graph.n, rng.as_seed(seed)
    if n == 0:
        raise ValueError("graph has no sites, so there is no loop to plant")
    if not density > 0 or not math.isfinite(density):
        raise ValueError(f"density must be positive and finite, got {density}")
    n_loops = max(1, round(density * n))
    words = _words(key)
    loops: list[list[int]] = []
    for _ in range(100 * n_loops):
        loop = _random_loop(graph, words)
        if len(loop) >= min_length:
            loops.append(loop)
        if len(loops) == n_loops:
            break
    else:
        raise ValueError(
            f"found {len(loops)} loops of length >= {min_length} in {100 * n_loops} walks, need "
            f"{n_loops}: lower min_length, or use a graph with more cycles"
        )
    t = rng.random_signs(key, rng.Stream.PLANT, n)
    i = np.concatenate(loops)
    j = np.concatenate([np.roll(loop, -1) for loop in loops])
    signs = np.concatenate([[-1, *[1] * (len(loop) - 1)] for loop in loops])
    energy = -float(sum(len(loop) - 2 for loop in loops))
    planted = IsingModel.from_edges((i, j, signs * t[i] * t[j]), n, labels=graph.labels)
    geometry = graph.geometry or Geometry(family="graph", shape=(n,))
    return _with_ground(planted, replace(geometry, family="frustrated_loops"), energy, t)


def _words(key: int) -> Iterator[int]:
    """The words of stream GRAPH, one after the other."""
    start, stop = 0, 1 << 10
    while True:
        yield from rng.random_words(key, rng.Stream.GRAPH, stop)[start:].tolist()
        start, stop = stop, 2 * stop


def _random_loop(graph: IsingModel, words: Iterator[int]) -> list[int]:
    """Sites of the loop closed by one random walk; empty if it runs into a dead end."""
    indptr, indices = graph.csr.indptr, graph.csr.indices
    site = next(words) * graph.n >> 64
    walk, step_of, previous = [site], {site: 0}, -1
    while True:
        onward = [k for k in indices[indptr[site] : indptr[site + 1]].tolist() if k != previous]
        if not onward:
            return []
        previous, site = site, onward[next(words) * len(onward) >> 64]
        if site in step_of:
            return walk[step_of[site] :]
        step_of[site] = len(walk)
        walk.append(site)


def tile_planting(
    size: Size, *, mix: Sequence[float] = (0.25, 0.25, 0.25, 0.25), seed: int = 0
) -> IsingModel:
    """Square lattice, periodic, extents even and >= 4, whose checkerboard plaquettes are tiles.

    Every bond belongs to one tile. In a tile of class k = 1..4 (drawn with probability
    mix[k - 1]) k bonds have |J| = 1 and the others |J| = 2, and one of the weak bonds is
    unsatisfied in t: the tile has k ground states up to a flip, t among them, at energy k - 6.
    Hamze et al. 2018, PRE 97, 043303; Perera et al. 2020, PRE 101, 023316."""
    shape = extents(size, 2)
    if any(extent % 2 or extent < 4 for extent in shape):
        raise ValueError(f"tile_planting needs even extents of at least 4, got {shape}")
    weights = np.asarray(mix, float)
    if weights.shape != (4,) or not np.all(weights >= 0) or not 0 < weights.sum() < math.inf:
        raise ValueError(f"mix must be four shares >= 0 that are not all zero, got {mix}")
    key = rng.as_seed(seed)
    y, x = np.indices(shape).reshape(2, -1)
    y, x = y[(x + y) % 2 == 0], x[(x + y) % 2 == 0]
    up, right = (y + 1) % shape[0], (x + 1) % shape[1]
    corners = np.stack([y * shape[1] + x, y * shape[1] + right, up * shape[1] + right])
    corners = np.vstack([corners, up * shape[1] + x]).T  # (tiles, 4), around the plaquette
    draws = rng.random_floats(key, rng.Stream.COUPLINGS, 5 * len(x)).reshape(-1, 5)
    shares = np.cumsum(weights) / weights.sum()
    n_weak = 1 + np.searchsorted(shares[:3], draws[:, 0], side="right")
    rank = np.argsort(np.argsort(draws[:, 1:], axis=1), axis=1)  # (tiles, 4), 0 is unsatisfied
    values = np.where(rank < n_weak[:, None], 1, 2) * np.where(rank == 0, -1, 1)
    t = rng.random_signs(key, rng.Stream.PLANT, math.prod(shape))
    i, j = corners.ravel(), np.roll(corners, -1, axis=1).ravel()
    model = IsingModel.from_edges((i, j, values.ravel() * t[i] * t[j]), t.size)
    geometry = Geometry(
        family="tile_planting",
        shape=shape,
        boundary=("periodic", "periodic"),
        vectors=np.eye(2),
        basis=np.zeros((1, 2)),
    )
    return _with_ground(model, geometry, float(np.sum(n_weak - 6)), t)


def wishart(
    n: int, *, alpha: float = 0.5, disorder: str = "gaussian", seed: int = 0
) -> IsingModel:
    """Wishart planted ensemble: J = -W W^T / n off the diagonal, W (n, m), m = round(alpha n).

    E(s) = (|W^T s|^2 - tr W W^T) / 2n, and W^T t = 0, so E0 = -tr W W^T / 2n. "gaussian": the
    columns of W are normal with covariance n / (n - 1) (1 - t t^T / n). "bimodal" (n even):
    columns of signs orthogonal to t, with the same covariance, and J = -W W^T whole numbers
    without the 1/n. Smaller alpha is more rugged. Hamze et al. 2020, PRE 101, 052102."""
    n, key = extents(n, 1)[0], rng.as_seed(seed)
    if n < 2 or not alpha > 0 or not math.isfinite(alpha):
        raise ValueError(f"wishart needs n >= 2 and a finite alpha > 0, got {n} and {alpha}")
    m = max(1, round(alpha * n))
    t = rng.random_signs(key, rng.Stream.PLANT, n)
    scale: float
    if disorder == "gaussian":
        z = rng.random_normals(key, rng.Stream.COUPLINGS, n * m).reshape(n, m)
        w = math.sqrt(n / (n - 1)) * (z - np.outer(t, t @ z) / n)
        scale = n
    elif disorder == "bimodal":
        if n % 2:
            raise ValueError(f"bimodal columns orthogonal to t need an even n, got {n}")
        order = np.argsort(rng.random_floats(key, rng.Stream.COUPLINGS, n * m).reshape(n, m), 0)
        w = np.where(np.argsort(order, 0) < n // 2, 1.0, -1.0) * t[:, None]
        scale = 1
    else:
        raise ValueError(f"disorder must be 'gaussian' or 'bimodal', got {disorder!r}")
    couplings = -(w @ w.T) / scale
    couplings = (couplings + couplings.T) / 2  # BLAS need not return a symmetric product
    np.fill_diagonal(couplings, 0)
    geometry = Geometry(family="wishart", shape=(n,))
    energy = -float(np.sum(w**2)) / (2 * scale)
    return _with_ground(IsingModel.from_dense(couplings), geometry, energy, t)


def number_partitioning(n: int, *, bits: int = 12, seed: int = 0) -> IsingModel:
    """n whole numbers a_i in 1..2^bits - 1 that t divides into two halves of equal sum.

    E(s) = (sum_i a_i s_i)^2: J_ij = -2 a_i a_j, offset sum a_i^2, E0 = 0. Numbers drawn
    uniformly are moved towards balance in equal steps until sum_i a_i t_i = 0; t has n // 2 ups.
    Without planting, a perfect partition is rare for bits > n (Mertens 1998, PRL 81, 4281).
    Raises ValueError where energies would not be exact: (sum a)^2 >= 2^53."""
    n, key = extents(n, 1)[0], rng.as_seed(seed)
    if n < 2 or not 2 <= bits <= 25:
        raise ValueError(f"number_partitioning needs n >= 2 and bits in 2..25, got {n} and {bits}")
    largest = 2**bits - 1
    t = np.where(rng.permutation(key, rng.Stream.PLANT, n) < n // 2, 1, -1)
    words = rng.random_words(key, rng.Stream.COUPLINGS, n)
    a = 1 + (words % np.uint64(largest)).astype(np.int64)
    while (excess := int(a @ t)) != 0:
        # numbers on the heavy side above 1 can shrink, those on the light side can grow
        heavy = t * excess > 0
        room = np.where(heavy, a - 1, largest - a)
        free = np.flatnonzero(room)
        share, rest = divmod(abs(excess), len(free))
        step = np.minimum(room[free], share + (np.arange(len(free)) < rest))
        a[free] += np.where(heavy[free], -step, step)
    if int(a.sum()) ** 2 >= 2**53:
        raise ValueError(f"energies reach {int(a.sum()) ** 2} >= 2^53: use fewer bits than {bits}")
    couplings = -2 * np.outer(a, a)
    np.fill_diagonal(couplings, 0)
    model = IsingModel.from_dense(couplings, offset=float(a @ a))
    return _with_ground(model, Geometry(family="number_partitioning", shape=(n,)), 0.0, t)


def _with_ground(model: IsingModel, geometry: Geometry, energy: float, t: Array) -> IsingModel:
    """`model` with its geometry completed by the planted state and its energy."""
    known = replace(
        geometry,
        coordination=2 * model.n_edges / model.n,
        bonds=model.n_edges,
        ground_energy=Reference(energy, 0.0, "exact: planted"),
        ground_state=t.astype(np.int8),
        beta_c=None,
    )
    return replace(model, geometry=known)
