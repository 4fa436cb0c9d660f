"""Where a machine that reads text computes: kernels over runs of consecutive positions.

A backend offers them as the module attribute `isingnpu.backends.<name>.text.device`. A batch is
`starts`, int64, and a `length`: position b = run * length + i is t = starts[run] + i and sees the
tokens before it. Arrays are float32 or all float64, contiguous; results go into the last arrays.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from isingnpu.backend import find_part
from isingnpu.npu.units import Unit

Array = Any


class TextDevice(Protocol):
    """Kernels of a machine that reads text."""

    name: str
    xp: Any

    def gather(self, tokens: Array, starts: Array, length: int, table: Array, out: Array) -> None:
        """out[b] += sum_d table[d, x_{t-1-d}], table (n, q, H)."""

    def scatter(
        self, tokens: Array, starts: Array, length: int, values: Array, out: Array
    ) -> None:
        """out[d, x_{t-1-d}] += values[b]."""

    def mean(self, unit: Unit, fields: Array, out: Array) -> None:
        """Expected states of hidden spins."""

    def displacement(
        self, unit: Unit, fields: Array, feedback: Array, beta: float, out: Array
    ) -> None:
        """(mean(f + beta k) - mean(f - beta k)) / (2 beta)."""

    def output(
        self, tokens: Array, starts: Array, length: int, fields: Array, loss: Array
    ) -> None:
        """fields become delta - p of the output spin, loss[b] = -log p(x_t)."""

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
        """out[b] += sum_k gains[k, s] (table[row] - part[mine]); states[b, k] = s."""

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
        """The local rule of the rows, and the statistics of their gains."""

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
        """Heat bath of a selector: prior (B, W) P(a) of key j = a - t + W, mass (B, q)."""

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
        """Adds posterior minus prior of the match couplings; returns that of kappa."""

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
        """Probabilities (n, 2, q) and states (n, 2) of a count field from its contexts
        (n, K + 1), (pointers, symbols, values) and (gammas, classes)."""


def find_text_device(name: str = "auto") -> TextDevice:
    """The text kernels of a backend; "auto" is cpu, the one that has them.

    Raises ValueError for an unknown backend, BackendUnavailable with the reason otherwise."""
    if name == "auto":
        name = "cpu"
    return cast(TextDevice, find_part(name, "text", "machines that read text"))
