"""How a trained machine of blocks is asked for a label; every function returns scores (n, q).

last, sum     output spin over the mean or drawn hidden states of the last block, or of all blocks:
              energies add
relaxed       the free point of finite feedback (isingnpu.npu.ladder)
exact         -F(y) of the last block at one temperature, hidden spins traced
gibbs         last block sampled at one temperature: how many of the last half of the sweeps (the
              middle one of an odd number included) the output spin spends in y, ties broken by
              its heat bath
clamp-lambda  last block, y clamped to every label: integral over lambda in [0, 1] of the drawn
              <sum_j U_yj h_j> at coupling lambda U, random numbers shared by all labels
"""

from __future__ import annotations

from dataclasses import dataclass

from isingnpu.npu.blocks import Block
from isingnpu.npu.budget import Events
from isingnpu.npu.device import Array
from isingnpu.npu.draws import Draw, Draws, Stratified
from isingnpu.npu.ladder import settle
from isingnpu.npu.phases import (
    free_states,
    random_labels,
    spins_of,
    state_events,
    traced_logits,
    words_of,
)

READOUTS = ("last", "sum", "relaxed", "exact", "gibbs", "clamp-lambda")


@dataclass(frozen=True)
class Readout:
    """rule: one of READOUTS. draws: of the hidden spins on the way up (None: means). replicas: R
    of exact, gibbs and clamp-lambda. sweeps: of gibbs, or points of lambda. gamma: of relaxed."""

    rule: str = "last"
    draws: Draws | None = None
    replicas: int = 1
    sweeps: int = 32
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.rule not in READOUTS:
            raise ValueError(f"unknown readout {self.rule!r}, allowed are {', '.join(READOUTS)}")
        if not (1 <= self.replicas <= 256 and 1 <= self.sweeps <= 256):
            raise ValueError(f"1 to 256 replicas and sweeps are possible, got {self}")


def scores(
    readout: Readout, blocks: list[Block], states: Array, draw: Draw
) -> tuple[Array, Events]:
    """(n, q) scores of images (n, height, width, 1), the largest for the answer, and the cost."""
    if readout.rule == "relaxed":
        h = settle(blocks, states, readout.gamma, readout.sweeps)
        return blocks[-1].logits(h[-1]), Events(
            evaluations=sum(len(states) * readout.sweeps * spins_of(block) for block in blocks)
        )
    n, total, events = len(states), None, Events()
    equilibrium = readout.rule in ("exact", "gibbs", "clamp-lambda")
    for i, block in enumerate(blocks):
        f = block.fields(states).field
        events = events + block.forward_events(n)
        if equilibrium and i == len(blocks) - 1:
            break
        h = free_states(block, f, readout.draws, draw.at(block=i))
        events = events + state_events(block, n, readout.draws)
        states = block.above(h)
        if readout.rule == "sum":
            total = block.logits(h) if total is None else total + block.logits(h)
        elif i == len(blocks) - 1:
            total = block.logits(h)
    if not equilibrium:
        return total, events
    place = draw.at(block=len(blocks) - 1)
    answers = {"exact": _exact, "gibbs": _gibbs, "clamp-lambda": _clamp_lambda}
    out, cost = answers[readout.rule](readout, block, f, place)
    return out, events + cost


def _exact(readout: Readout, block: Block, f: Array, draw: Draw) -> tuple[Array, Events]:
    cost = len(f) * (block.labels + 1) * spins_of(block)
    return traced_logits(block, f, readout.replicas), Events(evaluations=cost)


def _gibbs(readout: Readout, block: Block, f: Array, draw: Draw) -> tuple[Array, Events]:
    n, replicas = len(f), readout.replicas
    votes = block.device.xp.zeros((n, block.labels), f.dtype)
    couplings, start = (block.couplings["u"], block.couplings["b"]), random_labels(block, n, draw)
    betas = (1.0,) * readout.sweeps
    block.device.gibbs(block.unit, f, couplings, start, betas, replicas, draw, votes)
    return votes, Events(
        draws=readout.sweeps * n * replicas * spins_of(block),
        potts_draws=readout.sweeps * n,
        random_words=readout.sweeps * n * (replicas * words_of(block) + 1),
        macs=readout.sweeps * n * block.labels * block.spins,
        reads=(readout.sweeps - readout.sweeps // 2) * n,
    )


def _clamp_lambda(readout: Readout, block: Block, f: Array, draw: Draw) -> tuple[Array, Events]:
    device, xp, u = block.device, block.device.xp, block.couplings["u"]
    n, points, replicas = len(f), readout.sweeps, f.dtype.type(readout.replicas)
    out = xp.zeros((n, block.labels), f.dtype) + block.couplings["b"]
    for point in range(points):
        strength = f.dtype.type((point + 0.5) / points) / replicas
        place = draw.at(block=draw.block + (point << 8))
        for y in range(block.labels):
            h = device.sample(block.unit, f + strength * u[y], Stratified(readout.replicas), place)
            out[:, y] += h @ u[y] / f.dtype.type(points)
    visits = points * n * block.labels
    return out, Events(
        draws=visits * readout.replicas * spins_of(block),
        random_words=points * n * words_of(block),
        macs=visits * block.spins,
        reads=visits * readout.replicas * block.spins,
    )
