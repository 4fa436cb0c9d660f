"""Factored attention: the inverse Potts problem, learned by local conditionals or Gibbs phases.

    p(x_i = a | others) = softmax_a(h_i[a] + sum_{j != i} J_ij[a, x_j])

One attention layer whose weights depend on positions alone is this conditional, and masked-token
training is pseudo-likelihood (Rende et al., Phys. Rev. Research 6, 023057, 2024). Rules, all of
the form clamped minus free for a coupling's own two ends:

    pseudo-likelihood        <x_i x_j> of the data - with x_i by its heat bath, then x_j
    the same, sampled        one heat-bath draw per site in place of its law
    contrastive divergence   after k sweeps from the data, or from the last free state (persistent)

A bond's own shrinkage (group lasso: Yuan and Lin, J. R. Stat. Soc. B 68, 49, 2006) removes the
couplings that data do not support; it too is local. Besag, The Statistician 24, 179 (1975).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, softmax

from isingnpu.archive import FilePath
from isingnpu.npu.budget import Budget, Events, Progress
from isingnpu.npu.device import find_device
from isingnpu.npu.draws import Draw, uniforms
from isingnpu.npu.embedding import one_hot
from isingnpu.npu.learning import ContrastiveDivergence, LocalAdam, Moments
from isingnpu.npu.potts import PottsModel, draw_states
from isingnpu.npu.store import read_machine, write_machine
from isingnpu.rng import Stream, as_seed

Array = NDArray[Any]

KIND = "FactoredAttention"


@dataclass(frozen=True)
class PseudoLikelihood:
    """The free end of a coupling by its conditional law, or by one draw of it."""

    sampled: bool = False


Rule = PseudoLikelihood | ContrastiveDivergence
_RULES: dict[str, type[Rule]] = {r.__name__: r for r in (PseudoLikelihood, ContrastiveDivergence)}

_FIT_RULE = LocalAdam(rate=0.02, decay=0.0, warm_up=1, floor=0.02)


class FactoredAttention:
    """fit, predict, score, sample, save, load of L positions of q colours, all pairs coupled.

    couplings: (L q, L q) float32 symmetric, no coupling within a position; fields: (L q,).
    shrinkage: of a bond (i, j) per step, times the rate, in units of its norm."""

    def __init__(
        self,
        length: int,
        colours: int,
        *,
        rule: Rule | None = None,
        adam: LocalAdam = _FIT_RULE,
        shrinkage: float = 0.5,
        batch: int = 256,
        seed: int = 0,
    ) -> None:
        if length < 2 or colours < 2 or batch < 1 or not shrinkage >= 0:
            raise ValueError(
                f"need length >= 2, colours >= 2, batch >= 1 and shrinkage >= 0, got {length}, "
                f"{colours}, {batch}, {shrinkage}"
            )
        self.length, self.colours, self.batch = length, colours, batch
        self.seed = as_seed(seed)
        self.rule, self.adam, self.shrinkage = rule or PseudoLikelihood(), adam, shrinkage
        size = length * colours
        self.couplings = np.zeros((size, size), np.float32)
        self.fields = np.zeros(size, np.float32)
        self.progress: Progress | None = None
        self._moments = Moments()
        self._chains = np.empty((0, length), np.int64)  # free states of persistent chains
        self._between = np.kron(1 - np.eye(length), np.ones((colours, colours))).astype(np.float32)

    @property
    def n_couplings(self) -> int:
        """Independent numbers that are learned: couplings of pairs, and fields."""
        pairs = self.length * (self.length - 1) // 2
        return pairs * self.colours**2 + self.length * self.colours

    def fit(
        self,
        sequences: ArrayLike,
        budget: Budget,
        *,
        until: int | None = None,
        watch: Callable[[Progress], None] | None = None,
    ) -> Progress:
        """Learn from sequences (n, L) until the budget, of all calls together, is spent.

        A machine that was stopped (`until` a step, or saved and loaded) goes on where it was; with
        a budget in steps it has the bits of one that was not. watch is called after every step."""
        x = self._check(sequences)
        device = find_device("cpu")
        with Progress.after(self.progress, budget) as progress:
            self.progress = progress
            while not progress.spent and (until is None or progress.steps < until):
                step = progress.steps
                u = uniforms((self.batch,), Draw(self.seed, Stream.BATCH, step=step))
                chosen = x[(u * len(x)).astype(np.int64)]
                if step == 0:
                    self._chains = chosen.copy()
                statistics, self._chains, events = self._phases(chosen, self._chains, step)
                rate = self.adam.rate_at(step, progress.fraction)
                self._moments.step(
                    device,
                    self.adam,
                    {"couplings": self.couplings, "fields": self.fields},
                    statistics,
                    progress.fraction,
                    frozenset({"fields"}),
                )
                # the two halves round differently in vectorised loops
                self.couplings = (self.couplings + self.couplings.T) / np.float32(2)
                self._shrink(rate * self.shrinkage)
                progress.count(events)
                if watch is not None:
                    watch(progress)
        return progress

    def _phases(
        self, x: Array, chains: Array, step: int
    ) -> tuple[dict[str, Array], Array, Events]:
        """(statistics, free states, events) of a batch x (B, L)."""
        B, size = len(x), self.couplings.shape[0]
        clamped = one_hot(x, self.colours).reshape(B, size)
        events = Events(samples=B, writes=self.n_couplings, bytes=8 * size * (B + 3 * size))
        if isinstance(self.rule, PseudoLikelihood):
            scores = self._scores(clamped)  # (B, L, q)
            if self.rule.sampled:
                draw = Draw(self.seed, Stream.SELECTOR, step=step)
                states = draw_states(scores, uniforms((B, self.length), draw))
                free = one_hot(states, self.colours)
                events.potts_draws = B * self.length
                events.random_words = B * self.length
            else:
                free = softmax(scores, axis=-1)
                events.evaluations = B * self.length
            difference = clamped - free.reshape(B, size)
            pairs = clamped.T @ difference / np.float32(B)
            pairs = (pairs + pairs.T) / np.float32(2)
            events.macs = 2 * B * size**2
        else:
            k, persistent = self.rule.k, self.rule.persistent
            draw = Draw(self.seed, Stream.SELECTOR, step=step)
            states = self._sweep(chains if persistent else x, k, draw)
            chains = states if persistent else chains
            free = one_hot(states, self.colours).reshape(B, size)
            difference = clamped - free
            pairs = (clamped.T @ clamped - free.T @ free) / np.float32(B)
            events.potts_draws = events.random_words = k * B * self.length
            events.macs = (k + 2) * B * size**2
        return {"couplings": pairs * self._between, "fields": difference.mean(0)}, chains, events

    def _sweep(self, states: Array, sweeps: int, draw: Draw) -> Array:
        """States (B, L) after heat-bath sweeps over the positions in order; sweep k takes the
        numbers of block k of `draw`."""
        y, q = states.copy(), self.colours
        spins = one_hot(y, q).reshape(len(y), -1)
        for sweep in range(sweeps):
            u = uniforms((self.length, len(y)), draw.at(block=sweep))
            for i in range(self.length):
                own = slice(i * q, (i + 1) * q)
                y[:, i] = draw_states(spins @ self.couplings[:, own] + self.fields[own], u[i])
                spins[:, own] = np.eye(q, dtype=np.float32)[y[:, i]]
        return y

    def _shrink(self, amount: float) -> None:
        """Pull every bond's block towards zero by `amount` of its norm."""
        if amount:
            L, q = self.length, self.colours
            blocks = self.couplings.reshape(L, q, L, q)
            norms = np.sqrt(np.einsum("iajb,iajb->ij", blocks, blocks))
            norms = (norms + norms.T) / 2
            kept = np.maximum(0, 1 - amount / np.maximum(norms, 1e-30)).astype(np.float32)
            blocks *= kept[:, None, :, None]

    def _scores(self, spins: Array) -> Array:
        """(B, L, q) heat-bath scores of every position given the others; spins (B, L q)."""
        scores = spins @ self.couplings + self.fields
        return np.asarray(scores.reshape(len(spins), self.length, self.colours))

    def log_law(self, sequences: ArrayLike) -> Array:
        """(n, L, q) ln p(x_i = a | all other tokens)."""
        spins = one_hot(self._check(sequences), self.colours)
        scores = self._scores(spins.reshape(len(spins), -1)).astype(np.float64)
        return np.asarray(log_softmax(scores, axis=-1))

    def predict(self, sequences: ArrayLike) -> Array:
        """(n, L) most probable colour of each position given the others."""
        return np.asarray(self.log_law(sequences).argmax(-1))

    def score(self, sequences: ArrayLike) -> float:
        """Mean ln p(x_i | others) in nats; minus the masked cross entropy."""
        x = self._check(sequences)
        return float(np.take_along_axis(self.log_law(x), x[..., None], axis=-1).mean())

    def sample(self, count: int, *, sweeps: int = 100, seed: int | None = None) -> Array:
        """(count, L) sequences after heat-bath sweeps from uniform random ones."""
        key = self.seed if seed is None else seed
        u = uniforms((count, self.length), Draw(key, Stream.INIT))
        states = (u * self.colours).astype(np.int64)
        return self._sweep(states, sweeps, Draw(key, Stream.SELECTOR, call=1))

    def model(self) -> PottsModel:
        """The learned Potts model, which isingnpu.npu.export takes."""
        L, q = self.length, self.colours
        J = self.couplings.reshape(L, q, L, q).astype(np.float64)
        pairs = {(i, j): J[i, :, j] for i in range(L) for j in range(i + 1, L)}
        return PottsModel(tuple(self.fields.reshape(L, q).astype(np.float64)), pairs)

    def tensor(self) -> Array:
        """(L, L, q, q) couplings in the zero-sum gauge."""
        L, q = self.length, self.colours
        J = self.couplings.reshape(L, q, L, q).transpose(0, 2, 1, 3).astype(np.float64)
        centred = J - J.mean(2, keepdims=True)
        return np.asarray(centred - centred.mean(3, keepdims=True))

    def coupling_error(self, true: ArrayLike) -> float:
        """|J - J*| / |J*| of couplings J* (L, L, q, q) in the zero-sum gauge."""
        J = np.asarray(true, np.float64)
        return float(np.linalg.norm(self.tensor() - J) / np.linalg.norm(J))

    def edge_precision(self, edges: ArrayLike) -> float:
        """Fraction of true edges (E, 2) among the E strongest bonds; all found is 1."""
        wanted = {tuple(sorted(pair)) for pair in np.asarray(edges).tolist()}
        i, j = np.triu_indices(self.length, 1)
        strength = np.linalg.norm(self.tensor()[i, j], axis=(1, 2))
        best = np.argsort(-strength, kind="stable")[: len(wanted)]
        found = {(int(i[k]), int(j[k])) for k in best}
        return len(found & wanted) / len(wanted)

    def save(self, path: FilePath) -> None:
        """Settings, couplings and all that another `fit` needs, in one .npz file."""
        description: dict[str, Any] = {
            "length": self.length, "colours": self.colours, "seed": str(self.seed),
            "rule": type(self.rule).__name__, "of_rule": asdict(self.rule),
            "adam": asdict(self.adam), "shrinkage": self.shrinkage, "batch": self.batch,
            "progress": None if self.progress is None else self.progress.to_json(),
        }  # fmt: skip
        arrays: dict[str, Array] = {
            "couplings": self.couplings, "fields": self.fields, "chains": self._chains,
        }  # fmt: skip
        arrays |= self._moments.arrays()
        write_machine(path, KIND, description, arrays)

    @classmethod
    def load(cls, path: FilePath) -> FactoredAttention:
        """The inverse of `save`; ValueError for another file."""
        stored, arrays = read_machine(path, KIND)
        adam = stored["adam"]
        machine = cls(
            stored["length"],
            stored["colours"],
            rule=_RULES[stored["rule"]](**stored["of_rule"]),
            adam=LocalAdam(**adam | {"betas": tuple(adam["betas"])}),
            shrinkage=stored["shrinkage"],
            batch=stored["batch"],
            seed=int(stored["seed"]),
        )
        machine.couplings, machine.fields = arrays["couplings"], arrays["fields"]
        machine._chains = arrays["chains"]
        if stored["progress"] is not None:
            machine.progress = Progress.from_json(stored["progress"])
            machine._moments = Moments.restored(arrays, machine.progress.steps)
        return machine

    def _check(self, sequences: ArrayLike) -> Array:
        x = np.asarray(sequences)
        if x.ndim != 2 or x.shape[1] != self.length or not len(x):
            raise ValueError(f"sequences must be (n, {self.length}), got {x.shape}")
        if not np.issubdtype(x.dtype, np.integer) or x.min() < 0 or x.max() >= self.colours:
            raise ValueError(f"tokens must be integers in 0..{self.colours - 1}")
        return x.astype(np.int64)
