"""The figure of a comparison: quality against seconds, spin states and joules, a panel for each
kind of cost, so that measured and modelled numbers never share an axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from isingnpu.npu.comparison import BACKPROP, COUNTS, TWO_PHASE, Row
from isingnpu.plot import COLOURS, figure

DECADE = 10  # costs that differ less stand on a linear axis, whose ticks can be told apart
MARKERS = {TWO_PHASE: "o", BACKPROP: "s", COUNTS: "^"}

_COSTS: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("CPU time of training (s), measured", lambda row: row.cpu_s or None),
    ("spin states decided, counted", lambda row: row.events.flips or None),
    ("joules, measured", lambda row: row.joules),
    ("joules, modelled, digital 45 nm", lambda row: row.digital_joules or None),
)


def plot_comparison(rows: Sequence[Row]) -> Any:
    """A Figure with four panels; the rows are of one task. Bars are one standard error over
    seeds, thin lines the learning curves that were recorded."""
    from matplotlib.ticker import LogFormatter

    fig, axes = figure(2, 2, width=5.4, height=3.8)
    for ax, (label, cost) in zip(axes.ravel(), _COSTS, strict=True):
        drawn = [(k, row, cost(row)) for k, row in enumerate(rows)]
        for k, row, x in drawn:
            if x is not None:
                _point(ax, k, row, x)
        if label.startswith("CPU"):
            _curves(ax, rows)
        ax.sharey(axes[0, 0])
        ax.set(xlabel=label, ylabel=rows[0].metric)
        costs = [x for _, _, x in drawn if x is not None]
        if costs and max(costs) >= DECADE * min(costs):
            ax.set_xscale("log")
            ax.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.4)))
        elif not costs:
            ax.text(0.5, 0.5, "not measured: no sensor", transform=ax.transAxes, ha="center")
            ax.set_xticks([])
    fig.suptitle(rows[0].task)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return fig


def save_comparison(rows: Sequence[Row], path: Path) -> None:
    """Draw the rows of one task into a .png, .pdf or .svg file."""
    plot_comparison(rows).savefig(path)


def _point(ax: Any, k: int, row: Row, x: float) -> None:
    score = row.score
    ax.errorbar(
        x,
        score.value,
        yerr=score.error if len(row.scores) > 1 else None,
        marker=MARKERS[row.learning],
        color=COLOURS[k % len(COLOURS)],
        linestyle="none",
        capsize=2,
        markersize=6,
        markerfacecolor=COLOURS[k % len(COLOURS)] if k < len(COLOURS) else "white",
        label=f"{row.name} ({row.learning})",
    )


def _curves(ax: Any, rows: Sequence[Row]) -> None:
    for k, row in enumerate(rows):
        for seed in row.curve:
            points = [(p.cpu_s, p.score) for p in seed if p.score is not None and p.cpu_s > 0]
            if points:
                ax.plot(*zip(*points, strict=True), color=COLOURS[k % len(COLOURS)], lw=0.8)
