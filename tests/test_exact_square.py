"""The square lattice, strips and critical points against a second route or a published number.

Tolerance as in test_exact.py: REL = 1e-12 is the accuracy the package states.
"""

import math

import pytest

from isingnpu import exact

REL = 1e-12
K_C = math.asinh(1) / 2


# Square lattice: torus.

# L, energy and specific heat per site at K_c, 12 decimals: enumeration, an orbit-reduced transfer
# matrix, Kaufman and Beale's count of states agree on them.
CRITICAL_TORUS = [
    (4, -1.565623787638, 0.783266825929),
    (6, -1.516873124568, 0.996581818920),
    (8, -1.491589107440, 1.145559239894),
    (10, -1.476242908361, 1.260019634610),
    (12, -1.465960816486, 1.352950682907),
    (32, -1.433658466146, 1.846767590040),
    (64, -1.423938389833, 2.192211393141),
    (128, -1.419076272085, 2.536331335109),
]

# Kaufman's product over one momentum with signed gamma_0, mpmath, 50 digits:
# rows, columns, beta, J_0, J_1, ln Z, energy, heat capacity.
MPMATH_TORUS = [
    (4, 4, 0.3, 1.0, 1.0, 12.785523325713681, -13.504865177981706, 7.055882457224912),
    (5, 8, 0.44, 1.0, 1.0, 37.821992777256455, -59.902437622759706, 40.92166953746467),
    (8, 5, 0.25, 1.0, 2.0, 34.85628993920394, -66.65801799614306, 27.419590881059936),
    (32, 32, 0.4375, 1.0, 1.0, 948.0199017479652, -1436.3107251557872, 1943.3652213985265),
    (128, 128, 0.4375, 1.0, 1.0, 15159.783364164872, -22557.963659116016, 39973.0643425),
    (64, 64, 1.5, 1.0, 1.0, 12288.718439338822, -8191.797158055503, 3.6648324268882404),
    (16, 24, 0.015625, 1.0, 1.0, 266.2622864124813, -12.00488433955778, 0.1877290011741934),
    (128, 32, 0.5, 0.25, 1.5, 3973.5302919645364, -4433.151544199516, 2230.0606477509596),
    (6, 200, 2.0, 0.015625, 1.0, 2441.2937810624894, -1204.2628663796042, 285.23793468204843),
]


@pytest.mark.parametrize(("side", "energy", "specific_heat"), CRITICAL_TORUS)
def test_kaufman_gives_the_tabulated_critical_energy_and_specific_heat(
    side, energy, specific_heat
):
    torus = exact.kaufman(side, side, K_C)
    assert torus.energy_per_site == pytest.approx(energy, abs=6e-13)
    assert torus.specific_heat == pytest.approx(specific_heat, abs=6e-13)


@pytest.mark.parametrize(("rows", "columns", "beta", "j_0", "j_1", "z", "e", "c"), MPMATH_TORUS)
def test_kaufman_equals_the_single_product_in_high_precision(
    rows, columns, beta, j_0, j_1, z, e, c
):
    torus = exact.kaufman(rows, columns, beta, (j_0, j_1))
    got = (torus.ln_z, torus.energy, torus.heat_capacity)
    assert got == pytest.approx((z, e, c), rel=REL, abs=0)


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (4, 7), (9, 5), (2, 30), (40, 6), (10, 11)])
@pytest.mark.parametrize("couplings", [(1.0, 1.0), (0.3, 1.7), (1.0, 0.0)])
@pytest.mark.parametrize("beta", [0.05, 0.44, 1.0])
def test_kaufman_equals_the_transfer_matrix(shape, couplings, beta):
    torus = exact.kaufman(*shape, beta, couplings)
    strip = exact.transfer_matrix(shape, beta, couplings=couplings)
    for name in ("ln_z", "energy", "heat_capacity"):
        assert getattr(strip, name) == pytest.approx(getattr(torus, name), rel=REL, abs=0), name


def test_kaufman_at_infinite_temperature_counts_states():
    torus = exact.kaufman(6, 7, 0.0)
    assert torus.ln_z == pytest.approx(42 * math.log(2), rel=REL, abs=0)
    assert torus.heat_capacity == 0.0


def test_kaufman_accepts_antiferromagnets_on_even_sides_only():
    assert exact.kaufman(4, 6, 0.5, (-1.0, 1.0)) == exact.kaufman(4, 6, 0.5)
    with pytest.raises(ValueError, match=r"J_1 = -1\.0 along an odd side of 5"):
        exact.kaufman(4, 5, 0.5, (1.0, -1.0))


