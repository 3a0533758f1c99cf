"""Chooses each layer's tiling so that the whole network ends earliest, with the timeline as the judge.

A layer maps the state in which it finds the machine (`Entry`: DMA free, layer before done, pending store) to the one in
which it leaves it, and never leaves it earlier for being entered later. So of two ways to the same layer, the one that
is later in every respect can be dropped: what remains is carried through the network, and the choice is the best of
all combinations of the candidates, not of each layer alone. As the candidates do not depend on rates, and more memory
only adds to them, no faster and no larger device is ever slower.

Nothing of this depends on when the layer before ended, only on how much earlier or later the DMA is free: equal layers
that find the machine alike share one search.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mnv3c.graph.errors import UserError
from mnv3c.targets.edgetpu.candidate import Candidate, LayerCandidates, Work
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.fusion import chains
from mnv3c.targets.edgetpu.layer_view import LayerView, Streams
from mnv3c.targets.edgetpu.machine import Machine
from mnv3c.targets.edgetpu.plan import GroupPlan, LayerPlan, Plan
from mnv3c.targets.edgetpu.residency import Residency, residency
from mnv3c.targets.edgetpu.tile_search import GroupSearch, LayerSearch, Way, earliest
from mnv3c.targets.edgetpu.tile_times import layer_candidates
from mnv3c.targets.edgetpu.tiling import tiling_of
from mnv3c.targets.edgetpu.timeline import Entry, Program
from mnv3c.targets.edgetpu.work import Job


@dataclass(frozen=True, slots=True)
class TimedStep:
    """A step of the plan: its steps in time, what each of its layers adds up to, and how it found and left the machine.

    `launch_cycles` are those of all its layers. `candidate` is what the planner chose for a single layer.
    """

    plan: LayerPlan | GroupPlan
    program: Program
    works: tuple[Work, ...]
    launch_cycles: int
    entry: Entry
    exit: Entry
    candidate: Candidate | None = None

    @property
    def layers(self) -> tuple[LayerPlan, ...]:
        """The plans of its layers."""
        return self.plan.layers if isinstance(self.plan, GroupPlan) else (self.plan,)


@dataclass(frozen=True, slots=True)
class TimedPlan:
    """A plan with its times."""

    plan: Plan
    steps: tuple[TimedStep, ...]


def plan(jobs: Sequence[Job], outputs: Sequence[str], device: AcceleratorDevice) -> Plan:
    """The plan under which the network ends earliest. Raises UserError when a layer's smallest tile does not fit."""
    return timed_plan(jobs, outputs, device).plan


def timed_plan(jobs: Sequence[Job], outputs: Sequence[str], device: AcceleratorDevice) -> TimedPlan:
    """The same with its times. Raises UserError likewise."""
    return planned_on(Machine.of(device), jobs, outputs)


def planned_on(machine: Machine, jobs: Sequence[Job], outputs: Sequence[str]) -> TimedPlan:
    """The same for a device as rates."""
    held = residency(jobs, outputs, machine.held_bytes, pins_weights=machine.pins_weights)
    streams = [streams_of(job, held) for job in jobs]
    searches: list[list[tuple[int, LayerSearch | GroupSearch]]] = [
        [(1, search)] for search in _searches(machine, jobs, streams)
    ]
    if machine.fuses_layers:
        for start, count in chains(jobs, outputs):
            part = slice(start, start + count)
            searches[start].append((count, GroupSearch(machine, jobs[part], streams[part])))
    reach = [max(search.reach for _, search in at) for at in searches] + [0]
    ways: list[list[Way]] = [[] for _ in range(len(jobs) + 1)]
    ways[0] = [Way(Entry(0, 0, 0), None, None)]
    for place, at in enumerate(searches):
        here = ways[place] if not machine.fuses_layers else earliest(ways[place])
        for count, search in at:
            ways[place + count] += search.onwards(here, reach[place + count])
    best = min(ways[-1], key=lambda way: (network_end(way.exit), way.exit))
    return _traced(best, machine, jobs, streams, held)


def network_end(last: Entry) -> int:
    """When everything is computed and stored."""
    return max(last.dma, last.done) + last.pending if last.pending else last.done


