"""The sweeps of a block of replicas by cluster moves, and what is measured between them.

Which kernels serve a configuration is known when its code is made.
"""

# mypy: allow-untyped-decorators, disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.extending import overload

from . import clusters_graph as graph
from . import clusters_lattice as lattice
from . import clusters_wolff as wolff
from .clusters_code import ones
from .clusters_draw import ONE, PAD, U, draw_sites, size_sums
from .projections import weigh_sites

BEST, SINCE, FLIPS, CALLS = range(4)


def _limits(code: Any, table: Any, rows: Any, width: Any, model: Any, scratch: Any) -> Any:
    """Take the thresholds of these rows of the table, one for each replica."""


def _move(code: Any, sweep: Any, clusters: Any, spins: Any, model: Any, block: Any, scratch: Any,
          table: Any, rows: Any, draw: Any, flipped: Any, now: Any,
          measure: Any) -> Any:  # fmt: skip
    """One sweep; returns the vector calls."""


def _grow(code: Any, mark: Any, clock: Any, spins: Any, model: Any, block: Any, scratch: Any,
          table: Any, rows: Any, draw: Any, flipped: Any, now: Any) -> Any:  # fmt: skip
    """Grow and flip the clusters of the first sites of all replicas; returns the vector calls."""


def _energies(code: Any, spins: Any, model: Any, block: Any, scratch: Any, now: Any) -> Any:
    """E in quanta of each replica."""


def _size_sums(code: Any, first: Any, last: Any, flipped: Any, scratch: Any) -> Any:
    """sum |c|^2, and sum |c|^4 in float64 in the order of the roots; Wolff: sum |c|, and 0."""


@overload(_size_sums, strict=False)
def _size_sums_of(code: Any, first: Any, last: Any, flipped: Any, scratch: Any) -> Any:
    if code.value.wolff:
        return lambda code, first, last, flipped, scratch: (flipped, 0.0)
    return lambda code, first, last, flipped, scratch: size_sums(
        code, first, last, scratch[-3], scratch[-2]
    )


@overload(_limits, strict=False)
def _limits_of(code: Any, table: Any, rows: Any, width: Any, model: Any, scratch: Any) -> Any:
    if code.value.lattice:
        return lambda code, table, rows, width, model, scratch: lattice.fill_limits(
            table, rows, width, scratch[3]
        )
    if code.value.mixed:
        return lambda code, table, rows, width, model, scratch: None
    return lambda code, table, rows, width, model, scratch: graph.fill_limits(
        model, table, rows, width, scratch[2]
    )


@overload(_grow, strict=False)
def _grow_of(code: Any, mark: Any, clock: Any, spins: Any, model: Any, block: Any, scratch: Any,
             table: Any, rows: Any, draw: Any, flipped: Any, now: Any) -> Any:  # fmt: skip
    def on_lattice(  # type: ignore[no-untyped-def]
        code, mark, clock, spins, model, block, scratch, table, rows, draw, flipped, now
    ):
        return wolff.grow(
            code, rows.size, block[2], mark, clock, spins, model, block[0], scratch, draw[0],
            draw[1], flipped,
        )  # fmt: skip

    def on_graph(  # type: ignore[no-untyped-def]
        code, mark, clock, spins, model, block, scratch, table, rows, draw, flipped, now
    ):
        return graph.grow_all(
            code, mark, clock, spins, model, block[0], scratch, table, rows, block[2], draw[0],
            draw[1], flipped, now,
        )  # fmt: skip

    return on_lattice if code.value.lattice else on_graph


@overload(_energies, strict=False)
def _energies_of(code: Any, spins: Any, model: Any, block: Any, scratch: Any, now: Any) -> Any:
    if code.value.lattice:
        return lambda code, spins, model, block, scratch, now: lattice.energies(
            code, spins, model, block[0], scratch, block[2], now
        )
    return lambda code, spins, model, block, scratch, now: graph.energies(spins, model, now)


@njit
def single_clusters(code: Any, sweep: Any, clusters: Any, spins: Any, model: Any, block: Any,
                    scratch: Any, table: Any, rows: Any, draw: Any, flipped: Any,
                    now: Any) -> Any:  # fmt: skip
    """One sweep of Wolff; returns the vector calls."""
    _, tags, _, n = block
    marks, sites = scratch[-3], scratch[-2]
    calls = U(0)
    for k in range(clusters if n > 0 else 0):
        clock = U(sweep * clusters + k)
        draw_sites(code, sites, tags, n, clock, draw[0], draw[3])
        calls += ONE
        marks[0] += 1
        calls += _grow(
            code, marks[0], clock, spins, model, block, scratch, table, rows, draw, flipped, now
        )
    return calls


