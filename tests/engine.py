"""Requests that every backend must answer alike, and what there is to compare of the answers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np

from isingnpu import rng
from isingnpu.backend import Request, State, backend_names, find_backend, get_backend
from isingnpu.dynamics import get_dynamics
from isingnpu.layout import choose_layout
from isingnpu.model import IsingModel

get_backend("reference")  # backends lie beside the package in a checkout: find them first

from isingnpu.backends.reference import ReferencePlan  # noqa: E402

Array = np.ndarray[Any, Any]


def compared_backends() -> list[str]:
    """Names of the backends other than the reference that can run here."""
    return [name for name in backend_names()
            if name != "reference" and find_backend(name).unavailable() is None]  # fmt: skip


class QuickReference(ReferencePlan):
    """The reference, with the random integers of a whole sweep drawn by one call.

    `test_backends` proves it equal to the reference; mutants are made of it."""

    def load(self, state):
        super().load(state)
        self.drawn_for = None

    def _integers(self, site, sweep):
        if self.drawn_for != sweep:
            self.drawn, self.drawn_for = self.draw(sweep), sweep
        return self.drawn[:, site]

    def draw(self, sweep):
        """The integers of one sweep, (replicas, sites) uint64."""
        request, layout = self.request, self.request.layout
        replicas, n = request.replicas, request.model.n
        key = request.seed, request.rounds
        if layout.name == "shared":
            r = rng.shared_integers(np.arange(n), sweep, *key)
            return np.broadcast_to(r, (len(replicas), n))
        if layout.name != "lattice":
            integers = rng.lane_integers if layout.name == "lane" else rng.plane_integers
            return integers(np.array(replicas), np.arange(n), sweep, *key)
        drawn = np.empty((len(replicas), n), np.uint64)
        for colour in range(layout.colours):
            sites = np.flatnonzero(layout.colour == colour)
            place = layout.row[sites], layout.column[sites], layout.words
            for k, replica in enumerate(replicas):
                clock = layout.colours * sweep + colour
                drawn[k, sites] = rng.lattice_integers(replica, *place, clock, *key)
        return drawn


@dataclass(frozen=True, eq=False)
class Trial:
    """A request, its betas (sweeps,) or (sweeps, replicas), and how it is watched."""

    model: IsingModel
    betas: Any
    layout: str = "lane"
    dynamics: str = "metropolis"
    replicas: range = range(9)
    seed: int = 7
    rounds: int = 10
    threads: int = 1
    order: Any = None
    every: int = 2
    first: int = 0

    @property
    def request(self) -> Request:
        layout = choose_layout(self.model, len(self.replicas), self.layout, self.order)
        rule = get_dynamics(self.dynamics)
        return Request(
            self.model, rule, self.replicas, self.seed, layout, self.rounds, self.threads
        )


@dataclass(frozen=True, eq=False)
class Outcome:
    """All that may not depend on the backend; see isingnpu.backend.State and Measured."""

    spins: Array
    best: Array
    since: Array
    energy: Array
    magnetization: Array
    flips: Array
    projections: Array
    path: Array


def start(trial):
    """The first state of a trial."""
    return State.at(rng.initial_spins(trial.replicas, trial.model.n, trial.seed))


def outcome(make_plan, trial, cuts=(), *, hand_over=False):
    """Sweep a trial with calls that end at `cuts`, sweep numbers below the last.

    hand_over: every call has a plan of its own, which continues from the state of the last."""
    plan = make_plan(trial.request)
    plan.load(start(trial))
    betas = np.asarray(trial.betas, float)
    # whole-number weights: sums of them are exact in any order
    weights = np.random.default_rng(3).integers(-9, 10, (2, trial.model.n)).astype(float)
    ends = [0, *cuts, len(betas)]
    parts = []
    for begin, end in pairwise(ends):
        if hand_over:
            state, plan = plan.state(), make_plan(trial.request)
            plan.load(state)
        first, every = trial.first + begin, trial.every
        watched = plan.sweep(
            betas[begin:end], first=first, every=every, weights=weights, track=True
        )
        parts.append(watched)
    state = plan.state()
    series = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=1)
        for name in ("energy", "magnetization", "flips", "projections", "path")
    }
    return Outcome(spins=state.spins, best=state.best, since=state.flips, **series)


def differing(a: Outcome, b: Outcome) -> list[str]:
    """Names of the arrays that are not equal, value by value and in shape."""
    names = [field.name for field in fields(Outcome)]
    return [name for name in names if not np.array_equal(getattr(a, name), getattr(b, name))]


def graph(n, *, most=3, most_field=2, share=0.5, seed=1, real=False):
    """A random graph with couplings and fields of either sign, whole numbers or normal ones."""
    source = np.random.default_rng(seed)
    i, j = np.triu_indices(n, 1)
    kept = source.random(i.size) < share
    if real:
        values, field = source.normal(0, most, i.size), source.normal(0, most_field, n)
    else:
        values = source.integers(-most, most + 1, i.size)
        field = source.integers(-most_field, most_field + 1, n)
    edges = (i[kept], j[kept], values[kept])
    return IsingModel.from_edges(edges, n, fields=field)


def dense_graph(n, **options):
    """`graph` with every pair coupled, held as a matrix."""
    sparse = graph(n, share=1.0, **options)
    return IsingModel.from_dense(sparse.dense, sparse.fields)


# Models at the edges of the number formats.
STAR = IsingModel.from_edges([(0, k, 1) for k in range(1, 128)], 128)  # bound 127: all of int8
CHAIN_127 = IsingModel.from_edges([(0, 1, 60), (1, 2, -60)], 4, fields=[60, 7, 60, -127])
FROZEN = IsingModel.from_edges([(0, 1, 20_000), (1, 2, 12_767), (2, 3, 1)], 5)  # all of int16
NARROW = IsingModel.from_edges([(k, k + 1, 1 << k) for k in range(30)], 32)  # close to 2^31
