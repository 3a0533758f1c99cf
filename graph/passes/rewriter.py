"""A graph while a pass rewrites it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mnv3c.graph.ir import Array, Graph, Node
from mnv3c.graph.ops import Conv2d, ConvTranspose2d, Dense, Op

Values = npt.NDArray[np.float64]
Linear = Conv2d | ConvTranspose2d | Dense


class Rewriter:
    """Nodes can be replaced and absorbed one after the other; `graph()` then makes the new graph.

    On a graph without weights the same calls rewrite the structure alone: parameters read as a scalar 1, and new
    values are dropped.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes = {node.name: node for node in graph.nodes}
        self._outputs = graph.outputs
        self._weights: dict[str, Array] = dict(graph.weights)
        self._uses = Counter([*graph.outputs, *(name for node in graph.nodes for name in node.inputs)])

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The present nodes, in the order of the graph that came in."""
        return tuple(self._nodes.values())

    def node(self, name: str) -> Node:
        """A present node."""
        return self._nodes[name]

    def private_producer(self, node: Node, slot: int = 0) -> Node | None:
        """The producer of an input that nothing else reads: no other node, no other slot, no output of the graph."""
        name = node.inputs[slot]
        return self._nodes[name] if self._uses[name] == 1 else None

    def values(self, node: Node, role: str) -> Values:
        """A parameter in float64."""
        return self._weights[node.weight_name(role)].astype(np.float64) if self._weights else np.ones(())

    def replace(self, node: Node, op: Op, values: Mapping[str, Values] | None = None) -> None:
        """Gives a node another op, and new values for some roles."""
        self._nodes[node.name] = replace(node, op=op)
        self._store(node, values or {})

    def absorb(self, node: Node, into: Node, op: Op, extra_inputs: tuple[str, ...] = ()) -> None:
        """Removes `node`, the only reader of `into`, which gets the op and the extra inputs and keeps its name.

        Whoever read `node` reads `into` from now on, the graph's outputs included.
        """
        del self._nodes[node.name]
        self._uses[into.name] = self._uses.pop(node.name)
        self._nodes[into.name] = replace(into, op=op, inputs=(*into.inputs, *extra_inputs))
        for reader in self.nodes:
            if node.name in reader.inputs:
                self._nodes[reader.name] = replace(reader, inputs=_renamed(reader.inputs, node.name, into.name))
        self._outputs = _renamed(self._outputs, node.name, into.name)

    def absorb_affine(self, node: Node, into: Node, scale: Values | None, shift: Values | None) -> None:
        """Absorbs `node`, which computes scale * x + shift over the last axis, into the layer before it.

        `into` must satisfy `takes_affine`. Its weight and bias are scaled, and it gets a bias if there is a shift.
        None stands for a scale of 1 or a shift of 0.
        """
        assert isinstance(into.op, Linear)
        op = replace(into.op, bias=into.op.bias or shift is not None)
        values: dict[str, Values] = {}
        if scale is not None:
            values["weight"] = self.values(into, "weight") * scale
        if op.bias:
            bias = self.values(into, "bias") if into.op.bias else np.zeros(())
            values["bias"] = bias * (1.0 if scale is None else scale) + (0.0 if shift is None else shift)
        if self._weights and "bias" in values:
            channels = self._weights[into.weight_name("weight")].shape[-1:]
            values["bias"] = np.broadcast_to(values["bias"], channels)
        self.absorb(node, into, op)
        self._store(into, values)

    def graph(self) -> Graph:
        """The rewritten graph, with the parameters that its nodes hold."""
        structure = self._graph.rebuilt(self._nodes.values(), self._outputs, {})
        held = {
            node.weight_name(role) for node in structure.nodes for role in node.op.weights(structure.input_types(node))
        }
        weights = {key: value for key, value in self._weights.items() if key in held}
        return structure.rebuilt(structure.nodes, weights=weights)

    def _store(self, node: Node, values: Mapping[str, Values]) -> None:
        if self._weights:
            # A weight that overflows becomes infinite, which `verify` refuses by name.
            with np.errstate(over="ignore", invalid="ignore"):
                for role, value in values.items():
                    self._weights[node.weight_name(role)] = value.astype(np.float32)


def takes_affine(op: Op) -> bool:
    """Whether a scale and a shift after the op can move into its weight and bias: nothing else happens in between."""
    return isinstance(op, Linear) and op.activation is None and getattr(op, "residual", None) is None


def _renamed(names: tuple[str, ...], old: str, new: str) -> tuple[str, ...]:
    return tuple(new if name == old else name for name in names)
