"""One fused layer as a Relax module, written as TVM's importers write it: convolution, add, activation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnv3c.graph.activation import Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Array
from mnv3c.graph.ops import Activate, Add, Conv2d, Dense, GlobalAveragePool, Multiply, Op, activation_of
from mnv3c.graph.tensor import Layout


def laid_out(x: Array, layout: Layout) -> Array:
    """A tensor of the IR in the memory order that TVM is given."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if layout == "NCHW" and x.ndim == 4 else x)


def weights_laid_out(op: Op, weights: Mapping[str, Array], layout: Layout) -> dict[str, Array]:
    """Weights as OIHW or HWIO, biases of a shape that broadcasts."""
    if not isinstance(op, Conv2d):
        return dict(weights)
    found = {"weight": weights["weight"]}
    if layout == "NCHW":
        found = {"weight": np.ascontiguousarray(weights["weight"].transpose(3, 2, 0, 1))}
    if "bias" in weights:
        found["bias"] = weights["bias"].reshape((1, -1, 1, 1) if layout == "NCHW" else (1, 1, 1, -1))
    return found


def relax_module(op: Op, given: Mapping[str, Array], layout: Layout) -> Any:
    """A module with `main` of one layer; its parameters have the names and shapes of `given`.

    Raises UserError for an op that MobileNetV3 does not have. Imports TVM.
    """
    from tvm import relax

    builder = relax.BlockBuilder()
    parameters = {name: relax.Var(name, relax.TensorType(each.shape, "float32")) for name, each in given.items()}
    with builder.function("main", list(parameters.values())):
        with builder.dataflow():
            inputs = [value for name, value in parameters.items() if name.startswith("input")]
            weights = {name: value for name, value in parameters.items() if not name.startswith("input")}
            result = builder.emit_output(_Layer(builder.emit, layout).result(op, inputs, weights))
        builder.emit_func_output(result)
    return builder.finalize()


@dataclass(frozen=True)
class _Layer:
    emit: Callable[[Any], Any]
    layout: Layout

    def result(self, op: Op, inputs: Sequence[Any], weights: Mapping[str, Any]) -> Any:
        from tvm import relax

        activation = activation_of(op)
        match op:
            case Conv2d():
                return self._convolution(op, inputs, weights)
            case Dense():
                y = self.emit(relax.op.matmul(inputs[0], weights["weight"]))
                return self._activated(self._biased(y, weights), activation)
            case Add():
                return self._activated(self.emit(relax.op.add(*inputs)), activation)
            case Multiply():
                return self._activated(self.emit(relax.op.multiply(*inputs)), activation)
            case Activate():
                return self._activated(inputs[0], activation)
            case GlobalAveragePool():
                axes = [2, 3] if self.layout == "NCHW" else [1, 2]
                return self.emit(relax.op.mean(inputs[0], axis=axes, keepdims=True))
            case _:
                raise UserError(f"{op.kind} is not written in Relax here")

    def _convolution(self, op: Conv2d, inputs: Sequence[Any], weights: Mapping[str, Any]) -> Any:
        from tvm import relax

        y = self.emit(
            relax.op.nn.conv2d(
                inputs[0],
                weights["weight"],
                strides=list(op.stride),
                padding=list(op.padding),
                dilation=list(op.dilation),
                groups=op.groups,
                data_layout=self.layout,
                kernel_layout="OIHW" if self.layout == "NCHW" else "HWIO",
            )
        )
        y = self._biased(y, weights)
        if op.residual == "before_activation":
            y = self.emit(relax.op.add(y, inputs[1]))
        y = self._activated(y, op.activation)
        return self.emit(relax.op.add(y, inputs[1])) if op.residual == "after_activation" else y

    def _biased(self, y: Any, weights: Mapping[str, Any]) -> Any:
        from tvm import relax

        return self.emit(relax.op.add(y, weights["bias"])) if "bias" in weights else y

    def _activated(self, x: Any, activation: Activation | None) -> Any:
        from tvm import relax

        if activation is None:
            return x
        match activation.kind:
            case "relu":
                return self.emit(relax.op.nn.relu(x))
            case "relu6":
                return self.emit(relax.op.clip(x, 0.0, 6.0))
            case "clip":
                return self.emit(relax.op.clip(x, activation.low, activation.high))
            case "sigmoid":
                return self.emit(relax.op.sigmoid(x))
            case "hsigmoid":
                return self._hsigmoid(x, activation)
            case "hswish":
                return self.emit(relax.op.multiply(x, self._hsigmoid(x, activation)))

    def _hsigmoid(self, x: Any, activation: Activation) -> Any:
        from tvm import relax

        scaled = self.emit(relax.op.multiply(x, relax.const(activation.slope, "float32")))
        shifted = self.emit(relax.op.add(scaled, relax.const(activation.offset, "float32")))
        return self.emit(relax.op.clip(shifted, 0.0, 1.0))
