"""`python -m benchmarks.schedules`: what the default schedule was chosen by (docs/annealing.md).

Mean final energy per read in excess of the best schedule of the row, with its standard error over
64 reads; every schedule gets the same sweeps and seed. Temperatures in units of the glass scale.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from isingnpu import IsingModel, anneal, disorder, lattice, planted, read
from isingnpu.schedule import Schedule, default_schedule, glass_scale

READS, SWEEPS, SEED = 64, 500, 7


def instances() -> dict[str, IsingModel]:
    """Glasses, planted instances, and G-set files where they are found."""
    made = {
        "3D +-J, L = 8": disorder.edwards_anderson((8,) * 3, seed=1),
        "3D Gaussian, L = 8": disorder.edwards_anderson((8,) * 3, disorder="gaussian", seed=1),
        "SK, n = 200": disorder.sherrington_kirkpatrick(200, seed=1),
        "2D frustrated loops, L = 24": planted.frustrated_loops(lattice.square(24), seed=1),
    }
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ISINGNPU_DATA", default)) / "gset"
    for name in ("G1", "G22", "G35", "G55"):
        if (folder / f"{name}.txt").exists():
            made[name] = read(folder / f"{name}.txt")
    return made


def schedules(model: IsingModel) -> dict[str, Schedule]:
    """The default and what it was chosen from."""
    sigma = glass_scale(model)

    def ramp(shape: str, hot: float, cold: float) -> Schedule:
        start, end = 1 / (hot * sigma), 1 / (cold * sigma)
        main = default_schedule(
            model, SWEEPS - SWEEPS // 20, beta_start=start, beta_end=end, shape=shape
        )
        quench = 1 / np.linspace(cold * sigma, 1e-3 * sigma, SWEEPS // 20 + 1)[1:]
        return Schedule(shape, np.concatenate([main.betas, quench]))

    hot = np.log(2) / (2 * model.field_bound)
    cold = np.log(model.n / 0.01) / (2 * np.abs(model.csr.data).min())
    return {
        "default: T 0.9-0.2": default_schedule(model, SWEEPS),
        "T 1.1-0.2": ramp("linear-T", 1.1, 0.2),
        "T 0.7-0.2": ramp("linear-T", 0.7, 0.2),
        "beta 1.0-0.2": ramp("linear", 1.0, 0.2),
        "geometric 1.0-0.15": ramp("geometric", 1.0, 0.15),
        "min-max range": Schedule("geometric", np.geomspace(hot, cold, SWEEPS)),
    }


def main() -> None:
    """Print the table."""
    rows: list[str] = []
    for name, model in instances().items():
        runs = {
            label: anneal(model, schedule, replicas=READS, seed=SEED).state.spins
            for label, schedule in schedules(model).items()
        }
        energies = {label: model.energy(spins) for label, spins in runs.items()}
        best = min(e.mean() for e in energies.values())
        if not rows:
            rows += [
                f"| instance | {' | '.join(energies)} |",
                "| --- |" + " --- |" * len(energies),
            ]
        cells = [f"{e.mean() - best:.1f}({e.std() / READS**0.5:.1f})" for e in energies.values()]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
