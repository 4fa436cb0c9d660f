"""A Run: what was asked, what came out, what it cost, and all that resuming needs.

Saved as NAME.npz (arrays, model included) and NAME.json (settings, ledger, provenance), each
written to a temporary name and renamed. No generator state exists: a run resumes from its states
and its sweep count, bit for bit.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import zipfile
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isingnpu._version import __version__
from isingnpu.archive import model_arrays, model_from_arrays, replacing, whole_file
from isingnpu.backend import Counts, State
from isingnpu.ledger import EnergyReading, Ledger
from isingnpu.model import IsingModel
from isingnpu.statistics import Estimate, estimate

if TYPE_CHECKING:
    import dimod
    import xarray

Array = NDArray[Any]
FORMAT = 1


@dataclass(frozen=True)
class Settings:
    """What a trajectory is a function of besides model, betas and first spins, and how it was
    watched. replicas are the global read indices first_replica, first_replica + 1, ...; track:
    the best state of every read is kept; burn_in: sweeps before the first sample; kernel: the
    one that was asked for, None if the backend chose (provenance has the one that ran);
    clusters: Wolff clusters per sweep, 0 for other dynamics."""

    method: str
    dynamics: str
    seed: int
    replicas: int
    first_replica: int
    layout: str
    rounds: int
    backend: str
    threads: int
    track: bool
    every: int = 0
    burn_in: int = 0
    observe: tuple[str, ...] = ()
    order: tuple[int, ...] | None = None
    kernel: str | None = None
    clusters: int = 0


@dataclass(frozen=True, eq=False)
class Run:
    """Result of `anneal` or `sample`.

    betas: (sweeps,) or (sweeps, replicas), the whole schedule; sweeps_done of them were swept.
    state: last and best spins, (replicas, sites) int8. series: name -> (replicas, samples).
    work, heat: (replicas,) so far. stopped: "finished", "target", "time limit", "interrupt".
    """

    model: IsingModel
    settings: Settings
    schedule: str
    betas: Array
    sweeps_done: int
    state: State
    series: dict[str, Array]
    work: Array
    heat: Array
    ledger: Ledger
    stopped: str
    provenance: dict[str, Any]

    @property
    def spins(self) -> Array:
        """(replicas, sites): each read's best state if it was tracked, else its last."""
        return self.state.best if self.settings.track else self.state.spins

    @property
    def energies(self) -> Array:
        """(replicas,) energies of `spins`."""
        return self.model.energy(self.spins)

    @property
    def best(self) -> tuple[Array, float]:
        """The lowest state (sites,) over all reads, and its energy."""
        energies = self.energies
        k = int(np.argmin(energies))
        return self.spins[k], float(energies[k])

    def estimate(self, name: str) -> Estimate:
        """Mean of a recorded observable with its error; ShortChain if the run is too short."""
        if name not in self.series:
            recorded = ", ".join(self.series) or "none"
            raise ValueError(f"{name!r} was not recorded; recorded: {recorded}")
        return estimate(self.series[name])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write PATH.npz and PATH.json (a suffix .npz or .json of `path` is dropped)."""
        base = _base(path)
        arrays: dict[str, Any] = {
            f"model/{name}": value for name, value in model_arrays(self.model).items()
        }
        arrays |= {f"series/{name}": value for name, value in self.series.items()}
        arrays |= {
            "betas": self.betas,
            "spins": self.state.spins,
            "best": self.state.best,
            "flips": self.state.flips,
            "work": self.work,
            "heat": self.heat,
        }
        header = {
            "format": FORMAT,
            "settings": asdict(self.settings),
            "schedule": self.schedule,
            "sweeps_done": self.sweeps_done,
            "stopped": self.stopped,
            "ledger": asdict(self.ledger),
            "provenance": self.provenance,
        }
        text = json.dumps(header, indent=1)
        arrays["header"] = np.array(text)  # the arrays and their settings cannot come apart
        with replacing(base.with_name(base.name + ".npz")) as file:
            np.savez_compressed(file, **arrays)
        with replacing(base.with_name(base.name + ".json")) as file:
            file.write(text.encode() + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Run:
        """The run saved under `path`; ValueError if the file is none or of another format."""
        file = _base(path).with_name(_base(path).name + ".npz")
        with whole_file(file, "a saved Run") as opened:
            if not zipfile.is_zipfile(opened):
                raise ValueError("no zip archive")
            opened.seek(0)
            with np.load(opened, allow_pickle=False) as stored:
                arrays = dict(stored)
        if "header" not in arrays or "betas" not in arrays:
            raise ValueError(f"{file}: not a saved Run (a model file is read by isingnpu.read)")
        header = json.loads(str(arrays["header"]))
        if header["format"] != FORMAT:
            raise ValueError(f"{file}: format {header['format']}, this version reads {FORMAT}")
        settings = {**header["settings"], "observe": tuple(header["settings"]["observe"])}
        if settings["order"] is not None:
            settings["order"] = tuple(settings["order"])
        ledger = header["ledger"]
        return cls(
            model=model_from_arrays(_part(arrays, "model/")),
            settings=Settings(**settings),
            schedule=header["schedule"],
            betas=arrays["betas"],
            sweeps_done=header["sweeps_done"],
            state=State(arrays["spins"], arrays["best"], arrays["flips"]),
            series=_part(arrays, "series/"),
            work=arrays["work"],
            heat=arrays["heat"],
            ledger=Ledger(
                Counts(**ledger["counts"]),
                ledger["cpu_s"],
                ledger["wall_s"],
                tuple(EnergyReading(**e) for e in ledger["energy"]),
            ),
            stopped=header["stopped"],
            provenance=header["provenance"],
        )

    def to_sampleset(self, vartype: str = "SPIN") -> dimod.SampleSet:
        """`spins` as a dimod SampleSet in read order, labelled as the model is."""
        import dimod

        samples = self.spins, list(self.model.variables)
        sampleset_type: Any = dimod.SampleSet
        sampleset = sampleset_type.from_samples(samples, "SPIN", self.energies)
        changed: dimod.SampleSet = sampleset.change_vartype(vartype, inplace=False)
        return changed

    def to_xarray(self) -> xarray.Dataset:
        """Series and spins as an xarray Dataset, dims replica (or pair), sample and site."""
        import xarray

        data: dict[str, Any] = {
            name: (("pair" if name == "overlap" else "replica", "sample"), value)
            for name, value in self.series.items()
        }
        data["spins"] = (("replica", "site"), self.spins)
        data["energies"] = (("replica",), self.energies)
        first = self.settings.first_replica
        replica = np.arange(first, first + self.settings.replicas)
        attributes = {"schedule": self.schedule, "stopped": self.stopped}
        return xarray.Dataset(data, {"replica": replica}, attributes)


def _part(arrays: dict[str, Array], prefix: str) -> dict[str, Array]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _base(path: str | os.PathLike[str]) -> Path:
    base = Path(path)
    return base.with_suffix("") if base.suffix in (".npz", ".json") else base


def provenance(settings: Settings, kernel: str, thresholds: str) -> dict[str, Any]:
    """Where a result comes from: version, commit, seed, layout, kernel, machine, command."""
    return {
        "version": __version__,
        "commit": commit(),
        "seed": settings.seed,
        "backend": settings.backend,
        "kernel": kernel,
        "layout": settings.layout,
        "rounds": settings.rounds,
        "thresholds": thresholds,
        "machine": {
            "processor": processor_name(),
            "system": platform.system(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "threads": settings.threads,
        },
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The checkout's commit, `+` appended if files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True)
    except OSError:
        return None
    if head.returncode:
        return None
    return head.stdout.strip() + ("+" if changed.returncode else "")


@lru_cache(maxsize=1)
def processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
