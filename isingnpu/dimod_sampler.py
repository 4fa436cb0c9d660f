"""`anneal` as a dimod sampler: binary quadratic models in, sample sets out.

    dimod:  E(s) = + sum_uv b_uv s_u s_v + sum_u b_u s_u + c      here: J = -b_uv, h = -b_u

The keywords are those of dwave-samplers, with the same meaning where both have one. Betas are in
the inverse unit of the model's biases, times in info["timing"] in nanoseconds.

Interface: dimod 0.12 reference, `dimod.Sampler` and `dimod.Initialized`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import dimod
import numpy as np
from dimod.core.initialized import Initialized
from dimod.core.sampler import Sampler
from numpy.typing import ArrayLike, NDArray

from isingnpu import rng
from isingnpu.annealing import anneal
from isingnpu.backend import backend_names
from isingnpu.dynamics import DYNAMICS, get_dynamics
from isingnpu.layout import LAYOUTS
from isingnpu.model import IsingModel
from isingnpu.run import Run
from isingnpu.schedule import SHAPES, Schedule, default_schedule

Array = NDArray[Any]

DEFAULT_SWEEPS = 1000
DYNAMICS_OF_CRITERIA = {"Metropolis": "metropolis", "Gibbs": "heat-bath"}
GENERATORS = ("none", "tile", "random")


class IsingSampler(Sampler, Initialized):
    """Simulated annealing of dimod models of either vartype by `isingnpu.anneal`."""

    @property
    def parameters(self) -> dict[str, Sequence[str]]:
        """Keywords of `sample`, each with the properties that concern it."""
        return {
            "num_reads": (),
            "num_sweeps": (),
            "num_sweeps_per_beta": (),
            "beta_range": (),
            "beta_schedule_type": ("beta_schedule_options",),
            "beta_schedule": (),
            "seed": (),
            "initial_states": (),
            "initial_states_generator": ("initial_states_generator_options",),
            "interrupt_function": (),
            "proposal_acceptance_criteria": ("proposal_acceptance_criteria_options",),
            "dynamics": ("dynamics_options",),
            "backend": ("backend_options",),
            "layout": ("layout_options",),
            "threads": (),
            "time_limit": (),
            "target": (),
            "first_read": (),
        }

    @property
    def properties(self) -> dict[str, Sequence[str]]:
        """Allowed values of the keywords that name something."""
        return {
            "beta_schedule_options": (*SHAPES, "custom"),
            "initial_states_generator_options": GENERATORS,
            "proposal_acceptance_criteria_options": tuple(DYNAMICS_OF_CRITERIA),
            "dynamics_options": tuple(DYNAMICS),
            "backend_options": ("auto", *backend_names()),
            "layout_options": tuple(name for name in LAYOUTS if name != "lattice"),
        }

    def sample(
        self,
        bqm: dimod.BinaryQuadraticModel,
        *,
        num_reads: int | None = None,
        num_sweeps: int | None = None,
        num_sweeps_per_beta: int = 1,
        beta_range: Sequence[float] | None = None,
        beta_schedule_type: str | None = None,
        beta_schedule: ArrayLike | None = None,
        seed: int | np.random.SeedSequence | np.random.Generator | None = None,
        initial_states: Any = None,
        initial_states_generator: str = "random",
        interrupt_function: Callable[[], bool] | None = None,
        proposal_acceptance_criteria: str | None = None,
        dynamics: str | None = None,
        backend: str = "auto",
        layout: str | None = None,
        threads: int | None = None,
        time_limit: float | None = None,
        target: float | None = None,
        first_read: int = 0,
        **kwargs: Any,
    ) -> dimod.SampleSet:
        """The best state of each read, in read order, with the energies that `bqm` gives them.
        (A read's last state, a thermal sample, is what `isingnpu.sample` returns.)

        num_reads: default one per initial state, or 1. num_sweeps: default 1000, a multiple of
        num_sweeps_per_beta, the sweeps at each beta.
        beta_schedule_type: "linear-T" (default), "geometric" or "linear" from beta_range[0] to
        beta_range[1] (a single beta is beta_range[1]), or over the default range of
        `schedule.default_schedule` with its final quench; "custom" is what a given beta_schedule,
        (betas,), implies. seed: 0..2^64-1, a SeedSequence or a Generator; drawn if None.
        initial_states: samples-like of either vartype; row k is the start of read k. If there are
        too few, "tile" repeats them and "random" draws the others, and surplus rows are left out;
        "none" allows neither.
        interrupt_function and time_limit (s) end all reads early with what they have, target as
        soon as one read has reached that energy. proposal_acceptance_criteria: dwave-samplers'
        name of dynamics, "metropolis" or "heat-bath". Their default, backend, layout, threads: see
        `isingnpu.anneal`.
        first_read: read k of a finished request is first_read=k, num_reads=1 with its other
        arguments, seed=info["seed"] and layout=info["layout"].

        info: seed, backend, layout, stopped, sweeps, ledger; beta_range, the first and last beta
        of the schedule; beta_schedule_type; schedule, its name; timing in ns.
        Warns SamplerUnknownArgWarning for an unknown keyword. Raises TypeError or ValueError for
        values that are not allowed or contradict each other, BackendUnavailable."""
        began = time.perf_counter_ns()
        self.remove_unknown_kwargs(**kwargs)
        _check_inputs(bqm, interrupt_function, initial_states_generator)
        model = IsingModel.from_bqm(bqm)
        shape = _shape(beta_schedule_type, beta_range, beta_schedule)
        repeats = _whole("num_sweeps_per_beta", num_sweeps_per_beta, 1)
        if beta_schedule is None:
            schedule = _ramp(model, shape, beta_range, num_sweeps, repeats)
        else:
            schedule = _custom(beta_schedule, num_sweeps, repeats)
        key = rng.as_seed(seed)
        states = self._given_states(bqm, initial_states)
        reads = _reads(num_reads, first_read, len(states), seed)
        initial = _first_spins(states, reads, initial_states_generator, key)
        rule = _dynamics(dynamics, proposal_acceptance_criteria)
        sampling = time.perf_counter_ns()
        run = anneal(
            model, schedule, replicas=len(reads), first_replica=reads.start, dynamics=rule,
            backend=backend, seed=key, initial=initial, time_limit=time_limit, target=target,
            layout=_layout_name(layout), threads=threads, interrupt=interrupt_function,
        )  # fmt: skip
        sampled = time.perf_counter_ns()
        sampleset = _sampleset(bqm, run)
        sampleset.info.update(_info(run, shape))
        sampleset.info["timing"] = {
            "preprocessing_ns": sampling - began,
            "sampling_ns": sampled - sampling,
            "postprocessing_ns": time.perf_counter_ns() - sampled,
        }
        return sampleset

    def _given_states(self, bqm: dimod.BinaryQuadraticModel, states: Any) -> Array:
        """(states, sites) int8 spins in the order of the bqm's variables; (0, sites) for None.

        dimod checks labels and values; its generators, which draw from NumPy, are not used."""
        if states is None:
            return np.zeros((0, bqm.num_variables), np.int8)
        given = self.parse_initial_states(bqm, states, "none").initial_states
        column = {name: k for k, name in enumerate(given.variables)}
        values = given.record.sample[:, [column[name] for name in bqm.variables]]
        spins = values if bqm.vartype is dimod.SPIN else 2 * values - 1
        return np.asarray(spins, np.int8)


def _check_inputs(bqm: Any, interrupt_function: Any, generator: str) -> None:
    if not isinstance(bqm, dimod.BinaryQuadraticModel):
        raise TypeError(f"bqm must be a dimod.BinaryQuadraticModel, got {type(bqm).__name__}")
    if interrupt_function is not None and not callable(interrupt_function):
        raise TypeError(
            "interrupt_function must be a function of no arguments that returns a bool, "
            f"got {interrupt_function!r}"
        )
    if generator not in GENERATORS:
        raise ValueError(
            f"unknown initial_states_generator {generator!r}, allowed are {', '.join(GENERATORS)}"
        )


def _whole(name: str, value: Any, least: int) -> int:
    """`value` as an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number >= {least}, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value}")
    return int(value)


