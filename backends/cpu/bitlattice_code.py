"""Vector code of the bit-plane lattice kernel, emitted from the slots of a lattice program.

One vector holds `lanes` neighbouring words of a row, 64 sites each. Eight planes of random bits,
four Philox calls, are compared for every word; words with an undecided site are queued and
finished call by call in dense vectors.

With the counter (word, row, clock, call) the first rounds share much. After round 0 the words are
(row ^ a, b, hi(M0 word) ^ call ^ k, lo(M0 word)), a and b of the clock alone. Round 1 multiplies a
number of the row and one of (word, call); of the two products of round 2 one belongs to
(word, call, clock) and one to (word, row). `tabulate` writes what does not depend on the row.

Arguments that are addresses point to uint64. A descriptor of one colour holds, in this order:
OWN address and STRIDE in bytes of its rows, VALID and its row offsets; then for each slot SOURCE,
SIGN and PRESENT, each an address followed by that of the row offsets in bytes.
"""

# mypy: allow-untyped-calls, allow-untyped-decorators, disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite.ir import IntType

from isingnpu.bitlogic import Classes, Slot, at_least, count, monomials
from isingnpu.rng import M0, M1

from . import ir
from .ir import I1, I64, LOW, Code, Word

CALLS = 4  # Philox calls read for every word, two planes each
OWN, STRIDE, VALID, VALID_ROWS, SLOTS = 0, 1, 2, 3, 4
LOW_HALVES = 31  # place among the keys of a word with every other bit set
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
        return 2 + max(0, self.number - 1).bit_length()

    @property
    def tabulated(self) -> int:
        """Words tabulated per word of a row."""
        return 1 + 3 * CALLS


def _kind(config: Kernel) -> Any:
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
        return self.code.load(line + offset, _kind(self.config))

    def words(self, offset: Word, own: Word) -> tuple[list[Word], list[Word | None]]:
        """Unsatisfied bonds and presence of each slot, for spins `own`."""
        unsatisfied: list[Word] = []
        present: list[Word | None] = []
        for source, sign, presence in self.lines:
            x = ~own if source is None else own ^ self.load(source, offset)
            unsatisfied.append(x if sign is None else x ^ self.load(sign, offset))
            present.append(None if presence is None else self.load(presence, offset))
        return unsatisfied, present


def _fused(code: Code, logic: Callable[[Any, Any, Any], Any], a: Word, b: Word, c: Word) -> Word:
    """logic(a, b, c), as the one instruction that AVX-512 has for any such function."""
    bits = a.type.element.width
    if not code.has("avx512f") or a.lanes * bits != 512:
        return logic(a, b, c)
    truth = sum((logic(k >> 2 & 1, k >> 1 & 1, k & 1) & 1) << k for k in range(8))
    name = f"llvm.x86.avx512.pternlog.{'q' if bits == 64 else 'd'}.512"
    return code.call(name, a.type, a, b, c, code.word(ir.I32, truth))


def _threshold(code: Code, config: Kernel, masks: Word, plane: int, terms: list[Any]) -> Word:
    """Bits of the threshold of each site: D_0 ^ XOR_m (monomial_m & D_m)."""
    at = 8 * plane * config.number
    t = code.splat(code.load(masks, I64, at), config.lanes)
    for m, term in enumerate(terms, 1):
        if term is not None:
            t = t ^ (term & code.splat(code.load(masks, I64, at + 8 * m), config.lanes))
    return t


def _iota(code: Code, config: Kernel) -> Word:
    return code.word(_kind(config), list(range(config.lanes)))


def _popcount(code: Code, word: Word) -> Word:
    return code.call(f"llvm.ctpop.v{word.lanes}i64", word.type, word)


def _sum(code: Code, word: Word) -> Word:
    return code.call(f"llvm.vector.reduce.add.v{word.lanes}i64", I64, word)


def _compress(code: Code, word: Word, kept: Word) -> Word:
    """The kept lanes first."""
    name = f"llvm.experimental.vector.compress.v{word.lanes}i64"
    return code.call(name, word.type, word, kept, code.word(word.type, 0))


def _how_many(code: Code, kept: Word) -> Word:
    bits = kept.bitcast(IntType(kept.lanes)).extend(I64)
    return code.call("llvm.ctpop.i64", I64, bits)


def _key(code: Code, config: Kernel, keys: Word, round_: int, half: int) -> Word:
    return code.splat(code.load(keys, I64, 16 * round_ + 8 * half), config.lanes)


