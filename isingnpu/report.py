"""One page with all studies on embedded inputs: an annealed instance whose ground state is known,
beta_c of the square lattice, and the ledger beside one step of a small transformer.

Written to a folder: report.json, index.html (self-contained) and, with matplotlib, PNG figures.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from isingnpu import criticality, exact, lattice, planted, plot, results
from isingnpu.annealing import anneal
from isingnpu.archive import replacing
from isingnpu.criticality import illustration
from isingnpu.ledger import HOROWITZ_SOURCE, transformer_step
from isingnpu.run import Run

# Frustrated loops with a known ground state, hard enough that only some of the reads find it.
PLANTED_SIZE, PLANTED_SEED = 24, 1
READS, SWEEPS = 128, 2000
SIZES = (8, 16, 32)
SNAPSHOT_SIZE, SNAPSHOT_SWEEPS = 256, 300
# One step of a small character model: 2 layers of width 64, context 64, 65 characters, batch 16.
TRANSFORMER = {"layers": 2, "width": 64, "context": 64, "vocabulary": 65, "batch": 16}

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; color: #222;
       padding: 0 1rem }
h1, h2 { line-height: 1.2 } img { max-width: 100% } .note { color: #555 }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ccc; text-align: right }
th:first-child, td:first-child { text-align: left }
"""


def write_report(
    out: Path,
    *,
    seconds: float = 45.0,
    seed: int | None = None,
    backend: str = "auto",
    threads: int | None = None,
    progress: Callable[[object], None] = lambda status: None,
) -> dict[str, Any]:
    """Run the studies in about `seconds` plus compilation, write the folder, return the JSON.

    Raises ValueError if seconds is not > 0 or `out` is a file."""
    if not seconds > 0:
        raise ValueError(f"seconds must be > 0, got {seconds}")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder")
    device: dict[str, Any] = {"backend": backend, "threads": threads}
    progress("annealing a planted instance ...")
    run = _annealed(seed, device)
    device["seed"] = run.settings.seed
    progress("sampling lattice snapshots ...")
    snapshots = illustration.snapshots(
        "square", exact.critical_beta("square"), size=SNAPSHOT_SIZE, sweeps=SNAPSHOT_SWEEPS,
        **device,
    )  # fmt: skip
    point = criticality.find_beta_c(
        "square", SIZES, budget_s=0.75 * seconds, progress=progress, **device
    )
    made: dict[str, Any] = {
        "anneal": results.anneal_result(
            run, f"frustrated_loops size {PLANTED_SIZE}", _ground(run)
        ),
        "critical": results.critical_result(point),
        "costs": costs(run),
        "provenance": run.provenance,
    }
    progress("writing ...")
    out.mkdir(parents=True, exist_ok=True)
    figures = _figures(out, run, point, snapshots, made["costs"])
    made["files"] = [str(out / name) for name in ("index.html", "report.json", *figures)]
    _write(out / "report.json", json.dumps(made, indent=1, allow_nan=False))
    _write(out / "index.html", _page(made, {name: out / name for name in figures}))
    return made


def _annealed(seed: int | None, device: dict[str, Any]) -> Run:
    model = planted.frustrated_loops(lattice.square(PLANTED_SIZE), seed=PLANTED_SEED)
    once = anneal(model, sweeps=1, replicas=READS, seed=seed, observe="energy", **device)
    return anneal(
        model,
        sweeps=SWEEPS,
        replicas=READS,
        seed=once.settings.seed,
        observe="energy",
        **device,
    )


def _ground(run: Run) -> float:
    geometry = run.model.geometry
    assert geometry is not None
    assert geometry.ground_energy is not None
    return geometry.ground_energy.value


def costs(run: Run) -> list[dict[str, Any]]:
    """Counted costs per event: the annealing run per update and per flip, a transformer step per
    step and per token. Counted quantities only; joules are kept in columns of their own."""
    c = run.ledger.counts
    modelled = run.ledger.to_json()["modelled_joules"]["value"]
    rows = []
    for what, events in (("attempted update", c.attempted), ("accepted flip", c.flips)):
        rows.append(
            {
                "what": f"annealing, per {what}",
                "integer_operations": (5 * c.random_words + c.couplings + c.attempted) / events,
                "flops": 0.0,
                "bytes": c.bytes / events,
                "seconds": run.ledger.cpu_s / events,
                "modelled_joules": modelled / events,
                "measured_joules": _measured(run, events),
            }
        )
    step = transformer_step(**TRANSFORMER)
    tokens = TRANSFORMER["batch"] * TRANSFORMER["context"]
    for what, share in (("training step", 1), ("token", tokens)):
        rows.append(
            {
                "what": f"transformer ({step.parameters} parameters), per {what}",
                "integer_operations": 0.0,
                "flops": step.flops / share,
                "bytes": step.bytes / share,
                "seconds": None,
                "modelled_joules": step.modelled_joules / share,
                "measured_joules": "not measured",
            }
        )
    return rows


