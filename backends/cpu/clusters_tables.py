"""What the cluster kernels know of a model: words of bits per axis, or lists of bonds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Request
from isingnpu.bonds import Bonds
from isingnpu.dynamics import bond_thresholds

from .clusters_code import BondCode
from .clusters_lattice import AHEAD, BACK, FAR, PAD, UP

Array = NDArray[Any]
ALL = np.uint64(2**64 - 1)


def packed(bits: Array, words: int) -> Array:
    """(words,) uint64 of truth values in site order, 64 to a word."""
    whole = np.zeros(64 * words, bool)
    whole[: len(bits)] = bits
    return np.packbits(whole, bitorder="little").view("<u8").astype(np.uint64)


def threshold_planes(thresholds: Array) -> Array:
    """(..., 64) all ones or zeros: the bits of thresholds (...,), most significant first."""
    bits = thresholds[..., None] >> np.arange(63, -1, -1, dtype=np.uint64) & np.uint64(1)
    return np.where(bits == 1, ALL, np.uint64(0))


class LatticeTables:
    """A hypercubic lattice on each axis of which all couplings are of one magnitude, or absent."""

    def __init__(self, request: Request, bonds: Bonds) -> None:
        geometry, n = request.model.geometry, request.model.n
        assert geometry is not None
        self.improved = request.improved
        self.n, self.quantum = n, request.model.quantized.quantum
        self.code = BondCode(request.rounds, lattice=True, wolff=request.dynamics.clusters > 0)
        self.words = -(-max(n, 1) // 512) * 8
        d = len(geometry.shape)
        stride = np.append(np.cumprod(geometry.shape[:0:-1])[::-1], 1)
        masks = np.zeros((4, d, self.words), np.uint64)
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
                masks[k, a] = packed(np.bincount(sites, minlength=n) > 0, self.words)
            whole = (geometry.shape[a] - 1) * int(stride[a])
            offsets = {AHEAD: int(stride[a]), BACK: -whole, UP: -int(stride[a]), FAR: whole}
            for column, offset in offsets.items():
                axes[a, column : column + 2] = offset >> 6, offset & 63
            self.magnitude[a] = np.abs(bonds.coupling[own]).max(initial=0)
            number[a] = own.sum()
        valid = packed(np.ones(n, bool), self.words)
        self.tables = masks, axes, self.magnitude, number, valid

    @staticmethod
    def fits(bonds: Bonds) -> bool:
        """Whether the couplings of each axis have one magnitude."""
        if not bonds.axes:
            return False
        size = np.abs(bonds.coupling)
        for slot in range(bonds.slots):
            own = size[(bonds.slot == slot) & (size > 0)]
            if own.size and own.min() != own.max():
                return False
        return True

    def pack(self, spins: Array) -> Array:
        """Spins (sites,) as a padded array of words."""
        words = np.zeros(self.words + 2 * PAD, np.uint64)
        words[PAD:-PAD] = packed(spins > 0, self.words)
        return words

    def unpack(self, words: Array) -> Array:
        """The inverse of `pack`, int8."""
        bits = np.unpackbits(words[PAD:-PAD].astype("<u8").view(np.uint8), bitorder="little")
        return (2 * bits[: self.n].astype(np.int8) - 1).astype(np.int8)

    def limits(self, betas: Array) -> Array:
        """(betas, axes, 64) planes of the thresholds."""
        return threshold_planes(bond_thresholds(betas, self.magnitude, self.quantum))

    def scratch(self) -> Any:
        """Working memory of one thread."""
        d, size, padded = len(self.magnitude), self.words, self.words + 2 * PAD
        bonds = np.zeros((d, padded), np.uint64), np.zeros((d, padded), np.uint64)
        bits = np.zeros(16, np.uint64)
        if self.code.wolff:
            ring = 1 << size.bit_length()  # larger than any queue: the slot at its end is free
            return (
                *bonds, bits, np.zeros(size // 8, np.int64), np.zeros(size + 1, np.uint64),
                np.zeros(size + 1, np.uint64), np.zeros(ring, np.int64),
                np.zeros(size + 1, np.int64), np.zeros(1, np.int64),
            )  # fmt: skip
        labels = 64 * size
        return (
            *bonds, np.zeros(padded, np.uint64), np.zeros(size, np.uint64),
            np.zeros(labels, np.uint32), np.zeros(labels if self.improved else 0, np.uint32), bits,
        )  # fmt: skip


class GraphTables:
    """Any graph; spins (sites,) int8."""

    def __init__(self, request: Request, bonds: Bonds) -> None:
        model, csr = request.model, request.model.csr
        self.improved = request.improved
        self.n, self.quantum = model.n, model.quantized.quantum
        self.code = BondCode(request.rounds, lattice=False, wolff=request.dynamics.clusters > 0)
        self.magnitude, kind = np.unique(np.abs(bonds.coupling), return_inverse=True)
        wide = -(-max(model.n, 1) // 512)
        number = bonds.slot * wide + bonds.owner // 512
        exists, group = np.unique(number, return_inverse=True)
        lane = bonds.owner % 512
        groups = np.stack([exists // wide, exists % wide], axis=1)
        kinds = np.full((len(exists), 512), len(self.magnitude), np.int32)
        kinds[group, lane] = kind
        present = packed((kinds < len(self.magnitude)).ravel(), 8 * len(exists)).reshape(-1, 8)
        edges = np.zeros((csr.nnz, 2), np.int64)
        edges[:, 0] = model.quantized.couplings
        low, high = np.minimum(bonds.owner, bonds.other), np.maximum(bonds.owner, bonds.other)
        row = np.repeat(np.arange(model.n), np.diff(csr.indptr))
        column = csr.indices.astype(np.int64)
        order = np.lexsort((high, low))
        place = (512 * group + lane)[order]  # as the pairs low < high in row order
        upper = row < column
        edges[upper, 1] = place
        edges[~upper, 1] = place[np.lexsort((row[upper], column[upper]))]
        self.tables = (
            csr.indptr.astype(np.int64), csr.indices.astype(np.int64), edges,
            groups.astype(np.int64), kinds, present,
        )  # fmt: skip

    def pack(self, spins: Array) -> Array:
        """A copy."""
        return np.array(spins, np.int8)

    def unpack(self, spins: Array) -> Array:
        """A copy."""
        return np.array(spins, np.int8)

    def limits(self, betas: Array) -> Array:
        """(betas, magnitudes + 1) thresholds, 0 the last."""
        limits = bond_thresholds(betas, self.magnitude, self.quantum)
        return np.concatenate([limits, np.zeros((len(limits), 1), np.uint64)], axis=1)

    def scratch(self) -> Any:
        """Working memory of one thread."""
        groups = len(self.tables[3])
        common = (
            np.zeros(8 * groups, np.uint64), np.zeros((64, 8), np.uint64),
            np.zeros(512, np.uint64), np.zeros(16, np.uint64),
        )  # fmt: skip
        if self.code.wolff:
            return (
                *common, np.zeros(groups, np.int64), np.zeros(self.n, np.int64),
                np.zeros(self.n, np.int64), np.zeros(1, np.int64),
            )  # fmt: skip
        return (
            *common, np.zeros(-(-self.n // 512) * 8, np.uint64), np.zeros(self.n, np.uint32),
            np.zeros(self.n if self.improved else 0, np.uint32),
        )  # fmt: skip
