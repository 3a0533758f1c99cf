"""The graph: named nodes, each one op, held in a networkx DiGraph.

A Graph is a value. Passes make new ones with `rebuilt`; nothing changes a graph in place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Self

import networkx as nx
import numpy as np
import numpy.typing as npt

from mnv3c.graph.errors import UserError
from mnv3c.graph.ops import BatchNorm, Input, Op
from mnv3c.graph.shapes import ShapeError
from mnv3c.graph.tensor import Layout, TensorType

Array = npt.NDArray[np.float32]


class GraphError(UserError):
    """The graph is not well formed; the message names the node."""


@dataclass(frozen=True)
class Node:
    """One op with its inputs (names of nodes). Its single output tensor carries the node's name.

    The parameter of role `r` is stored in the graph's weights under `NAME.r`.
    """

    name: str
    op: Op
    inputs: tuple[str, ...] = ()

    def weight_name(self, role: str) -> str:
        """Key of a parameter in `Graph.weights`."""
        return f"{self.name}.{role}"


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input: resized, scaled to 0..1, then (x - mean) / std per RGB channel."""

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Graph:
    """A network.

    `nodes` come in any order and are kept in a deterministic one: topological, ties by position in `nodes`.
    `outputs` are names of nodes; `output_layout` is the memory order in which the caller gets rank-4 outputs;
    `output_names` is what the caller calls the outputs, where that is not the nodes' names.
    `weights` may be empty: a graph without weights still has shapes, MACs and parameter counts.

    Raises GraphError for duplicate or dangling names, cycles, shapes that do not fit, weights of the wrong shape.
    """

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    weights: Mapping[str, Array] = field(default_factory=dict, repr=False, compare=False)
    output_layout: Layout = "NHWC"
    preprocessing: Preprocessing | None = None
    output_names: tuple[str, ...] = ()
    _digraph: "nx.DiGraph[str]" = field(init=False, repr=False, compare=False)
    _types: Mapping[str, TensorType] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        digraph = _digraph(self.nodes)
        by_name = {node.name: node for node in self.nodes}
        for name in self.outputs:
            if name not in by_name:
                raise GraphError(f"output '{name}' is not a node of graph '{self.name}'")
        if not self.outputs or len(set(self.outputs)) < len(self.outputs):
            raise GraphError(f"graph '{self.name}' needs at least one output, and each once, not {list(self.outputs)}")
        if self.output_names and len(set(self.output_names)) != len(self.outputs):
            raise GraphError(
                f"graph '{self.name}' has {len(self.outputs)} outputs, not the names {list(self.output_names)}"
            )
        object.__setattr__(self, "nodes", _sorted(self.nodes, digraph))
        object.__setattr__(self, "_digraph", nx.freeze(digraph))
        object.__setattr__(self, "_types", MappingProxyType(_infer(self.nodes)))
        object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))

    def __reduce__(self) -> tuple[type["Graph"], tuple[object, ...]]:
        """To other processes goes what it is made of; the views cannot be pickled."""
        weights, names = dict(self.weights), self.output_names
        return Graph, (self.name, self.nodes, self.outputs, weights, self.output_layout, self.preprocessing, names)

    def __getitem__(self, name: str) -> Node:
        if name not in self._digraph:
            raise GraphError(f"graph '{self.name}' has no node '{name}'")
        node: Node = self._digraph.nodes[name]["node"]
        return node

    def __contains__(self, name: object) -> bool:
        return name in self._digraph

    @property
    def digraph(self) -> "nx.DiGraph[str]":
        """The frozen networkx view: node names, with attribute `node`; edges from producer to consumer."""
        return self._digraph

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The input nodes, in order."""
        return tuple(node for node in self.nodes if isinstance(node.op, Input))

    def type_of(self, name: str) -> TensorType:
        """Type of a node's output."""
        return self._types[self[name].name]

    def input_types(self, node: Node) -> tuple[TensorType, ...]:
        """Types of a node's inputs."""
        return tuple(self._types[name] for name in node.inputs)

    def consumers(self, name: str) -> tuple[Node, ...]:
        """Nodes that read this node's output, in graph order; each once."""
        readers = set(self._digraph.successors(name))
        return tuple(node for node in self.nodes if node.name in readers)

    def weights_of(self, node: Node) -> dict[str, Array]:
        """A node's parameters by role. Raises GraphError when the graph carries no value for one."""
        found: dict[str, Array] = {}
        for role in node.op.weights(self.input_types(node)):
            key = node.weight_name(role)
            if key not in self.weights:
                raise GraphError(f"node '{node.name}' has no value for weight '{key}'")
            found[role] = self.weights[key]
        return found

    def macs(self, node: Node) -> int:
        """Multiply-accumulates of one node (convolutions and dense layers)."""
        return node.op.macs(self.input_types(node))

    def params(self, node: Node) -> int:
        """Trainable parameters of one node: batch norm counts scale and shift, not its running statistics."""
        shapes = node.op.weights(self.input_types(node))
        roles = ("gamma", "beta") if isinstance(node.op, BatchNorm) else tuple(shapes)
        return sum(int(np.prod(shapes[role])) for role in roles)

    def bytes_in(self, node: Node) -> int:
        """Bytes of activations and weights a node reads, each once."""
        weights = sum(4 * int(np.prod(shape)) for shape in node.op.weights(self.input_types(node)).values())
        return sum(t.bytes for t in self.input_types(node)) + weights

    def bytes_out(self, node: Node) -> int:
        """Bytes of activations a node writes."""
        return self.type_of(node.name).bytes

    def arithmetic_intensity(self, node: Node) -> float:
        """MACs per byte moved, everything moved once; 0 for a node that moves nothing."""
        moved = self.bytes_in(node) + self.bytes_out(node)
        return self.macs(node) / moved if moved else 0.0

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of all nodes."""
        return sum(self.macs(node) for node in self.nodes)

    @property
    def total_params(self) -> int:
        """Parameters of all nodes."""
        return sum(self.params(node) for node in self.nodes)

    @property
    def weight_layers(self) -> tuple[Node, ...]:
        """Convolutions and dense layers: the nodes that have MACs."""
        return tuple(node for node in self.nodes if self.macs(node) > 0)

    def rebuilt(
        self,
        nodes: Iterable[Node],
        outputs: tuple[str, ...] | None = None,
        weights: Mapping[str, Array] | None = None,
    ) -> Self:
        """The same graph with other nodes; weights that no node holds any more are dropped."""
        kept = tuple(nodes)
        names = {node.name for node in kept}
        pool = self.weights if weights is None else weights
        used = {key: value for key, value in pool.items() if key.rpartition(".")[0] in names}
        return replace(self, nodes=kept, outputs=self.outputs if outputs is None else outputs, weights=used)


def _digraph(nodes: tuple[Node, ...]) -> "nx.DiGraph[str]":
    digraph: nx.DiGraph[str] = nx.DiGraph()
    for position, node in enumerate(nodes):
        if node.name in digraph:
            raise GraphError(f"two nodes are named '{node.name}'")
        digraph.add_node(node.name, node=node, position=position)
    for node in nodes:
        for name in node.inputs:
            if name not in digraph:
                raise GraphError(f"node '{node.name}' reads '{name}', which does not exist")
            digraph.add_edge(name, node.name)
    return digraph


def _sorted(nodes: tuple[Node, ...], digraph: "nx.DiGraph[str]") -> tuple[Node, ...]:
    position = {node.name: index for index, node in enumerate(nodes)}
    try:
        order = list(nx.lexicographical_topological_sort(digraph, key=position.__getitem__))
    except nx.NetworkXUnfeasible:
        cycle = [edge[0] for edge in nx.find_cycle(digraph)]
        shown = cycle if len(cycle) <= 8 else [*cycle[:4], f"({len(cycle) - 5} more)", cycle[-1]]
        raise GraphError(f"node '{cycle[0]}' is part of a cycle: {' -> '.join([*shown, cycle[0]])}") from None
    return tuple(nodes[position[name]] for name in order)


def _infer(nodes: tuple[Node, ...]) -> dict[str, TensorType]:
    types: dict[str, TensorType] = {}
    for node in nodes:
        try:
            types[node.name] = node.op.infer(tuple(types[name] for name in node.inputs))
        except ShapeError as error:
            raise GraphError(f"node '{node.name}' ({node.op.kind}): {error}") from None
    return types
