"""Sweeps of sixteen replicas of a dense model: the loops around `popcount_code`."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
import numpy as np
from numba import njit, uint32, uint64

from .kernels import CALLS, FLIPS, LANE, copy_to, decide
from .lanes_sweep import address
from .popcount_code import AHEAD, LANES, draw_sixteen, measure_dense, visit_dense

UP, FLIPPED, ENERGY = 0, 1, 2  # rows of a tally


@njit
def _resolve(heat_bath, left, x, drawn, q, site, spins, tally, slots, limits, draw, sweep, counts):
    """Decide the open lanes of a site by all 64 bits, and flip those that are accepted."""
    keys, group, _ = draw
    exact, bound = limits
    key = uint32(keys[0, 0]), uint32(keys[0, 1]), keys.shape[0], LANE
    counter = uint32(group), uint32(site), uint32(sweep), uint32(0)
    bit = uint64(1) << uint64(q % 64)
    for lane in range(LANES):
        if not (left >> uint64(lane)) & uint64(1):
            continue
        value = np.int64(x[lane])
        r16 = np.int64(drawn[lane]) << 8 | np.int64(drawn[LANES + lane])
        row = slots[lane % slots.size]
        yes = decide(r16, 16, value, row, exact, heat_bath, bound, counter, lane, key, counts)
        up = (spins[q // 64, lane] & bit) != uint64(0)
        if yes == (heat_bath and up):
            continue
        spins[q // 64, lane] ^= bit
        tally[UP, lane] += -1 if up else 1
        tally[FLIPPED, lane] += 1
        tally[ENERGY, lane] += -2 * value if heat_bath and not up else 2 * value


@njit
def _project(spins, n, weights, out):
    """out (k, lanes) = sum_q w_kq s_q."""
    out[:] = 0.0
    for k in range(weights.shape[0]):
        for q in range(n):
            for lane in range(LANES):
                up = (spins[q // 64, lane] >> uint64(q % 64)) & uint64(1)
                out[k, lane] += weights[k, q] if up else -weights[k, q]


@njit
def _keep_best(spins, now, best, energy):
    for lane in range(LANES):
        if now[lane] < energy[lane]:
            energy[lane] = now[lane]
            copy_to(best[:, lane], spins[:, lane])


@njit(cache=True, nogil=True)
def tallies(config, spins, model, fields, tally):
    """Write up spins and energies of a state; fields (sites,): those of the model itself."""
    _, starts, planes, twice_low, twice_gap = model
    words = uint64(spins.shape[0])
    for lane in range(LANES):
        tally[UP, lane] = tally[ENERGY, lane] = 0
    for q in range(starts.size):
        for lane in range(LANES):
            tally[UP, lane] += np.int64((spins[q // 64, lane] >> uint64(q % 64)) & uint64(1))
    for q in range(starts.size):
        measure_dense(
            config, address(spins), words, uint64(q),
            address(planes) + uint64(q) * uint64(8 * config.planes) * words, uint64(starts[q]),
            uint64(twice_low), uint64(twice_gap), uint64(fields[q]), address(tally),
        )  # fmt: skip
    for lane in range(LANES):
        tally[ENERGY, lane] = -(tally[ENERGY, lane] >> 1)


@njit(cache=True, nogil=True)
def sweep(
    config, block, model, limits, slopes, rows, own, draw, watch, out, counts
):  # fmt: skip
    """Sweep a block len(rows) times.

    block = (spins, best, tally, energy): (words, 16) uint64 twice, (3, 16) int64 of up spins,
    flips since the last sample and energies, and energies of best (16,); model = (sites, starts,
    planes, twice_low, twice_gap); limits, slopes: see `lanes_limits`; rows (sweeps, 1 or 16):
    threshold rows; own: first and end lane that is no padding; draw = (keys, group, first);
    watch = (every, weights, track); out: `blocks.Series`."""
    spins, best, tally, energy = block
    sites, starts, planes, twice_low, twice_gap = model
    keys, group, begin = draw
    every, weights, track = watch
    drawn, left = np.zeros((AHEAD, 2 * LANES), np.uint8), np.zeros(LANES, np.int32)
    estimates = np.zeros((2, LANES), np.int32)
    n, words, taken = starts.size, uint64(spins.shape[0]), 0
    stride = uint64(8 * config.planes) * words
    counts[FLIPS] -= tally[FLIPPED, own[0] : own[1]].sum()
    for t in range(rows.shape[0]):
        number = begin + t
        for lane in range(LANES):
            row = rows[t, lane % rows.shape[1]]
            estimates[0, lane], estimates[1, lane] = slopes[row, 0], slopes[row, 1]
        for begin_tile in range(0, n, AHEAD):
            draw_sixteen(
                config, address(drawn), address(sites) + uint64(8 * begin_tile), uint64(group),
                uint64(number), address(keys), uint64(keys.shape[0]),
            )  # fmt: skip
            for q in range(begin_tile, min(begin_tile + AHEAD, n)):
                k = q - begin_tile
                open_ = visit_dense(
                    config, address(spins), words, uint64(q),
                    address(planes) + uint64(q) * stride, uint64(starts[q]), uint64(twice_low),
                    uint64(twice_gap), address(drawn) + uint64(2 * LANES * k),
                    address(estimates), address(tally), address(left),
                )  # fmt: skip
                if open_:
                    _resolve(
                        config.heat_bath, open_, left, drawn[k], q, sites[q], spins, tally,
                        rows[t], limits, draw, number, counts,
                    )  # fmt: skip
        counts[CALLS] += 2 * n
        if track:
            copy_to(out.path[t], tally[ENERGY])
            _keep_best(spins, tally[ENERGY], best, energy)
        if every > 0 and (number + 1) % every == 0:
            copy_to(out.energy[taken], tally[ENERGY])
            copy_to(out.magnetization[taken], 2 * tally[UP] - n)
            copy_to(out.flips[taken], tally[FLIPPED])
            counts[FLIPS] += tally[FLIPPED, own[0] : own[1]].sum()
            tally[FLIPPED] = 0
            _project(spins, n, weights, out.projections[taken])
            taken += 1
    counts[FLIPS] += tally[FLIPPED, own[0] : own[1]].sum()
