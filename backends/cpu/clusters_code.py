"""Vector code of cluster moves: eight words, 64 bonds each, are drawn at a time.

Spins and bonds are bits in site order, 64 to a word. A bond is active where it is satisfied and
its 64-bit integer lies below the threshold; the integers are compared plane by plane, most
significant first, until no satisfied bond is undecided.

Where the words stand is in `places`: for each group of eight the words' numbers within their
replica, then the replicas' shares of the last counter word, replica << 11.
"""

# mypy: allow-untyped-calls, allow-untyped-decorators, disable-error-code="no-any-return"
from __future__ import annotations

from dataclasses import dataclass

from .ir import I1, I64, Code, Static, Word, emits, pair, philox, vector

LANES = 8  # words of one vector
WORDS = vector(I64, LANES)
FIRST_CALLS = 4  # of two planes each, before the first look whether all is decided
GROUP_BYTES = 8 * LANES


@dataclass(frozen=True)
class BondCode(Static):
    """rounds of Philox; lattice: words of bits for each axis, else a graph; wolff: single clusters
    instead of all; mixed: bonds of one word have unlike thresholds."""

    rounds: int
    lattice: bool
    wolff: bool
    mixed: bool = False


def _counter(
    code: Code, place: Word, slot: Word, clock: Word, use: Word
) -> tuple[Word, Word, Word, Word]:
    """use: call | stream << 5, which the words of `places` make the last counter word."""
    slots, clocks, uses = (code.splat(x, LANES) for x in (slot, clock, use))
    word, replica = code.load(place, WORDS), code.load(place, WORDS, GROUP_BYTES)
    return word, slots, clocks, replica | uses


def _limit(code: Code, config: BondCode, limits: Word, plane: Word) -> Word:
    """One plane of the thresholds: those of eight words, or of all bonds one by one."""
    if config.mixed:
        return code.load(limits + plane * GROUP_BYTES, WORDS)
    bits = code.load(limits, WORDS) << code.splat(plane, LANES)
    return Word(code.builder, code.builder.ashr(bits.value, code.word(WORDS, 63).value))


def _compare(
    code: Code, config: BondCode, place: Word, slot: Word, clock: Word, use: Word, call: Word,
    keys: Word, limits: Word, undecided: Word, active: Word,
) -> tuple[Word, Word]:  # fmt: skip
    """The two planes of one call against those of the thresholds."""
    counter = _counter(code, place, slot, clock, use | call)
    x = philox(code, counter, keys, range(config.rounds))
    for k, draw in enumerate((pair(x[0], x[1]), pair(x[2], x[3]))):
        limit = _limit(code, config, limits, call + call + k)
        active = active | (undecided & limit & ~draw)
        undecided = undecided & ~(draw ^ limit)
    return undecided, active


def _any(code: Code, undecided: Word) -> Word:
    return code.call("llvm.vector.reduce.or.v8i64", I64, undecided)


@emits
def first_planes(
    code: Code, config: BondCode, state: Word, place: Word, slot: Word, clock: Word, use: Word,
    keys: Word, limits: Word,
) -> Word:  # fmt: skip
    """Compare eight planes. state: address of eight words of bonds to decide, which become those
    undecided, and of eight that become the active ones. limits: address of the thresholds of the
    eight words; mixed: of the planes of all thresholds. Returns whether any bond is undecided."""
    undecided = code.load(state, WORDS)
    active = undecided ^ undecided
    for call in range(FIRST_CALLS):
        undecided, active = _compare(
            code, config, place, slot, clock, use, code.word(I64, call), keys, limits, undecided,
            active,
        )  # fmt: skip
    code.store(undecided, state)
    code.store(active, state, GROUP_BYTES)
    return _any(code, undecided)


@emits
def next_planes(
    code: Code, config: BondCode, state: Word, place: Word, slot: Word, clock: Word, use: Word,
    call: Word, keys: Word, limits: Word,
) -> Word:  # fmt: skip
    """Compare the two planes of one further call."""
    undecided, active = code.load(state, WORDS), code.load(state, WORDS, GROUP_BYTES)
    undecided, active = _compare(
        code, config, place, slot, clock, use, call, keys, limits, undecided, active
    )
    code.store(undecided, state)
    code.store(active, state, GROUP_BYTES)
    return _any(code, undecided)


@emits
def coin_words(
    code: Code, config: BondCode, out: Word, place: Word, clock: Word, use: Word, keys: Word
) -> None:
    """Eight words of coins, one bit per site."""
    counter = _counter(code, place, code.word(I64, 0), clock, use)
    x = philox(code, counter, keys, range(config.rounds))
    code.store(pair(x[0], x[1]), out)


@emits
def first_sites(
    code: Code, config: BondCode, out: Word, place: Word, sites: Word, clock: Word, use: Word,
    keys: Word,
) -> None:  # fmt: skip
    """Where Wolff clusters of eight replicas begin: the upper halves of (64-bit word) * sites."""
    counter = _counter(code, place, code.word(I64, 0), clock, use)
    x = philox(code, counter, keys, range(config.rounds))
    low, high, n = x[0] & 0xFFFFFFFF, x[1] & 0xFFFFFFFF, code.splat(sites, LANES)
    code.store(((low * n >> 32) + high * n) >> 32, out)  # no overflow: sites < 2^31


