"""Transfer matrix of Ising strips: tori, cylinders and rectangles of width up to 12, with field.

    Z = Tr T^M (periodic) or 1^T D (H D)^{M-1} 1 (open),  T = H D,
    D = exp(-beta E_row(s)),  H(s, s') = prod_i exp(beta J_0 s_i s'_i)

Axis 0 runs along the strip, axis 1 across it; J_a couples neighbours along axis a. Energies count
from the lowest possible one, so all weights lie in [0, 1] and the derivatives in beta, carried
beside each vector, add terms of one sign. Kramers & Wannier, Phys. Rev. 60, 252 (1941).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from isingnpu.exact.enumeration import spins_of
from isingnpu.exact.partition import Partition, check_beta, check_finite, check_side
from isingnpu.model import Array

MAX_WIDTH = 12
# Vectors carried together: three arrays of this many numbers stay in a core's cache.
CHUNK = 1 << 15


@dataclass(frozen=True)
class Strip:
    """Infinitely long strip: ln Z and energy per site, and the correlation length xi along it,
    <s_0 s_r> ~ exp(-r / xi), in lattice units."""

    width: int
    beta: float
    ln_z_per_site: float
    energy_per_site: float
    correlation_length: float


def transfer_matrix(
    shape: tuple[int, int],
    beta: float,
    *,
    couplings: tuple[float, float] = (1.0, 1.0),
    field: float = 0.0,
    boundary: tuple[str, str] = ("periodic", "periodic"),
) -> Partition:
    """`Partition` of a rectangle whose shorter side is at most 12, `beta` >= 0.

    couplings, boundary ("periodic" or "open"): one per axis of `shape`. A periodic side of 2
    carries two bonds per pair. Raises ValueError for other sides, boundaries or values."""
    check_beta(beta)
    check_finite(J_0=couplings[0], J_1=couplings[1], field=field)
    check_side("shape[0]", shape[0], boundary[0])
    check_side("shape[1]", shape[1], boundary[1])
    if shape[1] > shape[0]:
        shape, couplings, boundary = shape[::-1], couplings[::-1], boundary[::-1]
    rows, width = shape
    _check_width(width)
    energies, lowest = _row_energies(width, couplings[1], field, boundary[1])
    if periodic := boundary[0] == "periodic":
        starts, counts = _orbits(width, boundary[1], flip=field == 0)
        step = max(1, CHUNK >> width)
        parts = [
            _carry(rows, energies, couplings[0], beta, starts[i : i + step], counts[i : i + step])
            for i in range(0, len(starts), step)
        ]
    else:
        parts = [_carry(rows, energies, couplings[0], beta, None, np.ones(1))]
    scale = max(log for log, _ in parts)
    z, z1, z2 = np.sum([jet * math.exp(log - scale) for log, jet in parts], axis=0)
    ground = rows * lowest - (rows if periodic else rows - 1) * width * abs(couplings[0])
    return Partition(
        n=rows * width,
        beta=beta,
        ln_z=scale + math.log(z) - beta * ground,
        energy=float(ground - z1 / z),
        heat_capacity=float(beta**2 * (z2 / z - (z1 / z) ** 2)),
    )


def infinite_strip(
    width: int,
    beta: float,
    *,
    couplings: tuple[float, float] = (1.0, 1.0),
    boundary: str = "periodic",
) -> Strip:
    """`Strip` of `width` <= 12 sites across, zero field, beta > 0, J_0 != 0 along the strip.

    From the largest eigenvalues lambda_even, lambda_odd of the halves of the symmetric
    D^{1/2} H D^{1/2} that are even and odd under s -> -s: ln Z / M = ln lambda_even and
    1 / xi = ln(lambda_even / lambda_odd); relative error of xi about 1e-15 xi. The sign of J_0
    only alternates the rows, so |J_0| is used."""
    check_beta(beta, positive=True)
    check_finite(J_0=couplings[0], J_1=couplings[1])
    check_side("width", width, boundary)
    _check_width(width)
    if (along := abs(couplings[0])) == 0:
        raise ValueError("J_0 must not be 0: the rows of the strip are then independent")
    energies, lowest = _row_energies(width, couplings[1], 0.0, boundary)
    energies = energies[: 1 << (width - 1)]  # the last spin is -1; mirror images are the rest
    ground = lowest - width * along
    even, odd, walls = _halves(energies, width, 2 * along, beta)
    top = [energies.size - 1, energies.size - 1]
    (even_value,), vectors = linalg.eigh(even, subset_by_index=top)
    (odd_value,) = linalg.eigvalsh(odd, subset_by_index=top)
    if odd_value >= even_value:
        raise ValueError(
            f"xi exceeds 1e15 at width {width}, beta {beta}: the two largest eigenvalues are "
            "equal to double precision; reduce the width or beta"
        )
    v = vectors[:, 0]
    energy = ground + v @ (energies * v) + v @ walls @ v / even_value  # Hellmann-Feynman
    return Strip(
        width=width,
        beta=beta,
        ln_z_per_site=float(math.log(even_value) - beta * ground) / width,
        energy_per_site=float(energy) / width,
        correlation_length=1 / math.log(even_value / odd_value),
    )


def _halves(energies: Array, width: int, wall: float, beta: float) -> tuple[Array, Array, Array]:
    """D^{1/2} H D^{1/2} on even and on odd functions of the row states with last spin -1, and
    minus the derivative in beta of the H of the even one; wall: energy of an unsatisfied pair."""
    state = np.arange(energies.size)
    apart = np.bitwise_count(state[:, None] ^ state[None, :]).astype(float)
    root = np.exp(-0.5 * beta * energies)
    frame = root[:, None] * root[None, :]
    near, far = np.exp(-beta * wall * apart), np.exp(-beta * wall * (width - apart))
    walls = wall * frame * (apart * near + (width - apart) * far)
    return frame * (near + far), frame * (near - far), walls


def _row_energies(width: int, coupling: float, field: float, boundary: str) -> tuple[Array, float]:
    """Energies (2^width,) of one row above the lowest, and the lowest."""
    spins = spins_of(np.arange(1 << width), width).astype(float)
    right = np.roll(spins, -1, axis=1)
    bonds = (spins * right)[:, : width if boundary == "periodic" else width - 1]
    energies = -coupling * bonds.sum(axis=1) - field * spins.sum(axis=1)
    return energies - energies.min(), float(energies.min())


def _orbits(width: int, boundary: str, *, flip: bool) -> tuple[Array, Array]:
    """Row states up to the symmetries of the row, and the size of each orbit: the diagonal
    elements of T^M are equal within one."""
    states = np.arange(1 << width)
    mirrored = np.zeros_like(states)
    for i in range(width):
        mirrored |= ((states >> i) & 1) << (width - 1 - i)
    images = [states, mirrored]
    if boundary == "periodic":
        last = (1 << width) - 1
        images = [((s << r) | (s >> (width - r))) & last for s in images for r in range(width)]
    if flip:
        images += [s ^ ((1 << width) - 1) for s in images]
    representatives, counts = np.unique(np.min(images, axis=0), return_counts=True)
    return representatives, counts.astype(float)


def _carry(
    rows: int, energies: Array, along: float, beta: float, starts: Array | None, counts: Array
) -> tuple[float, Array]:
    """(ln scale, jet (3,)): scale * jet is Z or a part of its trace, and its two derivatives.

    starts: row states of a trace, weighted by `counts`; None for open ends."""
    width = energies.size.bit_length() - 1
    jets = np.zeros((3, len(counts), energies.size))  # (derivative, start, row state)
    if starts is None:
        jets[0] = 1
    else:
        jets[0, np.arange(len(starts)), starts] = 1
    log_scale = 0.0
    for row in range(rows):
        if row > 0 or starts is not None:
            jets = _bonds(jets, width, along, beta)
        jets = _weigh(jets, energies, beta)
        largest = float(jets[0].max())
        log_scale += math.log(largest)
        jets /= largest
    if starts is None:
        return log_scale, jets.sum(axis=(1, 2))
    return log_scale, jets[:, np.arange(len(starts)), starts] @ counts


def _bonds(jets: Array, width: int, along: float, beta: float) -> Array:
    """One bond per column: sum over the old spin, the energy 2|J| for an unsatisfied pair."""
    for i in range(width):
        pairs = jets.reshape(3, jets.shape[1], -1, 2, 1 << i)  # axis 3 is spin i
        costly = _weigh(pairs, 2 * abs(along), beta)
        swapped, kept = (costly, pairs) if along >= 0 else (pairs, costly)
        jets = (kept + swapped[:, :, :, ::-1]).reshape(jets.shape)
    return jets


def _weigh(jets: Array, energy: Array | float, beta: float) -> Array:
    """exp(-beta E) times the jet (v, v', v'')."""
    v, v1, v2 = jets
    weight = np.exp(-beta * energy)
    return np.stack(
        [weight * v, weight * (v1 - energy * v), weight * (v2 - energy * (2 * v1 - energy * v))]
    )


def _check_width(width: int) -> None:
    if width > MAX_WIDTH:
        raise ValueError(
            f"the transfer matrix has 2^{width} states; the shorter side may be at most "
            f"{MAX_WIDTH}: use kaufman for a torus without field"
        )
