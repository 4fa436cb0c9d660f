"""All randomness of the project: Philox4x32 as a pure function of what is being decided.

    words x0..x3 = Philox4x32-R(counter = (c0, c1, c2, c3), key = 64-bit seed),  R = 10 or 7

The counter names the decision (replica, site, sweep, purpose); no generator state exists. This
NumPy module is the specification, layout version 1; kernels reproduce it bit for bit.
docs/randomness.md states the whole contract.

Generator: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

from __future__ import annotations

import enum
import secrets

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

LAYOUT_VERSION = 1
ROUNDS = (10, 7)

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85

U64 = NDArray[np.uint64]
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


@enum.unique
class Stream(enum.IntEnum):
    """What a draw is for. One member per use, never reused; values stay below 64."""

    ACCEPT = 0  # single-spin decisions
    INIT = 1  # first spins
    COUPLINGS = 2  # disordered couplings and fields
    GRAPH = 3  # random graphs
    PLANT = 4  # planted ground states
    MODEL = 5  # seeds of many models
    BOND = 8  # bonds of clusters
    COIN = 9  # whether a cluster flips
    SEED_SITE = 10  # first site of a Wolff cluster
    ATTENTION = 11  # random attention scores
    WANG_LANDAU = 12  # proposals of flat-histogram walks
    SHARED = 13  # single-spin decisions that all replicas share
    # machines of hidden spins, isingnpu.npu
    DATA = 16  # synthetic data sets
    WEIGHTS = 17  # first couplings
    BATCH = 18  # which samples a training step sees
    AUGMENT = 19  # shifts and rotations of images
    HIDDEN = 20  # states of hidden spins in the free phase
    NUDGE = 21  # their states in nudged or clamped phases
    SELECTOR = 22  # Potts selectors and output spins
    DROPOUT = 23  # couplings and fields left out of a training step
    WEIGHT_FLIP = 24  # flips of weights that are spins


def as_seed(seed: int | np.random.SeedSequence | np.random.Generator | None) -> int:
    """A 64-bit key from an integer in 0..2^64-1, a SeedSequence, a Generator (one draw) or None
    (operating-system entropy; the Run records what was drawn)."""
    if seed is None:
        return secrets.randbits(64)
    if isinstance(seed, np.random.SeedSequence):
        return int(seed.generate_state(1, np.uint64)[0])
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(0, 2**64, dtype=np.uint64))
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed must be an integer, got {type(seed).__name__} {seed!r}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must lie in 0..2^64-1, got {seed}")
    return int(seed)


def philox4x32(
    c0: ArrayLike, c1: ArrayLike, c2: ArrayLike, c3: ArrayLike, seed: int, rounds: int = 10
) -> tuple[U64, U64, U64, U64]:
    """The four 32-bit output words, as uint64 arrays of the counters' broadcast shape."""
    counters = [np.asarray(c, np.uint64) & _LOW for c in (c0, c1, c2, c3)]
    x0, x1, x2, x3 = (np.array(x) for x in np.broadcast_arrays(*counters))
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(rounds):
        p0, p1 = np.uint64(M0) * x0, np.uint64(M1) * x2
        x0, x1, x2, x3 = (
            (p1 >> _32) ^ x1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _32) ^ x3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + W0) & 0xFFFFFFFF, (k1 + W1) & 0xFFFFFFFF
    return x0, x1, x2, x3


