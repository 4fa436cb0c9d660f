"""What machines are trained on: a planted language, a text, labelled images.

A task names its designs (kinds of machine with their settings), trains one, judges a machine on
the judged part of its data, draws from it, and compares all kinds of learners in rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Protocol, TypeVar

import numpy as np

from isingnpu.npu import image_study, small_studies, text_study
from isingnpu.npu.budget import Budget, Progress
from isingnpu.npu.classifier import IsingClassifier
from isingnpu.npu.comparison import BACKPROP, COUNTS, TWO_PHASE, Row, merged, row_of
from isingnpu.npu.corpus import Corpus
from isingnpu.npu.count_field import KBodyField
from isingnpu.npu.device import find_device
from isingnpu.npu.factored import FactoredAttention
from isingnpu.npu.images import ImageSet
from isingnpu.npu.language import PottsIsingLM
from isingnpu.npu.planted_language import LETTERS, PlantedLanguage, planted_language
from isingnpu.statistics import Estimate

Watch = Callable[[Progress], None]
Show = Callable[[str], None]
Machine = FactoredAttention | PottsIsingLM | IsingClassifier
_M = TypeVar("_M", FactoredAttention, PottsIsingLM, IsingClassifier)

NEW_SEQUENCES, TRAINING_SEQUENCES = 10_000, 8_000
JUDGED = 20_000  # positions of a text, evenly spaced, at which baselines are judged
MARKS = 4  # of a learning curve, the score at the end among them
SWEEP = 0.25  # of a budget, for each rate that a baseline tries before it is trained


@dataclass(frozen=True, eq=False)
class Trained:
    """A machine, what its training cost, and its score on the judged part."""

    machine: Machine
    progress: Progress
    score: Estimate
    params: int


class Task(Protocol):
    """One kind of data with its machines."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def metric(self) -> str:
        """What is scored, and in which unit."""

    @property
    def designs(self) -> tuple[str, ...]:
        """Names of machines, the default first."""

    def backend(self, name: str) -> str:
        """Where machines of this task compute if asked for this backend, "auto" included;
        ValueError for one they do not run on, BackendUnavailable with the reason."""

    def train(
        self, design: str, budget: Budget, seed: int, device: str, watch: Watch | None
    ) -> Trained:
        """A new machine, trained; ValueError for an unknown design."""

    def resume(self, machine: Machine, budget: Budget, watch: Watch | None) -> Trained:
        """A saved machine, trained on; budgets count from its first step."""

    def evaluate(self, machine: Machine) -> Estimate:
        """Score on the judged part, with the standard error over that part."""

    def sample(self, machine: Machine, count: int, seed: int) -> list[str]:
        """`count` draws as text."""

    def two_phase_rows(
        self, budget_s: float, seeds: Sequence[int], device: str, show: Show
    ) -> list[Row]:
        """Machines of spins."""

    def backprop_rows(
        self, budget_s: float, seeds: Sequence[int], device: str, show: Show
    ) -> list[Row]:
        """Networks trained by backprop; ImportError without torch."""


