"""Sweeps of a block of replica lanes: the loops around the vector code of `lanes_code`.

Arguments that come in groups:
    block  = (spins, best, now, energy, since)    as in `lanes.LaneBlock`
    graph  = (sites, starts, first, entries, fields)   as in `lanes.Rows`
    limits = (table, constant, cutoff, exponential)    see dynamics.Thresholds
    draw   = (keys, group, first)    keys (rounds, 2) uint64; group: of the first replica
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
import numpy as np
from numba import njit, uint32, uint64

from isingnpu.rng import M0, M1

from .kernels import CALLS, FLIPS, LANE, PLANE, copy_to, decide
from .lanes_code import CHAIN, ESTIMATE, count_down, draw_ahead, measure, visit

TILE = 16  # sites whose random bytes are drawn together
VISITS = 240  # between drains of the byte-sized flip counts; whole tiles, below 256
LOW = 0xFFFFFFFF


@njit(inline="always")
def address(array):
    """The address of an array's first element."""
    return uint64(array.ctypes.data)


@njit
def prepare(plane, lanes, keys, group, sweep, streams):
    """What Philox makes of the counter in its first rounds, apart from the site c1.

    Round 0 leaves the site in word 0 only, as base ^ site; its product S with M0 in round 1 is
    the same for all groups and calls. So round 2 gives, with p = M1 (S >> 32 ^ c),
    x = (p >> 32 ^ d, p, S ^ e, f). streams (4, calls): c, d, e, f. Returns base."""
    low, half = uint64(LOW), uint64(32)
    p1 = uint64(M1) * uint64(sweep)
    base, x1 = (p1 >> half) ^ keys[0, 0], p1 & low
    per_byte = lanes // 16
    for k in range(lanes // 8):
        if plane:
            c0, c3 = uint64(group + k // 8), uint64(k % 8)
        else:
            c0, c3 = uint64(group + k % per_byte), uint64(k // per_byte)
        p0 = uint64(M0) * (c0 & low)
        p1 = uint64(M1) * ((p0 >> half) ^ c3 ^ keys[0, 1])
        streams[0, k] = (p0 & low) ^ keys[1, 1]
        streams[1, k] = (p1 & low) ^ keys[2, 0]
        p0 = uint64(M0) * ((p1 >> half) ^ x1 ^ keys[1, 0])
        streams[2, k] = (p0 >> half) ^ keys[2, 1]
        streams[3, k] = p0 & low
    return base


@njit
def _resolve(
    kind, spins, q, site, work, values, drawn, tally, sums, rows, order, limits, bound, draw,
    sweep, counts,
):  # fmt: skip
    """Decide the open lanes of row q by all 64 bits, and flip those that are accepted.

    kind = (heat_bath, plane, words) of the code; work, values: what `visit` left; drawn: the
    site's bytes; tally, sums: counts to join."""
    heat_bath, plane, words = kind
    keys, group, _ = draw
    layout, share = (PLANE, 64) if plane else (LANE, 16)
    key = uint32(keys[0, 0]), uint32(keys[0, 1]), keys.shape[0], layout
    for lane in range(order.size):
        bit = uint64(1) << uint64(lane % 64)
        if not work[lane // 64] & bit:
            continue
        if words:
            r16 = np.int64(drawn[2 * lane]) | np.int64(drawn[2 * lane + 1]) << 8
        else:
            r16 = np.int64(drawn[lane]) << 8 | np.int64(drawn[order.size + lane])
        replica, x = order[lane], np.int64(values[lane])
        counter = uint32(group + replica // share), uint32(site), uint32(sweep), uint32(0)
        yes = decide(
            r16, 16, x, rows[lane % rows.size], limits, heat_bath, bound, counter,
            replica % share, key, counts,
        )  # fmt: skip
        up = (spins[q, lane // 64] & bit) == uint64(0)
        if yes == (heat_bath and up):
            continue
        spins[q, lane // 64] ^= bit
        tally[lane] += 1
        sums[lane] += -x if heat_bath and not up else x


@njit
def _drain(tally, sums, own, now, since, counts):
    """Move the narrow sums of a few visits into the wide ones; a flip costs 2 v."""
    for lane in range(now.size):
        since[lane] += tally[lane]
        counts[FLIPS] += tally[lane] * own[lane]
        now[lane] += 2 * np.int64(sums[lane])
    tally[:] = 0
    sums[:] = 0


@njit
def _chain(values, bytes_, rows, chain):
    """Write the thresholds of a sweep as `visit` reads them: (values, 64 + 2 lanes) bytes."""
    lanes = (chain.shape[1] - 64) // 2
    for k in range(values.size):
        chain[k, :64] = np.uint8(values[k])
        for lane in range(lanes):
            own = bytes_[rows[lane % rows.size]]
            chain[k, 64 + lane] = own[0, values[k]]
            chain[k, 64 + lanes + lane] = own[1, values[k]]


@njit(cache=True, nogil=True)
def energies(config, spins, graph, out):
    """E in quanta without the offset of each lane: -1/2 sum_i s_i (h_i + own field of i)."""
    _, starts, first, entries, fields = graph
    out[:] = 0
    stride = uint64(config.lanes // 8)
    for q in range(starts.size):
        measure(
            config, address(spins), address(spins) + uint64(q) * stride, uint64(starts[q]),
            address(entries) + uint64(8 * first[q]), uint64(first[q + 1] - first[q]),
            uint64(fields[q]), address(out),
        )  # fmt: skip
    for lane in range(out.size):
        out[lane] = -(out[lane] >> 1)


@njit
def _magnetizations(config, spins, out):
    """Sum of the spins of each lane, from counts of 255 rows at a time."""
    some = np.zeros(config.lanes, np.uint8)
    n = spins.shape[0]
    out[:] = n
    for q in range(0, n, 255):
        count_down(
            config,
            address(spins) + uint64(q * config.lanes // 8),
            uint64(min(255, n - q)),
            address(some),
        )
        for lane in range(config.lanes):
            out[lane] -= 2 * np.int64(some[lane])


@njit
def _project(spins, weights, out):
    """out (k, lanes) = sum_i w_ki s_i."""
    for k in range(weights.shape[0]):
        for lane in range(out.shape[1]):
            p = 0.0
            for q in range(spins.shape[0]):
                down = (spins[q, lane // 64] >> uint64(lane % 64)) & uint64(1)
                p += -weights[k, q] if down else weights[k, q]
            out[k, lane] = p


@njit
def _keep_best(spins, now, best, energy):
    better = np.zeros(spins.shape[1], np.uint64)
    for lane in range(now.size):
        if now[lane] < energy[lane]:
            energy[lane] = now[lane]
            better[lane // 64] |= uint64(1) << uint64(lane % 64)
    if not better.any():
        return
    for q in range(spins.shape[0]):
        for w in range(better.size):
            best[q, w] ^= (best[q, w] ^ spins[q, w]) & better[w]


@njit(cache=True, nogil=True)
def sweep(
    config, block, graph, limits, bound, bytes_, values, slopes, rows, order, own, draw, scratch,
    watch, out, counts,
):  # fmt: skip
    """Sweep a block len(rows) times.

    bytes_: threshold bytes by row and field; values: fields of CHAIN that need bytes; slopes: k
    and cut by row; rows (sweeps, 1 or lanes): threshold row of each lane; order (lanes,): replica
    of each lane; own (lanes,): 0 for padding; scratch: see `lanes._scratch`;
    watch = (watched, every, weights, track); out: `blocks.Series`."""
    spins, best, now, energy, since = block
    sites, starts, first, entries, _ = graph
    keys, _, begin = draw
    kind = config.heat_bath, config.plane, config.words
    watched, every, weights, track = watch
    work, left, tally, sums, chain = scratch
    estimates = np.empty((2, config.lanes), np.int32)
    drawn = np.empty((TILE, 2 * config.lanes), np.uint8)
    streams = np.empty((4, config.calls), np.uint64)
    n, stride, taken = starts.size, uint64(config.lanes // 8), 0
    late = address(keys) + uint64(48)
    for t in range(rows.shape[0]):
        number = begin + t
        base = prepare(config.plane, config.lanes, keys, draw[1], number, streams)
        if config.form == CHAIN:
            _chain(values, bytes_, rows[t], chain)
            table = address(chain) - uint64(64)
        elif config.form == ESTIMATE:
            for lane in range(config.lanes):
                row = rows[t, lane % rows.shape[1]]
                estimates[0, lane], estimates[1, lane] = slopes[row, 0], slopes[row, 1]
            table = address(estimates)
        else:
            table = address(bytes_[rows[t, 0]])
        for start in range(0, n, TILE):
            for q in range(0, min(TILE, n - start), config.ahead):
                draw_ahead(
                    config, address(drawn) + uint64(q) * uint64(2 * config.lanes),
                    address(sites) + uint64(8 * (start + q)), base, address(streams), late,
                    uint64(keys.shape[0] - 3),
                )  # fmt: skip
            for q in range(start, min(start + TILE, n)):
                bytes_at = address(drawn) + uint64(q - start) * uint64(2 * config.lanes)
                if visit(
                    config, address(spins), address(spins) + uint64(q) * stride, uint64(starts[q]),
                    address(entries) + uint64(8 * first[q]), uint64(first[q + 1] - first[q]),
                    bytes_at, table, address(tally), address(work), uint64(watched),
                ):  # fmt: skip
                    _resolve(
                        kind, spins, q, sites[q], work, left, drawn[q - start], tally, sums,
                        rows[t], order, limits, bound, draw, number, counts,
                    )  # fmt: skip
            if start % VISITS == VISITS - TILE:
                _drain(tally, sums, own, now, since, counts)
        _drain(tally, sums, own, now, since, counts)
        counts[CALLS] += config.calls * n
        if track:
            copy_to(out.path[t], now)
            _keep_best(spins, now, best, energy)
        if every > 0 and (number + 1) % every == 0:
            copy_to(out.energy[taken], now)
            copy_to(out.flips[taken], since)
            since[:] = 0
            _magnetizations(config, spins, out.magnetization[taken])
            _project(spins, weights, out.projections[taken])
            taken += 1
