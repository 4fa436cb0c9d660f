"""What a kernel case is timed beside: samplers of other packages, and our own other kernels.

    speed = updates / seconds

Updates are attempted ones, or flipped spins where a case says so. A sampler of another package
runs at the same betas; the time of a call of one sweep is subtracted, which is its set-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Plan, State
from isingnpu.bench.clock import Clock, timed
from isingnpu.bench.peer import Peer

Array = NDArray[Any]


class Rival(Protocol):
    """Anything that sweeps the instance of a case."""

    @property
    def name(self) -> str: ...

    def speed(self) -> float:
        """Updates per ns, measured now; inf where set-up drowns the sweeps."""


@dataclass(frozen=True)
class OwnSweeps:
    """A plan of ours, all sweeps from the same first spins. counted: "attempted" or "flips"."""

    name: str
    plan: Plan
    start: State
    betas: Array
    clock: Clock
    counted: str = "attempted"

    def warm(self) -> None:
        """Compile what these betas need."""
        self.plan.load(self.start)
        self.plan.sweep(self.betas, first=0)

    def speed(self) -> float:
        self.plan.load(self.start)
        seconds, measured = timed(self.clock, lambda: self.plan.sweep(self.betas, first=0))
        return float(1e-9 * getattr(measured.counts, self.counted) / seconds)


@dataclass(frozen=True)
class PeerSweeps:
    """A sampler of another package."""

    peer: Peer
    betas: Array
    reads: int
    seed: int

    @property
    def name(self) -> str:
        return self.peer.name

    def speed(self) -> float:
        seconds = self.peer.sweep_seconds(self.betas, self.reads, self.seed)
        updates = self.reads * self.peer.model.n * (len(self.betas) - 1)
        return 1e-9 * updates / seconds if seconds > 0 else np.inf
