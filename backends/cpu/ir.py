"""Vector code for numba: LLVM IR written through intrinsics; users need no C compiler.

A kernel's configuration is a frozen dataclass derived from `Static`. Its value is part of the
numba type of the argument, so each configuration is compiled once and cached on disk; inside a
jitted function its fields are constants. `emits` makes an intrinsic of a Python function that
writes IR with `Word`, whose operators are those of Python and NumPy: the same generator of
logic can run on arrays of uint64.

LLVM splits vectors that the processor does not have: one source serves AVX-512, AVX2 and NEON.
"""

# mypy: allow-untyped-calls, allow-untyped-decorators, disable-error-code="no-any-return"
from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.pythonapi import NativeValue
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    register_model,
    typeof_impl,
    unbox,
)

from isingnpu.rng import M0, M1

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
LOW = 0xFFFFFFFF


def _digest() -> str:
    """Of the sources of this package: numba's own cache sees edits of one file only."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


DIGEST = _digest()


class Static:
    """Base of configurations: frozen dataclasses whose repr holds all that the code depends on."""


class StaticType(types.Type):
    """The numba type of one configuration."""

    def __init__(self, value: Static) -> None:
        self.value = value
        super().__init__(name=f"{value!r} of {DIGEST}")


@functools.lru_cache(maxsize=256)
def _type(value: Static) -> StaticType:
    """Made once: numba asks at every call, and a name to compare takes 50 us."""
    return StaticType(value)


@typeof_impl.register(Static)
def _typeof(value: Static, context: Any) -> StaticType:
    return _type(value)


register_model(StaticType)(models.OpaqueModel)


@unbox(StaticType)
def _unbox(typ: StaticType, obj: Any, c: Any) -> NativeValue:
    return NativeValue(c.context.get_dummy_value())


@infer_getattr
class _Fields(AttributeTemplate):
    """Fields of a configuration that are whole numbers or truth values."""

    key = StaticType

    def generic_resolve(self, typ: Any, name: Any) -> Any:  # type: ignore[override]
        value = getattr(typ.value, name, None)
        if isinstance(value, bool):
            return types.boolean
        return types.int64 if isinstance(value, int) else None


@lower_getattr_generic(StaticType)
def _field(context: Any, builder: Any, typ: StaticType, value: Any, name: str) -> Any:
    kind = types.boolean if isinstance(getattr(typ.value, name), bool) else types.int64
    return context.get_constant(kind, int(getattr(typ.value, name)))


class Word:
    """An LLVM integer, or a vector of them, with Python's operators (unsigned).

    Whole numbers in an expression stand for that constant in every lane."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    @property
    def type(self) -> Any:
        return self.value.type

    @property
    def lanes(self) -> int:
        return self.type.count if isinstance(self.type, ir.VectorType) else 1

    def _other(self, other: Word | int) -> Any:
        return other.value if isinstance(other, Word) else constant(self.type, other)

    def _make(self, value: Any) -> Word:
        return Word(self.builder, value)

    def __and__(self, other: Word | int) -> Word:
        return self._make(self.builder.and_(self.value, self._other(other)))

    def __or__(self, other: Word | int) -> Word:
        return self._make(self.builder.or_(self.value, self._other(other)))

    def __xor__(self, other: Word | int) -> Word:
        return self._make(self.builder.xor(self.value, self._other(other)))

    def __invert__(self) -> Word:
        return self ^ -1

    def __add__(self, other: Word | int) -> Word:
        return self._make(self.builder.add(self.value, self._other(other)))

    def __sub__(self, other: Word | int) -> Word:
        return self._make(self.builder.sub(self.value, self._other(other)))

    def __mul__(self, other: Word | int) -> Word:
        return self._make(self.builder.mul(self.value, self._other(other)))

    def __lshift__(self, other: Word | int) -> Word:
        return self._make(self.builder.shl(self.value, self._other(other)))

    def __rshift__(self, other: Word | int) -> Word:
        return self._make(self.builder.lshr(self.value, self._other(other)))

    def compare(self, how: str, other: Word | int, *, signed: bool = False) -> Word:
        """Bits (i1) of a comparison: how is one of == != < <= > >=."""
        icmp = self.builder.icmp_signed if signed else self.builder.icmp_unsigned
        return self._make(icmp(how, self.value, self._other(other)))

    def bitcast(self, to: Any) -> Word:
        return self._make(self.builder.bitcast(self.value, to))

    def extend(self, to: Any, *, signed: bool = False) -> Word:
        """Widened integers."""
        return self._make((self.builder.sext if signed else self.builder.zext)(self.value, to))

    def truncate(self, to: Any) -> Word:
        return self._make(self.builder.trunc(self.value, to))

    def where(self, yes: Word, no: Word) -> Word:
        """Lane by lane: `yes` where this bit is set, else `no`."""
        return self._make(self.builder.select(self.value, yes.value, no.value))

    def shuffle(self, other: Word, lanes: Sequence[int]) -> Word:
        """Lanes of this vector followed by those of the other, in the order given."""
        mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
        return self._make(self.builder.shuffle_vector(self.value, other.value, mask))


