"""Learned associative recall: which key does a query ask for, and what is its value.

    E(a, y) = -M[query, key_a] - V[value_a, y],    a in 1..n a selector, y the answer

Nothing is built in but that a position holds a key and a value: M and V, of v symbols each, are
learned by posterior minus prior of the selector (isingnpu.npu.attention), with exact phases or
with one drawn state per phase:

    dM[query, key_a] = P(a | y) - P(a),      dV[value_a, y'] = P(a | y) delta_yy' - P(a, y')
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.archive import FilePath
from isingnpu.npu.attention import selector_law, selector_statistics
from isingnpu.npu.budget import Budget, Events, Progress
from isingnpu.npu.device import find_device
from isingnpu.npu.draws import Draw, normals, uniforms
from isingnpu.npu.learning import LocalAdam, Moments
from isingnpu.npu.potts import draw_states
from isingnpu.npu.store import read_machine, write_machine
from isingnpu.rng import Stream, as_seed

Array = NDArray[Any]

KIND = "AssociativeRecall"
_FIT_RULE = LocalAdam(rate=0.05, decay=0.0, warm_up=1, floor=1.0)


@dataclass(frozen=True, eq=False)
class Episodes:
    """keys, values: (B, n) symbols; query, answer: (B,), answer the value of the query's key."""

    keys: Array
    values: Array
    query: Array
    answer: Array

    def tokens(self, symbols: int) -> Array:
        """(B, 2 n + 1) int64 for a reader of sequences: keys k and values `symbols` + v in turns,
        then the query."""
        x = np.empty((len(self.query), 2 * self.keys.shape[1] + 1), np.int64)
        x[:, 0:-1:2], x[:, 1::2], x[:, -1] = self.keys, self.values + symbols, self.query
        return x


def recall_episodes(count: int, *, pairs: int, symbols: int, draw: Draw) -> Episodes:
    """Keys without repetition, values uniform, one of the keys asked for. ValueError if there are
    more pairs than symbols."""
    if not 1 <= pairs <= symbols:
        raise ValueError(f"{pairs} different keys need at least as many symbols, got {symbols}")
    keys = np.argsort(uniforms((count, symbols), draw), axis=1, kind="stable")[:, :pairs]
    u = uniforms((count, pairs + 1), draw.at(call=1))
    values = (u[:, :-1] * symbols).astype(np.int64)
    asked = (u[:, -1] * pairs).astype(np.int64)
    row = np.arange(count)
    return Episodes(keys, values, keys[row, asked], values[row, asked])


