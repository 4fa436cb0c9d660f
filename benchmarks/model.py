"""What kernels could reach by the count of their instructions: modelled, never measured.

    updates/ns <= multiprocessors * GHz * updates per visit / cycles of a visit
    cycles = max(all / 128, logic / 64, products / 64, special / 16, words / 32)
    updates/ns <= bandwidth / bytes of device memory per update

of one thread on one multiprocessor. A visit is an iteration of the loop that makes the random
numbers, in the machine code that NVRTC gives. Each instruction counts as often as the function
that it comes from runs per visit: what an entry says of rare parts was counted on the processor
in the place of a GPU (`tests/test_bench_model.py`). Latency, barriers and the clock that power
allows are left out: no kernel reaches the bound.

Rates per cycle and multiprocessor of compute capability 9.0: CUDA C++ Programming Guide, table of
arithmetic instruction throughput, and 128 bytes of shared memory or first cache. Whether products
with 64 bits run at the full rate is not documented: the last column has the bound if they do not.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.sass import Instruction, Loop, disassembler, listing, parse
from isingnpu import IsingModel, disorder, lattice
from isingnpu.backend import Request
from isingnpu.bonds import request_layout
from isingnpu.dynamics import get_dynamics

ARCH = "sm_90"
# H200: multiprocessors, greatest clock, bytes per ns of device memory (NVIDIA's data sheet)
MULTIPROCESSORS, GHZ, BANDWIDTH = 132, 1.98, 4800.0
# pipes and their rates, threads or words of 32 bits per cycle and multiprocessor
RATES = {"issue": 128, "logic": 64, "products": 64, "special": 16, "words": 32, "double": 64}
CALL = 14  # products of a Philox call of 7 rounds

# multipliers of rng.py, or what they are below 2^32
_PHILOX = ("0xd2511f53", "-0x2daee0ad", "0xcd9e8d57", "-0x326172a9")


@dataclass(frozen=True)
class Entry:
    """A request and the kernel that is to serve it, with a thread's updates per visit.

    traffic: bytes of device memory per update. parts: how often functions run per visit, others
    once; trips: iterations of a loop of a function, without which it is left out. visits: of a
    thread before the loop ends; after: how often functions run in the loops behind it each time.
    loop: function whose loop is the visit, if not the one that draws. replicas: if given, each is
    decided by one lane of a warp that has a scheduler for itself, and all run at once.
    """

    kernel: str
    model: IsingModel
    updates: float
    layout: str | None = None
    dynamics: str = "metropolis"
    rounds: int = 10
    traffic: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)
    trips: Mapping[str, float] = field(default_factory=dict)
    visits: float = float("inf")
    after: Mapping[str, float] = field(default_factory=dict)
    loop: str | None = None
    replicas: int = 0


def bits(
    model: IsingModel, around: float, drain: float, visits: float, traffic: float, **options: Any
) -> Entry:
    """A lattice. around: parts of the warps with the end of a row; drain: calls beyond the first
    four per word, at criticality; visits: words of a thread in a colour."""
    return Entry(
        "bitlattice", model, 64, "lattice", traffic=traffic, visits=visits,
        parts={"around": around, "drain": drain}, trips={"visit": 4}, after={"drain": FINISH},
        **options,
    )  # fmt: skip


# Rounds of 32 lanes until a warp's last 0 .. 31 words are decided, each site of them with 3/4.
FINISH = sum(
    1 - (1 - 4.0**-k) ** words for words in range(32) for k in range(40)
) / 32  # fmt: skip
SQUARE = lattice.square((4, 256))
GLASS = disorder.edwards_anderson((4, 4, 256), seed=1)
DENSE = IsingModel.from_dense(1.0 - np.eye(64))
OF_SQUARE = (1 / 4, 0.266, 16, 3 / 8)  # 16384^2
OF_GLASS = (1, 0.277, 16, 9 / 8)  # 512^3
# Entries of kernels that this version lacks have no row.
ENTRIES = {
    "square, P10": bits(SQUARE, *OF_SQUARE),
    "square, P7": bits(SQUARE, *OF_SQUARE, rounds=7),
    "square, heat bath, P10": bits(SQUARE, 1 / 4, 0.304, 16, 3 / 8, dynamics="heat-bath"),
    "3D glass, P10": bits(GLASS, *OF_GLASS),
    "3D glass, P7": bits(GLASS, *OF_GLASS, rounds=7),
    # four sites; an unsure lane of 32, 1.2e-5 of the visits, makes its warp decide them anew. What
    # the other warps do meanwhile is left out
    "dense, 1024 replicas, P10": Entry(
        "dense", DENSE, 4, "lane", loop="decide", replicas=1024, trips={"decide": 4 * 0.0015}
    ),
    # 6.5 calls for 64 bonds of each of two axes; labels, which are bound by memory, are left out
    "square, bonds of clusters alone, P10": Entry(
        "swendsen-wang", SQUARE, 64 / (2 * 6.5), dynamics="swendsen-wang"
    ),
}


def _part(name: str) -> Any:
    return importlib.import_module(f"isingnpu.backends.cuda{name}")


def _code(entry: Entry) -> Any:
    """What is compiled for an entry: its plan, on a device that need not be there."""
    rule = get_dynamics(entry.dynamics)
    reads = range(max(1, entry.replicas))
    layout = request_layout(entry.model, rule, len(reads), entry.layout, None)
    request = Request(entry.model, rule, reads, 1, layout, entry.rounds, kernel=entry.kernel)
    return (
        _part("")
        .CudaBackend(_part(".host").HostDevice(processors=MULTIPROCESSORS))
        .plan(request)
        .code
    )


def of_philox(name: str) -> bool:
    """Whether it multiplies by a constant of the generator."""
    return any(constant in name for constant in _PHILOX)


def weigh(
    code: Sequence[Instruction], loops: Sequence[Loop], entry: Entry
) -> list[tuple[Instruction, float, str]]:
    """How often instructions run per visit, and in which part: a function of `parts`, "visit" or
    "around the loop"."""
    own: dict[Loop, list[Instruction]] = {}
    for loop in loops:
        inner = [other for other in loops if loop.holds(other)]
        own[loop] = [
            i
            for i in code
            if loop.first <= i.address <= loop.last
            and not any(o.first <= i.address <= o.last for o in inner)
        ]

    def called(loop: Loop) -> set[str]:
        return {name for i in own[loop] for name in i.functions}

    def draws(loop: Loop) -> int:
        rare = set(entry.parts)
        return sum(of_philox(i.name) and not rare & set(i.functions) for i in own[loop])

    def closes(loop: Loop) -> str | None:
        last = next(i for i in own[loop] if i.address == loop.last)
        return next(iter(last.functions), None)

    def trips(loop: Loop) -> float:
        return entry.trips.get(closes(loop) or "", 0.0)

    main = max(loops, key=draws)
    if entry.loop:
        main = max(
            (loop for loop in loops if closes(loop) == entry.loop),
            key=lambda loop: loop.last - loop.first,
        )
    elif trips(main):  # a loop of the visit, which draws there
        main = min((o for o in loops if o.holds(main)), key=lambda o: o.last - o.first)
    weights = {main: 1.0}
    for loop in sorted((o for o in loops if main.holds(o)), key=lambda o: o.first - o.last):
        around = min((w for w in weights if w.holds(loop)), key=lambda w: w.last - w.first)
        rare = called(loop) & set(entry.parts)
        weights[loop] = weights[around] * (1.0 if rare else trips(loop))
    found = []
    for loop, weight in weights.items():
        for i in own[loop]:
            part = next((name for name in i.functions if name in entry.parts), "visit")
            found.append((i, weight * entry.parts.get(part, 1.0), part))
    colour = [o for o in loops if o.holds(main)][-2:]  # the two loops around
    for loop in loops:
        if loop in colour:
            found += [(i, 1 / entry.visits, "around the loop") for i in own[loop]]
        elif loop not in weights and any(o.holds(loop) for o in colour):
            times = max((entry.after[n] for n in called(loop) & set(entry.after)), default=0.0)
            found += [(i, times / entry.visits, "around the loop") for i in own[loop]]
    return found


def cycles_of(weighted: Sequence[tuple[Instruction, float, str]], wide: int) -> dict[str, float]:
    """Cycles of a visit by pipe; wide: products with 64 bits per cycle."""
    by_pipe: dict[str, float] = {}
    for i, weight, _ in weighted:
        by_pipe[i.pipe] = by_pipe.get(i.pipe, 0.0) + weight
    return {
        "issue": sum(by_pipe.values()) / RATES["issue"],
        "logic": by_pipe.get("logic", 0.0) / RATES["logic"],
        "products": by_pipe.get("product", 0.0) / RATES["products"]
        + by_pipe.get("wide", 0.0) / wide,
        "special": by_pipe.get("special", 0.0) / RATES["special"],
        "words": sum(weight * i.words for i, weight, _ in weighted) / RATES["words"],
        "double": by_pipe.get("double", 0.0) / RATES["double"],
    }


def bound(entry: Entry, cycles: Mapping[str, float]) -> tuple[str, float]:
    """What binds, and updates/ns."""
    if entry.replicas:  # one warp has a quarter of the units, but all of the shared memory
        alone = {name: (32 if name == "words" else 128) * c for name, c in cycles.items()}
        pipe = max(alone, key=lambda name: alone[name])
        return pipe, entry.replicas * GHZ * entry.updates / alone[pipe]
    pipe = max(cycles, key=lambda name: cycles[name])
    speed = MULTIPROCESSORS * GHZ * entry.updates / cycles[pipe]
    if entry.traffic and speed > BANDWIDTH / entry.traffic:
        return "memory", BANDWIDTH / entry.traffic
    return pipe, speed


def count(entry: Entry) -> tuple[list[tuple[Instruction, float, str]], int]:
    """Weighted instructions of an entry's kernel, and registers of a thread."""
    code = _code(entry)
    cubin, usage = _part(".compiler").compile_cubin(code, ARCH, lines=True)
    found = parse(listing(cubin), "sweep", _part(".sources").files(code))
    return weigh(*found, entry), usage["sweep"].registers


