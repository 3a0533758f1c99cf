"""Look-up tables of spaces: complete by construction, since the space says every unit that its networks have."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np

from mnv3c.graph.ir import Graph
from mnv3c.profiles.lut.predicted import predicted_entries
from mnv3c.profiles.lut.table import PROVENANCES, Additivity, Entry, Table
from mnv3c.profiles.lut.units import Unit
from mnv3c.profiles.profile import Identity, Profile
from mnv3c.search.contexts import EmulatedLayers, Judge, PlannedKernels, entries_in_context
from mnv3c.search.latency import EmulatedLatency, ProfileLatency
from mnv3c.search.space import Space
from mnv3c.search.workers import HERE, Workers
from mnv3c.targets.edgetpu.device import AcceleratorDevice

# Random networks by which a table is checked.
CHECKED_NETWORKS = 20
Progress = Callable[[int], None]


def _silent(done: int) -> None:
    """Hears of progress and says nothing."""


@dataclass(frozen=True)
class Request:
    """A table that is wanted: of which space, for images of which sides; where finished work is kept, if anywhere.

    Networks that are judged as a whole are judged by `workers`.
    """

    space: Space
    resolutions: tuple[int, ...]
    store: Path | None = None
    progress: Progress = _silent
    workers: Workers = HERE


def units_of_space(space: Space, resolutions: Sequence[int]) -> dict[Unit, tuple[int, ...]]:
    """Every unit of all networks for images of these sides, each once, and the sides whose networks have it."""
    found: dict[Unit, list[int]] = {}
    for resolution in resolutions:
        for unit in space.units_of_all(resolution):
            found.setdefault(unit, []).append(resolution)
    return {unit: tuple(sides) for unit, sides in found.items()}


def predicted_table(request: Request, profile: Profile) -> Table:
    """The table that a profile predicts.

    Sums equal `predict` where units are layers or blocks; where they are kernels of our own compiler, entries are means
    over networks that are planned as a whole. Raises UserError for a layer that no cost model knows.
    """
    latency = ProfileLatency(profile)
    if profile.model.physics.unit == "kernel":
        entries = _in_context(request, PlannedKernels(latency.with_planner()))
    else:
        entries = tuple(predicted_entries(profile, units_of_space(request.space, request.resolutions)))
    overhead, correlation = profile.overhead, profile.intervals.correlation
    table = Table(
        space=request.space.name,
        identity=profile.identity,
        resolutions=request.resolutions,
        entries=entries,
        made_by={"predicted": latency.identity},
        network_ms=overhead.network_ms,
        correlation=correlation,
    )
    return _checked(table, request, latency)


def emulated_table(request: Request, device: AcceleratorDevice) -> Table:
    """The table that the emulator of an accelerator gives: means over networks that are emulated as a whole.

    Raises UserError for a layer that cannot be emulated.
    """
    judge = EmulatedLayers(device)
    table = Table(
        space=request.space.name,
        identity=Identity(device.name, "accelerator", "mnv3c emulator", "int8", 1),
        resolutions=request.resolutions,
        entries=_in_context(request, judge),
        made_by={"emulated": judge.identity},
        correlation=judge.correlation,
    )
    return _checked(table, request, EmulatedLatency(device))


def widest(table: Table, count: int) -> tuple[Entry, ...]:
    """The entries of which a table knows least, in milliseconds: at most `count`, widest interval first."""
    return tuple(sorted(table.entries, key=lambda entry: -entry.width_ms)[:count])


def mixed_table(table: Table, measured: Mapping[Unit, Entry], how: str) -> Table:
    """The table with entries that were measured in the place of its own; `how` says how.

    Nothing is said of its sums any more: no whole network was measured.
    """
    if not measured:
        return table
    entries = tuple(measured.get(entry.unit, entry) for entry in table.entries)
    made_by = {**table.made_by, "measured": how}
    kinds = {entry.provenance for entry in entries}
    known = {kind: made_by[kind] for kind in PROVENANCES if kind in kinds}
    return replace(table, entries=entries, made_by=known, additivity=None)


def _in_context(request: Request, judge: Judge) -> tuple[Entry, ...]:
    space, sides = request.space, request.resolutions
    return entries_in_context(space, sides, judge, request.store, request.progress, request.workers)


def _checked(table: Table, request: Request, whole_ms: Callable[[Graph], float]) -> Table:
    """The table, and how far its sums are from whole networks; always the same random ones."""
    rng = Random(f"{request.space.name} check")
    sums, wholes = [], []
    for _ in range(CHECKED_NETWORKS):
        subnet, resolution = request.space.random(rng), rng.choice(request.resolutions)
        sums.append(table.latency_ms(request.space.units(subnet, resolution)))
        wholes.append(whole_ms(request.space.graph(subnet, resolution)))
    ratio = np.array(sums) / np.array(wholes) - 1
    return replace(
        table,
        additivity=Additivity(
            networks=CHECKED_NETWORKS,
            mape=float(100 * np.abs(ratio).mean()),
            bias=float(100 * ratio.mean()),
            spearman=_rank_correlation(sums, wholes),
            whole=table.entries[0].provenance,
        ),
    )


def _rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's; None where all values of one are equal."""
    from scipy.stats import spearmanr

    if min(np.ptp(one), np.ptp(other)) == 0:
        return None
    return float(spearmanr(one, other).statistic)
