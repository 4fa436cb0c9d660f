"""The integer thresholds against 60-digit decimals, and the laws they must keep.

u = 2^-53 is the rounding unit of float64. With a = 2 beta q |x| the exponent of a threshold:

table        a is made by three products (relative error 3 u), exp and the sum and quotient of
             the heat bath add at most 2 u, 1 u, 1 u; floor takes less than 2^-64
fixed point  y is low by less than one unit of 2^-48 and C is rounded: the exponent is off by at
             most 1.25 ln 2 2^-48 < 2^-48; five products and the tables take less than 2^-58
"""

from __future__ import annotations

import math
from decimal import Context, Decimal

import numpy as np
import pytest
from engine import FROZEN, NARROW, graph
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import exact_threshold

from isingnpu import IsingModel, exact
from isingnpu.dynamics import (
    DYNAMICS,
    HEAT_BATH,
    METROPOLIS,
    exponential_tables,
    fixed_point_constant,
    fixed_point_exponential,
    get_dynamics,
    threshold_digest,
    thresholds,
)

C60 = Context(prec=60)
U = 2.0**-53
RULES = ("metropolis", "heat-bath")
BETAS = [0.0, 1e-9, 0.1, 0.4406867935097715, 1.0, 7.3, 300.0, 1e6]


def probability(rule, beta, quantum, x):
    """Of acceptance at v = x (Metropolis) or of spin up at h = x, as a 60-digit decimal."""
    a = C60.multiply(C60.multiply(Decimal(2 * beta), Decimal(quantum)), Decimal(x))
    if rule == "metropolis":
        return C60.exp(-a) if x > 0 else Decimal(1)
    return C60.divide(Decimal(1), C60.add(Decimal(1), C60.exp(max(-a, Decimal(-300)))))


def distance(threshold, p):
    """|T / 2^64 - p|."""
    return float(abs(C60.subtract(C60.divide(Decimal(threshold), Decimal(2**64)), p)))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("beta", [b for b in BETAS if b < 1000])
@pytest.mark.parametrize("quantum", [1.0, 0.1, 1 / math.sqrt(24)])
def test_table_is_the_law_to_float64_rounding(rule, beta, quantum):
    i, j = np.triu_indices(5, 1)
    model = IsingModel.from_edges((i, j, quantum * (1 + np.arange(10))), 5).quantized
    assert model.table
    limits = thresholds(DYNAMICS[rule], [beta], model)
    for x in range(-model.bound if rule == "heat-bath" else 1, model.bound + 1):
        p = probability(rule, beta, model.quantum, x)
        a = 2 * beta * model.quantum * abs(x)
        steep = float(p) * (float(1 - p) if rule == "heat-bath" else 1.0)
        bound = steep * (3 * a + 2) * U + 2 * float(p) * U + 2.0**-64
        assert distance(exact_threshold(limits, 0, x), p) <= bound


def fixed_points(beta, quantum):
    """v where the formula changes its way: table edges, the cutoff, the largest field."""
    scale = 2 * beta * quantum / math.log(2)  # of v in powers of two
    turns = [1 / scale, 63 / scale, 64 / scale] if scale > 2.0**-40 else []
    near = [int(t) + d for t in turns if t < 2**31 for d in (-1, 0, 1)]
    return [v for v in (*near, *(1 << k for k in range(31)), 2**31 - 1, 12345) if v > 0]


@pytest.mark.parametrize("beta", [1e-12, 1e-9, 1e-4, 0.4406867935097715, 1.0, 300.0, 1e6, 1e300])
@pytest.mark.parametrize("quantum", [1.0, 2.0**-29, 1 / 3])
def test_fixed_point_exponential_is_the_law_to_one_part_in_2_to_the_48(beta, quantum):
    constant = fixed_point_constant(beta, quantum)
    for v in fixed_points(beta, quantum):
        p = probability("metropolis", beta, quantum, v)
        e = fixed_point_exponential(v, constant)
        assert distance(e, p) <= float(p) * 2.0**-48 + 2.0**-64


