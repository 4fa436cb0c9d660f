"""Rows of a table of baselines: settings chosen on held-out data, then one training per seed.

A row is a dictionary that fits into JSON: name, params, budget, metric, scores (one per seed), and
of all seeds together the means cpu_s, steps, samples, samples_per_s and events; settings, what was
chosen and the scores it was chosen by; joules, per sensor, or "not measured".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isingnpu.npu.baseline_images import NETWORKS, ImageBaseline, ImageNetwork
from isingnpu.npu.baseline_sequences import MaskedTransformer, Recalled, RecallTransformer
from isingnpu.npu.baseline_text import Field, TextBaseline, Window
from isingnpu.npu.baseline_training import Rule
from isingnpu.npu.baseline_transformer import Transformer
from isingnpu.npu.budget import Budget, Progress
from isingnpu.npu.corpus import Corpus
from isingnpu.npu.images import ImageSet

Array = NDArray[Any]

MASKED_RULE = Rule(rate=2e-3, muon=0.02)
RECALL_RULE = Rule(rate=3e-3, muon=0.02)


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


def choose(rates: Sequence[float], score: Callable[[float], float]) -> tuple[float, list[float]]:
    """The rate of the highest score, and all scores. A rate at the end of the list that wins says
    that the list is too short."""
    if not rates:
        raise ValueError("no rates to choose from")
    scores = [score(rate) for rate in rates]
    return rates[int(np.argmax(scores))], scores


def row(
    name: str,
    metric: str,
    budget: Budget,
    outcomes: Sequence[Outcome],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """One baseline's row."""
    parts = [outcome.progress for outcome in outcomes]
    events = [part.events.to_json() for part in parts]
    cpu_s = float(np.mean([part.cpu_s for part in parts]))
    samples = float(np.mean([part.events.samples for part in parts]))
    return {
        "name": name,
        "params": outcomes[0].machine.n_parameters,
        "budget": {k: v for k, v in asdict(budget).items() if v is not None},
        "metric": metric,
        "scores": [outcome.score for outcome in outcomes],
        "cpu_s": cpu_s,
        "steps": float(np.mean([part.steps for part in parts])),
        "samples": samples,
        "samples_per_s": samples / cpu_s,
        "events": {k: float(np.mean([e[k] for e in events])) for k in events[0]},
        "joules": _joules(parts),
        "curves": [[asdict(point) for point in part.curve] for part in parts],
        "settings": dict(settings),
    }


def _joules(parts: Iterable[Progress]) -> dict[str, float | str]:
    """Mean over trainings, per sensor; one without a reading leaves it unmeasured."""
    read: dict[str, list[float | None]] = {}
    for part in parts:
        for energy in part.energy:
            read.setdefault(energy.source, []).append(energy.joules)
    made: dict[str, float | str] = {}
    for source, values in read.items():
        known = [value for value in values if value is not None]
        made[source] = float(np.mean(known)) if len(known) == len(values) else "not measured"
    return made


@dataclass(frozen=True)
class TextCandidate:
    """A text network, its rule but for the rates, and the windows of a step."""

    network: Transformer | Window
    rule: Rule
    batch: int


def text_candidates(colours: int) -> dict[str, TextCandidate]:
    """The baselines of text, at the settings that were best in short sweeps on tiny-shakespeare's
    tuning part."""
    plain = Transformer(colours, colours)
    muon = Rule(rate=3e-3, muon=0.02)
    return {
        "transformer": TextCandidate(plain, muon, 8),
        "transformer, 4-token inputs": TextCandidate(
            replace(plain, neighbours=4), replace(muon, rate=6e-3), 8
        ),
        "window perceptron": TextCandidate(Window(colours), Rule(rate=5e-3), 128),
    }


