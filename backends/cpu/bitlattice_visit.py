"""Visits of the bit-plane lattice kernel: 64 sites per word decide by eight planes of random bits.

Words with a site that these leave undecided are queued, and finished call by call in dense
vectors. Neighbours have other colours, so a late flip is seen by no one before the colour is done.
"""

# mypy: allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from typing import Any

from isingnpu.bitlogic import at_least, count, monomials

from . import ir
from .bitlattice_code import (
    CALLS,
    OWN,
    STRIDE,
    Kernel,
    Row,
    compress,
    exchanged,
    fused,
    how_many,
    numbered,
    popcount,
    total,
    words,
)
from .bitlattice_draw import draw, row_product
from .ir import I64, LOW, Code, Word


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
    choices: Word,
    flips: Word,
) -> Word:
    """Visit the rows begin .. end - 1 of a colour; returns how many words are queued.

    masks: of each plane its polynomial, or where among the `choices` its vector will be;
    capacity: bytes between the arrays of the queue; flips: address of a count to add to."""
    kind, size = words(config), 8 * config.lanes
    queued = code.variable(code.word(I64, 0))
    flipped = code.variable(code.word(kind, 0))
    with code.loop(end - begin) as k:
        row = begin + k
        line = Row(code, config, colour, row)
        product = row_product(code, config, row, clock, keys)
        place = code.splat(row << 32, config.lanes) + numbered(code, config.lanes)
        with code.loop(vectors) as j:
            offset = j * size
            own = line.load(line.own, offset)
            bits = count(config.slots, *line.bonds(offset, _counted(config, own)))
            terms = _exchanged_monomials(config, bits)
            for k in range(config.choices):
                code.store(_sum(code, config, k, terms), choices, size * k)
            code.fence()
            planes = draw(code, config, table + j * (size * config.tabulated), keys, product)
            below, tied = _compare(code, config, masks, choices, terms, planes)
            open_ = _uphill(code, config, bits, line, offset) & tied
            change = _change(config, own, below, open_, bits, line, offset)
            code.store(own ^ change, line.own + offset)
            flipped.set(flipped.get() + popcount(code, change))
            here = place + code.splat(j * config.lanes, config.lanes)
            kept = open_.compare("!=", 0)
            at = queue + (queued.get() << 3)
            for array, value in enumerate(_entry(config, open_, here, bits)):
                code.store(compress(code, value, kept), at + capacity * array)
            queued.set(queued.get() + how_many(code, kept))
    code.store(code.load(flips, I64) + total(code, flipped.get()), flips)
    return queued.get()


def _exchanged_monomials(config: Kernel, bits: list[Any]) -> list[Any]:
    """The monomials of N, their halves exchanged as are those of the planes."""
    turned = [bit if bit is None else exchanged(bit) for bit in bits[: config.digits]]
    return monomials(turned, config.number)


def _compare(
    code: Code, config: Kernel, masks: Word, choices: Word, terms: list[Any], planes: list[Word]
) -> tuple[Word, Word]:
    """Sites whose first random bits are below those of the threshold, and those where they are
    equal, from planes with their halves exchanged."""
    kind = words(config)
    below, tied = code.word(kind, 0), code.word(kind, -1)
    for plane in reversed(range(2 * CALLS)):
        r = planes[plane]
        if config.choices:
            t = code.load(choices + code.load(masks, I64, 8 * plane * config.number), kind)
        else:
            t = _threshold(code, config, masks, plane, terms, config.lanes)
        below = fused(code, lambda t, r, m: (t & ~r) | (~(t ^ r) & m), t, r, below)
        tied = fused(code, lambda t, r, m: ~(t ^ r) & m, t, r, tied)
    return exchanged(below), exchanged(tied)


def _sum(code: Code, config: Kernel, chosen: int, terms: list[Any]) -> Word:
    """1 for bit 0 of `chosen`, XOR the monomials of its other bits."""
    value = code.word(words(config), -(chosen & 1))
    for m, term in enumerate(terms, 1):
        if chosen >> m & 1 and term is not None:
            value = value ^ term
    return value


