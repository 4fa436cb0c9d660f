"""Lattice programs: what a bit-plane kernel needs to know of a model, as data.

Spins of one colour lie in rows of 64-bit words (`isingnpu.layout.Colouring`). A colour sees its
neighbours through slots: slot k of weight w_k reads the packed row of another colour, shifted by
-1, 0 or 1 columns. With s the word of spins, n_k the neighbours', and bit 1 for up,

    x_k = s ^ n_k ^ sign_k        bit 1: bond (or field, n_k = all ones) not satisfied
    v = s_i (sum_j J_ij s_j + h_i) = sum_k w_k present_k (1 - 2 x_k),   in quanta

`isingnpu.bitlogic` turns these words into decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from isingnpu.bitlogic import ONES, Classes, Slot, pack
from isingnpu.cell import Boundary, Cell, boundaries
from isingnpu.layout import Colouring, Layout, colouring
from isingnpu.model import Array, IsingModel, Quantized
from isingnpu.quantize import quantize

MAX_CLASSES = 32
FIELD = -1  # source of a field


@dataclass(frozen=True, eq=False)
class Plane:
    """One bit per site of a colour: bits (k, words) uint64, and the row of bits of each row of
    the lattice, index (rows,) int64."""

    bits: Array
    index: Array


@dataclass(frozen=True, eq=False)
class Term:
    """One slot as a colour sees it: colour of the neighbours (FIELD: a field), and for each row
    (rows,) the row they lie in, int32, and the columns to add, -1, 0 or 1, int16."""

    source: int
    row: Array
    shift: Array
    sign: Plane | None = None
    present: Plane | None = None


@dataclass(frozen=True, eq=False)
class Program:
    """A lattice as slots and planes.

    terms: (colours, slots). closed: the last axis goes around; seam: with flipped spins.
    quantized: quantum and bound, of which thresholds are made."""

    colouring: Colouring
    slots: tuple[Slot, ...]
    terms: tuple[tuple[Term, ...], ...]
    closed: bool
    seam: bool
    quantized: Quantized

    @cached_property
    def valid(self) -> tuple[Plane, ...]:
        """Bits that are sites, one plane per colour."""
        c = self.colouring
        phases = np.arange(c.period)
        return tuple(
            Plane(_first_columns(c.columns(colour, phases), c.words), c.phases)
            for colour in range(c.colours)
        )

    @property
    def masked(self) -> bool:
        """Whether some row has bits that are no sites."""
        return any(np.any(plane.bits != ONES) for plane in self.valid)

    def bonds(self, colour: int, slot: int) -> int:
        """How many sites of the colour have the bond or field of a slot."""
        valid, present = self.valid[colour], self.terms[colour][slot].present
        if present is None:
            return int(np.bitwise_count(valid.bits).sum(axis=1, dtype=np.int64)[valid.index].sum())
        total = 0
        for start in range(0, self.colouring.rows, 1024):
            part = slice(start, start + 1024)
            both = present.bits[present.index[part]] & valid.bits[valid.index[part]]
            total += int(np.bitwise_count(both).sum(dtype=np.int64))
        return total

    def energy(self) -> tuple[Array, int]:
        """(colours, 1 + slots) int64 twice the weights of the bonds that each colour counts, first
        whether it counts any; and the energy with every bond satisfied. A bond is counted by its
        higher colour, which a sweep visits last: then both spins are final."""
        factors = np.zeros((self.colouring.colours, 1 + len(self.slots)), np.int64)
        satisfied = 0
        for colour, terms in enumerate(self.terms):
            for k, (slot, term) in enumerate(zip(self.slots, terms, strict=True)):
                if term.source < colour:
                    factors[colour, 1 + k] = 2 * slot.weight
                    satisfied -= slot.weight * self.bonds(colour, k)
        factors[:, 0] = factors[:, 1:].any(axis=1)
        return factors, satisfied

    @property
    def classes(self) -> Classes:
        """How v is counted."""
        return Classes(
            sum(slot.weight for slot in self.slots), any(slot.present for slot in self.slots)
        )


def _first_columns(columns: Array, words: int) -> Array:
    """(k, words) with the first columns[k] columns set."""
    return pack(np.arange(64 * words) < np.asarray(columns)[:, None], words)


def uniform_program(
    cell: Cell,
    shape: tuple[int, ...],
    *,
    J: float | Sequence[float] = 1,
    h: float = 0,
    boundary: Boundary = "periodic",
) -> Program:
    """The program of a lattice of any size with one coupling J per kind of bond, or one for all.

    Raises ValueError where the colours do not close around an axis or J, h have no quantum."""
    names = boundaries(boundary, len(shape))
    colours = colouring(shape, cell.vectors, cell.basis, [name != "open" for name in names])
    if colours is None:
        raise ValueError(f"no regular colouring closes around the axes of {shape} with {names}")
    couplings = np.broadcast_to(np.asarray(J, np.float64), (len(cell.bonds),))
    both = [
        *((s, t, o, k) for k, (s, t, o) in enumerate(cell.bonds)),
        *((t, s, tuple(-x for x in o), k) for k, (s, t, o) in enumerate(cell.bonds)),
    ]
    quantized = _quantized(len(cell.basis), [(s, couplings[k]) for s, _, _, k in both], h)
    whole = dict(zip(range(len(both)), quantized.couplings.tolist(), strict=True))
    found: list[list[tuple[int, Term]]] = [[] for _ in range(colours.colours)]
    for colour in range(colours.colours):
        for k, (source, target, offset, _) in enumerate(both):
            if source == colour // colours.period and whole[k]:
                term = _uniform_term(colours, names, colour, target, offset, whole[k] < 0)
                found[colour].append((abs(whole[k]), term))
        field = int(quantized.fields[colour // colours.period])
        if field:
            found[colour].append((abs(field), _field_term(colours, field < 0)))
    slots, terms = _align(colours, found)
    seam = names[-1] == "antiperiodic"
    return Program(colours, slots, terms, names[-1] != "open", seam, quantized)


def _quantized(basis: int, bonds: Sequence[tuple[int, float]], h: float) -> Quantized:
    """Quantum of the couplings, in the order of `bonds` (basis site, J), and of the field."""
    order = np.array([site for site, _ in bonds], np.int64)
    values = np.array([value for _, value in bonds], np.float64)
    size = max(basis, len(bonds))
    by_site = np.argsort(order, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(order, minlength=size))])
    csr = sparse.csr_array((values[by_site], by_site, indptr), shape=(size, size))
    fields = np.zeros(size)
    fields[:basis] = h
    sums = np.bincount(order, np.abs(values), size) + np.abs(fields)
    found = quantize(csr, fields, float(sums.max()))
    if not found.table:
        raise ValueError("J and h are not small multiples of one number")
    couplings = np.empty(len(bonds), np.int64)
    couplings[by_site] = found.couplings
    return Quantized(found.quantum, couplings, found.fields, found.bound, True, found.error)


def _reach(
    colours: Colouring, colour: int, basis_site: int, offset: Sequence[int]
) -> tuple[int, Array, Array, Array]:
    """Neighbours at `offset` cells: their colour, and per row their row, the columns to add, and
    how often each axis but the last was gone around, (d - 1, rows)."""
    q = colours.period
    step = int(np.dot(colours.steps, offset))
    source = basis_site * q + (colour % q + step) % q
    sides = colours.shape[:-1]
    place = np.indices(sides).reshape(len(sides), colours.rows)
    moved = place + np.array(offset[:-1], np.int64)[:, None]
    around, there = np.divmod(moved, np.array(sides, np.int64)[:, None])
    row = np.ravel_multi_index(tuple(there), sides) if sides else np.zeros(1, np.int64)
    here = colours.first(colour, colours.phases)
    behind = colours.first(source, colours.phases + np.dot(colours.steps[:-1], offset[:-1]))
    shift = (here + offset[-1] - behind) // q
    return source, row.astype(np.int32), shift.astype(np.int16), around


def _uniform_term(
    colours: Colouring,
    names: tuple[str, ...],
    colour: int,
    basis_site: int,
    offset: tuple[int, ...],
    negative: bool,
) -> Term:
    source, row, shift, around = _reach(colours, colour, basis_site, offset)
    turns = np.array([name == "antiperiodic" for name in names[:-1]], bool)
    flips = (around[turns].sum(axis=0) + negative) % 2
    sign = _rows_plane(flips, colours.words) if flips.any() else None
    walls = np.array([name == "open" for name in names[:-1]], bool)
    missing = np.any(around[walls] != 0, axis=0)
    present = None
    if names[-1] == "open" and offset[-1]:
        x = colours.period * np.arange(64 * colours.words)
        x = x + colours.first(colour, np.arange(colours.period))[:, None] + offset[-1]
        inside = pack((x >= 0) & (x < colours.shape[-1]), colours.words)
        bits = np.concatenate([inside, np.zeros((1, colours.words), np.uint64)])
        present = Plane(bits, np.where(missing, colours.period, colours.phases))
    elif missing.any():
        present = _rows_plane(~missing, colours.words)
    return Term(source, row, shift, sign, present)


def _rows_plane(rows: Array, words: int) -> Plane:
    """Whole rows of ones where `rows` (rows,) is set."""
    bits = np.array([[0], [ONES]], np.uint64).repeat(words, axis=1)
    return Plane(bits, np.asarray(rows, np.int64))


def _field_term(colours: Colouring, negative: bool) -> Term:
    sign = _rows_plane(np.ones(colours.rows, np.int64), colours.words) if negative else None
    rows = np.arange(colours.rows, dtype=np.int32)
    return Term(FIELD, rows, np.zeros(colours.rows, np.int16), sign)


def program_obstacle(model: IsingModel, layout: Layout) -> str | None:
    """Why the model has no program in its layout, or None."""
    try:
        model_program(model, layout)
    except ValueError as error:
        return str(error)
    return None


def model_program(model: IsingModel, layout: Layout) -> Program:
    """The program of a model in layout `lattice`: signs, dilution and unlike couplings become
    planes. Raises ValueError if it has bonds further than one column, or too many classes."""
    colours = layout.colouring
    geometry = model.geometry
    if colours is None or geometry is None:
        raise ValueError(f"layout {layout.name!r} has no colouring, layout 'lattice' has")
    names = geometry.boundary or ("periodic",) * len(geometry.shape)
    seam = names[-1] == "antiperiodic"
    found: list[list[tuple[int, Term]]] = [[] for _ in range(colours.colours)]
    for colour, basis_site, offset, sites, values in _kinds(model, layout, names):
        source, row, shift, _ = _reach(colours, colour, basis_site, offset)
        if np.any(np.abs(shift) > 1):
            raise ValueError(f"a bond over {offset} cells is further than the column beside")
        couplings = _in_rows(layout, sites, values)
        make = _plane_terms(colours, colour, couplings)
        found[colour] += [(w, Term(source, row, shift, *planes)) for w, planes in make]
    for colour in range(colours.colours):
        sites = np.flatnonzero(layout.colour == colour)
        fields = _in_rows(layout, sites, model.quantized.fields[sites])
        rows = np.arange(colours.rows)
        make = _plane_terms(colours, colour, fields)
        found[colour] += [
            (w, Term(FIELD, rows, np.zeros_like(rows), *planes)) for w, planes in make
        ]
    slots, terms = _align(colours, found)
    program = Program(colours, slots, terms, names[-1] != "open", seam, model.quantized)
    if program.classes.number(True) > 2 * MAX_CLASSES:
        raise ValueError(
            f"local fields have {program.classes.number(True)} values, more than {2 * MAX_CLASSES}"
        )
    return program


def _kinds(model: IsingModel, layout: Layout, names: Sequence[str]) -> Any:
    """(colour, basis site of the neighbour, offset in cells, sites, couplings) of each kind of
    bond; a bond that the seam of the last axis flips is given the sign it has without."""
    colours, csr = layout.colouring, model.csr
    assert colours is not None
    assert layout.colour is not None
    shape, b = colours.shape, colours.basis
    own = np.repeat(np.arange(model.n), np.diff(csr.indptr))
    here = np.array(np.unravel_index(own // b, shape))
    delta = np.array(np.unravel_index(csr.indices // b, shape)) - here
    for axis, extent in enumerate(shape):
        if names[axis] != "open":  # the shorter way round, in (-extent / 2, extent / 2]
            delta[axis] = (delta[axis] + (extent - 1) // 2) % extent - (extent - 1) // 2
    last = here[-1] + delta[-1]
    crosses = (last < 0) | (last >= shape[-1])
    flip = crosses & (names[-1] == "antiperiodic")
    couplings = np.where(flip, -1, 1) * model.quantized.couplings
    key = layout.colour[own] * b + csr.indices % b
    for axis, extent in enumerate(shape):
        key = key * (2 * extent + 1) + delta[axis] + extent
    kinds, start = np.unique(key, return_index=True)
    if len(kinds) > MAX_CLASSES * colours.colours:
        raise ValueError(
            f"its bonds are of {len(kinds)} kinds, more than {MAX_CLASSES} per colour"
        )
    for kind, k in zip(kinds, start, strict=True):
        of = key == kind
        offset = tuple(int(x) for x in delta[:, k])
        yield (
            int(layout.colour[own[k]]), int(csr.indices[k] % b), offset, own[of], couplings[of],
        )  # fmt: skip


def _in_rows(layout: Layout, sites: Array, values: Array) -> Array:
    """(rows, 64 words) int32 with the values at their sites' row and column, else 0."""
    assert layout.colouring is not None
    assert layout.row is not None
    assert layout.column is not None
    result = np.zeros((layout.colouring.rows, 64 * layout.words), np.int32)
    result[layout.row[sites], layout.column[sites]] = values
    return result


