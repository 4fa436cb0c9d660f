"""How a machine that reads text is trained, and descriptions of it that fit into JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from isingnpu.npu.learning import LocalAdam, WeakFeedback
from isingnpu.npu.ngram_fields import NgramFields
from isingnpu.npu.second_block import SecondBlock
from isingnpu.npu.selectors import Selectors
from isingnpu.npu.text_net import TextSpec
from isingnpu.npu.units import unit_name, unit_of

TOGETHER = 8  # positions in a row that leave out the same hidden spins


@dataclass(frozen=True)
class TextTraining:
    """A step sees `runs` runs of `length` consecutive positions; every chunk of the training text
    once per epoch, in random order. dropout: part of the hidden spins left out of a step."""

    phases: WeakFeedback = field(default_factory=WeakFeedback)
    rule: LocalAdam = field(default_factory=lambda: LocalAdam(rate=8e-3, decay=0.0))
    runs: int = 4
    length: int = 128
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.runs < 1 or self.length < TOGETHER or self.length % TOGETHER:
            raise ValueError(
                f"runs must be positive and length a multiple of {TOGETHER}, got {self.runs} "
                f"and {self.length}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if self.phases.draws is not None:
            raise ValueError("text is learned with mean fields: pass WeakFeedback(draws=None)")


def spec_to_json(spec: TextSpec) -> dict[str, Any]:
    return asdict(spec) | {"unit": unit_name(spec.unit)}


def spec_from_json(stored: dict[str, Any]) -> TextSpec:
    ngrams, selectors, second = stored["ngrams"], stored["selectors"], stored["second"]
    if ngrams is not None:
        ngrams = NgramFields(**ngrams | {"orders": tuple(ngrams["orders"])})
    if selectors is not None:
        selectors = Selectors(**selectors)
    return TextSpec(
        **stored
        | {
            "unit": unit_of(stored["unit"]),
            "ngrams": ngrams,
            "selectors": selectors,
            "second": second and SecondBlock(**second | {"windows": tuple(second["windows"])}),
            "count_states": tuple(stored["count_states"]),
        }
    )


def training_to_json(training: TextTraining) -> dict[str, Any]:
    return asdict(training)


def training_from_json(stored: dict[str, Any]) -> TextTraining:
    phases, rule = stored["phases"], stored["rule"]
    return TextTraining(
        **stored
        | {
            "phases": WeakFeedback(**phases | {"beta": tuple(phases["beta"])}),
            "rule": LocalAdam(**rule | {"betas": tuple(rule["betas"])}),
        }
    )
