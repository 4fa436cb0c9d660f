"""The part of the cpu device that reads text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import machine_selectors as heads
from . import machine_text as code

Array = NDArray[Any]


class CpuText:
    """Implements isingnpu.npu.text_kernels.TextKernels."""

    def gather(self, tokens: Array, starts: Array, length: int, table: Array, out: Array) -> None:
        code.gather(tokens, starts, length, table, out)

    def scatter(
        self, tokens: Array, starts: Array, length: int, values: Array, out: Array
    ) -> None:
        code.scatter(tokens, starts, length, values, out)

    def output(
        self, tokens: Array, starts: Array, length: int, fields: Array, loss: Array
    ) -> None:
        code.output(tokens, starts, length, fields, loss)

    def tally(self, states: Array, values: Array, out: Array) -> None:
        out += np.bincount(states, weights=values, minlength=len(out))

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
        code.ngram_fields(rows, parts, *tables, *weights, gains, out, states)

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
        real = errors.dtype.type
        numbers = real(rate), real(decay)
        code.ngram_learn(rows, parts, *tables, *weights, states, errors, *numbers, statistics)

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
        heads.select(tokens, starts, length, match, bias, mass, prior)

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
        numbers = credit, expected, distances
        pull[0] = heads.learn(tokens, starts, length, prior, *numbers, statistics)
