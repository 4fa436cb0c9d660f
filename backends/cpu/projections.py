"""Weighted sums of spins, sum_i w_i s_i in float64, where spins are bits of words.

With bits 1 = up, sum_i w_i s_i = 2 sum_up w_i - sum_i w_i: eight weights are added under a mask of
eight bits at a time. The order of the additions is the same whatever the width of vectors.
"""

# mypy: allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from llvmlite import ir

from .ir import I1, I8, I32, I64, Code, Static, Variable, Word, emits, vector

EIGHT = ir.VectorType(ir.DoubleType(), 8)
ZERO = ir.Constant(EIGHT, [0.0] * 8)


def _masked(code: Code, word: Word, byte: int, weights: Word) -> Word:
    """The weights where the bits of one byte of a word are set, else 0."""
    mask = (word >> 8 * byte).truncate(I8).bitcast(vector(I1, 8))
    return mask.where(weights, Word(code.builder, ZERO))


def _sums(code: Code) -> list[Variable]:
    """Eight vectors of eight sums, 0 at first."""
    return [code.variable(Word(code.builder, ZERO)) for _ in range(8)]


def _add(sum_: Variable, term: Word) -> None:
    sum_.set(Word(term.builder, term.builder.fadd(sum_.get().value, term.value)))


@emits
def weigh_sites(
    code: Code, config: Static, spins: Word, weights: Word, words: Word, out: Word
) -> None:
    """sum_up w_i to `out` (float64) of spins that are bits of so many words; 64 weights each."""
    sums = _sums(code)
    with code.loop(words) as k:
        word, row = code.load(spins + k * 8, I64), weights + k * (64 * 8)
        for byte, sum_ in enumerate(sums):
            _add(sum_, _masked(code, word, byte, code.load(row, EIGHT, 64 * byte)))
    total = sums[0].get().value
    for sum_ in sums[1:]:
        total = code.builder.fadd(total, sum_.get().value)
    lanes = [code.builder.extract_element(total, ir.Constant(I32, k)) for k in range(8)]
    whole = lanes[0]
    for lane in lanes[1:]:
        whole = code.builder.fadd(whole, lane)
    code.store(Word(code.builder, whole), out)


@emits
def weigh_replicas(
    code: Code, config: Static, spins: Word, step: Word, weights: Word, slots: Word, out: Word
) -> None:
    """sum_up w_i of 64 replicas to `out` (64,) float64; site i is the word `i step` bytes on."""
    sums = _sums(code)
    with code.loop(slots) as k:
        word, weight = (
            code.load(spins + k * step, I64),
            code.load(weights + k * 8, ir.DoubleType()),
        )
        row = code.splat(weight, 8)
        for byte, sum_ in enumerate(sums):
            _add(sum_, _masked(code, word, byte, row))
    for byte, sum_ in enumerate(sums):
        code.store(sum_.get(), out, 64 * byte)
