"""Machines that read text, learning on a GPU and on one core: spin states decided per ns."""

from __future__ import annotations

import importlib
import time
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import ceilings
from benchmarks.gpu_cases import QUICK_TEXT, TextCase
from benchmarks.nvml import Board, watch
from isingnpu.bench.records import Record
from isingnpu.npu.budget import Budget
from isingnpu.npu.corpus import Corpus
from isingnpu.npu.device import Device, find_device
from isingnpu.npu.draws import Draw, uniforms
from isingnpu.npu.language import PottsIsingLM
from isingnpu.npu.text_training import TextTraining
from isingnpu.rng import Stream

CORE = "one CPU core"
CALL = 0.2  # s of steps in one call
TOKENS = 1 << 18
UNIT = "spin states/ns of wall time"
WITHOUT_END = Budget(steps=1 << 40)


def text(case: TextCase) -> Corpus:
    """Random tokens, some much more frequent than others, as letters are."""
    q = case.spec.colours
    tokens = (uniforms((TOKENS,), Draw(1, Stream.DATA)) ** 2 * q).astype(np.uint8)
    return Corpus("random tokens", tokens, tuple(map(str, range(q))), TOKENS, TOKENS)


class Learning:
    """A machine on a device that learns step by step."""

    def __init__(self, case: TextCase, device: Device, seed: int) -> None:
        training = replace(TextTraining(), runs=case.runs, length=case.length)
        self.corpus = text(case)
        self.machine = PottsIsingLM(case.spec, training, seed=seed, device=device)
        self.steps = 0

    def call(self, times: int) -> float:
        """So many steps, the last of which has told its loss; spin states that they decided."""
        before = self.flips
        self.steps += times
        self.machine.fit(self.corpus, WITHOUT_END, until=self.steps)
        return float(self.flips - before)

    @property
    def flips(self) -> int:
        progress = self.machine.progress
        return 0 if progress is None else progress.events.flips


def measure_text(
    case: TextCase,
    device: Any,
    backend: str,
    seconds: float,
    board: Board | str,
    idle: float | None,
    *,
    seed: int,
    quick: bool,
) -> Record:
    """The record of a case on a device of the cuda backend, beside one core of the cpu backend."""
    name = case.name
    case = QUICK_TEXT if quick else case
    kernels = importlib.import_module("isingnpu.backends.cuda.machine").CudaMachine(device)
    learning = Learning(case, kernels, seed)
    times = ceilings.calls_that_last(learning.call, 0.0 if quick else CALL)
    window = watch(lambda: learning.call(times), seconds, board)
    numbers = ceilings.numbers(window)
    core = Learning(case, find_device("cpu"), seed)
    core.call(1)
    began = time.process_time()
    speed = 1e-9 * core.call(1) / (time.process_time() - began)
    size = case.runs * case.length
    states = learning.flips / (learning.steps * size)
    per_s = (f"{1e9 * value / states:,.0f}" for value in (numbers["value"], speed))
    return Record(
        case=name,
        metric="throughput",
        unit=UNIT,
        **numbers,
        ratio_to={CORE: numbers["value"] / speed},
        ratio_range={CORE: (numbers["low"] / speed, numbers["high"] / speed)},
        n=case.spec.hidden,
        edges=learning.machine.n_couplings,
        replicas=size,
        sweeps=times,
        backend=backend,
        kernel="text",
        layout="none",
        seed=seed,
        quick=quick,
        excluded="text, first couplings, compilation",
        notes=(
            "{} positions/s, {} on one CPU core".format(*per_s),
            window.describe(idle),
        ),
    )
