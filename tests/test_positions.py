"""Closed forms of the three flows against the explicit flow of the upper half plane."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isingnpu import lattice
from isingnpu.npu.positions import (
    Elliptic,
    Flow,
    Hyperbolic,
    Parabolic,
    flow_of,
    hyperbolic_distance,
    position_energy,
    position_kernel,
    ring_model,
    translate,
)

FLOWS: list[Flow] = [
    Parabolic(1.0),
    Parabolic(0.25),
    Hyperbolic(0.2),
    Hyperbolic(0.2, 1.0),
    Elliptic(2 * math.pi / 16),
    Elliptic(0.3, 0.4),
]
DELTA = np.arange(1, 65)


def explicit(matrix: np.ndarray, start: complex, steps: int = 64) -> np.ndarray:
    """Distances between z_0 and M^t z_0, t = 1..steps, by iteration and by arccosh."""
    points = [start]
    for _ in range(steps):
        points.append(complex(translate(matrix, points[-1])))
    z = np.array(points)
    cosh = 1 + abs(z[1:] - start) ** 2 / (2 * z[1:].imag * start.imag)
    return np.arccosh(cosh)


@pytest.mark.parametrize("flow", FLOWS, ids=str)
def test_closed_form_is_the_explicit_flow(flow: Flow) -> None:
    # arccosh loses half the digits near 1: compare cosh d, whose value grows up to e^13
    wanted = np.cosh(explicit(*flow.flow))
    np.testing.assert_allclose(np.cosh(flow.distance(DELTA)), wanted, rtol=1e-12)
    assert np.array_equal(flow.distance(-DELTA), flow.distance(DELTA))


@pytest.mark.parametrize("flow", FLOWS, ids=str)
def test_distance_depends_on_the_difference_of_positions_alone(flow: Flow) -> None:
    matrix, z = flow.flow
    for t in (1, 7, 20):
        moved = complex(translate(np.linalg.matrix_power(matrix, t), z))
        again = complex(translate(np.linalg.matrix_power(matrix, t + 5), z))
        assert hyperbolic_distance(moved, again) == pytest.approx(flow.distance(5), rel=1e-12)


def test_the_trace_tells_the_class_in_any_frame() -> None:
    """Conjugating M by an isometry g and moving z_0 by g changes no distance."""
    rng = np.random.default_rng(3)
    for flow in FLOWS:
        matrix, start = flow.flow
        a, b, c = rng.normal(size=3)
        a = 1 + abs(a)
        g = np.array([[a, b], [c, (1 + b * c) / a]])
        frame = g @ matrix @ np.linalg.inv(g)
        found = flow_of(-frame, complex(translate(g, start)))
        assert type(found) is type(flow)
        np.testing.assert_allclose(
            found.distance(DELTA), flow.distance(DELTA), rtol=1e-9, atol=1e-12
        )


def test_power_law_exponential_and_period() -> None:
    far, kappa = np.array([1000.0, 10_000.0]), 0.75
    power = np.log(position_kernel(Parabolic(0.5), kappa, far))
    # 2 asinh(x) = 2 ln 2x + 1 / 2x^2 + ..., x = D / 2y
    assert np.diff(power)[0] / math.log(10) == pytest.approx(-2 * kappa, abs=1e-6)
    assert power[1] == pytest.approx(-2 * kappa * math.log(far[1] / 0.5), abs=1e-8)
    decay = position_energy(Hyperbolic(0.2, 1.0), kappa, np.array([200.0, 300.0]))
    assert np.diff(decay)[0] / 100 == pytest.approx(-kappa * 0.2, rel=1e-12)
    period = position_energy(Elliptic(2 * math.pi / 16), kappa, DELTA)
    np.testing.assert_allclose(period[16:], period[:-16], atol=1e-12)
    assert period[15] == pytest.approx(0, abs=1e-12)
    assert period[7] == period.min()


def test_on_its_axis_a_hyperbolic_flow_is_the_linear_bias() -> None:
    np.testing.assert_allclose(
        position_energy(Hyperbolic(0.2), 1.5, DELTA), -1.5 * 0.2 * DELTA, rtol=1e-14
    )


def test_an_elliptic_flow_is_affine_in_the_cosine_of_the_rotation() -> None:
    flow = Elliptic(0.3, 0.8)
    wanted = 1 + math.sinh(0.8) ** 2 * (1 - np.cos(0.3 * DELTA))
    np.testing.assert_allclose(np.cosh(flow.distance(DELTA)), wanted, rtol=1e-13)


def test_flows_that_are_none_are_refused() -> None:
    for matrix, start in (
        (np.diag([2.0, 2.0]), 1j),
        (-np.eye(2), 1j),
        (np.diag([2.0, 0.5]), 1 - 1j),
    ):
        with pytest.raises(ValueError, match=r"determinant|moves no point|upper half plane"):
            flow_of(matrix, start)
    with pytest.raises(ValueError, match="n >= 3"):
        ring_model(Parabolic(), 1.0, 2)
    with pytest.raises(ValueError, match="antiperiodic"):
        ring_model(Parabolic(), 1.0, 8, boundary="open")


@pytest.mark.parametrize("boundary", ["periodic", "antiperiodic"])
def test_a_short_kernel_on_a_ring_is_the_chain_of_the_lattice(boundary: str) -> None:
    """e^{-kappa l} = 1 for neighbours and e^{-100} of that for the rest."""
    n, flow = 8, Hyperbolic(1.0)
    model = ring_model(flow, 100.0, n, J=math.exp(100.0), boundary=boundary)
    chain = lattice.chain(n, boundary=boundary)
    np.testing.assert_allclose(model.dense, chain.dense, atol=1e-30)


def test_a_seam_shifts_the_momenta_by_half_a_step() -> None:
    """The eigenvalues are 2 sum_D K(D) cos(k D), k = 2 pi m / n, or 2 pi (m + 1/2) / n."""
    n, flow, kappa = 9, Parabolic(0.5), 0.8
    D = np.arange(1, n)
    for boundary, shift in (("periodic", 0.0), ("antiperiodic", 0.5)):
        found = np.linalg.eigvalsh(ring_model(flow, kappa, n, boundary=boundary).dense)
        k = 2 * math.pi * (np.arange(n) + shift) / n
        wanted = 2 * (position_kernel(flow, kappa, D) * np.cos(np.outer(k, D))).sum(1)
        np.testing.assert_allclose(found, np.sort(wanted), atol=1e-12)
