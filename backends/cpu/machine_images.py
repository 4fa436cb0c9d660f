"""Images and receptive fields in numba, float32: warps, windows, pooled winners.

Loops run over flat arrays: a view made inside a loop costs more than the copying of a window.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from typing import Any

import numpy as np
from numba import njit

f4 = np.float32
ONE, ONE_AT = f4(1), np.uint64(1)

_options: Any = {"fastmath": True, "error_model": "numpy", "cache": True}


@njit(**_options)
def warp(images, rows, maps, mean, out):
    """out[i] = images[rows[i]] at A (r - centre) + t + centre, bilinear, zero outside, minus mean;
    maps: (n, 6) A00 A01 t0 A10 A11 t1 of every image."""
    height, width = out.shape[1:]
    mid_y, mid_x = f4(0.5 * (height - 1)), f4(0.5 * (width - 1))
    high_y, high_x = f4(height) + ONE, f4(width) + ONE
    stride = width + 3
    framed = np.zeros((height + 3) * stride, np.float32)  # zeros around: no branch at the border
    # The places of a line first: that loop is vectorised, the reading is not.
    place, right, down = np.empty(width, np.uint32), np.empty(width, f4), np.empty(width, f4)
    for i in range(out.shape[0]):
        image = images[rows[i]]
        for y in range(height):
            for x in range(width):
                framed[(y + 1) * stride + x + 1] = image[y, x]
        for y in range(height):
            dy = f4(y) - mid_y
            s = maps[i, 0] * dy + maps[i, 2] + mid_y + ONE
            t = maps[i, 3] * dy + maps[i, 5] + mid_x + ONE
            b, d = maps[i, 1], maps[i, 4]
            for x in range(width):
                dx = f4(x) - mid_x
                v = max(f4(0), min(high_y, b * dx + s))
                u = max(f4(0), min(high_x, d * dx + t))
                row, column = np.uint32(v), np.uint32(u)
                down[x], right[x] = v - f4(row), u - f4(column)
                place[x] = row * np.uint32(stride) + column
            for x in range(width):
                at = np.uint64(place[x])
                upper = framed[at] + right[x] * (framed[at + ONE_AT] - framed[at])
                at += np.uint64(stride)
                lower = framed[at] + right[x] * (framed[at + ONE_AT] - framed[at])
                out[i, y, x] = upper + down[x] * (lower - upper) - mean[y, x]


@njit(**_options)
def windows(states, rows, size, line, run, field, down, right, lattice, out):
    """out = for every image rows[i] and site of the lattice, `field` runs of `run` numbers, a line
    apart; the first run of a site lies `down` further per row and `right` per column.

    size, line: numbers of an image, and of a line of it."""
    at, length = np.uint64(0), np.uint64(run)
    for i in range(rows.size):
        for y in range(lattice[0]):
            for x in range(lattice[1]):
                first = np.uint64(rows[i] * size + y * down + x * right)
                for _ in range(field):
                    for j in range(length):
                        out[at + np.uint64(j)] = states[first + np.uint64(j)]
                    at += length
                    first += np.uint64(line)


@njit(**_options)
def short_windows(states, rows, size, line, run, field, down, right, lattice, out):
    """`windows` of runs of 4 to 8 numbers. Eight are copied at once, and the next run overwrites
    what was too many; what belongs to a last image is copied one by one."""
    at, length = np.uint64(0), np.uint64(run)
    n1, n2, n3, n4 = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    n5, n6, n7 = np.uint64(5), np.uint64(6), np.uint64(7)
    for i in range(rows.size):
        inside = i + 1 < rows.size and (rows[i] + 1) * size < states.size
        for y in range(lattice[0]):
            for x in range(lattice[1]):
                f = np.uint64(rows[i] * size + y * down + x * right)
                for _ in range(field):
                    if inside:  # all are read before any is written: two vectors
                        s0, s1, s2, s3 = states[f], states[f + n1], states[f + n2], states[f + n3]
                        s4, s5, s6 = states[f + n4], states[f + n5], states[f + n6]
                        s7 = states[f + n7]
                        out[at], out[at + n1], out[at + n2], out[at + n3] = s0, s1, s2, s3
                        out[at + n4], out[at + n5], out[at + n6], out[at + n7] = s4, s5, s6, s7
                    else:
                        for j in range(length):
                            out[at + j] = states[f + j]
                    at += length
                    f += np.uint64(line)


@njit(**_options)
def add_windows(patches, n, size, line, run, field, down, right, lattice, out):
    """The transpose of `windows` for images 0..n-1: every run is added to where it was read."""
    at, length = np.uint64(0), np.uint64(run)
    for i in range(n):
        for y in range(lattice[0]):
            for x in range(lattice[1]):
                first = np.uint64(i * size + y * down + x * right)
                for _ in range(field):
                    for j in range(length):
                        out[first + np.uint64(j)] += patches[at + np.uint64(j)]
                    at += length
                    first += np.uint64(line)


@njit(**_options)
def winners(fields, height, width, channels, largest, index):
    """The largest of every 2 x 2 sites of (n, height, width, channels), and row 2 + column."""
    line = np.uint64(width * channels)
    n = fields.size // (height * width * channels)
    at = np.uint64(0)
    for i in range(n):
        for y in range(height // 2):
            for x in range(width // 2):
                first = np.uint64(((i * height + 2 * y) * width + 2 * x) * channels)
                for c in range(np.uint64(channels)):
                    p = first + np.uint64(c)
                    f0, f1 = fields[p], fields[p + np.uint64(channels)]
                    f2, f3 = fields[p + line], fields[p + line + np.uint64(channels)]
                    upper, lower = max(f0, f1), max(f2, f3)
                    k_upper = np.uint8(1) if f1 > f0 else np.uint8(0)
                    k_lower = np.uint8(3) if f3 > f2 else np.uint8(2)
                    largest[at] = max(upper, lower)
                    index[at] = k_lower if lower > upper else k_upper
                    at += np.uint64(1)


@njit(**_options)
def scatter_winners(values, index, height, width, channels, out):
    """The transpose of `winners`: values to the sites that won, zero elsewhere."""
    out[:] = f4(0)
    n = out.size // (height * width * channels)
    at = np.uint64(0)
    for i in range(n):
        for y in range(height // 2):
            for x in range(width // 2):
                for c in range(channels):
                    k = np.int64(index[at])
                    row, column = 2 * y + (k >> 1), 2 * x + (k & 1)
                    place = ((i * height + row) * width + column) * channels + c
                    out[np.uint64(place)] = values[at]
                    at += np.uint64(1)
