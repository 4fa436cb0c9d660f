"""Machines whose energies add: a committee of language models, learned one by one.

    log p(y | x) = (1 / n) sum_i log p_i(y | x) - log Z(x)

Z = sum_y prod_i p_i^{1/n} <= 1, so that the committee's loss on any text is at most the mean of
its members' (Hinton, Neural Computation 14, 1771, 2002, sec. 1). It spends a long budget where one
machine would begin to learn its training text by heart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from isingnpu.npu.corpus import Corpus
from isingnpu.npu.language import PottsIsingLM

Array = NDArray[Any]


class Committee:
    """Machines of one number of colours, trained or to be trained with seeds of their own."""

    def __init__(self, members: Sequence[PottsIsingLM]) -> None:
        if not members:
            raise ValueError("a committee needs at least one machine")
        if len({m.spec.colours for m in members}) > 1:
            raise ValueError("the machines of a committee must have the same number of colours")
        self.members = tuple(members)

    @property
    def reach(self) -> int:
        """Tokens before a position that some member reads."""
        return max(m.reach for m in self.members)

    def log_probabilities(self, tokens: Array, low: int, high: int) -> Array:
        """(high - low, q) natural logarithms, as those of PottsIsingLM."""
        total = sum(m.log_probabilities(tokens, low, high) for m in self.members)
        mean = np.asarray(total) / len(self.members)
        return np.asarray(mean - logsumexp(mean, axis=1, keepdims=True))

    def losses(self, corpus: Corpus, context: int = 0) -> Array:
        """-log2 p at the judged positions."""
        positions = corpus.positions(max(self.reach, context))
        low, high = int(positions[0]), int(positions[-1]) + 1
        logs = self.log_probabilities(corpus.tokens, low, high)
        return -np.asarray(logs[np.arange(high - low), corpus.tokens[low:high]]) / math.log(2)

    def bpc(self, corpus: Corpus, context: int = 0) -> float:
        """Bits per character on the judged part."""
        return float(self.losses(corpus, context).mean())