def constant(kind: Any, value: int) -> Any:
    """The LLVM constant with this value in every lane."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [value] * kind.count)
    return ir.Constant(kind, value)


def vector(element: Any, lanes: int) -> Any:
    """The LLVM type of `lanes` integers."""
    return ir.VectorType(element, lanes)


class Code:
    """Where an intrinsic writes: memory, constants, calls and loops of one function."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context, self.builder = context, builder

    def word(self, kind: Any, value: int | Sequence[int]) -> Word:
        """A constant, or a vector of constants."""
        if isinstance(value, int):
            return Word(self.builder, constant(kind, value))
        return Word(self.builder, ir.Constant(kind, list(value)))

    def splat(self, scalar: Word, lanes: int) -> Word:
        """A vector with the scalar in every lane."""
        kind = ir.VectorType(scalar.type, lanes)
        empty = ir.Constant(kind, ir.Undefined)
        one = self.builder.insert_element(empty, scalar.value, ir.Constant(I32, 0))
        zero = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
        return Word(self.builder, self.builder.shuffle_vector(one, empty, zero))

    def load(self, address: Word, kind: Any, offset: int = 0) -> Word:
        """The integer or vector at address + offset bytes; aligned to its elements."""
        value = self.builder.load(self._pointer(address, kind, offset))
        value.align = _element_bytes(kind)
        return Word(self.builder, value)

    def store(self, value: Word, address: Word, offset: int = 0) -> None:
        kept = self.builder.store(value.value, self._pointer(address, value.type, offset))
        kept.align = _element_bytes(value.type)

    def _pointer(self, address: Word, kind: Any, offset: int) -> Any:
        place = address + offset if offset else address
        return self.builder.inttoptr(place.value, kind.as_pointer())

    def call(self, name: str, result: Any, *arguments: Word) -> Word:
        """A call of an LLVM intrinsic by its full name."""
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(result, [argument.type for argument in arguments])
            function = ir.Function(module, kind, name)
        values = [argument.value for argument in arguments]
        return Word(self.builder, self.builder.call(function, values))

    def prefetch(self, address: Word) -> None:
        """Ask for the cache line of an address that will be read."""
        kind = I8.as_pointer()
        pointer = Word(self.builder, self.builder.inttoptr(address.value, kind))
        hints = [self.word(I32, x) for x in (0, 3, 1)]  # read, keep close, data
        self.call("llvm.prefetch.p0", ir.VoidType(), pointer, *hints)

    def fence(self) -> None:
        """LLVM moves no load or store across; the processor does nothing."""
        self.builder.fence("seq_cst", "singlethread")

    def loop(self, count: Word) -> Any:
        """`with code.loop(n) as k:` runs the block for k = 0 .. n - 1; values that live from one
        round to the next go through `variable`."""
        return _Loop(self, count)

    def variable(self, value: Word) -> Variable:
        """A value that may change; LLVM keeps it in a register."""
        return Variable(self, value)

    def when(self, bit: Word) -> Any:
        """`with code.when(bit):` runs the block where the bit (i1) is set."""
        return self.builder.if_then(bit.value)

    def has(self, feature: str) -> bool:
        """Whether the code is for a processor with this feature, as LLVM names it."""
        return f"+{feature}" in self.context.codegen()._tm_features.split(",")


