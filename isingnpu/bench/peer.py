"""Simulated annealing of other packages, and the check that a solver solves the case.

Each runs with its defaults (Metropolis, sites in order) on the BQM of the model: dimod's sign
convention is the opposite one, `IsingModel.to_bqm` converts.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from isingnpu.bench.clock import Clock, timed
from isingnpu.model import IsingModel

Array = NDArray[Any]
NAME = "dwave-samplers"
OPENJIJ = "openjij"


class WrongEnergy(Exception):
    """A solver's own energy of a state is not the model's: it was not timed on the case."""

    def __init__(self, case: str, solver: str, read: int, got: float, expected: float) -> None:
        super().__init__(
            f"{case}: {solver} gives read {read} the energy {got!r}, the model {expected!r}"
        )
        self.case, self.solver, self.read = case, solver, read
        self.got, self.expected = got, expected


def check_energies(case: str, solver: str, model: IsingModel, spins: Array, got: Array) -> None:
    """WrongEnergy unless the energies `got` (reads,) are those of `spins` (reads, sites).

    They may differ by what quantizing and summing in float64 can do: every coupling and field
    is off by `quantized.error` at most, and each of `terms` additions rounds a sum of at most
    `total`, on either side; models of whole numbers are compared exactly."""
    expected = model.energy(spins)
    tolerance = 0.0
    if not model.is_integer:
        terms = model.n_edges + model.n
        total = float(abs(model.csr).sum()) / 2 + float(abs(model.fields).sum())
        total += abs(model.offset)
        tolerance = terms * (model.quantized.error + sys.float_info.epsilon * total)
    for read in np.flatnonzero(~(abs(got - expected) <= tolerance)):
        raise WrongEnergy(case, solver, int(read), float(got[read]), float(expected[read]))


@dataclass(frozen=True)
class Peer:
    """dwave-samplers with the model of one case."""

    case: str
    model: IsingModel
    sampler: Any
    bqm: Any
    clock: Clock
    name: ClassVar[str] = NAME

    def sample(self, **options: Any) -> tuple[float, Array]:
        """Seconds of one whole call, and its energies (reads,), checked."""
        seconds, result = timed(self.clock, lambda: self.sampler.sample(self.bqm, **options))
        site = {label: k for k, label in enumerate(self.model.variables)}
        spins = np.empty((len(result), self.model.n), np.int8)  # (reads, sites)
        spins[:, [site[label] for label in result.variables]] = result.record.sample
        energies = np.asarray(result.record.energy)
        check_energies(self.case, self.name, self.model, spins, energies)
        return seconds, energies

    def sweep_seconds(self, betas: Array, reads: int, seed: int) -> float:
        """Seconds of all sweeps but the first, at betas (sweeps,): a call of one sweep less."""
        long = self.sample(**self._schedule(betas, reads, seed))[0]
        return long - self.sample(**self._schedule(betas[:1], reads, seed))[0]

    def _schedule(self, betas: Array, reads: int, seed: int) -> dict[str, Any]:
        custom = {"beta_schedule_type": "custom", "beta_schedule": betas}
        return {**custom, "num_reads": reads, "seed": seed % (1 << 31)}


class Openjij(Peer):
    """openjij with the model of one case."""

    name = OPENJIJ

    def _schedule(self, betas: Array, reads: int, seed: int) -> dict[str, Any]:
        steps = [(float(beta), 1) for beta in betas]
        return {"schedule": steps, "num_reads": reads, "seed": seed % (1 << 31)}


# package -> (module, class of the sampler, how it is called)
PEERS: dict[str, tuple[str, str, type[Peer]]] = {
    NAME: ("dwave.samplers", "SimulatedAnnealingSampler", Peer),
    OPENJIJ: ("openjij", "SASampler", Openjij),
}


def find_peer(case: str, model: IsingModel, clock: Clock, name: str = NAME) -> Peer | str:
    """The peer, or why there is none."""
    module, sampler, peer = PEERS[name]
    try:
        samplers = importlib.import_module(module)
    except ImportError as error:
        return f"no ratio to {name}: {error}; pip install 'isingnpu[peers]'"
    return peer(case, model, getattr(samplers, sampler)(), model.to_bqm(), clock)
