"""Weights as spins: a classifier with weights of -1 and +1, found by annealing its training loss.

    E(w) = sum_n [ln sum_k exp(g S_nk) - g S_n,y(n)] - (attraction / R) sum_{a < b} w_a . w_b
    S = U sign(W x) with H hidden spins, or S = U x without

Metropolis sweeps over all weights at rising beta, R replicas in turn; a flip that costs nothing is
made by a coin, without which sweeps in a fixed order are not ergodic. Replicas that attract each
other look for wide minima (Baldassi et al., PNAS 113, E7655, 2016). A trial costs a pass over the
samples: O(weights x samples) per sweep, which is why this is a study of small problems and not the
trainer of the machines.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isingnpu.archive import FilePath
from isingnpu.npu.budget import Budget, Events, Progress
from isingnpu.npu.device import find_device
from isingnpu.npu.draws import Draw, uniforms
from isingnpu.npu.embedding import initial_spins
from isingnpu.npu.potts import draw_states
from isingnpu.npu.store import read_machine, write_machine
from isingnpu.rng import Stream, as_seed

Array = NDArray[Any]

KIND = "WeightAnnealer"


class WeightAnnealer:
    """hidden: H sign spins, 0 for one layer. gain g: None for 1 / sqrt(inputs of the output
    layer). betas: of the first and last sweep, geometric between. attraction: of replicas.

    After `fit`: output (R, K, M) and hidden_weights (R, H, D) int8; energies (R,) training losses
    in nats, summed over samples; classes K."""

    def __init__(
        self,
        *,
        hidden: int = 0,
        replicas: int = 1,
        attraction: float = 0.0,
        betas: tuple[float, float] = (0.05, 5.0),
        gain: float | None = None,
        seed: int = 0,
    ) -> None:
        if hidden < 0 or replicas < 1 or not attraction >= 0 or not 0 < betas[0] <= betas[1]:
            raise ValueError(
                f"need hidden >= 0, replicas >= 1, attraction >= 0 and 0 < betas[0] <= betas[1], "
                f"got {hidden}, {replicas}, {attraction}, {betas}"
            )
        self.hidden, self.replicas, self.attraction = hidden, replicas, attraction
        self.betas, self.gain, self.seed = betas, gain, as_seed(seed)
        self.progress: Progress | None = None

    def fit(
        self, inputs: ArrayLike, labels: ArrayLike, budget: Budget, *, until: int | None = None
    ) -> Progress:
        """Anneal from random weights; inputs (N, D), labels (N,) from 0. A step of the budget is
        a sweep of all replicas; flips counts trials.

        A machine that was stopped (`until` a step, or saved and loaded) goes on where it was, if
        the budget of all calls together is not spent; with a budget in steps it has the bits of
        one that was not. ValueError for inputs or classes that it has no weights for."""
        x, y = self._check(inputs, labels)
        if self.progress is None:
            self._start(x.shape[1], int(y.max()) + 1)
        elif self._inputs != x.shape[1] or y.max() >= self.classes:
            raise ValueError(
                f"weights are of {self._inputs} inputs and {self.classes} classes, got "
                f"{x.shape[1]} and {y.max() + 1}"
            )
        kernels = importlib.import_module("isingnpu.backends.cpu.machine_weights")
        device = find_device("cpu")
        weights = self.replicas * (self.output[0].size + self.hidden_weights[0].size)
        cold, hot = self.betas[1], self.betas[0]
        with Progress.after(self.progress, budget) as progress:
            self.progress = progress
            while not progress.spent and (until is None or progress.steps < until):
                accepted = 0
                beta = hot * (cold / hot) ** self._phase(progress)
                draw = Draw(self.seed, Stream.WEIGHT_FLIP, step=progress.steps)
                u = device.uniforms(self.hidden_weights.shape, draw).astype(np.float64)
                v = device.uniforms(self.output.shape, draw.at(call=1)).astype(np.float64)
                for r in range(self.replicas):
                    accepted += self._sweep(kernels, x, y, r, beta, (u[r], v[r]))
                progress.count(
                    Events(
                        draws=weights,
                        writes=accepted,
                        random_words=weights,
                        samples=len(x),
                        bytes=16 * weights * len(x),
                    )
                )
        return progress

    def _phase(self, progress: Progress) -> float:
        """Part of the schedule: 1 at the last sweep of a budget in steps."""
        steps = progress.budget.steps
        if steps is not None:
            return progress.steps / max(1, steps - 1)
        return progress.fraction

    @property
    def _inputs(self) -> int:
        return int((self.hidden_weights if self.hidden else self.output).shape[-1])

    @property
    def _gain(self) -> float:
        return 1 / math.sqrt(self.output.shape[-1]) if self.gain is None else self.gain

    def _start(self, inputs: int, classes: int) -> None:
        width, self.classes = self.hidden or inputs, classes
        draw = Draw(self.seed, Stream.WEIGHTS)
        first = uniforms((self.replicas, self.hidden, inputs), draw)
        second = uniforms((self.replicas, classes, width), draw.at(call=1))
        self.hidden_weights = np.where(first < 0.5, -1, 1).astype(np.int8)
        self.output = np.where(second < 0.5, -1, 1).astype(np.int8)
        self.energies = np.full(self.replicas, np.inf)

    def _sweep(
        self, kernels: Any, x: Array, y: Array, r: int, beta: float, u: tuple[Array, Array]
    ) -> int:
        """One sweep of one replica by its numbers for hidden and output weights; returns accepted
        flips. Sums are remade at its start, so that no rounding is carried on."""
        U, W = self.output[r].astype(np.float64), self.hidden_weights[r].astype(np.float64)
        T, N = x, len(x)
        loss, new, accepted = np.empty(N), np.empty(N), 0
        if self.hidden:
            F = x @ W.T
            T = initial_spins(F).astype(np.float64)
        S = T @ U.T
        kernels.losses(S, y, self._gain, loss)
        if self.hidden:
            accepted += kernels.sweep_hidden(
                W, x, F, T, U, S, y, loss, self._gain, beta,
                self._pull(self.hidden_weights, r), u[0], new, np.empty(N, np.int64),
            )  # fmt: skip
            self.hidden_weights[r] = W
        accepted += kernels.sweep_output(
            U, T, S, y, loss, self._gain, beta, self._pull(self.output, r), u[1], new
        )
        self.output[r] = U
        self.energies[r] = loss.sum()
        return int(accepted)

    def _pull(self, weights: Array, r: int) -> Array:
        """Field of the other replicas on those of replica r."""
        others = weights.sum(0, dtype=np.float64) - weights[r]
        return np.asarray(self.attraction / self.replicas * others)

    @property
    def best(self) -> int:
        """The replica of the lowest training loss."""
        return int(self.energies.argmin())

    def scores(self, inputs: ArrayLike, replica: int | None = None) -> Array:
        """(N, K) class scores S of one replica, the best if None."""
        self._check_annealed()
        r = self.best if replica is None else replica
        x = np.asarray(inputs, np.float64)
        T = initial_spins(x @ self.hidden_weights[r].T) if self.hidden else x
        return np.asarray(T.astype(np.float64) @ self.output[r].T)

    def predict(self, inputs: ArrayLike, *, vote: bool = False) -> Array:
        """(N,) labels by the best replica, or by the summed scores of all (vote)."""
        if not vote:
            return np.asarray(self.scores(inputs).argmax(-1))
        total = sum(
            (self.scores(inputs, r) for r in range(self.replicas)), np.zeros((1, self.classes))
        )
        return np.asarray(total.argmax(-1))

    def sample(
        self, inputs: ArrayLike, *, replica: int | None = None, seed: int | None = None
    ) -> Array:
        """(N,) labels drawn from the heat bath softmax(g S) whose cross entropy is E, of one
        replica, the best if None."""
        scores = self._gain * self.scores(inputs, replica)
        key = self.seed if seed is None else as_seed(seed)
        return draw_states(scores, uniforms((len(scores),), Draw(key, Stream.SELECTOR)))

    def score(self, inputs: ArrayLike, labels: ArrayLike, *, vote: bool = False) -> float:
        """Fraction of right labels."""
        return float((self.predict(inputs, vote=vote) == np.asarray(labels)).mean())

    def save(self, path: FilePath) -> None:
        """Settings, weights and all that another `fit` needs, in one .npz file."""
        self._check_annealed()
        description: dict[str, Any] = {
            "hidden": self.hidden, "replicas": self.replicas, "attraction": self.attraction,
            "betas": list(self.betas), "gain": self.gain, "seed": str(self.seed),
            "progress": None if self.progress is None else self.progress.to_json(),
        }  # fmt: skip
        arrays = {
            "output": self.output, "hidden": self.hidden_weights, "energies": self.energies,
        }  # fmt: skip
        write_machine(path, KIND, description, arrays)

    @classmethod
    def load(cls, path: FilePath) -> WeightAnnealer:
        """The inverse of `save`; ValueError for another file."""
        stored, arrays = read_machine(path, KIND)
        progress = stored.pop("progress")
        machine = cls(**stored | {"betas": tuple(stored["betas"]), "seed": int(stored["seed"])})
        machine.progress = None if progress is None else Progress.from_json(progress)
        machine.output, machine.hidden_weights = arrays["output"], arrays["hidden"]
        machine.energies, machine.classes = arrays["energies"], arrays["output"].shape[1]
        return machine

    def _check_annealed(self) -> None:
        if not hasattr(self, "output"):
            raise ValueError("there are no weights yet: call fit(inputs, labels, budget)")

    def _check(self, inputs: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
        x, y = np.ascontiguousarray(inputs, np.float64), np.asarray(labels)
        if x.ndim != 2 or y.shape != x.shape[:1] or not len(x) or not np.isfinite(x).all():
            raise ValueError(
                f"inputs must be (N, D) finite and labels (N,), got {x.shape} and {y.shape}"
            )
        if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() < 1:
            raise ValueError("labels must be integers from 0, of two classes at least")
        return x, y.astype(np.int64)
