"""From the fused graph to the jobs of an accelerator.

| op                                  | job                                                                            |
|-------------------------------------|--------------------------------------------------------------------------------|
| convolution, dense                  | a product; one of a single filter per channel is `depthwise`                   |
| transposed convolution              | one product for all stride x stride phases: an output of (phases * channels)   |
|                                     | at every position, that its writing out spreads in space                       |
| everything else but Flatten, Identity | vector work                                                                  |

Vector operations per element (`passes`): one for each table (h-swish, h-sigmoid, sigmoid; bounds such as ReLU's belong
to requantisation), sum, product, affine step or copied element; a window's taps for a pool; 4 for a bilinear sample
and for softmax (maximum, table, sum, division).
"""

from math import prod

from mnv3c.graph.activation import Activation
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.layer import layers
from mnv3c.graph.ops import (
    Add,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Identity,
    Multiply,
    Op,
    Pool2d,
    Resize,
    Softmax,
    activation_of,
)
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.edgetpu.work import Job, Shape, Window

_TABLES = ("hswish", "hsigmoid", "sigmoid")
_BIAS_BYTES = 4


def jobs_of(graph: Graph) -> tuple[Job, ...]:
    """The jobs of a fused graph, in graph order. Input, Flatten and Identity are none: others read what those read."""
    return tuple(_job(graph, node) for node in layers(graph))


def outputs_of(graph: Graph) -> tuple[str, ...]:
    """The names of the jobs (or inputs) whose tensors are the graph's outputs, in order."""
    return tuple(_source(graph, name) for name in graph.outputs)


def _source(graph: Graph, name: str) -> str:
    node = graph[name]
    return _source(graph, node.inputs[0]) if isinstance(node.op, Flatten | Identity) else name


def _shape(tensor: TensorType) -> Shape:
    if len(tensor.shape) == 4:
        batch, height, width, channels = tensor.shape
        return (batch, height, width, channels)
    return (prod(tensor.shape[:-1]), 1, 1, tensor.shape[-1])


def _table_passes(activation: Activation | None) -> int:
    return int(activation is not None and activation.kind in _TABLES)


def _job(graph: Graph, node: Node) -> Job:
    types, op = graph.input_types(node), node.op
    names = tuple(_source(graph, name) for name in node.inputs)
    shapes = tuple(map(_shape, types))
    output, window, groups = _shape(graph.type_of(node.name)), Window(), 1
    kind, passes, whole = "vector", _vector_passes(op), False
    if isinstance(op, Conv2d):
        window, groups = Window(op.kernel, op.stride, op.padding, op.dilation), op.groups
        kind = "depthwise" if op.depthwise(shapes[0][3]) else "product"
        passes = _table_passes(op.activation) + int(op.residual is not None)
    elif isinstance(op, ConvTranspose2d):
        kind, passes = "product", _table_passes(op.activation)
        output, window = _phases(op, shapes[0], output)
    elif isinstance(op, Dense):
        kind, passes = "product", _table_passes(op.activation)
    elif isinstance(op, Pool2d):
        window = Window(op.kernel, op.stride, op.padding)
    elif isinstance(op, GlobalAveragePool):
        whole = True
    return Job(
        name=node.name,
        kind=kind,  # type: ignore[arg-type]
        op=op,
        input=names[0],
        input_shape=shapes[0],
        output_shape=output,
        window=window,
        groups=groups,
        passes=passes,
        second=names[1] if len(names) > 1 else None,
        second_shape=shapes[1] if len(names) > 1 else None,
        further=tuple(zip(names[2:], shapes[2:], strict=True)),
        reads_whole=whole,
        weight_bytes=_weight_bytes(op, types),
        macs=op.macs(types),
    )


def _phases(op: ConvTranspose2d, read: Shape, written: Shape) -> tuple[Shape, Window]:
    """Every phase of the output is a convolution of stride 1 with its share of the taps."""
    taps = (-(-op.kernel[0] // op.stride[0]), -(-op.kernel[1] // op.stride[1]))
    extent = (-(-written[1] // op.stride[0]), -(-written[2] // op.stride[1]))
    padding = (taps[0] - 1, taps[1] - 1, extent[0] - read[1], extent[1] - read[2])
    shape = (written[0], *extent, op.stride[0] * op.stride[1] * written[3])
    return shape, Window(taps, padding=(padding[0], padding[1], max(0, padding[2]), max(0, padding[3])))


def _vector_passes(op: Op) -> int:
    if isinstance(op, Pool2d):
        return op.kernel[0] * op.kernel[1]
    if isinstance(op, Resize):
        return 4 if op.mode == "bilinear" else 1
    if isinstance(op, Softmax):
        return 4
    if isinstance(op, Add | Multiply | Concat | GlobalAveragePool):
        return 1 + _table_passes(activation_of(op))
    return 1


def _weight_bytes(op: Op, types: tuple[TensorType, ...]) -> int:
    """One byte a weight, four a bias; a channel's scale or shift of vector work is an int32 as well.

    A product without a bias gets one in integers: the zero point times the sum of its weights.
    """
    shapes = op.weights(types)
    stored = sum(prod(shape) * (1 if role == "weight" else _BIAS_BYTES) for role, shape in shapes.items())
    return stored + (_BIAS_BYTES * shapes["weight"][-1] if "weight" in shapes and "bias" not in shapes else 0)
