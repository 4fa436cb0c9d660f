"""The part of the cuda device that reads text (kernels/machine_text.cu, machine_selectors.cu).

scatter and tally have the bits of the cpu device, which adds in the same order; all other sums are
float32 in an order of their own, always the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .device import Code, scalars
from .launches import THREADS, Launches

Array = Any

TEXT = Code.of("machine_text.cu")
HEADS = Code.of("machine_selectors.cu")
MOST = 1 << 31  # elements of a call: kernels count them by 32 bits
MOST_COLOURS = 256
WARPS, SHARED = 4, 48 << 10  # of a block of selectors, at most


class CudaText(Launches):
    """Implements isingnpu.npu.text_kernels.TextKernels on a device of this backend."""

    def gather(self, tokens: Array, starts: Array, length: int, table: Array, out: Array) -> None:
        n, q, width = table.shape
        runs, size = self._runs(tokens, starts, length)
        self._over_elements(
            size * width, "gather", *runs, *scalars(n, q, width), self._floats(table),
            self._written(out, (size, width)),
        )  # fmt: skip

    def scatter(
        self, tokens: Array, starts: Array, length: int, values: Array, out: Array
    ) -> None:
        size, width = len(starts) * length, out.shape[2]
        self._scatter(tokens, starts, length, self._floats(values, (size, width)), 0, out)

    def _scatter(
        self, tokens: Array, starts: Array, length: int, values: Array, shift: int, out: Array
    ) -> None:
        """out[d, x_{t-1-d}, j] += values[b, d * shift + j], j < H."""
        n, q, width = out.shape
        runs, size = self._runs(tokens, starts, length)
        if not size:
            return
        order = self.device.empty((n, size), np.uint32)
        first = self.device.empty((n, q + 1), np.uint32)
        listed = self.device.kernel(TEXT, "positions_by_token")
        listed((n,), (THREADS,), (*runs, *scalars(_colours(q)), order, first))
        self._over_elements(
            out.size, "scatter", *scalars(size, n, q, width, values.shape[1], shift), order, first,
            values, self._written(out, out.shape),
        )  # fmt: skip

    def output(
        self, tokens: Array, starts: Array, length: int, fields: Array, loss: Array
    ) -> None:
        runs, size = self._runs(tokens, starts, length)
        self._over_elements(
            32 * size, "output", *runs, *scalars(fields.shape[1]),
            self._written(fields, (size, fields.shape[1])), self._written(loss, (size,)),
        )  # fmt: skip

    def tally(self, states: Array, values: Array, out: Array) -> None:
        states = states.astype(np.int16)
        self._tally(states[:, None], values[:, None], self._written(out[None], (1, len(out))))

    def _tally(self, states: Array, values: Array, out: Array) -> None:
        """`tally` of every column of states and values (size, columns); out (columns, bins)."""
        size, columns = states.shape
        self._over_elements(
            out.size, "tally", *scalars(size, columns, out.shape[1]),
            self._typed(states, np.int16), self._floats(values, states.shape), out,
        )  # fmt: skip

    def ngram_fields(
        self,
        rows: Array,
        parts: Array,
        tables: tuple[Array, Array],
        weights: tuple[Array, Array],
        gains: Array,
        out: Array,
        states: Array,
    ) -> None:
        (size, orders), q = rows.shape, out.shape[1]
        whole = [self._floats(array) for array in (*tables, *weights, gains)]
        self._over_elements(
            32 * size, "ngram_fields", *scalars(size, orders, q), np.int32(gains.shape[1]),
            self._typed(rows, np.int32), self._typed(parts, np.int32, rows.shape), *whole,
            self._written(out, (size, q)), self._written(states, rows.shape, np.int16),
        )  # fmt: skip

    def ngram_learn(
        self,
        rows: Array,
        parts: Array,
        tables: tuple[Array, Array],
        weights: tuple[Array, Array],
        states: Array,
        errors: Array,
        rate: float,
        decay: float,
        statistics: Array,
    ) -> None:
        (size, orders), classes, q = rows.shape, statistics.shape[1], errors.shape[1]
        _colours(q)
        # visits of a row lie together, in their order
        visits = self.xp.arange(rows.size, dtype=np.int64)
        keys = self.xp.sort(rows.reshape(-1).astype(np.int64) << 32 | visits)
        overlaps = self._empty(rows.shape)
        self._over_elements(
            32 * rows.size, "ngram_learn", *scalars(rows.size, orders, q), np.int32(classes),
            np.float32(rate), np.float32(decay), keys, self._typed(parts, np.int32, rows.shape),
            self._typed(states, np.int16, rows.shape), self._floats(errors, (size, q)),
            *(self._written(array, array.shape) for array in (*tables, *weights)), overlaps,
        )  # fmt: skip
        added = self._written(statistics, (orders, classes, classes))
        self._tally(states, overlaps, added.reshape(orders, -1))

    def select(
        self,
        tokens: Array,
        starts: Array,
        length: int,
        match: Array,
        bias: Array,
        mass: Array,
        prior: Array,
    ) -> None:
        (reach, q, _), window = match.shape, len(bias)
        runs, size = self._runs(tokens, starts, length)
        self._over_positions(
            size, q, "selector_prior", *runs, *scalars(q, reach, window), self._floats(match),
            self._floats(bias), self._written(mass, (size, q)),
            self._written(prior, (size, window)),
        )  # fmt: skip

    def select_learn(
        self,
        tokens: Array,
        starts: Array,
        length: int,
        prior: Array,
        credit: Array,
        expected: Array,
        distances: Array,
        statistics: Array,
        pull: Array,
    ) -> None:
        (reach, q, _), window = statistics.shape, len(distances)
        runs, size = self._runs(tokens, starts, length)
        sums, pulls = self._empty((size, reach * q)), self._empty((size,))
        self._over_positions(
            size, q, "posterior_minus_prior", *runs, *scalars(q, reach, window),
            self._floats(prior, (size, window)), self._floats(credit, (size, q)),
            self._floats(expected, (size,)), self._floats(distances), sums, pulls,
        )  # fmt: skip
        pull[:] = -pulls.sum()
        self._scatter(tokens, starts, length, sums, q, statistics)

    # Launches

    def _runs(self, tokens: Array, starts: Array, length: int) -> tuple[list[Any], int]:
        """Arguments that name the positions of a batch, and their number."""
        size = len(starts) * length
        where = [self._typed(tokens, np.uint8), self._typed(starts, np.int64)]
        return [*where, *scalars(length, size)], size

    def _over_elements(self, threads: int, name: str, *args: Any) -> None:
        if threads >= MOST:
            raise ValueError(f"{name} of {threads} elements, at most {MOST - 1} are possible")
        self._over(TEXT, threads, name, *args)

    def _over_positions(self, size: int, q: int, name: str, *args: Any) -> None:
        """A warp for every position, with a column of q numbers for every lane."""
        column = 128 * _colours(q)
        warps = min(WARPS, SHARED // column)
        if size:
            kernel, grid = self.device.kernel(HEADS, name), self._grid(size, warps)
            kernel(grid, (32 * warps,), args, shared_mem=warps * column)


def _colours(q: int) -> int:
    if q > MOST_COLOURS:
        raise ValueError(f"at most {MOST_COLOURS} colours are possible, got {q}")
    return q
