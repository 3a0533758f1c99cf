"""The operations of the IR: frozen values that infer their output, their weights and their work.

Every op takes tensors in NHWC (rank 4) or (batch, features) (rank 2). An op says which parameters it holds (`weights`),
so shapes, MACs and parameter counts need no weight values.
"""

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from mnv3c.graph.activation import Activation
from mnv3c.graph.shapes import (
    broadcast_gate,
    pooled_extent,
    require,
    require_inputs,
    require_rank,
    transposed_extent,
    window_extent,
)
from mnv3c.graph.tensor import Layout, TensorType

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]  # top, left, bottom, right
Types = tuple[TensorType, ...]
WeightShapes = dict[str, tuple[int, ...]]
ResidualOrder = Literal["before_activation", "after_activation"]


@dataclass(frozen=True)
class Op:
    """What a node computes. `kind` is its stable name in files, tables and keys."""

    kind: ClassVar[str]

    def infer(self, inputs: Types) -> TensorType:
        """Type of the output. Raises ShapeError when the inputs do not fit."""
        raise NotImplementedError

    def weights(self, inputs: Types) -> WeightShapes:
        """Shape of every parameter, by role."""
        return {}

    def macs(self, inputs: Types) -> int:
        """Multiply-accumulates of convolutions and dense layers; other work is not counted, as in the papers."""
        return 0


@dataclass(frozen=True)
class Input(Op):
    """The network's input. `layout` is the memory order in which the caller hands it over."""

    kind: ClassVar[str] = "input"
    shape: tuple[int, ...]
    layout: Layout = "NHWC"

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 0)
        require(all(extent > 0 for extent in self.shape), f"extents must be positive, not {self.shape}")
        return TensorType(self.shape)


