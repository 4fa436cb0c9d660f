"""Where a machine computes: matrix products by `xp`, elementwise work by a backend's kernels.

A device is what a backend offers to machines of hidden spins, the module attribute
`isingnpu.backends.<name>.machine.device`. All arrays are float32 and contiguous, on the device;
for machines that read text the cpu also takes float64.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import numpy as np

from isingnpu.backend import find_part
from isingnpu.npu.draws import Draw, Draws
from isingnpu.npu.text_kernels import TextKernels
from isingnpu.npu.units import Unit

Array = Any  # of numpy or cupy


class Device(TextKernels, Protocol):
    """Kernels of a machine. An array argument is never changed unless the text says so."""

    name: str
    xp: Any
    window_bytes: int  # of receptive fields to gather at a time

    def uniforms(self, shape: tuple[int, ...], draw: Draw) -> Array:
        """`isingnpu.npu.draws.uniforms` on the device."""

    def narrow_product(self, a: Array, b: Array) -> Array:
        """a @ b, where a has few rows or b few columns."""

    def mean(self, unit: Unit, fields: Array, out: Array | None = None) -> Array:
        """Expected states in these fields, written to `out` if given."""

    def potential(self, unit: Unit, fields: Array) -> Array:
        """The function whose derivative is the mean."""

    def sample(self, unit: Unit, fields: Array, draws: Draws, draw: Draw) -> Array:
        """Average of the draws of every spin; uses calls draw.call, draw.call + 1, ... as far as
        the law needs more than one number for a spin."""

    def displacement(
        self,
        unit: Unit,
        fields: Array,
        feedback: Array,
        beta: float,
        out: Array | None = None,
    ) -> Array:
        """(mean(f + beta k) - mean(f - beta k)) / (2 beta): the answer of two nudged phases,
        written to `out` if given."""

    def sampled_displacement(
        self, unit: Unit, fields: Array, feedback: Array, beta: float, draws: Draws, draw: Draw
    ) -> Array:
        """The same with drawn spins in both phases, which share their random numbers."""

    def gibbs(
        self,
        unit: Unit,
        fields: Array,
        couplings: tuple[Array, Array],
        states: Array,
        betas: tuple[float, ...],
        replicas: int,
        draw: Draw,
        votes: Array | None = None,
    ) -> Array:
        """States (n,) int64 of the output spin after a sweep at each of the betas, at most 256,
        from given ones: hidden spins drawn in beta (f + u[y] / R), the average h of R draws of
        each, then the output spin from softmax(beta (b + u h)).

        couplings: u (q, H), b (q,). Sweep s draws by block draw.block + 256 s. votes (n, q) gain 1
        for the state and 0.001 p after every sweep from number len(betas) // 2 on."""

    def adam(
        self,
        couplings: Array,
        gradient: Array,
        moments: tuple[Array, Array],
        *,
        rate: float,
        decay: float,
        step: int,
        betas: tuple[float, float],
    ) -> None:
        """One step of the local rule in place: m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2,
        w += rate (m' / (sqrt(v') + 1e-7) - decay w), primes dividing by 1 - b^step."""

    def warp(self, images: Array, rows: Array, maps: Array, mean: Array) -> Array:
        """(n, height, width): images[rows[i]] read bilinearly at A (r - centre) + t + centre for
        every pixel r, zero outside, minus mean; maps (n, 6): A00 A01 t0 A10 A11 t1."""

    def windows(
        self,
        states: Array,
        field: int,
        stride: int,
        rows: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """(n, sites, sites, field * field * c): what every receptive field sees of
        states (images, height, width, c), of these images only, written to `out` if given."""

    def add_windows(
        self, patches: Array, shape: tuple[int, int, int, int], field: int, stride: int
    ) -> Array:
        """The transpose of `windows`: (n, height, width, c), every patch added to its place."""

    def winners(self, fields: Array) -> tuple[Array, Array]:
        """The largest of every 2 x 2 sites, (n, height // 2, width // 2, c), and its place."""

    def scatter_winners(
        self, values: Array, index: Array, shape: tuple[int, int, int, int]
    ) -> Array:
        """The transpose of `winners`: zero but where a site won."""


def find_device(name: str | Device = "auto") -> Device:
    """The machine kernels of a backend. "auto" takes cuda if it can run, else cpu; a device is
    taken as it is.

    Raises ValueError for an unknown backend, BackendUnavailable with the reason otherwise."""
    if not isinstance(name, str):
        return name
    return cast(Device, find_part(name, "machine", "machines of hidden spins"))


def host(device: Device, array: Array) -> Any:
    """An array of the device as one of NumPy: itself on the cpu."""
    return array if device.xp is np else device.xp.asnumpy(array)
