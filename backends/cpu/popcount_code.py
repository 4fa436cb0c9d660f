"""Vector code of the popcount kernel: dense couplings as bit planes, 16 replicas side by side.

Couplings in visiting order are J_qj = low + gap D_qj, D_qj = sum_b 2^b X_bqj, and D_qq = 0. With
u_j = 1 for up and U = sum_j u_j the local field of site q is

    h_q = k_q + 2 low (U - u_q) + 2 gap sum_b 2^b popcount(X_bq & u),   k_q = h_q^ext - sum_j J_qj

Sixteen replicas share the words of a coupling row, and a Philox call in layout lane.
"""

from __future__ import annotations

from dataclasses import dataclass

from .ir import I1, I8, I16, I32, I64, Code, Static, Word, emits, pair, vector
from .lanes_code import CALLS, run_rounds
from .lanes_estimate import compare

LANES = 16
AHEAD = 16  # sites whose random bytes are drawn together
WORDS = vector(I64, LANES)
NUMBERS = vector(I32, LANES)
BITS = vector(I1, LANES)


@dataclass(frozen=True)
class Popcount(Static):
    """planes: binary digits of a coupling."""

    planes: int
    heat_bath: bool


@emits
def draw_sixteen(
    code: Code, config: Popcount, drawn: Word, sites: Word, group: Word, sweep: Word, keys: Word,
    rounds: Word,
) -> None:  # fmt: skip
    """The first bytes of 16 replicas, then their second bytes, for each of the next 16 sites."""
    kind = vector(I64, CALLS)
    calls = code.word(kind, [0, 1] * (CALLS // 2))
    state = []
    for k in range(0, AHEAD, CALLS // 2):
        four = code.load(sites, vector(I64, 4), 8 * k)
        site = four.shuffle(four, [0, 0, 1, 1, 2, 2, 3, 3])
        counter = code.splat(group, CALLS), site, code.splat(sweep, CALLS), calls
        state.append([code.variable(x) for x in counter])
    run_rounds(code, state, keys, rounds)
    for k, words in enumerate(state):
        x = [word.get() for word in words]
        low, high = pair(x[0], x[1]), pair(x[2], x[3])
        for half in (0, 1):
            order = [c + CALLS * p for c in range(4 * half, 4 * half + 4) for p in (0, 1)]
            code.store(low.shuffle(high, order), drawn, 128 * k + 64 * half)


@emits
def visit_dense(
    code: Code, config: Popcount, spins: Word, words: Word, place: Word, row: Word, start: Word,
    twice_low: Word, twice_gap: Word, drawn: Word, slopes: Word, tally: Word, work: Word,
) -> Word:  # fmt: skip
    """Decide and flip one site in 16 replicas; bits of those that 16 random bits leave open.

    spins: address of (words, 16) uint64; place: of the site; row: address of its planes; start:
    k_q; slopes: k of each lane, then cut; tally: (3, 16) int64 of up spins, flips and energies;
    work: where v or h of open lanes goes."""
    home, bit, own, up = _own(code, spins, place)
    ups = code.load(tally, WORDS)
    h = _field(code, config, spins, words, row, (start, twice_low, twice_gap), ups, up)
    v = up.where(h, code.word(NUMBERS, 0) - h)
    x = h if config.heat_bath else v
    k, cut = (code.load(slopes, NUMBERS, 4 * LANES * part) for part in (0, 1))
    first, second = (code.load(drawn, vector(I8, LANES), LANES * part) for part in (0, 1))
    r = first.extend(NUMBERS) << 8 | second.extend(NUMBERS)
    yes, no = compare(code, x, r, k, cut, heat_bath=config.heat_bath)
    open_ = ~(yes | no)
    flip = (yes ^ up) & ~open_ if config.heat_bath else yes
    nothing = code.word(WORDS, 0)
    code.store(own ^ flip.where(bit, nothing), home)
    change = up.where(code.word(WORDS, -1), code.word(WORDS, 1))
    code.store(ups + flip.where(change, nothing), tally)
    flips = code.load(tally, WORDS, 8 * LANES)
    code.store(flips + flip.extend(WORDS), tally, 8 * LANES)
    energy = code.load(tally, WORDS, 16 * LANES)
    cost = v.extend(WORDS, signed=True) << 1
    code.store(energy + flip.where(cost, nothing), tally, 16 * LANES)
    left = open_.bitcast(I16).extend(I64)
    with code.when(left.compare("!=", 0)):
        code.store(x, work)
    return left


@emits
def measure_dense(
    code: Code, config: Popcount, spins: Word, words: Word, place: Word, row: Word, start: Word,
    twice_low: Word, twice_gap: Word, field: Word, tally: Word,
) -> None:  # fmt: skip
    """Add s_q (h_q + own field) of one site to the energies of the tally."""
    up = _own(code, spins, place)[3]
    numbers = start, twice_low, twice_gap
    h = _field(code, config, spins, words, row, numbers, code.load(tally, WORDS), up)
    whole = h.extend(WORDS, signed=True) + code.splat(field, LANES)
    total = code.load(tally, WORDS, 16 * LANES)
    signed = up.where(whole, code.word(WORDS, 0) - whole)
    code.store(total + signed, tally, 16 * LANES)


def _own(code: Code, spins: Word, place: Word) -> tuple[Word, Word, Word, Word]:
    """Address of a site's words, its bit in them, the words, and which lanes are up."""
    home = spins + (place >> 6) * (8 * LANES)
    bit = code.splat(code.word(I64, 1) << (place & 63), LANES)
    own = code.load(home, WORDS)
    return home, bit, own, (own & bit).compare("!=", 0)


def _field(
    code: Code, config: Popcount, spins: Word, words: Word, row: Word,
    numbers: tuple[Word, Word, Word], ups: Word, up: Word,
) -> Word:  # fmt: skip
    """h of the module's formula, (16,) int32; numbers = k_q, 2 low, 2 gap."""
    start, twice_low, twice_gap = (code.splat(x.truncate(I32), LANES) for x in numbers)
    counts = [code.variable(code.word(WORDS, 0)) for _ in range(config.planes)]
    with code.loop(words) as w:
        states = code.load(spins + w * (8 * LANES), WORDS)
        for b, count in enumerate(counts):
            both = states & code.splat(code.load(row + (words * b + w) * 8, I64), LANES)
            count.set(count.get() + code.call(f"llvm.ctpop.v{LANES}i64", WORDS, both))
    total = code.word(NUMBERS, 0)
    for b, count in enumerate(counts):
        total = total + (count.get().truncate(NUMBERS) << b)
    others = (ups - up.extend(WORDS)).truncate(NUMBERS)
    return start + others * twice_low + total * twice_gap
