"""What the visits of a row of a lattice read, side by side in one record per row.

Slots of one kind change places within a row, so that as few of them as possible look at the next
column: of the four bonds of the square lattice one does.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.program import Plane, Program

Array = NDArray[Any]


@dataclass(frozen=True)
class Record:
    """Places of the entries of each slot: the row of the neighbours, and the rows of the planes of
    signs and of presence, -1 where it has none; beside: whether a slot looks at the next column;
    valid: place of the row of the bits that are sites, 0 if all are; size: whole quads."""

    places: tuple[tuple[int, ...], ...]
    beside: tuple[bool, ...]
    valid: int
    size: int


def make_records(program: Program) -> tuple[Record, Array, Array]:
    """The record; entries (colours, rows, size) uint32: rows of neighbours in the states of all
    colours, << 2 | columns to add + 1 in slots that look beside, and rows of planes; and all
    planes one below the other (.., words)."""
    c, planes = program.colouring, _Planes(program.colouring.words)
    found = np.zeros((c.colours, len(program.slots), 3, c.rows), np.int64)
    shift = np.zeros((c.colours, len(program.slots), c.rows), np.int64)
    for colour, terms in enumerate(program.terms):
        for k, term in enumerate(terms):
            shift[colour, k] = term.shift
            found[colour, k, 0] = term.source * c.rows + term.row.astype(np.int64)
            found[colour, k, 1] = planes.rows(term.sign)
            found[colour, k, 2] = planes.rows(term.present)
        _beside_last(program, colour, found[colour], shift[colour])
    beside = tuple(bool(np.any(shift[:, k])) for k in range(len(program.slots)))
    free = itertools.count()
    places = tuple(
        tuple(next(free) if has else -1 for has in (not slot.field, slot.sign, slot.present))
        for slot in program.slots
    )
    used = next(free)
    valid = max(1, used) if program.masked else 0
    record = Record(places, beside, valid, -(-max(used, valid + 1) // 4) * 4)
    entries = np.zeros((c.colours, c.rows, record.size), np.uint32)
    for k, of_slot in enumerate(places):
        if beside[k]:
            found[:, k, 0] = found[:, k, 0] << 2 | (shift[:, k] + 1)
        for part, place in enumerate(of_slot):
            if place >= 0:
                entries[:, :, place] = found[:, k, part]
    if valid:
        for colour, plane in enumerate(program.valid):
            entries[colour, :, valid] = planes.rows(plane)
    return record, entries, planes.bits()


def _beside_last(program: Program, colour: int, found: Array, shift: Array) -> None:
    """Puts the slots (slots, ...) that look beside last in every row, among slots of one kind
    whose bonds are counted with the same colours."""
    kinds = [
        (slot, term.source < colour)
        for slot, term in zip(program.slots, program.terms[colour], strict=True)
    ]
    for kind in dict.fromkeys(kinds):
        of = [k for k, other in enumerate(kinds) if other == kind]
        order = np.argsort(shift[of] != 0, axis=0, kind="stable")  # (slots of the kind, rows)
        shift[of] = np.take_along_axis(shift[of], order, axis=0)
        found[of] = np.take_along_axis(found[of], order[:, None], axis=0)


class _Planes:
    """Rows of all planes one below the other, each plane once."""

    def __init__(self, words: int) -> None:
        self.parts: list[Array] = [np.zeros((1, words), np.uint64)]
        self.starts: dict[int, int] = {}
        self.length = 1
        self.kept: list[Plane] = []

    def rows(self, plane: Plane | None) -> Array:
        """The row of each row of the lattice; row 0 where there is no plane."""
        if plane is None:
            return np.zeros(1, np.uint32)
        if id(plane) not in self.starts:
            self.starts[id(plane)] = self.length
            self.parts.append(plane.bits)
            self.length += len(plane.bits)
            self.kept.append(plane)
        return np.asarray(self.starts[id(plane)] + plane.index, np.uint32)

    def bits(self) -> Array:
        return np.concatenate(self.parts)
