"""Results as people and programs read them: JSON objects with stable keys, and short texts."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isingnpu import formats
from isingnpu._version import __version__
from isingnpu.annealing import anneal
from isingnpu.archive import replacing
from isingnpu.backend import (
    BUILT_IN,
    BackendUnavailable,
    Compiling,
    backend_names,
    find_backend,
    get_backend,
)
from isingnpu.ledger import sensors
from isingnpu.model import IsingModel
from isingnpu.run import Run, commit
from isingnpu.schedule import default_schedule
from isingnpu.statistics import Estimate, Refusal, time_to_target

if TYPE_CHECKING:
    from isingnpu.criticality import CriticalPoint, SusceptibilityPeak

FIGURE_SUFFIXES = (".png", ".pdf", ".svg")


def anneal_warm(
    model: IsingModel,
    *,
    schedule: tuple[str, int, float | None, float | None],
    **options: Any,
) -> Run:
    """`anneal` after one sweep of the same kernel, so that compiling is not timed.

    schedule: (shape, sweeps, first beta or None, last beta or None)."""
    shape, sweeps, start, end = schedule
    plan = default_schedule(model, sweeps, beta_start=start, beta_end=end, shape=shape)
    once = {k: v for k, v in options.items() if k not in ("progress", "checkpoint", "time_limit")}
    anneal(model, plan.betas[:1], **once)
    return anneal(model, plan, **options)


def anneal_result(run: Run, source: str, target: float | None = None) -> dict[str, Any]:
    """JSON of an annealing run. Without a target the best energy found stands in for it, which
    flatters the time to target; `target.source` says so.

    Time to target is CPU time: reads of one run are independent trials of cpu_s / reads each."""
    model, energies = run.model, run.energies
    spins, best = run.best
    goal = float(energies.min()) if target is None else target
    tolerance = 1e-9 * max(1.0, abs(goal))
    hits = int((energies <= goal + tolerance).sum())
    tts = None
    if run.stopped == "finished":
        tts = time_to_target(hits, len(energies), run.ledger.cpu_s / len(energies))
    return {
        "model": {"n": model.n, "edges": model.n_edges, "source": source},
        "best": {"energy": best, "cut": _cut(run, spins)},
        "reached": hits > 0,
        "target": {
            "energy": goal,
            "source": "best found in this run" if target is None else "given",
            "reads": hits,
        },
        "time_to_target": None if tts is None else tts.to_json(),
        "energies": energies.tolist(),
        "schedule": {
            "name": run.schedule,
            "sweeps": len(run.betas),
            "sweeps_done": run.sweeps_done,
            "beta_first": float(np.ravel(run.betas[0])[0]),
            "beta_last": float(np.ravel(run.betas[-1])[0]),
        },
        "stopped": run.stopped,
        "ledger": run.ledger.to_json(),
        "provenance": run.provenance,
    }


def _cut(run: Run, spins: Any) -> float | None:
    """Cut of the best state; None for a model with fields, which is no max-cut problem."""
    return None if run.model.fields.any() else float(run.model.cut_value(spins))


def anneal_text(result: dict[str, Any]) -> str:
    """A few lines for the terminal."""
    model, best, ledger = result["model"], result["best"], result["ledger"]
    energies = np.array(result["energies"])
    tts = result["time_to_target"]
    lines = [
        f"model    {model['source']}: {model['n']} spins, {model['edges']} couplings",
        f"best     energy {best['energy']:.10g}"
        + ("" if best["cut"] is None else f", cut {best['cut']:.10g}"),
        f"reads    {energies.size}: mean {energies.mean():.6g}, worst {energies.max():.6g}",
        f"target   {result['target']['energy']:.10g} ({result['target']['source']}), "
        f"{result['target']['reads']} reads there",
    ]
    if tts is not None:
        lines.append(f"TTS99    {tts['value']:.3g} +- {tts['error']:.1g} s of CPU time")
    lines += [
        f"sweeps   {result['schedule']['sweeps_done']} of {result['schedule']['sweeps']} "
        f"({result['schedule']['name']}), {result['stopped']}",
        f"ledger   {ledger['attempted_updates']:.4g} updates, {ledger['flips']:.4g} flips, "
        f"{ledger['couplings_read']:.4g} couplings read, {ledger['cpu_s']:.3g} s CPU",
        f"energy   {measured_text(ledger)}",
        f"seed     {result['provenance']['seed']} (layout {result['provenance']['layout']}, "
        f"backend {result['provenance']['backend']}, kernel {result['provenance']['kernel']})",
    ]
    return "\n".join(lines)


def measured_text(ledger: dict[str, Any]) -> str:
    """Measured joules in words; a sensor that is missing is `not measured`."""
    measured = ledger["measured_joules"]
    if isinstance(measured, str):
        return measured
    known = [f"{v:.4g} J ({k})" for k, v in measured.items() if not isinstance(v, str)]
    return ", ".join(known) or "not measured (no sensor)"


def critical_result(point: CriticalPoint, *, exponents: bool = False) -> dict[str, Any]:
    """JSON of a critical point; exponents: with nu and eta, and with z of the local moves where
    three sizes or more had them; null and the reason where one of them is refused."""
    made: dict[str, Any] = point.to_json()
    if exponents:
        from isingnpu.criticality import quotient

        made |= {"nu": None, "eta": None, "z": None, "refused": []}
        try:
            found = quotient.exponents(point)
            made |= {"nu": found.nu.to_json(), "eta": found.eta.to_json()}
        except Refusal as error:
            made["refused"].append(f"nu and eta: {error}")
        try:
            made["z"] = _local_z(point)
        except Refusal as error:
            made["refused"].append(f"z: {error}")
    return made


def _local_z(point: CriticalPoint) -> dict[str, Any] | None:
    """Dynamic exponent of the local moves with a correction to scaling; None where fewer than
    three sizes had them."""
    from isingnpu.criticality import dynamic_exponent

    local = [k for k, name in enumerate(point.dynamics) if name != "wolff"]
    if len(local) < 3:
        return None
    sizes, tau = [point.sizes[k] for k in local], [point.tau[k] for k in local]
    found = dynamic_exponent(sizes, tau, omega=point.universality.omega)
    return {**found.z.to_json(), "dynamics": point.dynamics[local[0]]}


def critical_text(result: dict[str, Any]) -> str:
    """A few lines for the terminal."""
    lines = [
        f"lattice  {result['lattice']}, sizes {' '.join(map(str, result['sizes']))}",
        f"beta_c   {_brief(result['beta_c'])}",
    ]
    exact = result["exact"]
    if exact is not None:
        known = Estimate(exact["value"], exact["error"])
        said = f"known    {known}" if known.error else f"exact    {known.value:.9f}"
        lines.append(f"{said}, {result['sigmas']:+.2f} sigma away")
    fit, given = result["fit"], result["ratios"]
    lines.append(f"fit      chi2 = {fit['chi2']:.2f} for {fit['dof']} dof, p = {fit['p']:.2g}")
    lines.append(
        f"class    nu = {result['universality']['nu']:.6g}, "
        + ("crossing values fitted" if given is None else "crossing values given")
    )
    if "nu" in result:
        named = [(name, result[name]) for name in ("nu", "eta", "z") if result[name] is not None]
        measured = [f"{name} = {_brief(value)}" for name, value in named]
        if result["z"] is not None:
            measured[-1] += f" ({result['z']['dynamics']})"
        lines += [f"measured {', '.join(measured)}"] if measured else []
        lines += [f"refused  {reason}" for reason in result["refused"]]
    sweeps = " ".join(map(str, result["sweeps"]))
    lines.append(f"seed     {result['seed']}, {result['seconds']:.1f} s, sweeps {sweeps}")
    return "\n".join(lines)


def _brief(value: dict[str, Any]) -> str:
    """An estimate's JSON as 1.00(2)."""
    return str(Estimate(value["value"], value["error"]))


