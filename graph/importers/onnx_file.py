"""Reading an ONNX file: the protobuf, the tensors in it, and the external data beside it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from mnv3c.graph.errors import UserError
from mnv3c.graph.importers.onnx_node import OnnxError, Values
from mnv3c.graph.importers.shown_name import shown

# protobuf itself reads no message of 2 GiB or more.
MAX_FILE_BYTES = 2**31 - 1
MIN_OPSET = 9


@dataclass(frozen=True)
class _Storage:
    """How a TensorProto stores a dtype: the dtype itself, and the list that holds it when there is no raw data."""

    dtype: str
    field: str
    packed: str | None = None  # dtype of the bits in `field`, where that is not the value itself


_STORAGE: dict[int, _Storage] = {
    onnx.TensorProto.FLOAT: _Storage("<f4", "float_data"),
    onnx.TensorProto.DOUBLE: _Storage("<f8", "double_data"),
    onnx.TensorProto.FLOAT16: _Storage("<f2", "int32_data", "<u2"),
    onnx.TensorProto.INT64: _Storage("<i8", "int64_data"),
    onnx.TensorProto.INT32: _Storage("<i4", "int32_data"),
    onnx.TensorProto.INT16: _Storage("<i2", "int32_data"),
    onnx.TensorProto.INT8: _Storage("<i1", "int32_data"),
    onnx.TensorProto.UINT64: _Storage("<u8", "uint64_data"),
    onnx.TensorProto.UINT32: _Storage("<u4", "uint64_data"),
    onnx.TensorProto.UINT16: _Storage("<u2", "int32_data"),
    onnx.TensorProto.UINT8: _Storage("<u1", "int32_data"),
    onnx.TensorProto.BOOL: _Storage("?", "int32_data"),
}


def dtype_name(data_type: int) -> str:
    """ONNX's name of a data type, lower case; the number itself for one that does not exist."""
    return str({v: k for k, v in onnx.TensorProto.DataType.items()}.get(data_type, data_type)).lower()


def numpy_dtype(data_type: int) -> np.dtype[Any]:
    """NumPy's dtype for an ONNX data type. Raises OnnxError for the ones the importer does not know."""
    if data_type not in _STORAGE:
        raise OnnxError(f"dtype {dtype_name(data_type)} is not supported")
    return np.dtype(_STORAGE[data_type].dtype)


def read_model(path: Path) -> Any:
    """The ModelProto in a file, without its external data.

    Raises UserError, naming the file, if it is not there, not an ONNX model, or of an opset that is not read.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"{path}: larger than 2 GiB; store the weights as external data")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise UserError(f"{path}: not an ONNX file, or damaged (protobuf cannot be decoded)") from None
    if not model.HasField("graph") or not model.graph.node:
        raise UserError(f"{path}: not an ONNX file: it holds no graph")
    # What is not UTF-8 comes as bytes, or as an error, depending on protobuf's implementation.
    if not all(isinstance(name, str) for name in _names(model)):
        raise UserError(f"{path}: damaged: a name in it is not UTF-8")
    return model


def _names(model: Any) -> Iterator[object]:
    """Every name in the file that the importer reads."""
    graph = model.graph
    yield from (entry.domain for entry in model.opset_import)
    yield from (value.name for value in (*graph.input, *graph.output))
    tensors = [*graph.initializer]
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
        tensors += [attribute.t for attribute in node.attribute]
    for tensor in tensors:
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))


def opset_of(model: Any) -> int:
    """Version of the default operator set. Raises OnnxError if the file names none or one that is not read."""
    versions = {entry.domain: int(entry.version) for entry in model.opset_import}
    version = versions.get("", versions.get("ai.onnx"))
    newest = int(onnx.defs.onnx_opset_version())
    if version is None:
        raise OnnxError("the file names no version of the default operator set")
    if not MIN_OPSET <= version <= newest:
        raise OnnxError(f"opset {version} is not supported; use {MIN_OPSET} to {newest}")
    return version


def tensor_values(tensor: Any, folder: Path) -> Values:
    """The values of a TensorProto, read only after its size was held against the data that is there.

    External data is read from a file directly in `folder`. Raises OnnxError naming the tensor.
    """
    name, shape = shown(tensor.name), tuple(int(extent) for extent in tensor.dims)
    if tensor.data_type not in _STORAGE:
        raise OnnxError(f"tensor {name}: dtype {dtype_name(tensor.data_type)} is not supported")
    if any(extent < 0 for extent in shape):
        raise OnnxError(f"tensor {name}: shape {shape} has a negative extent")
    storage, count = _STORAGE[tensor.data_type], math.prod(shape)
    dtype = np.dtype(storage.dtype)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raw = _external_bytes(tensor, folder, count * dtype.itemsize)
    elif tensor.HasField("raw_data"):
        raw = bytes(tensor.raw_data)
    else:
        return _listed_values(tensor, storage, shape)
    if len(raw) != count * dtype.itemsize:
        raise OnnxError(f"tensor {name}: shape {shape} needs {count * dtype.itemsize} bytes, the file has {len(raw)}")
    return np.frombuffer(raw, dtype).reshape(shape)


def _listed_values(tensor: Any, storage: _Storage, shape: tuple[int, ...]) -> Values:
    listed = getattr(tensor, storage.field)
    if len(listed) != math.prod(shape):
        raise OnnxError(f"tensor {shown(tensor.name)}: shape {shape} does not hold its {len(listed)} values")
    try:
        values = np.array(listed, dtype=storage.packed or storage.dtype)
    except OverflowError:
        raise OnnxError(f"tensor {shown(tensor.name)}: a value does not fit its dtype") from None
    return values.view(storage.dtype).reshape(shape)


def _external_bytes(tensor: Any, folder: Path, size: int) -> bytes:
    name, entries = shown(tensor.name), {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if not location or "\0" in location or Path(location).name != location or location == ".." or "\\" in location:
        raise OnnxError(f"tensor {name}: external data {shown(location)} must be a file in the model's own folder")
    path = (folder / location).resolve()
    if path.parent != folder.resolve():
        raise OnnxError(f"tensor {name}: external data {shown(location)} is a link out of the model's folder")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
    except ValueError:
        raise OnnxError(f"tensor {name}: offset and length of its external data must be integers") from None
    if offset < 0 or length != size:
        raise OnnxError(f"tensor {name}: needs {size} bytes, its external data claims {length} at offset {offset}")
    try:
        if path.stat().st_size < offset + size:
            raise OnnxError(f"tensor {name}: external data file {shown(location)} is too short")
        with path.open("rb") as stream:
            stream.seek(offset)
            return bytes(stream.read(size))
    except OSError as error:
        raise OnnxError(f"tensor {name}: external data file {shown(location)}: {error.strerror}") from None
