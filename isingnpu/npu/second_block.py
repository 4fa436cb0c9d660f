"""A second block of a machine that reads text: hidden spins that set the gains of the first.

The first block is a sum of parts, each a field F_e (q,) on the output spin: pairs, n-gram rows,
count fields, every selector, hidden spins. It answers with softmax(g), g = sum_e F_e, a part alone
would with p_e = softmax(F_e). The second block's hidden spins read those answers, at this position
and at earlier ones,

    z = (2 max_y p_e(y) - 1,  1 + 1/2 mean_{k=1..W} ln p_e(x_{t-k}))   for every part e, window W:

how sure a part is, and how well it has foretold the last W tokens. They also see the last tokens
through fields T_d of their own. Their coupling to the output spin is a sum of the parts' fields:

    -E = sum_e (a_e + sum_j h_j G_ej) F_e(y) + sum_j h_j f_j
    f_j = c2_j + sum_i z_i D_ij + sum_d T_d[x_{t-d}, j]

Credit is local to the block (Nokland and Eidnes, ICML 2019; Belilovsky et al., ICML 2019). The
first block learns from its own output spin as if it were alone; the second has one that sees the
fields of both, energies add, and learns from its error e = delta - p in the weak-feedback limit:

    h = mean(f),  p = softmax(g + sum_e (a_e + G_e . h) F_e)
    da_e = e . F_e,  dG_ej = (e . F_e) h_j,  h(+-) = mean(f +- beta sum_e (e . F_e) G_e)
    dD_ij = z_i (h_j(+) - h_j(-)) / 2 beta, and so for T and c2 with what stands beside them in f

Nothing flows back to the first block. Its positions are the last ones of every run, those with the
longest window before them; statistics are sums over them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isingnpu.npu.budget import Events
from isingnpu.npu.device import Array, Device
from isingnpu.npu.draws import Draw, normals
from isingnpu.npu.units import Unit
from isingnpu.rng import Stream

Runs = tuple[Array, Array, int]  # text, starts and length of runs of positions


@dataclass(frozen=True)
class SecondBlock:
    """hidden: spins H2, of the unit of the first block. windows: tokens over which answers of the
    past are averaged. context: last tokens they see themselves. spread: s.d. of the first T;
    feedback: of the first G, times H2^-1/2."""

    hidden: int = 64
    windows: tuple[int, ...] = (1, 4, 16, 32)
    context: int = 2
    spread: float = 0.1
    feedback: float = 0.1

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ValueError(f"a block has at least 1 hidden spin, got {self.hidden}")
        if not self.windows or list(self.windows) != sorted(set(self.windows)):
            raise ValueError(f"windows must rise, got {self.windows}")
        if self.windows[0] < 1:
            raise ValueError(f"a window is at least 1 token, got {self.windows}")
        if not 1 <= self.context <= self.before:
            raise ValueError(f"context must lie in 1..{self.before}, got {self.context}")

    @property
    def before(self) -> int:
        """Positions of a run before the first one of this block."""
        return self.windows[-1]

    def own(self, runs: Runs) -> Runs:
        """The positions of this block in runs of the first."""
        text, starts, length = runs
        return text, starts + self.before, length - self.before

    def first_couplings(self, parts: int, colours: int, seed: int) -> dict[str, Array]:
        """a2 (E,), G (E, H2), c2 (H2,), D (E (1 + windows), H2), T (context, q, H2) before
        learning."""
        read = parts * (1 + len(self.windows))

        def noise(block: int, *shape: int) -> Array:
            return normals(shape, Draw(seed, Stream.WEIGHTS, block=block))

        return {
            "a2": np.zeros(parts),
            "c2": np.zeros(self.hidden),
            "D": noise(2, read, self.hidden) / read**0.5,
            "G": noise(3, parts, self.hidden) * self.feedback / self.hidden**0.5,
            "T": noise(4, self.context, colours, self.hidden) * self.spread,
        }

    def read(self, fields: Array, tokens: Array, xp: Array) -> Array:
        """z (runs, length - before, E (1 + windows)) of the fields (E, runs, length, q) of the
        parts at the positions of tokens (runs, length)."""
        top = fields.max(-1, keepdims=True)
        total = xp.exp(fields - top).sum(-1)  # (E, runs, length)
        said = xp.take_along_axis(fields, tokens[None, ..., None], -1)
        foretold = (said - top)[..., 0] - xp.log(total)
        sums = xp.zeros((*total.shape[:2], total.shape[2] + 1))  # float64: differences follow
        sums[..., 1:] = xp.cumsum(foretold, axis=-1, dtype=np.float64)
        first, end = self.before, total.shape[2]
        seen = [2 / total[..., first:] - 1]
        for width in self.windows:
            mean = (sums[..., first:end] - sums[..., first - width : end - width]) / width
            seen.append(1 + mean / 2)
        z = xp.stack(seen, -1).astype(fields.dtype)  # (E, runs, length - before, 1 + windows)
        return xp.moveaxis(z, 0, 2).reshape(*z.shape[1:3], -1)

    def events(self, positions: int, parts: int, colours: int) -> Events:
        """What a training step costs; sums of fields and of windows count as multiply-adds."""
        read, spins = parts * (1 + len(self.windows)), self.hidden
        words = 6 * parts * colours + 2 * read + (4 + 2 * self.context) * spins
        return Events(
            evaluations=positions * (3 * spins + parts),
            macs=positions * (spins * (2 * read + 3 * parts) + 4 * parts * colours + 2 * read),
            bytes=4 * positions * words,
        )


class Parts:
    """Takes down what every part adds to the fields g, if there is memory for it: parts (E, *shape
    of g) and one array of that shape."""

    def __init__(self, g: Array, memory: tuple[Array, Array] | None) -> None:
        self._g, self._memory, self._noted = g, memory, 0
        if memory is not None:
            memory[1][:] = 0
        self.note()

    def note(self) -> None:
        """A part has been added to g."""
        if self._memory is not None:
            parts, before = self._memory
            parts[self._noted] = self._g - before
            before[:] = self._g
            self._noted += 1


@dataclass(eq=False)
class FreePhase:
    """Of the B' positions of the block. seen (B', E (1 + windows)); fields, spins (B', H2); parts
    (E, B', q) fields of the first block; output (B', q) fields of the output spin."""

    seen: Array
    fields: Array
    spins: Array
    parts: Array
    output: Array


@dataclass(frozen=True, eq=False)
class SecondNet:
    """A second block, its couplings by name and where it computes. Runs are those of the first
    block."""

    block: SecondBlock
    couplings: dict[str, Array]
    device: Device
    unit: Unit

    def free_phase(self, parts: Array, runs: Runs) -> FreePhase:
        """parts (E, B, q): fields of the first block's parts at all positions of the runs."""
        xp, q, (text, starts, length) = self.device.xp, parts.shape[-1], runs
        block, w = self.block, self.couplings
        tokens = text[starts[:, None] + xp.arange(length)].astype(np.int64)
        lines = parts.reshape(len(parts), *tokens.shape, q)
        seen = block.read(lines, tokens, xp)
        seen = seen.reshape(-1, seen.shape[-1])
        fields = seen @ w["D"]
        fields += w["c2"]
        self.device.gather(*block.own(runs), w["T"], fields)
        spins = self.device.mean(self.unit, fields)
        mine = lines[:, :, block.before :].reshape(len(parts), -1, q)
        gains = spins @ w["G"].T  # (B', E)
        gains += 1 + w["a2"]
        return FreePhase(seen, fields, spins, mine, xp.einsum("be,eby->by", gains, mine))

    def statistics(
        self, free: FreePhase, error: Array, beta: float, runs: Runs
    ) -> dict[str, Array]:
        """Nudged minus free of all couplings of the block; error (B', q) is delta - p."""
        xp, w = self.device.xp, self.couplings
        pull = xp.einsum("by,eby->be", error, free.parts)
        moved = self.device.displacement(self.unit, free.fields, pull @ w["G"], beta)
        of_tokens = xp.zeros_like(w["T"])
        self.device.scatter(*self.block.own(runs), moved, of_tokens)
        return {
            "T": of_tokens,
            "a2": pull.sum(0),
            "c2": moved.sum(0),
            "D": free.seen.T @ moved,
            "G": pull.T @ free.spins,
        }
