"""Whole networks, imported and held against onnxruntime: real ones from a wheel, and our own."""

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper
from tests.graph.onnx_models import assert_agrees, ocr_model, random, saved
from tests.onnx_export import to_onnx

from mnv3c.graph.activation import HSWISH
from mnv3c.graph.errors import UserError
from mnv3c.graph.importers.onnx import import_onnx
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import Activate

CLS, DET, REC = "ch_ppocr_mobile_v2.0_cls_infer.onnx", "ch_PP-OCRv3_det_infer.onnx", "ch_PP-OCRv3_rec_infer.onnx"


@pytest.mark.parametrize("variant", ["large", "small"])
def test_our_own_networks_survive_the_round_trip(variant: str, tmp_path: Path) -> None:
    original = mobilenet_v3(variant, resolution=64)
    graph = assert_agrees(to_onnx(original, tmp_path / "net.onnx"), random(1, 64, 64, 3), tolerance=1e-3)
    assert (graph.total_macs, graph.total_params) == (original.total_macs, original.total_params)


def kinds(graph: Graph) -> Counter[str]:
    return Counter(node.op.kind for node in graph.nodes)


def text_like(height: int, width: int) -> npt.NDArray[np.float32]:
    """A bright picture with dark bars, normalised as the detector expects."""
    rows, columns = np.mgrid[:height, :width]
    picture = np.where((rows % 16 < 8) & (columns % 6 < 3), -1.0, 1.0).astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(picture, (1, 3, height, width)))


def test_orientation_classifier() -> None:
    graph = assert_agrees(ocr_model(CLS), random(1, 3, 48, 192), {"x": (1, 3, 48, 192)})
    counts = kinds(graph)
    assert counts["conv2d"] == 53 and counts["dense"] == 1 and counts["activate"] == 18 + 15 + 9
    activations = Counter(node.op.activation for node in graph.nodes if isinstance(node.op, Activate))
    assert activations[HSWISH] == 18
    assert sum(1 for activation in activations.elements() if str(activation) == "hsigmoid(0.2,0.5)") == 9


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (96, 64)])
def test_text_detector(height: int, width: int, tmp_path: Path) -> None:
    """The probabilities, and the logits before them, which saturate less."""
    model = onnx.load(str(ocr_model(DET)))
    model.graph.output.append(helper.make_tensor_value_info("elementwise_add_11.tmp_0", onnx.TensorProto.FLOAT, None))
    path, x = saved(model, tmp_path), text_like(height, width)
    graph = assert_agrees(path, x, {"x": (1, 3, height, width)})
    counts = kinds(graph)
    assert counts["conv2d"] == 72 and counts["conv_transpose2d"] == 2 and counts["resize"] == 6
    assert graph.type_of(graph.outputs[0]).shape == (1, height, width, 1)


def test_recogniser_is_refused_by_its_op() -> None:
    with pytest.raises(UserError, match=r"rec_infer\.onnx: node 'Reshape_4' \(Reshape\): from \(1, 120, 1, 40\)"):
        import_onnx(ocr_model(REC), {"x": (1, 3, 48, 320)})
