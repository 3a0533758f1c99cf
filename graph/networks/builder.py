"""Collects the nodes of a network in the unfused form a framework holds: convolution, batch norm, activation."""

from dataclasses import dataclass, field

from mnv3c.graph.activation import HSIGMOID, RELU, Activation
from mnv3c.graph.ir import Node
from mnv3c.graph.networks.rewrites import make_divisible
from mnv3c.graph.ops import (
    Activate,
    BatchNorm,
    Conv2d,
    GlobalAveragePool,
    Multiply,
    Op,
    Padding,
    Pair,
)
from mnv3c.graph.tensor import TensorType


def same_padding(size: Pair, kernel: int, stride: int, dilation: int) -> Padding:
    """TensorFlow's SAME, which gives the odd pixel to the bottom and right: (top, left, bottom, right)."""

    def before_after(extent: int) -> Pair:
        reach = dilation * (kernel - 1) + 1
        total = max((-(-extent // stride) - 1) * stride + reach - extent, 0)
        return total // 2, total - total // 2

    (top, bottom), (left, right) = before_after(size[0]), before_after(size[1])
    return top, left, bottom, right


@dataclass
class Builder:
    """Adds nodes one by one and knows their types. Without `batch_norm` convolutions carry a bias instead."""

    batch_norm: bool = True
    nodes: list[Node] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)

    def add(self, name: str, op: Op, *inputs: str) -> str:
        """Append a node; returns its name."""
        self.types[name] = op.infer(tuple(self.types[x] for x in inputs))
        self.nodes.append(Node(name, op, inputs))
        return name

    def conv(
        self,
        name: str,
        x: str,
        channels: int,
        activation: Activation | None,
        *,
        kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        normalised: bool = True,
    ) -> str:
        """Convolution with SAME padding, `NAME.bn` (or a bias where not normalised), `NAME.act`; returns the last."""
        normalised = normalised and self.batch_norm
        op = Conv2d(
            out_channels=channels,
            kernel=(kernel, kernel),
            stride=(stride, stride),
            padding=same_padding(self.types[x].spatial, kernel, stride, dilation),
            dilation=(dilation, dilation),
            groups=groups,
            bias=not normalised,
        )
        out = self.add(name, op, x)
        if normalised:
            out = self.add(f"{name}.bn", BatchNorm(), out)
        return out if activation is None else self.add(f"{name}.act", Activate(activation), out)

    def depthwise(
        self, name: str, x: str, activation: Activation | None, *, kernel: int, stride: int = 1, dilation: int = 1
    ) -> str:
        """Depthwise convolution with batch norm and activation."""
        channels = self.types[x].channels
        return self.conv(
            name, x, channels, activation, kernel=kernel, stride=stride, dilation=dilation, groups=channels
        )

    def squeeze_excite(self, name: str, x: str) -> str:
        """Section 5.3: pool, squeeze to a quarter with ReLU, excite with h-sigmoid, scale. No batch norm."""
        channels = self.types[x].channels
        pooled = self.add(f"{name}.pool", GlobalAveragePool(), x)
        reduced = self.conv(f"{name}.reduce", pooled, make_divisible(channels / 4), RELU, normalised=False)
        gate = self.conv(f"{name}.expand", reduced, channels, HSIGMOID, normalised=False)
        return self.add(f"{name}.scale", Multiply(), x, gate)
