"""Dynamics as data: a rule is a table of 64-bit integer thresholds.

A decision compares a random integer r, uniform in 0..2^64-1, with a threshold T. Fields are in
quanta q of `IsingModel.quantized`: h = sum_j J_ij s_j + h_i and v = s_i h, so flipping s_i costs
dE = 2 q v.

    Metropolis:  flip if v <= 0, else iff r < T(v),   T(v) = floor(2^64 exp(-2 beta q v))
    heat bath:   s_i = +1 iff r < T(h),               T(h) = floor(2^64 / (1 + exp(-2 beta q h)))

Table models evaluate T in float64 here, once; kernels get integers only. Fixed-point models (bound
above 2^14 quanta) use an integer exponential instead, exact to 2^-48:

    C = round(2 beta q log2(e) 2^80),  y = v (C >> 32) + (v (C mod 2^32) >> 32),  n = y >> 48
    e(v) = 0 if n >= 64 else (E_0[y_47..40] mulhi E_1[y_39..32] ... mulhi E_5[y_7..0]) >> n
    Metropolis T(v) = e(v);  heat bath: s_i = +1 iff r + (r mulhi e(|h|)) < (2^64 if h >= 0 else e)

which is r < 2^64 / (1 + e) and r < 2^64 e / (1 + e) without a division.

Cluster moves join two spins of a satisfied bond, J_ij s_i s_j > 0, iff r < T(|J_ij|) with
T(J) = floor(2^64 (1 - exp(-2 beta q J))). Swendsen-Wang flips each cluster of a sweep with
probability 1/2; Wolff flips the cluster of a random site.

Metropolis et al., J. Chem. Phys. 21, 1087 (1953); Glauber, J. Math. Phys. 4, 294 (1963);
Swendsen, Wang, Phys. Rev. Lett. 58, 86 (1987); Wolff, Phys. Rev. Lett. 62, 361 (1989).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.model import Quantized

Array = NDArray[np.float64]
_EXACT = Context(prec=60)
_PRECISION = 256  # bits of log2(e) behind the point
_BINS = 1024
# Relative slack of the early decisions; thresholds are exact to 2^-48.
_SLACK = 2.0**-40


@dataclass(frozen=True)
class Dynamics:
    """A rule. heat_bath: a single-spin rule that draws the new spin instead of a flip.
    clusters: 0 for single-spin rules and Swendsen-Wang, which flips clusters of all sites; for
    Wolff, how many are grown and flipped per sweep. The number is fixed: stopping when enough
    spins have flipped would make large clusters, and so some states, the likelier last ones."""

    name: str
    heat_bath: bool = False
    clusters: int = 0

    @property
    def moves_clusters(self) -> bool:
        """Whether it is no single-spin rule."""
        return self.name in CLUSTER_DYNAMICS

    def flip_probability(self, energy_change: ArrayLike, beta: float) -> Array:
        """Probability that a visited spin flips when the flip costs `energy_change`.

        ValueError for cluster moves, which no single energy change decides."""
        if self.moves_clusters:
            raise ValueError(f"{self.name} flips clusters, not single spins")
        x = beta * np.asarray(energy_change, np.float64)
        if self.heat_bath:
            return np.asarray(0.5 * (1.0 - np.tanh(0.5 * x)))
        return np.asarray(np.exp(-np.maximum(x, 0.0)))


METROPOLIS = Dynamics("metropolis", heat_bath=False)
HEAT_BATH = Dynamics("heat-bath", heat_bath=True)
DYNAMICS = {"metropolis": METROPOLIS, "heat-bath": HEAT_BATH, "glauber": HEAT_BATH}
CLUSTER_DYNAMICS = ("swendsen-wang", "wolff")


def get_dynamics(name: str | Dynamics, clusters: int = 1) -> Dynamics:
    """The rule of that name: "metropolis", "heat-bath" or its other name "glauber",
    "swendsen-wang", or "wolff" with that many clusters per sweep."""
    if isinstance(name, Dynamics):
        return name
    if name in CLUSTER_DYNAMICS:
        return Dynamics(name, clusters=clusters if name == "wolff" else 0)
    if name not in DYNAMICS:
        allowed = ", ".join((*DYNAMICS, *CLUSTER_DYNAMICS))
        raise ValueError(f"unknown dynamics {name!r}, allowed are {allowed}")
    return DYNAMICS[name]


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Thresholds of one rule for k distinct betas, the only form in which kernels see beta.

    table: (k, bound + 1) for Metropolis, (k, 2 bound + 1) for heat bath, indexed by v or by
    h + bound; (k, 0) for fixed-point models, which use constant (k, 2) = (C >> 32, C mod 2^32)
    and cutoff (k,), the smallest v with e(v) = 0.
    early: (k, bins) first-byte bounds lo | hi << 16 for bin clip((x >> shift) + origin): a first
    byte below lo accepts, above hi rejects, between them the exact comparison decides.
    """

    heat_bath: bool
    bound: int
    table: NDArray[np.uint64]
    constant: NDArray[np.uint64]
    cutoff: NDArray[np.int64]
    early: NDArray[np.int32]
    shift: NDArray[np.int64]
    origin: int


