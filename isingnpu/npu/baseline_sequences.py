"""Short sequences by backprop: a masked transformer, and one that recalls associations.

MaskedTransformer   learns to predict hidden tokens of sequences whose sites have meanings of
                    their own (planted Potts sequences); judged by the cross-entropy of single
                    sites given all others, in nats.
RecallTransformer   learns the answer at the last site of a sequence (key-value pairs, then a
                    key); judged by the part of right answers.

Sequences are integer arrays (n, length). Where they can be made without end, pass a function
step -> (sequences, answers) instead, which is asked for a batch at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.npu.baseline_torch import threads, torch
from isingnpu.npu.baseline_training import Parameters, Rule, Tensor, Training
from isingnpu.npu.baseline_transformer import Transformer
from isingnpu.npu.budget import Budget, Progress

Array = NDArray[Any]
Recalled = tuple[Array, Array]  # sequences (n, length), answers (n,)


def as_tokens(sequences: Array, colours: int, length: int, device: str) -> Tensor:
    """int64 (n, length) on the device; ValueError unless all lie in 0..colours - 1."""
    if sequences.ndim != 2 or sequences.shape[1] != length or not len(sequences):
        raise ValueError(f"sequences must be (n, {length}), got {sequences.shape}")
    low, high = sequences.min(), sequences.max()
    if not 0 <= low <= high < colours:
        raise ValueError(f"tokens must lie in 0..{colours - 1}, got {low}..{high}")
    return torch.from_numpy(np.ascontiguousarray(sequences, np.int64)).to(device)


class MaskedTransformer:
    """Tokens 0..colours - 1 at `length` sites; a part `hidden` of them is masked in training."""

    def __init__(
        self,
        colours: int,
        length: int,
        rule: Rule | None = None,
        *,
        width: int = 64,
        layers: int = 3,
        hidden: float = 0.15,
        batch: int = 128,
        seed: int | None = None,
        device: str = "cpu",
        n_threads: int = 1,
    ) -> None:
        if not 0 < hidden < 1:
            raise ValueError(f"the hidden part must lie between 0 and 1, got {hidden}")
        self.network = Transformer(
            colours + 1, colours, width=width, layers=layers, context=length,
            causal=False, rotary=False, learned=True,
        )  # fmt: skip
        self.colours, self.hidden, self.batch = colours, hidden, batch
        self.training = Training(
            self.network, rule or Rule(), seed=seed, device=device, n_threads=n_threads
        )

    @property
    def n_parameters(self) -> int:
        return self.training.n_parameters

    def fit(
        self,
        sequences: Array,
        budget: Budget,
        *,
        held_out: Array | None = None,
        marks: int = 8,
        stop_after: int | None = None,
    ) -> Progress:
        """Learn from sequences (n, length). held_out: sequences whose cross-entropy is noted in
        the learning curve."""
        x = self._tokens(sequences, self.colours)

        def loss(parameters: Parameters, generator: Any, step: int) -> Tensor:
            chosen = torch.randint(len(x), (self.batch,), generator=generator, device=x.device)
            whole = x[chosen]
            masked = torch.rand(whole.shape, generator=generator, device=x.device) < self.hidden
            masked[:, 0] |= ~masked.any(1)
            seen = whole.masked_fill(masked, self.colours)
            logits = self.network.logits(parameters, seen)[masked]
            return torch.nn.functional.cross_entropy(logits.float(), whole[masked])

        return self.training.run(
            loss,
            self.batch,
            budget,
            evaluate=None if held_out is None else lambda: self.cross_entropy(held_out),
            marks=marks,
            stop_after=stop_after,
        )

    def logits(self, sequences: Array, site: int) -> Array:
        """(n, colours) of one masked site given all others."""
        masked = sequences.copy()
        masked[:, site] = self.colours
        x = self._tokens(masked, self.colours + 1)
        with threads(self.training.n_threads), torch.no_grad():
            parts = [
                self.network.logits(self.training.parameters, part)[:, site]
                for part in x.split(1000)
            ]
        return np.asarray(torch.cat(parts).float().cpu().numpy())

    def cross_entropy(self, sequences: Array) -> float:
        """Mean of -log p(site | all others) over sites and sequences, in nats."""
        total = 0.0
        for site in range(sequences.shape[1]):
            z = self.logits(sequences, site).astype(np.float64)
            right = z[np.arange(len(z)), sequences[:, site]]
            total += float((np.logaddexp.reduce(z, axis=1) - right).mean())
        return float(total / sequences.shape[1])

    def _tokens(self, sequences: Array, colours: int) -> Tensor:
        return as_tokens(sequences, colours, self.network.context, self.training.device)


class RecallTransformer:
    """Answers 0..answers - 1 to sequences of `length` tokens 0..colours - 1."""

    def __init__(
        self,
        colours: int,
        answers: int,
        length: int,
        rule: Rule | None = None,
        *,
        width: int = 64,
        layers: int = 2,
        neighbours: int = 1,
        batch: int = 64,
        seed: int | None = None,
        device: str = "cpu",
        n_threads: int = 1,
    ) -> None:
        self.network = Transformer(
            colours, answers, width=width, layers=layers, context=length,
            neighbours=neighbours, learned=True,
        )  # fmt: skip
        self.colours, self.batch = colours, batch
        self.training = Training(
            self.network, rule or Rule(), seed=seed, device=device, n_threads=n_threads
        )

    @property
    def n_parameters(self) -> int:
        return self.training.n_parameters

    def fit(
        self,
        examples: Recalled | Callable[[int], Recalled],
        budget: Budget,
        *,
        held_out: Recalled | None = None,
        marks: int = 8,
        stop_after: int | None = None,
    ) -> Progress:
        """Learn from sequences and answers, or from a function that makes those of a step."""

        batches = examples if callable(examples) else self._batches(*examples)

        def loss(parameters: Parameters, generator: Any, step: int) -> Tensor:
            x, y = self._pair(*batches(step))
            logits = self.network.logits(parameters, x)[:, -1]
            return torch.nn.functional.cross_entropy(logits.float(), y)

        return self.training.run(
            loss,
            self.batch,
            budget,
            evaluate=None if held_out is None else lambda: self.score(*held_out),
            marks=marks,
            stop_after=stop_after,
        )

    def _batches(self, sequences: Array, answers: Array) -> Callable[[int], Recalled]:
        """Batches of stored examples, drawn anew for every step."""

        def batch(step: int) -> Recalled:
            rng = np.random.default_rng((self.training.seed, step))
            chosen = rng.integers(len(sequences), size=self.batch)
            return sequences[chosen], answers[chosen]

        return batch

    def predict(self, sequences: Array) -> Array:
        """Most probable answers."""
        x = self._tokens(sequences)
        with threads(self.training.n_threads), torch.no_grad():
            parts = [
                self.network.logits(self.training.parameters, part)[:, -1].argmax(1)
                for part in x.split(1000)
            ]
        return np.asarray(torch.cat(parts).cpu().numpy())

    def score(self, sequences: Array, answers: Array) -> float:
        """Part of right answers."""
        return float((self.predict(sequences) == answers).mean())

    def _tokens(self, sequences: Array) -> Tensor:
        return as_tokens(sequences, self.colours, self.network.context, self.training.device)

    def _pair(self, sequences: Array, answers: Array) -> tuple[Tensor, Tensor]:
        y = as_tokens(answers[:, None], self.network.outputs, 1, self.training.device)[:, 0]
        return self._tokens(sequences), y
