"""The NumPy backend: slow, un-lazy, meant to be obviously right; every other is compared with it.

Each decision builds all 64 bits of its random integer and compares Python-exact thresholds.
Fields are recomputed from the spins at every visit; nothing is cached.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu import rng
from isingnpu.backend import Counts, Ladder, Measured, Request, State, threshold_rows
from isingnpu.bonds import cluster_bonds, improved_moments, improved_susceptibility
from isingnpu.dynamics import (
    Thresholds,
    bond_thresholds,
    fixed_point_exponential,
    thresholds,
)

Array = NDArray[Any]


class ReferencePlan:
    """spins, best (replicas, sites) int8 in the order of the request's replicas."""

    kernel = "reference"

    def __init__(self, request: Request) -> None:
        self.request = request
        self.model = request.model.quantized
        self.csr = request.model.csr

    def load(self, state: State) -> None:
        self.spins = np.array(state.spins, np.int8)
        self.best = np.array(state.best, np.int8)
        self.flips = np.array(state.flips, np.int64)

    def state(self) -> State:
        return State(self.spins.copy(), self.best.copy(), self.flips.copy())

    def sweep(
        self,
        betas: Array | Ladder,
        *,
        first: int,
        every: int = 0,
        weights: Array | None = None,
        track: bool = False,
    ) -> Measured:
        distinct, rows = threshold_rows(betas, len(self.request.replicas))
        limits = self._limits(distinct)
        weights = np.zeros((0, self.spins.shape[1])) if weights is None else weights
        energy, magnetization, flips, projections, path = [], [], [], [], []
        self.improved: list[Array] = []
        total = 0
        for t, row in enumerate(rows):
            flipped = self._one_sweep(limits, np.broadcast_to(row, len(self.spins)), first + t)
            self.flips += flipped
            total += int(flipped.sum())
            if track:
                path.append(self._energies(self.spins))
                better = path[-1] < self._energies(self.best)
                self.best[better] = self.spins[better]
            if every and (first + t + 1) % every == 0:
                energy.append(self._energies(self.spins))
                magnetization.append(self.spins.sum(axis=1, dtype=np.int64))
                projections.append(self.spins @ weights.T)
                flips.append(self.flips.copy())
                self.flips[:] = 0
                self._sample_clusters()
        return Measured(
            energy=self._stack(energy),
            magnetization=self._stack(magnetization),
            flips=self._stack(flips),
            projections=np.stack(projections, axis=1)
            if projections
            else np.zeros((len(self.spins), 0, len(weights))),
            path=self._stack(path),
            counts=self._counts(len(rows), total),
            improved=np.stack(self.improved, axis=1) if self.improved else None,
        )

    def _limits(self, betas: Array) -> Any:
        """Thresholds of the distinct betas."""
        return thresholds(self.request.dynamics, betas, self.model)

    def _sample_clusters(self) -> None:
        """Nothing: single-spin moves have none."""

    def _one_sweep(self, limits: Any, row: Array, sweep: int) -> Array:
        """Visit every site once, in order; returns flips (replicas,)."""
        flips = np.zeros(len(self.spins), np.int64)
        for site in self.request.layout.order:
            part = slice(self.csr.indptr[site], self.csr.indptr[site + 1])
            neighbours = self.spins[:, self.csr.indices[part]].astype(np.int64)
            field = neighbours @ self.model.couplings[part] + self.model.fields[site]
            spin = self.spins[:, site].astype(np.int64)
            r = self._integers(int(site), sweep)
            if limits.heat_bath:
                flip = _accepted(limits, row, r, field) != (spin > 0)
            else:
                flip = _accepted(limits, row, r, spin * field)
            self.spins[flip, site] *= -1
            flips += flip
        return flips

    def _integers(self, site: int, sweep: int) -> Array:
        """The 64-bit integer of each replica for this decision, (replicas,) uint64."""
        request, layout = self.request, self.request.layout
        if layout.name == "lattice":
            assert layout.colour is not None
            assert layout.row is not None
            assert layout.column is not None
            clock = layout.colours * sweep + int(layout.colour[site])
            place = layout.row[site : site + 1], layout.column[site : site + 1], layout.words
            drawn = [
                rng.lattice_integers(replica, *place, clock, request.seed, request.rounds)[0]
                for replica in request.replicas
            ]
            return np.array(drawn, np.uint64)
        replicas = np.array(request.replicas)
        if layout.name == "shared":
            r = rng.shared_integers([site], sweep, request.seed, request.rounds)
            return np.repeat(r, len(replicas))
        integers = rng.lane_integers if layout.name == "lane" else rng.plane_integers
        return integers(replicas, [site], sweep, request.seed, request.rounds)[:, 0]

    def _energies(self, spins: Array) -> Array:
        """E in quanta without the offset, (replicas,) int64."""
        states = spins.astype(np.int64)
        energy = -states @ self.model.fields
        for site in range(states.shape[1]):
            part = slice(self.csr.indptr[site], self.csr.indptr[site + 1])
            later = self.csr.indices[part] > site
            couplings = self.model.couplings[part][later]
            energy -= states[:, site] * (states[:, self.csr.indices[part][later]] @ couplings)
        return np.asarray(energy)

    def _stack(self, columns: list[Array]) -> Array:
        empty = np.zeros((len(self.spins), 0), np.int64)
        return np.stack(columns, axis=1) if columns else empty

    def _counts(self, sweeps: int, flips: int) -> Counts:
        replicas, sites = self.spins.shape
        visits = sweeps * replicas * sites
        calls = {"lane": 8, "shared": 1}.get(self.request.layout.name, 32)
        couplings = sweeps * replicas * self.csr.nnz
        return Counts(
            attempted=visits,
            flips=flips,
            random_words=4 * calls * visits,
            couplings=couplings,
            bytes=2 * visits + 13 * couplings,  # spin in and out; coupling, index, neighbour
        )


