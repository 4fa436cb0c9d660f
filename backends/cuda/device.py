"""What a device is to the plans of this backend: memory, compiled kernels, what it has room for.

Two implementations: `cupy_device` drives a GPU; `host` runs the same kernels on the processor, for
tests and development only. Plans hold arrays that only their device understands.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]


class OutOfMemory(MemoryError):
    """The device has no room for a request; says how much was needed and what fits."""


@dataclass(frozen=True)
class Code:
    """A kernel source and what it is compiled with.

    source: file in backends/kernels; defines: macros; headers: generated ones, (name, text)."""

    source: str
    defines: tuple[tuple[str, int], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, source: str, /, **defines: int) -> Code:
        """Code without generated headers."""
        return cls(source, tuple(sorted((k, int(v)) for k, v in defines.items())))


@dataclass(frozen=True)
class Properties:
    """What launch shapes are chosen from. processors: streaming multiprocessors; shared: bytes of
    shared memory that a block may ask for."""

    name: str
    processors: int
    shared: int


class Kernel(Protocol):
    """A compiled kernel, called as those of `cupy.RawModule` are: arguments are arrays of the
    device and NumPy scalars of the exact type. together: blocks may wait for each other."""

    def __call__(
        self,
        grid: Shape,
        block: Shape,
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        together: bool = False,
    ) -> None: ...


class Device(Protocol):
    """A place where kernels run."""

    def unavailable(self) -> str | None:
        """Why nothing can run here, or None. Never raises."""

    @property
    def properties(self) -> Properties: ...

    @property
    def xp(self) -> Any:
        """The array module whose arrays lie here: cupy, or numpy on the processor."""

    def current(self) -> AbstractContextManager[Any]:
        """Context in which arrays of this device can be computed with."""

    def kernel(self, code: Code, name: str) -> Kernel:
        """A kernel of a source, compiled at first use."""

    def empty(self, shape: Shape, dtype: DTypeLike) -> Any:
        """Memory with arbitrary content."""

    def zeros(self, shape: Shape, dtype: DTypeLike) -> Any: ...

    def put(self, array: Any) -> Any:
        """A copy on the device of a NumPy array, or of whatever lies on the host and offers
        `__dlpack__`; what lies on a GPU (and has `__cuda_array_interface__` or `__dlpack__`) is
        taken as it is."""

    def get(self, array: Any) -> Array:
        """A NumPy copy."""

    def free(self) -> int:
        """Bytes that can be allocated."""


def require(
    device: Device, cost: Callable[[int], int], number: int, what: str, unit: str = "reads"
) -> None:
    """OutOfMemory unless `what` with `number` reads, or other units, fits on the device.

    cost: bytes that so many take; grows with their number."""
    needed, free = cost(number), device.free()
    if needed <= free:
        return
    fit = bisect.bisect_right(range(1, number + 1), free, key=cost)
    advice = f"{fit} {unit} fit" if fit else f"not one {unit.removesuffix('s')} fits"
    raise OutOfMemory(
        f"{what} with {number} {unit} needs {_size(needed)} of device memory, "
        f"{device.properties.name} has {_size(free)} free: {advice}"
    )


def put_states(device: Device, states: Any, replicas: int, n: int) -> Any:
    """States (replicas, n) int8 on the device, from wherever they lie; see `Device.put`.

    Raises TypeError for other numbers, ValueError for another shape."""
    given = device.put(states)
    if given.dtype != np.int8:
        raise TypeError(f"spins must be int8, got {given.dtype}")
    if given.shape != (replicas, n):
        raise ValueError(f"spins must have shape {(replicas, n)}, got {given.shape}")
    return given


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**27 else f"{count / 2**20:.3f} MiB"


def scalars(*values: Any) -> list[Any]:
    """Arguments of 32-bit unsigned type."""
    return [np.uint32(value & 0xFFFFFFFF) for value in values]


def filled(table: Array) -> Array:
    """The table, or one element in the place of none: an empty array has no address."""
    return table if table.size else np.zeros((1,), table.dtype)
