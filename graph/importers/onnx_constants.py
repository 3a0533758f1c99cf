"""Computing ahead what an ONNX graph computes from constants and from shapes, which are all known."""

import math
from collections.abc import Callable

import numpy as np

from mnv3c.graph.importers.onnx_file import numpy_dtype, tensor_values
from mnv3c.graph.importers.onnx_node import OnnxError, OnnxNode, Values
from mnv3c.graph.importers.onnx_ops_shape import requested_shape
from mnv3c.graph.importers.onnx_scope import Scope, Tensor

MAX_FOLDED_ELEMENTS = 2**26  # of one computed constant, so that a small file cannot ask for much memory

Folder = Callable[[OnnxNode, Scope], Values]


def constant(node: OnnxNode, scope: Scope) -> Values:
    """Value of a Constant node."""
    tensor = node.tensor("value")
    if tensor is not None:
        return tensor_values(tensor, scope.folder)
    if node.carries("value_float"):
        return np.array(node.number("value_float", 0.0), dtype=np.float32)
    if node.carries("value_floats"):
        return np.array(node.numbers("value_floats"), dtype=np.float32)
    if node.carries("value_int"):
        return np.array(node.integer("value_int", 0), dtype=np.int64)
    return np.array(node.integers("value_ints", None, ()), dtype=np.int64)


def shape_of(node: OnnxNode, scope: Scope) -> Values:
    """Shape, of a computed tensor or of a constant."""
    value = scope.value(node, 0)
    shape = value.shape if isinstance(value, Tensor) else value.value.shape
    start, end = node.integer("start", 0), node.integer("end", len(shape))
    return np.array(shape[start:end], dtype=np.int64)


def size_of(node: OnnxNode, scope: Scope) -> Values:
    """Size, the number of elements."""
    value = scope.value(node, 0)
    return np.array(math.prod(value.shape if isinstance(value, Tensor) else value.value.shape), dtype=np.int64)


def _divide(a: Values, b: Values) -> Values:
    if a.dtype.kind == "f":
        return np.divide(a, b)
    if not b.all():
        raise OnnxError("divides by zero")
    quotient: Values = np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))  # ONNX rounds towards zero
    return quotient.astype(a.dtype)


ARITHMETIC: dict[str, Callable[[Values, Values], Values]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
}


def _arithmetic(node: OnnxNode, scope: Scope) -> Values:
    a, b = scope.constant(node, 0), scope.constant(node, 1)
    if a.dtype != b.dtype or a.dtype.kind not in "if":
        raise OnnxError(f"dtypes {a.dtype} and {b.dtype} do not fit")
    _bounded(np.broadcast_shapes(a.shape, b.shape))
    return ARITHMETIC[node.op_type](a, b)


def _unary(function: Callable[[Values], Values]) -> Folder:
    def folder(node: OnnxNode, scope: Scope) -> Values:
        value = scope.constant(node, 0)
        return function(value).astype(value.dtype)

    return folder


