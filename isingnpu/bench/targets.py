"""Time to target: TTS99 of `anneal` with its default schedule, and of the peer with its own.

Each solver first tries every count of sweeps with as many reads as the other, because a choice
made in noise is a handicap; then it is measured with fresh reads at the best count. Whole calls
are timed, set-up included. A read's time is that of its batch divided by the reads: throughput,
not latency.

Ronnow et al., Science 345, 420 (2014), arXiv:1401.2910.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from isingnpu.annealing import anneal
from isingnpu.bench.cases import Options, TargetCase
from isingnpu.bench.clock import clock_name, timed
from isingnpu.bench.peer import NAME, Peer, find_peer
from isingnpu.bench.ratios import Trials, target_ratio
from isingnpu.bench.records import Record
from isingnpu.model import IsingModel
from isingnpu.run import Run
from isingnpu.statistics import time_to_target, time_to_target_interval

EXCLUDED = "instance, conversion to a BQM, compilation, the search for the best count of sweeps"
PILOT_READS = 128  # per count of sweeps, rounded up to whole batches
QUICK_READS, QUICK_SWEEPS = 16, (10, 30)

# (sweeps, batch) -> reads at the target and seconds; batches are independent.
Solver = Callable[[int, int], tuple[int, float]]


@dataclass
class _Contestant:
    """A solver, its best count of sweeps and its batches of `reads` reads there. The first
    n_pilot batches are for the choice."""

    name: str
    solve: Solver
    reads: int
    counts: Sequence[int]
    n_pilot: int = 1
    sweeps: int = 0
    batches: list[tuple[int, float]] = field(default_factory=list)

    def choose_sweeps(self) -> None:
        """The count with the least TTS99 in the pilot; the largest if none succeeds."""
        known = {}
        for sweeps in self.counts:
            pilot = [self.solve(sweeps, batch) for batch in range(self.n_pilot)]
            tried = Trials.of(pilot, self.reads)
            tts = time_to_target(tried.successes, tried.reads, tried.read_s)
            if tts is not None:
                known[sweeps] = tts.value
        self.sweeps = min(known, key=lambda s: known[s]) if known else max(self.counts)

    def solve_next(self) -> None:
        self.batches.append(self.solve(self.sweeps, self.n_pilot + len(self.batches)))

    @property
    def trials(self) -> Trials:
        return Trials.of(self.batches, self.reads)

    def describe(self) -> str:
        """What was found, in words."""
        k, n, t = self.trials.successes, self.trials.reads, self.trials.read_s
        low, high = time_to_target_interval(k, n, t)
        range_ = f"{low:.3g}..{high:.3g} s" if k else f"> {low:.3g} s"
        text = f"{self.name}: TTS99 {range_} at {self.sweeps} sweeps, {k} of {n} reads"
        if self.sweeps == max(self.counts):
            return f"{text}; more sweeps were not tried"
        return f"{text}; fewer sweeps were not tried" if self.sweeps == min(self.counts) else text


def measure_target(case: TargetCase, options: Options) -> Record:
    """The case's record; ratio_to = TTS99 of the peer / ours, if both reached the target."""
    model, target = case.build(options)
    ours, first = _ours(case, model, target, options)
    peer = find_peer(case.name, model, options.clock)
    theirs = _theirs(case, peer, target, options) if isinstance(peer, Peer) else None
    notes = _compete([ours] if theirs is None else [ours, theirs], options.repeats)
    trials = ours.trials
    tts = time_to_target(trials.successes, trials.reads, trials.read_s)
    low, high = time_to_target_interval(trials.successes, trials.reads, trials.read_s)
    ratio = None if theirs is None else target_ratio(trials, theirs.trials)
    return Record(
        case=case.name,
        metric=case.metric,
        unit=f"{case.unit} of {clock_name(options.clock)}",
        value=math.nan if tts is None else tts.value,
        low=low,
        high=math.nan if tts is None else high,
        ratio_to={} if ratio is None else {NAME: ratio[0]},
        ratio_range={} if ratio is None else {NAME: ratio[1:]},
        n=model.n,
        edges=model.n_edges,
        replicas=ours.reads,
        sweeps=ours.sweeps,
        repeats=options.repeats,
        backend=options.backend,
        kernel=first.provenance["kernel"],
        layout=first.settings.layout,
        threads=options.threads,
        seed=options.seed,
        quick=options.quick,
        samples=tuple(seconds / ours.reads for _, seconds in ours.batches),
        successes=trials.successes,
        excluded=EXCLUDED,
        notes=tuple(notes if isinstance(peer, Peer) else [*notes, peer]),
    )


def _compete(contestants: Sequence[_Contestant], repeats: int) -> list[str]:
    """Batches in turn, each at its best count of sweeps; what was found, in words."""
    for contestant in contestants:
        contestant.choose_sweeps()
    for _ in range(repeats):
        for contestant in contestants:
            contestant.solve_next()
    return [contestant.describe() for contestant in contestants]


def _ours(
    case: TargetCase, model: IsingModel, target: float, options: Options
) -> tuple[_Contestant, Run]:
    """`anneal` in batches of fresh reads, and its first run, of one sweep, which compiles."""
    reads, counts = case.reads, case.sweeps
    if options.quick:
        reads, counts = QUICK_READS, QUICK_SWEEPS

    def run(sweeps: int, batch: int) -> Run:
        return anneal(
            model,
            sweeps=sweeps,
            replicas=reads,
            first_replica=batch * reads,
            backend=options.backend,
            seed=options.seed,
            threads=options.threads,
        )

    def solve(sweeps: int, batch: int) -> tuple[int, float]:
        seconds, result = timed(options.clock, lambda: run(sweeps, batch))
        return int((result.energies <= target).sum()), seconds

    return _Contestant("isingnpu", solve, reads, counts, _pilot(reads, options)), run(1, 0)


def _theirs(case: TargetCase, peer: Peer, target: float, options: Options) -> _Contestant:
    reads, counts = case.peer_reads, case.peer_sweeps
    if options.quick:
        reads, counts = QUICK_READS, QUICK_SWEEPS

    def solve(sweeps: int, batch: int) -> tuple[int, float]:
        seed = (options.seed + batch) % (1 << 31)
        seconds, energies = peer.sample(num_reads=reads, num_sweeps=sweeps, seed=seed)
        return int((energies <= target).sum()), seconds

    return _Contestant(NAME, solve, reads, counts, _pilot(reads, options))


def _pilot(reads: int, options: Options) -> int:
    """Batches of the pilot."""
    return 1 if options.quick else -(-PILOT_READS // reads)
