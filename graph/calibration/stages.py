"""How a fused layer falls into steps of its own tensors each, and what those tensors hold in real numbers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from mnv3c.graph.activation import Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Array, Node
from mnv3c.graph.ops import (
    Activate,
    Add,
    Conv2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Multiply,
    Op,
    Pool2d,
    Softmax,
)
from mnv3c.graph.reference import Weights, apply_activation, evaluate

StageKind = Literal["product", "table", "sum", "element_product", "mean", "window", "reshape", "softmax"]
_CLAMPS = ("relu", "relu6", "clip")
_PLAIN: Mapping[type[Op], StageKind] = MappingProxyType(
    {GlobalAveragePool: "mean", Pool2d: "window", Flatten: "reshape", Softmax: "softmax"}
)


@dataclass(frozen=True)
class Stage:
    """One step of a layer before its integers are known: one of `mnv3c.graph.integer.ops`, with its clamp or table.

    `activation` is the function of a table, or the bounds that any other step clamps its result to.
    """

    kind: StageKind
    activation: Activation | None = None


def stages(node: Node) -> tuple[Stage, ...]:
    """The steps of a layer, in order; the first reads the node's first input, each other the one before it.

    relu, relu6 and clip are clamps of the step before them; h-swish, h-sigmoid and sigmoid are tables. Raises UserError
    naming node and op for what has no integer step.
    """
    op = node.op
    fused = _fused(op)
    if fused:
        return fused
    if isinstance(op, Pool2d) and op.mode == "average" and op.count_padding and any(op.padding):
        raise UserError(f"node '{node.name}' ({op.kind}): an average that counts its padding has no integer form")
    if type(op) not in _PLAIN:
        raise UserError(f"node '{node.name}' ({op.kind}) has no integer form; give a network without {op.kind}")
    return (Stage(_PLAIN[type(op)]),)


def _fused(op: Op) -> tuple[Stage, ...]:
    match op:
        case Conv2d(residual="before_activation"):
            return (Stage("product"), *_activated("sum", op.activation))
        case Conv2d(residual="after_activation"):
            return (*_activated("product", op.activation), Stage("sum"))
        case Conv2d() | Dense():
            return _activated("product", op.activation)
        case Add():
            return _activated("sum", op.activation)
        case Multiply():
            return _activated("element_product", op.activation)
        case Activate():
            return (Stage("table", op.activation),)
        case _:
            return ()


def _activated(kind: StageKind, activation: Activation | None) -> tuple[Stage, ...]:
    if activation is None or activation.kind in _CLAMPS:
        return (Stage(kind, activation),)
    return (Stage(kind), Stage("table", activation))


def stage_values(node: Node, inputs: Sequence[Array], weights: Weights) -> Iterator[tuple[Stage, Array]]:
    """Each step of a layer with its tensor; the last is the node's value, to the bit that of `reference.evaluate`."""
    value = inputs[0]
    for stage in stages(node):
        value = _value(stage, node, value, inputs, weights)
        yield stage, value


def _value(stage: Stage, node: Node, x: Array, inputs: Sequence[Array], weights: Weights) -> Array:
    op = node.op
    match stage.kind:
        case "product":
            return apply_activation(stage.activation, evaluate(_bare(op), [x], weights))
        case "table":
            return apply_activation(stage.activation, x)
        case "sum":
            return apply_activation(stage.activation, x + inputs[1])
        case "element_product":
            return apply_activation(stage.activation, x * inputs[1])
        case _:
            return evaluate(op, [x], weights)


def _bare(op: Op) -> Op:
    """The product alone, with its bias."""
    if isinstance(op, Conv2d):
        return replace(op, activation=None, residual=None)
    assert isinstance(op, Dense)
    return replace(op, activation=None)


def active_bounds(activation: Activation) -> tuple[float, float]:
    """The interval outside of which the function is constant: integers are wasted there.

    h-swish is 0 below -3; h-sigmoid is 0 below -offset / slope and 1 above (1 - offset) / slope.
    """
    if activation.kind == "hswish":
        return -3.0, math.inf
    if activation.kind == "hsigmoid" and activation.slope > 0.0:
        return -activation.offset / activation.slope, (1.0 - activation.offset) / activation.slope
    return -math.inf, math.inf
