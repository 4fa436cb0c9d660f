"""What the bit-plane lattice kernel does with rows between visits: copies at the ends, counts."""

# mypy: allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from . import ir
from .bitlattice_code import OWN, STRIDE, Kernel, Row, popcount, total, words
from .ir import I64, Code, Word


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
    kind, size = words(config), 8 * config.lanes
    up = code.variable(code.word(kind, 0))
    unsatisfied = [code.variable(code.word(kind, 0)) for _ in config.slots]
    with code.loop(end - begin) as k:
        line = Row(code, config, colour, begin + k)
        with code.loop(vectors) as j:
            offset = j * size
            own = line.load(line.own, offset)
            valid = None if line.valid is None else line.load(line.valid, offset)
            seen = own if valid is None else own & valid
            up.set(up.get() + popcount(code, seen))
            with code.when(bonds.compare("!=", 0)):
                broken, present = line.bonds(offset, own)
                for variable, x, p in zip(unsatisfied, broken, present, strict=True):
                    x = x if p is None else x & p
                    x = x if valid is None else x & valid
                    variable.set(variable.get() + popcount(code, x))
    for k, variable in enumerate((up, *unsatisfied)):
        code.store(code.load(counts, I64, 8 * k) + total(code, variable.get()), counts, 8 * k)
