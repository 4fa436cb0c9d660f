"""The instructions of the bit-plane kernel: 64 replicas as the bits of a word, several words.

A visit counts the neighbours that favour up in carry-save form, X - start, whose sign is that of
v or h and whose lower bits are the class of its size. The bits of the threshold are picked by
class, plane by plane, and compared with the planes of r from the least significant one up:

    less = (t & ~r) | (~(t ^ r) & less),    equal &= ~(t ^ r)

Words with a replica that is still equal after the last plane go to a queue, whose words of
several sites are compared with further planes side by side.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from llvmlite import ir

from isingnpu.rng import M0, M1

from .ir import I32, I64, LOW, Code, Static, Word, emits, pair, vector
from .planes_graph import BATCH

Bit = Word | int  # a vector of bits, or 0 or 1 in every lane

XOR3, MAJORITY, CHOOSE, LESS, EQUAL = 0x96, 0xE8, 0xCA, 0xB2, 0x90
FORMULAS: dict[int, Callable[[Word, Word, Word], Word]] = {
    XOR3: lambda a, b, c: a ^ b ^ c,
    MAJORITY: lambda a, b, c: (a & b) | (c & (a | b)),
    CHOOSE: lambda a, b, c: (a & b) | (~a & c),
    LESS: lambda t, r, m: (t & ~r) | (~(t ^ r) & m),
    EQUAL: lambda e, t, r: e & ~(t ^ r),
}
# Layout of the random state, in bytes: the scalar of a sweep, the round keys, the vectors.
KEYS, VECTORS = 8, 512
EARLY = 48  # entries ahead, whose spins are asked for where they lie far away
QUEUE = 8 * (8 * BATCH + 64)  # bytes of one column of the queue, with what a store spills


@dataclass(frozen=True)
class Settle(Static):
    """What the decisions of queued words depend on.

    words: of a site; bits: of the counter; parity: of all sites, 2 if both occur; classes: in the
    tables; own: thresholds per replica; calls: of Philox before."""

    words: int
    bits: int
    parity: int
    classes: int
    heat_bath: bool
    own: bool
    rounds: int
    calls: int

    @property
    def leaf(self) -> int:
        """Words of one threshold's bit in the tables: a word, or one for each word of a site;
        heat bath: beside it the same for negative fields."""
        return (2 if self.heat_bath else 1) * (self.words if self.own else 1)

    @property
    def columns(self) -> int:
        """Of the queue."""
        return 1 + self.bits + (1 if self.heat_bath else 0)


@dataclass(frozen=True)
class Visit(Settle):
    """One form of the visit, of which `sizes` has the classes that each call looks at.

    fixed: entries of each digit of the weights, the same at every site, with `start`, where its
    counter starts below zero; () where lists come in blocks; far: see `neighbour`."""

    fixed: tuple[int, ...]
    start: int
    block: int
    digits: int
    far: bool
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Tally(Static):
    """Sums of bits over many words, per replica."""

    words: int


def ternary(code: Code, table: int, a: Word, b: Word, c: Word) -> Word:
    """A function of three bits; table: its value at 4 a + 2 b + c."""
    width = {8: "512", 4: "256", 2: "128"}.get(a.lanes)
    if width is None or not code.has("avx512f" if a.lanes == 8 else "avx512vl"):
        return FORMULAS[table](a, b, c)
    name = f"llvm.x86.avx512.pternlog.q.{width}"
    return code.call(name, a.type, a, b, c, code.word(I32, table))


def add(code: Code, a: Bit, b: Bit, c: Bit) -> tuple[Bit, Bit]:
    """Sum and carry of three bits, any of which may be constants."""
    words = [x for x in (a, b, c) if isinstance(x, Word)]
    ones = sum(x for x in (a, b, c) if isinstance(x, int))
    if len(words) == 3:
        x, y, z = words
        return ternary(code, XOR3, x, y, z), ternary(code, MAJORITY, x, y, z)
    if len(words) == 2:
        x, y = words
        return (~(x ^ y), x | y) if ones else (x ^ y, x & y)
    if len(words) == 1:
        x = words[0]
        return (~x if ones == 1 else x), (0, x, 1)[ones]
    return ones & 1, ones >> 1


def count(code: Code, columns: list[list[Bit]]) -> list[Bit]:
    """The sum of columns of bits of weight 1, 2, 4, ..., modulo 2^columns."""
    total: list[Bit] = []
    for d, column in enumerate(columns):
        while len(column) > 1:
            taken = (*column[:3], 0)[:3]
            bit, carry = add(code, *taken)
            column[:3] = []
            column.append(bit)
            if d + 1 < len(columns):
                columns[d + 1].append(carry)
        total += column or [0]
    return total


def neighbour(code: Code, words: int, far: bool, spins: Word, entries: Word, k: int) -> Word:
    """x of the k-th entry, a vector of its words; far: the spins of the entry EARLY behind it are
    fetched meanwhile, where not all of them lie in a cache close by."""
    kind = vector(I64, words)
    word, mask = (code.load(entries, I32, 8 * k + offset) for offset in (0, 4))
    if far:
        code.prefetch(spins + code.load(entries, I32, 8 * (k + EARLY)).extend(I64) * 8)
    x = code.load(spins + word.extend(I64) * 8, kind)
    return x ^ code.splat(mask, 2 * words).bitcast(kind)


def _counter(code: Code, config: Visit, spins: Word, own: Word, entries: Word, record: Word,
             starts: Word) -> tuple[list[Word], Word]:  # fmt: skip
    """Bits of X - start, least first, and the address behind the site's entries."""
    kind = vector(I64, config.words)
    entry = partial(neighbour, code, config.words, config.far, spins)

    if config.fixed:
        columns: list[list[Bit]] = [[-config.start >> d & 1] for d in range(config.bits)]
        k = 0
        for d, number in enumerate(config.fixed):
            taken = [entry(entries, j) for j in range(k, k + number)]
            k += number
            if d < config.bits:
                columns[d] = [*taken, *columns[d]]
        if config.parity == 1 and not config.heat_bath:
            columns[0].insert(0, ~own)
        bits = [whole(code, kind, bit) for bit in count(code, columns)]
        return bits, entries + 8 * k
    row = starts + code.load(record, I32, 4).extend(I64) * (8 * config.bits)
    bits = [code.splat(code.load(row, I64, 8 * d), config.words) for d in range(config.bits)]
    total = [code.variable(bit) for bit in bits]
    at = code.variable(entries)
    for d in range(config.digits):
        with code.loop(code.load(record, I32, 12 + 4 * d).extend(I64)):
            taken = [entry(at.get(), k) for k in range(config.block)]
            columns = [[] for _ in range(d)] + [[total[e].get()] for e in range(d, config.bits)]
            if d < config.bits:
                columns[d].extend(taken)
            for variable, bit in zip(total[d:], count(code, columns)[d:], strict=True):
                variable.set(whole(code, kind, bit))
            at.set(at.get() + 8 * config.block)
    return [bit.get() for bit in total], at.get()


