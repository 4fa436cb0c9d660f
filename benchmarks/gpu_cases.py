"""What `python -m benchmarks gpu` measures: all kernels over sizes and variants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu import disorder, lattice
from isingnpu.bench.cases import KernelCase, Options
from isingnpu.model import IsingModel
from isingnpu.npu.text_net import TextSpec
from isingnpu.npu.text_study import designs
from isingnpu.schedule import glass_scale

Array = NDArray[Any]
Build = Callable[[Options], IsingModel]

# Models are made once for neighbouring cases, and are then forgotten.
_square = lru_cache(maxsize=1)(lattice.square)
_glass = lru_cache(maxsize=1)(disorder.edwards_anderson)
_regular = lru_cache(maxsize=1)(disorder.random_regular)


def square(size: int, o: Options) -> IsingModel:
    """Periodic."""
    return _square(64 if o.quick else size)


def glass(size: int, o: Options) -> IsingModel:
    """Three-dimensional, couplings of either sign."""
    return _glass((4, 4, 128) if o.quick else (size,) * 3, seed=o.seed)


def regular(n: int, degree: int, o: Options) -> IsingModel:
    """Couplings of either sign."""
    return _regular(40 if o.quick else n, degree, disorder="bimodal", seed=o.seed)


def full(n: int, o: Options) -> IsingModel:
    return disorder.sherrington_kirkpatrick(64 if o.quick else n, seed=o.seed)


def real(size: int, o: Options) -> IsingModel:
    return disorder.edwards_anderson((4 if o.quick else size,) * 3, disorder="gaussian", seed=1)


def critical(model: IsingModel, sweeps: int) -> Array:
    assert model.geometry is not None
    assert model.geometry.beta_c is not None
    return np.full(sweeps, model.geometry.beta_c.value)


def linear(model: IsingModel, sweeps: int) -> Array:
    """From hot to frozen, in units of the glass scale."""
    return np.linspace(0.2, 3.0, sweeps) / glass_scale(model)


def _case(name: str, build: Build, reads: int, sweeps: int, **more: Any) -> KernelCase:
    few: dict[str, Any] = {"peers": (), "betas": linear}
    return KernelCase(f"gpu-{name}", build, reads, sweeps, **(few | more))


_lattice = partial(_case, reads=1, layout="lattice", betas=critical)
_lanes = partial(_case, reads=1024, sweeps=20, layout="lane")
_planes = partial(_case, reads=1024, sweeps=20, layout="plane")
_clusters = partial(_case, dynamics="swendsen-wang", betas=critical)

# The most telling first: what is left when time is over is not measured.
CASES = (
    _lattice("square-4096-p10", partial(square, 4096), sweeps=1000),
    _lattice("square-4096-p7", partial(square, 4096), sweeps=1000, rounds=7),
    _lattice("square-4096-heat-bath", partial(square, 4096), sweeps=1000, dynamics="heat-bath"),
    _lattice("square-4096-64-reads", partial(square, 4096), sweeps=20, reads=64),
    _clusters("clusters-4096", partial(square, 4096), reads=1, sweeps=20),
    _clusters("clusters-4096-p7", partial(square, 4096), reads=1, sweeps=20, rounds=7),
    _lattice("ea3d-64-p10", partial(glass, 64), sweeps=200, reads=1024, betas=linear),
    _lattice("ea3d-256-p10", partial(glass, 256), sweeps=200, betas=linear),
    _lattice("ea3d-256-p7", partial(glass, 256), sweeps=200, betas=linear, rounds=7),
    _lanes("lanes-degree20-2000", partial(regular, 2000, 20)),
    _planes("planes-degree20-2000", partial(regular, 2000, 20)),
    _lanes("lanes-degree5-5000", partial(regular, 5000, 5)),
    _planes("planes-degree5-5000", partial(regular, 5000, 5)),
    _lanes("lanes-ea3d-64", partial(glass, 64)),
    _planes("planes-ea3d-64", partial(glass, 64)),
    _lanes("lanes-degree6-1e6", partial(regular, 1_000_000, 6), reads=128, sweeps=10),
    _planes("planes-degree6-1e6", partial(regular, 1_000_000, 6), reads=128, sweeps=10),
    _lanes("dense-2000", partial(full, 2000), sweeps=10),
    _lanes("lanes-real-16", partial(real, 16)),
    _clusters("clusters-1024", partial(square, 1024), reads=1, sweeps=100),
    _clusters("clusters-64-4096-reads", partial(square, 64), reads=4096, sweeps=100),
    _lattice("square-1024-p10", partial(square, 1024), sweeps=2000),
    _lattice("square-8192-p10", partial(square, 8192), sweeps=200),
)

# Sweeps of one core on the same request, which the ratio is to.
CPU_SWEEPS = {
    "gpu-square-4096-p10": 20,
    "gpu-clusters-4096": 2,
    "gpu-ea3d-64-p10": 2,
    "gpu-planes-degree20-2000": 20,
    "gpu-planes-degree5-5000": 20,
    "gpu-planes-ea3d-64": 4,
    "gpu-dense-2000": 2,
}


@dataclass(frozen=True)
class TextCase:
    """A machine that reads text, learning: every step sees `runs` runs of `length` positions."""

    name: str
    spec: TextSpec
    runs: int
    length: int


def _reader(hidden: int, window: int) -> TextSpec:
    """Pairwise couplings, hidden spins and two selectors that act on both."""
    return replace(designs(window)["selectors, hidden"].spec, colours=65, hidden=hidden)


TEXTS = (TextCase("gpu-text-4096", _reader(4096, 1024), 16, 256),)
QUICK_TEXT = TextCase("quick", _reader(8, 16), 2, 16)
