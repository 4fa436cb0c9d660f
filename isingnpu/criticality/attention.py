"""How near to its critical scale a matrix of attention scores is, by every marker there is.

Each marker says what it is (`MARKERS`):

    identity    exact for the given row: H, dH/dbeta = -beta Var, C = beta^2 Var, Y2, max p, and
                the beta at which C is largest
    reference   the same averages of the random-energy model at finite N, with errors
    formula     a limit N -> infinity applied to a finite row: beta* = sqrt(2 ln n_eff) / sigma
                with n_eff = n and with n_eff = exp(H(beta*)), which differ by up to sqrt 2 and are
                given together; the gap-counting scale
    sample      estimated from the spread over the rows that were given
    fitted      a formula with constants that somebody chose: the guard rail

No marker is a phase transition: rows are finite, and the markers differ by 30 % to 40 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.criticality.random_energy import RATIOS, DisorderAverage, disorder_average
from isingnpu.criticality.softmax import (
    Softmax,
    check_scores,
    gap_counting_beta,
    heat_capacity_peak,
    keys_beta,
    score_deviation,
    self_consistent_beta,
    softmax,
)

Array = NDArray[np.float64]

# Rows below this number give no spread worth printing: its error is 13 % at 30 rows.
SPREAD_ROWS = 30

MARKERS = {
    "entropy": ("identity", "H at beta, nats"),
    "entropy_slope": ("identity", "dH/dbeta = -beta Var"),
    "participation": ("identity", "Y2 = sum p^2 at beta"),
    "largest": ("identity", "max p at beta"),
    "heat_capacity_beta": ("identity", "beta of the largest C = beta^2 Var of the row"),
    "keys_beta": ("formula", "beta* = sqrt(2 ln n) / sigma, n visible keys"),
    "self_consistent_beta": ("formula", "beta* with n_eff = exp(H(beta*))"),
    "gap_beta": ("formula", "sup ln N(g) / g, competitors N(g) within the gap g"),
    "spread_beta": ("sample", "beta / keys_beta at which H varies most over these rows"),
    "guard_rail": ("fitted", "max(u, u_min)^-nu, u = |beta - keys_beta| / keys_beta"),
    "reference": ("reference", "normal scores at the median n, beta / keys_beta"),
}


@dataclass(frozen=True, eq=False)
class CriticalScale:
    """beta* = sqrt(2 ln n_eff) / sigma in both readings, (...) each: they belong together.

    keys: n_eff = n, the freezing point of normal scores. self_consistent: n_eff = exp(H(beta*)).
    """

    keys: Array
    self_consistent: Array

    @property
    def ratio(self) -> Array:
        """self_consistent / keys, (...): 1 / sqrt 2 for normal scores and n -> infinity."""
        return np.asarray(self.self_consistent / self.keys)

    def __str__(self) -> str:
        return (
            f"beta* = {_median(self.keys)} with n_eff = n, "
            f"{_median(self.self_consistent)} with n_eff = exp(H(beta*)), "
            f"ratio {_median(self.ratio)}"
        )


def critical_scale(scores: ArrayLike) -> CriticalScale:
    """Both readings of beta* = sqrt(2 ln n_eff) / sigma for scores (..., N); see the parts,
    `keys_beta` and `self_consistent_beta`, for rows of equal scores or of one key."""
    return CriticalScale(keys_beta(scores), self_consistent_beta(scores))


def guard_rail(
    beta: ArrayLike, beta_c: ArrayLike, *, nu: float = 1.0, u_min: float = 0.05
) -> Array:
    """zeta = max(u, u_min)^-nu with u = |beta - beta_c| / beta_c: a limit on step sizes.

    Not a correlation length: a row of scores has no distances, hence no length and no exponent;
    nu and u_min are chosen, and zeta never exceeds u_min^-nu. Lengths are measured by
    isingnpu.criticality.attention_graph. Raises ValueError unless beta_c > 0, u_min > 0, nu >= 0.
    """
    center = np.asarray(beta_c, np.float64)
    if not np.all(center > 0) or not u_min > 0 or not nu >= 0:
        raise ValueError(
            f"need beta_c > 0, u_min > 0 and nu >= 0, got beta_c = {beta_c!r}, "
            f"u_min = {u_min}, nu = {nu}"
        )
    u = abs(np.asarray(beta, np.float64) - center) / center
    return np.asarray(np.maximum(u, u_min) ** -nu)


def spread_peak(scores: ArrayLike, ratios: ArrayLike = RATIOS) -> tuple[float, Array]:
    """(ratio b of the largest spread, spread (len(ratios),)) over all rows of scores (..., N).

    The spread is the deviation over rows of H at beta = b sqrt(2 ln n) / sigma, sigma each row's
    own; b is nan where it only grows, or only falls, within the ratios. Raises ValueError unless
    there are 30 rows that see the same number of keys, none with all scores equal."""
    s = check_scores(scores)
    s = s.reshape(-1, s.shape[-1])
    unit = keys_beta(s)
    counts = np.unique((s > -np.inf).sum(axis=1))
    if len(s) < SPREAD_ROWS or counts.size > 1 or not np.all((unit > 0) & (unit < np.inf)):
        raise ValueError(
            f"a spread needs at least {SPREAD_ROWS} rows of one number of keys with scores that "
            f"differ, got {len(s)} rows of {counts[0]} .. {counts[-1]} keys; stack more heads"
        )
    b = np.asarray(ratios, np.float64)
    spread = np.array([softmax(s, x * unit).entropy.std(ddof=1) for x in b])
    peak = int(np.argmax(spread))
    return float(b[peak]) if 0 < peak < len(b) - 1 else float("nan"), spread


@dataclass(frozen=True, eq=False)
class AttentionCriticality:
    """All markers of one score matrix; arrays have one entry per row, (...). See `MARKERS`.

    at: the averages at the given beta; heat_capacity_beta, gap_beta: (...); guard_rail: (...)
    with nu and u_min as given; spread_beta: one number in units of keys_beta, nan without 30 rows
    of the same n or without a peak; reference: normal scores at n = the median number of visible
    keys, None if not asked for."""

    at: Softmax
    sigma: Array
    scale: CriticalScale
    heat_capacity_beta: Array
    gap_beta: Array
    guard_rail: Array
    nu: float
    u_min: float
    spread_beta: float
    reference: DisorderAverage | None

    @property
    def ratio(self) -> Array:
        """b = beta / keys_beta, (...): below 1 the row is on the disordered side."""
        return np.asarray(self.at.beta / self.scale.keys)

    def __str__(self) -> str:
        """One line per marker: kind, name, median over rows (16 % .. 84 %), meaning."""
        columns = {
            "entropy": self.at.entropy,
            "entropy_slope": self.at.entropy_slope,
            "participation": self.at.participation,
            "largest": self.at.largest,
            "heat_capacity_beta": self.heat_capacity_beta,
            "keys_beta": self.scale.keys,
            "self_consistent_beta": self.scale.self_consistent,
            "gap_beta": self.gap_beta,
            "spread_beta": np.array(self.spread_beta),
            "guard_rail": self.guard_rail,
        }
        lines = [
            f"{kind:10}{name:22}{_median(columns[name]):28}{meaning}"
            for name, (kind, meaning) in MARKERS.items()
            if name in columns
        ]
        lines.append(
            f"beta = {_median(self.at.beta)}, b = beta / keys_beta = {_median(self.ratio)}"
        )
        lines.append(f"guard rail with nu = {self.nu:g}, u_min = {self.u_min:g}, both chosen")
        if self.reference is not None:
            kind, meaning = MARKERS["reference"]
            lines += [f"{kind:10}{meaning}:", *_reference_lines(self.reference)]
        return "\n".join(lines)


def _reference_lines(r: DisorderAverage) -> list[str]:
    b = float(r.b[0])
    names = {"entropy": "H / ln n", "participation": "Y2", "largest": "max p"}
    values = [f"{meaning} = {r.at(name, b)}" for name, meaning in names.items()]
    return [f"  n = {r.n}, b = {b:.4g}, {r.draws} draws: {', '.join(values)}"]


def attention_criticality(
    scores: ArrayLike,
    beta: ArrayLike,
    *,
    nu: float = 1.0,
    u_min: float = 0.05,
    reference_draws: int = 0,
    seed: int = 0,
) -> AttentionCriticality:
    """All markers of scores (..., N), for example (layers, heads, queries, keys), at beta (...).

    beta: inverse temperature that multiplies the scores, 1 / sqrt(d_k) for raw q . k, 1 if they
    are scaled already. Masked keys are -inf; a causal row counts its visible keys only.
    nu, u_min: constants of `guard_rail`. reference_draws: rows of normal scores that are averaged
    for `reference` at the median n and the median b; 0 for none. Raises ValueError as `softmax`,
    or where a row has all scores equal or one key (sigma = 0: no scale; leave such rows out)."""
    s = check_scores(scores)
    sigma = score_deviation(s)
    flat = np.argwhere(sigma == 0)
    if len(flat):
        row = [int(k) for k in flat[0]]
        raise ValueError(
            f"row {row} of scores has one visible key or equal scores, so it has no scale; "
            "leave such rows out (the first row of a causal mask is one)"
        )
    at = softmax(s, beta)
    scale = critical_scale(s)
    spread = float("nan")
    if at.n.size >= SPREAD_ROWS and np.all(at.n == at.n.flat[0]):
        spread = spread_peak(s)[0]
    reference = None
    b = float(np.median(at.beta / scale.keys))
    if reference_draws:
        reference = disorder_average(int(np.median(at.n)), [b], draws=reference_draws, seed=seed)
    return AttentionCriticality(
        at=at,
        sigma=sigma,
        scale=scale,
        heat_capacity_beta=heat_capacity_peak(s)[0],
        gap_beta=gap_counting_beta(s),
        guard_rail=guard_rail(at.beta, scale.keys, nu=nu, u_min=u_min),
        nu=nu,
        u_min=u_min,
        spread_beta=spread,
        reference=reference,
    )


def _median(x: Array) -> str:
    """Median over rows, with the 16 % and 84 % quantiles where there are several rows."""
    if x.size == 1:
        return f"{float(x.reshape(())):.4g}"
    low, middle, high = np.quantile(x, [0.16, 0.5, 0.84])
    return f"{middle:.4g} ({low:.4g} .. {high:.4g})"
