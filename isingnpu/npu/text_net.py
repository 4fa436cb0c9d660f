"""The couplings of a machine that reads text, its fields and its two-phase statistics.

Energy at k_B T = 1 of the output spin y, hidden spins h and selectors a, context x clamped:

    -E = b_y + sum_d J_d[x_{t-d}, y] + sum_k alpha_k T_k[context_k, y]
         + sum_e gain_e F_e(context, y) + sum_j h_j (c_j + sum_d W_d[x_{t-d}, j] + U_{y j})
         + sum_m (s_m(a_m) + V_m[x_{a_m}, y])

The selectors are traced out exactly (isingnpu.npu.selectors). Hidden spins see the output spin in
the weak-feedback limit: free phase h = mean(f), p = softmax(g + U h); nudged phases
h(+-) = mean(f +- beta U^T (delta - p)); dW = x (h(+) - h(-)) / 2 beta, dU = (delta - p) h.
Statistics are sums over a batch. A second block (isingnpu.npu.second_block) sets gains of these
fields; the first one's output spin is then one of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isingnpu.npu.budget import Events
from isingnpu.npu.device import Array, Device
from isingnpu.npu.draws import Draw, normals
from isingnpu.npu.ngram_fields import EVIDENCE_CLASSES, NgramFields
from isingnpu.npu.second_block import Parts, SecondBlock, SecondNet
from isingnpu.npu.selectors import Selectors, key_distances
from isingnpu.npu.units import Binary, Unit
from isingnpu.rng import Stream


@dataclass(frozen=True)
class TextSpec:
    """colours q; context n: tokens with pairwise couplings to y and h; hidden spins H (0: none)
    of a unit; n-gram fields, selectors; count_states: gain classes of each expert of a count
    field, 0 without one. spread: s.d. of the first W; feedback: of the first U, times H^-1/2.
    second: a second block."""

    colours: int
    context: int = 10
    hidden: int = 256
    unit: Unit = field(default_factory=Binary)
    ngrams: NgramFields | None = None
    selectors: Selectors | None = None
    count_states: tuple[int, ...] = ()
    spread: float = 0.1
    feedback: float = 1.0
    second: SecondBlock | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.colours <= 256:
            raise ValueError(f"a token has 2 to 256 colours, got {self.colours}")
        if self.context < 1 or self.hidden < 0:
            raise ValueError(
                f"context must be at least 1 and hidden at least 0, got {self.context} and "
                f"{self.hidden}"
            )

    @property
    def reach(self) -> int:
        """Tokens before a position that the machine reads."""
        parts = [self.context]
        if self.ngrams is not None:
            parts.append(self.ngrams.orders[-1])
        if self.selectors is not None:
            parts.append(self.selectors.reach)
        return max(parts) + self.before

    @property
    def before(self) -> int:
        """Positions at the start of a run that only prepare those of a second block."""
        return 0 if self.second is None else self.second.before

    @property
    def n_parts(self) -> int:
        """Fields on the output spin that add: pairs, rows, count fields, selectors, hidden."""
        heads = 0 if self.selectors is None else self.selectors.heads
        return 1 + (self.ngrams is not None) + len(self.count_states) + heads + (self.hidden > 0)


def nothing() -> Array:
    """What stands for arrays of parts that a machine does not have."""
    return np.empty((0, 0))


@dataclass
class Batch:
    """Runs of positions, b = run * length + i; rows and parts (B, orders) of the n-gram
    fields; logs (B, experts, q) and states (B, experts) of a count field; keep (groups, H) zeroes
    hidden spins that groups of positions leave out and scales the others."""

    tokens: Array
    starts: Array
    length: int
    rows: Array = field(default_factory=nothing)
    parts: Array = field(default_factory=nothing)
    logs: Array = field(default_factory=nothing)
    states: Array = field(default_factory=nothing)
    keep: Array | None = None

    @property
    def size(self) -> int:
        """Positions B."""
        return len(self.starts) * self.length

    @property
    def runs(self) -> tuple[Array, Array, int]:
        """(tokens, starts, length)."""
        return self.tokens, self.starts, self.length


class TextNet:
    """Couplings by name, on one device, in float32 (or float64, to check the rules)."""

    def __init__(
        self, spec: TextSpec, device: Device, *, seed: int, dtype: type = np.float32
    ) -> None:
        self.spec, self.device, self.dtype = spec, device, dtype
        self.couplings = {
            name: device.xp.asarray(array, dtype)
            for name, array in first_couplings(spec, seed).items()
        }
        self.resize_rows(0, 0)
        self._space: dict[str, Array] = {}
        if spec.selectors is not None:
            self.distances = device.xp.asarray(key_distances(spec.selectors.window), dtype)

    def resize_rows(self, rows: int, parts: int) -> None:
        """Empty n-gram rows: tables are T and its parts by fold, weights A and its parts."""
        q, zeros = self.spec.colours, self.device.xp.zeros
        self.tables: tuple[Array, Array] = (
            zeros((rows, q), self.dtype),
            zeros((parts, q), self.dtype),
        )
        self.weights: tuple[Array, Array] = zeros(rows, self.dtype), zeros(parts, self.dtype)

    def space(self, name: str, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """Memory that a later step uses again."""
        wanted = np.dtype(dtype or self.dtype)
        array = self._space.get(name)
        if array is None or array.shape != shape or array.dtype != wanted:
            array = self._space[name] = self.device.xp.empty(shape, wanted)
        return array

    def output_fields(self, batch: Batch) -> Array:
        """(B, q) fields of the output spin, hidden spins at their mean: log p up to a constant."""
        spec, w, device, xp = self.spec, self.couplings, self.device, self.device.xp
        q, size = spec.colours, batch.size
        g = self.space("g", (size, q))
        g[:] = w["b"]
        device.gather(batch.tokens, batch.starts, batch.length, w["J"], g)
        parts = Parts(g, self._parts_of(g))
        if spec.ngrams is not None:
            self._ngram_fields(batch, g)
            parts.note()
        for e in range(len(spec.count_states)):
            g += w[f"gain{e}"][batch.states[:, e]][:, None] * batch.logs[:, e]
            parts.note()
        f = None
        if spec.hidden:
            f = self.space("f", (size, spec.hidden))
            f[:] = w["c"]
            device.gather(batch.tokens, batch.starts, batch.length, w["W"], f)
        if spec.selectors is not None:
            self._select(batch, g, f, parts)
        if f is not None:
            h = device.mean(spec.unit, f, out=self.space("h", f.shape))
            if batch.keep is not None:
                leave_out(h, batch.keep)
            g += xp.matmul(h, w["U"].T, out=self.space("answer", g.shape))
            parts.note()
        return g

    def _ngram_fields(self, batch: Batch, g: Array) -> None:
        states = self.space("states", batch.rows.shape, np.int16)
        self.device.ngram_fields(
            batch.rows,
            batch.parts,
            self.tables,
            self.weights,
            self.couplings["alpha"],
            g,
            states,
        )

    def _select(self, batch: Batch, g: Array, f: Array | None, parts: Parts) -> None:
        heads, w, xp = self.spec.selectors, self.couplings, self.device.xp
        assert heads is not None
        for m in range(heads.heads):
            mass, prior = self._head(m, batch.size)
            self.device.select(
                batch.tokens,
                batch.starts,
                batch.length,
                w[f"M{m}"],
                -w[f"kappa{m}"] * self.distances,
                mass,
                prior,
            )
            z = xp.matmul(mass, xp.exp(w[f"V{m}"]), out=self.space(f"Z{m}", g.shape))
            g += xp.log(z, out=self.space("answer", g.shape))
            parts.note()
            if f is not None and heads.values_to_hidden:
                f += xp.matmul(mass, w[f"X{m}"], out=self.space("pull", f.shape))

    def _head(self, m: int, size: int) -> tuple[Array, Array]:
        """(mass, prior) of head m."""
        assert self.spec.selectors is not None
        window = self.spec.selectors.window
        return self.space(f"mass{m}", (size, self.spec.colours)), self.space(
            f"prior{m}", (size, window)
        )

    def answer_fields(self, batch: Batch) -> Array:
        """(positions, q) fields of the output spin that sees all blocks; of every run the
        positions from `spec.before` on."""
        g = self.output_fields(batch)
        if self.spec.second is None:
            return g
        answer: Array = self._second.free_phase(self._space["parts"], batch.runs).output
        return answer

    @property
    def _second(self) -> SecondNet:
        assert self.spec.second is not None
        return SecondNet(self.spec.second, self.couplings, self.device, self.spec.unit)

    def _parts_of(self, g: Array) -> tuple[Array, Array] | None:
        """Memory for the fields of the parts of g, and for one of g's shape."""
        if self.spec.second is None:
            return None
        return self.space("parts", (self.spec.n_parts, *g.shape)), self.space("before", g.shape)

    def errors(self, batch: Batch) -> tuple[Array, Array]:
        """(delta - p (B, q), -log p(x_t) (B,)) of the first block's free phase."""
        g = self.output_fields(batch)
        loss = self.space("loss", (batch.size,))
        self.device.output(batch.tokens, batch.starts, batch.length, g, loss)
        return g, loss

    def statistics(self, batch: Batch, beta: float) -> tuple[dict[str, Array], float]:
        """(statistics by name of coupling, mean of -log p): nudged minus free, posterior minus
        prior. n-gram rows are not among them, they learn by `learn_rows`."""
        spec, w, device, xp = self.spec, self.couplings, self.device, self.device.xp
        e, loss = self.errors(batch)
        runs = (batch.tokens, batch.starts, batch.length)
        moved: dict[str, Array] = {"b": e.sum(0)}
        moved["J"] = self._zeros("J")
        device.scatter(*runs, e, moved["J"])
        for n in range(len(spec.count_states)):
            overlap = xp.einsum("by,by->b", e, batch.logs[:, n])
            moved[f"gain{n}"] = self._zeros(f"gain{n}")
            device.tally(batch.states[:, n], overlap, moved[f"gain{n}"])
        displaced = None
        if spec.hidden:
            f, h = self._space["f"], self._space["h"]
            moved["U"] = xp.matmul(e.T, h, out=self.space("dU", w["U"].shape))
            feedback = xp.matmul(e, w["U"], out=self.space("feedback", f.shape))
            if batch.keep is not None:
                leave_out(feedback, batch.keep)
            displaced = self.space("moved", f.shape)
            device.displacement(spec.unit, f, feedback, beta, out=displaced)
            moved["c"], moved["W"] = displaced.sum(0), self._zeros("W")
            device.scatter(*runs, displaced, moved["W"])
        if spec.selectors is not None:
            self._selector_statistics(batch, e, displaced, moved)
        if spec.second is not None:
            loss = self._second_statistics(batch, beta, moved)
        return moved, float(loss.mean())

    def _second_statistics(self, batch: Batch, beta: float, moved: dict[str, Array]) -> Array:
        """Adds those of the second block; returns -log p(x_t) of its output spin."""
        second, runs = self._second, batch.runs
        free = second.free_phase(self._space["parts"], runs)
        loss: Array = self.device.xp.empty(len(free.output), self.dtype)
        self.device.output(*second.block.own(runs), free.output, loss)
        moved |= second.statistics(free, free.output, beta, runs)
        return loss

    def _selector_statistics(
        self, batch: Batch, e: Array, displaced: Array | None, moved: dict[str, Array]
    ) -> None:
        heads, w, xp = self.spec.selectors, self.couplings, self.device.xp
        assert heads is not None
        for m in range(heads.heads):
            mass, prior = self._head(m, batch.size)
            strength = xp.exp(w[f"V{m}"])
            share = xp.divide(e, self._space[f"Z{m}"], out=self.space("share", e.shape))
            credit = xp.matmul(share, strength.T, out=self.space("credit", e.shape))
            moved[f"V{m}"] = (mass.T @ share) * strength
            if displaced is not None and heads.values_to_hidden:
                moved[f"X{m}"] = self.space(f"dX{m}", w[f"X{m}"].shape)
                xp.matmul(mass.T, displaced, out=moved[f"X{m}"])
                credit += xp.matmul(displaced, w[f"X{m}"].T, out=self.space("answer", e.shape))
            moved[f"M{m}"], moved[f"kappa{m}"] = self._zeros(f"M{m}"), self._zeros(f"kappa{m}")
            self.device.select_learn(
                batch.tokens,
                batch.starts,
                batch.length,
                prior,
                credit,
                xp.einsum("bc,bc->b", credit, mass),
                self.distances,
                moved[f"M{m}"],
                moved[f"kappa{m}"],
            )

    def _zeros(self, name: str) -> Array:
        array = self.space(f"d{name}", self.couplings[name].shape)
        array[:] = 0
        return array

    def learn_rows(self, batch: Batch, rate: float) -> Array:
        """Move the n-gram rows by the errors of `statistics`; returns the gains' statistics."""
        spec = self.spec.ngrams
        assert spec is not None
        gains = self._zeros("alpha")
        self.device.ngram_learn(
            batch.rows,
            batch.parts,
            self.tables,
            self.weights,
            self._space["states"],
            self._space["g"],
            rate,
            rate * spec.decay,
            gains,
        )
        return gains

    def events(self, batch: Batch) -> Events:
        """What one training step on such a batch costs. Additions of selectors are counted with
        the multiply-adds: the scores of W keys by L tokens and their statistics, what they weigh,
        their errors and distances; left-out spins as a draw for each of the mask."""
        spec, n = self.spec, batch.size
        q, hidden = spec.colours, spec.hidden
        heads = spec.selectors
        n_heads = heads.heads if heads is not None else 0
        to_hidden = heads is not None and heads.values_to_hidden
        orders = len(spec.ngrams.orders) if spec.ngrams is not None else 0
        dense = sum(int(a.size) for a in self.couplings.values())
        macs = 3 * q * hidden + n_heads * 3 * q * q + 3 * q * hidden * n_heads * to_hidden
        words = 2 * spec.context * (q + hidden) + orders * 6 * q + 4 * hidden + 2 * q
        if heads is not None:
            macs += n_heads * heads.window * (2 * heads.match + 3)
            words += n_heads * heads.window * (heads.match + 2)
        masked = 0 if batch.keep is None else int(batch.keep.size)
        second = Events()
        if spec.second is not None:
            above = len(batch.starts) * (batch.length - spec.before)
            second = spec.second.events(above, spec.n_parts, q)
        return second + Events(
            draws=masked,
            random_words=masked,
            evaluations=n * (3 * hidden + n_heads + 1),
            macs=n * macs,
            writes=dense + 2 * n * orders * q,
            bytes=4 * (n * words + 7 * dense + masked),
            samples=n,
        )


