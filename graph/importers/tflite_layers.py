"""The operators of a TFLite file as the layers of a fused graph."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mnv3c.graph.importers.tflite_scope import Atom
from mnv3c.graph.integer.network import IntegerLayer
from mnv3c.graph.integer.ops import Product, Step, Sum
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Add, Input
from mnv3c.graph.passes.fuse_layers import FuseLayers


def fused_layers(graph: Graph, atoms: Mapping[str, Atom]) -> tuple[Graph, dict[str, IntegerLayer]]:
    """The graph after `FuseLayers`, and its layers: each a chain of the operators that went into it.

    A layer is called like its last operator, so that exporting it again gives the same names.
    """
    fused = FuseLayers().run(graph)
    chains = {node.name: _chain(graph, fused, node) for node in fused.nodes}
    names = {name: chain[-1].name for name, chain in chains.items()}
    nodes = [Node(names[node.name], node.op, tuple(names[x] for x in node.inputs)) for node in fused.nodes]
    weights = {
        f"{names[node.name]}.{role}": fused.weights[node.weight_name(role)]
        for node in fused.nodes
        for role in node.op.weights(fused.input_types(node))
    }
    renamed = replace(fused, nodes=tuple(nodes), outputs=tuple(names[x] for x in fused.outputs), weights=weights)
    layers = {
        names[name]: IntegerLayer(renamed[names[name]], _steps(renamed[names[name]], chain, atoms))
        for name, chain in chains.items()
        if not isinstance(chain[0].op, Input)
    }
    return renamed, layers


def _chain(graph: Graph, fused: Graph, node: Node) -> tuple[Node, ...]:
    """The nodes of the graph that became this fused one, in order."""
    chain = [graph[node.name]]
    summed = getattr(node.op, "residual", None) is None
    while True:
        readers = graph.consumers(chain[-1].name)
        if len(readers) != 1 or readers[0].name in fused:
            return tuple(chain)
        if isinstance(readers[0].op, Add):
            # The sum went into the convolution on its other side.
            if summed:
                return tuple(chain)
            summed = True
        chain.append(readers[0])


def _steps(layer: Node, chain: Sequence[Node], atoms: Mapping[str, Atom]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for position, node in enumerate(chain):
        step = atoms[node.name].step
        if isinstance(step, Product):
            assert isinstance(layer.op, type(step.op))
            step = replace(step, op=layer.op)
        if isinstance(step, Sum) and position > 0 and node.inputs[0] != chain[position - 1].name:
            step = replace(step, input=step.other, other=step.input)
        steps.append(step)
    return tuple(steps)
