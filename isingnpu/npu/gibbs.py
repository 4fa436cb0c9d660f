"""Block-Gibbs sweeps of a block of hidden spins and its output Potts spin.

    p(y, h | x) ~ exp(beta (b_y + sum_j h_j (f_j + U_yj))),  R replicas of h: U / R acts on each

Given y all hidden spins are independent of each other, given them y is one heat bath: a sweep
draws first all h, then y. This is the specification; a device may make all sweeps in one launch.
"""

from __future__ import annotations

from typing import Any

from isingnpu.npu.device import Array, Device
from isingnpu.npu.draws import Draw, Independent
from isingnpu.npu.units import Unit
from isingnpu.rng import Stream


def sweep_blocks(
    device: Device,
    unit: Unit,
    fields: Array,
    couplings: tuple[Array, Array],
    states: Array,
    betas: tuple[float, ...],
    replicas: int,
    draw: Draw,
    votes: Array | None = None,
) -> Array:
    """What isingnpu.npu.device.Device.gibbs states, by the other functions of the device."""
    xp, kind, (u, b), y = device.xp, fields.dtype.type, couplings, states
    for sweep, beta in enumerate(betas):
        place = draw.at(block=draw.block + (sweep << 8))
        field = kind(beta) * (fields + u[y] / kind(replicas))
        h = device.sample(unit, field, Independent(replicas), place)
        p = softmax(kind(beta) * (h @ u.T + b), xp)
        y = draw_labels(p, device, place)
        if votes is not None and sweep >= len(betas) // 2:
            votes[xp.arange(len(y)), y] += 1
            votes += kind(1e-3) * p
    return y


def draw_labels(p: Array, device: Device, draw: Draw) -> Array:
    """(n,) states of Potts spins with probabilities p (n, q): how many of the cumulated
    probabilities lie at or below a uniform number."""
    xp = device.xp
    place = Draw(draw.seed, Stream.SELECTOR, draw.step, draw.block)
    u = device.uniforms((len(p),), place)
    return xp.minimum((p.cumsum(1) <= u[:, None]).sum(1), p.shape[1] - 1)


def softmax(logits: Array, xp: Any) -> Array:
    """Heat bath of a Potts spin in these fields, (n, q)."""
    p = logits - logits.max(1, keepdims=True)
    p = xp.exp(p)
    return p / p.sum(1, keepdims=True)
