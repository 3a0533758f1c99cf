"""Networks exported by torch, by both of its exporters, where torch is installed."""

import os
import warnings
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import Activate
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from tests.graph.onnx_models import assert_agrees, random

if find_spec("torch") is None or find_spec("onnxscript") is None:
    if os.environ.get("CI") == "true":
        pytest.fail("torch and onnxscript must be installed where CI=true", pytrace=False)
    pytest.skip("torch and onnxscript are not installed", allow_module_level=True)

RESOLUTION = 64
ACTIVATIONS = {
    "large": {"hswish": 21, "relu": 19, "hsigmoid": 8},
    "small": {"hswish": 19, "relu": 14, "hsigmoid": 9},
}


def export(variant: str, path: Path, open_shape: bool = False, **options: Any) -> Path:
    """MobileNetV3 of random weights, as an ONNX file."""
    import torch

    from tests.graph.torch_mobilenet_v3 import MobileNetV3

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates one of its exporters, and parts that both use
        example = torch.zeros(1, 3, RESOLUTION, RESOLUTION)
        if open_shape:
            axes = {0: "batch", 2: "height", 3: "width"}
            options |= {"dynamic_axes": {"x": axes}}
        torch.onnx.export(MobileNetV3(variant), (example,), str(path), input_names=["x"], **options)
    return path


@pytest.mark.parametrize("variant", ["large", "small"])
@pytest.mark.parametrize("options", [{"dynamo": False, "opset_version": 13}, {"dynamo": False}, {"dynamo": True}], ids=str)
def test_mobilenet_v3(variant: str, options: dict[str, Any], tmp_path: Path) -> None:
    path = export(variant, tmp_path / "net.onnx", **options)
    graph = assert_agrees(path, random(1, 3, RESOLUTION, RESOLUTION))
    counts = Counter(str(node.op.activation) for node in graph.nodes if isinstance(node.op, Activate))
    assert counts == ACTIVATIONS[variant]
    ours = mobilenet_v3(variant, resolution=RESOLUTION)
    layers = [
        (node.op.kind, run_passes_types) for node, run_passes_types in _layers(run_passes(graph, default_passes()))
    ]
    assert layers == [(node.op.kind, types) for node, types in _layers(run_passes(ours, default_passes()))]
    assert graph.total_macs == ours.total_macs
