"""The logic of a lattice program as text for kernels/lattice.cu.

`isingnpu.bitlogic` runs on words that write down every operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from isingnpu.bitlogic import Classes, Slot, at_least, count, monomials

from .records import Record


@dataclass
class Statements:
    """Lines of a function, in order."""

    lines: list[str] = field(default_factory=list)

    def keep(self, expression: str) -> Word:
        name = f"t{len(self.lines)}"
        self.lines.append(f"    const u64 {name} = {expression};")
        return Word(self, name)


@dataclass(frozen=True)
class Word:
    """A value of 64 sites in generated text."""

    code: Statements
    name: str

    def __and__(self, other: Word) -> Word:
        return self.code.keep(f"{self.name} & {other.name}")

    def __or__(self, other: Word) -> Word:
        return self.code.keep(f"{self.name} | {other.name}")

    def __xor__(self, other: Word) -> Word:
        return self.code.keep(f"{self.name} ^ {other.name}")

    def __invert__(self) -> Word:
        return self.code.keep(f"~{self.name}")


def _name(word: Word | None) -> str:
    return "0" if word is None else word.name


def program_header(slots: Sequence[Slot], record: Record, heat_bath: bool) -> str:
    """The text of program.cuh for these slots."""
    classes = Classes(sum(s.weight for s in slots), any(s.present for s in slots))
    number = classes.number(heat_bath)
    digits = max(0, number - 1).bit_length()
    entries = " ".join(
        f"_({k}, {int(slot.field)}, {int(record.beside[k])}, {max(row, 0)}, {sign}, {present})"
        for k, (slot, (row, sign, present)) in enumerate(zip(slots, record.places, strict=True))
    )
    counting = Statements()
    bits = count(
        slots,
        [Word(counting, f"x[{k}]") for k in range(len(slots))],
        [Word(counting, f"present[{k}]") for k in range(len(slots))],
    )
    free = None if heat_bath else at_least(bits, number)
    counted = [f"    digits[{k}] = {_name(bit)};" for k, bit in enumerate(bits[:digits])]
    products = Statements()
    terms = monomials([Word(products, f"digits[{k}]") for k in range(digits)], number)
    multiplied = [f"    product[{m}] = {_name(term)};" for m, term in enumerate(terms, 1)]
    return "\n".join([
        "// Made by isingnpu/backends/cuda/logic.py.",
        "#pragma once",
        '#include "portable.cuh"',
        f"#define SLOTS {len(slots)}",
        f"#define NUMBER {number}",
        f"#define DIGITS {digits}",
        f"#define RECORD {record.size}",
        f"#define VALID_AT {record.valid}",
        f"#define SLOT_LIST(_) {entries}",
        "// The lowest bits of the number of unsatisfied bonds; returns the moves that are free.",
        "__device__ __forceinline__ u64 count_unsatisfied(const u64 x[SLOTS],",
        "                                                 const u64 present[SLOTS],",
        "                                                 u64 digits[]) {",
        *counting.lines, *counted, f"    return {_name(free)};", "}",
        "// Products of the digits, 1 .. NUMBER - 1 by their bits.",
        "__device__ __forceinline__ void products(const u64 digits[], u64 product[NUMBER]) {",
        *products.lines, *multiplied, "}", "",
    ])  # fmt: skip