@settings(max_examples=200)
@given(v=st.integers(0, 2**31 - 1), beta=st.floats(0, 1e3), exponent=st.integers(-40, 2))
def test_fixed_point_exponential_falls_with_the_field(v, beta, exponent):
    constant = fixed_point_constant(beta, 2.0**exponent)
    assert fixed_point_exponential(v + 1, constant) <= fixed_point_exponential(v, constant)


def test_fixed_point_constant_is_the_rounded_product():
    ln2 = C60.ln(Decimal(2))
    for beta, quantum in [(0.1, 1.0), (1 / 3, 2.0**-20), (1e-9, 0.7)]:
        exact_value = C60.divide(Decimal(2 * beta) * Decimal(quantum) * Decimal(2**80), ln2)
        assert abs(fixed_point_constant(beta, quantum) - exact_value) <= Decimal("0.5000001")
    assert fixed_point_constant(1e9, 1.0) == 1 << 95
    assert fixed_point_exponential(1, 1 << 95) == 0


def test_exponential_tables_are_floors_of_powers_of_two():
    tables = exponential_tables()
    for k in range(6):
        for x in (0, 1, 77, 128, 255):
            power = C60.power(Decimal(2), 64 - C60.divide(Decimal(x), Decimal(256 ** (k + 1))))
            assert int(tables[k, x]) == min(int(power), 2**64 - 1)


@pytest.mark.parametrize("beta", [1e-9, 1e-6, 1e-4, 0.01, 1.0])
def test_fixed_point_heat_bath_is_the_floor_law_of_its_exponential(beta):
    limits = thresholds(HEAT_BATH, [beta], NARROW.quantized)
    constant = fixed_point_constant(beta, NARROW.quantized.quantum)
    for h in [0, *fixed_points(beta, NARROW.quantized.quantum)]:
        e = fixed_point_exponential(h, constant)
        up = 2**128 // (2**64 + e)  # 2^64 / (1 + e), then 2^64 e / (1 + e)
        down = 2**64 * e // (2**64 + e)
        # the product r mulhi e loses less than one unit, divided by 1 + e >= 1
        assert 0 <= exact_threshold(limits, 0, h) - up <= 2
        assert 0 <= exact_threshold(limits, 0, -h) - down <= 2 or h == 0
        p = probability("heat-bath", beta, NARROW.quantized.quantum, h)
        assert distance(exact_threshold(limits, 0, h), p) <= 2.0**-48


@pytest.mark.parametrize("model", [graph(9).quantized, NARROW.quantized], ids=["table", "fixed"])
def test_heat_bath_treats_up_and_down_alike(model):
    # table: two errors of (p (1 - p) (3 a + 2) + 2 p) u, p (1 - p) a < 0.23, in all 4.4 u
    # fixed point: each T is at most 2 above its floor; e(0) = 2^64 - 6 adds 3 at h = 0
    units = 5 * 2**11 if model.table else 7
    limits = thresholds(HEAT_BATH, [0.0, 1e-6, 0.1, 2.0], model)
    for row in range(4):
        for h in (0, 1, 2, 5, model.bound):
            total = exact_threshold(limits, row, h) + exact_threshold(limits, row, -h)
            assert abs(total - 2**64) <= units


# A backend may settle a decision by the first byte of r alone.


def bracketed(limits, row, x):
    """Whether the first-byte bounds of field value x hold its exact threshold."""
    bins = limits.early.shape[1]
    place = (x >> int(limits.shift[row])) + limits.origin
    entry = int(limits.early[row, min(max(place, 0), bins - 1)])
    low, high = entry & 0xFFFF, entry >> 16
    threshold = exact_threshold(limits, row, x)
    return low << 56 <= threshold <= high + 1 << 56


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("most", [1, 3, 40])
def test_first_byte_bounds_never_disagree_with_a_table(rule, most):
    model = graph(12, most=most, most_field=most).quantized
    betas = [*BETAS, *(-math.log(k / 256) / 2 for k in (1, 64, 128, 255))]
    limits = thresholds(DYNAMICS[rule], betas, model)
    for row in range(len(betas)):
        assert all(bracketed(limits, row, x) for x in range(-model.bound, model.bound + 1))


