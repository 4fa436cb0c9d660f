"""A planted Potts language: short sequences from a sparse Potts model, every entropy exact.

    p(x) ~ exp(sum over edges (i, j) of J_ij[x_i, x_j]),   x in 0..q-1 at L positions

Edges join positions at any distance; couplings are normal and centred over rows and columns. What
a model can reach at best is known from variable elimination (isingnpu.npu.elimination):

    entropy          H(x) / L, nats per token read from left to right
    masked_entropy   mean over i of H(x_i | all others), nats per masked token

Rende et al., Phys. Rev. Research 6, 023057 (2024) learn such sequences by attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, xlogy

from isingnpu.npu.corpus import Corpus
from isingnpu.npu.draws import Draw, normals
from isingnpu.npu.elimination import Elimination, eliminate
from isingnpu.npu.potts import PottsModel
from isingnpu.rng import Stream, permutation

Array = NDArray[Any]

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, eq=False)
class PlantedLanguage:
    """edges: (E, 2) positions i < j; couplings: (E, q, q) with zero row and column means."""

    length: int
    colours: int
    edges: Array
    couplings: Array

    @cached_property
    def model(self) -> PottsModel:
        """The Potts model of one sequence."""
        fields = tuple(np.zeros(self.colours) for _ in range(self.length))
        pairs = zip(self.edges.tolist(), self.couplings, strict=True)
        return PottsModel(fields, {(i, j): J for (i, j), J in pairs})

    @cached_property
    def tensor(self) -> Array:
        """(L, L, q, q) couplings J[i, j, a, b] = J[j, i, b, a]."""
        full = np.zeros((self.length, self.length, self.colours, self.colours))
        i, j = self.edges.T
        full[i, j] = self.couplings
        full[j, i] = self.couplings.transpose(0, 2, 1)
        return full

    @cached_property
    def _eliminated(self) -> Elimination:
        return eliminate(self.model)

    @cached_property
    def log_z(self) -> float:
        return self._eliminated.log_z

    @cached_property
    def _blankets(self) -> list[tuple[tuple[int, ...], Array]]:
        """Per position the sites of {i} and its neighbours, and their exact law."""
        neighbours = [self.edges[(self.edges == i).any(1)] for i in range(self.length)]
        sites = [tuple(sorted({i, *n.ravel().tolist()})) for i, n in enumerate(neighbours)]
        return [(s, eliminate(self.model, keep=s).marginal) for s in sites]

    @cached_property
    def entropy(self) -> float:
        """H(x) / L in nats, exact: (ln Z + <E>) / L."""
        energy = 0.0
        for i, (sites, law) in enumerate(self._blankets):
            for (a, b), J in self.model.couplings.items():
                if a == i:
                    others = tuple(k for k, s in enumerate(sites) if s not in (a, b))
                    energy -= float((law.sum(axis=others) * J).sum())
        return (self.log_z + energy) / self.length

    @cached_property
    def masked_entropy(self) -> float:
        """Mean over positions of H(x_i | all others) in nats, exact; given its neighbours x_i
        depends on no other token."""
        total = 0.0
        for i, (sites, law) in enumerate(self._blankets):
            context = law.sum(axis=sites.index(i))
            total += float(xlogy(context, context).sum() - xlogy(law, law).sum())
        return total / self.length

    def sequences(self, count: int, seed: int = 0) -> Array:
        """(count, L) uint8 independent sequences."""
        return self._eliminated.sample(count, seed).astype(np.uint8)

    def log_law(self, sequences: ArrayLike) -> Array:
        """(n, L, q) true ln p(x_i = a | all other tokens)."""
        x = np.asarray(sequences)
        scores = np.stack([self.model.scores(x, i) for i in range(self.length)], axis=1)
        return np.asarray(log_softmax(scores, axis=-1))

    def corpus(self, count: int, seed: int = 0) -> Corpus:
        """`count` sequences as lines of a text, the last tenth of them to be judged. The exact
        entropy per character, line ends included, is L / (L + 1) times `entropy`, for a reader
        that sees the whole line so far."""
        lines = np.full((count, self.length + 1), self.colours, np.uint8)
        lines[:, :-1] = self.sequences(count, seed)
        alphabet = (*LETTERS[: self.colours], "\n")
        train = int(0.9 * count) * (self.length + 1)
        return Corpus("planted Potts language", lines.reshape(-1), alphabet, train, lines.size)


def planted_language(
    *,
    length: int = 20,
    colours: int = 6,
    n_edges: int = 31,
    strength: float = 1.0,
    most: int = 5,
    seed: int = 0,
) -> PlantedLanguage:
    """Edges in random order, each taken unless a position has `most` already; `strength`: the
    deviation of a coupling before it is centred. ValueError if the edges do not fit."""
    if not (2 <= colours <= len(LETTERS) and length >= 2 and n_edges >= 1 and strength > 0):
        raise ValueError(
            f"need length >= 2, 2 to {len(LETTERS)} colours, an edge and strength > 0, got "
            f"{length}, {colours}, {n_edges}, {strength}"
        )
    i, j = np.triu_indices(length, 1)
    degree = np.zeros(length, np.int64)
    chosen: list[tuple[int, int]] = []
    for k in permutation(seed, Stream.GRAPH, len(i)):
        ends = [int(i[k]), int(j[k])]
        if len(chosen) < n_edges and (degree[ends] < most).all():
            degree[ends] += 1
            chosen.append((ends[0], ends[1]))
    if len(chosen) < n_edges:
        raise ValueError(
            f"{n_edges} edges do not fit {length} positions of at most {most} edges each"
        )
    J = strength * normals((n_edges, colours, colours), Draw(seed, Stream.PLANT)).astype(float)
    J -= J.mean(1, keepdims=True)
    J -= J.mean(2, keepdims=True)
    return PlantedLanguage(length, colours, np.array(sorted(chosen)), J)
