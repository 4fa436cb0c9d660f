"""What the vector units of this processor do at most: 512-bit instructions per cycle.

    rate = instructions / (seconds x frequency)

The frequency is that of a chain of scalar additions, each of which waits for the one before, timed
just before. Instructions are independent of each other but in `ceiling-philox`, which is rounds of
Philox for four calls side by side, as the lattice kernel has them. They are written as inline
assembly, so that LLVM neither leaves out nor adds any.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from isingnpu.bench.cases import Options
from isingnpu.bench.clock import clock_name, timed
from isingnpu.bench.records import Record

UNROLLED = 48  # instructions of a loop
REGISTERS = 24  # that take results; the others are operands
L1, L2 = 1 << 14, 1 << 19  # bytes that loads and stores walk through: half of either cache
ROUNDS, QUICK_ROUNDS = 100_000, 100
CHAIN = ("addq %rax, %rdx", "addq %rdx, %rax") * (UNROLLED // 2)
EXCLUDED = "compilation"


@dataclass(frozen=True)
class CeilingCase:
    """A loop over `lines`, AT&T syntax with {r} for a register that takes results and {at} for a
    place in memory; memory: bytes that these walk through."""

    metric: ClassVar[str] = "throughput"

    name: str
    lines: tuple[str, ...]
    memory: int = L1
    unit: str = "512-bit instructions per cycle"

    @property
    def mnemonics(self) -> str:
        """The different instructions."""
        return " ".join(dict.fromkeys(line.split()[0] for line in self.lines))


def _repeated(*lines: str) -> tuple[str, ...]:
    """UNROLLED independent instructions, the given ones in turn."""
    return tuple(
        lines[k % len(lines)].format(r=f"%zmm{k % REGISTERS}", at=f"{64 * k}($1,%rcx)")
        for k in range(UNROLLED)
    )


def _philox() -> tuple[str, ...]:
    """Two rounds of four calls; after them every word is in its register again."""
    lines = []
    for first in (True, False):
        for call in range(4):
            r = [f"%zmm{6 * call + k}" for k in range(6)]
            x0, x1, x2, x3, p1, p0 = r if first else [r[0], r[4], r[2], r[5], r[1], r[3]]
            lines += [
                f"vpmuludq %zmm24, {x0}, {p0}",
                f"vpmuludq %zmm25, {x2}, {p1}",
                f"vpsrlq $$32, {p1}, {x0}",
                f"vpsrlq $$32, {p0}, {x2}",
                f"vpternlogq $$150, %zmm26, {x1}, {x0}",
                f"vpternlogq $$150, %zmm27, {x3}, {x2}",
            ]
    return tuple(lines)


PRODUCT, SHIFT = "vpmuludq %zmm31, {r}, {r}", "vpsrlq $$32, {r}, {r}"
LOGIC = "vpternlogq $$150, %zmm30, %zmm31, {r}"
LOAD, STORE = "vmovdqu64 {at}, {r}", "vmovdqu64 {r}, {at}"
CEILINGS = (
    CeilingCase("ceiling-clock", CHAIN, unit="cycles per ns"),
    CeilingCase("ceiling-xor", _repeated("vpxorq %zmm31, {r}, {r}")),
    CeilingCase("ceiling-logic", _repeated(LOGIC)),
    CeilingCase("ceiling-add", _repeated("vpaddq %zmm31, {r}, {r}")),
    CeilingCase("ceiling-product", _repeated(PRODUCT)),
    CeilingCase("ceiling-shift", _repeated(SHIFT)),
    CeilingCase("ceiling-rotate", _repeated("vprolq $$32, {r}, {r}")),
    CeilingCase("ceiling-shuffle", _repeated("vpshufd $$177, {r}, {r}")),
    CeilingCase("ceiling-permute", _repeated("vpermt2d %zmm30, %zmm31, {r}")),
    CeilingCase("ceiling-compress", _repeated("vpcompressq {r}, {r} {{%k1}} {{z}}")),
    CeilingCase("ceiling-popcount", _repeated("vpopcntq {r}, {r}")),
    CeilingCase("ceiling-broadcast", _repeated("vpbroadcastq {at}, {r}")),
    CeilingCase("ceiling-load-l1", _repeated(LOAD)),
    CeilingCase("ceiling-load-l2", _repeated(LOAD), L2),
    CeilingCase("ceiling-store-l1", _repeated(STORE)),
    CeilingCase("ceiling-store-l2", _repeated(STORE), L2),
    CeilingCase("ceiling-mixed", _repeated(PRODUCT, SHIFT, LOGIC)),
    CeilingCase("ceiling-philox", _philox()),
)


def measure_ceiling(case: CeilingCase, options: Options) -> Record:
    """The case's record; one without a value where the processor has no 512-bit vectors."""
    unit = case.unit if case.lines == CHAIN else f"{case.unit} of {clock_name(options.clock)}"
    obstacle = _obstacle()
    if obstacle is not None:
        return Record(case.name, case.metric, unit, notes=(f"not measured: {obstacle}",))
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    memory = np.zeros((max(L2, case.memory) + 8192) // 8, np.uint64)
    start = -(-memory.ctypes.data // 4096) * 4096
    chain, loop = _compiled(CHAIN, L1), _compiled(case.lines, case.memory)
    loop(rounds, start)
    rates = []
    for _ in range(options.repeats):
        cycles = timed(options.clock, lambda: chain(rounds, start))[0] / len(CHAIN)
        took = timed(options.clock, lambda: loop(rounds, start))[0] / len(case.lines)
        rates.append(1e-9 * rounds / cycles if case.lines == CHAIN else cycles / took)
    return Record(
        case=case.name,
        metric=case.metric,
        unit=unit,
        value=float(np.median(rates)),
        low=min(rates),
        high=max(rates),
        replicas=len(case.lines),
        sweeps=rounds,
        repeats=options.repeats,
        backend=options.backend,
        kernel=case.mnemonics,
        layout="zmm" if case.lines != CHAIN else "chain",
        seed=options.seed,
        quick=options.quick,
        samples=tuple(rates),
        excluded=EXCLUDED,
    )


def _obstacle() -> str | None:
    """Why the instructions cannot run here, or None."""
    from llvmlite import binding

    wanted = ("avx512f", "avx512bw", "avx512vpopcntdq")
    features = binding.get_host_cpu_features()
    missing = [name for name in wanted if not features.get(name)]
    return f"the processor lacks {', '.join(missing)}" if missing else None


@lru_cache(maxsize=len(CEILINGS) + 1)
def _compiled(lines: tuple[str, ...], memory: int) -> Callable[[int, int], Any]:
    """loop(rounds, address) that runs the lines `rounds` times; %rcx goes through `memory`."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.initialize_native_asmparser()
    size = 64 * UNROLLED
    steps = [
        "xorl %ecx, %ecx", "1:", *lines, f"addq $${size}, %rcx",
        f"cmpq $${memory // size * size}, %rcx", "jb 2f", "xorl %ecx, %ecx", "2:", "decq $0",
        "jnz 1b",
    ]  # fmt: skip
    used = [*(f"zmm{k}" for k in range(32)), "k1", "rax", "rcx", "rdx", "memory", "flags"]
    text, clobbers = "\\0A".join(steps), ",".join(f"~{{{name}}}" for name in used)
    source = f"""
        define void @loop(i64 %rounds, i8* %memory) {{
            call i64 asm sideeffect "{text}", "=r,r,0,{clobbers}"(i8* %memory, i64 %rounds)
            ret void
        }}"""
    features = binding.get_host_cpu_features().flatten()
    target = binding.Target.from_default_triple()
    machine = target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(source), machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)
    call = kind(engine.get_function_address("loop"))

    def loop(rounds: int, address: int, engine: Any = engine) -> None:
        call(rounds, address)

    return loop
