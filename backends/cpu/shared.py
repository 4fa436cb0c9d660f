"""Replicas as the bits of words with one random integer for all of them: layout shared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Request
from isingnpu.dynamics import HEAT_BATH, Thresholds

from . import shared_sweep
from .planes import Block, PlanePlan, Watch, scratch
from .planes_code import Tally
from .shared_code import LANES, Shared

Array = NDArray[Any]


class SharedPlan(PlanePlan):
    """States, measurements and blocks of the bit planes; decisions by one comparison per beta.

    Replicas may have betas of their own: each beta of a sweep costs a comparison per visit."""

    kernel = "shared"

    def __init__(self, request: Request) -> None:
        super().__init__(replace(request, dynamics=HEAT_BATH))  # plain sums X for both rules
        self.request = request
        visits = self.graph.visits.astype(np.int64)
        self.sums = 2 * visits[:, 1] - visits[:, 2]  # S = 2 start - parity
        self.sites = np.zeros(-(-len(visits) // LANES) * LANES, np.uint64)
        self.sites[: len(visits)] = visits[:, 0]

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        if request.layout.name != "shared":
            return f"it has no layout {request.layout.name!r}"
        return None

    def _sweep(self, block: Block, rows: Array, limits: Thresholds, watch: Watch, out: Any) -> int:
        """All sweeps of one block, into `out`; returns the calls of Philox."""
        words = len(block.replicas) // 64
        graph = self._entries(words), self.graph.visits, self.sites, self.sums
        patterns, *groups = _groups(self.blocks.columns(rows, block.replicas), words)
        calls: int = shared_sweep.sweep_shared(
            self._configuration(words), Tally(words), graph, block.states,
            (falling_thresholds(limits), limits.bound, patterns, *groups),
            (self.keys, watch[0]), scratch(words), self.terms, watch, out,
        )  # fmt: skip
        return calls

    def _configuration(self, words: int) -> Shared:
        graph, request = self.graph, self.request
        return Shared(
            words=words,
            bits=max(graph.digits, int(self.sums.max(initial=0)).bit_length()),
            heat_bath=request.dynamics.heat_bath,
            fixed=graph.fixed,
            block=graph.block,
            digits=graph.digits,
            far=self._far(words),
            rounds=request.rounds,
        )


def falling_thresholds(limits: Thresholds) -> Array:
    """(betas, 2^k - 1): T(v) of v = 1, 2, ..., or T(h) from the highest h down; then zeros.

    The kernel finds the number of them above r by bisection: ValueError unless they fall."""
    table = limits.table[:, ::-1] if limits.heat_bath else limits.table[:, 1:]
    rising = np.argwhere(table[:, :-1] < table[:, 1:])
    if len(rising):
        row, place = (int(k) for k in rising[0])
        raise ValueError(
            f"thresholds of layout 'shared' must not rise with the cost of a flip: of beta "
            f"number {row + 1} in ascending order {table[row, place]} is followed by "
            f"{table[row, place + 1]}, which rounding does to betas close to 0; take beta = 0 "
            "or backend='reference'"
        )
    places = (1 << table.shape[1].bit_length()) - 1
    falling = np.zeros((len(table), places), np.uint64)
    falling[:, : table.shape[1]] = table
    return falling


def _groups(rows: Array, words: int) -> tuple[Array, Array, Array, Array]:
    """Replicas of one beta: the pattern of each sweep, where the groups of each pattern begin,
    and of each group the row of its beta and its replicas as bits (groups, words)."""
    used, patterns = np.unique(rows, axis=0, return_inverse=True)
    cuts, betas, masks = [0], [], []
    for row in np.broadcast_to(used, (len(used), 64 * words)):
        distinct, member = np.unique(row, return_inverse=True)
        bits = member.reshape(words, 64) == np.arange(len(distinct))[:, None, None]
        betas.append(distinct)
        masks.append(np.packbits(bits, axis=2, bitorder="little").view("<u8")[:, :, 0])
        cuts.append(cuts[-1] + len(distinct))
    if not betas:
        return patterns.ravel(), np.array(cuts), np.zeros(0, np.int64), np.zeros((0, words), "u8")
    return (
        patterns.ravel(), np.array(cuts), np.concatenate(betas).astype(np.int64),
        np.concatenate(masks).astype(np.uint64),
    )  # fmt: skip
