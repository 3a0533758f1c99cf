"""Emulates a network on an accelerator: plan, timeline, counts, energy."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from mnv3c.targets.edgetpu.blocks import emulate_blocks, emulate_blocks_with_timeline
from mnv3c.targets.edgetpu.device import AcceleratorDevice, BlockArray
from mnv3c.targets.edgetpu.emulation import Emulation, Interval, LayerEmulation
from mnv3c.targets.edgetpu.energy import area_mm2, energy_pj
from mnv3c.targets.edgetpu.events import intervals
from mnv3c.targets.edgetpu.machine import Machine
from mnv3c.targets.edgetpu.movement import movement
from mnv3c.targets.edgetpu.planner import TimedPlan, TimedStep, network_end, timed_plan
from mnv3c.targets.edgetpu.stalls import fused_stall, stall
from mnv3c.targets.edgetpu.work import Job


def emulate(network_name: str, jobs: Sequence[Job], outputs: Sequence[str], device: AcceleratorDevice) -> Emulation:
    """The network's cycles, movements and energy, layer by layer. Raises UserError when no tile of a layer fits."""
    if isinstance(device.array, BlockArray):
        return emulate_blocks(network_name, jobs, outputs, device)
    return emulation_of(network_name, timed_plan(jobs, outputs, device), device)


def emulate_with_timeline(
    network_name: str, jobs: Sequence[Job], outputs: Sequence[str], device: AcceleratorDevice
) -> tuple[Emulation, Iterator[Interval]]:
    """The same, and every event of the timeline (made as they are asked for). Raises UserError likewise."""
    if isinstance(device.array, BlockArray):
        return emulate_blocks_with_timeline(network_name, jobs, outputs, device)
    timed = timed_plan(jobs, outputs, device)
    return emulation_of(network_name, timed, device), intervals(timed)


def emulation_of(network_name: str, timed: TimedPlan, device: AcceleratorDevice) -> Emulation:
    """The same for a plan that is already timed."""
    machine = Machine.of(device)
    ends = [0, *(step.exit.done for step in timed.steps)]
    ends[-1] = network_end(timed.steps[-1].exit) if timed.steps else 0
    known: dict[object, LayerEmulation] = {}
    layers: list[LayerEmulation] = []
    for step, (start, end) in zip(timed.steps, pairwise(ends), strict=True):
        for place, (layer, cycles) in enumerate(zip(step.layers, _shared_out(step, end - start), strict=True)):
            key = (id(step.program), place, step.entry.dma - start, step.entry.pending, cycles)
            if key not in known:
                known[key] = _layer(machine, device, step, place, cycles)
            layers.append(_named(known[key], layer.job))
    return Emulation(
        network=network_name,
        device=device.name,
        clock_hz=int(device.clock_hz),
        layers=tuple(layers),
        peak_sram_bytes=timed.plan.peak_sram_bytes,
        area_mm2=area_mm2(device),
    )


def _shared_out(step: TimedStep, cycles: int) -> list[int]:
    """A step's cycles by layer: those of fused layers in proportion to what their array and vector unit do."""
    if len(step.works) == 1:
        return [cycles]
    weights = [work.array_cycles + work.post_cycles + 1 for work in step.works]
    upto = [cycles * sum(weights[:count]) // sum(weights) for count in range(len(weights) + 1)]
    return [end - start for start, end in pairwise(upto)]


def _named(layer: LayerEmulation, job: Job) -> LayerEmulation:
    """The emulation of an equal layer under this one's name."""
    return layer if layer.name == job.name else replace(layer, name=job.name, kind=job.op.kind)


def _layer(machine: Machine, device: AcceleratorDevice, step: TimedStep, place: int, cycles: int) -> LayerEmulation:
    job, work = step.layers[place].job, step.works[place]
    moved = movement(machine, job, work)
    peak = cycles * machine.array.macs_per_cycle
    return LayerEmulation(
        name=job.name,
        kind=job.op.kind,
        cycles=cycles,
        busy_cycles={
            "array": work.array_cycles,
            "vector": work.post_cycles,
            "dma": work.load_cycles + work.store_cycles,
            "launch": machine.launch_cycles,
        },
        utilization=job.macs / peak if peak else 0.0,
        stall=fused_stall(work, cycles) if step.candidate is None else stall(step, step.candidate, cycles),
        movement=moved,
        energy_pj=energy_pj(moved, cycles, device),
    )
