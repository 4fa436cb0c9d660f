"""Clusters of spins: which bonds a model has, which random bits decide them, what clusters tell.

A satisfied bond, J_ij s_i s_j > 0, is active with probability 1 - exp(-2 beta |J_ij|); clusters
are the connected components of the active bonds. Each bond has an owner site and a slot, which
name its draw (`rng.bond_integers`):

    hypercubic lattice of nearest neighbours: the owner of the bond from a site one step along
        axis a is that site, also where the step leads around the box, and the slot is a; of the
        two bonds of an axis of extent 2, which add up to one coupling, the one of the smaller site
    any other model: the owner is the smaller site i, the slot the rank of j among the
        neighbours of i above i

The improved estimators average m^2 and m^4 over the signs of all clusters c of a ferromagnet,

    Swendsen-Wang:  m^2 = sum_c |c|^2 / N^2,   m^4 = (3 (sum_c |c|^2)^2 - 2 sum_c |c|^4) / N^4
    Wolff:          m^2 = |c| / N, its mean over the clusters of the sweep

Swendsen-Wang: given the bonds of a sweep, the averages over the states it may lead to. Wolff: the
average over the first site, in the state from which the cluster is grown.

Swendsen, Wang, Phys. Rev. Lett. 58, 86 (1987); Wolff, Phys. Rev. Lett. 62, 361 (1989) and
Nucl. Phys. B 322, 759 (1989).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.dynamics import Dynamics
from isingnpu.layout import Layout, choose_layout
from isingnpu.model import IsingModel

Array = NDArray[Any]

MAX_CLUSTER_READS = 1 << 21  # read indices that the counter word holds
MAX_CLUSTER_SITES = 1 << 31


@dataclass(frozen=True, eq=False)
class Bonds:
    """The coupled pairs of a model, each once.

    owner, other, slot: (bonds,) int64; coupling: (bonds,) int64 in quanta; axes: whether the
    slots are the axes of a hypercubic lattice."""

    owner: Array
    other: Array
    slot: Array
    coupling: Array
    axes: bool

    @property
    def slots(self) -> int:
        """Number of slots."""
        return int(self.slot.max(initial=-1)) + 1

    @property
    def alike_along_axes(self) -> bool:
        """Whether slots are axes and the couplings of each have one magnitude, or are absent."""
        size = np.abs(self.coupling)
        owns = [size[(self.slot == slot) & (size > 0)] for slot in range(self.slots)]
        return self.axes and not any(own.size and own.min() != own.max() for own in owns)


def cluster_bonds(model: IsingModel) -> Bonds:
    """The bonds of a model; ValueError if it has fields."""
    check_cluster_model(model)
    csr, row = model.csr, np.repeat(np.arange(model.n), np.diff(model.csr.indptr))
    forward = csr.indices > row
    i, j = row[forward], csr.indices[forward].astype(np.int64)
    coupling = model.quantized.couplings[forward]
    axis = _lattice_axes(model, i, j)
    if axis is None:
        first = np.searchsorted(i, i)  # of the pairs of the same owner
        return Bonds(i, j, np.arange(i.size) - first, coupling, axes=False)
    assert model.geometry is not None
    extent = np.asarray(model.geometry.shape)[axis]
    stride = _strides(model.geometry.shape)[axis]
    around = (j - i == (extent - 1) * stride) & (extent > 2)
    return Bonds(np.where(around, j, i), np.where(around, i, j), axis, coupling, axes=True)


def check_cluster_model(model: IsingModel) -> None:
    """ValueError if cluster moves cannot sample the model."""
    held = np.flatnonzero(model.fields)
    if held.size:
        raise ValueError(
            f"cluster moves need a model without fields, got h[{held[0]}] = "
            f"{model.fields[held[0]]}; use dynamics='heat-bath'"
        )
    if model.n >= MAX_CLUSTER_SITES:
        raise ValueError(f"cluster moves need fewer than 2^31 sites, got {model.n}")


def _strides(shape: tuple[int, ...]) -> Array:
    """Sites between two neighbours along each axis."""
    return np.array([int(np.prod(shape[a + 1 :])) for a in range(len(shape))], np.int64)


def _lattice_axes(model: IsingModel, i: Array, j: Array) -> Array | None:
    """The axis along which the pairs i < j are neighbours, or None if some are not."""
    geometry = model.geometry
    if geometry is None or geometry.vectors is None or geometry.basis is None:
        return None
    shape = np.asarray(geometry.shape)
    if len(geometry.basis) != 1 or not np.array_equal(geometry.vectors, np.eye(len(shape))):
        return None
    ahead = np.stack(
        [j // stride % side - i // stride % side
         for stride, side in zip(_strides(geometry.shape), shape, strict=True)]
    )  # fmt: skip
    step = ((ahead == 1) | (ahead == shape[:, None] - 1)) & (ahead != 0)
    if not np.all(((ahead != 0).sum(axis=0) == 1) & (step.sum(axis=0) == 1)):
        return None
    return np.asarray(step.argmax(axis=0))


def request_layout(
    model: IsingModel, dynamics: Dynamics, reads: int, layout: str | None, order: ArrayLike | None
) -> Layout:
    """Where the draws of a request lie: `cluster` for cluster moves, which have neither another
    layout nor an order of visits, else as `choose_layout` says."""
    if not dynamics.moves_clusters:
        return choose_layout(model, reads, layout, order)
    if layout not in (None, "cluster") or order is not None:
        raise ValueError(
            f"{dynamics.name} has its own draws and visits no sites in order: leave out "
            f"layout={layout!r} and order"
        )
    check_cluster_model(model)
    return Layout("cluster", np.arange(model.n))


def improved_moments(squares: ArrayLike, fourths: ArrayLike, n: int) -> Array:
    """(..., 2): m^2 and m^4 of Swendsen-Wang clusters, from sum |c|^2 (int64) and sum |c|^4."""
    size = float(max(n, 1))
    second = np.asarray(squares, np.float64) / size**2
    fourth = 3.0 * second**2 - 2.0 * (np.asarray(fourths, np.float64) / size**4)
    return np.stack([second, fourth], axis=-1)


def improved_susceptibility(flipped: ArrayLike, clusters: int, n: int) -> Array:
    """(..., 2): m^2 of Wolff clusters with `flipped` spins in all; m^4 is not known (nan)."""
    second = np.asarray(flipped, np.float64) / (float(max(n, 1)) * clusters)
    return np.stack([second, np.full_like(second, np.nan)], axis=-1)
