"""The cases: which instance, how many reads and sweeps, for us and for the peer.

Kernel cases run on a linear range of beta from 0.2 / sigma to 3 / sigma, sigma the glass scale of
the model. The number of peer reads makes its sweeps outweigh the set-up that is subtracted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from isingnpu import disorder, formats, lattice, planted
from isingnpu.bench.clock import Clock
from isingnpu.model import IsingModel


@dataclass(frozen=True)
class Options:
    """What all cases of one call share; see `run_suite`. clock: in seconds."""

    quick: bool
    backend: str
    threads: int
    repeats: int
    seed: int
    data: Path | None
    clock: Clock


@dataclass(frozen=True)
class KernelCase:
    """`reads` reads of an instance, swept `sweeps` times; the peer makes `peer_reads` reads."""

    metric: ClassVar[str] = "throughput"
    unit: ClassVar[str] = "updates/ns"

    name: str
    build: Callable[[Options], IsingModel]
    reads: int
    sweeps: int
    peer_reads: int
    layout: str | None = None
    rounds: int = 10


@dataclass(frozen=True)
class TargetCase:
    """An instance and the energy that counts as success; the best count of sweeps is taken."""

    metric: ClassVar[str] = "TTS99"
    unit: ClassVar[str] = "s"

    name: str
    build: Callable[[Options], tuple[IsingModel, float]]
    sweeps: tuple[int, ...]
    peer_sweeps: tuple[int, ...]
    reads: int = 128
    peer_reads: int = 32


def _gset(name: str, options: Options) -> IsingModel:
    """A G-set instance from the data folder; FileNotFoundError says where it was looked for."""
    advice = "name the folder that has gset/ by --data or ISINGNPU_DATA"
    folder = options.data or _known_folder()
    if folder is None:
        raise FileNotFoundError(f"no folder with {name}.txt is known: {advice}")
    for path in (folder / "gset" / f"{name}.txt", folder / f"{name}.txt"):
        if path.is_file():
            return formats.read(path, "rudy")
    raise FileNotFoundError(f"no {name}.txt in {folder} or its gset/: {advice}")


def _known_folder() -> Path | None:
    """$ISINGNPU_DATA, else shared/data beside the checkout, else None."""
    if "ISINGNPU_DATA" in os.environ:
        return Path(os.environ["ISINGNPU_DATA"])
    checkout = Path(__file__).resolve().parents[2]
    is_one = (checkout / "pyproject.toml").is_file()
    return checkout.parent / "shared" / "data" if is_one else None


def _cut(name: str, best: int, options: Options) -> tuple[IsingModel, float]:
    """A G-set instance and the energy W - 2 cut at 99.9 % of the best known cut, rounded up."""
    model = _gset(name, options)
    return model, model.total_weight - 2 * -(-999 * best // 1000)


def _with_target(model: IsingModel) -> tuple[IsingModel, float]:
    """A planted model and its ground energy."""
    assert model.geometry is not None
    assert model.geometry.ground_energy is not None
    return model, model.geometry.ground_energy.value


def _square(o: Options) -> IsingModel:
    return lattice.square(64 if o.quick else 1024)


def _slab(o: Options) -> tuple[int, int, int]:
    """Extents whose last fills vectors of 512 sites of one colour."""
    return (4, 4, 64) if o.quick else (16, 32, 1024)


def _cube(o: Options) -> tuple[int, int, int]:
    return (4, 4, 4) if o.quick else (16, 16, 16)


KERNELS = (
    KernelCase("square-p10", _square, 1, 100, 1, "lattice"),
    KernelCase("square-p7", _square, 1, 100, 1, "lattice", 7),
    KernelCase("cubic-p10", lambda o: lattice.cubic(_slab(o)), 1, 100, 1, "lattice"),
    KernelCase(
        "ea3d-p10",
        lambda o: disorder.edwards_anderson(_slab(o), seed=o.seed),
        reads=1,
        sweeps=100,
        peer_reads=1,
        layout="lattice",
    ),
    KernelCase("graph-G1", lambda o: _gset("G1", o), 128, 200, 32),
    KernelCase("graph-G22", lambda o: _gset("G22", o), 128, 200, 16),
    KernelCase("graph-G55", lambda o: _gset("G55", o), 128, 200, 8),
    KernelCase(
        "graph-ea16",
        lambda o: disorder.edwards_anderson(_cube(o), seed=o.seed),
        reads=128,
        sweeps=200,
        peer_reads=8,
    ),
    KernelCase(
        "graph-regular6-1e5",
        lambda o: disorder.random_regular(
            100 if o.quick else 100_000, 6, disorder="bimodal", seed=o.seed
        ),
        reads=128,
        sweeps=20,
        peer_reads=16,
    ),
    KernelCase(
        "dense-k2000",
        lambda o: disorder.sherrington_kirkpatrick(64 if o.quick else 2000, seed=o.seed),
        reads=16,
        sweeps=200,
        peer_reads=8,
    ),
    KernelCase(
        "real-degree6",
        lambda o: disorder.edwards_anderson(_cube(o), disorder="gaussian", seed=o.seed),
        reads=128,
        sweeps=100,
        peer_reads=16,
    ),
)

# Best known cuts as listed in microsoft/AOCoptimizer.jl, data/GSet/reference.csv.
G1_CUT, G22_CUT = 11624, 13359

TARGETS = (
    # Tiles with one weak bond each, picked on the success of `anneal`; see benchmarks/README.md.
    TargetCase(
        "tts-tile32",
        lambda o: _with_target(
            planted.tile_planting(8 if o.quick else 32, mix=(1, 0, 0, 0), seed=o.seed)
        ),
        sweeps=(1000, 3000, 10000),
        peer_sweeps=(1000, 3000, 10000),
    ),
    TargetCase(
        "tts-loops12",
        lambda o: _with_target(
            planted.frustrated_loops(lattice.cubic(4 if o.quick else 12), density=0.6, seed=o.seed)
        ),
        sweeps=(100, 300, 1000),
        peer_sweeps=(300, 1000, 3000),
    ),
    TargetCase("tts-G1", lambda o: _cut("G1", G1_CUT, o), (100, 300, 1000), (300, 1000, 3000)),
    TargetCase(
        "tts-G22", lambda o: _cut("G22", G22_CUT, o), (300, 1000, 3000), (1000, 3000, 6000)
    ),
)

SUITES: dict[str, tuple[KernelCase | TargetCase, ...]] = {"kernels": KERNELS, "tts": TARGETS}
