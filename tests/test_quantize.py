"""A model in integers: what is exact, and how large the error is otherwise."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import dimod
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from isingnpu.model import MAX_FIXED_BOUND, MAX_TABLE_BOUND, IsingModel
from tests.strategies import law, models

EPS = 2.0**-52

integers_of: list[tuple[str, Callable[[int], float]]] = [
    ("tenths", lambda k: k * 0.1),
    ("hundredths", lambda k: k / 100),
    ("1/sqrt(N)", lambda k: k / 50**0.5),
    ("dyadic", lambda k: k / 1024),
    ("whole", lambda k: 3 * k),
    ("tiny", lambda k: k * 1e-300),
]


@pytest.mark.parametrize(("name", "value"), integers_of)
@pytest.mark.parametrize("largest", [1, 7, 2000, 200_000])
def test_multiples_of_one_number_quantise_to_the_multipliers(
    name: str, value: Callable[[int], float], largest: int
) -> None:
    k = np.random.default_rng(largest).integers(-largest, largest + 1, 30)
    k[0] = 1  # so that the greatest common divisor is one
    sites = np.arange(30)
    model = IsingModel.from_edges((sites, (sites + 1) % 30, np.array([value(int(x)) for x in k])))
    q = model.quantized
    found = dict(zip(zip(*model.csr.nonzero(), strict=True), q.couplings.tolist(), strict=True))
    wanted = {(i, (i + 1) % 30): int(k[i]) for i in range(30) if k[i]}
    assert {pair: found[pair] for pair in wanted} == wanted
    assert q.error <= EPS * abs(model.csr.data).max()
    assert q.table == (q.bound <= MAX_TABLE_BOUND)


@law
@given(models(st.floats(-1e6, 1e6), least=2))
def test_integers_times_quantum_are_the_model_to_the_stated_error(model: IsingModel) -> None:
    q = model.quantized
    couplings = [
        Fraction(q.quantum) * k - Fraction(x)
        for k, x in zip(q.couplings.tolist(), model.csr.data.astype(float).tolist(), strict=True)
    ]
    fields = [
        Fraction(q.quantum) * k - Fraction(x)
        for k, x in zip(q.fields.tolist(), model.fields.astype(float).tolist(), strict=True)
    ]
    size = max(abs(model.csr.data).max(initial=0), abs(model.fields).max())
    worst = max(map(abs, couplings + fields))
    assert abs(worst - Fraction(q.error)) <= EPS * size  # the error is itself a rounded difference
    assert q.error <= max(model.field_bound * 2.0**-30, size * 2.0**-44)
    rows = abs(sparse.csr_array((q.couplings, model.csr.nonzero()), model.csr.shape)).sum(axis=1)
    assert q.bound == (rows + abs(q.fields)).max() < MAX_FIXED_BOUND


@pytest.mark.parametrize(
    ("multipliers", "unit"),
    # 16 is the largest divisor tried; beyond it a power of two is found all the same
    [((6, 10, 15), 0.1), ((0, 6, 10, 15), 0.1), ((16, 17), 0.1), ((17, 19, 23), 0.125)],
)
def test_quantum_is_the_greatest_common_divisor(multipliers: tuple[int, ...], unit: float) -> None:
    values = np.array(multipliers) * unit
    q = IsingModel(np.zeros((len(values), len(values))), values).quantized
    assert q.fields.tolist() == list(multipliers)
    assert abs(q.quantum - unit) <= EPS * unit  # two roundings: of the product, of the quotient


@law
@given(models(st.integers(-4000, 4000), least=2))
def test_spin_and_binary_forms_quantise_to_the_same_integers(model: IsingModel) -> None:
    sign = np.sign(model.dense)
    couplings = (2 * model.dense + 34 * sign) * 0.1  # so that the smallest value is a field
    fields = np.array([1, *model.fields[1:].tolist()]) * 0.1
    bqm = IsingModel(couplings, fields).to_bqm()
    spin = IsingModel.from_bqm(bqm).quantized
    binary = IsingModel.from_bqm(bqm.change_vartype(dimod.BINARY, inplace=False)).quantized
    assert spin.fields.tolist() == [1, *model.fields[1:].tolist()]
    assert spin.fields.tolist() == binary.fields.tolist()
    assert spin.couplings.tolist() == binary.couplings.tolist()
