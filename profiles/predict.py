"""What a profile says of layers and networks, without a compiler and without a device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnv3c.graph.layer import LayerKey
from mnv3c.profiles.layer_table import KINDS, Integers, LayerTable
from mnv3c.profiles.model.dataset import network_table
from mnv3c.profiles.model.model import Costs
from mnv3c.profiles.physics.base import Bound, Floats, family_names
from mnv3c.profiles.profile import Profile, shapes

# What a part's interval grows to at the most, unless its unit's is wider already.
_WIDEST_LOG_RATIO = float(np.log(3.0))
# Shares and milliseconds that stand for none.
_LEAST_SHARE, _NO_TIME = 1e-12, 1e-100
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

    `bound` is the resource that takes most of its time, `terms_ms` says what each term takes that takes any time.
    `outside` tells what of its unit's shape lies outside what the profile has seen; empty where all lies within.
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
    unit: int


@dataclass(frozen=True)
class NetworkPrediction:
    """A network's latency and 90 % interval in milliseconds; `overhead_ms` is what it takes beside its layers.

    It is below 0 where a network takes less than the sum of its kernels.
    """

    total_ms: float
    low_ms: float
    high_ms: float
    overhead_ms: float
    layers: tuple[LayerPrediction, ...]


def predict_units(profile: Profile, table: LayerTable) -> UnitPredictions:
    """The latency of each unit of a table."""
    costs = profile.model.costs(table)
    families = family_names(profile.model.physics, costs.families)
    outside = _outside(profile, table, families)
    known = {name: profile.intervals.of(name) for name in set(families)}
    ends = np.array([known[name] for name in families])
    ends *= np.where([bool(each) for each in outside], _UNSEEN_WIDENING, 1.0)[:, None]
    low_ms, high_ms = (costs.unit_ms * np.exp(end) for end in ends.T)
    return UnitPredictions(costs, costs.unit_ms, low_ms, high_ms, families, outside)


def sum_interval(profile: Profile, units: UnitPredictions, owner: Integers, count: int) -> tuple[Floats, Floats]:
    """(items,) how far the sum of each item's units may lie below and above what is predicted.

    Errors of units within one item are correlated as `profile.intervals` says, so the half-widths add up between
    root-sum-square (correlation 0) and plainly (1).
    """
    return summed_widths(profile, (units.latency_ms - units.low_ms, units.high_ms - units.latency_ms), owner, count)


def summed_widths(
    profile: Profile, widths: tuple[Floats, Floats], owner: Integers, count: int
) -> tuple[Floats, Floats]:
    """As `sum_interval`, from how far each unit may lie below and above."""
    share = profile.intervals.correlation

    def summed(each: Floats) -> Floats:
        together, apart = np.bincount(owner, each, count), np.bincount(owner, np.square(each), count)
        return np.asarray(np.sqrt(share * np.square(together) + (1 - share) * apart), np.float64)

    below, above = widths
    return summed(below), summed(above)


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
    sum_ms, scale = float(units.latency_ms.sum()), profile.overhead.scale
    total_ms = float(profile.overhead.network_total_ms(np.array([sum_ms]), np.array([count]))[0])
    return NetworkPrediction(
        total_ms,
        max(0.0, total_ms - scale * float(below[0])),
        total_ms + scale * float(above[0]),
        total_ms - sum_ms,
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
    # Where physics has no term for any layer of a unit, they share what the unit costs.
    share_ms = units.latency_ms / np.bincount(table.owner)
    latency_ms = np.where(unit_layers_ms[table.owner] > 0, terms_ms.sum(1), share_ms[table.owner])
    # A fit may find that some units take nothing.
    unit_ms, low_ms, high_ms = (np.maximum(x, _NO_TIME) for x in (units.latency_ms, units.low_ms, units.high_ms))
    low, high = (
        _log_ratios(np.log(end / unit_ms)[table.owner], latency_ms / unit_ms[table.owner]) for end in (low_ms, high_ms)
    )
    bounds = _bounds(terms_ms, physics.bounds)
    macs, names_of_terms = table.macs, physics.term_names
    return tuple(
        LayerPrediction(
            name,
            KINDS[table.kind[index]],
            int(macs[index]),
            float(latency_ms[index]),
            float(latency_ms[index] * np.exp(low[index])),
            float(latency_ms[index] * np.exp(high[index])),
            bounds[index],
            tuple((names_of_terms[term], float(terms_ms[index, term])) for term in terms_ms[index].nonzero()[0]),
            units.outside[table.owner[index]],
            int(table.owner[index]),
        )
        for index, name in enumerate(names)
    )


def _log_ratios(of_units: Floats, shares: Floats) -> Floats:
    """(layers,) an end of the interval of a layer that is such a share of its unit, which has that end."""
    # Independent errors of layers, of a variance that grows with their latency, add up to the unit's.
    widened = of_units / np.sqrt(np.maximum(shares, _LEAST_SHARE))
    most = np.maximum(_WIDEST_LOG_RATIO, np.abs(of_units))
    return np.asarray(np.clip(widened, -most, most), np.float64)


def _bounds(terms_ms: Floats, bounds: Sequence[Bound]) -> list[Bound]:
    # The first is that of a layer without terms.
    kinds: tuple[Bound, ...] = ("overhead", "compute", "bandwidth")
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
