"""Potts models as Ising models, so that any backend or sampler can take them.

Every colour of a Potts spin is an indicator, affine in the spins of a code:

    one-hot       x_a = (1 + s_a) / 2, q spins;        + A (sum_a x_a - 1)^2 per Potts spin
    domain-wall   x_a = (s_a - s_{a+1}) / 2, q - 1 spins between s_0 = 1 and s_q = -1;
                  - A sum_a s_a s_{a+1}: two more walls cost 4 A

(Chancellor, Quantum Sci. Technol. 4, 045004, 2019). Spins of two colours become one Ising spin,
which needs no penalty. Identity: on valid states, where every Potts spin has one colour, energies
are those of the Potts model, so that the Ising law given validity is the Potts law whatever A is.
Approximation: the rest of the law sits on invalid states, e^-A each and 2^q of them; and at large
A single flips hardly leave a valid state. `penalty_study` measures both sides, which is why
machines draw Potts spins by a native heat bath (isingnpu.npu.potts).

d spins that count colours in binary are no third way: a table of 2^d energies has products of up
to d spins, two-spin terms reach d = 2 only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from isingnpu.annealing import sample
from isingnpu.model import IsingModel
from isingnpu.npu.draws import Draw, uniforms
from isingnpu.npu.potts import PottsModel, draw_states, heat_bath
from isingnpu.rng import Stream

Array = NDArray[Any]

ENCODINGS = ("one-hot", "domain-wall")


@dataclass(frozen=True, eq=False)
class Exported:
    """An Ising model of a Potts model.

    ising: labels (site, colour), for a domain wall (site, wall). colours: q of every Potts spin;
    blocks: per Potts spin its slice of Ising spins."""

    ising: IsingModel
    colours: tuple[int, ...]
    blocks: tuple[slice, ...]
    encoding: str

    def encode(self, states: ArrayLike) -> Array:
        """Spins (..., n) int8 of Potts states (..., sites)."""
        y = np.asarray(states)
        spins = np.empty((*y.shape[:-1], self.ising.n), np.int8)
        for i, (q, block) in enumerate(zip(self.colours, self.blocks, strict=True)):
            offset, map_ = _indicators(q, self.encoding)
            # the spins of each colour: the valid corner of the cube at which x is that unit vector
            codes = np.rint(np.linalg.lstsq(map_, np.eye(q) - offset[:, None], rcond=None)[0])
            spins[..., block] = codes.T.astype(np.int8)[y[..., i]]
        return spins

    def decode(self, spins: ArrayLike) -> tuple[Array, Array]:
        """(states (..., sites), valid (...,)): the first largest indicator of every Potts spin,
        and whether each has exactly one colour."""
        s = np.asarray(spins, np.float64)
        states = np.empty((*s.shape[:-1], len(self.colours)), np.int64)
        valid = np.ones(s.shape[:-1], bool)
        for i, (q, block) in enumerate(zip(self.colours, self.blocks, strict=True)):
            offset, map_ = _indicators(q, self.encoding)
            x = s[..., block] @ map_.T + offset
            states[..., i] = x.argmax(-1)
            valid &= ((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1)
        return states, valid


def to_ising(model: PottsModel, penalty: float, encoding: str = "one-hot") -> Exported:
    """The Ising model whose energy on valid states is that of `model`. `.ising.to_bqm()` gives
    dimod's. penalty: A > 0, in k_B T; it has no default because the law off validity depends on
    it."""
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding must be one of {', '.join(ENCODINGS)}, got {encoding!r}")
    if not penalty > 0:
        raise ValueError(f"penalty must be > 0, got {penalty}")
    maps = [_indicators(q, encoding) for q in model.colours]
    widths = [map_.shape[1] for _, map_ in maps]
    ends = np.cumsum(widths)
    blocks = tuple(slice(int(end - w), int(end)) for end, w in zip(ends, widths, strict=True))
    n = int(ends[-1])
    couplings, fields = np.zeros((n, n)), np.zeros(n)
    offset = 0.0
    for (constant, map_), block, f in zip(maps, blocks, model.fields, strict=True):
        fields[block] += map_.T @ f
        offset -= float(constant @ f)
    for (i, j), J in model.couplings.items():
        (ci, mi), (cj, mj), bi, bj = *(maps[i], maps[j]), blocks[i], blocks[j]
        couplings[bi, bj] += mi.T @ J @ mj
        fields[bi] += mi.T @ J @ cj
        fields[bj] += mj.T @ J.T @ ci
        offset -= float(ci @ J @ cj)
    couplings += couplings.T
    for q, block in zip(model.colours, blocks, strict=True):
        if q > 2:
            offset += _add_penalty(couplings, fields, block, q, penalty, encoding)
    labels = tuple((i, a) for i, w in enumerate(widths) for a in range(w))
    ising = IsingModel(couplings, fields, offset, labels)
    return Exported(ising, model.colours, blocks, encoding)


def _indicators(q: int, encoding: str) -> tuple[Array, Array]:
    """(offset (q,), map (q, spins)): x = offset + map @ s."""
    if q == 2:
        return np.full(2, 0.5), np.array([[0.5], [-0.5]])
    if encoding == "one-hot":
        return np.full(q, 0.5), np.eye(q) / 2
    map_ = np.zeros((q, q - 1))
    map_[np.arange(1, q), np.arange(q - 1)] = 0.5
    map_[np.arange(q - 1), np.arange(q - 1)] = -0.5
    offset = np.zeros(q)
    offset[0] = offset[-1] = 0.5
    return offset, map_


def _add_penalty(
    couplings: Array, fields: Array, block: slice, q: int, A: float, encoding: str
) -> float:
    """Add one Potts spin's penalty, 0 on valid states; returns its constant."""
    if encoding == "one-hot":
        # A (sum x - 1)^2 = A/4 (sum s + q - 2)^2 = A/4 (2 sum_{i<j} ss + 2 (q - 2) sum s + const)
        couplings[block, block] -= A / 2 * (1 - np.eye(q))
        fields[block] -= A / 2 * (q - 2)
        return A / 4 * (q + (q - 2) ** 2)
    k = np.arange(block.start, block.stop - 1)
    couplings[k, k + 1] += A
    couplings[k + 1, k] += A
    fields[block.start] += A
    fields[block.stop - 1] -= A
    return A * (q - 2)  # q bonds, all satisfied but the one with the wall


