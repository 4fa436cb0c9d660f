"""Triangular, honeycomb, kagome, anisotropic square and Bethe lattices against a second route.

Tolerance as in test_exact.py: REL = 1e-12 is the accuracy the package states.
"""

import math

import pytest

from isingnpu import exact, lattice
from isingnpu.model import IsingModel

REL = 1e-12
NAMES = ("ln_z", "energy", "heat_capacity")
INFINITE = {
    "triangular": exact.infinite_triangular,
    "honeycomb": exact.infinite_honeycomb,
    "kagome": exact.infinite_kagome,
}
TORI = {
    "triangular": exact.triangular_torus,
    "honeycomb": exact.honeycomb_torus,
    "kagome": exact.kagome_torus,
}


def assert_equal(got, want, rel=REL):
    for name in NAMES:
        assert getattr(got, name) == pytest.approx(getattr(want, name), rel=rel, abs=0), name


# Tori.


@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (3, 2), (3, 3), (3, 5), (4, 4), (5, 4)])
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.2747, 0.7])
def test_triangular_torus_is_the_sum_over_states(shape, beta):
    got = exact.triangular_torus(*shape, beta)
    want = exact.thermodynamics(lattice.triangular(shape), beta)
    assert_equal(got, want) if beta else assert_infinite_temperature(got)


def assert_infinite_temperature(got):
    assert got.ln_z == pytest.approx(got.n * math.log(2), rel=REL, abs=0)
    assert got.energy == pytest.approx(0, abs=1e-14 * got.n)
    assert got.heat_capacity == 0


@pytest.mark.parametrize("couplings", [(1.0, 0.4, 0.7), (0.3, 0.0, 1.2), (0.0, 0.8, 0.8)])
def test_anisotropic_triangular_torus_is_the_sum_over_states(couplings):
    edges = []
    for x in range(3):
        for y in range(4):
            ends = ((x + 1) % 3, y), (x, (y + 1) % 4), ((x + 1) % 3, (y - 1) % 4)
            edges += [(4 * x + y, 4 * a + b, j) for (a, b), j in zip(ends, couplings, strict=True)]
    want = exact.thermodynamics(IsingModel.from_edges(edges, 12), 0.35)
    assert_equal(exact.triangular_torus(3, 4, 0.35, couplings), want)


@pytest.mark.parametrize("name", ["honeycomb", "kagome"])
@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (3, 2)])
@pytest.mark.parametrize("coupling", [1.0, -0.7])
@pytest.mark.parametrize("beta", [0.1, 1.5])
def test_reduced_torus_is_the_sum_over_states(name, shape, coupling, beta):
    want = exact.thermodynamics(getattr(lattice, name)(shape, J=coupling), beta)
    assert_equal(TORI[name](*shape, beta, coupling), want)


def test_honeycomb_torus_of_18_sites_is_the_sum_over_states():
    want = exact.thermodynamics(lattice.honeycomb((3, 3)), exact.critical_beta("honeycomb"))
    assert_equal(exact.honeycomb_torus(3, 3, exact.critical_beta("honeycomb")), want)


# Infinite lattices.


@pytest.mark.parametrize("name", INFINITE)
@pytest.mark.parametrize("share", [0.5, 1.6])
def test_infinite_lattice_is_the_limit_of_large_tori(name, share):
    # xi < 2 sites: corrections below exp(-30); the ordered torus counts both signs
    beta = share * exact.critical_beta(name)
    torus, site = TORI[name](64, 64, beta), INFINITE[name](beta)
    ln_z = torus.ln_z - (math.log(2) if share > 1 else 0)
    assert site.n == 1
    assert site.ln_z == pytest.approx(ln_z / torus.n, rel=REL, abs=0)
    assert site.energy == pytest.approx(torus.energy_per_site, rel=REL, abs=0)
    assert site.heat_capacity == pytest.approx(torus.specific_heat, rel=REL, abs=0)


@pytest.mark.parametrize(
    ("name", "energy"),
    [
        ("triangular", -2.0),  # Houtappel 1950
        ("honeycomb", -2 / math.sqrt(3)),  # Houtappel 1950
        ("kagome", -(1 + 2 * math.sqrt(3)) / 3),  # Kano & Naya 1953
    ],
)
def test_critical_energy_is_the_published_one(name, energy):
    # e has slope -c / K^2 > -250 at one ulp from K_c
    got = INFINITE[name](exact.critical_beta(name)).energy
    assert got == pytest.approx(energy, abs=3e-14)


