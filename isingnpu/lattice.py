"""Lattices as Ising models: sites, bonds, boundaries, and what is known exactly of each.

    site = cell * b + k,    position = cell . vectors + basis[k],    |vectors[a]| = 1

Cells are numbered in C order over `shape`. Every builder takes

size or shape: whole numbers >= 1; one number means that many cells along each axis.
J, h: uniform coupling and field of E(s) = -J sum s_i s_j - h sum s_i.
boundary: "periodic", "open" or "antiperiodic", one for all axes or one per axis. A bond that
    crosses an antiperiodic seam changes its sign (Moebius strip).

On a periodic axis of extent 2 both bonds between two cells exist and add up: J_ij = 2 J, and
`Geometry.bonds` counts two. Extent 1 would couple a site of a one-site cell to itself and is
refused. `Geometry.beta_c` is that of the infinite lattice; 0 error means exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from isingnpu.cell import (
    Bonds,
    Boundary,
    Cell,
    Size,
    boundaries,
    extents,
    hypercubic_cell,
    lattice_bonds,
    nearest_neighbour_cell,
)
from isingnpu.model import Array, Geometry, IsingModel, Reference

HYPERCUBIC_BETA_C = {
    1: Reference(math.inf, 0.0, "exact: no order at T > 0 (Ising 1925)"),
    2: Reference(math.asinh(1.0) / 2, 0.0, "exact: sinh 2K = 1 (Onsager 1944)"),
    3: Reference(0.221654626, 5e-9, "Ferrenberg, Xu, Landau 2018, arXiv:1806.03558"),
    4: Reference(0.149693785, 1e-8, "Lundow, Markstrom 2023, arXiv:2209.05292"),
    5: Reference(0.11391498, 2e-8, "Lundow, Markstrom 2015, arXiv:1502.07613"),
    6: Reference(0.0922982, 3e-7, "Lundow, Markstrom 2015, arXiv:1502.07613"),
    7: Reference(0.0777086, 8e-7, "Lundow, Markstrom 2015, arXiv:1502.07613"),
}


def lattice_model(
    family: str,
    shape: tuple[int, ...],
    cell: Cell,
    boundary: tuple[str, ...],
    bonds: Bonds,
    couplings: Array,
    *,
    h: float = 0,
    ground_state: NDArray[np.int8] | None = None,
    beta_c: Reference | None = None,
) -> IsingModel:
    """The model with one coupling per bond; the ground energy is that of `ground_state`."""
    n = math.prod(shape) * len(cell.basis)
    energy = None
    if ground_state is not None:
        s = ground_state.astype(np.int64)
        value = -np.sum(couplings * s[bonds.i] * s[bonds.j]) - h * s.sum()
        energy = Reference(float(value), 0.0, "exact: no bond or field can be satisfied more")
    geometry = Geometry(
        family=family,
        shape=shape,
        boundary=boundary,
        vectors=cell.vectors,
        basis=cell.basis,
        coordination=2 * len(cell.bonds) / len(cell.basis),
        bonds=len(bonds.i),
        ground_energy=energy,
        ground_state=ground_state,
        beta_c=beta_c,
    )
    edges = (bonds.i, bonds.j, couplings)
    return IsingModel.from_edges(edges, n, fields=np.full(n, h), geometry=geometry)


def uniform_state(n: int, h: float) -> NDArray[np.int8]:
    """(n,) spins along h, up when h is 0."""
    return np.full(n, -1 if h < 0 else 1, np.int8)


# Hypercubic lattices.


def hypercubic(
    shape: Size, *, J: float | Sequence[float] = 1, h: float = 0, boundary: Boundary = "periodic"
) -> IsingModel:
    """Sites on Z^d, one bond per axis direction; J is one number or one per axis.

    Ground state for h = 0, or when no J is negative: s = prod_a sign(J_a)^(x_a), which leaves
    at most one bond unsatisfied on each closed line of sites, and none where the line permits."""
    sides = extents(shape)
    d = len(sides)
    names = boundaries(boundary, d)
    per_axis: Array = np.full(d, J) if np.ndim(J) == 0 else np.asarray(J)
    if per_axis.shape != (d,):
        raise ValueError(f"J must be one number or {d}, one per axis, got {J!r}")
    cell = hypercubic_cell(d)
    bonds = lattice_bonds(sides, cell, names)
    couplings = per_axis[bonds.number // math.prod(sides)] * bonds.sign
    ground = None
    if np.all(per_axis >= 0):
        ground = uniform_state(math.prod(sides), h)
    elif h == 0:
        steps = np.indices(sides)[per_axis < 0].sum(axis=0).ravel()
        ground = (1 - 2 * (steps % 2)).astype(np.int8)
    growing = [abs(float(x)) for x, side in zip(per_axis, sides, strict=True) if side > 1 and x]
    beta_c = _hypercubic_beta_c(growing) if h == 0 else None
    family = {1: "chain", 2: "square", 3: "cubic"}.get(d, "hypercubic")
    return lattice_model(
        family, sides, cell, names, bonds, couplings, h=h, ground_state=ground, beta_c=beta_c
    )


def _hypercubic_beta_c(couplings: list[float]) -> Reference | None:
    """beta_c for |J| per axis; a sign of J is removed by flipping every other site."""
    if len(couplings) == 2:
        return Reference(square_beta_c(*couplings), 0.0, "exact: sinh 2Kx sinh 2Ky = 1 (Onsager)")
    unit = HYPERCUBIC_BETA_C.get(len(couplings))
    return scaled(unit, couplings[0]) if unit and len(set(couplings)) == 1 else None


def square_beta_c(Jx: float, Jy: float) -> float:
    """Root of sinh(2 beta Jx) sinh(2 beta Jy) = 1, solved in Kramers and Wannier's form
    2 beta J_large + ln tanh(beta J_small) = 0, which does not overflow."""
    small, large = sorted((abs(Jx), abs(Jy)))
    low, high = math.asinh(1.0) / (2 * large), math.asinh(1.0) / (2 * small)
    if low == high:
        return low

    def dual(beta: float) -> float:
        return 2 * beta * large + math.log(math.tanh(beta * small))

    return float(brentq(dual, low * (1 - 1e-9), high * (1 + 1e-9), xtol=1e-300, rtol=1e-15))


def scaled(unit: Reference, J: float) -> Reference:
    """beta_c for coupling J from that for J = 1."""
    return Reference(unit.value / abs(J), unit.error / abs(J), unit.source)


def chain(n: int, *, J: float = 1, h: float = 0, boundary: Boundary = "periodic") -> IsingModel:
    """n sites in a ring (periodic), a line (open) or a Moebius ring (antiperiodic)."""
    return hypercubic(extents(n, 1), J=J, h=h, boundary=boundary)


def square(
    size: Size, *, Jx: float = 1, Jy: float = 1, h: float = 0, boundary: Boundary = "periodic"
) -> IsingModel:
    """L x L, or (Ly, Lx): axis 0 is y with coupling Jy, axis 1 is x with coupling Jx."""
    return hypercubic(extents(size, 2), J=(Jy, Jx), h=h, boundary=boundary)


def cubic(
    size: Size,
    *,
    J: float | Sequence[float] = 1,
    h: float = 0,
    boundary: Boundary = "periodic",
) -> IsingModel:
    """Simple cubic lattice."""
    return hypercubic(extents(size, 3), J=J, h=h, boundary=boundary)


# Lattices whose bonds join nearest neighbours.

_FCC = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
_CUBE = np.eye(3)
_HEXAGONAL = np.array([[1, 0], [0.5, math.sqrt(0.75)]])


@dataclass(frozen=True, eq=False)
class Crystal:
    """A lattice and what is known of it.

    order: signs (b,) of an antiferromagnetic ground state that is the same in every cell, if
    there is one. floor: lower bound of sum_bonds s_i s_j per cell in a periodic box; minus the
    number of bonds per cell if the lattice is bipartite. beta_c: for J = 1. frustrated: for
    J = -1 where the lattice is not bipartite."""

    family: str
    vectors: Array
    basis: Array
    floor: int
    order: tuple[int, ...]
    beta_c: Reference
    frustrated: Reference | None = None


TRIANGULAR = Crystal(
    "triangular",
    _HEXAGONAL,
    np.zeros((1, 2)),
    floor=-1,
    order=(),
    beta_c=Reference(math.log(3) / 4, 0.0, "exact: e^4K = 3 (Houtappel 1950)"),
    frustrated=Reference(math.inf, 0.0, "exact: no order at T > 0 (Wannier 1950)"),
)
HONEYCOMB = Crystal(
    "honeycomb",
    _HEXAGONAL,
    np.array([[0, 0], [0.5, math.sqrt(1 / 12)]]),
    floor=-3,
    order=(1, -1),
    beta_c=Reference(math.acosh(2) / 2, 0.0, "exact: cosh 2K = 2 (Houtappel 1950)"),
)
KAGOME = Crystal(
    "kagome",
    _HEXAGONAL,
    np.array([[0, 0], [0.5, 0], [0.25, math.sqrt(3 / 16)]]),
    floor=-2,
    order=(1, 1, -1),
    beta_c=Reference(
        math.log(3 + 2 * math.sqrt(3)) / 4, 0.0, "exact: e^4K = 3 + 2 sqrt 3 (Kano, Naya 1953)"
    ),
    frustrated=Reference(math.inf, 0.0, "exact: no order at T > 0 (Kano, Naya 1953)"),
)
DIAMOND = Crystal(
    "diamond",
    _CUBE,
    np.concatenate([_FCC, _FCC + 0.25]),
    floor=-16,
    order=(1, 1, 1, 1, -1, -1, -1, -1),
    beta_c=Reference(
        0.3697398, 1e-7, "Deng, Blote 2003; Lundow, Markstrom, Rosengren 2009, Phil. Mag. 89, 2009"
    ),
)
BCC = Crystal(
    "bcc",
    _CUBE,
    np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
    floor=-8,
    order=(1, -1),
    beta_c=Reference(
        0.1573725,
        5e-7,
        "Butera, Comi 2000; Lundow, Markstrom, Rosengren 2009, Phil. Mag. 89, 2009",
    ),
)
FCC = Crystal(
    "fcc",
    _CUBE,
    _FCC,
    floor=-8,
    order=(1, -1, -1, 1),
    # the error covers 0.102069(1), quoted from the same work by Lundow and Campbell (2018)
    beta_c=Reference(0.1020707, 2e-6, "Lundow, Markstrom, Rosengren 2009, Phil. Mag. 89, 2009"),
)


def _crystal(
    crystal: Crystal, size: Size, J: float, h: float, boundary: Boundary, orders: list[Array]
) -> IsingModel:
    """Uniform J on the nearest-neighbour bonds. A state is reported as ground state only if it
    reaches the lower bound; `orders` are the (n,) states to try for J < 0."""
    shape = extents(size, len(crystal.vectors))
    names = boundaries(boundary, len(shape))
    cell = nearest_neighbour_cell(crystal.vectors, crystal.basis)
    bonds = lattice_bonds(shape, cell, names)
    lowest = -len(bonds.i)
    if J >= 0:
        states = [uniform_state(math.prod(shape) * len(crystal.basis), h)]
    else:
        states = orders if h == 0 else []
        if set(names) == {"periodic"}:
            lowest = crystal.floor * math.prod(shape)
    toward = -1 if J >= 0 else 1
    reached = (
        s for s in states if toward * np.sum(bonds.sign * s[bonds.i] * s[bonds.j]) == lowest
    )
    bipartite = crystal.floor == -len(cell.bonds)
    unit = crystal.beta_c if J > 0 or bipartite else crystal.frustrated
    return lattice_model(
        crystal.family,
        shape,
        cell,
        names,
        bonds,
        J * bonds.sign,
        h=h,
        ground_state=next(reached, None),
        beta_c=scaled(unit, J) if unit and J and h == 0 else None,
    )


def _in_every_cell(crystal: Crystal, size: Size) -> list[Array]:
    """The antiferromagnetic order of one cell, repeated."""
    n_cells = math.prod(extents(size, len(crystal.vectors)))
    return [np.tile(np.array(crystal.order, np.int8), n_cells)]


def triangular(
    size: Size, *, J: float = 1, h: float = 0, boundary: Boundary = "periodic"
) -> IsingModel:
    """Six neighbours. J < 0: every triangle keeps one unsatisfied bond, so E >= -N |J|; stripes
    reach it if an extent is even, three sublattices if both are multiples of 3. The ground
    energy of other antiferromagnets is not given."""
    x, y = np.indices(extents(size, 2)).reshape(2, -1)
    stripes = [1 - 2 * (x % 2), 1 - 2 * (y % 2)]
    three = np.where((x - y) % 3 == 0, -1, 1)
    orders = [state.astype(np.int8) for state in (*stripes, three)]
    return _crystal(TRIANGULAR, size, J, h, boundary, orders)


def honeycomb(
    size: Size, *, J: float = 1, h: float = 0, boundary: Boundary = "periodic"
) -> IsingModel:
    """Three neighbours, two sites per cell, bipartite."""
    return _crystal(HONEYCOMB, size, J, h, boundary, _in_every_cell(HONEYCOMB, size))


def kagome(
    size: Size, *, J: float = 1, h: float = 0, boundary: Boundary = "periodic"
) -> IsingModel:
    """Corner-sharing triangles, four neighbours, three sites per cell. J < 0 in a periodic box:
    every triangle keeps one unsatisfied bond, E = -2 |J| per cell."""
    return _crystal(KAGOME, size, J, h, boundary, _in_every_cell(KAGOME, size))


def diamond(
    size: Size, *, J: float = 1, h: float = 0, boundary: Boundary = "periodic"
) -> IsingModel:
    """Four neighbours, eight sites per cubic cell, bipartite."""
    return _crystal(DIAMOND, size, J, h, boundary, _in_every_cell(DIAMOND, size))


def bcc(size: Size, *, J: float = 1, h: float = 0, boundary: Boundary = "periodic") -> IsingModel:
    """Body-centred cubic: eight neighbours, two sites per cubic cell, bipartite."""
    return _crystal(BCC, size, J, h, boundary, _in_every_cell(BCC, size))


def fcc(size: Size, *, J: float = 1, h: float = 0, boundary: Boundary = "periodic") -> IsingModel:
    """Face-centred cubic: twelve neighbours, four sites per cubic cell. J < 0 in a periodic box:
    every tetrahedron keeps two unsatisfied bonds, E = -8 |J| per cell (alternating planes)."""
    return _crystal(FCC, size, J, h, boundary, _in_every_cell(FCC, size))
