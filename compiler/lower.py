"""From a fused graph to kernel calls: one layer, one kernel; conversions only at the borders to the caller."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mnv3c.compiler.grouping import ChooseGroup, Group, fuse_always, plan_groups
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.layer import layer_key
from mnv3c.graph.ops import Flatten, Identity, Input, activation_of
from mnv3c.graph.passes.round_weights import one_row_products
from mnv3c.graph.tensor import Layout, TensorType
from mnv3c.targets.base_device import Device
from mnv3c.targets.target import BorderWork, Candidate, KernelTarget, LayerWork, Storage, WeightPrecision

_MAX_TENSOR_BYTES = 2**31 - 1  # kernels index with 32 bits
D = TypeVar("D", bound=Device)
Choose = Callable[[LayerWork, Sequence[Candidate]], Candidate]


@dataclass(frozen=True)
class Tensor:
    """A tensor in memory. `storage` tells whether it lies as the target stores activations or as the caller sees it."""

    name: str
    type: TensorType
    storage: Storage


@dataclass(frozen=True)
class KernelCall:
    """One layer, one group of fused layers, or one border conversion, with the kernel that was chosen for it.

    `nodes` are the layers; none for a conversion. The bytes count every tensor and weight once.
    """

    layer: str
    kind: str
    shape: str
    candidate: Candidate
    inputs: tuple[Tensor, ...]
    output: Tensor
    nodes: tuple[Node, ...]
    macs: int
    bytes_in: int

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights read."""
        return self.bytes_in - sum(tensor.type.bytes for tensor in self.inputs)

    @property
    def bytes_out(self) -> int:
        """Bytes of activations written."""
        return self.output.type.bytes


@dataclass(frozen=True)
class LoweredNetwork:
    """All calls in order; `input` and `outputs` are the caller's tensors."""

    graph: Graph
    input: Tensor
    outputs: tuple[Tensor, ...]
    calls: tuple[KernelCall, ...]


def first_guess(work: LayerWork, candidates: Sequence[Candidate]) -> Candidate:
    """The candidate that the family's own estimate ranks first."""
    return candidates[0]


def lower(
    graph: Graph,
    target: KernelTarget[D],
    device: D,
    choose: Choose = first_guess,
    choose_group: ChooseGroup = fuse_always,
    weights: WeightPrecision = "fp32",
) -> LoweredNetwork:
    """Choose a kernel for every layer of a fused graph, or for groups of neighbouring ones.

    With `weights` fp16 the products of one row, which `RoundWeights` has rounded, read theirs in half precision.

    Raises UserError for a network without exactly one input, for a batch other than 1, for a tensor of 2 GiB, and,
    naming node and op, for a layer that no kernel family of the target takes.
    """
    _require_compilable(graph)
    # Kernels of groups read float32.
    halves = {node.name for node in one_row_products(graph)} if weights == "fp16" else set()
    groups = plan_groups(graph, target, device, choose_group, apart=halves)
    return _Lowering(graph, target, device, choose, groups, halves).run()


