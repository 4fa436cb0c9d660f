"""Two-phase statistics of one block of hidden spins under its output Potts spin.

    p(y, h | x) ~ exp(b_y + sum_j h_j (f_j + U_yj)),  R replicas of h: U / R acts on each

Every function relaxes the block in the fields f (n, spins) through the phases of one rule of
isingnpu.npu.learning and returns what a coupling needs: how the hidden states differ between the
phases, and the difference of <y h> and <y>. Arrays keep the precision of f.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isingnpu.npu.blocks import Block
from isingnpu.npu.budget import Events
from isingnpu.npu.device import Array
from isingnpu.npu.draws import Draw, Draws, Independent, Stratified
from isingnpu.npu.gibbs import softmax
from isingnpu.npu.learning import (
    ContrastiveDivergence,
    Exact,
    Gibbs,
    MeanField,
    WeakFeedback,
)
from isingnpu.rng import Stream


@dataclass(eq=False)
class Answer:
    """What the phases leave behind.

    states: (n, spins) hidden states that the next block sees; hidden: (m, spins) differences of
    the hidden states of images `rows`, all of them if None; output (q, spins) and bias (q,): sums
    over images; loss: sum of -log p(label), of drawn phases how often another label was drawn;
    chains: (n,) output states of persistent chains."""

    states: Array
    hidden: Array
    rows: Array | None
    output: Array
    bias: Array
    loss: float
    events: Events
    chains: Array | None = None


def relax(
    phases: WeakFeedback | Exact | Gibbs | ContrastiveDivergence | MeanField,
    block: Block,
    f: Array,
    labels: Array,
    *,
    draw: Draw,
    fraction: float = 0.0,
    chains: Array | None = None,
) -> Answer:
    """The statistics of one rule. draw names the step and the block; fraction: spent part of the
    budget; chains: output states at which persistent chains stand."""
    if isinstance(phases, WeakFeedback):
        return weak_feedback(phases, block, f, labels, phases.beta_at(fraction), draw)
    if isinstance(phases, Exact):
        return exact(phases, block, f, labels)
    if isinstance(phases, MeanField):
        return mean_field(phases, block, f, labels)
    if isinstance(phases, Gibbs):
        return gibbs(phases, block, f, labels, draw)
    return contrastive(phases, block, f, labels, draw, chains)


def free_states(block: Block, f: Array, draws: Draws | None, draw: Draw) -> Array:
    """Hidden states without feedback: means, or the average of drawn ones."""
    if draws is None:
        return block.device.mean(block.unit, f)
    return block.device.sample(block.unit, f, draws, draw)


def weak_feedback(
    phases: WeakFeedback, block: Block, f: Array, labels: Array, beta: float, draw: Draw
) -> Answer:
    """Free phase h, p = softmax(b + U h); nudged phases h(f +- beta U^T (delta - p))."""
    h = free_states(block, f, phases.draws, draw)
    error, loss = output_error(block, h, labels)
    rows = nudged_rows(error, phases.threshold, block.device.xp)
    own, fields = (error, f) if rows is None else (error[rows], f[rows])
    feedback = own @ block.couplings["u"]
    moved = displacement(phases, block, fields, feedback, beta, draw)
    return Answer(
        states=h,
        hidden=moved,
        rows=rows,
        output=block.device.narrow_product(error.T, h),
        bias=error.sum(0),
        loss=loss,
        events=state_events(block, len(f), phases.draws)
        + nudge_events(phases, block, len(own))
        + Events(macs=(2 * len(f) + len(own)) * block.labels * block.spins),
    )


def output_error(block: Block, h: Array, labels: Array) -> tuple[Array, float]:
    """delta - p of the output spin under hidden states h, (n, q), and the sum of -log p(label)."""
    xp = block.device.xp
    p = softmax(block.logits(h), xp)
    n = xp.arange(len(labels))
    loss = -float(xp.log(xp.maximum(p[n, labels], 1e-30)).sum())
    error = -p
    error[n, labels] += 1
    return error, loss


def nudged_rows(error: Array, threshold: float, xp: Any) -> Array | None:
    """Images whose output is off by more than the threshold in some state; None for all."""
    if threshold == 0:
        return None
    return xp.flatnonzero(xp.abs(error).max(1) > threshold)


def displacement(
    phases: WeakFeedback, block: Block, f: Array, feedback: Array, beta: float, draw: Draw
) -> Array:
    """Half the difference of both nudged phases by beta: of means, or drawn with shared noise."""
    device = block.device
    if phases.nudge == "mean" or phases.draws is None:
        return device.displacement(block.unit, f, feedback, beta)
    noise = Draw(draw.seed, Stream.NUDGE, draw.step, draw.block)
    return device.sampled_displacement(block.unit, f, feedback, beta, phases.draws, noise)


def exact(phases: Exact, block: Block, f: Array, labels: Array) -> Answer:
    """Hidden and output spins traced: clamped minus free expectations, the gradient of
    sum log p(y | x)."""
    device, xp, u = block.device, block.device.xp, block.couplings["u"]
    n, index = len(f), xp.arange(len(f))
    error = -softmax(traced_logits(block, f, 1), xp)
    loss = -float(xp.log(xp.maximum(-error[index, labels], 1e-30)).sum())
    error[index, labels] += 1
    hidden, output = xp.zeros_like(f), xp.empty_like(u)
    visited = 0
    for y in range(block.labels):
        rows = xp.flatnonzero(xp.abs(error[:, y]) > phases.threshold)
        part = device.mean(block.unit, f[rows] + u[y])
        part *= error[rows, y][:, None]
        hidden[rows] += part
        output[y] = part.sum(0)
        visited += len(rows)
    evaluations = (n * block.labels + visited) * spins_of(block)
    events = Events(evaluations=evaluations, reads=2 * visited * block.spins)
    h = device.mean(block.unit, f)
    return Answer(h, hidden, None, output, error.sum(0), loss, events)


def traced_logits(block: Block, f: Array, replicas: int) -> Array:
    """-F(y) + F(hidden spins alone) = b_y + R sum_j (psi(f_j + U_yj / R) - psi(f_j)), (n, q);
    psi is the potential of the unit."""
    device, xp, u = block.device, block.device.xp, block.couplings["u"]
    alone = device.potential(block.unit, f)
    out = xp.empty((len(f), block.labels), f.dtype)
    for y in range(block.labels):
        gain = device.potential(block.unit, f + u[y] / f.dtype.type(replicas)) - alone
        out[:, y] = replicas * gain.sum(1)
    return out + block.couplings["b"]


def mean_field(phases: MeanField, block: Block, f: Array, labels: Array) -> Answer:
    """Free phase m = mean(f + U^T p), p = softmax(b + U m), damped; clamped phase p = delta."""
    device, xp, u = block.device, block.device.xp, block.couplings["u"]
    n = len(f)
    p = xp.full((n, block.labels), 1 / block.labels, f.dtype)
    for _ in range(phases.iterations):
        free = device.mean(block.unit, f + p @ u)
        p = p + f.dtype.type(phases.damping) * (softmax(block.logits(free), xp) - p)
    clamped = device.mean(block.unit, f + u[labels])
    target = xp.eye(block.labels, dtype=f.dtype)[labels]
    loss = -float(xp.log(xp.maximum(p[xp.arange(n), labels], 1e-30)).sum())
    sweeps = phases.iterations
    return Answer(
        states=device.mean(block.unit, f),
        hidden=clamped - free,
        rows=None,
        output=target.T @ clamped - p.T @ free,
        bias=(target - p).sum(0),
        loss=loss,
        events=Events(
            evaluations=n * (sweeps + 2) * spins_of(block),
            reads=2 * n * block.spins,
            macs=n * (2 * sweeps + 2) * block.labels * block.spins,
        ),
    )


def gibbs(phases: Gibbs, block: Block, f: Array, labels: Array, draw: Draw) -> Answer:
    """Free phase: sweeps at rising beta from a random output state; clamped phase: the label."""
    start = random_labels(block, len(f), draw)
    y, events = sweeps(block, f, start, phases.betas, phases.replicas, draw)
    return _clamped_minus_free(
        block, f, labels, y, phases.replicas, phases.rao_blackwell, draw, events
    )


def contrastive(
    phases: ContrastiveDivergence,
    block: Block,
    f: Array,
    labels: Array,
    draw: Draw,
    chains: Array | None,
) -> Answer:
    """Free phase: k sweeps from the label, or from where the persistent chain stands."""
    start = chains if phases.persistent and chains is not None else labels
    y, events = sweeps(block, f, start, (1.0,) * phases.k, 1, draw)
    answer = _clamped_minus_free(block, f, labels, y, 1, True, draw, events)
    answer.chains = y
    return answer


def sweeps(
    block: Block, f: Array, y: Array, betas: tuple[float, ...], replicas: int, draw: Draw
) -> tuple[Array, Events]:
    """Output states (n,) after heat-bath sweeps of hidden spins and output spin from states y."""
    n, couplings = len(f), (block.couplings["u"], block.couplings["b"])
    y = block.device.gibbs(block.unit, f, couplings, y, betas, replicas, draw)
    drawn = len(betas) * n * replicas * spins_of(block)
    return y, Events(
        draws=drawn,
        potts_draws=len(betas) * n,
        random_words=len(betas) * n * (replicas * words_of(block) + 1),
        macs=len(betas) * n * block.labels * block.spins,
        reads=len(betas) * n,
    )


def random_labels(block: Block, n: int, draw: Draw) -> Array:
    """(n,) uniform output states."""
    place = Draw(draw.seed, Stream.SELECTOR, draw.step, draw.block, call=1)
    u = block.device.uniforms((n,), place)
    return (u * block.labels).astype(block.device.xp.int64)


def _clamped_minus_free(
    block: Block,
    f: Array,
    labels: Array,
    y: Array,
    replicas: int,
    rao_blackwell: bool,
    draw: Draw,
    events: Events,
) -> Answer:
    """Statistics of the label against the drawn output state, hidden spins by their conditional
    expectation or drawn with the same random numbers in both phases."""
    device, xp, u = block.device, block.device.xp, block.couplings["u"]
    kind, n = f.dtype.type, len(f)
    both = [f + u[state] / kind(replicas) for state in (labels, y)]
    if rao_blackwell:
        clamped, free = (device.mean(block.unit, field) for field in both)
        events = events + Events(evaluations=2 * n * replicas * spins_of(block))
    else:
        place = Draw(draw.seed, Stream.NUDGE, draw.step, draw.block)
        clamped, free = (
            device.sample(block.unit, field, Independent(replicas), place) for field in both
        )
        events = events + Events(
            draws=2 * n * replicas * spins_of(block),
            random_words=n * replicas * words_of(block),
        )
    one_hot = xp.eye(block.labels, dtype=f.dtype)
    target, drawn = one_hot[labels], one_hot[y]
    return Answer(
        states=device.mean(block.unit, f),
        hidden=kind(replicas) * (clamped - free),
        rows=None,
        output=target.T @ clamped - drawn.T @ free,
        bias=(target - drawn).sum(0),
        loss=float((y != labels).sum()),
        events=events + Events(reads=2 * n * block.spins, macs=2 * n * block.labels * block.spins),
    )


def spins_of(block: Block) -> int:
    """Spins of one image, those of a tower counted one by one."""
    return block.spins * block.unit.levels


def words_of(block: Block) -> int:
    """Random words of one draw of all units: a spin of a heat-bath tower has its own."""
    return block.spins * (block.unit.levels if block.unit.is_heat_bath else 1)


def state_events(block: Block, n: int, draws: Draws | None) -> Events:
    """The free phase of n images: hidden states once each, read out, loaded and stored."""
    size = 8 * n * block.spins
    if draws is None:
        return Events(evaluations=n * spins_of(block), reads=n * block.spins, bytes=size)
    numbers = 1 if isinstance(draws, Stratified) else draws.draws
    return Events(
        draws=n * draws.draws * spins_of(block),
        random_words=n * numbers * words_of(block),
        reads=n * draws.draws * block.spins,
        bytes=size + 8 * n * numbers * words_of(block),
    )


def nudge_events(phases: WeakFeedback, block: Block, n: int) -> Events:
    """Both nudged phases of n images."""
    if phases.nudge == "mean" or phases.draws is None:
        once = state_events(block, n, None)
        return once + once
    once = state_events(block, n, phases.draws)
    return Events(
        draws=2 * once.draws, random_words=once.random_words, reads=2 * once.reads,
        bytes=2 * once.bytes,
    )  # fmt: skip
