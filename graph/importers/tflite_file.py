"""Reading a TFLite file into plain values, so that nothing later can meet an offset that leads astray."""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite

from mnv3c.graph.importers.shown_name import shown
from mnv3c.graph.importers.tflite_schema import BUILTIN_NAMES, DTYPE_NAMES, FUSED_BY_CODE, OPTION_FIELDS, OPTION_NAMES

SCHEMA_VERSION = 3
# flatbuffers' offsets have 31 bits.
MAX_FILE_BYTES = 2**31 - 1
# Bounds on what a damaged file may claim; a network of this operator set stays far below.
MAX_ENTRIES, MAX_RANK, MAX_NAME_BYTES, MAX_OPERANDS = 2**16, 8, 1024, 16
CUSTOM_OPERATOR = 32

# What Python's flatbuffers raises where an offset or a length leads out of the file.
DAMAGED = (struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError)


class TfliteError(Exception):
    """What was read cannot be imported; the message says why. The importer adds the file."""


@dataclass(frozen=True, eq=False)
class FileTensor:
    """A tensor as the file has it; `data` is None where it is computed or given."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    data: npt.NDArray[np.uint8] | None
    scales: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.int64]
    axis: int

    def __str__(self) -> str:
        return f"tensor {shown(self.name)}"


@dataclass(frozen=True)
class FileOperator:
    """An operator: its name in the schema, indices of tensors (-1: left out), attributes by the schema's names."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int | float]

    def __str__(self) -> str:
        return f"operator {self.index} ({self.name})"


