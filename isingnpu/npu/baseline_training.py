"""A network trained by backprop under a budget: optimisers, schedule, what a stop must keep.

AdamW moves every parameter (Loshchilov and Hutter, ICLR 2019), or Muon the matrices of the blocks
and AdamW the rest. Rates rise linearly over the warm-up and fall linearly with the budget. Random
numbers are a torch generator's, seeded by the run: unlike those of the machines of spins they
depend on the device and on the version of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isingnpu.archive import FilePath
from isingnpu.ledger import StepCost
from isingnpu.npu.baseline_muon import Muon, orthogonal_flops
from isingnpu.npu.baseline_torch import check_device, no_denormals, threads, torch
from isingnpu.npu.budget import Budget, Events, Point, Progress
from isingnpu.npu.store import read_machine, write_machine
from isingnpu.rng import as_seed

Tensor = Any
Array = NDArray[Any]
Parameters = dict[str, Tensor]
Loss = Callable[[Parameters, Any, int], Tensor]  # parameters, generator, 0-based step


class Network(Protocol):
    """A function of parameters and inputs."""

    @property
    def matrices(self) -> frozenset[str]:
        """Names of the stacks of matrices that Muon may move."""

    def start(self, generator: Any) -> Parameters:
        """First parameters, on the CPU."""

    def cost(self, batch: int) -> StepCost:
        """Counted cost of one training step of AdamW."""


@dataclass(frozen=True)
class Rule:
    """How parameters move.

    rate: of AdamW. muon: rate of Muon for the matrices of blocks, None for AdamW throughout.
    decay: pull towards zero, times the rate. floor: the last rate as a part of the first."""

    rate: float = 3e-3
    muon: float | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    momentum: float = 0.95
    decay: float = 0.01
    warm_up: int = 50
    floor: float = 0.02

    def __post_init__(self) -> None:
        if not self.rate > 0 or (self.muon is not None and not self.muon > 0):
            raise ValueError(f"rates must be positive, got {self}")
        if self.warm_up < 1 or not 0 <= self.floor <= 1:
            raise ValueError(f"warm_up >= 1 and floor in [0, 1] are needed, got {self}")

    def factor(self, step: int, fraction: float) -> float:
        """What the rates are multiplied by in 0-based `step`, that part of the budget spent."""
        return min(1.0, (step + 1) / self.warm_up) * max(self.floor, 1.0 - fraction)


class Training:
    """Parameters, moments, random numbers and what is spent. A budget counts from the first
    step: a training that was stopped, saved and loaded goes on with the bits it would have had."""

    def __init__(
        self,
        network: Network,
        rule: Rule,
        *,
        seed: int | None = None,
        device: str = "cpu",
        n_threads: int = 1,
    ) -> None:
        self.network, self.rule, self.n_threads = network, rule, n_threads
        self.seed, self.device = as_seed(seed), check_device(device)
        first = network.start(torch.Generator().manual_seed(self.seed))
        self.parameters = {k: v.to(device).requires_grad_(True) for k, v in first.items()}
        # another key: the words that made the parameters are not to choose the samples
        drawn = as_seed(np.random.SeedSequence((self.seed, 1)))
        self.generator = torch.Generator(device).manual_seed(drawn)
        chosen = sorted(network.matrices) if rule.muon is not None else []
        self._muon = Muon([self.parameters[k] for k in chosen], rule.momentum, rule.decay)
        self._adam = torch.optim.AdamW(
            [w for k, w in self.parameters.items() if k not in chosen],
            lr=rule.rate,
            betas=rule.betas,
            weight_decay=rule.decay,
            fused=True,
        )
        self.steps, self.cpu_s, self.wall_s, self.events = 0, 0.0, 0.0, Events()
        self.curve: list[Point] = []

    @property
    def n_parameters(self) -> int:
        return sum(int(w.numel()) for w in self.parameters.values())

    def run(
        self,
        loss: Loss,
        batch: int,
        budget: Budget,
        *,
        samples: int | None = None,
        evaluate: Callable[[], float] | None = None,
        marks: int = 8,
        stop_after: int | None = None,
    ) -> Progress:
        """Steps down the gradient of `loss` until the budget is spent, or until step
        `stop_after`. samples: per step, `batch` by default. The learning curve gets `marks`
        points, evenly in the spent budget, with `evaluate()` as the score: free of charge."""
        limits = (budget.cpu_s, budget.steps, budget.joules, budget.wall_s)
        if all(limit is None for limit in limits):
            raise ValueError("backprop flips no spins: give cpu_s=, steps=, joules= or wall_s=")
        events = self._step_events(batch, batch if samples is None else samples)
        progress = Progress(
            budget,
            events=self.events,
            steps=self.steps,
            curve=self.curve,
            earlier_cpu_s=self.cpu_s,
            earlier_wall_s=self.wall_s,
        )
        with threads(self.n_threads), no_denormals(), progress:
            fraction = progress.fraction
            while fraction < 1 and progress.steps != stop_after:
                with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
                    value = loss(self.parameters, self.generator, progress.steps)
                value.backward()
                self._move(self.rule.factor(progress.steps, fraction))
                progress.count(events)
                before, fraction = fraction, progress.fraction
                if int(fraction * marks) > int(before * marks):
                    with progress.pause():
                        score = None if evaluate is None else evaluate()
                    progress.mark(float(value.detach()), score)
        self.steps, self.cpu_s, self.events = progress.steps, progress.cpu_s, progress.events
        self.wall_s = progress.wall_s
        return progress

    def _step_events(self, batch: int, samples: int) -> Events:
        cost = self.network.cost(batch)
        flops = cost.flops + sum(orthogonal_flops(w.shape) for w in self._muon.weights)
        return Events(macs=flops // 2, writes=self.n_parameters, bytes=cost.bytes, samples=samples)

    def _move(self, factor: float) -> None:
        for group in self._adam.param_groups:
            group["lr"] = self.rule.rate * factor
        self._adam.step()
        if self.rule.muon is not None:
            self._muon.step(self.rule.muon * factor)
        for w in self.parameters.values():
            w.grad = None

    def save(self, path: FilePath, kind: str, description: dict[str, Any]) -> None:
        """Write everything that a resumption needs; `description` says how to make the network."""
        arrays = {f"parameter {k}": w for k, w in self.parameters.items()}
        arrays |= {f"moment {i}": m for i, m in enumerate(self._muon.moments)}
        for k, w in self.parameters.items():
            arrays |= {f"adam {name} {k}": v for name, v in self._adam.state[w].items()}
        arrays["generator"] = self.generator.get_state()
        state = {
            "seed": self.seed,
            "steps": self.steps,
            "cpu_s": self.cpu_s,
            "wall_s": self.wall_s,
            "events": {k: v for k, v in self.events.to_json().items() if k != "flips"},
            "curve": [asdict(point) for point in self.curve],
            "rule": asdict(self.rule),
        }
        stored = {k: v.detach().cpu().numpy() for k, v in arrays.items()}
        write_machine(path, kind, description | {"training": state}, stored)


def load_training(
    path: FilePath,
    kind: str,
    network: Callable[[dict[str, Any]], Network],
    *,
    device: str = "cpu",
    n_threads: int = 1,
) -> tuple[Training, dict[str, Any]]:
    """What `Training.save` wrote, and the description. network: makes it of the description."""
    description, arrays = read_machine(path, kind)
    state = description.pop("training")
    betas = tuple(state["rule"].pop("betas"))
    made = Training(
        network(description),
        Rule(**state["rule"], betas=betas),
        seed=state["seed"],
        device=device,
        n_threads=n_threads,
    )
    tensors = {k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}
    with torch.no_grad():
        for k, w in made.parameters.items():
            w.copy_(tensors[f"parameter {k}"])
        for i, m in enumerate(made._muon.moments):
            m.copy_(tensors[f"moment {i}"])
    for key, value in tensors.items():
        if key.startswith("adam "):
            _, name, of = key.split(" ", 2)
            on = value if name == "step" else value.to(device)
            made._adam.state[made.parameters[of]][name] = on
    made.generator.set_state(tensors["generator"])
    made.steps, made.cpu_s, made.wall_s = state["steps"], state["cpu_s"], state["wall_s"]
    made.events = Events(**state["events"])
    made.curve = [Point(**point) for point in state["curve"]]
    return made, description