@pytest.mark.parametrize(
    ("shape", "boundary", "message"),
    [
        ((13, 14), ("periodic", "periodic"), "shorter side may be at most 12"),
        ((1, 4), ("periodic", "periodic"), r"shape\[0\] must be >= 2"),
        ((4, 4), ("periodic", "twisted"), "boundary must be 'periodic' or 'open'"),
    ],
)
def test_transfer_matrix_refuses(shape, boundary, message):
    with pytest.raises(ValueError, match=message):
        exact.transfer_matrix(shape, 0.4, boundary=boundary)


# Square lattice: infinite strip.


@pytest.mark.parametrize(("width", "ratio"), [(6, 1.25754), (16, 1.271177), (256, 1.2732316)])
def test_critical_strip_correlation_length_tends_to_four_over_pi(width, ratio):
    digits = len(str(ratio)) - 2
    assert exact.strip_correlation_length(width, K_C) / width == pytest.approx(
        ratio, abs=0.51 * 10**-digits
    )


@pytest.mark.parametrize("width", [2, 5, 8])
@pytest.mark.parametrize("couplings", [(1.0, 1.0), (0.6, 1.5), (-1.3, 0.4)])
@pytest.mark.parametrize("beta", [0.2, K_C, 0.7])
def test_strip_correlation_length_is_the_gap_of_the_transfer_matrix(width, couplings, beta):
    along = (abs(couplings[0]), couplings[1])
    strip = exact.infinite_strip(width, beta, couplings=couplings)
    want = exact.strip_correlation_length(width, beta, along)
    assert 1 / strip.correlation_length == pytest.approx(1 / want, rel=REL, abs=1e-14)


def test_infinite_strip_is_the_limit_of_long_tori():
    # Corrections exp(-4000 / xi) with xi = 4.8: none in float64.
    strip = exact.infinite_strip(4, K_C)
    torus = exact.kaufman(4000, 4, K_C)
    assert strip.ln_z_per_site == pytest.approx(torus.ln_z_per_site, rel=REL, abs=0)
    assert strip.energy_per_site == pytest.approx(torus.energy_per_site, rel=REL, abs=0)


def test_open_strip_of_width_one_is_the_chain():
    strip = exact.infinite_strip(1, 0.8, couplings=(1.0, 5.0), boundary="open")
    assert strip.correlation_length == pytest.approx(-1 / math.log(math.tanh(0.8)), rel=REL, abs=0)
    assert strip.energy_per_site == pytest.approx(-math.tanh(0.8), rel=REL, abs=0)


def test_strip_correlation_length_lost_in_rounding_is_refused():
    with pytest.raises(ValueError, match="lost in the rounding"):
        exact.strip_correlation_length(32, 0.7)  # 1 / xi = 5e-14


# Square lattice: infinite.

# Onsager's formulas with mpmath's elliptic integral, 60 digits, c = -K^2 de/dK: K, e, c.
MPMATH_ONSAGER = [
    (0.0001, -0.00020000000333333337, 2.000000100000002e-08),
    (0.1, -0.20337739109735564, 0.021022315788654312),
    (0.3, -0.7044990708324451, 0.28629020287204576),
    (0.44, -1.4022269600314212, 2.8896870923765863),
    (0.4406, -1.4122432575740458, 3.9132424202839022),
    (0.441, -1.4202951847338083, 3.279070844463208),
    (0.45, -1.513045805998303, 1.6079529376408614),
    (0.7, -1.9637756123337158, 0.1581258638239961),
    (1.5, -1.9999504780408943, 0.0008947344792207618),
]


@pytest.mark.parametrize(("k", "energy", "specific_heat"), MPMATH_ONSAGER)
def test_onsager_energy_and_specific_heat(k, energy, specific_heat):
    assert exact.onsager_energy(k) == pytest.approx(energy, rel=REL, abs=0)
    assert exact.onsager_energy(k / 2, 2.0) == pytest.approx(2 * energy, rel=REL, abs=0)
    assert exact.onsager_specific_heat(k) == pytest.approx(specific_heat, rel=REL, abs=0)


def test_onsager_critical_energy_is_minus_root_two():
    # e has slope -c / K^2 = -100 at one ulp from K_c.
    assert exact.onsager_energy(K_C) == pytest.approx(-math.sqrt(2), abs=1e-14)


