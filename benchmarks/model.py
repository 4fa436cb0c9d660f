"""What kernels could reach by the count of their instructions: modelled, never measured.

    updates/ns <= multiprocessors * GHz * updates per iteration / cycles per iteration
    cycles = max(all / 128, logic / 64, products / 64)    of one thread on one multiprocessor

Instructions are those of the loop that makes the random numbers, in the machine code that NVRTC
gives. Loops inside it that draw again, for what few decisions ask for, are left out; others count
as often as an entry says, unless they are of greater depth than it knows. Memory,
latency and barriers are left out.

Rates per cycle and multiprocessor of compute capability 9.0: CUDA C++ Programming Guide, table of
arithmetic instruction throughput; 64 products a cycle hold if wide ones run at the full rate.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isingnpu import IsingModel, disorder, lattice
from isingnpu.backend import Request
from isingnpu.bonds import request_layout
from isingnpu.dynamics import get_dynamics

ARCH = "sm_90"
MULTIPROCESSORS, GHZ = 132, 1.98  # of H100 SXM and H200, greatest clock: NVIDIA's data sheets
ISSUE, LOGIC, PRODUCTS = 128, 64, 64
CALL = 14  # products of a Philox call of 7 rounds

# multipliers of rng.py, or what they are below 2^32
_PHILOX = ("0xd2511f53", "-0x2daee0ad", "0xcd9e8d57", "-0x326172a9")

_LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*)")
_LABEL = re.compile(r"^(\.L_\w+):")
_SECTION = re.compile(r"\.section\s+\.text\.(\w+)")


@dataclass(frozen=True)
class Entry:
    """A request and the kernel that is to serve it, with a thread's updates per iteration.

    trips: iterations of the loops inside, by depth, beyond which they are left out."""

    kernel: str
    model: IsingModel
    updates: float
    layout: str | None = None
    dynamics: str = "metropolis"
    rounds: int = 10
    trips: tuple[float, ...] = ()


SQUARE = lattice.square((4, 256))
GLASS = disorder.edwards_anderson((4, 4, 256), seed=1)
# Entries of kernels that this version lacks have no row.
ENTRIES = {
    "square, P10": Entry("bitlattice", SQUARE, 64, "lattice"),
    "square, P7": Entry("bitlattice", SQUARE, 64, "lattice", rounds=7),
    "square, heat bath, P10": Entry("bitlattice", SQUARE, 64, "lattice", "heat-bath"),
    "3D glass, P10": Entry("bitlattice", GLASS, 64, "lattice"),
    "3D glass, P7": Entry("bitlattice", GLASS, 64, "lattice", rounds=7),
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
    layout = request_layout(entry.model, rule, 1, entry.layout, None)
    request = Request(entry.model, rule, range(1), 1, layout, entry.rounds, kernel=entry.kernel)
    return (
        _part("")
        .CudaBackend(_part(".host").HostDevice(processors=MULTIPROCESSORS))
        .plan(request)
        .code
    )


@dataclass(frozen=True)
class Loop:
    """Instructions from `first` to the branch back at `last`, addresses."""

    first: int
    last: int

    def holds(self, other: Loop) -> bool:
        return self != other and self.first <= other.first and other.last <= self.last


@functools.lru_cache(maxsize=1)
def disassembler() -> str | None:
    """Path of nvdisasm, or None."""
    try:
        files = importlib.metadata.files("nvidia-cuda-nvdisasm") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [str(file.locate()) for file in files if file.name in ("nvdisasm", "nvdisasm.exe")]
    return found[0] if found else shutil.which("nvdisasm")


def instructions(cubin: bytes, kernel: str) -> tuple[dict[int, str], list[Loop]]:
    """A kernel's instructions by address, and its loops."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "kernel.cubin"
        path.write_bytes(cubin)
        text = subprocess.run(
            [disassembler() or "nvdisasm", "-c", str(path)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    inside, waiting = False, []
    names: dict[int, str] = {}
    labels: dict[str, int] = {}
    branches: list[tuple[int, str]] = []
    for line in text.splitlines():
        if section := _SECTION.search(line):
            inside = section[1] == kernel
        elif label := _LABEL.match(line):
            waiting.append(label[1])
        elif inside and (found := _LINE.search(line)):
            address = int(found[1], 16)
            labels |= dict.fromkeys(waiting, address)
            waiting = []
            if found[2] != "NOP":
                names[address] = found[2] + found[3]
            if found[2].startswith("BRA") and (to := re.search(r"\.L_\w+", found[3])):
                branches.append((address, to[0]))
    back = [(labels[to], at) for at, to in branches if to in labels and labels[to] < at]
    ends: dict[int, int] = {}
    for first, last in back:  # several branches may lead back to one loop
        ends[first] = max(last, ends.get(first, 0))
    return names, [Loop(first, last) for first, last in sorted(ends.items())]


def of_philox(name: str) -> bool:
    """Whether it multiplies by a constant of the generator."""
    return any(constant in name for constant in _PHILOX)


def kind(name: str) -> str:
    """The pipe of an instruction: "product", "logic", or "other"."""
    if name.startswith(("IMAD", "FFMA", "FMUL", "FADD")):
        return "product"
    other = ("LD", "ST", "ATOM", "RED", "BRA", "BAR", "B", "U", "S2", "CS2", "SHFL", "POPC", "FLO")
    return "other" if name.startswith(other) else "logic"


def iteration(
    names: dict[int, str], loops: Sequence[Loop], trips: Sequence[float]
) -> dict[str, float]:
    """Instructions of one iteration of the loop that makes the random numbers, by pipe."""
    own = {}
    for loop in loops:
        inner = [other for other in loops if loop.holds(other)]
        own[loop] = [
            name
            for address, name in names.items()
            if loop.first <= address <= loop.last
            and not any(i.first <= address <= i.last for i in inner)
        ]
    products = {loop: sum(map(of_philox, own[loop])) for loop in loops}
    calls = {loop for loop in loops if products[loop] >= CALL}
    main = max(loops, key=lambda loop: products[loop])
    weights = {main: 1.0}
    for loop in sorted((o for o in loops if main.holds(o)), key=lambda o: o.first - o.last):
        around = min((w for w in weights if w.holds(loop)), key=lambda w: w.last - w.first)
        depth = sum(w.holds(loop) for w in weights) - 1
        draws = depth == len(trips) - 1 and any(loop.holds(call) for call in calls)
        left_out = depth >= len(trips) or draws or loop in calls
        weights[loop] = 0.0 if left_out else weights[around] * trips[depth]
    counts = {"logic": 0.0, "product": 0.0, "other": 0.0}
    for loop, weight in weights.items():
        for name in own[loop]:
            counts[kind(name)] += weight
    return counts


def count(entry: Entry) -> tuple[dict[str, float], int]:
    """Instructions of one iteration of an entry's kernel, and registers of a thread."""
    cubin, usage = _part(".compiler").compile_cubin(_code(entry), ARCH)
    return iteration(*instructions(cubin, "sweep"), entry.trips), usage["sweep"].registers


def table() -> str:
    """Markdown, or why there is none."""
    if disassembler() is None:
        return "not modelled: nvdisasm not found (pip install nvidia-cuda-nvdisasm)"
    try:
        _part(".compiler").version()
    except Exception as error:  # CuPy or NVRTC is missing or broken
        return f"not modelled: NVRTC cannot be loaded ({error})"
    device = f"{ARCH}, {MULTIPROCESSORS} x {GHZ} GHz"
    title = f"Modelled from instruction counts, not measured ({device}):"
    head = ["kernel", "registers", "instructions/update", "logic", "products", "bound by",
            "updates/ns, modelled"]  # fmt: skip
    rows = [head, ["---"] * len(head)]
    for name, entry in ENTRIES.items():
        if entry.kernel not in _part("").KERNELS:
            continue
        counts, registers = count(entry)
        cycles = {
            "issue": sum(counts.values()) / ISSUE,
            "logic": counts["logic"] / LOGIC,
            "products": counts["product"] / PRODUCTS,
        }
        bound = max(cycles, key=lambda pipe: cycles[pipe])
        speed = MULTIPROCESSORS * GHZ * entry.updates / cycles[bound]
        per = [sum(counts.values()), counts["logic"], counts["product"]]
        rows.append(
            [name, str(registers), *(f"{n / entry.updates:.3g}" for n in per), bound,
             f"{speed:.3g}"]
        )  # fmt: skip
    return "\n".join([title, "", *(f"| {' | '.join(row)} |" for row in rows)])
