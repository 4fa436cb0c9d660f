"""The board's own sensors: energy, clocks, driver, by NVML."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WINDOW = 2.0  # s; the energy counter is renewed every 20 to 100 ms


@dataclass(frozen=True)
class Board:
    """One GPU; nvml: the module pynvml, initialised."""

    nvml: Any
    handle: Any

    @classmethod
    def at(cls, bus: str) -> Board:
        """The board at a PCI address; whatever pynvml raises where there is none."""
        import pynvml

        pynvml.nvmlInit()
        board = cls(pynvml, pynvml.nvmlDeviceGetHandleByPciBusId(bus.encode()))
        board.joules()
        return board

    def joules(self) -> float:
        """Energy since the driver was loaded."""
        return 1e-3 * float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle))

    def megahertz(self) -> int:
        """Clock of the multiprocessors now."""
        return int(self.nvml.nvmlDeviceGetClockInfo(self.handle, self.nvml.NVML_CLOCK_SM))

    def describe(self) -> dict[str, Any]:
        """What speeds depend on."""
        nvml = self.nvml
        most = nvml.nvmlDeviceGetMaxClockInfo(self.handle, nvml.NVML_CLOCK_SM)
        limit = nvml.nvmlDeviceGetPowerManagementLimit(self.handle)
        return {
            "driver": str(nvml.nvmlSystemGetDriverVersion()),
            "greatest MHz": int(most),
            "power limit W": round(1e-3 * limit),
        }


def find_board(device: Any) -> Board | str:
    """The board of a device of the cuda backend, or why it has none."""
    bus = getattr(device, "bus", None)
    if bus is None:
        return "no GPU"
    try:
        return Board.at(bus)
    except ImportError:
        return "nvidia-ml-py not installed"
    except Exception as error:  # every failure of NVML is a class of its own
        return f"NVML: {error}"


@dataclass(frozen=True)
class Window:
    """What was done in some time: samples in units of work per ns, all work, seconds, and joules
    and clock at its end, or the reason why there are none."""

    samples: tuple[float, ...]
    work: float
    seconds: float
    joules: float | None
    sensor: str

    def describe(self, idle: float | None) -> str:
        """Power and what it belongs to, in words."""
        if self.joules is None:
            return f"joules not measured: {self.sensor}"
        beside = "idle not measured" if idle is None else f"idle {idle:.0f} W"
        return (
            f"{self.joules / self.work:.3g} J each, {self.joules / self.seconds:.0f} W in "
            f"{self.seconds:.2g} s by NVML, {beside}; {self.sensor}"
        )


def watch(call: Callable[[], float], seconds: float, board: Board | str) -> Window:
    """Repeat a call, which returns the work that it has done, for so long, but at least twice."""
    samples: list[float] = []
    work = 0.0
    before = board.joules() if isinstance(board, Board) else 0.0
    began = last = time.perf_counter()
    while len(samples) < 2 or last - began < seconds:
        done = call()
        now = time.perf_counter()
        samples.append(1e-9 * done / (now - last))
        work += done
        last = now
    if not isinstance(board, Board):
        return Window(tuple(samples), work, last - began, None, board)
    joules, clock = board.joules() - before, board.megahertz()
    if last - began < WINDOW:
        reason = f"a window of {last - began:.2g} s is shorter than {WINDOW:g} s"
        return Window(tuple(samples), work, last - began, None, reason)
    return Window(tuple(samples), work, last - began, joules, f"{clock} MHz at the end")


def idle_watts(board: Board | str, seconds: float) -> float | None:
    """Mean power while nothing runs, None without a sensor."""
    if not isinstance(board, Board):
        return None
    before, began = board.joules(), time.perf_counter()
    time.sleep(seconds)
    return (board.joules() - before) / (time.perf_counter() - began)
