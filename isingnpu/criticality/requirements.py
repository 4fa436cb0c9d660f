"""What a model must be for the finite-size scaling of `find_beta_c`; all else is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from isingnpu.criticality.fit import ISING
from isingnpu.criticality.refusals import NoTransition, Unsupported
from isingnpu.families import build
from isingnpu.model import IsingModel

MIN_SIZE = 4  # extent 2 has double bonds, extent 3 no room for a correction that scales
MIN_SIZES = 3


def build_models(
    family: str | Callable[[int], IsingModel], sizes: Sequence[int]
) -> list[IsingModel]:
    """One model per size, each checked.

    Raises ValueError for sizes that are not three increasing whole numbers >= 4 or boxes of
    different shape, NoTransition and Unsupported for models that the method does not fit."""
    for i, size in enumerate(sizes):
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < MIN_SIZE:
            raise ValueError(f"sizes must be integers >= {MIN_SIZE}: sizes[{i}] = {size!r}")
        if i and size <= sizes[i - 1]:
            raise ValueError(f"sizes must increase: sizes[{i}] = {size} after {sizes[i - 1]}")
    models = [build(family, L) if isinstance(family, str) else family(L) for L in sizes]
    for model in models:
        name = family if isinstance(family, str) else family_of(model)
        check_order(model, name)
        check_lattice(model, name)
    if len(sizes) < MIN_SIZES:
        raise ValueError(
            f"the correction to scaling needs at least {MIN_SIZES} sizes, got {list(sizes)}"
        )
    _check_shapes(models, sizes)
    return models


def family_of(model: IsingModel) -> str:
    """Name of the model's geometry."""
    return model.geometry.family if model.geometry else "a graph"


def dimension(model: IsingModel) -> int:
    """Number of axes of the model's geometry, 0 without one."""
    return len(model.geometry.shape) if model.geometry else 0


def _check_shapes(models: Sequence[IsingModel], sizes: Sequence[int]) -> None:
    shapes = [model.geometry.shape if model.geometry else () for model in models]
    for size, shape in zip(sizes, shapes, strict=True):
        if [a * sizes[0] for a in shape] != [b * size for b in shapes[0]]:
            raise ValueError(
                f"boxes must have one shape, extents proportional to the size: {shapes[0]} at "
                f"size {sizes[0]}, {shape} at size {size}"
            )


def check_order(model: IsingModel, name: str) -> None:
    """Raise NoTransition unless the model orders ferromagnetically at some T > 0."""
    couplings = model.csr.data
    if np.any(model.fields):
        i = int(np.flatnonzero(model.fields)[0])
        raise NoTransition(
            name, f"a field breaks the symmetry, h[{i}] = {model.fields[i]}", "set h = 0"
        )
    if couplings.size == 0:
        raise NoTransition(name, "it has no couplings", "give it couplings J > 0")
    if couplings.min() < 0:
        k = int(np.argmax(couplings < 0))
        i, j = int(np.searchsorted(model.csr.indptr, k, "right")) - 1, int(model.csr.indices[k])
        raise NoTransition(
            name,
            f"J[{i}, {j}] = {couplings[k]} < 0, so the magnetisation is not what orders",
            "antiferromagnets on bipartite lattices: flip one sublattice; spin glasses need "
            "another method",
        )
    known = model.geometry.beta_c if model.geometry else None
    if known is not None and math.isinf(known.value):
        raise NoTransition(name, f"beta_c is infinite ({known.source})", "take more dimensions")


def check_lattice(model: IsingModel, name: str) -> None:
    """Raise Unsupported unless the model is a uniform periodic lattice of a known dimension."""
    geometry = model.geometry
    if geometry is None or geometry.vectors is None or geometry.basis is None:
        raise Unsupported(name, "it is a graph without positions", "take a lattice")
    if len(geometry.shape) not in ISING:
        d = len(geometry.shape)
        raise Unsupported(
            name, f"exponents are stored for 2 and 3 dimensions, not {d}", "take one of these"
        )
    if set(geometry.boundary) != {"periodic"}:
        raise Unsupported(
            name, f"boundary {geometry.boundary} has surfaces", 'use boundary="periodic"'
        )
    strength = model.csr.sum(axis=1).reshape(-1, len(geometry.basis))  # (cells, basis)
    if not np.allclose(strength, strength[0], rtol=1e-12, atol=0):
        raise Unsupported(
            name,
            f"sum_j J_ij differs between cells, from {strength.min():.6g} to {strength.max():.6g}",
            "couplings must be the same in every cell; disorder needs another method",
        )
