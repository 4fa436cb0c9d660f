"""The sweeps of one replica by cluster moves, and what is measured between them.

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
from .clusters_code import first_site
from .clusters_lattice import ONE, U

BEST, SINCE, FLIPS, CALLS = range(4)


def _move(code: Any, sweep: Any, clusters: Any, spins: Any, n: Any, model: Any, scratch: Any,
          limits: Any, draw: Any, measure: Any) -> Any:  # fmt: skip
    """One sweep; returns spins flipped and vector calls."""


def _grow(code: Any, site: Any, mark: Any, clock: Any, spins: Any, model: Any, scratch: Any,
          limits: Any, draw: Any) -> Any:  # fmt: skip
    """Grow and flip the cluster of a site; returns its size and vector calls."""


def _energy(code: Any, spins: Any, model: Any, scratch: Any) -> Any:
    """E in quanta."""


def _magnetization(code: Any, spins: Any, n: Any) -> Any:
    """sum_i s_i."""


def _projection(code: Any, spins: Any, weights: Any, n: Any) -> Any:
    """sum_i w_i s_i."""


def _size_sums(code: Any, flipped: Any, model: Any, scratch: Any) -> Any:
    """sum |c|^2, and sum |c|^4 in float64 in the order of the roots; Wolff: sum |c|, and 0."""


@overload(_grow, strict=False)
def _grow_of(code: Any, site: Any, mark: Any, clock: Any, spins: Any, model: Any, scratch: Any,
             limits: Any, draw: Any) -> Any:  # fmt: skip
    kernel = wolff.grow if code.value.lattice else graph.grow

    def made(code, site, mark, clock, spins, model, scratch, limits, draw):  # type: ignore[no-untyped-def]
        return kernel(code, site, mark, clock, spins, model, scratch, limits, draw)

    return made


@overload(_move, strict=False)
def _move_of(code: Any, sweep: Any, clusters: Any, spins: Any, n: Any, model: Any, scratch: Any,
             limits: Any, draw: Any, measure: Any) -> Any:  # fmt: skip
    swendsen_wang = lattice.swendsen_wang if code.value.lattice else graph.swendsen_wang

    def all_clusters(code, sweep, clusters, spins, n, model, scratch, limits, draw, measure):  # type: ignore[no-untyped-def]
        return swendsen_wang(code, U(sweep), spins, model, scratch, limits, draw, measure)

    def single(code, sweep, clusters, spins, n, model, scratch, limits, draw, measure):  # type: ignore[no-untyped-def]
        flipped, calls, marks = U(0), U(0), scratch[-1]
        for k in range(clusters if n > 0 else 0):
            clock = U(sweep * clusters + k)
            site = np.int64(first_site(code, U(n), clock, draw[3], U(draw[0].ctypes.data)))
            marks[0] += 1
            size, made = _grow(code, site, marks[0], clock, spins, model, scratch, limits, draw)
            flipped += size
            calls += made + ONE
        return flipped, calls

    return single if code.value.wolff else all_clusters


@overload(_energy, strict=False)
def _energy_of(code: Any, spins: Any, model: Any, scratch: Any) -> Any:
    if code.value.lattice:
        at = 2 if code.value.wolff else 6
        return lambda code, spins, model, scratch: lattice.energy(code, spins, model, scratch[at])
    return lambda code, spins, model, scratch: graph.energy(spins, model)


@overload(_magnetization, strict=False)
def _magnetization_of(code: Any, spins: Any, n: Any) -> Any:
    if code.value.lattice:
        return lambda code, spins, n: lattice.magnetization(code, spins, n)
    return lambda code, spins, n: graph.magnetization(spins)


@overload(_projection, strict=False)
def _projection_of(code: Any, spins: Any, weights: Any, n: Any) -> Any:
    if code.value.lattice:
        return lambda code, spins, weights, n: lattice.projection(spins, weights, n)
    return lambda code, spins, weights, n: graph.projection(spins, weights)


@overload(_size_sums, strict=False)
def _size_sums_of(code: Any, flipped: Any, model: Any, scratch: Any) -> Any:
    if code.value.wolff:
        return lambda code, flipped, model, scratch: (np.int64(flipped), 0.0)
    if code.value.lattice:
        return lambda code, flipped, model, scratch: lattice.size_sums(model, scratch)
    return lambda code, flipped, model, scratch: graph.size_sums(scratch)


@njit(cache=True, nogil=True)
def sweep_clusters(code: Any, spins: Any, best: Any, model: Any, scratch: Any, limits: Any,
                   rows: Any, draw: Any, watch: Any, weights: Any, out: Any,
                   totals: Any) -> None:  # fmt: skip
    """One sweep per entry of rows, the row of limits that holds.

    limits: planes (betas, axes, 64) of a lattice, thresholds (betas, magnitudes + 1) of a graph.
    draw: round keys and the last counter word of bonds, coins and first sites. watch: sweeps done
    before, sample every so many, track, measure clusters, clusters per sweep, sites. out: energy,
    magnetization, flips (samples,), projections (samples, k), path (sweeps,), squares and fourths
    (samples,). totals: energy of best, flips since the last sample, flips, vector calls."""
    first, every, track, improved, clusters, n = watch
    energies, magnetizations, flips, projections, path, squares, fourths = out
    taken = 0
    for t in range(rows.size):
        sampled = every > 0 and (first + t + 1) % every == 0
        flipped, calls = _move(
            code, first + t, clusters, spins, n, model, scratch, limits[rows[t]], draw,
            improved and sampled,
        )  # fmt: skip
        totals[SINCE] += np.int64(flipped)
        totals[FLIPS] += np.int64(flipped)
        totals[CALLS] += np.int64(calls)
        now = np.int64(0)
        if sampled or track:
            now = _energy(code, spins, model, scratch)
        if track:
            path[t] = now
            if now < totals[BEST]:
                totals[BEST] = now
                for k in range(spins.size):
                    best[k] = spins[k]
        if sampled:
            energies[taken] = now
            magnetizations[taken] = _magnetization(code, spins, n)
            flips[taken] = totals[SINCE]
            totals[SINCE] = 0
            for k in range(weights.shape[0]):
                projections[taken, k] = _projection(code, spins, weights[k], n)
            if improved:
                squares[taken], fourths[taken] = _size_sums(code, flipped, model, scratch)
            taken += 1
