"""What a model must be for the finite-size scaling of `find_beta_c`; all else is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from isingnpu.criticality.chains import System
from isingnpu.criticality.refusals import NoTransition, Unsupported
from isingnpu.criticality.spectral import beta_c_estimate
from isingnpu.criticality.universal import (
    ISING,
    MEAN_FIELD,
    MEAN_FIELD_RATIOS,
    CriticalRatios,
    Universality,
    critical_ratios,
)
from isingnpu.families import build
from isingnpu.model import IsingModel

Family = str | Callable[..., IsingModel]

MIN_SIZE = 4  # extent 2 has double bonds, extent 3 no room for a correction that scales
MIN_SIZES = 3
MIN_INSTANCES = 8  # of which the scatter is a usable error
CLASSES = ("ising", "mean-field")
# Graphs that are known to scale as the complete graph does, and how many of each are averaged.
MEAN_FIELD_GRAPHS = {
    "random_regular": 16,
    "erdos_renyi": 16,
    "watts_strogatz": 16,
    "curie_weiss": 1,
}
SIZES = {2: (8, 16, 32, 64), 3: (8, 12, 16, 24), 0: (256, 512, 1024, 2048)}


def build_systems(
    family: Family,
    sizes: Sequence[int] | None,
    universality: str | None,
    instances: int | None,
) -> list[System]:
    """The models of every size, each checked.

    Raises ValueError for sizes that are not three increasing whole numbers >= 4 (four for a graph
    of free R*), for instances of a lattice or fewer than eight, for a function that gives one
    random graph a size, for boxes of different shape and for another number of sites than the
    first instance has, NoTransition and Unsupported for models that the method does not fit."""
    if universality is not None and universality not in CLASSES:
        raise ValueError(f"universality must be None or one of {CLASSES}, got {universality!r}")
    if isinstance(family, IsingModel):
        raise Unsupported(
            family_of(family), "one finite model has no transition, only its family has",
            "pass a function size -> IsingModel; susceptibility_peak(model) finds where this one "
            "orders, and beta_c_bracket bounds beta_c of its family",
        )  # fmt: skip
    if sizes is None:
        sizes = _default_sizes(family)
    _check_sizes(sizes)
    _check_instances(instances)
    systems = []
    for size in sizes:
        first = _model(family, size, 0, instances)
        name = family if isinstance(family, str) else family_of(first)
        check_order(first, name)
        check_scaling(first, name, universality)
        number = _number(family, first, name, instances)
        models = [first, *(_model(family, size, k, instances) for k in range(1, number))]
        for model in models[1:]:
            check_order(model, name)
            if model.n != first.n:
                raise ValueError(
                    f"instances of {name} size {size} have {first.n} and {model.n} sites"
                )
        systems.append(System.of(models, size))
    # one ratio of three parameters, R*, beta_c and a correction, would leave nothing to test
    least = MIN_SIZES + int(is_graph(systems[0].models[0]) and universality is None)
    if len(sizes) < least:
        raise ValueError(
            f"the correction to scaling needs at least {least} sizes, got {list(sizes)}"
        )
    if not is_graph(systems[0].models[0]):
        _check_shapes([system.models[0] for system in systems], sizes)
    return systems


def _model(family: Family, size: int, instance: int, instances: int | None) -> IsingModel:
    if isinstance(family, str):
        return build(family, size, instance)
    return family(size) if instances is None else family(size, instance)


def _number(family: Family, model: IsingModel, name: str, instances: int | None) -> int:
    """How many instances of a size are averaged."""
    if not is_graph(model):
        if instances is not None:
            raise ValueError(
                f"instances are for random graphs; {name} is a lattice, got {instances}"
            )
        return 1
    if instances is not None:
        return instances
    default = MEAN_FIELD_GRAPHS.get(name, 0)
    if default != 1 and not isinstance(family, str):
        raise ValueError(
            "a function of the size alone gives one graph a size, whose scatter is unknown: pass "
            "one of (size, instance) and instances=16, or instances=1 if nothing is random"
        )
    return default


def _check_instances(instances: int | None) -> None:
    if instances is None:
        return
    if isinstance(instances, bool) or not isinstance(instances, int | np.integer):
        raise ValueError(f"instances must be a whole number, got {instances!r}")
    if instances != 1 and instances < MIN_INSTANCES:
        raise ValueError(
            f"the scatter of {instances} instances is no error: take at least {MIN_INSTANCES}, "
            "or 1 if the graphs are not random"
        )


def _default_sizes(family: Family) -> tuple[int, ...]:
    smallest = _model(family, 8, 0, None) if isinstance(family, str) else None
    if smallest is None:
        raise ValueError("a function needs sizes, for example sizes=(8, 16, 32)")
    return SIZES.get(0 if is_graph(smallest) else dimension(smallest), SIZES[2])


def _check_sizes(sizes: Sequence[int]) -> None:
    for i, size in enumerate(sizes):
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < MIN_SIZE:
            raise ValueError(f"sizes must be integers >= {MIN_SIZE}: sizes[{i}] = {size!r}")
        if i and size <= sizes[i - 1]:
            raise ValueError(f"sizes must increase: sizes[{i}] = {size} after {sizes[i - 1]}")


def family_of(model: IsingModel) -> str:
    """Name of the model's geometry."""
    return model.geometry.family if model.geometry else "a graph"


