"""Rows of a table of baselines: settings chosen on held-out data, then one training per seed.

A row is a dictionary that fits into JSON: name, params, budget, metric, scores (one per seed);
cpu_s, steps, samples, samples_per_s, events and joules (per sensor, or "not measured"), means over
the seeds; curves, one per seed; settings, with the rules tried and the scores they were chosen by.
Where several rules are given, the best is chosen with the first seed under `sweep_budget` on data
that the judged part is not among.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isingnpu.npu.baseline_images import NETWORKS, ImageBaseline, ImageNetwork, Layer
from isingnpu.npu.baseline_sequences import MaskedTransformer, Recalled, RecallTransformer
from isingnpu.npu.baseline_text import Field, TextBaseline, Window
from isingnpu.npu.baseline_training import Rule
from isingnpu.npu.baseline_transformer import Transformer
from isingnpu.npu.budget import Budget, Progress, mean_joules
from isingnpu.npu.corpus import Corpus
from isingnpu.npu.images import ImageSet

Array = NDArray[Any]
Row = dict[str, Any]


def rates(rule: Rule, *values: float) -> tuple[Rule, ...]:
    """The rule with these rates of AdamW."""
    return tuple(replace(rule, rate=value) for value in values)


IMAGE_RULES = rates(Rule(warm_up=100, floor=0.01), 1e-3, 3e-3, 6e-3, 1e-2)
MASKED_RULES = rates(Rule(muon=0.02), 1e-3, 3e-3)
CURVE = 500  # test sequences on which a masked transformer's learning curve is scored
RECALL_RULES = rates(Rule(muon=0.02), 1e-3, 3e-3)


@dataclass(frozen=True)
class TextCandidate:
    """A text network, the rules to choose from, and the windows of a step."""

    network: Transformer | Window
    rules: tuple[Rule, ...]
    batch: int


def text_candidates(colours: int) -> dict[str, TextCandidate]:
    """The baselines of text, with the rules that were best in short sweeps on the tuning part of
    tiny-shakespeare."""
    plain = Transformer(colours, colours)
    return {
        "transformer": TextCandidate(plain, (Rule(rate=3e-3, muon=0.02),), 8),
        "transformer, 4-token inputs": TextCandidate(
            replace(plain, neighbours=4), (Rule(rate=6e-3, muon=0.02),), 8
        ),
        "wide transformer, 4-token inputs": TextCandidate(
            replace(plain, neighbours=4, width=128), (Rule(rate=6e-3, muon=0.02),), 8
        ),
        "window perceptron": TextCandidate(Window(colours), (Rule(rate=5e-3),), 128),
    }


class Trained(Protocol):
    """What a row is made of."""

    @property
    def n_parameters(self) -> int:
        """Numbers that are learned."""


@dataclass(frozen=True)
class Outcome:
    """One training and its score."""

    machine: Trained
    progress: Progress
    score: float


@dataclass(frozen=True)
class Trial:
    """One baseline of a task. train: by a rule and a seed, judged. tune: the same on held-out
    data."""

    name: str
    metric: str
    rules: Sequence[Rule]
    train: Callable[[Rule, int], Outcome]
    tune: Callable[[Rule, int], Outcome]
    settings: Mapping[str, Any]

    def row(self, budget: Budget, seeds: Sequence[int]) -> Row:
        rule, sweep = self.rules[0], []
        if len(self.rules) > 1:
            scores = [self.tune(one, seeds[0]).score for one in self.rules]
            best = np.argmax(scores) if self.metric == "accuracy" else np.argmin(scores)
            rule = self.rules[int(best)]
            sweep = [
                {"rule": asdict(one), "score": score}
                for one, score in zip(self.rules, scores, strict=True)
            ]
        outcomes = [self.train(rule, seed) for seed in seeds]
        settings = {**self.settings, "rule": asdict(rule), "sweep": sweep}
        return self._measured(budget, outcomes) | {"settings": settings}

    def _measured(self, budget: Budget, outcomes: Sequence[Outcome]) -> Row:
        parts = [outcome.progress for outcome in outcomes]
        events = [part.events.to_json() for part in parts]
        mean = {k: float(np.mean([e[k] for e in events])) for k in events[0]}
        cpu_s = float(np.mean([part.cpu_s for part in parts]))
        return {
            "name": self.name,
            "params": outcomes[0].machine.n_parameters,
            "budget": {k: v for k, v in asdict(budget).items() if v is not None},
            "metric": self.metric,
            "scores": [outcome.score for outcome in outcomes],
            "cpu_s": cpu_s,
            "steps": float(np.mean([part.steps for part in parts])),
            "samples": mean["samples"],
            "samples_per_s": mean["samples"] / cpu_s,
            "events": mean,
            "joules": mean_joules(parts),
            "curves": [[asdict(point) for point in part.curve] for part in parts],
        }


def text_rows(
    corpus: Corpus,
    budget: Budget,
    seeds: Sequence[int],
    *,
    candidates: Mapping[str, TextCandidate] | None = None,
    sweep_budget: Budget | None = None,
    positions: Array | None = None,
    field: Field | None = None,
    field_cpu_s: float = 0.0,
    marks: int = 0,
    device: str = "cpu",
) -> list[Row]:
    """Bits per token at `positions` of the judged part, by default 20,000 evenly spaced ones that
    every candidate has its context for; rules are chosen on corpus.tuning(). field: as for
    TextBaseline; the names then say so, and the rows keep under "field_cpu_s" the CPU seconds
    that it took, which are not of the budget. marks: points of the learning curve, at these
    positions."""
    candidates = candidates or text_candidates(corpus.colours)
    context = max(one.network.context for one in candidates.values())
    judged = spaced(corpus.positions(context), 20_000) if positions is None else positions
    tuning = corpus.tuning()
    tuned = spaced(tuning.positions(context), 10_000)

    def trial(name: str, one: TextCandidate) -> Trial:
        def train(rule: Rule, seed: int, on: Corpus, at: Array, spent: Budget) -> Outcome:
            machine = TextBaseline(
                one.network, rule, batch=one.batch, seed=seed, field=field, device=device
            )
            held_out = at if marks and on is corpus else None
            progress = machine.fit(on, spent, held_out=held_out, marks=marks)
            return Outcome(machine, progress, machine.bpc(on, at))

        return Trial(
            name if field is None else f"{name} + field",
            "bits per token",
            one.rules,
            lambda rule, seed: train(rule, seed, corpus, judged, budget),
            lambda rule, seed: train(rule, seed, tuning, tuned, sweep_budget or budget),
            asdict(one.network) | {"batch": one.batch},
        )

    rows = [trial(name, one).row(budget, seeds) for name, one in candidates.items()]
    return [row | {"field_cpu_s": field_cpu_s} for row in rows]


def image_rows(
    images: ImageSet,
    budget: Budget,
    seeds: Sequence[int],
    *,
    networks: Mapping[str, tuple[Layer, ...]] | None = None,
    rules: Sequence[Rule] = IMAGE_RULES,
    sweep_budget: Budget | None = None,
    batch: int = 128,
    augment: bool = True,
    marks: int = 0,
    device: str = "cpu",
) -> list[Row]:
    """Accuracy on the test part; rules are chosen on images.validation(). marks: points of the
    learning curve, on the test part."""
    validation = images.validation()

    def trial(name: str, network: ImageNetwork) -> Trial:
        def train(rule: Rule, seed: int, on: ImageSet, spent: Budget) -> Outcome:
            machine = ImageBaseline(
                network, rule, batch=batch, augment=augment, seed=seed, device=device
            )
            held_out = on.test if marks and on is images else None
            progress = machine.fit(on, spent, held_out=held_out, marks=marks)
            return Outcome(machine, progress, machine.score(on))

        return Trial(
            name,
            "accuracy",
            rules,
            lambda rule, seed: train(rule, seed, images, budget),
            lambda rule, seed: train(rule, seed, validation, sweep_budget or budget),
            {"layers": [str(layer) for layer in network.layers], "batch": batch,
             "augment": augment},
        )  # fmt: skip

    made = {
        name: ImageNetwork(images.shape, images.labels, layers)
        for name, layers in (networks or NETWORKS).items()
    }
    return [trial(name, network).row(budget, seeds) for name, network in made.items()]


def masked_rows(
    train: Array,
    test: Array,
    colours: int,
    budget: Budget,
    seeds: Sequence[int],
    *,
    layers: Sequence[int] = (1, 3),
    rules: Sequence[Rule] = MASKED_RULES,
    sweep_budget: Budget | None = None,
    marks: int = 16,
    device: str = "cpu",
) -> list[Row]:
    """Cross-entropy in nats of single sites of sequences (n, length), and its learning curve on
    the first CURVE test sequences; rules are chosen on the last tenth of those to learn from."""
    cut = len(train) - max(1, len(train) // 10)

    def trial(depth: int) -> Trial:
        def fit(rule: Rule, seed: int, on: Array, judged: Array, spent: Budget) -> Outcome:
            machine = MaskedTransformer(
                colours, train.shape[1], rule, layers=depth, seed=seed, device=device
            )
            progress = machine.fit(on, spent, held_out=judged[:CURVE], marks=marks)
            return Outcome(machine, progress, machine.cross_entropy(judged))

        return Trial(
            f"masked transformer, layers: {depth}",
            "nats",
            rules,
            lambda rule, seed: fit(rule, seed, train, test, budget),
            lambda rule, seed: fit(rule, seed, train[:cut], train[cut:], sweep_budget or budget),
            {"layers": depth},
        )

    return [trial(depth).row(budget, seeds) for depth in layers]


def recall_rows(
    examples: Recalled | Callable[[int], Recalled],
    held_out: Recalled,
    colours: int,
    answers: int,
    budget: Budget,
    seeds: Sequence[int],
    *,
    neighbours: Sequence[int] = (1, 2),
    rules: Sequence[Rule] = RECALL_RULES,
    sweep_budget: Budget | None = None,
    batch: int = 64,
    goal: float = 0.99,
    marks: int = 60,
    device: str = "cpu",
) -> list[Row]:
    """Part of right answers, and under "goal_cpu_s" the CPU seconds at which every seed's learning
    curve first reached `goal`, None where it never did. Rules are chosen on examples of the
    training source."""
    tuning = _sample(examples)

    def trial(seen: int) -> Trial:
        def train(rule: Rule, seed: int, judged: Recalled, spent: Budget) -> Outcome:
            machine = RecallTransformer(
                colours, answers, held_out[0].shape[1], rule, neighbours=seen, batch=batch,
                seed=seed, device=device,
            )  # fmt: skip
            progress = machine.fit(examples, spent, held_out=judged, marks=marks)
            return Outcome(machine, progress, machine.score(*judged))

        return Trial(
            "transformer" if seen == 1 else f"transformer, {seen}-token inputs",
            "accuracy",
            rules,
            lambda rule, seed: train(rule, seed, held_out, budget),
            lambda rule, seed: train(rule, seed, tuning, sweep_budget or budget),
            {"neighbours": seen, "batch": batch},
        )

    rows = [trial(seen).row(budget, seeds) for seen in neighbours]
    return [row | {"goal_cpu_s": [_reached(c, goal) for c in row["curves"]]} for row in rows]


def _sample(examples: Recalled | Callable[[int], Recalled]) -> Recalled:
    """Stored examples, or batches of steps that no training comes to."""
    if not callable(examples):
        return examples
    made = [examples((1 << 31) - 1 - k) for k in range(16)]
    return np.concatenate([x for x, _ in made]), np.concatenate([y for _, y in made])


def _reached(curve: Sequence[Mapping[str, Any]], goal: float) -> float | None:
    return next((point["cpu_s"] for point in curve if point["score"] >= goal), None)


def spaced(positions: Array, number: int) -> Array:
    """At most `number` of them, evenly spaced, first and last included."""
    if len(positions) <= number:
        return positions
    return positions[np.linspace(0, len(positions) - 1, number).round().astype(np.int64)]
