"""What comes out of a TFLite file: the network that went in, and what other tools write."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite
from tests.graph.exporters.integer_samples import RandomIntegers, random_block
from tests.graph.importers.tflite_models import SHAPE, Model, Op, X, Y, int8, pointwise, poke, saved
from tests.graph.integer.litert import litert_tensors

from mnv3c.graph.activation import HSIGMOID, RELU6, Activation
from mnv3c.graph.exporters import tflite_options as options
from mnv3c.graph.exporters.tflite import export_tflite
from mnv3c.graph.importers.tflite import import_tflite
from mnv3c.graph.integer.affine import Affine
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.graph.integer.ops import ElementProduct, Product, Sum, Table
from mnv3c.graph.integer.reference import run_all
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import Conv2d, Input, Pool2d
from mnv3c.graph.passes.quantize import Quantize
from mnv3c.graph.reference import run

ROUND_TRIPS = 120
PADDING = np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32)


def quantised(**kwargs: Any) -> IntegerNetwork:
    graph = mobilenet_v3(resolution=64, **kwargs)
    return Quantize().run(graph, [np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)])


def imported(model: Model, folder: Path, *outputs: str) -> IntegerNetwork:
    return import_tflite(saved(folder / "m.tflite", model.bytes(*outputs)))


def assert_as_litert(network: IntegerNetwork, path: Path) -> None:
    """The imported network's tensors are those of LiteRT on the same file, under the names that both have."""
    shape = network.graph.type_of("x").shape
    x = np.random.default_rng(5).integers(-128, 128, shape, dtype=np.int8)
    computed, expected = litert_tensors(path, x), run_all(network, x)
    shared = sorted(set(computed) & set(expected))
    assert set(network.graph.outputs) <= set(shared)
    for name in shared:
        assert np.array_equal(computed[name], expected[name]), name


@pytest.mark.parametrize("options", [{}, {"variant": "small"}, {"minimalistic": True}, {"head": "none"}], ids=str)
def test_networks_come_back(options: dict[str, Any], tmp_path: Path) -> None:
    network, first, second = quantised(**options), tmp_path / "a.tflite", tmp_path / "b.tflite"
    export_tflite(network, first)
    back = import_tflite(first)
    export_tflite(back, second)
    assert second.read_bytes() == first.read_bytes()
    assert (back.graph.nodes, back.graph.outputs) == (network.graph.nodes, network.graph.outputs)
    assert [layer.step_names() for layer in back.layers.values()] == [
        layer.step_names() for layer in network.layers.values()
    ]


def test_weights_are_the_real_numbers(tmp_path: Path) -> None:
    network = quantised(variant="small")
    export_tflite(network, tmp_path / "a.tflite")
    back = import_tflite(tmp_path / "a.tflite")
    assert set(back.graph.weights) == set(network.graph.weights)
    for name, layer in network.layers.items():
        step = layer.steps[0]
        if not isinstance(step, Product):
            continue
        # A biased layer's real numbers, rounded to the integers' grid.
        apart = np.abs(back.graph.weights[f"{name}.weight"] - network.graph.weights[f"{name}.weight"])
        assert (apart <= 0.5001 * step.weight_scales).all()
        apart = np.abs(back.graph.weights[f"{name}.bias"] - network.graph.weights[f"{name}.bias"])
        assert (apart <= 0.51 * step.weight_scales * step.input.scale).all()
    x = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    (expected,), (found,) = run(network.graph, x).values(), run(back.graph, x).values()
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("first", range(0, ROUND_TRIPS, 20))
def test_blocks_come_back(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 20):
        network, path = random_block(seed), tmp_path / f"{seed}.tflite"
        export_tflite(network, path)
        back = import_tflite(path)
        export_tflite(back, tmp_path / "again.tflite")
        assert (tmp_path / "again.tflite").read_bytes() == path.read_bytes(), seed
        x = np.random.default_rng(seed).integers(-128, 128, network.graph.type_of("x").shape, dtype=np.int8)
        expected, found = run_all(network, x), run_all(back, x)
        assert set(found) == set(expected)
        assert all(np.array_equal(found[name], expected[name]) for name in expected), seed


def test_convolution_without_bias(tmp_path: Path) -> None:
    network = imported(pointwise(bias=False), tmp_path, "y")
    step = network.layers["y"].steps[0]
    assert isinstance(step, Product) and not step.bias.any() and set(network.graph.weights) == {"y.weight"}
    assert network.graph["y"].op == Conv2d(3)


def test_gate_before_what_it_gates(tmp_path: Path) -> None:
    model = Model().constant("axes", np.array([2, -3], np.int32)).tensor("gate", (1, 1, 1, 4), X)
    model.tensor("y", (1, 5, 6, 4)).operator(Op.MEAN, ("x", "axes"), "gate", options.mean())
    network = imported(model.operator(Op.MUL, ("gate", "x"), "y", options.multiply("relu")), tmp_path, "y")
    assert network.graph["y"].inputs == ("x", "gate")
    assert isinstance(network.layers["y"].steps[0], ElementProduct)
    assert_as_litert(network, tmp_path / "m.tflite")


