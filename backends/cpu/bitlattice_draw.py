"""The random planes that the bit-plane lattice kernel reads for every word: four Philox calls.

With the counter (word, row, clock, call) the first rounds share much. After round 0 the words are
(row ^ a, b, hi(M0 word) ^ call ^ k, lo(M0 word)), a and b of the clock alone. Round 1 multiplies a
number of the row and one of (word, call); of the two products of round 2 one belongs to
(word, call, clock) and one to (word, row). `tabulate` writes what does not depend on the row.

A plane is x0 | x1 << 32 or x2 | x3 << 32, where the odd word is the low half of a product and the
even one the high half XOR the odd word of the round before and a key. Planes are made with their
halves exchanged, which is how a product has them: the shift that took the high half of the round
before becomes an exchange of halves, and one masked instruction makes the plane.
"""

# mypy: allow-untyped-calls, allow-untyped-decorators, disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from isingnpu.rng import M0, M1

from . import ir
from .bitlattice_code import CALLS, Kernel, exchanged, fused, numbered, words
from .ir import I1, I64, LOW, Code, Word

HIGH_HALVES = 31  # place among the keys of a word with every other bit set, bit 1 first


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
        word = code.splat(j * config.lanes, config.lanes) + numbered(code, config.lanes)
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


def row_product(code: Code, config: Kernel, row: Word, clock: Word, keys: Word) -> Any:
    """Both halves, high first, of the product of round 1 that belongs to the row."""
    first = (((clock & LOW) * M1) >> 32) ^ code.load(keys, I64, 0)
    product = ((first ^ row) & LOW) * M0
    return code.splat(product >> 32, config.lanes), code.splat(product, config.lanes)


def draw(code: Code, config: Kernel, table: Word, keys: Word, row: Any) -> list[Word]:
    """The first 2 CALLS planes of a vector of words, halves exchanged. row: `row_product`."""
    size, kind = 8 * config.lanes, words(config)
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
        for r in range(3, config.rounds - 1):
            states = _round(code, config, keys, r, states)
        planes += _last_round(code, config, keys, states)
    return planes


def _round(code: Code, config: Kernel, keys: Word, r: int, states: list[Any]) -> list[Any]:
    """One round of several calls; that before the last turns x1 and x3 into exchanged ones."""
    k0, k1 = (_key(code, config, keys, r, half) for half in (0, 1))
    turns = r == config.rounds - 2
    after = []
    for x0, x1, x2, x3 in states:
        p0, p1 = (x0 & LOW) * M0, (x2 & LOW) * M1
        high0, high1 = (exchanged(p) if turns else p >> 32 for p in (p0, p1))
        x1, x3 = high1 ^ x1 ^ k0, high0 ^ (x3 if r == 3 else x3 ^ k1)
        after.append((x1, high1 if turns else p1, x3, high0 if turns else p0))
    return after


def _last_round(code: Code, config: Kernel, keys: Word, states: list[Any]) -> list[Word]:
    """x1 | x0 << 32 and x3 | x2 << 32 of each call."""
    key = [_key(code, config, keys, config.rounds - 1, half) for half in (0, 1)]
    halves, high = ir.vector(ir.I32, 2 * config.lanes), _high_halves(code, config, keys)
    planes = []
    for x0, x1, x2, x3 in states:
        products = (x2 & LOW) * M1, (x0 & LOW) * M0
        for product, other, k in zip(products, (x1, x3), key, strict=True):
            p, o, k = (word.bitcast(halves) for word in (product, other, k))
            both = fused(code, lambda a, b, c: a ^ b ^ c, p, o, k)
            planes.append(high.where(both, p).bitcast(product.type))
    return planes


def _high_halves(code: Code, config: Kernel, keys: Word) -> Word:
    """Every other of the 32-bit lanes, as bits. Read from memory for AVX-512, which then merges
    by a mask; of a constant LLVM makes a shuffle more."""
    kind = ir.vector(I1, 2 * config.lanes)
    if code.has("avx512f") and config.lanes == 8:
        return code.load(keys, I64, 8 * HIGH_HALVES).truncate(ir.I16).bitcast(kind)
    return code.word(kind, [0, 1] * config.lanes)
