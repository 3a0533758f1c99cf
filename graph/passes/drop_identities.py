"""Removing nodes that do nothing."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Identity, Input, ScalarAffine


def without_dead_nodes(nodes: tuple[Node, ...], outputs: Iterable[str]) -> tuple[Node, ...]:
    """The nodes that lead to an output, in the order given."""
    by_name = {node.name: node for node in nodes}
    alive: set[str] = set()
    stack = list(outputs)
    while stack:
        name = stack.pop()
        if name not in alive:
            alive.add(name)
            stack.extend(by_name[name].inputs)
    return tuple(node for node in nodes if node.name in alive)


@dataclass(frozen=True)
class DropIdentities:
    """Drops what computes nothing:

    1. Identity: its readers read its input.
    2. ScalarAffine with scale 1 and shift 0: likewise.
    3. Nodes other than inputs that lead to no output.

    A node of rule 1 or 2 that is an output hands that role to the node it reads, unless that is an input of the network
    or an output already: then it stays, so that no output is lost or doubled.
    """

    name: str = "drop-identities"

    def run(self, graph: Graph) -> Graph:
        """The graph without these nodes."""
        source: dict[str, str] = {}  # where readers of a dropped node read now
        outputs = list(graph.outputs)
        kept: list[Node] = []
        for node in graph.nodes:
            inputs = tuple(source.get(name, name) for name in node.inputs)
            if _does_nothing(node) and self._can_go(graph, node.name, inputs[0], outputs):
                source[node.name] = inputs[0]
                outputs = [inputs[0] if name == node.name else name for name in outputs]
            else:
                kept.append(replace(node, inputs=inputs))
        alive = {node.name for node in without_dead_nodes(tuple(kept), outputs)}
        nodes = tuple(node for node in kept if node.name in alive or isinstance(node.op, Input))
        return graph.rebuilt(nodes, tuple(outputs))

    @staticmethod
    def _can_go(graph: Graph, name: str, read: str, outputs: list[str]) -> bool:
        return name not in outputs or not (isinstance(graph[read].op, Input) or read in outputs)


def _does_nothing(node: Node) -> bool:
    return isinstance(node.op, Identity) or (
        isinstance(node.op, ScalarAffine) and (node.op.scale, node.op.shift) == (1.0, 0.0)
    )
