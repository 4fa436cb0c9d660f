"""One call of `sweep` as several launches: where it is cut, and what their results make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Measured

Array = NDArray[Any]
Series = tuple[Array, Array, Array, Array]  # energy, magnetization, flips, path of own replicas


def cuts(sweeps: int, most: int, first: int, every: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `most` sweeps; every: each ends at the next multiple of it, counted from
    the beginning of the run, where spins are weighed; 0 for none."""
    begin = 0
    while begin < sweeps:
        end = min(sweeps, begin + max(1, most))
        if every:
            end = min(end, begin + every - (first + begin) % every)
        yield begin, end
        begin = end


def joined(
    parts: Sequence[Series],
    projections: Sequence[Array],
    counts: Counts,
    replicas: int,
    k: int,
    improved: Array | None = None,
) -> Measured:
    """The series of launches, one after another; projections: (replicas, k) of each sample."""
    empty = np.zeros((replicas, 0), np.int64)
    energy, magnetization, flips, path = (
        np.concatenate([empty, *(part[at] for part in parts)], axis=1) for at in range(4)
    )
    weighed = (
        np.stack(projections, axis=1) if projections else np.zeros((replicas, energy.shape[1], k))
    )
    return Measured(energy, magnetization, flips, weighed, path, counts, improved)
