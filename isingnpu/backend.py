"""What a backend is: it turns a request into a plan that holds the spins and sweeps them.

A backend is one module `isingnpu.backends.<name>` (or an entry point of the group
`isingnpu.backends`) with an attribute `backend`. The core loads it by name and never imports one.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

import isingnpu
from isingnpu.dynamics import Dynamics
from isingnpu.layout import Layout
from isingnpu.model import IsingModel

GROUP = "isingnpu.backends"
BUILT_IN = ("reference", "cpu", "cuda")

Array = NDArray[Any]
_registered: dict[str, Backend] = {}

# In a checkout `backends/` lies beside the package instead of inside it. The guard on
# pyproject.toml keeps this inert in site-packages, where a foreign `backends` could lie.
_root = Path(__file__).resolve().parents[1]
if (_root / "backends" / "__init__.py").is_file() and (_root / "pyproject.toml").is_file():
    isingnpu.__path__.append(str(_root))


class BackendUnavailable(RuntimeError):
    """The backend that was asked for cannot run here; `reason` says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"backend {name!r} is not available: {reason}")
        self.name, self.reason = name, reason


@dataclass(frozen=True, eq=False)
class Request:
    """Everything that a trajectory is a function of, apart from first spins and betas.

    replicas: global read indices, so that one read can be replayed alone. threads and kernel
    (None: the backend chooses) may change the speed, never the result. improved: cluster dynamics
    of a ferromagnet also measure `Measured.improved`.
    """

    model: IsingModel
    dynamics: Dynamics
    replicas: range
    seed: int
    layout: Layout
    rounds: int = 10
    threads: int = 1
    kernel: str | None = None
    improved: bool = False


@dataclass(frozen=True, eq=False)
class Counts:
    """Events counted by a kernel; integers, summed over replicas.

    attempted: spins visited (cluster moves: all sites, every sweep); flips: spins flipped, both
    of the reads asked for. What the kernel did for them, padding of its vectors included:
    random_words: 32-bit Philox output words computed; couplings: couplings read; bytes: bytes of
    spins, fields and couplings that the kernel's loops load and store (from whichever cache or
    memory holds them).
    """

    attempted: int = 0
    flips: int = 0
    random_words: int = 0
    couplings: int = 0
    bytes: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.attempted + other.attempted,
            self.flips + other.flips,
            self.random_words + other.random_words,
            self.couplings + other.couplings,
            self.bytes + other.bytes,
        )


@dataclass(frozen=True, eq=False)
class Measured:
    """What a plan saw: integers of the quantized model, offset not included.

    energy, magnetization: (replicas, samples) int64 in quanta and in spins; flips: (replicas,
    samples) int64 since the sample before, also one of an earlier call; projections: (replicas,
    samples, k) float64, sum_i w_ki s_i; path: (replicas, sweeps) int64 energy after every sweep,
    or (replicas, 0). improved: (replicas, samples, 2) float64, m^2 and m^4 from the clusters of
    the sampled sweeps, see isingnpu.bonds; None unless the request asks for it.
    """

    energy: Array
    magnetization: Array
    flips: Array
    projections: Array
    path: Array
    counts: Counts
    improved: Array | None = None


@dataclass(frozen=True, eq=False)
class State:
    """All that a plan carries from one sweep to the next, on the host.

    spins: current states; best: best states seen by tracked sweeps, both (replicas, sites) int8;
    flips: (replicas,) int64 flips since the last sample.
    """

    spins: Array
    best: Array
    flips: Array

    @classmethod
    def at(cls, spins: Array) -> State:
        """The state of a run that starts at these spins."""
        return cls(spins, spins, np.zeros(len(spins), np.int64))


