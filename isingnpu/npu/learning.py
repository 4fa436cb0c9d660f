"""How a machine learns: which phases it relaxes through, and the local rule of a coupling.

Every rule is of the form  Delta J_ij = rate x (<s_i s_j> of one phase - <s_i s_j> of another): it
needs what the two ends of a coupling see in two phases and no derivative of anything else.
Backprop is replaced by two annealed phases: with inputs and outputs clamped minus with inputs
clamped alone, in equilibrium at beta = 1, it is d ln p(y | x) / dJ_ij exactly
(isingnpu.npu.two_phase; Ackley, Hinton and Sejnowski, Cognitive Science 9, 147, 1985).

WeakFeedback is equilibrium propagation with a weak, symmetric nudge (Scellier and Bengio, Front.
Comput. Neurosci. 11:24, 2017; Laborieux et al., Front. Neurosci. 15:633674, 2021) in the limit in
which the output spin is much colder than the hidden ones. For one hidden layer it estimates the
gradient that backprop computes, up to O(beta^2): without backprop is not without gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isingnpu.npu.device import Array, Device
from isingnpu.npu.draws import Draws


@dataclass(frozen=True)
class WeakFeedback:
    """Free phase, then two phases nudged by +beta and -beta times the output's error.

    beta: nudge, the first and last of a linear ramp over training. draws: None for mean fields, or
    the drawn spins of the free phase. nudge: "mean", the nudged phases by their conditional
    expectation given the free draw, or "sampled", drawn with the same random numbers in both.
    threshold: samples whose output is off by less in every state are not nudged."""

    beta: tuple[float, float] = (0.5, 0.5)
    draws: Draws | None = None
    nudge: str = "mean"
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if min(self.beta) <= 0:
            raise ValueError(f"a nudge needs beta > 0, got {self.beta}")
        if self.nudge not in ("mean", "sampled"):
            raise ValueError(f"nudge must be 'mean' or 'sampled', got {self.nudge!r}")
        if self.nudge == "sampled" and self.draws is None:
            raise ValueError("a sampled nudge needs draws in the free phase: pass draws=")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold must lie in [0, 1), got {self.threshold}")

    def beta_at(self, fraction: float) -> float:
        """The nudge when that fraction of the budget is spent."""
        return self.beta[0] + (self.beta[1] - self.beta[0]) * fraction


@dataclass(frozen=True)
class Exact:
    """Clamped minus free expectations with hidden and output spins traced exactly: the gradient
    of log p(y | x). threshold: output states with |delta - p| below it are left out."""

    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold must lie in [0, 1), got {self.threshold}")


@dataclass(frozen=True)
class Gibbs:
    """Clamped minus free statistics of drawn spins: heat-bath sweeps at the given rising betas
    from a random state, `replicas` copies of every hidden spin. rao_blackwell: hidden statistics
    by their conditional expectation given the output spin."""

    betas: tuple[float, ...] = (1.0,)
    replicas: int = 1
    rao_blackwell: bool = True

    def __post_init__(self) -> None:
        if not 1 <= len(self.betas) <= 256 or self.betas[-1] != 1.0 or min(self.betas) < 0:
            raise ValueError(f"1 to 256 betas >= 0 that end at 1 are needed, got {self.betas}")
        if not 1 <= self.replicas <= 256:
            raise ValueError(f"1 to 256 replicas are possible, got {self.replicas}")


@dataclass(frozen=True)
class ContrastiveDivergence:
    """Free phase started at the data, k sweeps; persistent: at the last step's free state.

    Hinton, Neural Computation 14, 1771 (2002); Tieleman, ICML 2008."""

    k: int = 1
    persistent: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 256:
            raise ValueError(f"1 to 256 sweeps are possible, got {self.k}")


@dataclass(frozen=True)
class MeanField:
    """Both phases by `iterations` of damped mean-field equations (Peterson and Anderson, 1987)."""

    iterations: int = 12
    damping: float = 0.5

    def __post_init__(self) -> None:
        if self.iterations < 1 or not 0 < self.damping <= 1:
            raise ValueError(f"iterations >= 1 and 0 < damping <= 1 are needed, got {self}")


@dataclass(frozen=True)
class SymmetricFeedback:
    """Equilibrium propagation with feedback of finite strength: a block feels gamma times what
    the block above returns through the same couplings, in the free and in two nudged phases.

    Block l of L has the temperature gamma^(l - 1), so that gamma -> 0 is WeakFeedback. `sweeps`
    over the blocks in every phase, each settling the blocks upwards from the images."""

    beta: float = 0.5
    gamma: float = 0.1
    sweeps: int = 6

    def __post_init__(self) -> None:
        if not self.beta > 0 or not 0 < self.gamma <= 1 or self.sweeps < 1:
            raise ValueError(f"beta > 0, 0 < gamma <= 1 and sweeps >= 1 are needed, got {self}")


Phases = SymmetricFeedback | WeakFeedback | Exact | Gibbs | ContrastiveDivergence | MeanField


@dataclass(frozen=True)
class LocalAdam:
    """Adam (Kingma and Ba, ICLR 2015) as a local rule: a coupling keeps two running moments of
    its own two-phase statistics and moves by their ratio; nothing is shared between couplings.

    rate: largest step; it rises linearly over `warm_up` steps and falls linearly with the budget
    to `floor` of itself. decay: pull towards zero per step, times the rate."""

    rate: float = 3e-3
    betas: tuple[float, float] = (0.9, 0.99)
    decay: float = 0.002
    warm_up: int = 100
    floor: float = 0.01

    def __post_init__(self) -> None:
        means = min(self.betas) >= 0 and max(self.betas) < 1
        if not (self.rate > 0 and self.decay >= 0 and means):
            raise ValueError(f"rate > 0, decay >= 0 and betas in [0, 1) are needed, got {self}")
        if self.warm_up < 1 or not 0 <= self.floor <= 1:
            raise ValueError(f"warm_up >= 1 and floor in [0, 1] are needed, got {self}")

    def rate_at(self, step: int, fraction: float) -> float:
        """The rate of 0-based `step` when that fraction of the budget is spent."""
        return self.rate * min(1.0, (step + 1) / self.warm_up) * max(self.floor, 1.0 - fraction)


@dataclass(eq=False)
class Moments:
    """The two running moments of every coupling array of a machine, and the steps made."""

    first: dict[str, Array] = field(default_factory=dict)
    second: dict[str, Array] = field(default_factory=dict)
    steps: int = 0

    def arrays(self) -> dict[str, Array]:
        """Both by name, `first:NAME` and `second:NAME`: what a file of a machine keeps."""
        return {f"first:{name}": array for name, array in self.first.items()} | {
            f"second:{name}": array for name, array in self.second.items()
        }

    @classmethod
    def restored(cls, arrays: Mapping[str, Array], steps: int) -> Moments:
        """Of `arrays`, other names left out, after so many steps."""
        first, second = (
            {name[len(of) :]: array for name, array in arrays.items() if name.startswith(of)}
            for of in ("first:", "second:")
        )
        return cls(first, second, steps)

    def step(
        self,
        device: Device,
        rule: LocalAdam,
        couplings: dict[str, Array],
        statistics: dict[str, Array],
        fraction: float,
        undecayed: frozenset[str] = frozenset(),
    ) -> None:
        """Move every coupling array that has statistics, in place."""
        rate = rule.rate_at(self.steps, fraction)
        self.steps += 1
        for name, gradient in statistics.items():
            if name not in self.first:
                self.first[name] = device.xp.zeros_like(couplings[name])
                self.second[name] = device.xp.zeros_like(couplings[name])
            device.adam(
                couplings[name],
                gradient,
                (self.first[name], self.second[name]),
                rate=rate,
                decay=0.0 if name in undecayed else rule.decay,
                step=self.steps,
                betas=rule.betas,
            )
