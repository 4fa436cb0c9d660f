"""Feed-forward layer, residual stream and output: energies of one output Potts spin add.

    E(y, h, a | x) = -b_y - sum_j h_j (f_j + U_yj) - sum_m (s_m,a_m + V_m[a_m, y])

y is the output spin (q colours), h hidden 0/1 spins in fields f(x), a_m selectors; the context x
is clamped and enters through f, s and V alone. Tracing what is hidden leaves a sum over blocks,

    ln p(y | x) = b_y + sum_j softplus(f_j + U_yj) + sum_m ln sum_a e^{s_ma + V_m[a, y]} - ln Z(x):

a hidden spin's softplus is minus its free energy (the feed-forward layer), each block adds its own
-F(y) to the stream (a product of experts; Hinton, Neural Computation 14, 1771, 2002), and the heat
bath of y is the softmax of the stream; -ln p is the cross entropy. All exact, in O(q H + q L).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from isingnpu.npu.potts import PottsModel
from isingnpu.npu.units import Binary, Unit

Array = NDArray[Any]


def hidden_energy(fields: ArrayLike, readout: ArrayLike, unit: Unit | None = None) -> Array:
    """(..., q) minus the free energy of hidden spins, sum_j potential(f_j + U_yj); fields
    (..., H), readout U (q, H). unit: Binary() if None; ValueError for one without a heat bath,
    whose potential is no free energy."""
    kind = unit or Binary()
    if not kind.is_heat_bath:
        raise ValueError(f"{kind} is no heat bath of an energy: there is no free energy to add")
    f, U = np.asarray(fields, np.float64), np.asarray(readout, np.float64)
    return np.asarray(kind.potential(f[..., None, :] + U).sum(-1))


def selector_energy(scores: ArrayLike, values: ArrayLike) -> Array:
    """(..., q) minus the free energy of one selector, ln sum_a exp(s_a + V[a, y])."""
    s, v = np.asarray(scores, np.float64), np.asarray(values, np.float64)
    return np.asarray(logsumexp(s[..., None] + v, axis=-2))


def heat_bath_law(*energies: ArrayLike) -> Array:
    """ln p(y) (..., q) of the output spin when these -F(y), each (..., q), add."""
    stream = sum((np.asarray(e, np.float64) for e in energies), np.zeros(()))
    return np.asarray(stream - logsumexp(stream, axis=-1, keepdims=True))


def cross_entropy(log_law: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -ln p(label), nats."""
    p, y = np.asarray(log_law), np.asarray(labels)
    return float(-np.take_along_axis(p, y[..., None], axis=-1).mean())


@dataclass(frozen=True, eq=False)
class OutputBlock:
    """One context's machine of free spins: the output y, H hidden spins, some selectors.

    bias: (q,); fields: (H,) and readout: (q, H) of 0/1 hidden spins; selectors: (scores (L,),
    values (L, q)) each."""

    bias: Array
    fields: Array
    readout: Array
    selectors: tuple[tuple[Array, Array], ...] = field(default=())

    def log_law(self) -> Array:
        """(q,) ln p(y | x), hidden spins and selectors traced in closed form."""
        traced = [selector_energy(s, v) for s, v in self.selectors]
        return heat_bath_law(self.bias, hidden_energy(self.fields, self.readout), *traced)

    def model(self) -> PottsModel:
        """The same energy of spins (y, h_1..h_H, a_1..a_m), with nothing traced: what a sampler
        or isingnpu.npu.export takes."""
        hidden = [np.array([0.0, f]) for f in self.fields]
        couplings = {
            (0, 1 + j): np.column_stack([np.zeros(len(self.bias)), self.readout[:, j]])
            for j in range(len(hidden))
        }
        for m, (_, values) in enumerate(self.selectors):
            couplings[0, 1 + len(hidden) + m] = np.asarray(values).T
        scores = [np.asarray(s) for s, _ in self.selectors]
        return PottsModel((np.asarray(self.bias), *hidden, *scores), couplings)
