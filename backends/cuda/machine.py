"""The cuda device of machines of hidden spins: `xp` for matrix products, raw kernels for the rest.

Uniform numbers, windows, their transpose and winners have the bits of the cpu device; laws of
spins are float32 with the error bounds of kernels/units.cuh, the same bits on every GPU. What
reads text is in text.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isingnpu.npu.draws import Draw, Draws, Stratified
from isingnpu.npu.units import Unit
from isingnpu.rng import Stream

from . import backend
from .device import Code, scalars
from .launches import THREADS
from .text import CudaText

Array = Any
Lattice = tuple[int, int, int, int]  # images, height, width, channels

UNITS = Code.of("machine_units.cu", ROUNDS=10)
GIBBS = Code.of("machine_gibbs.cu", ROUNDS=10)
GIBBS_THREADS = 128
IMAGES = Code.of("machine_images.cu")
MOST_IMAGES = 65535  # of a launch, the second extent of its grid


class CudaMachine(CudaText):
    """Implements isingnpu.npu.device.Device on a device of this backend."""

    name = "cuda"
    window_bytes = 1 << 28

    def uniforms(self, shape: tuple[int, ...], draw: Draw) -> Array:
        out = self._empty(shape)
        self._over(UNITS, -(-out.size // 4), "uniforms", *_counter(draw), np.int64(out.size), out)
        return out

    def narrow_product(self, a: Array, b: Array) -> Array:
        return a @ b

    def mean(self, unit: Unit, fields: Array, out: Array | None = None) -> Array:
        out = self._result(fields.shape, out)
        size = np.int64(out.size)
        self._over(UNITS, out.size, "mean", *_law(unit), size, self._floats(fields), out)
        return out

    def potential(self, unit: Unit, fields: Array) -> Array:
        out = self._empty(fields.shape)
        size = np.int64(out.size)
        self._over(UNITS, out.size, "potential", *_law(unit), size, self._floats(fields), out)
        return out

    def sample(self, unit: Unit, fields: Array, draws: Draws, draw: Draw) -> Array:
        out = self._empty(fields.shape)
        self._over(
            UNITS, -(-out.size // 4), "sample", *_law(unit), *_shared(draws), *_counter(draw),
            np.int64(out.size), self._floats(fields), out,
        )  # fmt: skip
        return out

    def displacement(
        self,
        unit: Unit,
        fields: Array,
        feedback: Array,
        beta: float,
        out: Array | None = None,
    ) -> Array:
        out = self._result(fields.shape, out)
        self._over(
            UNITS, out.size, "displacement", *_law(unit), np.float32(beta), np.int64(out.size),
            self._floats(fields), self._floats(feedback, fields.shape), out,
        )  # fmt: skip
        return out

    def sampled_displacement(
        self, unit: Unit, fields: Array, feedback: Array, beta: float, draws: Draws, draw: Draw
    ) -> Array:
        out = self._empty(fields.shape)
        self._over(
            UNITS, -(-out.size // 4), "sampled_displacement", *_law(unit), *_shared(draws),
            *_counter(draw), np.float32(beta), np.int64(out.size), self._floats(fields),
            self._floats(feedback, fields.shape), out,
        )  # fmt: skip
        return out

    def gibbs(
        self,
        unit: Unit,
        fields: Array,
        couplings: tuple[Array, Array],
        states: Array,
        betas: tuple[float, ...],
        replicas: int,
        draw: Draw,
        votes: Array | None = None,
    ) -> Array:
        (n, width), (u, b), y = fields.shape, couplings, self.xp.array(states, np.int64)
        hidden, q = self._empty(fields.shape), len(b)
        counted = self._empty((1, 1)) if votes is None else self._written(votes, (n, q))
        output = Draw(draw.seed, Stream.SELECTOR)
        if n:
            self.device.kernel(GIBBS, "gibbs")(
                self._grid(n, 1), (GIBBS_THREADS,),
                (*_law(unit), *scalars(replicas, n, width, q, len(betas)), *_counter(draw),
                 *scalars(output.last, votes is not None), self.xp.asarray(betas, np.float32),
                 self._floats(fields), self._floats(u, (q, width)), self._floats(b, (q,)), hidden,
                 counted, y),
                shared_mem=4 * q,
            )  # fmt: skip
        return y

    def adam(
        self,
        couplings: Array,
        gradient: Array,
        moments: tuple[Array, Array],
        *,
        rate: float,
        decay: float,
        step: int,
        betas: tuple[float, float],
    ) -> None:
        shape, (b1, b2) = couplings.shape, betas
        numbers = (rate, b1, b2, 1 / (1 - b1**step), 1 / (1 - b2**step), decay)
        self._over(
            UNITS, couplings.size, "adam", *map(np.float32, numbers), np.int64(couplings.size),
            self._floats(gradient, shape),
            *(self._written(array, shape) for array in (couplings, *moments)),
        )  # fmt: skip

    def warp(self, images: Array, rows: Array, maps: Array, mean: Array) -> Array:
        n, (height, width) = len(rows), images.shape[1:]
        out = self._empty((n, height, width))
        self._over_images(
            n, height * width, "warp", *scalars(n, height, width), self._floats(images),
            self._rows(rows), self._floats(maps, (n, 6)), self._floats(mean, (height, width)), out,
        )  # fmt: skip
        return out

    def windows(
        self,
        states: Array,
        field: int,
        stride: int,
        rows: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        rows = self.xp.arange(len(states)) if rows is None else rows
        extents, lattice = states.shape[1:], _lattice(states.shape, field, stride)
        shape = len(rows), *lattice, field * field * extents[2]
        patches = self._empty(shape) if out is None else out[: len(rows)]
        self._over_images(
            len(rows), int(np.prod(shape[1:])), "windows",
            *scalars(len(rows), *extents, field, stride, *lattice), self._floats(states),
            self._rows(rows), self._written(patches, shape),
        )  # fmt: skip
        return patches

    def add_windows(self, patches: Array, shape: Lattice, field: int, stride: int) -> Array:
        out, lattice = self._empty(shape), _lattice(shape, field, stride)
        whole = shape[0], *lattice, field * field * shape[3]
        self._over_images(
            shape[0], int(np.prod(shape[1:])), "add_windows",
            *scalars(*shape, field, stride, *lattice), self._floats(patches, whole), out,
        )  # fmt: skip
        return out

    def winners(self, fields: Array) -> tuple[Array, Array]:
        n, height, width, channels = fields.shape
        shape = n, height // 2, width // 2, channels
        largest, index = self._empty(shape), self.device.empty(shape, np.uint8)
        self._over_images(
            n, int(np.prod(shape[1:])), "winners", *scalars(*fields.shape), self._floats(fields),
            largest, index,
        )  # fmt: skip
        return largest, index

    def scatter_winners(self, values: Array, index: Array, shape: Lattice) -> Array:
        out = self._empty(shape)
        pooled = shape[0], shape[1] // 2, shape[2] // 2, shape[3]
        self._over_images(
            shape[0], int(np.prod(shape[1:])), "scatter_winners", *scalars(*shape),
            self._floats(values, pooled), self.xp.ascontiguousarray(index), out,
        )  # fmt: skip
        return out

    def _over_images(self, n: int, size: int, name: str, *args: Any) -> None:
        """A thread for every element of every image, as far as a grid reaches."""
        if n and size:
            grid = -(-size // THREADS), min(n, MOST_IMAGES)
            self.device.kernel(IMAGES, name)(grid, (THREADS,), args)


def _law(unit: Unit) -> list[Any]:
    return [np.int32(unit.kind), np.int32(unit.levels)]


def _shared(draws: Draws) -> list[Any]:
    """Draws that have numbers of their own, draws that share each."""
    together = isinstance(draws, Stratified)
    return [np.int32(1 if together else draws.draws), np.int32(draws.draws if together else 1)]


def _counter(draw: Draw) -> list[Any]:
    return [np.uint64(draw.seed), *scalars(draw.block, draw.step, draw.last)]


def _lattice(shape: tuple[int, ...], field: int, stride: int) -> tuple[int, int]:
    """Sites whose receptive fields fit on (n, height, width, channels)."""
    return (shape[1] - field) // stride + 1, (shape[2] - field) // stride + 1


device = CudaMachine(backend.device)