def text_rows(
    corpus: Corpus,
    budget: Budget,
    seeds: Sequence[int],
    *,
    candidates: Mapping[str, TextCandidate] | None = None,
    rates: Sequence[float] = (),
    sweep_budget: Budget | None = None,
    positions: Array | None = None,
    field: Field | None = None,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Bits per token at `positions` of the judged part, by default 20,000 evenly spaced ones that
    every candidate has its context for. rates: of AdamW, tried on corpus.tuning() under
    sweep_budget with the first seed; none keeps each candidate's own. field: as for TextBaseline;
    the names then say so."""
    candidates = candidates or text_candidates(corpus.colours)
    context = max(one.network.context for one in candidates.values())

    def train(one: TextCandidate, rate: float, seed: int, on: Corpus, spent: Budget) -> Outcome:
        machine = TextBaseline(
            one.network, replace(one.rule, rate=rate), batch=one.batch, seed=seed, field=field,
            device=device,
        )  # fmt: skip
        progress = machine.fit(on, spent)
        own = positions if on is corpus else None
        at = spaced(on.positions(context), 20_000) if own is None else own
        return Outcome(machine, progress, machine.bpc(on, at))

    made = []
    for name, one in candidates.items():

        def held_out(rate: float, one: TextCandidate = one) -> float:
            return -train(one, rate, seeds[0], corpus.tuning(), sweep_budget or budget).score

        rate, scores = choose(rates, held_out) if rates else (one.rule.rate, [])
        outcomes = [train(one, rate, seed, corpus, budget) for seed in seeds]
        made.append(
            row(
                name if field is None else f"{name} + field",
                "bits per token",
                budget,
                outcomes,
                _settings(replace(one.rule, rate=rate), one.batch, rates, [-s for s in scores])
                | asdict(one.network),
            )
        )
    return made


def image_rows(
    images: ImageSet,
    budget: Budget,
    seeds: Sequence[int],
    *,
    networks: Mapping[str, tuple[Any, ...]] | None = None,
    rates: Sequence[float] = (1e-3, 3e-3, 6e-3),
    sweep_budget: Budget | None = None,
    batch: int = 128,
    augment: bool = True,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Accuracy on the test part. rates: tried on images.validation() under sweep_budget with the
    first seed; a single one is taken as it is."""

    def train(
        network: ImageNetwork, rate: float, seed: int, on: ImageSet, spent: Budget
    ) -> Outcome:
        rule = Rule(rate=rate, warm_up=100, floor=0.01)
        machine = ImageBaseline(
            network, rule, batch=batch, augment=augment, seed=seed, device=device
        )
        progress = machine.fit(on, spent)
        return Outcome(machine, progress, machine.score(on))

    made = []
    for name, layers in (networks or NETWORKS).items():
        network = ImageNetwork(images.shape, images.labels, layers)

        def held_out(rate: float, network: ImageNetwork = network) -> float:
            validation = images.validation()
            return train(network, rate, seeds[0], validation, sweep_budget or budget).score

        rate, scores = choose(rates, held_out) if len(rates) > 1 else (rates[0], [])
        outcomes = [train(network, rate, seed, images, budget) for seed in seeds]
        rule = Rule(rate=rate, warm_up=100, floor=0.01)
        settings = _settings(rule, batch, rates, scores) | {"augment": augment}
        made.append(row(name, "accuracy", budget, outcomes, settings))
    return made


def masked_rows(
    train: Array,
    test: Array,
    colours: int,
    budget: Budget,
    seeds: Sequence[int],
    *,
    layers: Sequence[int] = (1, 3),
    rule: Rule | None = None,
    marks: int = 16,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Cross-entropy in nats of single sites of sequences (n, length), with its own learning
    curve on the test sequences; nothing is chosen by it."""
    rule, made = rule or MASKED_RULE, []
    for depth in layers:
        outcomes = []
        for seed in seeds:
            machine = MaskedTransformer(
                colours, train.shape[1], rule, layers=depth, seed=seed, device=device
            )
            progress = machine.fit(train, budget, held_out=test, marks=marks)
            outcomes.append(Outcome(machine, progress, machine.cross_entropy(test)))
        settings = _settings(rule, machine.batch, (), []) | asdict(machine.network)
        made.append(row(f"masked transformer, {depth} layers", "nats", budget, outcomes, settings))
    return made


def recall_rows(
    examples: Recalled | Callable[[int], Recalled],
    held_out: Recalled,
    colours: int,
    answers: int,
    budget: Budget,
    seeds: Sequence[int],
    *,
    neighbours: Sequence[int] = (1, 2),
    rule: Rule | None = None,
    batch: int = 64,
    goal: float = 0.99,
    marks: int = 60,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Part of right answers, and under "goal_cpu_s" the CPU seconds at which every seed's
    learning curve first reached `goal`, None where it never did."""
    rule, made = rule or RECALL_RULE, []
    length = held_out[0].shape[1]
    for seen in neighbours:
        outcomes = []
        for seed in seeds:
            machine = RecallTransformer(
                colours, answers, length, rule, neighbours=seen, batch=batch, seed=seed,
                device=device,
            )  # fmt: skip
            progress = machine.fit(examples, budget, held_out=held_out, marks=marks)
            outcomes.append(Outcome(machine, progress, machine.score(*held_out)))
        settings = _settings(rule, batch, (), []) | asdict(machine.network)
        name = "transformer" if seen == 1 else f"transformer, {seen}-token inputs"
        one = row(name, "accuracy", budget, outcomes, settings)
        made.append(one | {"goal_cpu_s": [_reached(o.progress, goal) for o in outcomes]})
    return made


def _reached(progress: Progress, goal: float) -> float | None:
    found = (p.cpu_s for p in progress.curve if p.score is not None and p.score >= goal)
    return next(found, None)


def _settings(
    rule: Rule, batch: int, tried: Sequence[float], scores: Sequence[float]
) -> dict[str, Any]:
    sweep = {f"{rate:g}": score for rate, score in zip(tried, scores, strict=False)}
    return {"rule": asdict(rule), "batch": batch, "sweep": sweep}


def spaced(positions: Array, number: int) -> Array:
    """At most `number` of them, evenly spaced, first and last included."""
    if len(positions) <= number:
        return positions
    return positions[np.linspace(0, len(positions) - 1, number).round().astype(np.int64)]
