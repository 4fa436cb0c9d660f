"""Decisions in numba: random integers and thresholds, bit for bit those of rng and dynamics.

A Metropolis decision compares v = s h, heat bath compares h (isingnpu.dynamics). The first bits of
the random integer settle most decisions; the others are drawn as far as they count.

Arguments that come in groups:
    limits = (table, constant, cutoff, exponential)   see dynamics.Thresholds
    draw   = (k0, k1, rounds, layout)   layout 0 lane, 1 plane, 2 lattice
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from numba import njit, uint32, uint64

LANE, PLANE, LATTICE = 0, 1, 2

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85

# Positions in the counter array that every kernel adds to.
FLIPS, CALLS, COUPLINGS = 0, 1, 2


@njit(inline="always")
def _round(x0, x1, x2, x3, k0, k1):
    p0 = uint64(M0) * uint64(x0)
    p1 = uint64(M1) * uint64(x2)
    return (
        uint32(uint32(p1 >> uint64(32)) ^ x1 ^ k0),
        uint32(p1),
        uint32(uint32(p0 >> uint64(32)) ^ x3 ^ k1),
        uint32(p0),
    )


@njit(inline="always")
def philox(c0, c1, c2, c3, k0, k1, rounds):
    """Philox4x32 with 7 or 10 rounds; four uint32 words."""
    x0, x1, x2, x3 = uint32(c0), uint32(c1), uint32(c2), uint32(c3)
    for _ in range(7):
        x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0, k1)
        k0, k1 = uint32(k0 + uint32(W0)), uint32(k1 + uint32(W1))
    if rounds == 10:
        for _ in range(3):
            x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0, k1)
            k0, k1 = uint32(k0 + uint32(W0)), uint32(k1 + uint32(W1))
    return x0, x1, x2, x3


@njit(inline="always")
def mulhi(a, b):
    """Upper 64 of the 128 bits of a * b."""
    low = uint64(0xFFFFFFFF)
    al, ah, bl, bh = a & low, a >> uint64(32), b & low, b >> uint64(32)
    middle = ((al * bl) >> uint64(32)) + ((ah * bl) & low) + ((al * bh) & low)
    upper = ((ah * bl) >> uint64(32)) + ((al * bh) >> uint64(32)) + (middle >> uint64(32))
    return ah * bh + upper


@njit
def copy_to(to, values):
    """to[:] = values, without the 2 s that numba takes to compile the message of a wrong shape."""
    for k in range(to.size):
        to[k] = values[k]


@njit
def fixed_exponential(v, high, low, cutoff, exponential):
    """e(v) of isingnpu.dynamics for v >= 0."""
    if v >= cutoff:
        return uint64(0)
    x = uint64(v)
    y = x * high + ((x * low) >> uint64(32))
    e = exponential[0, (y >> uint64(40)) & uint64(255)]
    for k in range(1, 6):
        e = mulhi(e, exponential[k, (y >> uint64(40 - 8 * k)) & uint64(255)])
    return e >> (y >> uint64(48))


@njit
def _digit(k, c0, c1, c2, c3, position, draw):
    """Digit k of the decision's integer, most significant first: a byte (lane) or a bit."""
    k0, k1, rounds, layout = draw
    if layout == LANE:
        x = philox(c0, c1, c2, uint32(k) | c3, k0, k1, rounds)
        word = x[0] if position < 4 else x[1] if position < 8 else x[2] if position < 12 else x[3]
        return uint64((word >> uint32(8 * (position & 3))) & uint32(255))
    x = philox(c0, c1, c2, uint32(k >> 1) | c3, k0, k1, rounds)
    low, high = (x[0], x[1]) if (k & 1) == 0 else (x[2], x[3])
    word = low if position < 32 else high
    return uint64((word >> uint32(position & 31)) & uint32(1))


@njit
def accepts(r, x, row, limits, heat_bath, bound):
    """The decision of value x (v or h) for the integer r: true up to some r, false above."""
    table, constant, cutoff, exponential = limits
    if not heat_bath and x <= 0:
        return True
    if table.shape[1] > 0:
        return r < table[row, x + bound if heat_bath else x]
    e = fixed_exponential(abs(x), constant[row, 0], constant[row, 1], cutoff[row], exponential)
    if not heat_bath:
        return r < e
    total = r + mulhi(r, e)
    if x >= 0:
        return total >= r  # no carry out of 64 bits
    return total >= r and total < e


@njit
def decide(r, known, x, row, limits, heat_bath, bound, counter, position, draw, counts):
    """The decision of value x (v or h) for the integer whose first `known` bits are r; draws
    byte by byte until the rest cannot matter.

    counter = (c0, c1, c2, c3) of call 0; position: of the replica or site in its digits."""
    c0, c1, c2, c3 = counter
    r, byte = uint64(r), known // 8
    width = 8 if draw[3] == LANE else 1
    while byte < 8:
        rest = uint64(64 - 8 * byte)
        low = r << rest
        high = low | ((uint64(1) << rest) - uint64(1))
        least = accepts(high, x, row, limits, heat_bath, bound)
        if least == accepts(low, x, row, limits, heat_bath, bound):
            return least
        for k in range(8 * byte // width, 8 * (byte + 1) // width):
            r = (r << uint64(width)) | _digit(k, c0, c1, c2, c3, position, draw)
        counts[CALLS] += 8 // width
        byte += 1
    return accepts(r, x, row, limits, heat_bath, bound)
