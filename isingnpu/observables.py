"""Observables streamed while sampling; states are never stored for them.

Per replica and sample, with N sites:

    energy            E(s)
    magnetization     m = sum_i s_i / N          abs_magnetization |m|,  m2 = m^2,  m4 = m^4
    structure_factor  S(k) = |sum_i s_i exp(i k x_i)|^2 / N, mean over the smallest k of each axis
    perron            P = sum_i u_i s_i with u the Perron vector of J >= 0, |u| = 1: what orders on
                      a graph whose sites differ; sqrt(N) m where they do not
    overlap           q = sum_i s^a_i s^b_i / N of replicas (a, b) = (0, 1), (2, 3), ...
    acceptance        flips / attempted updates since the sample before
    work, heat        since the start of the run, in units of k_B T of the bath (dimensionless):
                      w = sum_k (beta_k - beta_{k-1}) E(s_{k-1}),  q = -sum_k beta_k (E(s_k) -
                      E(s_{k-1})), so that beta_K E_K - beta_1 E_0 = w - q for each replica
    improved_m2       m^2 of the clusters of the sampled sweep, cluster dynamics of ferromagnets
    improved_m4       m^4 of the same, Swendsen-Wang only; see isingnpu.bonds

Series are (replicas, samples) float64; overlap is (replicas // 2, samples).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isingnpu.backend import Measured
from isingnpu.dynamics import HEAT_BATH, Dynamics
from isingnpu.model import IsingModel

Array = NDArray[np.float64]

NAMES = (
    "energy",
    "magnetization",
    "abs_magnetization",
    "m2",
    "m4",
    "structure_factor",
    "perron",
    "overlap",
    "acceptance",
    "work",
    "heat",
)


# What only clusters tell.
IMPROVED = ("improved_m2", "improved_m4")


def check_names(
    names: str | Iterable[str], model: IsingModel, replicas: int, dynamics: Dynamics = HEAT_BATH
) -> tuple[str, ...]:
    """The observables asked for, or ValueError for one that is unknown or impossible here."""
    chosen = (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in NAMES + IMPROVED:
            allowed = ", ".join(NAMES + IMPROVED)
            raise ValueError(f"unknown observable {name!r}, allowed are {allowed}")
        if name in IMPROVED:
            _check_improved(name, model, dynamics)
    if "overlap" in chosen and replicas % 2:
        raise ValueError(f"overlap pairs replicas: their number must be even, got {replicas}")
    if "structure_factor" in chosen and (
        model.geometry is None or model.geometry.vectors is None or model.geometry.basis is None
    ):
        raise ValueError("structure_factor needs a model with positions, built by a lattice")
    if "perron" in chosen:
        _ = model.perron  # raises ValueError where there is none
    return chosen


def _check_improved(name: str, model: IsingModel, dynamics: Dynamics) -> None:
    if not dynamics.moves_clusters:
        raise ValueError(f"{name} is made of clusters: use dynamics='swendsen-wang' or 'wolff'")
    if name == "improved_m4" and dynamics.clusters:
        raise ValueError("improved_m4 needs all clusters: use dynamics='swendsen-wang'")
    if model.quantized.couplings.min(initial=0) < 0:
        raise ValueError(
            f"{name} needs couplings J >= 0, got {model.csr.data.min()}: in other clusters the "
            "spins differ in sign"
        )


def projection_weights(model: IsingModel, names: Iterable[str]) -> Array | None:
    """(k, n) weights of what these observables are made of: waves, then the Perron vector."""
    made = [_wave_weights(model)] if "structure_factor" in names else []
    if "perron" in names:
        made.append(model.perron[None])
    return np.concatenate(made) if made else None


def _wave_weights(model: IsingModel) -> Array:
    """(2 d, n): cos(k_a x_i) for each axis a, then sin."""
    assert model.geometry is not None
    phase = model.geometry.k_min @ model.geometry.positions.T  # (d, n)
    return np.concatenate([np.cos(phase), np.sin(phase)])


@dataclass(eq=False)
class Recorder:
    """Turns what plans measure into series.

    energies: (replicas,) E in quanta before the next sweep, kept where work or heat need it;
    last_betas: (replicas,) of the sweep before (nan at the start); work, heat: (replicas,) so far.
    """

    model: IsingModel
    names: tuple[str, ...]
    every: int
    replicas: int
    energies: NDArray[np.int64]
    last_betas: Array
    work: Array
    heat: Array
    columns: dict[str, list[Array]] = field(default_factory=dict)

    @classmethod
    def start(
        cls, model: IsingModel, names: tuple[str, ...], every: int, spins: NDArray[np.int8]
    ) -> Recorder:
        """A recorder for a run that starts at these spins (replicas, sites)."""
        zero = np.zeros(len(spins))
        start = cls(model, names, every, len(spins), np.zeros(len(spins), np.int64),
                    zero + np.nan, zero, zero.copy())  # fmt: skip
        if start.thermodynamic:
            start.energies = quantized_energies(model, spins)
        return start

    @property
    def thermodynamic(self) -> bool:
        """Whether work or heat is recorded, which needs the energy after every sweep."""
        return "work" in self.names or "heat" in self.names

    def record(
        self,
        measured: Measured,
        betas: Array,
        first: int,
        spins: NDArray[np.int8] | None,
        *,
        keep: bool = True,
    ) -> None:
        """Add the samples of a call `sweep(betas, first=first)`; spins only for the overlap.
        keep=False, for a burn-in, carries work and heat on and drops the samples."""
        samples = measured.energy.shape[1]
        at = np.flatnonzero((first + 1 + np.arange(len(betas))) % max(self.every, 1) == 0)
        thermal = self._work_and_heat(measured.path, betas) if self.thermodynamic else None
        if not samples or not keep:
            return
        n = max(self.model.n, 1)
        m = measured.magnetization / n
        made: dict[str, Array] = {
            "energy": measured.energy * self.model.quantized.quantum + self.model.offset,
            "magnetization": m,
            "abs_magnetization": np.abs(m),
            "m2": m**2,
            "m4": m**4,
            "acceptance": measured.flips / (n * self.every),
        }
        if "structure_factor" in self.names:
            d = measured.projections.shape[2] // 2
            waves = measured.projections[:, :, : 2 * d]
            made["structure_factor"] = (waves**2).sum(axis=2) / (n * d)
        if "perron" in self.names:
            made["perron"] = measured.projections[:, :, -1]
        if measured.improved is not None:
            made["improved_m2"], made["improved_m4"] = np.moveaxis(measured.improved, 2, 0)
        if spins is not None:
            pairs = spins.reshape(len(spins) // 2, 2, self.model.n).astype(np.int64)
            made["overlap"] = (pairs[:, 0] * pairs[:, 1]).sum(axis=1)[:, None] / n
        if thermal is not None:
            made["work"], made["heat"] = thermal[0][:, at], thermal[1][:, at]
        for name in self.names:
            self.columns.setdefault(name, []).append(made[name])

    def _work_and_heat(self, path: NDArray[np.int64], betas: Array) -> tuple[Array, Array]:
        """Cumulative (replicas, sweeps) of both; advances the running totals."""
        quantum, offset = self.model.quantized.quantum, self.model.offset
        shape = (self.replicas, len(betas))
        beta = np.broadcast_to(betas.T if betas.ndim == 2 else betas[None, :], shape)
        before = np.concatenate([self.energies[:, None], path[:, :-1]], axis=1)
        start = np.where(np.isnan(self.last_betas), beta[:, 0], self.last_betas)
        step = np.diff(np.concatenate([start[:, None], beta], axis=1), axis=1)
        # running sums from the carried totals: the same additions whatever the chunks
        work = np.cumsum(
            np.concatenate([self.work[:, None], step * (before * quantum + offset)], axis=1),
            axis=1,
        )[:, 1:]
        heat = np.cumsum(
            np.concatenate([self.heat[:, None], -beta * ((path - before) * quantum)], axis=1),
            axis=1,
        )[:, 1:]
        self.energies, self.last_betas = path[:, -1].copy(), beta[:, -1].copy()
        self.work, self.heat = work[:, -1].copy(), heat[:, -1].copy()
        return work, heat

    def series(self) -> dict[str, Array]:
        """Everything recorded so far, name -> (replicas, samples)."""
        made = {}
        for name in self.names:
            rows = self.replicas // 2 if name == "overlap" else self.replicas
            made[name] = np.concatenate([np.zeros((rows, 0)), *self.columns.get(name, [])], axis=1)
        return made


def quantized_energies(model: IsingModel, spins: NDArray[np.int8]) -> NDArray[np.int64]:
    """E in quanta without the offset, (replicas,) int64: what kernels compare."""
    q, csr = model.quantized, model.csr
    states = spins.astype(np.int64)
    matrix = type(csr)((q.couplings, csr.indices, csr.indptr), csr.shape)
    pair = (states * (matrix @ states.T).T).sum(axis=1) // 2
    return np.asarray(-pair - states @ q.fields)
