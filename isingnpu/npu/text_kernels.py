"""What a device does for machines that read text: kernels over runs of consecutive positions.

A batch is `starts`, int64, and a `length`: position b = run * length + i is t = starts[run] + i
and sees the tokens before it. Arrays are float32, or all float64 on the cpu, and contiguous;
results go into the arrays that are said to change. Tokens are uint8, q colours of them.
"""

from __future__ import annotations

from typing import Any, Protocol

Array = Any  # of numpy or cupy


class TextKernels(Protocol):
    """The part of isingnpu.npu.device.Device that reads text."""

    def gather(self, tokens: Array, starts: Array, length: int, table: Array, out: Array) -> None:
        """out[b] += sum_d table[d, x_{t-1-d}], table (n, q, H)."""

    def scatter(
        self, tokens: Array, starts: Array, length: int, values: Array, out: Array
    ) -> None:
        """out[d, x_{t-1-d}] += values[b], in the order of b: out (n, q, H), values (B, H)."""

    def output(
        self, tokens: Array, starts: Array, length: int, fields: Array, loss: Array
    ) -> None:
        """fields (B, q) become delta - p of the output spin, loss[b] -log p(x_t)."""

    def tally(self, states: Array, values: Array, out: Array) -> None:
        """out[s] += the sum of the values[b] with states[b] = s, added in the order of b in
        float64; states (B,) below 2^15."""

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
        """out[b] += sum_k gains[k, s] (table[row] - part[mine]); states[b, k] becomes s, int16.
        rows and parts (B, orders) int32."""

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
        """The local rule of the rows, which change with their weights; adds the statistics of
        their gains."""

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
        """Heat bath of a selector: prior (B, W) becomes P(a) of key j = a - t + W, mass (B, q)
        the probability that a colour is selected. match (L, q, q), bias (W,)."""

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
        """statistics (L, q, q) += posterior minus prior of the match couplings; pull (1,) becomes
        that of kappa. credit (B, q), expected (B,), distances (W,)."""
