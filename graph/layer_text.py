"""Reading and writing an op as text, as `LayerKey` describes it."""

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from typing import Any, get_args, get_origin

from mnv3c.graph.activation import ACTIVATION_KINDS, Activation
from mnv3c.graph.ops import OP_TYPES, Input, Op
from mnv3c.graph.tensor import BYTES_PER_ELEMENT, TensorType

_OP_TYPES = {op.kind: op for op in OP_TYPES if op is not Input}
# Fields that the output's shape tells; the text leaves them out.
_SHAPE_FIELDS = ("out_channels", "units", "size")
_TENSOR = re.compile(r"([1-9]\d*(?:x[1-9]\d*)*)(?::(\w+))?")
_ACTIVATION = re.compile(r"(\w+)(?:\(([^(),]+),([^(),]+)\))?")


def option_texts(op: Op) -> list[str]:
    """FIELD=VALUE of every field that differs from its default and that the output's shape does not tell."""
    options = []
    for field in fields(op):
        value = getattr(op, field.name)
        if field.name not in _SHAPE_FIELDS and value != field.default:
            options.append(f"{field.name}={_number_text(value) if field.type is float else _value_text(value)}")
    return options


def activation_text(activation: Activation) -> str:
    """The activation's kind, with its numbers where the kind does not imply them."""
    if activation.kind == "clip":
        return f"clip({_number_text(activation.low)},{_number_text(activation.high)})"
    numbers = (activation.slope, activation.offset)
    if activation.kind == "hsigmoid" and numbers != (Activation.slope, Activation.offset):
        return f"hsigmoid({_number_text(numbers[0])},{_number_text(numbers[1])})"
    return activation.kind


def parse_layer(text: str) -> tuple[Op, tuple[TensorType, ...]]:
    """The op and the types of its inputs. Raises ValueError saying which part is wrong."""
    kind, _, rest = text.partition(" ")
    if kind not in _OP_TYPES:
        raise ValueError(f"unknown op '{kind}'; known are {', '.join(_OP_TYPES)}")
    tensors, *options = rest.split(" ")
    inputs, arrow, output = tensors.partition("->")
    if not arrow:
        raise ValueError(f"'{tensors}' is not INPUTS->OUTPUT")
    types = tuple(_parsed_tensor(item) for item in inputs.split(","))
    out = _parsed_tensor(output)
    op = _parsed_op(_OP_TYPES[kind], out, options)
    if op.infer(types) != out:
        raise ValueError(f"output is {op.infer(types)}, not {out}")
    return op, types


def _number_text(value: float) -> str:
    """Python's shortest exact form; -0.0 equals 0.0, so both read 0.0."""
    return repr(float(value) + 0.0)


def _value_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return activation_text(value) if isinstance(value, Activation) else str(value)


def _parsed_tensor(text: str) -> TensorType:
    match = _TENSOR.fullmatch(text)
    dtype: Any = (match[2] if match else None) or "float32"
    if match is None or dtype not in BYTES_PER_ELEMENT:
        raise ValueError(f"'{text}' is not a tensor such as 1x56x56x72 or 1x7x7x960:int8")
    return TensorType(tuple(map(int, match[1].split("x"))), dtype)


def _parsed_op(op_type: type[Op], out: TensorType, options: list[str]) -> Op:
    told = {"out_channels": out.channels, "units": out.channels, "size": out.spatial}
    by_name = {field.name: field for field in fields(op_type)}
    values: dict[str, Any] = {name: value for name, value in told.items() if name in by_name}
    for option in options:
        name, _, value = option.partition("=")
        if name not in by_name or name in values:
            allowed = ", ".join(name for name in by_name if name not in told)
            raise ValueError(f"'{option}' is not one of its fields, each once: {allowed or 'it has none'}")
        values[name] = _parsed_value(by_name[name], value)
    missing = [f.name for f in by_name.values() if f.default is MISSING and f.name not in values]
    if missing:
        raise ValueError(f"field '{missing[0]}' is missing")
    return op_type(**values)


def _parsed_value(field: "Field[Any]", text: str) -> object:
    hint = field.type
    if get_origin(hint) is tuple:
        numbers = tuple(int(number) for number in text.split("x"))
        if len(numbers) != len(get_args(hint)):
            raise ValueError(f"'{field.name}' has {len(get_args(hint))} numbers, not '{text}'")
        return numbers
    if hint is bool:
        if text not in ("yes", "no"):
            raise ValueError(f"'{field.name}' is 'yes' or 'no', not '{text}'")
        return text == "yes"
    if hint is int or hint is float:
        return int(text) if hint is int else float(text)
    if hint is Activation or Activation in get_args(hint):
        return _parsed_activation(text)
    choices = [choice for choice in _leaves(hint) if isinstance(choice, str)]
    if text not in choices:
        raise ValueError(f"'{field.name}' is one of {', '.join(choices)}, not '{text}'")
    return text


def _parsed_activation(text: str) -> Activation:
    match = _ACTIVATION.fullmatch(text)
    kind = next((kind for kind in ACTIVATION_KINDS if match and kind == match[1]), None)
    if match is None or kind is None:
        raise ValueError(f"'{text}' is not an activation; known are {', '.join(ACTIVATION_KINDS)}")
    if match[2] is None:
        if kind == "clip":
            raise ValueError("'clip' needs its two numbers")
        return Activation(kind)
    first, second = float(match[2]), float(match[3])
    if kind == "clip":
        return Activation(kind, low=first, high=second)
    if kind == "hsigmoid":
        return Activation(kind, slope=first, offset=second)
    raise ValueError(f"'{text}' takes no numbers")


def _leaves(hint: Any) -> Iterator[object]:
    """The values inside a Literal, or inside a union of Literals."""
    for item in get_args(hint):
        yield from _leaves(item) if get_args(item) else (item,)
