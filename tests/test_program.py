"""Lattice programs: counting logic against arithmetic, and slots against the couplings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from isingnpu import cell, disorder, lattice
from isingnpu.bitlogic import (
    ONES,
    Classes,
    Slot,
    add_planes,
    at_least,
    coefficients,
    count,
    monomials,
    pack,
    unpack,
)
from isingnpu.layout import choose_layout
from isingnpu.program import FIELD, model_program, uniform_program

WEIGHTS = [(1,), (1, 1), (1,) * 4, (1,) * 6, (1,) * 12, (2, 1, 1), (1, 1, 3, 3), (1, 2, 4, 5)]


def every_input(n):
    """n words whose bits run through all 2^n combinations."""
    bits = np.array(list(itertools.product((0, 1), repeat=n))).T
    width = -(-bits.shape[1] // 64)
    padded = np.zeros((n, 64 * width), bool)
    padded[:, : bits.shape[1]] = bits
    return [pack(row[None], width)[0] for row in padded], bits


def numbers(bits, n):
    """The integers that planes of bits hold, for the first n columns."""
    planes = [np.zeros(n, int) if b is None else unpack(b[None], n)[0].astype(int) for b in bits]
    return sum(plane << k for k, plane in enumerate(planes))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_adders_equal_the_weighted_sum(weights):
    words, bits = every_input(len(weights))
    total = numbers(add_planes(list(zip(weights, words, strict=True))), bits.shape[1])
    assert np.array_equal(total, np.array(weights) @ bits)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_comparison_with_a_number_equals_arithmetic(weights):
    words, bits = every_input(len(weights))
    planes = add_planes(list(zip(weights, words, strict=True)))
    total = np.array(weights) @ bits
    for limit in range(1, sum(weights) + 1):
        reached = unpack(at_least(planes, limit)[None], bits.shape[1])[0]
        assert np.array_equal(reached, total >= limit)


@pytest.mark.parametrize("heat_bath", [False, True])
@pytest.mark.parametrize("present", [(False,) * 4, (True,) * 4, (False, True, False, False)])
def test_count_and_thresholds_select_the_threshold_of_each_field(present, heat_bath):
    slots = [Slot(w, present=p) for w, p in zip((1, 1, 2, 1), present, strict=True)]
    words, bits = every_input(8)
    x, p = words[:4], [w if on else None for w, on in zip(words[4:], present, strict=True)]
    exists = np.where(np.array(present)[:, None], bits[4:], 1)
    weight = np.array([slot.weight for slot in slots])
    v = weight @ (exists * (1 - 2 * bits[:4]))
    classes = Classes(int(weight.sum()), any(present))
    number = classes.number(heat_bath)
    n = numbers(planes := count(slots, x, p), bits.shape[1])
    assert np.array_equal(np.vectorize(classes.value)(n), v)
    assert np.array_equal(n < number, np.ones_like(v, bool) if heat_bath else v > 0)
    drawn = np.random.default_rng(2).integers(0, 2**63, (1, number), dtype=np.uint64)
    polynomial = coefficients(drawn)[0]
    needed = n < number
    for k in range(64):
        digit = [ONES * (d >> np.uint64(k) & np.uint64(1)) for d in polynomial]
        t = np.full_like(words[0], digit[0])
        for term, d in zip(monomials(planes, number), digit[1:], strict=True):
            t = t if term is None else t ^ (term & d)
        wanted = drawn[0][np.minimum(n, number - 1)] >> np.uint64(k) & np.uint64(1)
        assert np.array_equal(unpack(t[None], v.size)[0][needed], wanted[needed])


@pytest.mark.parametrize(("columns", "words"), [(64, 1), (5, 1), (128, 2), (100, 2), (131, 3)])
def test_column_is_bit_column_div_words_of_word_column_mod_words(columns, words):
    bits = np.random.default_rng(1).integers(0, 2, (3, columns)).astype(np.uint8)
    packed = pack(bits, words)
    assert np.array_equal(unpack(packed, columns), bits)
    for c in range(columns):
        column = packed[:, c % words] >> np.uint64(c // words) & np.uint64(1)
        assert np.array_equal(column, bits[:, c])


MODELS = [
    (lattice.square((4, 6)), cell.hypercubic_cell(2), {}),
    (lattice.square((5, 7), boundary="open"), cell.hypercubic_cell(2), {"boundary": "open"}),
    (
        lattice.cubic((4, 2, 6), J=-2, h=2, boundary=("antiperiodic", "open", "antiperiodic")),
        cell.hypercubic_cell(3),
        {"J": -2, "h": 2, "boundary": ("antiperiodic", "open", "antiperiodic")},
    ),
    (lattice.hypercubic((4, 6), J=(1, 3)), cell.hypercubic_cell(2), {"J": (1, 3)}),
    (lattice.triangular((6, 9)), lattice.TRIANGULAR, {}),
    (lattice.triangular((5, 7), boundary="open"), lattice.TRIANGULAR, {"boundary": "open"}),
    (lattice.honeycomb((3, 5)), lattice.HONEYCOMB, {}),
    (lattice.kagome((4, 5), boundary=("antiperiodic", "periodic")), lattice.KAGOME,
     {"boundary": ("antiperiodic", "periodic")}),
    (lattice.diamond(3), lattice.DIAMOND, {}),
]  # fmt: skip


def local_fields(program, spins):
    """sum_j J_ij s_j + h_i in quanta of every site, read off the slots; spins (sites,)."""
    c = program.colouring
    fields = np.zeros(len(spins), np.int64)
    for colour, terms in enumerate(program.terms):
        row = np.arange(c.rows)
        for slot, term in zip(program.slots, terms, strict=True):
            for r, phase in zip(row, c.phases, strict=True):
                columns = np.arange(c.columns(colour, phase))
                value = np.ones(len(columns), np.int64)
                if term.source != FIELD:
                    there = columns + term.shift[r]
                    to, at = term.row[r], c.phases[term.row[r]]
                    most = int(c.columns(term.source, at))
                    value = spins[c.site(term.source, to, there % most, at)].astype(np.int64)
                    if program.seam:
                        value = np.where((there < 0) | (there >= most), -value, value)
                for plane, flips in ((term.sign, True), (term.present, False)):
                    if plane is not None:
                        bit = unpack(plane.bits[plane.index[r]][None], len(columns))[0]
                        value = value * (1 - 2 * bit.astype(int) if flips else bit)
                fields[c.site(colour, r, columns, phase)] += slot.weight * value
    return fields


def matrix_fields(model, spins):
    csr, q = model.csr, model.quantized
    return type(csr)((q.couplings, csr.indices, csr.indptr), csr.shape) @ spins + q.fields


@pytest.mark.parametrize(("model", "unit", "options"), MODELS)
def test_slots_give_the_fields_of_the_couplings(model, unit, options):
    if not isinstance(unit, cell.Cell):
        unit = cell.nearest_neighbour_cell(unit.vectors, unit.basis)
    spins = np.random.default_rng(4).choice([-1, 1], model.n)
    wanted = matrix_fields(model, spins)
    layout = choose_layout(model, 1, "lattice")
    assert np.array_equal(local_fields(model_program(model, layout), spins), wanted)
    uniform = uniform_program(unit, model.geometry.shape, **options)
    scale = uniform.quantized.quantum / model.quantized.quantum
    assert np.array_equal(scale * local_fields(uniform, spins), wanted)


def test_glass_with_dilution_and_fields_has_the_fields_of_its_couplings():
    model = disorder.edwards_anderson((4, 6, 8), seed=3)
    kept = np.diag(np.random.default_rng(5).integers(0, 2, model.n))  # dilution by sites
    fields = np.random.default_rng(1).integers(-1, 2, model.n)
    couplings = kept @ model.dense @ kept
    diluted = type(model)(couplings, fields, geometry=model.geometry)
    spins = np.random.default_rng(4).choice([-1, 1], model.n)
    program = model_program(diluted, choose_layout(diluted, 1, "lattice"))
    assert np.array_equal(local_fields(program, spins), matrix_fields(diluted, spins))


def test_bond_beyond_the_next_column_has_no_program():
    model = lattice.square((4, 12))
    terms = model.terms
    i, j = np.append(terms.i, 0), np.append(terms.j, 5)
    far = type(model).from_edges(
        (i, j, np.append(terms.couplings, 1)), model.n, geometry=model.geometry
    )
    with pytest.raises(ValueError, match=r"a bond over \(0, -?5\) cells is further"):
        model_program(far, choose_layout(far, 1, "lattice"))


def test_uniform_program_needs_colours_that_close():
    with pytest.raises(ValueError, match=r"no regular colouring closes .* of \(4, 5\)"):
        uniform_program(cell.hypercubic_cell(2), (4, 5))