def read_graph(path: Path) -> IsingModel:
    """The model of a file. ValueError where all couplings are negative: the file has the other
    sign, as those of max-cut graphs have."""
    model = formats.read(path)
    if model.n_edges and model.csr.data.max() < 0:
        raise ValueError(
            f"{path}: all couplings are J < 0; a rudy file is read as max-cut, J = -w, and a coo "
            "file holds J with the sign of dimod: write a ferromagnetic J as `i j -J` into a .coo "
            "file"
        )
    return model


def peak_result(peak: SusceptibilityPeak, source: str) -> dict[str, Any]:
    """JSON of the susceptibility peak of a graph that was read from `source`."""
    made: dict[str, Any] = peak.to_json()
    return made | {"graph": made["graph"] | {"source": source}}


def peak_text(result: dict[str, Any]) -> str:
    """A few lines for the terminal."""
    graph = result["graph"]
    peak, height, tau = (_brief(result[name]) for name in ("susceptibility_peak", "height", "tau"))
    lines = [
        f"graph    {graph['source']}: {graph['n']} sites, {graph['edges']} couplings",
        f"peak     beta = {peak}, chi' = {height}: of this finite graph, no beta_c",
        f"spectrum mean field {result['mean_field']:.5f} < Bethe {result['bethe']:.5f}"
        + ("" if result["bracket"] is None else " <= beta_c of large graphs of this kind"),
        f"searched beta {result['searched'][0]:.4g} .. {result['searched'][1]:.4g}",
        f"chains   tau = {tau} sweeps ({result['dynamics']}), "
        f"n_eff = {result['susceptibility_peak']['n_eff']:.3g}",
        f"seed     {result['seed']}, {result['seconds']:.1f} s",
    ]
    return "\n".join(lines)


def info() -> dict[str, Any]:
    """Version, commit, place, backends and sensors with the reason each missing one gives."""
    backends: dict[str, Any] = {}
    for name in dict.fromkeys((*BUILT_IN, *backend_names())):
        try:
            reason = find_backend(name).unavailable()
        except BackendUnavailable as error:
            reason = error.reason
        backends[name] = {"available": reason is None, "reason": reason}
    return {
        "version": __version__,
        "commit": commit(),
        "path": str(Path(__file__).resolve().parent),
        "python": platform.python_version(),
        "backends": backends,
        "sensors": {
            name: {"available": reason is None, "reason": reason}
            for name, reason in sensors().items()
        },
    }


