"""ONNX's elementwise ops: activations, arithmetic with constants and between tensors, and those that do nothing."""

import math

import numpy as np
import onnx

from mnv3c.graph.activation import HSWISH, RELU, SIGMOID, Activation
from mnv3c.graph.importers.onnx_constants import ARITHMETIC
from mnv3c.graph.importers.onnx_file import dtype_name
from mnv3c.graph.importers.onnx_node import OnnxError, OnnxNode, Values
from mnv3c.graph.importers.onnx_scope import Constant, Handler, Scope, Tensor, Value
from mnv3c.graph.ir import Array
from mnv3c.graph.ops import Activate, Add, ChannelAffine, Identity, Multiply, ScalarAffine, Softmax

FLOAT32_MAX = float(np.finfo(np.float32).max)


def _activate(activation: Activation) -> Handler:
    def handler(node: OnnxNode, scope: Scope) -> Value:
        return scope.emit(node, Activate(activation), (scope.tensor(node, 0),))

    return handler


def clip(node: OnnxNode, scope: Scope) -> Value:
    """Clip; the bounds are attributes before opset 11, constant inputs since. An absent bound is float32's largest."""
    low, high = -math.inf, math.inf
    if node.opset < 11:
        low, high = node.number("min", low), node.number("max", high)
    else:
        low = scope.scalar(node, 1) if node.has(1) else low
        high = scope.scalar(node, 2) if node.has(2) else high
    low, high = (min(max(bound, -FLOAT32_MAX), FLOAT32_MAX) for bound in (low, high))
    x = scope.tensor(node, 0)
    if low == -FLOAT32_MAX and high == FLOAT32_MAX:
        return scope.emit(node, Identity(), (x,))
    activation = RELU if (low, high) == (0.0, FLOAT32_MAX) else Activation("clip", low, high)
    return scope.emit(node, Activate(activation), (x,))


def hard_sigmoid(node: OnnxNode, scope: Scope) -> Value:
    """HardSigmoid with any slope and offset."""
    slope, offset = node.number("alpha", 0.2), node.number("beta", 0.5)
    if not math.isfinite(slope) or not math.isfinite(offset):
        raise OnnxError(f"attributes 'alpha' and 'beta' must be finite, not {slope} and {offset}")
    activation = Activation("hsigmoid", slope=slope, offset=offset)
    return scope.emit(node, Activate(activation), (scope.tensor(node, 0),))


def arithmetic(node: OnnxNode, scope: Scope) -> Value:
    """Add, Sub, Mul, Div of two tensors, or of a tensor and a constant that is a scalar or one value per channel."""
    a, b = scope.value(node, 0), scope.value(node, 1)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _of_tensors(node, scope, a, b)
    if isinstance(a, Tensor) and isinstance(b, Constant):
        return _with_constant(node, scope, a, 1, flipped=False)
    assert isinstance(b, Tensor)  # of two constants, the importer has computed the result before
    return _with_constant(node, scope, b, 0, flipped=True)


def _of_tensors(node: OnnxNode, scope: Scope, a: Tensor, b: Tensor) -> Value:
    if node.op_type == "Mul":
        gate_first = math.prod(a.shape) < math.prod(b.shape)
        return scope.emit(node, Multiply(), (b, a) if gate_first else (a, b))
    if node.op_type == "Add":
        return scope.emit(node, Add(), (a, b))
    if node.op_type == "Sub":
        return scope.emit(node, Add(), (a, scope.emit(node, ScalarAffine(-1.0), (b,))))
    raise OnnxError("division of two computed tensors is not supported")


