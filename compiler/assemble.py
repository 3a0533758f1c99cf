"""From kernel calls to a Program: memory places for every argument, packed weights."""

from collections.abc import Mapping, Sequence

from mnv3c.compiler.c_text import identifier
from mnv3c.compiler.lower import KernelCall, LoweredNetwork, Tensor
from mnv3c.compiler.memory import Lifetime, MemoryPlan, plan_memory
from mnv3c.compiler.program import Argument, Call, Port, Program, Region
from mnv3c.compiler.weights import WeightsBlob
from mnv3c.graph.ir import Array, Graph
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
    memory = plan_memory(_lifetimes(network, target, device))
    places = _Places(network, memory, target, device)
    weights = WeightsBlob()
    calls = tuple(
        _call(network, call, symbol, places, weights) for call, symbol in zip(network.calls, symbols, strict=True)
    )
    source = network.graph.inputs[0]
    program = Program(
        name=identifier(network.graph.name),
        input=Port(source.name, caller_shape(network.input.type, network.input.storage)),
        outputs=tuple(
            Port(name, caller_shape(network.graph.type_of(node), network.graph.output_layout))
            for name, node in zip(output_names, network.graph.outputs, strict=True)
        ),
        calls=calls,
        arena_bytes=memory.peak_bytes,
        weights_bytes=weights.size_bytes,
        tiles=any(call.candidate.tiles for call in network.calls),
    )
    return program, weights, memory


def caller_shape(tensor: TensorType, layout: str) -> tuple[int, ...]:
    """A tensor's shape as the caller sees it."""
    if layout == "NCHW" and len(tensor.shape) == 4:
        batch, height, width, channels = tensor.shape
        return (batch, channels, height, width)
    return tensor.shape


def _call(network: LoweredNetwork, call: KernelCall, symbol: str, places: "_Places", weights: WeightsBlob) -> Call:
    packed = [weights.add(array) for array in call.candidate.pack(_values(network.graph, call))]
    scratch = (places.scratch(call),) if call.candidate.workspace_elements else ()
    arguments = (*map(places.of, call.inputs), *packed, *scratch, places.of(call.output))
    return Call(call.layer, call.kind, call.shape, symbol, arguments, call.macs)


def _values(graph: Graph, call: KernelCall) -> dict[str, Array]:
    """A layer's weights by role; those of a group's part i as `i.role`."""
    if len(call.nodes) <= 1:
        return graph.weights_of(call.nodes[0]) if call.nodes else {}
    return {
        f"{index}.{role}": value
        for index, node in enumerate(call.nodes)
        for role, value in graph.weights_of(node).items()
    }


def _scratch_name(call: KernelCall) -> str:
    return f"<scratch of {call.layer}>"


class _Places:
    def __init__(self, network: LoweredNetwork, memory: MemoryPlan, target: Target, device: CpuDevice) -> None:
        self._memory, self._target, self._device = memory, target, device
        self._input = network.input.name
        self._output_offsets = _output_offsets(network.graph, [tensor.name for tensor in network.outputs])

    def of(self, tensor: Tensor) -> Argument:
        """The argument that stands for a tensor."""
        if tensor.name == self._input:
            return Argument(Region.INPUT, 0, tensor.type.elements)
        if tensor.name in self._output_offsets:
            return Argument(Region.OUTPUT, self._output_offsets[tensor.name], tensor.type.elements)
        elements = self._target.storage_elements(tensor.type, self._device)
        return Argument(Region.ARENA, self._memory.offsets[tensor.name], elements)

    def scratch(self, call: KernelCall) -> Argument:
        """The call's scratch memory, a part of the arena."""
        offset = self._memory.offsets[_scratch_name(call)]
        return Argument(Region.ARENA, offset, call.candidate.workspace_elements)


def _output_offsets(graph: Graph, names: Sequence[str]) -> Mapping[str, int]:
    offsets, end = {}, 0
    for name, node in zip(names, graph.outputs, strict=True):
        offsets[name] = end
        end += graph.type_of(node).bytes
    return offsets


def _lifetimes(network: LoweredNetwork, target: Target, device: CpuDevice) -> list[Lifetime]:
    outside = {network.input.name, *(tensor.name for tensor in network.outputs)}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for index, call in enumerate(network.calls):
        for tensor in (*call.inputs, call.output):
            if tensor.name not in outside:
                first.setdefault(tensor.name, index)
                last[tensor.name] = index
                sizes[tensor.name] = 4 * target.storage_elements(tensor.type, device)
    scratch = [
        Lifetime(_scratch_name(call), 4 * call.candidate.workspace_elements, index, index)
        for index, call in enumerate(network.calls)
        if call.candidate.workspace_elements
    ]
    return [*(Lifetime(name, sizes[name], first[name], last[name]) for name in first), *scratch]


def to_caller_layout(layout: Layout, rank: int) -> tuple[int, ...]:
    """The axes permutation from the IR's order to the caller's."""
    return (0, 3, 1, 2) if layout == "NCHW" and rank == 4 else tuple(range(rank))
