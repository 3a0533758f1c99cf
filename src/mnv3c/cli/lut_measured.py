"""Entries of a table that are measured: units compiled alone, on this machine or far away."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from mnv3c.graph.errors import MissingError, UserError

if TYPE_CHECKING:
    from mnv3c.compiler.measure.job import Job, Program
    from mnv3c.compiler.measure.outcome import Outcome
    from mnv3c.compiler.measure.settings import Settings
    from mnv3c.profiles.lut.table import Entry, Table
    from mnv3c.profiles.lut.units import Unit
    from mnv3c.profiles.profile import Profile
    from mnv3c.profiles.work import Work
    from mnv3c.search.lut import Request
    from mnv3c.targets.device import CpuDevice

_RECORDS = "measured.jsonl"
_DEFAULT_BUDGET = 20
_BEFORE = "before"
_HOW = "units compiled alone and measured on {place}: the sum of the medians of their kernels, weights in near caches"


@dataclass(frozen=True)
class Measuring:
    """Where and how entries are measured, in which folder what was measured is kept, and who compiles."""

    place: str
    settings: "Settings"
    folder: Path
    cluster: str | None = None


def with_measured(table: "Table", profile: "Profile", budget: int | None, measuring: Measuring) -> "Table":
    """The table with the least certain entries measured on a place; what is too noisy stays predicted.

    Raises UserError where the profile is not one of our own compiler's programs, MissingError where the place is gone.
    """
    from mnv3c.search.lut import mixed_table, widest

    if not profile.compiled_for:
        raise UserError(
            f"--on measures programs of mnv3c, and profile '{profile.name}' is of {profile.identity.runtime}: "
            "one table cannot hold both"
        )
    wanted = widest(table, budget or _DEFAULT_BUDGET)
    device = _device_of(profile, measuring.place)
    resolutions = {entry.unit: entry.resolutions for entry in wanted}
    measured = _entries(_outcomes(tuple(resolutions), device, measuring), resolutions)
    return mixed_table(table, measured, _HOW.format(place=measuring.place))


def _device_of(profile: "Profile", place: str) -> "CpuDevice":
    """What to compile for: this machine, if it is the place and of the profile's class; a device of the class."""
    from mnv3c.cli.device import chosen_device
    from mnv3c.search.latency import device_of_class

    if place != "host":
        return device_of_class(profile)
    host = chosen_device(None, None)
    if host.core_class != profile.compiled_for:
        raise UserError(
            f"--on host: this machine is {host.core_class}, and profile '{profile.name}' is of code compiled for "
            f"'{profile.compiled_for}'"
        )
    return host


def measured_table(request: "Request", target: str | None, measuring: Measuring) -> "Table":
    """The table of which every entry is measured. Raises MissingError where one could not be, with what can be done."""
    from mnv3c.cli.device import chosen_device
    from mnv3c.profiles.lut.table import Table
    from mnv3c.profiles.profile import Identity
    from mnv3c.search.lut import units_of_space

    resolutions = units_of_space(request.space, request.resolutions)
    outcomes = _outcomes(tuple(resolutions), chosen_device(target, None), measuring)
    measured = _entries(outcomes, resolutions)
    kept = measuring.folder / _RECORDS
    if missing := [unit for unit in resolutions if unit not in measured]:
        raise MissingError(
            f"{len(missing)} of {len(resolutions)} entries could not be measured, as '{missing[0]}'; the others are "
            f"kept in {kept}, and the same command goes on there; --max-noise takes less certain ones"
        )
    # The file may have records of other devices and settings, too.
    record = next(iter(outcomes.values())).records[-1]
    return Table(
        space=request.space.name,
        identity=Identity(record.device, record.processor, record.runtime, record.precision, record.threads),
        resolutions=request.resolutions,
        entries=tuple(measured[unit] for unit in resolutions),
        made_by={"measured": _HOW.format(place=measuring.place)},
    )


