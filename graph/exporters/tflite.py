"""Quantised networks as `.tflite` files."""

from pathlib import Path

from mnv3c.graph.activation import Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.exporters.tflite_model import ModelBuilder
from mnv3c.graph.exporters.tflite_operators import emit
from mnv3c.graph.exporters.tflite_site import Site
from mnv3c.graph.integer.network import IntegerLayer, IntegerNetwork
from mnv3c.graph.integer.ops import ElementProduct, Product, Step, Sum
from mnv3c.graph.ir import Node
from mnv3c.graph.ops import Input, activation_of
from mnv3c.graph.tensor import TensorType
from mnv3c.graph.whole_file import whole_file


def export_tflite(network: IntegerNetwork, path: Path) -> None:
    """Writes the network as a TFLite model with int8 inputs and outputs, which computes the same integers.

    One operator for each step, whose output tensor is called as in `IntegerLayer.step_names`; a hard sigmoid takes two
    or three, their tensors in between called `NODE.STEP.inner0`, ..., and padding that TFLite's SAME is not takes a PAD
    before, its tensor called `NODE.STEP.padded`. Inputs and outputs stand in the graph's order, channels last. The same
    network gives the same bytes. The file says nothing about rounding: that is the interpreter's affair, and LiteRT's
    reference kernels do `gemmlowp_double`.

    Raises UserError naming the layer that TFLite cannot express, and MissingError where the disk refuses.
    """
    path = Path(path)
    data = tflite_bytes(network)
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def tflite_bytes(network: IntegerNetwork) -> bytes:
    """What `export_tflite` writes."""
    graph, builder = network.graph, ModelBuilder(network.graph.name)
    tensors: dict[str, int] = {}
    for node in graph.nodes:
        if isinstance(node.op, Input):
            tensors[node.name] = builder.tensor(node.name, graph.type_of(node.name).shape, network.inputs[node.name])
        else:
            tensors[node.name] = _layer(network, network.layers[node.name], tensors, builder)
    return builder.finish([tensors[node.name] for node in graph.inputs], [tensors[name] for name in graph.outputs])


def _layer(network: IntegerNetwork, layer: IntegerLayer, tensors: dict[str, int], builder: ModelBuilder) -> int:
    """Index of the layer's output tensor."""
    graph, node = network.graph, layer.node
    if not layer.steps:
        raise UserError(f"cannot export layer '{node.name}' to TFLite: it has no steps")
    output = graph.type_of(node.name)
    given = tuple(zip((tensors[name] for name in node.inputs), graph.input_types(node), strict=True))
    current: tuple[int, TensorType] = given[0]
    for index, (name, step) in enumerate(zip(layer.step_names(), layer.steps, strict=True)):
        read = (current, given[1]) if isinstance(step, Sum | ElementProduct) else (current,)
        indices, types = zip(*read, strict=True)
        prefix = f"{node.name}.{index}"
        site = Site(builder, name, prefix, indices, types, output, _carried(node, step), network.rounding)
        current = emit(step, site), output
    return current[0]


def _carried(node: Node, step: Step) -> Activation | None:
    """The layer's activation, unless a residual keeps it from this step."""
    order = getattr(node.op, "residual", None)
    elsewhere = (isinstance(step, Sum) and order == "after_activation") or (
        isinstance(step, Product) and order == "before_activation"
    )
    return None if elsewhere else activation_of(node.op)