@dataclass(frozen=True, eq=False)
class Ladder:
    """Inverse temperatures of all replicas in the form that exchanges permute: replica r has
    betas[rungs[r]] for `sweeps` sweeps.

    betas: (k,) of the host; rungs: (replicas,) whole numbers in 0..k-1, of the host or of the
    plan's own device, where they stay. ValueError for another shape."""

    betas: Array
    rungs: Any
    sweeps: int

    def __post_init__(self) -> None:
        if not hasattr(self.rungs, "shape"):
            object.__setattr__(self, "rungs", np.asarray(self.rungs))
        object.__setattr__(self, "betas", np.asarray(self.betas, np.float64))
        if self.betas.ndim != 1 or len(self.rungs.shape) != 1:
            raise ValueError(
                "a ladder has betas (k,) and rungs (replicas,), got shapes "
                f"{self.betas.shape} and {self.rungs.shape}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(sweeps, replicas), as that of an array of betas."""
        return self.sweeps, int(self.rungs.shape[0])

    def __len__(self) -> int:
        return self.sweeps

    def __getitem__(self, sweeps: slice) -> Ladder:
        return Ladder(self.betas, self.rungs, len(range(self.sweeps)[sweeps]))


class Plan(Protocol):
    """Spins of all replicas on one device, and the sweep that changes them in place."""

    kernel: str

    def load(self, state: State) -> None:
        """Continue from this state."""

    def state(self) -> State:
        """The state now, as copies."""

    def sweep(
        self,
        betas: Array | Ladder,
        *,
        first: int,
        every: int = 0,
        weights: Array | None = None,
        track: bool = False,
    ) -> Measured:
        """One sweep per entry of betas (sweeps,) or (sweeps, replicas), or those of a Ladder.

        first: number of sweeps done before, which the random numbers depend on. A sample is
        taken after each sweep whose 1-based number is a multiple of `every` (0: never).
        weights: (k, sites) for the projections. track: record the energy after every sweep and
        keep each replica's best state."""


class Batch(Protocol):
    """Spins of many models, each with replicas of its own, that are swept side by side.

    kernels: of each model."""

    kernels: list[str]

    def load(self, states: Sequence[State]) -> None:
        """Continue from these states, one per model."""

    def states(self) -> list[State]:
        """The states now, as copies."""

    def sweep(
        self, betas: Sequence[Array], *, first: int, every: int = 0, track: bool = False
    ) -> list[Measured]:
        """What `Plan.sweep` does, with betas (sweeps,) of each model, all of one length; track
        keeps the best states, but no path."""


class Backend(Protocol):
    """A named maker of plans."""

    name: str

    def unavailable(self) -> str | None:
        """Why it cannot run here, or None."""

    def plan(self, request: Request) -> Plan:
        """Allocate and prepare; ValueError if the request cannot be met."""


@runtime_checkable
class Batching(Protocol):
    """A backend that sweeps many models side by side."""

    def batch(self, requests: Sequence[Request]) -> Batch:
        """As `plan`, for one request of each model."""


@runtime_checkable
class Compiling(Protocol):
    """A backend whose kernels are compiled at first use."""

    def warm(self) -> Iterator[tuple[str, float]]:
        """Compile those that usual requests need: (what, seconds) of each."""


@runtime_checkable
class Selective(Protocol):
    """A backend that has kernels for some dynamics only."""

    def lacks(self, dynamics: Dynamics) -> str | None:
        """Why it cannot move spins so, or None."""


class OneByOne:
    """Plans as a batch: one model after the other."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        self.plans = plans
        self.kernels = [plan.kernel for plan in plans]

    def load(self, states: Sequence[State]) -> None:
        for plan, state in zip(self.plans, states, strict=True):
            plan.load(state)

    def states(self) -> list[State]:
        return [plan.state() for plan in self.plans]

    def sweep(
        self, betas: Sequence[Array], *, first: int, every: int = 0, track: bool = False
    ) -> list[Measured]:
        seen = [
            plan.sweep(own, first=first, every=every, track=track)
            for plan, own in zip(self.plans, betas, strict=True)
        ]
        return [replace(measured, path=measured.path[:, :0]) for measured in seen]


def lacks(backend: Backend, dynamics: Dynamics) -> str | None:
    """Why the backend has no kernel for these dynamics, or None."""
    return backend.lacks(dynamics) if isinstance(backend, Selective) else None


def register(backend: Backend) -> None:
    """Make a backend known to this process by its name; "auto" never takes it.

    Raises ValueError if another has that name."""
    if backend.name in backend_names():
        raise ValueError(f"there is a backend {backend.name!r} already")
    _registered[backend.name] = backend


def backend_names() -> tuple[str, ...]:
    """Built-in backends that exist here, then installed plug-ins and registered ones."""
    built_in = [name for name in BUILT_IN if _exists(name)]
    plugins = [point.name for point in importlib.metadata.entry_points(group=GROUP)]
    return tuple(dict.fromkeys([*built_in, *plugins, *_registered]))


def find_backend(name: str) -> Backend:
    """The backend of that name, available or not; ValueError if there is none.

    A backend of several devices names them by number: "cuda:1"."""
    if name in _registered:
        return _registered[name]
    kind, colon, device = name.partition(":")
    if kind in BUILT_IN and _exists(kind):
        module = importlib.import_module(f"isingnpu.backends.{kind}")
        if not colon:
            return cast(Backend, module.backend)
        if device.isdecimal() and hasattr(module, "device_backend"):
            return cast(Backend, module.device_backend(int(device)))
    for point in importlib.metadata.entry_points(group=GROUP):
        if point.name == name:
            return cast(Backend, point.load().backend)
    if name in BUILT_IN:
        raise BackendUnavailable(name, f"this version has no {name} backend")
    allowed = ", ".join(("auto", *backend_names()))
    raise ValueError(f"unknown backend {name!r}, allowed are {allowed}")


def get_backend(name: str, dynamics: Dynamics | None = None) -> Backend:
    """The backend of that name, ready to plan. "auto" takes cuda if it can run, and move spins by
    these dynamics, else cpu.

    Raises ValueError for an unknown name and BackendUnavailable with the reason otherwise."""
    if name == "auto":
        for candidate in ("cuda", "cpu"):
            if candidate not in backend_names():
                continue
            found = find_backend(candidate)
            able = dynamics is None or lacks(found, dynamics) is None
            if able and found.unavailable() is None:
                return found
    chosen = find_backend(name)
    reason = chosen.unavailable()
    if reason is not None:
        raise BackendUnavailable(name, reason)
    return chosen


def find_part(name: str, part: str, what: str) -> Any:
    """The attribute `device` of module `part` of a built-in backend, which serves `what`.

    Raises ValueError for an unknown backend, BackendUnavailable with the reason otherwise."""
    backend = get_backend(name)
    kind, _, number = backend.name.partition(":")
    package = importlib.util.find_spec(f"isingnpu.backends.{kind}") if kind in BUILT_IN else None
    path = f"isingnpu.backends.{kind}.{part}"
    if (
        package is None
        or package.submodule_search_locations is None
        or importlib.util.find_spec(path) is None
    ):
        raise BackendUnavailable(backend.name, f"it has no kernels for {what}")
    if number:
        raise BackendUnavailable(
            backend.name,
            f"{what} run on the first device: pass {kind!r}, choose it by CUDA_VISIBLE_DEVICES",
        )
    return importlib.import_module(path).device


def _exists(name: str) -> bool:
    return importlib.util.find_spec(f"isingnpu.backends.{name}") is not None


def threshold_rows(betas: Array | Ladder, replicas: int) -> tuple[Array, Array]:
    """Distinct betas (k,) and the row of each sweep and replica: (sweeps, 1 or replicas) int32.

    Rungs of a ladder come back as they are, on their device if they have one."""
    if isinstance(betas, Ladder):
        if betas.shape[1] != replicas:
            raise ValueError(f"rungs must have shape ({replicas},), got {betas.rungs.shape}")
        rungs = betas.rungs.astype(np.int32)
        if type(rungs) is np.ndarray and not np.all((rungs >= 0) & (rungs < len(betas.betas))):
            raise ValueError(f"rungs must lie in 0..{len(betas.betas) - 1}")
        return betas.betas, rungs[None].repeat(betas.sweeps, axis=0)
    betas = np.asarray(betas, np.float64)
    if betas.ndim == 1:
        betas = betas[:, None]
    if betas.ndim != 2 or betas.shape[1] not in (1, replicas):
        raise ValueError(
            f"betas must have shape (sweeps,) or (sweeps, {replicas}), got {betas.shape}"
        )
    distinct, rows = np.unique(betas, return_inverse=True)
    return distinct, rows.reshape(betas.shape).astype(np.int32)
