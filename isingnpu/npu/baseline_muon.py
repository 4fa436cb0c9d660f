"""Muon: momentum whose matrices are replaced by nearly orthogonal ones before they act.

    M <- mu M + (1 - mu) G,   N = (1 - mu) G + mu M,   W <- W - rate sqrt(max(1, rows / columns)) O

where N = U S V^T and O = U S' V^T with S' within 0.7 .. 1.2: five quintic Newton-Schulz steps
X <- a X + b (X X^T) X + c (X X^T)^2 X from N / |N|. K. Jordan et al., "Muon: an optimizer for
hidden layers in neural networks" (2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from isingnpu.npu.baseline_torch import torch

Tensor = Any

ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonal(matrices: Tensor) -> Tensor:
    """(..., rows, columns) with singular values moved to about 1, singular vectors kept."""
    a, b, c = QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = _plus(x, _plus(square, square, square, b, c), x, a)
    return x.mT if tall else x


def _plus(added: Tensor, left: Tensor, right: Tensor, beta: float, alpha: float = 1.0) -> Tensor:
    """beta added + alpha left right, (..., rows, columns), in one pass."""
    flat = [t.reshape(-1, *t.shape[-2:]) for t in (added, left, right)]
    return torch.baddbmm(*flat, beta=beta, alpha=alpha).reshape(added.shape)


def orthogonal_flops(shape: Sequence[int]) -> int:
    """FLOPs of the products in `orthogonal`: per step 2 m^2 n twice and 2 m^3, m <= n."""
    m, n = sorted(shape[-2:])
    return prod(shape[:-2]) * ITERATIONS * (4 * m * m * n + 2 * m**3)


class Muon:
    """Moves stacks of matrices (..., rows, columns) in place by their gradients."""

    def __init__(self, weights: Sequence[Tensor], momentum: float, decay: float) -> None:
        self.weights, self.momentum, self.decay = list(weights), momentum, decay
        self.moments = [torch.zeros_like(w) for w in self.weights]

    def step(self, rate: float) -> None:
        """One step; gradients are those of the last backward pass."""
        with torch.no_grad():
            for w, m in zip(self.weights, self.moments, strict=True):
                m.lerp_(w.grad, 1 - self.momentum)
                o = orthogonal(w.grad.lerp(m, self.momentum))
                w.mul_(1 - rate * self.decay)
                w.add_(o, alpha=-rate * max(1.0, w.shape[-2] / w.shape[-1]) ** 0.5)
