"""What the cluster kernels know of a model: words of bits per axis, or lists of bonds.

Several replicas of a small model stand one after the other in a block of words, each from a word
of its own on, so that vectors of eight words are full.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Request
from isingnpu.bitlogic import words_of
from isingnpu.bonds import Bonds
from isingnpu.dynamics import bond_thresholds

from .clusters_code import LANES, BondCode
from .clusters_draw import PAD
from .clusters_lattice import AHEAD, BACK, FAR, UP

Array = NDArray[Any]
WIDE = 64  # words of a replica from which on the last vector counts for little
MAGNITUDES = 4  # of couplings, up to which each is drawn apart


class Block:
    """The words of `count` replicas of n sites.

    width: words of a replica; words: of all, whole vectors."""

    def __init__(self, n: int, replicas: int) -> None:
        self.n, self.width = n, -(-max(n, 1) // 64)
        full = LANES // math.gcd(self.width, LANES)  # replicas that fill whole vectors
        self.count = min(full, replicas) if self.width < WIDE else 1
        self.words = -(-self.count * self.width // LANES) * LANES

    def copies(self, bits: Array) -> Array:
        """(..., words): truth values (..., n) of the sites, the same in every replica."""
        whole = np.zeros((*bits.shape[:-1], 64 * self.words), bool)
        for r in range(self.count):
            whole[..., 64 * self.width * r :][..., : self.n] = bits
        return words_of(whole)

    def pack(self, spins: Array) -> Array:
        """Spins (replicas, sites), at most `count`, as a padded array of words."""
        whole = np.zeros((self.words // self.width + 1, 64 * self.width), bool)
        whole[: len(spins), : self.n] = spins > 0
        words = np.zeros(self.words + 2 * PAD, np.uint64)
        words[PAD:-PAD] = words_of(whole.ravel()[: 64 * self.words])
        return words

    def unpack(self, words: Array, replicas: int) -> Array:
        """The inverse of `pack`, int8."""
        own = words[PAD : PAD + replicas * self.width].astype("<u8").view(np.uint8)
        bits = np.unpackbits(own, bitorder="little").reshape(replicas, 64 * self.width)
        return (2 * bits[:, : self.n].astype(np.int8) - 1).astype(np.int8)

    def places(self, replicas: range) -> tuple[Array, Array]:
        """(words / 8, 2, 8) the words' numbers and their replicas << 11, and the same for word 0
        of eight replicas, (2, 8)."""
        word = np.arange(self.words)
        replica = replicas.start + np.minimum(word // self.width, self.count - 1)
        where = np.stack([word % self.width, replica << 11]).reshape(2, -1, LANES)
        tags = np.stack([np.zeros(LANES, np.int64), replicas.start + np.arange(LANES) << 11])
        return (
            np.ascontiguousarray(where.swapaxes(0, 1)).astype(np.uint64), tags.astype(np.uint64),
        )  # fmt: skip

    def labels(self, improved: bool) -> tuple[Array, Array, Array]:
        """Union-find parents of all sites; roots and sizes of clusters."""
        sites = 64 * self.words
        measured = improved * self.words, improved * sites
        return (
            np.zeros(sites, np.uint32), np.zeros(measured[0], np.uint64),
            np.zeros(measured[1], np.uint32),
        )  # fmt: skip


class LatticeTables:
    """A hypercubic lattice on each axis of which all couplings are of one magnitude, or absent."""

    def __init__(self, request: Request, bonds: Bonds) -> None:
        geometry, n = request.model.geometry, request.model.n
        assert geometry is not None
        self.improved = request.improved
        self.quantum = request.model.quantized.quantum
        self.block = block = Block(n, len(request.replicas))
        self.code = BondCode(request.rounds, lattice=True, wolff=request.dynamics.clusters > 0)
        d = len(geometry.shape)
        stride = np.append(np.cumprod(geometry.shape[:0:-1])[::-1], 1)
        masks = np.zeros((4, d, block.words), np.uint64)
        axes = np.zeros((d, 8), np.int64)
        self.magnitude, number = np.zeros(d, np.int64), np.zeros(d, np.int64)
        for a in range(d):
            own = (bonds.slot == a) & (bonds.coupling != 0)
            around = own & (bonds.other < bonds.owner)
            sets = (
                bonds.owner[own], bonds.owner[own & (bonds.coupling < 0)], bonds.owner[around],
                bonds.other[around],
            )  # fmt: skip
            for k, sites in enumerate(sets):
                masks[k, a] = block.copies(np.bincount(sites, minlength=n) > 0)
            whole = (geometry.shape[a] - 1) * int(stride[a])
            offsets = {AHEAD: int(stride[a]), BACK: -whole, UP: -int(stride[a]), FAR: whole}
            for column, offset in offsets.items():
                axes[a, column : column + 2] = offset >> 6, offset & 63
            self.magnitude[a] = np.abs(bonds.coupling[own]).max(initial=0)
            number[a] = own.sum()
        valid = block.copies(np.ones(n, bool))
        self.tables = masks, axes, self.magnitude, number, valid

    def limits(self, betas: Array) -> Array:
        """(betas, axes) thresholds."""
        return bond_thresholds(betas, self.magnitude, self.quantum)

    def scratch(self) -> Any:
        """Working memory of one thread."""
        d, size = len(self.magnitude), self.block.words
        padded = size + 2 * PAD
        bonds = (
            np.zeros((d, padded), np.uint64), np.zeros((d, padded), np.uint64),
            np.zeros(16, np.uint64), np.zeros((d, size), np.uint64),
        )  # fmt: skip
        sums = np.zeros(size, np.int64)
        if not self.code.wolff:
            parent, heads, sizes = self.block.labels(self.improved)
            starts, coins = np.zeros(padded, np.uint64), np.zeros(size, np.uint64)
            return (*bonds, starts, coins, parent, heads, sizes, sums)
        groups = size // LANES
        return (
            *bonds, np.zeros(groups, np.int64), np.zeros(padded, np.uint64),
            np.zeros(-(-groups // 64), np.uint64), np.zeros(3, np.int64),
            np.zeros(groups, np.int64), np.zeros(1, np.int64), np.zeros(LANES, np.uint64), sums,
        )  # fmt: skip


class GraphTables:
    """Any graph."""

    def __init__(self, request: Request, bonds: Bonds) -> None:
        self.improved = request.improved
        self.quantum = request.model.quantized.quantum
        self.block = block = Block(request.model.n, len(request.replicas))
        self.magnitude, kind = np.unique(np.abs(bonds.coupling), return_inverse=True)
        mixed = len(self.magnitude) > MAGNITUDES
        self.code = BondCode(
            request.rounds, lattice=False, wolff=request.dynamics.clusters > 0, mixed=mixed
        )
        first = 64 * block.width * np.arange(block.count)[:, None]
        owner, other = ((first + sites).ravel() for sites in (bonds.owner, bonds.other))
        slot, kind, coupling = (
            np.tile(x, block.count) for x in (bonds.slot, kind, bonds.coupling)
        )
        apart = 1 if mixed else max(len(self.magnitude), 1)
        number = (owner // 512 * max(bonds.slots, 1) + slot) * apart + (0 if mixed else kind)
        exists, group = np.unique(number, return_inverse=True)
        place, many = 512 * group + owner % 512, 512 * len(exists)
        present, negative = np.zeros(many, bool), np.zeros(many, bool)
        kinds = np.full(many if mixed else 0, len(self.magnitude), np.int32)
        others = np.zeros(many, np.uint32)
        present[place], negative[place], others[place] = True, coupling < 0, other
        if mixed:
            kinds[place] = kind
        eighth, rest = np.divmod(exists // apart, max(bonds.slots, 1))
        groups = np.stack([rest, eighth, exists % apart], axis=1)
        ends = [owner, other, coupling, place], [other, owner, coupling, place]
        edges = np.concatenate(ends, axis=1)
        edges = edges[:, np.lexsort(edges[1::-1])]
        self.tables = (
            np.searchsorted(edges[0], np.arange(64 * block.words + 1)).astype(np.uint64),
            edges[1].astype(np.uint32), edges[3].astype(np.uint64), groups,
            kinds.reshape(-1, 512), words_of(present).reshape(-1, 8),
            others.reshape(-1, 512), words_of(negative).reshape(-1, 8),
            block.copies(np.ones(request.model.n, bool)),
            np.stack([owner, other], axis=1).astype(np.uint32), coupling, bonds.owner.size,
            edges[2].copy(),
        )  # fmt: skip

    def limits(self, betas: Array) -> Array:
        """(betas, magnitudes + 1) thresholds, 0 the last."""
        limits = bond_thresholds(betas, self.magnitude, self.quantum)
        return np.concatenate([limits, np.zeros((len(limits), 1), np.uint64)], axis=1)

    def scratch(self) -> Any:
        """Working memory of one thread."""
        groups, size = len(self.tables[3]), self.block.words
        common = (
            np.zeros(8 * groups, np.uint64), np.zeros(16, np.uint64),
            np.zeros((64 if self.code.mixed else groups, 8), np.uint64),
        )  # fmt: skip
        sums = np.zeros(0, np.int64)
        if not self.code.wolff:
            parent, heads, sizes = self.block.labels(self.improved)
            pairs, coins = np.zeros((513, 2), np.uint32), np.zeros(size, np.uint64)
            return (*common, pairs, coins, parent, heads, sizes, sums)
        return (
            *common, np.zeros(groups, np.int64), np.zeros(64 * size, np.uint8),
            np.zeros(64 * size + 1, np.uint32), np.zeros(1, np.int64), np.zeros(LANES, np.uint64),
            sums,
        )  # fmt: skip
