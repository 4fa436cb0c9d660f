"""The state of a machine of blocks, all that a step changes, and the step itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isingnpu.npu.augment import Warp
from isingnpu.npu.blocks import Block
from isingnpu.npu.budget import Budget, Events, Point, Progress
from isingnpu.npu.device import Array, Device
from isingnpu.npu.draws import Draw, uniforms
from isingnpu.npu.images import ImageSet
from isingnpu.npu.ladder import Statistics, symmetric, weak
from isingnpu.npu.learning import (
    ContrastiveDivergence,
    LocalAdam,
    Moments,
    Phases,
    SymmetricFeedback,
    WeakFeedback,
)
from isingnpu.npu.phases import relax
from isingnpu.npu.sheets import Layer
from isingnpu.rng import Stream

FIRST = 256  # training images on which the fields at the start are scaled


@dataclass(eq=False)
class Machine:
    """Blocks on a device, and what learning carries from step to step.

    mean: (height, width) of the training images; averages: running averages of couplings; chains:
    (blocks, training images) output states of persistent chains; cpu_s, wall_s, events: spent
    so far; curve: of learning."""

    device: Device
    blocks: list[Block]
    mean: Array
    moments: Moments = field(default_factory=Moments)
    averages: dict[str, Array] = field(default_factory=dict)
    chains: Array | None = None
    cpu_s: float = 0.0
    wall_s: float = 0.0
    events: Events = field(default_factory=Events)
    curve: list[Point] = field(default_factory=list)

    @classmethod
    def untrained(
        cls, layers: tuple[Layer, ...], shape: tuple[int, int], labels: int, device: Device
    ) -> Machine:
        """Blocks without couplings that fit on images of this shape."""
        below, blocks = (*shape, 1), []
        for layer in layers:
            blocks.append(Block(layer, below, labels, device))
            below = blocks[-1].shape
        return cls(device, blocks, device.xp.zeros(shape, np.float32))

    def start(self, images: Array, seed: int) -> None:
        """First couplings, on the scale of the fields of the first FIRST images."""
        xp = self.device.xp
        self.mean = xp.asarray(images.mean(0, dtype=np.float64), np.float32)
        states = xp.asarray(images[:FIRST], np.float32)[..., None] - self.mean[..., None]
        for i, block in enumerate(self.blocks):
            block.start(seed, i, states)
            states = block.above(self.device.mean(block.unit, block.fields(states).field))

    @property
    def couplings(self) -> dict[str, Array]:
        """ "0.w", "0.c", "0.u", "0.b", "1.w", ...: the arrays themselves."""
        return {
            f"{i}.{name}": array
            for i, block in enumerate(self.blocks)
            for name, array in block.couplings.items()
        }

    def progress(self, budget: Budget) -> Progress:
        """Of a budget of which this machine has spent its part."""
        return Progress(
            budget,
            events=self.events,
            steps=self.moments.steps,
            curve=self.curve,
            earlier_cpu_s=self.cpu_s,
            earlier_wall_s=self.wall_s,
        )

    def check(self, images: Array) -> None:
        """ValueError unless these are images of the shape the machine was made for."""
        wanted = tuple(self.mean.shape)
        if np.ndim(images) != 3 or images.shape[1:] != wanted:
            raise ValueError(
                f"images must be (n, {wanted[0]}, {wanted[1]}), got {np.shape(images)}"
            )

    def follow(self, decay: float) -> None:
        """Move the running averages: a += (1 - decay) (w - a), from w at the first call."""
        for name, w in self.couplings.items():
            if name not in self.averages:
                self.averages[name] = w.copy()
            else:
                self.averages[name] += w.dtype.type(1 - decay) * (w - self.averages[name])

    def take_average(self) -> None:
        """Put the running averages in the place of the couplings, and forget them."""
        for name, w in self.couplings.items():
            if name in self.averages:
                w[:] = self.averages[name]
        self.averages = {}


@dataclass(eq=False)
class Learner:
    """Steps of a machine over one training part. A step is a function of the machine, the
    settings and the spent fraction of the budget."""

    machine: Machine
    images: ImageSet
    phases: Phases
    rule: LocalAdam
    credit: str
    warp: Warp | None
    batch: int
    seed: int

    def __post_init__(self) -> None:
        xp = self.machine.device.xp
        self._pixels = xp.asarray(self.images.train[0], np.float32)
        self._labels = xp.asarray(self.images.train[1])
        self._order: tuple[int, Any] = (-1, None)
        names = self.machine.couplings
        self._undecayed = frozenset(name for name in names if name[-1] in "cb")
        if self._persistent and self.machine.chains is None:
            self.machine.chains = xp.tile(self._labels, (len(self.machine.blocks), 1))

    def step(self, fraction: float) -> tuple[float, Events]:
        """Learn from one batch: its mean loss, the sum over blocks, and its cost."""
        machine = self.machine
        number = machine.moments.steps
        rows = machine.device.xp.asarray(self._rows(number))
        states, labels = self._states(rows, number)[..., None], self._labels[rows]
        draw = Draw(self.seed, Stream.HIDDEN, step=number)
        if self.credit == "local":
            found, loss, events = self._local(states, labels, rows, fraction, draw)
        elif isinstance(self.phases, SymmetricFeedback):
            found, loss, events = symmetric(self.phases, machine.blocks, states, labels)
        else:
            assert isinstance(self.phases, WeakFeedback)
            found, loss, events = weak(
                self.phases,
                machine.blocks,
                states,
                labels,
                beta=self.phases.beta_at(fraction),
                draw=draw,
            )
        machine.moments.step(
            machine.device, self.rule, machine.couplings, found, fraction, self._undecayed
        )
        moved = sum(int(statistic.size) for statistic in found.values())
        # the local rule loads w, g, m, v and stores w, m, v
        events = events + Events(writes=moved, bytes=28 * moved, samples=len(rows))
        if self.warp is not None:
            events = events + Events(random_words=6 * len(rows), bytes=8 * states.size)
        return loss, events

    def _local(
        self, states: Array, labels: Array, rows: Array, fraction: float, draw: Draw
    ) -> tuple[Statistics, float, Events]:
        assert not isinstance(self.phases, SymmetricFeedback)
        machine, n = self.machine, len(labels)
        found: Statistics = {}
        total, events = 0.0, Events()
        for i, block in enumerate(machine.blocks):
            fields = block.fields(states)
            chains = None
            if self._persistent and machine.chains is not None:
                chains = machine.chains[i, rows]
            answer = relax(
                self.phases,
                block,
                fields.field,
                labels,
                draw=draw.at(block=i),
                fraction=fraction,
                chains=chains,
            )
            if self._persistent and machine.chains is not None:
                machine.chains[i, rows] = answer.chains
            at_sites = block.at_sites(answer.hidden, fields, answer.rows)
            for name, sums in block.correlate(states, at_sites, answer.rows, 1 / n).items():
                found[f"{i}.{name}"] = sums
            found[f"{i}.u"], found[f"{i}.b"] = answer.output / n, answer.bias / n
            learned = len(answer.hidden)
            total += answer.loss / n
            events = events + answer.events + block.forward_events(n)
            events = events + block.forward_events(learned)  # the same products, transposed
            states = block.above(answer.states)
        return found, total, events

    @property
    def _persistent(self) -> bool:
        return isinstance(self.phases, ContrastiveDivergence) and self.phases.persistent

    def _rows(self, step: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Training images of a step: every epoch has its own random order."""
        n, first = len(self._labels), step * self.batch
        parts = []
        while first < (step + 1) * self.batch:
            epoch, at = divmod(first, n)
            part = self._permutation(epoch, n)[at : at + (step + 1) * self.batch - first]
            parts.append(part)
            first += len(part)
        return np.concatenate(parts)

    def _permutation(self, epoch: int, n: int) -> Array:
        if self._order[0] != epoch:
            u = uniforms((n,), Draw(self.seed, Stream.BATCH, step=int(epoch)))
            self._order = int(epoch), np.argsort(u, kind="stable")
        return self._order[1]

    def _states(self, rows: Array, step: int) -> Array:
        """(batch, height, width): moved images minus the mean image."""
        device, mean = self.machine.device, self.machine.mean
        if self.warp is None:
            return self._pixels[rows] - mean
        maps = self.warp.maps(device, len(rows), Draw(self.seed, Stream.AUGMENT, step=step))
        return device.warp(self._pixels, rows, maps, mean)