class AssociativeRecall:
    """metric M and readout V, (symbols, symbols) float32. sampled: one draw per phase."""

    def __init__(
        self,
        symbols: int = 32,
        *,
        sampled: bool = False,
        adam: LocalAdam = _FIT_RULE,
        batch: int = 64,
        seed: int = 0,
    ) -> None:
        if symbols < 2 or batch < 1:
            raise ValueError(f"need symbols >= 2 and batch >= 1, got {symbols}, {batch}")
        self.symbols, self.sampled, self.adam = symbols, sampled, adam
        self.batch, self.seed = batch, as_seed(seed)
        self.progress: Progress | None = None
        self._moments = Moments()
        self.metric = np.zeros((symbols, symbols), np.float32)
        self.readout = np.float32(0.1) * normals(
            (symbols, symbols), Draw(self.seed, Stream.WEIGHTS)
        )

    def fit(self, budget: Budget, *, pairs: int = 16, until: int | None = None) -> Progress:
        """Learn from fresh episodes, every step a batch of its own, until the budget, of all
        calls together, is spent. A machine that was stopped (`until` a step, or saved and loaded)
        goes on where it was; with a budget in steps it has the bits of one that was not."""
        device = find_device("cpu")
        with Progress.after(self.progress, budget) as progress:
            self.progress = progress
            while not progress.spent and (until is None or progress.steps < until):
                step = progress.steps
                episodes = recall_episodes(
                    self.batch,
                    pairs=pairs,
                    symbols=self.symbols,
                    draw=Draw(self.seed, Stream.BATCH, step=step),
                )
                statistics = self.statistics(episodes, Draw(self.seed, Stream.SELECTOR, step=step))
                couplings = {"metric": self.metric, "readout": self.readout}
                self._moments.step(device, self.adam, couplings, statistics, progress.fraction)
                decided = 3 * self.batch
                progress.count(
                    Events(
                        potts_draws=decided if self.sampled else 0,
                        evaluations=0 if self.sampled else decided,
                        random_words=decided if self.sampled else 0,
                        writes=2 * self.symbols**2,
                        samples=self.batch,
                        bytes=8 * self.batch * pairs * self.symbols,
                    )
                )
        return progress

    def statistics(self, episodes: Episodes, draw: Draw) -> dict[str, Array]:
        """Clamped minus free of both couplings, means over the batch; drawn if `sampled`."""
        scores, values = self._fields(episodes)
        if self.sampled:
            ds, dv = self._drawn(scores, values, episodes.answer, draw)
        else:
            found = selector_statistics(scores[:, None], values[:, None], episodes.answer)
            ds, dv = found.scores[:, 0], found.values[:, 0]
        B, v = len(scores), self.symbols
        metric = np.bincount(
            (episodes.query[:, None] * v + episodes.keys).ravel(), ds.ravel(), v * v
        )
        readout = np.zeros((v, v))
        np.add.at(readout, episodes.values.ravel(), dv.reshape(-1, v))
        arrays = {"metric": metric.reshape(v, v), "readout": readout}
        return {name: (array / B).astype(np.float32) for name, array in arrays.items()}

    def _fields(self, episodes: Episodes) -> tuple[Array, Array]:
        """(scores (B, n), values (B, n, v)) float64 of a batch."""
        scores = self.metric[episodes.query[:, None], episodes.keys].astype(np.float64)
        return scores, self.readout[episodes.values].astype(np.float64)

    def _drawn(self, scores: Array, values: Array, answer: Array, draw: Draw) -> Any:
        """(ds, dv) with one draw of a given y, and of (a, y) together."""
        B, n, v = values.shape
        row = np.arange(B)
        u = uniforms((2, B), draw)
        clamped = draw_states(scores + values[row, :, answer], u[0])
        free = draw_states((scores[..., None] + values).reshape(B, n * v), u[1])
        ds, dv = np.zeros((B, n)), np.zeros((B, n, v))
        ds[row, clamped] += 1
        ds[row, free // v] -= 1
        dv[row, clamped, answer] += 1
        dv[row, free // v, free % v] -= 1
        return ds, dv

    def log_law(self, episodes: Episodes) -> Array:
        """(B, v) ln p(answer), the selector summed out."""
        scores, values = self._fields(episodes)
        return selector_law(scores[:, None], values[:, None])

    def predict(self, episodes: Episodes) -> Array:
        """(B,) most probable answers."""
        return np.asarray(self.log_law(episodes).argmax(-1))

    def sample(self, episodes: Episodes, seed: int = 0) -> Array:
        """(B,) answers of one draw: the selector by its prior, then y by its heat bath."""
        scores, values = self._fields(episodes)
        u = uniforms((2, len(scores)), Draw(seed, Stream.SELECTOR, call=1))
        # prior of a with y summed out
        prior = scores + np.log(np.exp(values).sum(-1))
        a = draw_states(prior, u[0])
        return draw_states(values[np.arange(len(a)), a], u[1])

    def score(self, episodes: Episodes) -> float:
        """Fraction of right answers."""
        return float((self.predict(episodes) == episodes.answer).mean())

    def save(self, path: FilePath) -> None:
        """Settings, couplings and all that another `fit` needs, in one .npz file."""
        description: dict[str, Any] = {
            "symbols": self.symbols, "sampled": self.sampled, "adam": asdict(self.adam),
            "batch": self.batch, "seed": str(self.seed),
            "progress": None if self.progress is None else self.progress.to_json(),
        }  # fmt: skip
        arrays = {"metric": self.metric, "readout": self.readout} | self._moments.arrays()
        write_machine(path, KIND, description, arrays)

    @classmethod
    def load(cls, path: FilePath) -> AssociativeRecall:
        """The inverse of `save`; ValueError for another file."""
        stored, arrays = read_machine(path, KIND)
        adam = stored["adam"]
        machine = cls(
            stored["symbols"],
            sampled=stored["sampled"],
            adam=LocalAdam(**adam | {"betas": tuple(adam["betas"])}),
            batch=stored["batch"],
            seed=int(stored["seed"]),
        )
        if stored["progress"] is not None:
            machine.progress = Progress.from_json(stored["progress"])
            machine._moments = Moments.restored(arrays, machine.progress.steps)
        machine.metric, machine.readout = arrays["metric"], arrays["readout"]
        return machine


def accuracy_of(answers: ArrayLike, episodes: Episodes) -> float:
    """Fraction of these answers that are right."""
    return float((np.asarray(answers) == episodes.answer).mean())
