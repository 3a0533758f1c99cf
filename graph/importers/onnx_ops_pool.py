"""ONNX's pooling ops."""

from typing import Literal

from mnv3c.graph.importers.onnx_node import OnnxError, OnnxNode
from mnv3c.graph.importers.onnx_ops_convolution import plus, window_padding
from mnv3c.graph.importers.onnx_scope import NO_PADDING, Handler, Scope, Tensor, Value
from mnv3c.graph.ops import Flatten, GlobalAveragePool, Padding, Pair, Pool2d


def global_average_pool(node: OnnxNode, scope: Scope) -> Value:
    """GlobalAveragePool."""
    return scope.emit(node, GlobalAveragePool(), (scope.map(node, 0),))


def reduce_mean(node: OnnxNode, scope: Scope) -> Value:
    """ReduceMean over height and width, with or without the axes kept; the axes are an attribute before opset 18."""
    x = scope.map(node, 0)
    node.ignore("noop_with_empty_axes")
    by_input = node.opset >= 18
    axes = (scope.integers(node, 1) if node.has(1) else ()) if by_input else node.integers("axes", None, ())
    if {axis % 4 for axis in axes if -4 <= axis < 4} != {2, 3} or len(axes) != 2:
        raise OnnxError(f"mean over axes {list(axes)}; only height and width, [2, 3], are supported")
    pooled = scope.emit(node, GlobalAveragePool(), (x,))
    return pooled if node.integer("keepdims", 1) else scope.emit(node, Flatten(), (pooled,))


def _window(node: OnnxNode, x: Tensor) -> tuple[Pair, Pair, Padding]:
    if not node.carries("kernel_shape"):
        raise OnnxError("attribute 'kernel_shape' is missing")
    kernel, stride = node.pair("kernel_shape"), node.pair("strides")
    if node.pair("dilations") != (1, 1):
        raise OnnxError(f"attribute 'dilations' is {node.pair('dilations')}; only (1, 1) is supported")
    size = (x.shape[2], x.shape[3])
    padding = window_padding(node, size, kernel, stride, (1, 1))
    if node.integer("ceil_mode", 0):
        for axis in (0, 1):
            covered = size[axis] + padding[axis] + padding[axis + 2] - kernel[axis]
            if stride[axis] > 0 and covered % stride[axis]:
                raise OnnxError(f"attribute 'ceil_mode' changes the output for a {size[0]}x{size[1]} input")
    return kernel, stride, padding


def _pool(mode: Literal["max", "average"]) -> Handler:
    def handler(node: OnnxNode, scope: Scope) -> Value:
        x = scope.map(node, 0)
        kernel, stride, padding = _window(node, x)
        if mode == "max":
            node.ignore("storage_order")  # of the second output, the indices
            return scope.emit(node, Pool2d("max", kernel, stride, padding), (x,))
        counts = bool(node.integer("count_include_pad", 0))
        if x.padding != NO_PADDING and (counts or padding == NO_PADDING):
            # Zeros that a Pad before put there are counted like any other value.
            x, padding, counts = scope.unpadded(x), plus(x.padding, padding), True
        return scope.emit(node, Pool2d("average", kernel, stride, padding, counts and padding != NO_PADDING), (x,))

    return handler


HANDLERS: dict[str, Handler] = {
    "GlobalAveragePool": global_average_pool,
    "ReduceMean": reduce_mean,
    "AveragePool": _pool("average"),
    "MaxPool": _pool("max"),
}
