"""Whole networks, compiled for this machine and run natively, against onnxruntime on the same weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.compiler.kernel_runner import Array, relative_error
from tests.onnx_export import run_onnx, to_onnx

from mnv3c.compiler.check_input import check_input
from mnv3c.compiler.execute import Artifact
from mnv3c.compiler.pipeline import Compiler
from mnv3c.compiler.transport.host import run_bench
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.targets.loader import load_target
from mnv3c.targets.registry import find_device

TOLERANCE = 1e-4
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "large": {"variant": "large"},
    "small": {"variant": "small"},
    "large minimalistic": {"variant": "large", "minimalistic": True, "resolution": 128},
    "small minimalistic": {"variant": "small", "minimalistic": True},
    "large 0.35": {"variant": "large", "width": 0.35, "resolution": 96},
    "large 1.25": {"variant": "large", "width": 1.25, "resolution": 96},
    "small 96": {"variant": "small", "resolution": 96},
    "small 320": {"variant": "small", "resolution": 320},
    "large 160": {"variant": "large", "resolution": 160},
    # The head's pool spans 49 x 49 positions of stride 16, or of stride 8.
    "lraspp": {"variant": "small", "head": "lraspp", "resolution": 800, "width": 0.35, "reduce_tail": True},
    "lraspp stride 8": {
        "variant": "small",
        "head": "lraspp",
        "resolution": (256, 288),
        "output_stride": 8,
        "width": 0.5,
    },
    "ssdlite": {"variant": "small", "head": "ssdlite", "resolution": 160},
}


def network_input(graph: Graph) -> Array:
    """Values in -1..1, for which the networks' weights are made; other ones than the bench checks with."""
    tensor = graph.type_of(graph.inputs[0].name)
    return check_input(tensor.elements, seed=7).reshape(tensor.shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_agrees_with_onnxruntime(name: str, tmp_path: Path) -> None:
    graph = mobilenet_v3(**NETWORKS[name])
    device = find_device("host")
    compiled = Compiler(load_target(device.target), device).compile(graph, tmp_path / "artifact")
    x = network_input(graph)
    expected = run_onnx(to_onnx(graph, tmp_path / "graph.onnx"), x)
    artifact = Artifact.open(compiled.directory)
    assert [port.shape for port in artifact.manifest.outputs] == [output.shape for output in expected.values()]
    for threads in (1, 2, 4) if name == "large" else (1, 2):
        execution = artifact.execute(x, "host", threads)
        assert execution.on == "host" and execution.measured_ms is None
        for got, (output, wanted) in zip(execution.outputs, expected.items(), strict=True):
            assert relative_error(got, wanted) <= TOLERANCE, f"{output}, {threads} threads"
    checked = run_bench(artifact.bench, ["--check", "--runs", "1", "--warmup", "0"])
    assert checked.returncode == 0, checked.stderr
