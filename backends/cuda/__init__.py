"""The CUDA backend: raw kernels of backends/kernels, compiled by NVRTC, launched through CuPy.

A kernel is one .cu file and one plan class, listed in KERNELS; docs/kernels.md says how to add
one. Which kernel runs follows from the request alone and never changes the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isingnpu.backend import Batch, Plan, Request
from isingnpu.dynamics import Dynamics

from .clusters import SwendsenWangPlan
from .cupy_device import CupyDevice
from .dense import DensePlan
from .device import Device
from .lanes import LanePlan
from .lattice import LatticePlan
from .many import batch_of
from .planes import PlanePlan

# The first that has no obstacle runs.
KERNELS = {
    plan.kernel: plan for plan in (SwendsenWangPlan, LatticePlan, DensePlan, PlanePlan, LanePlan)
}


def choose_kernel(request: Request) -> str:
    """The kernel for this request, or the one it asks for; ValueError if that cannot serve it."""
    names = [request.kernel] if request.kernel is not None else list(KERNELS)
    if names[0] not in KERNELS:
        allowed = ", ".join(KERNELS)
        raise ValueError(f"unknown kernel {request.kernel!r}, the cuda backend has {allowed}")
    obstacles = {name: KERNELS[name].obstacle(request) for name in names}
    for name, obstacle in obstacles.items():
        if obstacle is None:
            return name
    if request.kernel is not None:
        obstacle = obstacles[request.kernel]
        raise ValueError(f"kernel {request.kernel!r} does not fit this request: {obstacle}")
    raise ValueError(
        f"the cuda backend has no kernel for dynamics {request.dynamics.name!r} "
        f"in layout {request.layout.name!r}; use backend 'cpu'"
    )


class CudaBackend:
    """One device, and the plans that run on it."""

    def __init__(self, device: Device, name: str = "cuda") -> None:
        self.device, self.name = device, name

    def unavailable(self) -> str | None:
        return self.device.unavailable()

    def lacks(self, dynamics: Dynamics) -> str | None:
        """Wolff's clusters grow one site after another; Swendsen-Wang's are many at a time."""
        return "it grows no single clusters" if dynamics.name == "wolff" else None

    def warm(self) -> Iterator[tuple[str, float]]:
        """Compile the kernels of usual requests for this device: (what, seconds) of each."""
        from . import warm

        return warm.compile_all(self.device)

    def plan(self, request: Request) -> Plan:
        return KERNELS[choose_kernel(request)](request, self.device)

    def batch(self, requests: Sequence[Request]) -> Batch:
        return batch_of(requests, self.device, self.plan)


def device_backend(index: int) -> CudaBackend:
    """The backend of GPU number `index`, which is asked for as cuda:<index>."""
    return CudaBackend(CupyDevice(index), f"cuda:{index}")


backend = CudaBackend(CupyDevice())
