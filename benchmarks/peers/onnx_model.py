"""Writes layers as the ONNX file that a user would have from a torch export: NCHW throughout, batch norms folded."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnv3c.graph.activation import Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import (
    Activate,
    Add,
    Concat,
    Conv2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Input,
    Multiply,
    Pool2d,
    Resize,
    Softmax,
    activation_of,
)

_OPSET, _IR_VERSION = 17, 8  # HardSwish needs 14; every runtime of the last years reads these


def write_onnx(graph: Graph, path: Path) -> Path:
    """Write the graph with its weights, rank-4 ports in NCHW. Raises UserError for an op without a rule."""
    writer = _Writer(graph)
    for node in graph.nodes:
        writer.values[node.name] = writer.add(node)
    onnx = import_module("onnx")
    ports = [[writer.port(node.name) for node in graph.inputs], [writer.port(name) for name in graph.outputs]]
    body = onnx.helper.make_graph(writer.nodes, graph.name, *ports, writer.constants)
    opset = onnx.helper.make_opsetid("", _OPSET)
    onnx.save(onnx.helper.make_model(body, opset_imports=[opset], ir_version=_IR_VERSION), str(path))
    return path


def fix_input_shape(source: Path, shape: tuple[int, ...], path: Path) -> Path:
    """Copy an ONNX file with its first input's shape made static, which spares the runtimes shape arithmetic."""
    onnx = import_module("onnx")
    model = onnx.load(str(source))
    constants = {constant.name for constant in model.graph.initializer}
    port = next(port for port in model.graph.input if port.name not in constants)
    dimensions = port.type.tensor_type.shape.dim
    for dimension, extent in zip(dimensions, shape, strict=True):
        dimension.dim_value = extent
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))
    return path


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values: dict[str, str] = {}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._onnx = import_module("onnx")

    def port(self, name: str) -> Any:
        shape = self.graph.type_of(name).shape
        shape = (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else shape
        return self._onnx.helper.make_tensor_value_info(self.values[name], self._onnx.TensorProto.FLOAT, shape)

    def add(self, node: Node) -> str:
        inputs = [self.values[name] for name in node.inputs]
        match node.op:
            case Input():
                return node.name
            case Conv2d() as op:
                return self._convolution(node, op, inputs)
            case Pool2d() as op:
                return self._pool(op, inputs)
            case Resize() as op:
                return self._resize(node, op, inputs)
            case Dense() as op:
                value = self._emit("Gemm", [*inputs, *self._weights(node, (1, 0))], transB=1)
                return self._activated(value, op.activation)
        return self._activated(self._simple(node, inputs), activation_of(node.op))

    def _simple(self, node: Node, inputs: list[str]) -> str:
        match node.op:
            case Activate():
                return inputs[0]
            case Add():
                return self._emit("Add", inputs)
            case Multiply():
                return self._emit("Mul", inputs)
            case GlobalAveragePool():
                return self._emit("GlobalAveragePool", inputs)
            case Concat():
                return self._emit("Concat", inputs, axis=1)
            case Flatten():
                return self._emit("Flatten", inputs, axis=1)
            case Softmax():
                return self._emit("Softmax", inputs, axis=1)
        raise UserError(f"node '{node.name}': no ONNX is written for {node.op.kind}; give the .onnx file itself")

    def _convolution(self, node: Node, op: Conv2d, inputs: list[str]) -> str:
        operands = [inputs[0], *self._weights(node, (3, 2, 0, 1))]
        window = {"kernel_shape": op.kernel, "strides": op.stride, "pads": op.padding, "dilations": op.dilation}
        value = self._emit("Conv", operands, group=op.groups, **window)
        if op.residual == "before_activation":
            value = self._emit("Add", [value, inputs[1]])
        value = self._activated(value, op.activation)
        return self._emit("Add", [value, inputs[1]]) if op.residual == "after_activation" else value

    def _pool(self, op: Pool2d, inputs: list[str]) -> str:
        window: dict[str, Any] = {"kernel_shape": op.kernel, "strides": op.stride, "pads": op.padding}
        if op.mode == "max":
            return self._emit("MaxPool", inputs, **window)
        return self._emit("AveragePool", inputs, count_include_pad=int(op.count_padding), **window)

    def _resize(self, node: Node, op: Resize, inputs: list[str]) -> str:
        batch, *_, channels = self.graph.type_of(node.name).shape
        sizes = self._constant(np.array([batch, channels, *op.size], np.int64))
        mode: dict[str, Any] = {"mode": "linear"}
        if op.mode == "nearest":
            rounding = "floor" if op.coordinates == "asymmetric" else "round_prefer_floor"
            mode = {"mode": "nearest", "nearest_mode": rounding}
        return self._emit("Resize", [inputs[0], "", "", sizes], coordinate_transformation_mode=op.coordinates, **mode)

    def _weights(self, node: Node, order: tuple[int, ...]) -> list[str]:
        weights = self.graph.weights_of(node)
        bias = [self._constant(weights["bias"])] if "bias" in weights else []
        return [self._constant(weights["weight"].transpose(order)), *bias]

    def _activated(self, value: str, activation: Activation | None) -> str:
        if activation is None:
            return value
        match activation.kind:
            case "relu":
                return self._emit("Relu", [value])
            case "relu6":
                return self._clip(value, 0.0, 6.0)
            case "clip":
                return self._clip(value, activation.low, activation.high)
            case "hswish":
                return self._emit("HardSwish", [value])
            case "hsigmoid":
                return self._emit("HardSigmoid", [value], alpha=activation.slope, beta=activation.offset)
            case "sigmoid":
                return self._emit("Sigmoid", [value])

    def _clip(self, value: str, low: float, high: float) -> str:
        limits = [self._constant(np.array(limit, np.float32)) for limit in (low, high)]
        return self._emit("Clip", [value, *limits])

    def _emit(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{op_type}_{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, values: npt.NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        # Not ascontiguousarray, which turns a scalar into a vector.
        self.constants.append(self._onnx.numpy_helper.from_array(np.array(values, order="C"), name))
        return name
