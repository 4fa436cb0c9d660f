"""Blocks of hidden spins that look at an image: receptive-field sheets and dense blocks.

A sheet is a lattice of spins whose receptive fields, `field` x `field` sites of the block below at
`stride`, share their couplings W; a block has `sheets` of them. A dense block sees every site.
Every block has an output Potts spin of its own, coupled to all its hidden spins by U:

    f_j = c_j + sum_i W_ij x_i        -E(y, h | x) = b_y + sum_j h_j (f_j + U_yj)

A pooled sheet keeps one spin of 2 x 2: the winner of a Potts spin over the four, at zero
temperature. A thermostat holds the fields of a block at mean 0 and standard deviation `thermostat`
for every image (the LayerNorm of a transformer); learning takes it as frozen.
"""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from typing import Any

from isingnpu.npu.units import HardTower, Unit, unit_name, unit_of

Shape = tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True)
class Sheets:
    """`sheets` lattices of spins with shared receptive fields."""

    field: int
    sheets: int
    stride: int = 1
    pool: bool = False
    unit: Unit = dataclasses.field(default_factory=HardTower)
    thermostat: float | None = None

    def __post_init__(self) -> None:
        if min(self.field, self.sheets, self.stride) < 1:
            raise ValueError(f"field, sheets and stride are at least 1, got {self}")
        _check_thermostat(self.thermostat)

    def sites(self, below: Shape) -> tuple[int, int]:
        """Rows and columns of the lattice before pooling; ValueError if no field fits."""
        rows, columns = ((side - self.field) // self.stride + 1 for side in below[:2])
        least = 2 if self.pool else 1
        if min(rows, columns) < least:
            raise ValueError(
                f"a {self.field} x {self.field} field at stride {self.stride} has {rows} x "
                f"{columns} places on {below[0]} x {below[1]} sites, {least} x {least} are needed"
            )
        return rows, columns

    def shape(self, below: Shape) -> Shape:
        """Of the states that the next block sees."""
        rows, columns = self.sites(below)
        halves = 2 if self.pool else 1
        return rows // halves, columns // halves, self.sheets

    def inputs(self, below: Shape) -> int:
        """Sites that one spin sees."""
        return self.field**2 * below[2]


@dataclass(frozen=True)
class Dense:
    """`spins` hidden spins that see every site below."""

    spins: int
    unit: Unit = dataclasses.field(default_factory=HardTower)
    thermostat: float | None = None

    def __post_init__(self) -> None:
        if self.spins < 1:
            raise ValueError(f"a block has at least one spin, got {self.spins}")
        _check_thermostat(self.thermostat)

    def shape(self, below: Shape) -> Shape:
        """Of the states that the next block sees."""
        return 1, 1, self.spins

    def inputs(self, below: Shape) -> int:
        """Sites that one spin sees."""
        return below[0] * below[1] * below[2]


Layer = Sheets | Dense


def layer_to_json(layer: Layer) -> dict[str, Any]:
    """A block as JSON values; `layer_from_json` is the inverse."""
    kind = "sheets" if isinstance(layer, Sheets) else "dense"
    return asdict(layer) | {"kind": kind, "unit": unit_name(layer.unit)}


def layer_from_json(entry: dict[str, Any]) -> Layer:
    """The block of `layer_to_json`; ValueError for anything else."""
    values = dict(entry)
    kinds: dict[Any, type[Sheets] | type[Dense]] = {"sheets": Sheets, "dense": Dense}
    kind = kinds.get(values.pop("kind", None))
    if kind is None:
        raise ValueError(f"no block of spins: {entry}")
    return kind(**values | {"unit": unit_of(values["unit"])})


def _check_thermostat(gamma: float | None) -> None:
    if gamma is not None and not gamma > 0:
        raise ValueError(f"a thermostat holds a positive standard deviation, got {gamma}")
