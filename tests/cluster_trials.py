"""Requests of cluster moves that every backend must answer like the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from engine import Trial, graph, outcome

from isingnpu import IsingModel, disorder, lattice
from isingnpu.backend import Request, get_backend
from isingnpu.bonds import request_layout
from isingnpu.dynamics import get_dynamics

get_backend("reference")  # backends lie beside the package in a checkout: find them first

from isingnpu.backends.reference import ClusterPlan  # noqa: E402


@dataclass(frozen=True, eq=False)
class ClusterTrial(Trial):
    """A trial of cluster moves; clusters: of Wolff, per sweep."""

    dynamics: str = "swendsen-wang"
    replicas: range = range(3, 6)
    clusters: int = 2

    @property
    def request(self):
        rule = get_dynamics(self.dynamics, self.clusters)
        layout = request_layout(self.model, rule, len(self.replicas), None, None)
        improved = self.model.quantized.couplings.min(initial=0) >= 0
        return Request(
            self.model, rule, self.replicas, self.seed, layout, self.rounds, self.threads,
            improved=bool(improved),
        )  # fmt: skip


def without_fields(model):
    return IsingModel.from_edges((model.terms.i, model.terms.j, model.terms.couplings), model.n)


RAMP = np.linspace(0.2, 0.7, 4)
OWN = np.random.default_rng(4).choice([0.0, 0.3, 0.6, 1e6], (4, 3)) + np.arange(3) * 1e-3
MODELS = {
    "square": lattice.square((6, 64)),
    "square of two words a row": lattice.square((4, 128)),
    "square within a word": lattice.square(8),
    "odd square": lattice.square((5, 7)),
    "square across words": lattice.square((3, 70)),
    "two rows": lattice.square((2, 9)),
    "four sites": lattice.square(2),
    "many groups": lattice.square((20, 64)),
    "unlike axes": lattice.square((8, 16), Jx=2),
    "ring": lattice.chain(200),
    "cubic": lattice.cubic((4, 5, 6)),
    "cubic with double bonds": lattice.cubic((2, 3, 64)),
    "four dimensions": lattice.hypercubic((3, 2, 4, 5)),
    "open": lattice.square((7, 40), boundary="open"),
    "antiperiodic": lattice.square((6, 33), boundary=("antiperiodic", "open")),
    "antiferromagnet": lattice.square((5, 13), Jx=-1, Jy=-1),
    "glass": disorder.edwards_anderson((6, 6), seed=1),
    "triangular": lattice.triangular((5, 6)),
    "honeycomb": lattice.honeycomb((4, 4)),
    "graph": without_fields(graph(40, seed=3)),
    "real graph": without_fields(graph(30, real=True)),
    "star": IsingModel.from_edges([(0, k, 1) for k in range(1, 600)], 600),
    "one site": IsingModel.from_edges([], 1),
    "no site": IsingModel.from_edges([], 0),
}
ANSWERS = {}


def answer(name, rule):
    """The reference's; own betas for every replica of every second model."""
    if (name, rule) not in ANSWERS:
        ANSWERS[name, rule] = outcome(ClusterPlan, trial_of(name, rule))
    return ANSWERS[name, rule]


def trial_of(name, rule, **options):
    betas = OWN if list(MODELS).index(name) % 2 else RAMP
    return ClusterTrial(MODELS[name], betas, dynamics=rule, **options)