@ir.emits
def tabulate(
    code: Code, config: Kernel, table: Word, vectors: Word, clock: Word, call: Word, keys: Word
) -> None:
    """Write what rounds 0 to 2 have in common for all rows of a colour: for each vector of words
    lo(M0 word) ^ k, then for each call the last two summands of x0 and x2, and x3 with its key.

    call: the part of the last counter word that all calls share."""
    first = (clock & LOW) * M1  # round 0 of the clock
    with code.loop(vectors) as j:
        word = code.splat(j * config.lanes, config.lanes) + _iota(code, config)
        p = word * M0
        shared = (p >> 32) ^ _key(code, config, keys, 0, 1)
        at = table + j * (8 * config.lanes * config.tabulated)
        code.store((p & LOW) ^ _key(code, config, keys, 1, 1), at)
        for c in range(CALLS):
            x2 = shared ^ code.splat(call | c, config.lanes)
            p1 = (x2 & LOW) * M1  # round 1
            x0 = (p1 >> 32) ^ code.splat(first & LOW, config.lanes)
            p0 = ((x0 ^ _key(code, config, keys, 1, 0)) & LOW) * M0  # round 2
            parts = (
                p1 ^ _key(code, config, keys, 2, 0),
                (p0 >> 32) ^ _key(code, config, keys, 2, 1),
                p0 ^ _key(code, config, keys, 3, 1),
            )
            for k, part in enumerate(parts):
                code.store(part, at, 8 * config.lanes * (1 + 3 * c + k))


def _draw(
    code: Code, config: Kernel, table: Word, keys: Word, row: tuple[Word, Word]
) -> list[Word]:
    """The first 2 CALLS planes of a vector of words. row: both halves of round 1's product."""
    size, kind = 8 * config.lanes, _kind(config)
    x2 = code.load(table, kind) ^ row[0]
    both = (x2 & LOW) * M1  # round 2
    high = both >> 32
    planes: list[Word] = []
    for start in range(0, CALLS, config.together):
        states = []
        for c in range(start, start + config.together):
            at = size * (1 + 3 * c)
            x0 = high ^ code.load(table, kind, at)
            x2 = row[1] ^ code.load(table, kind, at + size)
            states.append((x0, both, x2, code.load(table, kind, at + 2 * size)))
        for r in range(3, config.rounds):
            k0, k1 = (_key(code, config, keys, r, half) for half in (0, 1))
            products = [((x0 & LOW) * M0, (x2 & LOW) * M1) for x0, _, x2, _ in states]
            if r == config.rounds - 1:
                low = _low_halves(code, config, keys)
                planes += _last_round(code, states, products, (k0, k1), low)
                break
            states = [
                ((p1 >> 32) ^ x1 ^ k0, p1, (p0 >> 32) ^ (x3 if r == 3 else x3 ^ k1), p0)
                for (p0, p1), (_, x1, _, x3) in zip(products, states, strict=True)
            ]
    return planes


def _low_halves(code: Code, config: Kernel, keys: Word) -> Word:
    """Every other of the 32-bit lanes, as bits. Read from memory for AVX-512, which then merges
    by a mask; of a constant LLVM makes a shuffle more."""
    kind = ir.vector(I1, 2 * config.lanes)
    if code.has("avx512f") and config.lanes == 8:
        return code.load(keys, I64, 8 * LOW_HALVES).truncate(ir.I16).bitcast(kind)
    return code.word(kind, [1, 0] * config.lanes)


def _last_round(
    code: Code, states: Any, products: Any, keys: tuple[Word, Word], low: Word
) -> list[Word]:
    """x0 | x1 << 32 and x2 | x3 << 32 of each call: the product with its halves exchanged, the
    low one with the rest of the round."""
    planes = []
    for (p0, p1), (_, x1, _, x3) in zip(products, states, strict=True):
        for product, other, key in ((p1, x1, keys[0]), (p0, x3, keys[1])):
            planes.append(_merge_low(code, product, other, key, low))
    return planes


def _merge_low(code: Code, product: Word, other: Word, key: Word, low: Word) -> Word:
    lanes = product.lanes
    halves = ir.vector(ir.I32, 2 * lanes)
    p, o, k = (word.bitcast(halves) for word in (product, other, key))
    turned = p.shuffle(p, [lane ^ 1 for lane in range(2 * lanes)])
    both = _fused(code, lambda a, b, c: a ^ b ^ c, turned, o, k)
    return low.where(both, turned).bitcast(product.type)


