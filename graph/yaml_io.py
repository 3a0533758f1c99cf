"""A graph as a readable YAML file with its weights beside it."""

import math
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, get_args

import yaml

from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.ir import Array, Graph, GraphError, Node, Preprocessing
from mnv3c.graph.ops import OP_TYPES, Input, Op
from mnv3c.graph.tensor import Layout
from mnv3c.graph.verify import verify
from mnv3c.graph.weights_io import read_weights, write_weights
from mnv3c.graph.yaml_fields import FieldError, decode, decode_fields, encode_fields, shown
from mnv3c.graph.yaml_text import read_yaml

FORMAT = "mnv3c-graph/1"
MAX_ELEMENTS = 2**33
MAX_NAME_LENGTH = 512

_REQUIRED = ("format", "name", "outputs", "nodes")
_OPTIONAL = ("output_layout", "output_names", "preprocessing", "weights")


def save_graph(graph: Graph, path: Path) -> None:
    """Write `X.yaml`, and `X.npz` when the graph has weights; each appears whole or not at all.

    Raises UserError when the path does not end in .yaml or a name cannot be written, GraphError when the graph is not
    whole (`verify`), MissingError when the files cannot be written.
    """
    if path.suffix != ".yaml":
        raise UserError(f"{path}: a graph is saved to a file that ends in .yaml")
    verify(graph)
    try:
        for name in (graph.name, *(node.name for node in graph.nodes)):
            _require_name("name", name)
    except FieldError as error:
        raise UserError(f"{path}: {error}") from None
    weights = _used_weights(graph)
    weights_path = path.with_suffix(".npz")
    text = _text(graph, weights_path.name if weights else None)
    files: dict[Path, Callable[[IO[bytes]], object]] = {path: lambda file: file.write(text.encode("utf-8"))}
    if weights:
        files = {weights_path: lambda file: write_weights(file, weights)} | files
    _write(files)


def load_graph(path: Path) -> Graph:
    """The graph of a file that `save_graph` wrote, or that was written by hand in its form.

    Raises UserError in one line, naming the file and the key, for anything else: no YAML, unknown or missing keys,
    wrong types, nodes that do not fit, tensors of over 2**33 elements, weights that are missing or do not fit.
    """
    document = read_yaml(path)
    try:
        graph, weights_file = _decoded(document)
        _require_sizes(graph)
    except (FieldError, GraphError) as error:
        raise UserError(f"{path}: {error}") from None
    if weights_file is not None:
        weights = read_weights(path.parent / weights_file, _weight_shapes(graph))
        graph = graph.rebuilt(graph.nodes, weights=weights)
    try:
        return verify(graph)
    except GraphError as error:
        raise UserError(f"{path}: {error}") from None


def _used_weights(graph: Graph) -> dict[str, Array]:
    if not graph.weights:
        return {}
    return {node.weight_name(role): value for node in graph.nodes for role, value in graph.weights_of(node).items()}


def _weight_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    return {
        node.weight_name(role): shape
        for node in graph.nodes
        for role, shape in node.op.weights(graph.input_types(node)).items()
    }


def _text(graph: Graph, weights_file: str | None) -> str:
    head: dict[str, object] = {"format": FORMAT, "name": graph.name, "output_layout": graph.output_layout}
    if graph.preprocessing is not None:
        head["preprocessing"] = {"mean": list(graph.preprocessing.mean), "std": list(graph.preprocessing.std)}
    if weights_file is not None:
        head["weights"] = weights_file
    head["outputs"] = list(graph.outputs)
    if graph.output_names:
        head["output_names"] = list(graph.output_names)
    # One line a node: whole nodes are what people compare and move.
    lines = [f"- {_dump(_node_data(node), flow=True)}" for node in graph.nodes]
    return "".join([_dump(head, flow=None), "nodes:\n", *lines])


def _node_data(node: Node) -> dict[str, object]:
    data: dict[str, object] = {"name": node.name, "op": node.op.kind}
    if node.inputs:
        data["inputs"] = list(node.inputs)
    return data | encode_fields(node.op)


def _dump(data: object, flow: bool | None) -> str:
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(
        data, Dumper=dumper, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=2**20
    )
    return text


