"""One replica at a time: any model and layout, sparse or dense couplings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Request, State

from ..limits import SLOPES, exact_limits, first_byte_edges
from . import kernels, sites_sweep
from .blocks import BlockPlan, Blocks, Series, Task, energies, fields, graph
from .lanes_limits import round_keys
from .sites_code import LANES, STEP, TILE, Sites

Array = NDArray[Any]

LAYOUTS = {"lane": kernels.LANE, "plane": kernels.PLANE, "lattice": kernels.LATTICE}


@dataclass(eq=False)
class Single:
    """One replica, sites in the order of visits, with room for a whole tile behind the last.

    downs: -1 where the spin is down, else 0, int8; fields: J s + h, int32; best: downs of the
    lowest state; energies (2,): now and lowest; since (1,): flips since the last sample."""

    replicas: range
    downs: Array
    fields: Array
    best: Array
    energies: Array
    since: Array


class Rows:
    """The model as visits read it: row q belongs to site `order[q]`.

    sites (rows + padding,) uint64; tiles (tiles + 1, 4): see `_tiles`; graph (8,) uint64: what
    `sites_code.flip_sure` takes, the addresses of

    first (rows + 1,): of each row's neighbours, in steps of STEP
    neighbours, twice: byte offsets of their fields and -2 J, padded by couplings that are 0;
    a copy of 2 J stands behind the latter, its distance is the next entry
    near_first (rows + 1,), near: places in the tile of neighbours that it visits later
    matrix, width: -2 J of all pairs in rows of `width`, or nothing where the former serve."""

    def __init__(self, request: Request, *, dense: bool) -> None:
        order, indptr, indices, couplings, own_fields = graph(request)
        n, self.fields = len(order), own_fields[order].astype(np.int64)
        place = np.empty(n, np.int64)
        place[order] = np.arange(n)
        degree = np.diff(indptr)[order]
        own = np.repeat(np.arange(n), degree)
        start = np.concatenate([[0], np.cumsum(degree)])
        gather = np.repeat(indptr[order] - start[:-1], degree) + np.arange(len(indices))
        others, twice = place[indices[gather]], -2 * couplings[gather]  # wraps like the sums
        self.tiles = _tiles(request)
        self.sites = np.concatenate([order, np.zeros(TILE)]).astype(np.uint64)
        matrix = np.zeros((n if dense else 0, -(-n // LANES) * LANES), np.int32)
        if dense:
            matrix[own, others] = twice
        steps = -(-degree // STEP)
        first = np.concatenate([[0], np.cumsum(steps)])
        padded = np.arange(first[-1] * STEP)
        neighbours, weights = n + padded % TILE, np.zeros((2, len(padded)), np.int32)
        at = np.repeat(first[:-1] * STEP - start[:-1], degree) + np.arange(len(others))
        neighbours[at], weights[0, at], weights[1, at] = others, twice, -twice
        of_tile = np.repeat(self.tiles[:-1, 0], np.diff(self.tiles[:, 0]))
        near = (others > own) & (of_tile[others] == of_tile[own])
        near_first = np.concatenate([[0], np.cumsum(np.bincount(own[near], minlength=n))])
        self.arrays = (
            first, (4 * neighbours).astype(np.uint32), weights, near_first,
            (others - of_tile[own])[near].astype(np.uint8), matrix,
        )  # fmt: skip
        at_ = [array.ctypes.data for array in self.arrays]
        self.graph = np.array([*at_[:3], weights[0].nbytes, *at_[3:], matrix.shape[1]], np.uint64)


def _tiles(request: Request) -> Array:
    """Where the visiting order is cut: (tiles + 1, 4) start, word, row, colour."""
    layout, n = request.layout, request.model.n
    if layout.name != "lattice":
        return np.array([(a, 0, 0, 0) for a in [*range(0, n, TILE), n]], np.int64)
    assert layout.colour is not None
    assert layout.row is not None
    assert layout.column is not None
    place = np.stack(
        [layout.column % layout.words, layout.row, layout.colour], axis=1
    )[layout.order]  # fmt: skip
    starts = np.flatnonzero(np.any(np.diff(place, axis=0, prepend=-1), axis=1))
    tiles = np.zeros((len(starts) + 1, 4), np.int64)
    tiles[:-1, 0], tiles[:-1, 1:] = starts, place[starts]
    tiles[-1, 0] = n
    return tiles


class SitePlan(BlockPlan):
    """Spins and fields (sites,) of each replica; a flip is pushed to its neighbours' fields."""

    kernel = "scalar"
    dense = False

    def __init__(self, request: Request) -> None:
        super().__init__(request, Blocks(request, [range(r, r + 1) for r in request.replicas]))
        self.rows = Rows(request, dense=self.dense)
        self.keys = round_keys(request.seed, request.rounds)
        self.edges = first_byte_edges(heat_bath=request.dynamics.heat_bath)

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        name = request.layout.name
        return None if name in LAYOUTS else f"it has no layout {name!r}"

    def _block(self, replicas: range, spins: Array, best: Array, flips: Array) -> Single:
        n, local = len(self.order), fields(self.request, spins)
        downs, low = np.zeros((2, n + TILE), np.int8)
        downs[:n], low[:n] = (np.minimum(x[self.order, 0], 0) for x in (spins, best))
        field = np.zeros(n + TILE, np.int32)
        field[:n] = local[self.order, 0]
        energy = np.concatenate([
            energies(self.request, spins, local),
            energies(self.request, best, fields(self.request, best)),
        ])  # fmt: skip
        return Single(replicas, downs, field, low, energy, flips.copy())

    def _state(self, block: Single) -> State:
        states = np.empty((2, 1, len(self.order)), np.int8)
        for state, downs in zip(states, (block.downs, block.best), strict=True):
            state[0, self.order] = 1 + 2 * downs[: len(self.order)]
        return State(states[0], states[1], block.since.copy())

    def _limits(self, betas: Array, *, shared: bool) -> tuple[Any, Array]:
        slopes = 2.0 * betas * self.request.model.quantized.quantum
        return exact_limits(self.request, betas), np.clip(slopes, *SLOPES)

    def _sweep(self, block: Single, task: Task, out: Series) -> Array:
        request, rows, replica = self.request, self.rows, block.replicas.start
        limits, slopes = task.limits
        key = np.uint32(request.seed & 0xFFFFFFFF), np.uint32(request.seed >> 32)
        layout = LAYOUTS[request.layout.name]
        counts = np.zeros(3, np.int64)
        own = self.blocks.columns(task.rows, block.replicas)[:, 0]
        sites_sweep.sweep(
            Sites(layout, self.dense),
            (block.downs, block.fields, block.best, block.energies, block.since),
            (rows.sites, rows.fields, rows.graph),
            rows.tiles, request.layout.colours, limits, slopes, self.edges,
            np.ascontiguousarray(own), (request.dynamics.heat_bath, request.model.quantized.bound),
            (*key, request.rounds, layout), self.keys, replica,
            (task.first, task.every, task.weights, task.track),
            Series(*(part[..., 0] for part in out)), counts,
        )  # fmt: skip
        return counts

    def _counts(self, sweeps: int, counts: Array) -> Counts:
        visits = sweeps * len(self.request.replicas) * self.request.model.n
        flips, couplings = int(counts[kernels.FLIPS]), int(counts[kernels.COUPLINGS])
        return Counts(
            attempted=visits,
            flips=flips,
            random_words=4 * int(counts[kernels.CALLS]),
            couplings=couplings,
            bytes=5 * visits + flips + couplings * (12 if self.dense else 16),
        )


class DensePlan(SitePlan):
    """The same with a row of couplings per accepted flip."""

    kernel = "dense"
    dense = True

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        if not request.model.is_dense:
            return "fewer than a quarter of all pairs are coupled"
        return SitePlan.obstacle(request)
