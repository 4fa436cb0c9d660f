"""Seconds of a call, on the clock of a suite."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
Clock = Callable[[], float]


def clock_of(backend: str) -> Clock:
    """CPU time of all threads where the sweeps run on the CPU, else wall time."""
    return time.process_time if backend in ("cpu", "reference") else time.perf_counter


def clock_name(clock: Clock) -> str:
    """What the seconds of a clock are."""
    return "CPU time" if clock is time.process_time else "wall time"


def timed(clock: Clock, call: Callable[[], T]) -> tuple[float, T]:
    """Seconds of call() and its result. Python collects no garbage meanwhile: that takes
    as long as all sweeps of a small case."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        began = clock()
        result = call()
        return clock() - began, result
    finally:
        if enabled:
            gc.enable()
