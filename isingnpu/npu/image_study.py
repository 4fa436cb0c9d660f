"""The table of image machines: every design of this module, trained for the same CPU seconds.

A design is trained once per seed and asked by one or more read-outs, each a row. Settings were
chosen on the validation split of MNIST and are the same for every image set.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from isingnpu.npu.augment import Warp, shifts
from isingnpu.npu.budget import Budget, Events, Marks, Progress, mean_joules
from isingnpu.npu.classifier import IsingClassifier
from isingnpu.npu.draws import Stratified
from isingnpu.npu.images import ImageSet
from isingnpu.npu.learning import Gibbs, LocalAdam, Phases, SymmetricFeedback, WeakFeedback
from isingnpu.npu.readout import Readout
from isingnpu.npu.sheets import Dense, Layer, Sheets
from isingnpu.npu.units import Binary, HardTower, Tower, Unit

FOUR, ONE = Stratified(4), Stratified(1)
AVERAGE = 0.999  # decay of the running average of couplings
SETTLED = 0.02  # output error below which an image is not nudged


@dataclass(frozen=True)
class Design:
    """A machine and how it is asked: name of a row -> read-out."""

    layers: tuple[Layer, ...]
    phases: Phases
    readouts: dict[str, Readout]
    credit: str = "local"
    rule: LocalAdam = field(default_factory=LocalAdam)
    warp: Warp = field(default_factory=Warp)
    average: float = 0.0

    def classifier(self, seed: int, device: str) -> IsingClassifier:
        """Untrained."""
        return IsingClassifier(
            blocks=self.layers,
            credit=self.credit,
            phases=self.phases,
            rule=self.rule,
            warp=self.warp,
            average=self.average,
            device=device,
            seed=seed,
        )


def two_blocks(unit: Unit) -> tuple[Layer, ...]:
    """Receptive fields on receptive fields."""
    return Sheets(6, 32, stride=2, unit=unit), Sheets(4, 64, stride=2, unit=unit)


def designs() -> dict[str, Design]:
    """Name -> design."""
    weak = WeakFeedback(threshold=SETTLED)
    drawn = replace(weak, draws=FOUR)
    dense = (Dense(1024, Binary()),)
    return {
        "sheets": Design(
            two_blocks(HardTower()),
            weak,
            {"two blocks of hard towers, mean field": Readout()},
            average=AVERAGE,
        ),
        "heat-bath sheets": Design(
            two_blocks(Tower(3)),
            weak,
            {"two blocks of heat-bath towers, mean field": Readout()},
            average=AVERAGE,
        ),
        "drawn sheets": Design(
            two_blocks(HardTower()),
            drawn,
            {
                "two blocks, 4 draws in training, 4 asked": Readout(draws=FOUR),
                "two blocks, 4 draws in training, 1 asked": Readout(draws=ONE),
            },
            average=AVERAGE,
        ),
        "once drawn sheets": Design(
            two_blocks(HardTower()),
            replace(weak, draws=ONE),
            {
                "two blocks, 1 draw in training, 1 asked": Readout(draws=ONE),
                "two blocks, 1 draw in training, 4 asked": Readout(draws=FOUR),
            },
            average=AVERAGE,
        ),
        "one block": Design(
            (Sheets(6, 64, stride=2),),
            weak,
            {"one block of hard towers, mean field": Readout()},
            average=AVERAGE,
        ),
        "dense": Design(
            dense,
            weak,
            {
                "dense, mean field": Readout(),
                "dense, equilibrium by 32 Gibbs sweeps": Readout("gibbs"),
                "dense, equilibrium traced": Readout("exact"),
            },
            warp=shifts(1),
        ),
        "drawn dense": Design(
            dense, drawn, {"dense, drawn free phase, 4 draws": Readout(draws=FOUR)}, warp=shifts(1)
        ),
        "drawn nudges": Design(
            dense,
            WeakFeedback(beta=(8.0, 4.0), draws=FOUR, nudge="sampled"),
            {"dense, drawn nudges too, 4 draws": Readout(draws=FOUR)},
            warp=shifts(1),
        ),
        "equilibrium": Design(
            (Dense(512, Binary()),),
            Gibbs(betas=(1.0, 1.0), replicas=4),
            {
                "dense, Gibbs phases, 32 Gibbs sweeps": Readout("gibbs", replicas=4),
                "dense, Gibbs phases, traced": Readout("exact", replicas=4),
            },
            rule=LocalAdam(rate=4e-3),
            warp=shifts(1),
        ),
        "ladder": Design(
            two_blocks(HardTower()),
            weak,
            {"two blocks of hard towers, ladder": Readout()},
            credit="ladder",
            average=AVERAGE,
        ),
        "symmetric ladder": Design(
            two_blocks(HardTower()),
            SymmetricFeedback(gamma=0.1, sweeps=2),
            {"two blocks of hard towers, symmetric ladder": Readout("relaxed", sweeps=2)},
            credit="ladder",
            average=AVERAGE,
        ),
    }


def image_rows(
    images: ImageSet,
    *,
    cpu_s: float,
    seeds: Sequence[int] = (0, 1, 2),
    names: Iterable[str] | None = None,
    device: str = "cpu",
    warm_up: int = 2,
    marks: int = 0,
) -> list[dict[str, Any]]:
    """Rows: name, design, params, cpu_s, seeds, scores on the test part of `images` in percent,
    their mean and standard deviation, epochs, samples, samples_per_s, events of training and
    curves (one entry per seed), measured joules (the mean, by sensor), events of asking for all
    test labels once. Curves have `marks` points of couplings that are not averaged, by the first
    read-out, and its score at the end.

    names: of `designs()`, all of them by default; KeyError for another. The first `warm_up` steps
    compile kernels and are outside the budget of cpu_s seconds for every seed."""
    chosen = designs()
    rows = []
    for name in chosen if names is None else names:
        design = chosen[name]
        trained = [_train(design, images, cpu_s, seed, device, warm_up, marks) for seed in seeds]
        first = next(iter(design.readouts))
        for title, readout in design.readouts.items():
            asked = [_ask(machine, images, readout) for machine, _ in trained]
            scores = [score for score, _ in asked]
            samples = [progress.events.samples for _, progress in trained]
            spent = [progress.cpu_s for _, progress in trained]
            if marks and title == first:
                for (_, progress), score in zip(trained, scores, strict=True):
                    progress.mark(progress.loss, score)
            curves = [progress.curve for _, progress in trained] if title == first else []
            rows.append(
                {
                    "name": title,
                    "design": name,
                    "images": images.name,
                    "params": trained[0][0].parameters,
                    "cpu_s": spent,
                    "seeds": list(seeds),
                    "scores": scores,
                    "mean": float(np.mean(scores)),
                    "sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan,
                    "epochs": [n / len(images.train[0]) for n in samples],
                    "samples": samples,
                    "samples_per_s": [n / s for n, s in zip(samples, spent, strict=True)],
                    "events": [progress.events.to_json() for _, progress in trained],
                    "joules": mean_joules(progress for _, progress in trained),
                    "curves": [[asdict(point) for point in curve] for curve in curves],
                    "asking": asked[0][1].to_json(),
                }
            )
    return rows


def _train(
    design: Design,
    images: ImageSet,
    cpu_s: float,
    seed: int,
    device: str,
    warm_up: int,
    marks: int,
) -> tuple[IsingClassifier, Progress]:
    machine = design.classifier(seed, device)
    if warm_up:
        machine.fit(images, Budget(cpu_s=math.inf), pause_after=warm_up)
        assert machine.machine is not None
        machine.machine.cpu_s = 0.0
    readout = next(iter(design.readouts.values()))
    watch = Marks(marks, lambda: _ask(machine, images, readout)[0]) if marks else None
    return machine, machine.fit(images, Budget(cpu_s=cpu_s), watch=watch)


def _ask(machine: IsingClassifier, images: ImageSet, readout: Readout) -> tuple[float, Events]:
    """Percent of the test images that get their label, and the cost of all answers."""
    pixels, labels = images.test
    scores, events = machine.decision(pixels, readout)
    return 100 * float((scores.argmax(1) == labels).mean()), events
