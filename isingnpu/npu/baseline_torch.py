"""The one place where the baselines import torch, an optional dependency (extra `torch`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

try:
    import torch
except ImportError as error:
    raise ImportError(
        f"baselines trained by backprop need torch ({error}): pip install isingnpu[torch]",
        name="torch",
    ) from error

__all__ = ["check_device", "no_denormals", "threads", "torch"]


def check_device(name: str) -> str:
    """`cpu` or `cuda`; ValueError for another name, or for cuda where torch finds no device."""
    if name not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"torch {torch.__version__} finds no CUDA device: pass device='cpu'")
    return name


@contextmanager
def threads(number: int) -> Iterator[None]:
    """A block in which torch computes with that many CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def no_denormals() -> Iterator[None]:
    """A block in which denormal numbers, such as the moments of tokens long unseen, are zero:
    arithmetic on them is many times slower. Not to be nested."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
