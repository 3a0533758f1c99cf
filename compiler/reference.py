"""The outputs that `NAME-bench --check` compares with: the NumPy reference run on the check input."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnv3c.compiler import check_input as check_input_module
from mnv3c.compiler.assemble import to_caller_layout
from mnv3c.compiler.cache import FileCache, content_key, file_fingerprint, source_fingerprint
from mnv3c.compiler.check_input import check_input
from mnv3c.graph import reference
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Array, Graph
from mnv3c.graph.ops import Input


def weights_digest(graph: Graph) -> str:
    """SHA-256 over all weights by name."""
    digest = hashlib.sha256()
    for name in sorted(graph.weights):
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(graph.weights[name]).tobytes())
    return digest.hexdigest()


def graph_key(graph: Graph) -> str:
    """What a graph computes, as a hash: nodes, weights, outputs, layouts."""
    return content_key(
        "graph/1", graph.name, repr(graph.nodes), graph.outputs, graph.output_layout, weights_digest(graph)
    )


def from_caller_layout(graph: Graph, flat: Array) -> Array:
    """A flat input in the caller's order, as the tensor that the IR computes with."""
    node = graph.inputs[0]
    assert isinstance(node.op, Input)
    shape = graph.type_of(node.name).shape
    if node.op.layout == "NCHW" and len(shape) == 4:
        batch, height, width, channels = shape
        return flat.reshape(batch, channels, height, width).transpose(0, 2, 3, 1)
    return flat.reshape(shape)


def reference_outputs(graph: Graph, flat_input: Array) -> tuple[Array, ...]:
    """The graph's outputs in the caller's layout."""
    values = reference.run(graph, from_caller_layout(graph, flat_input))
    return tuple(
        np.ascontiguousarray(values[name].transpose(to_caller_layout(graph.output_layout, values[name].ndim)))
        for name in graph.outputs
    )


def reference_file(graph: Graph, seed: int, cache: FileCache) -> Path:
    """The outputs for `check_input(elements, seed)` as one float32 file, outputs one after another."""
    sources = [
        source_fingerprint("mnv3c.graph"),
        file_fingerprint(__file__),
        file_fingerprint(check_input_module.__file__),
    ]
    key = content_key("reference/1", graph_key(graph), seed, sources, np.__version__)

    def make(path: Path) -> None:
        elements = graph.type_of(graph.inputs[0].name).elements
        outputs = reference_outputs(graph, check_input(elements, seed))
        path.write_bytes(b"".join(output.astype("<f4").tobytes() for output in outputs))

    return cache.get(key, ".ref", make)


def weights_error(exact: Graph, rounded: Graph, seed: int, cache: FileCache) -> float:
    """What rounded weights change: the largest |difference| over the largest |value| of an output, the worst of them.

    Both graphs have the same layers; they are run on the check input. Raises UserError where an output is not finite.
    """
    sizes = [exact.type_of(name).elements for name in exact.outputs]
    flat = [np.fromfile(reference_file(graph, seed, cache), "<f4") for graph in (exact, rounded)]
    if not all(np.isfinite(values).all() for values in flat):
        raise UserError(f"graph '{exact.name}': its outputs are not finite, so rounded weights have no error to state")
    before, after = (np.split(values.astype(np.float64), np.cumsum(sizes)[:-1]) for values in flat)
    return max(_relative_error(one, other) for one, other in zip(before, after, strict=True))


def _relative_error(exact: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    difference, scale = float(np.abs(exact - other).max()), float(np.abs(exact).max())
    return difference / scale if scale else difference
