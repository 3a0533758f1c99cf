"""Keys of common layers, made from the numbers that tables of measurements state: one image, square maps."""

from dataclasses import replace

from mnv3c.graph.activation import Activation
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.networks.builder import same_padding
from mnv3c.graph.ops import Conv2d
from mnv3c.graph.tensor import TensorType


def convolution_key(
    size: int,
    c_in: int,
    c_out: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = None,
    residual: bool = False,
    same: bool = True,
) -> LayerKey:
    """Key of a convolution with bias on a map of `size` pixels a side; padding is SAME, or none.

    A residual is added before the activation. Raises ShapeError (a ValueError) where the numbers do not fit.
    """
    op = Conv2d(
        out_channels=c_out,
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=same_padding((size, size), kernel, stride, 1) if same else (0, 0, 0, 0),
        groups=groups,
        bias=True,
        activation=activation,
    )
    tensor = TensorType((1, size, size, c_in))
    out = op.infer((tensor,))
    if residual:
        return LayerKey(replace(op, residual="before_activation"), (tensor, out))
    return LayerKey(op, (tensor,))
