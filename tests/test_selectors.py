"""Selector heads and hidden spins: statistics against finite differences of an independent log p.

Everything runs in float64. The device's exp and tanh are fits with errors of 4e-7, which is what
the tolerances of 1e-5 and 1e-4 are for; the rules themselves are exact (selectors), or have an
error of O(beta^2) (hidden spins).
"""

from __future__ import annotations

import numpy as np
import pytest

from isingnpu.npu.device import find_device
from isingnpu.npu.draws import Draw, normals, uniforms
from isingnpu.npu.selectors import Selectors, key_distances, output_field, prior
from isingnpu.npu.text_net import Batch, TextNet, TextSpec
from isingnpu.npu.units import Binary
from isingnpu.rng import Stream

Q, WINDOW, MATCH = 5, 9, 3
SPEC = TextSpec(
    Q,
    context=3,
    hidden=4,
    unit=Binary(),
    selectors=Selectors(heads=2, window=WINDOW, match=MATCH, values_to_hidden=True),
)
device = find_device("cpu")


def text(n: int = 80) -> np.ndarray:
    return (uniforms((n,), Draw(5, Stream.DATA)) * Q).astype(np.uint8)


def net(spec: TextSpec = SPEC) -> TextNet:
    """A net whose couplings are all of order one."""
    machine = TextNet(spec, device, seed=3, dtype=np.float64)
    for block, (name, array) in enumerate(sorted(machine.couplings.items())):
        noise = normals(array.shape, Draw(11, Stream.WEIGHTS, block=block))
        machine.couplings[name] = array + 0.4 * noise
    return machine


# one hidden spin is left out, the others count for it
KEEP = np.array([[4 / 3, 0.0, 4 / 3, 4 / 3]])


def batch() -> Batch:
    return Batch(text(), np.array([20, 50]), 8, keep=KEEP)


def log_p(machine: TextNet, positions: Batch) -> float:
    """Sum of log p(x_t): written out position by position, head by head."""
    spec, w, x = machine.spec, machine.couplings, positions.tokens
    total = 0.0
    for start in positions.starts:
        for t in range(start, start + positions.length):
            g, f = w["b"].copy(), w["c"].copy()
            for d in range(spec.context):
                g += w["J"][d, x[t - 1 - d]]
                f += w["W"][d, x[t - 1 - d]]
            for m in range(2):
                score = np.array([
                    sum(w[f"M{m}"][lag, x[t - 1 - lag], x[a - 1 - lag]] for lag in range(MATCH))
                    - w[f"kappa{m}"][0] * 2 * np.arcsinh((t - a) / 2)
                    for a in range(t - WINDOW, t)
                ])  # fmt: skip
                p = np.exp(score) / np.exp(score).sum()
                values = w[f"V{m}"][x[t - WINDOW : t]]
                g += np.log(p @ np.exp(values))
                f += p @ w[f"X{m}"][x[t - WINDOW : t]]
            g += w["U"] @ (KEEP[0] / (1 + np.exp(-f)))
            total += g[x[t]] - np.log(np.exp(g).sum())
    return float(total)


def finite_difference(machine: TextNet, name: str, index: tuple[int, ...]) -> float:
    step, array = 1e-5, machine.couplings[name]
    kept = array[index]
    values = []
    for sign in (1, -1):
        array[index] = kept + sign * step
        values.append(log_p(machine, batch()))
    array[index] = kept
    return (values[0] - values[1]) / (2 * step)


@pytest.mark.parametrize("name", ["M0", "M1", "V0", "V1", "kappa0", "kappa1", "X0", "X1",
                                  "W", "U", "J", "b", "c"])  # fmt: skip
