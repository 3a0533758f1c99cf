"""Writes IR graphs as ONNX files, so that onnxruntime can judge what the IR computes.

The file takes and gives tensors in the IR's own order whatever the graph's layouts: NHWC at the border, by Transpose,
and NCHW inside, as ONNX wants it.
"""

from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from mnv3c.graph.activation import Activation
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import (
    Activate,
    Add,
    BatchNorm,
    ChannelAffine,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Identity,
    Input,
    Multiply,
    Op,
    Pool2d,
    Resize,
    ScalarAffine,
    Softmax,
    activation_of,
)

Array = npt.NDArray[np.float32]


def to_onnx(graph: Graph, path: Path, opset: int = 17) -> Path:
    """Writes the graph with its weights; every op of the IR, fused or not. Returns the path."""
    writer = _Writer(graph)
    for node in graph.nodes:
        writer.add(node.op, node)
    outputs = [writer.add_output(name) for name in graph.outputs]
    inputs = [_value_info(graph, node.name) for node in graph.inputs]
    body = helper.make_graph(writer.nodes, graph.name, inputs, outputs, writer.initializers)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


def run_onnx(path: Path, x: Array) -> dict[str, Array]:
    """The outputs of a model with one input, by name, from onnxruntime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: x}), strict=True))


def _value_info(graph: Graph, name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, graph.type_of(name).shape)


class _Writer:
    """Collects ONNX nodes. The tensor of IR node N is `N/inner` inside the file, channels second."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._fresh = 0

    def add_output(self, name: str) -> onnx.ValueInfoProto:
        if len(self.graph.type_of(name).shape) == 4:
            self._emit("Transpose", [_inner(name)], name, perm=[0, 2, 3, 1])
        else:
            self._emit("Identity", [_inner(name)], name)
        return _value_info(self.graph, name)

    def _emit(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op_type, inputs, [output], **attributes))

    def _step(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        self._fresh += 1
        self._emit(op_type, inputs, f"step/{self._fresh}", **attributes)
        return f"step/{self._fresh}"

    def _constant(self, value: npt.ArrayLike, dtype: type = np.float32) -> str:
        self._fresh += 1
        # Not ascontiguousarray, which turns a scalar into a vector.
        array: npt.NDArray[Any] = np.array(value, dtype, order="C")
        self.initializers.append(numpy_helper.from_array(array, f"constant/{self._fresh}"))
        return f"constant/{self._fresh}"

    def _weights(self, node: Node) -> dict[str, Array]:
        return self.graph.weights_of(node)

    def _finish(self, node: Node, value: str, activation: Activation | None) -> None:
        value = self._activated(value, activation)
        self._emit("Identity", [value], _inner(node.name))

    def _activated(self, value: str, activation: Activation | None) -> str:
        if activation is None:
            return value
        match activation.kind:
            case "relu":
                return self._step("Relu", [value])
            case "relu6":
                return self._step("Clip", [value, self._constant(0.0), self._constant(6.0)])
            case "clip":
                return self._step("Clip", [value, self._constant(activation.low), self._constant(activation.high)])
            case "hswish":
                return self._step("HardSwish", [value])
            case "hsigmoid":
                return self._step("HardSigmoid", [value], alpha=activation.slope, beta=activation.offset)
            case "sigmoid":
                return self._step("Sigmoid", [value])

    def _per_channel(self, node: Node, values: Array) -> str:
        """A vector over the channels, shaped to broadcast against the node's first input."""
        rank = len(self.graph.type_of(node.inputs[0]).shape)
        return self._constant(values.reshape(1, -1, 1, 1) if rank == 4 else values.reshape(1, -1))

    @singledispatchmethod
    def add(self, op: Op, node: Node) -> None:
        raise TypeError(f"no ONNX for op '{op.kind}'")

    @add.register
    def _(self, op: Input, node: Node) -> None:
        if len(op.shape) == 4:
            self._emit("Transpose", [node.name], _inner(node.name), perm=[0, 3, 1, 2])
        else:
            self._emit("Identity", [node.name], _inner(node.name))

    @add.register
    def _(self, op: Conv2d, node: Node) -> None:
        weights = self._weights(node)
        operands = [_inner(node.inputs[0]), self._constant(weights["weight"].transpose(3, 2, 0, 1))]
        operands += [self._constant(weights["bias"])] if op.bias else []
        value = self._step(
            "Conv",
            operands,
            kernel_shape=op.kernel,
            strides=op.stride,
            pads=op.padding,
            dilations=op.dilation,
            group=op.groups,
        )
        if op.residual == "before_activation":
            value = self._step("Add", [value, _inner(node.inputs[1])])
        value = self._activated(value, op.activation)
        if op.residual == "after_activation":
            value = self._step("Add", [value, _inner(node.inputs[1])])
        self._finish(node, value, None)

    @add.register
    def _(self, op: ConvTranspose2d, node: Node) -> None:
        weights = self._weights(node)
        operands = [_inner(node.inputs[0]), self._constant(weights["weight"].transpose(2, 3, 0, 1))]
        operands += [self._constant(weights["bias"])] if op.bias else []
        value = self._step("ConvTranspose", operands, kernel_shape=op.kernel, strides=op.stride, pads=op.padding)
        self._finish(node, value, op.activation)

    @add.register
    def _(self, op: Dense, node: Node) -> None:
        weights = self._weights(node)
        operands = [_inner(node.inputs[0]), self._constant(weights["weight"])]
        operands += [self._constant(weights["bias"])] if op.bias else []
        self._finish(node, self._step("Gemm", operands), op.activation)

    @add.register
    def _(self, op: BatchNorm, node: Node) -> None:
        weights = self._weights(node)
        roles = [self._constant(weights[role]) for role in ("gamma", "beta", "mean", "variance")]
        value = self._step("BatchNormalization", [_inner(node.inputs[0]), *roles], epsilon=op.epsilon)
        self._finish(node, value, None)

    @add.register
    def _(self, op: ChannelAffine, node: Node) -> None:
        weights, value = self._weights(node), _inner(node.inputs[0])
        if op.scale:
            value = self._step("Mul", [value, self._per_channel(node, weights["scale"])])
        if op.shift:
            value = self._step("Add", [value, self._per_channel(node, weights["shift"])])
        self._finish(node, value, None)

    @add.register
    def _(self, op: ScalarAffine, node: Node) -> None:
        value = self._step("Mul", [_inner(node.inputs[0]), self._constant(op.scale)])
        self._finish(node, self._step("Add", [value, self._constant(op.shift)]), None)

    @add.register
    def _(self, op: Activate, node: Node) -> None:
        self._finish(node, _inner(node.inputs[0]), op.activation)

    @add.register(Add)
    @add.register(Multiply)
    def _(self, op: Op, node: Node) -> None:
        op_type = "Add" if isinstance(op, Add) else "Mul"
        self._finish(node, self._step(op_type, [_inner(name) for name in node.inputs]), activation_of(op))

    @add.register
    def _(self, op: GlobalAveragePool, node: Node) -> None:
        self._emit("GlobalAveragePool", [_inner(node.inputs[0])], _inner(node.name))

    @add.register
    def _(self, op: Pool2d, node: Node) -> None:
        window: dict[str, Any] = {"kernel_shape": op.kernel, "strides": op.stride, "pads": op.padding}
        if op.mode == "average":
            window["count_include_pad"] = int(op.count_padding)
        op_type = "MaxPool" if op.mode == "max" else "AveragePool"
        self._emit(op_type, [_inner(node.inputs[0])], _inner(node.name), **window)

    @add.register
    def _(self, op: Resize, node: Node) -> None:
        batch, *_, channels = self.graph.type_of(node.name).shape
        attributes: dict[str, Any] = {"coordinate_transformation_mode": op.coordinates}
        if op.mode == "nearest":
            floors = op.coordinates == "asymmetric"
            attributes |= {"mode": "nearest", "nearest_mode": "floor" if floors else "round_prefer_floor"}
        else:
            attributes |= {"mode": "linear"}
        sizes = self._constant([batch, channels, *op.size], np.int64)
        self._emit("Resize", [_inner(node.inputs[0]), "", "", sizes], _inner(node.name), **attributes)

    @add.register
    def _(self, op: Concat, node: Node) -> None:
        self._emit("Concat", [_inner(name) for name in node.inputs], _inner(node.name), axis=1)

    @add.register
    def _(self, op: Flatten, node: Node) -> None:
        self._emit("Flatten", [_inner(node.inputs[0])], _inner(node.name), axis=1)

    @add.register
    def _(self, op: Softmax, node: Node) -> None:
        self._emit("Softmax", [_inner(node.inputs[0])], _inner(node.name), axis=1)

    @add.register
    def _(self, op: Identity, node: Node) -> None:
        self._emit("Identity", [_inner(node.inputs[0])], _inner(node.name))


def _inner(name: str) -> str:
    return f"{name}/inner"