def info_text(result: dict[str, Any]) -> str:
    """Info as a table."""
    lines = [
        f"isingnpu {result['version']} ({result['commit'] or 'no commit'}), "
        f"Python {result['python']}",
        f"at {result['path']}",
    ]
    for kind in ("backends", "sensors"):
        lines.append(f"{kind}:")
        for name, state in result[kind].items():
            lines.append(f"  {name:10} {'available' if state['available'] else state['reason']}")
    return "\n".join(lines)


def warm(show: Callable[[str], object], only: str | None = None) -> dict[str, Any]:
    """Compile the kernels of every backend that compiles any, or of one; seconds by backend and
    kernel.

    Compiled code is kept on disk: in $NUMBA_CACHE_DIR, or beside the kernels; that of GPUs in
    ~/.cache/isingnpu/cuda. Raises BackendUnavailable if the one that is named cannot run here."""
    took: dict[str, dict[str, float]] = {}
    for name in backend_names() if only is None else (only,):
        backend = find_backend(name) if only is None else get_backend(name)
        if backend.unavailable() is None and isinstance(backend, Compiling):
            took[name] = {}
            for kernel, seconds in backend.warm():
                took[name][kernel] = round(seconds, 3)
                show(f"{name}: {kernel} {seconds:.1f} s")
    return {"seconds": took}


def warm_text(result: dict[str, Any]) -> str:
    """Seconds per kernel as a table."""
    rows = [
        f"  {backend}: {kernel:28} {seconds:6.1f} s"
        for backend, kernels in result["seconds"].items()
        for kernel, seconds in kernels.items()
    ]
    return "\n".join(["compiled, or found in the cache:", *rows])


def require_plots() -> None:
    """ValueError with the command that installs matplotlib, if it is missing."""
    try:
        import matplotlib  # noqa: F401 (presence is the question)
    except ImportError:
        raise ValueError(
            "figures need matplotlib: pip install 'isingnpu[plot]', or leave out --plot and "
            "--figures"
        ) from None


def check_figures(family: str, plot: Path | None, folder: Path | None) -> None:
    """Raise ValueError for figures that could not be drawn or written after the computation."""
    check_plot(plot)
    if folder is not None:
        require_plots()
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--figures {folder} is a file; name a folder")
        from isingnpu.criticality import illustration

        illustration.check_family(family)


def check_plot(plot: Path | None) -> None:
    """The same of one figure."""
    if plot is not None:
        require_plots()
        if plot.suffix not in FIGURE_SUFFIXES:
            raise ValueError(f"--plot {plot}: the name must end in {', '.join(FIGURE_SUFFIXES)}")
        if plot.is_dir() or not plot.parent.is_dir():
            raise ValueError(f"--plot {plot}: name a file in a folder that exists")


def save_figure(figure: Any, path: Path) -> None:
    """A figure of isingnpu.plot as png, pdf or svg by the name, whole or not at all."""
    with replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:])


def save_critical(point: CriticalPoint, path: Path) -> None:
    """Curves and collapses of a critical point in one figure."""
    from isingnpu import plot

    save_figure(plot.critical_figure(point), path)


def save_peak(peak: SusceptibilityPeak, path: Path) -> None:
    """The susceptibility of one graph against beta."""
    from isingnpu import plot

    save_figure(plot.peak_figure(peak), path)


def save_figures(
    point: CriticalPoint,
    folder: Path,
    *,
    backend: str = "auto",
    threads: int | None = None,
    progress: Callable[[object], object] = lambda status: None,
) -> Iterator[Path]:
    """critical.png, snapshots.png and correlation.png of a named lattice, each yielded when it
    is written. The states and correlations are sampled for it, some seconds, with point.seed."""
    from isingnpu import plot
    from isingnpu.criticality import illustration

    folder.mkdir(parents=True, exist_ok=True)
    family, beta_c = point.lattice, point.beta_c.value
    device: dict[str, Any] = {"seed": point.seed, "backend": backend, "threads": threads}
    yield _saved(plot.critical_figure(point), folder / "critical.png")
    progress("sampling states at three temperatures ...")
    states = illustration.snapshots(family, beta_c, **device)
    yield _saved(plot.snapshot_figure(states), folder / "snapshots.png")
    progress("sampling correlations ...")
    decay = illustration.decay(family, beta_c, nu=point.universality.nu, **device)
    yield _saved(plot.correlation_figure(decay), folder / "correlation.png")


def _saved(figure: Any, path: Path) -> Path:
    save_figure(figure, path)
    return path


@contextmanager
def status_line(shown: bool) -> Iterator[Callable[[object], None]]:
    """A function that shows its argument on one line of standard error, erased at the end."""

    def show(status: object) -> None:
        if shown:
            # a longer line would wrap, and only its last part be erased
            line = str(status)[: shutil.get_terminal_size().columns - 1]
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
