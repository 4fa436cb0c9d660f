"""How many times faster: ratios of two measurements, each with a 68 % interval.

Time to target: reads succeed with a probability p that has the Jeffreys posterior; see
`statistics.time_to_target`. Medians of repeats: the exact bootstrap, in which the m-th smallest
of n samples drawn again is at most the k-th smallest of the original ones with probability
P(Bin(n, k / n) >= m); Efron, The Jackknife, the Bootstrap and Other Resampling Plans (1982),
chapter 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from isingnpu.bench.records import Record
from isingnpu.statistics import ONE_SIGMA, time_to_target_interval

Array = NDArray[Any]
Ratio = tuple[float, float, float]  # value, low, high

# Values that stand for a posterior, equally probable.
N_QUANTILES = 256


@dataclass(frozen=True)
class Trials:
    """Independent reads: how many reached the target, and the seconds that one takes."""

    successes: int
    reads: int
    read_s: float

    @classmethod
    def of(cls, batches: Sequence[tuple[int, float]], reads: int) -> Trials:
        """From (successes, seconds) of batches of `reads` reads; the median batch is the pace."""
        hits, seconds = zip(*batches, strict=True)
        return cls(sum(hits), reads * len(batches), float(np.median(seconds)) / reads)

    @classmethod
    def of_record(cls, record: Record) -> Trials:
        """The trials of a TTS99 record."""
        if record.successes is None:
            raise ValueError(f"{record.case}: a {record.metric} has no successes to count")
        reads = record.replicas * record.repeats
        return cls(record.successes, reads, float(np.median(record.samples)))

    def posterior(self) -> Array:
        """(N_QUANTILES,) equally probable values of TTS99 in s; needs a success."""
        masses = (np.arange(N_QUANTILES // 2) + 0.5) / (N_QUANTILES // 2)
        intervals = [
            time_to_target_interval(self.successes, self.reads, self.read_s, mass=float(mass))
            for mass in masses
        ]
        return np.sort(np.ravel(intervals))


def target_ratio(ours: Trials, theirs: Trials) -> Ratio | None:
    """TTS99 of theirs / ours; None unless both have reached the target."""
    if not ours.successes or not theirs.successes:
        return None
    return _interval(theirs.posterior(), ours.posterior())


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """median(ours) / median(theirs) of speeds measured independently."""
    value = float(np.median(ours)) / float(np.median(theirs))
    (a, p), (b, q) = bootstrap_median(ours), bootstrap_median(theirs)
    return (value, *_interval(a, b, p, q)[1:])


def bootstrap_median(samples: Sequence[float]) -> tuple[Array, Array]:
    """The sorted samples (n,), and the probability that each is the median of n drawn from them
    with replacement; of an even n, the lower of the two."""
    n = len(samples)
    at_most = special.bdtrc((n + 1) // 2 - 1, n, np.arange(n + 1) / n)
    return np.sort(samples), np.diff(at_most)


def _interval(top: Array, bottom: Array, p: Array | None = None, q: Array | None = None) -> Ratio:
    """Median and central 68 % of top / bottom, independent, with probabilities p and q."""
    weights = np.outer(
        np.ones(top.size) if p is None else p, np.ones(bottom.size) if q is None else q
    ).ravel()
    ratios = np.divide.outer(top, bottom).ravel()
    order = np.argsort(ratios)
    below = np.cumsum(weights[order]) / weights.sum()
    levels = [0.5, (1 - ONE_SIGMA) / 2, (1 + ONE_SIGMA) / 2]
    at = np.minimum(np.searchsorted(below, levels), ratios.size - 1)
    value, low, high = ratios[order][at].tolist()
    return value, low, high
