"""What plans share whose replicas are lanes: memory of states, calls cut into launches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Counts, Ladder, Measured, Request, State, threshold_rows

from .calls import Series, cuts, joined
from .device import Code, Device, put_states

Array = NDArray[Any]

PIECE = 1 << 22  # numbers in the larger arrays of one launch
LANE_BYTES = 128  # of each lane besides its states: energies, flips, magnetizations
WEIGHED = 1024  # sites that one thread weighs


class ReplicaPlan:
    """Replicas as lanes of `groups` groups, `start` the first lane's; a launch sweeps until the
    spins themselves are asked for.

    Lanes beyond the request are padding: they are swept like the others and never reported.
    order: the site of each row of the state. A kernel says how its states lie in memory
    (`_empty_states`, `_copy`, `_energies`), how it weighs them, and what it sweeps with."""

    code: Code
    order: Array
    groups: int
    lanes: int
    start: int

    def __init__(self, request: Request, device: Device) -> None:
        self.request, self.device = request, device
        self.memory: dict[str, Any] = {}

    @property
    def first(self) -> int:
        """The lane of the request's first replica."""
        return self.request.replicas.start - self.start

    @property
    def _own(self) -> slice:
        """The lanes of the request's replicas."""
        return slice(self.first, self.first + len(self.request.replicas))

    def _lanes_of(self, reads: int, group: int) -> int:
        """Lanes of whole groups that hold so many reads."""
        return -(-(self.first + reads) // group) * group

    def _empty_states(self) -> Any:
        """Memory for a state of all lanes."""
        raise NotImplementedError

    def _copy(self, kernel: str, given: Any, made: Any) -> None:
        """`pack` states (replicas, sites) int8 of the request's replicas, or `unpack` them."""
        raise NotImplementedError

    def _measure(self, spins: str, energy: str) -> None:
        """Energies of the states `spins`, and what else the kernel keeps of them."""
        raise NotImplementedError

    def _numbers(self, columns: int) -> int:
        """Numbers in tables of one sweep, if betas have so many columns."""
        model = self.request.model.quantized
        return columns * (2 * model.bound + 1 if model.table else 1)

    def _sweep(
        self, betas: Array | Ladder, first: int, every: int, track: bool
    ) -> tuple[Series, tuple[int, int]]:
        """One launch: what it saw; flips of own replicas, and what `_counts` wants."""
        raise NotImplementedError

    def _weigh(self, k: int, pieces: int, partial: Any) -> None:
        """Sums of weights by pieces of WEIGHED rows, (pieces, k, lanes)."""
        raise NotImplementedError

    def _counts(self, sweeps: int, flips: int, drawn: int) -> Counts:
        raise NotImplementedError

    @property
    def codes(self) -> tuple[Code, ...]:
        """All that is compiled for the request."""
        return (self.code,)

    # States

    def load(self, state: State) -> None:
        zeros = self.device.zeros
        self.memory = {
            "spins": self._empty_states(),
            "best": self._empty_states(),
            **{k: zeros((self.lanes,), np.int64) for k in ("now", "lowest", "up", "best_up")},
        }
        self._pack("spins", state.spins)
        self._pack("best", state.best)
        since = np.zeros(self.lanes, np.int64)
        since[self._own] = state.flips
        self.memory["since"] = self.device.put(since)
        if len(self.order):
            self._measure("spins", "now")
            self._measure("best", "lowest")

    def _pack(self, name: str, states: Any) -> None:
        n, replicas = len(self.order), len(self.request.replicas)
        given = put_states(self.device, states, replicas, n)
        if n * replicas:
            self._copy("pack", given, self.memory[name])

    def state(self) -> State:
        flips = self.device.get(self.memory["since"])[self._own]
        return State(self._unpacked("spins"), self._unpacked("best"), flips)

    def spins_on_device(self) -> Any:
        """(replicas, sites) int8, an array of the device; a GPU's has `__dlpack__` and
        `__cuda_array_interface__`."""
        return self._unpack("spins")

    def energies_on_device(self) -> Any:
        """(replicas,) int64 in quanta, offset not included: an array of the device."""
        return self.memory["now"][self._own]

    def _unpack(self, name: str) -> Any:
        made = self.device.empty((len(self.request.replicas), len(self.order)), np.int8)
        if len(self.order) * len(self.request.replicas):
            self._copy("unpack", self.memory[name], made)
        return made

    def _unpacked(self, name: str) -> Array:
        return self.device.get(self._unpack(name))

    # Sweeps

    def sweep(
        self,
        betas: Array | Ladder,
        *,
        first: int,
        every: int = 0,
        weights: Array | None = None,
        track: bool = False,
    ) -> Measured:
        if not isinstance(betas, Ladder):
            betas = np.asarray(betas, np.float64)
        threshold_rows(betas[:0], len(self.request.replicas))  # refuses another shape
        k = 0 if weights is None else len(weights)
        if k:
            ordered = np.asarray(weights, np.float64)[:, self.order]
            self.weights = self.device.put(np.ascontiguousarray(ordered))
        parts = []
        counts, projections = Counts(), []
        for begin, end in cuts(len(betas), self._most(betas), first, every if k else 0):
            with self.device.current():
                series, flips = self._sweep(betas[begin:end], first + begin, every, track)
            parts.append(series)
            counts = counts + self._counts(end - begin, *flips)
            if k and every and (first + end) % every == 0:
                projections.append(self._project(k))
        return joined(parts, projections, counts, len(self.request.replicas), k)

    def _most(self, betas: Array | Ladder) -> int:
        """Sweeps of one launch: no more than memory holds tables for."""
        return PIECE // max(self.lanes, self._numbers(math.prod(betas.shape[1:])))

    def _wide(self, rows: Any) -> Any:
        """Rows of thresholds (sweeps, 1 or replicas) on the device, with columns for all lanes if
        replicas have rows of their own."""
        if rows.shape[1] == 1 and type(rows) is np.ndarray:
            return self.device.put(rows)
        wide = self.device.zeros((len(rows), self.lanes), np.int32)
        wide[:, self._own] = self.device.put(rows)
        return wide

    def _series(self, sweeps: int, first: int, every: int, track: bool) -> tuple[list[Any], int]:
        """Room for energies, magnetizations, flips and the path; number of samples."""
        zeros = self.device.zeros
        samples = (first + sweeps) // every - first // every if every else 0
        room = [zeros((max(1, samples), self.lanes), np.int64) for _ in range(3)]
        return [*room, zeros((sweeps if track else 1, self.lanes), np.int64)], samples

    def _seen(self, series: list[Any], samples: int, sweeps: int) -> Series:
        """The own replicas' part of `_series`."""
        ends = samples, samples, samples, sweeps
        energy, magnetization, flips, path = (
            self.device.get(part)[:end, self._own].T
            for part, end in zip(series, ends, strict=True)
        )
        return energy, magnetization, flips, path

    def _project(self, k: int) -> Array:
        """(replicas, k) sums of weights; pieces are added in order, so that the result does not
        depend on the device."""
        pieces = -(-len(self.order) // WEIGHED)
        partial = self.device.zeros((pieces, k, self.lanes), np.float64)
        if pieces:
            self._weigh(k, pieces, partial)
        total = np.zeros((k, self.lanes))
        for part in self.device.get(partial):
            total += part
        return np.ascontiguousarray(total[:, self._own].T)
