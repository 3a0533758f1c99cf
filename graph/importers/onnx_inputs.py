"""What an ONNX network starts from: its weights and its inputs."""

from typing import Any

import onnx

from mnv3c.graph.importers.onnx_file import dtype_name, tensor_values
from mnv3c.graph.importers.onnx_node import OnnxError, OnnxNode
from mnv3c.graph.importers.onnx_ops_shape import TO_NCHW
from mnv3c.graph.importers.onnx_scope import Constant, Scope, Tensor
from mnv3c.graph.importers.shown_name import shown
from mnv3c.graph.ops import Input
from mnv3c.graph.tensor import Layout


def read_initializers(model: Any, scope: Scope) -> None:
    """Put the weights stored in the file into the scope."""
    if model.graph.sparse_initializer:
        raise OnnxError("sparse initializers are not supported")
    for tensor in model.graph.initializer:
        if tensor.name in scope.values:
            raise OnnxError(f"two initializers are named {shown(tensor.name)}")
        scope.values[tensor.name] = Constant(tensor.name, tensor_values(tensor, scope.folder))


def read_inputs(model: Any, nodes: list[OnnxNode], scope: Scope, shapes: dict[str, tuple[int, ...]]) -> None:
    """Make the graph's inputs, with the shapes that the file states or `shapes` pins.

    Raises OnnxError naming the input and the option that would pin it.
    """
    # Files of IR version 3 list every initializer among the inputs.
    inputs = [value for value in model.graph.input if value.name not in scope.values]
    names = [value.name for value in inputs]
    for name in shapes:
        if name not in names:
            raise OnnxError(f"has no input {shown(name)} to pin; its inputs: {', '.join(map(shown, names))}")
    for value in inputs:
        if value.name in scope.values:
            raise OnnxError(f"two inputs are named {shown(value.name)}")
        try:
            shape = _input_shape(value, shapes.get(value.name))
            scope.values[value.name] = _input(value.name, shape, nodes, scope)
        except OnnxError as error:
            raise OnnxError(f"input {shown(value.name)}: {error}") from None


def _input(name: str, shape: tuple[int, ...], nodes: list[OnnxNode], scope: Scope) -> Tensor:
    """The input as a node. It is NHWC where all that happens to it is a Transpose to NCHW."""
    readers = [node for node in nodes if name in node.inputs]
    is_nhwc = bool(readers) and all(_is_transpose_to_nchw(node) for node in readers)
    order: Layout = "NHWC" if len(shape) != 4 or is_nhwc else "NCHW"
    plain = shape if order == "NHWC" else (shape[0], shape[2], shape[3], shape[1])
    return scope.add(name, "input", Input(plain, order), (), (), {}, order)


def _is_transpose_to_nchw(node: OnnxNode) -> bool:
    return node.op_type == "Transpose" and node.integers("perm", None, ()) == TO_NCHW


def _input_shape(value: Any, pinned: tuple[int, ...] | None) -> tuple[int, ...]:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise OnnxError("is not a tensor with a known rank")
    if kind.elem_type != onnx.TensorProto.FLOAT:
        raise OnnxError(f"is {dtype_name(kind.elem_type)}; only float32 is supported")
    # Exporters write an open extent as a name, as nothing, as 0 or as -1.
    stated = tuple(int(dim.dim_value) if dim.dim_value > 0 else None for dim in kind.shape.dim)
    if len(stated) not in (2, 4):
        raise OnnxError(f"has rank {len(stated)}; only 4 and 2 are supported")
    example = ",".join(str(extent or default) for extent, default in zip(stated, (1, 3, 224, 224), strict=False))
    option = f"--shape {value.name.encode('unicode_escape').decode('ascii')}:{example}"
    if pinned is None:
        if None in stated:
            raise OnnxError(f"its shape is open; pin it, as in {option}")
        if stated[0] != 1:
            raise OnnxError(f"its batch is {stated[0]}; only 1 is supported unless pinned, as in {option}")
        return tuple(extent for extent in stated if extent is not None)
    fits = len(pinned) == len(stated) and all(s in (None, p) for s, p in zip(stated, pinned, strict=True))
    if not fits or min(pinned) < 1:
        raise OnnxError(f"cannot have shape {','.join(map(str, pinned))}; the file allows, for instance, {option}")
    return pinned