def _measured(run: Run, events: int) -> float | str:
    joules = [e.joules for e in run.ledger.energy if e.joules is not None]
    return sum(joules) / events if joules else "not measured"


def _figures(
    out: Path, run: Run, point: Any, snapshots: Sequence[Any], rows: list[dict[str, Any]]
) -> dict[str, str]:
    """Write the PNG files; name -> caption. Empty without matplotlib."""
    try:
        results.require_plots()
    except ValueError:
        return {}
    made = {}
    fig, ax = plot.figure()
    plot.plot_anneal(run, ax)
    made["anneal.png"] = fig, "Energy of all reads during the anneal."
    made["critical.png"] = (
        plot.critical_figure(point),
        "Curves of different sizes cross at the critical point and fall on one when scaled.",
    )
    made["lattice.png"] = (
        plot.snapshot_figure(snapshots),
        f"A {SNAPSHOT_SIZE} x {SNAPSHOT_SIZE} lattice above, at and below the critical "
        "temperature.",
    )
    fig, ax = plot.figure(width=8.0)
    counted = {
        row["what"]: {
            "operations": row["integer_operations"] + row["flops"],
            "bytes": row["bytes"],
        }
        for row in rows
    }
    plot.plot_costs(counted, ax)
    made["costs.png"] = fig, "Counted operations and bytes per event."
    for name, (fig, _) in made.items():
        results.save_figure(fig, out / name)
    return {name: caption for name, (_, caption) in made.items()}


def text(made: dict[str, Any]) -> str:
    """The report for the terminal."""
    width = max(len(row["what"]) for row in made["costs"])
    lines = ["ANNEAL", results.anneal_text(made["anneal"]), "", "CRITICAL"]
    lines += [results.critical_text(made["critical"]), "", "COST PER EVENT (counted)"]
    lines.append(f"{'':{width}}  operations      bytes  modelled J  measured J")
    for row in made["costs"]:
        operations = row["integer_operations"] + row["flops"]
        lines.append(
            f"{row['what']:{width}}  {operations:10.4g} {row['bytes']:10.4g} "
            f"{_number(row['modelled_joules']):>11} {_number(row['measured_joules']):>11}"
        )
    lines += ["", *(f"wrote {name}" for name in made["files"])]
    if not any(name.endswith(".png") for name in made["files"]):
        lines.append("no figures: matplotlib is not installed (pip install 'isingnpu[plot]')")
    return "\n".join(lines)


def _number(value: float | str | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.3g}"


def _page(made: dict[str, Any], figures: dict[str, Path]) -> str:
    """The HTML page, figures inside."""
    images = {name: base64.b64encode(path.read_bytes()).decode() for name, path in figures.items()}

    def image(name: str, alt: str) -> str:
        if name not in images:
            return "<p class=note>No figure: matplotlib is not installed.</p>"
        return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{images[name]}">'

    rows = "".join(
        f"<tr><td>{html.escape(row['what'])}</td><td>{_number(row['integer_operations'])}</td>"
        f"<td>{_number(row['flops'])}</td><td>{_number(row['bytes'])}</td>"
        f"<td>{_number(row['modelled_joules'])}</td><td>{_number(row['measured_joules'])}</td></tr>"
        for row in made["costs"]
    )
    provenance = made["provenance"]
    machine = provenance["machine"]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>isingnpu report</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>
<h1>isingnpu report</h1>
<p class=note>Version {provenance["version"]}, commit {provenance["commit"]}, seed
{provenance["seed"]}, backend {provenance["backend"]}, {html.escape(machine["processor"])},
{machine["threads"]} threads.</p>
<h2>Annealing an instance with a known ground state</h2>
<pre>{html.escape(results.anneal_text(made["anneal"]))}</pre>
{image("anneal.png", "energy per spin against temperature")}
<h2>Critical point of the square lattice</h2>
<pre>{html.escape(results.critical_text(made["critical"]))}</pre>
{image("critical.png", "finite-size crossings")}
{image("lattice.png", "spin configurations at three temperatures")}
<h2>Cost per event</h2>
<table><tr><th></th><th>integer operations</th><th>FLOPs</th><th>bytes</th>
<th>modelled J</th><th>measured J</th></tr>{rows}</table>
{image("costs.png", "counted operations and bytes")}
<p class=note>Operations and bytes are counted: for annealing by the kernel (five multiplies per
random word, one addition per coupling read and per update), for the transformer from its shape
(forward and backward, AdamW, float32). The two do different work; the table says what an event
costs, not that one replaces the other. Modelled joules: {HOROWITZ_SOURCE}.</p>
</body></html>
"""


def _write(path: Path, content: str) -> None:
    with replacing(path) as file:
        file.write(content.encode() + b"\n")