def test_residual_on_either_side(tmp_path: Path) -> None:
    for name, inputs in (("left", ("c", "x")), ("right", ("x", "c"))):
        model = Model().random("w", 4, 1, 1, 4).constant("b", np.arange(4, dtype=np.int32))
        model.tensor("c", (1, 5, 6, 4), Affine(0.125, 7)).tensor("y", (1, 5, 6, 4))
        model.operator(Op.CONV_2D, ("x", "w", "b"), "c", options.convolution(True, (1, 1), (1, 1), "none"), 3)
        network = imported(model.operator(Op.ADD, inputs, "y", options.add("relu6")), tmp_path, "y")
        assert network.graph["y"].op == Conv2d(4, bias=True, activation=RELU6, residual="before_activation"), name
        product, total = network.layers["y"].steps
        assert isinstance(product, Product) and isinstance(total, Sum)
        assert (total.input, total.other) == (Affine(0.125, 7), X)
        assert_as_litert(network, tmp_path / "m.tflite")


def test_padding_of_its_own_and_same(tmp_path: Path) -> None:
    model = Model().constant("p", PADDING).tensor("padded", (1, 8, 7, 4), X).random("w", 2, 3, 3, 4)
    model.constant("b", np.zeros(2, np.int32)).tensor("y", (1, 4, 4, 2)).operator(Op.PAD, ("x", "p"), "padded")
    model.operator(Op.CONV_2D, ("padded", "w", "b"), "y", options.convolution(True, (2, 2), (1, 1), "none"), 3)
    network = imported(model, tmp_path, "y")
    op = network.graph["y"].op
    assert isinstance(op, Conv2d) and op.padding == (1, 1, 3, 2)
    assert_as_litert(network, tmp_path / "m.tflite")


def test_padded_maximum(tmp_path: Path) -> None:
    model = Model().constant("p", PADDING).constant("v", int8(-128), X).tensor("padded", (1, 8, 7, 4), X)
    model.tensor("y", (1, 3, 5, 4), X).operator(Op.PADV2, ("x", "p", "v"), "padded")
    model.operator(Op.MAX_POOL_2D, ("padded",), "y", options.pool(False, (3, 3), (2, 1)))
    network = imported(model, tmp_path, "y")
    assert network.graph["y"].op == Pool2d("max", (3, 3), (2, 1), (1, 0, 2, 1))
    assert_as_litert(network, tmp_path / "m.tflite")


def hard_sigmoid(
    three: tuple[int, Affine], sixth: tuple[int, Affine], steep: tuple[int, Affine] | None = None
) -> Model:
    model = Model().constant("three", int8(three[0]), three[1]).constant("sixth", int8(sixth[0]), sixth[1])
    model.tensor("r", (1, 5, 6, 4), Affine(float(np.float32(6 / 255)), -128))
    model.tensor("y", (1, 5, 6, 4), Affine(1 / 256, -128))
    if steep is not None:
        model.tensor("m", SHAPE, X).constant("steep", int8(steep[0]), steep[1])
        model.operator(Op.MUL, ("steep", "x"), "m", options.multiply("none"))
    model.operator(Op.ADD, ("m" if steep else "x", "three"), "r", options.add("relu6"))
    return model.operator(Op.MUL, ("r", "sixth"), "y", options.multiply("none"))


FULL_RANGE = (127, Affine(float(np.float32(3 / 255)), -128)), (127, Affine(float(np.float32(1 / 6 / 255)), -128))


def test_hard_sigmoid_of_another_converter(tmp_path: Path) -> None:
    network = imported(hard_sigmoid(*FULL_RANGE), tmp_path, "y")
    (step,) = network.layers["y"].steps
    assert isinstance(step, Table) and len(step.inner) == 1
    assert step.activation.slope == pytest.approx(HSIGMOID.slope, rel=1e-6)
    assert step.activation.offset == pytest.approx(HSIGMOID.offset, rel=1e-6)
    assert_as_litert(network, tmp_path / "m.tflite")


def test_steep_hard_sigmoid(tmp_path: Path) -> None:
    third, sixth = Affine(float(np.float32(3 / 127)), 0), Affine(float(np.float32(1 / 6 / 127)), 0)
    model = hard_sigmoid((127, third), (127, sixth), (100, Affine(float(np.float32(1.2 / 100)), 0)))
    network = imported(model, tmp_path, "y")
    (step,) = network.layers["y"].steps
    assert isinstance(step, Table) and len(step.inner) == 2 and step.activation.slope == pytest.approx(0.2, rel=1e-6)
    assert_as_litert(network, tmp_path / "m.tflite")


def test_fewest_digits(tmp_path: Path) -> None:
    """What our exporter wrote for slope 0.2 comes back as 0.2, not as the float32 nearest to it."""
    network = random_block_with(Activation("hsigmoid", slope=0.2, offset=0.4))
    export_tflite(network, tmp_path / "a.tflite")
    assert import_tflite(tmp_path / "a.tflite").graph == network.graph


def random_block_with(activation: Activation) -> IntegerNetwork:

    nodes = (Node("x", Input((1, 3, 3, 2))), Node("y", Conv2d(2, bias=True, activation=activation), ("x",)))
    return RandomIntegers(np.random.default_rng(0)).network(Graph("g", nodes, ("y",)))


def test_file_without_a_name_for_its_graph(tmp_path: Path) -> None:
    model = pointwise()
    model.builder.name = ""
    assert imported(model, tmp_path, "y").graph.name == "m"


def test_old_files_have_no_large_operator_codes(tmp_path: Path) -> None:
    data = pointwise().bytes("y")
    code = tflite.Model.GetRootAs(data).OperatorCodes(0)
    assert (code.DeprecatedBuiltinCode(), code.BuiltinCode()) == (Op.CONV_2D, Op.CONV_2D)
    path = saved(tmp_path / "m.tflite", poke(data, code, 3, "<i", 0))
    assert import_tflite(path).affine("y") == Y
