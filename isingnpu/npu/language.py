"""PottsIsingLM: a language model of Potts and Ising spins that learns by local statistics.

The context is clamped; the output Potts spin, hidden spins and selectors are free. What the
energy is and how a coupling learns is in isingnpu.npu.text_net. No backprop: a coupling moves by
what its two ends do in two phases. For one hidden layer this estimates the gradient of
log p(x_t | context) up to O(beta^2); it is not learning without gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from isingnpu.archive import FilePath
from isingnpu.npu.budget import Budget, Progress
from isingnpu.npu.corpus import Corpus
from isingnpu.npu.count_field import KBodyField
from isingnpu.npu.device import Device, find_device, host
from isingnpu.npu.draws import Draw, uniforms
from isingnpu.npu.learning import Moments
from isingnpu.npu.ngram_fields import ContextRows, fold_parts
from isingnpu.npu.store import read_machine, write_machine
from isingnpu.npu.text_net import Batch, TextNet, TextSpec
from isingnpu.npu.text_training import (
    TOGETHER,
    TextTraining,
    spec_from_json,
    spec_to_json,
    training_from_json,
    training_to_json,
)
from isingnpu.rng import Stream, as_seed

Array = NDArray[Any]

KIND = "PottsIsingLM"
UNDECAYED = frozenset({"b", "c", "a2", "c2", "alpha", "gain0", "gain1"})
RUN, RUNS = 128, 8  # positions evaluated together
LN2 = math.log(2)


@dataclass(eq=False)
class _Reading:
    """A text as the machine sees it: what does not change while it learns, on its device."""

    tokens: Array
    low: int
    high: int
    rows: Array | None = None
    parts: Array | None = None
    field: Array | None = None  # (positions, experts, q) float16
    states: Array | None = None


class PottsIsingLM:
    """fit, predict, log_probabilities, bpc, score, sample, save, load.

    seed: 64-bit key of all its random numbers. With a budget in steps, training is the same bits
    on one device every time, whether interrupted or not."""

    def __init__(
        self,
        spec: TextSpec,
        training: TextTraining | None = None,
        *,
        counts: KBodyField | None = None,
        seed: int = 0,
        device: str | Device = "auto",
        dtype: type = np.float32,
    ) -> None:
        states = counts.states if counts is not None else ()
        if tuple(spec.count_states) != tuple(states):
            raise ValueError(
                f"count_states of the spec are {spec.count_states}, the count field has {states}; "
                "pass both or neither"
            )
        self.spec, self.training, self.counts = spec, training or TextTraining(), counts
        if spec.before >= self.training.length:
            raise ValueError(
                f"runs of {self.training.length} positions are too short for a second block that "
                f"needs {spec.before} before its first"
            )
        self.seed = as_seed(seed)
        self._device = find_device(device)
        self.net = TextNet(spec, self._device, seed=self.seed, dtype=dtype)
        self._rows: ContextRows | None = None
        self._folded: int | None = None  # checksum of the rows and parts by fold in training
        self._moments, self._head_moments = Moments(), Moments()
        self._epoch: tuple[int, Array, int] | None = None
        self.progress: Progress | None = None
        self.alphabet: tuple[str, ...] | None = None  # of the text it learns

    @property
    def reach(self) -> int:
        """Tokens before a position that the machine reads."""
        counted = self.counts.order + self.spec.before if self.counts is not None else 0
        return max(self.spec.reach, counted)

    @property
    def n_couplings(self) -> int:
        """Couplings and fields without n-gram rows."""
        return sum(int(a.size) for a in self.net.couplings.values())

    @property
    def n_table_entries(self) -> int:
        """Stored numbers of n-gram rows and count fields that a trained machine reads."""
        counted = self.counts.n_entries if self.counts is not None else 0
        return int(self.net.tables[0].size) + counted

    def fit(
        self,
        corpus: Corpus,
        budget: Budget,
        *,
        until: int | None = None,
        watch: Callable[[Progress], None] | None = None,
        every: int = 200,
    ) -> Progress:
        """Learn from the training part. A machine that was stopped (`until` a step, or saved and
        loaded) goes on where it was. watch is called every `every` steps, off the budget.
        ValueError for another text than the one that its n-gram rows or counts are of."""
        self.check(corpus)
        needed = self.reach + (self.training.runs + 2) * self.training.length
        if corpus.train < needed:
            raise ValueError(f"{corpus.train} training tokens, at least {needed} are needed")
        with Progress.after(self.progress, budget) as progress:
            self.progress = progress
            reading = self._training_text(corpus)
            self.alphabet = corpus.alphabet
            loss, n = 0.0, 0
            while not progress.spent and (until is None or progress.steps < until):
                batch = self._batch(reading, progress.steps)
                step_loss = self._learn(batch, progress)
                loss, n = loss + step_loss, n + 1
                progress.count(self.net.events(batch), step_loss)
                if progress.steps % every == 0:
                    progress.mark(loss / n)
                    loss, n = 0.0, 0
                    if watch is not None:
                        with progress.pause():
                            watch(progress)
        return progress

    def check(self, corpus: Corpus) -> None:
        """ValueError unless the tokens of this text are those that the machine has learned."""
        if corpus.colours != self.spec.colours:
            raise ValueError(
                f"{corpus.name} has {corpus.colours} colours, the machine {self.spec.colours}"
            )
        if self.alphabet not in (None, corpus.alphabet):
            raise ValueError(f"{corpus.name} has other characters than those that were learned")
        if not corpus.train <= corpus.end <= len(corpus.tokens):
            raise ValueError(
                f"{corpus.name} has {len(corpus.tokens)} tokens, its parts end at {corpus.train} "
                f"and {corpus.end}"
            )

    def _training_text(self, corpus: Corpus) -> _Reading:
        low, high, put = self.reach, corpus.train, self._device.xp.asarray
        reading = _Reading(put(corpus.tokens, np.uint8), low, high)
        spec = self.spec.ngrams
        if spec is not None:
            if self._rows is None:
                self._rows = ContextRows.of(spec, corpus.tokens, low, high)
            rows = self._rows(corpus.tokens, low, high)
            parts, n_parts = fold_parts(rows, spec.folds)
            reading.rows, reading.parts = put(rows), put(parts)
            folded = crc32(parts.data, crc32(rows.data))
            if not len(self.net.tables[0]):
                self.net.resize_rows(self._rows.count, n_parts)
                self._folded = folded
            if self._folded != folded:
                raise ValueError(
                    "the parts of n-gram rows by fold are of another text, or were not saved: a "
                    "machine goes on with the text it began with, from save(training=True)"
                )
        if self.counts is not None:
            field = self.counts.held_out(corpus.tokens, low, high)
            reading.field, reading.states = map(put, field)
        return reading

    def _batch(self, reading: _Reading, step: int) -> Batch:
        """The runs of a step: the next chunks in the random order of its epoch."""
        t, spec = self.training, self.spec
        chunks = (reading.high - reading.low) // t.length - 1
        epoch, place = divmod(step, chunks // t.runs)
        if self._epoch is None or self._epoch[0] != epoch:
            u = uniforms((chunks + 1,), Draw(self.seed, Stream.BATCH, step=epoch))
            self._epoch = epoch, np.argsort(u[:-1], kind="stable"), int(u[-1] * t.length)
        _, order, shift = self._epoch
        begins = order[place * t.runs : (place + 1) * t.runs] * t.length + shift
        batch = self._view(reading, begins, t.length)
        if spec.hidden and t.dropout:
            shape = (batch.size // TOGETHER, spec.hidden)
            kept = self._device.uniforms(shape, Draw(self.seed, Stream.DROPOUT, step=step))
            scale = self.net.dtype(1 / (1 - t.dropout))
            batch.keep = (kept >= t.dropout).astype(self.net.dtype) * scale
        return batch

    def _view(self, reading: _Reading, begins: Array, length: int) -> Batch:
        """Runs that start at low + begins."""
        xp = self._device.xp
        starts = xp.asarray(begins + reading.low, np.int64)
        batch = Batch(reading.tokens, starts, length)
        inside = xp.asarray((begins[:, None] + np.arange(length)).reshape(-1))
        if reading.rows is not None:
            batch.rows = reading.rows[inside]
            batch.parts = (
                xp.full_like(batch.rows, -1) if reading.parts is None else reading.parts[inside]
            )
        if reading.field is not None and reading.states is not None:
            batch.logs = reading.field[inside].astype(self.net.dtype)
            batch.states = reading.states[inside].astype(np.int64)
        return batch

    def _learn(self, batch: Batch, progress: Progress) -> float:
        """One step of all couplings; returns the mean of -log2 p before it."""
        training, fraction = self.training, progress.fraction
        moved, loss = self.net.statistics(batch, training.phases.beta_at(fraction))
        rule = training.rule
        if self.spec.ngrams is not None:
            share = rule.rate_at(progress.steps, fraction) / rule.rate
            moved["alpha"] = self.net.learn_rows(batch, self.spec.ngrams.rate * share)
        of_heads = {name: moved.pop(name) for name in list(moved) if name[0] in "MVXk"}
        couplings = self.net.couplings
        self._moments.step(self._device, rule, couplings, moved, fraction, UNDECAYED)
        if self.spec.selectors is not None:
            rule = replace(rule, rate=rule.rate * self.spec.selectors.rate, decay=0.0)
            self._head_moments.step(self._device, rule, couplings, of_heads, fraction)
        return loss / math.log(2)

    def log_probabilities(self, tokens: Array, low: int, high: int) -> Array:
        """(high - low, q) natural logarithms: of every colour at the positions low..high - 1,
        which need `reach` tokens before them."""
        parts = [scores for _, scores in self._scored(tokens, low, high)]
        return np.concatenate(parts)

    def predict(self, tokens: Array, low: int, high: int) -> Array:
        """(high - low,) the most probable token at the positions low..high - 1."""
        return np.concatenate([g.argmax(1) for _, g in self._scored(tokens, low, high)])

    def _scored(self, tokens: Array, low: int, high: int) -> Iterator[tuple[Array, Array]]:
        """(positions, log p (n, q) float64) in pieces."""
        if not self.reach <= low < high <= len(tokens):
            raise ValueError(
                f"positions must lie between {self.reach} and {len(tokens)}, got {low} to {high}"
            )
        if tokens[:high].max() >= self.spec.colours:
            raise ValueError(
                f"a token is {tokens[:high].max()}, the machine has {self.spec.colours} colours"
            )
        before = self.spec.before
        there = self._device.xp.asarray(np.ascontiguousarray(tokens), np.uint8)
        for begin in range(low, high, RUNS * RUN):
            end = min(begin + RUNS * RUN, high)
            reading = self._text(tokens, there, begin - before, end)
            length = RUN if (end - begin) % RUN == 0 else end - begin
            batch = self._view(reading, np.arange(0, end - begin, length), length + before)
            g = host(self._device, self.net.answer_fields(batch)).astype(np.float64)
            g -= g.max(1, keepdims=True)
            g -= np.log(np.exp(g).sum(1, keepdims=True))
            yield np.arange(begin, end), g

    def _text(self, tokens: Array, there: Array, low: int, high: int) -> _Reading:
        """A text that was not learned from, whose tokens lie on the device as well."""
        reading, put = _Reading(there, low, high), self._device.xp.asarray
        if self.spec.ngrams is not None:
            if self._rows is None:
                raise ValueError("the machine has learned nothing yet: call fit first")
            reading.rows = put(self._rows(tokens, low, high))
        if self.counts is not None:
            reading.field, reading.states = map(put, self.counts.fields(tokens, low, high))
        return reading

    def losses(self, corpus: Corpus, context: int | None = None) -> Array:
        """-log2 p at all of `corpus.positions(context)`; context: what the machine reads."""
        self.check(corpus)
        positions = corpus.positions(max(self.reach, context or 0))
        pieces = self._scored(corpus.tokens, int(positions[0]), int(positions[-1]) + 1)
        return -np.concatenate([g[np.arange(len(p)), corpus.tokens[p]] for p, g in pieces]) / LN2

    def bpc(self, corpus: Corpus, context: int | None = None) -> float:
        """Bits per character on the judged part of the corpus."""
        return float(self.losses(corpus, context).mean())

    def score(self, corpus: Corpus) -> float:
        """-bpc, so that more is better."""
        return -self.bpc(corpus)

    def sample(
        self, prompt: Array, length: int, *, replicas: int = 1, beta: float = 1.0, seed: int = 0
    ) -> Array:
        """(replicas, length) tokens that follow the prompt: the output spin drawn from its heat
        bath at beta, token by token. The prompt holds at least `reach` tokens."""
        reach = self.reach
        if len(prompt) < reach:
            raise ValueError(f"the prompt has {len(prompt)} tokens, at least {reach} are needed")
        if length < 1 or replicas < 1 or beta <= 0:
            raise ValueError("length, replicas and beta must be positive")
        key = as_seed(seed)
        texts = np.zeros((replicas, reach + length), np.uint8)
        texts[:, :reach] = prompt[len(prompt) - reach :]
        for i in range(reach, reach + length):
            u = uniforms((replicas,), Draw(key, Stream.SELECTOR, step=i - reach))
            for r in range(replicas):
                [(_, g)] = self._scored(texts[r, : i + 1], i, i + 1)
                p = np.exp(beta * (g[0] - g[0].max())).cumsum()
                texts[r, i] = np.searchsorted(p, u[r] * p[-1], side="right")
        return texts[:, reach:]

    def save(self, path: FilePath, *, training: bool = False) -> None:
        """One .npz file; training: with all that is needed to go on learning."""
        arrays: dict[str, Array] = {f"w:{k}": v for k, v in self.net.couplings.items()}
        for name, pair in (("tables", self.net.tables), ("weights", self.net.weights)):
            arrays |= {f"{name}:{i}": pair[i] for i in range(1 + training)}
        if self._rows is not None:
            arrays |= {f"contexts:{k}": c for k, c in enumerate(self._rows.contexts)}
        if self.counts is not None:
            arrays |= {f"counts:{k}": v for k, v in self.counts.arrays().items()}
        description: dict[str, Any] = {
            "spec": spec_to_json(self.spec),
            "training": training_to_json(self.training),
            "counts": None if self.counts is None else self.counts.description(),
            "seed": str(self.seed),
            "alphabet": self.alphabet,
        }
        if training and self.progress is not None:
            description["progress"] = self.progress.to_json()
            description["folded"] = self._folded
            for name, moments in (("m", self._moments), ("n", self._head_moments)):
                description[f"steps:{name}"] = moments.steps
                arrays |= {f"{name}1:{k}": v for k, v in moments.first.items()}
                arrays |= {f"{name}2:{k}": v for k, v in moments.second.items()}
        write_machine(path, KIND, description, {
            name: host(self._device, array) for name, array in arrays.items()
        })  # fmt: skip

    @classmethod
    def load(cls, path: FilePath, *, device: str | Device = "auto") -> PottsIsingLM:
        """The machine of a file; ValueError for another kind or a damaged one."""
        description, arrays = read_machine(path, KIND)

        def part(prefix: str) -> dict[str, Array]:
            n = len(prefix) + 1
            return {k[n:]: v for k, v in arrays.items() if k.startswith(f"{prefix}:")}

        def put(prefix: str) -> dict[str, Array]:
            return {k: machine._device.xp.asarray(v) for k, v in part(prefix).items()}

        counts = None
        if description["counts"] is not None:
            counts = KBodyField.restored(description["counts"], part("counts"))
        machine = cls(
            spec_from_json(description["spec"]),
            training_from_json(description["training"]),
            counts=counts,
            seed=int(description["seed"]),
            device=device,
            dtype=arrays["w:b"].dtype.type,
        )
        if description["alphabet"] is not None:
            machine.alphabet = tuple(description["alphabet"])
        net = machine.net
        net.couplings = put("w")
        if machine.spec.ngrams is not None and part("contexts"):
            machine._rows = ContextRows(
                machine.spec.ngrams,
                [part("contexts")[str(k)] for k in range(len(part("contexts")))],
            )
            tables, weights = put("tables"), put("weights")
            net.tables = tables["0"], tables.get("1", net.tables[1])
            net.weights = weights["0"], weights.get("1", net.weights[1])
        if "progress" in description:
            machine.progress = Progress.from_json(description["progress"])
            machine._folded = description["folded"]
            for name, moments in (("m", machine._moments), ("n", machine._head_moments)):
                moments.steps = description[f"steps:{name}"]
                moments.first, moments.second = put(f"{name}1"), put(f"{name}2")
        return machine
