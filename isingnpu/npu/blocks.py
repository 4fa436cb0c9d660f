"""A block of hidden spins at work: fields from below, statistics of its couplings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from isingnpu.npu.budget import Events
from isingnpu.npu.device import Array, Device
from isingnpu.npu.draws import Draw, normals
from isingnpu.npu.sheets import Layer, Shape, Sheets
from isingnpu.npu.units import Unit
from isingnpu.rng import Stream

FIELD_DEVIATION = 1.5  # of a block's fields at the start


@dataclass(eq=False)
class Fields:
    """What a block feels from below: field (n, spins); winners of pooled sites; gain (n, 1) of
    the thermostat."""

    field: Array
    winners: Array | None = None
    gain: Array | None = None


@dataclass(eq=False)
class Block:
    """Couplings w (inputs, sheets), c (sheets,), u (q, spins), b (q,) of one layer on a device.

    Arrays of sites are (n, height, width, channels), channels fastest."""

    layer: Layer
    below: Shape
    labels: int
    device: Device
    couplings: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shape = self.layer.shape(self.below)
        self.spins = int(np.prod(self.shape))
        self.inputs = self.layer.inputs(self.below)
        self.channels = self.shape[2]
        self.lattice = self.layer.sites(self.below) if isinstance(self.layer, Sheets) else (1, 1)
        self.sites = self.lattice[0] * self.lattice[1]
        self._patches: Array | None = None

    @property
    def unit(self) -> Unit:
        return self.layer.unit

    @property
    def macs(self) -> int:
        """Multiply-adds of the fields of one image."""
        return self.sites * self.channels * self.inputs

    @property
    def needs_fields(self) -> bool:
        """Whether `at_sites` needs the fields: winners of a pool, gain of a thermostat."""
        pooled = isinstance(self.layer, Sheets) and self.layer.pool
        return pooled or self.layer.thermostat is not None

    def start(self, seed: int, index: int, states: Array) -> None:
        """Random couplings: W scaled so that the fields of these states have the standard
        deviation FIELD_DEVIATION, U of variance 1 / spins."""
        draw = Draw(seed, Stream.WEIGHTS, block=index)
        xp = self.device.xp
        w = normals((self.inputs, self.channels), draw)
        u = normals((self.labels, self.spins), draw.at(call=1)) / np.float32(self.spins**0.5)
        self.couplings = {
            "w": xp.asarray(w),
            "c": xp.zeros(self.channels, np.float32),
            "u": xp.asarray(u),
            "b": xp.zeros(self.labels, np.float32),
        }
        deviation = float((self.patches(states) @ self.couplings["w"]).std())
        if not deviation > 0:
            raise ValueError("all images are alike: a block of spins has nothing to see")
        self.couplings["w"] *= np.float32(FIELD_DEVIATION / deviation)

    def patches(self, states: Array, rows: Array | None = None) -> Array:
        """(n sites, inputs): what every spin sees, in images `rows` or all. The array is used
        again by the next call."""
        layer = self.layer
        if not isinstance(layer, Sheets):
            flat = states.reshape(len(states), self.inputs)
            return flat if rows is None else flat[rows]
        n = len(states) if rows is None else len(rows)
        if self._patches is None or len(self._patches) < n or self._patches.dtype != states.dtype:
            shape = (n, *self.lattice, self.inputs)
            self._patches = self.device.xp.empty(shape, states.dtype)
        out = self.device.windows(states, layer.field, layer.stride, rows, self._patches)
        return out.reshape(n * self.sites, self.inputs)

    def parts(self, n: int) -> Iterator[slice]:
        """n images in pieces whose receptive fields are gathered at a time."""
        most = n
        if isinstance(self.layer, Sheets):
            most = max(1, self.device.window_bytes // (4 * self.sites * self.inputs))
        return (slice(first, min(first + most, n)) for first in range(0, n, max(most, 1)))

    def fields(self, states: Array) -> Fields:
        """Fields of the hidden spins over these states, (n, spins)."""
        n, xp = len(states), self.device.xp
        f = xp.empty((n, self.sites * self.channels), states.dtype)
        own = xp.tile(self.couplings["c"], self.sites)  # long rows add faster
        for part in self.parts(n):
            products = f[part].reshape(-1, self.channels)
            xp.matmul(self.patches(states[part]), self.couplings["w"], out=products)
            f[part] += own
        won = None
        if isinstance(self.layer, Sheets) and self.layer.pool:
            f, won = self.device.winners(f.reshape(n, *self.lattice, self.channels))
        f = f.reshape(n, self.spins)
        gain = None
        if self.layer.thermostat is not None:
            f -= f.mean(1, keepdims=True)
            gain = self.layer.thermostat / (f.std(1, keepdims=True) + np.float32(1e-6))
            f *= gain
        return Fields(f, won, gain)

    def at_sites(self, hidden: Array, fields: Fields, rows: Array | None) -> Array:
        """(n sites, sheets): a difference of hidden states as one of fields before the thermostat
        and at the sites before pooling."""
        if fields.gain is not None:
            hidden = hidden * (fields.gain if rows is None else fields.gain[rows])
        if fields.winners is not None:
            won = fields.winners if rows is None else fields.winners[rows]
            whole = (len(hidden), *self.lattice, self.channels)
            hidden = self.device.scatter_winners(hidden.reshape(won.shape), won, whole)
        return hidden.reshape(-1, self.channels)

    def correlate(
        self, states: Array, at_sites: Array, rows: Array | None, scale: float
    ) -> dict[str, Array]:
        """Statistics of w and c: states below times what changed above, scaled."""
        factor, xp = at_sites.dtype.type(scale), self.device.xp
        n = len(states) if rows is None else len(rows)
        changes = at_sites.reshape(n, self.sites * self.channels)
        w = xp.zeros(self.couplings["w"].shape, at_sites.dtype)
        for part in self.parts(n):
            some = states[part] if rows is None else states
            patches = self.patches(some, None if rows is None else rows[part])
            w += patches.T @ changes[part].reshape(-1, self.channels)
        ones = xp.ones(len(at_sites), at_sites.dtype)  # a product adds up faster
        return {"w": w * factor, "c": (ones @ at_sites) * factor}

    def feedback(self, at_sites: Array, n: int) -> Array:
        """(n, height, width, channels): what changed above, returned through W to the states
        below."""
        back = at_sites @ self.couplings["w"].T
        if not isinstance(self.layer, Sheets):
            return back.reshape(n, *self.below)
        patches = back.reshape(n, *self.lattice, self.inputs)
        return self.device.add_windows(
            patches, (n, *self.below), self.layer.field, self.layer.stride
        )

    def logits(self, states: Array) -> Array:
        """(n, q): fields of the output spin under these hidden states (n, spins)."""
        out = self.device.narrow_product(states, self.couplings["u"].T)
        out += self.couplings["b"]
        return out

    def above(self, states: Array) -> Array:
        """Hidden states (n, spins) as the next block sees them: centred, on their lattice."""
        if self.unit.centre:
            states = states - states.dtype.type(self.unit.centre)
        return states.reshape(len(states), *self.shape)

    def forward_events(self, n: int) -> Events:
        """Fields of n images: products, and what they load and store."""
        size = 4 * n * self.sites * (self.inputs + self.channels)
        copied = 4 * n * self.sites * self.inputs if isinstance(self.layer, Sheets) else 0
        return Events(macs=n * self.macs, bytes=size + 2 * copied + 4 * self.couplings["w"].size)
