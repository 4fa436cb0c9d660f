"""Hyperbolic lattices {p,q}: q faces of p sides meet at every vertex, (p - 2)(q - 2) > 4.

Two finite forms, which differ in what they measure:

patch      a disk of the plane with a free boundary. The boundary holds a finite fraction of all
           sites, so that averages over sites are not those of the bulk: use the inner layers.
quotient   the plane modulo a group of translations: a closed surface of genus g > 1 on which
           every site has q neighbours. No boundary: bulk, up to loops of length ~ log n.

    V - E + F = 1 (patch),    V - E + F = 2 - 2 g,  V q = F p = 2 E (quotient)

Flat tessellations, (p - 2)(q - 2) = 4, are built as patches too. The transition is bounded by
isingnpu.criticality.spectral.tessellation_bracket; no value is known exactly.
Coxeter, Regular Polytopes; Coxeter & Moser, Generators and Relations, ch. 8; Macbeath, "Generators
of the linear fractional groups" (1969).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isingnpu.model import Array, Geometry, IsingModel

MAX_SITES = 1 << 22


@dataclass(frozen=True, eq=False)
class Tessellation:
    """A finite piece of {p,q} as an Ising model.

    layer: (n,) layer of each site of a patch, 0 at the centre; all 0 in a quotient.
    faces: (F, p) the sites around each face in order. genus: of a quotient, None for a patch,
    whose `boundary` is "free" and not "periodic".
    """

    model: IsingModel
    p: int
    q: int
    layer: NDArray[np.int64]
    faces: NDArray[np.int64]
    genus: int | None

    @property
    def boundary(self) -> str:
        """ "free" or "periodic"."""
        return "free" if self.genus is None else "periodic"

    @property
    def degrees(self) -> Array:
        """(n,) number of neighbours of each site."""
        return np.diff(self.model.csr.indptr)

    @property
    def bulk(self) -> NDArray[np.int64]:
        """Sites that are surrounded by q faces."""
        met = np.bincount(self.faces.ravel(), minlength=self.model.n)
        return np.flatnonzero(met == self.q)

    @property
    def euler_characteristic(self) -> int:
        """V - E + F."""
        return self.model.n - self.model.n_edges + len(self.faces)


def patch(
    p: int, q: int, layers: int, *, centre: str = "vertex", J: float = 1, h: float = 0
) -> Tessellation:
    """All faces that meet the patch of one layer less; free boundary.

    Layer 0 is one vertex, or the p vertices of a face (centre="face"). Layer k + 1 holds the
    vertices that share a face with one of layer k and lie in none before: for {3,q} those at
    distance k + 1. Their number grows like exp(c k); more than 2^22 sites are refused.
    Raises ValueError for (p - 2)(q - 2) < 4 (a polyhedron), p or q < 3, layers < 0 (< 1 around a
    vertex), another centre."""
    if p < 3 or q < 3 or (p - 2) * (q - 2) < 4:
        raise ValueError(
            f"{{{p},{q}}} is no tessellation of a plane: need p, q >= 3 and (p - 2)(q - 2) >= 4"
        )
    if centre not in ("vertex", "face"):
        raise ValueError(f"centre must be 'vertex' or 'face', got {centre!r}")
    if layers < (centre == "vertex"):
        raise ValueError(f"layers must be at least 1 (0 around a face), got {layers}")
    disk = _Disk(p, q)
    outermost = 0
    if centre == "vertex":
        outermost, disk.layer[1:] = 1, [1] * (p - 1)
        disk.surround(0, 1)
    for k in range(outermost, layers):
        for vertex in [v for v, layer in enumerate(disk.layer) if layer == k]:
            disk.surround(vertex, k + 1)
    faces = np.array(disk.faces, np.int64).reshape(-1, p)
    ends = _edges_of(faces)
    model = _ferromagnet(p, q, ends, len(disk.layer), "open", J, h)
    return Tessellation(model, p, q, np.array(disk.layer, np.int64), faces, None)


class _Disk:
    """A patch while it grows. Vertices on the rim form a ring (after, before); missing[v] is the
    number of edges that v still lacks."""

    def __init__(self, p: int, q: int) -> None:
        self.p, self.q = p, q
        self.faces = [list(range(p))]
        self.layer = [0] * p
        self.missing = [q - 2] * p
        self.after = [*range(1, p), 0]
        self.before = [p - 1, *range(p - 1)]
        self.inside = [False] * p

    def surround(self, vertex: int, layer: int) -> None:
        """Add the faces that still lack around `vertex`."""
        while not self.inside[vertex]:
            self._add_face(vertex, layer)

    def _add_face(self, vertex: int, layer: int) -> None:
        """The face beyond the edge from `vertex` to the next one on the rim. It runs along the rim
        as far as the vertices have all their edges: those are inside afterwards."""
        path = [vertex, self.after[vertex]]
        while not self.missing[path[-1]]:
            path.append(self.after[path[-1]])
        while not self.missing[path[0]]:
            path.insert(0, self.before[path[0]])
        first, last = path[0], path[-1]
        for v in path[1:-1]:
            self.inside[v] = True
        n = len(self.layer)
        new = list(range(n, n + self.p - len(path)))
        if n + len(new) > MAX_SITES:
            raise ValueError(f"the patch has more than {MAX_SITES} sites; take fewer layers")
        self.layer += [layer] * len(new)
        self.missing += [self.q - 2] * len(new)
        self.inside += [False] * len(new)
        ring = [first, *new, last]
        self.after += [0] * len(new)
        self.before += [0] * len(new)
        for u, v in itertools.pairwise(ring):
            self.after[u], self.before[v] = v, u
        self.missing[first] -= 1
        self.missing[last] -= 1
        self.faces.append([*path, *reversed(new)])


def _edges_of(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """(E, 2) edges i < j of the faces (F, p), each once."""
    ends = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    return np.unique(np.sort(ends, axis=1), axis=0)


def _ferromagnet(
    p: int, q: int, ends: NDArray[np.int64], n: int, boundary: str, J: float, h: float
) -> IsingModel:
    geometry = Geometry(
        family=f"hyperbolic {{{p},{q}}}" if (p - 2) * (q - 2) > 4 else f"flat {{{p},{q}}}",
        shape=(n,),
        boundary=(boundary,),
        coordination=2 * len(ends) / n,
        bonds=len(ends),
    )
    edges = (ends[:, 0], ends[:, 1], np.full(len(ends), J))
    return IsingModel.from_edges(edges, n, fields=np.full(n, h), geometry=geometry)


# Quotients. A map whose rotations form the group G = <R, S | R^p, S^q, (RS)^2, ...> has the darts
# g of G: S turns a dart about its vertex, RS reverses it, R turns it about its face.

Matrix = tuple[int, int, int, int]  # (a, b, c, d) for [[a, b], [c, d]] modulo a prime


def quotient(p: int, q: int, prime: int, *, J: float = 1, h: float = 0) -> Tessellation:
    """A closed surface tiled by {p,q} whose rotations are matrices of determinant 1 modulo
    `prime`, up to sign: periodic boundary, every site alike.

    At most prime (prime^2 - 1) / 2 darts, q to a site; whether p and q occur depends on the
    prime. {7,3} has prime 7 (Klein's quartic, genus 3, 56 sites), 13 (364 sites), 29, 41, 43;
    {5,4} has 31 and 41, {3,7} the primes of {7,3}. Of the generating pairs the first, in the
    order of traces, that gives a graph without loops and double bonds is taken.
    Raises ValueError if prime is no odd prime or has no such pair, or for (p - 2)(q - 2) <= 4."""
    if prime < 3 or any(prime % k == 0 for k in range(2, math.isqrt(prime) + 1)):
        raise ValueError(f"prime must be an odd prime, got {prime}")
    if min(p, q) < 3 or (p - 2) * (q - 2) <= 4:
        raise ValueError(f"{{{p},{q}}} is not hyperbolic: need p, q >= 3, (p - 2)(q - 2) > 4")
    for a in range(prime):
        turn = (0, prime - 1, 1, a)
        if _order(turn, prime, True) != q:
            continue
        for flip in _flips(turn, p, prime):
            found = _regular_map(p, q, turn, flip, prime, True, J, h)
            if found is not None:
                return found
    raise ValueError(
        f"no {{{p},{q}}} without double bonds modulo {prime}: p and q must each divide {prime}, "
        f"{(prime - 1) // 2} or {(prime + 1) // 2}, and the map be large enough; try another prime"
    )


def bolza(*, J: float = 1, h: float = 0) -> Tessellation:
    """{8,3} on the surface of genus 2 with most symmetries: 16 sites, the Moebius-Kantor graph.

    Its 48 rotations are the invertible 2 x 2 matrices modulo 3."""
    found = _regular_map(8, 3, (1, 1, 0, 1), (0, 1, 1, 0), 3, False, J, h)
    assert found is not None
    return found


def _flips(turn: Matrix, p: int, prime: int) -> list[Matrix]:
    """Matrices T of trace 0 and determinant 1 such that turn T has order p, one per trace."""
    found: dict[int, Matrix] = {}
    for x in range(prime):
        for y in range(1, prime):
            z = -(1 + x * x) * pow(y, -1, prime) % prime
            flip = (x, y, z, -x % prime)
            product = _product(turn, flip, prime)
            trace = (product[0] + product[3]) % prime
            trace = min(trace, prime - trace)
            if trace not in found and _order(product, prime, True) == p:
                found[trace] = flip
    return [found[trace] for trace in sorted(found)]


def _regular_map(
    p: int, q: int, turn: Matrix, flip: Matrix, prime: int, projective: bool, J: float, h: float
) -> Tessellation | None:
    """The map of the group that `turn` (order q) and `flip` (order 2) generate; None if two sites
    share two edges or an edge is a loop."""
    number = {(1, 0, 0, 1): 0}
    darts = [(1, 0, 0, 1)]
    about: list[int] = []
    across: list[int] = []
    for dart in darts:
        for generator, image in ((turn, about), (flip, across)):
            there = _normal(_product(dart, generator, prime), prime, projective)
            if there not in number:
                number[there] = len(darts)
                darts.append(there)
            image.append(number[there])
    vertex, n = _orbits(np.array(about), q)
    rotation = np.array(about)[across]  # reverse, then turn: along the face
    face, n_faces = _orbits(rotation, p)
    ends = np.sort(np.stack([vertex, vertex[across]], axis=1), axis=1)
    ends = np.unique(ends, axis=0)
    if len(ends) < len(darts) // 2 or np.any(ends[:, 0] == ends[:, 1]):
        return None
    first = np.unique(face, return_index=True)[1]
    corners = [first]
    for _ in range(p - 1):
        corners.append(rotation[corners[-1]])
    model = _ferromagnet(p, q, ends, n, "periodic", J, h)
    genus = (2 - (n - len(ends) + n_faces)) // 2
    return Tessellation(model, p, q, np.zeros(n, np.int64), vertex[np.stack(corners, 1)], genus)


def _orbits(permutation: NDArray[np.int64], order: int) -> tuple[NDArray[np.int64], int]:
    """(label of the cycle of each element, number of cycles); every cycle has length `order`."""
    least = image = np.arange(len(permutation))
    for _ in range(order - 1):
        image = permutation[image]
        least = np.minimum(least, image)
    representatives, label = np.unique(least, return_inverse=True)
    return label, len(representatives)


def _product(a: Matrix, b: Matrix, prime: int) -> Matrix:
    return (
        (a[0] * b[0] + a[1] * b[2]) % prime,
        (a[0] * b[1] + a[1] * b[3]) % prime,
        (a[2] * b[0] + a[3] * b[2]) % prime,
        (a[2] * b[1] + a[3] * b[3]) % prime,
    )


def _normal(a: Matrix, prime: int, projective: bool) -> Matrix:
    """The smaller one of a and -a if signs do not count."""
    minus = (-a[0] % prime, -a[1] % prime, -a[2] % prime, -a[3] % prime)
    return min(a, minus) if projective else a


def _order(a: Matrix, prime: int, projective: bool) -> int:
    """Smallest k with a^k = 1, up to sign if projective."""
    power, k = _normal(a, prime, projective), 1
    while power != (1, 0, 0, 1):
        power, k = _normal(_product(power, a, prime), prime, projective), k + 1
    return k
