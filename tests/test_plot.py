"""Figures of critical points: what is drawn is what was given, and nothing hides anything."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from planted_point import BETA_C, GIVEN, binder_form, chi_form, length_form, planted_point
from scipy.spatial import cKDTree

from isingnpu import lattice, plot
from isingnpu.criticality.correlation import ExponentialLength
from isingnpu.criticality.illustration import Decay, Snapshot
from isingnpu.model import Reference
from isingnpu.statistics import Estimate

COLUMNS = {"binder": "U_4", "xi": r"\xi", "chi": r"\chi'"}
FORMS = {"binder": binder_form, "xi": length_form, "chi": chi_form}


def lines(ax, symbol="L"):
    """The curves of the sizes on an Axes."""
    return [line for line in ax.lines if line.get_label().startswith(f"${symbol} = ")]


def vertical(ax):
    """(x, label) of the vertical lines on an Axes."""
    return [(x[0], line.get_label()) for line in ax.lines if len(x := line.get_xdata()) == 2]


@pytest.mark.parametrize("quantity", COLUMNS)
def test_curves_and_their_bands_are_the_numbers_given(quantity):
    point = planted_point()
    _, ax = plot.figure()
    assert plot.plot_curves(point, ax, quantity) is ax
    drawn = lines(ax)
    assert [line.get_label() for line in drawn] == ["$L = 8$", "$L = 16$", "$L = 32$"]
    for line, band, curve in zip(drawn, ax.collections, point.curves, strict=True):
        value, error = getattr(curve, quantity), getattr(curve, f"{quantity}_error")
        assert np.array_equal(line.get_xdata(), curve.beta)
        assert np.array_equal(line.get_ydata(), value)
        corners = {tuple(v) for v in band.get_paths()[0].vertices}
        assert corners >= set(zip(curve.beta, value + error, strict=True))
        assert corners >= set(zip(curve.beta, value - error, strict=True))
        assert np.array_equal(band.get_facecolor()[0][:3], line.get_color()[:3])
    assert COLUMNS[quantity] in ax.get_ylabel()
    assert "$1/J$" in ax.get_xlabel()


@pytest.mark.parametrize(
    ("known", "label"),
    [
        (Reference(0.4999, 0.0, ""), "exact 0.49990000"),
        (Reference(0.4999, 2e-5, ""), "literature 0.49990(2)"),
    ],
)
def test_beta_c_and_the_known_value_are_lines(known, label):
    _, ax = plot.figure()
    plot.plot_curves(planted_point(exact=known), ax, "xi")
    assert vertical(ax) == [(BETA_C, r"$\beta_c = 0.5000(10)$"), (known.value, label)]
    (span,) = ax.patches
    assert span.get_x() == BETA_C - 1e-3
    assert span.get_x() + span.get_width() == pytest.approx(BETA_C + 1e-3, rel=1e-14)


@pytest.mark.parametrize("quantity", COLUMNS)
@pytest.mark.parametrize("dimension", [2, 3])
def test_scaled_curves_of_a_planted_form_are_one_function(quantity, dimension):
    point = planted_point(dimension=dimension)
    _, ax = plot.figure()
    plot.plot_collapse(point, ax, quantity)
    nu = point.universality.nu
    for line, size in zip(lines(ax), point.sizes, strict=True):
        x = line.get_xdata()
        assert np.ptp(x) == pytest.approx(0.02 * size ** (1 / nu), rel=1e-12)
        assert np.allclose(line.get_ydata(), FORMS[quantity](x), rtol=1e-12, atol=0)


@pytest.mark.parametrize("ends", [0, 1])
def test_only_a_maximum_inside_a_curve_of_chi_is_marked(ends):
    point = planted_point((4, 64))  # the maximum lies at x = -1/8, L = 4 reaches -1/25
    for curve in point.curves:  # which samples may not reach
        curve.chi[:ends] = curve.chi[len(curve.chi) - ends :] = np.nan
    _, ax = plot.figure()
    plot.plot_curves(point, ax, "chi")
    marks = [line for line in ax.lines if line.get_marker() == "o"]
    top = int(np.nanargmax(point.curves[1].chi))
    assert [(m.get_xdata()[0], m.get_ydata()[0]) for m in marks] == [
        (point.curves[1].beta[top], point.curves[1].chi[top])
    ]


def test_crossing_values_that_were_given_are_drawn_in_both_rows():
    fig = plot.critical_figure(planted_point(ratios=GIVEN))
    levels = []
    for ax in fig.axes:
        dotted = [line for line in ax.lines if line.get_linestyle() == ":"]
        levels.append([line.get_ydata()[0] for line in dotted])
    # rows of (binder, xi, chi)
    assert levels == [[0.61], [0.9], [], [0.61], [0.9], []]


def test_a_graph_has_no_panel_of_xi_and_its_size_is_the_number_of_sites():
    fig = plot.critical_figure(planted_point((64, 256), dimension=0))
    assert len(fig.axes) == 4
    assert all(len(lines(ax, "N")) == 2 for ax in fig.axes)
    assert not any(r"\xi" in ax.get_ylabel() for ax in fig.axes)


def test_quantities_that_do_not_exist_are_refused():
    _, ax = plot.figure()
    with pytest.raises(ValueError, match="one of binder, xi, chi; got 'energy'"):
        plot.plot_curves(planted_point(), ax, "energy")


@pytest.mark.parametrize("sizes", [(8, 16, 32), (4, 6, 8, 12, 16, 24, 32, 48, 64)])
@pytest.mark.parametrize("dimension", [0, 3])
def test_the_legend_names_everything_once_and_touches_no_panel(sizes, dimension):
    known = Reference(0.4999123, 1e-7, "")
    fig = plot.critical_figure(
        planted_point(sizes, dimension=dimension, exact=known, ratios=GIVEN, error=1e-6)
    )
    fig.canvas.draw()
    (legend,) = fig.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert len(texts) == len(set(texts)) == len(sizes) + 3  # beta_c, the known one, R*
    box = legend.get_window_extent()
    assert fig.bbox.x0 <= box.x0
    assert box.x1 <= fig.bbox.x1
    assert not any(box.overlaps(ax.get_tightbbox()) for ax in fig.axes)


def assert_panels_are_apart(fig):
    """No two panels, with their titles, labels and legends, overlap or leave the figure, and no
    legend takes the room of its panel."""
    fig.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in fig.axes]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert np.ptp([ax.get_position().width for ax in fig.axes]) < 1e-3
    for box in boxes:
        assert fig.bbox.x0 <= box.x0 <= box.x1 <= fig.bbox.x1 + 1
        assert fig.bbox.y0 <= box.y0 <= box.y1 <= fig.bbox.y1 + 1


def test_panels_of_a_critical_point_are_apart():
    assert_panels_are_apart(plot.critical_figure(planted_point()))


# States.


def random_spins(n):
    return np.where(np.random.default_rng(5).random(n) < 0.5, -1, 1).astype(np.int8)


def test_a_cut_of_a_square_lattice_is_the_state():
    model = lattice.square((4, 6))
    spins = random_spins(24)
    assert np.array_equal(plot.plane_cut(spins, model.geometry), spins.reshape(4, 6))


def test_a_cut_of_a_cubic_lattice_is_its_first_layer():
    model = lattice.cubic(4)
    spins = random_spins(64)
    assert np.array_equal(plot.plane_cut(spins, model.geometry), spins.reshape(4, 4, 4)[0])


@pytest.mark.parametrize("build", [lattice.triangular, lattice.honeycomb, lattice.kagome])
def test_each_pixel_shows_the_nearest_site_of_the_repeated_box(build):
    geometry = build(5).geometry
    spins = random_spins(len(geometry.positions))
    image = plot.plane_cut(spins, geometry)
    shifts = np.array(list(itertools.product(range(-2, 3), repeat=2)))
    boxes = shifts @ (np.array(geometry.shape)[:, None] * geometry.vectors)
    # the drawing lies the first vector along x, from the first site
    u = geometry.vectors[0] / np.linalg.norm(geometry.vectors[0])
    v = geometry.vectors[1] - (geometry.vectors[1] @ u) * u
    v /= np.linalg.norm(v)
    images = (geometry.positions - geometry.basis[0])[None] + boxes[:, None]
    tree = cKDTree(images.reshape(-1, 2) @ np.stack([u, v], axis=1))
    window = np.sqrt(abs(np.linalg.det(geometry.vectors)) * 25)
    at = (np.arange(len(image)) + 0.5) * window / len(image)
    pixels = np.stack(np.meshgrid(at, at, indexing="ij"), axis=-1)
    distance, site = tree.query(pixels, k=2)
    sure = distance[..., 1] - distance[..., 0] > 1e-9
    assert sure.mean() > 0.8
    nearest = np.tile(spins, len(shifts))[site[..., 0]]
    assert np.array_equal(image[sure], nearest[sure])


def test_snapshots_say_their_beta_and_magnetisation():
    geometry = lattice.square(4).geometry
    up = np.ones(16, np.int8)
    half = np.where(np.arange(16) < 4, -1, 1).astype(np.int8)
    fig = plot.snapshot_figure(
        [Snapshot(geometry, 0.9, 0.45, half, 200), Snapshot(geometry, 1.0, 0.5, up, 200)]
    )
    titles = [ax.get_title() for ax in fig.axes]
    assert titles[0] == "$0.9\\,\\beta_c$:  $\\beta = 0.4500\\,/J$\n$m = +0.500$"
    assert titles[1] == "$\\beta_c$:  $\\beta = 0.5000\\,/J$\n$m = +1.000$"
    assert np.array_equal(fig.axes[0].images[0].get_array(), half.reshape(4, 4))
    assert_panels_are_apart(fig)


# Correlations.


def planted_decay(*, fit=True):
    """C(r) = 3 (exp(-r / 4) + exp(-(24 - r) / 4)) with errors of 1 %, fitted at r = 2, 4, 6."""
    r = np.arange(13.0)
    c = 3 * (np.exp(-r / 4) + np.exp(-(24 - r) / 4))
    made = ExponentialLength(
        xi=Estimate(4.0, 0.1), amplitude=3.0, distances=(2, 4, 6), chi2=1.0, dof=1, p=0.3,
        effective=np.full(12, 4.0),
    )  # fmt: skip
    return Decay(
        geometry=lattice.square(24).geometry,
        beta=0.4,
        distance=r,
        period=24.0,
        correlation=c,
        error=0.01 * c,
        effective=np.full(12, 4.0),
        effective_error=np.linspace(0.1, 1.0, 12),
        fit=made if fit else None,
        refused="" if fit else "C(2) = 0.1, C(3) = 0.2: no exponential decay there",
        exact=Reference(4.05, 0.0, "Onsager"),
    )


def test_correlations_are_drawn_with_their_errors_and_their_fit():
    decay = planted_decay()
    _, ax = plot.figure()
    plot.plot_correlation(decay, ax)
    (points,) = ax.containers
    assert np.array_equal(points.lines[0].get_xdata(), decay.distance)
    assert np.array_equal(points.lines[0].get_ydata(), decay.correlation)
    bars = np.array(points.lines[2][0].get_segments())  # (points, 2, 2)
    assert np.array_equal(bars[:, 0, 1], decay.correlation - decay.error)
    assert np.array_equal(bars[:, 1, 1], decay.correlation + decay.error)
    (fit,) = [line for line in ax.lines if line.get_label() == "fit"]
    r = fit.get_xdata()
    assert 2 <= r[0] < 2.1
    assert 5.9 < r[-1] <= 6
    planted = 3 * (np.exp(-r / 4) + np.exp(-(24 - r) / 4))
    assert np.allclose(fit.get_ydata(), planted, rtol=1e-14, atol=0)


def test_lengths_are_drawn_with_the_fit_over_its_range_and_the_exact_one():
    decay = planted_decay()
    _, ax = plot.figure()
    plot.plot_effective_length(decay, ax)
    (points,) = ax.containers
    kept = decay.effective_error < 0.4  # a tenth of 4
    assert np.array_equal(points.lines[0].get_xdata(), decay.distance[:-1][kept])
    by_label = {line.get_label(): line for line in ax.lines}
    fit = by_label[r"fit $\xi$ = 4.00(10), $p$ = 0.3"]
    assert list(fit.get_xdata()) == [2.0, 6.0]
    assert list(fit.get_ydata()) == [4.0, 4.0]
    assert by_label[r"exact $\xi$ = 4.05000"].get_ydata()[0] == 4.05


def test_a_refused_fit_shows_its_reason_and_no_curve():
    decay = planted_decay(fit=False)
    fig = plot.correlation_figure(decay)
    labels = [line.get_label() for ax in fig.axes for line in ax.lines]
    assert not any(label.startswith("fit") for label in labels)
    assert fig.get_supxlabel() == f"no fit: {decay.refused}"
    assert_panels_are_apart(fig)


def test_panels_of_correlations_are_apart():
    assert_panels_are_apart(plot.correlation_figure(planted_decay()))


def test_correlations_within_their_error_of_zero_are_left_out():
    decay = planted_decay()
    noisy = replace(decay, error=np.where(decay.distance > 9, decay.correlation, decay.error))
    _, ax = plot.figure()
    plot.plot_correlation(noisy, ax)
    assert ax.containers[0].lines[0].get_xdata().max() == 9
