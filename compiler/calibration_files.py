"""Calibration inputs from a folder of images or arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mnv3c.compiler.assemble import to_caller_layout
from mnv3c.compiler.input_files import IMAGE_SUFFIXES, load_input
from mnv3c.compiler.manifest import PortEntry, PreprocessingEntry
from mnv3c.graph.calibration.samples import in_graph_order
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Array, Graph
from mnv3c.graph.ops import Input
from mnv3c.graph.tensor import Layout

_SUFFIXES = (*IMAGE_SUFFIXES, ".npy")


@dataclass(frozen=True)
class _GraphInput:
    """What `load_input` wants to know."""

    input: PortEntry
    preprocessing: PreprocessingEntry | None


def calibration_files(directory: Path) -> tuple[Path, ...]:
    """The images and arrays of a folder, by name. Raises UserError where there are none."""
    if not directory.is_dir():
        raise UserError(f"{directory}: no such folder")
    found = tuple(sorted(path for path in directory.iterdir() if path.suffix.lower() in _SUFFIXES))
    if not found:
        raise UserError(f"{directory}: holds no {', '.join(_SUFFIXES)} file to calibrate with")
    return found


def file_samples(graph: Graph, files: tuple[Path, ...]) -> Iterator[Array]:
    """Each file as the graph's input, in the IR's order. Raises UserError naming the file that cannot be one."""
    (node,) = graph.inputs
    op, shape = node.op, graph.type_of(node.name).shape
    assert isinstance(op, Input)
    layout: Layout = "NCHW" if op.layout == "NCHW" and len(shape) == 4 else "NHWC"
    entry = PortEntry(
        name=node.name, shape=tuple(shape[axis] for axis in to_caller_layout(layout, len(shape))), layout=layout
    )
    normal = PreprocessingEntry.of(graph.preprocessing)
    for file in files:
        values = load_input(file, _GraphInput(entry, normal), None)
        if values.shape != entry.shape:
            raise UserError(f"{file}: has shape {list(values.shape)}, the network takes {list(entry.shape)}")
        yield in_graph_order(graph, values)
