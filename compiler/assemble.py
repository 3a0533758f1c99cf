"""From kernel calls to a Program: memory places for every argument, packed weights."""

from collections.abc import Sequence

from mnv3c.compiler.c_text import identifier
from mnv3c.compiler.lower import LoweredNetwork
from mnv3c.compiler.memory import MemoryPlan
from mnv3c.compiler.places import Places
from mnv3c.compiler.program import Call, Port, Program
from mnv3c.compiler.weights import WeightsBlob
from mnv3c.graph.tensor import Layout, TensorType
from mnv3c.targets.device import CpuDevice
from mnv3c.targets.target import Target


def assemble(
    network: LoweredNetwork,
    symbols: Sequence[str],
    output_names: Sequence[str],
    target: Target,
    device: CpuDevice,
) -> tuple[Program, WeightsBlob, MemoryPlan]:
    """The program, its weights, and the plan of its arena.

    `symbols` names the kernel of each call; `output_names` the outputs as the user's own graph has them, since fusion
    may have moved an output to the layer that it was fused into.
    """
    weights = WeightsBlob()
    places = Places.plan(network, target, device)
    calls = tuple(
        Call(call.layer, call.kind, call.shape, symbol, places.arguments(call, weights), call.macs)
        for call, symbol in zip(network.calls, symbols, strict=True)
    )
    program = Program(
        name=identifier(network.graph.name),
        input=input_port(network),
        outputs=output_ports(network, output_names),
        calls=calls,
        arena_bytes=places.memory.peak_bytes,
        weights_bytes=weights.size_bytes,
        tiles=any(call.candidate.tiles for call in network.calls),
    )
    return program, weights, places.memory


def input_port(network: LoweredNetwork) -> Port:
    """The input as the caller sees it."""
    return Port(network.graph.inputs[0].name, caller_shape(network.input.type, network.input.storage))


def output_ports(network: LoweredNetwork, names: Sequence[str]) -> tuple[Port, ...]:
    """The outputs as the caller sees them, under the names that the user's own graph gives them."""
    return tuple(
        Port(name, caller_shape(network.graph.type_of(node), network.graph.output_layout))
        for name, node in zip(names, network.graph.outputs, strict=True)
    )


def caller_shape(tensor: TensorType, layout: str) -> tuple[int, ...]:
    """A tensor's shape as the caller sees it."""
    if layout == "NCHW" and len(tensor.shape) == 4:
        batch, height, width, channels = tensor.shape
        return (batch, channels, height, width)
    return tensor.shape


def to_caller_layout(layout: Layout, rank: int) -> tuple[int, ...]:
    """The axes permutation from the IR's order to the caller's."""
    return (0, 3, 1, 2) if layout == "NCHW" and rank == 4 else tuple(range(rank))