def _shape(name: str | None, beta_range: Any, beta_schedule: Any) -> str:
    """The schedule type that is meant, with contradictions refused."""
    custom = beta_schedule is not None
    implied = "custom" if custom else "linear-T"
    shape = implied if name is None else name
    if shape not in (*SHAPES, "custom"):
        raise ValueError(
            f"unknown beta_schedule_type {name!r}, allowed are {', '.join(SHAPES)}, custom"
        )
    if custom and shape != "custom":
        raise ValueError(
            f"got a beta_schedule and beta_schedule_type={name!r}; "
            "with beta_schedule only 'custom' is allowed, leave out one of them"
        )
    if shape == "custom" and not custom:
        raise ValueError("beta_schedule_type='custom' needs the betas: pass beta_schedule=[...]")
    if custom and beta_range is not None:
        raise ValueError(f"got a beta_schedule and beta_range={beta_range}; leave out one of them")
    return shape


def _ramp(
    model: IsingModel, shape: str, beta_range: Any, num_sweeps: int | None, repeats: int
) -> Schedule:
    """The schedule of a shape over the range, each beta `repeats` times."""
    sweeps = _whole("num_sweeps", DEFAULT_SWEEPS if num_sweeps is None else num_sweeps, 1)
    n_betas, rest = divmod(sweeps, repeats)
    if rest:
        raise ValueError(
            f"num_sweeps must be a multiple of num_sweeps_per_beta={repeats}, got {sweeps}; "
            f"for example {max(n_betas, 1) * repeats}"
        )
    if beta_range is None:
        schedule = default_schedule(model, n_betas, shape=shape)
    else:
        if np.shape(beta_range) != (2,):
            raise ValueError(f"beta_range must be two betas (first, last), got {beta_range}")
        first, last = beta_range
        # a single beta is the last, as in dwave-samplers: the one that samples are wanted at
        schedule = SHAPES[shape](first if n_betas > 1 else last, last, n_betas)
    return Schedule(schedule.name, np.repeat(schedule.betas, repeats))


