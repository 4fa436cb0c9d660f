"""Critical points with error bars: sample, reweight, find the common crossing, or refuse.

Around it: estimators and histograms, finite-size scaling, spectra of coupling graphs, densities of
states, and the criticality of attention. What is named as its module is imported from there:
`collapse.collapse`, `quotient.quotient`, `wang_landau.wang_landau`.
"""

from isingnpu.criticality.accumulator import Accumulator
from isingnpu.criticality.attention import (
    AttentionCriticality,
    attention_criticality,
    critical_scale,
    guard_rail,
)
from isingnpu.criticality.attention_graph import attention_model, measure_correlations
from isingnpu.criticality.correlation import NoDecay, exponential_length, sampled_correlations
from isingnpu.criticality.curvature import bethe_ratio, fit_exponential_ratio
from isingnpu.criticality.dynamic import dynamic_exponent
from isingnpu.criticality.errors import Derived, derived
from isingnpu.criticality.locate import find_beta_c
from isingnpu.criticality.multihistogram import MultiHistogram
from isingnpu.criticality.peak import susceptibility_peak
from isingnpu.criticality.peak_result import SusceptibilityPeak
from isingnpu.criticality.random_energy import disorder_average, freezing_beta
from isingnpu.criticality.refusals import (
    BadFit,
    NoCrossing,
    NoPeak,
    NoTransition,
    OutOfRange,
    SmallBudget,
    Unsupported,
)
from isingnpu.criticality.result import CriticalPoint, Crossing, Curve, Quality
from isingnpu.criticality.reweight import observables
from isingnpu.criticality.spectral import Bracket, beta_c_bracket, beta_c_estimate
from isingnpu.criticality.universal import CriticalRatios, Universality, critical_ratios
from isingnpu.criticality.wang_landau import UnfinishedWalk, WangLandau

__all__ = [
    "Accumulator",
    "AttentionCriticality",
    "BadFit",
    "Bracket",
    "CriticalPoint",
    "CriticalRatios",
    "Crossing",
    "Curve",
    "Derived",
    "MultiHistogram",
    "NoCrossing",
    "NoDecay",
    "NoPeak",
    "NoTransition",
    "OutOfRange",
    "Quality",
    "SmallBudget",
    "SusceptibilityPeak",
    "UnfinishedWalk",
    "Universality",
    "Unsupported",
    "WangLandau",
    "attention_criticality",
    "attention_model",
    "beta_c_bracket",
    "beta_c_estimate",
    "bethe_ratio",
    "critical_ratios",
    "critical_scale",
    "derived",
    "disorder_average",
    "dynamic_exponent",
    "exponential_length",
    "find_beta_c",
    "fit_exponential_ratio",
    "freezing_beta",
    "guard_rail",
    "measure_correlations",
    "observables",
    "sampled_correlations",
    "susceptibility_peak",
]
