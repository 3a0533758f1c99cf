"""What happens to a vector of sums before it is stored: bias, residual and activation."""

from dataclasses import dataclass

from mnv3c.graph.activation import Activation
from mnv3c.graph.ops import Conv2d, Op, ResidualOrder, activation_of
from mnv3c.targets.gpu.builder import Buffer, Expr, GpuBuilder


@dataclass(frozen=True)
class Epilogue:
    """Residual and activation of a layer, in the layer's order."""

    activation: Activation | None = None
    residual: ResidualOrder | None = None

    @staticmethod
    def of(op: Op) -> "Epilogue":
        """What is fused into an op."""
        return Epilogue(activation_of(op), op.residual if isinstance(op, Conv2d) else None)

    def apply(self, k: GpuBuilder, value: Expr, residual: Buffer | None = None, at: Expr = 0) -> Expr:
        """The finished vector; `residual` is read as vector `at` where the layer has one."""
        if self.residual is None:
            return activate(k, self.activation, value)
        skip = k.load(residual, at)
        if self.residual == "before_activation":
            return activate(k, self.activation, value + skip)
        return activate(k, self.activation, value) + skip


def activate(k: GpuBuilder, activation: Activation | None, x: Expr) -> Expr:
    """The activation of a vector, branch-free."""
    if activation is None:
        return x
    match activation.kind:
        case "relu":
            return k.maximum(x, k.splat(0.0))
        case "relu6":
            return _clip(k, x, 0.0, 6.0)
        case "clip":
            return _clip(k, x, activation.low, activation.high)
        case "hsigmoid":
            return _hard_sigmoid(k, activation, x)
        case "hswish":
            return x * _hard_sigmoid(k, activation, x)
        case "sigmoid":
            # exp(-x) is infinite for very negative x, and 1 / inf is the 0 that it should be.
            return k.divide(k.splat(1.0), k.splat(1.0) + k.exp(k.splat(0.0) - x))


def _clip(k: GpuBuilder, x: Expr, low: float, high: float) -> Expr:
    return k.minimum(k.maximum(x, k.splat(low)), k.splat(high))


def _hard_sigmoid(k: GpuBuilder, activation: Activation, x: Expr) -> Expr:
    return _clip(k, x * k.splat(activation.slope) + k.splat(activation.offset), 0.0, 1.0)
