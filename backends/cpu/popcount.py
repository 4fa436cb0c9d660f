"""Dense models with small couplings: fields by counting bits, sixteen replicas at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Request, State

from ..limits import estimates, exact_limits
from . import popcount_sweep
from .blocks import BlockPlan, Blocks, Series, Task
from .kernels import CALLS, FLIPS
from .lanes_limits import round_keys
from .popcount_code import AHEAD, LANES, Popcount

Array = NDArray[Any]

MAX_PLANES = 8  # binary digits of a coupling; with more, updating fields is quicker


@dataclass(eq=False)
class Sixteen:
    """Sixteen replicas, some of which may be padding.

    spins, best: (words, 16) uint64, bit q % 64 of word q // 64 is the q-th site visited, 1 is up;
    tally (3, 16) int64: up spins, flips since the last sample, energies; energy (16,): of best."""

    replicas: range
    spins: Array
    best: Array
    tally: Array
    energy: Array


class PopcountPlan(BlockPlan):
    """Couplings as bit planes of rows; a visit counts the bits that rows and spins share."""

    kernel = "popcount"

    def __init__(self, request: Request) -> None:
        super().__init__(request, Blocks.of(request, LANES, LANES))
        low, gap, planes = _digits(request)
        self.code = Popcount(planes, request.dynamics.heat_bath)
        self.model, self.fields = _model(request, low, gap, planes)
        self.keys = round_keys(request.seed, request.rounds)

    @staticmethod
    def obstacle(request: Request) -> str | None:
        """Why this kernel cannot serve the request, or None."""
        if request.layout.name != "lane":
            return f"it has no layout {request.layout.name!r}"
        if not request.model.is_dense:
            return "fewer than a quarter of all pairs are coupled"
        planes = _digits(request)[2]
        if planes > MAX_PLANES:
            return f"its couplings need {planes} binary digits, more than {MAX_PLANES}"
        return None

    def _block(self, replicas: range, spins: Array, best: Array, flips: Array) -> Sixteen:
        now, lowest = self._words(spins), self._words(best)
        tally, of_best = np.zeros((2, 3, LANES), np.int64)
        for words, out in ((now, tally), (lowest, of_best)):
            popcount_sweep.tallies(self.code, words, self.model, self.fields, out)
        tally[popcount_sweep.FLIPPED] = flips
        return Sixteen(replicas, now, lowest, tally, of_best[popcount_sweep.ENERGY].copy())

    def _state(self, block: Sixteen) -> State:
        flips = block.tally[popcount_sweep.FLIPPED].copy()
        return State(self._spins(block.spins), self._spins(block.best), flips)

    def _words(self, states: Array) -> Array:
        """(words, 16) uint64 from (sites, 16) spins."""
        n = self.request.model.n
        up = np.zeros((-(-n // 64) * 64, LANES), bool)
        up[:n] = states[self.order] > 0
        bytes_ = np.packbits(up.reshape(-1, 64, LANES), axis=1, bitorder="little")
        return np.ascontiguousarray(bytes_.transpose(0, 2, 1)).view(np.uint64)[:, :, 0]

    def _spins(self, words: Array) -> Array:
        """(16, sites) int8 from (words, 16) uint64."""
        bits = np.unpackbits(
            np.ascontiguousarray(words.T).view(np.uint8), axis=1, bitorder="little"
        )
        spins = np.empty((LANES, len(self.order)), np.int8)
        spins[:, self.order] = 2 * bits[:, : len(self.order)].astype(np.int8) - 1
        return spins

    def _limits(self, betas: Array, *, shared: bool) -> tuple[Any, Array]:
        model = self.request.model.quantized
        return (exact_limits(self.request, betas), model.bound), estimates(betas, model.quantum)

    def _sweep(self, block: Sixteen, task: Task, out: Series) -> Array:
        limits, slopes = task.limits
        counts = np.zeros(3, np.int64)
        popcount_sweep.sweep(
            self.code, (block.spins, block.best, block.tally, block.energy), self.model,
            limits, slopes, self.blocks.columns(task.rows, block.replicas),
            self.blocks.own_lanes(block.replicas),
            (self.keys, block.replicas.start // LANES, task.first),
            (task.every, task.weights, task.track), out, counts,
        )  # fmt: skip
        return counts

    def _counts(self, sweeps: int, counts: Array) -> Counts:
        n, lanes = self.request.model.n, self.blocks.stop - self.blocks.start
        planes = self.model[2]
        return Counts(
            attempted=sweeps * n * len(self.request.replicas),
            flips=int(counts[FLIPS]),
            random_words=4 * int(counts[CALLS]),
            couplings=sweeps * lanes * n * n,
            bytes=sweeps
            * (lanes * n * (planes.shape[2] + 2) * 8 + lanes // LANES * planes.nbytes),
        )


def _digits(request: Request) -> tuple[int, int, int]:
    """(low, gap, planes): every J_ij, i != j, is low + gap times a number of `planes` bits."""
    couplings, n = request.model.quantized.couplings, request.model.n
    values = np.unique(couplings)
    if len(couplings) < n * (n - 1):
        values = np.union1d(values, [0])
    low = int(values[0])
    gap = int(np.gcd.reduce(values - low)) or 1
    return low, gap, ((int(values[-1]) - low) // gap).bit_length()


def _model(request: Request, low: int, gap: int, planes: int) -> tuple[Any, Array]:
    """(sites, starts, planes, 2 low, 2 gap) as `popcount_sweep.sweep` takes them, and fields."""
    order, csr, model = request.layout.order, request.model.csr, request.model.quantized
    n = len(order)
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    bits = np.zeros((n, planes, -(-n // 64)), np.uint64)
    starts = np.empty(n, np.int64)
    for q, site in enumerate(order):
        part = slice(csr.indptr[site], csr.indptr[site + 1])
        row = np.zeros(bits.shape[2] * 64, np.int64)
        row[:n] = -low // gap  # of pairs without a coupling
        row[place[csr.indices[part]]] = (model.couplings[part] - low) // gap
        row[q] = 0
        row[n:] = 0
        for b in range(planes):
            packed = np.packbits(row >> b & 1, bitorder="little")
            bits[q, b] = packed.view(np.uint64)
        starts[q] = model.fields[site] - model.couplings[part].sum()
    sites = np.concatenate([order, np.zeros(AHEAD)]).astype(np.uint64)
    return (sites, starts, bits, 2 * low, 2 * gap), model.fields[order].astype(np.int64)