def test_statistics_are_the_gradient_of_log_p_in_every_direction(name: str) -> None:
    machine = net()
    moved, _ = machine.statistics(batch(), beta=1e-3)
    array = machine.couplings[name]
    wanted = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        # couplings to tokens that do not occur have no statistics; a sample of those that do
        if array.size < 60 or moved[name][index] != 0:
            wanted[index] = finite_difference(machine, name, index)
        if np.count_nonzero(wanted) == 40:
            break
    seen = wanted != 0
    assert seen.any()
    if name in ("U", "W", "X0", "X1"):
        assert not moved[name][..., KEEP[0] == 0].any()
    error = np.abs(moved[name][seen] - wanted[seen]).max()
    assert error < 1e-4 * np.abs(wanted).max()


def test_a_coupling_of_tokens_that_do_not_meet_is_left_alone() -> None:
    x = text()
    x[x == 4] = 0
    moved, _ = net().statistics(Batch(x, np.array([20]), 8), 0.5)
    for name in ("M0", "M1", "V0", "X0", "W", "J"):
        of_absent = moved[name][:, 4] if name[0] in "MWJ" else moved[name][4]
        assert not of_absent.any()


def test_the_error_of_nudged_phases_falls_with_the_square_of_beta() -> None:
    """error = c beta^2 + O(beta^4): halving beta divides it by 4, up to the next order, which is
    beta^2 relative: a few per cent at 0.2."""
    machine = net()
    exact = machine.statistics(batch(), 1e-3)[0]["W"].copy()
    errors = [
        np.abs(machine.statistics(batch(), beta)[0]["W"] - exact).max() for beta in (0.2, 0.1)
    ]
    assert 3.9 < errors[0] / errors[1] < 4.1


def test_the_device_computes_the_heat_bath_of_the_specification() -> None:
    machine, where = net(), batch()
    machine.output_fields(where)
    positions = (where.starts[:, None] + np.arange(where.length)).reshape(-1)
    for m in range(2):
        w = machine.couplings
        for b, t in enumerate(positions):
            p, mass = prior(where.tokens, t, w[f"M{m}"], w[f"kappa{m}"][0], WINDOW)
            np.testing.assert_allclose(machine._space[f"prior{m}"][b], p, rtol=1e-6)
            np.testing.assert_allclose(machine._space[f"mass{m}"][b], mass, rtol=1e-6)


def test_float32_follows_float64() -> None:
    """Statistics sum 16 terms of order one, each with some twenty float32 roundings."""
    double, single = net(), TextNet(SPEC, device, seed=3)
    for name, array in double.couplings.items():
        single.couplings[name] = array.astype(np.float32)
    wanted, loss = double.statistics(batch(), 0.5)
    wanted = {name: array.copy() for name, array in wanted.items()}
    got, loss32 = single.statistics(batch(), 0.5)
    assert loss32 == pytest.approx(loss, abs=1e-5)
    for name in wanted:
        np.testing.assert_allclose(got[name], wanted[name], atol=16 * 20 * 2.0**-23)


def test_the_output_field_is_a_mixture_over_selected_tokens() -> None:
    values = normals((Q, Q), Draw(1, Stream.DATA)).astype(np.float64)
    assert np.allclose(output_field(np.eye(Q), values), values)  # one token surely
    half = output_field(np.array([0.5, 0.5, 0, 0, 0]), values)
    np.testing.assert_allclose(half, np.logaddexp(values[0], values[1]) - np.log(2))


def test_distances_are_those_of_points_of_the_half_plane() -> None:
    """cosh d = 1 + |z - w|^2 / (2 Im z Im w) between z = i and w = i + D."""
    steps = np.arange(WINDOW, 0, -1)
    np.testing.assert_allclose(np.cosh(key_distances(WINDOW)), 1 + steps**2 / 2, rtol=1e-14)


@pytest.mark.parametrize(("wrong", "says"), [
    ({"heads": 0}, "at least 1"), ({"window": 0}, "at least 1"), ({"match": 0}, "at least 1"),
    ({"start": "warm"}, "'match' or 'zero'"),
])  # fmt: skip
def test_wrong_heads_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Selectors(**wrong)  # type: ignore[arg-type]
