"""Layers of an onnxruntime profile, from the shapes that its events tell: NCHW, one image."""

from collections.abc import Sequence

from mnv3c.graph.activation import HSWISH, RELU, SIGMOID, Activation
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.ops import Activate, Add, Conv2d, Dense, GlobalAveragePool, Multiply, Op
from mnv3c.graph.shapes import ShapeError
from mnv3c.graph.tensor import TensorType

Shape = tuple[int, ...]
_ACTIVATIONS: tuple[tuple[str, Activation], ...] = (("Relu", RELU), ("HardSwish", HSWISH), ("Sigmoid", SIGMOID))


def event_key(op_name: str, inputs: Sequence[Shape], output: Shape) -> LayerKey | None:
    """The key of a node's layer; None where the shapes do not tell it.

    Stride and padding, which a profile does not tell, are the ones that give the output its size, padding as in
    SAME. An activation that onnxruntime has fused into a convolution is not told either.
    """
    try:
        key = _key(op_name, inputs, output)
        return key if key is not None and _nhwc(output) == key.output else None
    except (ValueError, IndexError, ZeroDivisionError):
        return None


def _key(op_name: str, inputs: Sequence[Shape], output: Shape) -> LayerKey | None:
    match op_name:
        case "Conv" | "FusedConv":
            return _convolution(inputs, output)
        case "Gemm" | "FusedGemm" | "MatMul":
            biased = (output[-1],) in inputs[1:]
            return LayerKey(Dense(output[-1], bias=biased), (_nhwc(inputs[0]),))
        case "GlobalAveragePool":
            return LayerKey(GlobalAveragePool(), (_nhwc(inputs[0]),))
        case "Add" | "Mul":
            op: Op = Add() if op_name == "Add" else Multiply()
            first, second = sorted(map(_nhwc, inputs), key=lambda x: -x.elements)
            return LayerKey(op, (first, second))
    activation = next((each for name, each in _ACTIVATIONS if name == op_name), None)
    return None if activation is None else LayerKey(Activate(activation), (_nhwc(inputs[0]),))


def _convolution(inputs: Sequence[Shape], output: Shape) -> LayerKey:
    x, weight = _nhwc(inputs[0]), inputs[1]
    kernel = (weight[2], weight[3])
    rows = _steps(x.spatial[0], output[2], kernel[0])
    columns = _steps(x.spatial[1], output[3], kernel[1])
    residual = output in inputs[2:]
    op = Conv2d(
        out_channels=output[1],
        kernel=kernel,
        stride=(rows[0], columns[0]),
        padding=(rows[1], columns[1], rows[2], columns[2]),
        groups=x.channels // weight[1],
        bias=(output[1],) in inputs[2:],
        residual="before_activation" if residual else None,
    )
    return LayerKey(op, (x, _nhwc(output)) if residual else (x,))


def _steps(size: int, size_out: int, kernel: int) -> tuple[int, int, int]:
    """Stride, padding before and padding after that make `size_out` of `size`."""
    stride = max(1, round(size / size_out))
    padding = max((size_out - 1) * stride + kernel - size, 0)
    return stride, padding // 2, padding - padding // 2


def _nhwc(shape: Shape) -> TensorType:
    if len(shape) == 4:
        return TensorType((shape[0], shape[2], shape[3], shape[1]))
    if len(shape) != 2:
        raise ShapeError("neither a map nor a vector")
    return TensorType(shape)
