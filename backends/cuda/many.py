"""Many models side by side, a block for each group of replicas; kernels/lanes.cu with MANY."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import (
    Batch,
    Measured,
    OneByOne,
    Plan,
    Request,
    State,
    threshold_rows,
)

from ..limits import estimates, exact_limits
from .device import Code, Device, filled, require, scalars
from .lanes import UNIT, LanePlan, Shape, counts_of
from .lanes_model import LaneModel
from .replicas import LANE_BYTES

Array = NDArray[Any]
T = TypeVar("T")

THREADS = 256  # of a block at most, as in lanes.cu
SMALL = 4096  # sites; a larger model has work for several blocks, and a plan of its own
GROUPS = 65_535  # of one launch: the second extent of a grid
PIECE = 1 << 24  # numbers in the larger arrays of one launch

# Part of lanes.cu.
PART = np.dtype(
    [(name, np.uint64) for name in ("spins", "given", "table", "seed")]
    + [(name, np.uint32) for name in ("site", "level", "limit", "column")]
    + [(name, np.uint32) for name in ("n", "n_levels", "colours", "bound")]
    + [(name, np.uint32) for name in ("replica", "first", "replicas")],
    align=True,
)


def lanes_of(request: Request) -> int:
    """Replicas of a group."""
    return 16 if len(request.replicas) + request.replicas.start % UNIT <= 16 else 32


def groups_of(request: Request) -> int:
    """Groups that hold the replicas of a request."""
    return -(-(len(request.replicas) + request.replicas.start % UNIT) // lanes_of(request))


class LaneBatch:
    """Models that one code serves, at most GROUPS groups in all.

    Everything of the models lies one behind the other; `parts` says where each begins."""

    def __init__(self, requests: Sequence[Request], device: Device) -> None:
        self.requests, self.device = requests, device
        self.kernels = [LanePlan.kernel] * len(requests)
        self.width = lanes_of(requests[0])  # lanes of a group
        self.code = LanePlan.code_of(requests[0], Shape(self.width, THREADS, 1), many=True)
        groups = np.array([groups_of(request) for request in requests])
        self.model_of = np.repeat(np.arange(len(requests)), groups)  # of each group
        self.lanes = self.width * len(self.model_of)
        self._require()
        models = [LaneModel.of(request) for request in requests]
        quads = max(model.sites_per_level for model in models) / 4 * self.width / 4
        self.threads = min(THREADS, max(32, -(-int(quads) // 32) * 32))
        self._send(models, groups)
        self.memory: dict[str, Any] = {}

    def _require(self) -> None:
        def one(request: Request) -> int:  # as in LanePlan
            n, nnz = request.model.n, int(request.model.csr.nnz)
            lanes = self.width * groups_of(request)
            states = (2 * n + LANE_BYTES) * lanes + n * len(request.replicas)
            return 32 * n + 8 * nnz + states

        costs = _starts([one(request) for request in self.requests]) + 4 * 8 * PIECE
        require(self.device, lambda k: int(costs[k]), len(self.requests), "a batch", "models")

    def _send(self, models: Sequence[LaneModel], groups: Array) -> None:
        replicas = np.array([len(request.replicas) for request in self.requests], np.int64)
        first = np.array([request.replicas.start for request in self.requests], np.int64)
        sizes = np.array([len(model.order) for model in models], np.int64)
        part = np.zeros(len(models), PART)
        part["site"], part["n"] = _starts(sizes)[:-1], sizes
        part["level"] = _starts([len(model.levels) for model in models])[:-1]
        part["n_levels"] = [len(model.levels) - 1 for model in models]
        part["colours"] = [request.layout.colours for request in self.requests]
        part["bound"] = [request.model.quantized.bound for request in self.requests]
        part["seed"] = [request.seed for request in self.requests]
        self.given = _starts(sizes * replicas)
        part["given"], part["replicas"] = self.given[:-1], replicas
        part["column"] = np.arange(len(models))
        self.parts = part[self.model_of]
        # lanes of the model before each group
        ahead = self.width * (np.arange(len(self.model_of)) - _starts(groups)[self.model_of])
        base = first // UNIT * UNIT
        self.parts["replica"] = (base[self.model_of] + ahead) & 0xFFFFFFFF
        self.parts["first"] = ((first - base)[self.model_of] - ahead) & 0xFFFFFFFF
        self.quads = _starts(self.width // 4 * sizes[self.model_of])
        self.parts["spins"] = self.quads[:-1]
        own = self.width * _starts(groups)[:-1] + first - base
        self.own = [slice(a, a + b) for a, b in zip(own.tolist(), replicas.tolist(), strict=True)]
        self.largest = int(sizes.max())
        entries = _starts([len(model.entries) for model in models])
        firsts = [m.firsts[:-1] + start for m, start in zip(models, entries, strict=False)]

        def joined(name: str) -> Any:
            return self.device.put(filled(np.concatenate([getattr(m, name) for m in models])))

        self.places, self.starts, self.fields = map(joined, ("places", "starts", "fields"))
        self.entries, self.levels = joined("entries"), joined("levels")
        self.firsts = self.device.put(np.concatenate([*firsts, entries[-1:]]).astype(np.uint32))
        order = np.concatenate([model.order for model in models])
        self.sites = self.device.put(filled(order.astype(np.uint32)))

    def _launch(self, name: str, blocks: int, threads: int, *args: Any) -> None:
        parts = self.device.put(self.parts.view(np.uint8))
        grid = blocks, len(self.parts)
        self.device.kernel(self.code, name)(grid, (threads,), [*args, parts])

    # States

    def load(self, states: Sequence[State]) -> None:
        zeros = self.device.zeros
        self.memory = {k: zeros((self.lanes,), np.int64) for k in ("up", "best_up")}
        for name, energy, up in (("spins", "now", "up"), ("best", "lowest", "best_up")):
            self.memory[name] = made = zeros((max(1, 4 * int(self.quads[-1])),), np.uint8)
            flat = np.concatenate([getattr(state, name).ravel() for state in states])
            self._copy("pack", self.device.put(filled(flat)), made)
            doubled = zeros((self.lanes,), np.int64)
            self._launch(
                "measure", 1, THREADS, made, doubled, self.memory[up], self.starts, self.fields,
                self.firsts, self.entries, *scalars(0),
            )  # fmt: skip
            self.memory[energy] = self.device.put(self.device.get(doubled) // 2)
        since = np.zeros(self.lanes, np.int64)
        for own, state in zip(self.own, states, strict=True):
            since[own] = state.flips
        self.memory["since"] = self.device.put(since)

    def states(self) -> list[State]:
        since = self.device.get(self.memory["since"])
        spins, best = (self._unpacked(name) for name in ("spins", "best"))
        return [
            State(now, low, since[own].copy())
            for now, low, own in zip(spins, best, self.own, strict=True)
        ]

    def _unpacked(self, name: str) -> list[Array]:
        made = self.device.empty((max(1, int(self.given[-1])),), np.int8)
        self._copy("unpack", self.memory[name], made)
        flat, ends = self.device.get(made), self.given
        return [
            flat[ends[k] : ends[k + 1]].reshape(len(request.replicas), -1).copy()
            if request.model.n
            else np.zeros((len(request.replicas), 0), np.int8)
            for k, request in enumerate(self.requests)
        ]

    def _copy(self, kernel: str, given: Any, made: Any) -> None:
        blocks = max(1, min(32, -(-self.largest * self.width // THREADS)))
        self._launch(kernel, blocks, THREADS, given, made, self.sites, *scalars(0, 0, 0))

    # Sweeps

    def sweep(
        self, betas: Sequence[Array], *, first: int, every: int = 0, track: bool = False
    ) -> list[Measured]:
        betas = [np.asarray(own, np.float64) for own in betas]
        if len({own.shape for own in betas}) > 1 or betas[0].ndim != 1:
            raise ValueError("betas of a batch must have shape (sweeps,), the same for all models")
        series, flips, wholes = [], np.zeros(self.lanes, np.int64), np.zeros(len(self.parts))
        for begin, end in self._cuts(len(betas[0]), every):
            some = [own[begin:end] for own in betas]
            seen, flipped, drawn = self._sweep(some, first + begin, every, track)
            series.append(seen)
            flips += flipped
            wholes += drawn
        made = []
        drawn = np.bincount(self.model_of, wholes, len(self.requests)).astype(np.int64)
        for k, (request, own) in enumerate(zip(self.requests, self.own, strict=True)):
            empty = np.zeros((len(request.replicas), 0), np.int64)
            energy, magnetization, flipped = (
                np.concatenate([empty, *(part[at][:, own].T for part in series)], axis=1)
                for at in range(3)
            )
            lanes = self.width * groups_of(request)
            counts = counts_of(request, lanes, len(betas[0]), int(flips[own].sum()), int(drawn[k]))
            projections = np.zeros((*energy.shape, 0))
            made.append(Measured(energy, magnetization, flipped, projections, empty, counts))
        return made

    def _cuts(self, sweeps: int, every: int) -> Iterator[tuple[int, int]]:
        """Ranges of sweeps for one launch: not more than memory holds tables for."""
        models = (request.model.quantized for request in self.requests)
        numbers = sum(2 * model.bound + 1 if model.table else 1 for model in models)
        most = max(1, PIECE // max(numbers, self.lanes if every else 0))
        for begin in range(0, sweeps, most):
            yield begin, min(sweeps, begin + most)

    def _sweep(
        self, betas: Sequence[Array], first: int, every: int, track: bool
    ) -> tuple[list[Array], Array, Array]:
        """One launch: energies, magnetizations and flips (samples, lanes); all flips by lane, and
        whole integers drawn by group."""
        device, memory, zeros = self.device, self.memory, self.device.zeros
        limits, rows = self._limits(betas)
        sweeps = len(rows)
        samples = (first + sweeps) // every - first // every if every else 0
        series = [zeros((max(1, samples), self.lanes), np.int64) for _ in range(3)]
        total, counts = zeros((self.lanes,), np.int64), zeros((len(self.parts),), np.uint64)
        self._launch(
            "sweep", 1, self.threads,
            memory["spins"], memory["best"], memory["now"], memory["lowest"], memory["up"],
            memory["since"], total, self.places, self.starts, self.firsts, self.entries,
            self.levels, *scalars(0, 0, 0), *map(device.put, limits), np.int32(0),
            device.put(rows), *scalars(rows.shape[1], sweeps), np.uint64(0),
            *scalars(0, first, every, track), *series, zeros((1,), np.int64), counts,
            zeros((1,), np.uint32),
        )  # fmt: skip
        seen = [device.get(part)[:samples] for part in series]
        return seen, device.get(total), device.get(counts).astype(np.float64)

    def _limits(self, betas: Sequence[Array]) -> tuple[tuple[Array, ...], Array]:
        """Tables of all models, those that are alike once, and rows (sweeps, models); sets where
        each model's begin."""
        known: dict[tuple[Any, ...], int] = {}
        made: list[tuple[Array, ...]] = []
        rows = np.zeros((len(betas[0]), len(betas)), np.int32)
        which = np.zeros(len(betas), np.int64)
        for k, (request, own) in enumerate(zip(self.requests, betas, strict=True)):
            model = request.model.quantized
            key = model.quantum, model.bound, own.tobytes()
            if key not in known:
                known[key] = len(made)
                distinct, row = threshold_rows(own, 1)
                table, constant, cutoff, exponential = exact_limits(request, distinct)
                slopes = estimates(distinct, model.quantum)
                made.append((table.ravel(), constant, cutoff, slopes, row[:, 0]))
            which[k] = known[key]
            rows[:, k] = made[which[k]][4]
        tables, constants, cutoffs, slopes_of, _ = zip(*made, strict=True)
        self.parts["table"] = _starts([len(t) for t in tables])[which][self.model_of]
        self.parts["limit"] = _starts([len(c) for c in constants])[which][self.model_of]
        joined = (filled(np.concatenate(part)) for part in (tables, constants, cutoffs))
        return (*joined, exponential, filled(np.concatenate(slopes_of))), rows


