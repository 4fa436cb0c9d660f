"""Settings of a classifier as JSON values, so that a saved machine can learn on."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from isingnpu.npu.augment import Warp
from isingnpu.npu.draws import Draws, Independent, Stratified
from isingnpu.npu.learning import (
    ContrastiveDivergence,
    Exact,
    Gibbs,
    LocalAdam,
    MeanField,
    Phases,
    SymmetricFeedback,
    WeakFeedback,
)
from isingnpu.npu.readout import Readout
from isingnpu.npu.sheets import layer_from_json, layer_to_json

if TYPE_CHECKING:
    from isingnpu.npu.classifier import IsingClassifier

_PHASES: dict[str, type[Phases]] = {
    rule.__name__: rule
    for rule in (WeakFeedback, SymmetricFeedback, Exact, Gibbs, ContrastiveDivergence, MeanField)
}
_DRAWS: dict[str, type[Draws]] = {rule.__name__: rule for rule in (Stratified, Independent)}


def settings_to_json(classifier: IsingClassifier) -> dict[str, Any]:
    """Everything but the device and the machine; `settings_from_json` is the inverse."""
    return {
        "blocks": [layer_to_json(layer) for layer in classifier.blocks],
        "credit": classifier.credit,
        "phases": _named(classifier.phases),
        "rule": asdict(classifier.rule),
        "readout": _named(classifier.readout),
        "warp": None if classifier.warp is None else asdict(classifier.warp),
        "batch": classifier.batch,
        "average": classifier.average,
        "seed": classifier.seed,
    }


def settings_from_json(entry: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of IsingClassifier."""
    values = dict(entry)
    readout = _restored(values["readout"])
    readout.pop("kind")
    rule = values["rule"]
    return values | {
        "blocks": tuple(layer_from_json(layer) for layer in values["blocks"]),
        "phases": phases_from_json(values["phases"]),
        "rule": LocalAdam(**rule | {"betas": tuple(rule["betas"])}),
        "readout": Readout(**readout),
        "warp": None if values["warp"] is None else Warp(**values["warp"]),
    }


def phases_from_json(entry: dict[str, Any]) -> Phases:
    """The learning rule of `_named`."""
    values = _restored(entry)
    return _PHASES[values.pop("kind")](**values)


def _named(rule: Any) -> dict[str, Any]:
    """A dataclass as JSON with its name, draws inside too."""
    values: dict[str, Any] = {"kind": type(rule).__name__}
    for name, value in vars(rule).items():
        values[name] = _named(value) if is_dataclass(value) else value
    return values


def _restored(entry: dict[str, Any]) -> dict[str, Any]:
    """Values of `_named` with draws and tuples as they were."""
    values: dict[str, Any] = {}
    for name, value in entry.items():
        if isinstance(value, dict):
            draws = dict(value)
            values[name] = _DRAWS[draws.pop("kind")](**draws)
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    return values
