"""Random numbers of the machines: which draw a number belongs to, and how many draws a spin makes.

    u[i] = (word >> 8) 2^-24 in [0, 1), word i mod 4 of Philox4x32-10 at
    counter (i // 4, block, step, call | stream << 5), key = seed

so a machine's noise is a function of the seed and of what is decided, on every device. Fields are
float32 sums, whose last bits depend on the device: the numbers are shared, whole trajectories are
reproducible on one device only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from isingnpu.rng import Stream, philox4x32


@dataclass(frozen=True)
class Draw:
    """Names an array of uniform numbers: everything of the counter but the index in the array.

    stream: what it is for; step: training step or batch; block: part of the machine; call: 0..31.
    """

    seed: int
    stream: Stream
    step: int = 0
    block: int = 0
    call: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.call < 32:
            raise ValueError(f"call must lie in 0..31, got {self.call}")

    @property
    def last(self) -> int:
        """The fourth word of the counter."""
        return self.call | int(self.stream) << 5

    def at(self, *, block: int | None = None, call: int | None = None) -> Draw:
        """The same step's draw for another block or call."""
        return replace(
            self,
            block=self.block if block is None else block,
            call=self.call if call is None else call,
        )


@dataclass(frozen=True)
class Stratified:
    """A spin's S draws share one uniform number: draw s is up where (u + s) / S >= 1 - p, so
    that their sum is floor(S p + u)."""

    draws: int = 4

    def __post_init__(self) -> None:
        _check_draws(self.draws)


@dataclass(frozen=True)
class Independent:
    """S independent draws of every spin."""

    draws: int = 1

    def __post_init__(self) -> None:
        _check_draws(self.draws)


Draws = Stratified | Independent


def uniforms(shape: tuple[int, ...], draw: Draw) -> NDArray[np.float32]:
    """The specification: uniform numbers of that shape, multiples of 2^-24 in [0, 1)."""
    size = int(np.prod(shape))
    block = np.arange((size + 3) // 4, dtype=np.uint64)
    words = philox4x32(block, draw.block, draw.step, draw.last, draw.seed)
    flat = np.stack(words, axis=1).reshape(-1)[:size]
    return ((flat >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24)).reshape(shape)


def normals(shape: tuple[int, ...], draw: Draw) -> NDArray[np.float32]:
    """Standard normal numbers: inverse distribution function of (word >> 8 + 1/2) 2^-24."""
    return np.asarray(ndtri(uniforms(shape, draw).astype(np.float64) + 2.0**-25), np.float32)


def _check_draws(draws: int) -> None:
    if not 1 <= draws <= 1024:  # a block of counters each
        raise ValueError(f"a spin makes 1 to 1024 draws, got {draws}")
