"""The kernel that everybody writes first, as a yardstick: one byte per spin, a checkerboard,
Metropolis with a table of five thresholds and a xorshift generator, on a periodic square lattice.

G. Marsaglia, Xorshift RNGs, J. Stat. Softw. 8, 14 (2003).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.bench.clock import Clock, timed

Array = NDArray[Any]
NAME = "int8 checkerboard"


@dataclass(frozen=True, eq=False)
class Checkerboard:
    """A ferromagnet of L x L spins, (L, L) int8 with even L, at betas (sweeps,)."""

    spins: Array
    betas: Array
    clock: Clock

    name = NAME

    def speed(self) -> float:
        """Updates per ns, after one sweep that compiles."""
        sweep = _kernel()
        state = sweep(self.spins, _thresholds(float(self.betas[0])), np.uint64(88172645463325252))
        seconds, _ = timed(self.clock, lambda: self._sweep_all(sweep, state))
        return 1e-9 * self.spins.size * len(self.betas) / seconds

    def _sweep_all(self, sweep: Any, state: Any) -> None:
        for beta in self.betas:
            state = sweep(self.spins, _thresholds(float(beta)), np.uint64(state))


def _thresholds(beta: float) -> Array:
    """(9,) of 2^32 min(1, exp(-2 beta v)) by v + 4, v = s sum of the four neighbours."""
    p = np.exp(-2.0 * beta * np.maximum(np.arange(-4, 5), 0))
    return np.minimum(np.ldexp(p, 32), 2.0**32 - 1).astype(np.uint64)


@lru_cache(maxsize=1)
def _kernel() -> Any:
    """sweep(spins, thresholds, state of the generator) -> its state, as a jitted function."""
    from numba import njit, uint64

    @njit
    def sweep(spins, limits, state):  # type: ignore[no-untyped-def]
        size = spins.shape[0]
        for colour in range(2):
            for i in range(size):
                up = i - 1 if i > 0 else size - 1
                down = i + 1 if i < size - 1 else 0
                for j in range((i + colour) & 1, size, 2):
                    left = j - 1 if j > 0 else size - 1
                    right = j + 1 if j < size - 1 else 0
                    around = spins[up, j] + spins[down, j] + spins[i, left] + spins[i, right]
                    state ^= state << uint64(13)
                    state ^= state >> uint64(7)
                    state ^= state << uint64(17)
                    if state >> uint64(32) < limits[spins[i, j] * around + 4]:
                        spins[i, j] = -spins[i, j]
        return state

    return sweep
