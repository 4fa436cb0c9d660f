"""The sweep loop of the bit-plane lattice kernel: one replica, the rows of one thread.

Rows are swept in batches. A thread that has swept its own goes on with those that another has not
begun: where a processor is taken away for a while, the others do not wait for all of its rows.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
import numpy as np
from numba import njit, uint64

from . import barrier, bitlattice_draw, bitlattice_rows, bitlattice_visit
from .kernels import copy_to

# Places in the sums of a thread: twice the energy of unsatisfied bonds, spins up, flips.
UNSATISFIED, UP, FLIPS = 0, 1, 2
QUEUE = 4096  # words of rows visited before their queue is finished, or one row


def work_words(config, vectors):
    """Words of memory that one thread needs, and where its parts start: keys, masks, table,
    queue, scratch, flips and counts; the words in each array of the queue."""
    capacity = max(QUEUE, vectors * config.lanes) + config.pair
    sizes = [
        32, 64 * config.number, vectors * config.lanes * config.tabulated,
        capacity * config.queued, max(3 * config.pair + 1, config.choices * config.lanes), 8,
        8 * (2 + len(config.slots) // 8),
    ]  # fmt: skip
    starts = np.cumsum([0] + [-(-size // 8) * 8 for size in sizes])
    return int(starts[-1]), tuple(int(start) for start in starts[:-1]), capacity


@njit(inline="always")
def _expand(masks, row):
    """All ones or zeros for each bit of the coefficients, most significant first."""
    n = row.size
    for plane in range(64):
        for m in range(n):
            bit = (row[m] >> uint64(63 - plane)) & uint64(1)
            masks[uint64(plane * n + m)] = uint64(0) - bit


@njit(inline="always")
def _choose(masks, row, size):
    """For each plane of the first calls, where the vector of its polynomial is kept."""
    n = row.size
    for plane in range(8):
        chosen = uint64(0)
        for m in range(n):
            chosen |= ((row[m] >> uint64(63 - plane)) & uint64(1)) << uint64(m)
        masks[uint64(plane * n)] = chosen * uint64(size)


@njit(cache=True, nogil=True)
def run(
    config, colours, ends, span, coefficients, which, draw, work, places, watch, factors, team,
    sums, spins, best, lowest, out,
):  # fmt: skip
    """Sweep the rows of one replica len(which) times, beside the other threads.

    colours (colours, fields) descriptors; span = (cuts (threads + 1,), where the rows of each
    thread begin, vectors, rows of a batch, capacity, stride, rows); coefficients (k, classes),
    which (sweeps,) their row; draw = (first sweep, replica); work: memory of this thread, places:
    where its parts start; watch = (every, track, constant energy, sites); factors (colours,
    1 + slots): whether bonds are counted with a colour, and twice the weight of those that are;
    team = (counter, threads, rank, give way); sums (threads, 8); spins (words,) of the replica, as
    in the descriptors; best: the same, or empty; lowest (threads,): energy of best; out = (energy,
    magnetization, flips, path)."""
    cuts, vectors, batch, capacity, stride, n_rows = span
    first, replica = draw
    every, track, constant, sites = watch
    counter, threads, rank, give_way = team
    at = uint64(work.ctypes.data)
    keys, masks, table, queue, scratch, flips, counts = (
        at + uint64(8 * places[0]), at + uint64(8 * places[1]), at + uint64(8 * places[2]),
        at + uint64(8 * places[3]), at + uint64(8 * places[4]), at + uint64(8 * places[5]),
        at + uint64(8 * places[6]),
    )  # fmt: skip
    mask_words = work[places[1] : places[1] + 64 * config.number]
    counted = work[places[6] : places[6] + factors.shape[1]]
    high, room = uint64(replica) << uint64(11), uint64(8 * capacity)
    base, fields = uint64(colours.ctypes.data), uint64(8 * colours.shape[1])
    met, taken, before = uint64(0), 0, np.int64(0)
    work[places[5]] = 0
    for t in range(which.size):
        _expand(mask_words, coefficients[which[t]])
        if config.choices:
            _choose(mask_words, coefficients[which[t]], 8 * config.lanes)
        sweep = first + t
        sample = every > 0 and (sweep + 1) % every == 0
        watched = track or sample
        unsatisfied, up = np.int64(0), np.int64(0)
        for c in range(colours.shape[0]):
            clock = uint64(colours.shape[0] * sweep + c) & uint64(0xFFFFFFFF)
            colour = base + uint64(c) * fields
            bitlattice_draw.tabulate(config, table, uint64(vectors), clock, high, keys)
            counted[:] = 0
            for k in range(threads):
                owner = (rank + k) % threads
                begin, end = cuts[owner], cuts[owner + 1]
                batches = (end - begin + batch - 1) // batch
                # each thread draws one ticket too many of every owner and colour
                drawn = (t * colours.shape[0] + c) * (batches + threads)
                number = np.int64(barrier.ticket(counter, owner)) - drawn
                while number < batches:
                    row = begin + number * batch
                    stop = min(end, row + batch)
                    queued = bitlattice_visit.update(
                        config, colour, uint64(row), uint64(stop), uint64(vectors), clock, table,
                        masks, keys, queue, room, scratch, flips,
                    )  # fmt: skip
                    call = 4
                    while queued > 0 and call < 32:
                        queued = bitlattice_visit.finish(
                            config, colour, queued, clock, high | uint64(call),
                            masks + uint64(16 * call * config.number), keys, queue, room, scratch,
                            flips,
                        )  # fmt: skip
                        call += 1
                    bitlattice_rows.close(
                        config, colour, uint64(row), uint64(stop), uint64(ends.ctypes.data)
                    )
                    if watched:  # while the rows are in the cache
                        bitlattice_rows.measure(
                            config, colour, uint64(row), uint64(stop), uint64(vectors),
                            uint64(factors[c, 0]), counts,
                        )  # fmt: skip
                    number = np.int64(barrier.ticket(counter, owner)) - drawn
            unsatisfied += _weighed(factors[c], counted)
            up += np.int64(counted[0])
            met = barrier.meet(counter, threads, met, give_way)
        if watched:
            sums[rank, UNSATISFIED], sums[rank, UP] = unsatisfied, up
            sums[rank, FLIPS] = work[places[5]]
            met = barrier.meet(counter, threads, met, give_way)
            energy, all_up, flipped = constant, np.int64(0), np.int64(0)
            for k in range(threads):
                energy += sums[k, UNSATISFIED]
                all_up += sums[k, UP]
                flipped += sums[k, FLIPS]
            if track:
                if best.size > 0 and energy < lowest[rank]:
                    lowest[rank] = energy
                    for c in range(colours.shape[0]):
                        start = (c * n_rows + cuts[rank]) * stride
                        stop = (c * n_rows + cuts[rank + 1]) * stride
                        copy_to(best[start:stop], spins[start:stop])
                    # all threads see the same energies; none may take rows that are being copied
                    met = barrier.meet(counter, threads, met, give_way)
                if rank == 0:
                    out[3][t] = energy
            if sample:
                if rank == 0:
                    out[0][taken] = energy
                    out[1][taken] = 2 * all_up - sites
                    out[2][taken] = flipped - before
                before = flipped
                taken += 1
    sums[rank, FLIPS] = np.int64(work[places[5]])


@njit(cache=True)
def close_rows(config, colours, ends, rows):
    """Bring the copies beyond the ends of all rows up to date."""
    base, fields = uint64(colours.ctypes.data), uint64(8 * colours.shape[1])
    for c in range(colours.shape[0]):
        bitlattice_rows.close(
            config, base + uint64(c) * fields, uint64(0), uint64(rows), uint64(ends.ctypes.data)
        )


@njit(cache=True)
def measure_rows(config, colours, rows, vectors, factors):
    """(twice the energy of unsatisfied bonds, spins up) of all rows."""
    base, fields = uint64(colours.ctypes.data), uint64(8 * colours.shape[1])
    counted, unsatisfied, up = np.zeros(factors.shape[1], np.uint64), np.int64(0), np.int64(0)
    for c in range(factors.shape[0]):
        counted[:] = 0
        bitlattice_rows.measure(
            config, base + uint64(c) * fields, uint64(0), uint64(rows), uint64(vectors),
            uint64(factors[c, 0]), uint64(counted.ctypes.data),
        )  # fmt: skip
        unsatisfied += _weighed(factors[c], counted)
        up += np.int64(counted[0])
    return unsatisfied, up


@njit(inline="always")
def _weighed(factors, counted):
    """Twice the energy of the unsatisfied bonds that were counted with one colour."""
    weighed = np.int64(0)
    for k in range(1, factors.size):
        weighed += factors[k] * np.int64(counted[k])
    return weighed