class Mixed:
    """Batches of some of the models each, by their numbers."""

    def __init__(self, parts: Sequence[tuple[Sequence[int], Batch]]) -> None:
        self.parts = parts
        self.kernels = self._in_order([batch.kernels for _, batch in parts])

    def load(self, states: Sequence[State]) -> None:
        for own, batch in self.parts:
            batch.load([states[k] for k in own])

    def states(self) -> list[State]:
        return self._in_order([batch.states() for _, batch in self.parts])

    def sweep(
        self, betas: Sequence[Array], *, first: int, every: int = 0, track: bool = False
    ) -> list[Measured]:
        watch: dict[str, Any] = {"first": first, "every": every, "track": track}
        return self._in_order(
            [batch.sweep([betas[k] for k in own], **watch) for own, batch in self.parts]
        )

    def _in_order(self, made: Sequence[Sequence[T]]) -> list[T]:
        found = {
            k: one
            for (own, _), some in zip(self.parts, made, strict=True)
            for k, one in zip(own, some, strict=True)
        }
        return [found[k] for k in range(len(found))]


def batch_of(
    requests: Sequence[Request], device: Device, plan: Callable[[Request], Plan]
) -> Batch:
    """Small models of single spins side by side, one launch for each code and GROUPS groups, those
    with most work first; all others by plans of their own."""
    alike: dict[Code | None, list[int]] = {}
    for k, request in enumerate(requests):
        small = request.model.n <= SMALL and LanePlan.obstacle(request) is None
        code = None
        if small and request.kernel in (None, LanePlan.kernel) and groups_of(request) <= GROUPS:
            code = LanePlan.code_of(request, Shape(lanes_of(request), THREADS, 1), many=True)
        alike.setdefault(code, []).append(k)
    alone = alike.pop(None, [])
    parts: list[tuple[Sequence[int], Batch]] = []
    for own in alike.values():
        own.sort(key=lambda k: -requests[k].model.csr.nnz - requests[k].model.n)
        for some in _cut(own, [groups_of(requests[k]) for k in own]):
            parts.append((some, LaneBatch([requests[k] for k in some], device)))
    if alone:
        parts.append((alone, OneByOne([plan(requests[k]) for k in alone])))
    return Mixed(parts)


def _cut(own: Sequence[int], groups: Sequence[int]) -> Iterator[list[int]]:
    """Neighbours of at most GROUPS groups."""
    some: list[int] = []
    held = 0
    for k, number in zip(own, groups, strict=True):
        if some and held + number > GROUPS:
            yield some
            some, held = [], 0
        some.append(k)
        held += number
    yield some


def _starts(lengths: Any) -> Array:
    """(k + 1,) where each of k arrays begins that stand one behind the other, and their end."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
