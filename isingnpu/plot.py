"""Figures: each plot function takes data and an Axes, draws, and returns the Axes; each figure
function lays out a whole figure and returns it.

matplotlib is an optional dependency (extra `plot`); it is imported when a figure is drawn. The
exact value is drawn wherever one is known; bands and bars are one standard error. Colours are from
the Okabe-Ito set, those of sizes from one sequential map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isingnpu.run import Run
from isingnpu.statistics import Estimate

if TYPE_CHECKING:
    from isingnpu.criticality import CriticalPoint, SusceptibilityPeak
    from isingnpu.criticality.illustration import Decay, Snapshot
    from isingnpu.criticality.result import Curve
    from isingnpu.geometry import Geometry

Array = NDArray[np.float64]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#555555"
LIGHTEST = 0.85  # of the colour map of sizes: the rest is too pale on white
PIXELS = 2  # per distance of sites that are not on a square grid

DISTANCE = "distance $r$ (lattice constants)"

# quantity -> (name of the curve, name of the collapsed curve)
LABELS = {
    "binder": ("Binder cumulant $U_4$",) * 2,
    "xi": (r"$\xi / {}$",) * 2,
    "chi": (r"$\chi' = N\,(\langle m^2 \rangle - \langle |m| \rangle^2)$",
            r"$\chi'\,{}^{{-{:.4g}}}$"),
}  # fmt: skip


def figure(
    columns: int = 1, rows: int = 1, *, width: float = 6.0, height: float = 3.6
) -> tuple[Any, Any]:
    """(Figure, Axes, list or (rows, columns) of Axes) on the Agg canvas, without touching
    pyplot's state. width, height: inches per panel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=120)
    FigureCanvasAgg(fig)
    axes = fig.subplots(rows, columns)
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
    return fig, axes


# Annealing and costs.


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
    _legend_above(ax, columns=2)  # bars and their numbers may reach anywhere inside
    return ax


# Critical points.