def leave_out(spins: Array, keep: Array) -> None:
    """Scale spins (B, H) in place by keep (groups, H), a group being B / groups positions."""
    grouped = spins.reshape(len(keep), -1, spins.shape[1])
    grouped *= keep[:, None]


def first_couplings(spec: TextSpec, seed: int) -> dict[str, Array]:
    """Couplings before learning; random ones are normal numbers of Stream.WEIGHTS."""
    q, n, hidden = spec.colours, spec.context, spec.hidden

    def noise(block: int, *shape: int) -> Array:
        return normals(shape, Draw(seed, Stream.WEIGHTS, block=block))

    w: dict[str, Array] = {"b": np.zeros(q), "J": np.zeros((n, q, q))}
    if hidden:
        w["c"] = np.zeros(hidden)
        w["W"] = noise(0, n, q, hidden) * spec.spread
        w["U"] = noise(1, q, hidden) * spec.feedback / hidden**0.5
    if spec.ngrams is not None:
        w["alpha"] = np.full(
            (len(spec.ngrams.orders), EVIDENCE_CLASSES, EVIDENCE_CLASSES), spec.ngrams.start
        )
    for e, states in enumerate(spec.count_states):
        w[f"gain{e}"] = np.full(states, 1.0 if e == 0 else 0.0)
    heads = spec.selectors
    for m in range(heads.heads if heads is not None else 0):
        assert heads is not None
        block = 16 + 4 * m
        informed = float(heads.start == "match")
        attract = 0.5 * 0.9 ** np.arange(heads.match) * (1.0 if m % 2 == 0 else 0.3)
        w[f"M{m}"] = informed * attract[:, None, None] * np.eye(q)
        w[f"M{m}"] = w[f"M{m}"] + 0.02 * noise(block, heads.match, q, q)
        w[f"V{m}"] = informed * (2.0 if m < 2 else 0.6) * np.eye(q) + 0.05 * noise(block + 1, q, q)
        w[f"kappa{m}"] = np.full(1, 0.1)
        if heads.values_to_hidden and hidden:
            w[f"X{m}"] = 0.1 * noise(block + 2, q, hidden)
    if spec.second is not None:
        w |= spec.second.first_couplings(spec.n_parts, q, seed)
    return w
