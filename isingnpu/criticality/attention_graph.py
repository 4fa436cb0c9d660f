"""The Ising model on an attention graph, and correlation lengths measured on any graph.

    J = (P + P^T) / 2,   P (n, n) a row-stochastic attention matrix,   E = -1/2 s^T J s

With C_ij = <s_i s_j>, the Laplacian L = D - W of the weights W = J / J0, J0 = sum J^2 / sum J (the
strength of a typical bond; W = 1 on uniform lattices), its smallest eigenvalue lambda_2 > 0 and
the orthonormal vectors v of that eigenvalue:

    S(v) = v^T C v,    S(0) = 1^T C 1 / n = n <m^2>
    xi = sqrt((S(0) / <S(v)>_v - 1) / lambda_2)            second-moment length, in bonds
    G(d) = mean of C_ij over pairs at hop distance d ~ exp(-d / xi_d)       decay length
    chi_P = u^T C u, u the Perron vector of J, |u| = 1      order parameter of irregular graphs

On a periodic hypercubic lattice lambda_2 = 4 sin^2(k_min / 2) and xi is the length of
isingnpu.criticality.estimators (Cooper, Freedman & Preston 1982). On a graph it measures how fast
correlations vary along the slowest mode; small worlds have no large distances and xi stays of
order 1 there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.sparse import csgraph

from isingnpu import rng
from isingnpu.annealing import sample
from isingnpu.criticality.refusals import StartRemembered
from isingnpu.model import Array, Geometry, IsingModel
from isingnpu.statistics import Estimate, jackknife

BLOCKS = 32
# Eigenvalues closer than this, relative to the largest, count as one.
DEGENERATE = 1e-9
START_SIGMAS = 5.0


def attention_model(weights: ArrayLike) -> IsingModel:
    """J = (P + P^T) / 2 of an attention matrix P (n, n): rows sum to 1, no entry is negative.

    Diagonal entries are constants of the energy and go into the offset, -tr(P) / 2. A causal P
    is allowed. Note that lambda_max(P) = 1 for every such P: the spectrum of P itself says
    nothing of beta_c. Raises ValueError for another shape, an entry that is negative or not
    finite, or a row whose sum is off 1 by more than 1e-3."""
    p = np.asarray(weights, np.float64)
    if p.ndim != 2 or p.shape[0] != p.shape[1]:
        raise ValueError(
            f"attention must be (n, n), one head of self-attention; got shape {p.shape}"
        )
    wrong = np.argwhere(~((p >= 0) & np.isfinite(p)))
    if len(wrong):
        i, j = (int(k) for k in wrong[0])
        raise ValueError(f"attention[{i}, {j}] = {p[i, j]}: must be finite and >= 0")
    sums = p.sum(axis=1)
    off = np.flatnonzero(abs(sums - 1) > 1e-3)
    if off.size:
        raise ValueError(
            f"row {off[0]} sums to {sums[off[0]]:.6g}, must be 1: pass the softmax, not the scores"
        )
    n = len(p)
    couplings = (p + p.T) / 2
    np.fill_diagonal(couplings, 0)
    geometry = Geometry(
        family="attention",
        shape=(n,),
        coordination=float(np.count_nonzero(couplings) / max(n, 1)),
        bonds=int(np.count_nonzero(couplings)) // 2,
    )
    return IsingModel(couplings, np.zeros(n), offset=-float(np.trace(p)) / 2, geometry=geometry)


@dataclass(frozen=True, eq=False)
class GraphModes:
    """What the estimators need of a ferromagnetic graph.

    eigenvalue: lambda_2 of the Laplacian; vectors: (k, n) orthonormal, of that eigenvalue;
    perron: (n,); distance: (n, n) hops over bonds of at least `threshold` J0, inf if there is no
    way."""

    eigenvalue: float
    vectors: Array
    perron: Array
    distance: Array
    threshold: float

    @classmethod
    def of(cls, model: IsingModel, threshold: float = 1.0) -> GraphModes:
        """By dense eigenvalues, O(n^3). threshold: distances count bonds of J >= threshold J0; for
        uniform couplings 1 counts all. Raises ValueError for J < 0 or a disconnected graph."""
        j = model.dense.astype(np.float64)
        if j.min(initial=0) < 0:
            raise ValueError(f"lengths are defined for J >= 0, got a coupling {j.min()}")
        parts = csgraph.connected_components(model.csr, directed=False)[0]
        if parts != 1 or model.n < 3:
            raise ValueError(
                f"the graph must be connected and have 3 sites, got {parts} components of "
                f"{model.n} sites: take one component"
            )
        unit = (j**2).sum() / j.sum()
        w = j / unit
        values, vectors = eigh(np.diag(w.sum(axis=1)) - w)
        level = values - values[1] <= DEGENERATE * values[-1]
        level[0] = False
        perron = eigh(j, subset_by_index=[model.n - 1, model.n - 1])[1][:, 0]
        near = w >= threshold * (1 - 1e-9)
        distance = csgraph.shortest_path(near & (w > 0), unweighted=True, directed=False)
        return cls(float(values[1]), vectors[:, level].T, abs(perron), distance, threshold)


def mode_structure_factor(correlation: Array, vectors: Array) -> float:
    """Mean over vectors v (k, n) of v^T C v; C (n, n)."""
    return float(np.einsum("ki,ij,kj->", vectors, correlation, vectors) / len(vectors))


def graph_length(correlation: Array, modes: GraphModes) -> float:
    """xi = sqrt((S(0) / <S(v)> - 1) / lambda_2) in bonds of C (n, n); nan if S(0) < <S(v)>."""
    ratio = correlation.sum() / len(correlation)
    ratio = ratio / mode_structure_factor(correlation, modes.vectors)
    return float(np.sqrt((ratio - 1) / modes.eigenvalue)) if ratio >= 1 else float("nan")


def perron_susceptibility(correlation: Array, modes: GraphModes) -> float:
    """u^T C u for the Perron vector u of J: <(u . s)^2>."""
    return mode_structure_factor(correlation, modes.perron[None])


def correlation_by_distance(
    correlation: Array, distance: Array
) -> tuple[NDArray[np.int64], Array]:
    """(hop distances d >= 1 that occur, G(d) the mean of C_ij over pairs at that distance)."""
    upper = np.triu_indices(len(correlation), 1)
    d, c = distance[upper], correlation[upper]
    d, c = d[np.isfinite(d)].astype(np.int64), c[np.isfinite(d)]
    pairs = np.bincount(d)
    occurs = np.flatnonzero(pairs)
    return occurs, np.bincount(d, weights=c)[occurs] / pairs[occurs]


def decay_length(distances: NDArray[np.int64], values: Array, errors: Array) -> float:
    """-1 / slope of the weighted straight line through ln G(d): the length of exp(-d / xi).

    Weights (G / error)^2. nan if fewer than two values are given or G does not decay."""
    if len(values) < 2 or np.any(values <= 0):
        return float("nan")
    slope = np.polyfit(distances, np.log(values), 1, w=values / errors)[0]
    return float(-1 / slope) if slope < 0 else float("nan")


@dataclass(frozen=True, eq=False)
class GraphCorrelations:
    """Measured at beta; every Estimate has a jackknife error.

    length: xi; susceptibility: S(0) = n <m^2>; perron: chi_P; correlation: G(d) for each of
    `distances`; decay: decay length from the distances at which G exceeds three errors, None where
    fewer than three do."""

    beta: float
    length: Estimate
    susceptibility: Estimate
    perron: Estimate
    distances: NDArray[np.int64]
    correlation: tuple[Estimate, ...]
    decay: Estimate | None


def measure(states: ArrayLike, beta: float, modes: GraphModes) -> GraphCorrelations:
    """Correlations of spins (samples, n) that were drawn independently at beta.

    The samples are put into 32 blocks in order, so that consecutive samples may be correlated over
    less than a block. Raises ValueError for fewer than 64 samples."""
    s = np.asarray(states, np.float64)
    if s.ndim != 2 or len(s) < 2 * BLOCKS or s.shape[1] != len(modes.perron):
        raise ValueError(
            f"states must be (samples >= {2 * BLOCKS}, {len(modes.perron)}), got {s.shape}"
        )
    size = len(s) // BLOCKS
    cut = s[len(s) - size * BLOCKS :].reshape(BLOCKS, size, -1)  # (block, sample, site)
    blocks = np.einsum("bsi,bsj->bij", cut, cut) / size  # (block, n, n)

    def of(function: Callable[[Array], float]) -> Estimate:
        return jackknife(function, blocks)

    distances, mean = correlation_by_distance(blocks.mean(axis=0), modes.distance)
    table = np.stack([correlation_by_distance(b, modes.distance)[1] for b in blocks])
    error = table.std(axis=0, ddof=1) / np.sqrt(BLOCKS)
    clear = np.flatnonzero(~(mean > 3 * error))
    reach = int(clear[0]) if clear.size else len(mean)
    decay = None
    if reach >= 3:
        decay = jackknife(
            lambda g: decay_length(distances[:reach], g[:reach], error[:reach]), table
        )
    return GraphCorrelations(
        beta=beta,
        length=of(lambda c: graph_length(c, modes)),
        susceptibility=of(lambda c: float(c.sum()) / len(c)),
        perron=of(lambda c: perron_susceptibility(c, modes)),
        distances=distances,
        correlation=tuple(
            Estimate(float(g), float(e), n_eff=BLOCKS) for g, e in zip(mean, error, strict=True)
        ),
        decay=decay,
    )


def measure_correlations(
    model: IsingModel,
    beta: float,
    *,
    sweeps: int = 1000,
    replicas: int = 960,
    seed: int = 0,
    threshold: float = 1.0,
    backend: str = "auto",
) -> GraphCorrelations:
    """Sample a ferromagnet at beta by heat bath and measure its lengths and susceptibilities.

    Each replica gives its state after `sweeps` sweeps: independent samples. Even replicas start
    ordered, odd ones at random; if <m^2> of the two halves differs by more than 5 standard errors
    StartRemembered is raised (1 in 2 10^6 runs in equilibrium). threshold: as in `GraphModes.of`.
    """
    modes = GraphModes.of(model, threshold)
    key = rng.as_seed(seed)
    initial = rng.initial_spins(np.arange(replicas), model.n, key)
    initial[::2] = 1
    run = sample(
        model, beta, sweeps=sweeps, replicas=replicas, seed=key, initial=initial, observe=(),
        backend=backend,
    )  # fmt: skip
    m2 = (run.spins.astype(np.float64) @ modes.perron) ** 2
    halves = m2[::2], m2[1::2]
    error = np.sqrt(sum(half.var(ddof=1) / len(half) for half in halves))
    difference = abs(halves[0].mean() - halves[1].mean())
    if difference > START_SIGMAS * error:
        raise StartRemembered(float(difference / error) if error else float("inf"), sweeps)
    return measure(run.spins, beta, modes)
