"""What training may cost and what it did cost: events counted, seconds and joules measured.

events   spin draws and evaluations, Potts draws, multiply-adds, couplings written, bytes
joules   measured by a sensor over the whole fit, or modelled as events times cited prices;
         the two are different types and are never added
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from operator import add
from typing import Any

from isingnpu.ledger import EnergyReading, Meter


@dataclass
class Events:
    """Counted while a machine works; integers.

    draws: random states of hidden spins drawn, and of masks that leave some out; evaluations:
    hidden states computed as means; potts_draws: states of Potts spins drawn; macs: multiply-adds
    of matrix products and additions of selectors; random_words: 32-bit Philox words; writes:
    couplings and fields rewritten; reads: spin states read out; bytes: arrays that kernels load
    and store; samples: images or tokens learned from.
    """

    draws: int = 0
    evaluations: int = 0
    potts_draws: int = 0
    macs: int = 0
    random_words: int = 0
    writes: int = 0
    reads: int = 0
    bytes: int = 0
    samples: int = 0

    def __add__(self, other: Events) -> Events:
        return Events(*map(add, vars(self).values(), vars(other).values()))

    @property
    def flips(self) -> int:
        """Spin states decided, drawn or averaged: what a device of spins would update."""
        return self.draws + self.evaluations + self.potts_draws

    def to_json(self) -> dict[str, int]:
        return {f.name: int(getattr(self, f.name)) for f in fields(self)} | {
            "flips": int(self.flips)
        }


@dataclass(frozen=True)
class Budget:
    """When training ends: at the first limit that is reached.

    cpu_s: CPU seconds of this process, all its threads; work of a GPU is not among them, which the
    host only waits for. wall_s: seconds of a clock, for a machine on a GPU. Evaluation on the
    validation split is in neither."""

    cpu_s: float | None = None
    steps: int | None = None
    flips: float | None = None
    joules: float | None = None
    wall_s: float | None = None

    def __post_init__(self) -> None:
        limits = {name: limit for name, limit in vars(self).items() if limit is not None}
        if not limits:
            raise ValueError("a budget needs a limit: cpu_s=, steps=, flips=, joules= or wall_s=")
        for name, limit in limits.items():
            if not limit > 0:
                raise ValueError(f"{name} must be above 0, got {limit}")


@dataclass
class Point:
    """One entry of a learning curve. loss: None where a learner does not tell it."""

    steps: int
    cpu_s: float
    flips: int
    loss: float | None
    score: float | None = None


@dataclass(eq=False)
class Progress:
    """The state of a budget: what is spent, and the learning curve.

    Use: `with Progress(budget) as progress: while not progress.spent: ...; progress.count(...)`.
    Work inside `with progress.pause():` costs nothing. joules of the budget are those of the first
    sensor since this call began: ValueError without one.
    """

    budget: Budget
    events: Events = field(default_factory=Events)
    steps: int = 0
    curve: list[Point] = field(default_factory=list)
    energy: tuple[EnergyReading, ...] = ()
    earlier_cpu_s: float = 0.0
    earlier_wall_s: float = 0.0
    loss: float = math.nan  # of the last step that told it

    def __enter__(self) -> Progress:
        self._meter = Meter().__enter__()
        self._joules = {
            name: _Stopwatch(partial(self._meter.joules, name)) for name in self._meter.readable
        }
        self._cpu, self._wall = _Stopwatch(time.process_time), _Stopwatch(time.perf_counter)
        return self

    def __exit__(self, *error: Any) -> None:
        for watch in self._watches:
            watch.halt()
        self._meter.__exit__(None, None, None)
        self.energy = tuple(
            replace(e, joules=self._joules[e.source].spent) if e.joules is not None else e
            for e in self._meter.energy
        )

    @property
    def _watches(self) -> list[_Stopwatch]:
        return [self._cpu, self._wall, *self._joules.values()]

    @property
    def cpu_s(self) -> float:
        """CPU seconds spent on training so far, earlier parts of a resumed run included."""
        return self.earlier_cpu_s + self._cpu.spent

    @property
    def wall_s(self) -> float:
        """The same in seconds of a clock."""
        return self.earlier_wall_s + self._wall.spent

    @property
    def fraction(self) -> float:
        """Spent part of the budget, the largest over its limits; 1 at the end."""
        b = self.budget
        parts = [
            0.0 if limit is None else used / limit
            for used, limit in (
                (self.cpu_s, b.cpu_s),
                (self.steps, b.steps),
                (self.events.flips, b.flips),
                (self.wall_s, b.wall_s),
            )
        ]
        if b.joules is not None:
            parts.append(self._joules[self._meter.first].spent / b.joules)
        return min(1.0, max(parts))

    @property
    def spent(self) -> bool:
        return self.fraction >= 1.0

    def count(self, events: Events, loss: float = math.nan) -> None:
        """One step was made at this cost."""
        self.steps += 1
        self.events = self.events + events
        self.loss = loss

    def pause(self) -> _Pause:
        """A block whose seconds and joules are not of the budget."""
        return _Pause(self)

    def mark(self, loss: float, score: float | None = None) -> None:
        """Append a point to the learning curve."""
        told = None if math.isnan(loss) else loss
        self.curve.append(Point(self.steps, self.cpu_s, self.events.flips, told, score))

    @classmethod
    def after(cls, earlier: Progress | None, budget: Budget) -> Progress:
        """Of a budget of which `earlier`, which has ended, has spent its part."""
        if earlier is None:
            return cls(budget)
        return cls(
            budget,
            earlier.events,
            earlier.steps,
            earlier.curve,
            earlier_cpu_s=earlier.cpu_s,
            earlier_wall_s=earlier.wall_s,
        )

    def to_json(self) -> dict[str, Any]:
        """What has been spent, and the learning curve."""
        return {
            "budget": asdict(self.budget),
            "events": {f.name: int(getattr(self.events, f.name)) for f in fields(Events)},
            "steps": self.steps,
            "cpu_s": self.cpu_s,
            "wall_s": self.wall_s,
            "curve": [asdict(point) for point in self.curve],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Progress:
        """The inverse of `to_json`: a progress that has ended."""
        progress = cls(
            Budget(**stored["budget"]),
            Events(**stored["events"]),
            stored["steps"],
            [Point(**point) for point in stored["curve"]],
            earlier_cpu_s=stored["cpu_s"],
            earlier_wall_s=stored["wall_s"],
        )
        progress._cpu, progress._wall = _Stopwatch(lambda: 0.0), _Stopwatch(lambda: 0.0)
        return progress


def mean_joules(trained: Iterable[Progress]) -> dict[str, float | str]:
    """Measured joules of a training, the mean, by sensor; one training without a reading leaves
    a sensor's "not measured"."""
    read: dict[str, list[float | None]] = {}
    for one in trained:
        for energy in one.energy:
            read.setdefault(energy.source, []).append(energy.joules)
    made: dict[str, float | str] = {}
    for source, values in read.items():
        known = [value for value in values if value is not None]
        made[source] = sum(known) / len(known) if len(known) == len(values) else "not measured"
    return made


