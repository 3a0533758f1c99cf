"""The integer reference gives LiteRT's reference kernels' integers: every element of every tensor, 0 LSB apart."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.graph.exporters.integer_samples import random_block
from tests.graph.integer.litert import litert_tensors

from mnv3c.graph.exporters.tflite import export_tflite
from mnv3c.graph.importers.onnx import import_onnx
from mnv3c.graph.integer.affine import Int8Array
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.graph.integer.ops import Table
from mnv3c.graph.integer.reference import run_all
from mnv3c.graph.integer.tables import hsigmoid_steps
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.passes.quantize import Quantize

RESOLUTION = 224
BLOCKS_PER_TEST, BLOCKS = 20, 240


def expected_tensors(network: IntegerNetwork, x: Int8Array) -> dict[str, Int8Array]:
    """Every tensor that the exported file computes by name, those in the middle of a hard sigmoid included."""
    values = run_all(network, x)
    inner: dict[str, Int8Array] = {}
    for layer in network.layers.values():
        for index, step in enumerate(layer.steps):
            if not isinstance(step, Table) or step.activation.kind != "hsigmoid":
                continue
            current = values[layer.step_names()[index - 1] if index else layer.node.inputs[0]]
            for part, each in enumerate(hsigmoid_steps(step.activation, step.input, step.output)[:-1]):
                current = inner[f"{layer.node.name}.{index}.inner{part}"] = each.apply(current, network.rounding)
    return values | inner


def random_input(network: IntegerNetwork, seed: int) -> Int8Array:
    shape = network.graph.type_of(network.graph.inputs[0].name).shape
    return np.random.default_rng(seed).integers(-128, 128, shape, dtype=np.int8)


def assert_equal_everywhere(network: IntegerNetwork, folder: Path, seed: int = 0) -> int:
    """Number of elements compared. Constants are in the file as well, and what PAD makes: all else must be expected."""
    x, path = random_input(network, seed), folder / "network.tflite"
    export_tflite(network, path)
    computed, expected = litert_tensors(path, x), expected_tensors(network, x)
    constants = (".weight", ".bias", ".axes", ".shape", ".paddings", ".padded", ".filler", ".constant0", ".constant1")
    assert {name for name in computed if not name.endswith((*constants, ".constant2"))} == set(expected)
    for name, values in expected.items():
        assert computed[name].shape == values.shape, name
        worst = int(np.abs(computed[name].astype(np.int32) - values).max())
        assert worst == 0, f"{network.graph.name}: tensor {name} is {worst} LSB from LiteRT's"
    return sum(values.size for values in expected.values())


@pytest.mark.parametrize(
    ("options", "elements"),
    [
        ({"variant": "large"}, 7_000_000),
        ({"variant": "small"}, 2_500_000),
        ({"variant": "large", "minimalistic": True}, 4_900_000),
        ({"variant": "small", "minimalistic": True, "width": 0.75}, 1_000_000),
    ],
)
def test_networks(options: dict[str, Any], elements: int, tmp_path: Path) -> None:
    graph = mobilenet_v3(resolution=RESOLUTION, **options)
    sample = np.random.default_rng(1).uniform(-1, 1, (1, RESOLUTION, RESOLUTION, 3)).astype(np.float32)
    network = Quantize().run(graph, [sample])
    assert assert_equal_everywhere(network, tmp_path) > elements
    # A network whose outputs hardly move would be equal by chance.
    assert np.unique(run_all(network, random_input(network, 0))[graph.outputs[0]]).size > 100


@pytest.mark.parametrize("shape", [(1, 3, 48, 192), (2, 3, 48, 100)])
def test_pp_ocr_classifier(shape: tuple[int, ...], tmp_path: Path) -> None:
    """PaddleOCR's hard sigmoids have slope 0.2: three operators each."""
    spec = importlib.util.find_spec("rapidocr_onnxruntime")  # found, not imported: that would load OpenCV
    assert spec is not None and spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
    batch, channels, height, width = shape
    sample = np.random.default_rng(1).uniform(-1, 1, (batch, height, width, channels)).astype(np.float32)
    assert assert_equal_everywhere(Quantize().run(import_onnx(path, {"x": shape}), [sample]), tmp_path) > 1_000_000


@pytest.mark.parametrize("first", range(0, BLOCKS, BLOCKS_PER_TEST))
def test_random_blocks(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + BLOCKS_PER_TEST):
        assert_equal_everywhere(random_block(seed), tmp_path, seed)
