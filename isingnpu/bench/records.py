"""Records of a benchmark and the JSON-lines files that keep them, one line per call."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isingnpu._version import __version__
from isingnpu.archive import FilePath, replacing
from isingnpu.bench.peer import PEERS
from isingnpu.run import commit, processor_name

NUMBERS = ("value", "low", "high", "cycles", "joules")  # nan where not measured


@dataclass(frozen=True)
class Record:
    """One measured number; nan stands for what was not measured, and `notes` say why.

    value, low, high: median, least and largest of the repeats for metric "throughput"; median
    and 68 % interval of the posterior for "TTS99". ratio_to: how many times faster than the
    peer; ratio_range: least and largest of the repeats, or the 68 % interval. replicas: reads
    per repeat. cycles: per update, of a processor whose frequency could be measured. joules: per
    update, from a sensor. samples: updates/ns, or seconds per read, of each repeat. successes:
    reads at the target, of replicas * repeats. excluded: what the time leaves out.
    """

    case: str
    metric: str
    unit: str
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    cycles: float = math.nan
    joules: float = math.nan
    ratio_to: Mapping[str, float] = field(default_factory=dict)
    ratio_range: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    n: int = 0
    edges: int = 0
    replicas: int = 0
    sweeps: int = 0
    repeats: int = 0
    backend: str = ""
    kernel: str = ""
    layout: str = ""
    threads: int = 1
    seed: int = 0
    quick: bool = False
    samples: tuple[float, ...] = ()
    successes: int | None = None
    excluded: str = ""
    notes: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """False for a case that was skipped; a target that was not reached is a measurement."""
        return bool(self.samples)

    def to_json(self) -> dict[str, Any]:
        """All fields, with null for nan."""
        numbers = {name: getattr(self, name) for name in NUMBERS}
        return asdict(self) | {k: None if math.isnan(v) else v for k, v in numbers.items()}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Record:
        """The inverse of `to_json`; a field that an older version did not write is at its
        default, TypeError for one that is not known."""
        read = dict(entry)
        for name in NUMBERS:
            read[name] = math.nan if read.get(name) is None else read[name]
        for name in ("samples", "notes"):
            read[name] = tuple(read[name])
        read["ratio_range"] = {k: (low, high) for k, (low, high) in entry["ratio_range"].items()}
        return cls(**read)


@dataclass(frozen=True)
class Session:
    """The records of one call, the machine, the commit (None outside a checkout), the date."""

    records: tuple[Record, ...]
    machine: Mapping[str, Any]
    version: str
    commit: str | None
    date: str

    def title(self) -> str:
        """Machine, date and commit in one line."""
        m = self.machine
        parts = [f"{m['processor']}, {m['cores']} cores, Python {m['python']}"]
        parts += [f"{k} {v}" for k, v in m.items() if k not in ("processor", "cores", "python")]
        parts += [f"isingnpu {self.version} ({self.commit or 'no commit'})", self.date[:10]]
        return ", ".join(parts)


def this_machine() -> dict[str, Any]:
    """What speeds depend on: processor, cores, versions; without a peer that is missing."""
    versions = {"python": platform.python_version()}
    for name in ("numpy", "numba", *PEERS):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"processor": processor_name(), "cores": os.cpu_count(), **versions}


def append_jsonl(
    path: FilePath,
    records: Sequence[Record],
    machine: Mapping[str, Any] | None = None,
    *,
    at: str | None = None,
) -> None:
    """One more line: records, machine (this one if None), version, commit (that of the checkout
    if `at` is None), date (UTC).

    The folder is made if there is none; the old lines are kept whatever happens."""
    path = Path(path)
    entry = {
        "records": [record.to_json() for record in records],
        "machine": dict(this_machine() if machine is None else machine),
        "version": __version__,
        "commit": commit() if at is None else at,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_bytes() if path.exists() else b""
    with replacing(path) as file:
        file.write(old + json.dumps(entry, allow_nan=False).encode() + b"\n")


def read_jsonl(path: FilePath) -> list[Session]:
    """The calls kept in a file, in its order; ValueError names the line that is none."""
    sessions = []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        try:
            entry = json.loads(line)
            records = tuple(Record.from_json(record) for record in entry["records"])
            sessions.append(
                Session(
                    records, entry["machine"], entry["version"], entry["commit"], entry["date"]
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}:{number}: not a line of benchmark records ({error})"
            ) from error
    return sessions
