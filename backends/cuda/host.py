"""Runs the kernels of this backend on the processor: a development and test device.

Needs g++. Nobody gets it unless they make one: no backend of the package holds it.
`HostDevice` compiles backends/kernels/*.cu with host.hpp, in which threads are fibers, and calls
them on NumPy arrays in the form of `cupy.RawModule`.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import sources
from .device import Array, Code, Kernel, Properties, Shape

FORWARD, REVERSE = 0, 1  # schedules; a larger number seeds a shuffled one
HOST = "host.hpp"
FLAGS = (
    "-std=c++17", "-O1", "-shared", "-fPIC", "-fno-strict-aliasing", "-ffp-contract=off",
    "-U_FORTIFY_SOURCE", "-Wall", "-Wno-unused-function", "-Wno-unknown-pragmas",
    "-Wno-clobbered", "-Wno-unused-variable", "-Wno-unused-but-set-variable",
)  # fmt: skip
# goes on after what it has found, so that one process may look for several mistakes
SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize=alignment",
            "-fsanitize-recover=address,undefined")  # fmt: skip
SANITIZERS = ("libasan.so", "libubsan.so")


class LaunchError(RuntimeError):
    """A kernel did what a device would not survive, or hang at."""


def compiler() -> str | None:
    """Path of g++, or None."""
    return shutil.which("g++")


def sanitizer_libraries() -> list[str]:
    """What LD_PRELOAD must hold for a process that loads sanitized kernels."""
    names = [
        subprocess.run(
            [compiler() or "g++", f"-print-file-name={name}"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for name in SANITIZERS
    ]  # fmt: skip
    return [name for name in names if Path(name).is_absolute()]


@functools.cache
def library(code: Code, sanitize: bool) -> ctypes.CDLL:
    """The compiled source, kept on disk by content."""
    flags = FLAGS + (SANITIZE if sanitize else ())
    unit = "".join(
        [
            f'#include "{HOST}"\n',
            *(f"#define {name} {value}\n" for name, value in code.defines),
            f'#include "{code.source}"\n',
            *(f"HOST_KERNEL({name})\n" for name in sources.kernel_names(code)),
        ]
    )
    name = sources.digest(code, unit, sources.text(HOST), " ".join(flags))
    kept = sources.cache_folder() / f"host-{name}.so"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work)
            for file, content in (*sources.files(code).items(), (HOST, sources.text(HOST))):
                (folder / file).write_text(content)
            (folder / "unit.cpp").write_text(unit)
            done = subprocess.run(
                [compiler() or "g++", *flags, "unit.cpp", "-o", "unit.so"],
                cwd=folder, capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode or done.stderr:
                raise LaunchError(f"{code.source} with {dict(code.defines)}:\n{done.stderr}")
            made = (folder / "unit.so").read_bytes()
            if not sources.keep(kept, made):
                return ctypes.CDLL(str(folder / "unit.so"))
    return ctypes.CDLL(str(kept))


class HostKernel:
    """A kernel of a loaded library."""

    def __init__(self, device: HostDevice, code: Code, name: str) -> None:
        self.device, self.name = device, name
        self.library = library(code, device.sanitize)
        self.function = getattr(self.library, f"{name}__host")
        self.library.host_fault.restype = ctypes.c_char_p

    def __call__(
        self,
        grid: Shape,
        block: Shape,
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        together: bool = False,
    ) -> None:
        kept = [self._argument(arg) for arg in args]
        pointers = (ctypes.c_void_p * len(kept))(*(arg.ctypes.data for arg in kept))
        extent = ctypes.c_uint * 3
        failed = self.function(
            pointers, len(kept), extent(*grid, *(1,) * (3 - len(grid))),
            extent(*block, *(1,) * (3 - len(block))), ctypes.c_uint(shared_mem),
            ctypes.c_uint(self.device.order), int(together),
        )  # fmt: skip
        if failed:
            raise LaunchError(f"{self.name}: {self.library.host_fault().decode()}")

    def _argument(self, value: Any) -> Array:
        """Memory that holds the argument: a pointer, or the scalar itself."""
        if isinstance(value, np.ndarray):
            return np.array([value.ctypes.data], np.uintp)
        if isinstance(value, np.generic):
            return np.array([value])
        raise TypeError(f"{self.name} takes arrays and NumPy scalars, got {value!r}")


class HostDevice:
    """The processor in the place of a GPU of the given size; order: see host.hpp; sanitize: with
    AddressSanitizer, whose libraries must be preloaded; memory: bytes it pretends to have."""

    def __init__(
        self,
        order: int = FORWARD,
        *,
        processors: int = 2,
        sanitize: bool = False,
        memory: int = 1 << 30,
    ) -> None:
        self.order, self.sanitize, self.memory = order, sanitize, memory
        self.properties = Properties("host", processors, 48 << 10)

    @property
    def xp(self) -> Any:
        return np

    def unavailable(self) -> str | None:
        return None if compiler() else "g++ not found"

    def current(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def kernel(self, code: Code, name: str) -> Kernel:
        return HostKernel(self, code, name)

    def empty(self, shape: Shape, dtype: DTypeLike) -> Array:
        array = np.empty(shape, dtype)
        array.view(np.uint8).fill(0xA5)
        return array

    def zeros(self, shape: Shape, dtype: DTypeLike) -> Array:
        return np.zeros(shape, dtype)

    def put(self, array: Any) -> Array:
        if not isinstance(array, np.ndarray) and hasattr(array, "__dlpack__"):
            array = np.from_dlpack(array)
        return np.array(array, order="C")

    def get(self, array: Array) -> Array:
        return array.copy()

    def free(self) -> int:
        return self.memory
