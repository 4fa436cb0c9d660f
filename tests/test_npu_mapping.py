"""Attention, normalisation, feed-forward layer and output against enumeration and formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from isingnpu.criticality.softmax import softmax as row_of
from isingnpu.npu.attention import (
    attend,
    attend_sampled,
    average_law,
    draw_selectors,
    draws_needed,
    metric_statistics,
    selector_law,
    selector_scores,
    selector_statistics,
)
from isingnpu.npu.draws import Draw
from isingnpu.npu.layernorm import Thermostat
from isingnpu.npu.output import (
    OutputBlock,
    cross_entropy,
    heat_bath_law,
    hidden_energy,
    selector_energy,
)
from isingnpu.npu.units import Binary, HardTower, Tower
from isingnpu.rng import Stream

rng = np.random.default_rng(23)
DRAW = Draw(77, Stream.SELECTOR)


def plain_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Vaswani et al., equation 1, for one query."""
    weights = np.exp(k @ q / np.sqrt(len(q)))
    return weights @ v / weights.sum()


def test_expected_value_of_the_selector_is_scaled_dot_product_attention() -> None:
    q, k, v = rng.normal(size=(3, 16)), rng.normal(size=(3, 10, 16)), rng.normal(size=(3, 10, 5))
    found = attend(selector_scores(q, k, np.eye(16)), v, beta=1 / 4)
    wanted = [plain_attention(*row) for row in zip(q, k, v, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_heads_are_selectors_with_couplings_of_their_own() -> None:
    q, k, M = rng.normal(size=(3, 4)), rng.normal(size=(3, 6, 4)), rng.normal(size=(2, 4, 4))
    both = selector_scores(q, k, M, bias=np.arange(6))
    for head in range(2):
        wanted = selector_scores(q, k, M[head], bias=np.arange(6))
        np.testing.assert_allclose(both[:, head], wanted, atol=1e-13)
        assert both[1, head, 2] == pytest.approx(q[1] @ M[head] @ k[1, 2] + 2)


def test_a_masked_key_is_never_drawn() -> None:
    scores = np.array([0.3, -np.inf, 0.1, -np.inf])
    assert set(np.unique(draw_selectors(scores, 1000, DRAW))) == {0, 2}
    assert attend(scores, np.eye(4))[1] == 0


@pytest.mark.parametrize("beta", [0.3, 2.0])
@pytest.mark.statistical(alpha=1e-7)
def test_draws_of_a_selector_follow_the_softmax(beta: float) -> None:
    scores, draws = rng.normal(size=12), 100_000
    seen = np.bincount(draw_selectors(scores, draws, DRAW, beta), minlength=12)
    p = np.exp(beta * scores)
    assert stats.chisquare(seen, draws * p / p.sum()).pvalue > 1e-7


@pytest.mark.statistical(alpha=1e-7)
def test_the_error_of_sampled_attention_falls_as_the_root_of_the_draws() -> None:
    """For rows of independent selectors the mean square error times S has expectation
    mean_d Var(V_d), whatever S. Four z-scores by the spread over rows, normal for 4,000 rows but
    for their skewness, for which alpha has a factor of 4 to spare."""
    rows, L = 4000, 16
    scores, values = rng.normal(size=(rows, L)), rng.normal(size=(rows, L, 4))
    exact, wanted = attend(scores, values), draws_needed(scores, values, 1.0)
    for step, draws in enumerate((1, 4, 16, 64)):
        sampled = attend_sampled(scores, values, draws, Draw(9, Stream.SELECTOR, step=step))
        excess = draws * ((sampled - exact) ** 2).mean(-1) - wanted
        z = excess.mean() / (excess.std() / np.sqrt(rows))
        assert abs(z) < stats.norm.isf(1e-7 / 2 / 4 / 4)


def test_a_peaked_selector_needs_fewer_draws() -> None:
    scores, values = rng.normal(size=(200, 64)), rng.normal(size=(200, 64, 8))
    keys = [np.median(row_of(scores, beta).n_eff) for beta in (0.5, 2, 8)]
    draws = [np.median(draws_needed(scores, values, 0.1, beta)) for beta in (0.5, 2, 8)]
    assert keys == sorted(keys, reverse=True)
    assert draws == sorted(draws, reverse=True)


def test_law_of_the_output_sums_the_selectors_out() -> None:
    """Two heads and an output spin, enumerated state by state."""
    s, v, b = rng.normal(size=(2, 3)), rng.normal(size=(2, 3, 4)), rng.normal(size=4)
    weight = np.zeros(4)
    for y in range(4):
        for i in range(3):
            for j in range(3):
                weight[y] += np.exp(b[y] + s[0, i] + v[0, i, y] + s[1, j] + v[1, j, y])
    np.testing.assert_allclose(selector_law(s, v, b), np.log(weight / weight.sum()), atol=1e-13)


def test_a_mixture_exceeds_the_average_by_half_a_variance() -> None:
    s, v = rng.normal(size=9), rng.normal(size=(9, 5))
    p = np.exp(s) / np.exp(s).sum()
    variance = p @ v**2 - (p @ v) ** 2
    gaps = {}
    for scale in (1.0, 0.02, 0.01):
        mixture = selector_energy(s, scale * v) - selector_energy(s, 0 * v)
        gaps[scale] = mixture - scale * (p @ v)
        assert np.all(gaps[scale] > 0)
    # error of the second order: third cumulant, |kappa_3| scale / 3 relative to the variance
    error = [abs(gaps[x] / x**2 - variance / 2).max() for x in (0.02, 0.01)]
    assert error[1] < 0.01
    assert error[0] / error[1] == pytest.approx(2, rel=0.1)


def test_mixture_and_average_agree_where_the_law_is_peaked() -> None:
    s, v = np.array([[0.0, 60.0, 1.0]]), rng.normal(size=(1, 3, 4))
    np.testing.assert_allclose(selector_law(s, v), average_law(s, v), atol=1e-12)
    assert abs(selector_law(0 * s, v) - average_law(0 * s, v)).max() > 0.01


def test_posterior_minus_prior_is_the_gradient_of_the_log_likelihood() -> None:
    """Central differences in every direction, float64: relative error below 1e-6."""
    B, heads, L, q, d = 3, 2, 4, 5, 3
    query, keys = rng.normal(size=(B, d)), rng.normal(size=(B, L, d))
    M, v = rng.normal(size=(heads, d, d)), rng.normal(size=(B, heads, L, q))
    base, y = rng.normal(size=(B, q)), np.array([4, 0, 2])

    def likelihood(M: np.ndarray, v: np.ndarray, base: np.ndarray) -> float:
        law = selector_law(selector_scores(query, keys, M), v, base)
        return float(law[np.arange(B), y].sum())

    found = selector_statistics(selector_scores(query, keys, M), v, y, base)
    rules = [metric_statistics(found.scores, query, keys), found.values, found.base]
    places = [M, v, base]
    for k, rule in enumerate(rules):
        slopes = np.zeros_like(places[k])
        for index in np.ndindex(slopes.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [x.copy() for x in places]
                moved[k][index] += step
                ends.append(likelihood(*moved))
            slopes[index] = (ends[0] - ends[1]) / 2e-5
        assert np.linalg.norm(rule - slopes) < 1e-6 * np.linalg.norm(slopes)


def test_posterior_and_prior_are_marginals_of_the_enumerated_model() -> None:
    s, v, b, y = rng.normal(size=(1, 4)), rng.normal(size=(1, 4, 3)), rng.normal(size=3), 2
    model = OutputBlock(b, np.zeros(0), np.zeros((3, 0)), ((s[0], v[0]),)).model()
    posterior, prior = model.clamped({0: y}).marginal((0,)), model.marginal((1,))
    found = selector_statistics(s, v, np.array(y), b)
    np.testing.assert_allclose(found.scores[0], posterior - prior, atol=1e-14)


@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_thermostat_pins_the_heat_capacity(spherical: bool, dtype: type) -> None:
    gamma = 1.5
    f = (rng.normal(size=(50, 128)) * 10.0 ** rng.integers(-3, 4, (50, 1)) + 2).astype(dtype)
    bath = Thermostat(gamma, spherical)
    mu, beta = bath.state(f)
    out = bath(f)
    assert out.dtype == dtype
    second = (f.astype(float) ** 2).mean(1) if spherical else f.astype(float).var(1)
    np.testing.assert_allclose(beta[:, 0] ** 2 * second, gamma**2, rtol=1e-6)
    if spherical:
        assert not mu.any()
        np.testing.assert_allclose((out.astype(float) ** 2).sum(1), 128 * gamma**2, rtol=1e-6)
    else:
        wanted = gamma * (f - f.mean(1, keepdims=True)) / f.std(1, keepdims=True)
        # float32 means lose 2^-24 of 2 against a deviation of 1e-3: relative 1e-4
        np.testing.assert_allclose(out, wanted, atol=1e-12 if dtype == np.float64 else 1e-3)


def test_the_pinned_value_is_the_heat_capacity_of_a_hot_selector() -> None:
    """C of a Potts spin in the normalised fields over gamma^2: 1 + gamma kappa_3 + O(gamma^2)."""
    f = rng.normal(size=200)
    off = []
    for gamma in (0.02, 0.01):
        at = row_of(Thermostat(gamma)(f), 1.0)
        off.append(float(at.heat_capacity) / gamma**2 - 1)
    skewness = stats.skew(f)
    assert off[1] == pytest.approx(0.01 * skewness, abs=0.01**2 * 3)
    assert off[0] / off[1] == pytest.approx(2, rel=0.2)


def test_a_frozen_thermostat_leaves_out_the_mean_and_the_field_direction_only() -> None:
    """The frozen rule says beta k. Central differences give its projection off two directions."""
    f, k, bath = rng.normal(size=30), rng.normal(size=30), Thermostat(1.2)
    _, beta = bath.state(f)
    jacobian = np.array(
        [(bath(f + e) - bath(f - e)) / 2e-5 for e in 1e-5 * np.eye(30)]
    )  # (from, to)
    exact, frozen = jacobian @ k, beta[0] * k
    unit = bath(f) / np.linalg.norm(bath(f))
    projected = frozen - frozen.mean() - unit * (unit @ frozen)
    np.testing.assert_allclose(exact, projected, atol=1e-8)


def test_blocks_without_spread_are_refused_or_bounded() -> None:
    with pytest.raises(ValueError, match="block \\[1\\] has equal fields"):
        Thermostat()([[0.0, 1.0], [2.0, 2.0]])
    assert np.array_equal(Thermostat(floor=1e-5)([2.0, 2.0]), [0.0, 0.0])
    with pytest.raises(ValueError, match="gamma > 0"):
        Thermostat(0.0)


def random_block(hidden: int, q: int, selectors: int = 0) -> OutputBlock:
    return OutputBlock(
        rng.normal(size=q),
        rng.normal(size=hidden),
        rng.normal(size=(q, hidden)),
        tuple((rng.normal(size=4), rng.normal(size=(4, q))) for _ in range(selectors)),
    )


@pytest.mark.parametrize(("hidden", "q", "selectors"), [(12, 5, 0), (5, 3, 2), (0, 4, 1)])
def test_traced_output_is_the_enumerated_one(hidden: int, q: int, selectors: int) -> None:
    block = random_block(hidden, q, selectors)
    wanted = np.log(block.model().marginal((0,)))
    np.testing.assert_allclose(block.log_law(), wanted, atol=1e-12)


def test_free_energy_of_twelve_hidden_spins_is_the_enumerated_one() -> None:
    f, U = rng.normal(size=12), rng.normal(size=(3, 12))
    h = (np.arange(4096)[:, None] >> np.arange(12)) & 1
    wanted = [np.log(np.exp(h @ (f + u)).sum()) for u in U]
    np.testing.assert_allclose(hidden_energy(f, U), wanted, rtol=1e-13)
    np.testing.assert_allclose(hidden_energy(f, U, Binary()), np.log1p(np.exp(f + U)).sum(1))
    with pytest.raises(ValueError, match="no heat bath"):
        hidden_energy(f, U, HardTower(2))


def test_energies_of_blocks_add_and_their_laws_multiply() -> None:
    """Two blocks with hidden spins and a selector of their own, enumerated together."""
    one, two = random_block(3, 4, 1), random_block(4, 4)
    together = OutputBlock(
        one.bias + two.bias,
        np.concatenate([one.fields, two.fields]),
        np.concatenate([one.readout, two.readout], axis=1),
        one.selectors + two.selectors,
    )
    stream = heat_bath_law(one.log_law(), two.log_law())
    wanted = np.log(together.model().marginal((0,)))
    np.testing.assert_allclose(stream, wanted, atol=1e-12)


def test_cross_entropy_of_the_heat_bath_is_that_of_a_softmax() -> None:
    stream, y = rng.normal(size=(6, 4)), np.array([0, 3, 1, 1, 2, 0])
    p = np.exp(stream) / np.exp(stream).sum(1, keepdims=True)
    wanted = -np.mean([np.log(p[k, label]) for k, label in enumerate(y)])
    assert cross_entropy(heat_bath_law(stream), y) == pytest.approx(wanted, rel=1e-13)


def test_towers_enter_the_stream_with_their_free_energy() -> None:
    f, U = rng.normal(size=2), rng.normal(size=(3, 2))
    offsets = np.arange(3) + 0.5
    h = (np.arange(8)[:, None] >> np.arange(3)) & 1
    wanted = [sum(np.log(np.exp(h @ (f[j] + u[j] - offsets)).sum()) for j in range(2)) for u in U]
    np.testing.assert_allclose(hidden_energy(f, U, Tower(3)), wanted, rtol=1e-12)
