"""Images and receptive fields in numba, float32: warps, windows, pooled winners.

Loops run over flat arrays: a view made inside a loop costs more than the copying of a window.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from typing import Any

import numpy as np
from numba import njit

f4 = np.float32
ONE = f4(1)

_options: Any = {"fastmath": True, "error_model": "numpy", "cache": True}


@njit(**_options)
def warp(images, rows, maps, mean, out):
    """out[i] = images[rows[i]] at A (r - centre) + t + centre, bilinear, zero outside, minus mean;
    maps: (n, 6) A00 A01 t0 A10 A11 t1 of every image."""
    height, width = out.shape[1:]
    mid_y, mid_x = f4(0.5 * (height - 1)), f4(0.5 * (width - 1))
    low, high_y, high_x = -ONE, f4(height), f4(width)
    stride = width + 3
    framed = np.zeros((height + 3) * stride, np.float32)  # zeros around: no branch at the border
    for i in range(out.shape[0]):
        image = images[rows[i]]
        for y in range(height):
            for x in range(width):
                framed[(y + 1) * stride + x + 1] = image[y, x]
        a, b, s = maps[i, 0], maps[i, 1], maps[i, 2] + mid_y
        c, d, t = maps[i, 3], maps[i, 4], maps[i, 5] + mid_x
        for y in range(height):
            dy = f4(y) - mid_y
            for x in range(width):
                dx = f4(x) - mid_x
                v = max(low, min(high_y, a * dy + b * dx + s)) + ONE
                u = max(low, min(high_x, c * dy + d * dx + t)) + ONE
                row, column = np.uint32(v), np.uint32(u)
                fv, fu = v - f4(row), u - f4(column)
                at = np.uint64(row * np.uint32(stride) + column)
                upper = framed[at] + fu * (framed[at + np.uint64(1)] - framed[at])
                at += np.uint64(stride)
                lower = framed[at] + fu * (framed[at + np.uint64(1)] - framed[at])
                out[i, y, x] = upper + fv * (lower - upper) - mean[y, x]


@njit(**_options)
def take(images, rows, places, out):
    """out[i] = images[rows[i]] at the given places, all flat: windows of one channel."""
    for i in range(out.shape[0]):
        image, to = images[rows[i]], out[i]
        for p in range(places.size):
            to[p] = image[places[p]]


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
