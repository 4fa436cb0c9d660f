"""Decisions of 64 sites at once: weighted bits are counted, the count picks a threshold.

    x_k = s ^ n_k ^ sign_k        bit 1: bond k of weight w_k not satisfied
    v = sum_k w_k present_k (1 - 2 x_k) = total - 2 N,   or total - N if bonds may be absent

N is added up by carry-save adders. All logic is written with & | ^ ~ alone: the same functions run
on NumPy words, on emitted vector code and on CUDA source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ONES = np.uint64(2**64 - 1)


@dataclass(frozen=True)
class Slot:
    """What all colours have in common of one term: the weight in quanta, and whether it is a
    field, has sign planes (else every J > 0) and presence planes (else every bond exists)."""

    weight: int
    field: bool = False
    sign: bool = False
    present: bool = False


@dataclass(frozen=True)
class Classes:
    """Decisions by the number N of `count`: v = total - 2 N, or total - N if `partial`, which is
    when bonds may be absent and count half on either side."""

    total: int
    partial: bool

    def number(self, heat_bath: bool) -> int:
        """N below this needs a threshold; Metropolis moves of larger N are free."""
        if heat_bath:
            return 1 + self.total * (2 if self.partial else 1)
        return self.total if self.partial else (self.total + 1) // 2

    def value(self, count: int) -> int:
        """v (Metropolis) or h (heat bath, counted as if s were up) of N."""
        return self.total - (count if self.partial else 2 * count)

    def table(self, table: Array, bound: int, heat_bath: bool) -> Array:
        """(k, classes) thresholds of `Thresholds.table` (k, values) by N. Values beyond the
        bound do not occur and get 0."""
        values = np.array([self.value(n) for n in range(self.number(heat_bath))], np.int64)
        known = np.abs(values) <= bound
        at = np.where(known, values + (bound if heat_bath else 0), 0)
        return np.asarray(np.where(known, table[:, at], np.uint64(0)), np.uint64)


def count(slots: Sequence[Slot], unsatisfied: Sequence[Any], present: Sequence[Any]) -> list[Any]:
    """Bits of N, least first, from the words x_k and, where the slot has them, present_k."""
    partial = any(slot.present for slot in slots)
    planes = []
    for slot, x, p in zip(slots, unsatisfied, present, strict=True):
        if slot.present:
            planes += [(slot.weight, ~p), (2 * slot.weight, p & x)]
        else:
            planes.append((2 * slot.weight if partial else slot.weight, x))
    return add_planes(planes)


def add_planes(planes: Sequence[tuple[int, Any]]) -> list[Any]:
    """Bits of sum_k weight_k plane_k, least first, by full and half adders."""
    columns: list[list[Any]] = [[] for _ in range(sum(w for w, _ in planes).bit_length())]
    for weight, plane in planes:
        for position in range(weight.bit_length()):
            if weight >> position & 1:
                columns[position].append(plane)
    bits = []
    for position, column in enumerate(columns):
        while len(column) > 1:
            a, b = column.pop(0), column.pop(0)
            if column:
                c = column.pop(0)
                total, carry = a ^ b ^ c, (a & b) | (c & (a | b))
            else:
                total, carry = a ^ b, a & b
            column.append(total)
            if position + 1 < len(columns):
                columns[position + 1].append(carry)
        bits.append(column[0] if column else None)
    return bits


def at_least(bits: Sequence[Any], limit: int) -> Any:
    """Word of N >= limit for limit >= 1; None if the bits cannot reach it."""
    if limit >> len(bits):
        return None
    reached: Any = None  # always true so far
    for position, bit in enumerate(bits):
        if limit >> position & 1:
            reached = bit if reached is None or bit is None else bit & reached
        elif reached is not None and bit is not None:
            reached = bit | reached
    return reached


def monomials(bits: Sequence[Any], number: int) -> list[Any]:
    """Words prod_{b in m} bits_b for m = 1 .. number - 1; None where a bit is never set."""
    words: list[Any] = [None]
    for m in range(1, number):
        high = m.bit_length() - 1
        bit, rest = bits[high], m ^ 1 << high
        if rest == 0 or bit is None:
            words.append(bit)
        else:
            words.append(None if words[rest] is None else bit & words[rest])
    return words[1:]


def coefficients(thresholds: Array) -> Array:
    """(k, classes) D with T_N = XOR over m inside N of D_m: thresholds (k, classes) as a
    polynomial over GF(2) in the bits of N, which `monomials` evaluates."""
    result = np.array(thresholds, np.uint64)
    classes = result.shape[1]
    for position in range(classes.bit_length()):
        m = np.arange(classes)
        upper = m[m >> position & 1 == 1]
        result[:, upper] ^= result[:, upper ^ 1 << position]
    return result


# Packing


def pack(bits: Array, words: int) -> Array:
    """(rows, words) uint64 from (rows, columns) truth values: column c is bit c // words of word
    c mod words."""
    rows, columns = bits.shape
    whole = np.zeros((rows, 64 * words), np.uint8)
    whole[:, :columns] = bits
    by_word = np.ascontiguousarray(whole.reshape(rows, 64, words).transpose(0, 2, 1))
    octets = np.packbits(by_word, axis=2, bitorder="little")  # (rows, words, 8)
    return octets.view("<u8").reshape(rows, words).astype(np.uint64)


def words_of(bits: Array) -> Array:
    """(..., words) uint64 of truth values (..., 64 words): k is bit k % 64 of word k // 64."""
    return np.packbits(bits, axis=-1, bitorder="little").view("<u8").astype(np.uint64)


def unpack(packed: Array, columns: int) -> Array:
    """(rows, columns) of 0 and 1 from (rows, words), the inverse of `pack`."""
    rows, words = packed.shape
    octets = np.ascontiguousarray(packed, "<u8").view(np.uint8).reshape(rows, words, 8)
    bits = np.unpackbits(octets, axis=2, bitorder="little")  # (rows, words, 64)
    return bits.transpose(0, 2, 1).reshape(rows, 64 * words)[:, :columns]
