"""Replicas as the bits of words with one random integer for all of them: layout shared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Request
from isingnpu.dynamics import HEAT_BATH, Thresholds

from . import planes_sweep, shared_sweep
from .planes import Block, PlanePlan, _pieces
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

    def _sweep(
        self, block: Block, rows: Array, limits: Thresholds, first: int, watch: Any, out: Any
    ) -> Array:
        """All sweeps of one block, into `out`; returns the counts of shared_sweep."""
        every, weights, track = watch
        words = len(block.replicas) // 64
        tally, config = Tally(words), self._configuration(words)
        graph = self._entries(words), self.graph.visits, self.sites, self.sums
        terms = self.edges, self.cuts, self.graph.total
        counts = np.zeros(1, np.int64)
        patterns, *groups = _groups(self.blocks.columns(rows, block.replicas), words)
        falling = falling_thresholds(limits)
        work = np.zeros((16, words), np.uint64), np.zeros(64 * words, np.int64)
        sample = 0
        for start, stop in _pieces(0, len(rows), first, 1 if track else every):
            shared_sweep.sweep_shared(
                config, tally, graph, block.spins, block.flips,
                (falling, limits.bound, patterns[start:stop], *groups),
                (self.keys, first + start), counts,
            )  # fmt: skip
            sampled = every > 0 and (first + stop) % every == 0
            if track or sampled:
                planes_sweep.look(
                    tally, block.spins, self.request.model.n, terms, stop - 1,
                    sample if sampled else -1, block.best, block.energy, block.flips, weights,
                    track, work, out,
                )  # fmt: skip
                sample += sampled
        return counts

    def _configuration(self, words: int) -> Shared:
        graph, request = self.graph, self.request
        return Shared(
            words=words,
            bits=max(graph.digits, int(self.sums.max(initial=0)).bit_length()),
            heat_bath=request.dynamics.heat_bath,
            fixed=graph.fixed,
            block=graph.block,
            digits=graph.digits,
            rounds=request.rounds,
        )


def falling_thresholds(limits: Thresholds) -> Array:
    """(betas, 2^k - 1): T(v) of v = 1, 2, ..., or T(h) from the highest h down; then zeros."""
    table = limits.table[:, ::-1] if limits.heat_bath else limits.table[:, 1:]
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
