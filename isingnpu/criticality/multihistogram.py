"""Multi-histogram reweighting: samples taken at several betas together give averages at any beta
between them.

    <A>_beta = sum_l A_l w_l / sum_l n_l w_l,
    w_l(beta) = exp(-beta E_l) / sum_k (N_k / g_k) exp(f_k - beta_k E_l),
    exp(-f_k) = sum_l n_l w_l(beta_k)

over energy levels l, with n_l = sum_k n_kl / g_k samples, A_l likewise the sum of A over them,
N_k = sum_l n_kl, g_k = 2 tau_k the statistical inefficiency of run k, f_k = -ln Z(beta_k) up to
a constant that is fixed by f_0 = 0. The f_k maximise a concave likelihood and are found by
Newton's method. On levels of one energy this is the estimator of both Ferrenberg & Swendsen,
PRL 63, 1195 (1989) and Shirts & Chodera, J. Chem. Phys. 129, 124105 (2008).
Errors are jackknife errors: blocks are left out one at a time and the f_k solved for anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from isingnpu.criticality.estimators import Array, Histogram
from isingnpu.criticality.refusals import OutOfRange
from isingnpu.criticality.reweight import MIN_SHARE, observable_names, observables_of, weighted
from isingnpu.statistics import Estimate

MIN_OVERLAP = 0.03  # Klimovich, Shirts & Mobley, J. Comput. Aided Mol. Des. 29, 397 (2015)
TOLERANCE = 1e-12  # of sum_k |sum_l n_l w_l(beta_k) exp(f_k) - 1|, far below any error
MAX_STEPS = 200


@dataclass(frozen=True, eq=False)
class MultiHistogram:
    """Histograms of one model at increasing betas, and their free energies f = -ln Z, f[0] = 0.

    inefficiency: (runs,) g_k; energies: (levels,) mean energy of each level over all runs."""

    histograms: tuple[Histogram, ...]
    inefficiency: Array
    energies: Array
    free_energies: Array

    @classmethod
    def of(
        cls, histograms: Sequence[Histogram], inefficiency: Sequence[float] | None = None
    ) -> MultiHistogram:
        """Solves for the free energies.

        inefficiency: 2 tau in samples, one per run, 1 if not given: it shares the weight among
        the runs, and a wrong one costs precision only. Raises ValueError for fewer than two
        betas, for histograms of different boxes or moments, and OutOfRange where neighbouring
        betas share less than MIN_OVERLAP of their energies."""
        ordered = tuple(sorted(histograms, key=lambda h: h.beta))
        _check_alike(ordered)
        g = np.ones(len(ordered)) if inefficiency is None else np.asarray(inefficiency, float)
        if g.shape != (len(ordered),) or not (np.isfinite(g) & (g > 0)).all():
            raise ValueError(
                f"inefficiency must be one number > 0 for each of {len(ordered)} runs, got {g}"
            )
        g = g[np.argsort([h.beta for h in histograms], kind="stable")]
        full = np.any([h.sums[0].any(axis=0) for h in ordered], axis=0)
        ordered = tuple(replace(h, sums=h.sums[:, :, full]) for h in ordered)
        sums = np.stack([h.sums[:2].sum(axis=1) for h in ordered])  # (runs, 2, levels)
        energies = sums[:, 1].sum(axis=0) / sums[:, 0].sum(axis=0)
        betas = np.array([h.beta for h in ordered])
        f = solve(sums[:, 0] / g[:, None], betas, energies, _guess(ordered))
        made = cls(ordered, g, energies, f)
        made._check_overlap()
        return made

    @property
    def betas(self) -> Array:
        """(runs,) where the samples were taken."""
        return np.array([h.beta for h in self.histograms])

    @property
    def counts(self) -> Array:
        """(runs, levels) samples, each run divided by its inefficiency."""
        counts = np.stack([h.sums[0].sum(axis=0) for h in self.histograms])
        return np.asarray(counts / self.inefficiency[:, None])

    def weights(self, beta: float) -> Array:
        """(levels,) w(beta), the largest 1.

        Raises OutOfRange unless n_eff = (sum w)^2 / sum w^2 over all samples exceeds a tenth of
        the samples of the run whose beta is nearest."""
        log = _log_weights(self.counts.sum(axis=1), self.betas, self.energies, self.free_energies)
        log = log - beta * self.energies
        w = np.exp(log - log.max())
        n = self.counts.sum(axis=0)
        n_eff = float((n @ w) ** 2 / (n @ w**2))
        nearest = int(np.argmin(abs(self.betas - beta)))
        own = float(self.counts[nearest].sum())
        if not n_eff > MIN_SHARE * own:
            box = self.histograms[nearest].box
            raise OutOfRange(box.size, float(self.betas[nearest]), beta, n_eff, own)
        return np.asarray(w)

    def observables(self, beta: float) -> dict[str, Estimate]:
        """As `reweight.observables`, from all runs. n_eff is the number of blocks of all runs.

        Raises OutOfRange, and ValueError for a run of fewer than two blocks."""
        first = self.histograms[0]
        values, errors = self._jackknife(
            beta, lambda sums, w: observables_of(first, self.energies, w, sums, beta)
        )
        blocks = sum(h.sums.shape[1] for h in self.histograms)
        return {
            name: Estimate(float(value), float(error), n_eff=blocks)
            for name, value, error in zip(observable_names(first), values, errors, strict=True)
        }

    def ratios(self, beta: float) -> tuple[Array, Array]:
        """xi/L and U4 at beta and their errors, (2,) each."""
        box = self.histograms[0].box
        return self._jackknife(beta, lambda sums, w: box.ratios(weighted(sums, w)))

    @cached_property
    def _leaving_one_out(self) -> list[Array]:
        """Per run (blocks, levels) ln w at beta = 0 without one block of that run.

        The solution moves by 1 / blocks, so that one step of Newton's method is enough."""
        made = []
        for k, histogram in enumerate(self.histograms):
            blocks = histogram.sums.shape[1]
            if blocks < 2:
                raise ValueError(
                    f"the jackknife needs at least 2 independent blocks per run, got {blocks} at "
                    f"beta = {histogram.beta}"
                )
            logs = np.empty((blocks, self.energies.size))
            for b in range(len(logs)):
                counts = self.counts.copy()
                counts[k] -= histogram.sums[0, b] / self.inefficiency[k]
                f = solve(counts, self.betas, self.energies, self.free_energies, steps=1)
                logs[b] = _log_weights(counts.sum(axis=1), self.betas, self.energies, f)
            made.append(logs)
        return made

    def _jackknife(
        self, beta: float, function: Callable[[Array, Array], Array]
    ) -> tuple[Array, Array]:
        """function(sums (moments, ..., levels), weights) and the error of its k numbers."""
        g = self.inefficiency
        total = sum(h.sums.sum(axis=1) / g[k] for k, h in enumerate(self.histograms))
        full = function(np.asarray(total), self.weights(beta))
        bias, variance = np.zeros_like(full), np.zeros_like(full)
        for k, (histogram, logs) in enumerate(
            zip(self.histograms, self._leaving_one_out, strict=True)
        ):
            blocks = len(logs)
            log = logs - beta * self.energies
            w = np.exp(log - log.max(axis=1, keepdims=True))
            rest = np.asarray(total)[:, None] - histogram.sums / g[k]  # (moments, blocks, levels)
            samples = function(rest, w)  # (k, blocks)
            bias += (blocks - 1) * (samples.mean(axis=1) - full)
            variance += (blocks - 1) * samples.var(axis=1)
        return np.asarray(full - bias), np.sqrt(variance)

    def _check_overlap(self) -> None:
        """sum_l min(p_k, p_k+1) of the level distributions that the solution gives."""
        n = self.counts.sum(axis=0)
        log = _log_weights(self.counts.sum(axis=1), self.betas, self.energies, self.free_energies)
        p = n * np.exp(
            log + self.free_energies[:, None] - np.outer(self.betas, self.energies)
        )  # (runs, levels), each row sums to 1
        for k, (a, b) in enumerate(itertools.pairwise(p)):
            overlap = float(np.minimum(a, b).sum())
            if not overlap > MIN_OVERLAP:
                h = self.histograms[k]
                own = float(h.sums[0].sum())
                target = self.histograms[k + 1].beta
                raise OutOfRange(h.box.size, h.beta, target, overlap * own, own)


