"""Swendsen-Wang and Wolff cluster moves, a few replicas at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Ladder, Measured, Request, State, threshold_rows
from isingnpu.bonds import cluster_bonds, improved_moments, improved_susceptibility
from isingnpu.rng import W0, W1, Stream

from .blocks import Blocks, energies, fields
from .clusters_sweep import BEST, CALLS, FLIPS, SINCE, sweep_clusters
from .clusters_tables import GraphTables, LatticeTables

Array = NDArray[Any]
LOW = 0xFFFFFFFF


@dataclass(eq=False)
class Part:
    """Replicas that one thread sweeps together. spins, best: as the kernel keeps them; totals:
    (replicas, 4) energy of best, flips since the last sample, flips, vector calls; places, tags:
    where the words stand."""

    replicas: range
    spins: Array
    best: Array
    totals: Array
    places: Array
    tags: Array


class SwendsenWangPlan:
    """Every cluster of a sweep flips or not."""

    kernel = "swendsen-wang"

    def __init__(self, request: Request) -> None:
        self.request = request
        bonds = cluster_bonds(request.model)
        tables = LatticeTables if bonds.alike_along_axes else GraphTables
        self.tables: LatticeTables | GraphTables = tables(request, bonds)
        own, count = request.replicas, self.tables.block.count
        starts = range(own.start, own.stop, count)
        self.blocks = Blocks(request, [range(a, min(a + count, own.stop)) for a in starts])
        self.parts: list[Part] = []
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
        self.parts, block = [], self.tables.block
        self.unknown: Array | None = state.best
        for replicas in self.blocks.ranges:
            at = self.blocks.lanes(replicas)
            totals = np.zeros((len(replicas), 4), np.int64)
            totals[:, SINCE] = state.flips[at]
            spins, best = block.pack(state.spins[at]), block.pack(state.best[at])
            self.parts.append(Part(replicas, spins, best, totals, *block.places(replicas)))

    def _know_best(self) -> None:
        """Energies of the best states, which only tracking asks for."""
        if self.unknown is None:
            return
        best, self.unknown = self.unknown.T, None
        energy = energies(self.request, best, fields(self.request, best))
        for part in self.parts:
            part.totals[:, BEST] = energy[self.blocks.lanes(part.replicas)]

    def state(self) -> State:
        unpack = self.tables.block.unpack
        return State(
            np.concatenate([unpack(part.spins, len(part.replicas)) for part in self.parts]),
            np.concatenate([unpack(part.best, len(part.replicas)) for part in self.parts]),
            np.concatenate([part.totals[:, SINCE] for part in self.parts]),
        )

    def sweep(
        self,
        betas: Array | Ladder,
        *,
        first: int,
        every: int = 0,
        weights: Array | None = None,
        track: bool = False,
    ) -> Measured:
        request = self.request
        if track:
            self._know_best()
        distinct, rows = threshold_rows(betas, len(request.replicas))
        limits = self.tables.limits(distinct)
        weights = np.zeros((0, request.model.n)) if weights is None else weights
        padded = np.zeros((len(weights), 64 * self.tables.block.width + 1))
        padded[:, : request.model.n], padded[:, -1] = weights, np.sum(weights, axis=1)
        samples = (first + len(rows)) // every - first // every if every else 0
        watch = first, every, track, request.improved, request.dynamics.clusters

        def one(part: Part) -> tuple[Array, ...]:
            own, many = rows, len(part.replicas)
            if rows.shape[1] > 1:
                own = rows[:, self.blocks.lanes(part.replicas)]
            out = (
                *(np.zeros((many, samples), np.int64) for _ in range(3)),
                np.zeros((many, samples, len(weights))),
                np.zeros((many, len(rows) if track else 0), np.int64),
                np.zeros((many, samples), np.int64),
                np.zeros((many, samples)),
            )
            own = np.array(np.broadcast_to(own, (len(rows), many)))
            self._sweep(part, own, limits, watch, padded, out)
            return out

        for part in self.parts:
            part.totals[:, [FLIPS, CALLS]] = 0
        results = self.blocks.map(one, self.parts)
        energy, magnetization, flips, projections, path, squares, fourths = (
            np.concatenate([result[k] for result in results]) for k in range(7)
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
        self, part: Part, rows: Array, limits: Array, watch: Any, weights: Array, out: Any
    ) -> None:
        try:
            scratch = self.scratch.pop()
        except IndexError:
            scratch = self.tables.scratch()
        stream = (np.uint64(int(use) << 5) for use in (Stream.BOND, Stream.COIN, Stream.SEED_SITE))
        block = self.tables.block
        sweep_clusters(
            self.tables.code, part.spins, part.best, self.tables.tables,
            (part.places, part.tags, block.width, block.n), scratch, limits, rows,
            (self.keys, *stream), watch, weights, out, part.totals,
        )  # fmt: skip
        self.scratch.append(scratch)

    def _improved(self, squares: Array, fourths: Array) -> Array:
        return improved_moments(squares, fourths, self.request.model.n)

    def _counts(self, sweeps: int) -> Counts:
        totals = np.sum([part.totals.sum(axis=0) for part in self.parts], axis=0)
        n, flips = self.request.model.n, int(totals[FLIPS])
        visits = sweeps * len(self.request.replicas) * n
        return Counts(
            attempted=visits,
            flips=flips,
            random_words=32 * int(totals[CALLS]),
            couplings=sweeps * len(self.request.replicas) * self.request.model.n_edges,
            bytes=visits,
        )


class WolffPlan(SwendsenWangPlan):
    """Clusters grown from random sites flip."""

    kernel = "wolff"

    def _improved(self, squares: Array, fourths: Array) -> Array:
        request = self.request
        return improved_susceptibility(squares, request.dynamics.clusters, request.model.n)
