"""Numba kernels: the decisions, and the sweep over the sites of a single replica.

Everything that decides is an integer; random numbers follow isingnpu.rng bit for bit.

A Metropolis decision compares v = s h, heat bath compares h (isingnpu.dynamics). The first byte of
the random integer settles most decisions; the others compare byte by byte, or bit by bit in the
plane layouts, drawing only what they need.

Argument groups:
    graph  = (order, indptr, indices, couplings, fields)
    limits = (early, table, constant, cutoff, shift, exponential)   see dynamics.Thresholds
    rule   = (heat_bath, bound, origin)
    draw   = (k0, k1, rounds, layout, first)    layout 0 lane, 1 plane, 2 lattice
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
import numpy as np
from numba import njit, uint32, uint64

LANE, PLANE, LATTICE = 0, 1, 2

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85

# Positions in the counter array that every kernel adds to.
FLIPS, CALLS, COUPLINGS = 0, 1, 2


@njit(inline="always")
def _round(x0, x1, x2, x3, k0, k1):
    p0 = uint64(M0) * uint64(x0)
    p1 = uint64(M1) * uint64(x2)
    return (
        uint32(uint32(p1 >> uint64(32)) ^ x1 ^ k0),
        uint32(p1),
        uint32(uint32(p0 >> uint64(32)) ^ x3 ^ k1),
        uint32(p0),
    )


@njit(inline="always")
def philox(c0, c1, c2, c3, k0, k1, rounds):
    """Philox4x32 with 7 or 10 rounds; four uint32 words."""
    x0, x1, x2, x3 = uint32(c0), uint32(c1), uint32(c2), uint32(c3)
    for _ in range(7):
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0, k1)
        k0, k1 = uint32(k0 + uint32(W0)), uint32(k1 + uint32(W1))
    if rounds == 10:
        for _ in range(3):
            x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0, k1)
            k0, k1 = uint32(k0 + uint32(W0)), uint32(k1 + uint32(W1))
    return x0, x1, x2, x3


@njit(inline="always")
def mulhi(a, b):
    """Upper 64 of the 128 bits of a * b."""
    low = uint64(0xFFFFFFFF)
    al, ah, bl, bh = a & low, a >> uint64(32), b & low, b >> uint64(32)
    middle = ((al * bl) >> uint64(32)) + ((ah * bl) & low) + ((al * bh) & low)
    upper = ((ah * bl) >> uint64(32)) + ((al * bh) >> uint64(32)) + (middle >> uint64(32))
    return ah * bh + upper


@njit
def fixed_exponential(v, high, low, cutoff, exponential):
    """e(v) of isingnpu.dynamics for v >= 0."""
    if v >= cutoff:
        return uint64(0)
    x = uint64(v)
    y = x * high + ((x * low) >> uint64(32))
    e = exponential[0, (y >> uint64(40)) & uint64(255)]
    for k in range(1, 6):
        e = mulhi(e, exponential[k, (y >> uint64(40 - 8 * k)) & uint64(255)])
    return e >> (y >> uint64(48))


@njit
def _digit(k, c0, c1, c2, c3, position, draw):
    """Digit k of the decision's integer, most significant first: a byte (lane) or a bit."""
    k0, k1, rounds, layout, _ = draw
    if layout == LANE:
        x = philox(c0, c1, c2, uint32(k) | c3, k0, k1, rounds)
        word = x[0] if position < 4 else x[1] if position < 8 else x[2] if position < 12 else x[3]
        return uint64((word >> uint32(8 * (position & 3))) & uint32(255))
    x = philox(c0, c1, c2, uint32(k >> 1) | c3, k0, k1, rounds)
    low, high = (x[0], x[1]) if (k & 1) == 0 else (x[2], x[3])
    word = low if position < 32 else high
    return uint64((word >> uint32(position & 31)) & uint32(1))


