"""Errors of Monte Carlo averages: autocorrelation, jackknife, time to target.

    tau = 1/2 + sum_{t >= 1} rho(t),    error^2 = 2 tau variance / n,    n_eff = n / (2 tau)

Independent samples have tau = 1/2. Times are in units of the stored samples (sweeps divided by
the measuring stride). A series is (samples,) or (replicas, samples), equilibrated, and the
replicas are independent and equally distributed. A number that the samples cannot support is
refused with an exception that carries what is missing.

Wolff, Comput. Phys. Commun. 156, 143 (2004), hep-lat/0306017; Sokal, Monte Carlo Methods in
Statistical Mechanics (1997), section 3; Efron, The Jackknife (1982), chapter 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.float64]

# From this many replicas on, their spread is an error estimate of its own (18 % noise at 16).
SPREAD_REPLICAS = 16
# The 16 % and 84 % quantiles bound the interval that is quoted as one standard error.
ONE_SIGMA = 0.68
# Digits that hold any float64 written to the last digit of any other.
_EXACT = Context(prec=800)


class Refusal(ValueError):
    """A number that is withheld because the samples do not support it."""


class ShortChain(Refusal):
    """Fewer samples per replica than the autocorrelation time asks for.

    tau: autocorrelation time in stored samples, most likely still underestimated;
    n: samples per replica; needed: samples per replica to run at least.
    """

    def __init__(self, tau: float, n: int, needed: int) -> None:
        super().__init__(tau, n, needed)
        self.tau, self.n, self.needed = tau, n, needed

    def __str__(self) -> str:
        return (
            f"chain too short: {self.n} samples per replica with autocorrelation time "
            f"tau = {self.tau:.3g} samples; run at least {self.needed} samples per replica "
            f"({self.needed / max(self.n, 1):.2g} times as many sweeps)"
        )


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error; `str` gives 0.44068(5).

    tau: autocorrelation time in stored samples, nan where there is no time series;
    n_eff: number of independent samples that carry the same error, nan where not defined.
    Raises ValueError for a negative error.
    """

    value: float
    error: float
    tau: float = math.nan
    n_eff: float = math.nan

    def __post_init__(self) -> None:
        for name in ("value", "error", "tau", "n_eff"):
            number = float(getattr(self, name))
            # one nan object for all, so that equal estimates compare equal
            object.__setattr__(self, name, math.nan if math.isnan(number) else number)
        if self.error < 0:
            raise ValueError(f"the error of an estimate must be >= 0, got {self.error}")

    def __str__(self) -> str:
        if not math.isfinite(self.value) or not math.isfinite(self.error):
            return f"{self.value:.6g}({self.error:.6g})"
        if self.error == 0:
            return f"{self.value!r}(0)"
        return _shorthand(Decimal(repr(self.value)), Decimal(repr(self.error)))

    def to_json(self) -> dict[str, float | None]:
        """The four numbers, with null for what is not finite."""
        numbers = {"value": self.value, "error": self.error, "n_eff": self.n_eff, "tau": self.tau}
        return {name: x if math.isfinite(x) else None for name, x in numbers.items()}

    def sigmas(self, reference: float, reference_error: float = 0.0) -> float:
        """(value - reference) / sqrt(error^2 + reference_error^2); 0 / 0 is 0, x / 0 is inf."""
        difference = self.value - reference
        error = math.hypot(self.error, reference_error)
        if error == 0:
            return 0.0 if difference == 0 else difference * math.inf
        return difference / error


def _shorthand(value: Decimal, error: Decimal) -> str:
    """`value(error)`: the error has one digit, or two where the first is 1."""
    last = error.adjusted() - (error.as_tuple().digits[0] == 1)
    first = max(value.adjusted(), error.adjusted()) if value else error.adjusted()
    scale = first if first < -4 or last > 3 else 0  # the power of ten that is split off
    last -= scale
    unit = Decimal(1).scaleb(last)
    rounded = value.scaleb(-scale).quantize(unit, context=_EXACT)
    digits = error.scaleb(-scale).quantize(unit, context=_EXACT)
    if last < 0:  # in units of the last decimal of the value
        digits = digits.scaleb(-last)
    sign = "-" if rounded < 0 else ""  # no "-0"
    exponent = f"e{scale:+03d}" if scale else ""
    return f"{sign}{rounded.copy_abs():f}({digits:f}){exponent}"


def _replicas(series: ArrayLike) -> Array:
    """(replicas, samples) float64 view of a series, checked."""
    x = np.asarray(series, dtype=np.float64)
    if x.ndim not in (1, 2) or x.size == 0:
        raise ValueError(
            f"a series must be (samples,) or (replicas, samples) and not empty, got {x.shape}"
        )
    _check_finite(x, "series")
    return np.atleast_2d(x)


