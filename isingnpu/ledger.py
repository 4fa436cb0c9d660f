"""The ledger: what a run did, counted; what it cost, measured where a sensor exists.

Three kinds of energy are kept apart and never added: measured joules (a sensor read before and
after), modelled joules (counted events times cited constants), and the Landauer bound k_B T ln 2
per erased bit. A missing sensor gives `not measured`, never an estimate.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from isingnpu.backend import Counts

BOLTZMANN = 1.380649e-23  # J/K, exact (SI 2019)
SHORTEST_WINDOW = 1.0  # s; energy counters refresh every 1 to 100 ms

# Energy per event in joules at 45 nm and 0.9 V: M. Horowitz, "Computing's energy problem",
# ISSCC 2014, figure 1.1.9.
HOROWITZ_2014 = {
    "int32 add": 0.1e-12,
    "int32 multiply": 3.1e-12,
    "float32 add": 0.9e-12,
    "float32 multiply": 3.7e-12,
    "64-bit cache access, 32 kB": 20e-12,
}
HOROWITZ_SOURCE = "Horowitz, ISSCC 2014, 45 nm, 0.9 V"

_RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True)
class EnergyReading:
    """Measured joules of a window, or None and the reason."""

    joules: float | None
    source: str
    window_s: float
    reason: str = ""

    def __str__(self) -> str:
        return "not measured" if self.joules is None else f"{self.joules:.4g} J ({self.source})"


@dataclass(frozen=True, eq=False)
class Ledger:
    """Counted events of a run and its time; joules only where a sensor gave them."""

    counts: Counts = field(default_factory=Counts)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    energy: tuple[EnergyReading, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Counts, seconds, measured and modelled joules under separate keys."""
        c = self.counts
        return {
            "attempted_updates": c.attempted,
            "flips": c.flips,
            "random_words": c.random_words,
            "couplings_read": c.couplings,
            "bytes": c.bytes,
            "cpu_s": self.cpu_s,
            "wall_s": self.wall_s,
            "measured_joules": self._measured_joules() or "not measured",
            "modelled_joules": {"value": modelled_joules(c), "source": HOROWITZ_SOURCE},
        }

    def _measured_joules(self) -> dict[str, float | str]:
        """Joules per sensor over all windows; one window without leaves the sum unmeasured."""
        made: dict[str, float | str] = {}
        for source in dict.fromkeys(e.source for e in self.energy):
            windows = [e.joules for e in self.energy if e.source == source]
            known = [joules for joules in windows if joules is not None]
            made[source] = sum(known) if len(known) == len(windows) else "not measured"
        return made


def modelled_joules(counts: Counts) -> float:
    """Counted events times the constants of Horowitz (2014): 5 multiplies per random word (20 per
    Philox4x32-10 block of four), one add per coupling read and per attempt, cache traffic."""
    cost = HOROWITZ_2014
    return (
        5 * counts.random_words * cost["int32 multiply"]
        + (counts.couplings + counts.attempted) * cost["int32 add"]
        + counts.bytes / 8 * cost["64-bit cache access, 32 kB"]
    )


def landauer_joules(bits: float, temperature_k: float = 300.0) -> float:
    """k_B T ln 2 per erased bit: the least heat of erasing `bits` bits at that temperature."""
    return bits * BOLTZMANN * temperature_k * 0.6931471805599453


def sensors() -> dict[str, str | None]:
    """Energy sensors by name: None if readable, else the reason."""
    return {"rapl": _rapl_reason(), "nvml": _nvml_reason()}


def _rapl_zones() -> list[Path]:
    """Package zones; sub-zones (core, dram) and the whole platform (psys) would count twice."""
    zones = sorted(_RAPL.glob("*-rapl:[0-9]")) if _RAPL.is_dir() else []
    return [zone for zone in zones if _zone_name(zone) != "psys"]


def _zone_name(zone: Path) -> str:
    name = zone / "name"
    return name.read_text().strip() if name.exists() else ""


def _rapl_reason() -> str | None:
    zones = _rapl_zones()
    if not zones:
        return f"no zone below {_RAPL}"
    try:
        for zone in zones:
            (zone / "energy_uj").read_text()
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return None


def _rapl_microjoules() -> list[tuple[int, int]]:
    """(counter, range) of every package zone."""
    return [
        (
            int((zone / "energy_uj").read_text()),
            int((zone / "max_energy_range_uj").read_text()),
        )
        for zone in _rapl_zones()
    ]


def _nvml() -> Any:
    """The initialised NVML module, or an exception that says why not."""
    import pynvml

    pynvml.nvmlInit()
    return pynvml