@dataclass(eq=False)
class PlantedTask:
    """Sequences of a planted Potts language whose entropy is exact; the default needs no file."""

    seed: int = 0
    name: str = "planted Potts language"
    metric: str = "nats above the exact entropy"
    language: PlantedLanguage = field(init=False)

    def __post_init__(self) -> None:
        self.language = planted_language(seed=self.seed)

    @property
    def designs(self) -> tuple[str, ...]:
        return tuple(small_studies.PLANTED_RULES)

    def backend(self, name: str) -> str:
        if name not in ("auto", "cpu"):
            raise ValueError(f"machines of the {self.name} run on the cpu alone, not on {name!r}")
        return "cpu"

    def train(
        self, design: str, budget: Budget, seed: int, device: str, watch: Watch | None
    ) -> Trained:
        self.backend(device)
        rule = small_studies.PLANTED_RULES[_known(design, self.designs)]
        language = self.language
        small_studies.compile_for(language, rule)
        machine = FactoredAttention(language.length, language.colours, rule=rule, seed=seed)
        return self.resume(machine, budget, watch)

    def resume(self, machine: Machine, budget: Budget, watch: Watch | None) -> Trained:
        machine = _is(machine, FactoredAttention)
        learned = self.language.sequences(TRAINING_SEQUENCES, self.seed)
        progress = machine.fit(learned, budget, watch=watch)
        return Trained(machine, progress, self.evaluate(machine), machine.n_couplings)

    def evaluate(self, machine: Machine) -> Estimate:
        machine = _is(machine, FactoredAttention)
        new = self.language.sequences(NEW_SEQUENCES, self.seed + 1_000_003).astype(np.int64)
        at = new[..., None]
        true = np.take_along_axis(self.language.log_law(new), at, -1)
        learned = np.take_along_axis(machine.log_law(new), at, -1)
        excess = (true - learned).mean((1, 2))
        error = float(excess.std(ddof=1)) / math.sqrt(len(excess))
        return Estimate(float(excess.mean()), error, n_eff=len(excess))

    def sample(self, machine: Machine, count: int, seed: int) -> list[str]:
        drawn = _is(machine, FactoredAttention).sample(count, seed=seed)
        return ["".join(LETTERS[colour] for colour in sequence) for sequence in drawn]

    def two_phase_rows(
        self, budget_s: float, seeds: Sequence[int], device: str, show: Show
    ) -> list[Row]:
        self.backend(device)
        show("factored attention on planted sequences ...")
        made = small_studies.planted_rows(cpu_s=budget_s, seeds=seeds, marks=MARKS)
        return [row_of(entry, self.name, self.metric, TWO_PHASE) for entry in made]

    def backprop_rows(
        self, budget_s: float, seeds: Sequence[int], device: str, show: Show
    ) -> list[Row]:
        from isingnpu.npu import baseline_rows

        self.backend(device)
        found: list[list[Row]] = []
        for seed in seeds:  # a language each, as the rows of machines of spins
            show(f"masked transformers, language {seed} ...")
            language = planted_language(seed=seed)
            train = language.sequences(TRAINING_SEQUENCES, seed).astype(np.int64)
            test = language.sequences(NEW_SEQUENCES, seed + 1_000_003).astype(np.int64)
            made = baseline_rows.masked_rows(
                train,
                test,
                language.colours,
                Budget(cpu_s=budget_s),
                [seed],
                sweep_budget=Budget(cpu_s=SWEEP * budget_s),
            )
            true = -np.take_along_axis(language.log_law(test), test[..., None], -1)
            zero, of_curve = float(true.mean()), float(true[: baseline_rows.CURVE].mean())
            found.append(
                [row_of(entry, self.name, self.metric, BACKPROP, zero, of_curve) for entry in made]
            )
        return [merged(same) for same in zip(*found, strict=True)]


@dataclass(eq=False)
class TextTask:
    """Characters of a text, in bits per character of its judged part."""

    corpus: Corpus
    metric: str = "bits per character"

    @property
    def name(self) -> str:
        return f"text {self.corpus.name}"

    @property
    def designs(self) -> tuple[str, ...]:
        return tuple(text_study.designs())

    def backend(self, name: str) -> str:
        return find_device(name).name

    def train(
        self, design: str, budget: Budget, seed: int, device: str, watch: Watch | None
    ) -> Trained:
        chosen, counts = text_study.designs()[_known(design, self.designs)], None
        if chosen.counted:
            counts = KBodyField().fit(self.corpus.tokens, self.corpus.colours, self.corpus.train)
        spec = replace(
            chosen.spec,
            colours=self.corpus.colours,
            count_states=() if counts is None else counts.states,
        )
        text_study.compile_for(spec, chosen.training, self.corpus, device)
        machine = PottsIsingLM(spec, chosen.training, counts=counts, seed=seed, device=device)
        return self.resume(machine, budget, watch)

    def resume(self, machine: Machine, budget: Budget, watch: Watch | None) -> Trained:
        machine = _is(machine, PottsIsingLM)
        progress = machine.fit(self.corpus, budget, watch=watch, every=10)
        return Trained(machine, progress, self.evaluate(machine), machine.n_couplings)

    def evaluate(self, machine: Machine) -> Estimate:
        losses = _is(machine, PottsIsingLM).losses(self.corpus)
        return Estimate(float(losses.mean()), text_study.text_error(losses), n_eff=len(losses))

    def sample(self, machine: Machine, count: int, seed: int) -> list[str]:
        machine = _is(machine, PottsIsingLM)
        machine.check(self.corpus)
        prompt = self.corpus.tokens[self.corpus.train - machine.reach : self.corpus.train]
        drawn = machine.sample(prompt, count, seed=seed)[0]
        return self.corpus.text(drawn).split("\n")

    def two_phase_rows(
        self, budget_s: float, seeds: Sequence[int], device: str, show: Show
    ) -> list[Row]:
        rows = []
        for name in ("Kneser-Ney", *self.designs):
            show(f"{name} ...")
            [entry] = text_study.text_rows(
                self.corpus,
                cpu_s=budget_s,
                seeds=seeds,
                names=[name],
                marks=MARKS,
                device=self.backend(device),
            )
            learning = COUNTS if name == "Kneser-Ney" else TWO_PHASE
            rows.append(row_of(entry, self.name, self.metric, learning))
        return rows

    def backprop_rows(
        self, budget_s: float, seeds: Sequence[int], device: str, show: Show
    ) -> list[Row]:
        from isingnpu.npu import baseline_rows

        show("transformers on the text ...")
        corpus, budget, device = self.corpus, Budget(cpu_s=budget_s), self.backend(device)
        judged = baseline_rows.spaced(corpus.positions(text_study.judged_context()), JUDGED)
        known = baseline_rows.text_candidates(corpus.colours)
        field, field_cpu_s = text_study.field_table(corpus)
        best = "transformer, 4-token inputs"
        made = baseline_rows.text_rows(
            corpus, budget, seeds, positions=judged, marks=MARKS, device=device
        )
        made += baseline_rows.text_rows(
            corpus,
            budget,
            seeds,
            candidates={best: known[best]},
            positions=judged,
            field=field,
            field_cpu_s=field_cpu_s,
            marks=MARKS,
            device=device,
        )
        return [row_of(entry, self.name, self.metric, BACKPROP) for entry in made]


