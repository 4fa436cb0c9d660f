"""Exact oracles: what a simulation must reproduce, computed without one.

Any model of at most 24 sites (enumeration), rectangles of width <= 12 (transfer matrix), square
tori of any size (Kaufman) and their numbers of states (Beale), triangular, honeycomb and kagome
tori, these four lattices without end (Onsager, Yang, Houtappel, Kano and Naya), rings, forests,
the Bethe lattice, the Curie-Weiss model, exact critical points, and transition matrices of
single-site dynamics.
"""

from isingnpu.exact.bethe import BetheLattice, bethe_lattice
from isingnpu.exact.critical import (
    critical_beta,
    critical_beta_bethe,
    critical_beta_erdos_renyi,
    critical_beta_square,
)
from isingnpu.exact.density_of_states import DensityOfStates, beale, level_averages
from isingnpu.exact.enumeration import (
    Thermodynamics,
    boltzmann,
    enumerate_states,
    ground_states,
    state_energies,
    thermodynamics,
)
from isingnpu.exact.lattices import (
    honeycomb_torus,
    infinite_honeycomb,
    infinite_kagome,
    infinite_square,
    infinite_triangular,
    kagome_torus,
    triangular_torus,
)
from isingnpu.exact.master_equation import (
    heat_bath_probability,
    metropolis_probability,
    site_kernel,
    sweep_matrix,
)
from isingnpu.exact.mean_field import CURIE_WEISS_BINDER, curie_weiss
from isingnpu.exact.one_dimension import Ring, forest, ring
from isingnpu.exact.partition import Partition
from isingnpu.exact.square import (
    kaufman,
    onsager_correlation_length,
    onsager_energy,
    onsager_specific_heat,
    strip_correlation_length,
    yang_magnetization,
)
from isingnpu.exact.transfer import Strip, infinite_strip, transfer_matrix

__all__ = [
    "CURIE_WEISS_BINDER",
    "BetheLattice",
    "DensityOfStates",
    "Partition",
    "Ring",
    "Strip",
    "Thermodynamics",
    "beale",
    "bethe_lattice",
    "boltzmann",
    "critical_beta",
    "critical_beta_bethe",
    "critical_beta_erdos_renyi",
    "critical_beta_square",
    "curie_weiss",
    "enumerate_states",
    "forest",
    "ground_states",
    "heat_bath_probability",
    "honeycomb_torus",
    "infinite_honeycomb",
    "infinite_kagome",
    "infinite_square",
    "infinite_strip",
    "infinite_triangular",
    "kagome_torus",
    "kaufman",
    "level_averages",
    "metropolis_probability",
    "onsager_correlation_length",
    "onsager_energy",
    "onsager_specific_heat",
    "ring",
    "site_kernel",
    "state_energies",
    "strip_correlation_length",
    "sweep_matrix",
    "thermodynamics",
    "transfer_matrix",
    "triangular_torus",
    "yang_magnetization",
]