def _nvml_reason() -> str | None:
    try:
        nvml = _nvml()
    except ImportError:
        return "nvidia-ml-py not installed"
    except Exception as error:  # every NVML failure is its own class; all mean no sensor
        return str(error) or type(error).__name__
    return None if nvml.nvmlDeviceGetCount() else "no device"


def _nvml_millijoules() -> list[int]:
    nvml = _nvml()
    return [
        nvml.nvmlDeviceGetTotalEnergyConsumption(nvml.nvmlDeviceGetHandleByIndex(k))
        for k in range(nvml.nvmlDeviceGetCount())
    ]


class Meter:
    """Measures the window of a `with` block: `cpu_s`, `wall_s` and `energy` after it."""

    cpu_s: float
    wall_s: float
    energy: tuple[EnergyReading, ...]

    def __enter__(self) -> Meter:
        reasons = sensors()
        self._reasons = reasons
        self._rapl = _rapl_microjoules() if reasons["rapl"] is None else []
        self._nvml = _nvml_millijoules() if reasons["nvml"] is None else []
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cpu_s = time.process_time() - self._cpu
        self.wall_s = time.perf_counter() - self._wall
        readings = []
        for name, reason in self._reasons.items():
            joules = None
            if reason is None and self.wall_s < SHORTEST_WINDOW:
                reason = f"window {self.wall_s:.2g} s shorter than {SHORTEST_WINDOW:g} s"
            elif reason is None:
                joules = self.joules(name)
            readings.append(EnergyReading(joules, name, self.wall_s, reason or ""))
        self.energy = tuple(readings)

    @property
    def readable(self) -> tuple[str, ...]:
        """Names of the sensors that can be read."""
        return tuple(name for name, reason in self._reasons.items() if reason is None)

    @property
    def first(self) -> str:
        """The first sensor that can be read; ValueError without one."""
        for name in self.readable:
            return name
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self._reasons.items())
        raise ValueError(f"no energy sensor here ({reasons})")

    def joules(self, name: str) -> float:
        """Measured joules since the block began, by a readable sensor."""
        if name == "rapl":  # the counter wraps at its range
            pairs = zip(self._rapl, _rapl_microjoules(), strict=True)
            return sum((after - before) % span for (before, span), (after, _) in pairs) * 1e-6
        pairs_nvml = zip(self._nvml, _nvml_millijoules(), strict=True)
        return sum(after - before for before, after in pairs_nvml) * 1e-3


@dataclass(frozen=True)
class StepCost:
    """Counted cost of one training step of a transformer: floating-point operations and bytes."""

    parameters: int
    flops: int
    bytes: int

    @property
    def modelled_joules(self) -> float:
        """With the constants of Horowitz (2014): half the FLOPs are multiplies, half additions."""
        cost = HOROWITZ_2014
        per_flop = (cost["float32 add"] + cost["float32 multiply"]) / 2
        return self.flops * per_flop + self.bytes / 8 * cost["64-bit cache access, 32 kB"]


def backprop_step(
    *, macs: int, parameters: int, activations: int, samples: int, of_inputs: int = 0
) -> StepCost:
    """One step of Adam on gradients by backprop, counted, not measured.

    macs and activations: multiply-adds and stored numbers of one sample's forward pass;
    of_inputs: those of its multiply-adds that the data enter, for which nothing asks a gradient.
    FLOPs: 6 per multiply-add (forward 2, backward 4), 4 of inputs. Bytes: float32 weights read
    forward and backward, gradients written, two Adam moments read and written, weights written:
    8 x 4 bytes per parameter; activations written and read."""
    traffic = 8 * 4 * parameters + 2 * 4 * activations * samples
    return StepCost(parameters, (6 * macs - 2 * of_inputs) * samples, traffic)


def transformer_step(
    layers: int, width: int, context: int, vocabulary: int, batch: int
) -> StepCost:
    """One backprop step of a decoder-only transformer, counted, not measured.

    Parameters: 12 layers width^2 + vocabulary width + context width (biases and norms left out).
    Multiply-adds per token: one per matrix parameter (embedding table not multiplied, the tied
    output is), plus 2 layers width context for attention scores and values (causal mask not
    exploited); activations 14 layers width. Kaplan et al. (2020), arXiv 2001.08361, section
    2.1."""
    matrices = 12 * layers * width * width + vocabulary * width
    return backprop_step(
        macs=matrices + 2 * layers * width * context,
        parameters=matrices + context * width,
        activations=14 * layers * width,
        samples=batch * context,
    )
