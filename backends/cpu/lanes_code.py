"""Vector code of the lanes kernel: draw random bytes ahead, visit a site, measure a state.

A block holds its replicas as bits: a row of `lanes` bits per visited site, 1 is down. A visit adds

    h_i = k_i - sum_j 2 J_ij [s_j down],   k_i = h_i^ext + sum_j J_ij

in vectors of `width`-bit integers, compares two random bytes a replica with those of the threshold
and flips. What two bytes leave open stays as it is, and is handed back for the exact comparison.

Three forms of the comparison: PERMUTE takes both threshold bytes from tables of all 8-bit fields
(avx512vbmi, one beta for all lanes); CHAIN selects them among few field values and ESTIMATE
bounds 2^16 T, see `lanes_estimate`, both with a beta for each lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from isingnpu.rng import M0, M1

from .ir import (
    I1,
    I8,
    I16,
    I32,
    I64,
    LOW,
    Code,
    Static,
    Variable,
    Word,
    emits,
    pair,
    vector,
)
from .lanes_estimate import compare

PERMUTE, CHAIN, ESTIMATE = 0, 1, 2
UNIT = 64  # lanes decided together: one word of bits
EARLY = 32  # couplings between asking for a row and reading it
CALLS = 8  # Philox calls side by side in a vector of 64-bit lanes
BYTES = vector(I8, UNIT)
BITS = vector(I1, UNIT)


@dataclass(frozen=True)
class Lanes(Static):
    """lanes: replicas of a block, a multiple of 64; width: bits of a field, 8, 16 or 32; form: of
    the comparison; plane: layout `plane`, else `lane`; far: rows do
    not fit the second cache, so that those of visits to come are asked for early."""

    lanes: int
    width: int
    form: int
    heat_bath: bool
    plane: bool
    far: bool

    @property
    def words(self) -> bool:
        """Whether both bytes of a lane are kept as one 16-bit word."""
        return self.width > 8

    @property
    def calls(self) -> int:
        """Philox calls of a visit: two bytes for every lane."""
        return self.lanes // 8

    @property
    def ahead(self) -> int:
        """Sites whose bytes are drawn together: four vectors of calls."""
        return max(1, 4 * CALLS // self.calls)

    @property
    def order(self) -> NDArray[np.int64]:
        """The replica of the block that stands at each position of a row, (lanes,).

        Layout lane takes the bytes as they come out of the generator's vectors."""
        position = np.arange(self.lanes)
        if self.plane:
            return position
        if self.words:  # made by interleaving within 16 bytes
            unit, place = position // UNIT * UNIT, position % UNIT
            position = unit + place % 32 // 8 * 16 + place // 32 * 8 + place % 8
        part, rest = np.divmod(position, self.lanes // 2)
        return np.asarray(rest // 8 * 16 + part * 8 + rest % 8)


# Random bytes.


@emits
def draw_ahead(
    code: Code, config: Lanes, drawn: Word, sites: Word, base: Word, streams: Word, keys: Word,
    rounds: Word,
) -> None:  # fmt: skip
    """Two random bytes a lane for the next `ahead` sites: `lanes` first bytes and `lanes` second
    ones for each site, or `lanes` 16-bit words.

    base, streams: what the first three rounds of Philox make of everything but the site, see
    `lanes_sweep.prepare`; keys, rounds: of the others."""
    n = config.calls // CALLS
    kind = vector(I64, CALLS)
    state = []
    for k in range(config.ahead):
        product = (base ^ code.load(sites, I64, 8 * k)) * M0
        high, low = (code.splat(x, CALLS) for x in (product >> 32, product & LOW))
        for v in range(n):
            c, d, e, f = (
                code.load(streams, kind, 8 * (config.calls * q + CALLS * v)) for q in range(4)
            )
            p = ((high ^ c) & LOW) * M1
            state.append([code.variable(x) for x in ((p >> 32) ^ d, p, e ^ low, f)])
    run_rounds(code, state, keys, rounds)
    store = _store_planes if config.plane else _store_bytes
    for k in range(config.ahead):
        vectors = [[x.get() for x in words] for words in state[n * k : n * (k + 1)]]
        pairs = [(pair(x[0], x[1]), pair(x[2], x[3])) for x in vectors]
        store(code, config, drawn + 2 * config.lanes * k, pairs)


def run_rounds(code: Code, state: Sequence[Sequence[Variable]], keys: Word, rounds: Word) -> None:
    """Philox4x32 rounds on several vectors of counters at once, in place; see `ir.philox`."""
    with code.loop(rounds) as r:
        k0, k1 = (code.splat(code.load(keys + r * 16, I64, 8 * k), CALLS) for k in (0, 1))
        for words in state:
            x0, x1, x2, x3 = (x.get() for x in words)
            p0, p1 = (x0 & LOW) * M0, (x2 & LOW) * M1
            new = (p1 >> 32) ^ x1 ^ k0, p1, (p0 >> 32) ^ x3 ^ k1, p0
            for word, x in zip(words, new, strict=True):
                word.set(x)


def _store_bytes(code: Code, config: Lanes, drawn: Word, pairs: list[tuple[Word, Word]]) -> None:
    """Layout lane: bytes 0..7 of all groups of 16 replicas, then bytes 8..15."""
    if len(pairs) == 1:
        low, high = pairs[0]
        calls = [
            low.shuffle(high, [c + 8 * part for part in (0, 1) for c in range(4 * b, 4 * b + 4)])
            for b in (0, 1)
        ]
        _store_units(code, config, drawn, calls[:1], calls[1:])
        return
    half = len(pairs) // 2
    first, second = (
        [words[part] for part in (0, 1) for words in some] for some in (pairs[:half], pairs[half:])
    )
    _store_units(code, config, drawn, first, second)


def _store_planes(code: Code, config: Lanes, drawn: Word, pairs: list[tuple[Word, Word]]) -> None:
    """Layout plane: plane p of 64 replicas is bit 7 - p % 8 of their byte p // 8."""
    bytes_: tuple[list[Word], list[Word]] = ([], [])
    for low, high in pairs:
        code.store(low, drawn)  # every other plane
        code.store(high, drawn, 64)
        for k in (0, 1):
            byte = code.word(BYTES, 0)
            for p in range(8):
                plane = code.load(drawn, I64, 64 * (p % 2) + 8 * (4 * k + p // 2)).bitcast(BITS)
                byte = plane.where(byte | (128 >> p), byte)
            bytes_[k].append(byte)
    _store_units(code, config, drawn, *bytes_)


def _store_units(
    code: Code, config: Lanes, drawn: Word, first: list[Word], second: list[Word]
) -> None:
    for u, (one, two) in enumerate(zip(first, second, strict=True)):
        one, two = one.bitcast(BYTES), two.bitcast(BYTES)
        if not config.words:
            code.store(one, drawn, UNIT * u)
            code.store(two, drawn, config.lanes + UNIT * u)
            continue
        for half in (0, 1):
            within = [0] * UNIT if config.plane else []
            for k in range(32):
                lane = 32 * half + k if config.plane else k // 8 * 16 + half * 8 + k % 8
                within[2 * k : 2 * k + 2] = [lane, UNIT + lane]
            code.store(two.shuffle(one, within), drawn, 2 * UNIT * u + UNIT * half)


# The visit.


@emits
def visit(
    code: Code, config: Lanes, spins: Word, row: Word, start: Word, entries: Word, count: Word,
    drawn: Word, table: Word, tally: Word, work: Word, watched: Word,
) -> Word:  # fmt: skip
    """Decide and flip one site in all lanes; nonzero where two bytes left lanes open.

    spins: address of all rows; row: of the site's; start: k_i; entries, count: 8 bytes a coupling,
    the offset of the neighbour's row and -2 J_ij repeated to 32 bits; drawn: its random bytes;
    table: of thresholds; tally: a byte a lane, which counts flips, then where watched asks for it
    sums of v over flips; work: open lanes as bits, at 64 bytes their v or h."""
    fields = _pull(code, config, spins, start, entries, count)
    per_unit = len(fields) * UNIT // config.lanes
    decide = (_by_permutation, _by_chain, _by_estimate)[config.form]
    anything = code.word(I64, 0)
    for u in range(config.lanes // UNIT):
        parts = fields[per_unit * u : per_unit * (u + 1)]
        costs = [_signed(code, row, h, per_unit * u + k) for k, h in enumerate(parts)]
        decided = parts if config.heat_bath else costs
        yes, open_ = decide(code, config, u, decided, drawn, table)
        down = code.load(row, I64, 8 * u)
        flip = ~(yes ^ down | open_) if config.heat_bath else yes
        code.store(down ^ flip, row, 8 * u)
        code.store(open_, work, 8 * u)
        anything = anything | open_
        _count(code, config, u, flip, costs, tally, watched)
        with code.when(open_.compare("!=", 0)):
            for k, x in enumerate(decided):
                code.store(x, work, UNIT + 64 * (per_unit * u + k))
    return anything


def _down(code: Code, row: Word, h: Word, k: int) -> Word:
    """The bits of a row that belong to the k-th vector of its fields."""
    bits = code.load(row, ir.IntType(h.lanes), k * h.lanes // 8)
    return bits.bitcast(vector(I1, h.lanes))


def _signed(code: Code, row: Word, h: Word, k: int) -> Word:
    """v = s h of the k-th vector."""
    return _down(code, row, h, k).where(code.word(h.type, 0) - h, h)


def _pull(
    code: Code, config: Lanes, spins: Word, start: Word, entries: Word, count: Word
) -> list[Word]:
    """The local fields of a site, 512 bits a vector."""
    kind = vector(ir.IntType(config.width), 512 // config.width)
    first = code.splat(start.truncate(kind.element), kind.count)
    fields = [code.variable(first) for _ in range(config.lanes // kind.count)]
    with code.loop(count) as k:
        entry = entries + (k << 3)
        neighbour = spins + code.load(entry, I32).extend(I64)
        if config.far:
            code.prefetch(spins + code.load(entry, I32, 8 * EARLY).extend(I64))
        twice = code.splat(code.load(entry, I32, 4), 16).bitcast(kind)
        for n, field in enumerate(fields):
            h = field.get()
            field.set(h + _down(code, neighbour, h, n).where(twice, code.word(kind, 0)))
    return [field.get() for field in fields]


def _count(
    code: Code, config: Lanes, u: int, flip: Word, costs: list[Word], tally: Word, watched: Word
) -> None:
    """Flips of each lane into a byte, their v into the next wider integer."""
    bits = flip.bitcast(BITS)
    flips = code.load(tally, BYTES, UNIT * u)
    code.store(bits.where(flips + 1, flips), tally, UNIT * u)
    wide = ir.IntType(2 * config.width)
    with code.when(watched.compare("!=", 0)):
        for k, v in enumerate(costs):
            lanes = range(k * v.lanes, (k + 1) * v.lanes)
            moved = bits.shuffle(bits, lanes).where(v, code.word(v.type, 0))
            kind = vector(wide, v.lanes)
            at = config.lanes + (UNIT * u + k * v.lanes) * config.width // 4
            code.store(code.load(tally, kind, at) + moved.extend(kind, signed=True), tally, at)


def _by_bytes(
    code: Code, config: Lanes, u: int, x: Word, drawn: Word, first: Word, second: Word
) -> tuple[Word, Word]:
    """Accepted and open lanes from both bytes of the threshold."""
    one = code.load(drawn, BYTES, UNIT * u)
    two = code.load(drawn, BYTES, config.lanes + UNIT * u)
    tie = one.compare("==", first)
    if config.heat_bath:
        yes = one.compare("<", first) | (tie & two.compare("<", second))
    else:
        uphill = x.compare(">", 0, signed=True)
        tie = tie & uphill
        yes = one.compare("<", first) | (tie & two.compare("<", second)) | ~uphill
    return yes.bitcast(I64), (tie & two.compare("==", second)).bitcast(I64)


def _by_permutation(
    code: Code, config: Lanes, u: int, decided: list[Word], drawn: Word, table: Word
) -> tuple[Word, Word]:
    """table: first bytes of the thresholds for x = 0 .. 127 (heat bath: then for x + 256 of
    negative x), then as many second bytes."""
    x = decided[0]
    size = 256 if config.heat_bath else 128

    def look(at: int) -> Word:
        a, b = code.load(table, BYTES, at), code.load(table, BYTES, at + UNIT)
        return code.call("llvm.x86.avx512.vpermi2var.qi.512", BYTES, a, x, b)

    bytes_ = [look(0), look(size)]
    if config.heat_bath:
        negative = x.compare("<", 0, signed=True)
        bytes_ = [negative.where(look(size * k + 128), bytes_[k]) for k in (0, 1)]
    return _by_bytes(code, config, u, x, drawn, *bytes_)


def _by_chain(
    code: Code, config: Lanes, u: int, decided: list[Word], drawn: Word, table: Word
) -> tuple[Word, Word]:
    """table: the number of field values; for each, its value in 64 bytes and the first and second
    byte of its threshold in every lane. Others have T = 0."""
    x = decided[0]
    first, second = (code.variable(code.word(BYTES, 0)) for _ in (0, 1))
    with code.loop(code.load(table, I64)) as k:
        at = table + 64 + k * (64 + 2 * config.lanes)
        here = x.compare("==", code.load(at, BYTES))
        first.set(here.where(code.load(at, BYTES, 64 + UNIT * u), first.get()))
        second.set(here.where(code.load(at, BYTES, 64 + config.lanes + UNIT * u), second.get()))
    return _by_bytes(code, config, u, x, drawn, first.get(), second.get())


def _by_estimate(
    code: Code, config: Lanes, u: int, decided: list[Word], drawn: Word, table: Word
) -> tuple[Word, Word]:
    """table: k of every lane, then cut, see `lanes_estimate`."""
    chunks = [chunk for x in decided for chunk in _in_sixteens(x)]
    accepted, rejected = [], []
    for c, x in enumerate(chunks):
        at = UNIT * u + x.lanes * c
        k, cut = (code.load(table, x.type, 4 * (config.lanes * part + at)) for part in (0, 1))
        r = _first_bits(code, config, at, drawn, x.lanes).extend(x.type)
        yes, no = compare(code, x, r, k, cut, heat_bath=config.heat_bath)
        accepted.append(yes)
        rejected.append(no)
    yes, no = (_joined(some).bitcast(I64) for some in (accepted, rejected))
    return yes, ~(yes | no)


def _in_sixteens(x: Word) -> list[Word]:
    """A vector in parts of 16 lanes, widened to 32 bits."""
    kind = vector(I32, 16)
    if x.type == kind:
        return [x]
    parts = [x.shuffle(x, range(at, at + 16)) for at in range(0, x.lanes, 16)]
    return [part.extend(kind, signed=True) for part in parts]


def _first_bits(code: Code, config: Lanes, at: int, drawn: Word, lanes: int) -> Word:
    """The first 16 random bits of some lanes."""
    kind = vector(I16, lanes)
    if config.words:
        return code.load(drawn, kind, 2 * at)
    one, two = (code.load(drawn, vector(I8, lanes), config.lanes * k + at) for k in (0, 1))
    return one.extend(kind) << 8 | two.extend(kind)


def _joined(parts: list[Word]) -> Word:
    """One vector of the lanes of all parts, whose number is a power of two."""
    while len(parts) > 1:
        n = parts[0].lanes
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [a.shuffle(b, range(2 * n)) for a, b in pairs]
    return parts[0]


@emits
def measure(
    code: Code, config: Lanes, spins: Word, row: Word, start: Word, entries: Word, count: Word,
    own: Word, out: Word,
) -> None:  # fmt: skip
    """out += s_i (h_i + own) of one site, 64 bits a lane."""
    for n, h in enumerate(_pull(code, config, spins, start, entries, count)):
        kind = vector(I64, h.lanes)
        whole = h.extend(kind, signed=True) + code.splat(own, h.lanes)
        signed = _signed(code, row, whole, n)
        code.store(code.load(out, kind, 8 * n * h.lanes) + signed, out, 8 * n * h.lanes)


@emits
def count_down(code: Code, config: Lanes, row: Word, rows: Word, out: Word) -> None:
    """out = down spins of each lane in at most 255 rows, a byte a lane."""
    for u in range(config.lanes // UNIT):
        total = code.variable(code.word(BYTES, 0))
        with code.loop(rows) as k:
            down = code.load(row + k * (config.lanes // 8), I64, 8 * u).bitcast(BITS)
            total.set(down.where(total.get() + 1, total.get()))
        code.store(total.get(), out, UNIT * u)