def solve(
    counts: Array, betas: Array, energies: Array, guess: Array, *, steps: int = MAX_STEPS
) -> Array:
    """Free energies (runs,) with f[0] = 0 from counts (runs, levels), by Newton's method.

    The likelihood F(f) = sum_k N_k f_k - sum_l n_l ln sum_k N_k exp(f_k - beta_k E_l) is concave.
    Each step is Newton's or one of the fixed-point iteration of the equations of f, which never
    lowers F: whichever gives the larger F. Stops at TOLERANCE or after `steps`; raises ValueError
    if MAX_STEPS do not suffice."""
    samples, n = counts.sum(axis=1), counts.sum(axis=0)
    f = guess - guess[0]
    p = _likelihood(samples, n, betas, energies, f)[1]
    for _ in range(steps):
        expected = p @ n
        gradient = samples - expected
        if np.abs(gradient / samples).sum() < TOLERANCE:
            return np.asarray(f)
        curvature = np.diag(expected) - (p * n) @ p.T
        newton = f.copy()  # f[0] stays
        newton[1:] += np.linalg.lstsq(curvature[1:, 1:], gradient[1:], rcond=None)[0]
        mapped = f - np.log(np.maximum(expected, 1e-300) / samples)
        tried = [newton, mapped - mapped[0]]
        made = [_likelihood(samples, n, betas, energies, x) for x in tried]
        best = int(made[1][0] > made[0][0] or not np.isfinite(made[0][0]))
        f, p = tried[best], made[best][1]
    if steps == MAX_STEPS and np.abs((samples - p @ n) / samples).sum() > 1e3 * TOLERANCE:
        raise ValueError(
            f"free energies did not converge in {steps} steps; put betas closer together"
        )
    return np.asarray(f)


