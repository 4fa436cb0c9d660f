"""Sweeps of a single replica: candidates of 64 sites at once, flips one by one.

The first byte b of a random integer leaves a site little choice. With h its field and d = 0 (up)
or -1 (down), both known but for the flips of earlier sites,

    it may flip if  h ^ d <= may[d, b],   it does if  h ^ d <= sure[d, b],

and only between the two the exact decision is drawn. h ^ d is h of an up spin and -h - 1 of a down
spin. A flip adds to the fields of its neighbours and renews the bits of those in the same tile.

Arguments that come in groups:
    block  = (downs, fields, best, energies, since)    as in `sites.Single`
    model  = (sites, fields, graph)    as in `sites.Rows`
    tiles  (tiles + 1, 4): start in the order, word, row, colour
    draw   = (k0, k1, rounds, layout)
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
import numpy as np
from numba import njit, uint8, uint32, uint64

from .kernels import CALLS, COUPLINGS, FLIPS, LANE, LATTICE, copy_to, decide, philox
from .lanes_sweep import address, prepare
from .sites_code import TILE, candidates, draw_bytes, flip_sure, lowest, prepare_tile

NOW, LOWEST = 0, 1  # places of a block's energies
MAY, SURE, FLIPPED, READ = 0, 1, 2, 3  # of a tile's state


@njit
def barriers(heat_bath, slope, bound, edges, out):
    """Write the highest h ^ d of sites that may flip and of those that do, (512, 2) by
    b + 256 down.

    slope = 2 beta q, clipped to 1e-300 .. 1e300; edges: see `limits.first_byte_edges`."""
    for b in range(256):
        low, high = edges[0, b] / slope, edges[1, b] / slope
        if heat_bath:
            # below `least` certainly down, from `most` on certainly up
            least = np.int64(min(max(np.floor(low), -bound - 1.0), 1.0 * bound)) + 1
            most = np.int64(min(max(np.ceil(high), -1.0 * bound), bound + 1.0))
            out[b, MAY], out[b, SURE] = most - 1, least - 1
            out[256 + b, MAY], out[256 + b, SURE] = -least - 1, -most - 1
        else:
            for part, edge in ((MAY, high), (SURE, low)):
                v = np.int64(min(np.floor(edge), 1.0 * bound))
                out[b, part], out[256 + b, part] = v, v - 1


@njit(inline="always")
def _bits(planes, drawn):
    """Eight planes, most significant first, to one byte per bit position."""
    for bit in range(64):
        byte = uint64(0)
        for p in range(8):
            byte = (byte << uint64(1)) | ((planes[p] >> uint64(bit)) & uint64(1))
        drawn[bit] = uint8(byte)


@njit
def _draw_planes(counters, size, bit, draw, drawn):
    """First bytes of sites that have a counter (c0, c1, c2, c3) each, one bit of their planes."""
    k0, k1, rounds, _ = draw
    c0, sites, c2 = counters
    for k in range(size):
        byte = uint32(0)
        for call in range(4):
            x0, x1, x2, x3 = philox(c0, uint32(sites[k]), c2, uint32(call), k0, k1, rounds)
            even, odd = (x0, x2) if bit < 32 else (x1, x3)
            byte = (byte << uint32(1)) | ((even >> uint32(bit & 31)) & uint32(1))
            byte = (byte << uint32(1)) | ((odd >> uint32(bit & 31)) & uint32(1))
        drawn[k] = uint8(byte)


@njit
def _draw_word(c0, c1, c2, c3, draw, drawn):
    """First bytes of the 64 sites of a word in layout lattice."""
    k0, k1, rounds, _ = draw
    planes = np.empty(8, np.uint64)
    for call in range(4):
        x0, x1, x2, x3 = philox(c0, c1, c2, uint32(call) | c3, k0, k1, rounds)
        planes[2 * call] = uint64(x0) | uint64(x1) << uint64(32)
        planes[2 * call + 1] = uint64(x2) | uint64(x3) << uint64(32)
    _bits(planes, drawn)


@njit
def _energy(downs, fields, own):
    """-1/2 sum_i s_i (h_i + own field of i)."""
    total = np.int64(0)
    for q in range(own.size):
        down = np.int64(downs[q])
        total += ((np.int64(fields[q]) + own[q]) ^ down) - down
    return -(total >> 1)


@njit(cache=True, nogil=True)
def sweep(
    config, block, model, tiles, colours, limits, slopes, edges, rows, rule, draw, keys, replica,
    watch, out, counts,
):  # fmt: skip
    """Sweep one replica len(rows) times.

    slopes: 2 beta q of each threshold row; edges: see `barriers`; rows (sweeps,); rule =
    (heat_bath, bound); keys (rounds, 2) uint64; watch = (first, every, weights, track); out: one
    lane of `blocks.Series`."""
    downs, fields, best, energies, since = block
    sites, own_fields, graph = model
    n = own_fields.size
    heat_bath, bound = rule
    begin, every, weights, track = watch
    taken, last = 0, -1
    limits_, tile = np.empty((512, 2), np.int32), np.empty(9 * TILE, np.uint8)
    bytes_ = tile[8 * TILE :]
    state = np.zeros(4, np.uint64)
    streams = np.empty((4, 2), np.uint64)
    share = 16 if config.layout == LANE else 64
    group, position = uint32(replica // share), replica % share
    c1, c3 = uint32(0), uint32(0)
    for t in range(rows.size):
        number, row = begin + t, rows[t]
        if row != last:
            barriers(heat_bath, slopes[row], bound, edges, limits_)
            last = row
        if config.layout == LANE:
            base = prepare(False, 16, keys, replica // 16, number, streams)
        for a in range(tiles.shape[0] - 1):
            start, size = uint64(tiles[a, 0]), tiles[a + 1, 0] - tiles[a, 0]
            c0, c2 = group, uint32(number)
            if config.layout == LANE:
                draw_bytes(
                    config, address(bytes_), address(sites) + uint64(8) * start, base,
                    address(streams), address(keys) + uint64(48), uint64(keys.shape[0] - 3),
                    uint64(position),
                )  # fmt: skip
                counts[CALLS] += size
            elif config.layout == LATTICE:
                c0, c1, c3 = uint32(tiles[a, 1]), uint32(tiles[a, 2]), uint32(replica << 11)
                c2 = uint32(colours * number + tiles[a, 3])
                _draw_word(c0, c1, c2, c3, draw, bytes_)
                counts[CALLS] += 4
            else:
                _draw_planes((c0, sites[start:], c2), size, position, draw, bytes_)
                counts[CALLS] += 4 * size
            own = uint64(0xFFFFFFFFFFFFFFFF) >> uint64(64 - size)
            at = address(fields) + uint64(4) * start, address(downs) + start
            prepare_tile(config, address(limits_), at[1], address(tile))
            candidates(config, at[0], at[1], address(tile), address(state))
            state[MAY] &= own
            while flip_sure(
                config, start, own, address(fields), address(downs), address(tile),
                address(graph), address(state),
            ):  # fmt: skip
                k = lowest(config, state[MAY])
                i, bit = start + k, uint64(1) << k
                down = np.int64(downs[i])
                x = np.int64(fields[i]) if heat_bath else (np.int64(fields[i]) ^ down) - down
                if config.layout != LATTICE:
                    c1 = uint32(sites[i])
                yes = decide(
                    bytes_[k], 8, x, row, limits, heat_bath, bound, (c0, c1, c2, c3),
                    np.int64(k) if config.layout == LATTICE else position, draw, counts,
                )  # fmt: skip
                if yes == (heat_bath and down == 0):
                    state[MAY] ^= bit
                else:
                    state[SURE] |= bit
        since[0] += state[FLIPPED]
        counts[FLIPS] += state[FLIPPED]
        counts[COUPLINGS] += state[READ]
        state[:] = 0
        sampled = every > 0 and (number + 1) % every == 0
        if track or sampled:
            energies[NOW] = _energy(downs, fields, own_fields)
        if track:
            out.path[t] = energies[NOW]
            if energies[NOW] < energies[LOWEST]:
                energies[LOWEST] = energies[NOW]
                copy_to(best, downs)
        if sampled:
            out.energy[taken] = energies[NOW]
            out.flips[taken] = since[0]
            since[0] = 0
            total = 0
            for q in range(n):
                total += 1 + 2 * downs[q]
            out.magnetization[taken] = total
            for k in range(weights.shape[0]):
                p = 0.0
                for q in range(n):
                    p += -weights[k, q] if downs[q] else weights[k, q]
                out.projections[taken, k] = p
            taken += 1
