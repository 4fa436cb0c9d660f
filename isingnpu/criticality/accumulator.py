"""Histograms on disk: what a run has measured, with the identity of what it was measured on.

One .npz file: `header`, a JSON text (format, fingerprint of the model, seeds, box, beta, moments);
`sums`, the occupied levels only; `levels`, their numbers. Reading gives the same bits.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import asdict, dataclass, replace

import numpy as np

from isingnpu.archive import replacing, whole_file
from isingnpu.criticality.estimators import Box, Histogram
from isingnpu.model import IsingModel

FORMAT = "isingnpu-histogram-1"


@dataclass(frozen=True, eq=False)
class Accumulator:
    """A histogram of one model at one beta; fingerprint: of the model; seeds: of the runs that
    are in it, one per merged part."""

    histogram: Histogram
    fingerprint: str
    seeds: tuple[int, ...]

    @classmethod
    def of(cls, histogram: Histogram, model: IsingModel, seed: int) -> Accumulator:
        """Of samples of `model` drawn with one seed."""
        return cls(histogram, model.fingerprint, (seed,))

    def merged(self, other: Accumulator) -> Accumulator:
        """Both runs as independent blocks side by side.

        Raises ValueError for another model, beta, binning or moments, and for a seed that is in
        both: the same samples would count twice."""
        a, b = self.histogram, other.histogram
        if self.fingerprint != other.fingerprint:
            raise ValueError(
                f"these are samples of different models, fingerprints {self.fingerprint[:12]} "
                f"and {other.fingerprint[:12]}; merge runs of one model"
            )
        if (asdict(a.box), a.beta, a.moments) != (asdict(b.box), b.beta, b.moments):
            raise ValueError(
                f"runs merge at one beta, binning and set of moments, got beta {a.beta} and "
                f"{b.beta}; runs at several betas go to isingnpu.criticality.multihistogram"
            )
        if shared := set(self.seeds) & set(other.seeds):
            raise ValueError(
                f"seed {min(shared)} is in both: the same samples would count twice; to go on "
                "with a run, add its histograms with +"
            )
        sums = np.concatenate([a.sums, b.sums], axis=1)
        return Accumulator(replace(a, sums=sums), self.fingerprint, self.seeds + other.seeds)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one .npz file, whole or not at all."""
        h = self.histogram
        if h.sums.shape[2] != h.box.levels:
            raise ValueError(
                f"a histogram is saved with all its {h.box.levels} levels, this one was cut to "
                f"the {h.sums.shape[2]} occupied ones"
            )
        levels = np.flatnonzero(h.sums[0].any(axis=0))
        header = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "seeds": self.seeds,
            "box": asdict(h.box),
            "beta": h.beta,
            "moments": h.moments,
        }
        with replacing(path) as file:
            np.savez_compressed(
                file, header=np.array(json.dumps(header)), levels=levels, sums=h.sums[:, :, levels]
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: IsingModel | None = None) -> Accumulator:
        """The inverse of `save`. Raises ValueError for a file that is none, damaged, of another
        format or, if `model` is given, of another model."""
        with whole_file(path, "saved histograms") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("no zip archive")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                header = json.loads(str(stored["header"]))
                cut, levels = stored["sums"], stored["levels"]
            if header["format"] != FORMAT:
                raise ValueError(f"format {header['format']}, this version reads {FORMAT}")
            box = Box(**header["box"])
            sums = np.zeros((*cut.shape[:2], box.levels))
            sums[:, :, levels] = cut
        if model is not None and model.fingerprint != header["fingerprint"]:
            raise ValueError(
                f"{path} holds samples of a model with fingerprint {header['fingerprint'][:12]}, "
                f"this one has {model.fingerprint[:12]}"
            )
        histogram = Histogram(box, header["beta"], sums, tuple(header["moments"]))
        return cls(histogram, header["fingerprint"], tuple(header["seeds"]))
