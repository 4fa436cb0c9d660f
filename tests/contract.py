"""The randomness contract, layout version 1, written out again in Python's whole numbers.

A second statement of docs/randomness.md that shares no code with isingnpu: one replica, one
decision at a time, thresholds from 60-digit decimals. Slow; for tiny models.
"""

from __future__ import annotations

from decimal import Context, Decimal

C60 = Context(prec=60)
LOW = 0xFFFFFFFF


def philox(c, seed, rounds):
    """Four 32-bit words (Salmon et al., SC 2011)."""
    c, k = list(c), [seed & LOW, seed >> 32]
    for _ in range(rounds):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [q >> 32 ^ c[1] ^ k[0], q & LOW, p >> 32 ^ c[3] ^ k[1], p & LOW]
        k = [(k[0] + 0x9E3779B9) & LOW, (k[1] + 0xBB67AE85) & LOW]
    return c


def planes(counter, seed, rounds, bit):
    """64 bits, two from each of 32 calls."""
    r = 0
    for call in range(32):
        x = philox([*counter[:3], counter[3] | call], seed, rounds)
        for plane in (x[0] | x[1] << 32, x[2] | x[3] << 32):
            r = r << 1 | plane >> bit & 1
    return r


def lane_integer(site, sweep, replica, seed, rounds):
    r = 0
    for call in range(8):
        x = philox([replica // 16, site, sweep, call], seed, rounds)
        r = r << 8 | b"".join(word.to_bytes(4, "little") for word in x)[replica % 16]
    return r


def plane_integer(site, sweep, replica, seed, rounds):
    return planes([replica // 64, site, sweep, 0], seed, rounds, replica % 64)


def lattice_integer(width):
    """For sites numbered row by row, `width` to the row; the colour is given by the caller."""
    words = -(-width // 128)

    def integer(site, clock, replica, seed, rounds):
        row, column = site // width, site % width // 2
        counter = [column % words, row, clock, replica << 11]
        return planes(counter, seed, rounds, column // words)

    return integer


def initial_spin(site, replica, seed):
    x = philox([replica // 64, site, 0, 1 << 5], seed, 10)
    return 1 if (x[0] | x[1] << 32) >> (replica % 64) & 1 else -1


def threshold(rule, beta, x):
    """floor(2^64 p) in decimals, capped at 2^64 - 1."""
    a = C60.multiply(Decimal(2 * beta), Decimal(x))
    e = C60.exp(-a)
    p = e if rule == "metropolis" else C60.divide(Decimal(1), C60.add(Decimal(1), e))
    return min(int(C60.multiply(p, Decimal(2**64))), 2**64 - 1)


def spins_after(edges, fields, betas, *, integer, order, clock, rule, replica, seed, rounds):
    """Spins of one replica of a whole-number model after one sweep per beta.

    order: sites in visiting order; clock(sweep, site): the counter's third word."""
    n = len(fields)
    s = [initial_spin(site, replica, seed) for site in range(n)]
    bonds = [[] for _ in range(n)]
    for i, j, coupling in edges:
        bonds[i].append((j, coupling))
        bonds[j].append((i, coupling))
    for sweep, beta in enumerate(betas):
        for site in order:
            h = fields[site] + sum(coupling * s[j] for j, coupling in bonds[site])
            r = integer(site, clock(sweep, site), replica, seed, rounds)
            if rule == "heat-bath":
                s[site] = 1 if r < threshold(rule, beta, h) else -1
            elif s[site] * h <= 0 or r < threshold(rule, beta, s[site] * h):
                s[site] = -s[site]
    return s
