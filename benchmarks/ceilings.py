"""What the device can do at most: bytes copied and integer operations per ns; ceilings.cu."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.nvml import Board, Window, watch
from isingnpu.bench.records import Record

THREADS = 256
BLOCKS = 16  # of a multiprocessor
STEPS = 64  # operations per thread and round, as in ceilings.cu
NAMES = {
    "ceiling-copy": "GB/s of wall time, read and written",
    "ceiling-logic": "logic operations/ns of wall time",
    "ceiling-multiply": "wide products, each with a logic operation, /ns of wall time",
}


def code() -> Any:
    """The compiled source."""
    return importlib.import_module("isingnpu.backends.cuda.device").Code.of("ceilings.cu")


def launcher(device: Any, name: str, quick: bool) -> Callable[[int], float]:
    """A call that launches a kernel so many times, waits, and returns bytes or operations."""
    kernel = device.kernel(code(), name.removeprefix("ceiling-"))
    blocks = 1 if quick else BLOCKS * device.properties.processors
    if name == "ceiling-copy":
        count = 1 << 10 if quick else min(1 << 26, device.free() // 64)  # 16 bytes each
        source, target = (device.zeros((4 * count,), np.uint32) for _ in range(2))
        args, work = (source, target, np.uint64(count)), 32.0 * count
    else:
        rounds = 2 if quick else 1 << 12
        target = device.zeros((blocks * THREADS,), np.uint32)
        args = (target, *(np.uint32(x) for x in (rounds, 0x9E3779B9, 0xBB67AE85)))
        work = float(STEPS * rounds * blocks * THREADS)

    def launch(times: int) -> float:
        for _ in range(times):
            kernel((blocks,), (THREADS,), args)
        device.get(target[:1])
        return work * times

    return launch


def measure_ceiling(
    name: str, device: Any, seconds: float, board: Board | str, idle: float | None, quick: bool
) -> Record:
    """The record of one ceiling."""
    launch = launcher(device, name, quick)
    times = calls_that_last(launch, 0.0 if quick else 0.1)
    window = watch(lambda: launch(times), seconds, board)
    return Record(
        case=name,
        metric="throughput",
        unit=NAMES[name],
        **numbers(window),
        kernel="ceilings",
        layout="none",
        quick=quick,
        excluded="compilation",
        notes=(window.describe(idle),),
    )


def calls_that_last(call: Callable[[int], float], seconds: float) -> int:
    """How many times something must be done at once to last that long; it is warm then."""
    call(1)
    times = 1
    while watch(functools.partial(call, times), 0.0, "").seconds / 2 < seconds:
        times *= 2
    return times


def numbers(window: Window) -> dict[str, Any]:
    """What a record holds of a window."""
    return {
        "value": float(np.median(window.samples)),
        "low": min(window.samples),
        "high": max(window.samples),
        "samples": window.samples,
        "repeats": len(window.samples),
        "joules": np.nan if window.joules is None else window.joules / window.work,
    }
