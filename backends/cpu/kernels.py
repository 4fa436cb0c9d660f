"""Numba kernels: one sweep loop over replica lanes, one over the sites of a single replica.

Everything that decides is an integer; random numbers follow isingnpu.rng bit for bit. All jitted
functions live in this file because numba's on-disk cache does not see edits in other files.

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


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
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
    width = 8 if draw[3] == LANE else 1
    r = uint64(0)
    for k in range(64 // width):
        counts[CALLS] += 1
        r = (r << uint64(width)) | _digit(k, c0, c1, c2, c3, position, draw)
    e = fixed_exponential(abs(x), constant[row, 0], constant[row, 1], cutoff[row], exponential)
    if not heat_bath:
        return r < e
    total = r + mulhi(r, e)
    if x >= 0:
        return total >= r  # no carry out of 64 bits
    return total >= r and total < e


@njit(inline="always")
def _bin(x, shift, origin, bins):
    return min(max((x >> shift) + origin, 0), bins - 1)


# Replica lanes: spins and fields are (sites, lanes), lanes a multiple of WIDTH. Inner loops run
# over WIDTH lanes exactly, which LLVM turns into whole vectors, and keep to narrow types: numba
# widens every sum of small integers to 64 bits unless it is cast back at once.

WIDTH = 64
MAX_STEPS = 48  # more comparisons than this cost more than the look-up


@njit(inline="always")
def _lane_bytes(words, planes, first_bytes, group, site, sweep, draw):
    """First byte of every lane of the block for this site."""
    k0, k1, rounds, layout, _ = draw
    if layout == LANE:
        for g in range(words.size // 4):
            x0, x1, x2, x3 = philox(
                uint32(group + g), uint32(site), uint32(sweep), uint32(0), k0, k1, rounds
            )
            at = uint64(4 * g)
            words[at] = x0
            words[at + uint64(1)] = x1
            words[at + uint64(2)] = x2
            words[at + uint64(3)] = x3
        return
    for w in range(first_bytes.size // 64):
        for call in range(4):
            x0, x1, x2, x3 = philox(
                uint32(group + w), uint32(site), uint32(sweep), uint32(call), k0, k1, rounds
            )
            planes[2 * call] = uint64(x0) | uint64(x1) << uint64(32)
            planes[2 * call + 1] = uint64(x2) | uint64(x3) << uint64(32)
        _transpose(planes, first_bytes, 64 * w)


@njit(inline="always")
def _transpose(planes, first_bytes, start):
    """Eight planes, most significant first, to one byte per bit position."""
    for bit in range(64):
        byte = uint64(0)
        for p in range(8):
            byte = (byte << uint64(1)) | ((planes[p] >> uint64(bit)) & uint64(1))
        first_bytes[start + bit] = byte


@njit(inline="always")
def _mask(condition):
    """255 if true, else 0."""
    return np.uint8(np.int8(0) - np.int8(condition))


@njit(inline="always")
def _decide_by_steps(s, h, value, limit, at, rise, steps, heat_bath, first_bytes, out):
    """accepted and undecided lanes when all share one beta: the first threshold byte is a step
    function of the field value, built from `steps` comparisons instead of a table look-up."""
    accepted, undecided = out
    own, bottom = np.int8(0 if heat_bath else -1), rise[0]
    for start in range(0, s.size, WIDTH):
        for k in range(WIDTH):
            lane = uint64(start + k)
            sign = np.int8(np.int8(s[lane] >> 7) & own)
            value[lane] = (h[lane] ^ sign) - sign  # s h without a multiplication
            limit[lane] = bottom
        for j in range(1, steps, 4):  # four per pass; those behind the last rise by nothing
            a0, a1, a2, a3 = at[j], at[j + 1], at[j + 2], at[j + 3]
            r0, r1, r2, r3 = rise[j], rise[j + 1], rise[j + 2], rise[j + 3]
            for k in range(WIDTH):
                lane = uint64(start + k)
                v = value[lane]
                low = np.uint8((_mask(v >= a0) & r0) + (_mask(v >= a1) & r1))
                high = np.uint8((_mask(v >= a2) & r2) + (_mask(v >= a3) & r3))
                limit[lane] = np.uint8(limit[lane] + np.uint8(low + high))
        for k in range(WIDTH):
            lane = uint64(start + k)
            uphill = np.uint8(heat_bath) | np.uint8(value[lane] > 0)
            below = np.uint8(first_bytes[lane] < limit[lane])
            accepted[lane] = np.uint8(below | (uphill ^ np.uint8(1)))
            undecided[lane] = np.uint8(first_bytes[lane] == limit[lane]) & uphill


@njit(inline="always")
def _steps(early, origin, at, rise):
    """Write a row of first bytes as rises at field values; their number, or 0 if too many or if
    the two bounds of a bin differ, as near whole bytes of a fixed-point threshold."""
    for b in range(early.size):
        if (early[b] & 0xFFFF) != (early[b] >> 16):
            return 0
    count = 1
    rise[0] = np.uint8(early[0] & 255)
    for b in range(1, early.size):
        if early[b] != early[b - 1]:
            if count == at.size - 3:
                return 0
            at[count] = b - origin
            rise[count] = np.uint8(np.uint8(early[b] & 255) - np.uint8(early[b - 1] & 255))
            count += 1
    rise[count : count + 3] = 0
    return count


@njit(inline="always")
def _decide_by_table(s, h, base, shifts, flat, bins, origin, heat_bath, first_bytes, out):
    """accepted and undecided lanes when each has its own row of first-byte bounds."""
    accepted, undecided = out
    for lane in range(s.size):
        x = np.int64(h[lane])
        if not heat_bath:
            x = s[lane] * x
        bound = flat[uint64(base[lane] + _bin(x, shifts[lane], origin, bins))]
        byte = np.int32(first_bytes[lane])
        accepted[lane] = byte < (bound & 0xFFFF)
        undecided[lane] = (byte >= (bound & 0xFFFF)) & (byte <= (bound >> 16))


@njit(inline="always")
def _flip_lanes(s, accepted, heat_bath, change, small):
    """Flip where accepted says so; change = -2 s where flipped, else 0."""
    for start in range(0, s.size, WIDTH):
        for k in range(WIDTH):
            lane = uint64(start + k)
            flip = np.int8(accepted[lane])
            if heat_bath:
                flip = np.int8(flip ^ np.int8(s[lane] > 0))
            step = np.int8(np.int8(-(s[lane] + s[lane])) & np.int8(-flip))
            s[lane] = np.int8(s[lane] + step)
            change[lane] = step
            small[lane] = np.uint8(small[lane] + np.uint8(flip))


@njit(inline="always")
def _add_lanes(target, change, coupling):
    """target += coupling * change, lane by lane."""
    if coupling == 1:
        for start in range(0, target.size, WIDTH):
            for k in range(WIDTH):
                target[uint64(start + k)] += change[uint64(start + k)]
    elif coupling == -1:
        for start in range(0, target.size, WIDTH):
            for k in range(WIDTH):
                target[uint64(start + k)] -= change[uint64(start + k)]
    else:
        for start in range(0, target.size, WIDTH):
            for k in range(WIDTH):
                target[uint64(start + k)] += np.int32(coupling * change[uint64(start + k)])


@njit(inline="always")
def _any(eights):
    """Whether any byte of the array of 64-bit words is set."""
    total = uint64(0)
    for k in range(eights.size):
        total |= eights[k]
    return total != uint64(0)


@njit(cache=True, nogil=True)
def sweep_lanes(
    spins, field, graph, limits, rows, rule, draw, group, own, scratch, best, energy, since,
    every, weights, track, samples, path, counts,
):  # fmt: skip
    """Sweep a block of replicas len(rows) times.

    spins (sites, lanes) int8; field (sites, lanes) integer, kept equal to J s + h; group: first
    c0 of the block; own: first and end lane that is no padding; rows (sweeps, 1 or lanes);
    scratch: five (lanes,) byte arrays and the same
    memory of the first as uint32, of the last two as uint64; best (sites, lanes); energy, since
    (lanes,) energies of best and flips since the last sample; samples = (energy, magnetization,
    flips) each (samples, lanes) and projections (samples, k, lanes); path (sweeps, lanes)."""
    order, indptr, indices, couplings, fields = graph
    early, table, _, _, shift, _ = limits
    heat_bath, bound, origin = rule
    offset = bound if heat_bath else 0
    first_bytes, words, accepted, undecided, open_eights, change, flipped_eights, small = scratch
    first = draw[4]
    lanes = spins.shape[1]
    bins = early.shape[1]
    flat = early.reshape(-1)
    base = np.empty(lanes, np.int64)
    shifts = np.empty(lanes, np.int64)
    now = np.empty(lanes, np.int64)
    planes = np.empty(8, np.uint64)
    value, byte_limit = np.empty(lanes, field.dtype), np.empty(lanes, np.uint8)
    at, rise = np.empty(MAX_STEPS, field.dtype), np.empty(MAX_STEPS, np.uint8)
    decided = (accepted, undecided)
    one_beta = rows.shape[1] == 1 and shift.max() == 0  # else no step per field value
    share, calls = (16, words.size // 4) if draw[3] == LANE else (64, lanes // 16)
    taken = 0
    for t in range(rows.shape[0]):
        for lane in range(lanes):
            row = rows[t, lane % rows.shape[1]]
            base[lane] = row * bins
            shifts[lane] = shift[row]
        sweep = first + t
        steps = _steps(early[rows[t, 0]], origin, at, rise) if one_beta else 0
        for visit in range(order.size):
            i = order[visit]
            _lane_bytes(words, planes, first_bytes, group, i, sweep, draw)
            s, h = spins[i], field[i]
            if steps > 0:
                _decide_by_steps(
                    s, h, value, byte_limit, at, rise, steps, heat_bath, first_bytes, decided
                )
            else:
                _decide_by_table(
                    s, h, base, shifts, flat, bins, origin, heat_bath, first_bytes, decided
                )
            for eight in range(open_eights.size):
                if open_eights[eight] == uint64(0):
                    continue
                for lane in range(8 * eight, 8 * eight + 8):
                    if undecided[lane]:
                        x = (
                            np.int64(h[lane])
                            if heat_bath
                            else np.int64(s[lane]) * np.int64(h[lane])
                        )
                        row, c0 = rows[t, lane % rows.shape[1]], uint32(group + lane // share)
                        place = lane % share
                        if table.shape[1] > 0:
                            limit = table[row, x + offset]
                            yes, drawn = below(
                                limit, c0, uint32(i), uint32(sweep), uint32(0), place, draw
                            )
                            counts[CALLS] += drawn
                        else:
                            yes = exact(
                                x, row, c0, uint32(i), uint32(sweep), uint32(0), place, limits,
                                rule, draw, counts,
                            )  # fmt: skip
                        accepted[lane] = yes
            _flip_lanes(s, accepted, heat_bath, change, small)
            if _any(flipped_eights):
                counts[COUPLINGS] += indptr[i + 1] - indptr[i]
                for k in range(indptr[i], indptr[i + 1]):
                    _add_lanes(field[indices[k]], change, couplings[k])
            if visit % 255 == 254:
                _drain(small, since, own, counts)
        _drain(small, since, own, counts)
        counts[CALLS] += calls * order.size
        sample = every > 0 and (sweep + 1) % every == 0
        if track or sample:
            _lane_energies(spins, field, fields, now)
        if track:
            path[t] = now
            _keep_best_lanes(spins, now, best, energy)
        if sample:
            samples[0][taken] = now
            samples[2][taken] = since
            since[:] = 0
            _lane_sums(spins, weights, samples[1][taken], samples[3][taken])
            taken += 1


@njit(cache=True)
def _drain(small, since, own, counts):
    """Move byte-sized flip counts, good for 255 sites, into the wide ones; own = (first, end) of
    the lanes that are no padding."""
    for lane in range(own[0], own[1]):
        counts[FLIPS] += small[lane]
    for lane in range(small.size):
        since[lane] += small[lane]
        small[lane] = 0


@njit(cache=True)
def _lane_energies(spins, field, fields, out):
    """E = -1/2 sum_i s_i (field_i + h_i) per lane: the field holds J s + h."""
    out[:] = 0
    for i in range(spins.shape[0]):
        own = np.int64(fields[i])
        s, h = spins[i], field[i]
        for lane in range(out.size):
            out[lane] += np.int64(s[lane]) * (np.int64(h[lane]) + own)
    for lane in range(out.size):
        out[lane] = -(out[lane] >> 1)


@njit(cache=True)
def _lane_sums(spins, weights, magnetization, projections):
    magnetization[:] = 0
    projections[:] = 0.0
    for i in range(spins.shape[0]):
        s = spins[i]
        for lane in range(s.size):
            magnetization[lane] += s[lane]
        for k in range(weights.shape[0]):
            w = weights[k, i]
            p = projections[k]
            for lane in range(s.size):
                p[lane] += w * s[lane]


@njit(cache=True)
def _keep_best_lanes(spins, now, best, energy):
    better = now < energy
    if not better.any():
        return
    for lane in range(now.size):
        energy[lane] = min(energy[lane], now[lane])
    for i in range(spins.shape[0]):
        s, b = spins[i], best[i]
        for lane in range(now.size):
            b[lane] = s[lane] if better[lane] else b[lane]


# One replica at a time: sparse, dense and lattice.


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
        for a in range(tiles.shape[0] - 1):
            tile = order[tiles[a, 0] : tiles[a + 1, 0]]
            place = (tiles[a, 1], tiles[a, 2])
            clock = uint32(colours * sweep + tiles[a, 3]) if layout == LATTICE else uint32(sweep)
            _tile_bytes(tile, planes, first_bytes, words, replica, clock, place, draw, counts)
            for k in range(tile.size):
                i = tile[k]
                s = np.int64(spins[i])
                x = np.int64(field[i]) if heat_bath else s * np.int64(field[i])
                bound = limit[_bin(x, width, np.int64(origin), np.int64(bins))]
                byte = np.int32(first_bytes[k])
                yes = byte < (bound & 0xFFFF)
                if not yes and byte <= (bound >> 16):
                    if layout == LATTICE:
                        yes = exact(
                            x, row, uint32(place[0]), uint32(place[1]), clock,
                            uint32(replica << 11), k, limits, rule, draw, counts,
                        )  # fmt: skip
                    else:
                        share = 16 if layout == LANE else 64
                        yes = exact(
                            x, row, uint32(replica // share), uint32(i), clock, uint32(0),
                            replica % share, limits, rule, draw, counts,
                        )  # fmt: skip
                if yes != (heat_bath and s > 0):
                    spins[i] = -s
                    since[0] += 1
                    counts[FLIPS] += 1
                    if dense.shape[0] > 0:
                        counts[COUPLINGS] += n
                        _flip_dense(field, dense[i], s)
                    else:
                        counts[COUPLINGS] += indptr[i + 1] - indptr[i]
                        for e in range(indptr[i], indptr[i + 1]):
                            field[indices[e]] -= 2 * s * couplings[e]
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
