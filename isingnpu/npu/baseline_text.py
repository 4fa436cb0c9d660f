"""Text by backprop: a transformer, and a perceptron over an n-gram window.

Both are trained on random windows of the training part and judged at given positions with exactly
`context` tokens before each. A field, log-probabilities of every token at every position of the
corpus (a count field's, say), may be added to the logits with one learned gain: the network beside
the field of the highest order of a machine of spins, which has two and gains by their evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import log
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from isingnpu.archive import FilePath
from isingnpu.ledger import StepCost, backprop_step
from isingnpu.npu.baseline_torch import threads, torch
from isingnpu.npu.baseline_training import (
    Network,
    Parameters,
    Rule,
    Tensor,
    Training,
    load_training,
)
from isingnpu.npu.baseline_transformer import Transformer, dropped, linear
from isingnpu.npu.budget import Budget, Progress
from isingnpu.npu.corpus import Corpus

Array = NDArray[Any]
Field = Array | Callable[[Array], Array]  # positions (...) -> log-probabilities (..., q)


class TextNetwork(Network, Protocol):
    """A network that predicts the next token of the last sites of a window."""

    @property
    def context(self) -> int:
        """Tokens it sees."""

    @property
    def outputs(self) -> int:
        """Number of colours q."""

    def logits(self, parameters: Parameters, tokens: Tensor, generator: Any = None) -> Tensor:
        """(batch, sites predicted, q) from tokens (batch, context)."""


@dataclass(frozen=True)
class Window:
    """Perceptron over `context` one-hot tokens: q rectified sums of rows, and pair fields

        logits = b + sum_d J_d(x_d) + U relu(c + sum_d W_d(x_d))

    the shape of a machine of hidden spins with pair couplings."""

    outputs: int
    context: int = 8
    hidden: int = 256
    dropout: float = 0.0

    @property
    def matrices(self) -> frozenset[str]:
        return frozenset()

    def start(self, generator: Any) -> Parameters:
        rows, q, n = self.context * self.outputs, self.outputs, self.hidden
        return {
            "W": 0.1 * torch.randn(rows, n, generator=generator),
            "J": torch.zeros(rows, q),
            "c": torch.zeros(n),
            "U": (2 * torch.rand(q, n, generator=generator) - 1) / n**0.5,
            "b": torch.zeros(q),
        }

    def logits(self, parameters: Parameters, tokens: Tensor, generator: Any = None) -> Tensor:
        rows = tokens + torch.arange(self.context, device=tokens.device) * self.outputs
        bag = torch.nn.functional.embedding_bag
        h = torch.relu(bag(rows, parameters["W"], mode="sum") + parameters["c"])
        h = dropped(h, 0.0 if generator is None else self.dropout, generator)
        pairs = bag(rows, parameters["J"], mode="sum")
        return (linear(h, parameters["U"], parameters["b"]) + pairs)[:, None]

    def cost(self, batch: int) -> StepCost:
        """Rows of one-hot tokens are looked up and added: no products."""
        rows, q, n = self.context * self.outputs, self.outputs, self.hidden
        return backprop_step(
            macs=n * q,
            parameters=rows * (n + q) + (q + 1) * n + q,
            activations=2 * n + q,
            samples=batch,
        )


@dataclass(frozen=True)
class _Gained:
    """A network and the gain of an external field among its parameters."""

    network: TextNetwork

    @property
    def matrices(self) -> frozenset[str]:
        return self.network.matrices

    def start(self, generator: Any) -> Parameters:
        return self.network.start(generator) | {"gain": torch.ones(1)}

    def cost(self, batch: int) -> StepCost:
        return self.network.cost(batch)


class TextBaseline:
    """A text network in training. batch: windows per step.

    field: array (tokens of the corpus, q) or a function of positions; of training positions it
    must not have counted the token it predicts."""

    def __init__(
        self,
        network: Transformer | Window,
        rule: Rule | None = None,
        *,
        batch: int = 8,
        seed: int | None = None,
        field: Field | None = None,
        device: str = "cpu",
        n_threads: int = 1,
    ) -> None:
        training = Training(
            network if field is None else _Gained(network),
            rule or Rule(),
            seed=seed,
            device=device,
            n_threads=n_threads,
        )
        self._set(network, training, batch, field)

    def _set(
        self, network: Transformer | Window, training: Training, batch: int, field: Field | None
    ) -> None:
        self.network, self.training = network, training
        self.batch, self.field = batch, field
        on_gpu = training.device == "cuda"
        self._logits = torch.compile(network.logits) if on_gpu else network.logits

    @property
    def n_parameters(self) -> int:
        return self.training.n_parameters

    def fit(
        self,
        corpus: Corpus,
        budget: Budget,
        *,
        held_out: Array | None = None,
        marks: int = 8,
        stop_after: int | None = None,
    ) -> Progress:
        """Learn from the tokens before corpus.train. held_out: positions whose bits per token
        are noted in the learning curve."""
        if corpus.colours != self.network.outputs:
            raise ValueError(
                f"the network has {self.network.outputs} colours, the corpus {corpus.colours}"
            )
        span = self.network.context
        last = corpus.train - span - 1
        if last < 1:
            raise ValueError(f"{corpus.train} tokens are too few for a context of {span}")
        tokens = torch.from_numpy(corpus.tokens[: corpus.train].astype(np.int64))
        tokens = tokens.to(self.training.device)
        ahead = torch.arange(span + 1, device=tokens.device)

        def loss(parameters: Parameters, generator: Any, step: int) -> Tensor:
            first = torch.randint(last, (self.batch, 1), generator=generator, device=tokens.device)
            window = tokens[first + ahead]  # (batch, span + 1)
            drawn = generator if self.network.dropout > 0 else None
            logits = self._logits(parameters, window[:, :-1], drawn)
            sites = logits.shape[1]
            positions = (first + ahead)[:, -sites:]
            logits = self._with_field(parameters, logits.float(), positions)
            return torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), window[:, -sites:].flatten()
            )

        predicted = span if isinstance(self.network, Transformer) else 1
        return self.training.run(
            loss,
            self.batch,
            budget,
            samples=self.batch * predicted,
            evaluate=None if held_out is None else lambda: self.bpc(corpus, held_out),
            marks=marks,
            stop_after=stop_after,
        )

    def bpc(self, corpus: Corpus, positions: Array | None = None) -> float:
        """Mean bits per token, -log2 p(token | context tokens before it), at these positions;
        all of corpus.positions(context) by default."""
        context = self.network.context
        at = corpus.positions(context) if positions is None else np.asarray(positions)
        if at.min() < context or at.max() >= len(corpus.tokens):
            raise ValueError(f"positions must lie in {context}..{len(corpus.tokens) - 1}")
        device = self.training.device
        tokens = torch.from_numpy(corpus.tokens.astype(np.int64)).to(device)
        back = torch.arange(-context, 0, device=device)
        parameters, total = self.training.parameters, 0.0
        with threads(self.training.n_threads), torch.no_grad():
            for part in torch.from_numpy(at).to(device).split(250):
                logits = self.network.logits(parameters, tokens[part[:, None] + back])[:, -1:]
                logits = self._with_field(parameters, logits.float(), part[:, None])
                total += float(
                    torch.nn.functional.cross_entropy(logits[:, 0], tokens[part], reduction="sum")
                )
        return total / len(at) / log(2)

    def _with_field(self, parameters: Parameters, logits: Tensor, positions: Tensor) -> Tensor:
        """Logits (batch, sites, q) of the tokens at positions (batch, sites)."""
        if self.field is None:
            return logits
        at = positions.cpu().numpy()
        field = self.field(at) if callable(self.field) else self.field[at]
        added = torch.from_numpy(np.asarray(field, np.float32)).to(logits.device)
        return logits + parameters["gain"] * added

    def save(self, path: FilePath) -> None:
        """Write network and training; an external field is not stored."""
        description = {
            "network": type(self.network).__name__,
            "shape": asdict(self.network),
            "batch": self.batch,
            "field": self.field is not None,
        }
        self.training.save(path, "text baseline", description)

    @classmethod
    def load(
        cls, path: FilePath, *, field: Field | None = None, device: str = "cpu", n_threads: int = 1
    ) -> Self:
        """What `save` wrote; ValueError if it was trained with a field and none is given."""
        training, description = load_training(
            path, "text baseline", lambda made: _made(made, field), device=device,
            n_threads=n_threads,
        )  # fmt: skip
        network = training.network
        made = cls.__new__(cls)
        inner: Any = network.network if isinstance(network, _Gained) else network
        made._set(inner, training, description["batch"], field)
        return made


def _made(description: dict[str, Any], field: Field | None) -> Network:
    if description["field"] != (field is not None):
        wants = "needs its field: pass field=" if description["field"] else "has no field"
        raise ValueError(f"the saved network {wants}")
    kind = {"Transformer": Transformer, "Window": Window}[description["network"]]
    network = kind(**description["shape"])
    return network if field is None else _Gained(network)