def _threshold(
    code: Code, config: Kernel, masks: Word, plane: int, terms: list[Any], lanes: int
) -> Word:
    """Bits of the threshold of each site: D_0 ^ XOR_m (monomial_m & D_m)."""
    at = 8 * plane * config.number
    t = code.splat(code.load(masks, I64, at), lanes)
    for m, term in enumerate(terms, 1):
        if term is not None:
            t = t ^ (term & code.splat(code.load(masks, I64, at + 8 * m), lanes))
    return t


def _counted(config: Kernel, own: Word) -> Word:
    """The spins to count unsatisfied bonds for: heat bath asks as if they were up."""
    return own | -1 if config.heat_bath else own


def _free(config: Kernel, bits: list[Any]) -> Word | None:
    return None if config.heat_bath else at_least(bits, config.number)


def _uphill(code: Code, config: Kernel, bits: list[Any], row: Row, offset: Word) -> Word:
    """Sites whose decision needs random bits."""
    valid = None if row.valid is None else row.load(row.valid, offset)
    free = _free(config, bits)
    if free is None:
        return code.word(words(config), -1) if valid is None else valid
    return ~free if valid is None else valid & ~free


def _change(
    config: Kernel, own: Word, below: Word, open_: Word, bits: list[Any], row: Row, offset: Word
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

    call: the last counter word; masks: those of the call's first plane; scratch: 3 pairs of
    vectors. A round of Philox waits for its products, so two vectors go side by side."""
    kind, size = ir.vector(I64, config.pair), 8 * config.pair
    left, flipped = code.variable(code.word(I64, 0)), code.variable(code.word(kind, 0))
    with code.loop((queued + (config.pair - 1)) >> (config.pair.bit_length() - 1)) as j:
        start, at = j * config.pair, queue + j * size
        entry = [code.load(at + capacity * k, kind) for k in range(config.queued)]
        real = numbered(code, config.pair).compare("<", code.splat(queued - start, config.pair))
        before, place = real.where(entry[0], code.word(kind, 0)), entry[1]
        last = (code.splat(word, config.pair) for word in (clock, call))
        x = ir.philox(code, (place & LOW, place >> 32, *last), keys, range(config.rounds))
        accepted, open_ = code.word(kind, 0), before
        terms = monomials(entry[2:], config.number)
        for plane, r in enumerate((ir.pair(x[0], x[1]), ir.pair(x[2], x[3]))):
            t = _threshold(code, config, masks, plane, terms, config.pair)
            accepted = accepted | (open_ & t & ~r)
            open_ = open_ & ~(t ^ r)
        # equal in all planes is not below
        settled = (call & 31).compare("==", 31).where(before, before & ~open_)
        base, stride = (code.load(colour, I64, 8 * field) for field in (OWN, STRIDE))
        word = code.splat(base, config.pair) + ((place & LOW) << 3)
        word = word + (place >> 32) * code.splat(stride & LOW, config.pair)
        word = real.where(word, code.splat(scratch + 3 * size, config.pair))
        flipping = _apply(code, config, accepted, settled, word, scratch)
        flipped.set(flipped.get() + popcount(code, flipping))
        for half in (0, config.lanes):
            own = [w.shuffle(w, range(half, half + config.lanes)) for w in (open_, *entry[1:])]
            kept = own[0].compare("!=", 0)
            for k, value in enumerate(own):
                to = queue + (left.get() << 3) + capacity * k
                code.store(compress(code, value, kept), to)
            left.set(left.get() + how_many(code, kept))
    code.store(code.load(flips, I64) + total(code, flipped.get()), flips)
    return left.get()


def _apply(
    code: Code, config: Kernel, accepted: Word, settled: Word, word: Word, scratch: Word
) -> Word:
    """Write the decisions of two vectors of queued words, whose addresses are `word`; returns
    the sites that flip."""
    size = 8 * config.pair
    for k, value in enumerate((accepted, settled, word)):
        code.store(value, scratch, k * size)
    for lane in range(0, size, 8):
        to = code.load(scratch, I64, 2 * size + lane)
        old, change = code.load(to, I64), code.load(scratch, I64, lane)
        if config.heat_bath:
            change = (old & code.load(scratch, I64, size + lane)) ^ change
            code.store(change, scratch, lane)
        code.store(old ^ change, to)
    return code.load(scratch, accepted.type) if config.heat_bath else accepted
