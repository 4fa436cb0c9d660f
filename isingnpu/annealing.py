"""`anneal` follows a schedule to low energy, `sample` stays at one temperature.

`resume` continues either. All three check their arguments here and run in isingnpu.loop.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu import observables, rng
from isingnpu.backend import State, get_backend
from isingnpu.bonds import MAX_CLUSTER_READS, request_layout
from isingnpu.dynamics import HEAT_BATH, METROPOLIS, Dynamics, get_dynamics
from isingnpu.layout import MAX_READS
from isingnpu.ledger import Ledger
from isingnpu.loop import Limits, continue_run
from isingnpu.model import IsingModel
from isingnpu.run import Run, Settings
from isingnpu.schedule import Schedule, as_schedule, constant

Array = NDArray[Any]


class SharedRandomness(UserWarning):
    """Layout `shared`: all reads take the same random numbers, so they are not independent."""


def anneal(
    model: IsingModel,
    schedule: Schedule | str | ArrayLike | None = None,
    *,
    sweeps: int = 1000,
    replicas: int = 1,
    first_replica: int = 0,
    dynamics: str | Dynamics | None = None,
    backend: str = "auto",
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    initial: ArrayLike | str | None = None,
    observe: str | Iterable[str] = (),
    every: int = 1,
    time_limit: float | None = None,
    target: float | None = None,
    layout: str | None = None,
    order: ArrayLike | None = None,
    rounds: int = 10,
    threads: int | None = None,
    kernel: str | None = None,
    interrupt: Callable[[], bool] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
    progress: bool = False,
) -> Run:
    """Anneal `replicas` independent reads; the best state of each read is kept.

    schedule: a Schedule, a shape ("linear-T", "linear", "geometric") with the default range, an
    array of betas (sweeps,) or (sweeps, replicas), or None for the default; `sweeps` counts only
    for a default. first_replica: read k of a larger request is `first_replica=k, replicas=1`
    with that request's seed and `layout`. dynamics: default Metropolis, but heat bath if no site
    has more than two neighbours; cluster moves are for `sample`. initial: first spins (sites,) or
    (replicas, sites), "up" for all +1, None for random ones.
    observe, every: see isingnpu.observables; a sample after every `every`-th sweep.
    layout: see isingnpu.layout. kernel: one of the backend's, which changes the speed only.
    time_limit (s), target (energy; stops after the first sweep at which a read has reached it),
    interrupt (called between chunks) and Ctrl-C end the run early with what it has.
    checkpoint: file that is rewritten every `checkpoint_every` seconds and at the end, and that
    `resume` continues. Raises ValueError for what is not allowed, BackendUnavailable.
    """
    plan = as_schedule(schedule, model, sweeps)
    rule = annealing_rule(model) if dynamics is None else get_dynamics(dynamics)
    if rule.moves_clusters:
        raise ValueError(f"anneal has no {rule.name}: cluster moves are for sample")
    run = begin(
        model, plan, "anneal",
        replicas=replicas, first_replica=first_replica,
        dynamics=rule, backend=backend, seed=seed, initial=initial,
        observe=observe, every=every, burn_in=0, layout=layout, order=order, rounds=rounds,
        threads=threads, kernel=kernel,
    )  # fmt: skip
    limits = Limits(time_limit, target, interrupt, checkpoint, checkpoint_every, progress)
    return continue_run(run, limits)


def annealing_rule(model: IsingModel) -> Dynamics:
    """Metropolis ends lower on every graph measured except chains and rings: there it carries all
    domain walls along in step, as every dE = 0 flip is accepted, and they never meet."""
    degree = np.diff(model.csr.indptr).max(initial=0)
    return HEAT_BATH if degree <= 2 else METROPOLIS


def sample(
    model: IsingModel,
    beta: float,
    *,
    sweeps: int = 1000,
    burn_in: int = 0,
    replicas: int = 1,
    first_replica: int = 0,
    dynamics: str | Dynamics = "heat-bath",
    clusters: int = 1,
    backend: str = "auto",
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    initial: ArrayLike | str | None = None,
    observe: str | Iterable[str] = ("energy", "magnetization"),
    every: int = 1,
    time_limit: float | None = None,
    layout: str | None = None,
    order: ArrayLike | None = None,
    rounds: int = 10,
    threads: int | None = None,
    kernel: str | None = None,
    interrupt: Callable[[], bool] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
    progress: bool = False,
) -> Run:
    """Sample exp(-beta E) with `replicas` independent chains: burn_in sweeps, then `sweeps` more
    with a sample after every `every`-th. Arguments as in `anneal`.

    The default is heat bath: sequential Metropolis flips each free spin (dE = 0) at every visit,
    which is not ergodic for it. Run.spins are the last states.

    dynamics "swendsen-wang" and "wolff" flip clusters of models without fields, which near a
    critical point decorrelates in a few sweeps. A sweep of Wolff is that many `clusters`."""
    rule = get_dynamics(dynamics, whole("clusters", clusters, 1))
    burn_in = whole("burn_in", burn_in, 0)
    plan = constant(beta, constant(beta, sweeps).sweeps + burn_in)
    run = begin(
        model, plan, "sample",
        replicas=replicas, first_replica=first_replica, dynamics=rule, backend=backend,
        seed=seed, initial=initial, observe=observe, every=every, burn_in=burn_in,
        layout=layout, order=order, rounds=rounds, threads=threads, kernel=kernel,
    )  # fmt: skip
    limits = Limits(time_limit, None, interrupt, checkpoint, checkpoint_every, progress)
    return continue_run(run, limits)


def resume(
    run: Run | str | os.PathLike[str],
    *,
    sweeps: int = 0,
    backend: str | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
    target: float | None = None,
    interrupt: Callable[[], bool] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
    progress: bool = False,
) -> Run:
    """Continue a run, or a saved one, to the end of its schedule: the same bits as not stopping.

    sweeps: that many more at the last beta, beyond the schedule. backend, threads: may differ
    from before; the result does not."""
    if not isinstance(run, Run):
        run = Run.load(run)
    sweeps = whole("sweeps", sweeps, 0)
    if threads is not None:
        threads = whole("threads", threads, 1)
    if sweeps:
        longer = np.repeat(run.betas[-1:], sweeps, axis=0)
        run = replace(run, betas=np.concatenate([run.betas, longer]))
    s = run.settings
    name = get_backend(backend or s.backend, get_dynamics(s.dynamics, s.clusters)).name
    kernel = s.kernel if name == s.backend else None
    chosen = replace(s, backend=name, threads=threads or s.threads, kernel=kernel)
    run = replace(run, settings=chosen)
    limits = Limits(time_limit, target, interrupt, checkpoint, checkpoint_every, progress)
    return continue_run(run, limits)


def begin(
    model: IsingModel,
    schedule: Schedule,
    method: str,
    *,
    replicas: int,
    first_replica: int,
    dynamics: Dynamics,
    backend: str,
    seed: int | np.random.SeedSequence | np.random.Generator | None,
    initial: ArrayLike | str | None,
    observe: str | Iterable[str],
    every: int,
    burn_in: int,
    layout: str | None,
    order: ArrayLike | None,
    rounds: int,
    threads: int | None,
    kernel: str | None,
) -> Run:
    """A run of no sweeps yet; every argument checked."""
    replicas, every = whole("replicas", replicas, 1), whole("every", every, 1)
    first_replica = whole("first_replica", first_replica, 0)
    threads = None if threads is None else whole("threads", threads, 1)
    if rounds not in rng.ROUNDS:
        raise ValueError(f"rounds must be one of {rng.ROUNDS}, got {rounds}")
    if schedule.betas.ndim == 2 and schedule.betas.shape[1] != replicas:
        raise ValueError(
            f"betas must have shape (sweeps,) or (sweeps, {replicas}), got {schedule.betas.shape}"
        )
    if schedule.sweeps * max(1, dynamics.clusters) >= 1 << 31:
        raise ValueError(
            f"at most 2^31 - 1 sweeps, or Wolff clusters, per run, got "
            f"{schedule.sweeps * max(1, dynamics.clusters)}"
        )
    names = observables.check_names(observe, model, replicas, dynamics)
    key = rng.as_seed(seed)
    chosen = request_layout(model, dynamics, replicas, layout, order)
    if chosen.name == "shared":
        warnings.warn(
            "layout 'shared' gives all reads the same random numbers: reads at one temperature "
            "become equal, and errors or overlaps over reads are wrong; average over seeds, or "
            "leave out layout",
            SharedRandomness,
            stacklevel=3,
        )
    most = MAX_CLUSTER_READS if dynamics.moves_clusters else MAX_READS[chosen.name]
    if first_replica + replicas > most:
        raise ValueError(
            f"first_replica + replicas must be at most {most} in layout "
            f"{chosen.name!r}, got {first_replica + replicas}"
        )
    settings = Settings(
        method=method,
        dynamics=dynamics.name,
        seed=key,
        replicas=replicas,
        first_replica=first_replica,
        layout=chosen.version,
        rounds=int(rounds),
        backend=get_backend(backend, dynamics).name,
        threads=threads or len(os.sched_getaffinity(0)),
        track=method == "anneal",
        every=every if names else 0,
        burn_in=burn_in,
        observe=names,
        order=None if order is None else tuple(np.asarray(order).tolist()),
        clusters=dynamics.clusters,
        kernel=kernel,
    )
    spins = _first_spins(model, settings, initial)
    zero = np.zeros(replicas)
    return Run(
        model=model,
        settings=settings,
        schedule=schedule.name,
        betas=schedule.betas,
        sweeps_done=0,
        state=State.at(spins),
        series={},
        work=zero,
        heat=zero,
        ledger=Ledger(),
        stopped="not started",
        provenance={},
    )


def whole(name: str, value: object, least: int) -> int:
    """`value` as an int, or ValueError naming it."""
    try:
        number = int(value)  # type: ignore[call-overload]
        whole = number == value and not isinstance(value, bool)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or number < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value}")
    return int(number)


def _first_spins(model: IsingModel, settings: Settings, initial: ArrayLike | str | None) -> Array:
    reads = range(settings.first_replica, settings.first_replica + settings.replicas)
    if initial is None:
        return rng.initial_spins(reads, model.n, settings.seed)
    if isinstance(initial, str):
        if initial != "up":
            raise ValueError(f"initial must be spins, 'up' or None, got {initial!r}")
        return np.ones((settings.replicas, model.n), np.int8)
    spins = model.check_spins(initial)
    if spins.ndim > 2 or (spins.ndim == 2 and len(spins) not in (1, settings.replicas)):
        raise ValueError(
            f"initial must have shape ({model.n},) or ({settings.replicas}, {model.n}), "
            f"got {spins.shape}"
        )
    return np.broadcast_to(spins, (settings.replicas, model.n)).copy()