def thresholds(dynamics: Dynamics, betas: ArrayLike, model: Quantized) -> Thresholds:
    """Thresholds for betas (k,), each finite and >= 0 (ValueError otherwise)."""
    beta = check_betas(betas)
    if model.table:
        return _table_thresholds(dynamics, beta, model)
    return _fixed_thresholds(dynamics, beta, model)


def bond_thresholds(betas: ArrayLike, magnitudes: ArrayLike, quantum: float) -> NDArray[np.uint64]:
    """T = floor(2^64 (1 - exp(-2 beta quantum |J|))), capped at 2^64 - 1, for betas (k,) and
    coupling magnitudes (m,) in quanta: (k, m)."""
    size = np.asarray(magnitudes, np.float64)
    with np.errstate(over="ignore"):
        return _to_u64(-np.expm1(-2.0 * check_betas(betas)[:, None] * quantum * size))


def check_betas(betas: ArrayLike) -> Array:
    """`betas` as float64, or ValueError naming the first that is negative or not finite."""
    beta = np.asarray(betas, np.float64) + 0.0  # -0.0 becomes 0.0
    bad = np.argwhere(~(np.isfinite(beta) & (beta >= 0)))
    if len(bad):
        at = tuple(int(k) for k in bad[0])
        where = f"[{', '.join(map(str, at))}]" if at else ""
        raise ValueError(f"beta{where} = {beta[at]}: inverse temperatures are finite and >= 0")
    return beta


def threshold_digest(dynamics: Dynamics, betas: ArrayLike, model: Quantized) -> str:
    """SHA-256 of the integers that decide for these betas, in ascending order of beta."""
    distinct = np.unique(check_betas(betas))
    digest = hashlib.sha256(dynamics.name.encode())
    magnitudes = np.unique(np.abs(model.couplings))
    for start in range(0, len(distinct), 256):
        some = distinct[start : start + 256]
        if dynamics.moves_clusters:
            table = bond_thresholds(some, magnitudes, model.quantum)
            digest.update(table.astype("<u8").tobytes())
        elif model.table:
            digest.update(_table(dynamics, some, model).astype("<u8").tobytes())
        else:
            constants = [fixed_point_constant(float(b), model.quantum) for b in some]
            digest.update(b"".join(c.to_bytes(12, "little") for c in constants))
    return digest.hexdigest()


def _table(dynamics: Dynamics, beta: Array, model: Quantized) -> NDArray[np.uint64]:
    """floor(2^64 p) per beta and field value."""
    if dynamics.heat_bath:
        field = np.arange(-model.bound, model.bound + 1)
        with np.errstate(over="ignore"):
            return _to_u64(1.0 / (1.0 + np.exp(-2.0 * beta[:, None] * model.quantum * field)))
    uphill = np.arange(model.bound + 1)
    return _to_u64(np.exp(-2.0 * beta[:, None] * model.quantum * uphill))


def _table_thresholds(dynamics: Dynamics, beta: Array, model: Quantized) -> Thresholds:
    bound, table = model.bound, _table(dynamics, beta, model)
    if dynamics.heat_bath:
        early, origin = (table >> np.uint64(56)).astype(np.int32), bound
    else:
        # bins: v < 0, v = 0, v = 1 .. bound; 256 accepts every byte
        early = np.full((len(beta), bound + 2), 256, np.int32)
        early[:, 2:] = (table[:, 1:] >> np.uint64(56)).astype(np.int32)
        origin = 1
    return Thresholds(
        heat_bath=dynamics.heat_bath,
        bound=bound,
        table=table,
        constant=np.zeros((len(beta), 2), np.uint64),
        cutoff=np.zeros(len(beta), np.int64),
        early=early | early << 16,
        shift=np.zeros(len(beta), np.int64),
        origin=origin,
    )


def _to_u64(p: Array) -> NDArray[np.uint64]:
    """floor(2^64 p), capped at 2^64 - 1."""
    scaled = np.ldexp(p, 64)
    full = scaled >= 2.0**64
    table = np.where(full, 0.0, scaled).astype(np.uint64)
    table[full] = np.uint64(2**64 - 1)
    return table


def _fixed_thresholds(dynamics: Dynamics, beta: Array, model: Quantized) -> Thresholds:
    whole = [fixed_point_constant(float(b), model.quantum) for b in beta]
    early, shift, origin = _fixed_early(dynamics, beta, model)
    return Thresholds(
        heat_bath=dynamics.heat_bath,
        bound=model.bound,
        table=np.zeros((len(beta), 0), np.uint64),
        constant=np.array([(c >> 32, c & 0xFFFFFFFF) for c in whole], np.uint64).reshape(-1, 2),
        cutoff=np.array([_cutoff(c) for c in whole], np.int64),
        early=early,
        shift=shift,
        origin=origin,
    )


