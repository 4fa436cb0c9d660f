"""`python -m benchmarks npu`: the tables of docs/npu.md, trained anew.

python -m benchmarks npu [TABLE ...] [--only REGEX] [--seeds 0 1 2] [--data FOLDER] [--out FILE]
python -m benchmarks npu report    rewrite the tables of docs/npu.md from npu/

Learners of one table are judged on the same part of the same data. A line of records is appended
as soon as all seeds of a learner are trained; two processes need files of their own.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import machine_file
from isingnpu.bench import this_machine
from isingnpu.bench.cases import known_folder
from isingnpu.npu import image_study, small_studies, text_study
from isingnpu.npu.budget import Budget
from isingnpu.npu.comparison import (
    BACKPROP,
    COUNTS,
    TWO_PHASE,
    Row,
    append_rows,
    merged,
    read_rows,
    row_of,
    table,
)
from isingnpu.npu.corpus import Corpus, read_corpus
from isingnpu.npu.draws import Draw
from isingnpu.npu.images import ImageSet, read_images
from isingnpu.npu.recall import recall_episodes
from isingnpu.npu.tasks import JUDGED, MARKS, PlantedTask
from isingnpu.rng import Stream

DOCS = Path(__file__).resolve().parents[1] / "docs" / "npu.md"
BEGIN, END = "<!-- rows -->\n", "<!-- end of rows -->"
CONTEXT = 1100  # characters of the judged part before every judged position
ACCURACY, BITS = "accuracy %", "bits per character"
NGRAMS = "n-gram fields, selectors, hidden"
FOUR = "transformer, 4-token inputs"
SLOW = {"rate": 2e-3, "muon": 0.005}  # beside a field little is left to learn
USPS_DESIGNS = ("sheets", "heat-bath sheets")
DENSE_DESIGNS = ("dense", "drawn dense", "drawn nudges", "equilibrium")

Seeds = Sequence[int]


@dataclass(frozen=True)
class Learner:
    """What is trained once per seed: one row of its name, or those that `makes` names."""

    name: str
    rows: Callable[[Seeds], list[Row]]
    makes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of its rows."""
        return self.makes or (self.name,)


@dataclass(frozen=True)
class Table:
    """Learners that see the same data."""

    title: str
    learners: tuple[Learner, ...]


