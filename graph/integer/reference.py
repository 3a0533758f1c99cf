"""A quantised network in plain NumPy integers: the oracle that the edge-TPU emulator is held against."""

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import Int8Array
from mnv3c.graph.integer.arithmetic import evaluate
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.graph.ops import Input


def run(network: IntegerNetwork, x: Int8Array) -> dict[str, Int8Array]:
    """The network's outputs by name. Raises as `run_all` does."""
    values = run_all(network, x)
    return {name: values[name] for name in network.graph.outputs}


def run_all(network: IntegerNetwork, x: Int8Array) -> dict[str, Int8Array]:
    """Every step's tensor in graph order, under `IntegerLayer.step_names`; inputs under their nodes' names.

    `x` is the graph's only input, int8 in the IR's order. Raises UserError when the graph has several inputs or `x`
    has another shape or dtype.
    """
    values: dict[str, Int8Array] = {}
    for node in network.graph.nodes:
        if isinstance(node.op, Input):
            values[node.name] = _checked(network, x)
            continue
        layer = network.layers[node.name]
        value = values[node.inputs[0]]
        other = values[node.inputs[1]] if len(node.inputs) > 1 else None
        for name, step in zip(layer.step_names(), layer.steps, strict=True):
            value = values[name] = evaluate(step, value, other, network.rounding)
    return values


def _checked(network: IntegerNetwork, x: Int8Array) -> Int8Array:
    graph = network.graph
    if len(graph.inputs) != 1:
        names = ", ".join(node.name for node in graph.inputs)
        raise UserError(f"graph '{graph.name}' has {len(graph.inputs)} inputs ({names}); only one can be given")
    name = graph.inputs[0].name
    if x.shape != graph.type_of(name).shape or x.dtype != np.int8:
        raise UserError(f"input '{name}' is {x.dtype} {x.shape}, needs int8 {graph.type_of(name).shape}")
    return x
