"""What counted events would cost: prices with their source and status, never a measurement.

Two profiles. DIGITAL prices what a processor does, for both kinds of learner alike. SPIN_DEVICE
prices drawn spins, their writes and read-outs by a circuit simulation of a device that has not
been built, and forms the fields digitally, since no such device multiplies matrices.
Writes, not flips, are what the second spends most on.
"""

from __future__ import annotations

from dataclasses import dataclass

from isingnpu.ledger import HOROWITZ_2014, HOROWITZ_SOURCE
from isingnpu.npu.budget import Events

_MAC = HOROWITZ_2014["float32 multiply"] + HOROWITZ_2014["float32 add"]
_BYTE = HOROWITZ_2014["64-bit cache access, 32 kB"] / 8
_WORD = 5 * HOROWITZ_2014["int32 multiply"]  # 20 multiplies per four words of Philox4x32-10


@dataclass(frozen=True)
class Prices:
    """Joules per event."""

    name: str
    status: str
    source: str
    mac: float
    byte: float = 0.0
    random_word: float = 0.0
    draw: float = 0.0
    read: float = 0.0
    write: float = 0.0


DIGITAL = Prices(
    "digital, 45 nm",
    "measured silicon",
    HOROWITZ_SOURCE,
    mac=_MAC,
    byte=_BYTE,
    random_word=_WORD,
)
SPIN_DEVICE = Prices(
    "spin device, fields digital",
    "circuit simulation, pre-silicon",
    "arXiv 2608.01615, table IV, per node, as quoted by ferrotherm; multiply-adds as digital",
    mac=_MAC,
    draw=7.09e-15,
    read=1.692e-12,
    write=153.6e-12,
)


def joules_of(events: Events, prices: Prices) -> float:
    """Sum of events times prices."""
    return (
        events.macs * prices.mac
        + events.bytes * prices.byte
        + events.random_words * prices.random_word
        + (events.draws + events.potts_draws) * prices.draw
        + events.reads * prices.read
        + events.writes * prices.write
    )
