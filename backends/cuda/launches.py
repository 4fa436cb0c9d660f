"""How the kernels of machines are launched, and which arrays they may be given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .device import Code, Device

Array = Any

THREADS = 256
BLOCKS = 32  # per multiprocessor: more wait, and threads stride instead


class Launches:
    """A device of this backend, and what every call of its kernels needs."""

    def __init__(self, device: Device) -> None:
        self.device = device

    @property
    def xp(self) -> Any:
        return self.device.xp

    def _over(self, code: Code, threads: int, name: str, *args: Any) -> None:
        """A thread for every element, or for so many that fill the device."""
        if threads:
            self.device.kernel(code, name)(self._grid(threads, THREADS), (THREADS,), args)

    def _grid(self, elements: int, of_block: int) -> tuple[int]:
        return (min(-(-elements // of_block), BLOCKS * self.device.properties.processors),)

    def _empty(self, shape: tuple[int, ...]) -> Array:
        return self.device.empty(shape, np.float32)

    def _result(self, shape: tuple[int, ...], out: Array | None) -> Array:
        """Where a result goes: to `out`, which must fit, if there is one."""
        return self._empty(shape) if out is None else self._written(out, shape)

    def _floats(self, array: Array, shape: tuple[int, ...] | None = None) -> Array:
        """The array, contiguous; TypeError or ValueError if a kernel would misread it."""
        return self._typed(array, np.float32, shape)

    def _typed(
        self, array: Array, dtype: DTypeLike, shape: tuple[int, ...] | None = None
    ) -> Array:
        wanted = np.dtype(dtype)
        if array.dtype != wanted:
            raise TypeError(f"the cuda device takes {wanted} arrays, got {array.dtype}")
        if shape is not None and tuple(array.shape) != tuple(shape):
            raise ValueError(f"an array of shape {tuple(shape)} is needed, got {array.shape}")
        return self.xp.ascontiguousarray(array)

    def _written(
        self, array: Array, shape: tuple[int, ...], dtype: DTypeLike = np.float32
    ) -> Array:
        """An array that a kernel changes: ValueError for one that would be copied."""
        if not array.flags.c_contiguous:
            raise ValueError("a result is written in place: pass a contiguous array")
        return self._typed(array, dtype, shape)

    def _rows(self, rows: Array) -> Array:
        return self.xp.ascontiguousarray(rows, np.int64)
