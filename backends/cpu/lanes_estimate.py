"""An early comparison with thresholds of any size: 2^16 T in single precision, error below MARGIN.

    t = 2^16 2^(k x) = 2^n p(f),   n + f = k x,   n whole,   |f| <= 1/2,   k = -2 beta q log2(e)

p is the quartic through 2^16 2^f at five Chebyshev nodes, off by at most 0.183. The roundings of k
and x to 24 bits and one or two of k x turn 2^-y, y = -k x, by at most
ln 2 (3 y 2^-24 + 2^-25) 2^-y < 0.006 / 2^16; those of Horner's rule add at most 4 2^17 2^-24, that
is 0.032. x beyond `cut` counts as `cut`, where 2^16 T < 2^-15. Together less than MARGIN = 1/4.
`limits.estimates` makes k and cut.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .ir import I32, Code, Word, vector

MARGIN = 0.25
LANES = 16
COEFFICIENTS = (633.4951171875, 3664.902587890625, 15743.287109375, 45424.37890625, 65536.0)
SHIFTER = 1.5 * 2.0**23  # added to a number, leaves it rounded to a whole one in the lowest bits
REALS = ir.VectorType(ir.FloatType(), LANES)
WHOLE = vector(I32, LANES)


def compare(
    code: Code, x: Word, r: Word, k: Word, cut: Word, *, heat_bath: bool
) -> tuple[Word, Word]:
    """Accepted (heat bath: up) and rejected lanes (i1) of 16 values x = v or h, i32, and their
    first 16 random bits r, i32; k by its bits, cut of each lane. The others are open.

    Metropolis accepts if r + 1 <= t - MARGIN and rejects if r >= t + MARGIN; v < 0 counts as 0,
    whose t = 2^16 leaves r = 2^16 - 1 open. Heat bath has r + r e in place of r, which the bits to
    come raise by less than 1 + e <= 2, against 2^16 or t."""
    zero = code.word(WHOLE, 0)
    negative = x.compare("<", 0, signed=True)
    size = negative.where(zero - x if heat_bath else zero, x)
    size = size.compare("<", cut, signed=True).where(size, cut)
    t = _power(code, size, k)
    b = code.builder
    drawn = b.sitofp(r.value, REALS)
    if heat_bath:
        drawn = _fma(code, b.fmul(t, _reals(2.0**-16)), drawn, drawn)
        t = b.select(negative.value, t, _reals(2.0**16))
    gap = b.fsub(t, drawn)
    step, error = (2.0, 2 * MARGIN) if heat_bath else (1.0, MARGIN)
    yes = b.fcmp_ordered(">=", gap, _reals(step + error))
    no = b.fcmp_ordered("<=", gap, _reals(-error))
    return Word(b, yes), Word(b, no)


def _power(code: Code, size: Word, k: Word) -> Any:
    """t of the module's formula, (16,) float32."""
    b = code.builder
    slope, real = b.bitcast(k.value, REALS), b.sitofp(size.value, REALS)
    shifted = _fma(code, real, slope, _reals(SHIFTER))
    whole = b.fsub(shifted, _reals(SHIFTER))
    rest = _fma(code, real, slope, b.fneg(whole))
    t = _reals(COEFFICIENTS[0])
    for coefficient in COEFFICIENTS[1:]:
        t = _fma(code, t, rest, _reals(coefficient))
    exponent = Word(b, b.bitcast(shifted, WHOLE)) << 23
    return b.bitcast((Word(b, b.bitcast(t, WHOLE)) + exponent).value, REALS)


def _reals(value: float) -> Any:
    return ir.Constant(REALS, [value] * LANES)


def _fma(code: Code, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once where that is quick."""
    parts = [Word(code.builder, part) for part in (a, b, c)]
    return code.call(f"llvm.fmuladd.v{LANES}f32", REALS, *parts).value