def whole(code: Code, kind: ir.Type, bit: Bit) -> Word:
    """A bit as a vector, constants in every lane."""
    return bit if isinstance(bit, Word) else code.word(kind, -bit)


def _tree(code: Code, size: int, beyond: int, classes: Sequence[Word],
          leaf: Callable[[int], Word]) -> Bit:  # fmt: skip
    """leaf(class) for classes below `size`, else `beyond`; classes: its bits, least first."""
    depth = (size - 1).bit_length()
    level: list[Bit] = [leaf(c) for c in range(size)] + [beyond] * ((1 << depth) - size)
    for bit in classes[:depth]:
        level = [_choose(code, bit, b, a) for a, b in zip(level[::2], level[1::2], strict=True)]
    result = level[0]
    for bit in classes[depth:]:
        if isinstance(result, Word):
            result = result | bit if beyond else result & ~bit
    return result


def _choose(code: Code, bit: Word, yes: Bit, no: Bit) -> Bit:
    if isinstance(yes, Word) and isinstance(no, Word):
        return ternary(code, CHOOSE, bit, yes, no)
    if isinstance(yes, Word):
        return yes | ~bit if no else yes & bit
    if isinstance(no, Word):
        return no | bit if yes else no & ~bit
    assert yes == no
    return yes


def threshold_bit(code: Code, config: Visit | Settle, size: int, leaf: Callable[[int, int], Word],
               kind: ir.Type, sign: Word | None, classes: Sequence[Word]) -> Word:  # fmt: skip
    """One bit of every replica's threshold; leaf(class, side), side 1: of negative fields."""
    above = _tree(code, size, int(config.heat_bath), classes, lambda c: leaf(c, 0))
    if sign is None:
        return whole(code, kind, above)
    below = _tree(code, size, 0, classes, lambda c: leaf(c, 1))
    return whole(code, kind, _choose(code, sign, below, above))


def _draws(code: Code, config: Visit, draws: Word, site: Word) -> Callable[[int], list[Word]]:
    """call -> its two planes. Three of the rounds do not depend on the site but for one word,
    see `planes_sweep.prepare`: their vectors are in `draws`."""
    kind, words = vector(I64, config.words), config.words

    def kept(k: int) -> Word:
        return code.load(draws, kind, VECTORS + 8 * words * k)

    def key(r: int, z: int) -> Word:
        return code.splat(code.load(draws, I64, KEYS + 16 * r + 8 * z), words)

    product = ((code.load(draws, I64) ^ site) & LOW) * M0
    x3 = code.splat(product & LOW, words)
    second = ((code.splat(product >> 32, words) ^ kept(0)) & LOW) * M1
    upper = second >> 32

    def call(c: int) -> list[Word]:
        y0, y1 = upper ^ kept(1 + 3 * c), second
        y2, y3 = kept(2 + 3 * c) ^ x3, kept(3 + 3 * c)
        for r in range(3, config.rounds):
            p0, p1 = (y0 & LOW) * M0, (y2 & LOW) * M1
            y0 = ternary(code, XOR3, p1 >> 32, y1, key(r, 0))
            y2 = ternary(code, XOR3, p0 >> 32, y3, key(r, 1))
            y1, y3 = p1, p0
        return [pair(y0, y1), pair(y2, y3)]

    return call