def _write(files: Mapping[Path, Callable[[IO[bytes]], object]]) -> None:
    """Write each file under a temporary name in its folder, then rename all."""
    with ExitStack() as stack:
        staged: dict[Path, Path] = {}
        for path, write in files.items():
            try:
                with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
                    staged[path] = Path(file.name)
                    stack.callback(staged[path].unlink, missing_ok=True)
                    write(file)
            except OSError as error:
                raise MissingError(f"{path}: cannot be written: {error.strerror or error}") from None
        for path, temporary in staged.items():
            try:
                temporary.chmod(0o644)
                temporary.replace(path)
            except OSError as error:
                raise MissingError(f"{path}: cannot be written: {error.strerror or error}") from None


def _decoded(document: object) -> tuple[Graph, str | None]:
    if not isinstance(document, dict):
        raise FieldError(f"must be a mapping with the keys {', '.join(_REQUIRED)}")
    for key in document:
        if key not in (*_REQUIRED, *_OPTIONAL):
            raise FieldError(f"{shown(key)} is not a key here; allowed are {', '.join((*_REQUIRED, *_OPTIONAL))}")
    for key in _REQUIRED:
        if key not in document:
            raise FieldError(f"{key} is missing")
    if document["format"] != FORMAT:
        raise FieldError(f"format must be {FORMAT}, not {shown(document['format'])}")
    graph = Graph(
        name=_require_name("name", document["name"]),
        nodes=_decoded_nodes(document["nodes"]),
        outputs=decode("outputs", tuple[str, ...], document["outputs"]),
        output_layout=decode("output_layout", Layout, document.get("output_layout", get_args(Layout)[0])),
        output_names=decode("output_names", tuple[str, ...], document.get("output_names", [])),
        preprocessing=decode("preprocessing", Preprocessing | None, document.get("preprocessing")),
    )
    return graph, _decoded_weights_file(document.get("weights"))


def _decoded_weights_file(value: object) -> str | None:
    if value is None:
        return None
    name = _require_name("weights", value)
    if not name.endswith(".npz") or Path(name).name != name or "\\" in name:
        raise FieldError(f"weights must be the name of an .npz file beside this one, not {shown(value)}")
    return name


def _decoded_nodes(value: object) -> tuple[Node, ...]:
    if not isinstance(value, list):
        raise FieldError(f"nodes must be a list, not {shown(value)}")
    op_types: dict[str, type[Op]] = {op.kind: op for op in OP_TYPES}
    return tuple(_decoded_node(f"nodes[{index}]", item, op_types) for index, item in enumerate(value))


def _decoded_node(where: str, data: object, op_types: Mapping[str, type[Op]]) -> Node:
    if not isinstance(data, dict):
        raise FieldError(f"{where} must be a mapping, not {shown(data)}")
    name = _require_name(f"{where}.name", data.get("name"))
    where = f"{where} '{name}'"
    op_type = op_types.get(data["op"]) if isinstance(data.get("op"), str) else None
    if op_type is None:
        raise FieldError(f"{where}: op must be one of {', '.join(op_types)}, not {shown(data.get('op'))}")
    inputs = decode(f"{where}: inputs", tuple[str, ...], data.get("inputs", []))
    own = {key: value for key, value in data.items() if key not in ("name", "op", "inputs")}
    try:
        op = decode_fields(op_type, own)
    except FieldError as error:
        raise FieldError(f"{where}: {error}") from None
    if isinstance(op, Input) and len(op.shape) not in (2, 4):
        raise FieldError(f"{where}: shape must have 2 or 4 extents, not {len(op.shape)}")
    return Node(name, op, inputs)


def _require_name(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MAX_NAME_LENGTH:
        raise FieldError(f"{key} must be 1 to {MAX_NAME_LENGTH} printable characters, not {shown(value)}")
    return value


def _require_sizes(graph: Graph) -> None:
    for node in graph.nodes:
        if graph.type_of(node.name).elements > MAX_ELEMENTS:
            raise GraphError(f"node '{node.name}' has {graph.type_of(node.name)}, over {MAX_ELEMENTS} elements")
        for role, shape in node.op.weights(graph.input_types(node)).items():
            if math.prod(shape) > MAX_ELEMENTS:
                raise GraphError(f"node '{node.name}': weight '{role}' has over {MAX_ELEMENTS} elements")