class Marks:
    """A `watch` of `fit`: scores a learner whenever another of `number` equal parts of its budget
    is spent, the last excepted, and puts it on the learning curve. Scoring costs nothing."""

    def __init__(self, number: int, score: Callable[[], float]) -> None:
        self.number, self.score, self._passed = number, score, 0

    def __call__(self, progress: Progress) -> None:
        part = int(progress.fraction * self.number)
        if self._passed < part < self.number:
            self._passed = part
            with progress.pause():
                score = self.score()
            progress.mark(progress.loss, score)


class _Stopwatch:
    """Seconds of a clock, or joules of a sensor, since it was started, without those of pauses."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._start = clock, clock()
        self._halted: float | None = None

    @property
    def spent(self) -> float:
        return (self._clock() if self._halted is None else self._halted) - self._start

    @property
    def runs(self) -> bool:
        return self._halted is None

    def halt(self) -> None:
        self._halted = self._clock()

    def go_on(self) -> None:
        assert self._halted is not None
        self._start += self._clock() - self._halted
        self._halted = None


class _Pause:
    """Halts the watches that run; a pause within a pause changes nothing."""

    def __init__(self, progress: Progress) -> None:
        self._watches = [watch for watch in progress._watches if watch.runs]

    def __enter__(self) -> None:
        for watch in self._watches:
            watch.halt()

    def __exit__(self, *error: Any) -> None:
        for watch in self._watches:
            watch.go_on()
