"""Images seen anew at every visit: small random rotations, stretches, shears and shifts.

An image is read at A r + t for pixel r from its centre, axes (y, x):

    A = diag(e^sy, e^sx) R(angle) + shear in A[x, y],   R = (cos, -sin; sin, cos)

all uniform: angle and shear within their bound, log stretch of either axis within log_scale, shift
within `shift` pixels (a whole number of them if `whole`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isingnpu.npu.device import Array, Device
from isingnpu.npu.draws import Draw


@dataclass(frozen=True)
class Warp:
    """Bounds of the random map of an image; rotation and shear in radians, shift in pixels."""

    rotation: float = 0.2
    log_scale: float = 0.12
    shear: float = 0.15
    shift: float = 1.5
    whole: bool = False

    def maps(self, device: Device, n: int, draw: Draw) -> Array:
        """(n, 6) for `Device.warp`; six random numbers of every image."""
        xp = device.xp
        u = 2 * device.uniforms((6, n), draw) - 1
        angle, shear = self.rotation * u[0], self.shear * u[1]
        scale_y, scale_x = xp.exp(self.log_scale * u[2]), xp.exp(self.log_scale * u[3])
        if self.whole:
            shift = xp.clip(xp.floor((2 * self.shift + 1) * (u[4:] + 1) / 2), 0, 2 * self.shift)
            shift -= self.shift
        else:
            shift = self.shift * u[4:]
        cos, sin = xp.cos(angle), xp.sin(angle)
        rows = [cos * scale_y, -sin * scale_y, shift[0], sin * scale_x + shear, cos * scale_x]
        return xp.ascontiguousarray(xp.stack([*rows, shift[1]], axis=1), np.float32)


def shifts(pixels: int) -> Warp:
    """Shifts by whole pixels, up to `pixels` either way, and nothing else."""
    return Warp(rotation=0.0, log_scale=0.0, shear=0.0, shift=pixels, whole=True)


STILL = Warp(rotation=0.0, log_scale=0.0, shear=0.0, shift=0.0)