@dataclass(frozen=True)
class PenaltyRow:
    """What single flips make of one Potts spin under a penalty.

    valid: fraction of valid states, valid_exact: in equilibrium; acceptance: flips per attempt;
    distance: total variation between the valid states drawn and the heat bath, nan without any;
    native: the same of as many native draws, which is sampling noise alone."""

    penalty: float
    valid: float
    valid_exact: float
    acceptance: float
    distance: float
    native: float
    replicas: int
    sweeps: int

    @property
    def attempts_per_move(self) -> float:
        """Flip attempts per change of a one-hot spin's colour, which takes two flips; a native
        heat bath draws an independent colour per visit."""
        return 2 / self.acceptance if self.acceptance else float("inf")


def penalty_study(
    scores: ArrayLike,
    penalties: Sequence[float] = (2.0, 4.0, 8.0),
    *,
    encoding: str = "one-hot",
    replicas: int = 4096,
    sweeps: int = 1000,
    dynamics: str = "metropolis",
    backend: str = "auto",
    seed: int = 0,
) -> list[PenaltyRow]:
    """Sample one Potts spin with these scores (q,) through its export, at each penalty, from
    random states; the last state of every replica counts."""
    s = np.asarray(scores, np.float64)
    p = heat_bath(s)
    rows = []
    for penalty in penalties:
        exported = to_ising(PottsModel((s,)), penalty, encoding)
        run = sample(
            exported.ising, 1.0, sweeps=sweeps, replicas=replicas, dynamics=dynamics,
            backend=backend, seed=seed, observe=(),
        )  # fmt: skip
        states, valid = exported.decode(run.state.spins)
        drawn = states[valid, 0]
        native = draw_states(s, uniforms((len(drawn),), Draw(seed, Stream.SELECTOR)))
        rows.append(
            PenaltyRow(
                penalty,
                float(valid.mean()),
                valid_fraction(s, penalty) if encoding == "one-hot" else float("nan"),
                run.ledger.counts.flips / run.ledger.counts.attempted,
                _total_variation(drawn, p),
                _total_variation(native, p),
                replicas,
                sweeps,
            )
        )
    return rows


def valid_fraction(scores: ArrayLike, penalty: float) -> float:
    """Exact equilibrium probability that a one-hot Potts spin is valid: e_1 / sum_k e_k
    exp(-A (k - 1)^2), e_k the elementary symmetric polynomials of exp(scores).

    With p_a = sigma(s_a) they are the law of the number of independent spins that are up."""
    up = np.ones(1)
    for p in expit(np.asarray(scores, np.float64)):
        up = np.convolve(up, [1 - p, p])
    weights = up * np.exp(-penalty * (np.arange(len(up)) - 1.0) ** 2)
    return float(weights[1] / weights.sum())


def _total_variation(states: Array, law: Array) -> float:
    if not len(states):
        return float("nan")
    seen = np.bincount(states, minlength=len(law)) / len(states)
    return float(abs(seen - law).sum() / 2)
