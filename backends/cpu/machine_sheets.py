"""What the cpu device does for images: warps, windows of receptive fields, pooled winners."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import machine_images as code

Array = NDArray[Any]


class CpuSheets:
    """The part of isingnpu.npu.device.Device that knows about pictures."""

    window_bytes = 1 << 20  # what a second-level cache holds

    def warp(self, images: Array, rows: Array, maps: Array, mean: Array) -> Array:
        out = np.empty((len(rows), *images.shape[1:]), np.float32)
        code.warp(images, rows, maps, mean, out)
        return out

    def windows(
        self,
        states: Array,
        field: int,
        stride: int,
        rows: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        n, height, width, channels = states.shape
        rows = np.arange(n) if rows is None else rows
        sites = (height - field) // stride + 1, (width - field) // stride + 1
        shape = len(rows), *sites, field * field * channels
        patches = np.empty(shape, np.float32) if out is None else out[: len(rows)]
        steps = _steps(states.shape, field, stride)
        copy = code.short_windows if 4 <= field * channels <= 8 else code.windows
        copy(states.reshape(-1), rows, *steps, sites, patches.reshape(-1))
        return patches

    def add_windows(
        self, patches: Array, shape: tuple[int, int, int, int], field: int, stride: int
    ) -> Array:
        out = np.zeros(shape, np.float32)
        sites = patches.shape[1], patches.shape[2]
        steps = _steps(shape, field, stride)
        code.add_windows(patches.reshape(-1), shape[0], *steps, sites, out.reshape(-1))
        return out

    def winners(self, fields: Array) -> tuple[Array, Array]:
        n, height, width, channels = fields.shape
        largest = np.empty((n, height // 2, width // 2, channels), np.float32)
        index = np.empty(largest.shape, np.uint8)
        flat = largest.reshape(-1), index.reshape(-1)
        code.winners(fields.reshape(-1), height, width, channels, *flat)
        return largest, index

    def scatter_winners(
        self, values: Array, index: Array, shape: tuple[int, int, int, int]
    ) -> Array:
        out = np.empty(shape, np.float32)
        flat = out.reshape(-1)
        code.scatter_winners(values.reshape(-1), index.reshape(-1), *shape[1:], flat)
        return out


def _steps(shape: tuple[int, ...], field: int, stride: int) -> tuple[int, ...]:
    """size, line, run, field, down, right of `machine_images.windows`."""
    _, height, width, channels = shape
    line = width * channels
    return height * line, line, field * channels, field, stride * line, stride * channels
