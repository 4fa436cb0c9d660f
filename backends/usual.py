"""Usual requests, small: one per kernel and number format, for compilation beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from isingnpu import disorder, lattice
from isingnpu.backend import Request
from isingnpu.bonds import request_layout
from isingnpu.dynamics import get_dynamics
from isingnpu.model import IsingModel

# what, model, layout, reads; each with both single-spin rules
SINGLE: tuple[tuple[str, Callable[[], IsingModel], str, int], ...] = (
    ("one read", lambda: disorder.random_regular(32, 3, seed=1), "lane", 1),
    ("lanes, 8 bits", lambda: disorder.random_regular(32, 3, seed=1), "lane", 128),
    ("lanes, 16 bits", lambda: disorder.random_regular(32, 3, J=100, h=1, seed=1), "lane", 128),
    ("lanes, real couplings", lambda: _real(), "lane", 128),
    ("dense, whole numbers", lambda: disorder.sherrington_kirkpatrick(64, seed=1), "lane", 64),
    ("dense, real couplings", lambda: _dense_real(), "lane", 2),
    ("planes", lambda: disorder.random_regular(32, 3, seed=1), "plane", 512),
    ("shared", lambda: disorder.random_regular(32, 3, seed=1), "shared", 512),
    ("square lattice", lambda: lattice.square(64), "lattice", 1),
    ("square lattice, long rows", lambda: lattice.square((4, 1024)), "lattice", 1),
    ("cubic lattice", lambda: lattice.cubic(16), "lattice", 1),
    ("cubic glass", lambda: disorder.edwards_anderson((16, 16, 16), seed=1), "lattice", 1),
)


def _real() -> IsingModel:
    return disorder.edwards_anderson((4, 4, 4), disorder="gaussian", seed=1)


def _dense_real() -> IsingModel:
    return disorder.sherrington_kirkpatrick(64, disorder="gaussian", seed=1)


def requests() -> Iterator[tuple[str, Request]]:
    """What to compile, by name."""
    for name, build, layout, reads in SINGLE:
        model = build()
        for rule in ("metropolis", "heat-bath"):
            dynamics = get_dynamics(rule)
            where = request_layout(model, dynamics, reads, layout, None)
            yield f"{name}, {rule}", Request(model, dynamics, range(reads), 1, where)
    for rule in ("swendsen-wang", "wolff"):
        model, dynamics = lattice.square(64), get_dynamics(rule)
        where = request_layout(model, dynamics, 1, None, None)
        yield rule, Request(model, dynamics, range(1), 1, where)
