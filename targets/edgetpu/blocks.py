"""Emulates a network on an array of kind `blocks` (Arm's Ethos-U) as its compiler Vela 5.2.0 estimates it.

    cycles of an operator = max(engine, SRAM bytes / SRAM rate, DRAM bytes / DRAM rate)

A layer is the sum of its operators and a network the sum of its layers: operators do not overlap. Vela fetches weights
ahead under the operator before, where it can; leaving that out loses nothing on the networks that it was compared
with, because large weights follow short operators. No tiles are chosen: the engine's blocks follow from the shapes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil
from typing import NamedTuple

from mnv3c.targets.edgetpu.block_engine import Engine
from mnv3c.targets.edgetpu.block_layers import operators_of
from mnv3c.targets.edgetpu.block_operators import Operator, Stages
from mnv3c.targets.edgetpu.block_ports import Ports, Traffic, movement
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.emulation import Emulation, Interval, LayerEmulation, Resource, Stall
from mnv3c.targets.edgetpu.energy import area_mm2, energy_pj
from mnv3c.targets.edgetpu.work import Job


class _Timed(NamedTuple):
    """One operator: cycles of all its repeats, and how long each resource is busy meanwhile."""

    operator: Operator
    traffic: Traffic
    cycles: int
    array: int
    vector: int
    dma: int
    stall: Stall


class _Layer(NamedTuple):
    job: Job
    operators: tuple[_Timed, ...]


def emulate_blocks(name: str, jobs: Sequence[Job], outputs: Sequence[str], device: AcceleratorDevice) -> Emulation:
    """The network's cycles, movements and energy, layer by layer."""
    ports = Ports.of(jobs, outputs, device)
    return _emulation(name, _timed(jobs, ports, device), ports, device)


def emulate_blocks_with_timeline(
    name: str, jobs: Sequence[Job], outputs: Sequence[str], device: AcceleratorDevice
) -> tuple[Emulation, Iterator[Interval]]:
    """The same, and when each resource worked: one interval per operator and resource, in order."""
    ports = Ports.of(jobs, outputs, device)
    layers = _timed(jobs, ports, device)
    return _emulation(name, layers, ports, device), _intervals(layers, device.control.launch_cycles)


def _emulation(name: str, layers: Sequence[_Layer], ports: Ports, device: AcceleratorDevice) -> Emulation:
    return Emulation(
        network=name,
        device=device.name,
        clock_hz=int(device.clock_hz),
        layers=tuple(_layer(layer, device) for layer in layers),
        peak_sram_bytes=ports.held.peak_bytes,
        area_mm2=area_mm2(device),
    )


def _timed(jobs: Sequence[Job], ports: Ports, device: AcceleratorDevice) -> tuple[_Layer, ...]:
    blocks = device.blocks
    assert blocks is not None  # the device's check
    stages = Stages(
        Engine.of(device),
        blocks.sum_cycles,
        blocks.product_cycles,
        blocks.int32_product_cycles,
        blocks.bytes_per_channel,
    )
    return tuple(
        _Layer(job, tuple(_operator(job, operator, ports) for operator in operators_of(job, stages))) for job in jobs
    )


def _operator(job: Job, operator: Operator, ports: Ports) -> _Timed:
    traffic, repeats = ports.traffic(job, operator), operator.repeats
    sram, dram = ports.sram_cycles(traffic), ports.dram_cycles(traffic)
    cycles = max(operator.engine_cycles, sram, dram)
    return _Timed(
        operator,
        traffic,
        ceil(cycles * repeats),
        ceil(operator.array_cycles * repeats),
        ceil(operator.output_cycles * repeats),
        ceil(dram * repeats),
        _stall(operator, traffic, cycles, sram, dram),
    )


def _stall(operator: Operator, traffic: Traffic, cycles: float, sram: float, dram: float) -> Stall:
    """What one operator waits for beyond its MACs."""
    if cycles == dram > operator.engine_cycles:
        return "weights" if 2 * traffic.weight_bytes >= traffic.dram_busy_bytes else "activations"
    if cycles == sram > operator.engine_cycles:
        return "sram"
    return "vector" if operator.output_cycles > operator.array_cycles else "fill"


def _layer(layer: _Layer, device: AcceleratorDevice) -> LayerEmulation:
    job, timed = layer
    launch = device.control.launch_cycles
    cycles = launch + sum(each.cycles for each in timed)
    moved = movement([each.operator for each in timed], [each.traffic for each in timed])
    waits = Counter[Stall]({"launch": launch})
    for each in timed:
        waits[each.stall] += each.cycles - each.array
    cause = max(sorted(waits), key=lambda stall: waits[stall])
    peak = cycles * device.array.macs_per_cycle
    return LayerEmulation(
        name=job.name,
        kind=job.op.kind,
        cycles=cycles,
        busy_cycles={
            "array": sum(each.array for each in timed),
            "vector": sum(each.vector for each in timed),
            "dma": sum(each.dma for each in timed),
            "launch": launch,
        },
        utilization=moved.macs / peak if peak else 0.0,
        stall=cause if waits[cause] else "none",
        movement=moved,
        energy_pj=energy_pj(moved, cycles, device),
    )


def _intervals(layers: Sequence[_Layer], launch: int) -> Iterator[Interval]:
    start = 0
    for job, operators in layers:
        if launch:
            yield Interval(job.name, "launch", "launch", start, start + launch)
        start += launch
        for each in operators:
            end = start + each.cycles
            # The last output leaves with the end of the operator.
            spans: tuple[tuple[Resource, str, int, int], ...] = (
                ("dma", "transfers", start, start + each.dma),
                ("array", each.operator.what, start, start + each.array),
                ("vector", "outputs" if each.array else each.operator.what, end - each.vector, end),
            )
            yield from (Interval(job.name, *span) for span in spans if span[3] > span[2])
            start = end
