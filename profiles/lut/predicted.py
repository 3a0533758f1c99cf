"""Entries that a profile predicts, many units at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mnv3c.graph.layer import LayerKey
from mnv3c.profiles.layer_table import LayerTable, layer_row
from mnv3c.profiles.lut.table import Entry
from mnv3c.profiles.lut.units import Unit
from mnv3c.profiles.predict import predict_units, summed_widths
from mnv3c.profiles.profile import Profile

# Residual functions need a matrix of units by inducing points; so many units are predicted at a time.
_CHUNK = 4096


def predicted_entries(profile: Profile, resolutions: Mapping[Unit, tuple[int, ...]]) -> Iterator[Entry]:
    """An entry for each unit, as `predict_network` predicts it within a network: sums of entries equal its totals.

    `resolutions` has the units, each with the sides of images whose networks have it. The profile is one of layers or
    of blocks: kernels depend on what is compiled beside them (see `entries_of_tables`).

    Raises UserError for a layer that no cost model knows, ValueError for a profile of kernels.
    """
    kind = profile.model.physics.unit
    if kind == "kernel":
        raise ValueError(f"profile '{profile.name}' predicts compiled kernels: plan them first")
    rows: dict[LayerKey, tuple[int, ...]] = {}
    units = tuple(resolutions)
    for first in range(0, len(units), _CHUNK):
        chunk = units[first : first + _CHUNK]
        table, parts = _layer_table(chunk, rows)
        if kind == "block":
            yield from entries_of_table(profile, chunk, table, np.ones(len(chunk), np.int64), resolutions)
        else:
            alone = replace(table, owner=np.arange(len(table)))
            yield from entries_of_table(profile, chunk, alone, np.array(parts), resolutions)


def entries_of_table(
    profile: Profile,
    units: Sequence[Unit],
    table: LayerTable,
    parts: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    resolutions: Mapping[Unit, tuple[int, ...]],
) -> Iterator[Entry]:
    """An entry for each unit, which is the sum of so many (`parts`) of the table's units, in order.

    What a network takes for each of its units, and the scale of their sum, are part of the entries; what it takes once
    is not.
    """
    found = predict_units(profile, table)
    owner = np.repeat(np.arange(len(units)), parts)
    widths = (found.latency_ms - found.low_ms, found.high_ms - found.latency_ms)
    overhead = profile.overhead
    below, above = (overhead.scale * each for each in summed_widths(profile, widths, owner, len(units)))
    apart = [overhead.scale * np.sqrt(np.bincount(owner, each**2, len(units))) for each in widths]
    sums = np.bincount(owner, found.latency_ms, len(units))
    latency_ms = overhead.scale * sums + overhead.unit_ms * parts
    outside = np.bincount(owner, [bool(each) for each in found.outside], len(units)) > 0
    for index, unit in enumerate(units):
        p50_ms = float(latency_ms[index])
        yield Entry(
            unit,
            p50_ms,
            max(0.0, p50_ms - float(below[index])),
            p50_ms + float(above[index]),
            "predicted",
            resolutions[unit],
            not outside[index],
            independent_below_ms=float(apart[0][index]) if parts[index] > 1 else None,
            independent_above_ms=float(apart[1][index]) if parts[index] > 1 else None,
        )


def _layer_table(units: Sequence[Unit], rows: dict[LayerKey, tuple[int, ...]]) -> tuple[LayerTable, list[int]]:
    """The units' layers, a unit an owner, and how many each has; `rows` keeps those of layers met before."""
    found: list[tuple[int, ...]] = []
    parts: list[int] = []
    for owner, unit in enumerate(units):
        keys = unit.layer_keys()
        parts.append(len(keys))
        for key in keys:
            if key not in rows:
                rows[key] = layer_row(key)
            found.append((*rows[key], 0, 0, 0, owner))
    return LayerTable.of_rows(found), parts
