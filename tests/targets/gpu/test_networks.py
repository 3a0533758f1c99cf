"""Whole networks through OpenCL, call by call, against the NumPy reference."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.targets.gpu.opencl_runner import Array, GpuRunner, relative_error
from tests.targets.gpu.test_families import runner

from mnv3c.graph.errors import UserError
from mnv3c.graph.importers.onnx import import_onnx
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.layer import layers
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import Conv2d, Input
from mnv3c.graph.reference import run
from mnv3c.targets.gpu.precision import Float

CLASSIFIER, DETECTOR = "ch_ppocr_mobile_v2.0_cls_infer.onnx", "ch_PP-OCRv3_det_infer.onnx"


def ocr(name: str, shape: tuple[int, ...]) -> Graph:
    package = importlib.util.find_spec("rapidocr_onnxruntime")  # found, not imported: that would load OpenCV
    assert package is not None and package.submodule_search_locations
    return import_onnx(Path(package.submodule_search_locations[0]) / "models" / name, {"x": shape})


def error(gpu: GpuRunner, graph: Graph) -> float:
    """The largest relative error of the outputs on random input."""
    x = np.random.default_rng(0).standard_normal(graph.type_of(graph.inputs[0].name).shape, np.float32)
    got = gpu.run_graph(graph, x)
    fused = gpu.lowered(graph).graph

    def caller(value: Array) -> Array:
        return value.transpose(0, 3, 1, 2) if fused.output_layout == "NCHW" and value.ndim == 4 else value

    expected = {name: caller(value) for name, value in run(fused, x).items()}
    return max(relative_error(got[name].reshape(expected[name].shape), expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("device", "graph"),
    [
        ("adreno-640", lambda: mobilenet_v3("large", resolution=96)),
        ("mali-g76", lambda: mobilenet_v3("small", resolution=(64, 96))),
        ("powervr-ge8320", lambda: mobilenet_v3("small", minimalistic=True, resolution=64)),
        ("mali-g72", lambda: mobilenet_v3("small", width=0.35, resolution=64, head="lraspp")),
        ("adreno-730", lambda: ocr(CLASSIFIER, (1, 3, 48, 96))),
        ("mali-g710", lambda: ocr(DETECTOR, (1, 3, 64, 96))),
    ],
    ids=["large", "small", "minimalistic", "lraspp", "cls", "det"],
)
def test_a_network_computes_what_the_reference_does(device: str, graph: Callable[[], Graph]) -> None:
    assert error(runner(device), graph()) <= 1e-4


@pytest.mark.parametrize(
    ("device", "graph"),
    [
        ("mali-g76", lambda: mobilenet_v3("small", resolution=64)),
        ("adreno-616", lambda: mobilenet_v3("small", minimalistic=True, resolution=64)),
        ("adreno-640", lambda: ocr(CLASSIFIER, (1, 3, 48, 96))),
    ],
    ids=["small", "minimalistic", "cls"],
)
def test_a_network_in_halves_is_near_the_reference(device: str, graph: Callable[[], Graph]) -> None:
    assert error(runner(device, "fp16"), graph()) <= 2e-2


@pytest.mark.parametrize("storage", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["large", "small", "cls", "det"])
def test_there_is_a_launch_for_each_layer_and_none_more(name: str, storage: Float) -> None:
    graphs = {
        "large": lambda: mobilenet_v3("large"),
        "small": lambda: mobilenet_v3("small"),
        "cls": lambda: ocr(CLASSIFIER, (1, 3, 48, 192)),
        "det": lambda: ocr(DETECTOR, (1, 3, 160, 160)),
    }
    network = runner("adreno-640", storage).lowered(graphs[name]())
    assert [call.layer for call in network.calls] == [node.name for node in layers(network.graph)]


def test_a_layer_that_no_family_takes_is_refused_by_name() -> None:
    nodes = (Node("x", Input((1, 6, 5, 24)), ()), Node("odd", Conv2d(48, (3, 3), groups=24), ("x",)))
    graph = mobilenet_v3("small").rebuilt(nodes, outputs=("odd",), weights={})
    with pytest.raises(UserError, match=r"node 'odd': target 'mali' has no kernel for conv2d"):
        runner("mali-g76").lowered(graph)
