"""Numbers in the lines of a text file; a fault is one ValueError line that says where it is.

    G1.txt:7: edge has j = 900, allowed are 1..800

A table is parsed in bulk; only if that fails are its lines read one by one, to find the fault.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from isingnpu.couplings import Array

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_NUMBER = re.compile(rf"{NUMBER}|[+-]?(?:inf|infinity|nan)", re.ASCII | re.IGNORECASE)
_COUNT = re.compile(r"[+-]?[0-9]{1,18}")
_MAX_COUNT = (1 << 31) - 1


@dataclass(frozen=True)
class Lines:
    """Lines of a text file, stripped, without the blank ones; numbers count all of them from 1."""

    path: Path
    numbers: list[int]
    texts: list[str]

    def error(self, k: int, message: str) -> ValueError:
        """What is wrong with line k."""
        return ValueError(f"{self.path}:{self.numbers[k]}: {message}")

    def partition(self, mark: str) -> tuple[Lines, Lines]:
        """(the lines that start with `mark`, the others)."""
        marked = [text.startswith(mark) for text in self.texts]
        others = [not chosen for chosen in marked]
        return self._only(marked), self._only(others)

    def _only(self, chosen: list[bool]) -> Lines:
        numbers, texts = compress(self.numbers, chosen), compress(self.texts, chosen)
        return Lines(self.path, list(numbers), list(texts))

    def counts(self, k: int, names: str, words: Sequence[str]) -> list[int]:
        """The words of line k as whole numbers 0..2^31-1, one per name."""
        if len(words) != len(names.split()) or not all(_COUNT.fullmatch(w) for w in words):
            raise self.error(k, f"header must be whole numbers {names}, got {clip(self.texts[k])}")
        for name, word in zip(names.split(), words, strict=True):
            if not 0 <= int(word) <= _MAX_COUNT:
                raise self.error(k, f"header has {name} = {word}, allowed are 0..{_MAX_COUNT}")
        return [int(word) for word in words]

    def check_count(self, start: int, expected: int, what: str) -> None:
        """Lines `start` and on must be `expected` in number."""
        found = len(self.texts) - start
        wanted = f"expected {expected} {what}, found {found}"
        if found < expected:
            raise self.error(-1, f"{wanted}; the file is truncated")
        if found > expected:
            raise self.error(start + expected, f"{wanted}; from here on are too many")

    def table(
        self, start: int, allowed: tuple[int, int], *, loops: bool = True, bare: bool = False
    ) -> tuple[Array, Array, Array]:
        """(i, j, w) of the lines `start` and on: site numbers, int64, and values, float64.

        allowed: least and greatest site number; loops: i may equal j; bare: lines may all be
        'i j', w is then 1."""
        if start == len(self.texts):
            empty = np.zeros(0, np.int64)
            return empty, empty, np.zeros(0)
        try:
            rows = np.loadtxt(self.texts[start:], np.float64, comments=None, ndmin=2)
        except ValueError:
            rows = self._rows(start, bare)
        if rows.shape[1] != 3 and not (bare and rows.shape[1] == 2):
            rows = self._rows(start, bare)
        i, j = rows[:, 0], rows[:, 1]
        w = rows[:, 2] if rows.shape[1] == 3 else np.ones(len(rows))
        good = np.isfinite(w) & ((i != j) | loops)
        for index in (i, j):
            good &= (index >= allowed[0]) & (index <= allowed[1]) & (index == np.rint(index))
        bad = np.flatnonzero(~good)
        if bad.size:
            k = int(bad[0])
            raise self.error(start + k, _fault(i[k], j[k], w[k], allowed))
        return i.astype(np.int64), j.astype(np.int64), w

    def _rows(self, start: int, bare: bool) -> Array:
        """The numbers line by line, or the error of the first line at fault."""
        width = len(self.texts[start].split())
        width = 2 if bare and width == 2 else 3
        rows = []
        for k in range(start, len(self.texts)):
            words = self.texts[k].split()
            form = "i j w"[: 2 * width - 1]
            if len(words) != width:
                raise self.error(k, f"edge must be '{form}', got {clip(self.texts[k])}")
            for name, word in zip(form.split(), words, strict=True):
                if not _NUMBER.fullmatch(word):
                    raise self.error(k, f"edge has {name} = {clip(word)}, must be a number")
            rows.append([float(word) for word in words])
        return np.array(rows)


def _fault(i: float, j: float, w: float, allowed: tuple[int, int]) -> str:
    """What is wrong with the edge."""
    low, high = allowed
    for name, index in (("i", i), ("j", j)):
        if not (low <= index <= high and index == np.rint(index)):
            return f"edge has {name} = {index:.17g}, allowed are {low}..{high}"
    if not np.isfinite(w):
        return f"edge has w = {w:.17g}, must be finite"
    return f"edge is a self-loop: {i:.17g} {j:.17g}; s_i s_i = 1 is a constant, remove the line"


def read_lines(path: str | os.PathLike[str]) -> Lines:
    """The lines of a UTF-8 text file. Raises ValueError if it is empty or not text."""
    path = Path(path)
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise ValueError(f"{path}:{number}: byte 0x{byte:02x} is not text") from None
    stripped = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    kept = [(number, line) for number, line in stripped if line]
    if not kept:
        raise ValueError(f"{path}:1: the file is empty")
    return Lines(path, [number for number, _ in kept], [line for _, line in kept])


def clip(text: str) -> str:
    """`text` quoted on one line, its end left out if it is long."""
    return repr(text if len(text) <= 40 else text[:40] + "...")


def numerals(values: Array) -> list[str]:
    """Shortest decimals that read back as the same numbers, without an exponent."""
    if values.dtype.kind == "i":
        return [str(value) for value in values.tolist()]
    return [np.format_float_positional(value, trim="-") for value in values]