def fixed_point_constant(beta: float, quantum: float) -> int:
    """C = round(2 beta quantum log2(e) 2^80) from log2(e) to 256 bits, capped at 2^95: from there
    on every v > 0 has e(v) = 0. A quotient of whole numbers, which floats are exactly."""
    a, b = beta.as_integer_ratio()
    c, d = quantum.as_integer_ratio()
    above, below = 2 * a * c * _log2_e(), (b * d) << (_PRECISION - 80)
    return min((2 * above + below) // (2 * below), 1 << 95)


@lru_cache(maxsize=1)
def _log2_e() -> int:
    """round(log2(e) 2^256)."""
    context = Context(prec=120)
    return round(context.divide(Decimal(1 << _PRECISION), context.ln(Decimal(2))))


def _cutoff(constant: int) -> int:
    """Smallest v >= 1 with n = y >> 48 >= 64; 2^62 if none below."""
    if constant == 0:
        return 1 << 62
    v = max(1, (1 << 86) // constant - 2)
    while v * (constant >> 32) + (v * (constant & 0xFFFFFFFF) >> 32) < 1 << 54:
        v += 1
    return min(v, 1 << 62)


def fixed_point_exponential(v: int, constant: int) -> int:
    """e(v) = 2^64 exp(-2 beta q v) to 2^-48, for v >= 0, in whole numbers."""
    y = v * (constant >> 32) + (v * (constant & 0xFFFFFFFF) >> 32)
    n = y >> 48
    if n >= 64:
        return 0
    table = exponential_tables()
    e = int(table[0, y >> 40 & 255])
    for k in range(1, 6):
        e = e * int(table[k, y >> (40 - 8 * k) & 255]) >> 64
    return e >> n


@lru_cache(maxsize=1)
def exponential_tables() -> NDArray[np.uint64]:
    """E_k[x] = min(floor(2^(64 - x / 256^(k + 1))), 2^64 - 1), shape (6, 256)."""
    ln2, full = _EXACT.ln(Decimal(2)), Decimal(2**64)
    table = np.zeros((6, 256), np.uint64)
    for k in range(6):
        for x in range(256):
            exponent = _EXACT.divide(_EXACT.multiply(-ln2, Decimal(x)), Decimal(256 ** (k + 1)))
            value = int(_EXACT.multiply(full, _EXACT.exp(exponent)))
            table[k, x] = np.uint64(min(value, 2**64 - 1))
    return table


def _fixed_early(
    dynamics: Dynamics, beta: Array, model: Quantized
) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
    """First-byte bounds over bins of field values; wide enough to be certain (_SLACK)."""
    scale = 2.0 * beta * model.quantum
    with np.errstate(divide="ignore"):
        reach = np.minimum(float(model.bound), 6.0 / scale)  # beyond, the byte is 0 (or 255)
    shift = np.maximum(0, np.ceil(np.log2((reach + 1) / _BINS))).astype(np.int64)
    width = np.ldexp(1.0, shift)[:, None]
    if dynamics.heat_bath:
        low = (np.arange(2 * _BINS + 2) - _BINS - 1) * width  # smallest h of each bin
        high = low + width - 1
        low[:, 0], high[:, -1] = -np.inf, np.inf
        with np.errstate(over="ignore", invalid="ignore"):
            least = np.nan_to_num(1.0 / (1.0 + np.exp(-scale[:, None] * low)), nan=0.0)
            most = np.nan_to_num(1.0 / (1.0 + np.exp(-scale[:, None] * high)), nan=1.0)
        return _first_bytes(least, most), shift, _BINS + 1
    low = (np.arange(_BINS + 2) - 1) * width
    high = low + width - 1
    high[:, -1] = np.inf
    with np.errstate(invalid="ignore"):
        least = np.nan_to_num(np.exp(-scale[:, None] * np.maximum(high, 0.0)), nan=0.0)
        most = np.exp(-scale[:, None] * np.maximum(low, 0.0))
    early = _first_bytes(least, most)
    early[:, 0] = 256 | 256 << 16  # v < 0 always flips
    early[:, 1] = (early[:, 1] & 0xFFFF) | 256 << 16  # holds v = 0, which the exact path accepts
    return early, shift, 1


def _first_bytes(least: Array, most: Array) -> NDArray[np.int32]:
    lo = np.floor(256.0 * least * (1.0 - _SLACK)).astype(np.int32)
    hi = np.minimum(np.floor(256.0 * most * (1.0 + _SLACK)), 256).astype(np.int32)
    return np.asarray(lo | hi << 16, np.int32)