def _plane_terms(
    colours: Colouring, colour: int, values: Array
) -> list[tuple[int, tuple[Plane | None, Plane | None]]]:
    """(weight, (sign, present)) of couplings (rows, 64 words): one term if they are 0 and +-w,
    else one for each power of two in them."""
    columns = colours.columns(colour, colours.phases)[:, None]
    valid = np.arange(values.shape[1]) < columns
    size = np.abs(values)
    unlike = np.unique(size[size > 0])
    if len(unlike) == 0:
        return []
    weights = [1 << p for p in range(int(unlike[-1]).bit_length())]
    parts = [(w, size & w != 0) for w in weights] if len(unlike) > 1 else [(unlike[0], size > 0)]
    negative = _plane(values < 0, colours.words) if np.any(values < 0) else None
    return [
        (int(w), (negative, None if np.all(part | ~valid) else _plane(part, colours.words)))
        for w, part in parts
        if np.any(part)
    ]


def _plane(bits: Array, words: int) -> Plane:
    packed = pack(bits, words)
    if np.all(packed == packed[0]):
        return Plane(packed[:1].copy(), np.zeros(len(packed), np.int64))
    return Plane(packed, np.arange(len(packed)))


def _align(
    colours: Colouring, found: Sequence[Sequence[tuple[int, Term]]]
) -> tuple[tuple[Slot, ...], tuple[tuple[Term, ...], ...]]:
    """The same slots for every colour: terms of one weight side by side, absent ones added."""
    kinds = sorted({(w, term.source == FIELD) for terms in found for w, term in terms})
    slots: list[Slot] = []
    aligned: list[list[Term]] = [[] for _ in found]
    nowhere = np.zeros(colours.rows, np.int64)
    for weight, field in kinds:
        own = [
            sorted(
                (t for w, t in terms if w == weight and (t.source == FIELD) == field), key=_planes
            )
            for terms in found
        ]
        for k in range(max(len(terms) for terms in own)):
            here = [terms[k] if k < len(terms) else None for terms in own]
            sign = any(t is not None and t.sign is not None for t in here)
            present = any(t is None or t.present is not None for t in here)
            slots.append(Slot(weight, field, sign, present))
            absent = Term(
                FIELD if field else 0, nowhere, nowhere, None, _rows_plane(nowhere, colours.words)
            )
            for place, term in zip(aligned, here, strict=True):
                place.append(_filled(term or absent, slots[-1], colours))
    return tuple(slots), tuple(tuple(terms) for terms in aligned)


def _planes(term: Term) -> tuple[bool, bool]:
    return term.present is not None, term.sign is not None


def _filled(term: Term, slot: Slot, colours: Colouring) -> Term:
    """The term with the planes that its slot has."""
    none = np.zeros(colours.rows, np.int64)
    fill: Callable[[Array], Plane] = lambda rows: _rows_plane(rows, colours.words)  # noqa: E731
    sign = term.sign or (fill(none) if slot.sign else None)
    present = term.present or (fill(none + 1) if slot.present else None)
    return Term(term.source, term.row, term.shift, sign, present)
