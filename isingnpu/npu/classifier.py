"""A machine of hidden spins that learns to label images by local two-phase statistics.

Blocks of spins (isingnpu.npu.sheets) stand on each other, each under an output Potts spin of its
own. Credit is

    local    every block relaxes in its own two phases: nothing flows from a block to one below
    ladder   the output spin of the last block is the only one; what it asks for is passed down
             through the couplings (isingnpu.npu.ladder)

A machine is a function of the images, the settings and the seed: every random number is of
isingnpu.npu.draws. A budget in CPU seconds sets the pace of the rate, so only budgets in steps or
flips give the same bits twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from isingnpu.archive import FilePath
from isingnpu.npu.augment import Warp
from isingnpu.npu.budget import Budget, Events, Point, Progress
from isingnpu.npu.device import Array, find_device, host
from isingnpu.npu.draws import Draw, Draws
from isingnpu.npu.gibbs import draw_labels, softmax
from isingnpu.npu.images import ImageSet
from isingnpu.npu.learning import LocalAdam, Phases, SymmetricFeedback, WeakFeedback
from isingnpu.npu.machine import Learner, Machine
from isingnpu.npu.readout import Readout, scores
from isingnpu.npu.settings import settings_from_json, settings_to_json
from isingnpu.npu.sheets import Dense, Layer
from isingnpu.npu.store import read_machine, write_machine
from isingnpu.rng import Stream, as_seed

KIND = "IsingClassifier"
CREDITS = ("local", "ladder")
ASK = 1 << 31  # steps from here on belong to questions, those below to training
CHUNK = 500  # images asked at a time
AVERAGE_FROM = 0.5  # of the budget


@dataclass(eq=False)
class IsingClassifier:
    """Settings, and after `fit` the machine.

    phases, rule: how couplings learn (isingnpu.npu.learning). batch: images of a step. warp: how
    images are moved at every visit, None for not at all. average: decay per step of a running
    average of the couplings over the second half of the budget, which replaces them at its end;
    0 for none. readout: how it is asked unless told otherwise."""

    blocks: tuple[Layer, ...] = (Dense(512),)
    credit: str = "local"
    phases: Phases = field(default_factory=WeakFeedback)
    rule: LocalAdam = field(default_factory=LocalAdam)
    readout: Readout = field(default_factory=Readout)
    warp: Warp | None = None
    batch: int = 128
    average: float = 0.0
    device: str = "auto"
    seed: int = 0
    machine: Machine | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError("a machine has at least one block: pass blocks=(Dense(512),)")
        if self.credit not in CREDITS:
            raise ValueError(f"unknown credit {self.credit!r}, allowed are {', '.join(CREDITS)}")
        ladder = isinstance(self.phases, WeakFeedback | SymmetricFeedback)
        if self.credit == "ladder" and not ladder:
            raise ValueError(f"a ladder learns by weak or symmetric feedback, got {self.phases}")
        if self.credit == "local" and isinstance(self.phases, SymmetricFeedback):
            raise ValueError("SymmetricFeedback passes credit down: pass credit='ladder'")
        if self.batch < 1 or not 0 <= self.average < 1:
            raise ValueError(
                f"batch >= 1 and 0 <= average < 1 are needed, got {self.batch}, {self.average}"
            )
        self.seed = as_seed(self.seed)

    def fit(
        self,
        images: ImageSet,
        budget: Budget,
        *,
        pause_after: int | None = None,
        every: int = 0,
        validation: ImageSet | None = None,
        watch: Callable[[Progress], None] | None = None,
    ) -> Progress:
        """Learn from the training part until the budget, of all calls together, is spent.

        Another call goes on where the last one stopped. pause_after: end this call after so many
        steps. every: steps between points of the learning curve, at which the test part of
        `validation` is scored outside the budget. watch is called after every step. ValueError
        for images of another shape, or labels beyond those of the first call."""
        if self.machine is None:
            device = find_device(self.device)
            machine = Machine.untrained(self.blocks, images.shape, images.labels, device)
            machine.start(images.train[0], self.seed)
            self.machine = machine
        machine = self.machine
        machine.check(images.train[0])
        if images.labels > machine.blocks[0].labels:
            raise ValueError(f"{images.labels} labels, the machine has {machine.blocks[0].labels}")
        learner = Learner(
            machine, images, self.phases, self.rule, self.credit, self.warp, self.batch, self.seed
        )
        progress = machine.progress(budget)
        losses: list[float] = []
        with progress:
            while not progress.spent and len(losses) != pause_after:
                fraction = progress.fraction
                loss, events = learner.step(fraction)
                losses.append(loss)
                progress.count(events, loss)
                if watch is not None:
                    watch(progress)
                if self.average and fraction >= AVERAGE_FROM:
                    machine.follow(self.average)
                if every and progress.steps % every == 0:
                    with progress.pause():
                        score = None if validation is None else self.score(*validation.test)
                    progress.mark(float(np.mean(losses[-every:])), score)
            if progress.spent:
                machine.take_average()
        machine.cpu_s, machine.wall_s = progress.cpu_s, progress.wall_s
        machine.events = progress.events
        return progress

    def decision(
        self, images: Array, readout: Readout | None = None, *, ask: int = 0
    ) -> tuple[Array, Events]:
        """(n, q) scores of images (n, height, width) in 0..1, larger for likelier labels, and what
        they cost. Another `ask` draws other random numbers."""
        machine = self._trained()
        machine.check(images)
        device, parts, events = machine.device, [], Events()
        for number, first in enumerate(range(0, len(images), CHUNK)):
            x = device.xp.asarray(images[first : first + CHUNK], np.float32) - machine.mean
            draw = Draw(self.seed, Stream.HIDDEN, step=ASK + (ask << 20) + number)
            part, cost = scores(readout or self.readout, machine.blocks, x[..., None], draw)
            parts.append(part)
            events = events + cost
        return device.xp.concatenate(parts), events

    def predict(self, images: Array, readout: Readout | None = None) -> Array:
        """(n,) labels."""
        return self._host(self.decision(images, readout)[0].argmax(1))

    def predict_proba(self, images: Array, draws: Draws | None = None) -> Array:
        """(n, q) heat bath of the last output spin over mean or drawn hidden states."""
        logits, _ = self.decision(images, Readout(draws=draws))
        return self._host(softmax(logits, self._trained().device.xp))

    def score(self, images: Array, labels: Array, readout: Readout | None = None) -> float:
        """Share of the images that get their label."""
        return float((self.predict(images, readout) == labels).mean())

    def sample(self, images: Array, draws: Draws | None = None, *, ask: int = 0) -> Array:
        """(n,) labels drawn from the heat bath of the last output spin."""
        device = self._trained().device
        logits, _ = self.decision(images, Readout(draws=draws), ask=ask)
        place = Draw(self.seed, Stream.SELECTOR, step=ASK + (ask << 20))
        return self._host(draw_labels(softmax(logits, device.xp), device, place))

    @property
    def parameters(self) -> int:
        """Couplings and fields of the machine."""
        return sum(int(array.size) for array in self._trained().couplings.values())

    def save(self, path: FilePath) -> None:
        """Settings, couplings and all that another `fit` needs, in one .npz file."""
        machine = self._trained()
        description = {
            "settings": settings_to_json(self),
            "shape": list(machine.mean.shape),
            "labels": machine.blocks[0].labels,
            "steps": machine.moments.steps,
            "cpu_s": machine.cpu_s,
            "wall_s": machine.wall_s,
            "events": asdict(machine.events),
            "curve": [asdict(point) for point in machine.curve],
        }
        arrays = {"mean": machine.mean}
        groups = {
            "w": machine.couplings,
            "m": machine.moments.first,
            "v": machine.moments.second,
            "a": machine.averages,
        }
        for group, members in groups.items():
            arrays |= {f"{group}/{name}": array for name, array in members.items()}
        if machine.chains is not None:
            arrays["chains"] = machine.chains
        write_machine(path, KIND, description, {
            name: self._host(array) for name, array in arrays.items()
        })  # fmt: skip

    @classmethod
    def load(cls, path: FilePath, device: str = "auto") -> IsingClassifier:
        """The classifier of `save` on a device; ValueError for another file."""
        description, arrays = read_machine(path, KIND)
        self = cls(**settings_from_json(description["settings"]), device=device)
        at = find_device(device)
        height, width = description["shape"]
        machine = Machine.untrained(self.blocks, (height, width), description["labels"], at)
        on_device = {name: at.xp.asarray(array) for name, array in arrays.items()}
        machine.mean, machine.chains = on_device.pop("mean"), on_device.pop("chains", None)
        for key, array in on_device.items():
            group, name = key.split("/")
            if group == "w":
                index, letter = name.split(".")
                machine.blocks[int(index)].couplings[letter] = array
            else:
                groups = {
                    "m": machine.moments.first,
                    "v": machine.moments.second,
                    "a": machine.averages,
                }
                groups[group][name] = array
        machine.moments.steps = description["steps"]
        machine.cpu_s, machine.wall_s = description["cpu_s"], description["wall_s"]
        machine.events = Events(**description["events"])
        machine.curve = [Point(**point) for point in description["curve"]]
        self.machine = machine
        return self

    def _trained(self) -> Machine:
        if self.machine is None:
            raise ValueError("the machine has learned nothing yet: call fit(images, budget)")
        return self.machine

    def _host(self, array: Any) -> Any:
        return host(self._trained().device, array)
