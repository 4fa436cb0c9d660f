"""The exact number of states g(E) of the square torus, and averages from any number of states.

With y = exp(-2 beta J) and P_ab of isingnpu.exact.square,

    sum_E g(E) y^((E + 2 N) / 2) = 1/2 (P_11 + P_10 + P_01 + P_00),
    prod_p (A - 2 B cos p) = V_L - 2 (-1)^a B^L,  V_k = A V_{k-1} - B^2 V_{k-2},  V_0 = 2, V_1 = A,
    A = (1 + y^2)^2 - 2 B cos q,  B = y (1 - y^2).

The polynomial is evaluated modulo primes at powers of a root of unity, where cos q is a whole
number too, transformed back and put together by the Chinese remainder theorem: integers all
along. Beale, Phys. Rev. Lett. 76, 78 (1996), with floating-point polynomials of many digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.exact.partition import Partition, check_finite, check_side
from isingnpu.model import Array

U64 = NDArray[np.uint64]

# A product of two residues stays below 2^62.
PRIME_BITS = 31
# 64 x 64: 8193 powers of y, 138 primes, half a minute.
MAX_SITES = 1 << 12


@dataclass(frozen=True, eq=False)
class DensityOfStates:
    """Exact numbers of states of n spins: energies (levels,) int64 ascending, in units of J, and
    counts, the integers g(E) > 0 of the same order."""

    n: int
    energies: Array
    counts: tuple[int, ...]

    @cached_property
    def ln_g(self) -> Array:
        """ln g(E), (levels,)."""
        return np.array([math.log(count) for count in self.counts])

    def at(self, beta: float) -> Partition:
        """`Partition` at one beta of either sign."""
        return level_averages(self.n, self.energies, self.ln_g, beta)


def level_averages(n: int, energies: ArrayLike, ln_g: ArrayLike, beta: float) -> Partition:
    """`Partition` of n sites from ln g (levels,) at energies (levels,)."""
    check_finite(beta=beta)
    levels = np.asarray(energies, np.float64)
    exponents = np.asarray(ln_g, np.float64) - beta * levels
    top = int(np.argmax(exponents))
    weights = np.exp(exponents - exponents[top])
    p = weights / weights.sum()
    excess = float((p * (levels - levels[top])).sum())
    variance = float((p * (levels - levels[top] - excess) ** 2).sum())
    return Partition(
        n=n,
        beta=beta,
        ln_z=float(exponents[top] + np.log(weights.sum())),
        energy=float(levels[top]) + excess,
        heat_capacity=beta**2 * variance,
    )


def beale(rows: int, columns: int) -> DensityOfStates:
    """Exact `DensityOfStates` of the rows x columns torus with J = 1.

    A side of 2 carries two bonds per pair. 32 x 32 takes a second, 64 x 64 half a minute.
    Raises ValueError for a side < 2 or more than 2^12 sites."""
    check_side("rows", rows)
    check_side("columns", columns)
    n = rows * columns
    if n > MAX_SITES:
        raise ValueError(
            f"the torus has {rows} x {columns} sites, at most {MAX_SITES} are counted"
        )
    stride = 1 if rows % 2 or columns % 2 else 2  # powers of y that occur
    size = 1 << (2 * n // stride).bit_length()  # points, more than the degree
    order = math.lcm(2 * rows, 2 * columns, stride * size)
    counts, modulus = [0] * size, 1
    for prime in _primes(order):
        if modulus > 1 << n:
            break
        roots = _powers(_root_of_unity(order, prime), order, prime)
        values = _polynomial(
            (rows, columns), roots[:: order // (stride * size)][:size], roots, prime
        )
        inverse = pow(modulus, -1, prime)
        residues = _transform_back(values, int(roots[order // size]), prime)
        counts = [
            count + modulus * ((residue - count) * inverse % prime)
            for count, residue in zip(counts, residues.tolist(), strict=True)
        ]
        modulus *= prime
    found = [(2 * stride * k - 2 * n, count) for k, count in enumerate(counts) if count]
    energies, numbers = zip(*found, strict=True)
    return DensityOfStates(n, np.array(energies, np.int64), numbers)


def _polynomial(sides: tuple[int, int], y: U64, roots: U64, prime: int) -> U64:
    """sum g(E) y^((E + 2N) / 2) modulo the prime at the points y; roots: all powers of a root of
    unity whose order is a multiple of twice each side."""
    p = np.uint64(prime)
    square = y * y % p
    single = {
        (True, True): (1 + (p - 2) * y + p - square) % p,  # F(0, 0)^(1/2) = r
        (False, False): (1 + 2 * y + p - square) % p,  # F(pi, pi)^(1/2)
        (True, False): (1 + square) % p,
        (False, True): (1 + square) % p,
    }
    plus = (1 + square) % p
    d, b = plus * plus % p, y * ((1 + p - square) % p) % p

    def double_cosine(k: int, side: int) -> int:
        """2 cos(2 pi k / (2 side)) modulo the prime."""
        step = k * (len(roots) // (2 * side))
        return (int(roots[step % len(roots)]) + int(roots[-step % len(roots)])) % prime

    total = np.zeros_like(y)
    for shift_0, shift_1 in ((1, 1), (1, 0), (0, 1), (0, 0)):
        sector = np.ones_like(y)
        for k in range(shift_1, sides[1] + 1, 2):  # q = pi k / columns in 0..pi, +-q as one
            a = (d + b * np.uint64(prime - double_cosine(k, sides[1]))) % p
            if k not in (0, sides[1]):
                sector = sector * _row(a, b, sides[0], shift_0, p) % p
                continue
            for m in range(shift_0, sides[0] + 1, 2):
                if m in (0, sides[0]):
                    factor = single[(m == 0, k == 0)]
                else:
                    factor = (a + b * np.uint64(prime - double_cosine(m, sides[0]))) % p
                sector = sector * factor % p
        total = (total + sector) % p
    return total * np.uint64(pow(2, -1, prime)) % p


def _row(a: U64, b: U64, side: int, shift: int, p: np.uint64) -> U64:
    """prod_p (A - 2 B cos p) = V_L - 2 (-1)^shift B^L, with V_2k = V_k^2 - 2 B^2k and
    V_2k+1 = V_k V_k+1 - A B^2k."""
    v, after = np.full_like(a, 2), a
    power = np.ones_like(b)  # B^k
    for bit in bin(side)[2:]:
        even = power * power % p
        middle = (v * after + (p - a) * even) % p
        if bit == "1":
            v, after = middle, (after * after + (p - 2) * (even * (b * b % p) % p)) % p
            power = even * b % p
        else:
            v, after = (v * v + (p - 2) * even) % p, middle
            power = even
    sign = np.uint64(2) if shift else p - np.uint64(2)
    return (v + sign * power) % p


def _transform_back(values: U64, root: int, prime: int) -> U64:
    """Coefficients c_j from values_k = sum_j c_j root^(j k); the size is a power of two."""
    size = len(values)
    back = _fourier(values[:, None], _powers(pow(root, -1, prime), size, prime), np.uint64(prime))
    return back[:, 0] * np.uint64(pow(size, -1, prime)) % np.uint64(prime)


def _fourier(values: U64, roots: U64, p: np.uint64) -> U64:
    """sum_k values_k root^(j k) of each column of values (size, columns); roots: all powers."""
    size, columns = values.shape
    if size == 1:
        return values
    halves = _fourier(np.concatenate([values[::2], values[1::2]], axis=1), roots[::2], p)
    even, odd = halves[:, :columns], halves[:, columns:]
    odd = odd * roots[: size // 2, None] % p
    return np.concatenate([(even + odd) % p, (even + p - odd) % p])


def _powers(base: int, count: int, prime: int) -> U64:
    """base^k modulo the prime for k = 0..count - 1."""
    powers = np.ones(1, np.uint64)
    while len(powers) < count:
        step = np.uint64(pow(base, len(powers), prime))
        powers = np.concatenate([powers, powers * step % np.uint64(prime)])
    return powers[:count]


def _primes(order: int) -> Iterator[int]:
    """Primes p < 2^31 with p - 1 a multiple of `order`, largest first."""
    for k in range((2**PRIME_BITS - 2) // order, 0, -1):
        candidate = k * order + 1
        if _is_prime(candidate):
            yield candidate
    raise ValueError(
        f"too few primes below 2^31 are 1 modulo {order}; take sides with a common factor"
    )


def _is_prime(number: int) -> bool:
    """Miller and Rabin with bases that decide below 3.2e9 (Jaeschke 1993)."""
    bases = (2, 3, 5, 7)
    if any(number % base == 0 for base in bases):
        return number in bases
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in bases:
        x = pow(base, odd, number)
        if x != 1 and all(pow(x, 1 << k, number) != number - 1 for k in range(twos)):
            return False
    return number > 1


def _root_of_unity(order: int, prime: int) -> int:
    """A number whose powers first return to 1 at `order`, a divisor of prime - 1."""
    factors = [f for f in range(2, order + 1) if order % f == 0 and _is_prime(f)]
    for base in range(2, prime):
        root = pow(base, (prime - 1) // order, prime)
        if all(pow(root, order // f, prime) != 1 for f in factors):
            return root
    raise AssertionError(f"{prime} has no root of unity of order {order}")
