"""Potts spins and token blocks against enumeration written out here."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from isingnpu.npu.draws import Draw
from isingnpu.npu.embedding import (
    code_couplings,
    code_field,
    initial_spins,
    one_hot,
    token_codes,
    token_field,
)
from isingnpu.npu.potts import PottsModel, draw_states, heat_bath
from isingnpu.rng import Stream

rng = np.random.default_rng(11)


def random_model(colours: tuple[int, ...], scale: float = 1.0) -> PottsModel:
    pairs = [(i, j) for i in range(len(colours)) for j in range(i + 1, len(colours))]
    return PottsModel(
        tuple(scale * rng.normal(size=q) for q in colours),
        {(i, j): scale * rng.normal(size=(colours[i], colours[j])) for i, j in pairs},
    )


def plain_energy(model: PottsModel, y: tuple[int, ...]) -> float:
    pairs = sum(J[y[i], y[j]] for (i, j), J in model.couplings.items())
    return -float(sum(f[a] for f, a in zip(model.fields, y, strict=True)) + pairs)


def test_law_energy_and_marginals_are_those_of_plain_sums() -> None:
    model, beta = random_model((2, 3, 4)), 0.7
    states = list(product(range(2), range(3), range(4)))
    energies = np.array([plain_energy(model, y) for y in states])
    np.testing.assert_allclose(model.energy(np.array(states)), energies, atol=1e-13)
    assert model.states().tolist() == [list(y) for y in states]
    weights = np.exp(-beta * energies)
    p = (weights / weights.sum()).reshape(2, 3, 4)
    np.testing.assert_allclose(np.exp(model.log_law(beta)), p, atol=1e-14)
    np.testing.assert_allclose(model.marginal((0, 2), beta), p.sum(1), atol=1e-14)


def test_scores_are_minus_energies_up_to_a_constant() -> None:
    model, y = random_model((3, 2, 5, 4)), np.array([2, 1, 3, 0])
    for site, q in enumerate(model.colours):
        varied = np.tile(y, (q, 1))
        varied[:, site] = np.arange(q)
        difference = model.scores(y, site) + model.energy(varied)
        assert np.ptp(difference) < 1e-13


def test_clamped_spins_leave_the_conditional_law() -> None:
    model = random_model((3, 2, 4, 2))
    p = np.exp(model.log_law())[1, :, 3, :]
    rest = model.clamped({0: 1, 2: 3})
    np.testing.assert_allclose(np.exp(rest.log_law()), p / p.sum(), atol=1e-14)


def test_adding_energies_multiplies_laws() -> None:
    first, second = random_model((3, 4)), random_model((3, 4))
    product_of_experts = np.exp(first.log_law() + second.log_law())
    wanted = product_of_experts / product_of_experts.sum()
    np.testing.assert_allclose(np.exp((first + second).log_law()), wanted, atol=1e-14)
    with pytest.raises(ValueError, match="colours"):
        first + random_model((4, 3))


def test_models_that_do_not_fit_are_refused() -> None:
    for fields, couplings in (
        (([1.0],), {}),
        (([0.0, np.inf],), {}),
        (([0.0, 1.0], [0.0, 1.0]), {(1, 0): np.zeros((2, 2))}),
        (([0.0, 1.0], [0.0, 1.0]), {(0, 1): np.zeros((2, 3))}),
    ):
        with pytest.raises(ValueError, match=r"must be|needs sites"):
            PottsModel(tuple(np.array(f) for f in fields), couplings)
    with pytest.raises(ValueError, match="too many"):
        PottsModel((np.zeros(2),) * 30).states()


def test_draws_invert_the_distribution_function() -> None:
    p = np.array([0.25, 0.5, 0.25])
    u = np.array([0.0, 0.2499, 0.2501, 0.7499, 0.7501, 1 - 2.0**-24])
    scores = np.tile(np.log(p) + 700, (6, 1))
    assert draw_states(scores, u).tolist() == [0, 0, 1, 1, 2, 2]
    assert draw_states([-np.inf, 0.0, -np.inf], 0.0) == 1


@pytest.mark.statistical(alpha=1e-7)
def test_heat_bath_sweeps_reach_the_law() -> None:
    """Chi-square of the final states of independent replicas; 40 sweeps of weak couplings: what
    is remembered of the start is below (tanh 1)^40."""
    model, replicas = random_model((3, 2, 4), 0.4), 40_000
    y = np.zeros((replicas, 3), np.int64)
    for step in range(40):
        y = model.sweep(y, Draw(5, Stream.SELECTOR, step=step))
    seen = np.bincount(np.ravel_multi_index(tuple(y.T), model.colours), minlength=24)
    expected = replicas * np.exp(model.log_law()).ravel()
    assert stats.chisquare(seen, expected).pvalue > 1e-7


def test_heat_bath_is_softmax() -> None:
    s = rng.normal(size=(5, 7))
    e = np.exp(1.7 * s)
    np.testing.assert_allclose(heat_bath(s, 1.7), e / e.sum(1, keepdims=True), rtol=1e-13)


def test_a_one_hot_block_is_a_row_look_up_bit_for_bit() -> None:
    sites, colours, hidden = 3, 65, 32
    W = rng.normal(size=(sites, colours, hidden)).astype(np.float32)
    x = rng.integers(0, colours, (40, sites))
    dense = one_hot(x[:, 0], colours) @ W[0]
    for i in range(1, sites):
        dense = dense + one_hot(x[:, i], colours) @ W[i]
    assert np.array_equal(token_field(W, x), dense)
    for wrong in (x[:, :2], x + 65, x.astype(float)):
        with pytest.raises(ValueError, match="tokens must be"):
            token_field(W, wrong)


def test_initial_spins_follow_the_field() -> None:
    f = np.array([-0.5, 0.0, 2.0])
    assert initial_spins(f).tolist() == [-1, 1, 1]
    # they are the ground state of spins in that field alone
    states = np.array(list(product((-1, 1), repeat=3)))
    assert -(states @ f).min() == initial_spins(f) @ f


def test_codes_are_different_and_reach_tables_of_their_rank() -> None:
    for colours, spins in ((65, 7), (64, 6), (5, 8)):
        codes = token_codes(colours, spins, seed=3)
        assert len(np.unique(codes, axis=0)) == colours
        assert set(np.unique(codes)) == {-1, 1}
    with pytest.raises(ValueError, match="at least 7"):
        token_codes(65, 6)
    codes = token_codes(64, 6)
    V, h = rng.normal(size=(6, 9)), rng.normal(size=9)
    x = rng.integers(0, 64, 100)
    couplings, fields, rest = code_couplings(codes @ V + h, codes)
    np.testing.assert_allclose(couplings, V, atol=1e-12)
    np.testing.assert_allclose(fields, h, atol=1e-12)
    assert abs(rest).max() < 1e-12
    np.testing.assert_allclose(code_field(couplings, codes, x), (codes @ V)[x], atol=1e-12)


def test_what_a_code_block_cannot_reach_is_orthogonal_to_its_spins() -> None:
    """The codes of all 2^6 tokens are Walsh functions: the rest has every other Walsh function
    of the table, 64 - 7 of 64 for a random one."""
    codes, table = token_codes(64, 6), rng.normal(size=(64, 400))
    rest = code_couplings(table, codes)[2]
    assert abs(codes.T @ rest).max() < 1e-10
    walsh = np.array(
        [np.prod(codes[:, [k for k in range(6) if n >> k & 1]], axis=1) for n in range(64)]
    )
    power = ((walsh @ table) ** 2).sum(1)
    order = np.array([n.bit_count() for n in range(64)])
    assert (rest**2).sum() * 64 == pytest.approx(power[order > 1].sum(), rel=1e-10)