class Data:
    """mnist/mnist.npz, usps/usps.npz and text/tinyshakespeare.txt of a folder, read when asked
    for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def images(self, name: str) -> ImageSet:
        return read_images(self.folder / name / f"{name}.npz")

    @cached_property
    def text(self) -> Corpus:
        return read_corpus(self.folder / "text" / "tinyshakespeare.txt")

    @cached_property
    def field(self) -> tuple[Any, float]:
        """(tokens, q) log-probabilities of the count field, and the CPU seconds they took."""
        return text_study.field_table(self.text)


def tables(data: Data, share: float = 1.0) -> dict[str, Table]:
    """Word of the command line -> table, in the order of the docs. share: of all budgets."""
    return {
        "mnist": _images(data, "mnist", "MNIST test", 60 * share, image_study.designs()),
        "usps": _images(data, "usps", "USPS test, 12 CPU s", 12 * share, USPS_DESIGNS),
        "text": Table("tiny-shakespeare, 60 CPU s", tuple(_text(data, 60 * share))),
        "long-text": Table("tiny-shakespeare, 240 CPU s", tuple(_long_text(data, 240 * share))),
        "planted": _planted(share),
        "recall": _recall(share),
    }


def _images(data: Data, name: str, title: str, cpu_s: float, designs: Iterable[str]) -> Table:
    """Dense machines get five sixths of the seconds, which their settings were chosen for."""

    def spins(design: str, seeds: Seeds) -> list[Row]:
        dense = design in DENSE_DESIGNS
        made = image_study.image_rows(
            data.images(name), cpu_s=cpu_s * 5 / 6 if dense else cpu_s, seeds=seeds,
            names=[design], marks=MARKS,
        )  # fmt: skip
        return [row_of(entry, title, ACCURACY, TWO_PHASE) for entry in made]

    def network(kind: str, seeds: Seeds) -> list[Row]:
        from isingnpu.npu.baseline_images import NETWORKS
        from isingnpu.npu.baseline_rows import image_rows

        made = image_rows(
            data.images(name), Budget(cpu_s=cpu_s), seeds, networks={kind: NETWORKS[kind]},
            sweep_budget=Budget(cpu_s=cpu_s / 4), marks=MARKS,
        )  # fmt: skip
        return [row_of(entry, title, ACCURACY, BACKPROP) for entry in made]

    kinds = (
        "pooled convolutions", "strided convolutions", "wide strided convolutions",
        "perceptron 512-256", "perceptron 512", "logistic regression",
    )  # fmt: skip
    known = image_study.designs()
    learners = [
        replace(_learner(design, spins), makes=tuple(known[design].readouts)) for design in designs
    ]
    return Table(title, tuple(learners + [_learner(kind, network) for kind in kinds]))


def _learner(name: str, rows: Callable[[str, Seeds], list[Row]]) -> Learner:
    return Learner(name, lambda seeds: rows(name, seeds))


def _text(data: Data, cpu_s: float) -> Iterator[Learner]:
    spins, network = _readers(data, "tiny-shakespeare, 60 CPU s", cpu_s)
    for name in text_study.designs():
        yield spins(name)
    for name in ("count field, selectors", "count field, selectors, second block", NGRAMS):
        yield spins(name, window=256)
    for name in ("transformer", FOUR, f"wide {FOUR}", "window perceptron"):
        yield network(name)
    yield network(FOUR, batch=4, field=True, rule=SLOW)
    for name, windows in (("transformer", 4), (FOUR, 4)):
        yield network(name, context=256, batch=windows)
    yield network(FOUR, context=256, batch=2, field=True)
    yield spins("Kneser-Ney")


def _long_text(data: Data, cpu_s: float) -> Iterator[Learner]:
    title = "tiny-shakespeare, 240 CPU s"
    spins, network = _readers(data, title, cpu_s)
    yield spins("selectors, hidden")
    yield spins(NGRAMS)
    for name in (f"{NGRAMS}, second block", "selectors, hidden, second block"):

        def committee(seeds: Seeds, name: str = name) -> list[Row]:
            entry = text_study.committee_row(
                data.text, name, cpu_s=cpu_s, seeds=seeds, context=CONTEXT
            )
            return [row_of(entry, title, BITS, TWO_PHASE)]

        yield Learner(f"committee of 4: {name}", committee)
    yield network(FOUR)


def _readers(
    data: Data, title: str, cpu_s: float
) -> tuple[Callable[..., Learner], Callable[..., Learner]]:
    """Makers of learners of a text: machines of spins, networks trained by backprop."""

    def spins(name: str, window: int = 1024) -> Learner:
        label = name if window == 1024 else f"{name}, window {window}"
        learning = COUNTS if name == "Kneser-Ney" else TWO_PHASE

        def rows(seeds: Seeds) -> list[Row]:
            made = text_study.text_rows(
                data.text, cpu_s=cpu_s, seeds=seeds, names=[name], window=window,
                context=CONTEXT, marks=MARKS,
            )  # fmt: skip
            return [replace(row_of(one, title, BITS, learning), name=label) for one in made]

        return Learner(label, rows)

    def network(
        name: str,
        context: int = 64,
        batch: int | None = None,
        field: bool = False,
        rule: dict[str, Any] | None = None,
    ) -> Learner:
        label = name if context == 64 else f"{name}, window {context}"
        label += " + field" if field else ""

        def rows(seeds: Seeds) -> list[Row]:
            from isingnpu.npu.baseline_rows import spaced, text_candidates, text_rows

            known = text_candidates(data.text.colours)[name]
            chosen = known
            if context != 64:
                chosen = replace(known, network=replace(known.network, context=context))
            if batch is not None:
                chosen = replace(chosen, batch=batch)
            if rule is not None:
                chosen = replace(chosen, rules=(replace(chosen.rules[0], **rule),))
            beside, beside_cpu_s = data.field if field else (None, 0.0)
            made = text_rows(
                data.text, Budget(cpu_s=cpu_s), seeds, candidates={name: chosen},
                positions=spaced(data.text.positions(CONTEXT), JUDGED), field=beside,
                field_cpu_s=beside_cpu_s, marks=MARKS if context == 64 else 0,
            )  # fmt: skip
            return [replace(row_of(one, title, BITS, BACKPROP), name=label) for one in made]

        return Learner(label, rows)

    return spins, network


def _planted(share: float) -> Table:
    task = PlantedTask()

    def spins(name: str, seeds: Seeds) -> list[Row]:
        made = small_studies.planted_rows(cpu_s=4 * share, seeds=seeds, names=[name], marks=8)
        return [row_of(entry, task.name, task.metric, TWO_PHASE) for entry in made]

    def networks(seeds: Seeds) -> list[Row]:
        return task.backprop_rows(60 * share, seeds, "cpu", lambda text: None)

    learners = [_learner(name, spins) for name in small_studies.PLANTED_RULES]
    masked = ("masked transformer, layers: 1", "masked transformer, layers: 3")
    return Table(task.name, (*learners, Learner("masked transformers", networks, masked)))


def _recall(share: float, pairs: int = 16, symbols: int = 32) -> Table:
    """The transformer is told, as the selector is, which value belongs to which key."""
    title = f"recall of {pairs} pairs"

    def spins(seeds: Seeds) -> list[Row]:
        made = small_studies.recall_rows(
            cpu_s=4 * share, seeds=seeds, pairs=pairs, symbols=symbols
        )
        return [row_of(entry, title, ACCURACY, TWO_PHASE) for entry in made]

    def network(seeds: Seeds) -> list[Row]:
        from isingnpu.npu.baseline_rows import recall_rows

        def read(count: int, draw: Draw) -> tuple[Any, Any]:
            episodes = recall_episodes(count, pairs=pairs, symbols=symbols, draw=draw)
            return episodes.tokens(symbols), episodes.answer

        rows = []
        for seed in seeds:  # a stream of episodes each

            def batch(step: int, seed: int = seed) -> tuple[Any, Any]:
                return read(64, Draw(seed, Stream.BATCH, step=step))

            rows += recall_rows(
                batch, read(4000, Draw(1, Stream.DATA)), 2 * symbols, symbols,
                Budget(cpu_s=30 * share), [seed], neighbours=(2,),
                sweep_budget=Budget(cpu_s=15 * share), marks=30,
            )  # fmt: skip
        return [merged([row_of(row, title, ACCURACY, BACKPROP) for row in rows])]

    kinds = ("selector, exact phases", "selector, sampled phases")
    told = Learner("transformer, 2-token inputs", network)
    return Table(title, (Learner("selectors", spins, kinds), told))


def measure(chosen: Iterable[Table], only: str, seeds: Seeds, out: Path) -> None:
    """Train the learners of these tables whose name has a match of `only`, append their rows."""
    for one in chosen:
        for learner in one.learners:
            if not re.search(only, learner.name):
                continue
            _say(f"{one.title}: {learner.name} ...")
            rows = [
                replace(row, scores=tuple(round(score, 6) for score in row.scores))
                for row in learner.rows(seeds)
            ]
            append_rows(out, rows, this_machine())
            for row in rows:
                _say(f"  {row.name}: {row.score}, {row.samples:,} samples, {row.cpu_s:.3g} CPU s")


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Rows in the order of the program, those of learners that it does not have at the end."""
    places: dict[tuple[str, str], int] = {}
    for one in tables(Data(Path())).values():
        for name in (name for learner in one.learners for name in learner.names):
            places[one.title, name] = len(places)
    return sorted(rows, key=lambda row: places.get((row.task, row.name), len(places)))


