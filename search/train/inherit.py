"""Weights for a changed network from the one that it was made from.

Channels that are cut are those of least magnitude; what is new is initialised. Needs no PyTorch.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Array, Graph, Node
from mnv3c.graph.ops import Activate, BatchNorm, Conv2d, Dense, Input, Multiply

Indices = npt.NDArray[np.int64]


def inherit(graph: Graph, parent: Graph, seed: int) -> Graph:
    """The graph with its parent's weights, node by node of the same name.

    Where a tensor has fewer channels than in the parent, those of the greatest magnitude are kept, in the parent's
    order, and everything that writes or reads it keeps the same ones. The magnitude of a channel is the root of the
    summed squares of the filters that make it, each scaled by its batch norm; gates do not count. Further channels,
    kernels of another extent and nodes that the parent lacks are initialised (`initialise`, from `seed`). Where
    nothing differs the weights are the parent's.
    """
    fresh = initialise(graph, seed)
    spaces, magnitudes = _channel_spaces(parent), _magnitudes(parent)
    kept = {
        space: _largest(magnitudes[space], min(extent, len(magnitudes[space])))
        for space, extent in _extents(graph, spaces).items()
        if space in magnitudes
    }
    weights = dict(fresh.weights)
    for node in graph.nodes:
        if node.name not in parent or type(parent[node.name].op) is not type(node.op):
            continue
        for role in node.op.weights(graph.input_types(node)):
            name = node.weight_name(role)
            axes = _axes(node, role, parent[node.name], spaces)
            weights[name] = _taken(
                fresh.weights[name], parent.weights[name], [None if axis is None else kept.get(axis) for axis in axes]
            )
    return graph.rebuilt(graph.nodes, weights=weights)


@dataclass
class _Sets:
    """Disjoint sets of node names."""

    parents: dict[str, str]

    def find(self, name: str) -> str:
        while self.parents.setdefault(name, name) != name:
            name = self.parents[name]
        return name

    def join(self, one: str, other: str) -> None:
        self.parents[self.find(one)] = self.find(other)


def _mixes(node: Node, graph: Graph) -> bool:
    """Whether output channels are other ones than those of the inputs."""
    op = node.op
    if isinstance(op, Conv2d):
        return not op.depthwise(graph.input_types(node)[0].channels)
    return isinstance(op, Dense | Input)


def _channel_spaces(graph: Graph) -> Mapping[str, str]:
    """For each node, the name of the set of tensors whose channels are the same ones as those of its output."""
    sets = _Sets({})
    for node in graph.nodes:
        sets.find(node.name)
        # A residual that is fused into a convolution is its second input.
        tied = node.inputs[1:] if _mixes(node, graph) else node.inputs
        for name in tied:
            sets.join(name, node.name)
    return {node.name: sets.find(node.name) for node in graph.nodes}


def _magnitudes(graph: Graph) -> dict[str, npt.NDArray[np.float64]]:
    """For each set of tensors, the magnitude of its channels."""
    spaces = _channel_spaces(graph)
    squares: dict[str, npt.NDArray[np.float64]] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Conv2d | Dense) or _is_gate(graph, node):
            continue
        weights = graph.weights_of(node)["weight"].astype(np.float64)
        scale = _batch_norm_scale(graph, node)
        square = np.square(weights).sum(axis=tuple(range(weights.ndim - 1))) * np.square(scale)
        space = spaces[node.name]
        squares[space] = squares.get(space, 0.0) + square
    return {space: np.sqrt(square) for space, square in squares.items()}


def _is_gate(graph: Graph, node: Node) -> bool:
    """Whether its output only scales the channels of another tensor, as that of squeeze-excite does."""
    readers = graph.consumers(node.name)
    while len(readers) == 1 and isinstance(readers[0].op, Activate | BatchNorm):
        node, readers = readers[0], graph.consumers(readers[0].name)
    return any(isinstance(each.op, Multiply) and each.inputs[1] == node.name for each in readers)


def _batch_norm_scale(graph: Graph, node: Node) -> npt.NDArray[np.float64]:
    for reader in graph.consumers(node.name):
        if isinstance(reader.op, BatchNorm):
            found = graph.weights_of(reader)
            return np.asarray(found["gamma"] / np.sqrt(found["variance"] + reader.op.epsilon), np.float64)
    return np.ones(1)


def _extents(graph: Graph, spaces: Mapping[str, str]) -> dict[str, int]:
    """How many channels the graph has in each set of the parent's."""
    extents: dict[str, set[int]] = defaultdict(set)
    for node in graph.nodes:
        if node.name in spaces:
            extents[spaces[node.name]].add(graph.type_of(node.name).channels)
    # Where a set has come apart, each tensor keeps as many as it has room for.
    return {space: max(found) for space, found in extents.items()}


def _largest(magnitudes: npt.NDArray[np.float64], count: int) -> Indices:
    order = np.argsort(-magnitudes, kind="stable")
    return np.sort(order[:count])


def _axes(node: Node, role: str, parent: Node, spaces: Mapping[str, str]) -> list[str | None]:
    """For each axis of a parameter, the set whose channels it has; None for the extent of a kernel."""
    out = spaces[node.name]
    if role != "weight":
        return [out]
    read = spaces[parent.inputs[0]]
    if isinstance(node.op, Dense):
        return [read, out]
    depthwise = isinstance(node.op, Conv2d) and node.op.groups > 1
    return [None, None, None if depthwise else read, out]


def _taken(fresh: Array, old: Array, kept: list[Indices | None]) -> Array:
    """The old values of the kept indices, fresh ones after them; all fresh where a kernel's extent differs."""
    if any(indices is None and a != b for indices, a, b in zip(kept, fresh.shape, old.shape, strict=True)):
        return fresh
    indices = [np.arange(extent) if chosen is None else chosen for chosen, extent in zip(kept, old.shape, strict=True)]
    part = old[np.ix_(*(each[:room] for each, room in zip(indices, fresh.shape, strict=True)))]
    if part.shape == fresh.shape:
        return np.ascontiguousarray(part)
    value = fresh.copy()
    value[tuple(slice(extent) for extent in part.shape)] = part
    return value
