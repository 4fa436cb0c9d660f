"""`anneal_many` and `sample_many`: thousands of small models side by side.

Each model has reads, a schedule and a seed of its own. A GPU sweeps them in a few launches; other
backends take one after the other. Run k has the bits that `anneal` or `sample` of model k alone
gives with `seed=runs[k].settings.seed`, on every backend.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from isingnpu import observables, rng
from isingnpu.annealing import annealing_rule, begin, whole
from isingnpu.backend import Backend, Batch, Batching, Measured, OneByOne, get_backend
from isingnpu.bonds import request_layout
from isingnpu.dynamics import Dynamics, get_dynamics
from isingnpu.ledger import Ledger, Meter
from isingnpu.loop import request_of, run_provenance
from isingnpu.model import IsingModel
from isingnpu.run import Run
from isingnpu.schedule import Schedule, as_schedule, constant

HELD = 1 << 28  # spins of all reads that are swept at a time
NAMES = ("energy", "magnetization", "abs_magnetization", "m2", "m4", "acceptance")


def anneal_many(
    models: Iterable[IsingModel],
    schedule: Schedule | str | ArrayLike | None = None,
    *,
    sweeps: int = 1000,
    replicas: int = 1,
    dynamics: str | Dynamics | None = None,
    backend: str = "auto",
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    layout: str | None = None,
    rounds: int = 10,
    threads: int | None = None,
) -> list[Run]:
    """Anneal `replicas` reads of every model; the best state of each read is kept.

    schedule: as in `anneal`, made for each model where it depends on it; betas are (sweeps,).
    seed: makes the seed of every model, `model_seeds`. Time and joules of what is swept together
    are shared out by spin updates. Raises ValueError for what is not allowed,
    BackendUnavailable."""
    given = list(models)
    runs = []
    for model, own in zip(given, model_seeds(seed, len(given)), strict=True):
        plan = as_schedule(schedule, model, sweeps)
        if plan.betas.ndim != 1:
            raise ValueError(f"betas of many models must be (sweeps,), got {plan.betas.shape}")
        rule = annealing_rule(model) if dynamics is None else get_dynamics(dynamics)
        if rule.moves_clusters:
            raise ValueError(f"anneal has no {rule.name}: cluster moves are for sample")
        options = _options(replicas, rule, backend, own, layout, rounds, threads)
        runs.append(begin(model, plan, "anneal", observe=(), every=1, burn_in=0, **options))
    return _swept(runs)


def sample_many(
    models: Iterable[IsingModel],
    beta: float | Sequence[float],
    *,
    sweeps: int = 1000,
    burn_in: int = 0,
    replicas: int = 1,
    dynamics: str | Dynamics = "heat-bath",
    backend: str = "auto",
    seed: int | np.random.SeedSequence | np.random.Generator | None = None,
    observe: str | Iterable[str] = ("energy", "magnetization"),
    every: int = 1,
    layout: str | None = None,
    rounds: int = 10,
    threads: int | None = None,
) -> list[Run]:
    """Sample every model at beta, or each at its own; arguments as in `sample` and `anneal_many`.

    observe: of energy, magnetization, abs_magnetization, m2, m4 and acceptance."""
    given, rule = list(models), get_dynamics(dynamics)
    burn_in = whole("burn_in", burn_in, 0)
    betas = np.broadcast_to(np.asarray(beta, np.float64), len(given))
    names = (observe,) if isinstance(observe, str) else tuple(observe)
    for name in names:
        if name in observables.NAMES + observables.IMPROVED and name not in NAMES:
            raise ValueError(f"{name} is not recorded of many models; use sample for each")
    runs = []
    for model, own, at in zip(given, model_seeds(seed, len(given)), betas, strict=True):
        plan = constant(float(at), constant(float(at), sweeps).sweeps + burn_in)
        options = _options(replicas, rule, backend, own, layout, rounds, threads)
        watch: dict[str, Any] = {"observe": names, "every": every, "burn_in": burn_in}
        runs.append(begin(model, plan, "sample", **watch, **options))
    return _swept(runs)


def model_seeds(
    seed: int | np.random.SeedSequence | np.random.Generator | None, models: int
) -> list[int]:
    """Seeds of so many models: word k of stream MODEL of `rng.random_words`."""
    return [int(word) for word in rng.random_words(rng.as_seed(seed), rng.Stream.MODEL, models)]


def _options(
    replicas: int,
    dynamics: Dynamics,
    backend: str,
    seed: int,
    layout: str | None,
    rounds: int,
    threads: int | None,
) -> dict[str, Any]:
    """What all runs of a call share, but for the seed."""
    return {
        "replicas": replicas, "first_replica": 0, "dynamics": dynamics, "backend": backend,
        "seed": seed, "initial": None, "layout": layout, "order": None, "rounds": rounds,
        "threads": threads, "kernel": None,
    }  # fmt: skip


def _swept(runs: Sequence[Run]) -> list[Run]:
    made: list[Run] = []
    for some in _pieces(runs):
        made += _swept_together(some)
    return made


def _pieces(runs: Sequence[Run]) -> Iterator[Sequence[Run]]:
    """Neighbours with at most HELD spins, or one with more."""
    begin, held = 0, 0
    for k, run in enumerate(runs):
        if k > begin and held + run.state.spins.size > HELD:
            yield runs[begin:k]
            begin, held = k, 0
        held += run.state.spins.size
    if begin < len(runs):
        yield runs[begin:]


def _swept_together(runs: Sequence[Run]) -> list[Run]:
    """The runs after their whole schedules."""
    s = runs[0].settings
    requests = []
    for run in runs:
        rule, name = get_dynamics(run.settings.dynamics), run.settings.layout.split("-")[0]
        layout = request_layout(run.model, rule, s.replicas, name, None)
        requests.append(request_of(run, layout))
    batch = _batch(get_backend(s.backend), requests)
    batch.load([run.state for run in runs])
    sweeps, measured = len(runs[0].betas), []
    with Meter() as meter:
        for first, last in ((0, s.burn_in), (s.burn_in, sweeps)):
            some = [run.betas[first:last] for run in runs]
            if first < last:
                measured.append(batch.sweep(some, first=first, every=s.every, track=s.track))
    states = batch.states()
    updates = float(sweeps * sum(run.state.spins.size for run in runs))
    made = []
    for k, run in enumerate(runs):
        recorder = observables.Recorder.start(run.model, s.observe, s.every, run.state.spins)
        own = [seen[k] for seen in measured]
        recorder.record(own[-1], run.betas[s.burn_in :], s.burn_in, None)
        share = sweeps * run.state.spins.size / updates if updates else 0.0
        made.append(
            replace(
                run,
                sweeps_done=sweeps,
                state=states[k],
                series=recorder.series(),
                ledger=_ledger(own, meter, share),
                stopped="finished",
                provenance=run_provenance(run, batch.kernels[k]),
            )
        )
    return made


def _batch(backend: Backend, requests: Sequence[Any]) -> Batch:
    if isinstance(backend, Batching):
        return backend.batch(requests)
    return OneByOne([backend.plan(request) for request in requests])


def _ledger(measured: Sequence[Measured], meter: Meter, share: float) -> Ledger:
    """Counts of one model, and its share of the rest."""
    counts = measured[0].counts
    for more in measured[1:]:
        counts = counts + more.counts
    energy = tuple(
        reading if reading.joules is None else replace(reading, joules=share * reading.joules)
        for reading in meter.energy
    )
    return Ledger(counts, share * meter.cpu_s, share * meter.wall_s, energy)
