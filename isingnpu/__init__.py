"""isingnpu: annealing, sampling and criticality of Ising systems.

    E(s) = - sum_{i<j} J_ij s_i s_j - sum_i h_i s_i + c

Public names are those below and the modules `lattice`, `disorder`, `planted`, `exact`,
`schedule` and `criticality`; everything else may change. Nothing heavy is imported before a name
is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from isingnpu._version import __version__

if TYPE_CHECKING:
    from isingnpu.annealing import anneal, resume, sample
    from isingnpu.backend import BackendUnavailable
    from isingnpu.dimod_sampler import IsingSampler
    from isingnpu.formats import read, write
    from isingnpu.many import anneal_many, sample_many
    from isingnpu.model import IsingModel
    from isingnpu.run import Run
    from isingnpu.schedule import Schedule
    from isingnpu.statistics import Estimate, ShortChain

_HOME = {
    "anneal": "annealing",
    "anneal_many": "many",
    "resume": "annealing",
    "sample": "annealing",
    "sample_many": "many",
    "BackendUnavailable": "backend",
    "read": "formats",
    "write": "formats",
    "IsingModel": "model",
    "IsingSampler": "dimod_sampler",
    "Run": "run",
    "Schedule": "schedule",
    "Estimate": "statistics",
    "ShortChain": "statistics",
}
_MODULES = ("lattice", "disorder", "planted", "exact", "schedule", "criticality")

__all__ = [
    "BackendUnavailable",
    "Estimate",
    "IsingModel",
    "IsingSampler",
    "Run",
    "Schedule",
    "ShortChain",
    "__version__",
    "anneal",
    "anneal_many",
    "read",
    "resume",
    "sample",
    "sample_many",
    "write",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"isingnpu.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"isingnpu.{name}")
    raise AttributeError(f"module 'isingnpu' has no attribute {name!r}")