@dataclass(frozen=True)
class Conv2d(Op):
    """2-D convolution. weight: (kernel_h, kernel_w, in_channels / groups, out_channels); bias: (out_channels,).

    After fusion it also carries an activation and a residual: the second input, of the output's shape, is added
    before or after the activation.
    """

    kind: ClassVar[str] = "conv2d"
    out_channels: int
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: bool = False
    activation: Activation | None = None
    residual: ResidualOrder | None = None

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 2 if self.residual else 1)
        x = require_rank(inputs[0], 4)
        require(self.groups > 0, "groups must be positive")
        require(x.channels % self.groups == 0, f"groups {self.groups} does not divide {x.channels} input channels")
        require(
            self.out_channels > 0 and self.out_channels % self.groups == 0,
            f"groups {self.groups} does not divide {self.out_channels} output channels",
        )
        height, width = window_extent(x.spatial, self.kernel, self.stride, self.padding, self.dilation)
        out = TensorType((x.shape[0], height, width, self.out_channels), x.dtype)
        if self.residual:
            require(inputs[1] == out, f"residual is {inputs[1]}, output is {out}")
        return out

    def weights(self, inputs: Types) -> WeightShapes:
        shapes: WeightShapes = {"weight": (*self.kernel, inputs[0].channels // self.groups, self.out_channels)}
        if self.bias:
            shapes["bias"] = (self.out_channels,)
        return shapes

    def macs(self, inputs: Types) -> int:
        taps = self.kernel[0] * self.kernel[1] * (inputs[0].channels // self.groups)
        return self.infer(inputs).elements * taps

    @property
    def pointwise(self) -> bool:
        """A 1x1 convolution of stride 1 over all channels: a matrix product."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and self.groups == 1 and self.padding == (0, 0, 0, 0)

    def depthwise(self, in_channels: int) -> bool:
        """One filter per channel."""
        return self.groups == in_channels == self.out_channels and self.groups > 1


@dataclass(frozen=True)
class ConvTranspose2d(Op):
    """Transposed convolution. weight: (kernel_h, kernel_w, in_channels, out_channels); bias: (out_channels,)."""

    kind: ClassVar[str] = "conv_transpose2d"
    out_channels: int
    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)
    bias: bool = False
    activation: Activation | None = None

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 1)
        x = require_rank(inputs[0], 4)
        require(self.out_channels > 0, "out_channels must be positive")
        height, width = transposed_extent(x.spatial, self.kernel, self.stride, self.padding)
        return TensorType((x.shape[0], height, width, self.out_channels), x.dtype)

    def weights(self, inputs: Types) -> WeightShapes:
        shapes: WeightShapes = {"weight": (*self.kernel, inputs[0].channels, self.out_channels)}
        if self.bias:
            shapes["bias"] = (self.out_channels,)
        return shapes

    def macs(self, inputs: Types) -> int:
        return inputs[0].elements * self.kernel[0] * self.kernel[1] * self.out_channels


@dataclass(frozen=True)
class Dense(Op):
    """Fully connected layer on (batch, features). weight: (in_features, units); bias: (units,)."""

    kind: ClassVar[str] = "dense"
    units: int
    bias: bool = False
    activation: Activation | None = None

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 1)
        x = require_rank(inputs[0], 2)
        require(self.units > 0, "units must be positive")
        return TensorType((x.shape[0], self.units), x.dtype)

    def weights(self, inputs: Types) -> WeightShapes:
        shapes: WeightShapes = {"weight": (inputs[0].channels, self.units)}
        if self.bias:
            shapes["bias"] = (self.units,)
        return shapes

    def macs(self, inputs: Types) -> int:
        return inputs[0].elements * self.units


@dataclass(frozen=True)
class BatchNorm(Op):
    """Inference batch normalisation over the last axis: gamma * (x - mean) / sqrt(variance + epsilon) + beta."""

    kind: ClassVar[str] = "batch_norm"
    epsilon: float = 1e-3

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 1)
        require(self.epsilon > 0, f"epsilon must be positive, not {self.epsilon}")
        return inputs[0]

    def weights(self, inputs: Types) -> WeightShapes:
        channels = (inputs[0].channels,)
        return {"gamma": channels, "beta": channels, "mean": channels, "variance": channels}


@dataclass(frozen=True)
class ChannelAffine(Op):
    """scale * x + shift per channel: what frameworks write as Mul or Add with a constant. Roles present as flagged."""

    kind: ClassVar[str] = "channel_affine"
    scale: bool = False
    shift: bool = True

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 1)
        require(self.scale or self.shift, "needs a scale or a shift")
        return inputs[0]

    def weights(self, inputs: Types) -> WeightShapes:
        channels = (inputs[0].channels,)
        return {role: channels for role, present in (("scale", self.scale), ("shift", self.shift)) if present}


@dataclass(frozen=True)
class ScalarAffine(Op):
    """scale * x + shift with two numbers: Add, Sub, Mul or Div by a scalar constant."""

    kind: ClassVar[str] = "scalar_affine"
    scale: float = 1.0
    shift: float = 0.0

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 1)
        return inputs[0]


@dataclass(frozen=True)
class Activate(Op):
    """An activation that is a node of its own."""

    kind: ClassVar[str] = "activate"
    activation: Activation

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 1)
        return inputs[0]


@dataclass(frozen=True)
class Add(Op):
    """Sum of two tensors of the same shape, then an optional activation."""

    kind: ClassVar[str] = "add"
    activation: Activation | None = None

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 2)
        require(inputs[0] == inputs[1], f"shapes differ: {inputs[0]} and {inputs[1]}")
        return inputs[0]


@dataclass(frozen=True)
class Multiply(Op):
    """Product of two tensors; the second may be a gate of shape (batch, 1, 1, channels), as in squeeze-excite."""

    kind: ClassVar[str] = "multiply"
    activation: Activation | None = None

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 2)
        return broadcast_gate(inputs[0], inputs[1])


@dataclass(frozen=True)
class GlobalAveragePool(Op):
    """Mean over height and width: (batch, 1, 1, channels)."""

    kind: ClassVar[str] = "global_average_pool"

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 1)
        x = require_rank(inputs[0], 4)
        return TensorType((x.shape[0], 1, 1, x.channels), x.dtype)


@dataclass(frozen=True)
class Pool2d(Op):
    """Windowed pooling. Padding never enters a maximum; it enters a mean only with `count_padding`."""

    kind: ClassVar[str] = "pool2d"
    mode: Literal["max", "average"]
    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)
    count_padding: bool = False

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 1)
        x = require_rank(inputs[0], 4)
        height, width = pooled_extent(x.spatial, self.kernel, self.stride, self.padding)
        return TensorType((x.shape[0], height, width, x.channels), x.dtype)


ResizeCoordinates = Literal["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]


@dataclass(frozen=True)
class Resize(Op):
    """Resampling to (height, width) = `size`, with ONNX's names for the coordinate rule.

    nearest with `asymmetric` takes floor(out * in_size / out_size); with `half_pixel` it rounds half down, as ONNX's
    `round_prefer_floor`. bilinear clamps at the borders.
    """

    kind: ClassVar[str] = "resize"
    size: Pair
    mode: Literal["nearest", "bilinear"] = "bilinear"
    coordinates: ResizeCoordinates = "half_pixel"

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 1)
        x = require_rank(inputs[0], 4)
        require(min(self.size) > 0, f"size must be positive, not {self.size}")
        return TensorType((x.shape[0], *self.size, x.channels), x.dtype)


@dataclass(frozen=True)
class Concat(Op):
    """Concatenation over the last axis."""

    kind: ClassVar[str] = "concat"

    def infer(self, inputs: Types) -> TensorType:
        require(len(inputs) >= 2, f"takes at least 2 inputs, not {len(inputs)}")
        leading = {(x.shape[:-1], x.dtype) for x in inputs}
        require(len(leading) == 1, "inputs differ before the last axis: " + ", ".join(map(str, inputs)))
        return TensorType((*inputs[0].shape[:-1], sum(x.channels for x in inputs)), inputs[0].dtype)


@dataclass(frozen=True)
class Flatten(Op):
    """(batch, 1, 1, channels) to (batch, channels). Larger maps are refused: their order would depend on a layout."""

    kind: ClassVar[str] = "flatten"

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 1)
        x = require_rank(inputs[0], 4)
        require(x.spatial == (1, 1), f"flattens only 1x1 maps, not {x.spatial[0]}x{x.spatial[1]}")
        return TensorType((x.shape[0], x.channels), x.dtype)


@dataclass(frozen=True)
class Softmax(Op):
    """Softmax over the last axis of (batch, features)."""

    kind: ClassVar[str] = "softmax"

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 1)
        return require_rank(inputs[0], 2)


@dataclass(frozen=True)
class Identity(Op):
    """The same tensor: Identity, Dropout at inference, a Cast to the dtype it already has."""

    kind: ClassVar[str] = "identity"

    def infer(self, inputs: Types) -> TensorType:
        require_inputs(inputs, 1)
        return inputs[0]


OP_TYPES: tuple[type[Op], ...] = (
    Input,
    Conv2d,
    ConvTranspose2d,
    Dense,
    BatchNorm,
    ChannelAffine,
    ScalarAffine,
    Activate,
    Add,
    Multiply,
    GlobalAveragePool,
    Pool2d,
    Resize,
    Concat,
    Flatten,
    Softmax,
    Identity,
)


def activation_of(op: Op) -> Activation | None:
    """The activation that an op carries, fused or as itself; None where it has none."""
    value = getattr(op, "activation", None)
    return value if isinstance(value, Activation) else None


def attributes(op: Op) -> dict[str, object]:
    """The op's fields that differ from their defaults, in order of declaration."""
    return {f.name: getattr(op, f.name) for f in fields(op) if getattr(op, f.name) != f.default}
