"""The transformer that the machines of spins are compared with.

Pre-norm blocks on a residual stream h of `width` numbers per site,

    h <- h + attention(norm(h)),   h <- h + down relu(up norm(h))^2,   norm(h) = h / rms(h)

with rotary positions (Su et al. 2021, arXiv 2104.09864): pairs of coordinates of queries and keys
turn by position times frequency, so that scores see distances only. An input site may also see the
tokens just before it through embeddings of their own (`neighbours`): the values of an n-gram
window that an attention layer would have to learn to fetch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isingnpu.ledger import StepCost, transformer_step
from isingnpu.npu.baseline_torch import torch
from isingnpu.npu.baseline_training import Parameters, Tensor

BLOCK = ("qkv", "out", "up", "down")
EXPANSION = 4  # inner width over width, which `transformer_step` counts on
BASE = 100.0  # of rotary frequencies; periods 2 pi .. 2 pi BASE


@dataclass(frozen=True)
class Transformer:
    """colours: states of an input token; outputs: of a predicted one; context: sites at most;
    causal: a site sees itself and those before it; rotary, learned: kinds of positions;
    neighbours: input tokens seen by the embedding of a site; tied: read out by the transposed
    embedding; dropout: part of both branches left out in training."""

    colours: int
    outputs: int
    width: int = 96
    layers: int = 2
    heads: int = 4
    context: int = 64
    causal: bool = True
    rotary: bool = True
    learned: bool = False
    neighbours: int = 1
    tied: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width must be a multiple of 2 heads = {2 * self.heads}, got {self.width}"
            )
        if self.tied and self.colours != self.outputs:
            raise ValueError(
                f"tied needs as many outputs as colours, got {self.outputs} and {self.colours}"
            )
        if not self.causal and self.neighbours > 1:
            raise ValueError("neighbours are tokens before a site: they need causal=True")
        if not 1 <= self.neighbours <= self.context:
            raise ValueError(f"neighbours must lie in 1..{self.context}, got {self.neighbours}")

    @property
    def matrices(self) -> frozenset[str]:
        return frozenset(BLOCK)

    def start(self, generator: Any) -> Parameters:
        """Normal numbers of variance 1 / 4 fan-in, branches scaled by (2 layers)^-1/2."""
        d, inner = self.width, EXPANSION * self.width

        def normal(*shape: int, scale: float) -> Tensor:
            return torch.randn(*shape, generator=generator) * scale

        into, branch = 0.5 * d**-0.5, max(1, 2 * self.layers) ** -0.5
        made = {
            "embedding": normal(self.neighbours, self.colours, d, scale=0.3),
            "qkv": normal(self.layers, 3, d, d, scale=into),
            "out": normal(self.layers, d, d, scale=into * branch),
            "up": normal(self.layers, inner, d, scale=into),
            "down": normal(self.layers, d, inner, scale=0.5 * inner**-0.5 * branch),
            "bias": torch.zeros(self.outputs),
        }
        if not self.tied:
            made["read-out"] = normal(self.outputs, d, scale=0.02)
        if self.learned:
            made["position"] = normal(self.context, d, scale=0.1)
        return made

    def logits(self, parameters: Parameters, tokens: Tensor, generator: Any = None) -> Tensor:
        """(batch, sites, outputs) from tokens (batch, sites); dropout with a generator only."""
        n, sites = tokens.shape
        if sites > self.context:
            raise ValueError(f"the context is {self.context} tokens, got {sites}")
        rate = 0.0 if generator is None else self.dropout
        h = self._embed(parameters, tokens)
        turn = rotation(sites, self.width // self.heads, tokens.device)
        for qkv, out, up, down in zip(*(parameters[k].unbind() for k in BLOCK), strict=True):
            made = linear(normed(h), qkv.flatten(0, 1))  # (n, sites, 3 width)
            q, k, v = made.view(n, sites, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            if self.rotary:
                q, k = rotated(q, turn), rotated(k, turn)
            mixed = torch.nn.functional.scaled_dot_product_attention(
                q, k, v, is_causal=self.causal
            )
            h = h + dropped(linear(mixed.transpose(1, 2).flatten(2), out), rate, generator)
            inner = torch.relu(linear(normed(h), up)).square()
            h = h + dropped(linear(inner, down), rate, generator)
        weight = parameters["embedding"][0] if self.tied else parameters["read-out"]
        return linear(normed(h), weight, parameters["bias"])

    def _embed(self, parameters: Parameters, tokens: Tensor) -> Tensor:
        """(batch, sites, width): embeddings of a site's token and of its predecessors."""
        tables = parameters["embedding"].unbind()
        h = torch.nn.functional.embedding(tokens, tables[0])
        for back in range(1, self.neighbours):
            earlier = torch.nn.functional.embedding(tokens[:, :-back], tables[back])
            h = h + torch.nn.functional.pad(earlier, (0, 0, back, 0))
        return h + parameters["position"][: tokens.shape[1]] if self.learned else h

    def cost(self, batch: int) -> StepCost:
        """That of `transformer_step`, with the traffic of the tables that this one has."""
        cost = transformer_step(self.layers, self.width, self.context, self.outputs, batch)
        tables = self.neighbours * self.colours + self.outputs * (not self.tied)
        sites = self.context * self.learned
        matrices = (4 + 2 * EXPANSION) * self.layers * self.width
        parameters = (matrices + tables + sites) * self.width + self.outputs
        traffic = cost.bytes + 8 * 4 * (parameters - cost.parameters)
        return StepCost(parameters, cost.flops, traffic)


def normed(h: Tensor) -> Tensor:
    """Root mean square 1 over the last axis."""
    return torch.nn.functional.rms_norm(h, h.shape[-1:])


def linear(h: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """h weight^T + bias."""
    return torch.nn.functional.linear(h, weight, bias)


def dropped(h: Tensor, rate: float, generator: Any) -> Tensor:
    """A part `rate` set to zero, the rest scaled so that the mean stays."""
    if rate == 0:
        return h
    kept = torch.rand(h.shape, generator=generator, device=h.device) >= rate
    return h * kept / (1 - rate)


def rotation(sites: int, size: int, device: Any) -> tuple[Tensor, Tensor]:
    """cos and sin of position times BASE^(-2 i / size), each (sites, size / 2)."""
    frequency = BASE ** -(torch.arange(0, size, 2, device=device) / size)
    angle = torch.arange(sites, device=device)[:, None] * frequency
    return angle.cos(), angle.sin()


def rotated(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """(..., sites, size): coordinate pairs (i, i + size / 2) turned by the angle of their site."""
    cos, sin = (t.to(x.dtype) for t in turn)
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)
