"""The cases: which instance, how many reads and sweeps, for us and for the peer.

Kernel cases of glasses and graphs run on a linear range of beta from 0.2 / sigma to 3 / sigma,
sigma the glass scale of the model; lattices at their critical beta. The number of peer reads makes
its sweeps outweigh the set-up that is subtracted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from isingnpu import disorder, formats, lattice, planted, rng
from isingnpu.bench.clock import Clock
from isingnpu.bench.peer import NAME, OPENJIJ
from isingnpu.model import IsingModel
from isingnpu.schedule import glass_scale

Array = NDArray[Any]


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


FIELDS = 1 << 63  # bit that makes the seed of fields from that of couplings
HOT, COLD = 0.2, 3.0  # beta sigma at the ends of the linear range


def _linear(model: IsingModel, sweeps: int) -> Array:
    return np.linspace(HOT, COLD, sweeps) / glass_scale(model)


def _frozen(model: IsingModel, sweeps: int) -> Array:
    """A range most of which is below the temperature at which spins freeze."""
    return np.linspace(0.1, 3.0, sweeps)


def _critical(model: IsingModel, sweeps: int) -> Array:
    assert model.geometry is not None
    assert model.geometry.beta_c is not None
    return np.full(sweeps, model.geometry.beta_c.value)


@dataclass(frozen=True)
class KernelCase:
    """`reads` reads of an instance, swept `sweeps` times at betas(model, sweeps).

    peers: other packages, which make `peer_reads` reads; simple_sweeps: sweeps of our kernel for
    one read of any graph, 0 for none; checkerboard: beside `bench.checkerboard`. threads: 0 as
    asked for; wall: timed by the wall clock. processor: LLVM's name of the one that the code is
    for, "" for this one. counted: "attempted" updates or "flips". clusters: of a Wolff sweep.
    instance: tells the notes which one was taken."""

    metric: ClassVar[str] = "throughput"

    name: str
    build: Callable[[Options], IsingModel]
    reads: int
    sweeps: int
    peer_reads: int = 1
    peers: tuple[str, ...] = (NAME,)
    simple_sweeps: int = 0
    checkerboard: bool = False
    betas: Callable[[IsingModel, int], Array] = _linear
    layout: str | None = None
    rounds: int = 10
    dynamics: str = "metropolis"
    clusters: int = 1
    kernel: str | None = None
    threads: int = 0
    wall: bool = False
    processor: str = ""
    counted: str = "attempted"
    instance: Callable[[Options], str] | None = None

    @property
    def unit(self) -> str:
        return "flips/ns" if self.counted == "flips" else "updates/ns"


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
    folder = options.data or known_folder()
    if folder is None:
        raise FileNotFoundError(f"no folder with {name}.txt is known: {advice}")
    for path in (folder / "gset" / f"{name}.txt", folder / f"{name}.txt"):
        if path.is_file():
            return formats.read(path, "rudy")
    raise FileNotFoundError(f"no {name}.txt in {folder} or its gset/: {advice}")


K2000_SITES = 2000
K2000_FILE = "k2000/k2000c_seed1_bits.npy"


def _k2000(options: Options) -> IsingModel:
    """E = sum w s s over all pairs, w = +-1 the bits of K2000_FILE in row-major order of the upper
    triangle, 1 for +1; without the file, or quick, a Sherrington-Kirkpatrick instance."""
    path = _k2000_file(options)
    if path is None:
        n = 64 if options.quick else K2000_SITES
        return disorder.sherrington_kirkpatrick(n, seed=options.seed)
    n, pairs = K2000_SITES, K2000_SITES * (K2000_SITES - 1) // 2
    bits = np.unpackbits(np.load(path))
    if not pairs <= bits.size < pairs + 8:
        raise ValueError(
            f"{path} has {bits.size} bits, {pairs} filled up to whole bytes are wanted"
        )
    couplings = np.zeros((n, n), np.int64)
    couplings[np.triu_indices(n, 1)] = 1 - 2 * bits[:pairs].astype(np.int64)
    return IsingModel(couplings + couplings.T, np.zeros(n, np.int64))


def _k2000_file(options: Options) -> Path | None:
    """The file in the data folder, None if it is not there; quick cases do without."""
    folder = options.data or known_folder()
    if options.quick or folder is None:
        return None
    return path if (path := folder / K2000_FILE).is_file() else None


def _k2000_instance(options: Options) -> str:
    path = _k2000_file(options)
    if path is not None:
        return f"instance of {K2000_FILE}"
    return f"own instance of seed {options.seed}: {K2000_FILE} is read from the data folder only"


def known_folder() -> Path | None:
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


_periodic_square = lru_cache(maxsize=1)(lattice.square)  # several cases in turn share it


def _square(o: Options) -> IsingModel:
    return _periodic_square(128 if o.quick else 4096)


def _small_square(o: Options) -> IsingModel:
    return _periodic_square(32 if o.quick else 1024)


SLAB_SWEEPS = 400  # a sweep takes 0.05 ms, what surrounds them 0.7 ms


def _slab(o: Options) -> tuple[int, int, int]:
    """Extents whose last fills vectors of 512 sites of one colour."""
    return (4, 4, 128) if o.quick else (16, 32, 1024)


def _cube(o: Options) -> tuple[int, int, int]:
    return (4, 4, 4) if o.quick else (16, 16, 16)


def _glass(o: Options) -> IsingModel:
    return disorder.edwards_anderson(_cube(o), seed=o.seed)


def _real(o: Options) -> IsingModel:
    """Normal couplings, and normal fields of the same standard deviation."""
    glass = disorder.edwards_anderson(_cube(o), disorder="gaussian", seed=o.seed)
    fields = rng.random_normals(o.seed ^ FIELDS, rng.Stream.COUPLINGS, glass.n)
    return IsingModel(glass.couplings, fields, geometry=glass.geometry)


def _regular(n: int, o: Options) -> IsingModel:
    return disorder.random_regular(100 if o.quick else n, 6, disorder="bimodal", seed=o.seed)


def _on_lattice(name: str, build: Callable[[Options], IsingModel], **more: Any) -> KernelCase:
    """Sites as bits, one read, beside the kernel for any graph."""
    few: dict[str, Any] = {"sweeps": 100, "simple_sweeps": 2, "peers": (), "betas": _critical}
    return KernelCase(name, build, 1, layout="lattice", **(few | more))


def _on_graph(name: str, build: Callable[[Options], IsingModel], **more: Any) -> KernelCase:
    """128 reads as byte lanes."""
    few: dict[str, Any] = {"sweeps": 200, "peers": (NAME, OPENJIJ), "layout": "lane"}
    return KernelCase(name, build, 128, **(few | more))


def _in_planes(name: str, build: Callable[[Options], IsingModel], **more: Any) -> KernelCase:
    """512 reads as bits."""
    few: dict[str, Any] = {"sweeps": 200, "layout": "plane"}
    return KernelCase(name, build, 512, **(few | more))


KERNELS = (
    _on_lattice("square-p10", _square, checkerboard=True),
    _on_lattice("square-p7", _square, rounds=7, checkerboard=True),
    _on_lattice("square-p10-avx2", _square, processor="haswell", checkerboard=True),
    _on_lattice("square-p10-2threads", _square, threads=2, wall=True, simple_sweeps=0),
    _on_lattice("square-1024", _small_square, peers=(NAME,), checkerboard=True),
    _on_lattice("cubic-p10", lambda o: lattice.cubic(_slab(o)), sweeps=SLAB_SWEEPS),
    _on_lattice(
        "ea3d-p10",
        lambda o: disorder.edwards_anderson(_slab(o), seed=o.seed),
        sweeps=SLAB_SWEEPS,
        betas=_linear,
        peers=(NAME,),
    ),
    _on_graph("graph-G1", lambda o: _gset("G1", o), peer_reads=32),
    _on_graph("graph-G22", lambda o: _gset("G22", o), peer_reads=16),
    _on_graph("graph-G55", lambda o: _gset("G55", o), peer_reads=8),
    _on_graph("graph-ea16", _glass, peer_reads=8),
    _in_planes("bitgraph-G1", lambda o: _gset("G1", o), peer_reads=32),
    _in_planes("bitgraph-G22", lambda o: _gset("G22", o), peer_reads=16),
    _in_planes("bitgraph-G55", lambda o: _gset("G55", o), peer_reads=8),
    _in_planes("bitgraph-G81", lambda o: _gset("G81", o), peer_reads=4),
    _in_planes("bitgraph-ea16", _glass, peer_reads=8),
    _in_planes("graph-regular6-1e5", partial(_regular, 100_000), sweeps=20, peer_reads=8),
    _in_planes("graph-regular6-1e6", partial(_regular, 1_000_000), sweeps=5, peers=()),
    _on_graph(
        "dense-k2000",
        _k2000,
        peer_reads=8,
        instance=_k2000_instance,
    ),
    _on_graph("real-degree6", _real, sweeps=100, peer_reads=16),
    _on_graph("real-degree6-frozen", _real, sweeps=100, peer_reads=64, betas=_frozen),
    KernelCase(
        "swendsen-wang",
        _small_square,
        reads=1,
        sweeps=10,
        peers=(),
        betas=_critical,
        dynamics="swendsen-wang",
    ),
    KernelCase(
        "wolff",
        _small_square,
        reads=1,
        sweeps=20,
        peers=(),
        betas=_critical,
        dynamics="wolff",
        clusters=5,
        counted="flips",
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
