"""The command line: parse, call one library function, print a table or JSON.

Exit codes: 0 success, 1 a check or target failed, 2 bad input. Library modules are imported
inside the commands, so that `isingnpu --help` loads none of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isingnpu import cli_npu
from isingnpu._version import __version__

if TYPE_CHECKING:
    from isingnpu.model import IsingModel

Command = Callable[[argparse.Namespace], int]


def main(argv: list[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    command: Command = arguments.command
    try:
        return command(arguments)
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        if arguments.debug:
            raise
        print(f"isingnpu: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("isingnpu: interrupted", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="isingnpu",
        description="A simulated Ising NPU: annealing, critical points, energy ledgers.",
        epilog="Start with: isingnpu report",
    )
    top.add_argument("--version", action="version", version=f"isingnpu {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _report_options(_add(commands, "report", _report, "all studies in one page, tables and PNG"))
    _anneal_options(_add(commands, "anneal", _anneal, "find low-energy states of a model"))
    _critical_options(_add(commands, "critical", _critical, "find beta_c with an error bar"))
    _bench_options(_add(commands, "bench", _bench, "measure throughput and time to target"))
    npu = commands.add_parser("npu", help="machines of spins that learn without backprop")
    cli_npu.add_commands(npu, _add)
    info = _add(commands, "info", _info, "version, backends, sensors")
    info.add_argument("--warm", action="store_true", help="compile the usual kernels beforehand")
    info.add_argument("--backend", help="with --warm: those of this one (default: of all)")
    info.add_argument("--quiet", action="store_true", help="no progress on standard error")
    return top


def _add(commands: Any, name: str, command: Command, text: str) -> argparse.ArgumentParser:
    sub: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    sub.set_defaults(command=command)
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return sub


def _common(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--seed", type=int, help="64-bit seed (default: drawn and recorded)")
    sub.add_argument("--backend", default="auto", help="auto, cpu, reference, ... (see info)")
    sub.add_argument("--threads", type=int, help="CPU threads (default: all)")
    sub.add_argument("--quiet", action="store_true", help="no progress on standard error")


def _report_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, default=Path("isingnpu-report"), help="folder to write")
    sub.add_argument("--seconds", type=float, default=45.0, help="budget of the studies")
    _common(sub)


def _anneal_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("file", nargs="?", type=Path, help="model file (rudy, coo, qubo, bqm, npz)")
    sub.add_argument("--format", help="file format, if the name does not tell")
    sub.add_argument("--family", help="named family instead of a file; help: list all")
    sub.add_argument("--size", type=int, default=16, help="size of the family (default 16)")
    sub.add_argument("--instance", type=int, default=0, help="instance number of the family")
    sub.add_argument("--method", choices=["anneal"], default="anneal")
    sub.add_argument("--reads", type=int, default=64, help="independent reads (default 64)")
    sub.add_argument("--sweeps", type=int, default=1000, help="sweeps per read (default 1000)")
    sub.add_argument("--schedule", default="linear-T", help="linear-T, linear or geometric")
    sub.add_argument("--beta-start", type=float, help="first inverse temperature")
    sub.add_argument("--beta-end", type=float, help="last inverse temperature; no final quench")
    sub.add_argument("--dynamics", help="metropolis or heat-bath (default: by the model)")
    sub.add_argument("--layout", help="lane, plane or lattice (default: by model and reads)")
    sub.add_argument("--kernel", help="a kernel of the backend (default: by the request)")
    sub.add_argument("--time-limit", type=float, help="stop after this many seconds")
    sub.add_argument("--target", type=float, help="energy to reach; exit code 1 if it is not")
    sub.add_argument("--stop-at-target", action="store_true", help="stop when a read is there")
    sub.add_argument("--save", type=Path, help="save the run as NAME.npz and NAME.json")
    sub.add_argument("--checkpoint", type=Path, help="file to resume from if it exists")
    _common(sub)


def _critical_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--lattice",
        help="family with a transition: square (default), triangular, random_regular, ...",
    )
    sub.add_argument(
        "--graph",
        type=Path,
        metavar="FILE",
        help="one finite graph instead, J >= 0 (coo, bqm, npz): what its spectrum bounds, "
        "and the beta of its largest susceptibility",
    )
    sub.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        help="linear extents, or sites of a graph (default: by the family)",
    )
    sub.add_argument("--seconds", type=float, default=20.0, help="time budget (default 20)")
    sub.add_argument(
        "--universality",
        choices=["ising", "mean-field"],
        help="take the crossing values of this class as known (default: fit them)",
    )
    sub.add_argument(
        "--instances", type=int, help="random graphs averaged at each size (default 16)"
    )
    sub.add_argument(
        "--sweeps",
        type=int,
        nargs="+",
        help="sweeps of each size in place of a time, for the same result on every machine",
    )
    sub.add_argument("--exponents", action="store_true", help="measure nu, eta and z as well")
    sub.add_argument("--plot", type=Path, help="write the curves as FILE.png, .pdf or .svg")
    sub.add_argument(
        "--figures", type=Path, help="write curves, states and correlations into this folder"
    )
    _common(sub)


def _bench_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "suite",
        nargs="*",
        help="suites or cases (default: kernels and tts); or `compare A B`, two files of records; "
        "or `report FOLDER`, which rewrites the tables of its README.md from its results/",
    )
    sub.add_argument("--quick", action="store_true", help="tiny sizes, under 20 s")
    sub.add_argument("--repeats", type=int, default=5, help="timed repetitions (default 5)")
    sub.add_argument("--out", type=Path, help="append the records to this JSON-lines file")
    sub.add_argument("--data", type=Path, help="folder with gset/ for the G-set cases")
    _common(sub)


def _anneal(a: argparse.Namespace) -> int:
    from isingnpu import annealing, families, results
    from isingnpu.run import Run

    if a.family == "help" and a.file is None:
        print("\n".join(families.FAMILIES))
        return 0
    model, source = _model(a)
    limit = a.target if a.stop_at_target else None
    if a.stop_at_target and a.target is None:
        raise ValueError("--stop-at-target needs --target")
    options = {
        "threads": a.threads,
        "time_limit": a.time_limit,
        "target": limit,
        "progress": _shows_progress(a),
        "checkpoint": a.checkpoint,
    }
    if a.checkpoint is not None and a.checkpoint.with_suffix(".npz").exists():
        run = Run.load(a.checkpoint)
        if run.model.fingerprint != model.fingerprint:
            raise ValueError(f"{a.checkpoint} belongs to another model than {source}")
        run = annealing.resume(run, **options)
    else:
        run = results.anneal_warm(
            model,
            schedule=(a.schedule, a.sweeps, a.beta_start, a.beta_end),
            replicas=a.reads,
            dynamics=a.dynamics,
            layout=a.layout,
            kernel=a.kernel,
            backend=a.backend,
            seed=a.seed,
            **options,
        )
    if a.save is not None:
        run.save(a.save)
    result = results.anneal_result(run, source, a.target)
    _print(a, result, results.anneal_text)
    return 0 if a.target is None or result["reached"] else 1


def _critical(a: argparse.Namespace) -> int:
    from isingnpu import criticality, results

    if a.graph is not None:
        return _critical_graph(a)
    a.lattice = a.lattice or "square"
    results.check_figures(a.lattice, a.plot, a.figures)
    device = {"backend": a.backend, "threads": a.threads}
    with results.status_line(_shows_progress(a)) as show:
        show("compiling kernels ...")
        point = criticality.find_beta_c(
            a.lattice,
            a.sizes,
            budget_s=a.seconds,
            universality=a.universality,
            instances=a.instances,
            sweeps=a.sweeps,
            seed=a.seed,
            progress=show,
            **device,
        )
    # before the figures: whatever happens to them, the number is out
    _print(a, results.critical_result(point, exponents=a.exponents), results.critical_text)
    sys.stdout.flush()
    written = []
    if a.plot is not None:
        results.save_critical(point, a.plot)
        written.append(a.plot)
    if a.figures is not None:
        with results.status_line(_shows_progress(a)) as show:
            written += results.save_figures(point, a.figures, progress=show, **device)
    if not a.json:
        for path in written:
            print(f"wrote    {path}")
    return 0


def _critical_graph(a: argparse.Namespace) -> int:
    from isingnpu import criticality, results

    for name in ("lattice", "sizes", "universality", "figures"):
        if getattr(a, name) is not None:
            raise ValueError(f"--{name} is of a family of sizes; leave it out beside --graph")
    results.check_plot(a.plot)
    model = results.read_graph(a.graph)
    with results.status_line(_shows_progress(a)) as show:
        show("compiling kernels ...")
        peak = criticality.susceptibility_peak(
            model,
            budget_s=a.seconds,
            seed=a.seed,
            backend=a.backend,
            threads=a.threads,
            progress=show,
        )
    _print(a, results.peak_result(peak, str(a.graph)), results.peak_text)
    sys.stdout.flush()
    if a.plot is not None:
        results.save_peak(peak, a.plot)
        if not a.json:
            print(f"wrote    {a.plot}")
    return 0


def _report(a: argparse.Namespace) -> int:
    from isingnpu import report, results

    with results.status_line(_shows_progress(a)) as show:
        made = report.write_report(
            a.out,
            seconds=a.seconds,
            seed=a.seed,
            backend=a.backend,
            threads=a.threads,
            progress=show,
        )
    _print(a, made, report.text)
    return 0


def _bench(a: argparse.Namespace) -> int:
    from isingnpu import bench, results

    word, *paths = a.suite or [""]
    if word in ("compare", "report"):
        if len(paths) != (2 if word == "compare" else 1):
            raise ValueError(
                f"bench {word} takes {'two files' if word == 'compare' else 'a folder'}"
            )
        print(bench.compare(*paths) if word == "compare" else bench.report(*paths))
        return 0
    with results.status_line(_shows_progress(a)) as show:
        records = bench.run_suite(
            a.suite or list(bench.SUITES),
            quick=a.quick,
            backend="cpu" if a.backend == "auto" else a.backend,
            threads=a.threads or 1,
            repeats=a.repeats,
            seed=1 if a.seed is None else a.seed,
            progress=show,
            data=a.data,
        )
    if a.out is not None:
        bench.append_jsonl(a.out, records)
    result = {"records": [record.to_json() for record in records]}
    _print(a, result, lambda _: bench.table(records))
    return 0


def _info(a: argparse.Namespace) -> int:
    from isingnpu import results

    if a.backend is not None and not a.warm:
        raise ValueError("--backend is for --warm; leave it out, or pass both")
    if a.warm:
        with results.status_line(_shows_progress(a)) as show:
            _print(a, results.warm(show, a.backend), results.warm_text)
        return 0
    _print(a, results.info(), results.info_text)
    return 0


def _model(a: argparse.Namespace) -> tuple[IsingModel, str]:
    """The model that was asked for and where it comes from."""
    from isingnpu import families, formats

    if (a.file is None) == (a.family is None):
        raise ValueError("name a model file, or --family NAME, not both")
    if a.file is not None:
        return formats.read(a.file, a.format), str(a.file)
    model = families.build(a.family, a.size, a.instance)
    return model, f"{a.family} size {a.size} instance {a.instance}"


def _shows_progress(a: argparse.Namespace) -> bool:
    return not a.quiet and sys.stderr.isatty()


def _print(a: argparse.Namespace, result: dict[str, Any], text: Callable[[Any], str]) -> None:
    print(json.dumps(result, indent=1, allow_nan=False) if a.json else text(result))


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
