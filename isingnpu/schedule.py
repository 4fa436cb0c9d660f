"""Annealing schedules: beta(t), one inverse temperature per sweep.

The natural unit of temperature is the glass scale of the model,

    sigma = sqrt( mean_i ( h_i^2 + sum_j J_ij^2 ) ),

the spread of the local field over random states: scaling all couplings scales it alike. The
default schedule runs T linearly from 0.9 sigma to 0.2 sigma, then quenches to T = 0.001 sigma over
the last twentieth of the sweeps; docs/annealing.md has the measurement behind the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.dynamics import check_betas
from isingnpu.model import IsingModel

Array = NDArray[np.float64]

HOT, COLD, FROZEN = 0.9, 0.2, 1e-3  # temperatures in units of sigma
MAX_SWEEPS = (1 << 31) - 1  # what the sweep word of the random counter holds in every layout
QUENCH = 0.05  # share of the sweeps that the final quench takes


@dataclass(frozen=True, eq=False)
class Schedule:
    """betas: (sweeps,) or (sweeps, replicas), finite and >= 0, at least one sweep."""

    name: str
    betas: Array

    def __post_init__(self) -> None:
        betas = np.array(check_betas(self.betas))
        if betas.ndim not in (1, 2) or betas.size == 0:
            raise ValueError(
                "a schedule needs betas of shape (sweeps,) or (sweeps, replicas) with at least "
                f"one sweep, got shape {betas.shape}"
            )
        betas.setflags(write=False)
        object.__setattr__(self, "betas", betas)

    @property
    def sweeps(self) -> int:
        """Number of sweeps."""
        return len(self.betas)

    def to_json(self) -> dict[str, Any]:
        """Name, length and range, as stored in results."""
        return {
            "name": self.name,
            "sweeps": self.sweeps,
            "beta_first": float(np.ravel(self.betas[0])[0]),
            "beta_last": float(np.ravel(self.betas[-1])[0]),
        }


def constant(beta: float, sweeps: int) -> Schedule:
    """beta for every sweep."""
    return Schedule("constant", np.full(_count(sweeps), float(beta)))


def linear(beta_start: float, beta_end: float, sweeps: int) -> Schedule:
    """beta grows linearly."""
    return Schedule("linear", np.linspace(*_ends(beta_start, beta_end), _count(sweeps)))


def geometric(beta_start: float, beta_end: float, sweeps: int) -> Schedule:
    """beta grows by a constant factor; both ends must be > 0."""
    start, end = _ends(beta_start, beta_end)
    if min(start, end) <= 0:
        raise ValueError(f"a geometric schedule needs betas > 0, got {start} and {end}")
    return Schedule("geometric", np.geomspace(start, end, _count(sweeps)))


def linear_temperature(beta_start: float, beta_end: float, sweeps: int) -> Schedule:
    """T = 1 / beta falls linearly; both ends must be > 0."""
    start, end = _ends(beta_start, beta_end)
    if min(start, end) <= 0:
        raise ValueError(f"a linear-T schedule needs betas > 0, got {start} and {end}")
    return Schedule("linear-T", 1.0 / np.linspace(1.0 / start, 1.0 / end, _count(sweeps)))


SHAPES: dict[str, Callable[[float, float, int], Schedule]] = {
    "linear": linear,
    "geometric": geometric,
    "linear-T": linear_temperature,
}


def glass_scale(model: IsingModel) -> float:
    """sigma = sqrt(mean_i(h_i^2 + sum_j J_ij^2)); 1 if the model has no couplings and fields.

    Computed from the quantized model, so that equal models in different guises (0/1 or -1/+1
    variables) have equal schedules."""
    q = model.quantized
    squares = np.sum(np.square(q.couplings, dtype=np.float64))
    squares += np.sum(np.square(q.fields, dtype=np.float64))
    return float(q.quantum * np.sqrt(squares / model.n)) if squares > 0 else 1.0


def beta_range(model: IsingModel) -> tuple[float, float]:
    """(hot, cold) inverse temperatures of the default schedule, 1/(0.9 sigma), 1/(0.2 sigma)."""
    sigma = glass_scale(model)
    return 1.0 / (HOT * sigma), 1.0 / (COLD * sigma)


def default_schedule(
    model: IsingModel,
    sweeps: int,
    *,
    beta_start: float | None = None,
    beta_end: float | None = None,
    shape: str = "linear-T",
) -> Schedule:
    """`shape` from hot to cold and a final quench, linear in T, over 5 % of the sweeps.

    beta_start, beta_end: replace the range of `beta_range`; naming beta_end drops the quench."""
    if shape not in SHAPES:
        raise ValueError(f"unknown schedule {shape!r}, allowed are {', '.join(SHAPES)}")
    hot, cold = beta_range(model)
    start = hot if beta_start is None else beta_start
    if beta_end is not None:
        return SHAPES[shape](start, beta_end, sweeps)
    quench = int(QUENCH * _count(sweeps))
    ramp = SHAPES[shape](start, max(cold, start), sweeps - quench)
    if not quench:
        return Schedule(f"{shape}+quench", ramp.betas)
    last = 1.0 / ramp.betas[-1]
    frozen = min(last, FROZEN * glass_scale(model))
    temperatures = np.linspace(last, frozen, quench + 1)[1:]
    return Schedule(f"{shape}+quench", np.concatenate([ramp.betas, 1.0 / temperatures]))


def as_schedule(
    schedule: Schedule | str | ArrayLike | None, model: IsingModel, sweeps: int
) -> Schedule:
    """A Schedule or an array as it is; a shape's name or None as the default of that shape."""
    if schedule is None:
        return default_schedule(model, sweeps)
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, str):
        return default_schedule(model, sweeps, shape=schedule)
    return Schedule("custom", np.asarray(schedule, np.float64))


def _count(sweeps: int) -> int:
    if isinstance(sweeps, bool) or int(sweeps) != sweeps or sweeps < 1:
        raise ValueError(f"sweeps must be a whole number >= 1, got {sweeps}")
    if sweeps > MAX_SWEEPS:
        raise ValueError(f"sweeps must be at most {MAX_SWEEPS}, got {sweeps}")
    return int(sweeps)


def _ends(beta_start: float, beta_end: float) -> tuple[float, float]:
    start, end = check_betas([beta_start, beta_end])
    return float(start), float(end)