@ir.emits
def update(
    code: Code,
    config: Kernel,
    colour: Word,
    begin: Word,
    end: Word,
    vectors: Word,
    clock: Word,
    table: Word,
    masks: Word,
    keys: Word,
    queue: Word,
    capacity: Word,
    flips: Word,
) -> Word:
    """Visit the rows begin .. end - 1 of a colour; returns how many words are queued.

    capacity: bytes between the arrays of the queue; flips: address of a count to add to."""
    kind, size = _kind(config), 8 * config.lanes
    queued = code.variable(code.word(I64, 0))
    flipped = code.variable(code.word(kind, 0))
    base = (((clock & LOW) * M1) >> 32) ^ code.load(keys, I64, 0)
    with code.loop(end - begin) as k:
        row = begin + k
        line = Row(code, config, colour, row)
        product = ((base ^ row) & LOW) * M0  # round 1 of the row
        halves = (code.splat(product >> 32, config.lanes), code.splat(product, config.lanes))
        place = code.splat(row << 32, config.lanes) + _iota(code, config)
        with code.loop(vectors) as j:
            offset = j * size
            own = line.load(line.own, offset)
            bits = count(config.slots, *line.words(offset, _counted(config, own)))
            terms = monomials(bits, config.number)
            planes = _draw(code, config, table + j * (size * config.tabulated), keys, halves)
            below, open_ = code.word(kind, 0), _open(code, config, bits, line, offset)
            for plane in reversed(range(2 * CALLS)):
                t, r = _threshold(code, config, masks, plane, terms), planes[plane]
                below = _fused(code, lambda t, r, m: (t & ~r) | (~(t ^ r) & m), t, r, below)
                open_ = _fused(code, lambda t, r, m: ~(t ^ r) & m, t, r, open_)
            change = _change(code, config, own, below, open_, bits, line, offset)
            code.store(own ^ change, line.own + offset)
            flipped.set(flipped.get() + _popcount(code, change))
            here = place + code.splat(j * config.lanes, config.lanes)
            kept = open_.compare("!=", 0)
            at = queue + (queued.get() << 3)
            for array, value in enumerate(_entry(config, open_, here, bits)):
                code.store(_compress(code, value, kept), at + capacity * array)
            queued.set(queued.get() + _how_many(code, kept))
    code.store(code.load(flips, I64) + _sum(code, flipped.get()), flips)
    return queued.get()


def _counted(config: Kernel, own: Word) -> Word:
    """The spins to count unsatisfied bonds for: heat bath asks as if they were up."""
    return own | -1 if config.heat_bath else own


def _free(config: Kernel, bits: list[Any]) -> Word | None:
    return None if config.heat_bath else at_least(bits, config.number)


def _open(code: Code, config: Kernel, bits: list[Any], row: Row, offset: Word) -> Word:
    """Sites whose decision needs random bits."""
    valid = None if row.valid is None else row.load(row.valid, offset)
    free = _free(config, bits)
    if free is None:
        return code.word(_kind(config), -1) if valid is None else valid
    return ~free if valid is None else valid & ~free


def _change(
    code: Code,
    config: Kernel,
    own: Word,
    below: Word,
    open_: Word,
    bits: list[Any],
    row: Row,
    offset: Word,
) -> Word:
    """Sites that flip; an undecided one does not yet."""
    free = _free(config, bits)
    if config.heat_bath:
        change = (own ^ below) & ~open_
    else:
        change = below if free is None else below | free
    return change if row.valid is None else change & row.load(row.valid, offset)


def _entry(config: Kernel, open_: Word, place: Word, bits: list[Any]) -> list[Word]:
    """The words of a queue entry."""
    return [open_, place, *(bit if bit is not None else open_ for bit in bits)][: config.queued]


@ir.emits
def finish(
    code: Code,
    config: Kernel,
    colour: Word,
    queued: Word,
    clock: Word,
    call: Word,
    masks: Word,
    keys: Word,
    queue: Word,
    capacity: Word,
    scratch: Word,
    flips: Word,
) -> Word:
    """Read two more planes for the queued words; returns how many stay undecided.

    call: the last counter word; masks: those of the call's first plane; scratch: 3 vectors."""
    kind, size = _kind(config), 8 * config.lanes
    left = code.variable(code.word(I64, 0))
    with code.loop((queued + (config.lanes - 1)) >> (config.lanes.bit_length() - 1)) as j:
        start, at = j * config.lanes, queue + j * size
        entry = [code.load(at + capacity * k, kind) for k in range(config.queued)]
        real = _iota(code, config).compare("<", code.splat(queued - start, config.lanes))
        before = real.where(entry[0], code.word(kind, 0))
        place, terms = entry[1], monomials(entry[2:], config.number)
        counter = (
            place & LOW,
            place >> 32,
            code.splat(clock, config.lanes),
            code.splat(call, config.lanes),
        )
        x = ir.philox(code, counter, keys, range(config.rounds))
        accepted, open_ = code.word(kind, 0), before
        for plane, r in enumerate((ir.pair(x[0], x[1]), ir.pair(x[2], x[3]))):
            t = _threshold(code, config, masks, plane, terms)
            accepted = accepted | (open_ & t & ~r)
            open_ = open_ & ~(t ^ r)
        decided = before & ~open_
        for k, value in enumerate((accepted, decided, place)):
            code.store(value, scratch, k * size)
        _apply(code, config, colour, (queued - start), scratch, flips)
        kept = open_.compare("!=", 0)
        to = queue + (left.get() << 3)
        for k, value in enumerate((open_, *entry[1:])):
            code.store(_compress(code, value, kept), to + capacity * k)
        left.set(left.get() + _how_many(code, kept))
    return left.get()