@njit
def below(limit, c0, c1, c2, c3, position, draw):
    """(r < limit, Philox calls) for an r whose first byte is that of the limit; no arrays in its
    arguments, whose references numba would count at every call."""
    width = 8 if draw[3] == LANE else 1
    calls = 0
    for k in range(8 // width, 64 // width):
        calls += 1
        r = _digit(k, c0, c1, c2, c3, position, draw)
        t = (limit >> uint64(64 - width * (k + 1))) & uint64((1 << width) - 1)
        if r != t:
            return r < t, calls
    return False, calls


@njit
def integer(counter, position, draw):
    """All 64 bits of the decision's integer, and Philox calls."""
    c0, c1, c2, c3 = counter
    width = 8 if draw[3] == LANE else 1
    r = uint64(0)
    for k in range(64 // width):
        r = (r << uint64(width)) | _digit(k, c0, c1, c2, c3, position, draw)
    return r, 64 // width


@njit
def accepts(r, x, row, limits, heat_bath, bound):
    """The decision of value x (v or h) for the integer r: true up to some r, false above.

    limits = (table, constant, cutoff, exponential)"""
    table, constant, cutoff, exponential = limits
    if not heat_bath and x <= 0:
        return True
    if table.shape[1] > 0:
        return r < table[row, x + bound if heat_bath else x]
    e = fixed_exponential(abs(x), constant[row, 0], constant[row, 1], cutoff[row], exponential)
    if not heat_bath:
        return r < e
    total = r + mulhi(r, e)
    if x >= 0:
        return total >= r  # no carry out of 64 bits
    return total >= r and total < e


@njit
def exact(x, row, c0, c1, c2, c3, position, limits, rule, draw, counts):
    """The decision of value x (v or h) by the 64-bit comparison, drawn digit by digit.

    Called only for decisions whose first byte lies within its bounds: in a table model it then
    equals the first byte of the threshold, and the comparison goes on behind it."""
    _, table, constant, cutoff, _, exponential = limits
    heat_bath, bound, _ = rule
    if not heat_bath and x <= 0:
        return True
    if table.shape[1] > 0:
        limit = table[row, x + bound] if heat_bath else table[row, x]
        yes, calls = below(limit, c0, c1, c2, c3, position, draw)
        counts[CALLS] += calls
        return yes
    r, calls = integer((c0, c1, c2, c3), position, draw)
    counts[CALLS] += calls
    return accepts(r, x, row, (table, constant, cutoff, exponential), heat_bath, bound)


@njit(inline="always")
def _bin(x, shift, origin, bins):
    return min(max((x >> shift) + origin, 0), bins - 1)


# One replica at a time: sparse, dense and lattice.


@njit(inline="always")
def _transpose(planes, first_bytes, start):
    """Eight planes, most significant first, to one byte per bit position."""
    for bit in range(64):
        byte = uint64(0)
        for p in range(8):
            byte = (byte << uint64(1)) | ((planes[p] >> uint64(bit)) & uint64(1))
        first_bytes[start + bit] = byte


@njit(inline="always")
def _tile_bytes(tile, planes, first_bytes, words, replica, clock, place, draw, counts):
    """First byte of every site of the tile.

    place = (word, row) of the tile in layout lattice, whose sites share their calls."""
    k0, k1, rounds, layout, _ = draw
    n = tile.size
    if layout == LANE:
        position = replica % 16
        part, low = position // 4, uint32(8 * (position % 4))
        for k in range(n):
            x0, x1, x2, x3 = philox(
                uint32(replica // 16), uint32(tile[k]), clock, uint32(0), k0, k1, rounds
            )
            words[k] = x0 if part == 0 else x1 if part == 1 else x2 if part == 2 else x3
        for k in range(n):
            first_bytes[k] = (words[k] >> low) & uint32(255)
        counts[CALLS] += n
    elif layout == PLANE:
        position = replica % 64
        bit = uint32(position % 32)
        for k in range(n):
            byte = uint32(0)
            for call in range(4):
                x0, x1, x2, x3 = philox(
                    uint32(replica // 64), uint32(tile[k]), clock, uint32(call), k0, k1, rounds
                )
                even = x0 if position < 32 else x1
                odd = x2 if position < 32 else x3
                byte = (byte << uint32(2)) | (((even >> bit) & uint32(1)) << uint32(1))
                byte |= (odd >> bit) & uint32(1)
            first_bytes[k] = byte
        counts[CALLS] += 4 * n
    else:
        for call in range(4):
            x0, x1, x2, x3 = philox(
                uint32(place[0]), uint32(place[1]), clock,
                uint32(call) | uint32(replica << 11), k0, k1, rounds,
            )  # fmt: skip
            planes[2 * call] = uint64(x0) | uint64(x1) << uint64(32)
            planes[2 * call + 1] = uint64(x2) | uint64(x3) << uint64(32)
        counts[CALLS] += 4
        _transpose(planes, first_bytes, 0)


@njit(inline="always")
def _flip_dense(field, twice, s):
    """field -= 2 J_i s, with 2 J_i in the dtype of the field (sums wrap, fields do not)."""
    if s > 0:
        for j in range(field.size):
            field[j] -= twice[j]
    else:
        for j in range(field.size):
            field[j] += twice[j]


@njit(cache=True, nogil=True)
def sweep_sites(
    spins, field, graph, dense, tiles, colours, limits, rows, rule, draw, replica, best, energy,
    since, every, weights, track, samples, path, counts,
):  # fmt: skip
    """Sweep one replica len(rows) times.

    spins (sites,) int8; field (sites,) integer, kept equal to J s + h; dense: (sites, sites) of
    2 J, or (0, 0) to use the graph; tiles (tiles + 1, 4): start in the order, word, row, colour
    (of `colours`); rows (sweeps,); samples = (energy, magnetization, flips) each (samples,) and
    projections (samples, k); path (sweeps,)."""
    order, indptr, indices, couplings, fields = graph
    early, _, _, _, shift, _ = limits
    heat_bath, _, origin = rule
    first, layout = draw[4], draw[3]
    n = spins.size
    bins = early.shape[1]
    first_bytes = np.empty(max(64, n if tiles.shape[0] == 2 else 256), np.uint8)
    words = np.empty(first_bytes.size, np.uint32)
    planes = np.empty(8, np.uint64)
    taken = 0
    for t in range(rows.size):
        row = rows[t]
        limit, width = early[row], shift[row]
        sweep = first + t
        flips, read = 0, 0
        for a in range(tiles.shape[0] - 1):
            tile = order[tiles[a, 0] : tiles[a + 1, 0]]
            place = (tiles[a, 1], tiles[a, 2])
            clock = uint32(colours * sweep + tiles[a, 3]) if layout == LATTICE else uint32(sweep)
            _tile_bytes(tile, planes, first_bytes, words, replica, clock, place, draw, counts)
            for slot in range(tile.size):
                at = uint64(slot)
                i = uint64(tile[at])
                s = np.int64(spins[i])
                x = np.int64(field[i]) if heat_bath else s * np.int64(field[i])
                bound = limit[uint64(_bin(x, width, np.int64(origin), np.int64(bins)))]
                byte = np.int32(first_bytes[at])
                yes = byte < (bound & 0xFFFF)
                if not yes and byte <= (bound >> 16):
                    if layout == LATTICE:
                        yes = exact(
                            x, row, uint32(place[0]), uint32(place[1]), clock,
                            uint32(replica << 11), slot, limits, rule, draw, counts,
                        )  # fmt: skip
                    else:
                        share = 16 if layout == LANE else 64
                        yes = exact(
                            x, row, uint32(replica // share), uint32(i), clock, uint32(0),
                            replica % share, limits, rule, draw, counts,
                        )  # fmt: skip
                if yes != (heat_bath and s > 0):
                    spins[i] = -s
                    flips += 1
                    if dense.shape[0] > 0:
                        read += n
                        _flip_dense(field, dense[i], s)
                    else:
                        start, end = indptr[i], indptr[i + uint64(1)]
                        read += end - start
                        for e in range(start, end):
                            field[uint64(indices[uint64(e)])] -= 2 * s * couplings[uint64(e)]
        since[0] += flips
        counts[FLIPS] += flips
        counts[COUPLINGS] += read
        sample = every > 0 and (sweep + 1) % every == 0
        if track or sample:
            now = np.int64(0)
            for i in range(n):
                now += np.int64(spins[i]) * (np.int64(field[i]) + np.int64(fields[i]))
            now = -(now >> 1)
            if track:
                path[t] = now
                if now < energy[0]:
                    energy[0] = now
                    best[:] = spins
            if sample:
                samples[0][taken] = now
                samples[2][taken] = since[0]
                since[0] = 0
                total = 0
                for i in range(n):
                    total += spins[i]
                samples[1][taken] = total
                for k in range(weights.shape[0]):
                    p = 0.0
                    for i in range(n):
                        p += weights[k, i] * spins[i]
                    samples[3][taken, k] = p
                taken += 1
