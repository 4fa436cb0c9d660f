"""The command `isingnpu npu`: train, eval, sample and compare machines of spins."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isingnpu.npu.budget import Progress
    from isingnpu.npu.comparison import Row
    from isingnpu.npu.tasks import Machine, Task, Trained

    Add = Callable[..., argparse.ArgumentParser]

REFRESH_S = 0.5  # of the line that shows progress


def add_commands(top: argparse.ArgumentParser, add: Add) -> None:
    """The four commands below `npu`. add: as isingnpu.cli adds a command."""
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    train = add(commands, "train", _train, "train a machine by local two-phase learning")
    _task_options(train)
    train.add_argument("--design", help="kind of machine (default: the first; --design help)")
    train.add_argument("--cpu-seconds", type=float, help="CPU seconds of training (default 20)")
    train.add_argument("--wall-seconds", type=float, help="seconds of a clock; for a GPU")
    train.add_argument("--steps", type=int, help="training steps; reproducible bit by bit")
    train.add_argument("--flips", type=float, help="spin states decided in training")
    train.add_argument("--joules", type=float, help="measured joules; needs a sensor")
    train.add_argument("--seeds", type=int, default=1, help="machines, one seed each (default 1)")
    train.add_argument("--out", type=Path, help="save the first machine as this .npz file")
    train.add_argument("--resume", type=Path, help="go on with this saved machine")
    _common(train)
    train.set_defaults(seed=None)  # 0, or that of the machine that goes on
    evaluate = add(commands, "eval", _eval, "score a saved machine on the judged part")
    evaluate.add_argument("machine", type=Path, help="file of npu train --out")
    _task_options(evaluate)
    _common(evaluate)
    draw = add(commands, "sample", _sample, "draw from a saved machine")
    draw.add_argument("machine", type=Path, help="file of npu train --out")
    draw.add_argument("--count", type=int, default=8, help="sequences, characters or images")
    _task_options(draw)
    _common(draw)
    compare = add(commands, "compare", _compare, "spins beside backprop: one table, one figure")
    compare.add_argument(
        "rows", nargs="*", type=Path, help="files of rows to print instead of training"
    )
    _task_options(compare)
    compare.add_argument(
        "--cpu-seconds",
        type=float,
        default=4.0,
        help="of every training (default 4); not those of a GPU",
    )
    compare.add_argument("--seeds", type=int, default=3, help="trainings of each (default 3)")
    compare.add_argument("--no-backprop", action="store_true", help="machines of spins alone")
    compare.add_argument("--out", type=Path, help="folder for rows.jsonl and a PNG per task")
    _common(compare)


def _task_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--text", type=Path, help="a UTF-8 text (default: a planted Potts language)")
    sub.add_argument(
        "--images",
        "--mnist",
        dest="images",
        type=Path,
        help="an .npz file with x_train, y_train, x_test, y_test",
    )


def _common(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--seed", type=int, default=0, help="64-bit seed (default 0)")
    sub.add_argument("--backend", default="auto", help="auto, cpu, cuda (see info)")
    sub.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _task(a: argparse.Namespace) -> Task:
    from isingnpu.npu import tasks
    from isingnpu.npu.corpus import read_corpus
    from isingnpu.npu.images import read_images
    from isingnpu.rng import as_seed

    as_seed(a.seed)  # refused unless it has 64 bits
    if a.text is not None and a.images is not None:
        raise ValueError("name --text or --images, not both")
    task: Task = tasks.PlantedTask()
    if a.text is not None:
        task = tasks.TextTask(read_corpus(a.text))
    elif a.images is not None:
        task = tasks.ImageTask(read_images(a.images))
    task.backend(a.backend)  # refused before anything is trained
    return task


def _train(a: argparse.Namespace) -> int:
    from isingnpu.npu.budget import Budget

    task = _task(a)
    if a.design == "help":
        print("\n".join(task.designs))
        return 0
    limits = {
        "cpu_s": a.cpu_seconds, "steps": a.steps, "flips": a.flips, "joules": a.joules,
        "wall_s": a.wall_seconds,
    }  # fmt: skip
    for name, limit in limits.items():
        if limit is not None and not limit > 0:
            option = name.replace("_s", "-seconds")
            raise ValueError(f"--{option} must be above 0, got {limit:g}")
    if all(limit is None for limit in limits.values()):
        limits["cpu_s"] = 20.0
    budget = Budget(**limits)
    if a.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {a.seeds}")
    if a.resume is not None and (a.seeds > 1 or a.design is not None or a.seed is not None):
        raise ValueError(
            "--resume goes on with one machine; leave out --seed, --seeds and --design"
        )
    a.seed = a.seed or 0
    if a.out is not None and (a.out.is_dir() or not a.out.parent.is_dir()):
        raise ValueError(f"--out takes the name of a file in a folder that exists, got {a.out}")
    show = _Status(a)
    if a.resume is not None:
        machine = load(a.resume, a.backend)
        a.seed = machine.seed
        trained = [task.resume(machine, budget, show.training)]
    else:
        design = a.design or task.designs[0]
        trained = [
            task.train(design, budget, a.seed + k, a.backend, show.training)
            for k in range(a.seeds)
        ]
    show.clear()
    if a.out is not None:
        _save(trained[0].machine, a.out)
    _print(a, _trained_result(task, limits, trained, a), _trained_text)
    return 0


def _eval(a: argparse.Namespace) -> int:
    task = _task(a)
    score = task.evaluate(load(a.machine, a.backend))
    result = {
        "task": task.name,
        "metric": task.metric,
        "score": score.to_json(),
        "provenance": _provenance(a, task),
    }
    _print(a, result, lambda _: f"{task.name}: {score} {task.metric}")
    return 0


def _sample(a: argparse.Namespace) -> int:
    if a.count < 1:
        raise ValueError(f"--count must be at least 1, got {a.count}")
    task = _task(a)
    drawn = task.sample(load(a.machine, a.backend), a.count, a.seed)
    result = {"task": task.name, "sample": drawn, "provenance": _provenance(a, task)}
    _print(a, result, lambda _: "\n".join(drawn))
    return 0


def _compare(a: argparse.Namespace) -> int:
    from isingnpu.npu import comparison

    notes: list[str] = []
    task = None if a.rows else _task(a)
    if task is None:
        rows = [row for path in a.rows for row in comparison.read_rows(path)]
    else:
        rows = _measured_rows(a, task, notes)
    files = [] if a.out is None else _write(a, rows, notes)
    result = {
        "rows": [row.to_json() for row in rows],
        "notes": notes,
        "files": files,
        "provenance": _provenance(a, task),
    }
    text = comparison.table(rows) + "".join(f"\n{note}" for note in notes)
    _print(a, result, lambda _: text + "".join(f"\nwrote {name}" for name in files))
    return 0


def _measured_rows(a: argparse.Namespace, task: Task, notes: list[str]) -> list[Row]:
    if a.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {a.seeds}")
    if not a.cpu_seconds > 0:
        raise ValueError(f"--cpu-seconds must be above 0, got {a.cpu_seconds:g}")
    seeds, show = range(a.seed, a.seed + a.seeds), _Status(a)
    rows = task.two_phase_rows(a.cpu_seconds, seeds, a.backend, show)
    if not a.no_backprop:
        try:
            rows += task.backprop_rows(a.cpu_seconds, seeds, a.backend, show)
        except ImportError as error:  # of torch; the note says what to install
            notes.append(f"no rows of backprop: {error}")
    show.clear()
    return rows


def _write(a: argparse.Namespace, rows: list[Row], notes: list[str]) -> list[str]:
    """Names of the files written; without matplotlib a note takes the place of figures."""
    from isingnpu import npu_plot
    from isingnpu.bench import this_machine
    from isingnpu.npu import comparison

    a.out.mkdir(parents=True, exist_ok=True)
    written = []
    if not a.rows:
        comparison.append_rows(a.out / "rows.jsonl", rows, this_machine())
        written.append(str(a.out / "rows.jsonl"))
    if find_spec("matplotlib") is None:
        notes.append("no figures: matplotlib is not installed (pip install 'isingnpu[plot]')")
        return written
    for number, task in enumerate(dict.fromkeys(row.task for row in rows)):
        path = a.out / f"comparison-{number}.png"
        npu_plot.save_comparison([row for row in rows if row.task == task], path)
        written.append(str(path))
    return written


def load(path: Path, backend: str) -> Machine:
    """A saved machine of any kind; ValueError for another file."""
    from isingnpu.npu import classifier, factored, language
    from isingnpu.npu.store import machine_kind

    kind = machine_kind(path)
    if kind == factored.KIND:
        return factored.FactoredAttention.load(path)
    if kind == language.KIND:
        return language.PottsIsingLM.load(path, device=backend)
    if kind == classifier.KIND:
        return classifier.IsingClassifier.load(path, backend)
    raise ValueError(f"{path}: a {kind}, which this command does not run")


def _save(machine: Machine, path: Path) -> None:
    from isingnpu.npu.language import PottsIsingLM

    if isinstance(machine, PottsIsingLM):
        machine.save(path, training=True)
    else:
        machine.save(path)


def _trained_result(
    task: Task, limits: dict[str, Any], trained: list[Trained], a: argparse.Namespace
) -> dict[str, Any]:
    import math

    import numpy as np

    from isingnpu.statistics import Estimate

    score = trained[0].score
    if len(trained) > 1:  # over seeds
        values = [one.score.value for one in trained]
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        score = Estimate(float(np.mean(values)), error, n_eff=len(values))
    first = trained[0].progress
    energy = {e.source: e.joules if e.joules is not None else "not measured" for e in first.energy}
    return {
        "task": task.name,
        "metric": task.metric,
        "score": score.to_json(),
        "seeds": [a.seed + k for k in range(len(trained))],
        "params": trained[0].params,
        "budget": {name: limit for name, limit in limits.items() if limit is not None},
        "steps": first.steps,
        "ledger": {
            "events": first.events.to_json(),
            "cpu_s": first.cpu_s,
            "measured_joules": energy,
        },
        "saved": None if a.out is None else str(a.out),
        "provenance": _provenance(a, task),
    }


def _provenance(a: argparse.Namespace, task: Task | None) -> dict[str, Any]:
    """task: whose machines have computed, None if none has."""
    from isingnpu._version import __version__
    from isingnpu.bench import this_machine
    from isingnpu.run import commit

    return {
        "version": __version__,
        "commit": commit(),
        "seed": a.seed,
        "backend": None if task is None else task.backend(a.backend),
        "machine": this_machine(),
        "command": " ".join(["isingnpu", *sys.argv[1:]]),
    }


def _trained_text(result: dict[str, Any]) -> str:
    from isingnpu.statistics import Estimate

    score, ledger = result["score"], result["ledger"]
    cpu_s = ledger["cpu_s"]
    error = score["error"] if score["error"] is not None else float("nan")
    flips = ledger["events"]["flips"]
    over = "judged part" if len(result["seeds"]) == 1 else f"{len(result['seeds'])} seeds"
    lines = [
        f"task     {result['task']}",
        f"score    {Estimate(score['value'], error)} {result['metric']} (error over the {over})",
        f"machine  {result['params']:,} couplings and fields",
        f"cost     {cpu_s:.3g} CPU s, {result['steps']:,} steps, {flips:.3g} spin states "
        f"({flips / max(cpu_s, 1e-9):.3g} per s)",
    ]
    return "\n".join(lines + ([f"saved    {result['saved']}"] if result["saved"] else []))


def _print(a: argparse.Namespace, result: dict[str, Any], text: Callable[[Any], str]) -> None:
    import json

    print(json.dumps(result, indent=1, allow_nan=False) if a.json else text(result))


class _Status:
    """One line on standard error of a terminal, rewritten."""

    def __init__(self, a: argparse.Namespace) -> None:
        self._on = not a.quiet and sys.stderr.isatty()
        self._last = 0.0

    def __call__(self, text: str) -> None:
        if self._on:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def training(self, progress: Progress) -> None:
        """Loss and spin states per second, twice a second."""
        now = time.perf_counter()
        if not self._on or now - self._last < REFRESH_S:
            return
        self._last = now
        rate = progress.events.flips / max(progress.cpu_s, 1e-9)
        loss = "" if progress.loss != progress.loss else f", loss {progress.loss:.4f}"
        self(f"{progress.fraction:4.0%}, step {progress.steps}{loss}, {rate:.2e} spin states/s")

    def clear(self) -> None:
        self("")
