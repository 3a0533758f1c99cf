"""A graph as a differentiable function in PyTorch."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as torch_functions

from mnv3c.graph.activation import Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Array, Graph, Node
from mnv3c.graph.ops import (
    Activate,
    Add,
    BatchNorm,
    ChannelAffine,
    Conv2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Identity,
    Input,
    Multiply,
    Op,
    activation_of,
)
from mnv3c.graph.shapes import window_extent

_RUNNING = ("mean", "variance")
# Up to so many pairs of an output and an input pixel, a depthwise convolution is faster pair by pair.
_FEW_PAIRS = 64

Tensors = Mapping[str, Any]


class TorchNetwork:
    """The function of a graph of one input and one output, batches in and batches out, in NCHW.

    `parameters` and `running` (the statistics of batch norms) are tensors by the names of the graph's weights.
    Raises UserError for ops that are not of a classifier.
    """

    def __init__(self, graph: Graph) -> None:
        for node in graph.nodes:
            if type(node.op) not in _FORWARD or getattr(node.op, "residual", None):
                raise UserError(f"graph '{graph.name}': node '{node.name}' ({node.op.kind}) cannot be trained")
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise UserError(f"graph '{graph.name}': only networks of one input and one output can be trained")
        self.graph = graph
        self.parameters: dict[str, Any] = {}
        self.running: dict[str, Any] = {}
        for node in graph.nodes:
            for role, value in graph.weights_of(node).items():
                tensor = torch.tensor(_to_torch(node.op, role, value))
                if isinstance(node.op, BatchNorm) and role in _RUNNING:
                    self.running[node.weight_name(role)] = tensor
                else:
                    self.parameters[node.weight_name(role)] = tensor.requires_grad_()

    def __call__(self, images: Any, momentum: float | None = None) -> Any:
        """(n, channels, height, width) to what the graph's output is, (n, classes) for a classifier.

        With a momentum, as in training, batch norms use the batch's statistics, which then weigh so much in the
        running ones.
        """
        values: dict[str, Any] = {}
        for node in self.graph.nodes:
            if isinstance(node.op, Input):
                values[node.name] = images
                continue
            held = {
                role: self._tensor(node.weight_name(role)) for role in node.op.weights(self.graph.input_types(node))
            }
            out = _FORWARD[type(node.op)](node.op, [values[name] for name in node.inputs], held, momentum)
            values[node.name] = out
        return values[self.graph.outputs[0]]

    def _tensor(self, name: str) -> Any:
        return self.parameters[name] if name in self.parameters else self.running[name]

    def trained_graph(self) -> Graph:
        """The graph with the values that its parameters and statistics have now."""
        weights: dict[str, Array] = {}
        for node in self.graph.nodes:
            for role in node.op.weights(self.graph.input_types(node)):
                name = node.weight_name(role)
                tensor = self._tensor(name)
                weights[name] = _from_torch(node, role, tensor.detach().numpy())
        return self.graph.rebuilt(self.graph.nodes, weights=weights)


def _to_torch(op: Op, role: str, value: Array) -> Array:
    if role == "weight":
        value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
    return np.array(value, np.float32, order="C")


def _from_torch(node: Node, role: str, value: Array) -> Array:
    if role == "weight":
        value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
    return np.array(value, np.float32, order="C")


def _activated(op: Op, x: Any) -> Any:
    activation = activation_of(op)
    return x if activation is None else _activation(activation, x)


def _activation(activation: Activation, x: Any) -> Any:
    match activation.kind:
        case "relu":
            return torch_functions.relu(x)
        case "relu6":
            return torch_functions.relu6(x)
        case "clip":
            return torch.clamp(x, activation.low, activation.high)
        case "hswish":
            return torch_functions.hardswish(x)
        case "hsigmoid":
            return torch.clamp(activation.slope * x + activation.offset, 0.0, 1.0)
        case "sigmoid":
            return torch.sigmoid(x)


def _conv2d(op: Conv2d, inputs: list[Any], held: Tensors, momentum: float | None) -> Any:
    (x,) = inputs
    weight, bias = held["weight"], held.get("bias")
    if op.depthwise(x.shape[1]) and _pairs(op, x) <= _FEW_PAIRS:
        y = _small_depthwise(op, x, weight, bias)
    elif x.shape[2:] == weight.shape[2:] == _extent(op, x) == (1, 1) and op.groups == 1:
        y = torch_functions.linear(x.flatten(1), weight.flatten(1), bias)[:, :, None, None]
    else:
        top, left, bottom, right = op.padding
        padding: tuple[int, int] = (top, left)
        if (top, left) != (bottom, right):
            x, padding = torch_functions.pad(x, (left, right, top, bottom)), (0, 0)
        y = torch_functions.conv2d(x, weight, bias, op.stride, padding, op.dilation, op.groups)
    return _activated(op, y)


def _small_depthwise(op: Conv2d, x: Any, weight: Any, bias: Any) -> Any:
    """A depthwise convolution as a weight for each pair of an output pixel and an input pixel."""
    images, channels, height, width = x.shape
    out = _extent(op, x)
    reach = [_taps(op, axis, out[axis], x.shape[axis + 2]) for axis in (0, 1)]
    joins = torch.from_numpy(np.einsum("kpq,lrs->prqskl", *reach).reshape(math.prod(out), height * width, -1))
    weights = joins @ weight.flatten(1).T
    pixels = x.permute(0, 2, 3, 1).reshape(images, 1, height * width, channels)
    y = (pixels * weights).sum(2)
    y = y if bias is None else y + bias
    return y.reshape(images, *out, channels).permute(0, 3, 1, 2)


def _extent(op: Conv2d, x: Any) -> tuple[int, int]:
    return window_extent((x.shape[2], x.shape[3]), op.kernel, op.stride, op.padding, op.dilation)


def _pairs(op: Conv2d, x: Any) -> int:
    """How many pairs there are of an output pixel and an input pixel."""
    return math.prod(_extent(op, x)) * int(x.shape[2] * x.shape[3])


def _taps(op: Conv2d, axis: int, outputs: int, inputs: int) -> Array:
    """(taps, outputs, inputs) of one axis: 1 where an output reads an input through a tap."""
    tap, out, read = np.ogrid[: op.kernel[axis], :outputs, :inputs]
    reads = out * op.stride[axis] - op.padding[axis] + tap * op.dilation[axis] == read
    return np.asarray(reads, np.float32)


def _batch_norm(op: BatchNorm, inputs: list[Any], held: Tensors, momentum: float | None) -> Any:
    training, weight = momentum is not None, momentum or 0.0
    return torch_functions.batch_norm(
        inputs[0], held["mean"], held["variance"], held["gamma"], held["beta"], training, weight, op.epsilon
    )


def _channel_affine(op: ChannelAffine, inputs: list[Any], held: Tensors, momentum: float | None) -> Any:
    x, extents = inputs[0], (1, -1, *(1 for _ in inputs[0].shape[2:]))
    scaled = x * held["scale"].reshape(extents) if op.scale else x
    return scaled + held["shift"].reshape(extents) if op.shift else scaled


_FORWARD: Mapping[type[Op], Callable[[Any, list[Any], Tensors, float | None], Any]] = {
    Input: lambda op, inputs, held, momentum: inputs[0],
    Conv2d: _conv2d,
    Dense: lambda op, inputs, held, momentum: _activated(
        op, torch_functions.linear(inputs[0], held["weight"], held.get("bias"))
    ),
    BatchNorm: _batch_norm,
    ChannelAffine: _channel_affine,
    Activate: lambda op, inputs, held, momentum: _activated(op, inputs[0]),
    Add: lambda op, inputs, held, momentum: _activated(op, inputs[0] + inputs[1]),
    Multiply: lambda op, inputs, held, momentum: _activated(op, inputs[0] * inputs[1]),
    GlobalAveragePool: lambda op, inputs, held, momentum: inputs[0].mean((2, 3), keepdim=True),
    Flatten: lambda op, inputs, held, momentum: inputs[0].flatten(1),
    Identity: lambda op, inputs, held, momentum: inputs[0],
}
