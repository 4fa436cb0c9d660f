"""Associative memories: Hebbian couplings, and a Potts selector over stored patterns.

    HopfieldMemory   J_ij = sum_a xi_a,i xi_a,j / N, J_ii = 0; recall by cooling to T = 0
                     (Hopfield, PNAS 79, 2554, 1982). Capacity 0.138 N patterns: below it the
                     overlap follows `hopfield_overlap` (Amit, Gutfreund & Sompolinsky, Phys. Rev.
                     Lett. 55, 1530, 1985), above it recall is lost.
    SelectorMemory   P(a) ~ exp(beta xi_a . s): one Potts spin of P states, heat bath; the recalled
                     spins are those of the drawn pattern, or the sign of the mean. Dense or modern
                     Hopfield memory: capacity grows like e^(c N) (Demircigil et al., J. Stat.
                     Phys. 168, 288, 2017; Ramsauer et al., ICLR 2021). Attention over patterns.

The selector stores P N numbers and reads them all; the Hebbian couplings are N^2 / 2 numbers.
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import erf

from isingnpu.annealing import sample
from isingnpu.archive import FilePath
from isingnpu.criticality.softmax import probabilities
from isingnpu.model import IsingModel
from isingnpu.npu.draws import Draw, uniforms
from isingnpu.npu.embedding import initial_spins
from isingnpu.npu.potts import draw_states
from isingnpu.npu.store import read_machine, write_machine
from isingnpu.rng import Stream

Array = NDArray[Any]

# Heat bath at a beta at which the smallest field of +-1 patterns decides: e^(-2 beta / N).
COLD = 1e6


class _PatternMemory:
    """Patterns (P, N) of -1 and +1, and how well cues find them."""

    patterns: Array

    def fit(self, patterns: ArrayLike) -> Self:
        """Store patterns (P, N); replaces those stored before."""
        xi = np.asarray(patterns)
        if xi.ndim != 2 or not xi.size or not np.isin(xi, (-1, 1)).all():
            raise ValueError(f"patterns must be (P, N) of -1 and +1, got shape {xi.shape}")
        self.patterns = xi.astype(np.int8)
        return self

    def predict(self, cues: ArrayLike) -> Array:
        """Recalled spins (cues, N)."""
        raise NotImplementedError

    def score(self, cues: ArrayLike, wanted: ArrayLike) -> float:
        """Fraction of cues (cues, N) recalled with an overlap above 0.9 with the wanted pattern;
        wanted: (cues,) indices of patterns."""
        return float((self.overlaps(cues, wanted) > 0.9).mean())

    def overlaps(self, cues: ArrayLike, wanted: ArrayLike) -> Array:
        """(cues,) xi_wanted . recalled / N."""
        recalled = self.predict(cues).astype(np.int64)
        return np.asarray((recalled * self.patterns[np.asarray(wanted)]).mean(-1))

    def save(self, path: FilePath) -> None:
        """Patterns and settings in one file."""
        write_machine(path, type(self).__name__, self._settings(), {"patterns": self.patterns})

    @classmethod
    def load(cls, path: FilePath) -> Self:
        """The inverse of `save`; ValueError for another file."""
        settings, arrays = read_machine(path, cls.__name__)
        return cls(**settings).fit(arrays["patterns"])

    def _settings(self) -> dict[str, Any]:
        raise NotImplementedError

    def _check(self, cues: ArrayLike) -> Array:
        s, n = np.asarray(cues), self.patterns.shape[1]
        if s.ndim != 2 or s.shape[1] != n or not np.isin(s, (-1, 1)).all():
            raise ValueError(f"cues must be (cues, {n}) of -1 and +1, got shape {s.shape}")
        return s


class HopfieldMemory(_PatternMemory):
    """Recall by `sweeps` of heat bath at T = 0 (beta = 1e6) from the cue, on any backend. `fit`
    is one pass over the patterns, which a file of `save` holds: there is nothing to resume."""

    def __init__(self, *, sweeps: int = 10, backend: str = "auto", seed: int = 0) -> None:
        self.sweeps, self.backend, self.seed = sweeps, backend, seed

    def model(self) -> IsingModel:
        """Hebbian couplings times N: whole numbers, exact on every backend."""
        xi = self.patterns.astype(np.int64)
        couplings = xi.T @ xi
        np.fill_diagonal(couplings, 0)
        return IsingModel.from_dense(couplings)

    def predict(self, cues: ArrayLike) -> Array:
        s = self._check(cues)
        run = sample(
            self.model(), COLD, sweeps=self.sweeps, replicas=len(s), initial=s,
            backend=self.backend, seed=self.seed, observe=(),
        )  # fmt: skip
        return run.state.spins

    def sample(self, cues: ArrayLike, *, beta: float, seed: int | None = None) -> Array:
        """(cues, N) spins after `sweeps` of heat bath from the cues at the temperature 1 / beta,
        in units of the couplings xi xi / N: below T = 1 the patterns are phases at low load."""
        s = self._check(cues)
        if not beta >= 0:
            raise ValueError(f"beta must be at least 0, got {beta}")
        run = sample(
            self.model(), beta / s.shape[1], sweeps=self.sweeps, replicas=len(s), initial=s,
            backend=self.backend, seed=self.seed if seed is None else seed, observe=(),
        )  # fmt: skip
        return run.state.spins

    def _settings(self) -> dict[str, Any]:
        return {"sweeps": self.sweeps, "backend": self.backend, "seed": self.seed}


class SelectorMemory(_PatternMemory):
    """Recall by one selector spin over the patterns at inverse temperature `beta` per unit of
    xi . s. draws: 0 for the mean, the sign of sum_a P(a) xi_a; n > 0 for the sign of the average
    of n draws, ties up."""

    def __init__(self, *, beta: float = 0.2, draws: int = 1, seed: int = 0) -> None:
        if not beta > 0 or draws < 0:
            raise ValueError(f"need beta > 0 and draws >= 0, got {beta} and {draws}")
        self.beta, self.draws, self.seed = beta, draws, seed

    def law(self, cues: ArrayLike) -> Array:
        """(cues, P) heat bath of the selector."""
        scores = self._check(cues) @ self.patterns.T.astype(np.float64)
        return probabilities(scores, self.beta)

    def predict(self, cues: ArrayLike) -> Array:
        xi = self.patterns.astype(np.float64)
        if self.draws == 0:
            return initial_spins(self.law(cues) @ xi)
        scores = self.beta * (self._check(cues) @ xi.T)
        u = uniforms((self.draws, len(scores)), Draw(self.seed, Stream.SELECTOR))
        return initial_spins(xi[draw_states(scores, u)].sum(0))

    def sample(self, cues: ArrayLike) -> Array:
        """(cues,) one draw of the selector: which pattern is looked at."""
        scores = self.beta * (self._check(cues) @ self.patterns.T.astype(np.float64))
        return draw_states(scores, uniforms((len(scores),), Draw(self.seed, Stream.SELECTOR)))

    def _settings(self) -> dict[str, Any]:
        return {"beta": self.beta, "draws": self.draws, "seed": self.seed}


def random_patterns(count: int, spins: int, seed: int) -> Array:
    """(count, spins) int8 independent fair patterns."""
    u = uniforms((count, spins), Draw(seed, Stream.DATA))
    return np.where(u < 0.5, -1, 1).astype(np.int8)


def noisy_cues(patterns: Array, noise: float, seed: int) -> Array:
    """The patterns with every spin flipped with probability `noise`."""
    u = uniforms(patterns.shape, Draw(seed, Stream.DATA, block=1))
    return np.where(u < noise, -patterns, patterns)


def hopfield_overlap(load: float) -> float:
    """Replica-symmetric overlap m of recalled patterns at T = 0 and load P / N; 0 above capacity.

    The largest root of y (sqrt(2 load) + 2 e^(-y^2) / sqrt(pi)) = erf(y), m = erf(y) (Amit,
    Gutfreund & Sompolinsky 1987, Ann. Phys. 173, 30)."""

    def excess(y: Any) -> Any:
        noise = math.sqrt(2 * load) + 2 * np.exp(-(y**2)) / math.sqrt(math.pi)
        return erf(y) - y * noise

    grid = np.linspace(0.2, 8.0, 4000)
    rising = np.flatnonzero(excess(grid) > 0)
    if not rising.size:
        return 0.0
    k = int(rising[-1])
    return float(erf(brentq(excess, grid[k], grid[k + 1])))


def hopfield_capacity() -> float:
    """The load above which no recall solution exists, 0.1379."""
    low, high = 0.05, 0.3
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if hopfield_overlap(middle) else (low, middle)
    return low
