"""Blocks that share one output spin and pass what it asks for downwards through their couplings.

weak        the limit of weak feedback, block temperatures 1 : gamma : gamma^2 with gamma -> 0: the
            displacement of a block's spins returns through W to the block below. With a small
            nudge this is backprop by finite differences of the heat-bath law.
symmetric   feedback of finite strength gamma: free and nudged phases are fixed points of

    h_l = mean(W_l h_(l-1) + c_l + gamma W_(l+1)^T h_(l+1)),   p = softmax(b + U h_L),

            top block: + gamma U^T p + s beta U^T (delta - p), s = 0, +1, -1. They are stationary
            points of Phi = sum_l gamma^(l-1) Phi_l - gamma^L log sum_y exp(b + U h_L)_y, plus
            gamma^(L-1) s beta (-log p(label)), so the statistics below are, up to O(beta^2), the
            gradient of log p(label) at the free point (Scellier and Bengio 2017).
"""

from __future__ import annotations

from isingnpu.npu.blocks import Block, Fields
from isingnpu.npu.budget import Events
from isingnpu.npu.device import Array
from isingnpu.npu.draws import Draw
from isingnpu.npu.gibbs import softmax
from isingnpu.npu.learning import SymmetricFeedback, WeakFeedback
from isingnpu.npu.phases import (
    displacement,
    free_states,
    nudge_events,
    nudged_rows,
    output_error,
    spins_of,
    state_events,
)

Statistics = dict[str, Array]  # "0.w", "0.c", ..., of every block that learned


def weak(
    phases: WeakFeedback,
    blocks: list[Block],
    states: Array,
    labels: Array,
    *,
    beta: float,
    draw: Draw,
) -> tuple[Statistics, float, Events]:
    """Statistics, mean loss and cost of one batch of images (n, height, width, 1)."""
    n, below, fields = len(labels), [states], []
    events = Events()
    for i, block in enumerate(blocks):
        fields.append(block.fields(below[-1]))
        h = free_states(block, fields[-1].field, phases.draws, draw.at(block=i))
        below.append(block.above(h))
        events = events + block.forward_events(n) + state_events(block, n, phases.draws)
    top = blocks[-1]
    error, loss = output_error(top, h, labels)
    rows = nudged_rows(error, phases.threshold, top.device.xp)
    nudged = error if rows is None else error[rows]
    last = len(blocks) - 1
    found = {
        f"{last}.u": top.device.narrow_product(error.T, h) / n,
        f"{last}.b": error.sum(0) / n,
    }
    feedback = nudged @ top.couplings["u"]
    events = events + Events(macs=(2 * n + len(nudged)) * top.labels * top.spins)
    for i in range(last, -1, -1):
        block, f = blocks[i], fields[i].field
        moved = displacement(
            phases, block, f if rows is None else f[rows], feedback, beta, draw.at(block=i)
        )
        at_sites = block.at_sites(moved, fields[i], rows)
        for name, statistic in block.correlate(below[i], at_sites, rows, 1 / n).items():
            found[f"{i}.{name}"] = statistic
        events = events + nudge_events(phases, block, len(nudged))
        events = events + Events(macs=len(nudged) * block.macs * (1 if i == 0 else 2))
        if i:
            below_spins = blocks[i - 1].spins
            feedback = block.feedback(at_sites, len(nudged)).reshape(len(nudged), below_spins)
    return found, loss / n, events


def symmetric(
    phases: SymmetricFeedback, blocks: list[Block], states: Array, labels: Array
) -> tuple[Statistics, float, Events]:
    """Statistics, mean loss and cost of one batch of images (n, height, width, 1)."""
    n, xp = len(labels), blocks[-1].device.xp
    free = settle(blocks, states, phases.gamma, phases.sweeps)
    _, loss = output_error(blocks[-1], free[-1], labels)
    delta = xp.eye(blocks[-1].labels, dtype=states.dtype)[labels]
    found: Statistics = {}
    for sign in (1, -1):
        nudge = sign * phases.beta
        h = settle(blocks, states, phases.gamma, phases.sweeps, free, (delta, nudge))
        for name, statistic in _sums(blocks, states, h, phases.gamma, delta, nudge).items():
            part = statistic * states.dtype.type(sign / (2 * phases.beta * n))
            found[name] = found[name] + part if name in found else part
    return found, loss / n, _settle_events(phases, blocks, n)


def settle(
    blocks: list[Block],
    states: Array,
    gamma: float,
    sweeps: int,
    start: list[Array] | None = None,
    nudge: tuple[Array, float] | None = None,
) -> list[Array]:
    """Mean hidden states (n, spins) of every block after `sweeps` upwards through the blocks,
    from the states without feedback or from `start`. nudge: (delta, s beta)."""
    device, gain = blocks[0].device, states.dtype.type(gamma)
    if start is None:
        start, below = [], states
        for block in blocks:
            start.append(device.mean(block.unit, block.fields(below).field))
            below = block.above(start[-1])
    hidden = list(start)
    for _ in range(sweeps):
        below = states
        for i, block in enumerate(blocks):
            fields = block.fields(below)
            if i + 1 < len(blocks):
                back = gain * _returned(blocks[i + 1], hidden[i + 1], block.above(hidden[i]))
            else:
                p = softmax(block.logits(hidden[i]), device.xp)
                back = gain * (p @ block.couplings["u"])
                if nudge is not None:
                    delta, beta = nudge
                    back += states.dtype.type(beta) * ((delta - p) @ block.couplings["u"])
            hidden[i] = device.mean(block.unit, fields.field + back)
            below = block.above(hidden[i])
    return hidden


def _returned(block: Block, hidden: Array, below: Array) -> Array:
    """(n, spins below): W^T h."""
    fields = Fields(hidden)
    if block.needs_fields:
        fields = block.fields(below)
    return block.feedback(block.at_sites(hidden, fields, None), len(hidden)).reshape(
        len(hidden), -1
    )


def _sums(
    blocks: list[Block], states: Array, h: list[Array], gamma: float, delta: Array, nudge: float
) -> Statistics:
    """Sums over images of what the couplings of Phi multiply, in units of gamma^(L-1)."""
    found: Statistics = {}
    below = states
    for i, block in enumerate(blocks):
        scale = gamma ** (i - len(blocks) + 1)
        fields = block.fields(below) if block.needs_fields else Fields(h[i])
        at_sites = block.at_sites(h[i], fields, None)
        for name, statistic in block.correlate(below, at_sites, None, scale).items():
            found[f"{i}.{name}"] = statistic
        below = block.above(h[i])
    top = blocks[-1]
    p = softmax(top.logits(h[-1]), top.device.xp)
    output = states.dtype.type(gamma) * p + states.dtype.type(nudge) * (delta - p)
    found[f"{i}.u"], found[f"{i}.b"] = output.T @ h[-1], output.sum(0)
    return found


def _settle_events(phases: SymmetricFeedback, blocks: list[Block], n: int) -> Events:
    """Three phases of `sweeps` each, the start, and the products of both statistics."""
    total = Events()
    for i, block in enumerate(blocks):
        visits = n * (3 * phases.sweeps + 1)
        down = block.labels * block.spins * 2 if i + 1 == len(blocks) else blocks[i + 1].macs
        total = total + Events(
            evaluations=visits * spins_of(block),
            reads=2 * n * block.spins,
            macs=visits * (block.macs + down) + 2 * n * block.macs,
        )
    return total