class Variable:
    """A stack slot, which LLVM turns into a register."""

    def __init__(self, code: Code, value: Word) -> None:
        self.builder = code.builder
        self.slot = cgutils.alloca_once_value(code.builder, value.value)

    def get(self) -> Word:
        return Word(self.builder, self.builder.load(self.slot))

    def set(self, value: Word) -> None:
        self.builder.store(value.value, self.slot)


class _Loop:
    def __init__(self, code: Code, count: Word) -> None:
        self.builder = code.builder
        self.range = cgutils.for_range(code.builder, count.value)

    def __enter__(self) -> Word:
        return Word(self.builder, self.range.__enter__().index)

    def __exit__(self, *error: Any) -> Any:
        return self.range.__exit__(*error)


def _element_bytes(kind: Any) -> int:
    element = kind.element if isinstance(kind, ir.VectorType) else kind
    return 8 if isinstance(element, ir.DoubleType) else max(1, element.width // 8)


def emits(write: Callable[..., Word | None]) -> Any:
    """An intrinsic from write(code, config, *arguments), which may return a 64-bit Word.

    Every argument but the configuration is a uint64: an address, an index or a number. A call
    returns a uint64, 0 where `write` returns nothing."""
    count = len(inspect.signature(write).parameters) - 2

    def definition(typing: Any, config: Any, *arguments: Any) -> Any:
        if not isinstance(config, StaticType) or len(arguments) != count:
            return None
        signature = types.uint64(config, *[types.uint64] * count)

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            words = [Word(builder, value) for value in values[1:]]
            result = write(Code(context, builder), config.value, *words)
            return constant(I64, 0) if result is None else result.value

        return signature, generate

    names = ["typing", *list(inspect.signature(write).parameters)[1:]]
    plain = inspect.Parameter.POSITIONAL_OR_KEYWORD
    given = [inspect.Parameter(name, plain) for name in names]
    definition.__signature__ = inspect.Signature(given)  # type: ignore[attr-defined]
    definition.__name__ = write.__name__
    definition.__doc__ = write.__doc__
    return intrinsic(definition)


def philox(
    code: Code, counter: Sequence[Word], keys: Word, rounds: range
) -> tuple[Word, Word, Word, Word]:
    """Rounds of Philox4x32 on vectors of 64-bit lanes, of which the low halves count.

    keys: address of the round keys, two 64-bit words a round. The upper halves of the result
    hold left-overs: mask or `pair` them."""
    x0, x1, x2, x3 = counter
    lanes = x0.lanes
    for r in rounds:
        k0, k1 = (code.splat(code.load(keys, I64, 16 * r + 8 * k), lanes) for k in (0, 1))
        p0, p1 = (x0 & LOW) * M0, (x2 & LOW) * M1
        x0, x1, x2, x3 = (p1 >> 32) ^ x1 ^ k0, p1, (p0 >> 32) ^ x3 ^ k1, p0
    return x0, x1, x2, x3


def pair(low: Word, high: Word) -> Word:
    """low | high << 32 of the lanes' low halves.

    By a shuffle: LLVM folds a shift into the multiplication before it and then takes a slow
    64-bit product."""
    n = low.lanes
    halves = vector(I32, 2 * n)
    order = [lane for k in range(n) for lane in (2 * k, 2 * n + 2 * k)]
    return low.bitcast(halves).shuffle(high.bitcast(halves), order).bitcast(low.type)
