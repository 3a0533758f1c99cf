"""Whole networks by the planner's plans: the values of the integer reference, and the bytes of the timing model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.targets.edgetpu.small_networks import quantised, random_input

from mnv3c.graph.calibration.samples import seeded_samples
from mnv3c.graph.integer.affine import Int8Array
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.graph.integer.reference import run
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.targets.edgetpu.backend import commands_by_layer
from mnv3c.targets.edgetpu.commands import ArrayCommand, Launch, Load, Store
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.emulate import emulate
from mnv3c.targets.edgetpu.execute import execute
from mnv3c.targets.edgetpu.lower_commands import LoweredNetwork, lower_commands
from mnv3c.targets.edgetpu.lower_work import jobs_of, outputs_of
from mnv3c.targets.edgetpu.plan import GroupPlan, Plan
from mnv3c.targets.edgetpu.planner import plan
from mnv3c.targets.edgetpu.regions import Positions
from mnv3c.targets.registry import find_device

DEVICES = ("edgetpu-like", "gemmini-16", "scalesim-32", "tiny-8x8")
NETWORKS: dict[str, dict[str, Any]] = {
    "large": {},
    "small": {"variant": "small"},
    "minimalistic": {"minimalistic": True},
}


@dataclass(frozen=True, eq=False)
class Quantised:
    """A network with an input and what the reference makes of it."""

    network: IntegerNetwork
    values: Int8Array
    expected: dict[str, Int8Array]


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def quantised_network(request: pytest.FixtureRequest) -> Quantised:
    network = quantised(mobilenet_v3(**NETWORKS[request.param]))
    (sample,) = seeded_samples(network.graph, 1, 99)
    values = network.inputs["input"].quantize(sample)
    return Quantised(network, values, run(network, values))


def lowered_for(network: IntegerNetwork, device: AcceleratorDevice) -> tuple[Plan, LoweredNetwork]:
    chosen = plan(jobs_of(network.graph), outputs_of(network.graph), device)
    return chosen, lower_commands(chosen, network, device)


@pytest.mark.parametrize("name", DEVICES)
def test_no_value_differs_from_the_reference(quantised_network: Quantised, name: str) -> None:
    network, device = quantised_network.network, find_device(name, kind=AcceleratorDevice)
    _, lowered = lowered_for(network, device)
    found = execute(lowered.stream, lowered.image, {network.graph.inputs[0].name: quantised_network.values})
    for output, expected in quantised_network.expected.items():
        assert len(np.unique(expected)) > 50
        np.testing.assert_array_equal(found[output], expected)


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def low_resolution(request: pytest.FixtureRequest) -> IntegerNetwork:
    return quantised(mobilenet_v3(**NETWORKS[request.param], resolution=64))


@pytest.mark.parametrize("name", DEVICES)
def test_commands_move_what_the_timing_model_counts(low_resolution: IntegerNetwork, name: str) -> None:
    """Loads and stores of each layer in bytes, and one command of the array for each of its tiles."""
    network = low_resolution
    device = find_device(name, kind=AcceleratorDevice).with_settings({"weight_compression": 1.0})
    chosen, lowered = lowered_for(network, device)
    emulation = emulate(network.graph.name, jobs_of(network.graph), outputs_of(network.graph), device)
    by_layer = commands_by_layer(lowered.stream.commands)
    for layer, timed in zip(chosen.layers, emulation.layers, strict=True):
        commands = by_layer[layer.job.name]
        read = sum(command.dram.elements for command in commands if isinstance(command, Load))
        written = sum(command.dram.elements for command in commands if isinstance(command, Store))
        counted = timed.movement.dram_read_bytes, timed.movement.dram_write_bytes
        assert (layer.job.name, read, written) == (timed.name, *counted)
        computed = sum(isinstance(command, ArrayCommand) for command in commands)
        assert computed == array_tiles(chosen, layer.job.name)


def test_fused_groups_give_the_same_values_and_move_what_the_timing_model_counts() -> None:
    network = quantised(mobilenet_v3(minimalistic=True, resolution=64))
    device = find_device("edgetpu-like", kind=AcceleratorDevice)
    device = device.with_settings({"fuses_layers": True, "sram_bytes": "192K"})
    chosen, lowered = lowered_for(network, device)
    groups = [step for step in chosen.steps if isinstance(step, GroupPlan)]
    assert groups
    values = random_input(network, 3)
    found = execute(lowered.stream, lowered.image, {network.graph.inputs[0].name: values})
    for output, expected in run(network, values).items():
        np.testing.assert_array_equal(found[output], expected)
    emulation = emulate(network.graph.name, jobs_of(network.graph), outputs_of(network.graph), device)
    by_layer = commands_by_layer(lowered.stream.commands)
    timed = {layer.name: layer.movement for layer in emulation.layers}
    for group in groups:
        for layer in group.layers:
            loads, stores = (
                sum(command.dram.elements for command in by_layer[layer.job.name] if isinstance(command, kind))
                for kind in (Load, Store)
            )
            movement = timed[layer.job.name]
            assert (loads, stores) == (movement.dram_read_bytes, movement.dram_write_bytes)
            assert sum(isinstance(command, Launch) for command in by_layer[layer.job.name]) == 1


def array_tiles(chosen: Plan, name: str) -> int:
    """Tiles of positions x channels x depth, by the plan's numbers alone."""
    (layer,) = (layer for layer in chosen.layers if layer.job.name == name)
    job, tiling, positions = layer.job, layer.tiling, Positions.of(layer.job)
    if job.kind == "vector":
        return 0
    count = positions.images * -(-positions.rows // tiling.rows) * -(-positions.columns // tiling.columns)
    if job.kind == "depthwise":
        return count * -(-job.output_shape[3] // tiling.channels)
    depths = -(-(job.input_shape[3] // job.groups) // tiling.depth)
    return count * job.groups * -(-job.n // tiling.channels) * depths
