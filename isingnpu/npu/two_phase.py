"""Backprop replaced by two annealed phases: an Ising model learns p(output | input).

    Delta J_ij = <s_i s_j>_clamped - <s_i s_j>_free = d ln p(y | x) / dJ_ij
    Delta h_i  = <s_i>_clamped - <s_i>_free         = d ln p(y | x) / dh_i

clamped: inputs and outputs hold the sample, hidden spins move; free: inputs alone hold it
(Ackley, Hinton & Sejnowski, Cognitive Science 9, 147, 1985; conditional form). Exact in
equilibrium at beta = 1; phases that are sampled are unbiased once they have equilibrated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.annealing import anneal, sample
from isingnpu.exact import boltzmann, enumerate_states
from isingnpu.model import IsingModel
from isingnpu.schedule import Schedule

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Correlations:
    """<s_i> (n,) and <s_i s_j> (n, n) of a phase, and the variances of one sample (0 if exact)."""

    means: Array
    pairs: Array
    samples: int = 0


Phase = Callable[[IsingModel], Correlations]


def clamp(model: IsingModel, sites: ArrayLike, spins: ArrayLike) -> IsingModel:
    """The model of the other sites, in their order, when `sites` hold `spins`."""
    fixed, s = np.asarray(sites, np.int64), np.asarray(spins, np.float64)
    if fixed.shape != s.shape or not np.isin(s, (-1, 1)).all():
        raise ValueError(f"spins must be -1 or +1, one per clamped site, got {spins!r}")
    free = np.setdiff1d(np.arange(model.n), fixed)
    J, h = model.dense.astype(np.float64), model.fields.astype(np.float64)
    offset = model.offset - h[fixed] @ s - s @ J[np.ix_(fixed, fixed)] @ s / 2
    labels = None if model.labels is None else tuple(model.labels[i] for i in free)
    return IsingModel(
        J[np.ix_(free, free)], h[free] + J[np.ix_(free, fixed)] @ s, float(offset), labels
    )


def exact_phase(model: IsingModel) -> Correlations:
    """Equilibrium by enumeration, at most 24 sites."""
    states, _ = enumerate_states(model)
    s, p = states.astype(np.float64), boltzmann(model, 1.0)
    return Correlations(p @ s, (s * p[:, None]).T @ s)


@dataclass(frozen=True)
class SampledPhase:
    """Equilibrium by independent reads of a sampler, each counted in its last state.

    betas: a schedule that ends at beta = 1 and is annealed along, or None to stay at beta = 1 for
    `sweeps`."""

    replicas: int
    sweeps: int = 100
    betas: tuple[float, ...] | None = None
    dynamics: str = "heat-bath"
    backend: str = "auto"
    seed: int = 0

    def __call__(self, model: IsingModel) -> Correlations:
        if self.betas is None:
            run = sample(
                model, 1.0, sweeps=self.sweeps, replicas=self.replicas, dynamics=self.dynamics,
                backend=self.backend, seed=self.seed, observe=(),
            )  # fmt: skip
        else:
            if self.betas[-1] != 1.0:
                raise ValueError(f"a phase ends at beta = 1, these betas at {self.betas[-1]}")
            run = anneal(
                model, Schedule("phase", np.array(self.betas)), replicas=self.replicas,
                dynamics=self.dynamics, backend=self.backend, seed=self.seed,
            )  # fmt: skip
        s = run.state.spins.astype(np.float64)
        return Correlations(s.mean(0), s.T @ s / len(s), len(s))


def two_phase_statistics(
    model: IsingModel,
    inputs: tuple[ArrayLike, ArrayLike],
    outputs: tuple[ArrayLike, ArrayLike],
    phase: Phase = exact_phase,
) -> tuple[Array, Array]:
    """(Delta J (n, n) symmetric with zero diagonal, Delta h (n,)) of one sample; inputs and
    outputs are (sites, spins)."""
    x_sites, x = (np.asarray(part) for part in inputs)
    y_sites, y = (np.asarray(part) for part in outputs)
    both = np.concatenate([x_sites, y_sites]), np.concatenate([x, y])
    clamped = _whole(model, *both, phase)
    free = _whole(model, x_sites, x, phase)
    pairs = clamped.pairs - free.pairs
    np.fill_diagonal(pairs, 0.0)
    return pairs, clamped.means - free.means


def _whole(model: IsingModel, sites: Array, spins: Array, phase: Phase) -> Correlations:
    """Correlations of all sites with these clamped."""
    rest = np.setdiff1d(np.arange(model.n), sites)
    means, pairs = np.zeros(model.n), np.zeros((model.n, model.n))
    found = phase(clamp(model, sites, spins))
    means[sites], means[rest] = spins, found.means
    pairs[np.ix_(rest, rest)] = found.pairs
    pairs[np.ix_(sites, sites)] = np.outer(spins, spins)
    pairs[np.ix_(sites, rest)] = np.outer(spins, found.means)
    pairs[np.ix_(rest, sites)] = np.outer(found.means, spins)
    return Correlations(means, pairs, found.samples)
