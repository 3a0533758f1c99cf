"""ONNX's ops that only move or join values: Reshape and its kin on 1x1 maps, Concat, Transpose."""

from dataclasses import replace

from mnv3c.graph.importers.onnx_node import OnnxError, OnnxNode
from mnv3c.graph.importers.onnx_scope import NO_PADDING, Handler, Scope, Tensor, Value
from mnv3c.graph.ops import Concat, Flatten, Identity

TO_NHWC = (0, 2, 3, 1)
TO_NCHW = (0, 3, 1, 2)


def requested_shape(wanted: tuple[int, ...], given: tuple[int, ...], allow_zero: bool) -> tuple[int, ...]:
    """Reshape's target with 0 (keep, unless `allow_zero`) and one -1 (what is left) resolved. Raises OnnxError."""
    total = 1
    for extent in given:
        total *= extent
    if not allow_zero:
        if any(extent == 0 and i >= len(given) for i, extent in enumerate(wanted)):
            raise OnnxError(f"shape {wanted} does not fit {given}")
        wanted = tuple(given[i] if extent == 0 else extent for i, extent in enumerate(wanted))
    known = 1
    for extent in wanted:
        known *= extent if extent != -1 else 1
    if wanted.count(-1) == 1 and known > 0 and total % known == 0:
        wanted = tuple(total // known if extent == -1 else extent for extent in wanted)
        known = total
    if any(extent < 0 for extent in wanted) or known != total:
        raise OnnxError(f"shape {wanted} does not fit {given}")
    return wanted


def _reshaped(node: OnnxNode, scope: Scope, x: Tensor, shape: tuple[int, ...]) -> Value:
    """`x` as `shape`: the same tensor, or a 1x1 map with its unit axes removed."""
    if shape == x.shape and x.padding == NO_PADDING:
        return scope.emit(node, Identity(), (x,)) if len(shape) in (2, 4) else x
    plain = scope.types[x.node]
    if x.padding != NO_PADDING or len(plain.shape) != 4 or plain.spatial != (1, 1):
        raise OnnxError(f"from {x.shape} to {shape}; only 1x1 maps can be reshaped, to (batch, channels)")
    batch, channels = plain.shape[0], plain.channels
    if shape == (batch, channels):
        return scope.emit(node, Flatten(), (scope.plain(x),))
    if shape == scope.plain(x).shape:
        return scope.emit(node, Identity(), (scope.plain(x),))
    if [extent for extent in shape if extent != 1] != [extent for extent in (batch, channels) if extent != 1]:
        raise OnnxError(f"from {x.shape} to {shape}; only 1x1 maps can be reshaped, to (batch, channels)")
    return replace(x, shape=shape)


def reshape(node: OnnxNode, scope: Scope) -> Value:
    """Reshape to a constant shape."""
    x, wanted = scope.tensor(node, 0), scope.integers(node, 1)
    return _reshaped(node, scope, x, requested_shape(wanted, x.shape, bool(node.integer("allowzero", 0))))


def flatten(node: OnnxNode, scope: Scope) -> Value:
    """Flatten."""
    x = scope.tensor(node, 0)
    rank, axis = len(x.shape), node.integer("axis", 1)
    if not -rank <= axis <= rank:
        raise OnnxError(f"attribute 'axis' is {axis} for rank {rank}")
    axis = axis + rank if axis < 0 else axis
    rows = requested_shape((-1,), x.shape[:axis], True)[0] if axis else 1
    columns = requested_shape((-1,), x.shape[axis:], True)[0] if axis < rank else 1
    return _reshaped(node, scope, x, (rows, columns))


def _axes(node: OnnxNode, scope: Scope, rank: int) -> tuple[int, ...] | None:
    """Axes of Squeeze and Unsqueeze, an attribute before opset 13; None when not given."""
    if node.opset < 13:
        axes = node.integers("axes", None, ()) if node.carries("axes") else None
    else:
        axes = scope.integers(node, 1) if node.has(1) else None
    if axes is None:
        return None
    within = all(-rank <= axis < rank for axis in axes)
    if not within or len({axis % rank for axis in axes}) != len(axes):
        raise OnnxError(f"axes {axes} do not fit rank {rank}")
    return tuple(sorted(axis % rank for axis in axes))


def squeeze(node: OnnxNode, scope: Scope) -> Value:
    """Squeeze of unit axes."""
    x = scope.tensor(node, 0)
    axes = _axes(node, scope, len(x.shape))
    removed = axes if axes is not None else tuple(i for i, extent in enumerate(x.shape) if extent == 1)
    if any(x.shape[axis] != 1 for axis in removed):
        raise OnnxError(f"axes {removed} of {x.shape} are not all 1")
    return _reshaped(node, scope, x, tuple(extent for i, extent in enumerate(x.shape) if i not in removed))


def unsqueeze(node: OnnxNode, scope: Scope) -> Value:
    """Unsqueeze, where it undoes a Squeeze."""
    x = scope.tensor(node, 0)
    count = len(node.integers("axes", None, ())) if node.opset < 13 else len(scope.integers(node, 1))
    axes = _axes(node, scope, len(x.shape) + count) or ()
    extents = iter(x.shape)
    return _reshaped(node, scope, x, tuple(1 if i in axes else next(extents) for i in range(len(x.shape) + count)))


def concat(node: OnnxNode, scope: Scope) -> Value:
    """Concat of computed tensors over the channels."""
    inputs = tuple(scope.tensor(node, index) for index in range(len(node.inputs)))
    if not inputs:
        raise OnnxError("has no inputs")
    if not node.carries("axis"):
        raise OnnxError("attribute 'axis' is missing")
    rank, axis = len(inputs[0].shape), node.integer("axis", 1)
    if not -rank <= axis < rank or axis % rank != inputs[0].channel_axis:
        raise OnnxError(f"attribute 'axis' is {axis}; only the channel axis can be joined")
    return scope.emit(node, Concat() if len(inputs) > 1 else Identity(), inputs)


def transpose(node: OnnxNode, scope: Scope) -> Value:
    """Transpose between NCHW and NHWC, which moves nothing here: the IR keeps one order."""
    x = scope.tensor(node, 0)
    rank = len(x.shape)
    perm = node.integers("perm", rank, reversed(range(rank)))
    if perm == tuple(range(rank)):
        return scope.emit(node, Identity(), (x,))
    if rank == 4 and perm == (TO_NHWC if x.order == "NCHW" else TO_NCHW) and x.padding == NO_PADDING:
        return x.transposed()
    raise OnnxError(f"perm {list(perm)} of a tensor of shape {x.shape} cannot be removed")


HANDLERS: dict[str, Handler] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Concat": concat,
    "Transpose": transpose,
}
