"""The named families of models: one size and one instance number each, for the command line."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from isingnpu import disorder, lattice, planted
from isingnpu.model import IsingModel

Builder = Callable[[int, int], IsingModel]

# name -> build(size, seed); size is the linear extent of a lattice, else the number of sites.
FAMILIES: dict[str, Builder] = {
    "chain": lambda size, seed: lattice.chain(size),
    "square": lambda size, seed: lattice.square(size),
    "triangular": lambda size, seed: lattice.triangular(size),
    "honeycomb": lambda size, seed: lattice.honeycomb(size),
    "kagome": lambda size, seed: lattice.kagome(size),
    "cubic": lambda size, seed: lattice.cubic(size),
    "diamond": lambda size, seed: lattice.diamond(size),
    "bcc": lambda size, seed: lattice.bcc(size),
    "fcc": lambda size, seed: lattice.fcc(size),
    "hypercubic4": lambda size, seed: lattice.hypercubic((size,) * 4),
    "hypercubic5": lambda size, seed: lattice.hypercubic((size,) * 5),
    "complete": lambda size, seed: disorder.complete(size),
    "curie_weiss": lambda size, seed: disorder.curie_weiss(size),
    "ea2d": lambda size, seed: disorder.edwards_anderson((size,) * 2, seed=seed),
    "ea2d_gaussian": lambda size, seed: disorder.edwards_anderson(
        (size,) * 2, disorder="gaussian", seed=seed
    ),
    "ea3d": lambda size, seed: disorder.edwards_anderson((size,) * 3, seed=seed),
    "ea3d_gaussian": lambda size, seed: disorder.edwards_anderson(
        (size,) * 3, disorder="gaussian", seed=seed
    ),
    "sk": lambda size, seed: disorder.sherrington_kirkpatrick(size, seed=seed),
    "sk_gaussian": lambda size, seed: disorder.sherrington_kirkpatrick(
        size, disorder="gaussian", seed=seed
    ),
    "random_regular": lambda size, seed: disorder.random_regular(size, 4, seed=seed),
    "erdos_renyi": lambda size, seed: disorder.erdos_renyi(size, 4, seed=seed),
    "watts_strogatz": lambda size, seed: disorder.watts_strogatz(size, 4, 0.1, seed=seed),
    "barabasi_albert": lambda size, seed: disorder.barabasi_albert(size, 3, seed=seed),
    "frustrated_loops": lambda size, seed: planted.frustrated_loops(
        lattice.square(size), seed=seed
    ),
    "tile_planting": lambda size, seed: planted.tile_planting(size, seed=seed),
    "wishart": lambda size, seed: planted.wishart(size, seed=seed),
    "number_partitioning": lambda size, seed: planted.number_partitioning(size, seed=seed),
}


def build(name: str, size: int, seed: int = 0) -> IsingModel:
    """Instance `seed` of the family `name`. Raises ValueError for a name that is not known."""
    if name not in FAMILIES:
        near = get_close_matches(name, FAMILIES, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ","
        raise ValueError(
            f"unknown family {name!r}{meant} `isingnpu anneal --family help` lists all"
        )
    return FAMILIES[name](size, seed)
