"""One flat-histogram walk over the energies of an Ising model: the specification, in plain Python.

Step k of walker w turns word k of the walker into a site and a barrier,

    word 2b = x0 | x1 << 32, word 2b + 1 = x2 | x3 << 32 of counter
        (b mod 2^32, b >> 32, w, WANG_LANDAU << 5),
    site = (word >> 40) n >> 24,    u = (word mod 2^40 + 1/2) 2^-40,    barrier = floor(-ln u 2^40)

and flips the site if ln g(E') - ln g(E) < -ln u, which is min(1, g(E) / g(E')); then ln g of the
level it stands on grows by the increment. ln g is kept in whole numbers of 2^-40. Each site is
proposed with a probability that no state changes (unequal by at most n 2^-24), so the walk is in
detailed balance with 1 / g(E).

E = 2 level - B in quanta, B = sum |J| + sum |h|. In a bipartite model without fields g is
symmetric: flipping one sublattice negates the energy. The walk is then confined to
E <= max_i sum_j |J_ij|, where all states still communicate: the spins of a sublattice do not
couple to each other, so they can be set one by one, those that lower the energy first, and for
any two states of the other sublattice that differ in one spin they have a setting with
E <= max_i sum_j |J_ij| in both.

Wang & Landau, Phys. Rev. Lett. 86, 2050 (2001).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isingnpu import rng
from isingnpu.model import Array, IsingModel

# Steps of one call are a multiple of this: kernels draw random numbers in batches.
BATCH = 1024
# ln g = 1 in the units of the walk.
UNIT = 1 << 40
# ln g of levels that were never visited, and of levels that must not be.
UNSEEN, BARRED = -1, 1 << 62
MAX_LEVELS = 1 << 22
MAX_SITES = 1 << 24
SLOTS = 4  # neighbours are read in groups of four

_LN2 = 0.6931471805599453
_ROOT2 = 1.4142135623730951


@dataclass(frozen=True, eq=False)
class Landscape:
    """The model as the walk sees it, energies as levels.

    near, weights: (n * slots,) neighbours and couplings, spare slots with weight 0 and the site
    itself; fields: (n,) int64; total: B; top: last level that may be visited; bound: largest
    change of level; mirrored: E -> -E is a symmetry and levels above E = 0 are redundant."""

    near: NDArray[np.uint32]
    weights: Array
    fields: NDArray[np.int64]
    total: int
    top: int
    bound: int
    mirrored: bool

    @property
    def n(self) -> int:
        return len(self.fields)


@dataclass(eq=False)
class Walker:
    """Where a walk stands: spins (n,) int8, ln_g (levels,) int64, the level, steps done."""

    number: int
    spins: NDArray[np.int8]
    ln_g: NDArray[np.int64]
    level: int
    steps: int = 0


def landscape(model: IsingModel) -> Landscape:
    """Raises ValueError for a model without sites, with couplings or fields that are no multiples
    of one quantum, or with too many levels or sites."""
    quantized, csr = model.quantized, model.csr
    if not 0 < model.n <= MAX_SITES:
        raise ValueError(f"the model has {model.n} sites, a walk needs 1..{MAX_SITES}")
    if quantized.error:
        raise ValueError(
            "couplings and fields must be whole multiples of one number, got values that are not "
            f"(off by {quantized.error:.2g}); round them first"
        )
    total = int(np.abs(quantized.couplings).sum()) // 2 + int(np.abs(quantized.fields).sum())
    if total >= MAX_LEVELS:
        raise ValueError(
            f"the energies span {total + 1} levels, at most {MAX_LEVELS} are allowed; use smaller "
            "integers as couplings"
        )
    degrees = np.diff(csr.indptr)
    slots = SLOTS * max(1, -(-int(degrees.max()) // SLOTS))
    near = np.repeat(np.arange(model.n, dtype=np.uint32)[:, None], slots, axis=1)
    narrow = np.int8 if np.abs(quantized.couplings).max(initial=0) <= 127 else np.int32
    weights = np.zeros((model.n, slots), narrow)
    row = np.repeat(np.arange(model.n), degrees)
    slot = np.arange(row.size) - np.repeat(csr.indptr[:-1], degrees)
    near[row, slot], weights[row, slot] = csr.indices, quantized.couplings
    mirrored = not quantized.fields.any() and len(model.colours) <= 2
    top = min(total, (total + quantized.bound) // 2) if mirrored else total
    return Landscape(
        near.ravel(), weights.ravel(), quantized.fields, total, top, quantized.bound, mirrored
    )


def first_walker(model: IsingModel, land: Landscape, number: int, seed: int) -> Walker:
    """A walker at its first spins, those of replica `number`, or their mirror image."""
    spins = rng.initial_spins([number], model.n, seed)[0]
    level = _level(land, spins)
    if level > land.top:
        spins[model.colours[0]] *= np.int8(-1)
        level = _level(land, spins)
    ln_g = np.full(land.top + 1 + land.bound, UNSEEN, np.int64)
    ln_g[land.top + 1 :] = BARRED
    ln_g[level] = 0
    return Walker(number, spins, ln_g, level)


def _level(land: Landscape, spins: NDArray[np.int8]) -> int:
    s = spins.astype(np.int64)
    pairs = (land.weights * s[land.near]).reshape(land.n, -1).sum(axis=1) @ s
    return int(land.total - pairs // 2 - land.fields @ s) // 2


def walk(land: Landscape, walker: Walker, increment: int, steps: int, seed: int) -> None:
    """`steps`, a multiple of BATCH, more steps with one increment, in place."""
    sites, barriers = proposals(walker.number, land.n, walker.steps, steps, seed)
    near, weights = (part.reshape(land.n, -1) for part in (land.near, land.weights))
    spins, ln_g, level = walker.spins, walker.ln_g, walker.level
    for site, barrier in zip(sites.tolist(), barriers.tolist(), strict=True):
        local = int(land.fields[site]) + int(weights[site].astype(np.int64) @ spins[near[site]])
        there = level + int(spins[site]) * local
        if ln_g[there] == UNSEEN:
            ln_g[there] = ln_g[level]
        if ln_g[there] - ln_g[level] < barrier:
            spins[site] = -spins[site]
            level = there
        ln_g[level] += increment
    walker.level, walker.steps = level, walker.steps + steps


def proposals(
    number: int, n: int, first: int, steps: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sites and barriers of steps first, first + 1, ..., each (steps,); first is even."""
    block = first // 2 + np.arange(steps // 2, dtype=np.uint64)
    c3 = int(rng.Stream.WANG_LANDAU) << 5
    x0, x1, x2, x3 = rng.philox4x32(block, block >> np.uint64(32), number, c3, seed)
    high = np.uint64(32)
    words = np.stack([x0 | x1 << high, x2 | x3 << high], axis=1).ravel()
    sites = ((words >> np.uint64(40)) * np.uint64(n) >> np.uint64(24)).astype(np.int64)
    x = (words & np.uint64((1 << 40) - 1)).astype(np.float64) + 0.5
    return sites, _barriers(x)


def _barriers(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """floor(-ln(x 2^-40) 2^40): ln m = 2 atanh f, f = (m - 1) / (m + 1), by additions,
    multiplications and one division, which IEEE 754 makes the same everywhere."""
    m, e = np.frexp(x)
    m, e = 2 * m, e.astype(np.float64) - 41
    large = m > _ROOT2
    m, e = np.where(large, m * 0.5, m), np.where(large, e + 1.0, e)
    f = (m - 1.0) / (m + 1.0)
    g = f * f
    p = np.full_like(g, 1 / 19)
    for k in (17, 15, 13, 11, 9, 7, 5, 3):
        p = p * g + 1 / k
    p = (p * g + 1.0) * (2.0 * f)
    return np.asarray((p + e * _LN2) * -float(UNIT), np.float64).astype(np.int64)
