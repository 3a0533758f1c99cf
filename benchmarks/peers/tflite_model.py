"""Writes layers as a float32 .tflite file, with the schema that ai-edge-litert ships."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnv3c.graph.activation import HSIGMOID, RELU6, Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import (
    Activate,
    Add,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Input,
    Multiply,
    Padding,
    Pool2d,
    Resize,
    Softmax,
    activation_of,
)

_FUSED = {"relu": "RELU", "relu6": "RELU6"}
_TRANSPOSED_WITH_BIAS = 3  # the version of TRANSPOSE_CONV that has one
_SCHEMA_VERSION = 3


def write_tflite(graph: Graph, path: Path) -> Path:
    """Write the graph with its weights in NHWC. Raises UserError for an op without a rule."""
    writer = _Writer(graph)
    for node in graph.nodes:
        writer.values[node.name] = writer.add(node)
    path.write_bytes(writer.finish())
    return path


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values: dict[str, int] = {}
        self._schema = import_module("ai_edge_litert.schema_py_generated")
        self._buffers = [self._schema.BufferT()]  # the first one must be empty
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[tuple[int, int]] = []

    def finish(self) -> bytes:
        schema = self._schema
        subgraph = schema.SubGraphT(name=self.graph.name, tensors=self._tensors, operators=self._operators)
        subgraph.inputs = [self.values[node.name] for node in self.graph.inputs]
        subgraph.outputs = [self.values[name] for name in self.graph.outputs]
        codes = [
            # Readers take the larger one; the old field has one byte.
            schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version)
            for code, version in self._codes
        ]
        model = schema.ModelT(version=_SCHEMA_VERSION, operatorCodes=codes, subgraphs=[subgraph], buffers=self._buffers)
        builder = import_module("flatbuffers").Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def add(self, node: Node) -> int:
        inputs = [self.values[name] for name in node.inputs]
        shape = self.graph.type_of(node.name).shape
        match node.op:
            case Input():
                return self._tensor(shape)
            case Conv2d() as op:
                return self._convolution(node, op, inputs, shape)
            case ConvTranspose2d() as op if not any(op.padding):
                target = self._constant(np.array(shape, np.int32))
                weight, bias = self._weights(node, (3, 0, 1, 2))
                settings = {"strideH": op.stride[0], "strideW": op.stride[1], "padding": self._schema.Padding.VALID}
                operands = [target, weight, inputs[0], bias]
                value = self._emit("TRANSPOSE_CONV", operands, shape, "TransposeConvOptions", **settings)
                return self._activated(value, shape, op.activation) if op.activation else value
            case Dense() as op:
                operands = [*inputs, *self._weights(node, (1, 0))]
                return self._activating("FULLY_CONNECTED", operands, shape, "FullyConnectedOptions", op.activation)
            case Activate() as op:
                return self._activated(inputs[0], shape, op.activation)
            case Add() | Multiply() as op:
                kind = ("ADD", "AddOptions") if isinstance(op, Add) else ("MUL", "MulOptions")
                return self._activating(kind[0], inputs, shape, kind[1], activation_of(op))
        return self._simple(node, inputs, shape)

    def _simple(self, node: Node, inputs: list[int], shape: tuple[int, ...]) -> int:
        match node.op:
            case GlobalAveragePool():
                axes = self._constant(np.array([1, 2], np.int32))
                return self._emit("MEAN", [*inputs, axes], shape, "ReducerOptions", keepDims=True)
            case Flatten():
                target = self._constant(np.array(shape, np.int32))
                return self._emit("RESHAPE", [*inputs, target], shape, "ReshapeOptions", newShape=list(shape))
            case Concat():
                return self._emit("CONCATENATION", inputs, shape, "ConcatenationOptions", axis=len(shape) - 1)
            case Pool2d() as op if not any(op.padding):
                window = dict(zip(("filterHeight", "filterWidth"), op.kernel, strict=True))
                window |= {"strideH": op.stride[0], "strideW": op.stride[1], "padding": self._schema.Padding.VALID}
                code = "MAX_POOL_2D" if op.mode == "max" else "AVERAGE_POOL_2D"
                return self._emit(code, inputs, shape, "Pool2DOptions", **window)
            case Resize() as op if op.mode == "nearest" and op.coordinates == "asymmetric":
                size = self._constant(np.array(op.size, np.int32))
                options = "ResizeNearestNeighborOptions"
                return self._emit("RESIZE_NEAREST_NEIGHBOR", [*inputs, size], shape, options)
            case Softmax():
                return self._emit("SOFTMAX", inputs, shape, "SoftmaxOptions", beta=1.0)
        raise UserError(f"no .tflite is written for {node.op.kind} (node '{node.name}')")

    def _convolution(self, node: Node, op: Conv2d, inputs: list[int], shape: tuple[int, ...]) -> int:
        source = self.graph.input_types(node)[0].shape
        x, padding = self._padded(inputs[0], op, source, shape)
        settings: dict[str, Any] = {"padding": padding, "strideH": op.stride[0], "strideW": op.stride[1]}
        settings |= {"dilationHFactor": op.dilation[0], "dilationWFactor": op.dilation[1]}
        activation = None if op.residual == "before_activation" else op.activation
        if op.depthwise(source[3]):
            operands = [x, *self._weights(node, (2, 0, 1, 3))]
            code, options = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
            settings["depthMultiplier"] = 1
        else:
            operands = [x, *self._weights(node, (3, 0, 1, 2))]
            code, options = "CONV_2D", "Conv2DOptions"
        value = self._activating(code, operands, shape, options, activation, **settings)
        if op.residual is None:
            return value
        after = op.activation if op.residual == "before_activation" else None
        return self._activating("ADD", [value, inputs[1]], shape, "AddOptions", after)

    def _padded(self, x: int, op: Conv2d, source: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, int]:
        """The input and a padding scheme; a Pad before it where neither SAME nor VALID says what the op says."""
        if op.padding == (0, 0, 0, 0):
            return x, self._schema.Padding.VALID
        if op.padding == _same_padding(op, source[1:3], shape[1:3]):
            return x, self._schema.Padding.SAME
        top, left, bottom, right = op.padding
        amounts = self._constant(np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32))
        padded = (source[0], source[1] + top + bottom, source[2] + left + right, source[3])
        return self._emit("PAD", [x, amounts], padded, "PadOptions"), self._schema.Padding.VALID

    def _weights(self, node: Node, order: tuple[int, ...]) -> list[int]:
        weights = self.graph.weights_of(node)
        bias = weights.get("bias", np.zeros(weights["weight"].shape[-1], np.float32))
        return [self._constant(weights["weight"].transpose(order)), self._constant(bias)]

    def _activating(
        self,
        code: str,
        inputs: list[int],
        shape: tuple[int, ...],
        options: str,
        activation: Activation | None,
        **settings: Any,
    ) -> int:
        fused = _FUSED.get(activation.kind, "NONE") if activation else "NONE"
        settings["fusedActivationFunction"] = getattr(self._schema.ActivationFunctionType, fused)
        value = self._emit(code, inputs, shape, options, **settings)
        return self._activated(value, shape, activation) if activation and fused == "NONE" else value

    def _activated(self, value: int, shape: tuple[int, ...], activation: Activation) -> int:
        match activation.kind:
            case "relu" | "relu6":
                return self._emit(_FUSED[activation.kind], [value], shape)
            case "hswish":
                return self._emit("HARD_SWISH", [value], shape, "HardSwishOptions")
            case "sigmoid":
                return self._emit("LOGISTIC", [value], shape)
            case "hsigmoid":
                return self._hard_sigmoid(value, shape, activation)
        raise UserError(f"no .tflite is written for the activation {activation}")

    def _hard_sigmoid(self, value: int, shape: tuple[int, ...], activation: Activation) -> int:
        # As Keras writes it: relu6(x + 3) / 6.
        slope, offset, sixth = (
            self._constant(np.array(number, np.float32))
            for number in (6.0 * activation.slope, 6.0 * activation.offset, 1.0 / 6.0)
        )
        if activation.slope != HSIGMOID.slope:
            value = self._activating("MUL", [value, slope], shape, "MulOptions", None)
        clipped = self._activating("ADD", [value, offset], shape, "AddOptions", RELU6)
        return self._activating("MUL", [clipped, sixth], shape, "MulOptions", None)

    def _emit(self, code: str, inputs: list[int], shape: tuple[int, ...], options: str = "", **settings: Any) -> int:
        schema = self._schema
        number = getattr(schema.BuiltinOperator, code)
        entry = (number, _TRANSPOSED_WITH_BIAS if code == "TRANSPOSE_CONV" else 1)
        if entry not in self._codes:
            self._codes.append(entry)
        output = self._tensor(shape)
        operator = schema.OperatorT(opcodeIndex=self._codes.index(entry), inputs=inputs, outputs=[output])
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, f"{options}T")(**settings)
        self._operators.append(operator)
        return output

    def _constant(self, values: npt.NDArray[Any]) -> int:
        dense = np.array(values, order="C")
        self._buffers.append(self._schema.BufferT(data=np.frombuffer(dense.tobytes(), np.uint8)))
        return self._tensor(dense.shape, len(self._buffers) - 1, dense.dtype == np.int32)

    def _tensor(self, shape: tuple[int, ...], buffer: int = 0, integers: bool = False) -> int:
        schema = self._schema
        dtype = schema.TensorType.INT32 if integers else schema.TensorType.FLOAT32
        name = f"t{len(self._tensors)}"
        self._tensors.append(schema.TensorT(name=name, shape=list(shape), type=dtype, buffer=buffer))
        return len(self._tensors) - 1


def _same_padding(op: Conv2d, source: tuple[int, ...], out: tuple[int, ...]) -> Padding:
    """TensorFlow's SAME: as little as it takes, the odd one at the end; (-1, ...) where SAME gives another extent."""
    before: list[int] = []
    after: list[int] = []
    for extent, result, kernel, stride, dilation in zip(source, out, op.kernel, op.stride, op.dilation, strict=True):
        if result != -(-extent // stride):
            return (-1, -1, -1, -1)
        total = max((result - 1) * stride + (kernel - 1) * dilation + 1 - extent, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return before[0], before[1], after[0], after[1]
