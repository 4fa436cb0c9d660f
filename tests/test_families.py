"""The registry of named families."""

import numpy as np
import pytest

from isingnpu.families import FAMILIES, build

RANDOM = {
    *("ea2d", "ea2d_gaussian", "ea3d", "ea3d_gaussian", "sk", "sk_gaussian"),
    *("random_regular", "erdos_renyi", "watts_strogatz", "barabasi_albert"),
    *("frustrated_loops", "tile_planting", "wishart", "number_partitioning"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_seed_matters_exactly_for_families_with_disorder(name):
    size = 4 if name.startswith("hypercubic") else 16
    same = build(name, size, 1).fingerprint == build(name, size, 2).fingerprint
    assert same == (name not in RANDOM)


@pytest.mark.parametrize("name", FAMILIES)
def test_stated_ground_states_beat_random_states(name):
    model = build(name, 6)
    if model.geometry.ground_state is None:
        assert name.startswith(("ea", "sk"))
        return
    spins = np.random.default_rng(1).choice([-1, 1], size=(64, model.n))
    assert model.energy(spins).min() >= model.geometry.ground_energy.value


def test_an_unknown_family_is_answered_with_the_command_that_lists_them():
    with pytest.raises(ValueError, match=r"unknown family 'ising'.* --family help` lists all"):
        build("ising", 4)
