"""The laws of sampling, each as a function that tests share with the tests of the mutants.

What is at fault comes back as a list, empty if all is well. The statistical laws:

transitions   one or more sweeps from every state: chi-square against the master equation
deviations    z-scores of equilibrium averages against exact values, many independent groups
spread, bias  whether such z-scores are standard normal, with the alpha of a false alarm
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from engine import QuickReference, Trial, differing, outcome, start
from scipy import stats

from isingnpu import exact, lattice, sample
from isingnpu.backend import State
from isingnpu.backends import reference
from isingnpu.dynamics import fixed_point_exponential, thresholds
from isingnpu.statistics import estimate

Array = np.ndarray[Any, Any]


# The law of a single decision, in whole numbers.


def exact_threshold(limits, row, x):
    """T in 0..2^64: r accepts (Metropolis, x = v) or turns up (heat bath, x = h) iff r < T."""
    if not limits.heat_bath and x <= 0:
        return 1 << 64
    if limits.table.shape[1]:
        return int(limits.table[row, x + limits.bound if limits.heat_bath else x])
    high, low = (int(part) for part in limits.constant[row])
    e = fixed_point_exponential(abs(x), high << 32 | low)
    if not limits.heat_bath:
        return e
    least, most = (
        -1,
        1 << 64,
    )  # r + (r e >> 64) grows with r: bisect for the first that is too much
    while most - least > 1:
        r = (least + most) // 2
        if r + (r * e >> 64) < (1 << 64 if x >= 0 else e):
            least = r
        else:
            most = r
    return most


def tie_faults(accepts, r):
    """Thresholds T near r, or far, for which accepts(T) is not r < T."""
    near = [r - 1, r, r + 1, 0, 2**64 - 1, r ^ 1, r ^ 1 << 32, r ^ 1 << 63, r & -256, r | 255]
    return [t for t in near if 0 <= t < 2**64 and accepts(t) != (r < t)]


def close_faults(make_plan, trial, module):
    """What differs from the reference where every threshold of a read and sweep is the integer r
    of its first site, or one less or more: all 64 bits count, and r = T is a rejection.

    module: the one of the kernel that asks for `thresholds`."""
    reads, plan = len(trial.replicas), QuickReference(trial.request)
    betas = 1e-3 * np.arange(1, 1 + 6 * reads).reshape(6, reads)
    plan.load(start(trial))
    r = np.concatenate([plan.draw(trial.first + sweep)[:, 0] for sweep in range(6)])
    near = r + np.arange(len(r), dtype=np.uint64) % np.uint64(3) - np.uint64(1)

    def close(dynamics, betas, model):  # some of the betas, if the plan cuts the sweeps
        limits = thresholds(dynamics, betas, model)
        own = near[np.rint(1e3 * np.asarray(betas)).astype(int) - 1]
        return replace(limits, table=own[:, None].repeat(limits.table.shape[1], axis=1))

    one = replace(trial, betas=betas)
    with pytest.MonkeyPatch.context() as patch:
        for asking in (module, reference):
            patch.setattr(asking, "thresholds", close)
        return differing(outcome(make_plan, one), outcome(QuickReference, one))


# Laws of the bits.


def cut_faults(make_plan, trial, cuts):
    """What changes when the sweeps are cut into several calls, of one plan or of several."""
    whole = outcome(make_plan, trial)
    return [
        fault
        for hand_over in (False, True)
        for fault in differing(outcome(make_plan, trial, cuts, hand_over=hand_over), whole)
    ]


def alone_faults(make_plan, trial):
    """Reads whose bits are others when they are swept alone: first, middle and last."""
    whole, betas = outcome(make_plan, trial), np.asarray(trial.betas)
    faults = []
    for k in sorted({0, len(trial.replicas) // 2, len(trial.replicas) - 1}):
        own = betas[:, k : k + 1] if betas.ndim == 2 else betas
        one = replace(trial, replicas=trial.replicas[k : k + 1], betas=own)
        alone = outcome(make_plan, one)
        same = [np.array_equal(getattr(alone, name)[0], getattr(whole, name)[k])
                for name in ("spins", "best", "path", "flips")]  # fmt: skip
        faults += [] if all(same) else [trial.replicas[k]]
    return faults


def repeated_draws(make_plan, layout):
    """Rows of spins that occur twice where each is made of random bits of its own: heat bath at
    beta = 0 with other seeds, sweeps, replicas and rounds."""
    base = Trial(lattice.square((4, 4)), np.zeros(1), layout, "heat-bath", range(8), seed=7)
    changed = [
        base,
        replace(base, seed=8),
        replace(base, seed=7 | 1 << 32),
        replace(base, first=1),
        replace(base, replicas=range(8, 16)),
        replace(base, replicas=range(64, 72)),
        replace(base, rounds=7),
    ]
    rows = np.concatenate([outcome(make_plan, trial).spins for trial in changed])
    unlike, times = np.unique(rows, axis=0, return_counts=True)
    return unlike[times > 1].tolist()


# Transition probabilities.


def transitions(make_plan, model, beta, *, rule, reads, sweeps=1, layout="lane", seed=1, first=0):
    """Counts (2^n, 2^n): `reads` replicas start in each state and are swept `sweeps` times."""
    states = exact.enumerate_states(model)[0]
    number = len(states)
    trial = Trial(
        model, np.full(sweeps, beta), layout, rule, range(reads * number), seed, first=first
    )
    plan = make_plan(trial.request)
    plan.load(State.at(np.repeat(states, reads, axis=0)))
    plan.sweep(trial.betas, first=first)
    end = (plan.state().spins > 0) @ (1 << np.arange(model.n))
    begin = np.repeat(np.arange(number), reads)
    return np.bincount(begin * number + end, minlength=number**2).reshape(number, number)


def transition_p(counts, matrix):
    """Chi-square p-value of the counts given the transition matrix; 0 for a forbidden move.

    Cells that expect fewer than 5 counts are added up within their row, then left out if they
    still do."""
    chi, dof = 0.0, 0
    for row, p in zip(counts, matrix, strict=True):
        expected = row.sum() * p
        if np.any(row[p == 0]):
            return 0.0
        large = expected >= 5
        seen = np.append(row[large], row[~large].sum())
        wanted = np.append(expected[large], expected[~large].sum())
        keep = wanted >= 5
        chi += float(((seen - wanted)[keep] ** 2 / wanted[keep]).sum())
        dof += int(keep.sum()) - int(keep.all() or wanted[~keep].sum() == 0)
    return float(stats.chi2.sf(chi, dof))


# Equilibrium averages.


@dataclass(frozen=True, eq=False)
class Case:
    """A model at one beta, its exact averages (observable -> value), and how it is sampled.

    "energy2" is the square of the energy; the other observables are those of `sample`."""

    model: Any
    beta: float
    averages: dict[str, float]
    rule: str = "heat-bath"
    layout: str = "lane"
    every: int = 1
    order: Any = None


def enumerated(model, beta, *, signed=False, **options):
    """A case whose averages come from the enumeration of all states.

    signed: <m> too. Where its samples are anticorrelated, as in Metropolis sweeps and in
    antiferromagnets, estimate() gives an upper bound of its error and no normal z."""
    t = exact.thermodynamics(model, beta)
    moments = {"abs_magnetization": t.abs_m, "m2": t.m2, "m4": t.m4}
    if signed:
        moments["magnetization"] = t.m
    return Case(model, beta, energies(t) | moments, **options)


def energies(t):
    """<E> and <E^2> of an exact solution with total energy and heat capacity."""
    return {"energy": t.energy, "energy2": t.heat_capacity / t.beta**2 + t.energy**2}


GROUP, SAMPLES = 64, 256  # replicas and samples that give one z-score
BURN_IN = 60  # samples; twelve times the longest autocorrelation time that estimate() lets pass


def deviations(case, groups, *, seed, backend="cpu"):
    """observable -> z-scores (groups,), each from GROUP replicas of its own."""
    run = sample(
        case.model,
        case.beta,
        sweeps=SAMPLES * case.every,
        burn_in=BURN_IN * case.every,
        every=case.every,
        replicas=groups * GROUP,
        dynamics=case.rule,
        layout=case.layout,
        order=case.order,
        backend=backend,
        seed=seed,
        observe=["energy", *(name for name in case.averages if name != "energy2")],
    )
    series = run.series | {"energy2": run.series["energy"] ** 2}
    return {
        name: np.array(
            [
                estimate(series[name][k * GROUP : (k + 1) * GROUP]).sigmas(value)
                for k in range(groups)
            ]
        )
        for name, value in case.averages.items()
    }


# estimate() takes the larger of two error estimates, so its z are smaller than normal ones by a
# few percent; the alphas below, of standard normal z, are then upper bounds for the tails.
RMS_BAND, MOST = (0.85, 1.15), 6.0


def bias_faults(z_of_groups):
    """Cases of which all groups together lie off: name -> z-scores (groups,)."""
    together = {name: float(z.sum() / np.sqrt(len(z))) for name, z in z_of_groups.items()}
    return [f"{name}: {z:.2f} sigma" for name, z in together.items() if not abs(z) < MOST]


def spread_alpha(count):
    """Probability that `count` independent standard normals show a fault."""
    low, high = (stats.chi2.cdf(count * edge**2, count) for edge in RMS_BAND)
    return float(low + 1 - high + 2 * count * stats.norm.sf(MOST))


def spread_faults(z):
    """What speaks against these independent z-scores being standard normal."""
    rms, most = float(np.sqrt(np.mean(np.square(z)))), float(np.abs(z).max())
    faults = []
    if not RMS_BAND[0] <= rms <= RMS_BAND[1]:
        faults.append(f"rms {rms:.3f} of {len(z)}")
    if not most < MOST:
        faults.append(f"largest {most:.2f} of {len(z)}")
    return faults