def _custom(beta_schedule: ArrayLike, num_sweeps: int | None, repeats: int) -> Schedule:
    """The given betas, each `repeats` times."""
    betas = np.asarray(beta_schedule, np.float64)
    if betas.ndim != 1:
        raise ValueError(f"beta_schedule must have shape (betas,), got {betas.shape}")
    if num_sweeps is not None and num_sweeps != betas.size * repeats:
        raise ValueError(
            f"got num_sweeps={num_sweeps} and a beta_schedule of {betas.size} betas with "
            f"num_sweeps_per_beta={repeats}, {betas.size * repeats} sweeps; leave out num_sweeps"
        )
    return Schedule("custom", np.repeat(betas, repeats))


def _reads(num_reads: int | None, first_read: int, n_states: int, seed: Any) -> range:
    """The read indices first_read, first_read + 1, ... that are asked for."""
    first = _whole("first_read", first_read, 0)
    if first and seed is None:
        raise ValueError(
            f"first_read={first} names a read of a seeded request; pass seed=info['seed'] of it"
        )
    if num_reads is None:
        num_reads = max(n_states - first, 1)
    return range(first, first + _whole("num_reads", num_reads, 1))


def _first_spins(states: Array, reads: range, generator: str, key: int) -> Array | None:
    """(reads, sites) first spins; None leaves all to the randomness contract."""
    n_states = len(states)
    if generator == "none":
        # a replay (first_read > 0) asks for part of the states
        if reads.stop > n_states or (reads.start == 0 and len(reads) < n_states):
            raise ValueError(
                f"got {n_states} initial states for reads {reads.start}..{reads.stop - 1}, "
                "initial_states_generator='none' needs one for each and no others; pass 'tile' "
                "or 'random', or another num_reads"
            )
        return states[reads.start : reads.stop]
    if generator == "tile":
        if n_states == 0:
            raise ValueError("initial_states_generator='tile' needs initial_states to repeat")
        return np.asarray(states[np.asarray(reads) % n_states])
    if n_states == 0:
        return None
    drawn = range(max(reads.start, n_states), max(reads.stop, n_states))
    random = rng.initial_spins(drawn, states.shape[1], key)
    return np.concatenate([states[reads.start : reads.stop], random])


def _dynamics(dynamics: str | None, criteria: str | None) -> str | None:
    """The rule's name from either keyword; None leaves it to `anneal`."""
    if criteria is None:
        return dynamics
    if criteria not in DYNAMICS_OF_CRITERIA:
        raise ValueError(
            f"unknown proposal_acceptance_criteria {criteria!r}, "
            f"allowed are {', '.join(DYNAMICS_OF_CRITERIA)}"
        )
    rule = DYNAMICS_OF_CRITERIA[criteria]
    if dynamics is not None and get_dynamics(dynamics).name != rule:
        raise ValueError(
            f"dynamics={dynamics!r} contradicts proposal_acceptance_criteria={criteria!r}, "
            f"which is dynamics={rule!r}; leave out one of them"
        )
    return rule


def _layout_name(layout: str | None) -> str | None:
    """The name without the version that info["layout"] carries."""
    if layout is None:
        return None
    name, _, version = layout.partition("-")
    if version and version != str(rng.LAYOUT_VERSION):
        raise ValueError(
            f"got layout {layout!r}, this version of isingnpu has {name}-{rng.LAYOUT_VERSION}; "
            "replay with the version that made the samples"
        )
    return name


def _sampleset(bqm: dimod.BinaryQuadraticModel, run: Run) -> dimod.SampleSet:
    """Reads in order, columns in the order of the bqm's variables, values of its vartype."""
    values = run.spins if bqm.vartype is dimod.SPIN else (run.spins + 1) // 2
    sampleset_type: Any = dimod.SampleSet
    sampleset: dimod.SampleSet = sampleset_type.from_samples_bqm(
        (values, list(bqm.variables)), bqm, sort_labels=False
    )
    return sampleset


def _info(run: Run, shape: str) -> dict[str, Any]:
    return {
        "beta_range": [float(run.betas[0]), float(run.betas[-1])],
        "beta_schedule_type": shape,
        "schedule": run.schedule,
        "seed": run.settings.seed,
        "backend": run.settings.backend,
        "layout": run.settings.layout,
        "stopped": run.stopped,
        "sweeps": run.sweeps_done,
        "ledger": run.ledger.to_json(),
    }