def _outcomes(units: "Sequence[Unit]", device: "CpuDevice", measuring: Measuring) -> "dict[Unit, Outcome]":
    """What became of measuring each unit; what the folder has of the same place and settings is not measured again."""
    from mnv3c.cli.measure_programs import compiled_programs, program_compiler, shell_library, showing
    from mnv3c.compiler.measure.campaign import Campaign
    from mnv3c.compiler.measure.places import find_machines
    from mnv3c.compiler.measure.settings import Patience
    from mnv3c.profiles.record import RecordStore
    from mnv3c.search.cluster import open_workers
    from mnv3c.search.workers import work_kept_in

    records = measuring.folder / _RECORDS
    with tempfile.TemporaryDirectory(prefix="mnv3c-lut-") as temporary, showing() as show, work_kept_in(records):
        compiler = program_compiler(device, measuring.settings.threads)

        def compiled(wanted: "Sequence[Job]") -> "Mapping[Work, Program | str]":
            # Workers that have gone disturb no measurement.
            with open_workers(measuring.cluster) as workers:
                return compiled_programs(wanted, compiler, Path(temporary), show, workers)

        campaign = Campaign(
            find_machines([measuring.place], (), shell_library(compiler, Path(temporary))),
            "" if device.name == "host" else device.name,
            measuring.settings,
            Patience(),
            compiled,
            RecordStore(records),
            show.message,
            show.outcome,
        )
        jobs = {unit: unit_job(unit) for unit in units}
        outcomes = {outcome.job.work: outcome for outcome in campaign.run(tuple(jobs.values()))}
    return {unit: outcomes[job.work] for unit, job in jobs.items()}


def unit_job(unit: "Unit") -> "Job":
    """The unit as a network to measure, with weights, behind a node that stands for the layer before it."""
    from mnv3c.compiler.measure.job import Job
    from mnv3c.graph.activation import RELU
    from mnv3c.graph.initialise import initialise
    from mnv3c.graph.ir import Graph, Node
    from mnv3c.graph.layer import layer_key, layers
    from mnv3c.graph.ops import Activate
    from mnv3c.profiles.lut.units import unit_graph
    from mnv3c.profiles.work import NetworkWork

    alone = unit_graph(unit)
    first, *rest = alone.nodes
    nodes = [first, *rest]
    # An image comes from the caller; any other map comes from a layer, as that leaves it.
    if len(unit.layer_keys()[0].inputs[0].shape) == 4 and unit.layer_keys()[0].inputs[0].channels > 4:
        behind = {first.name: _BEFORE}
        moved = [Node(n.name, n.op, tuple(behind.get(name, name) for name in n.inputs)) for n in rest]
        nodes = [first, Node(_BEFORE, Activate(RELU), (first.name,)), *moved]
    name = f"unit_{sha256(str(unit).encode()).hexdigest()[:16]}"
    graph = initialise(Graph(name, tuple(nodes), alone.outputs), 0)
    return Job(name, NetworkWork(name, tuple(layer_key(graph, node) for node in layers(graph))), graph)


def _entries(outcomes: "Mapping[Unit, Outcome]", resolutions: "Mapping[Unit, tuple[int, ...]]") -> "dict[Unit, Entry]":
    """The entries of what could be measured."""
    entries = {unit: _entry(unit, outcome, resolutions[unit]) for unit, outcome in outcomes.items()}
    return {unit: entry for unit, entry in entries.items() if entry is not None}


def _entry(unit: "Unit", outcome: "Outcome", resolutions: tuple[int, ...]) -> "Entry | None":
    """The entry of what was measured: the sum over the kernels of the unit's layers; None where one is missing."""
    from mnv3c.profiles.lut.table import Entry

    own = [record for record in outcome.records if "layer" in record.tags and record.tags["layer"] != _BEFORE]
    done = [str(key) for record in own for key in record.work.layer_keys()]
    if sorted(done) != sorted(map(str, unit.layer_keys())):
        return None
    p50_ms = sum(record.latency_ms for record in own)
    below = sum(record.latency_ms - (record.ci_low_ms or record.latency_ms) for record in own)
    above = sum((record.ci_high_ms or record.latency_ms) - record.latency_ms for record in own)
    p90_ms = sum(record.p90_ms or record.latency_ms for record in own)
    runs = min((record.n for record in own if record.n is not None), default=None)
    return Entry(unit, p50_ms, p50_ms - below, p50_ms + above, "measured", resolutions, True, runs, p90_ms)