def _check_finite(x: Array, name: str) -> None:
    """Raise ValueError naming the first index that is nan or infinite."""
    finite = np.isfinite(x)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        where = ", ".join(str(i) for i in index)
        raise ValueError(f"{name} must be finite: {name}[{where}] = {x[index]}")


def autocorrelation(series: ArrayLike) -> Array:
    """rho(t) = Gamma(t) / Gamma(0) for t = 0 .. samples - 1, averaged over replicas.

    Gamma(t) = sum_r sum_i d_r(i) d_r(i + t) / (replicas (samples - t)) with d the deviation from
    the mean over all replicas (Wolff 2004), so replicas stuck in different states do not
    decorrelate. Subtracting the estimated mean lowers rho by about 2 tau / n; `integrated_time`
    corrects for it. A constant series has rho = 1, 0, 0, ...
    """
    return _gamma(_replicas(series))[1]


def _gamma(x: Array) -> tuple[float, Array]:
    """Gamma(0) and rho(t) of a checked (replicas, samples) series, by FFT."""
    replicas, samples = x.shape
    rho = np.zeros(samples)
    rho[0] = 1.0
    if x.min() == x.max():
        return 0.0, rho
    size = 1 << (2 * samples - 1).bit_length()  # zero padding: no wrap-around
    power = np.zeros(size // 2 + 1)
    for deviation in x - x.mean():  # one replica at a time: memory of one transform
        transform = np.fft.rfft(deviation, size)
        power += transform.real**2 + transform.imag**2
    gamma = np.fft.irfft(power, size)[:samples]
    gamma /= replicas * np.arange(samples, 0, -1)
    rho[1:] = gamma[1:] / gamma[0]
    return float(gamma[0]), rho


class _Spectrum(NamedTuple):
    """Variance of one sample and tau, both corrected for the subtracted mean; window in lags."""

    variance: float
    tau: float
    window: int


def _spectrum(x: Array, c: float, minimum: float) -> _Spectrum:
    """Gamma method with the window W = min { W : W >= 2 c tau(W) } (Sokal 1997, section 3).

    Raises ShortChain when there is no such W, or samples < minimum * tau.
    """
    n, samples = x.size, x.shape[1]
    gamma_0, rho = _gamma(x)
    taus = np.cumsum(rho) - 0.5  # taus[W] = 1/2 + sum_{t=1}^{W} rho(t)
    windows = np.flatnonzero(np.arange(samples) >= 2 * c * np.maximum(taus, 0.5))
    if windows.size == 0:
        tau = max(float(taus.max()), 0.5)
        raise ShortChain(tau, samples, math.ceil(max(minimum, 4 * c) * tau))
    window = int(windows[0])
    raw = float(taus[window])
    # Wolff 2004, eq. 49: Gamma(t) is low by 2 tau Gamma(0) / n at every lag, zero included
    tau = raw * (1 + (2 * window + 1) / n) / (1 + 2 * raw / n)
    tau = max(tau, 0.5) if gamma_0 > 0 else 0.5
    if samples < minimum * tau:
        raise ShortChain(tau, samples, math.ceil(minimum * tau))
    return _Spectrum(gamma_0 * (1 + 2 * max(raw, 0.5) / n), tau, window)


def integrated_time(series: ArrayLike, c: float = 5.0) -> Estimate:
    """Integrated autocorrelation time tau = 1/2 + sum_{t=1}^{W} rho(t), in stored samples.

    series: (samples,) or (replicas, samples); W is the first lag with W >= 2 c tau(W), the rule
    of emcee, which quotes 2 tau. A mode that decays as exp(-t / T) and has the share f of the
    variance is cut by exp(-W / T), where W is about 10 f T at c = 5: by 5 % for f = 0.3.
    error = 2 tau sqrt((W + 1/2 - tau) / n), n all samples (Wolff 2004, eq. 42);
    n_eff = n / (2 tau). tau is not taken below 1/2: for anticorrelated samples it, and the error
    of the mean, are upper bounds. A constant series has tau = 1/2 with error 0.
    Raises ValueError for a series that is not finite or c <= 0, and ShortChain when no such W
    exists within the series (replicas that never forget where they started).
    """
    if not c > 0:
        raise ValueError(f"the window factor c must be > 0, got {c}")
    x = _replicas(series)
    variance, tau, window = _spectrum(x, c, minimum=0)
    error = 2 * tau * math.sqrt((window + 0.5 - tau) / x.size) if variance > 0 else 0.0
    return Estimate(tau, error, n_eff=x.size / (2 * tau))


def estimate(series: ArrayLike, *, minimum: float = 50) -> Estimate:
    """Mean of an equilibrated series, its error including autocorrelation.

    series: (samples,) or (replicas, samples). error = sqrt(2 tau variance / n) by the Gamma method
    over all replicas. From 16 replicas on, the spread of the replica means is a second estimate
    of it and the larger one is kept, which sees slow modes that the window cuts off and costs
    an error that is 6 % (16 replicas) to 3 % (64) too large where both agree.
    The error itself is uncertain by 3 sqrt(tau / n), half as much as tau: 42 % at n = 50 tau.
    n_eff = variance / error^2. A constant series has error 0: nothing was seen to move.
    Raises ShortChain when samples < minimum * tau (per replica), ValueError as
    `integrated_time`.
    """
    x = _replicas(series)
    replicas = x.shape[0]
    variance, tau, _ = _spectrum(x, 5.0, minimum)
    if variance == 0:
        return Estimate(x[0, 0], 0.0, 0.5, x.size)
    error = math.sqrt(2 * tau * variance / x.size)
    if replicas >= SPREAD_REPLICAS:
        error = max(error, float(x.mean(axis=1).std(ddof=1)) / math.sqrt(replicas))
    return Estimate(x.mean(), error, tau, variance / error**2)


def binning(series: ArrayLike, n_blocks: int) -> Array:
    """Block means: (replicas, samples, ...) -> (replicas * n_blocks, ...), replica by replica.

    A one-dimensional series is one replica. n_blocks is per replica; the samples that do not
    fill a block are left out at the start, where equilibration is least certain. Blocks are
    independent once they are much longer than 2 tau. Raises ValueError unless
    1 <= n_blocks <= samples, or when the series is not finite.
    """
    x = np.asarray(series, dtype=np.float64)
    x = x[None] if x.ndim == 1 else x
    if x.ndim < 2 or not 1 <= n_blocks <= x.shape[1]:
        raise ValueError(f"n_blocks must be in 1..samples of a series {x.shape}, got {n_blocks}")
    _check_finite(x, "series")
    length = x.shape[1] // n_blocks
    x = x[:, x.shape[1] - n_blocks * length :]
    blocks = x.reshape(x.shape[0], n_blocks, length, *x.shape[2:])  # (replicas, block, length, .)
    return np.asarray(blocks.mean(axis=2).reshape(-1, *x.shape[2:]))  # (replicas * n_blocks, .)


def binning_errors(series: ArrayLike) -> tuple[NDArray[np.int64], Array, Array]:
    """Error of the mean against block length: lengths 1, 2, 4, ..., errors, their uncertainties.

    series: (samples,) or (replicas, samples). error^2 = var(block means) / blocks rises with the
    length b to a plateau 2 tau variance / n once b >> 2 tau (Flyvbjerg & Petersen 1989); its
    relative uncertainty is 1 / sqrt(2 (blocks - 1)). Lengths stop where 16 blocks are left.
    Raises ValueError for fewer than 16 samples in all.
    """
    x = _replicas(series)
    if x.size < 16:
        raise ValueError(f"blocking needs at least 16 samples, got {x.size}; run longer")
    counts = [x.shape[1] >> k for k in range(x.shape[1].bit_length())]
    counts = [count for count in counts if count * x.shape[0] >= 16]
    lengths = 1 << np.arange(len(counts))
    n = np.array(counts) * x.shape[0]
    # blocks of exactly `length`: the samples that do not fill one are dropped at the start
    means = [binning(x[:, -b * count :], count) for b, count in zip(lengths, counts, strict=True)]
    errors = np.array([block.std(ddof=1) for block in means]) / np.sqrt(n)
    return lengths, errors, errors / np.sqrt(2 * (n - 1))


def jackknife_samples(function: Callable[..., Any], *blocks: ArrayLike) -> Array:
    """function(means without block i) for every i, shape (n_blocks, ...).

    blocks: arrays (n_blocks, ...) of block means, block i of each from the same samples.
    function takes one mean per array, shaped (...), and returns a number or an array.
    Raises ValueError for fewer than two blocks or different numbers of blocks.
    """
    arrays = [np.asarray(block, dtype=np.float64) for block in blocks]
    counts = [a.shape[0] if a.ndim else 0 for a in arrays]
    if not counts or min(counts) < 2 or min(counts) != max(counts):
        raise ValueError(
            f"jackknife needs the same number of blocks, at least 2, in every array; got {counts}"
        )
    n = counts[0]
    totals = [a.sum(axis=0) for a in arrays]
    rows = zip(*arrays, strict=True)
    samples = [
        function(*((total - a) / (n - 1) for total, a in zip(totals, row, strict=True)))
        for row in rows
    ]
    return np.asarray(samples, dtype=np.float64)


def jackknife_covariance(samples: ArrayLike) -> Array:
    """Covariance (n - 1) / n sum_i d_i d_i^T of jackknife samples (n_blocks, k) -> (k, k)."""
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 2 or x.shape[0] < 2:
        raise ValueError(f"jackknife samples must be (n_blocks >= 2, k), got {x.shape}")
    deviation = x - x.mean(axis=0)
    return np.asarray((x.shape[0] - 1) / x.shape[0] * deviation.T @ deviation)  # (k, n) @ (n, k)


def jackknife(function: Callable[..., Any], *blocks: ArrayLike) -> Estimate:
    """A number computed from means, such as 1 - <m4> / (3 <m2>^2), with its error.

    value = n f(means) - (n - 1) mean_i f_i: the bias of order 1/n is removed (Efron 1982,
    chapter 2). error^2 = (n - 1)/n sum_i (f_i - mean f)^2. n_eff is the number of blocks, which
    must be independent: see `binning`. Vector functions: `jackknife_samples` with
    `jackknife_covariance`. Raises ValueError as `jackknife_samples`, or if function returns
    an array.
    """
    samples = jackknife_samples(function, *blocks)
    if samples.ndim != 1:
        raise ValueError(
            f"jackknife takes a function that returns one number, got shape {samples.shape[1:]}; "
            "use jackknife_samples and jackknife_covariance"
        )
    n = samples.size
    full = float(function(*(np.asarray(b, dtype=np.float64).mean(axis=0) for b in blocks)))
    value = n * full - (n - 1) * float(samples.mean())
    error = math.sqrt(jackknife_covariance(samples[:, None])[0, 0])
    return Estimate(value, error, n_eff=n)


def time_to_target(
    successes: int, reads: int, time_per_read: float, *, confidence: float = 0.99
) -> Estimate | None:
    """Time until one read at least has succeeded with probability `confidence`.

    TTS = t ln(1 - confidence) / ln(1 - p), and never less than one read t (Ronnow et al. 2014,
    arXiv:1401.2910). p has the Jeffreys posterior Beta(k + 1/2, N - k + 1/2) from k successes in
    N reads; value is the posterior median of TTS, error half of its 16 % to 84 % interval,
    n_eff = reads, the unit that of time_per_read. The posterior is skew for few successes:
    print `time_to_target_interval`. No success gives no value: None, and the lower bound is
    in the interval. Raises ValueError unless 0 <= successes <= reads, reads >= 1,
    time_per_read > 0 and 0 < confidence < 1.
    """
    low, high = time_to_target_interval(successes, reads, time_per_read, confidence=confidence)
    if successes == 0:
        return None
    value = time_per_read * _reads_needed(successes, reads, 0.5, confidence)
    return Estimate(value, (high - low) / 2, n_eff=reads)


def time_to_target_interval(
    successes: int,
    reads: int,
    time_per_read: float,
    *,
    confidence: float = 0.99,
    mass: float = ONE_SIGMA,
) -> tuple[float, float]:
    """Central interval of the posterior of TTS that holds `mass`, in units of time_per_read.

    Without a success the interval is one-sided: (low, inf), and TTS > low has probability `mass`.
    Raises ValueError as `time_to_target`, or unless 0 < mass < 1.
    """
    if reads < 1 or not 0 <= successes <= reads:
        raise ValueError(f"need 0 <= successes <= reads >= 1, got {successes} of {reads}")
    if not (0 < time_per_read < math.inf and 0 < confidence < 1 and 0 < mass < 1):
        raise ValueError(
            "need time_per_read > 0 and confidence, mass inside (0, 1), got "
            f"time_per_read = {time_per_read}, confidence = {confidence}, mass = {mass}"
        )
    if successes == 0:
        return time_per_read * _reads_needed(0, reads, mass, confidence), math.inf
    low = _reads_needed(successes, reads, (1 + mass) / 2, confidence)
    high = _reads_needed(successes, reads, (1 - mass) / 2, confidence)
    return time_per_read * low, time_per_read * high


def _reads_needed(successes: int, reads: int, level: float, confidence: float) -> float:
    """ln(1 - confidence) / ln(1 - p), at least 1, at the quantile `level` of p's posterior."""
    p = float(special.betaincinv(successes + 0.5, reads - successes + 0.5, level))
    return math.log1p(-confidence) / math.log1p(-min(p, confidence))