def _gather(node: OnnxNode, scope: Scope) -> Values:
    data, indices = scope.constant(node, 0), scope.constant(node, 1)
    axis = node.integer("axis", 0)
    if indices.dtype.kind != "i" or not -data.ndim <= axis < data.ndim:
        raise OnnxError("its indices must be integers and its axis within the data")
    extent = data.shape[axis]
    _bounded((*indices.shape, data.size // max(extent, 1)))
    if indices.size and not (-extent <= indices.min() and indices.max() < extent):
        raise OnnxError(f"an index is outside the extent of {extent}")
    return np.take(data, indices, axis=axis)


def _slice(node: OnnxNode, scope: Scope) -> Values:
    data = scope.constant(node, 0)
    if node.opset < 10:
        starts, ends = node.integers("starts", None, ()), node.integers("ends", None, ())
        axes, steps = node.integers("axes", None, range(len(starts))), (1,) * len(starts)
    else:
        starts, ends = scope.integers(node, 1), scope.integers(node, 2)
        axes = scope.integers(node, 3) if node.has(3) else tuple(range(len(starts)))
        steps = scope.integers(node, 4) if node.has(4) else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise OnnxError("its starts, ends, axes and steps do not fit each other")
    cut = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not -data.ndim <= axis < data.ndim:
            raise OnnxError(f"axis {axis} is outside rank {data.ndim}")
        # Python reads an end of -1 as "the last"; ONNX writes "past the first" as an end below -extent.
        past_first = step < 0 and end < -data.shape[axis]
        cut[axis] = slice(start, None if past_first else end, step)
    return data[tuple(cut)]


def _concat(node: OnnxNode, scope: Scope) -> Values:
    parts = [scope.constant(node, index) for index in range(len(node.inputs))]
    _bounded((sum(part.size for part in parts),))
    if len({part.dtype for part in parts}) != 1:
        raise OnnxError("dtypes of its inputs differ")
    return np.concatenate(parts, axis=node.integer("axis", 0))


def _cast(node: OnnxNode, scope: Scope) -> Values:
    node.ignore("saturate", "round_mode")
    value, to = scope.constant(node, 0), numpy_dtype(node.integer("to", 0))
    if to.kind in "iu" and value.dtype.kind == "f" and not np.isfinite(value).all():
        raise OnnxError("casts a value that is not finite to an integer")
    return value.astype(to)


def _reshape(node: OnnxNode, scope: Scope) -> Values:
    value, wanted = scope.constant(node, 0), scope.integers(node, 1)
    return value.reshape(requested_shape(wanted, value.shape, bool(node.integer("allowzero", 0))))


def _axes(node: OnnxNode, scope: Scope) -> tuple[int, ...] | None:
    if node.opset < 13:
        return node.integers("axes", None, ()) if node.carries("axes") else None
    return scope.integers(node, 1) if node.has(1) else None


def _squeeze(node: OnnxNode, scope: Scope) -> Values:
    return np.squeeze(scope.constant(node, 0), axis=_axes(node, scope))


def _unsqueeze(node: OnnxNode, scope: Scope) -> Values:
    return np.expand_dims(scope.constant(node, 0), axis=_axes(node, scope) or ())


def _transpose(node: OnnxNode, scope: Scope) -> Values:
    value = scope.constant(node, 0)
    return np.transpose(value, node.integers("perm", value.ndim, reversed(range(value.ndim))))


def _constant_of_shape(node: OnnxNode, scope: Scope) -> Values:
    tensor, shape = node.tensor("value"), scope.integers(node, 0)
    fill = np.zeros(1, dtype=np.float32) if tensor is None else tensor_values(tensor, scope.folder)
    _bounded(shape)
    return np.full(shape, fill.reshape(()), dtype=fill.dtype)


def _expand(node: OnnxNode, scope: Scope) -> Values:
    value, shape = scope.constant(node, 0), scope.integers(node, 1)
    shape = np.broadcast_shapes(value.shape, _bounded(shape))
    return np.broadcast_to(value, _bounded(shape))


def _reduce_prod(node: OnnxNode, scope: Scope) -> Values:
    value = scope.constant(node, 0)
    axes = _axes(node, scope) if node.opset < 18 or node.has(1) else None
    return np.asarray(np.prod(value, axis=axes, keepdims=bool(node.integer("keepdims", 1)), dtype=value.dtype))


def _bounded(shape: tuple[int, ...]) -> tuple[int, ...]:
    if any(extent < 0 for extent in shape) or math.prod(shape) > MAX_FOLDED_ELEMENTS:
        raise OnnxError(f"would compute a constant of shape {shape}")
    return shape


FROM_SHAPES: dict[str, Folder] = {"Shape": shape_of, "Size": size_of}
"""Ops whose result is known even if their input is computed by the network."""

FROM_CONSTANTS: dict[str, Folder] = {
    "Constant": constant,
    "ConstantOfShape": _constant_of_shape,
    **dict.fromkeys(ARITHMETIC, _arithmetic),
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Cast": _cast,
    "Identity": _unary(lambda value: value),
    "Floor": _unary(np.floor),
    "Ceil": _unary(np.ceil),
    "Neg": _unary(np.negative),
    "Sqrt": _unary(np.sqrt),
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Expand": _expand,
    "ReduceProd": _reduce_prod,
}


def fold(node: OnnxNode, scope: Scope, folder: Folder) -> Values:
    """The constant that a node computes. Raises OnnxError where its inputs do not fit it."""
    try:
        with np.errstate(all="ignore"):
            value = folder(node, scope)
    except (ValueError, TypeError, IndexError, OverflowError, np.exceptions.AxisError) as error:
        raise OnnxError(f"its constant inputs do not fit: {error}".replace("\n", " ")) from None
    return np.asarray(value)
