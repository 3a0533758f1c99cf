"""Checks that a graph holds together, run after every pass."""

import numpy as np

from mnv3c.graph.ir import Graph, GraphError


def verify(graph: Graph) -> Graph:
    """The graph itself, if it is whole; shapes and names were checked when it was made.

    Checks that every node leads to an output, and that weights, where there are any, have the shapes and dtype that
    their nodes ask for and finite values. Raises GraphError naming the node.
    """
    reachable = _reachable(graph)
    for node in graph.nodes:
        if node.name not in reachable:
            raise GraphError(f"node '{node.name}' ({node.op.kind}) leads to no output")
    if graph.weights:
        _verify_weights(graph)
    return graph


def _reachable(graph: Graph) -> set[str]:
    reachable: set[str] = set()
    stack = list(graph.outputs)
    while stack:
        name = stack.pop()
        if name not in reachable:
            reachable.add(name)
            stack.extend(graph[name].inputs)
    return reachable


def _verify_weights(graph: Graph) -> None:
    for node in graph.nodes:
        values = graph.weights_of(node)
        for role, shape in node.op.weights(graph.input_types(node)).items():
            value = values[role]
            if value.shape != shape:
                raise GraphError(f"node '{node.name}': weight '{role}' has shape {value.shape}, needs {shape}")
            if value.dtype != np.float32:
                raise GraphError(f"node '{node.name}': weight '{role}' is {value.dtype}, needs float32")
            if not np.isfinite(value).all():
                raise GraphError(f"node '{node.name}': weight '{role}' is not finite")
