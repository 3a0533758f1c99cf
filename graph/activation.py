"""Activation functions, as values that a layer carries once they are fused into it."""

from dataclasses import dataclass
from typing import Literal

ActivationKind = Literal["relu", "relu6", "clip", "hswish", "hsigmoid", "sigmoid"]
ACTIVATION_KINDS: tuple[ActivationKind, ...] = ("relu", "relu6", "clip", "hswish", "hsigmoid", "sigmoid")


@dataclass(frozen=True)
class Activation:
    """An elementwise function.

    relu      max(x, 0)
    relu6     min(max(x, 0), 6)
    clip      min(max(x, low), high)
    hsigmoid  min(max(slope * x + offset, 0), 1); the paper's is slope 1/6, offset 1/2 (ReLU6(x + 3) / 6)
    hswish    x * hsigmoid(x) with the paper's slope and offset (MobileNetV3, section 5.2)
    sigmoid   1 / (1 + exp(-x))

    Fields that a kind does not use keep their defaults, so equal functions compare equal.
    """

    kind: ActivationKind
    low: float = 0.0
    high: float = 0.0
    slope: float = 1.0 / 6.0
    offset: float = 0.5

    def __str__(self) -> str:
        if self.kind == "clip":
            return f"clip({self.low:g},{self.high:g})"
        if self.kind == "hsigmoid" and (self.slope, self.offset) != (1.0 / 6.0, 0.5):
            return f"hsigmoid({self.slope:g},{self.offset:g})"
        return self.kind


RELU = Activation("relu")
RELU6 = Activation("relu6")
HSWISH = Activation("hswish")
HSIGMOID = Activation("hsigmoid")
SIGMOID = Activation("sigmoid")