@dataclass(frozen=True)
class FileModel:
    """The single subgraph of a file."""

    name: str
    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_file(path: Path) -> FileModel:
    """What the file holds. Raises TfliteError if it is not there, no TFLite model, or damaged."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise TfliteError("larger than 2 GiB")
        data = path.read_bytes()
    except OSError as error:
        raise TfliteError(f"cannot be read: {error.strerror}") from None
    if data[4:8] != b"TFL3":
        raise TfliteError("not a TFLite file: it lacks the identifier 'TFL3'")
    try:
        return _Reader(data).model()
    except UnicodeDecodeError:
        raise TfliteError("damaged: a name in it is not UTF-8") from None
    except DAMAGED:
        raise TfliteError("damaged or cut short: an offset in it leads nowhere") from None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._size = len(data)
        self._model = tflite.Model.GetRootAs(data)

    def model(self) -> FileModel:
        model = self._model
        if model.Version() != SCHEMA_VERSION:
            raise TfliteError(f"version {model.Version()} of the schema is not supported; only {SCHEMA_VERSION}")
        if model.SubgraphsLength() != 1:
            raise TfliteError(f"it holds {model.SubgraphsLength()} subgraphs; only a single one is supported")
        graph = model.Subgraphs(0)
        codes = self._each("operator codes", model.OperatorCodesLength(), lambda j: _code_name(model.OperatorCodes(j)))
        buffers = self._each("buffers", model.BuffersLength(), lambda j: self._buffer(j, model.Buffers(j)))
        tensors = self._each("tensors", graph.TensorsLength(), lambda j: self._tensor(j, graph.Tensors(j), buffers))
        operators = self._each(
            "operators", graph.OperatorsLength(), lambda j: self._operator(j, graph.Operators(j), codes)
        )
        count = len(tensors)
        given = self._integers("the network's inputs", graph.InputsLength(), graph.Inputs, MAX_ENTRIES, (0, count))
        returned = self._integers(
            "the network's outputs", graph.OutputsLength(), graph.Outputs, MAX_ENTRIES, (0, count)
        )
        for operator in operators:
            for index in (*operator.inputs, *operator.outputs):
                if not -1 <= index < count:
                    raise TfliteError(f"{operator}: there is no tensor {index}")
        return FileModel(_text(graph.Name()), tuple(tensors), tuple(operators), given, returned)

    def _each(self, what: str, length: int, read: Callable[[int], Any]) -> list[Any]:
        if length > min(MAX_ENTRIES, self._size):
            raise TfliteError(f"damaged: it claims {length} {what}")
        return [read(index) for index in range(length)]

    def _integers(
        self, what: str, length: int, read: Callable[[int], int], most: int, within: tuple[int, int] | None = None
    ) -> tuple[int, ...]:
        if length > min(most, self._size):
            raise TfliteError(f"{what}: {length} entries, at most {most} are supported")
        values = tuple(int(read(index)) for index in range(length))
        for value in values:
            if within is not None and not within[0] <= value < within[1]:
                raise TfliteError(f"{what}: there is no tensor {value}")
        return values

    def _buffer(self, index: int, buffer: Any) -> npt.NDArray[np.uint8] | None:
        # The first buffer is empty by the schema's rule, and stands for "none".
        if buffer.Offset() > 1:
            raise TfliteError(f"buffer {index} lies behind the flatbuffer, which is not supported")
        if index == 0 or buffer.DataLength() == 0:
            return None
        values: npt.NDArray[np.uint8] = buffer.DataAsNumpy()
        return values

    def _tensor(self, index: int, tensor: Any, buffers: list[npt.NDArray[np.uint8] | None]) -> FileTensor:
        name = _text(tensor.Name())
        where = f"tensor {shown(name)}"
        if tensor.Buffer() >= max(1, len(buffers)):
            raise TfliteError(f"{where}: there is no buffer {tensor.Buffer()}")
        if tensor.Sparsity() is not None or tensor.IsVariable():
            raise TfliteError(f"{where}: sparse and variable tensors are not supported")
        shape = self._integers(f"{where}: shape", tensor.ShapeLength(), tensor.Shape, MAX_RANK)
        if any(extent < 1 for extent in shape):
            raise TfliteError(f"{where}: extents must be positive, not {shape}")
        data = buffers[tensor.Buffer()] if buffers else None
        dtype = DTYPE_NAMES.get(tensor.Type(), str(tensor.Type()))
        return FileTensor(index, name, shape, dtype, data, *_quantization(where, tensor.Quantization()))

    def _operator(self, index: int, operator: Any, codes: list[str]) -> FileOperator:
        if operator.OpcodeIndex() >= len(codes):
            raise TfliteError(f"operator {index}: there is no operator code {operator.OpcodeIndex()}")
        name = codes[operator.OpcodeIndex()]
        where = f"operator {index} ({name})"
        inputs = self._integers(f"{where}: inputs", operator.InputsLength(), operator.Inputs, MAX_OPERANDS)
        outputs = self._integers(f"{where}: outputs", operator.OutputsLength(), operator.Outputs, MAX_OPERANDS)
        return FileOperator(index, name, inputs, outputs, _attributes(where, operator, name))


def _text(value: bytes | None) -> str:
    if value is not None and len(value) > MAX_NAME_BYTES:
        raise TfliteError(f"damaged: a name in it has {len(value)} bytes; at most {MAX_NAME_BYTES} are supported")
    return "" if value is None else value.decode("utf-8")


def _code_name(code: Any) -> str:
    # Old files have only the first field; new ones may have both, the larger is meant.
    number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
    if number == CUSTOM_OPERATOR:
        return f"CUSTOM {shown(_text(code.CustomCode()))}"
    return BUILTIN_NAMES.get(number, f"operator code {number}")


def _quantization(where: str, quantization: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], int]:
    none = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
    if quantization is None or quantization.ScaleLength() == 0:
        return none
    if quantization.DetailsType() != 0:
        raise TfliteError(f"{where}: custom quantisation is not supported")
    scales = quantization.ScaleAsNumpy()
    if quantization.ZeroPointLength() == 0:
        return scales, np.zeros(1, np.int64).repeat(len(scales)), quantization.QuantizedDimension()
    zero_points = quantization.ZeroPointAsNumpy()
    if len(scales) != len(zero_points):
        raise TfliteError(f"{where}: {len(scales)} scales but {len(zero_points)} zero points")
    return scales, zero_points, quantization.QuantizedDimension()


def _attributes(where: str, operator: Any, name: str) -> Mapping[str, int | float]:
    """The attributes that the importer knows of an operator; those of operators that it does not know are not read."""
    table, kind = OPTION_FIELDS.get(name), operator.BuiltinOptionsType()
    if table is None:
        return {}
    if OPTION_NAMES.get(kind) != f"{table.name}Options":
        raise TfliteError(
            f"{where}: its attributes are those of another operator or missing ({OPTION_NAMES.get(kind, kind)})"
        )
    union = operator.BuiltinOptions()
    options = getattr(tflite, f"{table.name}Options")()
    options.Init(union.Bytes, union.Pos)
    values = {field: getattr(options, field)() for field in table.fields}
    if any(isinstance(value, float) and not math.isfinite(value) for value in values.values()):
        raise TfliteError(f"{where}: an attribute is not finite")
    fused = values.get("FusedActivationFunction", 0)
    if fused not in FUSED_BY_CODE:
        raise TfliteError(f"{where}: fused activation {fused} is not supported")
    return values
