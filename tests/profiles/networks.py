"""Networks as layers, fused as the runtimes of profiles compute them."""

from pathlib import Path

from tests.test_pp_ocr import CLASSIFIER, model

from mnv3c.graph.importers.onnx import import_onnx
from mnv3c.graph.ir import Graph
from mnv3c.graph.layer import LayerKey, layer_key, layers
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes


def ocr_classifier() -> Graph:
    """PP-OCR's classifier, a MobileNetV3 whose strides differ along height and width."""
    return import_onnx(Path(model(CLASSIFIER)), {"x": (1, 3, 48, 192)})


def networks() -> dict[str, Graph]:
    """MobileNetV3 in its variants, a segmentation head and an imported network, by name."""
    return {
        "large": mobilenet_v3("large", seed=None),
        "small": mobilenet_v3("small", seed=None),
        "minimalistic": mobilenet_v3("large", minimalistic=True, resolution=(160, 96), seed=None),
        "segmentation": mobilenet_v3("large", head="lraspp", resolution=256, seed=None),
        "ocr": ocr_classifier(),
    }


def fused(graph: Graph) -> tuple[tuple[str, ...], tuple[LayerKey, ...]]:
    """Names and keys of the layers of a graph, once passes have run."""
    graph = run_passes(graph, default_passes())
    nodes = layers(graph)
    return tuple(node.name for node in nodes), tuple(layer_key(graph, node) for node in nodes)
