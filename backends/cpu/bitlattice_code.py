"""Vector code of the bit-plane lattice kernel: its configuration, and a row as a colour sees it.

One vector holds `lanes` neighbouring words of a row, 64 sites each. Arguments of emitted functions
that are addresses point to uint64. A descriptor of one colour holds, in this order: OWN address
and STRIDE in bytes of its rows, VALID and its row offsets; then for each slot SOURCE, SIGN and
PRESENT, each an address followed by that of the row offsets in bytes.
"""

# mypy: allow-untyped-calls, disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite.ir import IntType

from isingnpu.bitlogic import Classes, Slot

from . import ir
from .ir import I64, Code, Word

CALLS = 4  # Philox calls read for every word, two planes each
OWN, STRIDE, VALID, VALID_ROWS, SLOTS = 0, 1, 2, 3, 4
PER_SLOT = 6  # source, its rows, sign, its rows, presence, its rows


@dataclass(frozen=True)
class Kernel(ir.Static):
    """What the code depends on. lanes: words per vector; masked: vectors with bits that are no
    sites; ragged: words with such; closed: the last axis goes around; together: Philox calls
    advanced side by side."""

    slots: tuple[Slot, ...]
    rounds: int
    heat_bath: bool
    masked: bool
    ragged: bool
    closed: bool
    lanes: int
    together: int

    @property
    def classes(self) -> Classes:
        return Classes(sum(s.weight for s in self.slots), any(s.present for s in self.slots))

    @property
    def number(self) -> int:
        """Number of thresholds."""
        return self.classes.number(self.heat_bath)

    @property
    def queued(self) -> int:
        """Words queued per undecided word: sites, place, bits of N."""
        return 2 + self.digits

    @property
    def digits(self) -> int:
        """Bits of the numbers N that have a threshold."""
        return max(0, self.number - 1).bit_length()

    @property
    def choices(self) -> int:
        """Vectors of all planes that thresholds can have, 0 where they are computed instead."""
        return 1 << self.number if 0 < self.number <= 3 else 0

    @property
    def tabulated(self) -> int:
        """Words tabulated per word of a row."""
        return 1 + 3 * CALLS

    @property
    def pair(self) -> int:
        """Words per vector of those that queued words lie in: two vectors go side by side."""
        return 2 * self.lanes


def words(config: Kernel) -> Any:
    """The LLVM type of a vector of words."""
    return ir.vector(I64, config.lanes)


class Row:
    """Addresses of one row as a colour sees it, and what its words hold."""

    def __init__(self, code: Code, config: Kernel, colour: Word, row: Word) -> None:
        self.code, self.config = code, config
        self.own = self._field(colour, OWN) + row * self._field(colour, STRIDE)
        self.valid = self._line(colour, VALID, row) if config.masked else None
        self.lines = []
        for k, slot in enumerate(config.slots):
            at = SLOTS + PER_SLOT * k
            wanted = (not slot.field, slot.sign, slot.present)
            self.lines.append(
                [self._line(colour, at + 2 * j, row) if w else None for j, w in enumerate(wanted)]
            )

    def _field(self, colour: Word, at: int) -> Word:
        return self.code.load(colour, I64, 8 * at)

    def _line(self, colour: Word, at: int, row: Word) -> Word:
        """Address of the row's line: base + offset[row]."""
        offset = self.code.load(self._field(colour, at + 1) + (row << 3), I64)
        return self._field(colour, at) + offset

    def load(self, line: Word, offset: Word) -> Word:
        return self.code.load(line + offset, words(self.config))

    def bonds(self, offset: Word, own: Word) -> tuple[list[Word], list[Word | None]]:
        """Unsatisfied bonds and presence of each slot, for spins `own`."""
        unsatisfied: list[Word] = []
        present: list[Word | None] = []
        for source, sign, presence in self.lines:
            x = ~own if source is None else own ^ self.load(source, offset)
            unsatisfied.append(x if sign is None else x ^ self.load(sign, offset))
            present.append(None if presence is None else self.load(presence, offset))
        return unsatisfied, present


# Operations that LLVM's integers do not have


def fused(code: Code, logic: Callable[[Any, Any, Any], Any], a: Word, b: Word, c: Word) -> Word:
    """logic(a, b, c), as the one instruction that AVX-512 has for any such function."""
    bits = a.type.element.width
    if not code.has("avx512f") or a.lanes * bits != 512:
        return logic(a, b, c)
    truth = sum((logic(k >> 2 & 1, k >> 1 & 1, k & 1) & 1) << k for k in range(8))
    name = f"llvm.x86.avx512.pternlog.{'q' if bits == 64 else 'd'}.512"
    return code.call(name, a.type, a, b, c, code.word(ir.I32, truth))


def exchanged(word: Word) -> Word:
    """Both halves of every word exchanged."""
    halves = word.bitcast(ir.vector(ir.I32, 2 * word.lanes))
    turned = halves.shuffle(halves, [lane ^ 1 for lane in range(2 * word.lanes)])
    return turned.bitcast(word.type)


def numbered(code: Code, lanes: int) -> Word:
    """0, 1, 2, .. in the lanes."""
    return code.word(ir.vector(I64, lanes), list(range(lanes)))


def popcount(code: Code, word: Word) -> Word:
    """Bits that are set in each lane."""
    return code.call(f"llvm.ctpop.v{word.lanes}i64", word.type, word)


def total(code: Code, word: Word) -> Word:
    """Sum of the lanes."""
    return code.call(f"llvm.vector.reduce.add.v{word.lanes}i64", I64, word)


def compress(code: Code, word: Word, kept: Word) -> Word:
    """The kept lanes first."""
    name = f"llvm.experimental.vector.compress.v{word.lanes}i64"
    return code.call(name, word.type, word, kept, code.word(word.type, 0))


def how_many(code: Code, kept: Word) -> Word:
    """Lanes that are kept."""
    bits = kept.bitcast(IntType(kept.lanes)).extend(I64)
    return code.call("llvm.ctpop.i64", I64, bits)
