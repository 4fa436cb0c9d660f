"""Text as tokens with a validation part, and a planted Potts language whose entropy is exact.

A corpus is one sequence; the last tenth is the validation part, the last twentieth of the
training part is held out to choose settings on (`tuning`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.archive import FilePath

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Corpus:
    """tokens: (n,) uint8 below q = len(alphabet); tokens before `train` may be learned from, those
    from `train` to `end` are judged."""

    name: str
    tokens: Array
    alphabet: tuple[str, ...]
    train: int
    end: int

    @property
    def colours(self) -> int:
        """Number of Potts states q of a token."""
        return len(self.alphabet)

    def tuning(self) -> Corpus:
        """The corpus to choose settings on: ends where this one's training part ends, of which it
        holds out the last twentieth."""
        return Corpus(
            f"{self.name} tuning", self.tokens, self.alphabet, round(self.train * 0.95), self.train
        )

    def positions(self, context: int) -> Array:
        """Judged positions that have `context` tokens of the judged part before them: nothing of
        the training text is in their context."""
        if self.train + context >= self.end:
            raise ValueError(
                f"{self.end - self.train} tokens to judge are too few for a context of {context}"
            )
        return np.arange(self.train + context, self.end)

    def text(self, tokens: Array) -> str:
        """Tokens as characters."""
        return "".join(self.alphabet[token] for token in tokens)


def read_corpus(path: FilePath) -> Corpus:
    """A UTF-8 text, every distinct character a token, nine tenths for training. ValueError for a
    text with more than 256 or fewer than 2 distinct characters or under 1,000 in all."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8, byte {error.start} is {error.reason}") from error
    alphabet = tuple(sorted(set(text)))
    if not 2 <= len(alphabet) <= 256:
        raise ValueError(f"{path}: {len(alphabet)} distinct characters, allowed are 2 to 256")
    if len(text) < 1000:
        raise ValueError(f"{path}: {len(text)} characters, at least 1,000 are needed")
    index = np.zeros(max(map(ord, alphabet)) + 1, np.uint8)
    index[[ord(c) for c in alphabet]] = np.arange(len(alphabet))
    tokens = index[np.frombuffer(text.encode("utf-32-le"), np.uint32)]
    return Corpus(str(path), tokens, alphabet, int(0.9 * len(tokens)), len(tokens))
