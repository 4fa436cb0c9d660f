"""Machine code of a kernel: its instructions, where they come from, and its loops."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*)")
_LABEL = re.compile(r"^(\.L_\w+):")
_SECTION = re.compile(r"\.section\s+\.text\.(\w+)")
_SOURCE = re.compile(r'//## File "([^"]+)", line (\d+)(?: inlined at "([^"]+)", line (\d+))?')
_FUNCTION = re.compile(
    r'^(?:template <.*> )?(?:__device__|extern "C" __global__)[^{;]*?(\w+)\([^(){}]*\)\s*\{',
    re.MULTILINE,
)
_PIPES = {  # by the first letters of an instruction, the first that fits
    "wide": ("IMAD.WIDE", "IMAD.HI"),
    "product": ("IMAD", "FFMA", "FMUL", "FADD", "IDP"),
    "special": ("POPC", "FLO", "BREV", "MUFU", "I2F", "F2I", "I2I", "F2F"),
    "double": ("DADD", "DMUL", "DFMA", "DSETP"),
    "tensor": ("IMMA", "HMMA"),
    "memory": ("LD", "ST", "ATOM", "RED", "SHFL"),
    "other": ("BRA", "BSSY", "BSYNC", "BAR", "BREAK", "WARPSYNC", "CALL", "RET", "EXIT", "NOP",
              "U", "S2", "CS2", "R2UR", "VOTE", "DEPBAR", "ERRBAR", "MEMBAR", "CCTL", "NANOSLEEP",
              "YIELD"),
}  # fmt: skip


@dataclass(frozen=True)
class Instruction:
    """address; name with its operands; functions it was inlined from, the innermost first."""

    address: int
    name: str
    functions: tuple[str, ...] = ()

    @property
    def pipe(self) -> str:
        """The unit that executes it, "logic" for additions and shifts too; "other" only issue."""
        return next((p for p, names in _PIPES.items() if self.name.startswith(names)), "logic")

    @property
    def words(self) -> int:
        """Of 32 bits that a thread moves to or from memory."""
        if self.pipe != "memory":
            return 0
        return 4 if ".128" in self.name else 2 if ".64" in self.name.split("[")[0] else 1


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


def listing(cubin: bytes) -> str:
    """What nvdisasm says of machine code, with source lines where it has them."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "kernel.cubin"
        path.write_bytes(cubin)
        return subprocess.run(
            [disassembler() or "nvdisasm", "-c", "-gi", str(path)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip


def functions_of(text: str) -> list[tuple[int, str]]:
    """(line, name) of the functions of a source."""
    return [(text.count("\n", 0, f.start()) + 1, f[1]) for f in _FUNCTION.finditer(text)]


def parse(text: str, kernel: str, sources: dict[str, str]) -> tuple[list[Instruction], list[Loop]]:
    """A kernel's instructions and loops from a listing. sources: text by name of file."""
    starts = {name: functions_of(content) for name, content in sources.items()}

    def function(file: str, line: int) -> str:
        found = [name for first, name in starts.get(Path(file).name, ()) if first <= line]
        return found[-1] if found else ""

    inside, waiting = False, []
    made: list[Instruction] = []
    labels: dict[str, int] = {}
    branches: list[tuple[int, str]] = []
    chain: list[str] = []
    outer: tuple[str, str] | None = None
    for line in text.splitlines():
        if section := _SECTION.search(line):
            inside, chain, outer = section[1] == kernel, [], None
        elif label := _LABEL.match(line):
            waiting.append(label[1])
        elif source := _SOURCE.search(line):
            if (source[1], source[2]) != outer:
                chain = []
            chain.append(function(source[1], int(source[2])))
            outer = (source[3], source[4]) if source[3] else None
        elif inside and (found := _LINE.search(line)):
            address = int(found[1], 16)
            labels |= dict.fromkeys(waiting, address)
            waiting = []
            made.append(Instruction(address, found[2] + found[3], tuple(chain)))
            if found[2].startswith("BRA") and (to := re.search(r"\.L_\w+", found[3])):
                branches.append((address, to[0]))
    back = [(labels[to], at) for at, to in branches if to in labels and labels[to] < at]
    ends: dict[int, int] = {}
    for first, last in back:  # several branches may lead back to one loop
        ends[first] = max(last, ends.get(first, 0))
    return made, [Loop(first, last) for first, last in sorted(ends.items())]
