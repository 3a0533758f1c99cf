"""ONNX files as graphs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mnv3c.graph.errors import UserError
from mnv3c.graph.importers import (
    onnx_ops_convolution,
    onnx_ops_elementwise,
    onnx_ops_pool,
    onnx_ops_resize,
    onnx_ops_shape,
)
from mnv3c.graph.importers.onnx_constants import FROM_CONSTANTS, FROM_SHAPES, fold
from mnv3c.graph.importers.onnx_file import opset_of, read_model
from mnv3c.graph.importers.onnx_inputs import read_initializers, read_inputs
from mnv3c.graph.importers.onnx_node import OnnxError, OnnxNode
from mnv3c.graph.importers.onnx_order import ordered
from mnv3c.graph.importers.onnx_scope import Constant, Handler, Scope, Tensor, Value
from mnv3c.graph.importers.shown_name import shown
from mnv3c.graph.ir import Graph
from mnv3c.graph.ops import Input
from mnv3c.graph.passes.drop_identities import without_dead_nodes
from mnv3c.graph.tensor import Layout
from mnv3c.graph.verify import verify

HANDLERS: dict[str, Handler] = {
    **onnx_ops_convolution.HANDLERS,
    **onnx_ops_elementwise.HANDLERS,
    **onnx_ops_pool.HANDLERS,
    **onnx_ops_resize.HANDLERS,
    **onnx_ops_shape.HANDLERS,
}
DEFAULT_DOMAINS = ("", "ai.onnx")


def import_onnx(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Graph:
    """The network in an ONNX file, opset 9 to the newest that the installed `onnx` knows, with its weights.

    `shapes` pins the inputs whose shape the file leaves open, by name and in the file's order: {"x": (1, 3, 48, 192)}.
    Rank-4 tensors become NHWC; the graph says in `Input.layout` and `output_layout` that its caller keeps NCHW. Shapes
    that the network computes are computed here. Batch norm and activations stay as written: the passes fold them.

    Raises UserError, one line naming the file and the node, for anything that is damaged or not understood: nothing
    is dropped or approximated.
    """
    path = Path(path)
    try:
        model = read_model(path)
        return _import(path, model, dict(shapes or {}))
    except OnnxError as error:
        raise UserError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: damaged: a name in it is not UTF-8") from None


def _import(path: Path, model: Any, shapes: dict[str, tuple[int, ...]]) -> Graph:
    opset, scope = opset_of(model), Scope(path.parent)
    read_initializers(model, scope)
    nodes = [OnnxNode(proto, opset) for proto in model.graph.node]
    read_inputs(model, nodes, scope, shapes)
    for node in ordered(nodes, set(scope.values)):
        try:
            value = _value(node, scope)
            node.finish()
        except OnnxError as error:
            raise OnnxError(f"{node}: {error}") from None
        scope.values[node.outputs[0]] = value
    return _graph(path, model, scope)


def _value(node: OnnxNode, scope: Scope) -> Value:
    """Value of the node's first output."""
    if node.domain not in DEFAULT_DOMAINS:
        raise OnnxError(f"operator domain {shown(node.domain)} is not supported")
    known = all(isinstance(scope.values.get(name), Constant) for name in node.inputs if name)
    folder = FROM_SHAPES.get(node.op_type) or (FROM_CONSTANTS.get(node.op_type) if known else None)
    if folder is not None:
        return Constant(node.outputs[0], fold(node, scope, folder))
    if node.op_type not in HANDLERS:
        raise OnnxError("this operator is not supported")
    return HANDLERS[node.op_type](node, scope)


def _graph(path: Path, model: Any, scope: Scope) -> Graph:
    outputs: list[Tensor] = []
    for value in model.graph.output:
        found = scope.values.get(value.name)
        if not isinstance(found, Tensor):
            raise OnnxError(f"output {shown(value.name)} is {'a constant' if found else 'not computed by any node'}")
        if scope.plain(found) != found:
            raise OnnxError(f"output {shown(value.name)} of shape {found.shape} is not supported")
        outputs.append(found)
    orders = {output.order for output in outputs if len(output.shape) == 4}
    if not outputs or len(orders) > 1 or len({output.node for output in outputs}) < len(outputs):
        raise OnnxError("its outputs must be distinct and all NCHW or all NHWC")
    names = tuple(output.node for output in outputs)
    nodes = without_dead_nodes(tuple(scope.nodes.values()), names)
    kept = {node.name for node in nodes}
    for node in scope.nodes.values():
        if isinstance(node.op, Input) and node.name not in kept:
            raise OnnxError(f"input '{node.name}' reaches no output")
    weights = {key: value for key, value in scope.weights.items() if key.rpartition(".")[0] in kept}
    layout: Layout = next(iter(orders), "NCHW")
    callers_names = tuple(value.name for value in model.graph.output)
    name = _identifier(path.stem)
    return verify(Graph(name, nodes, names, weights, output_layout=layout, output_names=callers_names))


def _identifier(stem: str) -> str:
    name = re.sub(r"[^0-9A-Za-z_]+", "_", stem).strip("_") or "network"
    return f"network_{name}" if name[0].isdigit() else name
