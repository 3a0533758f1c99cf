"""A graph around one layer, in which it reads and writes as it would in a network."""

from mnv3c.graph.activation import RELU
from mnv3c.graph.errors import UserError
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.ops import Activate, Conv2d, GlobalAveragePool, Input, Resize
from mnv3c.graph.tensor import TensorType

LAYER = "layer"
# Maps of so few channels are images: the layer reads the caller's tensor, as a network's first layer does.
_IMAGE_CHANNELS = 4


def layer_graph(key: LayerKey, seed: int = 0) -> Graph:
    """A network, with weights, whose node `LAYER` does the work of `key`.

    A node before it stands for the previous layer: it leaves the input as the target stores activations, and in the
    cache. A second input that differs in shape (a residual, a gate) is made from the first: its mean, a 1x1
    convolution to the channels, and nearest resampling to the size.

    Raises UserError where the layer has more than two inputs, or one that is not float32.
    """
    if len(key.inputs) > 2 or any(given.dtype != "float32" for given in key.inputs):
        raise UserError(f"layer '{key}' cannot be measured alone: one or two float32 inputs can")
    first = key.inputs[0]
    nodes = [Node("input", Input(first.shape))]
    if len(first.shape) != 4 or first.channels > _IMAGE_CHANNELS:
        nodes.append(Node("before", Activate(RELU), ("input",)))
    names = [nodes[-1].name]
    if len(key.inputs) == 2:
        nodes += _second_input(first, key.inputs[1], names[0])
        names.append(nodes[-1].name)
    nodes.append(Node(LAYER, key.op, tuple(names)))
    return initialise(Graph("single_layer", tuple(nodes), (LAYER,)), seed)


def _second_input(first: TensorType, wanted: TensorType, source: str) -> list[Node]:
    if wanted == first:
        return [Node("beside", Activate(RELU), (source,))]
    if len(first.shape) != 4 or len(wanted.shape) != 4:
        raise UserError(f"a layer of inputs {first} and {wanted} cannot be measured alone")
    nodes = [
        Node("mean", GlobalAveragePool(), (source,)),
        Node("beside", Conv2d(wanted.channels, bias=True), ("mean",)),
    ]
    if wanted.spatial != (1, 1):
        nodes.append(Node("spread", Resize(wanted.spatial, "nearest"), ("beside",)))
    return nodes
