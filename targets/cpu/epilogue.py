"""What happens to an accumulator before it is stored: residual and activation."""

from dataclasses import dataclass

from mnv3c.graph.activation import Activation
from mnv3c.graph.ops import ResidualOrder
from mnv3c.targets.cpu.builder import Buffer, Expr, KernelBuilder

# Cephes expf (Moshier, netlib cephes/single/expf.c): exp(x) = 2^n * exp(r), |r| <= ln(2) / 2, relative error 1.7e-7.
_LOG2_E = 1.44269504088896341
_LN2_HIGH = 0.693359375
_LN2_LOW = -2.12194440e-4
_EXP_POLYNOMIAL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_EXP_LIMIT = 87.0


@dataclass(frozen=True)
class Epilogue:
    """Residual and activation of a layer, in the layer's order."""

    activation: Activation | None = None
    residual: ResidualOrder | None = None

    def apply(self, k: KernelBuilder, value: Expr, lanes: int, residual: Buffer | None = None, at: Expr = 0) -> Expr:
        """The finished vector; `residual` is read at index `at` where the layer has one."""
        if self.residual is None:
            return activate(k, self.activation, value, lanes)
        skip = k.load(residual, at, lanes)
        if self.residual == "before_activation":
            return activate(k, self.activation, value + skip, lanes)
        return activate(k, self.activation, value, lanes) + skip


def activate(k: KernelBuilder, activation: Activation | None, x: Expr, lanes: int) -> Expr:
    """The activation of a vector, branch-free."""
    if activation is None:
        return x
    match activation.kind:
        case "relu":
            return k.maximum(x, k.splat(0.0, lanes))
        case "relu6":
            return clip(k, x, 0.0, 6.0, lanes)
        case "clip":
            return clip(k, x, activation.low, activation.high, lanes)
        case "hsigmoid":
            return _hard_sigmoid(k, activation, x, lanes)
        case "hswish":
            return x * _hard_sigmoid(k, activation, x, lanes)
        case "sigmoid":
            one = k.splat(1.0, lanes)
            return k.divide(one, one + exp(k, k.splat(0.0, lanes) - x, lanes))


def clip(k: KernelBuilder, x: Expr, low: float, high: float, lanes: int) -> Expr:
    """min(max(x, low), high)."""
    return k.minimum(k.maximum(x, k.splat(low, lanes)), k.splat(high, lanes))


def exp(k: KernelBuilder, x: Expr, lanes: int) -> Expr:
    """exp(x), clamped to |x| <= 87 where float32 neither overflows nor turns subnormal."""
    x = clip(k, x, -_EXP_LIMIT, _EXP_LIMIT, lanes)
    n = k.floor(x * k.splat(_LOG2_E, lanes) + k.splat(0.5, lanes))
    r = x - n * k.splat(_LN2_HIGH, lanes) - n * k.splat(_LN2_LOW, lanes)
    p = k.splat(_EXP_POLYNOMIAL[0], lanes)
    for coefficient in _EXP_POLYNOMIAL[1:]:
        p = p * r + k.splat(coefficient, lanes)
    mantissa = p * r * r + r + k.splat(1.0, lanes)
    exponent = (k.to_int(n, lanes) + k.splat_int(127, lanes)) * k.splat_int(1 << 23, lanes)
    return mantissa * k.reinterpret_float(exponent, lanes)


def _hard_sigmoid(k: KernelBuilder, activation: Activation, x: Expr, lanes: int) -> Expr:
    return clip(k, x * k.splat(activation.slope, lanes) + k.splat(activation.offset, lanes), 0.0, 1.0, lanes)
