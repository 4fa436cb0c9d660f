"""Machines that read text, compared: which part brings how many bits per character.

Every row is one machine at one budget, trained once per seed on the corpus's training part and
judged at all positions of the judged part that have `context` tokens before them. Settings were
chosen on `Corpus.tuning()`. Within a row all seeds see the same budget in CPU seconds; tokens and
events are what was reached in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.npu.budget import Budget, Events, Marks, Progress, mean_joules
from isingnpu.npu.committee import Committee
from isingnpu.npu.corpus import Corpus
from isingnpu.npu.count_field import KBodyField
from isingnpu.npu.language import PottsIsingLM
from isingnpu.npu.learning import LocalAdam
from isingnpu.npu.ngram_fields import NgramFields
from isingnpu.npu.second_block import SecondBlock
from isingnpu.npu.selectors import Selectors
from isingnpu.npu.text_net import TextSpec
from isingnpu.npu.text_training import TextTraining
from isingnpu.npu.units import Binary, HardTower

Array = NDArray[Any]

WARM = 20_000  # tokens that are read to compile
BLOCK = 1000  # judged positions that count as one independent piece in the standard error


@dataclass(frozen=True)
class Design:
    """A machine: everything of its spec but the number of colours, and how it is trained."""

    name: str
    spec: TextSpec
    training: TextTraining
    counted: bool = False


def designs(window: int = 1024) -> dict[str, Design]:
    """The machines of the study. window: of the selectors, in tokens."""
    heads = Selectors(heads=2, window=window)
    rows = NgramFields(rate=0.3)
    full = TextSpec(2, context=10, hidden=128, unit=HardTower(4), ngrams=rows, selectors=heads)
    dense = replace(full, hidden=384, ngrams=None, selectors=replace(heads, values_to_hidden=True))
    counted = replace(full, context=4, hidden=0, ngrams=None)
    second = SecondBlock()
    # Beside fields of whole contexts the other couplings are too many for what is left to learn.
    decayed = TextTraining(rule=LocalAdam(rate=8e-3, decay=0.1), runs=2, length=256)
    learned = replace(decayed, rule=LocalAdam(rate=8e-3, decay=0.0))
    listed = (
        Design("n-gram fields, selectors, hidden", full, decayed),
        Design("n-gram fields, hidden, no selectors", replace(full, selectors=None), decayed),
        Design(
            "n-gram fields, selectors from zero, hidden",
            replace(full, selectors=replace(heads, start="zero")),
            decayed,
        ),
        Design("n-gram fields, selectors, binary hidden", replace(full, unit=Binary()), decayed),
        Design("selectors, hidden", dense, learned),
        Design("hidden alone", replace(dense, selectors=None), learned),
        Design("count field, selectors", counted, decayed, True),
        Design(
            "n-gram fields, selectors, hidden, second block", replace(full, second=second), decayed
        ),
        Design("selectors, hidden, second block", replace(dense, second=second), learned),
        Design(
            "count field, selectors, second block", replace(counted, second=second), decayed, True
        ),
        Design("count field, gains alone", replace(counted, selectors=None), decayed, True),
    )
    return {d.name: d for d in listed}


def text_rows(
    corpus: Corpus,
    *,
    cpu_s: float,
    seeds: Sequence[int] = (0, 1, 2),
    names: Sequence[str] | None = None,
    window: int = 1024,
    context: int | None = None,
    steps: int | None = None,
    marks: int = 0,
    device: str = "auto",
    watch: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """One row per machine, and one of the count field alone (Kneser-Ney): name, params, entries
    (stored numbers of tables that params do not count), budget, seeds, bpc per seed, mean, sd over
    seeds, error (standard error over the text), judged positions, tokens, events and cpu_s per
    seed, field_cpu_s for a count field, measured joules (the mean, by sensor), curves of `marks`
    points, one per seed. steps: a second limit of the budget. watch sees each row.

    names: which of `designs()`, and "Kneser-Ney"; ValueError for an unknown one."""
    known = designs(window)
    chosen = ["Kneser-Ney", *known] if names is None else list(names)
    unknown = [n for n in chosen if n not in known and n != "Kneser-Ney"]
    if unknown:
        raise ValueError(f"unknown machines {unknown}, allowed are Kneser-Ney, {', '.join(known)}")
    least = max(context or 0, judged_context(window))
    rows = []
    for name in chosen:
        row = (
            _counted_row(corpus, least)
            if name == "Kneser-Ney"
            else _row(known[name], corpus, Budget(cpu_s, steps), seeds, least, device, marks=marks)
        )
        rows.append(row)
        if watch is not None:
            watch(row)
    return rows


def judged_context(window: int = 1024) -> int:
    """Tokens that the machine with the longest reach sees: all are judged where so many are."""
    return max([KBodyField().order] + [d.spec.reach for d in designs(window).values()])


def committee_row(
    corpus: Corpus,
    name: str,
    *,
    cpu_s: float,
    members: int = 4,
    seeds: Sequence[int] = (0, 1, 2),
    window: int = 1024,
    context: int | None = None,
    steps: int | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """A row as those of `text_rows` for committees of machines of one of `designs()`, trained one
    by one for cpu_s / members seconds each, or `steps` steps each; KeyError for an unknown design.
    The members of seed s have the seeds members s + 0, 1, .. members - 1."""
    least = max(context or 0, judged_context(window))
    budget = Budget(cpu_s / members, steps)
    row = _row(designs(window)[name], corpus, budget, seeds, least, device, members)
    return row | {"name": f"committee of {members}: {name}"}


def _row(
    design: Design,
    corpus: Corpus,
    budget: Budget,
    seeds: Sequence[int],
    context: int,
    device: str,
    members: int = 1,
    marks: int = 0,
) -> dict[str, Any]:
    counts, field_cpu_s = None, 0.0
    if design.counted:
        began = time.process_time()
        counts = KBodyField().fit(corpus.tokens, corpus.colours, corpus.train)
        field_cpu_s = time.process_time() - began
    spec = replace(
        design.spec,
        colours=corpus.colours,
        count_states=counts.states if counts is not None else (),
    )
    compile_for(spec, design.training, corpus, device)  # before the clock runs
    losses, events, seconds, curves = [], [], [], []
    parts: list[Progress] = []
    for seed in seeds:
        machines = [
            PottsIsingLM(spec, design.training, counts=counts, seed=one, device=device)
            for one in range(members * seed, members * (seed + 1))
        ]
        spent = [
            machine.fit(corpus, budget, every=10, watch=_marks(machine, corpus, context, marks))
            for machine in machines
        ]
        judged = Committee(machines) if members > 1 else machines[0]
        losses.append(judged.losses(corpus, context))
        if marks:
            spent[0].mark(spent[0].loss, float(losses[-1].mean()))
            curves.append([asdict(point) for point in spent[0].curve if point.score is not None])
        events.append(sum((progress.events for progress in spent), Events()))
        seconds.append(sum(progress.cpu_s for progress in spent))
        parts += spent
    joules = mean_joules(parts)
    return {
        "name": design.name,
        "params": members * machines[0].n_couplings,
        "entries": members * machines[0].n_table_entries,
        "budget": {"cpu_s": budget.cpu_s, "steps": budget.steps},
        "seeds": list(seeds),
        "field_cpu_s": field_cpu_s,
        "cpu_s": seconds,
        "joules": {k: j if isinstance(j, str) else members * j for k, j in joules.items()},
        "curves": curves,
        **_summary(losses, events),
    }


def _marks(machine: PottsIsingLM, corpus: Corpus, context: int, number: int) -> Marks | None:
    return Marks(number, lambda: machine.bpc(corpus, context)) if number else None


def compile_for(spec: TextSpec, training: TextTraining, corpus: Corpus, device: str) -> None:
    """Two steps on the beginning of the text: the kernels of such a machine are compiled."""
    corpus, counts = _beginning(corpus), None
    if spec.count_states:
        counts = KBodyField().fit(corpus.tokens, corpus.colours, corpus.train)
    PottsIsingLM(spec, training, counts=counts, device=device).fit(corpus, Budget(steps=2))


def _beginning(corpus: Corpus) -> Corpus:
    """At most WARM tokens of it, half of them to learn from."""
    if corpus.end <= WARM:
        return corpus
    return replace(corpus, tokens=corpus.tokens[:WARM], train=WARM // 2, end=WARM)


def field_table(corpus: Corpus) -> tuple[Array, float]:
    """(`KBodyField().table`, CPU seconds of it): the field for a network beside it, and what a
    machine of spins spends on its own in counting and in training."""
    _count_table(_beginning(corpus))  # compiles
    began = time.process_time()
    return _count_table(corpus), time.process_time() - began


def _count_table(corpus: Corpus) -> Array:
    return KBodyField().fit(corpus.tokens, corpus.colours, corpus.train).table(corpus)


def _counted_row(corpus: Corpus, context: int) -> dict[str, Any]:
    began = time.process_time()
    field = KBodyField().fit(corpus.tokens, corpus.colours, corpus.train)
    seconds = time.process_time() - began
    losses = field.losses(corpus, context)
    # nothing is random in it: one seed
    return {
        "name": "Kneser-Ney",
        "params": 0,
        "entries": field.n_entries,
        "budget": None,
        "seeds": [],
        "field_cpu_s": seconds,
        "cpu_s": [seconds],
        **_summary([losses], [Events(samples=corpus.train)]),
    }


def _summary(losses: list[Array], events: list[Events]) -> dict[str, Any]:
    bpc = [float(loss.mean()) for loss in losses]
    return {
        "bpc": bpc,
        "mean": float(np.mean(bpc)),
        "sd": float(np.std(bpc, ddof=1)) if len(bpc) > 1 else None,
        "error": text_error(np.mean(losses, axis=0)),
        "positions": len(losses[0]),
        "tokens": [e.samples for e in events],
        "events": [e.to_json() for e in events],
    }


def text_error(losses: Array) -> float:
    """Standard error of the mean loss over a text: from means of BLOCK consecutive positions,
    which are nearly independent where single positions are not."""
    n = len(losses) // BLOCK
    if n < 2:
        return float(np.std(losses, ddof=1) / len(losses) ** 0.5)
    means = losses[: n * BLOCK].reshape(n, BLOCK).mean(1)
    return float(means.std(ddof=1) / n**0.5)