def _bits_from(code: Code, address: Word, shift: Word) -> Word:
    """Eight words that begin `shift` (0..63) bits after the address."""
    low, high = code.load(address, WORDS), code.load(address, WORDS, 8)
    return code.call("llvm.fshr.v8i64", WORDS, high, low, code.splat(shift, LANES))


@emits
def satisfied(
    code: Code, config: BondCode, spins: Word, ahead: Word, ahead_shift: Word, back: Word,
    back_shift: Word, masks: Word, size: Word, out: Word,
) -> None:  # fmt: skip
    """Satisfied bonds of eight words of owners to `out`.

    The other sites' bits begin at ahead, or at back for bonds around the box. masks: address of
    the words of `present`; `negative` and `around` follow `size` bytes apart each."""
    present, negative, around = (
        code.load(masks + offset, WORDS) for offset in (0, size, size + size)
    )
    near, far = _bits_from(code, ahead, ahead_shift), _bits_from(code, back, back_shift)
    other = (near & ~around) | (far & around)
    code.store(present & ~(code.load(spins, WORDS) ^ other ^ negative), out)


@emits
def part_bonds(
    code: Code, config: BondCode, active: Word, around: Word, links: Word, loops: Word
) -> None:
    """Eight words of active bonds as those within the box and those around it."""
    bonds, mask = code.load(active, WORDS), code.load(around, WORDS)
    code.store(bonds & ~mask, links)
    code.store(bonds & mask, loops)


@emits
def add_ones(code: Code, config: BondCode, bits: Word, factor: Word, sums: Word) -> None:
    """Add factor times the number of set bits of each of eight words to eight sums."""
    ones = code.call("llvm.ctpop.v8i64", WORDS, code.load(bits, WORDS))
    code.store(code.load(sums, WORDS) + ones * code.splat(factor, LANES), sums)


@emits
def peek(code: Code, config: BondCode, address: Word) -> Word:
    """The 64-bit word at an address."""
    return code.load(address, I64)


@emits
def lowest(code: Code, config: BondCode, word: Word) -> Word:
    """Position of the lowest set bit; 64 if there is none."""
    return code.call("llvm.cttz.i64", I64, word, code.word(I1, 0))


@emits
def highest(code: Code, config: BondCode, word: Word) -> Word:
    """Position of the highest set bit of a word that is not 0."""
    return code.word(I64, 63) - code.call("llvm.ctlz.i64", I64, word, code.word(I1, 1))


@emits
def ones(code: Code, config: BondCode, word: Word) -> Word:
    """Number of set bits."""
    return code.call("llvm.ctpop.i64", I64, word)


@emits
def step_in(
    code: Code, config: BondCode, fresh: Word, joined: Word, bonds: Word, ahead: Word,
    ahead_shift: Word, behind: Word, behind_shift: Word,
) -> None:  # fmt: skip
    """Add to eight words of `fresh` the sites that one step along an axis joins to the cluster.

    bonds: address of the words' own bonds of this axis; the other sites of these begin at ahead,
    and the owners of those that end here at behind: bytes from `fresh`'s words in joined and in
    the bonds alike."""
    found = code.load(bonds, WORDS) & _bits_from(code, joined + ahead, ahead_shift)
    low, high = (
        code.load(joined + behind, WORDS, k) & code.load(bonds + behind, WORDS, k) for k in (0, 8)
    )
    shift = code.splat(behind_shift, LANES)
    found = found | code.call("llvm.fshr.v8i64", WORDS, high, low, shift)
    code.store(code.load(fresh, WORDS) | found, fresh)


@emits
def spread_words(code: Code, config: BondCode, fresh: Word, joined: Word, links: Word) -> Word:
    """Make the cluster's sites in eight words those of `fresh` too, with all that links along the
    last axis join to them within a word. Returns whether there are more than before."""
    before, down = code.load(joined, WORDS), code.load(links, WORDS)
    bits, up = before | code.load(fresh, WORDS), down << 1
    for step in (1, 2, 4, 8, 16, 32):
        bits = bits | ((bits << step) & up) | ((bits >> step) & down)
        up, down = up & (up << step), down & (down >> step)
    code.store(bits, joined)
    return _any(code, bits ^ before)


@emits
def leads_out(
    code: Code, config: BondCode, joined: Word, mask: Word, offset: Word, shift: Word
) -> Word:
    """Whether the cluster's sites under a mask have others than its own sites opposite, which
    begin `offset` bytes away."""
    opposite = _bits_from(code, joined + offset, shift)
    return _any(code, code.load(joined, WORDS) & code.load(mask, WORDS) & ~opposite)


@emits
def flip_words(code: Code, config: BondCode, spins: Word, joined: Word) -> None:
    """Flip the cluster's sites in eight words, and forget them."""
    bits = code.load(joined, WORDS)
    code.store(code.load(spins, WORDS) ^ bits, spins)
    code.store(bits ^ bits, joined)
