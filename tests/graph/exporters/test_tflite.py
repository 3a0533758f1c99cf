"""The `.tflite` files that the exporter writes, read back through the public schema."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite
from tests.graph.exporters.integer_samples import RandomIntegers, random_block

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU, RELU6, Activation
from mnv3c.graph.errors import MissingError, UserError
from mnv3c.graph.exporters.tflite import export_tflite, tflite_bytes
from mnv3c.graph.integer.network import IntegerLayer, IntegerNetwork
from mnv3c.graph.integer.ops import Clamp, Product, Sum, Table
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Activate, Conv2d, Dense, Input, Op, Pool2d

NAMES = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}


def network(op: Op, shape: tuple[int, ...] = (1, 7, 7, 4), inputs: tuple[str, ...] = ("x",)) -> IntegerNetwork:
    """One layer called `y`."""
    graph = Graph("g", (Node("x", Input(shape)), Node("y", op, inputs)), ("y",))
    return RandomIntegers(np.random.default_rng(0)).network(graph)


def with_step(changed: IntegerNetwork, index: int, **fields: Any) -> IntegerNetwork:
    """The network with other fields in a step of layer `y`."""
    layer = changed.layers["y"]
    steps = tuple(replace(step, **fields) if i == index else step for i, step in enumerate(layer.steps))
    return replace_layer(changed, replace(layer, steps=steps))


def replace_layer(changed: IntegerNetwork, layer: IntegerLayer) -> IntegerNetwork:
    return IntegerNetwork(changed.graph, changed.inputs, {**changed.layers, "y": layer}, changed.rounding)


def read(exported: IntegerNetwork) -> tuple[Any, Any]:
    """The model and its subgraph."""
    model = tflite.Model.GetRootAs(tflite_bytes(exported))
    return model, model.Subgraphs(0)


def tensors(graph: Any) -> dict[str, Any]:
    return {(t := graph.Tensors(j)).Name().decode(): t for j in range(graph.TensorsLength())}


def operators(model: Any, graph: Any) -> list[tuple[str, int, list[str]]]:
    """Name, version and the names of the tensors that each operator reads and writes, in order."""
    names = list(tensors(graph))
    found = []
    for j in range(graph.OperatorsLength()):
        operator = graph.Operators(j)
        code = model.OperatorCodes(operator.OpcodeIndex())
        touched = [names[i] for i in (*operator.InputsAsNumpy(), *operator.OutputsAsNumpy())]
        found.append((NAMES[code.BuiltinCode()], code.Version(), touched))
    return found


def values(model: Any, tensor: Any, dtype: str) -> Any:
    return model.Buffers(tensor.Buffer()).DataAsNumpy().view(dtype).reshape(tensor.ShapeAsNumpy())


def fused_code(graph: Any, options: Any, index: int = 0) -> int:
    union = graph.Operators(index).BuiltinOptions()
    options.Init(union.Bytes, union.Pos)
    return int(options.FusedActivationFunction())


def test_header() -> None:
    data = tflite_bytes(random_block(0))
    model = tflite.Model.GetRootAs(data)
    assert data[4:8] == b"TFL3" and model.Version() == 3 and model.Description() == b"mnv3c"
    assert model.MetadataLength() == 0 and model.SubgraphsLength() == 1
    assert model.Buffers(0).DataIsNone()


def test_constants_are_aligned() -> None:
    data = tflite_bytes(random_block(1))
    model = tflite.Model.GetRootAs(data)
    for j in range(1, model.BuffersLength()):
        buffer = model.Buffers(j)
        assert buffer._tab.Vector(buffer._tab.Offset(4)) % 16 == 0


def test_convolution() -> None:
    exported = network(Conv2d(6, (3, 2), (2, 1), (1, 0, 1, 1), groups=2, bias=True, activation=RELU))
    (model, graph), step = read(exported), exported.layers["y"].steps[0]
    assert isinstance(step, Product)
    assert operators(model, graph) == [("CONV_2D", 6, ["x", "y.0.weight", "y.0.bias", "y"])]
    weight, bias = tensors(graph)["y.0.weight"], tensors(graph)["y.0.bias"]
    assert np.array_equal(values(model, weight, "i1"), step.weight.transpose(3, 0, 1, 2))
    assert np.array_equal(values(model, bias, "<i4"), step.bias)
    assert weight.Quantization().QuantizedDimension() == 0 and not weight.Quantization().ZeroPointAsNumpy().any()
    assert np.array_equal(weight.Quantization().ScaleAsNumpy(), step.weight_scales)
    assert np.array_equal(bias.Quantization().ScaleAsNumpy(), np.float32(step.input.scale) * step.weight_scales)
    assert bias.Type() == tflite.TensorType.INT32


def test_depthwise() -> None:
    exported = network(Conv2d(8, (3, 3), padding=(1, 1, 1, 1), dilation=(1, 1), groups=4, bias=True))
    (model, graph), step = read(exported), exported.layers["y"].steps[0]
    assert isinstance(step, Product)
    assert operators(model, graph) == [("DEPTHWISE_CONV_2D", 3, ["x", "y.0.weight", "y.0.bias", "y"])]
    weight = tensors(graph)["y.0.weight"]
    assert np.array_equal(values(model, weight, "i1"), step.weight.transpose(2, 0, 1, 3))
    assert weight.Quantization().QuantizedDimension() == 3
    options = tflite.DepthwiseConv2DOptions()
    assert fused_code(graph, options) == tflite.ActivationFunctionType.NONE
    assert (options.DepthMultiplier(), options.Padding()) == (2, tflite.Padding.SAME)


@pytest.mark.parametrize(("scales", "version", "count"), [(None, 12, 5), (np.full(5, 0.25, np.float32), 4, 1)])
def test_dense(scales: Any, version: int, count: int) -> None:
    exported = network(Dense(5, bias=True), (2, 4))
    if scales is not None:
        exported = with_step(exported, 0, weight_scales=scales)
    (model, graph), step = read(exported), exported.layers["y"].steps[0]
    assert isinstance(step, Product)
    assert operators(model, graph) == [("FULLY_CONNECTED", version, ["x", "y.0.weight", "y.0.bias", "y"])]
    weight = tensors(graph)["y.0.weight"]
    assert np.array_equal(values(model, weight, "i1"), step.weight.T)
    assert weight.Quantization().ScaleLength() == count


def test_padding_that_is_not_same() -> None:
    model, graph = read(network(Conv2d(6, (3, 3), (2, 2), (1, 1, 1, 1), bias=True), (1, 8, 8, 4)))
    (pad, pads, touched), (convolution, _, read_by) = operators(model, graph)
    assert (pad, pads, convolution, read_by[0]) == ("PAD", 2, "CONV_2D", "y.0.padded")
    assert touched == ["x", "y.0.paddings", "y.0.padded"]
    assert values(model, tensors(graph)["y.0.paddings"], "<i4").tolist() == [[0, 0], [1, 1], [1, 1], [0, 0]]
    assert tensors(graph)["y.0.padded"].ShapeAsNumpy().tolist() == [1, 10, 10, 4]


def test_same_padding_of_the_paper() -> None:
    """MobileNetV3's stem, one pixel below and to the right, is SAME and takes no PAD."""
    model, graph = read(network(Conv2d(6, (3, 3), (2, 2), (0, 0, 1, 1), bias=True), (1, 8, 8, 3)))
    assert [name for name, _, _ in operators(model, graph)] == ["CONV_2D"]


