"""Beale's numbers of states: integers against enumeration, published counts and Kaufman.

Integers are compared with ==. Averages from them add terms of one sign: REL = 1e-12.
"""

import math

import numpy as np
import pytest

from isingnpu import exact, lattice
from isingnpu.exact import density_of_states

REL = 1e-12


@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (3, 3), (3, 5), (5, 3), (4, 4), (4, 5), (2, 9)])
def test_numbers_of_states_are_those_of_enumeration(shape):
    energies, counts = np.unique(exact.state_energies(lattice.square(shape)), return_counts=True)
    got = exact.beale(*shape)
    assert got.energies.tolist() == energies.tolist()
    assert list(got.counts) == counts.tolist()


def test_32_x_32_torus_has_the_published_low_counts():
    """Beale 1996: 2, 2 N, 4 N, N (N + 9) at -2 N + 0, 8, 12, 16: none, one, two adjacent or four
    broken corners. The last counts two single spins apart, three in a row or corner, and a square
    of four."""
    got, n = exact.beale(32, 32), 1024
    assert got.energies[:4].tolist() == [-2 * n, -2 * n + 8, -2 * n + 12, -2 * n + 16]
    assert got.counts[:4] == (2, 2 * n, 4 * n, n * (n + 9)) == (2, 2048, 4096, 1057792)
    assert sum(got.counts) == 2**n
    assert got.counts == got.counts[::-1]
    assert len(got.counts) == n - 1  # multiples of 4 but for the two that no state has


@pytest.mark.parametrize("shape", [(6, 8), (7, 12), (9, 11)])
@pytest.mark.parametrize("beta", [0.0, 0.2, 0.44, 0.9])
def test_averages_of_the_counted_states_are_kaufmans(shape, beta):
    got, want = exact.beale(*shape).at(beta), exact.kaufman(*shape, beta)
    for name in ("ln_z", "energy", "heat_capacity"):
        tolerance = 1e-13 * want.n if beta == 0 else 0
        assert getattr(got, name) == pytest.approx(getattr(want, name), rel=REL, abs=tolerance)


def test_counted_states_at_negative_temperature_are_the_antiferromagnet():
    got, want = exact.beale(6, 6).at(-0.5), exact.kaufman(6, 6, 0.5, (-1.0, -1.0))
    assert got.ln_z == pytest.approx(want.ln_z, rel=REL, abs=0)
    assert got.energy == pytest.approx(-want.energy, rel=REL, abs=0)
    odd, states = exact.beale(3, 5), exact.thermodynamics(lattice.square((3, 5)), -0.5)
    assert odd.at(-0.5).heat_capacity == pytest.approx(states.heat_capacity, rel=REL, abs=0)


def test_level_averages_do_not_overflow():
    frozen = exact.beale(8, 8).at(1e6)
    assert frozen.energy == -128
    assert frozen.heat_capacity == 0
    assert frozen.entropy == pytest.approx(math.log(2), rel=1e-6)  # of 1.28e8


def test_primes_are_prime_and_have_the_order():
    """Trial division of the first few; the root returns to 1 at the order and not before."""
    order = 96
    for prime, _ in zip(density_of_states._primes(order), range(3), strict=False):
        assert all(prime % d for d in range(2, math.isqrt(prime) + 1))
        root = density_of_states._root_of_unity(order, prime)
        assert [k for k in range(1, order + 1) if pow(root, k, prime) == 1] == [order]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 4), "rows must be >= 2"),
        ((4, 0), "columns must be >= 2"),
        ((64, 65), "64 x 65 sites, at most 4096 are counted"),
    ],
)
def test_impossible_tori_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        exact.beale(*shape)
