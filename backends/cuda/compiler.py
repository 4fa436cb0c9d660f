"""NVRTC: machine code for one architecture, without a driver and without a toolkit.

Cubins are made, never PTX: PTX of a newer compiler than the driver does not load.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from . import sources
from .device import Code

_USED = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads.*?Used (\d+) registers(?:[^\n]*?(\d+) bytes smem)?",
    re.DOTALL,
)


class CompileError(RuntimeError):
    """NVRTC refused a source: a defect of this package, or a compiler too old for it."""


@dataclass(frozen=True)
class Usage:
    """What a kernel takes of a multiprocessor: registers per thread; bytes of stack and of
    registers spilled to memory; and of shared memory per block, fixed."""

    registers: int
    stack: int
    spilled: int
    shared: int = 0


def nvrtc() -> Any:
    """CuPy's binding of NVRTC."""
    from cupy.cuda import nvrtc as binding

    return binding


def version() -> str:
    """Version of NVRTC, such as 13.5."""
    return ".".join(map(str, nvrtc().getVersion()))


def compile_cubin(code: Code, arch: str, *, lines: bool = False) -> tuple[bytes, dict[str, Usage]]:
    """Machine code for an architecture such as sm_90, and what its kernels take; lines: with the
    source line of every instruction.

    Raises CompileError with the compiler's log."""
    binding = nvrtc()
    files = sources.files(code)
    source = files.pop(code.source)
    program = binding.createProgram(
        source,
        code.source,
        [content.encode() for content in files.values()],
        [name.encode() for name in files],
    )
    options = [
        f"--gpu-architecture={arch}",
        "--std=c++17",
        "--ptxas-options=-v",
        *(("--generate-line-info",) if lines else ()),
        *(f"-D{name}={value}" for name, value in code.defines),
    ]
    try:
        try:
            binding.compileProgram(program, tuple(options))
        except binding.NVRTCError as error:
            log = binding.getProgramLog(program)
            raise CompileError(f"{code.source} for {arch}: {error}\n{log}") from error
        # CuPy takes the last byte, a zero, for the end of a text and leaves it out
        return binding.getCUBIN(program) + b"\0", _usage(binding.getProgramLog(program))
    finally:
        binding.destroyProgram(program)


def _usage(log: str) -> dict[str, Usage]:
    return {
        name: Usage(int(registers), int(stack), int(stores) + int(loads), int(shared or 0))
        for name, stack, stores, loads, registers, shared in _USED.findall(log)
    }
