"""Seconds of a call, on the clock of a suite, and the frequency of the processor."""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

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


PRODUCTS = 3_000_000
LATENCY = 3  # cycles of a 64-bit product on every x86-64 processor since 2008


def frequency() -> float | None:
    """Cycles per ns of CPU time now: a chain of products, each of which waits for the one before.

    None where the latency of a product is not known (Fog, Instruction tables)."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return None
    chain = _chain()
    chain(1)
    seconds = min(timed(time.process_time, lambda: chain(PRODUCTS))[0] for _ in range(5))
    return 1e-9 * LATENCY * PRODUCTS / seconds


@lru_cache(maxsize=1)
def _chain() -> Any:
    """x_0 = count, x_(k+1) = x_k^2 mod 2^64, as a jitted function of count."""
    from numba import njit, uint64

    @njit
    def chain(count):  # type: ignore[no-untyped-def]
        x = uint64(count)
        for _ in range(count):
            x = x * x
        return x

    return chain
