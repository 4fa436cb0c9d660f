"""Queued words of the bit-plane kernel, eight of several sites side by side.

A visit leaves about one word per site with a replica whose threshold agrees with all planes that
it read; four further planes at a time settle them.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from llvmlite import ir

from .ir import I32, I64, Code, Word, emits, pair, philox, vector
from .planes_code import (
    CHOOSE,
    EQUAL,
    KEYS,
    QUEUE,
    Settle,
    keep_open,
    ternary,
    threshold_bit,
)

LANES = 8  # queued words that are settled side by side


def _leaf(code: Code, config: Settle, address: Word, word: Word) -> Word:
    """A threshold's bit for queued words; own: that of each one's word of the site."""
    if not config.own:
        return code.splat(code.load(address, I64), LANES)
    bits = code.load(address, word.type)
    if code.has("avx512f"):
        return code.call("llvm.x86.avx512.permvar.di.512", word.type, bits, word)
    chosen = bits.value
    for lane in range(LANES):
        place = code.builder.extract_element(word.value, ir.Constant(I32, lane))
        one = code.builder.extract_element(bits.value, place)
        chosen = code.builder.insert_element(chosen, one, ir.Constant(I32, lane))
    return Word(code.builder, chosen)


@emits
def settle(code: Code, config: Settle, queue: Word, taken: Word, number: Word, kept: Word,
           spins: Word, flips: Word, draws: Word, tables: Word, call: Word, first_word: Word,
           sweep: Word) -> Word:  # fmt: skip
    """Compare eight queued words, those from `taken` on of `number`, with the four planes from
    `call` on; flip the accepted bits and queue what is left undecided from `kept` on.

    Columns of the queue: undecided bits, labels (place | parity << 16 | site << 32), sign (heat
    bath) and class bits. spins, flips: of place 0. Returns how many words were kept."""
    kind = vector(I64, LANES)
    loaded = [code.load(queue + taken * 8, kind, QUEUE * k) for k in range(config.columns)]
    left, label, *columns = loaded
    lanes = code.word(kind, list(range(LANES)))
    there = lanes.compare("<", code.splat(number - taken, LANES))
    left = there.where(left, code.word(kind, 0))
    accepted = code.word(kind, 0)
    odd = code.word(kind, 0) - (label >> 16 & 1)
    sign, classes = (columns[0], columns[1:]) if config.heat_bath else (None, columns)
    word = label & (config.words - 1)
    plane_bytes = 16 * config.classes * config.leaf
    for c in range(2):
        counter = (
            word + code.splat(first_word, LANES), label >> 32,
            code.splat(sweep, LANES), code.splat(call + c, LANES),
        )  # fmt: skip
        x0, x1, x2, x3 = philox(code, counter, draws + KEYS, range(config.rounds))
        for half, drawn in enumerate((pair(x0, x1), pair(x2, x3))):
            plane = tables + (call + c) * (2 * plane_bytes) + half * plane_bytes

            def leaf(c: int, side: int, plane: Word = plane) -> Word:
                width = config.words if config.own else 1
                even, uneven = (
                    _leaf(
                        code, config, plane + 8 * ((2 * c + p) * config.leaf + side * width), word
                    )
                    for p in (0, 1)
                )
                if config.parity < 2:
                    return uneven if config.parity else even
                return ternary(code, CHOOSE, odd, uneven, even)

            t = threshold_bit(code, config, config.classes, leaf, kind, sign, classes)
            accepted = accepted | (left & t & ~drawn)
            left = ternary(code, EQUAL, left, t, drawn)
    _flip(code, label, accepted, spins, flips)
    return keep_open(code, left, [left, *loaded[1:]], queue + kept * 8)


def _flip(code: Code, label: Word, accepted: Word, spins: Word, flips: Word) -> None:
    """Flip the accepted bits of each label's word; of labels left over from other batches too,
    which lie within the arrays and have none."""
    places = label & 0xFFFF
    for lane in range(LANES):
        one = ir.Constant(I32, lane)
        place, bits = (
            Word(code.builder, code.builder.extract_element(part.value, one))
            for part in (places, accepted)
        )
        for start in (spins, flips):
            at = start + place * 8
            code.store(code.load(at, I64) ^ bits, at)
