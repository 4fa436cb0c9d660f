"""Critical points with error bars: sample, reweight, find the common crossing, or refuse."""

from isingnpu.criticality.locate import find_beta_c
from isingnpu.criticality.refusals import (
    BadFit,
    NoCrossing,
    NoTransition,
    OutOfRange,
    SmallBudget,
    Unsupported,
)
from isingnpu.criticality.result import CriticalPoint, Crossing, Curve, Quality

__all__ = [
    "BadFit",
    "CriticalPoint",
    "Crossing",
    "Curve",
    "NoCrossing",
    "NoTransition",
    "OutOfRange",
    "Quality",
    "SmallBudget",
    "Unsupported",
    "find_beta_c",
]
