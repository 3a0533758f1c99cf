"""One node of an ONNX file, read so that nothing in it can be overlooked."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from mnv3c.graph.importers.shown_name import shown

Values = npt.NDArray[Any]


class OnnxError(Exception):
    """What was read cannot be imported; the message says why. The importer adds the file and the node."""


class OnnxNode:
    """A node whose inputs and attributes must each be asked for: `finish` rejects a node with one left over."""

    def __init__(self, proto: Any, opset: int) -> None:
        self.op_type: str = proto.op_type
        self.domain: str = proto.domain
        self.inputs: tuple[str, ...] = tuple(proto.input)
        self.outputs: tuple[str, ...] = tuple(proto.output)
        self.opset = opset
        self.name: str = proto.name or next((name for name in self.outputs if name), "")
        self._attributes: dict[str, Any] = {attribute.name: attribute for attribute in proto.attribute}
        self._unread = set(self._attributes)
        self._unread_inputs = {index for index, name in enumerate(self.inputs) if name}

    def __str__(self) -> str:
        return f"node {shown(self.name)} ({shown(self.op_type)[1:-1]})"

    def has(self, index: int) -> bool:
        """Whether the optional input `index` is given."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def read_input(self, index: int) -> str:
        """Name of input `index`. Raises OnnxError if it is not given."""
        if not self.has(index):
            raise OnnxError(f"input {index} is missing")
        self.ignore_input(index)
        return self.inputs[index]

    def ignore_input(self, index: int) -> None:
        """An input that does not change what the node computes at inference."""
        self._unread_inputs.discard(index)

    def integer(self, name: str, default: int) -> int:
        """Value of an integer attribute."""
        attribute = self._read(name, onnx.AttributeProto.INT)
        return default if attribute is None else int(attribute.i)

    def integers(self, name: str, count: int | None, default: Iterable[int]) -> tuple[int, ...]:
        """Value of an attribute with a list of `count` integers (any number when None)."""
        attribute = self._read(name, onnx.AttributeProto.INTS)
        values = tuple(default) if attribute is None else tuple(int(value) for value in attribute.ints)
        if count is not None and len(values) != count:
            raise OnnxError(f"attribute '{name}' must have {count} values, not {len(values)}")
        return values

    def pair(self, name: str, default: tuple[int, int] = (1, 1)) -> tuple[int, int]:
        """Value of an attribute with two integers, (height, width)."""
        height, width = self.integers(name, 2, default)
        return height, width

    def number(self, name: str, default: float) -> float:
        """Value of a floating-point attribute, which must be finite or infinite but not NaN."""
        attribute = self._read(name, onnx.AttributeProto.FLOAT)
        value = default if attribute is None else float(attribute.f)
        if np.isnan(value):
            raise OnnxError(f"attribute '{name}' is not a number")
        return value

    def numbers(self, name: str) -> tuple[float, ...]:
        """Value of an attribute with a list of floating-point numbers; empty when absent."""
        attribute = self._read(name, onnx.AttributeProto.FLOATS)
        return () if attribute is None else tuple(float(value) for value in attribute.floats)

    def text(self, name: str, default: str) -> str:
        """Value of a string attribute."""
        attribute = self._read(name, onnx.AttributeProto.STRING)
        return default if attribute is None else bytes(attribute.s).decode("utf-8")

    def tensor(self, name: str) -> Any:
        """Value of a tensor attribute, as a TensorProto; None when absent."""
        attribute = self._read(name, onnx.AttributeProto.TENSOR)
        return None if attribute is None else attribute.t

    def carries(self, name: str) -> bool:
        """Whether the attribute is given."""
        return name in self._attributes

    def ignore(self, *names: str) -> None:
        """Attributes that do not change what the node computes at inference."""
        self._unread.difference_update(names)

    def only(self, name: str, value: str, allowed: Iterable[str]) -> str:
        """The value of a string attribute, which must be one of `allowed`."""
        choices = tuple(allowed)
        if value not in choices:
            raise OnnxError(f"attribute '{name}' is {shown(value)}; supported: {', '.join(choices)}")
        return value

    def zero(self, *names: str) -> None:
        """Integer attributes that must be 0 or absent."""
        for name in names:
            value = self.integer(name, 0)
            if value != 0:
                raise OnnxError(f"attribute '{name}' is {value}; only 0 is supported")

    def finish(self) -> None:
        """Reject the node if it carries an input or an attribute that nobody asked for."""
        if self._unread_inputs:
            raise OnnxError(f"input {min(self._unread_inputs)} is not supported")
        if self._unread:
            names = ", ".join(shown(name) for name in sorted(self._unread))
            raise OnnxError(f"attribute {names} is not supported")

    def _read(self, name: str, kind: int) -> Any:
        if name not in self._attributes:
            return None
        attribute = self._attributes[name]
        self._unread.discard(name)
        if attribute.type != kind:
            raise OnnxError(f"attribute '{name}' must be of type {onnx.AttributeProto.AttributeType.Name(kind)}")
        return attribute