HEAD = ("kernel", "registers", "visit", "rare parts", "around", "instructions/update", "logic",
        "products", "bound by", "updates/ns, modelled", "wide products at half rate")  # fmt: skip


def row(name: str, entry: Entry) -> list[str]:
    """An entry's line of the table."""
    weighted, registers = count(entry)
    cycles = cycles_of(weighted, RATES["products"])
    by_part = {"visit": 0.0, "rare": 0.0, "around the loop": 0.0}
    for _, weight, part in weighted:
        by_part[part if part in by_part else "rare"] += weight
    total = sum(by_part.values())
    numbers = [*by_part.values(), total, 64 * cycles["logic"], 64 * cycles["products"]]
    pipe, speed = bound(entry, cycles)
    _, slower = bound(entry, cycles_of(weighted, RATES["products"] // 2))
    return [
        name, str(registers), *(f"{n / entry.updates:.3g}" for n in numbers), pipe,
        f"{speed:.3g}", f"{slower:.3g}",
    ]  # fmt: skip


def table() -> str:
    """Markdown, or why there is none."""
    if disassembler() is None:
        return "not modelled: nvdisasm not found (pip install nvidia-cuda-nvdisasm)"
    try:
        _part(".compiler").version()
    except Exception as error:  # CuPy or NVRTC is missing or broken
        return f"not modelled: NVRTC cannot be loaded ({error})"
    device = f"{ARCH}, {MULTIPROCESSORS} x {GHZ} GHz"
    title = f"Modelled from instruction counts, not measured ({device}); instructions per update:"
    known = {n: e for n, e in ENTRIES.items() if e.kernel in _part("").KERNELS}
    rows = [HEAD, ["---"] * len(HEAD), *(row(name, entry) for name, entry in known.items())]
    return "\n".join([title, "", *(f"| {' | '.join(cells)} |" for cells in rows)])
