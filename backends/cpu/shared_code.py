"""The instructions of the shared-random kernel: 64 replicas as the bits of a word, several words.

X = sum of the weights whose term favours up, counted in binary digits, each digit a word of
replicas. With one random integer for all of them a decision is a comparison of X with a number:
from the least digit up, `X >= limit` keeps the majority of (digit, not digit of limit, so far).
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from isingnpu.rng import Stream

from .ir import I32, I64, Code, Static, Word, emits, pair, philox, vector
from .planes_code import MAJORITY, Bit, count, neighbour, ternary

LANES = 8  # sites whose integers are drawn side by side


@dataclass(frozen=True)
class Shared(Static):
    """words: of a site; bits: of X; fixed: entries of each digit of the weights if the same at
    every site, else (), and lists come in blocks; far: see `planes_code.neighbour`."""

    words: int
    bits: int
    heat_bath: bool
    fixed: tuple[int, ...]
    block: int
    digits: int
    far: bool
    rounds: int


@emits
def draw_sites(
    code: Code, config: Shared, drawn: Word, sites: Word, sweep: Word, keys: Word
) -> None:
    """r of the next sites, see isingnpu.rng.shared_integers."""
    kind = vector(I64, LANES)
    c3 = code.word(kind, int(Stream.SHARED) << 5)
    counter = code.word(kind, 0), code.load(sites, kind), code.splat(sweep, LANES), c3
    x0, x1, _, _ = philox(code, counter, keys, range(config.rounds))
    code.store(pair(x0, x1), drawn)


@emits
def visit_shared(
    code: Code, config: Shared, spins: Word, own: Word, entries: Word, record: Word, limits: Word,
    groups: Word, masks: Word, flips: Word,
) -> Word:  # fmt: skip
    """Decide one site; returns the address behind its entries.

    own: bytes from the first spin to the site's; record: its row of PlaneGraph.visits; limits:
    (groups, 2) of X; masks: (groups, words), the replicas that have these limits. Up spins stay
    up iff X >= the first; down spins turn up, and heat bath sets up, iff X >= the second."""
    kind = vector(I64, config.words)
    total, end = _total(code, config, spins, entries, record)
    up = code.load(spins + own, kind)
    new = code.variable(code.word(kind, 0))
    with code.loop(groups) as group:
        at = limits + (group << 4)
        some = _at_least(code, total, code.load(at, I64, 8))
        if not config.heat_bath:
            some = _at_least(code, total, code.load(at, I64)) | (some & ~up)
        new.set(new.get() | (some & code.load(masks + group * (8 * config.words), kind)))
    code.store(new.get(), spins + own)
    code.store(new.get() ^ up, flips)
    return end


def _at_least(code: Code, total: list[Word], limit: Word) -> Word:
    """Whether total >= limit, for limits up to 2^digits."""
    lanes = total[0].lanes
    yes = code.word(total[0].type, -1)
    for d, digit in enumerate(total):
        yes = ternary(code, MAJORITY, digit, code.splat((limit >> d & 1) - 1, lanes), yes)
    return yes & code.splat((limit >> len(total)) - 1, lanes)


def _total(
    code: Code, config: Shared, spins: Word, entries: Word, record: Word
) -> tuple[list[Word], Word]:
    """Digits of X, least first, and the address behind the site's entries."""
    kind = vector(I64, config.words)
    entry = partial(neighbour, code, config.words, config.far, spins)

    def whole(bit: Bit) -> Word:
        return bit if isinstance(bit, Word) else code.word(kind, -bit)

    if config.fixed:
        columns: list[list[Bit]] = [[] for _ in range(config.bits)]
        k = 0
        for d, number in enumerate(config.fixed):
            columns[d] = [entry(entries, k + j) for j in range(number)]
            k += number
        return [whole(bit) for bit in count(code, columns)], entries + 8 * k
    total = [code.variable(code.word(kind, 0)) for _ in range(config.bits)]
    at = code.variable(entries)
    for d in range(config.digits):
        with code.loop(code.load(record, I32, 12 + 4 * d).extend(I64)):
            columns = [[] for _ in range(d)] + [[digit.get()] for digit in total[d:]]
            columns[d].extend(entry(at.get(), k) for k in range(config.block))
            for digit, bit in zip(total[d:], count(code, columns)[d:], strict=True):
                digit.set(whole(bit))
            at.set(at.get() + 8 * config.block)
    return [digit.get() for digit in total], at.get()
