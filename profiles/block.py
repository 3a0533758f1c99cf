"""The inverted residual block of MobileNetV2 and its heirs, as tables of measurements state it: by its numbers."""

from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import ClassVar, Literal

from mnv3c.graph.activation import HSIGMOID, RELU, Activation
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.networks.builder import same_padding
from mnv3c.graph.networks.rewrites import make_divisible
from mnv3c.graph.ops import GlobalAveragePool, Multiply, Pool2d
from mnv3c.graph.tensor import TensorType
from mnv3c.profiles.layer_keys import convolution_key

BlockActivation = Literal["relu", "relu6", "hswish"]
BLOCK_ACTIVATIONS: tuple[BlockActivation, ...] = ("relu", "relu6", "hswish")
_LARGEST = MappingProxyType({"kernel": 2**12, "stride": 2**12})
_LARGEST_EXTENT = 2**20
_NUMBERS = ("h_in", "c_in", "c_out", "c_expand", "kernel", "stride")
_TRUTH = MappingProxyType({True: "yes", False: "no"})


@dataclass(frozen=True)
class Block:
    """An inverted residual block: expand, depthwise, squeeze-excite, project, residual.

    `h_in` is the input's height and width in pixels, `kernel` and `stride` are the depthwise convolution's, the
    expansion is absent where `c_expand` equals `c_in`, the projection has no activation. Padding is SAME.

    Raises ValueError for numbers that are not positive or beyond any network's, an activation that is not one of
    `BLOCK_ACTIVATIONS`, and a `skip` where input and output differ in shape.
    """

    kind: ClassVar[str] = "block"
    h_in: int
    c_in: int
    c_out: int
    c_expand: int
    kernel: int
    stride: int
    se: bool
    activation: BlockActivation
    skip: bool

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
            if getattr(self, name) > (most := _LARGEST.get(name, _LARGEST_EXTENT)):
                raise ValueError(f"{name} must be at most {most}, not {getattr(self, name)}")
        block_activation(self.activation)
        if self.skip and not self.may_skip(self.c_in, self.c_out, self.stride):
            raise ValueError("skip needs stride 1 and c_in equal to c_out")

    @staticmethod
    def may_skip(c_in: int, c_out: int, stride: int) -> bool:
        """Whether a residual fits, so that a network would have it."""
        return stride == 1 and c_in == c_out

    @property
    def h_out(self) -> int:
        """Height and width of the output, in pixels."""
        return -(-self.h_in // self.stride)

    def layer_keys(self, projected_shortcut: bool = False) -> tuple[LayerKey, ...]:
        """The layers of the block, as a graph of it has them once batch norms are folded and layers fused.

        With a projected shortcut a block without `skip` adds its input all the same, brought to the output's shape by
        a mean pool of 2x2 (at stride 2) and a 1x1 convolution (where the channels differ), as ResNet-D does (He et al.
        2019, "Bag of Tricks for Image Classification with Convolutional Neural Networks", figure 2c).
        """
        activation = Activation(self.activation)
        keys: list[LayerKey] = []
        if self.c_expand != self.c_in:
            keys.append(convolution_key(self.h_in, self.c_in, self.c_expand, activation=activation))
        keys.append(
            convolution_key(
                self.h_in,
                self.c_expand,
                self.c_expand,
                kernel=self.kernel,
                stride=self.stride,
                groups=self.c_expand,
                activation=activation,
            )
        )
        if self.se:
            keys += self._squeeze_excite()
        keys.append(convolution_key(self.h_out, self.c_expand, self.c_out, residual=self.skip or projected_shortcut))
        return (*keys, *self._shortcut()) if projected_shortcut and not self.skip else tuple(keys)

    def _shortcut(self) -> list[LayerKey]:
        keys = []
        if self.stride > 1:
            size, window = (self.h_in, self.h_in), (2, 2)
            pool = Pool2d("average", window, (self.stride, self.stride), same_padding(size, 2, self.stride, 1))
            keys.append(LayerKey(pool, (TensorType((1, *size, self.c_in)),)))
        if self.c_in != self.c_out:
            keys.append(convolution_key(self.h_out, self.c_in, self.c_out))
        return keys

    def _squeeze_excite(self) -> list[LayerKey]:
        wide = TensorType((1, self.h_out, self.h_out, self.c_expand))
        squeezed = make_divisible(self.c_expand / 4)
        return [
            LayerKey(GlobalAveragePool(), (wide,)),
            convolution_key(1, self.c_expand, squeezed, activation=RELU),
            convolution_key(1, squeezed, self.c_expand, activation=HSIGMOID),
            LayerKey(Multiply(), (wide, TensorType((1, 1, 1, self.c_expand)))),
        ]

    def __str__(self) -> str:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return " ".join([self.kind, *(f"{name}={_text(value)}" for name, value in values)])

    @classmethod
    def parse(cls, text: str) -> "Block":
        """The block of the text that follows `block`. Raises ValueError."""
        words = [word.partition("=") for word in text.split(" ")]
        names = [field.name for field in fields(cls)]
        if [name for name, _, _ in words] != names:
            raise ValueError(f"a block has the fields {', '.join(names)}, in this order")
        values = {name: value for name, _, value in words}
        for name in ("se", "skip"):
            if values[name] not in _TRUTH.values():
                raise ValueError(f"{name} is 'yes' or 'no', not '{values[name]}'")
        activation = block_activation(values["activation"])
        numbers = {name: int(values[name]) for name in _NUMBERS}
        return cls(**numbers, se=values["se"] == "yes", activation=activation, skip=values["skip"] == "yes")


def block_activation(text: str) -> BlockActivation:
    """The activation of this name. Raises ValueError where a block cannot have it."""
    for activation in BLOCK_ACTIVATIONS:
        if activation == text:
            return activation
    raise ValueError(f"activation is one of {', '.join(BLOCK_ACTIVATIONS)}, not '{text}'")


def _text(value: object) -> str:
    return _TRUTH[value] if isinstance(value, bool) else str(value)