def test_maximum_with_padding_of_its_own() -> None:
    model, graph = read(network(Pool2d("max", (3, 3), (2, 2), (1, 1, 1, 1)), (1, 8, 8, 3)))
    assert [name for name, _, _ in operators(model, graph)] == ["PADV2", "MAX_POOL_2D"]
    assert values(model, tensors(graph)["y.0.filler"], "i1").tolist() == [-128]


def test_names_are_those_of_the_steps() -> None:
    op = Conv2d(4, bias=True, activation=HSIGMOID, residual="before_activation")
    exported = network(op, inputs=("x", "x"))
    model, graph = read(exported)
    assert [touched[-1] for _, _, touched in operators(model, graph)] == ["y.0", "y.1", "y.2.inner0", "y"]
    assert exported.layers["y"].step_names() == ("y.0", "y.1", "y")
    steep = Activation("hsigmoid", slope=0.2, offset=0.5)
    model, graph = read(network(Conv2d(4, bias=True, activation=steep)))
    outputs = [(name, touched[-1]) for name, _, touched in operators(model, graph)]
    assert outputs == [("CONV_2D", "y.0"), ("MUL", "y.1.inner0"), ("ADD", "y.1.inner1"), ("MUL", "y")]


@pytest.mark.parametrize(
    ("activation", "code"),
    [
        (None, tflite.ActivationFunctionType.NONE),
        (RELU, tflite.ActivationFunctionType.RELU),
        (RELU6, tflite.ActivationFunctionType.RELU6),
        (Activation("clip", low=-1.0, high=1.0), tflite.ActivationFunctionType.RELU_N1_TO_1),
    ],
)
def test_fused_activation(activation: Activation | None, code: int) -> None:
    _, graph = read(network(Conv2d(4, bias=True, activation=activation)))
    assert fused_code(graph, tflite.Conv2DOptions()) == code