def lane_integers(
    replicas: ArrayLike, sites: ArrayLike, sweep: int, seed: int, rounds: int = 10
) -> U64:
    """The 64-bit integers of layout `lane`: (replicas, sites) for the given indices.

    Counter (replica // 16, site, sweep, call | ACCEPT << 5). Byte k of the integer, most
    significant first, comes from call k: byte replica % 16 of its four little-endian words."""
    replica = np.asarray(replicas, np.uint64)[:, None]
    lane = replica % np.uint64(16)
    r = np.zeros(np.broadcast_shapes(replica.shape, np.shape(sites)), np.uint64)
    for call in range(8):
        words = philox4x32(replica // np.uint64(16), sites, sweep, call, seed, rounds)
        word = np.choose((lane // np.uint64(4)).astype(np.int64), words)
        byte = (word >> (np.uint64(8) * (lane % np.uint64(4)))) & np.uint64(0xFF)
        r = (r << np.uint64(8)) | byte
    return r


def plane_integers(
    replicas: ArrayLike, sites: ArrayLike, sweep: int, seed: int, rounds: int = 10
) -> U64:
    """The 64-bit integers of layout `plane`: (replicas, sites) for the given indices.

    Counter (replica // 64, site, sweep, call | ACCEPT << 5). Call c gives two planes,
    2c = x0 | x1 << 32 and 2c + 1 = x2 | x3 << 32; bit k of the integer, most significant first,
    is bit replica % 64 of plane k."""
    replica = np.asarray(replicas, np.uint64)[:, None]
    return _planes(replica // np.uint64(64), np.asarray(sites), sweep, 0, replica, seed, rounds)


def shared_integers(sites: ArrayLike, sweep: int, seed: int, rounds: int = 10) -> U64:
    """The 64-bit integers of layout `shared`, (sites,), the same for all replicas:
    x0 | x1 << 32 of counter (0, site, sweep, SHARED << 5)."""
    x0, x1, _, _ = philox4x32(0, sites, sweep, int(Stream.SHARED) << 5, seed, rounds)
    return np.asarray(x0 | x1 << _32)


def lattice_integers(
    replica: int, row: ArrayLike, column: ArrayLike, words: int, clock: int, seed: int, rounds: int
) -> U64:
    """The 64-bit integers of layout `lattice` for the sites (row, compact column) of one colour.

    Counter (word, row, clock = 2 * sweep + colour, call | ACCEPT << 5 | replica << 11), with
    word = column % words and lane bit = column // words; planes as in `plane_integers`."""
    column = np.asarray(column, np.uint64)
    word, bit = column % np.uint64(words), column // np.uint64(words)
    return _planes(word, np.asarray(row), clock, replica << 11, bit, seed, rounds)


def bond_integers(
    replicas: ArrayLike,
    owners: ArrayLike,
    slots: ArrayLike,
    clock: int,
    seed: int,
    rounds: int = 10,
) -> U64:
    """The 64-bit integers of bonds, (bonds,), for one replica, or (replicas, bonds); owners and
    slots are those of isingnpu.bonds.

    Counter (owner // 64, slot, clock, call | BOND << 5 | replica << 11), bit owner % 64; planes as
    in `plane_integers`. clock is the sweep, or for the k-th Wolff cluster of each sweep,
    clusters per sweep * sweep + k."""
    owner, c3 = np.asarray(owners, np.uint64), _replica_word(replicas, Stream.BOND)
    return _planes(owner // np.uint64(64), slots, clock, c3, owner, seed, rounds)


def cluster_coins(
    replicas: ArrayLike, roots: ArrayLike, clock: int, seed: int, rounds: int = 10
) -> NDArray[np.bool_]:
    """Whether the clusters with these roots (their smallest sites) flip, (roots,) for one replica,
    or (replicas, roots) for roots of that shape: bit root % 64 of
    x0 | x1 << 32 of counter (root // 64, 0, clock, COIN << 5 | replica << 11)."""
    root, c3 = np.asarray(roots, np.uint64), _replica_word(replicas, Stream.COIN)
    x0, x1, _, _ = philox4x32(root // np.uint64(64), 0, clock, c3, seed, rounds)
    bit = (x0 | x1 << _32) >> (root % np.uint64(64)) & np.uint64(1)
    return np.asarray(bit, np.bool_)


def seed_site(replica: int, n_sites: int, clock: int, seed: int, rounds: int = 10) -> int:
    """First site of a Wolff cluster: (word * n_sites) >> 64 with word = x0 | x1 << 32 of counter
    (0, 0, clock, SEED_SITE << 5 | replica << 11); within 2^-64 n_sites of uniform."""
    c3 = _replica_word(replica, Stream.SEED_SITE)
    x0, x1, _, _ = philox4x32(0, 0, clock, c3, seed, rounds)
    return (int(x0) | int(x1) << 32) * n_sites >> 64


def _replica_word(replicas: ArrayLike, stream: Stream) -> U64:
    """stream << 5 | replica << 11: one number, or a column (replicas, 1)."""
    word = np.asarray(replicas, np.uint64) << np.uint64(11) | np.uint64(stream << 5)
    return np.asarray(word[:, None] if word.ndim else word)


def _planes(
    c0: U64, c1: ArrayLike, c2: int, c3: ArrayLike, bit: U64, seed: int, rounds: int
) -> U64:
    """64 planes, most significant first, of which each decision reads one bit."""
    bit = bit % np.uint64(64)
    last = np.asarray(c3, np.uint64)
    r = np.zeros(np.broadcast_shapes(c0.shape, np.shape(c1), last.shape), np.uint64)
    for call in range(32):
        x0, x1, x2, x3 = philox4x32(c0, c1, c2, last | np.uint64(call), seed, rounds)
        for plane in (x0 | x1 << _32, x2 | x3 << _32):
            r = r << np.uint64(1) | (plane >> bit & np.uint64(1))
    return r


def initial_spins(replicas: ArrayLike, n_sites: int, seed: int) -> NDArray[np.int8]:
    """First spins (replicas, n_sites), the same in every layout: +1 where bit replica % 64 of
    plane 0 of counter (replica // 64, site, 0, INIT << 5) is set."""
    replica = np.asarray(replicas, np.int64)
    spins = np.empty((len(replica), n_sites), np.int8)
    c3 = int(Stream.INIT) << 5
    for group in np.unique(replica // 64):  # one word per site holds 64 replicas
        x0, x1, _, _ = philox4x32(int(group), np.arange(n_sites), 0, c3, seed)
        words = (x0 | x1 << _32).astype("<u8")
        bits = np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
        own = np.flatnonzero(replica // 64 == group)
        spins[own] = 2 * bits.T[replica[own] % 64].view(np.int8) - 1
    return spins


def random_words(seed: int, stream: Stream, count: int) -> U64:
    """`count` 64-bit words: word 2b = x0 | x1 << 32 and 2b + 1 = x2 | x3 << 32 of counter
    (b mod 2^32, b >> 32, 0, stream << 5)."""
    block = np.arange((count + 1) // 2, dtype=np.uint64)
    x0, x1, x2, x3 = philox4x32(block, block >> _32, 0, int(stream) << 5, seed)
    return np.stack([x0 | x1 << _32, x2 | x3 << _32], axis=1).reshape(-1)[:count]


def random_floats(seed: int, stream: Stream, count: int) -> NDArray[np.float64]:
    """Uniform in (0, 1): ((word >> 11) + 1/2) 2^-53."""
    words = random_words(seed, stream, count) >> np.uint64(11)
    return (words.astype(np.float64) + 0.5) * 2.0**-53


def random_normals(seed: int, stream: Stream, count: int) -> NDArray[np.float64]:
    """Standard normal: the inverse distribution function of `random_floats`."""
    return np.asarray(ndtri(random_floats(seed, stream, count)), np.float64)


def random_signs(seed: int, stream: Stream, count: int) -> NDArray[np.int64]:
    """-1 or +1: +1 where the top bit of the word is set."""
    return 2 * (random_words(seed, stream, count) >> np.uint64(63)).astype(np.int64) - 1


def permutation(seed: int, stream: Stream, n: int) -> NDArray[np.int64]:
    """A permutation of 0..n-1: the order that sorts n words (ties keep their order)."""
    return np.argsort(random_words(seed, stream, n), kind="stable")
