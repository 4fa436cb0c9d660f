"""The loops of the bit-plane kernel: sweeps of one block, undecided replicas, measurements.

Words hold the bits of 64 replicas of one site, 1 = up; arrays are (slots, words). Sums over sites
are kept as 16 counters of one bit per replica, emptied into whole numbers in time.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
import numpy as np
from numba import njit, uint64

from .planes_code import VECTORS, tally_edges, tally_words, visit
from .planes_graph import BATCH
from .planes_settle import LANES, settle
from .projections import weigh_replicas

M0, M1 = 0xD2511F53, 0xCD9E8D57
LOW = 0xFFFFFFFF
FLIP_ROWS = 3 * BATCH  # flips kept before they are counted, in words of all sites
COUNTED = 65535  # bits per replica that 16 planes count


@njit(inline="always")
def _round(x0, x1, x2, x3, k0, k1):
    p0 = uint64(M0) * (x0 & uint64(LOW))
    p1 = uint64(M1) * (x2 & uint64(LOW))
    return (
        (p1 >> uint64(32)) ^ (x1 & uint64(LOW)) ^ k0,
        p1 & uint64(LOW),
        (p0 >> uint64(32)) ^ (x3 & uint64(LOW)) ^ k1,
        p0 & uint64(LOW),
    )


@njit(cache=True)
def prepare(config, draws, first_word, sweep):
    """What all sites of a sweep share of the first three rounds.

    Only c1, the site, changes from site to site: after round 0 it is in x0 alone, after round 1
    in x2 and x3. draws: a scalar that the site enters, the round keys (set before), and vectors
    of the words: one for all calls, three for each."""
    words, base = config.words, VECTORS // 8
    key = draws[1:]
    q1 = uint64(M1) * (uint64(sweep) & uint64(LOW))
    draws[0] = (q1 >> uint64(32)) ^ key[0]
    for w in range(words):
        p0 = uint64(M0) * (uint64(first_word + w) & uint64(LOW))
        draws[base + w] = (p0 & uint64(LOW)) ^ key[3]
        for c in range(config.calls):
            x2 = (p0 >> uint64(32)) ^ uint64(c) ^ key[1]
            p1 = uint64(M1) * (x2 & uint64(LOW))
            x0 = (p1 >> uint64(32)) ^ (q1 & uint64(LOW)) ^ key[2]
            p2 = uint64(M0) * (x0 & uint64(LOW))
            at = base + words * (1 + 3 * c) + w
            draws[at] = (p1 & uint64(LOW)) ^ key[4]
            draws[at + words] = (p2 >> uint64(32)) ^ key[5]
            draws[at + 2 * words] = p2 & uint64(LOW)


@njit(cache=True)
def empty(tally, counters, sums, factor):
    """Add factor * counters (16, words) to sums (lanes,) and clear them."""
    for w in range(tally.words):
        part = sums[64 * w : 64 * w + 64]
        for d in range(16):
            word, unit = counters[d, w], np.int64(factor << d)
            counters[d, w] = uint64(0)
            if word != uint64(0):
                for lane in range(64):
                    part[lane] += np.int64((word >> uint64(lane)) & uint64(1)) * unit


@njit(cache=True)
def energies(tally, spins, edges, cuts, total, counters, out):
    """E of every replica in quanta, out (lanes,); cuts: where the edges of each digit begin."""
    for lane in range(out.size):
        out[lane] = -total
    address = uint64(spins.ctypes.data)
    for d in range(cuts.size - 1):
        groups = (cuts[d + 1] - cuts[d]) // 16
        for begin in range(0, groups, COUNTED // 16):
            some = min(COUNTED // 16, groups - begin)
            at = uint64(edges.ctypes.data) + uint64(12 * (cuts[d] + 16 * begin))
            tally_edges(tally, uint64(counters.ctypes.data), address, at, uint64(some))
            empty(tally, counters, out, np.int64(2) << d)


@njit(cache=True)
def magnetizations(tally, spins, n, counters, out):
    """Sum of the spins of every replica, out (lanes,); the words behind slot n are zero."""
    for lane in range(out.size):
        out[lane] = -n
    groups = (n + 15) // 16
    for begin in range(0, groups, COUNTED // 16):
        some = min(COUNTED // 16, groups - begin)
        at = uint64(spins.ctypes.data) + uint64(8 * tally.words * 16 * begin)
        tally_words(tally, uint64(counters.ctypes.data), at, uint64(some))
        empty(tally, counters, out, np.int64(2))


@njit(cache=True)
def project(tally, spins, weights, out):
    """sum_i w_ki s_i of every replica to out (k, lanes).

    weights: (k, slots + 1), the last of each row the sum of the others."""
    step, slots = uint64(8 * tally.words), uint64(weights.shape[1] - 1)
    for k in range(len(weights)):
        total = weights[k, weights.shape[1] - 1]
        row = uint64(weights.ctypes.data) + uint64(8 * k) * (slots + uint64(1))
        for w in range(tally.words):
            some = out[k, 64 * w : 64 * w + 64]
            at = uint64(spins.ctypes.data) + uint64(8 * w)
            weigh_replicas(tally, at, step, row, slots, uint64(some.ctypes.data))
            for lane in range(64):
                some[lane] = 2 * some[lane] - total


@njit(cache=True)
def keep_best(tally, spins, n, energy, best, best_energy):
    """Copy the states of replicas whose energy is lower than that of their best one."""
    for w in range(tally.words):
        better = uint64(0)
        for lane in range(64):
            if energy[64 * w + lane] < best_energy[64 * w + lane]:
                better |= uint64(1) << uint64(lane)
                best_energy[64 * w + lane] = energy[64 * w + lane]
        if better != uint64(0):
            for slot in range(n):
                best[slot, w] ^= (best[slot, w] ^ spins[slot, w]) & better


@njit(cache=True)
def count_flips(tally, flipped, used, counters):
    """Count the first `used` rows of flips; returns how many with those that fill a group."""
    groups = (used + 15) // 16
    for row in range(used, 16 * groups):
        for w in range(tally.words):
            flipped[row, w] = uint64(0)
    tally_words(
        tally, uint64(counters.ctypes.data), uint64(flipped.ctypes.data), uint64(groups)
    )  # fmt: skip
    return 16 * groups


@njit(cache=True)
def look(tally, states, terms, watch, done, scratch, out):
    """What is wanted after sweep number `done`, counted from 1: energies, best states, samples.

    states = (spins, best, energy of best, flips); terms = (sites, edges, cuts, total); watch =
    (sweeps before this call, every, weights, track); out: energies, magnetizations, flips and
    projections of the samples, and the energy after every sweep."""
    spins, best, best_energy, flips = states
    n, edges, cuts, total = terms
    first, every, weights, track = watch
    counters, energy = scratch
    energies(tally, spins, edges, cuts, total, counters, energy)
    if track:
        for lane in range(energy.size):
            out[4][done - first - 1, lane] = energy[lane]
        keep_best(tally, spins, n, energy, best, best_energy)
    if every > 0 and done % every == 0:
        sample = done // every - first // every - 1
        magnetizations(tally, spins, n, counters, out[1][sample])
        for lane in range(energy.size):
            out[0][sample, lane] = energy[lane]
            out[2][sample, lane] = flips[lane]
            flips[lane] = 0
        project(tally, spins, weights, out[3][sample])


@njit(cache=True, nogil=True)
def sweep_planes(config, shared, tally, graph, states, limits, draw, work, terms, watch, out):
    """Sweeps at the betas of one variant: batch by batch of sites that do not see each other, then
    the replicas that the visits left undecided. Returns the calls of Philox.

    graph = (entries, visits, batches, starts); limits = (masks, pattern of each sweep); draw =
    (round keys, first word, first sweep); work: see `planes`; the others: see `look`."""
    entries, visits, batches, starts = graph
    masks, patterns = limits
    keys, first_word, first_sweep = draw
    words = config.words
    draws, queue, flipped, counters, scratch = work
    spins, flips, calls = states[0], states[3], np.int64(0)
    every, track = watch[1], watch[3]
    for k in range(keys.size):
        draws[1 + k] = keys[k]
    first_spin, first_flip = uint64(spins.ctypes.data), uint64(flipped.ctypes.data)
    row = uint64(8 * words)
    records, record = uint64(visits.ctypes.data), uint64(4 * visits.shape[1])
    held = np.int64(0)
    for t in range(patterns.size):
        sweep = first_sweep + t
        prepare(shared, draws, first_word, sweep)
        tables = uint64(masks.ctypes.data) + uint64(masks.strides[0] * patterns[t])
        at = uint64(entries.ctypes.data)
        used = np.int64(0)
        sampled = every > 0 and (sweep + 1) % every == 0
        wanted = sampled or t == patterns.size - 1  # the flips of all sites so far
        for batch in range(len(batches)):
            first, end = batches[batch, 0], batches[batch, 1]
            number = np.int64(0)
            flip = first_flip + row * uint64(used)
            for slot in range(first, end):
                got = visit(
                    config, first_spin, row * uint64(slot), at, records + record * uint64(slot),
                    uint64(starts.ctypes.data), tables, uint64(draws.ctypes.data),
                    flip + row * uint64(slot - first),
                    uint64(queue.ctypes.data) + uint64(8 * number),
                    uint64(words * (slot - first)),
                )  # fmt: skip
                at += got >> uint64(8)
                number += np.int64(got & uint64(255))
            call = config.calls
            while number > 0 and call < 32:
                kept = np.int64(0)
                for taken in range(0, number, LANES):
                    kept += np.int64(
                        settle(
                            shared, uint64(queue.ctypes.data), uint64(taken),
                            uint64(number), uint64(kept), first_spin + row * uint64(first), flip,
                            uint64(draws.ctypes.data), tables, uint64(call), uint64(first_word),
                            uint64(sweep),
                        )
                    )  # fmt: skip
                calls += LANES * 2 * ((number + LANES - 1) // LANES)
                number = kept
                call += 2
            used += end - first
            last = batch == len(batches) - 1
            if used + BATCH + 16 > FLIP_ROWS or last:
                held += count_flips(tally, flipped, used, counters)
                used = np.int64(0)
            if held + FLIP_ROWS > COUNTED or (last and wanted):
                empty(tally, counters, flips, np.int64(1))
                held = np.int64(0)
        if track or sampled:
            look(tally, states, terms, watch, sweep + 1, scratch, out)
    return calls + patterns.size * len(visits) * words * config.calls


@njit(cache=True)
def transposed(thresholds, rows, found):
    """found (64 planes, leaves, sides, words): bit `plane`, most significant first, of the
    thresholds (betas, leaves, sides) of every replica; rows: (lanes,) its beta.

    The 64 x 64 transposition of Warren, Hacker's Delight, 2nd edition, section 7-3."""
    block = np.empty(64, np.uint64)
    for leaf in range(thresholds.shape[1]):
        for side in range(thresholds.shape[2]):
            for w in range(found.shape[3]):
                for lane in range(64):
                    block[63 - lane] = thresholds[rows[64 * w + lane], leaf, side]
                mask, j = uint64(LOW), 32
                while j:
                    for k in range(64):
                        if k & j == 0:
                            swapped = (block[k] ^ (block[k + j] >> uint64(j))) & mask
                            block[k] ^= swapped
                            block[k + j] ^= swapped << uint64(j)
                    j >>= 1
                    mask ^= mask << uint64(j)
                for plane in range(64):
                    found[plane, leaf, side, w] = block[plane]


@njit(cache=True)
def pack(spins, site, first, words):
    """Set the bits of words (slots, words) from spins (replicas, sites), lanes from `first` on."""
    for replica in range(len(spins)):
        lane = first + replica
        row, w, bit = spins[replica], lane >> 6, uint64(lane & 63)
        for slot in range(site.size):
            words[slot, w] |= uint64(row[site[slot]] > 0) << bit


@njit(cache=True)
def unpack(words, site, first, spins):
    """spins (replicas, sites) -1 or 1 from words (slots, words), lanes from `first` on."""
    for replica in range(len(spins)):
        lane = first + replica
        row, w, bit = spins[replica], lane >> 6, uint64(lane & 63)
        for slot in range(site.size):
            row[site[slot]] = 2 * np.int8((words[slot, w] >> bit) & uint64(1)) - 1
