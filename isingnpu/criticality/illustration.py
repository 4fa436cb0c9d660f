"""What there is to see near beta_c: states at three temperatures, and how correlations decay.

Both sample Swendsen-Wang clusters of ferromagnets from random starts. Correlations are taken where
the length is about a ninth of the box, xi ~ 1/2 (1 - beta / beta_c)^-nu: the factor is 0.567 on
the square lattice, 0.50 on the cubic one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isingnpu.annealing import sample
from isingnpu.criticality.correlation import (
    ExponentialLength,
    effective_length,
    exponential_length,
    layer_distance,
    sampled_correlations,
)
from isingnpu.criticality.estimators import Array
from isingnpu.criticality.refusals import Unsupported
from isingnpu.exact import onsager_correlation_length
from isingnpu.families import build
from isingnpu.geometry import Geometry, Reference
from isingnpu.model import IsingModel
from isingnpu.statistics import Refusal

Family = str | Callable[[int], IsingModel]

SMALL = 8  # size of the member that is asked for its dimension
RATIOS = (0.9, 1.0, 1.1)
SNAPSHOT_SITES = {2: 1 << 16}  # 256 x 256
SNAPSHOT_SITES_ABOVE = 1 << 17  # 51 x 51 x 51
SNAPSHOT_SWEEPS = 200
DECAY_SITES = {2: 1 << 12}  # 64 x 64
DECAY_SITES_ABOVE = 64_000  # 40 x 40 x 40
DECAY_REPLICAS, DECAY_BURN_IN, DECAY_EVERY = 64, 60, 2
DECAY_SAMPLES = {2: 256}  # of each replica
DECAY_SAMPLES_ABOVE = 100
LENGTH_SHARE, LENGTH_FACTOR = 1 / 9, 0.5


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One state in equilibrium. ratio: beta / beta_c; spins: (sites,); sweeps from the start."""

    geometry: Geometry
    ratio: float
    beta: float
    spins: NDArray[np.int8]
    sweeps: int

    @property
    def magnetization(self) -> float:
        """m per site."""
        return float(self.spins.mean())


@dataclass(frozen=True, eq=False)
class Decay:
    """Correlations of the layers of one axis, C(r) = sum_y <s_0 s_(r, y)>.

    distance: (points,) r in lattice constants, half the box; correlation, error: (points,);
    period: of the box in lattice constants. effective, effective_error: (points - 1,) length that
    C(r) / C(r + 1) says, nan where it says none. fit: None if it was refused, then `refused` says
    why. exact: xi of the infinite lattice, where it is known."""

    geometry: Geometry
    beta: float
    distance: Array
    period: float
    correlation: Array
    error: Array
    effective: Array
    effective_error: Array
    fit: ExponentialLength | None
    refused: str
    exact: Reference | None


def check_family(family: Family) -> None:
    """Raise Unsupported for a family without layers, a graph or a chain."""
    _geometry(_member(family, SMALL))


def snapshots(
    family: Family,
    beta_c: float,
    *,
    ratios: Sequence[float] = RATIOS,
    size: int | None = None,
    sweeps: int = SNAPSHOT_SWEEPS,
    seed: int = 0,
    backend: str = "auto",
    threads: int | None = None,
) -> tuple[Snapshot, ...]:
    """States at beta = ratio beta_c, `sweeps` after a random start, one key per ratio from seed.

    size: of the family; by default about 65536 sites in two dimensions, 131072 in more. Raises
    Unsupported for a graph without positions, ValueError for beta_c or a ratio that is not > 0.
    """
    model = _model(family, size, SNAPSHOT_SITES, SNAPSHOT_SITES_ABOVE)
    _check_betas(beta_c, ratios)
    made = []
    for k, ratio in enumerate(ratios):
        run = sample(
            model, ratio * beta_c, sweeps=sweeps, dynamics="swendsen-wang", observe=(),
            seed=(seed + k) % 2**64, backend=backend, threads=threads,
        )  # fmt: skip
        made.append(Snapshot(_geometry(model), ratio, ratio * beta_c, run.spins[0], sweeps))
    return tuple(made)


def decay(
    family: Family,
    beta_c: float,
    *,
    nu: float,
    size: int | None = None,
    seed: int = 0,
    backend: str = "auto",
    threads: int | None = None,
) -> Decay:
    """Correlations along axis 0 below beta_c, their exponential fit and the exact xi.

    size: of the family; by default about 4096 sites in two dimensions, 64000 in more.
    Raises Unsupported for a graph without positions, ValueError unless beta_c and nu are > 0."""
    _check_betas(beta_c, [nu])
    model = _model(family, size, DECAY_SITES, DECAY_SITES_ABOVE)
    geometry = _geometry(model)
    step, period = layer_distance(geometry), geometry.shape[0]
    beta = beta_c * (1 - (LENGTH_FACTOR / (LENGTH_SHARE * step * period)) ** (1 / nu))
    samples = DECAY_SAMPLES.get(len(geometry.shape), DECAY_SAMPLES_ABOVE)
    blocks = sampled_correlations(
        model, beta, samples=samples, every=DECAY_EVERY, burn_in=DECAY_BURN_IN,
        replicas=DECAY_REPLICAS, dynamics="swendsen-wang", seed=seed, backend=backend,
        threads=threads,
    )  # fmt: skip
    fit, refused = None, ""
    try:
        fit = exponential_length(blocks, period, distance=step)
    except Refusal as refusal:
        refused = str(refusal)
    n, mean = len(blocks), blocks.mean(axis=0)
    left = [effective_length((n * mean - block) / (n - 1), period) for block in blocks]
    return Decay(
        geometry=geometry,
        beta=beta,
        distance=step * np.arange(len(mean), dtype=np.float64),
        period=step * period,
        correlation=mean,
        error=blocks.std(axis=0, ddof=1) / np.sqrt(n),
        effective=step * effective_length(mean, period),
        effective_error=step * np.sqrt(n - 1) * np.std(left, axis=0),
        fit=fit,
        refused=refused,
        exact=_exact_length(model, beta),
    )


def _exact_length(model: IsingModel, beta: float) -> Reference | None:
    """xi along an axis of the infinite square lattice with one coupling."""
    couplings = model.csr.data
    if _geometry(model).family != "square" or couplings.min() != couplings.max():
        return None
    j = float(couplings[0])
    return Reference(onsager_correlation_length(beta, "axis", (j, j)), 0.0, "Onsager")


def _model(
    family: Family, size: int | None, sites: dict[int, int], sites_above: int
) -> IsingModel:
    """The member of the family with that size, or with about that many sites by dimension."""
    if size is None:
        small = _geometry(_member(family, SMALL))
        d = len(small.shape)
        cells = sites.get(d, sites_above) * SMALL**d / len(small.positions)
        size = round(cells ** (1 / d))
    model = _member(family, size)
    _geometry(model)
    return model


def _member(family: Family, size: int) -> IsingModel:
    return build(family, size) if isinstance(family, str) else family(size)


def _geometry(model: IsingModel) -> Geometry:
    geometry = model.geometry
    if geometry is None or geometry.vectors is None or len(geometry.shape) < 2:
        name = geometry.family if geometry else "a graph"
        raise Unsupported(name, "it has no layers to draw", "take a lattice of two dimensions")
    return geometry


def _check_betas(beta_c: float, others: Sequence[float]) -> None:
    for value in (beta_c, *others):
        if not 0 < value < np.inf:
            raise ValueError(f"beta_c, ratios and nu must be finite and > 0, got {value}")