@pytest.mark.parametrize("name", INFINITE)
def test_specific_heat_grows_as_the_logarithm_of_the_distance(name):
    """c = -A ln|t| + B on both sides with one A and one B; corrections are t ln t."""
    beta_c = exact.critical_beta(name)
    c = [
        [INFINITE[name](beta_c * (1 + s * t)).heat_capacity for t in (1e-8, 1e-6)] for s in (-1, 1)
    ]
    below, above = c
    assert below[0] - below[1] == pytest.approx(above[0] - above[1], rel=1e-4)
    assert below[0] == pytest.approx(above[0], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "entropy"),
    [("triangular", 0.3230659472), ("kagome", 0.5018331646)],
)
def test_residual_entropy_of_the_antiferromagnet_is_the_published_one(name, entropy):
    """Wannier 1950, erratum Phys. Rev. B 7, 5017 (1973); Kano & Naya 1953."""
    couplings = (-1.0, -1.0, -1.0) if name == "triangular" else -1.0
    frozen = INFINITE[name](30.0, couplings)
    assert frozen.entropy == pytest.approx(entropy, abs=6e-11)
    assert frozen.energy == pytest.approx(-1 if name == "triangular" else -2 / 3, rel=REL, abs=0)


# ln z, e and c of Houtappel's integrals in C = cosh 2K and S = sinh 2K, the kagome lattice by
# decoration, with mpmath: 40 digits, differences of step 1e-8 for e and c. Lattice, K, ln z, e, c.
MPMATH = [
    ("triangular", 0.01, 0.6932992084671704, -0.03061120435131868, 0.00031233821871052246),
    ("triangular", 0.15, 0.7354654371702483, -0.6375904148909773, 0.13534108632538924),
    ("triangular", 0.27, 0.8706375369865442, -1.8609195866004462, 1.7166685704188764),
    ("triangular", 0.2746, 0.8794793297641561, -1.9968615675224346, 3.9608018751480323),
    ("triangular", 0.28, 0.8907314985447539, -2.150928446341675, 1.6731648254181912),
    ("triangular", 0.5, 1.502615197723959, -2.9674859684894512, 0.10340877657711375),
    ("triangular", 1.0, 3.000006150347346, -2.9999261469136393, 0.0008872137131408284),
    ("triangular", -0.2, 0.7405850947174049, 0.42507970923752864, 0.059696718465963604),
    ("triangular", -0.7, 1.077698516656632, 0.8399195792324282, 0.2104159248626299),
    ("honeycomb", 0.02, 0.6934471605940528, -0.029996010229670377, 0.0005997610225544117),
    ("honeycomb", 0.4, 0.811676376447301, -0.5924199367956877, 0.24650078785072854),
    ("honeycomb", 0.658, 1.0245070779111065, -1.1506897695789875, 3.1506809473751005),
    ("honeycomb", 0.66, 1.026824285057778, -1.1654640767354942, 2.595995352279343),
    ("honeycomb", 1.1, 1.6516500896967585, -1.4893566006980488, 0.08548906406482604),
    ("kagome", 0.01, 0.6932478454933485, -0.020199300044487535, 0.00020397866907323375),
    ("kagome", 0.3, 0.7989697328022981, -0.7535694276670695, 0.27286558355815843),
    ("kagome", 0.466, 0.9739466739055713, -1.4791691867764827, 2.9254713990841954),
    ("kagome", 0.47, 0.9799710887576148, -1.5278301307009539, 2.0592348356602543),
    ("kagome", 0.9, 1.800804879846692, -1.9933109862316387, 0.0458922405586012),
    ("kagome", -0.3, 0.7651706324480475, 0.4237450721626764, 0.07984496984198046),
    ("kagome", -1.2, 1.3036285198468798, 0.6594913746416643, 0.041258396146093924),
]

# K_0, K_1, K_2, ln z, e, c at beta = 1; K_2 = 0 is the square lattice.
MPMATH_ANISOTROPIC = [
    (0.1, 0.3, 0.5, 0.940971151484186, -0.7036397631827531, 1.2314399525033872),
    (0.7, 0.05, 0.2, 0.9914304054326939, -0.7230927877209725, 2.1550129706399668),
    (0.1, 0.9, 0.0, 1.0688595377077066, -0.7058293773708045, 0.6190039356899235),
    (0.6, 0.25, 0.0, 0.9217014927745119, -0.5109215002147681, 0.870990982780434),
]


@pytest.mark.parametrize(("name", "k", "ln_z", "energy", "specific_heat"), MPMATH)
def test_infinite_lattice_equals_the_integral_in_high_precision(
    name, k, ln_z, energy, specific_heat
):
    sign = math.copysign(1.0, k)
    site = INFINITE[name](abs(k), (sign,) * 3 if name == "triangular" else sign)
    got = (site.ln_z, site.energy, site.heat_capacity)
    assert got == pytest.approx((ln_z, sign * energy, specific_heat), rel=REL, abs=0)


