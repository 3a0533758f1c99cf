"""Where every argument of every call lies: activations in the arena, packed weights, the caller's tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from mnv3c.compiler.layout import ALIGNMENT_BYTES, align
from mnv3c.compiler.lower import KernelCall, LoweredNetwork, Tensor
from mnv3c.compiler.memory import Lifetime, MemoryPlan, plan_memory
from mnv3c.compiler.program import Argument, Region
from mnv3c.compiler.weights import WeightsBlob
from mnv3c.graph.ir import Array, Graph
from mnv3c.targets.base_device import Device
from mnv3c.targets.target import KernelTarget

D = TypeVar("D", bound=Device)


@dataclass(frozen=True)
class Stored:
    """How a target keeps activations: the type of a value, and what every buffer's offset is a multiple of."""

    dtype: Literal["float32", "float16"] = "float32"
    alignment_bytes: int = ALIGNMENT_BYTES

    def size_bytes(self, elements: int) -> int:
        """Bytes that a buffer takes; whole steps, so that a plan of such buffers has aligned offsets."""
        return align(elements * (2 if self.dtype == "float16" else 4), self.alignment_bytes)


@dataclass(frozen=True)
class Places(Generic[D]):
    """The places of a network's tensors."""

    network: LoweredNetwork
    target: KernelTarget[D]
    device: D
    stored: Stored
    memory: MemoryPlan
    output_offsets: Mapping[str, int]

    @staticmethod
    def plan(network: LoweredNetwork, target: KernelTarget[D], device: D, stored: Stored | None = None) -> "Places[D]":
        """Plan the arena. `stored` is float32 at multiples of 64 bytes unless it is given."""
        stored = stored or Stored()
        memory = plan_memory(_lifetimes(network, target, device, stored))
        offsets = _output_offsets(network.graph, [tensor.name for tensor in network.outputs])
        return Places(network, target, device, stored, memory, offsets)

    def arguments(self, call: KernelCall, weights: WeightsBlob) -> tuple[Argument, ...]:
        """What the call's kernel takes, in order; its packed weights are added to `weights`."""
        packed = [weights.add(array) for array in call.candidate.pack(_values(self.network.graph, call))]
        scratch = (self._scratch(call),) if call.candidate.workspace_elements else ()
        return (*map(self._of, call.inputs), *packed, *scratch, self._of(call.output))

    def _of(self, tensor: Tensor) -> Argument:
        if tensor.name == self.network.input.name:
            return Argument(Region.INPUT, 0, tensor.type.elements)
        if tensor.name in self.output_offsets:
            return Argument(Region.OUTPUT, self.output_offsets[tensor.name], tensor.type.elements)
        elements = self.target.storage_elements(tensor.type, self.device)
        return Argument(Region.ARENA, self.memory.offsets[tensor.name], elements, self.stored.dtype)

    def _scratch(self, call: KernelCall) -> Argument:
        offset = self.memory.offsets[_scratch_name(call)]
        return Argument(Region.ARENA, offset, call.candidate.workspace_elements, self.stored.dtype)


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


def _output_offsets(graph: Graph, names: list[str]) -> Mapping[str, int]:
    offsets, end = {}, 0
    for name, node in zip(names, graph.outputs, strict=True):
        offsets[name] = end
        end += graph.type_of(node).bytes
    return offsets


def _lifetimes(network: LoweredNetwork, target: KernelTarget[D], device: D, stored: Stored) -> list[Lifetime]:
    outside = {network.input.name, *(tensor.name for tensor in network.outputs)}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for index, call in enumerate(network.calls):
        for tensor in (*call.inputs, call.output):
            if tensor.name not in outside:
                first.setdefault(tensor.name, index)
                last[tensor.name] = index
                sizes[tensor.name] = stored.size_bytes(target.storage_elements(tensor.type, device))
    scratch = [
        Lifetime(_scratch_name(call), stored.size_bytes(call.candidate.workspace_elements), index, index)
        for index, call in enumerate(network.calls)
        if call.candidate.workspace_elements
    ]
    return [*(Lifetime(name, sizes[name], first[name], last[name]) for name in first), *scratch]
