"""ONNX's layers with weights, convolutions, batch normalisation, matrix products; and Pad, which they absorb."""

import numpy as np

from mnv3c.graph.importers.onnx_node import OnnxError, OnnxNode
from mnv3c.graph.importers.onnx_scope import NO_PADDING, Handler, Scope, Tensor, Value
from mnv3c.graph.ir import Array
from mnv3c.graph.ops import BatchNorm, Conv2d, ConvTranspose2d, Dense, Identity, Padding, Pair
from mnv3c.graph.shapes import MAX_PADDING

AUTO_PAD = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def window_padding(node: OnnxNode, size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> Padding:
    """Padding that `auto_pad` and `pads` ask for, where `size` is the input's (height, width)."""
    auto_pad = node.only("auto_pad", node.text("auto_pad", "NOTSET"), AUTO_PAD)
    top, left, bottom, right = node.integers("pads", 4, NO_PADDING)
    if auto_pad == "NOTSET":
        return _bounded((top, left, bottom, right))
    if auto_pad == "VALID":
        return NO_PADDING
    if min(stride) < 1:
        raise OnnxError(f"strides must be positive, not {stride}")
    before: list[int] = []
    after: list[int] = []
    for extent, taps, step, gap in zip(size, kernel, stride, dilation, strict=True):
        total = max((-(-extent // step) - 1) * step + gap * (taps - 1) + 1 - extent, 0)
        small, large = total // 2, total - total // 2
        before.append(small if auto_pad == "SAME_UPPER" else large)
        after.append(large if auto_pad == "SAME_UPPER" else small)
    return _bounded((before[0], before[1], after[0], after[1]))


def _bounded(padding: Padding) -> Padding:
    if max(padding) > MAX_PADDING:
        raise OnnxError(f"padding {padding} is larger than {MAX_PADDING}")
    return padding


def plus(a: Padding, b: Padding) -> Padding:
    """Sum of two paddings."""
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])


def _kernel(node: OnnxNode, weight: Array) -> Pair:
    kernel = (weight.shape[2], weight.shape[3])
    stated = node.pair("kernel_shape", kernel)
    if stated != kernel:
        raise OnnxError(f"attribute 'kernel_shape' is {stated}, the weight's kernel is {kernel}")
    return kernel


def _with_bias(node: OnnxNode, scope: Scope, weight: Array) -> dict[str, Array]:
    return {"weight": weight, "bias": scope.weight(node, 2, 1)} if node.has(2) else {"weight": weight}


def conv(node: OnnxNode, scope: Scope) -> Value:
    """Conv in two dimensions: weight (O, I/g, kh, kw) becomes (kh, kw, I/g, O)."""
    x, weight = scope.map(node, 0), scope.weight(node, 1, 4)
    kernel = _kernel(node, weight)
    stride, dilation = node.pair("strides"), node.pair("dilations")
    size = (x.shape[2], x.shape[3])
    op = Conv2d(
        out_channels=weight.shape[0],
        kernel=kernel,
        stride=stride,
        padding=plus(x.padding, window_padding(node, size, kernel, stride, dilation)),
        dilation=dilation,
        groups=node.integer("group", 1),
        bias=node.has(2),
    )
    weights = _with_bias(node, scope, weight.transpose(2, 3, 1, 0))
    return scope.emit(node, op, (scope.unpadded(x),), weights)


def conv_transpose(node: OnnxNode, scope: Scope) -> Value:
    """ConvTranspose in two dimensions: weight (I, O, kh, kw) becomes (kh, kw, I, O)."""
    x, weight = scope.map(node, 0), scope.weight(node, 1, 4)
    kernel = _kernel(node, weight)
    for name, needed in (("group", 1), ("dilations", (1, 1)), ("output_padding", (0, 0))):
        value = node.integer(name, 1) if name == "group" else node.pair(name, (1, 1) if name == "dilations" else (0, 0))
        if value != needed:
            raise OnnxError(f"attribute '{name}' is {value}; only {needed} is supported")
    auto_pad = node.only("auto_pad", node.text("auto_pad", "NOTSET"), ("NOTSET", "VALID"))
    top, left, bottom, right = node.integers("pads", 4, NO_PADDING)
    padding = _bounded((top, left, bottom, right)) if auto_pad == "NOTSET" else NO_PADDING
    if min(padding) < 0:
        raise OnnxError(f"attribute 'pads' must not be negative, not {padding}")
    op = ConvTranspose2d(weight.shape[1], kernel, node.pair("strides"), padding, bias=node.has(2))
    return scope.emit(node, op, (x,), _with_bias(node, scope, weight.transpose(2, 3, 0, 1)))


def batch_normalization(node: OnnxNode, scope: Scope) -> Value:
    """BatchNormalization at inference, left unfolded."""
    node.ignore("momentum")
    node.zero("training_mode")
    if node.integer("spatial", 1) != 1:
        raise OnnxError("attribute 'spatial' must be 1")
    x = scope.tensor(node, 0)
    if len(x.shape) == 4:
        x = scope.map(node, 0)
    roles = ("gamma", "beta", "mean", "variance")
    weights = {role: scope.weight(node, index, 1) for index, role in enumerate(roles, start=1)}
    epsilon = node.number("epsilon", 1e-5)
    if not np.isfinite(epsilon) or weights["variance"].size == 0 or float(weights["variance"].min()) + epsilon <= 0:
        raise OnnxError("its variance plus epsilon is not positive")
    return scope.emit(node, BatchNorm(epsilon), (x,), weights)


def matmul(node: OnnxNode, scope: Scope) -> Value:
    """MatMul of (batch, features) with a constant (in, out)."""
    x, weight = scope.tensor(node, 0), scope.weight(node, 1, 2)
    return scope.emit(node, Dense(weight.shape[1]), (x,), {"weight": weight})


def gemm(node: OnnxNode, scope: Scope) -> Value:
    """Gemm of (batch, features) with a constant; alpha and beta go into weight and bias."""
    x, weight = scope.tensor(node, 0), scope.weight(node, 1, 2)
    node.zero("transA")
    if node.integer("transB", 0):
        weight = weight.T
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    weights = {"weight": weight if alpha == 1.0 else (np.float32(alpha) * weight).astype(np.float32)}
    units = weight.shape[1]
    if node.has(2):
        weights["bias"] = _gemm_bias(node, scope, units, beta)
    return scope.emit(node, Dense(units, bias=node.has(2)), (x,), weights)


def _gemm_bias(node: OnnxNode, scope: Scope, units: int, beta: float) -> Array:
    value = scope.constant(node, 2)
    bias = scope.weight(node, 2, value.ndim)
    if bias.shape not in ((), (1,), (1, 1), (units,), (1, units)):
        raise OnnxError(f"bias has shape {bias.shape}; needs ({units},)")
    filled = np.broadcast_to(bias.ravel(), (units,)).astype(np.float32)
    return filled if beta == 1.0 else (np.float32(beta) * filled).astype(np.float32)


def pad(node: OnnxNode, scope: Scope) -> Value:
    """Pad with zeros on height and width: waits for the convolution that reads it."""
    node.only("mode", node.text("mode", "constant"), ("constant",))
    x = scope.map(node, 0)
    if node.opset < 11:
        value, pads = node.number("value", 0.0), node.integers("pads", None, ())
    else:
        value, pads = scope.scalar(node, 2) if node.has(2) else 0.0, scope.integers(node, 1)
    axes = scope.integers(node, 3) if node.has(3) else (0, 1, 2, 3)
    if len(pads) != 2 * len(axes) or not all(-4 <= axis < 4 for axis in axes):
        raise OnnxError(f"pads {pads} do not fit axes {axes}")
    by_axis = {axis % 4: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    if any(by_axis.get(axis, (0, 0)) != (0, 0) for axis in (0, 1)):
        raise OnnxError(f"pads {pads}: only height and width can be padded")
    (top, bottom), (left, right) = by_axis.get(2, (0, 0)), by_axis.get(3, (0, 0))
    if (top, left, bottom, right) == NO_PADDING:
        return scope.emit(node, Identity(), (x,))
    if value != 0.0:
        raise OnnxError(f"pads with {value:g}; only 0 is supported")
    if min(top, left, bottom, right) < 0:
        raise OnnxError(f"pads {pads} must not be negative")
    n, c, h, w = x.shape
    _bounded((top, left, bottom, right))
    padded = (n, c, h + top + bottom, w + left + right)
    return Tensor(x.node, padded, x.order, plus(x.padding, (top, left, bottom, right)))


HANDLERS: dict[str, Handler] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "BatchNormalization": batch_normalization,
    "MatMul": matmul,
    "Gemm": gemm,
    "Pad": pad,
}
