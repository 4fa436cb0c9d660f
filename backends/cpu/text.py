"""The cpu device of machines that read text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.npu.units import Unit

from . import machine_selectors as heads
from . import machine_text as code
from . import machine_units as units

Array = NDArray[Any]


class CpuText:
    """Implements isingnpu.npu.text_device.TextDevice."""

    name = "cpu"
    xp = np

    def gather(self, tokens: Array, starts: Array, length: int, table: Array, out: Array) -> None:
        code.gather(tokens, starts, length, table, out)

    def scatter(
        self, tokens: Array, starts: Array, length: int, values: Array, out: Array
    ) -> None:
        code.scatter(tokens, starts, length, values, out)

    def mean(self, unit: Unit, fields: Array, out: Array) -> None:
        units.mean(unit.kind, unit.levels, fields.reshape(-1), out.reshape(-1))

    def displacement(
        self, unit: Unit, fields: Array, feedback: Array, beta: float, out: Array
    ) -> None:
        units.displacement(
            unit.kind,
            unit.levels,
            fields.reshape(-1),
            feedback.reshape(-1),
            fields.dtype.type(beta),
            out.reshape(-1),
        )

    def output(
        self, tokens: Array, starts: Array, length: int, fields: Array, loss: Array
    ) -> None:
        code.output(tokens, starts, length, fields, loss)

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
        scale: float,
        statistics: Array,
    ) -> None:
        real = errors.dtype.type
        numbers = real(rate), real(decay), real(scale)
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
    ) -> float:
        numbers = credit, expected, distances
        return float(heads.learn(tokens, starts, length, prior, *numbers, statistics))

    def interpolate(
        self,
        contexts: Array,
        low: int,
        grams: tuple[Array, Array, Array],
        masses: tuple[Array, Array],
        n_classes: int,
        probabilities: Array,
        states: Array,
    ) -> None:
        code.interpolate(contexts, low, *grams, *masses, n_classes, probabilities, states)


device = CpuText()
