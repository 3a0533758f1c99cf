"""What lies where in DRAM: first the constants, which make its image, then the activations that pass through it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.targets.edgetpu.constants import ParameterBlock, WeightLayout, parameter_block, weight_bytes, weight_layout
from mnv3c.targets.edgetpu.memories import Bytes
from mnv3c.targets.edgetpu.plan import Plan
from mnv3c.targets.edgetpu.regions import Place
from mnv3c.targets.edgetpu.work import Shape

_ALIGNMENT = 64  # bytes: where a burst of a DRAM may begin


@dataclass(frozen=True)
class LayerConstants:
    """A layer's constants and their addresses in DRAM."""

    parameters: ParameterBlock
    parameters_dram: int
    weights: WeightLayout
    weights_dram: int


@dataclass(frozen=True, eq=False)
class DramLayout:
    """`image` from address 0 on; `size` is everything. `tensors` are those that are not kept in the SRAM."""

    image: Bytes
    size: int
    constants: Mapping[str, LayerConstants]
    tensors: Mapping[str, Place]


def dram_layout(plan: Plan, network: IntegerNetwork) -> DramLayout:
    """The layout for a plan: constants in the order of its layers, then inputs, then tensors in that order."""
    image = bytearray()
    constants: dict[str, LayerConstants] = {}
    for layer in plan.layers:
        integer = network.layers.get(layer.job.name)
        if integer is None:
            raise UserError(f"quantised network '{network.graph.name}' has no layer '{layer.job.name}'")
        block, weights = parameter_block(integer, network.rounding), weight_layout(layer)
        parameters_dram = _append(image, block.data)
        constants[layer.job.name] = LayerConstants(
            block, parameters_dram, weights, _append(image, weight_bytes(integer, weights))
        )
    end = aligned(len(image))
    tensors: dict[str, Place] = {}
    for name, shape in _tensors(plan, network):
        tensors[name] = Place("dram", end, shape)
        end = aligned(end + prod(shape))
    return DramLayout(np.frombuffer(bytes(image), np.uint8), end, constants, tensors)


def aligned(size: int) -> int:
    """The next address at which something may begin."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _append(image: bytearray, data: bytes) -> int:
    address = aligned(len(image))
    image.extend(bytes(address - len(image)) + data)
    return address


def _tensors(plan: Plan, network: IntegerNetwork) -> list[tuple[str, Shape]]:
    graph = network.graph
    found = [(node.name, four_axes(graph.type_of(node.name).shape)) for node in graph.inputs]
    kept = {layer.job.name for layer in plan.layers if layer.output_in_sram}
    return found + [(layer.job.name, layer.job.output_shape) for layer in plan.layers if layer.job.name not in kept]


def four_axes(shape: tuple[int, ...]) -> Shape:
    """A shape as the accelerator sees it: (batch, features) is a batch of 1x1 maps."""
    batch, *rest = shape
    height, width, channels = rest if len(rest) == 3 else (1, 1, prod(rest))
    return batch, height, width, channels
