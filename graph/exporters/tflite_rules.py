"""What TFLite derives from an operator's attributes: padding from SAME, bounds from a fused activation."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from mnv3c.graph.activation import RELU, RELU6, Activation
from mnv3c.graph.shapes import Padding, Pair

Fused = Literal["none", "relu", "relu_n1_to_1", "relu6"]
FUSED_ACTIVATIONS: Mapping[Fused, Activation | None] = MappingProxyType(
    {"none": None, "relu": RELU, "relu6": RELU6, "relu_n1_to_1": Activation("clip", low=-1.0, high=1.0)}
)


def same_padding(size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> Padding:
    """Padding (top, left, bottom, right) of SAME: output extent ceil(size / stride), an odd row or column last."""
    (top, bottom), (left, right) = (_same_side(*axis) for axis in zip(size, kernel, stride, dilation, strict=True))
    return top, left, bottom, right


def _same_side(size: int, kernel: int, stride: int, dilation: int) -> Pair:
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2