def critical_figure(point: CriticalPoint) -> Any:
    """Binder cumulant, xi/L (of lattices) and chi', against beta above and collapsed below."""
    quantities = ["binder", "xi", "chi"] if _size_symbol(point) == "L" else ["binder", "chi"]
    fig, axes = figure(len(quantities), 2, width=4.3, height=3.3)
    for (above, below), quantity in zip(axes.T, quantities, strict=True):
        plot_curves(point, above, quantity)
        plot_collapse(point, below, quantity)
    entries: dict[str, Any] = {}
    for ax in axes[0]:
        handles, labels = ax.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    rows = -(-len(entries) // (5 * len(quantities) // 2))  # 2.5 entries per panel fit into one
    fig.legend(
        entries.values(), entries.keys(), loc="outside upper center", frameon=False,
        ncols=-(-len(entries) // rows),
    )  # fmt: skip
    return fig


def plot_curves(point: CriticalPoint, ax: Any, quantity: str = "xi") -> Any:
    """One of LABELS against beta for all sizes, the beta_c found and the known one; the highest
    point of a curve is marked where it lies inside. Labelled, without a legend."""
    symbol = _size_symbol(point)
    for colour, curve in zip(_colours(len(point.curves)), point.curves, strict=True):
        value, error = _with_error(curve, quantity)
        label = f"${symbol} = {curve.size}$"
        _band(ax, curve.beta, value, error, colour, label)
        known = np.flatnonzero(np.isfinite(value))  # a curve may end before its range
        top = known[np.argmax(value[known])] if known.size else -1
        if quantity == "chi" and known.size and known[0] < top < known[-1]:
            ax.plot(curve.beta[top], value[top], "o", color=colour, ms=4)
    beta_c = point.beta_c
    low, high = beta_c.value - beta_c.error, beta_c.value + beta_c.error
    ax.axvspan(low, high, color=GREY, alpha=0.25, lw=0)
    ax.axvline(beta_c.value, color=GREY, lw=1, label=rf"$\beta_c = {beta_c}$")
    if point.exact is not None:
        ax.axvline(point.exact.value, color="black", ls="--", lw=1, label=_known(point))
    _level(point, ax, quantity)
    ax.set(xlabel=r"inverse temperature $\beta$ ($1/J$)")
    ax.set_ylabel(LABELS[quantity][0].format(symbol))
    ax.ticklabel_format(axis="x", useOffset=False)
    ax.locator_params(axis="x", nbins=5)
    return ax


def plot_collapse(point: CriticalPoint, ax: Any, quantity: str = "xi") -> Any:
    """The same in scaled variables: R, or chi' L^-(2 - eta), against (beta - beta_c) L^(1/nu).

    beta_c is the one found, the exponents those of the universality class: nothing is fitted."""
    symbol, u = _size_symbol(point), point.universality
    for colour, curve in zip(_colours(len(point.curves)), point.curves, strict=True):
        value, error = _with_error(curve, quantity)
        unit = float(curve.size) ** (2 - u.eta) if quantity == "chi" else 1.0
        x = (curve.beta - point.beta_c.value) * curve.size ** (1 / u.nu)
        _band(ax, x, value / unit, error / unit, colour, f"${symbol} = {curve.size}$")
    ax.axvline(0, color=GREY, lw=1)
    _level(point, ax, quantity)
    exponent = "" if u.nu == 1 else f"^{{1/{u.nu:.4g}}}"
    ax.set_xlabel(rf"$(\beta - \beta_c)\,{symbol}{exponent}$ ($1/J$)")
    ax.set_ylabel(LABELS[quantity][1].format(symbol, 2 - u.eta))
    return ax


def _band(ax: Any, x: Array, value: Array, error: Array, colour: Any, label: str) -> None:
    ax.plot(x, value, color=colour, label=label)
    ax.fill_between(x, value - error, value + error, color=colour, alpha=0.3, lw=0)


def _level(point: CriticalPoint, ax: Any, quantity: str) -> None:
    """R* of the class, if it was given."""
    given = point.ratios
    known = None if given is None else {"binder": given.binder, "xi": given.xi}.get(quantity)
    if known is not None:
        ax.axhline(known.value, color="black", ls=":", lw=1, label="$R^*$ given")


def _with_error(curve: Curve, quantity: str) -> tuple[Array, Array]:
    columns = {
        "binder": (curve.binder, curve.binder_error),
        "xi": (curve.xi, curve.xi_error),
        "chi": (curve.chi, curve.chi_error),
    }
    if quantity not in columns:
        raise ValueError(f"quantity must be one of {', '.join(columns)}; got {quantity!r}")
    return columns[quantity]


def _size_symbol(point: CriticalPoint) -> str:
    """L of a lattice; N of a graph, which has no xi."""
    return "L" if any(np.isfinite(curve.xi).any() for curve in point.curves) else "N"


def _known(point: CriticalPoint) -> str:
    known = point.exact
    assert known is not None
    if known.error == 0:
        return f"exact {known.value:.8f}"
    return f"literature {Estimate(known.value, known.error)}"


def _colours(n: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["viridis"](x) for x in np.linspace(0, LIGHTEST, n)]


def peak_figure(peak: SusceptibilityPeak) -> Any:
    """The susceptibility of one graph over all betas that were searched."""
    fig, ax = figure(width=6.4, height=4.2)
    plot_peak(peak, ax)
    return fig


def plot_peak(peak: SusceptibilityPeak, ax: Any) -> Any:
    """chi' against beta: reweighted band and searched points, the maximum with its error, and the
    spectral bounds of beta_c. The axis ends where chi' has fallen to 1 % of its maximum."""
    curve, height = peak.curve, peak.height.value
    beta, chi, error = (np.array(x) for x in zip(
        *((b, c.value, c.error) for b, c in peak.points), strict=True))  # fmt: skip
    ax.errorbar(beta, chi, error, fmt="o", ms=4, lw=1, color=COLOURS[0], label="searched")
    _band(ax, curve.beta, curve.chi, curve.chi_error, COLOURS[0], "reweighted")
    ax.errorbar(
        peak.beta.value, height, peak.height.error, peak.beta.error,
        fmt="D", ms=5, lw=1, color=COLOURS[1], label=rf"maximum at $\beta = {peak.beta}$",
    )  # fmt: skip
    bounds = {"mean field": (peak.mean_field, ":"), "Bethe": (peak.bethe, "--")}
    if peak.bracket is not None and np.isfinite(peak.bracket.high):
        bounds["upper bound"] = (peak.bracket.high, "-.")
    for name, (at, style) in bounds.items():
        ax.axvline(at, color=GREY, ls=style, lw=1, label=f"{name} {at:.5g}")
    shown = beta[chi > 0.01 * height]
    ends = [*(at for at, _ in bounds.values()), shown.min(), shown.max()]
    ax.set_xlim(0.95 * min(ends), 1.02 * max(ends))
    ax.set_ylim(bottom=0)
    ax.set_xlabel(r"inverse temperature $\beta$ ($1/J$)")
    ax.set_ylabel(r"$\chi' = \langle M^2 \rangle - \langle |M| \rangle^2$")
    ax.set_title(f"one finite graph: {peak.n} sites, {peak.edges} couplings", loc="left", pad=34)
    _legend_above(ax)
    return ax


# States and correlations.


def snapshot_figure(snapshots: Sequence[Snapshot]) -> Any:
    """Plane cuts of states side by side, with their beta and magnetisation."""
    fig, axes = figure(len(snapshots), width=3.2, height=4.0)
    fig.set_layout_engine("compressed")  # images keep their aspect
    for ax, shot in zip(np.ravel(axes), snapshots, strict=True):
        image = plane_cut(shot.spins, shot.geometry)
        ratio = "" if shot.ratio == 1 else rf"{shot.ratio:g}\,"
        title = (
            rf"${ratio}\beta_c$:  $\beta = {shot.beta:.4f}\,/J$"
            f"\n$m = {shot.magnetization:+.3f}$"
        )
        plot_snapshot(image, image.shape, ax, title)
    shape = " x ".join(str(n) for n in snapshots[0].geometry.shape)
    what = "cells" if len(snapshots[0].spins) != np.prod(snapshots[0].geometry.shape) else "spins"
    cut = "a layer of " if len(snapshots[0].geometry.shape) > 2 else ""
    fig.supxlabel(
        f"{snapshots[0].geometry.family}, {cut}{shape} {what}, {snapshots[0].sweeps} sweeps of "
        "Swendsen-Wang after a random start",
        fontsize="small",
        color=GREY,
    )
    return fig


def plot_snapshot(spins: NDArray[np.int8], shape: Sequence[int], ax: Any, title: str = "") -> Any:
    """A two-dimensional state: up dark, down light. spins: (sites,)."""
    ax.imshow(np.reshape(spins, shape), cmap="Greys", vmin=-1, vmax=1)
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(True)
    return ax


def plane_cut(spins: NDArray[np.int8], geometry: Geometry) -> NDArray[np.int8]:
    """(rows, columns) pixels of a state: each shows the spin of the nearest site.

    Two dimensions: a square window with the area of the box, which repeats periodically; one
    pixel per site on a square lattice. More: the first layer of cells spanned by the last two
    axes, the first site of each cell."""
    assert geometry.vectors is not None
    assert geometry.basis is not None
    d, (rows, columns) = len(geometry.shape), geometry.shape[-2:]
    cells = np.reshape(spins, (*geometry.shape, -1))[(0,) * (d - 2)]  # (rows, columns, basis)
    plane = geometry.vectors[-2:]
    basis = geometry.basis if d == 2 else geometry.basis[:1]
    if len(basis) == 1 and abs(plane[0] @ plane[1]) < 1e-9:
        return np.asarray(cells[:, :, 0])
    # coordinates in the plane: the first vector along x
    axes = np.linalg.qr(plane.T)[0]  # (d, 2) orthonormal
    vectors, places = plane @ axes, (basis - basis[0]) @ axes
    window = np.sqrt(rows * columns * abs(np.linalg.det(vectors)))
    pixels = PIXELS * round(np.sqrt(rows * columns * len(basis)))
    at = (np.arange(pixels) + 0.5) * window / pixels
    points = np.stack(np.meshgrid(at, at, indexing="ij"), axis=-1)  # (pixels, pixels, 2)
    corner = np.floor(points @ np.linalg.inv(vectors)).astype(np.int64)
    best = np.full(points.shape[:2], np.inf)
    image = np.zeros(points.shape[:2], np.int8)
    for k, place in enumerate(places):
        for offset in np.ndindex(3, 3):
            cell = corner + np.array(offset) - 1
            distance = ((cell @ vectors + place - points) ** 2).sum(axis=-1)
            nearer = distance < best
            spin = cells[cell[..., 0] % rows, cell[..., 1] % columns, k]
            best, image = np.where(nearer, distance, best), np.where(nearer, spin, image)
    return image


def correlation_figure(decay: Decay) -> Any:
    """C(r) with its fit on the left, the effective length on the right."""
    fig, (left, right) = figure(2, width=5.0, height=3.8)
    plot_correlation(decay, left)
    plot_effective_length(decay, right)
    shape = " x ".join(str(n) for n in decay.geometry.shape)
    if decay.fit is None:
        reason = fill(f"no fit: {decay.refused}", 130)
        fig.supxlabel(reason, fontsize="small", color=GREY)
    fig.suptitle(rf"{decay.geometry.family} {shape}, $\beta = {decay.beta:.5f}\,/J$")
    return fig


def plot_correlation(decay: Decay, ax: Any) -> Any:
    """C(r) of layers on a logarithmic axis with the fitted A (e^(-r / xi) + e^(-(L - r) / xi))."""
    from matplotlib.ticker import LogLocator, NullFormatter

    seen = decay.correlation > decay.error
    ax.errorbar(
        decay.distance[seen], decay.correlation[seen], decay.error[seen],
        fmt="o", ms=3, lw=1, color=COLOURS[0], label="measured",
    )  # fmt: skip
    ax.set_yscale("log", nonpositive="clip")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    if decay.fit is not None:
        xi = decay.fit.xi.value
        r = np.linspace(0, decay.distance[seen][-1], 200)
        curve = decay.fit.amplitude * (np.exp(-r / xi) + np.exp(-(decay.period - r) / xi))
        first, last = _fit_range(decay)
        ax.plot(r, curve, color=COLOURS[1], lw=1, ls=":")
        inside = (r >= first) & (r <= last)
        ax.plot(r[inside], curve[inside], color=COLOURS[1], label="fit")
    ax.set_xlabel(DISTANCE)
    ax.set_ylabel(r"$C(r) = \sum_y \langle s_0\, s_{(r, y)} \rangle$")
    _legend_above(ax)
    return ax


def plot_effective_length(decay: Decay, ax: Any) -> Any:
    """Length that C(r) / C(r + 1) says, the fitted xi over its range, and the exact one."""
    sure = decay.effective_error < 0.1 * decay.effective
    ax.errorbar(
        decay.distance[:-1][sure], decay.effective[sure], decay.effective_error[sure],
        fmt="o", ms=3, lw=1, color=COLOURS[0], label=r"$\xi(r)$",
    )  # fmt: skip
    if decay.fit is not None:
        xi = decay.fit.xi
        ends = _fit_range(decay)
        low, high = [xi.value - xi.error] * 2, [xi.value + xi.error] * 2
        ax.fill_between(ends, low, high, color=COLOURS[1], alpha=0.3, lw=0)
        label = rf"fit $\xi$ = {xi}, $p$ = {decay.fit.p:.2g}"
        ax.plot(ends, [xi.value] * 2, color=COLOURS[1], label=label)
    if decay.exact is not None:
        label = rf"exact $\xi$ = {decay.exact.value:.5f}"
        ax.axhline(decay.exact.value, color="black", ls="--", lw=1, label=label)
    ax.set(xlabel=DISTANCE, ylabel=r"correlation length $\xi$ (lattice constants)")
    _legend_above(ax)
    return ax


def _legend_above(ax: Any, columns: int = 3) -> None:
    """Where no point, bar or line can be."""
    ax.legend(
        frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize="small",
        columnspacing=1.0,
    )  # fmt: skip


def _fit_range(decay: Decay) -> tuple[float, float]:
    """First and last fitted distance in lattice constants."""
    assert decay.fit is not None
    first, last = decay.fit.distances[0], decay.fit.distances[-1]
    return float(decay.distance[first]), float(decay.distance[last])