def streams_of(job: Job, held: Residency) -> Streams:
    """What a layer moves tile by tile, given what lies in the SRAM."""
    return Streams(
        input=job.input not in held.offsets,
        second=job.second is not None and job.second not in held.offsets,
        further=any(name not in held.offsets for name, _ in job.further),
        output=job.name not in held.offsets,
        weight_bytes=job.weight_bytes - held.pinned_bytes.get(job.name, 0),
    )


def _searches(machine: Machine, jobs: Sequence[Job], streams: Sequence[Streams]) -> list["LayerSearch"]:
    """One search for each layer; equal layers share theirs."""
    keys = [_key(job, moved) for job, moved in zip(jobs, streams, strict=True)]
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    places = sorted(first.values())
    views = [LayerView.of(jobs[place]) for place in places]
    found = layer_candidates(machine, [(view, streams[place]) for view, place in zip(views, places, strict=True)])
    made: dict[object, LayerSearch] = {}
    for place, view, choices in zip(places, views, found, strict=True):
        if not len(choices.bounds):
            raise _does_not_fit(machine, jobs[place], choices)
        made[keys[place]] = LayerSearch(machine, view, streams[place], choices)
    return [made[key] for key in keys]


def _key(job: Job, streams: Streams) -> object:
    further = tuple(shape for _, shape in job.further)
    shapes = (job.input_shape, job.output_shape, job.second_shape, further, job.window, job.groups)
    return (job.kind, shapes, job.passes, job.reads_whole, job.weight_bytes, streams)


def _does_not_fit(machine: Machine, job: Job, choices: LayerCandidates) -> UserError:
    need, half_bytes = choices.least_buffer_bytes, machine.half_bytes
    if half_bytes is not None and need > half_bytes:
        return UserError(
            f"device '{machine.name}': memory.sram_bytes of {machine.sram_bytes} is too small: the smallest tile of "
            f"layer '{job.name}' needs {need} bytes, and half of memory.tile_fraction ({machine.tile_fraction:g}) of "
            f"that is {half_bytes}"
        )
    return UserError(
        f"device '{machine.name}': array.accumulator_bytes of {machine.array.accumulator_bytes} is too small: the "
        f"smallest tile of layer '{job.name}' needs {choices.least_accumulator_bytes} bytes"
    )


def _traced(best: Way, machine: Machine, jobs: Sequence[Job], streams: Sequence[Streams], held: Residency) -> TimedPlan:
    """The plan of a way, walked from its end."""
    steps: list[TimedStep] = []
    buffer_bytes, way, place = 0, best, len(jobs)
    while way.choice is not None and way.before is not None:
        candidate, group, entry, exit = way.choice.candidate, way.choice.group, way.before.exit, way.exit
        if group is not None:
            place -= len(group.works)
            launch = len(group.works) * machine.launch_cycles
            steps.append(TimedStep(group.plan, way.choice.program, group.works, launch, entry, exit))
            buffer_bytes = max(buffer_bytes, group.buffer_bytes)
        elif candidate is not None:
            place -= 1
            layer, work = _layer_plan(jobs[place], streams[place], candidate), candidate.work()
            launch = machine.launch_cycles
            steps.append(TimedStep(layer, way.choice.program, (work,), launch, entry, exit, candidate))
            buffer_bytes = max(buffer_bytes, work.buffer_bytes)
        way = way.before
    steps.reverse()
    tile_bytes, peak = 2 * buffer_bytes, held.peak_bytes
    plan = Plan(tuple(step.plan for step in steps), dict(held.offsets), peak, tile_bytes, peak + tile_bytes)
    return TimedPlan(plan, tuple(steps))


def _layer_plan(job: Job, moved: Streams, candidate: Candidate) -> LayerPlan:
    return LayerPlan(
        job,
        tiling_of(candidate.tile),
        input_in_sram=not moved.input,
        second_in_sram=job.second is not None and not moved.second,
        further_in_sram=bool(job.further) and not moved.further,
        output_in_sram=not moved.output,
        pinned_weight_bytes=job.weight_bytes - moved.weight_bytes,
    )