class _Lowering(Generic[D]):
    def __init__(
        self,
        graph: Graph,
        target: KernelTarget[D],
        device: D,
        choose: Choose,
        groups: Mapping[str, Group],
        halves: Collection[str],
    ) -> None:
        self._graph, self._target, self._device, self._choose = graph, target, device, choose
        self._groups, self._halves = groups, halves
        self._inner = {node.name for group in groups.values() for node in group.nodes[:-1]}
        self._calls: list[KernelCall] = []
        self._tensors: dict[str, Tensor] = {}
        self._converted: dict[Tensor, Tensor] = {}

    def run(self) -> LoweredNetwork:
        graph = self._graph
        (source,) = graph.inputs
        assert isinstance(source.op, Input)
        given = Tensor(self._unused("<input>"), graph.type_of(source.name), source.op.layout)
        self._tensors[source.name] = given
        ports = {name: self._unused(f"<output {i}>") for i, name in enumerate(graph.outputs)}
        for node in graph.nodes:
            if isinstance(node.op, Flatten | Identity):
                seen = self._tensors[node.inputs[0]]
                self._tensors[node.name] = Tensor(seen.name, graph.type_of(node.name), seen.storage)
            elif node.name in self._groups:
                self._group(self._groups[node.name], ports)
            elif node is not source and node.name not in self._inner:
                self._layer(node, ports)
        outputs = tuple(self._output(name, ports[name]) for name in graph.outputs)
        return LoweredNetwork(graph, given, outputs, tuple(self._calls))

    def _layer(self, node: Node, ports: dict[str, str]) -> None:
        inputs = tuple(self._tensors[name] for name in node.inputs)
        if node.name in self._halves:
            # Only products of stored rows read halves.
            inputs = tuple(self._as_stored(tensor) for tensor in inputs)
        candidates = self._candidates(node, inputs)
        if candidates is None and any(tensor.storage != "target" for tensor in inputs):
            inputs = tuple(self._as_stored(tensor) for tensor in inputs)
            candidates = self._candidates(node, inputs)
        if candidates is None:
            shape = layer_key(self._graph, node)
            raise UserError(f"node '{node.name}': target '{self._target.name}' has no kernel for {shape}")
        candidate = self._choose(self._work(node, inputs), candidates)
        self._call((node,), candidate, inputs, ports)

    def _group(self, group: Group, ports: dict[str, str]) -> None:
        inputs = tuple(self._tensors[name] for name in group.outside)
        self._call(group.nodes, group.candidate, inputs, ports)

    def _call(
        self, nodes: tuple[Node, ...], candidate: Candidate, inputs: tuple[Tensor, ...], ports: dict[str, str]
    ) -> None:
        output = self._result(nodes[-1], ports)
        self._tensors[nodes[-1].name] = output
        self._calls.append(
            KernelCall(
                layer=_group_name([node.name for node in nodes]),
                kind=" | ".join(map(self._kind, nodes)),
                shape=_shape([*inputs, output]),
                candidate=candidate,
                inputs=inputs,
                output=output,
                nodes=nodes,
                macs=sum(map(self._graph.macs, nodes)),
                bytes_in=sum(tensor.type.bytes for tensor in inputs) + sum(map(self._weight_bytes, nodes)),
            )
        )

    def _kind(self, node: Node) -> str:
        return f"{_kind(node)}+fp16" if node.name in self._halves else _kind(node)

    def _weight_bytes(self, node: Node) -> int:
        shapes = node.op.weights(self._graph.input_types(node))
        halves = {"weight"} if node.name in self._halves else set()
        return sum((2 if role in halves else 4) * math.prod(shape) for role, shape in shapes.items())

    def _candidates(self, node: Node, inputs: tuple[Tensor, ...]) -> Sequence[Candidate] | None:
        work = self._work(node, inputs)
        for family in self._target.families():
            candidates = family.candidates(work, self._device)
            if candidates is not None:
                return candidates
        return None

    def _work(self, node: Node, inputs: tuple[Tensor, ...]) -> LayerWork:
        types = self._graph.input_types(node)
        storage = tuple(tensor.storage for tensor in inputs)
        weights: WeightPrecision = "fp16" if node.name in self._halves else "fp32"
        return LayerWork(node.op, types, self._graph.type_of(node.name), storage, weights)

    def _result(self, node: Node, ports: dict[str, str]) -> Tensor:
        """Where a layer writes: straight to the caller when it is an output that nothing else reads."""
        type_ = self._graph.type_of(node.name)
        final = node.name in ports and not self._graph.consumers(node.name)
        if final and self._target.dense(type_, self._device, self._graph.output_layout):
            return Tensor(ports[node.name], type_, "target")
        return Tensor(node.name, type_, "target")

    def _as_stored(self, tensor: Tensor) -> Tensor:
        if tensor.storage == "target":
            return tensor
        if tensor not in self._converted:
            stored = Tensor(self._unused("<stored input>"), tensor.type, "target")
            self._convert(tensor, stored, tensor.storage, "in", "input.stored")
            self._converted[tensor] = stored
        return self._converted[tensor]

    def _unused(self, name: str) -> str:
        """The name of a tensor that is no node's output; an imported network may call a node anything."""
        return name if name not in self._graph else self._unused(f"{name}'")

    def _output(self, name: str, port: str) -> Tensor:
        tensor = self._tensors[name]
        if tensor.name == port:
            return tensor
        layout = self._graph.output_layout
        delivered = Tensor(port, self._graph.type_of(name), layout)
        self._convert(self._as_stored(tensor), delivered, layout, "out", f"{name}.delivered")
        return delivered

    def _convert(self, source: Tensor, destination: Tensor, layout: Layout, way: str, layer: str) -> None:
        work = BorderWork(source.type, layout, "in" if way == "in" else "out")
        candidate = self._target.border(work, self._device)
        shape = f"{source.type} {layout}"
        self._calls.append(
            KernelCall(layer, "border", shape, candidate, (source,), destination, (), 0, source.type.bytes)
        )


def _require_compilable(graph: Graph) -> None:
    names = [node.name for node in graph.inputs]
    if len(names) != 1:
        raise UserError(f"graph '{graph.name}' has {len(names)} inputs ({', '.join(names)}); exactly 1 can be compiled")
    shape = graph.type_of(names[0]).shape
    if shape[0] != 1:
        raise UserError(f"node '{names[0]}': batch {shape[0]} cannot be compiled, only batch 1")
    for node in graph.nodes:
        size = graph.type_of(node.name)
        if size.bytes > _MAX_TENSOR_BYTES:
            raise UserError(f"node '{node.name}': {size} takes {size.bytes} bytes, over {_MAX_TENSOR_BYTES}")


def _group_name(names: Sequence[str]) -> str:
    """`block2.expand+depthwise` for block2.expand and block2.depthwise; one name stays as it is."""
    first = names[0]
    prefix = first[: first.rfind(".") + 1]
    return "+".join([first, *(name.removeprefix(prefix) if prefix else name for name in names[1:])])


def _kind(node: Node) -> str:
    activation = activation_of(node.op)
    parts = [node.op.kind]
    if activation is not None and node.op.kind != "activate":
        parts.append(str(activation))
    if getattr(node.op, "residual", None):
        parts.append("residual")
    return "+".join(parts)


def _shape(tensors: Sequence[Tensor]) -> str:
    *inputs, output = (str(tensor.type) for tensor in tensors)
    return f"{','.join(inputs)}->{output}"