def test_onsager_is_the_limit_of_large_tori():
    torus = exact.kaufman(256, 256, 0.3)  # xi = 1.2: corrections exp(-200)
    assert torus.energy_per_site == pytest.approx(exact.onsager_energy(0.3), rel=REL, abs=0)
    assert torus.specific_heat == pytest.approx(exact.onsager_specific_heat(0.3), rel=REL, abs=0)


def test_yang_magnetization_has_the_low_temperature_series():
    # Domb, Adv. Phys. 9, 149 (1960): coefficients of x^k, x = exp(-4K); the next term is 6e-17.
    x = math.exp(-6)
    series = (2, 8, 34, 152, 714, 3472, 17318)
    deficit = sum(a * x ** (k + 2) for k, a in enumerate(series))
    assert exact.yang_magnetization(1.5) == pytest.approx(1 - deficit, abs=4e-16)


def test_yang_magnetization_vanishes_at_the_anisotropic_critical_point():
    beta = exact.critical_beta_square((1.0, 0.5))
    assert exact.yang_magnetization(beta * (1 - 1e-12), (1.0, 0.5)) == 0.0
    assert 0 < exact.yang_magnetization(beta * (1 + 1e-12), (1.0, 0.5)) < 0.04


@pytest.mark.parametrize(("k", "xi"), [(0.40, 5.96238), (0.42, 11.90558)])
def test_correlation_length_above_t_c_is_the_tabulated_one(k, xi):
    assert exact.onsager_correlation_length(k) == pytest.approx(xi, abs=5e-6)


def test_correlation_length_is_isotropic_and_has_amplitude_ratio_two_at_the_critical_point():
    t = 1e-5  # corrections O(t)
    above, below = (exact.onsager_correlation_length(K_C * (1 + s * t)) for s in (-1, 1))
    diagonal = exact.onsager_correlation_length(K_C * (1 - t), "diagonal")
    assert above / below == pytest.approx(2, rel=3 * t)
    assert diagonal / above == pytest.approx(1, rel=3 * t)
    assert above * t == pytest.approx(1 / (4 * K_C), rel=3 * t)


@pytest.mark.parametrize("couplings", [(1.0, 0.4), (0.4, 1.0)])
def test_correlation_length_along_axis_0_is_that_of_a_wide_strip(couplings):
    wide = exact.strip_correlation_length(60, 0.4, couplings)
    assert exact.onsager_correlation_length(0.4, couplings=couplings) == pytest.approx(
        wide, rel=REL, abs=0
    )


# Critical points.


@pytest.mark.parametrize(
    ("got", "published"),
    [
        (exact.critical_beta("square"), 0.440686793509771512616),
        (exact.critical_beta("triangular"), 0.274653072167027),
        (exact.critical_beta("honeycomb"), 0.658478948462408),
        (exact.critical_beta("kagome"), 0.466566010314718),
        (exact.critical_beta_square((1.0, 0.25)), 0.80705186),
        (exact.critical_beta_square((1.0, -0.5)), 0.60937786),
        (exact.critical_beta_square((1.0, 4.0)), 0.20176296),
        (exact.critical_beta_bethe(3), 0.549306),
        (exact.critical_beta_bethe(7), 0.168236),
        (exact.critical_beta_erdos_renyi(4.0), 0.255413),
    ],
)
def test_critical_points_are_the_published_ones(got, published):
    digits = min(15, len(str(published)) - 2)
    assert got == pytest.approx(published, abs=0.51 * 10**-digits)


@pytest.mark.parametrize("ratio", [1.0, 0.37, 1e-6])
def test_anisotropic_critical_point_solves_its_equation(ratio):
    k = 2 * exact.critical_beta_square((ratio, 1.0))
    # d ln(product) / dk < 4 k, so one ulp of k shows as 4 k^2 ulp.
    assert math.sinh(k) * math.sinh(ratio * k) == pytest.approx(1, abs=8 * k**2 * 2.3e-16)


def test_chains_and_trees_have_no_transition():
    assert exact.critical_beta("chain") == math.inf
    assert exact.critical_beta_square((0.0, 1.0)) == math.inf
    assert exact.critical_beta_bethe(2) == math.inf
    assert exact.critical_beta_erdos_renyi(0.9) == math.inf


def test_unknown_lattice_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'cubic'; allowed are chain, square"):
        exact.critical_beta("cubic")