@dataclass(eq=False)
class ImageTask:
    """Labelled images, in percent of the test part that get their label."""

    images: ImageSet
    metric: str = "accuracy %"

    @property
    def name(self) -> str:
        return f"images {self.images.name}"

    @property
    def designs(self) -> tuple[str, ...]:
        return tuple(image_study.designs())

    def backend(self, name: str) -> str:
        return find_device(name).name

    def train(
        self, design: str, budget: Budget, seed: int, device: str, watch: Watch | None
    ) -> Trained:
        chosen = image_study.designs()[_known(design, self.designs)]
        chosen.classifier(seed, device).fit(self.images, Budget(steps=2))  # compiles kernels
        machine = chosen.classifier(seed, device)
        machine.readout = next(iter(chosen.readouts.values()))
        return self.resume(machine, budget, watch)

    def resume(self, machine: Machine, budget: Budget, watch: Watch | None) -> Trained:
        machine = _is(machine, IsingClassifier)
        progress = machine.fit(self.images, budget, watch=watch)
        return Trained(machine, progress, self.evaluate(machine), machine.parameters)

    def evaluate(self, machine: Machine) -> Estimate:
        share, n = _is(machine, IsingClassifier).score(*self.images.test), len(self.images.test[1])
        error = math.sqrt(max(share * (1 - share), 1 / n) / n)
        return Estimate(100 * share, 100 * error, n_eff=n)

    def sample(self, machine: Machine, count: int, seed: int) -> list[str]:
        machine = _is(machine, IsingClassifier)
        pixels, labels = self.images.test
        drawn = machine.sample(pixels[:count], ask=seed % 1024)
        return [f"{d} (label {true})" for d, true in zip(drawn, labels[:count], strict=True)]

    def two_phase_rows(
        self, budget_s: float, seeds: Sequence[int], device: str, show: Show
    ) -> list[Row]:
        rows = []
        for name in self.designs:
            show(f"{name} ...")
            made = image_study.image_rows(
                self.images,
                cpu_s=budget_s,
                seeds=seeds,
                names=[name],
                marks=MARKS,
                device=self.backend(device),
            )
            rows += [row_of(entry, self.name, self.metric, TWO_PHASE) for entry in made]
        return rows

    def backprop_rows(
        self, budget_s: float, seeds: Sequence[int], device: str, show: Show
    ) -> list[Row]:
        from isingnpu.npu import baseline_rows

        show("networks on the images ...")
        made = baseline_rows.image_rows(
            self.images,
            Budget(cpu_s=budget_s),
            seeds,
            sweep_budget=Budget(cpu_s=SWEEP * budget_s),
            marks=MARKS,
            device=self.backend(device),
        )
        return [row_of(entry, self.name, self.metric, BACKPROP) for entry in made]


def _known(design: str, designs: Sequence[str]) -> str:
    if design not in designs:
        near = get_close_matches(design, designs, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ","
        raise ValueError(f"unknown design {design!r}{meant} `--design help` lists all")
    return design


def _is(machine: Machine, kind: type[_M]) -> _M:
    if not isinstance(machine, kind):
        raise ValueError(
            f"{type(machine).__name__} does not fit this task, which takes {kind.__name__}; "
            "name the text or images (--text, --images) that the machine is for"
        )
    return machine
