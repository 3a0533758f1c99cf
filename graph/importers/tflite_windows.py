"""TFLite's convolutions, dense layers, pools and PADs as nodes and integer steps."""

from dataclasses import replace

import numpy as np
import tflite

from mnv3c.graph.exporters.tflite_rules import same_padding
from mnv3c.graph.importers.tflite_file import FileOperator, FileTensor, TfliteError
from mnv3c.graph.importers.tflite_scope import Atom, Padded, Scope, affine_of, fused, kept, node, ranked
from mnv3c.graph.importers.tflite_weights import bias_of, weight_scales
from mnv3c.graph.integer.affine import INT8_MIN, Int8Array, Scales
from mnv3c.graph.integer.ops import Product, Window
from mnv3c.graph.integer.tables import activation_clamp
from mnv3c.graph.ops import Conv2d, Dense, Pool2d
from mnv3c.graph.shapes import Padding, Pair

NO_PADDING: Padding = (0, 0, 0, 0)


def _pair(operator: FileOperator, first: str, second: str) -> Pair:
    return int(operator.options[first]), int(operator.options[second])


def _padding(
    operator: FileOperator, x: FileTensor, kernel: Pair, stride: Pair, dilation: Pair, padded: Padded | None
) -> Padding:
    """Padding of a window over the tensor before its PAD, if any."""
    if min(*kernel, *stride, *dilation) < 1:
        raise TfliteError(f"kernel {kernel}, stride {stride} and dilation {dilation} must be positive")
    before = padded.padding if padded is not None else NO_PADDING
    if operator.options["Padding"] != tflite.Padding.SAME:
        return before
    size = (x.shape[1] + before[0] + before[2], x.shape[2] + before[1] + before[3])
    top, left, bottom, right = same_padding(size, kernel, stride, dilation)
    return before[0] + top, before[1] + left, before[2] + bottom, before[3] + right


def convolution(operator: FileOperator, scope: Scope) -> Atom:
    """CONV_2D and DEPTHWISE_CONV_2D. Raises TfliteError, as all of these do, for what is damaged or not known."""
    x, padded = scope.source(scope.tensor(operator, 0))
    kernel = ranked(scope.tensor(operator, 1), 4)
    given = affine_of(ranked(x, 4))
    if padded is not None and padded.value != given.zero_point:
        raise TfliteError(f"its input is padded with {padded.value}, not with the zero point {given.zero_point}")
    depthwise = operator.name == "DEPTHWISE_CONV_2D"
    window, stride = (kernel.shape[1], kernel.shape[2]), _pair(operator, "StrideH", "StrideW")
    dilation = _pair(operator, "DilationHFactor", "DilationWFactor")
    # (1, h, w, out) or (out, h, w, in / groups).
    channels, depth = (kernel.shape[3], kernel.shape[0]) if depthwise else (kernel.shape[0], kernel.shape[3])
    if x.shape[3] % depth != 0 or (depthwise and depth != 1):
        raise TfliteError(f"{kernel} of shape {kernel.shape} does not fit {x.shape[3]} input channels")
    padding = _padding(operator, x, window, stride, dilation, padded)
    op = Conv2d(channels, window, stride, padding, dilation, x.shape[3] // depth, bias=_has_bias(operator))
    op = replace(op, activation=fused(operator))
    weight = scope.int8(kernel).transpose((1, 2, 0, 3) if depthwise else (1, 2, 3, 0))
    return _product(operator, scope, op, x, np.ascontiguousarray(weight), weight_scales(kernel, 3 if depthwise else 0))


def dense(operator: FileOperator, scope: Scope) -> Atom:
    """FULLY_CONNECTED on (batch, features)."""
    x, kernel = scope.computed(scope.tensor(operator, 0)), ranked(scope.tensor(operator, 1), 2)
    if operator.options["WeightsFormat"] != 0:
        raise TfliteError("shuffled weights are not supported")
    if ranked(x, 2).shape[1] != kernel.shape[1]:
        raise TfliteError(f"{kernel} of shape {kernel.shape} does not fit {x.shape[1]} input features")
    op = Dense(kernel.shape[0], bias=_has_bias(operator), activation=fused(operator))
    weight = np.ascontiguousarray(scope.int8(kernel).T)
    return _product(operator, scope, op, x, weight, weight_scales(kernel, 0))


def _has_bias(operator: FileOperator) -> bool:
    return len(operator.inputs) > 2 and operator.inputs[2] >= 0


def _product(
    operator: FileOperator,
    scope: Scope,
    op: Conv2d | Dense,
    x: FileTensor,
    weight: Int8Array,
    scales: Scales,
) -> Atom:
    output = scope.output(operator)
    given, result = affine_of(x), affine_of(output)
    bias = bias_of(scope, scope.tensor(operator, 2) if op.bias else None, weight.shape[-1])
    step = Product(op, weight, bias, scales, given, result, activation_clamp(op.activation, result))
    with np.errstate(over="ignore"):
        reals = {"weight": weight * scales}
        if op.bias:
            reals["bias"] = (bias * (np.float64(given.scale) * scales)).astype(np.float32)
    return Atom(node(op, output, x), step, reals)


def pool(operator: FileOperator, scope: Scope) -> Atom:
    """MAX_POOL_2D and AVERAGE_POOL_2D."""
    x, padded = scope.source(scope.tensor(operator, 0))
    output, mode = scope.output(operator), "max" if operator.name == "MAX_POOL_2D" else "average"
    kernel, stride = _pair(operator, "FilterHeight", "FilterWidth"), _pair(operator, "StrideH", "StrideW")
    if fused(operator) is not None:
        raise TfliteError("a pool with a fused activation is not supported")
    if padded is not None and (padded.value, mode) != (INT8_MIN, "max"):
        raise TfliteError(f"a PAD before it is supported only with {INT8_MIN}, before MAX_POOL_2D")
    padding = _padding(operator, ranked(x, 4), kernel, stride, (1, 1), padded)
    op = Pool2d("max" if mode == "max" else "average", kernel, stride, padding)
    return Atom(node(op, output, x), Window(op, kept(x, output)), {})


def pad(operator: FileOperator, scope: Scope) -> None:
    """PAD and PADV2 of height and width, noted in the scope for the windows that read them."""
    x, output = ranked(scope.computed(scope.tensor(operator, 0)), 4), scope.output(operator)
    amounts = scope.int32(scope.tensor(operator, 1))
    affine = kept(x, output)
    if amounts.shape != (4, 2) or amounts[0].any() or amounts[3].any() or (amounts < 0).any():
        raise TfliteError(f"only padding of height and width is supported, not {amounts.tolist()}")
    value = affine.zero_point
    if operator.name == "PADV2":
        filler = scope.int8(scope.tensor(operator, 2))
        if filler.size != 1:
            raise TfliteError(f"it pads with {filler.size} values; only one is supported")
        value = int(filler.flat[0])
    (top, bottom), (left, right) = amounts[1:3].tolist()
    scope.padded[output.index] = Padded(x.index, (top, left, bottom, right), value)