def _likelihood(
    samples: Array, n: Array, betas: Array, energies: Array, f: Array
) -> tuple[float, Array]:
    """F, and p (runs, levels): the probability that a sample of level l is of run k."""
    exponent = np.log(samples)[:, None] + f[:, None] - np.outer(betas, energies)
    top = exponent.max(axis=0)
    p = np.exp(exponent - top)
    total = p.sum(axis=0)
    return float(samples @ f - n @ (top + np.log(total))), p / total


def _log_weights(samples: Array, betas: Array, energies: Array, f: Array) -> Array:
    """-ln sum_k N_k exp(f_k - beta_k E_l), (levels,)."""
    exponent = np.log(samples)[:, None] + f[:, None] - np.outer(betas, energies)
    return np.asarray(-np.logaddexp.reduce(exponent, axis=0))


def _guess(histograms: Sequence[Histogram]) -> Array:
    """f by the trapezoidal rule, df / dbeta = <E>."""
    betas = np.array([h.beta for h in histograms])
    means = np.array([h.sums[1].sum() / h.sums[0].sum() for h in histograms])
    steps = np.diff(betas) * (means[1:] + means[:-1]) / 2
    return np.concatenate([[0.0], np.cumsum(steps)])


def _check_alike(histograms: Sequence[Histogram]) -> None:
    if len(histograms) < 2:
        raise ValueError(
            f"multi-histogram reweighting needs at least 2 betas, got {len(histograms)}; for one "
            "beta use isingnpu.criticality.reweight"
        )
    first = histograms[0]
    for before, h in itertools.pairwise(histograms):
        if h.beta == before.beta:
            raise ValueError(f"two runs at beta = {h.beta}: merge them first")
        same = (h.box.size, h.box.sites, h.box.lowest, h.box.width, h.sums.shape[2], h.moments)
        other = (first.box.size, first.box.sites, first.box.lowest, first.box.width,
                 first.sums.shape[2], first.moments)  # fmt: skip
        if same != other:
            raise ValueError(
                "histograms must be of one model with the same levels and moments, got "
                f"{other} and {same}; build them with one Box and without `occupied`"
            )
