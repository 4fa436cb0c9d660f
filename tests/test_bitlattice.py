"""The bit-plane lattice kernel: bits of the reference, at any size, cut and thread count."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from engine import QuickReference, Trial, differing, outcome, start
from laws import alone_faults, close_faults, cut_faults
from scipy.stats import chi2

from isingnpu import IsingModel, cell, disorder, lattice
from isingnpu.backend import State, get_backend
from isingnpu.dynamics import METROPOLIS
from isingnpu.exact.square import onsager_energy, yang_magnetization
from isingnpu.program import uniform_program

get_backend("cpu")

from isingnpu.backends.cpu import bitlattice, bitlattice_run  # noqa: E402
from isingnpu.backends.cpu.bitlattice import BitLattice, BitLatticePlan  # noqa: E402

RAMP = np.linspace(0.0, 0.8, 4)


def glass(shape, boundary="periodic"):
    """Couplings +-1, fields -1, 0, 1."""
    model = disorder.edwards_anderson(shape, seed=3, boundary=boundary)
    fields = np.random.default_rng(1).integers(-1, 2, model.n)
    return IsingModel(model.couplings, fields, geometry=model.geometry)


def trial(model, **options):
    return Trial(model, RAMP, layout="lattice", **{"replicas": range(2), **options})


# The first has queues of more than one vector.
TRIALS = {
    "square of whole vectors": trial(lattice.square((8, 1024))),
    "square of whole words": trial(lattice.square((4, 256))),
    "square": trial(lattice.square((4, 6))),
    "square of ragged words": trial(lattice.square((4, 270)), seed=2**64 - 1),
    "7 rounds": trial(lattice.square((8, 1024)), rounds=7),
    "open, odd": trial(lattice.square((5, 7), boundary="open")),
    "open, three words": trial(lattice.square((3, 301), boundary="open")),
    "antiperiodic seam": trial(lattice.square((4, 6), boundary=("periodic", "antiperiodic"))),
    "three colours around odd axes": trial(lattice.square((3, 9))),
    "five colours and a seam": trial(lattice.square(5, boundary=("antiperiodic", "periodic"))),
    "three colours, glass": trial(glass((3, 3, 15))),
    "four colours, triangular": trial(lattice.triangular((4, 264))),
    "anisotropic with a field": trial(lattice.hypercubic((4, 6), J=(1, 2), h=1)),
    "glass with fields": trial(glass((4, 2, 6), ("open", "antiperiodic", "periodic"))),
    "triangular": trial(lattice.triangular((6, 9))),
    "kagome": trial(lattice.kagome((3, 5))),
}
# Each part of the code once, other lattices in test_backends; all rules take a minute to compile.
HEAT_BATH = ("square", "anisotropic with a field", "kagome")
RULES = [
    pytest.param(
        name, rule,
        marks=[] if (rule == "heat-bath") == (name in HEAT_BATH) or name == "square"
        else pytest.mark.slow,
    )
    for name in TRIALS
    for rule in ("metropolis", "heat-bath")
]  # fmt: skip


@pytest.mark.parametrize(("name", "rule"), RULES)
def test_bits_are_those_of_the_reference(name, rule):
    one = replace(TRIALS[name], dynamics=rule)
    assert differing(outcome(BitLatticePlan, one), outcome(QuickReference, one)) == []


@pytest.mark.parametrize("rule", ["metropolis", "heat-bath"])
def test_all_bits_of_close_thresholds_are_read(rule):
    one = replace(TRIALS["square"], dynamics=rule, replicas=range(5))
    assert close_faults(BitLatticePlan, one, bitlattice) == []


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_rows_of_many_queues_give_the_bits_of_one(threads, monkeypatch):
    """Threads take each other's batches, in an order that is never the same."""
    one = replace(TRIALS["square of whole vectors"], replicas=range(1))
    one = replace(one, betas=np.tile(RAMP, 50))
    whole = outcome(BitLatticePlan, one)
    monkeypatch.setattr(bitlattice_run, "QUEUE", 8)
    assert BitLatticePlan(one.request).lattices[0].batch == 1  # of 8 rows
    many = replace(one, threads=threads)
    assert differing(outcome(BitLatticePlan, many), whole) == []


@pytest.mark.parametrize("name", ["square of whole vectors", "square"])
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_that_share_rows_give_the_bits_of_one(name, threads):
    one = replace(TRIALS[name], replicas=range(1))
    many = replace(one, threads=threads)
    assert BitLatticePlan(many.request).by_rows
    assert differing(outcome(BitLatticePlan, many), outcome(BitLatticePlan, one)) == []


def test_cuts_hand_over_and_replicas_alone_do_not_change_the_result():
    assert cut_faults(BitLatticePlan, TRIALS["square"], [1, 3]) == []
    assert alone_faults(BitLatticePlan, TRIALS["square"]) == []


