"""The result of `susceptibility_peak`: a marker of one finite graph, and what plots need."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from isingnpu.criticality.result import Curve
from isingnpu.criticality.spectral import Bracket, beta_c_bracket
from isingnpu.model import IsingModel
from isingnpu.statistics import Estimate


@dataclass(frozen=True, eq=False)
class SusceptibilityPeak:
    """Where chi' = <M^2> - <|M|>^2 of one finite graph is largest; no beta_c.

    n, edges: of the graph. beta, height: position and value of the maximum; n_eff independent
    states, tau in stored samples. mean_field < bethe: the spectral values of its couplings;
    bracket: what they prove of the infinite system they stand for, None for a piece of a lattice
    with open boundary. searched: the betas that were searched; points: (beta, chi') there; curve:
    reweighted production, run at `sampled_at`. tau: of M^2, in sweeps; sweeps: per chain, after
    burn-in, given to `susceptibility_peak` they reproduce the result. seconds: wall time used.
    """

    n: int
    edges: int
    beta: Estimate
    height: Estimate
    mean_field: float
    bethe: float
    bracket: Bracket | None
    searched: tuple[float, float]
    points: tuple[tuple[float, Estimate], ...]
    curve: Curve
    sampled_at: float
    tau: Estimate
    sweeps: int
    dynamics: str
    seconds: float
    seed: int
    provenance: dict[str, Any]

    def __str__(self) -> str:
        return (
            f"chi' is largest at beta = {self.beta}, chi' = {self.height} (this graph of {self.n} "
            "sites; not a beta_c)"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dictionaries; null for what is not finite."""
        bracket = None if self.bracket is None else asdict(self.bracket)
        if bracket is not None and math.isinf(bracket["high"]):
            bracket["high"] = None
        curve = self.curve.to_json()
        return {
            "graph": {"n": self.n, "edges": self.edges},
            "susceptibility_peak": self.beta.to_json(),
            "height": self.height.to_json(),
            "mean_field": self.mean_field,
            "bethe": self.bethe,
            "bracket": bracket,
            "searched": list(self.searched),
            "points": [{"beta": beta, "chi": chi.to_json()} for beta, chi in self.points],
            "curve": {name: curve[name] for name in ("beta", "chi", "chi_error")},
            "sampled_at": self.sampled_at,
            "tau": self.tau.to_json(),
            "sweeps": self.sweeps,
            "dynamics": self.dynamics,
            "seconds": self.seconds,
            "seed": self.seed,
            "provenance": self.provenance,
        }


def bracket_of(model: IsingModel) -> Bracket | None:
    """`beta_c_bracket`, or None for a piece of a lattice, whose spectrum bounds nothing."""
    if model.geometry is not None and "open" in model.geometry.boundary:
        return None
    return beta_c_bracket(model)