@overload(_move, strict=False)
def _move_of(code: Any, sweep: Any, clusters: Any, spins: Any, model: Any, block: Any,
             scratch: Any, table: Any, rows: Any, draw: Any, flipped: Any, now: Any,
             measure: Any) -> Any:  # fmt: skip
    def wolff_clusters(  # type: ignore[no-untyped-def]
        code, sweep, clusters, spins, model, block, scratch, table, rows, draw, flipped, now,
        measure,
    ):  # fmt: skip
        return single_clusters(
            code, sweep, clusters, spins, model, block, scratch, table, rows, draw, flipped, now
        )

    def lattice_sweep(  # type: ignore[no-untyped-def]
        code, sweep, clusters, spins, model, block, scratch, table, rows, draw, flipped, now,
        measure,
    ):  # fmt: skip
        return lattice.swendsen_wang(
            code, U(sweep), spins, model, block[0], scratch, draw, block[2], flipped, measure
        )

    def graph_sweep(  # type: ignore[no-untyped-def]
        code, sweep, clusters, spins, model, block, scratch, table, rows, draw, flipped, now,
        measure,
    ):  # fmt: skip
        return graph.swendsen_wang(
            code, U(sweep), spins, model, block[0], scratch, table, rows, draw, block[2], flipped,
            measure,
        )  # fmt: skip

    if code.value.wolff:
        return wolff_clusters
    return lattice_sweep if code.value.lattice else graph_sweep


@njit
def magnetization(code: Any, spins: Any, first: Any, last: Any, n: Any) -> Any:
    """sum_i s_i of spins as bits of the words first .. last - 1."""
    up = U(0)
    for word in range(PAD + first, PAD + last):
        up += ones(code, spins[word])
    return 2 * np.int64(up) - n


@njit
def project(code: Any, spins: Any, first: Any, width: Any, weights: Any, out: Any) -> None:
    """sum_i w_ki s_i to out (k,) for spins as bits from word `first` on.

    weights: (k, 64 width + 1), the last of each row the sum of the others."""
    at, sites = U(spins.ctypes.data) + U(8 * (PAD + first)), 64 * width
    for k in range(weights.shape[0]):
        row = U(weights.ctypes.data) + U(8 * (sites + 1) * k)
        weigh_sites(code, at, row, U(width), U(out.ctypes.data) + U(8 * k))
        out[k] = 2 * out[k] - weights[k, sites]


@njit
def changed(rows: Any, t: Any) -> Any:
    """Whether a line of rows is the first or another than the one before."""
    new = t == 0
    for r in range(rows.shape[1]):
        new |= rows[t, r] != rows[t - 1, r]
    return new


@njit(cache=True, nogil=True)
def sweep_clusters(code: Any, spins: Any, best: Any, model: Any, block: Any, scratch: Any,
                   table: Any, rows: Any, draw: Any, watch: Any, weights: Any, out: Any,
                   totals: Any) -> None:  # fmt: skip
    """One sweep per line of rows (sweeps, replicas), the rows of the table that hold.

    block: places, tags, words of a replica, sites. table: thresholds (betas, axes) of a lattice,
    (betas, magnitudes + 1) of a graph. draw: round keys and the last counter word of bonds, coins
    and first sites. watch: sweeps done before, sample every so many, track, measure clusters,
    clusters per sweep. out, of every replica: energy, magnetization, flips (samples,),
    projections (samples, k), path (sweeps,), squares and fourths (samples,). totals of every
    replica: energy of best, flips since the last sample, flips, vector calls."""
    first, every, track, improved, clusters = watch
    energies, magnetizations, flips, projections, path, squares, fourths = out
    _, _, width, n = block
    flipped = np.zeros(spins.size, np.int64)
    now = np.zeros(rows.shape[1], np.int64)
    kept = code.wolff and not code.lattice  # clusters tell how they change the energy
    if kept:
        _energies(code, spins, model, block, scratch, now)
    taken = np.int64(0)
    for t in range(rows.shape[0]):
        if changed(rows, t):
            _limits(code, table, rows[t], width, model, scratch)
        sampled = every > 0 and (first + t + 1) % every == 0
        for r in range(now.size):
            flipped[r] = 0
        calls = _move(
            code, first + t, clusters, spins, model, block, scratch, table, rows[t], draw,
            flipped, now, improved and sampled,
        )  # fmt: skip
        totals[0, CALLS] += np.int64(calls)
        if (sampled or track) and not kept:
            _energies(code, spins, model, block, scratch, now)
        for r in range(now.size):
            begin, end = r * width, (r + 1) * width
            totals[r, SINCE] += flipped[r]
            totals[r, FLIPS] += flipped[r]
            if track:
                path[r, t] = now[r]
                if now[r] < totals[r, BEST]:
                    totals[r, BEST] = now[r]
                    for word in range(PAD + begin, PAD + end):
                        best[word] = spins[word]
            if sampled:
                energies[r, taken] = now[r]
                magnetizations[r, taken] = magnetization(code, spins, begin, end, n)
                flips[r, taken] = totals[r, SINCE]
                totals[r, SINCE] = 0
                project(code, spins, begin, width, weights, projections[r, taken])
                if improved:
                    squares[r, taken], fourths[r, taken] = _size_sums(
                        code, begin, end, flipped[r], scratch
                    )
        taken += np.int64(sampled)