@settings(max_examples=150)
@given(
    rule=st.sampled_from(RULES),
    model=st.sampled_from([FROZEN.quantized, NARROW.quantized, graph(9, real=True).quantized]),
    logarithm=st.floats(-30, 14) | st.integers(-30, 14),
    data=st.data(),
)
def test_first_byte_bounds_never_disagree_with_the_fixed_point_formula(
    rule, model, logarithm, data
):
    beta = 2.0**logarithm / model.quantum / 16
    limits = thresholds(DYNAMICS[rule], [beta, 0.0], model)
    width, bound = 1 << int(limits.shift[0]), model.bound
    fields = data.draw(st.lists(st.integers(-bound, bound), min_size=20, max_size=20))
    edges = data.draw(st.lists(st.integers(-1100, 1100), min_size=20, max_size=20))
    near = [k * width + d for k in edges for d in (-1, 0) if abs(k * width + d) <= bound]
    for x in (*fields, *near, 0, 1, -1, bound, -bound):
        assert bracketed(limits, 0, x)
        assert bracketed(limits, 1, x)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("k", [1, 3, 128, 200, 255])
def test_first_byte_bounds_hold_beside_whole_bytes(rule, k):
    # betas for which the threshold at v = 1, or h = 1, is k / 256 to the last bits of float64
    p = k / 256
    beta = -math.log(p) / 2 if rule == "metropolis" else abs(math.log(1 / p - 1) / 2)
    betas = [beta * (1 + step * U) for step in range(-20, 21, 2)]
    for model in (FROZEN.quantized, graph(7, most=1, most_field=1).quantized):
        limits = thresholds(DYNAMICS[rule], betas, model)
        assert all(bracketed(limits, row, x) for row in range(len(betas)) for x in (-1, 0, 1, 2))


def test_minus_zero_is_the_beta_zero():
    model = FROZEN.quantized
    zero, minus = (thresholds(METROPOLIS, [beta], model) for beta in (0.0, -0.0))
    assert np.array_equal(zero.early, minus.early)
    assert np.array_equal(zero.shift, minus.shift)


# Detailed balance of the integers.


def integer_rule(rule, model):
    """Flip probabilities made of thresholds: T(v) / 2^64 for the rows of `site_kernel`."""

    def flip(energy_difference, beta):
        limits = thresholds(DYNAMICS[rule], [beta], model.quantized)
        v = np.rint(energy_difference / (2 * model.quantized.quantum)).astype(int)
        return np.array([exact_threshold(limits, 0, x) / 2**64 for x in _asked(rule, v)])

    return flip


def _asked(rule, v):
    """The value that a threshold is looked up at. A heat bath at s = -1 asks for h = -v."""
    return v.tolist() if rule == "metropolis" else (-v).tolist()


SMALL = {
    "frustrated, fields": graph(4, share=1.0, seed=3),
    "one site": IsingModel.from_edges([], 1, fields=[2]),
    "tenths": IsingModel.from_edges(
        [(0, 1, 0.3), (1, 2, -0.7), (0, 2, 0.2)], 3, fields=[0.1, 0, -0.4]
    ),
    "real": graph(4, share=1.0, real=True),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 1.7])
@pytest.mark.parametrize("name", SMALL)
def test_integer_thresholds_keep_detailed_balance(name, beta, rule):
    model = SMALL[name]
    quantized = IsingModel.from_edges(
        _integer_edges(model), model.n, fields=_integer_fields(model)
    )
    weights = exact.boltzmann(quantized, beta)
    for site in range(model.n):
        kernel = exact.site_kernel(quantized, beta, site, integer_rule(rule, quantized)).toarray()
        current = weights[:, None] * kernel
        # fixed point: 2^-48 of the flow; table: a few roundings of each factor
        slack = 4 * 2.0**-48 if not quantized.quantized.table else 64 * U
        assert np.abs(current - current.T).max() <= slack * current.max()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", SMALL)