@pytest.mark.parametrize(("k_0", "k_1", "k_2", "ln_z", "energy", "heat"), MPMATH_ANISOTROPIC)
def test_anisotropic_lattice_equals_the_integral_in_high_precision(
    k_0, k_1, k_2, ln_z, energy, heat
):
    sites = [exact.infinite_triangular(1.0, (k_0, k_1, k_2))]
    if k_2 == 0:
        sites.append(exact.infinite_square(1.0, (k_0, k_1)))
    for site in sites:
        got = (site.ln_z, site.energy, site.heat_capacity)
        assert got == pytest.approx((ln_z, energy, heat), rel=REL, abs=0)


@pytest.mark.parametrize("k", [0.02, 0.1, 0.3, 0.6])
def test_triangular_and_honeycomb_lattices_are_dual(k):
    """Loops of the triangular lattice are domain walls of the honeycomb, tanh K = exp(-2K*):
    ln z(K) = ln 2 + 3 ln cosh K + 2 ln z_honeycomb(K*) - 3 K*."""
    dual = -math.log(math.tanh(k)) / 2
    walls = 2 * exact.infinite_honeycomb(dual).ln_z - 3 * dual
    want = math.log(2) + 3 * math.log(math.cosh(k)) + walls
    assert exact.infinite_triangular(k).ln_z == pytest.approx(want, rel=REL, abs=0)


@pytest.mark.parametrize("couplings", [(0.1, 0.3, 0.5), (0.7, 0.05, 0.2), (1.0, 0.0, 0.4)])
def test_the_axes_of_the_triangular_lattice_are_alike(couplings):
    a, b, c = couplings
    want = exact.infinite_triangular(0.9, couplings)
    for other in ((a, c, b), (b, a, c), (c, b, a), (b, c, a), (-a, -b, c)):
        assert_equal(exact.infinite_triangular(0.9, other), want)


@pytest.mark.parametrize("k", [0.001, 0.1, 0.3, 0.44, 0.45, 0.7])
def test_infinite_square_lattice_is_onsagers(k):
    got = exact.infinite_square(k)
    assert got.energy == pytest.approx(exact.onsager_energy(k), rel=REL, abs=0)
    assert got.heat_capacity == pytest.approx(exact.onsager_specific_heat(k), rel=REL, abs=0)


@pytest.mark.parametrize("couplings", [(1.0, 0.4), (-0.3, 1.2)])
@pytest.mark.parametrize("beta", [0.3, 1.3])
def test_anisotropic_square_lattice_is_the_limit_of_large_tori(couplings, beta):
    # xi < 4 sites along both axes: corrections below exp(-128 / 4)
    torus, site = exact.kaufman(128, 128, beta, couplings), exact.infinite_square(beta, couplings)
    ln_z = torus.ln_z - (math.log(2) if beta > 1 else 0)  # the ordered torus counts both signs
    assert site.ln_z == pytest.approx(ln_z / torus.n, rel=REL, abs=0)
    assert site.energy == pytest.approx(torus.energy_per_site, rel=REL, abs=0)
    assert site.heat_capacity == pytest.approx(torus.specific_heat, rel=REL, abs=0)


def test_square_lattice_without_one_coupling_is_the_chain():
    site = exact.infinite_square(0.8, (0.0, 1.5))
    assert site.ln_z == pytest.approx(math.log(2 * math.cosh(1.2)), rel=REL, abs=0)
    assert site.energy == pytest.approx(-1.5 * math.tanh(1.2), rel=REL, abs=0)
    assert site.heat_capacity == pytest.approx((1.2 / math.cosh(1.2)) ** 2, rel=REL, abs=0)


def test_anisotropic_specific_heat_diverges_at_the_critical_point():
    beta = exact.critical_beta_square((1.0, 0.25))
    near, far = (exact.infinite_square(beta * (1 + t), (1.0, 0.25)) for t in (1e-9, 1e-3))
    assert near.heat_capacity > 2 * far.heat_capacity


@pytest.mark.parametrize("name", INFINITE)
def test_the_ground_state_energy_is_minus_one_per_bond(name):
    bonds = {"triangular": 3, "honeycomb": 1.5, "kagome": 2}[name]
    frozen = INFINITE[name](100.0)
    assert frozen.energy == pytest.approx(-bonds, rel=REL, abs=0)
    assert frozen.ln_z == pytest.approx(100 * bonds, rel=REL, abs=0)


