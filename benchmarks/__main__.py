"""`python -m benchmarks`: `isingnpu bench` from a checkout, with its records kept in results/.

python -m benchmarks [SUITE or CASE ...] [options of isingnpu bench]
python -m benchmarks gpu [CASE ...]  one GPU; see benchmarks/gpu.py
python -m benchmarks npu [TABLE ...] the tables of docs/npu.md; see benchmarks/learners.py
python -m benchmarks report         rewrite the tables of README.md from results/
python -m benchmarks compare A B    two files of records
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks import FOLDER, gpu, learners, machine_file
from isingnpu import cli


def main(arguments: Sequence[str]) -> int:
    """Exit status. Quick runs are kept only where --out says so."""
    if arguments[:1] == ["gpu"]:
        return gpu.main(arguments[1:])
    if arguments[:1] == ["npu"]:
        return learners.main(arguments[1:])
    if arguments == ["report"]:
        return cli.main(["bench", "report", str(FOLDER)])
    if arguments[:1] == ["compare"]:
        return cli.main(["bench", *arguments])
    keep = [] if "--quick" in arguments else ["--out", str(machine_file("results"))]
    return cli.main(["bench", *keep, *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
