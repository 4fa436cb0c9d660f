"""Benchmarks of a checkout; see __main__."""

from __future__ import annotations

import re
from pathlib import Path

from isingnpu.bench import this_machine

FOLDER = Path(__file__).resolve().parent


def machine_file(kind: str) -> Path:
    """One file per kind of machine, such as results/amd-epyc-2-cores.jsonl."""
    machine = this_machine()
    name = slug(f"{machine['processor']} {machine['cores']} cores")
    return FOLDER / kind / f"{name}.jsonl"


def slug(name: str) -> str:
    """Lower-case letters and digits with single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