def rewrite(docs: Path, records: Path) -> None:
    """Put the tables of a file of records in the place of those in `docs`."""
    before, rest = docs.read_text().split(BEGIN)
    after = rest.split(END)[1]
    made = table(in_order(read_rows(records))).strip()
    docs.write_text(f"{before}{BEGIN}{made}\n{END}{after}")


def main(arguments: Sequence[str]) -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks npu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(tables(Data(Path()))))
    parser.add_argument("--only", default="", metavar="REGEX", help="learners of such a name")
    parser.add_argument("--share", type=float, default=1.0, help="of the budgets, to try it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", type=Path, default=known_folder(), help="folder of data sets")
    parser.add_argument("--out", type=Path, help="append rows here (default: records in npu/)")
    asked = parser.parse_args(arguments)
    if asked.out is None and asked.share != 1:
        parser.error("rows of a part of the budgets are not of the records: name --out")
    out = asked.out or machine_file("npu")
    if asked.tables == ["report"]:
        rewrite(DOCS, out)
        return 0
    if asked.data is None:
        parser.error("name the folder of data sets by --data or ISINGNPU_DATA")
    known = tables(Data(asked.data), asked.share)
    for name in asked.tables:
        if name not in known:
            parser.error(f"no table is called {name!r}; there are {', '.join(known)}")
    measure([known[name] for name in asked.tables or known], asked.only, asked.seeds, out)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
