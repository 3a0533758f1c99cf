"""Shape rules shared by the ops."""

from mnv3c.graph.tensor import TensorType

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]

MAX_PADDING = 2**16  # per side: bounds the padded copy that an executor may make


class ShapeError(ValueError):
    """The inputs do not fit the op. The graph adds the node's name."""


def require(condition: bool, message: str) -> None:
    """Raise ShapeError(message) unless the condition holds."""
    if not condition:
        raise ShapeError(message)


def require_inputs(inputs: tuple[TensorType, ...], count: int) -> None:
    """Raise ShapeError unless there are exactly `count` inputs."""
    require(len(inputs) == count, f"takes {count} input{'' if count == 1 else 's'}, not {len(inputs)}")


def require_rank(x: TensorType, rank: int) -> TensorType:
    """The tensor itself, which must have this rank."""
    require(len(x.shape) == rank, f"needs a tensor of rank {rank}, not {x}")
    return x


def _positive(name: str, values: tuple[int, ...]) -> None:
    require(all(v > 0 for v in values), f"{name} must be positive, not {values}")


def _bounded(padding: Padding) -> None:
    require(all(0 <= p <= MAX_PADDING for p in padding), f"padding must be 0 to {MAX_PADDING}, not {padding}")


def window_extent(size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Pair:
    """Output (height, width) of a sliding window: floor((size + pads - dilation * (kernel - 1) - 1) / stride) + 1."""
    _positive("kernel", kernel)
    _positive("stride", stride)
    _positive("dilation", dilation)
    _bounded(padding)
    pads = (padding[0] + padding[2], padding[1] + padding[3])
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    for extent, pad, window in zip(size, pads, reach, strict=True):
        require(extent + pad >= window, f"window of {window} is larger than the padded input of {extent + pad}")
    height, width = (
        (extent + pad - window) // step + 1 for extent, pad, window, step in zip(size, pads, reach, stride, strict=True)
    )
    return height, width


def pooled_extent(size: Pair, kernel: Pair, stride: Pair, padding: Padding) -> Pair:
    """As `window_extent`, with padding smaller than the window so that no window is empty."""
    pads = (max(padding[0], padding[2]), max(padding[1], padding[3]))
    require(pads[0] < kernel[0] and pads[1] < kernel[1], f"padding {padding} is not smaller than the window {kernel}")
    return window_extent(size, kernel, stride, padding, (1, 1))


def transposed_extent(size: Pair, kernel: Pair, stride: Pair, padding: Padding) -> Pair:
    """Output (height, width) of a transposed convolution: (size - 1) * stride - pads + kernel."""
    _positive("kernel", kernel)
    _positive("stride", stride)
    _bounded(padding)
    height = (size[0] - 1) * stride[0] - padding[0] - padding[2] + kernel[0]
    width = (size[1] - 1) * stride[1] - padding[1] - padding[3] + kernel[1]
    require(height > 0 and width > 0, f"output would be {height}x{width}")
    return height, width


def broadcast_gate(x: TensorType, gate: TensorType) -> TensorType:
    """Type of x * gate, where the gate has x's shape or is 1x1 in space."""
    if x == gate:
        return x
    fits = len(x.shape) == len(gate.shape) == 4 and gate.shape == (x.shape[0], 1, 1, x.channels)
    require(fits and x.dtype == gate.dtype, f"cannot multiply {x} by {gate}")
    return x
