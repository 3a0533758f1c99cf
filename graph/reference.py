"""What every op means, in plain NumPy: the oracle that passes, kernels and emulators are held against.

Tensors are in the IR's own order, (batch, height, width, channels) or (batch, features), whatever layout the graph's
caller uses. Values are float32; means, normalisations and softmax are computed in float64 and rounded once.
"""

from collections.abc import Mapping, Sequence
from functools import singledispatch

import numpy as np
import numpy.typing as npt

from mnv3c.graph.activation import Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.ops import (
    Activate,
    Add,
    BatchNorm,
    ChannelAffine,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Identity,
    Input,
    Multiply,
    Op,
    Pool2d,
    Resize,
    ScalarAffine,
    Softmax,
)
from mnv3c.graph.reference_windows import convolve, convolve_transposed, pool, resample

Array = npt.NDArray[np.float32]
Inputs = Sequence[Array]
Weights = Mapping[str, Array]


def run(graph: Graph, x: Array) -> dict[str, Array]:
    """The graph's outputs by name. Raises as `run_all` does."""
    values = run_all(graph, x)
    return {name: values[name] for name in graph.outputs}


def run_all(graph: Graph, x: Array) -> dict[str, Array]:
    """Every node's value by name, in graph order.

    `x` is the graph's only input, in the IR's order. Raises UserError when the graph has several inputs or `x` has
    another shape or dtype, and GraphError when a weight has no value.
    """
    values: dict[str, Array] = {}
    for node in graph.nodes:
        if isinstance(node.op, Input):
            values[node.name] = _checked(graph, x)
        else:
            values[node.name] = evaluate(node.op, [values[name] for name in node.inputs], graph.weights_of(node))
    return values


def _checked(graph: Graph, x: Array) -> Array:
    if len(graph.inputs) != 1:
        names = ", ".join(node.name for node in graph.inputs)
        raise UserError(f"graph '{graph.name}' has {len(graph.inputs)} inputs ({names}); only one can be given")
    name = graph.inputs[0].name
    if x.shape != graph.type_of(name).shape or x.dtype != np.float32:
        raise UserError(f"input '{name}' is {x.dtype} {x.shape}, needs float32 {graph.type_of(name).shape}")
    return x


def apply_activation(activation: Activation | None, x: Array) -> Array:
    """The elementwise function of `Activation`; x itself where there is none."""
    if activation is None:
        return x
    match activation.kind:
        case "relu":
            return np.maximum(x, np.float32(0.0))
        case "relu6":
            return np.clip(x, np.float32(0.0), np.float32(6.0))
        case "clip":
            return np.clip(x, np.float32(activation.low), np.float32(activation.high))
        case "hsigmoid" | "hswish":
            gate = np.clip(x * np.float32(activation.slope) + np.float32(activation.offset), 0.0, 1.0)
            return np.asarray(gate * x if activation.kind == "hswish" else gate, np.float32)
        case "sigmoid":
            # exp(-x) overflows where the sigmoid is merely small.
            return np.exp(-np.logaddexp(0.0, -x.astype(np.float64))).astype(np.float32)


@singledispatch
def evaluate(op: Op, inputs: Inputs, weights: Weights) -> Array:
    """The output of one op on its inputs and its parameters by role, fused activation and residual included.

    Shapes are those of `op.infer` and `op.weights`. Raises TypeError for an op that computes nothing (Input).
    """
    raise TypeError(f"op '{op.kind}' computes nothing")


@evaluate.register
def _(op: Conv2d, inputs: Inputs, weights: Weights) -> Array:
    out = convolve(op, inputs[0], weights)
    if op.residual == "before_activation":
        out = out + inputs[1]
    out = apply_activation(op.activation, out)
    return out + inputs[1] if op.residual == "after_activation" else out


@evaluate.register
def _(op: ConvTranspose2d, inputs: Inputs, weights: Weights) -> Array:
    return apply_activation(op.activation, convolve_transposed(op, inputs[0], weights))


@evaluate.register
def _(op: Dense, inputs: Inputs, weights: Weights) -> Array:
    out = inputs[0] @ weights["weight"]
    return apply_activation(op.activation, out + weights["bias"] if op.bias else out)


@evaluate.register
def _(op: BatchNorm, inputs: Inputs, weights: Weights) -> Array:
    gamma, beta, mean, variance = (weights[role].astype(np.float64) for role in ("gamma", "beta", "mean", "variance"))
    return np.asarray((inputs[0] - mean) * (gamma / np.sqrt(variance + op.epsilon)) + beta, np.float32)


@evaluate.register
def _(op: ChannelAffine, inputs: Inputs, weights: Weights) -> Array:
    out = inputs[0] * weights["scale"] if op.scale else inputs[0]
    return out + weights["shift"] if op.shift else out


@evaluate.register
def _(op: ScalarAffine, inputs: Inputs, weights: Weights) -> Array:
    return inputs[0] * np.float32(op.scale) + np.float32(op.shift)


@evaluate.register
def _(op: Activate, inputs: Inputs, weights: Weights) -> Array:
    return apply_activation(op.activation, inputs[0])


@evaluate.register
def _(op: Add, inputs: Inputs, weights: Weights) -> Array:
    return apply_activation(op.activation, inputs[0] + inputs[1])


@evaluate.register
def _(op: Multiply, inputs: Inputs, weights: Weights) -> Array:
    return apply_activation(op.activation, inputs[0] * inputs[1])


@evaluate.register
def _(op: GlobalAveragePool, inputs: Inputs, weights: Weights) -> Array:
    return np.asarray(inputs[0].mean(axis=(1, 2), keepdims=True, dtype=np.float64), np.float32)


@evaluate.register
def _(op: Pool2d, inputs: Inputs, weights: Weights) -> Array:
    return pool(op, inputs[0])


@evaluate.register
def _(op: Resize, inputs: Inputs, weights: Weights) -> Array:
    return resample(op, inputs[0])


@evaluate.register
def _(op: Concat, inputs: Inputs, weights: Weights) -> Array:
    return np.concatenate(inputs, axis=-1)


@evaluate.register
def _(op: Flatten, inputs: Inputs, weights: Weights) -> Array:
    return inputs[0].reshape(inputs[0].shape[0], -1)


@evaluate.register
def _(op: Softmax, inputs: Inputs, weights: Weights) -> Array:
    x = inputs[0].astype(np.float64)
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), np.float32)


@evaluate.register
def _(op: Identity, inputs: Inputs, weights: Weights) -> Array:
    return inputs[0]
