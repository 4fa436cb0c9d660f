"""Compilation beforehand: a short schedule of every usual request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from isingnpu.backend import Plan, Request, State

from .. import usual


def compile_all(make_plan: Callable[[Request], Plan]) -> Iterator[tuple[str, float]]:
    """(what, seconds) of each request: a short schedule, watched as annealing watches it."""
    for name, request in usual.requests():
        began = time.perf_counter()
        plan = make_plan(request)
        plan.load(State.at(np.ones((len(request.replicas), request.model.n), np.int8)))
        plan.sweep(np.linspace(0.05, 2.0, 8), first=0, every=4, track=True)
        yield name, time.perf_counter() - began
