"""Finding the activations that frameworks write as several nodes."""

import math
from collections import Counter
from dataclasses import dataclass, replace

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU6, Activation
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Activate, Multiply, Op, ScalarAffine

# Frameworks store 1/6 as float32 (0.16666667163...), whose distance from 1/6 is 5e-9.
TOLERANCE = 1e-6


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


@dataclass(frozen=True)
class RecogniseActivations:
    """Joins the nodes of an activation into one, with x any tensor:

    1. clip(x, 0, 6) is relu6(x).
    2. hsigmoid(x) with slope 1/6 and offset 1/2, up to the rounding of float32, is the paper's h-sigmoid.
    3. clip(a * x + b, 0, 1) is hsigmoid(x) with slope a and offset b.
    4. relu6(x + 3) / 6 is h-sigmoid.
    5. x * h-sigmoid(x) is h-swish.
    6. (x * relu6(x + 3)) / 6 is h-swish.
    7. (x / 6) * relu6(x + 3) is h-swish.

    The factors of a product come in any order, and a division by 6 may be a product with 1/6 in float32. Nodes between
    the first and the last must have no other reader and be no output. The result carries the last node's name. Other
    slopes, bounds and constants stay as they are: nothing is approximated.
    """

    name: str = "recognise-activations"

    def run(self, graph: Graph) -> Graph:
        """The graph with these patterns replaced."""
        return graph.rebuilt(_Matcher(graph).rewritten())


class _Matcher:
    """Walks a graph in order; `_nodes` holds the nodes as rewritten so far."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._readers = Counter(name for node in graph.nodes for name in node.inputs) + Counter(graph.outputs)
        self._nodes: dict[str, Node] = {}
        self._absorbed: set[str] = set()

    def rewritten(self) -> tuple[Node, ...]:
        for node in self._graph.nodes:
            self._nodes[node.name] = self._replacement(node)
        return tuple(node for node in self._nodes.values() if node.name not in self._absorbed)

    def _replacement(self, node: Node) -> Node:
        """The node after all rules that end in it; absorbs what the rules took in."""
        if isinstance(node.op, Activate):
            return self._activation(node, node.op.activation)
        if isinstance(node.op, ScalarAffine) and _is_affine(node.op, 1.0 / 6.0, 0.0):
            return self._sixth(node)
        if isinstance(node.op, Multiply) and node.op.activation is None and node.inputs[0] != node.inputs[1]:
            return self._product(node, *node.inputs) or self._product(node, *reversed(node.inputs)) or node
        return node

    def _activation(self, node: Node, activation: Activation) -> Node:
        if activation == Activation("clip", 0.0, 6.0):
            return replace(node, op=Activate(RELU6))
        affine = self._inner(node.inputs[0], ScalarAffine)
        if activation == Activation("clip", 0.0, 1.0) and affine is not None:
            self._absorbed.add(affine.name)
            node = replace(node, inputs=affine.inputs)
            assert isinstance(affine.op, ScalarAffine)
            activation = Activation("hsigmoid", slope=affine.op.scale, offset=affine.op.shift)
        if activation.kind == "hsigmoid" and _close(activation.slope, 1.0 / 6.0) and _close(activation.offset, 0.5):
            activation = HSIGMOID
        return replace(node, op=Activate(activation))

    def _sixth(self, node: Node) -> Node:
        """Rules 4 and 6, for a node that divides by 6."""
        x = self._shifted_relu6(node.inputs[0])
        if x is not None:
            return self._joined(node, HSIGMOID, x, node.inputs[0])
        product = self._inner(node.inputs[0], Multiply)
        if product is None or product.op != Multiply():
            return node
        for x, gate in (product.inputs, product.inputs[::-1]):
            if self._shifted_relu6(gate) == x:
                self._absorbed.add(product.name)
                return self._joined(node, HSWISH, x, gate)
        return node

    def _product(self, node: Node, factor: str, gate: str) -> Node | None:
        """Rules 5 and 7, for factor * gate."""
        sigmoid = self._inner(gate, Activate)
        if sigmoid is not None and sigmoid.op == Activate(HSIGMOID) and sigmoid.inputs == (factor,):
            self._absorbed.add(gate)
            return Node(node.name, Activate(HSWISH), (factor,))
        scaled = self._inner(factor, ScalarAffine)
        if scaled is None or not _is_affine(scaled.op, 1.0 / 6.0, 0.0):
            return None
        x = self._shifted_relu6(gate)
        if x is None or scaled.inputs != (x,):
            return None
        self._absorbed.add(factor)
        return self._joined(node, HSWISH, x, gate)

    def _joined(self, node: Node, activation: Activation, x: str, relu6: str) -> Node:
        """The activation of `x` in place of `node`; takes in relu6(x + 3)."""
        self._absorbed.update((relu6, self._nodes[relu6].inputs[0]))
        return Node(node.name, Activate(activation), (x,))

    def _shifted_relu6(self, name: str) -> str | None:
        """x where `name` is relu6(x + 3) and both of its nodes may be taken in."""
        relu6 = self._inner(name, Activate)
        if relu6 is None or relu6.op != Activate(RELU6):
            return None
        shifted = self._inner(relu6.inputs[0], ScalarAffine)
        return shifted.inputs[0] if shifted is not None and _is_affine(shifted.op, 1.0, 3.0) else None

    def _inner(self, name: str, kind: type[Op]) -> Node | None:
        """The node if it is of this kind and read once, so that it may be taken in."""
        node = self._nodes[name]
        return node if isinstance(node.op, kind) and self._readers[name] == 1 else None


def _is_affine(op: Op, scale: float, shift: float) -> bool:
    return isinstance(op, ScalarAffine) and _close(op.scale, scale) and _close(op.shift, shift)
