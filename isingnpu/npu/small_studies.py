"""Small tasks of the machines, one row per machine: what a comparison prints.

A row has name, task, metric, params (numbers that are learned), budget, seeds; scores, events and
cpu_s (one per seed); of trainings measured joules (the mean, by sensor); further columns belong to
the task.
Baselines trained by backprop are rows of their own, made elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from isingnpu.criticality.softmax import softmax
from isingnpu.npu.attention import attend, attend_sampled, draw_selectors, draws_needed
from isingnpu.npu.budget import Budget, Events, Marks, mean_joules
from isingnpu.npu.draws import Draw, normals
from isingnpu.npu.export import penalty_study
from isingnpu.npu.factored import FactoredAttention, PseudoLikelihood, Rule
from isingnpu.npu.learning import ContrastiveDivergence
from isingnpu.npu.memory import (
    HopfieldMemory,
    SelectorMemory,
    hopfield_overlap,
    noisy_cues,
    random_patterns,
)
from isingnpu.npu.planted_language import PlantedLanguage, planted_language
from isingnpu.npu.potts import heat_bath
from isingnpu.npu.recall import AssociativeRecall, accuracy_of, recall_episodes
from isingnpu.rng import Stream

Array = NDArray[Any]
Row = dict[str, Any]

PLANTED_RULES: dict[str, Rule] = {
    "pseudo-likelihood": PseudoLikelihood(),
    "sampled pseudo-likelihood": PseudoLikelihood(sampled=True),
    "CD-1": ContrastiveDivergence(1),
    "PCD-1": ContrastiveDivergence(1, persistent=True),
}


def planted_rows(
    *,
    cpu_s: float = 4.0,
    seeds: Sequence[int] = (1, 2, 3),
    sequences: int = 8000,
    names: Sequence[str] | None = None,
    marks: int = 0,
) -> list[Row]:
    """Masked cross entropy of factored attention on planted languages of 20 positions, 6 colours
    and 31 edges, one language per seed: score is nats above the language's exact entropy. The
    loss of the truth on the same 10,000 new sequences is subtracted, so that their sampling error
    cancels; `truth` has the exact entropies, `loss` entropy + score. names: of PLANTED_RULES, all
    of them by default; KeyError for another. curves: of `marks` points, on the first 500 new
    sequences, and the score at the end."""
    rows = []
    for name in PLANTED_RULES if names is None else names:
        rule = PLANTED_RULES[name]
        row = _row(name, "planted Potts", "nats above the exact entropy", {"cpu_s": cpu_s}, seeds)
        row |= {"truth": [], "loss": [], "accuracy": [], "coupling_error": [], "edges_found": []}
        row["curves"], trained = [], []
        for seed in seeds:
            language = planted_language(seed=seed)
            new = language.sequences(10_000, seed=seed + 1_000_003).astype(np.int64)
            machine = FactoredAttention(language.length, language.colours, rule=rule, seed=seed)
            watch = Marks(marks, partial(_excess, machine, language, new[:500])) if marks else None
            learned = language.sequences(sequences, seed)
            compile_for(language, rule)  # before the clock runs
            progress = machine.fit(learned, Budget(cpu_s=cpu_s), watch=watch)
            excess = _excess(machine, language, new)
            if marks:
                progress.mark(progress.loss, excess)
            row["curves"].append([asdict(point) for point in progress.curve])
            row["params"] = machine.n_couplings
            row["truth"].append(language.masked_entropy)
            row["loss"].append(language.masked_entropy + excess)
            row["accuracy"].append(float((machine.predict(new) == new).mean()))
            row["coupling_error"].append(machine.coupling_error(language.tensor))
            row["edges_found"].append(machine.edge_precision(language.edges))
            _add(row, excess, progress.events, progress.cpu_s)
            trained.append(progress)
        rows.append(row | {"joules": mean_joules(trained)})
    return rows


def compile_for(language: PlantedLanguage, rule: Rule) -> None:
    """A step of another machine: kernels are compiled, or read from their cache."""
    machine = FactoredAttention(language.length, language.colours, rule=rule)
    machine.fit(np.zeros((1, language.length), np.uint8), Budget(steps=1))


def _excess(machine: FactoredAttention, language: PlantedLanguage, new: Array) -> float:
    """Nats above the exact law's loss on the same sequences."""
    true = np.take_along_axis(language.log_law(new), new[..., None], -1).mean()
    return float(true) - machine.score(new)


def recall_rows(
    *,
    cpu_s: float = 4.0,
    seeds: Sequence[int] = (1, 2, 3),
    pairs: int = 16,
    symbols: int = 32,
) -> list[Row]:
    """Learned associative recall, exact and drawn phases: accuracy on 4,000 new episodes by the
    summed law; `one_draw` by one state of selector and answer."""
    rows = []
    for name, sampled in (("selector, exact phases", False), ("selector, sampled phases", True)):
        row = _row(name, f"recall of {pairs} pairs", "accuracy", {"cpu_s": cpu_s}, seeds)
        row |= {"one_draw": [], "steps": []}
        trained = []
        for seed in seeds:
            machine = AssociativeRecall(symbols, sampled=sampled, seed=seed)
            AssociativeRecall(symbols).fit(Budget(steps=1), pairs=pairs)  # compiles
            progress = machine.fit(Budget(cpu_s=cpu_s), pairs=pairs)
            draw = Draw(seed, Stream.DATA)
            new = recall_episodes(4000, pairs=pairs, symbols=symbols, draw=draw)
            row["params"] = 2 * symbols**2
            row["one_draw"].append(accuracy_of(machine.sample(new, seed), new))
            row["steps"].append(progress.steps)
            _add(row, machine.score(new), progress.events, progress.cpu_s)
            trained.append(progress)
        rows.append(row | {"joules": mean_joules(trained)})
    return rows


