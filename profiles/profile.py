"""A device profile: the cost model of a device, processor, runtime, precision and threads, and what it is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mnv3c.profiles.layer_table import Integers, LayerTable
from mnv3c.profiles.model.intervals import Intervals
from mnv3c.profiles.model.model import Model
from mnv3c.profiles.physics.base import Floats

SHAPE_NAMES = ("height", "channels_in", "channels_widest", "channels_out", "kernel", "stride")


@dataclass(frozen=True)
class Identity:
    """What was measured. The same phone differs 1.5x between runtimes, so no part may be left out."""

    device: str
    processor: str
    runtime: str
    precision: str
    threads: int


@dataclass(frozen=True)
class Provenance:
    """Where the rows came from, when the profile was made, and by which command line."""

    rows: int
    sources: tuple[str, ...]
    priors: tuple[str, ...]
    made: str
    how: str


@dataclass(frozen=True)
class CrossValidation:
    """How far off the method was on rows held out by group; rates in percent as in `metrics.Metrics`."""

    method: str
    groups: int
    mape: float
    rmspe: float
    within_5: float
    within_10: float
    bias: float


@dataclass(frozen=True)
class ShapeRange:
    """The least and the greatest of every number of `SHAPE_NAMES` that units of a family had."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def joined(self, other: "ShapeRange") -> "ShapeRange":
        """The smallest range that holds both."""
        return ShapeRange(tuple(map(min, self.low, other.low)), tuple(map(max, self.high, other.high)))

    def outside(self, shape: Floats) -> tuple[str, ...]:
        """What of a shape lies outside, in words."""
        return tuple(
            f"{name} {value:g} {'below' if value < low else 'above'} {low if value < low else high:g}"
            for name, value, low, high in zip(SHAPE_NAMES, shape, self.low, self.high, strict=True)
            if not low <= value <= high
        )


@dataclass(frozen=True)
class NetworkOverhead:
    """What a whole network takes beside its units, in milliseconds: once, and for each unit (launch, read-back).

    `scale` is how much of its units' sum it takes: units measured within a network need not add up to it.
    """

    network_ms: float = 0.0
    unit_ms: float = 0.0
    scale: float = 1.0

    def network_total_ms(self, sum_ms: Floats, units: Integers) -> Floats:
        """(n,) milliseconds that networks take whose `units` take `sum_ms` together."""
        return np.asarray(self.scale * sum_ms + self.network_ms + self.unit_ms * units, np.float64)


@dataclass(frozen=True)
class Profile:
    """A name, what it is a profile of, the model, and how far to trust it.

    `ranges` has an entry for each family of units that it, or a prior, has seen, by name. `seen` holds a digest of
    every row that the profile was fitted to, so that nobody takes a fit for a prediction. `projected_shortcuts` says
    how the blocks of those rows were built, see `Block.layer_keys`. `compiled_for` is the class of cores
    (`CpuDevice.core_class`) for which kernels of our own compiler were made; empty for other runtimes.
    """

    name: str
    identity: Identity
    model: Model
    intervals: Intervals
    ranges: Mapping[str, ShapeRange]
    overhead: NetworkOverhead
    provenance: Provenance
    cross_validation: CrossValidation | None
    seen: frozenset[str]
    projected_shortcuts: bool = False
    compiled_for: str = ""


def shapes(table: LayerTable) -> Floats:
    """(units, 6) the numbers of `SHAPE_NAMES` of each unit: of its first, last and widest layer, largest kernel."""
    first, last = table.starts, table.ends
    widest, kernel, stride = (
        table.per_unit_max(column) for column in (np.maximum(table.c_in, table.c_out), table.kernel_h, table.stride)
    )
    columns = (table.h_in[first], table.c_in[first], widest, table.c_out[last], kernel, stride)
    return np.asarray(np.stack(columns, 1), np.float64)


def shape_ranges(table: LayerTable, families: tuple[str, ...]) -> dict[str, ShapeRange]:
    """The range of each family's units; `families` (units,) names them."""
    found, names = shapes(table), np.array(families)
    return {
        name: ShapeRange(tuple(map(float, found[names == name].min(0))), tuple(map(float, found[names == name].max(0))))
        for name in sorted(set(families))
    }


def joined_ranges(ranges: Sequence[Mapping[str, ShapeRange]]) -> dict[str, ShapeRange]:
    """Of each family what lies within any of the ranges, and between them."""
    joined: dict[str, ShapeRange] = {}
    for each in ranges:
        for name, known in each.items():
            joined[name] = joined[name].joined(known) if name in joined else known
    return dict(sorted(joined.items()))
