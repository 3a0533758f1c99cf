"""Small ONNX models made by hand, and the judge that compares their import with onnxruntime."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from tests.onnx_export import run_onnx

from mnv3c.graph.importers.onnx import import_onnx
from mnv3c.graph.ir import Graph
from mnv3c.graph.ops import Input
from mnv3c.graph.passes.drop_identities import DropIdentities
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.passes.recognise_activations import RecogniseActivations
from mnv3c.graph.reference import run

Array = npt.NDArray[np.float32]
Shapes = Mapping[str, tuple[int, ...]]
PASSES = (RecogniseActivations(), DropIdentities())
IMAGE = (1, 3, 7, 8)


def onnx_model(
    nodes: Sequence[Any],
    constants: Mapping[str, npt.ArrayLike] | None = None,
    shape: Sequence[int | str | None] = IMAGE,
    opset: int = 17,
    outputs: Sequence[str] = ("y",),
) -> Any:
    """A model with the float32 input `x`; `constants` become initializers."""
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(
        list(nodes),
        "hand-made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def random(*shape: int, seed: int = 0) -> Array:
    """Standard normal values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def saved(model: Any, folder: Path, name: str = "model.onnx") -> Path:
    """Path of the model, written to the folder."""
    path = folder / name
    onnx.save(model, str(path))
    return path


@cache
def newest_opset() -> int:
    """The newest opset that both onnx and onnxruntime know."""
    for opset in range(onnx.defs.onnx_opset_version(), 17, -1):
        model = onnx_model([helper.make_node("Relu", ["x"], ["y"])], opset=opset)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        except onnxruntime.capi.onnxruntime_pybind11_state.Fail:
            continue
        return opset
    raise AssertionError("onnxruntime knows no opset above 17")


def assert_agrees(path: Path, x: Array, shapes: Shapes | None = None, tolerance: float = 1e-4) -> Graph:
    """Hold the import of a file, before and after the passes, against onnxruntime; gives the graph after them."""
    expected = list(run_onnx(path, x).values())
    imported = import_onnx(path, shapes or {})
    rewritten = run_passes(imported, PASSES)
    for graph in (imported, rewritten):
        actual = outputs_as_in_onnx(graph, x)
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert a.shape == e.shape
            np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance * max(float(np.abs(e).max()), 1e-3))
    return rewritten


def outputs_as_in_onnx(graph: Graph, x: Array) -> list[Array]:
    """The reference's outputs for an input in the file's own order, in the file's own order."""
    op = graph.inputs[0].op
    assert isinstance(op, Input)
    values = run(graph, np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 and op.layout == "NCHW" else x)
    moved = graph.output_layout == "NCHW"
    return [v.transpose(0, 3, 1, 2) if v.ndim == 4 and moved else v for v in (values[name] for name in graph.outputs)]


def ocr_model(name: str) -> Path:
    """One of the networks that the wheel rapidocr-onnxruntime carries, found without importing it."""
    spec = find_spec("rapidocr_onnxruntime")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "models" / name
