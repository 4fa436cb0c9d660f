"""Learners side by side: what each reached, and what it cost, counted, measured and modelled.

A row is one learner on one task, trained from several seeds on one budget. Its score is the mean
over the seeds with its standard error. Rows of one table were trained with the same data and
judged on the same part of it; the budget and the parameters stand beside each.

Three kinds of cost are kept in columns, and panels, of their own:
    seconds   CPU time of training, measured
    joules    of a sensor over training, or `not measured`
    modelled  counted events times cited prices (isingnpu.npu.prices)
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from isingnpu._version import __version__
from isingnpu.archive import FilePath, replacing
from isingnpu.npu.budget import Events, Point
from isingnpu.npu.prices import DIGITAL, SPIN_DEVICE, joules_of
from isingnpu.statistics import Estimate

TWO_PHASE, BACKPROP, COUNTS = "two-phase", "backprop", "counts"


@dataclass(frozen=True, eq=False)
class Row:
    """One learner on one task.

    learning: TWO_PHASE, BACKPROP or COUNTS. metric: "accuracy %", "bits per character" or
    "nats"; scores: one per seed, on the judged part. params: couplings and fields that learn.
    cpu_s: seconds of training of one seed, the mean; samples, events: those of one seed, the
    mean. curve: learning curves, one per seed. joules: measured, of one seed, None without a
    sensor."""

    task: str
    name: str
    learning: str
    metric: str
    scores: tuple[float, ...]
    params: int
    cpu_s: float
    samples: int
    events: Events
    joules: float | None = None
    curve: tuple[tuple[Point, ...], ...] = ()

    @property
    def score(self) -> Estimate:
        """Mean over seeds and its standard error, nan for one seed."""
        n = len(self.scores)
        error = float(np.std(self.scores, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
        return Estimate(float(np.mean(self.scores)), error, n_eff=n)

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds, nan for one."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else math.nan

    @property
    def digital_joules(self) -> float:
        """Modelled: everything by a digital processor."""
        return joules_of(self.events, DIGITAL)

    @property
    def device_joules(self) -> float | None:
        """Modelled: spins on a device, fields formed digitally; None for a learner that draws no
        spins, since means are not what such a device computes."""
        drawn = self.events.draws + self.events.potts_draws
        if self.learning != TWO_PHASE or not drawn or self.events.evaluations > drawn:
            return None
        return joules_of(self.events, SPIN_DEVICE)

    def to_json(self) -> dict[str, Any]:
        """All fields; the score as an Estimate; modelled joules by profile."""
        made = {f.name: getattr(self, f.name) for f in fields(self)}
        return made | {
            "scores": list(self.scores),
            "score": self.score.to_json(),
            "events": self.events.to_json(),
            "joules": "not measured" if self.joules is None else self.joules,
            "curve": [[asdict(point) for point in seed] for seed in self.curve],
            "modelled_joules": {
                DIGITAL.name: self.digital_joules,
                SPIN_DEVICE.name: self.device_joules,
            },
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Row:
        """The inverse of `to_json`."""
        known = {f.name for f in fields(cls)}
        read = {name: value for name, value in entry.items() if name in known}
        events = {f.name: entry["events"].get(f.name, 0) for f in fields(Events)}
        curve = tuple(tuple(Point(**p) for p in seed) for seed in entry.get("curve", ()))
        joules = entry.get("joules")
        return cls(
            **read
            | {
                "scores": tuple(entry["scores"]),
                "events": Events(**events),
                "curve": curve,
                "joules": joules if isinstance(joules, int | float) else None,
            }
        )


def row_of(
    entry: Mapping[str, Any],
    task: str,
    metric: str,
    learning: str,
    zero: float = 0.0,
    zero_of_curve: float | None = None,
) -> Row:
    """A row of a study (text_study, image_study, small_studies, baseline_rows) as one of a table.
    zero: what is taken from its scores, zero_of_curve (zero if None) from those of its learning
    curve; shares become percent where the metric says so."""
    scores = [float(x) for x in entry.get("scores", entry.get("bpc", ()))]
    scale = 100.0 if entry.get("metric") == "accuracy" and metric == "accuracy %" else 1.0
    events = entry["events"]
    parts = [events] if isinstance(events, Mapping) else list(events)
    names = [f.name for f in fields(Events)]
    mean = {name: round(sum(part.get(name, 0) for part in parts) / len(parts)) for name in names}
    below = zero if zero_of_curve is None else zero_of_curve
    curves = tuple(
        tuple(_moved(Point(**point), below, scale) for point in curve)
        for curve in entry.get("curves", ())
    )
    joules = [j for j in entry.get("joules", {}).values() if not isinstance(j, str)]
    return Row(
        task,
        str(entry["name"]),
        learning,
        metric,
        tuple(scale * (score - zero) for score in scores),
        int(entry["params"]),
        float(np.mean(entry["cpu_s"]))
        + float(entry.get("field_cpu_s", 0.0)) * (learning != COUNTS),
        mean["samples"],
        Events(**mean),
        joules[0] if joules else None,
        curves,
    )


def _moved(point: Point, zero: float, scale: float) -> Point:
    score = None if point.score is None else scale * (point.score - zero)
    return replace(point, score=score)


def merged(rows: Sequence[Row]) -> Row:
    """Rows of one learner, a seed each, as one row."""
    n = len(rows)
    sums = sum((row.events for row in rows), Events())
    events = Events(**{f.name: round(getattr(sums, f.name) / n) for f in fields(Events)})
    known = [row.joules for row in rows if row.joules is not None]
    return replace(
        rows[0],
        scores=tuple(score for row in rows for score in row.scores),
        cpu_s=sum(row.cpu_s for row in rows) / n,
        samples=events.samples,
        events=events,
        joules=sum(known) / n if len(known) == n else None,
        curve=tuple(seed for row in rows for seed in row.curve),
    )


def table(rows: Sequence[Row]) -> str:
    """Markdown, one table per task, rows in their order."""
    parts = []
    for task in dict.fromkeys(row.task for row in rows):
        mine = [row for row in rows if row.task == task]
        parts += [f"{task}, {mine[0].metric}", "", *_lines(mine), ""]
    return "\n".join(parts)


def _lines(rows: Sequence[Row]) -> list[str]:
    head = (
        "learner", "learning", "score", "s.d.", "seeds", "parameters", "CPU s", "samples/s",
        "spin states", "measured J", "modelled J, digital", "modelled J, spin device",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for row in rows:
        value = row.score
        cells = (
            row.name,
            row.learning,
            str(value) if math.isfinite(value.error) else f"{value.value:.4g}",
            "-" if math.isnan(row.deviation) else f"{row.deviation:.2g}",
            str(len(row.scores)),
            f"{row.params:,}",
            f"{row.cpu_s:.3g}",
            f"{row.samples / row.cpu_s:,.0f}" if row.cpu_s > 0 else "-",
            f"{row.events.flips:.2e}" if row.events.flips else "-",
            "not measured" if row.joules is None else f"{row.joules:.3g}",
            f"{row.digital_joules:.3g}" if row.digital_joules else "-",
            "-" if row.device_joules is None else f"{row.device_joules:.3g}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def append_rows(path: FilePath, rows: Sequence[Row], machine: Mapping[str, Any]) -> None:
    """One more line of JSON: rows, machine, version, date; the old lines are kept."""
    path = Path(path)
    entry = {
        "rows": [row.to_json() for row in rows],
        "machine": dict(machine),
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_bytes() if path.exists() else b""
    with replacing(path) as file:
        file.write(old + json.dumps(entry, allow_nan=False).encode() + b"\n")


def read_rows(path: FilePath) -> list[Row]:
    """All rows of a file of `append_rows`; ValueError names the line that is none, or says that
    there are no rows. Of rows with one task and name the last counts."""
    found: dict[tuple[str, str], Row] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a file of compared rows, it is no text") from error
    for number, line in enumerate(lines, 1):
        try:
            rows = [Row.from_json(entry) for entry in json.loads(line)["rows"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: not a line of compared rows ({error})") from error
        found |= {(row.task, row.name): row for row in rows}
    if not found:
        raise ValueError(f"{path}: no rows")
    return list(found.values())
