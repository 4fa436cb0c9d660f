"""Images and receptive fields in numba, float32: warps, windows, pooled winners."""

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
                row, column = int(v), int(u)
                fv, fu = v - f4(row), u - f4(column)
                at = row * stride + column
                upper = framed[at] + fu * (framed[at + 1] - framed[at])
                at += stride
                lower = framed[at] + fu * (framed[at + 1] - framed[at])
                out[i, y, x] = upper + fv * (lower - upper) - mean[y, x]


@njit(**_options)
def take(images, rows, places, out):
    """out[i] = images[rows[i]] at the given places, all flat: windows of one channel."""
    for i in range(out.shape[0]):
        image, to = images[rows[i]], out[i]
        for p in range(places.size):
            to[p] = image[places[p]]


@njit(**_options)
def windows(states, rows, field, stride, out):
    """out[i, y, x] = the field x field x c states of image rows[i] from (y stride, x stride)."""
    channels = states.shape[3]
    run = field * channels
    for i in range(out.shape[0]):
        image = states[rows[i]].reshape(states.shape[1], -1)
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                first = x * stride * channels
                to = out[i, y, x]
                for dy in range(field):
                    line = image[y * stride + dy]
                    for j in range(run):
                        to[dy * run + j] = line[first + j]


@njit(**_options)
def add_windows(patches, field, stride, out):
    """The transpose of `windows`: every patch is added to where it was cut out."""
    channels = out.shape[3]
    run = field * channels
    for i in range(out.shape[0]):
        image = out[i].reshape(out.shape[1], -1)
        for y in range(patches.shape[1]):
            for x in range(patches.shape[2]):
                first = x * stride * channels
                come = patches[i, y, x]
                for dy in range(field):
                    line = image[y * stride + dy]
                    for j in range(run):
                        line[first + j] += come[dy * run + j]


@njit(**_options)
def winners(fields, largest, index):
    """The largest of every 2 x 2 sites of a sheet, and which it is (row 2 + column)."""
    for i in range(largest.shape[0]):
        for y in range(largest.shape[1]):
            for x in range(largest.shape[2]):
                for c in range(largest.shape[3]):
                    best, at = fields[i, 2 * y, 2 * x, c], 0
                    for k in range(1, 4):
                        f = fields[i, 2 * y + (k >> 1), 2 * x + (k & 1), c]
                        if f > best:
                            best, at = f, k
                    largest[i, y, x, c] = best
                    index[i, y, x, c] = at


@njit(**_options)
def scatter_winners(values, index, out):
    """The transpose of `winners`: values to the sites that won, zero elsewhere."""
    out[:] = f4(0)
    for i in range(values.shape[0]):
        for y in range(values.shape[1]):
            for x in range(values.shape[2]):
                for c in range(values.shape[3]):
                    k = index[i, y, x, c]
                    out[i, 2 * y + (k >> 1), 2 * x + (k & 1), c] = values[i, y, x, c]
