"""One layer of each kind, of awkward sizes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hypothesis import strategies as st

from mnv3c.graph.activation import HSWISH
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.networks.builder import same_padding
from mnv3c.graph.ops import (
    Add,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    GlobalAveragePool,
    Multiply,
    Op,
    Pool2d,
    Resize,
    Softmax,
)
from mnv3c.graph.shapes import Padding, Pair
from mnv3c.graph.tensor import TensorType
from mnv3c.profiles.layer_table import KINDS

# Below, at and above the sizes of tiles, vectors, slices and groups.
SIDES = st.sampled_from([1, 2, 7, 13, 31, 32, 33])
CHANNELS = st.sampled_from([1, 3, 5, 8, 31, 33, 96, 257])
WINDOWS = st.sampled_from([1, 2, 3, 5, 7, 9])
STRIDES = st.tuples(st.integers(1, 3), st.integers(1, 3))


def same(size: Pair, kernel: Pair, stride: Pair) -> Padding:
    """SAME padding of a window whose sides and strides may differ."""
    top, _, bottom, _ = same_padding((size[0], 1), kernel[0], stride[0], 1)
    _, left, _, right = same_padding((1, size[1]), kernel[1], stride[1], 1)
    return top, left, bottom, right


def convolution(size: Pair, c_in: int, c_out: int, kernel: Pair, stride: Pair, groups: int = 1) -> LayerKey:
    """A convolution with SAME padding and h-swish."""
    op = Conv2d(c_out, kernel, stride, same(size, kernel, stride), groups=groups, activation=HSWISH)
    return LayerKey(op, (TensorType((1, *size, c_in)),))


def depthwise(size: Pair, channels: int, kernel: Pair, stride: Pair) -> LayerKey:
    """A depthwise convolution with SAME padding and h-swish."""
    return convolution(size, channels, channels, kernel, stride, channels)


def layer_of(kind: str, size: Pair, c_in: int, c_out: int, kernel: Pair, stride: Pair) -> LayerKey:
    """A layer of this kind, of as many of these numbers as it has."""
    x, row = TensorType((1, *size, c_in)), TensorType((1, c_in))
    window = Pool2d("max", kernel, stride, same(size, kernel, stride))
    others: Mapping[str, Callable[[], tuple[Op, tuple[TensorType, ...]]]] = MappingProxyType(
        {
            "transposed_conv": lambda: (ConvTranspose2d(c_out, kernel, stride), (x,)),
            "linear": lambda: (Dense(c_out), (row,)),
            "global_pool": lambda: (GlobalAveragePool(), (x,)),
            "pool": lambda: (window, (x,)),
            "gate": lambda: (Multiply(), (x, TensorType((1, 1, 1, c_in)))),
            "elementwise": lambda: (Add(), (x, x)),
            "concat": lambda: (Concat(), (x, TensorType((1, *size, c_out)))),
            "resize": lambda: (Resize((2 * size[0], size[1])), (x,)),
            "softmax": lambda: (Softmax(), (row,)),
        }
    )
    if kind in others:
        return LayerKey(*others[kind]())
    if kind == "depthwise":
        return depthwise(size, c_in, kernel, stride)
    if kind == "grouped_conv":
        return convolution(size, 2 * c_in, 6 * c_out, kernel, stride, 2)
    return convolution(size, c_in, c_out, (1, 1) if kind == "pointwise" else kernel, stride)


LAYERS = st.builds(
    layer_of,
    st.sampled_from(KINDS),
    st.tuples(SIDES, SIDES),
    CHANNELS,
    CHANNELS,
    st.tuples(WINDOWS, WINDOWS),
    STRIDES,
)
