"""The loops of the shared-random kernel: thresholds become limits of X, then site by site."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
import numpy as np
from numba import njit, uint64

from .planes_sweep import COUNTED, FLIP_ROWS, count_flips, empty, look
from .shared_code import LANES, draw_sites, visit_shared

TILE = 64  # sites whose limits are made before they are visited


@njit(cache=True)
def limit_tile(config, limits, drawn, sums, falling, rows, bound):
    """Limits (sites, groups, 2) of X, see `visit_shared`, in the range 0 .. S + 1.

    drawn: r of the sites; sums: their S; falling (betas, places): T(v = 1, 2, ...), or T(h) from
    the highest h down; rows: the beta of each group."""
    half = (falling.shape[1] + 1) >> 1
    for g in range(rows.size):
        beta = uint64(rows[g])
        for k in range(sums.size):
            most, number, step = sums[k], uint64(0), half
            while step > 0:  # how many of the falling numbers lie above r, without a branch
                above = drawn[k] < falling[beta, number + uint64(step - 1)]
                number += uint64(step) * uint64(above)
                step >>= 1
            x = np.int64(number)
            if config.heat_bath:
                limits[k, g, 1] = min(max((most + bound + 2 - x) >> 1, 0), most + 1)
            else:
                limits[k, g, 0] = min((most + x) >> 1, most) + 1
                limits[k, g, 1] = max((most + 1 - x) >> 1, 0)


@njit(cache=True, nogil=True)
def sweep_shared(config, tally, graph, states, limits, draw, scratch, terms, watch, out):
    """Sweeps of one block; returns the calls of Philox.

    graph = (entries, visits, sites, sums); limits = (falling, bound, pattern of each sweep,
    cuts, rows, masks): pattern p has the groups cuts[p] .. cuts[p + 1], of one beta each, with
    rows (groups,) and masks (groups, words); draw = (round keys, first sweep);
    scratch: see `planes`; the others: see `planes_sweep.look`."""
    entries, visits, sites, sums = graph
    falling, bound, patterns, cuts, rows, masks = limits
    keys, first_sweep = draw
    n, words = sums.size, config.words
    spins, flips, calls = states[0], states[3], np.int64(0)
    every, track = watch[1], watch[3]
    flipped = np.zeros((FLIP_ROWS, words), np.uint64)
    counters = np.zeros((16, words), np.uint64)
    drawn = np.zeros(TILE, np.uint64)
    most = np.int64(0)
    for p in range(cuts.size - 1):
        most = max(most, cuts[p + 1] - cuts[p])
    bounds = np.zeros((TILE, most, 2), np.int64)
    first, row = uint64(spins.ctypes.data), uint64(8 * words)
    records, record = uint64(visits.ctypes.data), uint64(4 * visits.shape[1])
    held = np.int64(0)
    for t in range(patterns.size):
        begin, end = cuts[patterns[t]], cuts[patterns[t] + 1]
        mask = uint64(masks.ctypes.data) + row * uint64(begin)
        at = uint64(entries.ctypes.data)
        done = first_sweep + t + 1
        sampled = every > 0 and done % every == 0
        wanted = sampled or t == patterns.size - 1  # the flips of all sites so far
        for tile in range(0, n, TILE):
            stop = min(tile + TILE, n)
            for slot in range(tile, stop, LANES):
                draw_sites(
                    config, uint64(drawn.ctypes.data) + uint64(8 * (slot - tile)),
                    uint64(sites.ctypes.data) + uint64(8 * slot), uint64(first_sweep + t),
                    uint64(keys.ctypes.data),
                )  # fmt: skip
                calls += LANES
            limit_tile(config, bounds, drawn, sums[tile:stop], falling, rows[begin:end], bound)
            for slot in range(tile, stop):
                k = uint64(slot - tile)
                at = visit_shared(
                    config, first, row * uint64(slot), at, records + record * uint64(slot),
                    uint64(bounds.ctypes.data) + uint64(16 * most) * k, uint64(end - begin),
                    mask, uint64(flipped.ctypes.data) + row * k,
                )  # fmt: skip
            held += count_flips(tally, flipped, stop - tile, counters)
            if held + FLIP_ROWS > COUNTED or (stop == n and wanted):
                empty(tally, counters, flips, np.int64(1))
                held = np.int64(0)
        if track or sampled:
            look(tally, states, terms, watch, done, scratch, out)
    return calls
