"""TFLite models by hand, and ways to break them."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tflite

from mnv3c.graph.exporters import tflite_options as options
from mnv3c.graph.exporters.tflite_model import ModelBuilder, Options, Quantization
from mnv3c.graph.integer.affine import Affine

Op = tflite.BuiltinOperator
X, Y = Affine(0.03125, -4), Affine(0.0625, 5)
SHAPE = (1, 5, 6, 4)
RNG_SEED = 3


class Model:
    """A model that is put together operator by operator; tensors are known by their names."""

    def __init__(self, shape: tuple[int, ...] = SHAPE) -> None:
        self.builder = ModelBuilder("hand-made")
        self.index = {"x": self.builder.tensor("x", shape, X)}
        self._rng = np.random.default_rng(RNG_SEED)

    def tensor(self, name: str, shape: tuple[int, ...], affine: Affine = Y) -> "Model":
        self.index[name] = self.builder.tensor(name, shape, affine)
        return self

    def constant(self, name: str, values: Any, affine: Affine | None = None) -> "Model":
        quantization = None if affine is None else Quantization.of(affine)
        self.index[name] = self.builder.constant(name, np.asarray(values), quantization)
        return self

    def random(self, name: str, *shape: int, scale: float = 0.01) -> "Model":
        values = self._rng.integers(-127, 128, shape).astype(np.int8)
        return self.constant(name, values, Affine(float(np.float32(scale)), 0))

    def operator(
        self, code: int, inputs: Sequence[str], output: str, attributes: Options | None = None, version: int = 2
    ) -> "Model":
        self.builder.operator(code, version, [self.index[name] for name in inputs], self.index[output], attributes)
        return self

    def bytes(self, *outputs: str) -> bytes:
        return self.builder.finish([self.index["x"]], [self.index[name] for name in outputs])


def int8(value: int) -> Any:
    return np.array(value, np.int8)


def pointwise(bias: bool = True) -> Model:
    """A 1x1 convolution called `y`: operator 0, tensors x, w, b, y."""
    model = Model().random("w", 3, 1, 1, 4).constant("b", np.arange(3, dtype=np.int32)).tensor("y", (1, 5, 6, 3))
    inputs = ("x", "w", "b") if bias else ("x", "w")
    return model.operator(Op.CONV_2D, inputs, "y", options.convolution(True, (1, 1), (1, 1), "none"), version=3)


def poke(data: bytes, table: Any, field: int, fmt: str, value: int | float) -> bytes:
    """The file with another number in a field that it stores: the field's number in the schema, and its type."""
    offset = table._tab.Offset(4 + 2 * field)
    assert offset, "the field has its default, so the file does not store it"
    changed = bytearray(data)
    struct.pack_into(fmt, changed, table._tab.Pos + offset, value)
    return bytes(changed)


def poke_vector(data: bytes, table: Any, field: int, fmt: str, index: int, value: int | float) -> bytes:
    """The file with another number at an index of a vector; index -1 is its length."""
    start = table._tab.Vector(table._tab.Offset(4 + 2 * field))
    changed = bytearray(data)
    where = start - 4 if index < 0 else start + index * struct.calcsize(fmt)
    struct.pack_into("<I" if index < 0 else fmt, changed, where, int(value) if index < 0 else value)
    return bytes(changed)


def graph_of(data: bytes) -> Any:
    return tflite.Model.GetRootAs(data).Subgraphs(0)


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


Change = Callable[[bytes], bytes]
