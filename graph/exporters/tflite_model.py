"""A TFLite model while it is put together, and its flatbuffer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import tflite

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import Affine

SCHEMA_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
DESCRIPTION = "mnv3c"
# The schema's `force_align` of Buffer.data.
BUFFER_ALIGNMENT = 16
# Operators from this number on do not fit the schema's first field for them, which then holds this number.
DEPRECATED_CODE_LIMIT = 127

Constant = npt.NDArray[np.int8] | npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Quantization:
    """Scales and zero points of a tensor: one of each, or one for each index of `axis`."""

    scales: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.int64]
    axis: int = 0

    @classmethod
    def of(cls, affine: Affine) -> "Quantization":
        """That of a whole tensor."""
        return cls(np.array([affine.scale], np.float32), np.array([affine.zero_point], np.int64))

    @classmethod
    def symmetric(cls, scales: npt.NDArray[np.float32], axis: int) -> "Quantization":
        """Zero points 0. Scales that are all equal become one, which stands for the whole tensor."""
        whole = bool((scales == scales[0]).all())
        used = scales[:1] if whole else scales
        return cls(used.astype(np.float32), np.zeros(len(used), np.int64), 0 if whole else axis)


@dataclass(frozen=True)
class Options:
    """An operator's attributes: their type in the schema's union, and what writes their table."""

    kind: int
    write: Callable[[Any], int]


@dataclass(frozen=True, eq=False)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: int
    buffer: int
    quantization: Quantization | None


@dataclass(frozen=True)
class _Operator:
    code: int
    inputs: tuple[int, ...]
    output: int
    options: Options | None


@dataclass
class ModelBuilder:
    """Tensors, operators and constants in the order in which they are added; tensors are known by their index."""

    name: str
    _tensors: list[_Tensor] = field(default_factory=list)
    _operators: list[_Operator] = field(default_factory=list)
    _codes: list[tuple[int, int]] = field(default_factory=list)
    _buffers: list[bytes] = field(default_factory=lambda: [b""])
    _names: set[str] = field(default_factory=set)

    def tensor(self, name: str, shape: tuple[int, ...], affine: Affine) -> int:
        """An int8 tensor that is computed or given."""
        return self._add(_Tensor(name, shape, tflite.TensorType.INT8, 0, Quantization.of(affine)))

    def constant(self, name: str, values: Constant, quantization: Quantization | None = None) -> int:
        """An int8 or int32 tensor with its values."""
        dtype = tflite.TensorType.INT8 if values.dtype == np.int8 else tflite.TensorType.INT32
        self._buffers.append(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
        return self._add(_Tensor(name, values.shape, dtype, len(self._buffers) - 1, quantization))

    def operator(
        self, code: int, version: int, inputs: Sequence[int], output: int, options: Options | None = None
    ) -> None:
        """One operator, of the schema's number and the version whose semantics it needs."""
        if (code, version) not in self._codes:
            self._codes.append((code, version))
        self._operators.append(_Operator(self._codes.index((code, version)), tuple(inputs), output, options))

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file's bytes."""
        b = flatbuffers.Builder(sum(map(len, self._buffers)) + 4096)
        buffers = _tables(b, [_buffer(b, data) for data in self._buffers])
        codes = _tables(b, [_operator_code(b, *code) for code in self._codes])
        subgraphs = _tables(b, [self._subgraph(b, inputs, outputs)])
        description = b.CreateString(DESCRIPTION)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, SCHEMA_VERSION)
        tflite.ModelAddOperatorCodes(b, codes)
        tflite.ModelAddSubgraphs(b, subgraphs)
        tflite.ModelAddDescription(b, description)
        tflite.ModelAddBuffers(b, buffers)
        b.Finish(tflite.ModelEnd(b), FILE_IDENTIFIER)
        return bytes(b.Output())

    def _add(self, tensor: _Tensor) -> int:
        if tensor.name in self._names:
            raise UserError(f"cannot export '{self.name}' to TFLite: two tensors would be named '{tensor.name}'")
        self._names.add(tensor.name)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _subgraph(self, b: Any, inputs: Sequence[int], outputs: Sequence[int]) -> int:
        tensors = _tables(b, [_tensor(b, tensor) for tensor in self._tensors])
        operators = _tables(b, [_operator(b, operator) for operator in self._operators])
        given, returned, name = _int32s(b, inputs), _int32s(b, outputs), b.CreateString(self.name)
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensors)
        tflite.SubGraphAddInputs(b, given)
        tflite.SubGraphAddOutputs(b, returned)
        tflite.SubGraphAddOperators(b, operators)
        tflite.SubGraphAddName(b, name)
        return int(tflite.SubGraphEnd(b))


def _int32s(b: Any, values: Sequence[int]) -> int:
    return int(b.CreateNumpyVector(np.array(values, np.int32)))


def _tables(b: Any, offsets: Sequence[int]) -> int:
    """A vector of tables; flatbuffers are written from the back."""
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _buffer(b: Any, data: bytes) -> int:
    vector = None
    if data:
        # What is written last lies first: bytes up to the alignment go behind the data.
        b.Prep(BUFFER_ALIGNMENT, len(data))
        vector = b.CreateByteVector(data)
    tflite.BufferStart(b)
    if vector is not None:
        tflite.BufferAddData(b, vector)
    return int(tflite.BufferEnd(b))


def _operator_code(b: Any, code: int, version: int) -> int:
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(code, DEPRECATED_CODE_LIMIT))
    tflite.OperatorCodeAddVersion(b, version)
    tflite.OperatorCodeAddBuiltinCode(b, code)
    return int(tflite.OperatorCodeEnd(b))


def _tensor(b: Any, tensor: _Tensor) -> int:
    name, shape = b.CreateString(tensor.name), _int32s(b, tensor.shape)
    quantization = None if tensor.quantization is None else _quantization(b, tensor.quantization)
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, shape)
    tflite.TensorAddType(b, tensor.dtype)
    tflite.TensorAddBuffer(b, tensor.buffer)
    tflite.TensorAddName(b, name)
    if quantization is not None:
        tflite.TensorAddQuantization(b, quantization)
    return int(tflite.TensorEnd(b))


def _quantization(b: Any, quantization: Quantization) -> int:
    scales, zero_points = b.CreateNumpyVector(quantization.scales), b.CreateNumpyVector(quantization.zero_points)
    tflite.QuantizationParametersStart(b)
    tflite.QuantizationParametersAddScale(b, scales)
    tflite.QuantizationParametersAddZeroPoint(b, zero_points)
    tflite.QuantizationParametersAddQuantizedDimension(b, quantization.axis)
    return int(tflite.QuantizationParametersEnd(b))


def _operator(b: Any, operator: _Operator) -> int:
    inputs, outputs = _int32s(b, operator.inputs), _int32s(b, [operator.output])
    options = None if operator.options is None else operator.options.write(b)
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, operator.code)
    tflite.OperatorAddInputs(b, inputs)
    tflite.OperatorAddOutputs(b, outputs)
    if operator.options is not None and options is not None:
        tflite.OperatorAddBuiltinOptionsType(b, operator.options.kind)
        tflite.OperatorAddBuiltinOptions(b, options)
    return int(tflite.OperatorEnd(b))