# Refusals.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact.infinite_triangular(0.4, (-1.0, 1.0, 0.5)), "are frustrated and not of eq"),
        (lambda: exact.triangular_torus(4, 4, 0.4, (1.0, 1.0, -1.0)), "couplings must be >= 0"),
        (lambda: exact.triangular_torus(1, 4, 0.4), "rows must be >= 2"),
        (lambda: exact.kagome_torus(4, 1, 0.4), "columns must be >= 2"),
        (lambda: exact.infinite_kagome(200.0), r"\|beta J\| must be <= 150"),
        (lambda: exact.infinite_honeycomb(-0.1), "beta must be finite and >= 0"),
        (lambda: exact.infinite_square(0.4, (math.nan, 1.0)), "J_0 must be finite"),
        (lambda: exact.bethe_lattice(1, 0.4), "coordination must be >= 2"),
        (lambda: exact.bethe_lattice(3, 0.4, coupling=-1.0), "coupling must be > 0"),
    ],
)
def test_impossible_lattices_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Bethe lattice.


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.9, 2.0])
@pytest.mark.parametrize("field", [0.0, 0.2, -0.4])
def test_bethe_lattice_of_two_neighbours_is_the_chain(beta, field):
    chain = exact.bethe_lattice(2, beta, field=field)
    ring = exact.ring(4000, beta, field=field)  # xi < 30
    assert chain.ln_z == pytest.approx(ring.ln_z / 4000, rel=REL, abs=0)
    assert chain.energy == pytest.approx(ring.energy / 4000, rel=REL, abs=1e-15)
    assert chain.magnetization == pytest.approx(ring.magnetization, rel=REL, abs=0)


@pytest.mark.parametrize("share", [0.6, 1.01, 1.5, 4.0])
@pytest.mark.parametrize("coordination", [3, 4])
def test_bethe_magnetization_is_the_root_of_its_polynomial(coordination, share):
    """tanh u = tau solves tau (1 + tau^2) = 2 t tau for q = 3 and
    tau (1 + 3 tau^2) = t (3 tau + tau^3) for q = 4; m = tanh(q u)."""
    beta = share * exact.critical_beta_bethe(coordination)
    t = math.tanh(beta)
    square = 2 * t - 1 if coordination == 3 else (3 * t - 1) / (3 - t)
    want = math.tanh(coordination * math.atanh(math.sqrt(max(square, 0.0))))
    got = exact.bethe_lattice(coordination, beta).magnetization
    assert got == pytest.approx(want, rel=REL, abs=0)


@pytest.mark.parametrize("coordination", [3, 6])
def test_disordered_bethe_lattice_is_a_tree(coordination):
    """Above T_c neighbours have <s s'> = tanh K, and chi = beta sum_r q (q-1)^(r-1) tanh^r K."""
    beta = 0.8 * exact.critical_beta_bethe(coordination)
    t = math.tanh(beta)
    got = exact.bethe_lattice(coordination, beta)
    chi = beta * (
        1 + math.fsum(coordination * t * ((coordination - 1) * t) ** r for r in range(400))
    )
    assert got.magnetization == 0
    assert got.energy == pytest.approx(-coordination / 2 * t, rel=REL, abs=0)
    assert got.susceptibility == pytest.approx(chi, rel=REL, abs=0)
    heat = coordination / 2 * (beta / math.cosh(beta)) ** 2
    assert got.specific_heat == pytest.approx(heat, rel=REL, abs=0)


@pytest.mark.parametrize(("beta", "field"), [(0.3, 0.3), (0.8, 0.3), (0.8, 0.0), (0.5, -1.0)])
def test_bethe_averages_are_the_derivatives_of_ln_z(beta, field):
    """Fourth-order differences of step d: relative errors d^4 = 1e-12 and eps / d^k."""

    def z(b, h):
        return exact.bethe_lattice(3, b, field=h)

    d = 1e-3

    def slope(f):
        return (8 * (f(d) - f(-d)) - (f(2 * d) - f(-2 * d))) / (12 * d)

    got = z(beta, field)
    energy = -slope(lambda x: z(beta + x, field).ln_z)
    assert got.energy == pytest.approx(energy, rel=1e-8)
    heat = -(beta**2) * slope(lambda x: z(beta + x, field).energy)
    assert got.specific_heat == pytest.approx(heat, rel=1e-8)
    if field:
        m = slope(lambda x: z(beta, field + x).ln_z) / beta
        assert got.magnetization == pytest.approx(m, rel=1e-8)
        chi = slope(lambda x: z(beta, field + x).magnetization)
        assert got.susceptibility == pytest.approx(chi, rel=1e-8)


def test_bethe_lattice_freezes():
    frozen = exact.bethe_lattice(5, 100.0)
    assert frozen.energy == -2.5
    assert frozen.magnetization == 1.0
    assert frozen.ln_z == pytest.approx(250.0, rel=REL, abs=0)
    assert frozen.specific_heat == pytest.approx(0.0, abs=1e-100)
