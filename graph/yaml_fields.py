"""Plain data to and from the frozen dataclasses of the IR, by the types of their fields."""

import math
import reprlib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mnv3c.graph.activation import Activation

MAX_INTEGER = 2**62

T = TypeVar("T")


class FieldError(ValueError):
    """A value that does not fit its field; the message starts with the field's name."""


def encode(value: object) -> object:
    """Plain data for a field's value. An activation with its kind's defaults is its kind alone."""
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        data = encode_fields(value)
        return data["kind"] if isinstance(value, Activation) and set(data) == {"kind"} else data
    return value


def encode_fields(value: Any) -> dict[str, object]:
    """Plain data for a dataclass: its fields in order, without those that have their default."""
    given = ((field, getattr(value, field.name)) for field in fields(value))
    return {field.name: encode(item) for field, item in given if item != field.default}


def decode_fields(cls: type[T], data: Mapping[str, object]) -> T:
    """The dataclass with these fields. Raises FieldError for an unknown, missing or unfit one."""
    hints = get_type_hints(cls)
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise FieldError(f"{shown(key)} is not a key here; allowed are {', '.join(known) or 'none'}")
    for name, field in known.items():
        if name not in data and field.default is MISSING:
            raise FieldError(f"{name} is missing")
    return cls(**{name: decode(name, hints[name], value) for name, value in data.items()})


def decode(name: str, hint: Any, value: object) -> Any:
    """The value as its type hint asks for. Raises FieldError."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        present = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else decode(name, present, value)
    if origin is tuple:
        return _decode_tuple(name, arguments, value)
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise FieldError(f"{name} must be one of {', '.join(arguments)}, not {shown(value)}")
        return value
    if is_dataclass(hint):
        return _decode_nested(name, hint, value)
    return _decode_scalar(name, hint, value)


def shown(value: object) -> str:
    """A short form of any value, for an error."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_INTEGER:
        return "an integer over 2**62"
    return reprlib.repr(value)


def _decode_tuple(name: str, arguments: tuple[Any, ...], value: object) -> tuple[Any, ...]:
    variadic = len(arguments) == 2 and arguments[1] is Ellipsis
    count = "" if variadic else f"{len(arguments)} "
    if not isinstance(value, list) or not (variadic or len(value) == len(arguments)):
        raise FieldError(f"{name} must be a list of {count}values, not {shown(value)}")
    kinds = arguments[:1] * len(value) if variadic else arguments
    return tuple(decode(name, kind, item) for kind, item in zip(kinds, value, strict=True))


def _decode_nested(name: str, hint: Any, value: object) -> Any:
    if hint is Activation and isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, dict):
        raise FieldError(f"{name} must be a mapping, not {shown(value)}")
    try:
        return decode_fields(hint, value)
    except FieldError as error:
        raise FieldError(f"{name}.{error}") from None


def _decode_scalar(name: str, hint: Any, value: object) -> Any:
    number = isinstance(value, int) and not isinstance(value, bool)
    if hint is int and number:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:  # type: ignore[operator]
            raise FieldError(f"{name} must be within -2**62..2**62, not {shown(value)}")
        return value
    if hint is float and (number or isinstance(value, float)):
        if abs(value) > MAX_INTEGER if number else math.isnan(value):  # type: ignore[arg-type]
            raise FieldError(f"{name} must be a number, not {shown(value)}")
        return float(value)  # type: ignore[arg-type]
    if hint in (bool, str) and isinstance(value, hint):
        return value
    wanted = {int: "an integer", float: "a number", bool: "true or false", str: "text"}[hint]
    raise FieldError(f"{name} must be {wanted}, not {shown(value)}")