def selector_rows(
    *,
    seeds: Sequence[int] = (1, 2, 3),
    draws: Sequence[int] = (10, 100, 1000, 10_000),
    beta: float = 1.0,
    keys: int = 64,
    width: int = 32,
) -> list[Row]:
    """Attention by drawn selectors against the softmax: 16 rows of normal scores per seed. score:
    error of the averaged output relative to its norm, root mean square over rows; `expected`: the
    same from the variance of the values, which falls as S^-1/2; `p`: chi-square of all draws of
    the first row (nan below 5 per key); `n_eff`: keys that carry the weight, e^H."""
    rows = []
    for count in draws:
        row = _row(
            f"selector, {count} draws", "attention", "relative error of the output",
            {"draws": count}, seeds,
        )  # fmt: skip
        row |= {"params": 0, "expected": [], "p": [], "n_eff": []}
        for seed in seeds:
            start = time.process_time()
            scores = normals((16, keys), Draw(seed, Stream.ATTENTION))
            values = normals((16, keys, width), Draw(seed, Stream.ATTENTION, block=1))
            draw = Draw(seed, Stream.SELECTOR, step=count)
            exact = attend(scores, values, beta)
            sampled = attend_sampled(scores, values, count, draw, beta)
            size = (exact**2).mean()
            variance = draws_needed(scores, values, 1.0, beta).mean() / count
            states = draw_selectors(scores, count, draw, beta)[:, 0]
            wanted = count * heat_bath(scores[0], beta)
            seen = np.bincount(states, minlength=keys)
            p = stats.chisquare(seen, wanted).pvalue if wanted.min() >= 5 else np.nan
            row["expected"].append(float(np.sqrt(variance / size)))
            row["p"].append(float(p))
            row["n_eff"].append(float(np.median(softmax(scores, beta).n_eff)))
            error = float(np.sqrt(((sampled - exact) ** 2).mean() / size))
            made = count * 16
            _add(
                row,
                error,
                Events(potts_draws=made, random_words=made),
                time.process_time() - start,
            )
        rows.append(row)
    return rows


def memory_rows(
    *,
    seeds: Sequence[int] = (1, 2, 3),
    spins: int = 128,
    counts: Sequence[int] = (8, 16, 32, 64, 256, 1024),
    noise: float = 0.2,
    cues: int = 200,
    backend: str = "cpu",
) -> list[Row]:
    """Patterns recalled from cues with a fifth of their spins wrong: Hebbian couplings at T = 0
    and one draw of a selector. `theory`: the overlap of the replica-symmetric solution for
    infinitely many spins, 0 above the load 0.138."""
    rows = []
    for count in counts:
        for name in ("Hopfield", "selector, one draw"):
            row = _row(
                f"{name}, {count} patterns", "memory", "fraction recalled", {"spins": spins}, seeds
            )
            row["theory"] = hopfield_overlap(count / spins) if name == "Hopfield" else None
            for seed in seeds:
                start = time.process_time()
                xi = random_patterns(count, spins, seed)
                hebb = name == "Hopfield"
                memory = (
                    HopfieldMemory(backend=backend, seed=seed)
                    if hebb
                    else SelectorMemory(seed=seed)
                )
                memory.fit(xi)
                wanted = np.arange(cues) % count
                recalled = memory.score(noisy_cues(xi[wanted], noise, seed), wanted)
                row["params"] = spins * (spins - 1) // 2 if hebb else count * spins
                made = Events(draws=10 * spins * cues) if hebb else Events(potts_draws=cues)
                _add(row, recalled, made, time.process_time() - start)
            rows.append(row)
    return rows


def penalty_rows(
    *,
    seeds: Sequence[int] = (1, 2, 3),
    scores: ArrayLike | None = None,
    penalties: Sequence[float] = (2.0, 4.0, 8.0),
    replicas: int = 2048,
    sweeps: Sequence[int] = (20, 1000),
    backend: str = "auto",
) -> list[Row]:
    """A Potts spin of 64 colours sampled through its one-hot export: score is the total variation
    of the valid states from the heat bath, beside that of as many native draws (`native`, which
    is sampling noise); `measured` has valid fractions and acceptances of every seed."""
    rows = []
    for penalty in penalties:
        for length in sweeps:
            row = _row(
                f"one-hot, A = {penalty:g}, {length} sweeps", "penalty", "total variation",
                {"sweeps": length, "replicas": replicas}, seeds,
            )  # fmt: skip
            row |= {"params": 0, "native": [], "measured": []}
            for seed in seeds:
                start = time.process_time()
                s = normals((64,), Draw(seed, Stream.ATTENTION)) if scores is None else scores
                (found,) = penalty_study(
                    s, [penalty], replicas=replicas, sweeps=length, backend=backend, seed=seed
                )
                row["native"].append(found.native)
                measured = asdict(found) | {"attempts_per_move": found.attempts_per_move}
                row["measured"].append(measured)
                made = Events(draws=np.size(s) * replicas * length)
                _add(row, found.distance, made, time.process_time() - start)
            rows.append(row)
    return rows


def _row(name: str, task: str, metric: str, budget: dict[str, Any], seeds: Sequence[int]) -> Row:
    return {
        "name": name, "task": task, "metric": metric, "params": 0, "budget": budget,
        "seeds": list(seeds), "scores": [], "events": [], "cpu_s": [],
    }  # fmt: skip


def _add(row: Row, score: float, events: Events, cpu_s: float) -> None:
    """Append one seed to a row."""
    row["scores"].append(float(score))
    row["cpu_s"].append(float(cpu_s))
    row["events"].append(events.to_json())