def test_sweep_of_integer_thresholds_leaves_boltzmann_weights(name, rule):
    model, beta = SMALL[name], 0.6
    weights = exact.boltzmann(model, beta)
    matrix = exact.sweep_matrix(model, beta, integer_rule(rule, model))
    # quantized couplings are exact to 2^-30 of the largest field, tables to rounding
    slack = 1e-15 if model.quantized.table else beta * model.n_edges * model.quantized.quantum
    assert np.abs(weights @ matrix - weights).max() <= slack


def _integer_edges(model):
    """Edges of the model that the integers stand for, exactly."""
    csr, q = model.csr, model.quantized
    row = np.repeat(np.arange(model.n), np.diff(csr.indptr))
    upper = row < csr.indices
    return row[upper], csr.indices[upper], (q.quantum * q.couplings)[upper]


def _integer_fields(model):
    return model.quantized.quantum * model.quantized.fields


# What a beta is.


@pytest.mark.parametrize("rule", RULES)
def test_thresholds_do_not_depend_on_the_betas_beside_them(rule):
    model = graph(12, most=40).quantized
    betas = np.random.default_rng(1).uniform(0, 2, 37)
    together = thresholds(DYNAMICS[rule], betas, model)
    for k, beta in enumerate(betas):
        assert np.array_equal(
            thresholds(DYNAMICS[rule], [beta], model).table[0], together.table[k]
        )


@pytest.mark.parametrize("model", [graph(9), graph(9, real=True)], ids=["table", "fixed"])
def test_digest_names_the_integers_that_decide(model):
    q = model.quantized
    one = threshold_digest(METROPOLIS, [0.3, 0.4], q)
    assert one == threshold_digest(METROPOLIS, [[0.4, 0.3], [0.3, 0.4]], q)
    others = [
        threshold_digest(METROPOLIS, [0.3, 0.4 + 1e-12], q),
        threshold_digest(METROPOLIS, [0.3], q),
        threshold_digest(HEAT_BATH, [0.3, 0.4], q),
        threshold_digest(METROPOLIS, [0.3, 0.4], graph(10, most=4, real=not q.table).quantized),
    ]
    assert len({one, *others}) == 5


@pytest.mark.parametrize("rule", RULES)
def test_flip_probability_is_the_rate_of_the_master_equation(rule):
    energy = np.array([-7.0, -0.5, 0.0, 0.3, 4.0, 900.0])
    rate = {"metropolis": exact.metropolis_probability, "heat-bath": exact.heat_bath_probability}
    expected = rate[rule](energy, 0.7)
    got = DYNAMICS[rule].flip_probability(energy, 0.7)
    assert np.allclose(got, expected, rtol=8 * U, atol=2 * U)


def test_dynamics_have_names():
    assert get_dynamics("glauber") is get_dynamics("heat-bath") is HEAT_BATH
    assert get_dynamics(METROPOLIS) is METROPOLIS
    with pytest.raises(ValueError, match="'wolf', allowed are metropolis, heat-bath, glauber"):
        get_dynamics("wolf")


@pytest.mark.parametrize(
    ("betas", "text"),
    [(-0.5, "beta = -0.5"), ([0.1, math.inf], r"beta\[1\] = inf"),
     ([[0.1], [math.nan]], r"beta\[1, 0\] = nan")],
)  # fmt: skip
def test_betas_that_are_no_inverse_temperature_are_named(betas, text):
    with pytest.raises(ValueError, match=text):
        thresholds(
            METROPOLIS, np.atleast_1d(betas) if np.ndim(betas) else betas, graph(4).quantized
        )