def test_residual_keeps_the_activation_from_the_other_step() -> None:
    """A clamp that is no bound at all is NONE where the activation belongs to the other step."""
    op = Conv2d(4, bias=True, activation=RELU, residual="after_activation")
    exported = network(op, inputs=("x", "x"))
    total = exported.layers["y"].steps[1]
    assert isinstance(total, Sum)
    exported = with_step(exported, 1, output=replace(total.output, zero_point=-128))
    _, graph = read(exported)
    assert fused_code(graph, tflite.Conv2DOptions()) == tflite.ActivationFunctionType.RELU
    assert fused_code(graph, tflite.AddOptions(), 1) == tflite.ActivationFunctionType.NONE


def test_same_network_same_bytes() -> None:
    assert tflite_bytes(random_block(3)) == tflite_bytes(random_block(3))
    assert tflite_bytes(random_block(3)) != tflite_bytes(random_block(6))


def refuse_clamp() -> IntegerNetwork:
    return with_step(network(Conv2d(4, bias=True)), 0, clamp=Clamp(-7, 9))


def refuse_table() -> IntegerNetwork:
    exported = network(Conv2d(4, bias=True, activation=HSWISH))
    table = exported.layers["y"].steps[1]
    assert isinstance(table, Table)
    changed = table.table.copy()
    changed[200] ^= 1
    return with_step(exported, 1, table=changed)


def refuse_counted_padding() -> IntegerNetwork:
    exported = network(Pool2d("average", (3, 3), (1, 1), (1, 1, 1, 1)))
    return with_step(exported, 0, op=Pool2d("average", (3, 3), (1, 1), (1, 1, 1, 1), count_padding=True))


def refuse_names() -> IntegerNetwork:
    nodes = (Node("x", Input((1, 2, 2, 4))), Node("y.0", Conv2d(4, bias=True), ("x",)))
    nodes = (*nodes, Node("y", Conv2d(4, bias=True, activation=HSWISH), ("y.0",)))
    return RandomIntegers(np.random.default_rng(0)).network(Graph("g", nodes, ("y",)))


def refuse_empty() -> IntegerNetwork:
    class Empty(IntegerLayer):
        @property
        def output(self) -> Any:
            return whole.layers["y"].output

    whole = network(Conv2d(4, bias=True))
    return replace_layer(whole, Empty(whole.layers["y"].node, ()))


REFUSED = {
    refuse_clamp: "layer 'y' to TFLite: no fused activation clamps its integers to -7..9",
    refuse_table: "layer 'y' to TFLite: its table is not the one that TFLite's operators compute for hswish",
    refuse_counted_padding: r"layer 'y' .* AVERAGE_POOL_2D has no padding \(1, 1, 1, 1\) with count_padding=True",
    refuse_names: "two tensors would be named 'y.0'",
    refuse_empty: "layer 'y' to TFLite: it has no steps",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: str(make.__name__))
def test_refused(make: Any, tmp_path: Path) -> None:
    exported = make()
    with pytest.raises(UserError, match=REFUSED[make]) as caught:
        export_tflite(exported, tmp_path / "m.tflite")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_average_whose_padding_is_not_same() -> None:
    with pytest.raises(UserError, match=r"no padding \(1, 1, 0, 0\) with count_padding=False"):
        tflite_bytes(network(Pool2d("average", (3, 3), (1, 1), (1, 1, 0, 0))))


def test_clip_as_a_layer_of_its_own() -> None:

    with pytest.raises(UserError, match=r"layer 'y' to TFLite: no operator computes clip\(-1,2\)"):
        tflite_bytes(network(Activate(Activation("clip", low=-1.0, high=2.0))))


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=f"cannot write {tmp_path}/none/m.tflite"):
        export_tflite(random_block(0), tmp_path / "none" / "m.tflite")
