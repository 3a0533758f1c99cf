"""Networks exported by torch, by both of its exporters, where torch is installed."""

import os
import warnings
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.graph.onnx_models import assert_agrees, random

from mnv3c.graph.errors import UserError
from mnv3c.graph.importers.onnx import import_onnx
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import Activate, Conv2d, Op
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.tensor import TensorType

if find_spec("torch") is None or find_spec("onnxscript") is None:
    if os.environ.get("CI") == "true":
        pytest.fail("torch and onnxscript must be installed where CI=true", pytrace=False)
    pytest.skip("torch and onnxscript are not installed", allow_module_level=True)

RESOLUTION = 64
ACTIVATIONS = {
    "large": {"hswish": 21, "relu": 19, "hsigmoid": 8},
    "small": {"hswish": 19, "relu": 14, "hsigmoid": 9},
}


EXPORTERS: dict[str, dict[str, Any]] = {
    "torchscript-opset-13": {"dynamo": False, "opset_version": 13},
    "torchscript": {"dynamo": False},
    "dynamo": {"dynamo": True},
}


def export(variant: str, path: Path, **options: Any) -> Path:
    """MobileNetV3 with random weights, as an ONNX file."""
    import torch
    from tests.graph.torch_mobilenet_v3 import MobileNetV3

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates one of its exporters, and parts that both use
        example = torch.zeros(1, 3, RESOLUTION, RESOLUTION)
        torch.onnx.export(MobileNetV3(variant), (example,), str(path), input_names=["x"], **options)
    return path


def convolutions(graph: Graph) -> Counter[tuple[Op, TensorType]]:
    """The fused convolutions over maps, with their input; without padding, as torch pads strides of 2 on both sides."""
    layers = run_passes(graph, default_passes())
    found = [(node.op, layers.input_types(node)[0]) for node in layers.nodes if isinstance(node.op, Conv2d)]
    return Counter((replace(op, padding=(0, 0, 0, 0)), x) for op, x in found if x.spatial != (1, 1))


@pytest.mark.parametrize("variant", ["large", "small"])
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_mobilenet_v3(exporter: str, variant: str, tmp_path: Path) -> None:
    path = export(variant, tmp_path / "net.onnx", **EXPORTERS[exporter])
    graph = assert_agrees(path, random(1, 3, RESOLUTION, RESOLUTION))
    counts = Counter(str(node.op.activation) for node in graph.nodes if isinstance(node.op, Activate))
    assert counts == ACTIVATIONS[variant]
    ours = mobilenet_v3(variant, resolution=RESOLUTION)
    assert convolutions(graph) == convolutions(ours)
    assert graph.total_macs == ours.total_macs


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_open_shapes_are_pinned(exporter: str, tmp_path: Path) -> None:
    options = dict(EXPORTERS[exporter])
    if options["dynamo"]:
        from torch.export import Dim

        options["dynamic_shapes"] = {"x": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
    else:
        options["dynamic_axes"] = {"x": {0: "batch", 2: "height", 3: "width"}}
    path = export("small", tmp_path / "net.onnx", **options)
    with pytest.raises(UserError, match="--shape x:1,3,224,224"):
        import_onnx(path)
    graph = assert_agrees(path, random(1, 3, 64, 96), {"x": (1, 3, 64, 96)})
    assert graph.inputs[0].op.infer(()).shape == (1, 64, 96, 3)
