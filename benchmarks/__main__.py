"""`python -m benchmarks`: `isingnpu bench` from a checkout, with its records kept in results/.

python -m benchmarks [SUITE or CASE ...] [options of isingnpu bench]
python -m benchmarks gpu [CASE ...]  one GPU; see benchmarks/gpu.py
python -m benchmarks report         rewrite the tables of README.md from results/
python -m benchmarks compare A B    two files of records
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import gpu
from isingnpu import bench, cli

FOLDER = Path(__file__).resolve().parent


def results_file() -> Path:
    """One file per kind of machine, such as results/amd-epyc-2-cores.jsonl."""
    machine = bench.this_machine()
    name = f"{machine['processor']} {machine['cores']} cores"
    return FOLDER / "results" / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.jsonl"


def main(arguments: Sequence[str]) -> int:
    """Exit status. Quick runs are kept only where --out says so."""
    if arguments[:1] == ["gpu"]:
        return gpu.main(arguments[1:])
    if arguments == ["report"]:
        return cli.main(["bench", "report", str(FOLDER)])
    if arguments[:1] == ["compare"]:
        return cli.main(["bench", *arguments])
    keep = [] if "--quick" in arguments else ["--out", str(results_file())]
    return cli.main(["bench", *keep, *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
