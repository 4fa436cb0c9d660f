"""Vector code of cluster moves: eight words, 64 bonds each, are drawn at a time.

Spins and bonds are bits in site order, 64 to a word. A bond is active where it is satisfied and
its 64-bit integer lies below the threshold; the integers are compared plane by plane, most
significant first, until no satisfied bond is undecided.
"""

# mypy: allow-untyped-calls, allow-untyped-decorators, disable-error-code="no-any-return"
from __future__ import annotations

from dataclasses import dataclass

from llvmlite.ir import IntType

from .ir import I1, I64, Code, Static, Word, emits, pair, philox, vector

LANES = 8  # words of one vector
WORDS = vector(I64, LANES)
FIRST_CALLS = 4  # of two planes each, before the first look whether all is decided


@dataclass(frozen=True)
class BondCode(Static):
    """rounds of Philox; lattice: words of bits with one threshold per axis, else a graph; wolff:
    single clusters instead of all."""

    rounds: int
    lattice: bool
    wolff: bool


def _counter(
    code: Code, word: Word, slot: Word, clock: Word, last: Word
) -> tuple[Word, Word, Word, Word]:
    iota = code.word(WORDS, list(range(LANES)))
    slots, clocks, lasts = (code.splat(x, LANES) for x in (slot, clock, last))
    return code.splat(word, LANES) + iota, slots, clocks, lasts


def _compare(
    code: Code, config: BondCode, planes: Word, stride: Word, draw: Word, undecided: Word,
    active: Word,
) -> tuple[Word, Word]:  # fmt: skip
    """One plane of the integers against one of the thresholds."""
    if config.lattice:
        limit = code.splat(code.load(planes, I64), LANES)
    else:
        limit = code.load(planes, WORDS)
    active = active | (undecided & limit & ~draw)
    return undecided & ~(draw ^ limit), active


def _any(code: Code, undecided: Word) -> Word:
    return code.call("llvm.vector.reduce.or.v8i64", I64, undecided)


@emits
def first_planes(
    code: Code, config: BondCode, state: Word, word: Word, slot: Word, clock: Word, last: Word,
    keys: Word, planes: Word, stride: Word,
) -> Word:  # fmt: skip
    """Compare eight planes. state: address of eight words of bonds to decide, which become those
    undecided, and of eight that become the active ones. planes: address of the thresholds' first
    plane, stride: bytes to the next. Returns whether any bond is undecided."""
    undecided = code.load(state, WORDS)
    active = undecided ^ undecided
    at = planes
    for call in range(FIRST_CALLS):
        counter = _counter(code, word, slot, clock, last | call)
        x = philox(code, counter, keys, range(config.rounds))
        for draw in (pair(x[0], x[1]), pair(x[2], x[3])):
            undecided, active = _compare(code, config, at, stride, draw, undecided, active)
            at = at + stride
    code.store(undecided, state)
    code.store(active, state, 8 * LANES)
    return _any(code, undecided)


@emits
def next_planes(
    code: Code, config: BondCode, state: Word, word: Word, slot: Word, clock: Word, last: Word,
    keys: Word, planes: Word, stride: Word,
) -> Word:  # fmt: skip
    """Compare the two planes of one further call, whose number is in `last`."""
    undecided, active = code.load(state, WORDS), code.load(state, WORDS, 8 * LANES)
    x = philox(code, _counter(code, word, slot, clock, last), keys, range(config.rounds))
    undecided, active = _compare(code, config, planes, stride, pair(x[0], x[1]), undecided, active)
    undecided, active = _compare(
        code, config, planes + stride, stride, pair(x[2], x[3]), undecided, active
    )
    code.store(undecided, state)
    code.store(active, state, 8 * LANES)
    return _any(code, undecided)


@emits
def coin_words(
    code: Code, config: BondCode, out: Word, word: Word, clock: Word, last: Word, keys: Word
) -> None:
    """Eight words of coins, one bit per site."""
    counter = _counter(code, word, code.word(I64, 0), clock, last)
    x = philox(code, counter, keys, range(config.rounds))
    code.store(pair(x[0], x[1]), out)


def _bits_from(code: Code, address: Word, shift: Word) -> Word:
    """Eight words that begin `shift` (0..63) bits after the address."""
    low, high = code.load(address, WORDS), code.load(address, WORDS, 8)
    return code.call("llvm.fshr.v8i64", WORDS, high, low, code.splat(shift, LANES))


@emits
def satisfied(
    code: Code, config: BondCode, spins: Word, ahead: Word, ahead_shift: Word, back: Word,
    back_shift: Word, masks: Word, size: Word, out: Word,
) -> Word:  # fmt: skip
    """Satisfied bonds of eight words of owners to `out`; returns their number.

    The other sites' bits begin at ahead, or at back for bonds around the box. masks: address of
    the words of `present`; `negative` and `around` follow `size` bytes apart each."""
    present, negative, around = (
        code.load(masks + offset, WORDS) for offset in (0, size, size + size)
    )
    near, far = _bits_from(code, ahead, ahead_shift), _bits_from(code, back, back_shift)
    other = (near & ~around) | (far & around)
    bonds = present & ~(code.load(spins, WORDS) ^ other ^ negative)
    code.store(bonds, out)
    ones = code.call("llvm.ctpop.v8i64", WORDS, bonds)
    return code.call("llvm.vector.reduce.add.v8i64", I64, ones)


@emits
def lowest(code: Code, config: BondCode, word: Word) -> Word:
    """Position of the lowest set bit; 64 if there is none."""
    return code.call("llvm.cttz.i64", I64, word, code.word(I1, 0))


@emits
def highest(code: Code, config: BondCode, word: Word) -> Word:
    """Position of the highest set bit of a word that is not 0."""
    return code.word(I64, 63) - code.call("llvm.ctlz.i64", I64, word, code.word(I1, 1))


@emits
def ones(code: Code, config: BondCode, word: Word) -> Word:
    """Number of set bits."""
    return code.call("llvm.ctpop.i64", I64, word)


@emits
def first_site(
    code: Code, config: BondCode, sites: Word, clock: Word, last: Word, keys: Word
) -> Word:
    """Where a Wolff cluster begins: the upper half of (64-bit word) * sites."""
    none = code.word(I64, 0)
    x = philox(code, _counter(code, none, none, clock, last), keys, range(config.rounds))
    words = pair(x[0], x[1])
    word = Word(code.builder, code.builder.extract_element(words.value, none.value))
    wide = IntType(128)
    return ((word.extend(wide) * sites.extend(wide)) >> 64).truncate(I64)