def _accepted(limits: Thresholds, row: Array, r: Array, x: Array) -> Array:
    """Whether r decides for acceptance (Metropolis, x = v) or for spin up (heat bath, x = h)."""
    if limits.table.shape[1]:
        index = x + limits.bound if limits.heat_bath else np.maximum(x, 0)
        below = r < limits.table[row, index]
        return np.asarray(below if limits.heat_bath else (x <= 0) | below)
    pairs = zip(row.tolist(), r.tolist(), x.tolist(), strict=True)
    return np.array([_fixed_point_accepts(limits, *pair) for pair in pairs], bool)


def _fixed_point_accepts(limits: Thresholds, row: int, r: int, x: int) -> bool:
    high, low = (int(part) for part in limits.constant[row])
    e = fixed_point_exponential(abs(x), high << 32 | low)
    if limits.heat_bath:
        return r + (r * e >> 64) < (1 << 64 if x >= 0 else e)
    return x <= 0 or r < e


class ClusterPlan(ReferencePlan):
    """Swendsen-Wang and Wolff: every bond is drawn, every cluster labelled by its least site."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.bonds = cluster_bonds(request.model)
        self.magnitudes = np.unique(np.abs(self.bonds.coupling))

    def _limits(self, betas: Array) -> Any:
        return bond_thresholds(betas, self.magnitudes, self.model.quantum)

    def _one_sweep(self, limits: Any, row: Array, sweep: int) -> Array:
        wolff = self.request.dynamics.clusters
        flips = np.zeros(len(self.spins), np.int64)
        for clock in range(sweep * wolff, (sweep + 1) * wolff) if wolff else [sweep]:
            self.roots = self._roots(limits[row], clock)
            flip = self._flipped(self.roots, clock)
            self.spins[flip] *= -1
            flips += flip.sum(axis=1)
        self.flipped = flips
        return flips

    def _roots(self, limits: Array, clock: int) -> Array:
        """(replicas, sites) the smallest site of each site's cluster."""
        bonds, request = self.bonds, self.request
        i, j, replicas = bonds.owner, bonds.other, np.array(request.replicas)
        r = rng.bond_integers(replicas, i, bonds.slot, clock, request.seed, request.rounds)
        limit = limits[:, np.searchsorted(self.magnitudes, np.abs(bonds.coupling))]
        satisfied = bonds.coupling * self.spins[:, i] * self.spins[:, j] > 0
        n = self.spins.shape[1]
        return np.stack([smallest_labels(n, i[row], j[row]) for row in satisfied & (r < limit)])

    def _flipped(self, roots: Array, clock: int) -> Array:
        """(replicas, sites) whether a site's cluster flips."""
        request, n = self.request, self.spins.shape[1]
        key = clock, request.seed, request.rounds
        if request.dynamics.clusters == 0 or n == 0:
            return rng.cluster_coins(np.array(request.replicas), roots, *key)
        seeds = [rng.seed_site(replica, n, *key) for replica in request.replicas]
        return np.asarray(roots == np.take_along_axis(roots, np.array(seeds)[:, None], axis=1))

    def _sample_clusters(self) -> None:
        n, wolff = self.spins.shape[1], self.request.dynamics.clusters
        if not self.request.improved:
            return
        if wolff:
            self.improved.append(improved_susceptibility(self.flipped, wolff, n))
        else:
            squares, fourths = zip(*map(_size_sums, self.roots), strict=True)
            self.improved.append(improved_moments(squares, fourths, n))


def smallest_labels(n: int, i: Array, j: Array) -> Array:
    """(n,) the smallest site that each site is joined to by the pairs (i, j)."""
    label = np.arange(n)
    while True:
        lower = label.copy()
        np.minimum.at(lower, i, label[j])
        np.minimum.at(lower, j, label[i])
        if np.array_equal(lower, label):
            return label
        label = lower


def _size_sums(root: Array) -> tuple[int, float]:
    """sum |c|^2 and, in the order of the roots, sum |c|^4 in float64."""
    sizes = np.bincount(root)
    squares = [int(size) ** 2 for size in sizes[sizes > 0]]
    fourth = 0.0
    for square in squares:
        fourth += float(square) * float(square)
    return sum(squares), fourth


class ReferenceBackend:
    """Always available."""

    name = "reference"

    def unavailable(self) -> str | None:
        return None

    def plan(self, request: Request) -> ReferencePlan:
        plan = ClusterPlan if request.dynamics.moves_clusters else ReferencePlan
        return plan(request)


backend = ReferenceBackend()