@emits
def visit(code: Code, config: Visit, spins: Word, place: Word, entries: Word, record: Word,
          starts: Word, tables: Word, draws: Word, flips: Word, queue: Word,
          label: Word) -> Word:  # fmt: skip
    """Visit the site at `place` bytes behind `spins`; its flips go to `flips`, words with
    undecided replicas to the columns at `queue`. Returns the number of these | bytes of entries
    read << 8.

    tables: bits (planes, leaves, sides, 1 or words), see `planes_limits`."""
    kind = vector(I64, config.words)
    old = code.load(spins + place, kind)
    bits, behind = _counter(code, config, spins, old, entries, record, starts)
    sign = bits[-1] if config.heat_bath else bits[-1] ^ ~old
    classes = [bit ^ (sign if config.heat_bath else ~old) for bit in bits[:-1]]
    equal = code.word(kind, -1) if config.heat_bath else ~sign
    less = code.word(kind, 0)
    site, parity = (code.load(record, I32, offset).extend(I64) for offset in (0, 8))
    call = _draws(code, config, draws, site)
    first = tables + (parity if config.parity == 2 else config.parity) * (8 * config.leaf)

    def leaf(plane: int, c: int, side: int) -> Word:
        number = (plane * config.classes + c) * 2
        offset = 8 * (number * config.leaf + side * (config.words if config.own else 1))
        if config.own:
            return code.load(first, kind, offset)
        return code.splat(code.load(first, I64, offset), config.words)

    for c in reversed(range(config.calls)):
        for half, drawn in reversed(list(enumerate(call(c)))):
            t = threshold_bit(code, config, config.sizes[c], partial(leaf, 2 * c + half), kind,
                           sign if config.heat_bath else None, classes)  # fmt: skip
            less = ternary(code, LESS, t, drawn, less)
            equal = ternary(code, EQUAL, equal, t, drawn)
    flip = less ^ old if config.heat_bath else sign | (less & ~sign)
    code.store(old ^ flip, spins + place)
    code.store(flip, flips)
    label = label | parity << 16 | site << 32
    labels = code.splat(label, config.words) + code.word(kind, list(range(config.words)))
    columns = [equal, labels, *([sign] if config.heat_bath else []), *classes]
    return keep_open(code, equal, columns, queue) | (behind - entries) << 8


def keep_open(code: Code, open_bits: Word, columns: Sequence[Word], queue: Word) -> Word:
    """Append those words of the columns that have an open bit to the queue; how many."""
    words = open_bits.lanes
    chosen = open_bits.compare("!=", 0)
    for k, column in enumerate(columns):
        name = f"llvm.experimental.vector.compress.v{words}i64"
        packed = code.call(name, column.type, column, chosen, column)
        code.store(packed, queue, QUEUE * k)
    mask = chosen.bitcast(ir.IntType(words)).extend(I32)
    return code.call("llvm.ctpop.i32", I32, mask).extend(I64)


def _tally(code: Code, words: int, counters: Word, groups: Word,
           load: Callable[[Word, int], Word]) -> None:  # fmt: skip
    """Add 16 words per group to the counters, 16 planes in memory; load(group, k): a word."""
    kind = vector(I64, words)
    planes = [code.variable(code.load(counters, kind, 8 * words * d)) for d in range(16)]
    with code.loop(groups) as group:
        columns: list[list[Bit]] = [[plane.get()] for plane in planes]
        columns[0].extend(load(group, k) for k in range(16))
        for plane, bit in zip(planes, count(code, columns), strict=True):
            plane.set(whole(code, kind, bit))
    for d, plane in enumerate(planes):
        code.store(plane.get(), counters, 8 * words * d)


@emits
def tally_words(code: Code, config: Tally, counters: Word, address: Word, groups: Word) -> None:
    """Count the bits of 16 * groups words of `config.words` each that follow one another."""
    kind, step = vector(I64, config.words), 8 * config.words
    _tally(code, config.words, counters, groups,
           lambda group, k: code.load(address + group * (16 * step), kind, k * step))  # fmt: skip


@emits
def tally_edges(code: Code, config: Tally, counters: Word, spins: Word, edges: Word,
                groups: Word) -> None:  # fmt: skip
    """Count the bits of word ^ word ^ mask of 16 * groups edges (slot, slot, mask)."""
    kind, step = vector(I64, config.words), 8 * config.words

    def load(group: Word, k: int) -> Word:
        at = edges + group * (16 * 12)
        a, b = (code.load(at, I32, 12 * k + 4 * z).extend(I64) * step + spins for z in (0, 1))
        mask = code.splat(code.load(at, I32, 12 * k + 8), 2 * config.words).bitcast(kind)
        return ternary(code, XOR3, code.load(a, kind), code.load(b, kind), mask)

    _tally(code, config.words, counters, groups, load)