def is_graph(model: IsingModel) -> bool:
    """Whether its sites have no positions."""
    return model.geometry is None or model.geometry.vectors is None


def dimension(model: IsingModel) -> int:
    """Number of axes of the model's geometry, 0 without one."""
    return len(model.geometry.shape) if model.geometry else 0


def exponents(model: IsingModel) -> Universality:
    """Of the class of a model that passed the checks."""
    return MEAN_FIELD if is_graph(model) else ISING[dimension(model)]


def known_ratios(model: IsingModel, universality: str | None) -> CriticalRatios | None:
    """R* that need no fit: none, or those of the class that is given. Raises Unsupported."""
    if universality is None:
        return None
    return MEAN_FIELD_RATIOS if universality == "mean-field" else critical_ratios(model)


def lower_bound(model: IsingModel, name: str) -> float:
    """The Bethe value, which is below beta_c. Raises NoTransition where it is infinite: no
    closed walks, no order."""
    bound = beta_c_estimate(model, "bethe")
    if math.isinf(bound):
        raise NoTransition(
            name, "its Bethe value is infinite: trees and rings do not order at T > 0",
            "take a graph with two loops that meet",
        )  # fmt: skip
    return bound


def _check_shapes(models: Sequence[IsingModel], sizes: Sequence[int]) -> None:
    shapes = [model.geometry.shape if model.geometry else () for model in models]
    for size, shape in zip(sizes, shapes, strict=True):
        if [a * sizes[0] for a in shape] != [b * size for b in shapes[0]]:
            raise ValueError(
                f"boxes must have one shape, extents proportional to the size: {shapes[0]} at "
                f"size {sizes[0]}, {shape} at size {size}"
            )
    strength = [float(model.csr.sum()) / model.n for model in models]
    if not np.allclose(strength, strength[0], rtol=1e-9, atol=0):
        raise Unsupported(
            family_of(models[0]),
            f"sum_j J_ij per site grows from {min(strength):.6g} to {max(strength):.6g} with the "
            "size, so its range is not finite",
            "cut the couplings off at a distance that all sizes have",
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


def check_scaling(model: IsingModel, name: str, universality: str | None) -> None:
    """Raise Unsupported unless the model is a uniform periodic lattice of a known dimension, or a
    graph that is known, or said, to be of the mean-field class."""
    if is_graph(model):
        if universality == "mean-field" or (universality is None and name in MEAN_FIELD_GRAPHS):
            return
        raise Unsupported(
            name, "it is a graph without positions, of which no exponents are known",
            'take a lattice, or say universality="mean-field"',
        )  # fmt: skip
    if universality == "mean-field":
        raise Unsupported(name, "it is a lattice, not of the mean-field class", "leave it out")
    geometry = model.geometry
    assert geometry is not None
    assert geometry.basis is not None
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
