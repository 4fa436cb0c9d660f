"""Vector code of the scalar and dense kernels: first random bytes, and who may flip, 64 sites."""

from __future__ import annotations

from dataclasses import dataclass

from isingnpu.rng import M0, M1

from .ir import I1, I8, I32, I64, LOW, Code, Static, Variable, Word, emits, vector
from .lanes_code import run_rounds

TILE = 64  # sites whose random bytes are drawn together
SITES = 8  # Philox calls side by side in a vector of 64-bit lanes
FLIGHT = 4  # vectors of calls at once
LANES = 16  # fields in a vector
STEP = 2  # neighbours whose fields are loaded before the first is stored
FIELDS = vector(I32, TILE)
BYTES_AT = 8 * TILE  # behind the pairs of a tile


@dataclass(frozen=True)
class Sites(Static):
    """layout: LANE, PLANE or LATTICE of `kernels`; dense: couplings as a matrix."""

    layout: int
    dense: bool


@emits
def draw_bytes(
    code: Code, config: Sites, drawn: Word, sites: Word, base: Word, stream: Word, keys: Word,
    rounds: Word, position: Word,
) -> None:  # fmt: skip
    """The first byte of each of the next 64 sites in layout lane.

    base, stream: what the first three rounds of Philox make of everything but the site, see
    `lanes_sweep.prepare`; keys, rounds: of the others; position: replica % 16."""
    c, d, e, f = (code.splat(code.load(stream, I64, 16 * k), SITES) for k in range(4))
    start = code.splat(base, SITES)
    part = code.splat(position >> 2, SITES)
    shift = code.splat((position & 3) << 3, SITES)
    with code.loop(code.word(I64, TILE // (SITES * FLIGHT))) as half:
        state = []
        for k in range(FLIGHT):
            site = code.load(
                sites + half * (8 * SITES * FLIGHT), vector(I64, SITES), 8 * SITES * k
            )
            product = ((start ^ site) & LOW) * M0
            p = (((product >> 32) ^ c) & LOW) * M1
            third = (p >> 32) ^ d, p, e ^ product, f
            state.append([code.variable(x) for x in third])
        run_rounds(code, state, keys, rounds)
        for k, words in enumerate(state):
            chosen = words[0].get()
            for number in (1, 2, 3):
                chosen = part.compare("==", number).where(words[number].get(), chosen)
            byte = (chosen >> shift).truncate(vector(I8, SITES))
            code.store(byte, drawn + half * (SITES * FLIGHT), SITES * k)


@emits
def prepare_tile(code: Code, config: Sites, limits: Word, downs: Word, tile: Word) -> None:
    """Look up (highest candidate, highest sure) of 64 sites by first byte and spin; tile: 64 such
    pairs of int32, then 64 first bytes; limits: 512 pairs; downs: bytes 0 or -1."""
    with code.loop(code.word(I64, TILE // LANES)) as part:
        for k in range(LANES):
            byte = code.load(tile + part * LANES, I8, BYTES_AT + k).extend(I64)
            down = code.load(downs + part * LANES, I8, k).extend(I64, signed=True) & 256
            code.store(
                code.load(limits + ((byte | down) << 3), I64), tile + part * (8 * LANES), 8 * k
            )


@emits
def candidates(
    code: Code, config: Sites, fields: Word, downs: Word, tile: Word, out: Word
) -> None:
    """Write the bits of sites that may flip, and of those that do, see `prepare_tile`."""
    for k, bits in enumerate(_candidates(code, fields, downs, tile)):
        code.store(bits, out, 8 * k)


def _candidates(code: Code, fields: Word, downs: Word, tile: Word) -> tuple[Word, Word]:
    down = code.load(downs, vector(I8, TILE)).extend(FIELDS, signed=True)
    turned = code.load(fields, FIELDS) ^ down
    pairs = code.load(tile, vector(I32, 2 * TILE))
    may, sure = (
        turned.compare("<=", pairs.shuffle(pairs, range(k, 2 * TILE, 2)), signed=True)
        for k in (0, 1)
    )
    return may.bitcast(I64), sure.bitcast(I64)


@emits
def lowest(code: Code, config: Sites, mask: Word) -> Word:
    """The number of the lowest bit that is set, of at least one."""
    return _lowest(code, mask)


def _lowest(code: Code, mask: Word) -> Word:
    return code.call("llvm.cttz.i64", I64, mask, code.word(I1, 1))


@emits
def flip_sure(
    code: Code, config: Sites, start: Word, own: Word, fields: Word, downs: Word, tile: Word,
    rows: Word, state: Word,
) -> Word:  # fmt: skip
    """Flip the candidates of a tile in turn, up to one that is not sure, whose bit is returned.

    start: the first site; own: all sites of the tile as bits; fields, downs: addresses; tile: see
    `prepare_tile`; rows: of the addresses in `sites.Rows`; state: of the sites that may flip and
    those that do, as bits, and of two numbers to add to, flips and couplings read."""
    b = code.builder
    may, sure, flips, read = (code.variable(code.load(state, I64, 8 * k)) for k in range(4))
    local, states = fields + (start << 2), downs + start
    head, flip, done = (b.append_basic_block(name) for name in ("head", "flip", "done"))
    b.branch(head)
    b.position_at_end(head)
    bit = may.get() & (code.word(I64, 0) - may.get())
    b.cbranch((bit & sure.get()).compare("!=", 0).value, flip, done)
    b.position_at_end(flip)
    k = _lowest(code, may.get())
    may.set(may.get() ^ bit)
    down = code.load(states + k, I8).extend(I32, signed=True)
    code.store((~down).truncate(I8), states + k)
    flips.set(flips.get() + 1)
    if config.dense:
        _push_row(code, fields, down, rows, start + k, read)
        later = (code.word(I64, -2) << k) & own
        for left, bits in zip((may, sure), _candidates(code, local, states, tile), strict=True):
            left.set(bits & later)
    else:
        _push(code, fields, down, rows, start + k, read)
        _renew(code, local, states, tile, rows, start + k, (may, sure))
    b.branch(head)
    b.position_at_end(done)
    for number, total in enumerate((may, sure, flips, read)):
        code.store(total.get(), state, 8 * number)
    return may.get()


def _push(code: Code, fields: Word, down: Word, rows: Word, row: Word, read: Variable) -> None:
    """Add -2 J s to the fields of the neighbours of a spin s that flips."""
    first, neighbours, twice, other = (code.load(rows, I64, 8 * k) for k in range(4))
    begin, end = (code.load(first + (row << 3), I64, 8 * k) for k in (0, 1))
    weights = twice + (other & down.extend(I64, signed=True))
    with code.loop(end - begin) as block:
        at = (begin + block) * (4 * STEP)
        places = [fields + code.load(neighbours + at, I32, 4 * k).extend(I64) for k in range(STEP)]
        sums = [
            code.load(place, I32) + code.load(weights + at, I32, 4 * k)
            for k, place in enumerate(places)
        ]
        for place, total in zip(places, sums, strict=True):
            code.store(total, place)
    read.set(read.get() + (end - begin) * STEP)


def _renew(
    code: Code, local: Word, states: Word, tile: Word, rows: Word, row: Word,
    masks: tuple[Variable, Variable],
) -> None:  # fmt: skip
    """Decide anew about the neighbours that the tile visits later."""
    first, near = (code.load(rows, I64, 8 * k) for k in (4, 5))
    begin, end = (code.load(first + (row << 3), I64, 8 * k) for k in (0, 1))
    with code.loop(end - begin) as e:
        k = code.load(near + (begin + e), I8).extend(I64)
        down = code.load(states + k, I8).extend(I32, signed=True)
        turned = code.load(local + (k << 2), I32) ^ down
        for part, left in enumerate(masks):
            highest = code.load(tile + (k << 3), I32, 4 * part)
            bit = turned.compare("<=", highest, signed=True).extend(I64)
            left.set((left.get() & ~(code.word(I64, 1) << k)) | bit << k)


def _push_row(code: Code, fields: Word, down: Word, rows: Word, row: Word, read: Variable) -> None:
    """The same for couplings held as a matrix, whose rows are whole vectors."""
    matrix, width = (code.load(rows, I64, 8 * k) for k in (6, 7))
    turn = code.splat(down, LANES)
    with code.loop(width >> 4) as k:
        twice = code.load(matrix + (row * width + (k << 4) << 2), vector(I32, LANES))
        place = fields + (k << 6)
        code.store(code.load(place, vector(I32, LANES)) + (twice ^ turn) - turn, place)
    read.set(read.get() + width)
