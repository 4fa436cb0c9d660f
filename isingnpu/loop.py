"""The loop under `anneal`, `sample` and `resume`: chunk after chunk until a limit or the end.

Between two chunks it looks at the clock, the target, Ctrl-C and the checkpoint. Where the cuts
fall never changes a result.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isingnpu import observables
from isingnpu.archive import model_arrays
from isingnpu.backend import Counts, Measured, Plan, Request, get_backend
from isingnpu.bonds import request_layout
from isingnpu.dynamics import get_dynamics, threshold_digest
from isingnpu.layout import Layout
from isingnpu.ledger import Ledger, Meter
from isingnpu.model import IsingModel
from isingnpu.run import Run, provenance

Array = NDArray[Any]

CHUNK_S = 0.05  # seconds of sweeping between two looks at clock, target and Ctrl-C
FIRST_CHUNK = 4_000_000  # spin updates before the first look


@dataclass(frozen=True)
class Limits:
    """When to stop early, and what to do on the way."""

    time_limit: float | None
    target: float | None
    interrupt: Callable[[], bool] | None
    checkpoint: str | os.PathLike[str] | None
    checkpoint_every: float
    progress: bool

    def __post_init__(self) -> None:
        if self.time_limit is not None and not self.time_limit > 0:
            raise ValueError(f"time_limit must be > 0 seconds, got {self.time_limit}")
        if self.target is not None and not math.isfinite(self.target):
            raise ValueError(f"target must be a finite energy, got {self.target}")
        if not self.checkpoint_every >= 0:
            raise ValueError(f"checkpoint_every must be >= 0 seconds, got {self.checkpoint_every}")
        if self.checkpoint is not None and not Path(self.checkpoint).parent.is_dir():
            raise ValueError(f"checkpoint folder {Path(self.checkpoint).parent} does not exist")


def run_provenance(run: Run, kernel: str) -> dict[str, Any]:
    """Where the result comes from; ValueError if thresholds are no longer those it began with."""
    s = run.settings
    digest = threshold_digest(get_dynamics(s.dynamics, s.clusters), run.betas, run.model.quantized)
    before = run.provenance.get("thresholds", digest)
    if before != digest:
        raise ValueError(
            f"the run began with thresholds {before[:12]}..., here they are {digest[:12]}...: "
            "this machine rounds exp differently; resume it where it began"
        )
    return provenance(s, kernel, digest)


def request_of(run: Run, layout: Layout) -> Request:
    s = run.settings
    reads = range(s.first_replica, s.first_replica + s.replicas)
    return Request(
        model=run.model,
        dynamics=get_dynamics(s.dynamics, s.clusters),
        replicas=reads,
        seed=s.seed,
        layout=layout,
        rounds=s.rounds,
        threads=s.threads,
        kernel=s.kernel,
        improved=any(name in observables.IMPROVED for name in s.observe),
    )


def continue_run(run: Run, limits: Limits) -> Run:
    """Sweep a run on, from where it stands to the end of its schedule or to a limit."""
    s = run.settings
    rule, name = get_dynamics(s.dynamics, s.clusters), s.layout.split("-")[0]
    layout = request_layout(run.model, rule, s.replicas, name, s.order)
    if layout.version != s.layout:
        raise ValueError(f"the run used layout {s.layout}, this version has {layout.version}")
    if limits.checkpoint is not None:
        model_arrays(run.model)  # refuses now what no file can hold
    plan = get_backend(s.backend).plan(request_of(run, layout))
    run = replace(run, provenance=run_provenance(run, plan.kernel))
    recorder = observables.Recorder.start(run.model, s.observe, s.every, run.state.spins)
    recorder.work, recorder.heat = run.work, run.heat
    if run.sweeps_done:
        recorder.last_betas = np.broadcast_to(run.betas[run.sweeps_done - 1], s.replicas).copy()
    plan.load(run.state)
    loop = Loop(run, plan, recorder, limits)
    with Meter() as meter:
        loop.sweep_all()
    ledger = Ledger(
        run.ledger.counts + loop.counts,
        run.ledger.cpu_s + meter.cpu_s,
        run.ledger.wall_s + meter.wall_s,
        run.ledger.energy + meter.energy,
    )
    finished = replace(loop.now(), ledger=ledger)
    if limits.checkpoint is not None:
        finished.save(limits.checkpoint)
    return finished


class Loop:
    """The chunks of one call."""

    def __init__(
        self, run: Run, plan: Plan, recorder: observables.Recorder, limits: Limits
    ) -> None:
        self.run, self.plan, self.recorder, self.limits = run, plan, recorder, limits
        self.done = run.sweeps_done
        self.counts = Counts()
        self.stopped = "finished"
        self.started = self.started_cpu = 0.0
        self.weights = observables.projection_weights(run.model, run.settings.observe)
        self.target = _target_quanta(run.model, limits.target)
        self.path_wanted = run.settings.track or recorder.thermodynamic or self.target is not None

    def now(self) -> Run:
        """The run as it stands between two chunks."""
        old = self.run.series
        series = {
            name: np.concatenate([old[name], new], axis=1) if name in old else new
            for name, new in self.recorder.series().items()
        }
        return replace(
            self.run,
            sweeps_done=self.done,
            state=self.plan.state(),
            series=series,
            work=self.recorder.work,
            heat=self.recorder.heat,
            stopped=self.stopped,
        )

    def sweep_all(self) -> None:
        total = len(self.run.betas)
        chunk = max(1, FIRST_CHUNK // max(1, self.run.state.spins.size))
        self.started_cpu = time.process_time()
        self.started = saved = time.perf_counter()
        with _ctrl_c() as pressed, _progress_bar(total, self.done, self.limits.progress) as bar:
            while self.done < total:
                begin = time.perf_counter()
                before = self.done
                reached = self._chunk(self._cut(chunk, total))
                bar(self.done - before)
                now = time.perf_counter()
                pace = CHUNK_S * (self.done - before) / max(now - begin, 1e-6)
                chunk = max(1, min(int(pace), 4 * chunk))
                if reached:
                    self.stopped = "target"
                elif pressed() or (self.limits.interrupt and self.limits.interrupt()):
                    self.stopped = "interrupt"
                elif self.limits.time_limit and now - self.started >= self.limits.time_limit:
                    self.stopped = "time limit"
                else:
                    if self.limits.checkpoint and now - saved >= self.limits.checkpoint_every:
                        self._save()
                        saved = now
                    continue
                break
        if self.done == total and self.stopped != "target":
            self.stopped = "finished"

    def _save(self) -> None:
        """A checkpoint that says it is one, with the ledger so far: resuming it goes on."""
        assert self.limits.checkpoint is not None
        old = self.run.ledger
        ledger = replace(
            old,
            counts=old.counts + self.counts,
            cpu_s=old.cpu_s + time.process_time() - self.started_cpu,
            wall_s=old.wall_s + time.perf_counter() - self.started,
        )
        replace(self.now(), ledger=ledger, stopped="checkpoint").save(self.limits.checkpoint)

    def _cut(self, chunk: int, total: int) -> int:
        """End of the next chunk: not across the end of burn-in; one sample for the overlap."""
        end = min(self.done + chunk, total)
        s = self.run.settings
        if self.done < s.burn_in:
            return min(end, s.burn_in)
        if "overlap" in s.observe:
            return min(total, self.done // s.every * s.every + s.every)
        return end

    def _chunk(self, end: int) -> bool:
        """Sweep to `end`, or to the first sweep at which a read has reached the target.

        A chunk that went past it is swept again up to there: its updates count once, the random
        words, couplings and bytes that both passes took count twice."""
        before = self.plan.state() if self.target is not None else None
        measured = self._sweep(end)
        if self.target is not None:
            hits = np.flatnonzero((measured.path <= self.target).any(axis=0))
            if hits.size:
                assert before is not None
                self.counts = self.counts + replace(measured.counts, attempted=0, flips=0)
                self.plan.load(before)
                end = self.done + int(hits[0]) + 1
                measured = self._sweep(end)
                self._take(measured, end)
                return True
        self._take(measured, end)
        return False

    def _sweep(self, end: int) -> Measured:
        s = self.run.settings
        return self.plan.sweep(
            self.run.betas[self.done : end],
            first=self.done,
            every=s.every,
            weights=self.weights,
            track=self.path_wanted,
        )

    def _take(self, measured: Measured, end: int) -> None:
        s = self.run.settings
        betas = self.run.betas[self.done : end]
        spins = self.plan.state().spins if "overlap" in s.observe else None
        self.recorder.record(measured, betas, self.done, spins, keep=self.done >= s.burn_in)
        self.counts = self.counts + measured.counts
        self.done = end


def _target_quanta(model: IsingModel, target: float | None) -> int | None:
    """Largest energy in quanta that counts as at or below the target."""
    if target is None:
        return None
    q = model.quantized
    slack = q.error * (model.n + model.n_edges)  # what rounding may add to an energy
    return math.floor((target - model.offset + slack) / q.quantum + 2.0**-20)


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Within the block the first Ctrl-C sets a flag, the second raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed = threading.Event()
    old = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, old)


@contextmanager
def _progress_bar(total: int, done: int, shown: bool) -> Iterator[Callable[[int], object]]:
    if not shown:
        yield lambda sweeps: None
        return
    from tqdm import tqdm

    with tqdm(total=total, initial=done, unit="sweep", leave=False) as bar:
        yield bar.update
