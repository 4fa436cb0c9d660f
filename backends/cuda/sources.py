"""Kernel sources, which lie in backends/kernels as package data, and where results are kept."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from importlib import resources
from pathlib import Path

from .device import Code

_INCLUDE = re.compile(r'^\s*#include\s+"([^"]+)"', re.MULTILINE)
_KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\('
)


@functools.cache
def text(name: str) -> str:
    """The text of a file in backends/kernels."""
    return (resources.files("isingnpu.backends") / "kernels" / name).read_text()


def files(code: Code) -> dict[str, str]:
    """The source and every header that it includes, generated ones too, by name."""
    made = dict(code.headers)
    found: dict[str, str] = {}
    waiting = [code.source]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = made[name] if name in made else text(name)
        waiting += _INCLUDE.findall(found[name])
    return found


def kernel_names(code: Code) -> list[str]:
    """The kernels that a source defines."""
    return _KERNEL.findall(files(code)[code.source])


def digest(code: Code, *others: str) -> str:
    """SHA-256 of all that a compiled result depends on."""
    parts = [repr(sorted(files(code).items())), repr(code.defines), *others]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def cache_folder() -> Path:
    """Where compiled kernels are kept: $XDG_CACHE_HOME/isingnpu/cuda, else below ~/.cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "isingnpu" / "cuda"


def keep(path: Path, content: bytes) -> bool:
    """Write a file of the cache under a name of this process, then rename it; whether it could."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        return False
    return True