def test_lattice_requests_take_this_kernel_where_a_program_exists():
    plan = get_backend("cpu").plan
    assert plan(TRIALS["square"].request).kernel == "bitlattice"
    terms = lattice.square((4, 12)).terms
    edges = np.append(terms.i, 0), np.append(terms.j, 5), np.append(terms.couplings, 1)
    far = IsingModel.from_edges(edges, 48, geometry=lattice.square((4, 12)).geometry)
    request = trial(far).request
    assert plan(request).kernel == "scalar"
    with pytest.raises(ValueError, match="further than the column beside"):
        plan(replace(request, kernel="bitlattice"))


def test_lattice_without_a_model_has_the_bits_of_one_with_it():
    one = replace(TRIALS["square of whole vectors"], replicas=range(1), every=1)
    plan = BitLatticePlan(one.request)
    plan.load(State.at(np.ones((1, one.model.n), np.int8)))
    wanted = plan.sweep(RAMP, first=0, every=1, track=True)
    free = BitLattice(uniform_program(cell.hypercubic_cell(2), (8, 1024)), METROPOLIS, seed=7)
    assert (free.energy(), free.magnetization()) == (-2 * free.sites, free.sites)
    seen = free.sweep(RAMP, every=1, track=True)
    for name in ("energy", "magnetization", "flips", "path"):
        assert np.array_equal(getattr(seen, name), getattr(wanted, name)[0])
    assert (free.energy(), free.magnetization()) == (seen.energy[-1], seen.magnetization[-1])


@pytest.mark.parametrize("name", ["square of ragged words", "triangular", "kagome"])
@pytest.mark.parametrize("replica", [3, 100])
def test_random_start_is_that_of_every_layout(name, replica):
    one = replace(TRIALS[name], replicas=range(replica, replica + 1))
    plan = BitLatticePlan(one.request)
    plan.load(start(one))
    wanted = plan.lattices[0].spins.copy()
    free = BitLattice(plan.program, METROPOLIS, seed=one.seed, replica=replica)
    free.fill(up=None)
    assert np.array_equal(free.spins, wanted)


LARGE = """
import resource, sys
from isingnpu import cell
from isingnpu.backend import get_backend; get_backend("cpu")
from isingnpu.backends.cpu.bitlattice import BitLattice
from isingnpu.dynamics import METROPOLIS
from isingnpu.program import uniform_program
extent = int(sys.argv[1])
spins = BitLattice(uniform_program(cell.hypercubic_cell(2), (extent, extent)), METROPOLIS, seed=1)
assert spins.energy() == -2 * extent**2
spins.sweep([0.44])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak if sys.platform == "darwin" else 1024 * peak)
"""


def peak_bytes(extent):
    done = subprocess.run([sys.executable, "-c", LARGE, str(extent)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return int(done.stdout)


@pytest.mark.slow
def test_65536_squared_spins_take_little_more_than_a_bit_each():
    peak_bytes(1024)  # compiles for rows of whole vectors
    small, large = peak_bytes(1024), peak_bytes(65536)
    assert large - small < 1.05 * 65536**2 // 8


PORTABLE = """
import sys; sys.path.insert(0, "tests")
from test_bitlattice import *
from isingnpu.backends.cpu.bitlattice_tables import lanes
assert lanes() == 4
one = TRIALS["square of ragged words"]
assert differing(outcome(BitLatticePlan, one), outcome(QuickReference, one)) == []
"""


def test_bits_are_the_same_without_avx512(tmp_path):
    features = "+avx,+avx2,+bmi,+bmi2,+fma,+popcnt,+sse4.1,+sse4.2,+ssse3,+sse3,+lzcnt,+cx16"
    held = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features}
    environment = {**os.environ, **held, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": "."}
    done = subprocess.run([sys.executable, "-c", PORTABLE], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def deviation(series, sites, exact, bins=100):
    """(mean - exact) in standard errors of bins far longer than the correlation time."""
    means = series.reshape(bins, -1).mean(axis=1) / sites
    return (means.mean() - exact) / (means.std(ddof=1) / np.sqrt(bins))


@pytest.mark.slow
@pytest.mark.statistical(alpha=1e-6)
def test_energy_is_onsagers_and_magnetization_yangs():
    program = uniform_program(cell.hypercubic_cell(2), (1024, 1024))
    z = []
    for beta in (0.2, 0.3, 0.4, 0.42, 0.46, 0.5, 0.6):
        spins = BitLattice(program, METROPOLIS, seed=11)
        if beta < 0.44:  # forget the ordered start
            spins.sweep(np.full(500, 0.1))
        spins.sweep(np.full(4000, beta))
        seen = spins.sweep(np.full(10_000, beta), every=1)
        z.append(deviation(seen.energy, spins.sites, onsager_energy(beta)))
        if beta > 0.45:
            z.append(deviation(seen.magnetization, spins.sites, yang_magnetization(beta)))
    assert np.sum(np.square(z)) < chi2.isf(1e-6, len(z)), z
