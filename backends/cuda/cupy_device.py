"""A CUDA GPU through CuPy: memory and launches; kernels are compiled by `compiler`."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import compiler, sources
from .device import Array, Code, Kernel, Properties, Shape

ON_HOST = 1  # kDLCPU of dlpack.h


class CupyKernel:
    """A kernel, loaded once for ordinary and once for cooperative launches."""

    def __init__(self, device: CupyDevice, path: str, name: str) -> None:
        self.device, self.path, self.name = device, path, name

    @functools.cache  # noqa: B019  kernels live as long as their device
    def _function(self, together: bool) -> Any:
        import cupy

        module = cupy.RawModule(path=self.path, enable_cooperative_groups=together)
        return module.get_function(self.name)

    def __call__(
        self,
        grid: Shape,
        block: Shape,
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        together: bool = False,
    ) -> None:
        with self.device.current():
            function = self._function(together)
            if shared_mem > 48 << 10:
                function.max_dynamic_shared_size_bytes = shared_mem
            function(grid, block, tuple(args), shared_mem=shared_mem)


class CupyDevice:
    """GPU number `index` of this machine."""

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def unavailable(self) -> str | None:
        try:
            import cupy
        except ImportError as error:
            if error.name == "cupy":
                return "cupy not installed (pip install 'isingnpu[cuda13]' or [cuda12])"
            return f"cupy cannot be imported: {error}"
        except Exception as error:  # a broken installation may raise anything
            return f"cupy cannot be imported: {error}"
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except Exception as error:
            if "InsufficientDriver" in str(error):
                return _driver_reason(cupy)
            if "NoDevice" in str(error):
                return "no CUDA device"
            return f"no usable CUDA device: {error}"
        if count == 0:
            return "no CUDA device"
        if self.index >= count:
            return f"no CUDA device {self.index}, there are {count}: 0..{count - 1}"
        try:
            compiler.version()
        except Exception as error:
            return f"NVRTC cannot be loaded, install nvidia-cuda-nvrtc: {error}"
        return None

    def current(self) -> Any:
        """Context in which this GPU is the one that CuPy uses."""
        import cupy

        return cupy.cuda.Device(self.index)

    @functools.cached_property
    def properties(self) -> Properties:
        import cupy

        found = cupy.cuda.runtime.getDeviceProperties(self.index)
        return Properties(
            found["name"].decode(),
            int(found["multiProcessorCount"]),
            int(found["sharedMemPerBlockOptin"]),
        )

    @property
    def xp(self) -> Any:
        import cupy

        return cupy

    @property
    def bus(self) -> str:
        """Where the GPU is plugged in, by which NVML knows it."""
        import cupy

        return str(cupy.cuda.Device(self.index).pci_bus_id)

    @functools.cached_property
    def architecture(self) -> str:
        """Such as sm_90."""
        import cupy

        return f"sm_{cupy.cuda.Device(self.index).compute_capability}"

    @functools.cache  # noqa: B019  devices live as long as the process
    def kernel(self, code: Code, name: str) -> Kernel:
        return CupyKernel(self, str(self._cubin(code)), name)

    @functools.cache  # noqa: B019
    def _cubin(self, code: Code) -> Path:
        """File with the machine code: kept by content, else for this process only."""
        name = f"{sources.digest(code, self.architecture, compiler.version())}.cubin"
        kept = sources.cache_folder() / name
        if kept.exists():
            return kept
        made, _ = compiler.compile_cubin(code, self.architecture)
        if sources.keep(kept, made):
            return kept
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory()
        path = Path(self._temporary.name) / name
        path.write_bytes(made)
        return path

    def empty(self, shape: Shape, dtype: DTypeLike) -> Any:
        import cupy

        with self.current():
            return cupy.empty(shape, dtype)

    def zeros(self, shape: Shape, dtype: DTypeLike) -> Any:
        import cupy

        with self.current():
            return cupy.zeros(shape, dtype)

    def put(self, array: Any) -> Any:
        import cupy

        with self.current():
            if hasattr(array, "__cuda_array_interface__"):
                return cupy.ascontiguousarray(cupy.asarray(array))
            if hasattr(array, "__dlpack__") and not isinstance(array, np.ndarray):
                if array.__dlpack_device__()[0] != ON_HOST:
                    return cupy.ascontiguousarray(cupy.from_dlpack(array))
                array = np.from_dlpack(array)
            return cupy.asarray(np.ascontiguousarray(array))

    def get(self, array: Any) -> Array:
        import cupy

        with self.current():
            return np.asarray(cupy.asnumpy(array))

    def free(self) -> int:
        import cupy

        with self.current():
            pool = cupy.get_default_memory_pool()
            return int(cupy.cuda.runtime.memGetInfo()[0]) + int(pool.free_bytes())


def _driver_reason(cupy: Any) -> str:
    """Driver missing, or older than the runtime that CuPy was built with."""
    runtime = cupy.cuda.runtime
    driver, built = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if driver == 0:
        return "no NVIDIA driver"
    return f"driver too old: it serves CUDA {_dotted(driver)}, cupy needs {_dotted(built)}"


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
