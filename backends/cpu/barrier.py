"""For compiled code that holds no GIL: threads meet many times within one call, and share work."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# mypy: disable-error-code="call-arg, unreachable"
from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

from llvmlite import ir
from numba import njit, types, uint64
from numba.extending import intrinsic
from numpy.typing import NDArray

T = TypeVar("T")
SPINS = 4000  # looks at the counter before the processor is offered to others
RELEASED = 1 << 62  # added to the counter, it ends every wait


def yield_address() -> int:
    """Address of the system's function that gives the rest of a time slice away."""
    if sys.platform == "win32":
        function: Any = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


@functools.lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="rows")


def together(part: Callable[[int], None], threads: int, counter: NDArray[Any]) -> None:
    """part(rank) for all ranks at once, rank 0 on this thread; they may `meet` at the counter.

    If one of them fails, the others are released before its error is raised."""
    others = []
    try:
        if threads > 1:
            others = [_pool(threads - 1).submit(part, rank) for rank in range(1, threads)]
        part(0)
    except BaseException:
        counter[0] = RELEASED
        raise
    finally:
        wait(others)
    for other in others:
        other.result()


def share(function: Callable[[int], T], count: int, threads: int) -> list[T]:
    """function(k) for k = 0 .. count - 1 on so many threads, which do not meet."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, range(count)))


@intrinsic
def _add(typing: Any, address: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], args[0].type.as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "acq_rel")

    return types.uint64(types.uint64, types.uint64), generate


@intrinsic
def _look(typing: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], args[0].type.as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.uint64(types.uint64), generate


@intrinsic
def _call(typing: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.uint64), generate


@njit(inline="always")
def ticket(counter, owner):
    """How many tickets have been drawn so far of those that belong to thread `owner`.

    counter: address of 8 words for the barrier, then of 8 for each thread, all 0 at first."""
    return _add(counter + uint64(64) * (uint64(owner) + uint64(1)), uint64(1))


@njit(inline="always")
def meet(counter, threads, met, give_way):
    """Wait until all threads are here for time number `met` + 1; returns that number.

    counter: address of a uint64 that starts at 0; give_way: `yield_address()`."""
    met += uint64(1)
    if threads > 1:
        _add(counter, uint64(1))
        spins = 0
        while _look(counter) < uint64(threads) * met:
            spins += 1
            if spins > SPINS:
                _call(give_way)
    return met
