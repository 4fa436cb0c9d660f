"""The numba backend: every model, every layout, threads over replicas.

A kernel is a plan class of its own; which one runs changes the speed, never the result. The choice
follows from the request alone, is recorded in the Run, and `Request.kernel` forces another.
"""

from __future__ import annotations

from collections.abc import Iterator

from isingnpu.backend import Plan, Request

from .bitlattice import BitLatticePlan
from .clusters import SwendsenWangPlan, WolffPlan
from .lanes import LanePlan
from .planes import PlanePlan
from .popcount import PopcountPlan
from .shared import SharedPlan
from .sites import DensePlan, SitePlan

MIN_LANES = 4  # replicas; fewer are quicker one by one
MIN_PLANES = 256  # replicas; below, few bits of the planes' words are used

KERNELS = {
    plan.kernel: plan
    for plan in (
        LanePlan,
        PlanePlan,
        BitLatticePlan,
        SharedPlan,
        PopcountPlan,
        DensePlan,
        SitePlan,
        SwendsenWangPlan,
        WolffPlan,
    )
}


def choose_kernel(request: Request) -> str:
    """The kernel for this request, or the one it asks for; ValueError if that cannot serve it."""
    if request.kernel is None:
        return _rule(request)
    if request.kernel not in KERNELS:
        allowed = ", ".join(KERNELS)
        raise ValueError(f"unknown kernel {request.kernel!r}, the cpu backend has {allowed}")
    obstacle = KERNELS[request.kernel].obstacle(request)
    if request.dynamics.moves_clusters and request.kernel != request.dynamics.name:
        obstacle = f"it has no dynamics {request.dynamics.name!r}"
    if obstacle is not None:
        raise ValueError(f"kernel {request.kernel!r} does not fit this request: {obstacle}")
    return request.kernel


def _rule(request: Request) -> str:
    if request.dynamics.moves_clusters:
        return request.dynamics.name
    if request.layout.name == "shared":
        return "shared"
    if request.layout.name == "lattice":
        return "bitlattice" if BitLatticePlan.obstacle(request) is None else "scalar"
    if len(request.replicas) >= MIN_PLANES and PlanePlan.obstacle(request) is None:
        return "planes"
    if request.model.is_dense:
        return "popcount" if PopcountPlan.obstacle(request) is None else "dense"
    return "lanes" if len(request.replicas) >= MIN_LANES else "scalar"


class CpuBackend:
    """Always available: numba is a core dependency."""

    name = "cpu"

    def unavailable(self) -> str | None:
        return None

    def plan(self, request: Request) -> Plan:
        return KERNELS[choose_kernel(request)](request)

    def warm(self) -> Iterator[tuple[str, float]]:
        """Compile the kernels of usual requests: (what, seconds) of each."""
        from . import warm

        return warm.compile_all(self.plan)


backend = CpuBackend()
