"""Figures: each function takes data and an Axes, draws, and returns the Axes.

matplotlib is an optional dependency (extra `plot`); it is imported when a figure is drawn. The
exact value is drawn wherever one is known. Colours are from the Okabe-Ito set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.run import Run

if TYPE_CHECKING:
    from isingnpu.criticality import CriticalPoint

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#555555"


def figure(columns: int = 1, *, width: float = 6.0, height: float = 3.6) -> tuple[Any, Any]:
    """(Figure, Axes or list of Axes) on the Agg canvas, without touching pyplot's state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width * columns, height), layout="constrained", dpi=120)
    FigureCanvasAgg(fig)
    axes = fig.subplots(1, columns)
    for ax in np.atleast_1d(axes):
        ax.spines[["top", "right"]].set_visible(False)
    return fig, axes


def plot_anneal(run: Run, ax: Any) -> Any:
    """Energy per site against temperature during an anneal: median, 10-90 % and best read.

    run: recorded with observe="energy", every=1; the exact ground energy is drawn if known."""
    energy = run.series["energy"] / run.model.n  # (replicas, samples)
    temperature = 1.0 / run.betas[: energy.shape[1]]
    low, middle, high = np.quantile(energy, [0.1, 0.5, 0.9], axis=0)
    ax.fill_between(temperature, low, high, color=COLOURS[0], alpha=0.25, lw=0, label="10-90 %")
    ax.plot(temperature, middle, color=COLOURS[0], label="median read")
    ax.plot(temperature, energy.min(axis=0), color=COLOURS[1], lw=1, label="best read")
    geometry = run.model.geometry
    if geometry is not None and geometry.ground_energy is not None:
        ground = geometry.ground_energy.value / run.model.n
        ax.axhline(ground, color=GREY, ls="--", lw=1, label="exact ground state")
    ax.invert_xaxis()
    ax.set(xlabel="temperature $T$ ($J/k_B$)", ylabel="energy per spin ($J$)")
    ax.legend(frameon=False)
    return ax


def plot_crossing(point: CriticalPoint, ax: Any, quantity: str = "xi") -> Any:
    """Curves R_L(beta) of all sizes with error bands, the found and the exact beta_c."""
    for colour, curve in zip(COLOURS * 4, point.curves, strict=False):
        value, error = getattr(curve, quantity), getattr(curve, f"{quantity}_error")
        ax.plot(curve.beta, value, color=colour, label=f"$L = {curve.size}$")
        ax.fill_between(curve.beta, value - error, value + error, color=colour, alpha=0.3, lw=0)
    beta_c = point.beta_c
    ax.axvspan(
        beta_c.value - beta_c.error, beta_c.value + beta_c.error, color=GREY, alpha=0.25, lw=0
    )
    ax.axvline(beta_c.value, color=GREY, lw=1, label=rf"$\beta_c = {beta_c}$")
    if point.exact is not None:
        known = "exact" if point.exact.error == 0 else "literature"
        label = f"{known} {point.exact.value:.7f}"
        ax.axvline(point.exact.value, color="black", ls="--", lw=1, label=label)
    name = {"xi": r"$\xi / L$", "binder": "Binder cumulant $U_4$"}[quantity]
    ax.set(xlabel=r"inverse temperature $\beta$ ($1/J$)", ylabel=name)
    ax.ticklabel_format(axis="x", useOffset=False)
    ax.legend(frameon=False, fontsize="small")
    return ax


def plot_snapshot(spins: NDArray[np.int8], shape: Sequence[int], ax: Any, title: str = "") -> Any:
    """A two-dimensional state: up dark, down light. spins: (sites,)."""
    ax.imshow(np.reshape(spins, shape), cmap="Greys", vmin=-1, vmax=1, interpolation="nearest")
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(True)
    return ax


def plot_costs(costs: Mapping[str, Mapping[str, float]], ax: Any) -> Any:
    """Counted costs side by side on a logarithmic axis: {row: {quantity: value}}."""
    quantities = list(dict.fromkeys(q for row in costs.values() for q in row))
    height = 0.8 / len(costs)
    for k, (row, values) in enumerate(costs.items()):
        at = np.arange(len(quantities)) + k * height
        bars = ax.barh(
            at, [values.get(q, np.nan) for q in quantities], height, color=COLOURS[k], label=row
        )
        ax.bar_label(bars, fmt="%.3g", padding=3, fontsize="small")
    ax.set_xscale("log")
    ax.set_yticks(np.arange(len(quantities)) + 0.4 - height / 2, quantities)
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set_xlabel("count (logarithmic)")
    # above the axes: bars and their numbers may reach anywhere inside
    ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax
