"""Exact laws and independent samples of sparse Potts models by variable elimination.

    m(rest of clique) = ln sum_{y_v} exp(sum of all terms that contain y_v)

one spin v after another, cheapest table first; ln Z is what is left. Backwards, each spin is drawn
from its own clique's table given the spins that were eliminated later: independent samples
of p(y) ~ exp(-E), no chain. Cost: the largest table, q^(tree width + 1) numbers.
Dechter, Artificial Intelligence 113, 41 (1999).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from isingnpu.npu.draws import Draw, uniforms
from isingnpu.npu.potts import PottsModel, draw_states
from isingnpu.rng import Stream

Array = NDArray[Any]

MAX_TABLE = 1 << 25


@dataclass(frozen=True, eq=False)
class _Table:
    """Log weights over some spins: sites ascend, one axis per site."""

    sites: tuple[int, ...]
    values: Array


@dataclass(frozen=True, eq=False)
class Elimination:
    """What elimination leaves: per eliminated spin, in order, the table of its clique; `rest`
    the table of the spins that were kept."""

    n: int
    cliques: tuple[tuple[int, _Table], ...]
    rest: _Table

    @property
    def log_z(self) -> float:
        """ln of the sum of exp(-E) over all states."""
        return float(logsumexp(self.rest.values))

    @property
    def marginal(self) -> Array:
        """Exact law of the kept spins, one axis each in ascending order."""
        return np.asarray(np.exp(self.rest.values - self.log_z))

    def sample(self, count: int, seed: int) -> Array:
        """(count, n) independent states; ValueError if spins were kept."""
        if self.rest.sites:
            raise ValueError(f"spins {self.rest.sites} were kept: eliminate all of them to sample")
        states = np.zeros((count, self.n), np.int64)
        for v, table in reversed(self.cliques):
            axis = table.sites.index(v)
            others = tuple(states[:, site] for site in table.sites if site != v)
            scores = np.moveaxis(table.values, axis, -1)[others]
            scores = np.broadcast_to(scores, (count, scores.shape[-1]))
            states[:, v] = draw_states(
                scores, uniforms((count,), Draw(seed, Stream.DATA, block=v))
            )
        return states


def eliminate(model: PottsModel, keep: tuple[int, ...] = ()) -> Elimination:
    """Sum every spin out but those in `keep`. ValueError where a table would pass 2^25 numbers:
    the graph is not sparse enough."""
    tables = [_Table((i,), f) for i, f in enumerate(model.fields)]
    tables += [_Table(pair, J) for pair, J in model.couplings.items()]
    left = set(range(model.n)) - set(keep)
    cliques = []
    while left:
        v = min(left, key=lambda site: (_size(model, _joined(tables, site)), site))
        clique = _sum([t for t in tables if v in t.sites], model.colours)
        cliques.append((v, clique))
        tables = [t for t in tables if v not in t.sites]
        axis = clique.sites.index(v)
        sites = tuple(site for site in clique.sites if site != v)
        tables.append(_Table(sites, np.asarray(logsumexp(clique.values, axis=axis))))
        left.remove(v)
    rest = _sum(tables, model.colours)
    return Elimination(model.n, tuple(cliques), rest)


def _joined(tables: list[_Table], v: int) -> set[int]:
    """Sites of the clique of v."""
    return {site for t in tables if v in t.sites for site in t.sites}


def _size(model: PottsModel, sites: set[int]) -> int:
    return math.prod(model.colours[site] for site in sites)


def _sum(tables: list[_Table], colours: tuple[int, ...]) -> _Table:
    """The tables added over the union of their sites."""
    sites = tuple(sorted({site for t in tables for site in t.sites}))
    size = math.prod(colours[site] for site in sites)
    if size > MAX_TABLE:
        raise ValueError(
            f"a clique of {len(sites)} spins needs {size} numbers, at most {MAX_TABLE}: take a "
            "sparser graph"
        )
    total = np.zeros(tuple(colours[site] for site in sites))
    for t in tables:
        shape = [colours[site] if site in t.sites else 1 for site in sites]
        total += t.values.reshape(shape)
    return _Table(sites, total)
