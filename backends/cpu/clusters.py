"""Swendsen-Wang and Wolff cluster moves, one replica at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Measured, Request, State, threshold_rows
from isingnpu.bonds import cluster_bonds, improved_moments, improved_susceptibility
from isingnpu.rng import W0, W1, Stream

from .blocks import Blocks, energies, fields
from .clusters_sweep import CALLS, FLIPS, SINCE, sweep_clusters
from .clusters_tables import GraphTables, LatticeTables

Array = NDArray[Any]
LOW = 0xFFFFFFFF


@dataclass(eq=False)
class Replica:
    """spins, best: as the kernel keeps them; totals: (4,) energy of best, flips since the last
    sample, flips, vector calls."""

    index: int
    spins: Array
    best: Array
    totals: Array


class SwendsenWangPlan:
    """Every cluster of a sweep flips or not."""

    kernel = "swendsen-wang"

    def __init__(self, request: Request) -> None:
        self.request = request
        bonds = cluster_bonds(request.model)
        tables = LatticeTables if LatticeTables.fits(bonds) else GraphTables
        self.tables: LatticeTables | GraphTables = tables(request, bonds)
        self.blocks = Blocks(request, [range(r, r + 1) for r in request.replicas])
        self.parts: list[Replica] = []
        self.scratch: list[Any] = []  # not in use; one per thread comes into being
        seed, keys = request.seed, []
        for k in range(request.rounds):
            keys += [(seed + k * W0) & LOW, ((seed >> 32) + k * W1) & LOW]
        self.keys = np.array(keys, np.uint64)

    @classmethod
    def obstacle(cls, request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        if request.dynamics.name != cls.kernel:
            return f"it is for dynamics {cls.kernel!r}, not {request.dynamics.name!r}"
        return None

    def load(self, state: State) -> None:
        energy = energies(self.request, state.best.T, fields(self.request, state.best.T))
        self.parts = [
            Replica(
                index,
                self.tables.pack(state.spins[k]),
                self.tables.pack(state.best[k]),
                np.array([energy[k], state.flips[k], 0, 0], np.int64),
            )
            for k, index in enumerate(self.request.replicas)
        ]

    def state(self) -> State:
        return State(
            np.stack([self.tables.unpack(part.spins) for part in self.parts]),
            np.stack([self.tables.unpack(part.best) for part in self.parts]),
            np.array([part.totals[SINCE] for part in self.parts]),
        )

    def sweep(
        self,
        betas: Array,
        *,
        first: int,
        every: int = 0,
        weights: Array | None = None,
        track: bool = False,
    ) -> Measured:
        request = self.request
        distinct, rows = threshold_rows(betas, len(request.replicas))
        limits = self.tables.limits(distinct)
        weights = np.zeros((0, request.model.n)) if weights is None else weights
        weights = np.ascontiguousarray(weights, np.float64)
        samples = (first + len(rows)) // every - first // every if every else 0
        watch = (
            first, every, track, request.improved, request.dynamics.clusters, request.model.n,
        )  # fmt: skip

        def one(part: Replica) -> tuple[Array, ...]:
            column = 0 if rows.shape[1] == 1 else part.index - request.replicas.start
            out = (
                *(np.zeros(samples, np.int64) for _ in range(3)),
                np.zeros((samples, len(weights))),
                np.zeros(len(rows) if track else 0, np.int64),
                np.zeros(samples, np.int64),
                np.zeros(samples),
            )
            self._sweep(part, np.ascontiguousarray(rows[:, column]), limits, watch, weights, out)
            return out

        for part in self.parts:
            part.totals[[FLIPS, CALLS]] = 0
        results = self.blocks.map(one, self.parts)
        energy, magnetization, flips, projections, path, squares, fourths = (
            np.stack([result[k] for result in results]) for k in range(7)
        )
        return Measured(
            energy=energy,
            magnetization=magnetization,
            flips=flips,
            projections=projections,
            path=path,
            counts=self._counts(len(rows)),
            improved=self._improved(squares, fourths) if request.improved else None,
        )

    def _sweep(
        self, part: Replica, rows: Array, limits: Array, watch: Any, weights: Array, out: Any
    ) -> None:
        try:
            scratch = self.scratch.pop()
        except IndexError:
            scratch = self.tables.scratch()
        stream = (
            np.uint64(int(use) << 5 | part.index << 11)
            for use in (Stream.BOND, Stream.COIN, Stream.SEED_SITE)
        )
        sweep_clusters(
            self.tables.code, part.spins, part.best, self.tables.tables, scratch, limits, rows,
            (self.keys, *stream), watch, weights, out, part.totals,
        )  # fmt: skip
        self.scratch.append(scratch)

    def _improved(self, squares: Array, fourths: Array) -> Array:
        return improved_moments(squares, fourths, self.request.model.n)

    def _counts(self, sweeps: int) -> Counts:
        totals = np.sum([part.totals for part in self.parts], axis=0)
        n, flips = self.request.model.n, int(totals[FLIPS])
        visits = sweeps * len(self.parts) * n
        return Counts(
            attempted=visits,
            flips=flips,
            random_words=32 * int(totals[CALLS]),
            couplings=sweeps * len(self.parts) * self.request.model.n_edges,
            bytes=visits,
        )


class WolffPlan(SwendsenWangPlan):
    """Clusters grown from random sites flip."""

    kernel = "wolff"

    def _improved(self, squares: Array, fourths: Array) -> Array:
        request = self.request
        return improved_susceptibility(squares, request.dynamics.clusters, request.model.n)
