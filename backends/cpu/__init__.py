"""The numba backend: every model, every layout, threads over replicas.

A kernel is a plan class of its own; which one runs changes the speed, never the result. The choice
follows from the request alone, is recorded in the Run, and `Request.kernel` forces another.
"""

from __future__ import annotations

from isingnpu.backend import Plan, Request

from .lanes import LanePlan
from .sites import DensePlan, SitePlan

MIN_LANES = 8  # replicas; below, one at a time is quicker

KERNELS = {plan.kernel: plan for plan in (LanePlan, DensePlan, SitePlan)}


def choose_kernel(request: Request) -> str:
    """The kernel for this request, or the one it asks for; ValueError if that cannot serve it."""
    if request.kernel is None:
        return _rule(request)
    if request.kernel not in KERNELS:
        allowed = ", ".join(KERNELS)
        raise ValueError(f"unknown kernel {request.kernel!r}, the cpu backend has {allowed}")
    obstacle = KERNELS[request.kernel].obstacle(request)
    if obstacle is not None:
        raise ValueError(f"kernel {request.kernel!r} does not fit this request: {obstacle}")
    return request.kernel


def _rule(request: Request) -> str:
    if request.layout.name == "lattice":
        return "scalar"
    if request.model.is_dense:
        return "dense"
    return "lanes" if len(request.replicas) >= MIN_LANES else "scalar"


class CpuBackend:
    """Always available: numba is a core dependency."""

    name = "cpu"

    def unavailable(self) -> str | None:
        return None

    def plan(self, request: Request) -> Plan:
        return KERNELS[choose_kernel(request)](request)


backend = CpuBackend()