def _with_constant(node: OnnxNode, scope: Scope, x: Tensor, index: int, flipped: bool) -> Value:
    constant = scope.constant(node, index)
    rank, axis = len(x.shape), x.channel_axis
    if constant.ndim > rank:
        raise OnnxError(f"constant of shape {constant.shape} has a higher rank than {x.shape}")
    aligned = (1,) * (rank - constant.ndim) + constant.shape
    reaches_channels = constant.ndim >= rank - axis
    if constant.size == 1 and not (reaches_channels and x.shape[axis] == 1):
        scale, shift = _scalar_affine(node.op_type, scope.scalar(node, index), flipped)
        return scope.emit(node, ScalarAffine(scale, shift), (x,))
    per_channel = tuple(extent if i == axis else 1 for i, extent in enumerate(x.shape))
    if aligned != per_channel:
        raise OnnxError(f"constant of shape {constant.shape} is neither scalar nor one value per channel of {x.shape}")
    values = scope.weight(node, index, constant.ndim).ravel()
    weights = _channel_affine(node.op_type, values, flipped)
    return scope.emit(node, ChannelAffine(scale="scale" in weights, shift="shift" in weights), (x,), weights)


def _scalar_affine(op_type: str, value: float, flipped: bool) -> tuple[float, float]:
    """(scale, shift) of x op value, or of value op x when flipped."""
    if not math.isfinite(value):
        raise OnnxError(f"its constant is {value}")
    if op_type == "Add":
        return (1.0, value)
    if op_type == "Sub":
        return (-1.0, value) if flipped else (1.0, -value)
    if op_type == "Mul":
        return (value, 0.0)
    _refuse_division(np.array(value), flipped)
    return (1.0 / value, 0.0)


def _channel_affine(op_type: str, values: Array, flipped: bool) -> dict[str, Array]:
    if op_type == "Add":
        return {"shift": values}
    if op_type == "Sub":
        return {"scale": np.full_like(values, -1.0), "shift": values} if flipped else {"shift": -values}
    if op_type == "Mul":
        return {"scale": values}
    _refuse_division(values, flipped)
    return {"scale": (1.0 / values.astype(np.float64)).astype(np.float32)}


def _refuse_division(values: Values, flipped: bool) -> None:
    if flipped:
        raise OnnxError("division of a constant by a computed tensor is not supported")
    # A subnormal divisor would make a scale that float32 cannot hold.
    if bool((np.abs(values) < np.finfo(np.float32).tiny).any()):
        raise OnnxError("divides by zero")


def softmax(node: OnnxNode, scope: Scope) -> Value:
    """Softmax over the features of (batch, features)."""
    x = scope.tensor(node, 0)
    axis = node.integer("axis", 1 if node.opset < 13 else -1)
    if len(x.shape) != 2 or axis not in (1, -1):
        raise OnnxError(f"axis {axis} of shape {x.shape}; only the last axis of (batch, features) is supported")
    return scope.emit(node, Softmax(), (x,))


def identity(node: OnnxNode, scope: Scope) -> Value:
    """Identity."""
    return scope.emit(node, Identity(), (scope.tensor(node, 0),))


def dropout(node: OnnxNode, scope: Scope) -> Value:
    """Dropout, which does nothing at inference."""
    node.ignore("ratio", "seed")
    node.ignore_input(1)  # the ratio
    if node.has(2) and bool(scope.constant(node, 2).any()):
        raise OnnxError("training_mode must be false")
    return scope.emit(node, Identity(), (scope.tensor(node, 0),))


def cast(node: OnnxNode, scope: Scope) -> Value:
    """Cast of a computed tensor, which is float32, to float32."""
    to = node.integer("to", onnx.TensorProto.UNDEFINED)
    node.ignore("saturate", "round_mode")
    if to != onnx.TensorProto.FLOAT:
        raise OnnxError(f"cast to {dtype_name(to)}; a computed tensor can only be float32")
    return scope.emit(node, Identity(), (scope.tensor(node, 0),))


HANDLERS: dict[str, Handler] = {
    "Relu": _activate(RELU),
    "Sigmoid": _activate(SIGMOID),
    "HardSwish": _activate(HSWISH),
    "HardSigmoid": hard_sigmoid,
    "Clip": clip,
    **dict.fromkeys(ARITHMETIC, arithmetic),
    "Softmax": softmax,
    "Identity": identity,
    "Dropout": dropout,
    "Cast": cast,
}