def _apply(
    code: Code, config: Kernel, colour: Word, remaining: Word, scratch: Word, flips: Word
) -> None:
    """Write the decisions of one vector of queued words."""
    size = 8 * config.lanes
    own, stride = code.load(colour, I64, 8 * OWN), code.load(colour, I64, 8 * STRIDE)
    lanes = remaining.compare("<", config.lanes).where(remaining, code.word(I64, config.lanes))
    total = code.variable(code.load(flips, I64))
    with code.loop(lanes) as lane:
        at = scratch + (lane << 3)
        accepted, decided = code.load(at, I64), code.load(at, I64, size)
        place = code.load(at, I64, 2 * size)
        word = own + (place >> 32) * stride + ((place & LOW) << 3)
        old = code.load(word, I64)
        new = (old & ~decided) | accepted if config.heat_bath else old ^ accepted
        code.store(new, word)
        total.set(total.get() + code.call("llvm.ctpop.i64", I64, old ^ new))
    code.store(total.get(), flips)


@ir.emits
def close(code: Code, config: Kernel, colour: Word, begin: Word, end: Word, ends: Word) -> None:
    """Write the words beside the ends of rows begin .. end - 1: word -1 is the last one shifted
    by a column, word `words` the first one. An axis that goes around also has columns -1 and
    `columns`, copies of the other end.

    ends: bytes of a row's words; of the word of column `columns`, its bit; of the word of the
    last column, its bit; all ones where the seam changes the sign, else 0."""
    words, after, after_bit, last, last_bit, flip = (code.load(ends, I64, 8 * k) for k in range(6))
    own, stride = code.load(colour, I64, 8 * OWN), code.load(colour, I64, 8 * STRIDE)
    with code.loop(end - begin) as k:
        line = own + (begin + k) * stride
        first = (code.load(line, I64) ^ flip) & 1
        if config.closed and config.ragged:  # column `columns` is a bit that is no site
            at = line + after
            cleared = code.load(at, I64) & ~(code.word(I64, 1) << after_bit)
            code.store(cleared | first << after_bit, at)
        right = code.load(line, I64) >> 1
        left = code.load(line + words, I64, -8) << 1
        if config.closed:
            right = right if config.ragged else right | first << 63
            left = left | ((code.load(line + last, I64) >> last_bit) ^ flip) & 1
        code.store(right, line + words)
        code.store(left, line, -8)


@ir.emits
def measure(
    code: Code, config: Kernel, colour: Word, begin: Word, end: Word, vectors: Word, bonds: Word,
    counts: Word,
) -> None:  # fmt: skip
    """Add to counts: spins up, and if `bonds` is not 0 the unsatisfied bonds of each slot."""
    kind, size = _kind(config), 8 * config.lanes
    up = code.variable(code.word(kind, 0))
    unsatisfied = [code.variable(code.word(kind, 0)) for _ in config.slots]
    with code.loop(end - begin) as k:
        line = Row(code, config, colour, begin + k)
        with code.loop(vectors) as j:
            offset = j * size
            own = line.load(line.own, offset)
            valid = None if line.valid is None else line.load(line.valid, offset)
            seen = own if valid is None else own & valid
            up.set(up.get() + _popcount(code, seen))
            with code.when(bonds.compare("!=", 0)):
                words, present = line.words(offset, own)
                for variable, x, p in zip(unsatisfied, words, present, strict=True):
                    x = x if p is None else x & p
                    x = x if valid is None else x & valid
                    variable.set(variable.get() + _popcount(code, x))
    for k, variable in enumerate((up, *unsatisfied)):
        code.store(code.load(counts, I64, 8 * k) + _sum(code, variable.get()), counts, 8 * k)
