"""What a profile says of layers and networks, without a compiler and without a device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnv3c.graph.layer import LayerKey
from mnv3c.profiles.layer_table import KINDS, Integers, LayerTable
from mnv3c.profiles.model.dataset import network_table
from mnv3c.profiles.model.model import Costs
from mnv3c.profiles.physics.base import Bound, Floats
from mnv3c.profiles.profile import Profile, shapes

# A unit's interval says nothing tighter about a part of it; nor does it say nothing at all.
_WIDEST_LOG_RATIO = float(np.log(3.0))
# How much wider the interval of a unit is whose like no row showed: a convention, since no row can tell.
_UNSEEN_WIDENING = 3.0


@dataclass(frozen=True)
class UnitPredictions:
    """(units,) milliseconds: expected, and the ends of the 90 % interval; the name of each unit's family.

    `outside` tells what of each unit's shape lies outside what the profile has seen.
    """

    costs: Costs
    latency_ms: Floats
    low_ms: Floats
    high_ms: Floats
    families: tuple[str, ...]
    outside: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class LayerPrediction:
    """One layer: its latency and 90 % interval in milliseconds, and why.

    `bound` is the resource that takes most of its time, `terms_ms` says how much every term takes. `outside` tells
    what of its unit's shape lies outside what the profile has seen; empty where all lies within.
    """

    name: str
    kind: str
    macs: int
    latency_ms: float
    low_ms: float
    high_ms: float
    bound: Bound
    terms_ms: tuple[tuple[str, float], ...]
    outside: tuple[str, ...]


@dataclass(frozen=True)
class NetworkPrediction:
    """A network's latency and 90 % interval in milliseconds; `overhead_ms` is what it takes beside its layers."""

    total_ms: float
    low_ms: float
    high_ms: float
    overhead_ms: float
    layers: tuple[LayerPrediction, ...]


def predict_units(profile: Profile, table: LayerTable) -> UnitPredictions:
    """The latency of each unit of a table."""
    physics = profile.model.physics
    costs = profile.model.costs(table)
    numbers = physics.family(table)
    names = (*physics.families, "other")
    families = tuple(names[number] for number in numbers)
    outside = _outside(profile, table, families)
    ends = np.array([profile.intervals.of(name) for name in names])[numbers]
    ends *= np.where([bool(each) for each in outside], _UNSEEN_WIDENING, 1.0)[:, None]
    low_ms, high_ms = (costs.unit_ms * np.exp(end) for end in ends.T)
    return UnitPredictions(costs, costs.unit_ms, low_ms, high_ms, families, outside)


def sum_interval(profile: Profile, units: UnitPredictions, owner: Integers, count: int) -> tuple[Floats, Floats]:
    """(items,) how far the sum of each item's units may lie below and above what is predicted.

    Errors of units within one item are correlated as `profile.intervals` says, so the half-widths add up between
    root-sum-square (correlation 0) and plainly (1).
    """
    share = profile.intervals.correlation

    def summed(widths: Floats) -> Floats:
        together, apart = np.bincount(owner, widths, count), np.bincount(owner, np.square(widths), count)
        return np.asarray(np.sqrt(share * np.square(together) + (1 - share) * apart), np.float64)

    return summed(units.latency_ms - units.low_ms), summed(units.high_ms - units.latency_ms)


def predict_network(profile: Profile, names: Sequence[str], keys: Sequence[LayerKey]) -> NetworkPrediction:
    """The latency of a network with these layers, and of each of them.

    Raises UserError for a layer that no cost model knows.
    """
    return predict_table(profile, names, network_table(keys, profile.model.physics.unit))


def predict_table(profile: Profile, names: Sequence[str], table: LayerTable) -> NetworkPrediction:
    """The latency of a network whose layers are these, named; the table says which form a unit."""
    units = predict_units(profile, table)
    count = len(units.latency_ms)
    below, above = sum_interval(profile, units, np.zeros(count, np.int64), 1)
    overhead_ms = profile.overhead.network_ms + profile.overhead.unit_ms * count
    total_ms = float(units.latency_ms.sum()) + overhead_ms
    return NetworkPrediction(
        total_ms,
        max(0.0, total_ms - float(below[0])),
        total_ms + float(above[0]),
        overhead_ms,
        _layers(profile, names, table, units),
    )


def _layers(
    profile: Profile, names: Sequence[str], table: LayerTable, units: UnitPredictions
) -> tuple[LayerPrediction, ...]:
    physics = profile.model.physics
    layer_ms = units.costs.layer_ms
    # What a unit costs beside its layers is theirs in proportion, so that layers add up to units.
    unit_layers_ms = np.bincount(table.owner, layer_ms)
    spread = np.divide(units.latency_ms, unit_layers_ms, out=np.ones_like(unit_layers_ms), where=unit_layers_ms > 0)
    terms_ms = units.costs.terms_ms * spread[table.owner, None]
    latency_ms = terms_ms.sum(1)
    # Independent errors of layers, of a variance that grows with their latency, add up to the unit's.
    widening = np.sqrt(np.maximum(units.latency_ms[table.owner], 1e-12) / np.maximum(latency_ms, 1e-12))
    low, high = (
        np.clip(np.log(end / units.latency_ms)[table.owner] * widening, -_WIDEST_LOG_RATIO, _WIDEST_LOG_RATIO)
        for end in (units.low_ms, units.high_ms)
    )
    bounds = _bounds(terms_ms, physics.bounds)
    macs = table.macs
    return tuple(
        LayerPrediction(
            name,
            KINDS[table.kind[index]],
            int(macs[index]),
            float(latency_ms[index]),
            float(latency_ms[index] * np.exp(low[index])),
            float(latency_ms[index] * np.exp(high[index])),
            bounds[index],
            tuple(zip(physics.term_names, map(float, terms_ms[index]), strict=True)),
            units.outside[table.owner[index]],
        )
        for index, name in enumerate(names)
    )


def _bounds(terms_ms: Floats, bounds: Sequence[Bound]) -> list[Bound]:
    kinds: tuple[Bound, ...] = ("compute", "bandwidth", "overhead")
    sums = np.stack([terms_ms[:, [bound == kind for bound in bounds]].sum(1) for kind in kinds], 1)
    return [kinds[index] for index in sums.argmax(1)]


def _outside(profile: Profile, table: LayerTable, families: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    found = shapes(table)
    result: list[tuple[str, ...]] = [()] * len(families)
    names = np.array(families)
    for family in sorted(set(families)):
        chosen = np.flatnonzero(names == family)
        known = profile.ranges.get(family)
        if known is None:
            for index in chosen:
                result[index] = (f"no {family} seen",)
            continue
        beyond = ((found[chosen] < known.low) | (found[chosen] > known.high)).any(1)
        for index in chosen[beyond]:
            result[index] = known.outside(found[index])
    return tuple(result)
