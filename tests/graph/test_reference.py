from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graph.samples import ACTIVATIONS, chain, random_graph, random_input
from tests.onnx_export import run_onnx, to_onnx

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU, Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, GraphError, Node
from mnv3c.graph.ops import (
    Activate,
    Add,
    BatchNorm,
    ChannelAffine,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Identity,
    Input,
    Multiply,
    Op,
    Pool2d,
    Resize,
    ScalarAffine,
    Softmax,
)
from mnv3c.graph.reference import apply_activation, evaluate, run, run_all

EXTENTS = st.sampled_from([1, 2, 7, 31, 33])
CHANNELS = st.sampled_from([1, 3, 5, 8, 17])
PADS = st.tuples(*[st.integers(0, 2)] * 4)
FEW = settings(max_examples=40, deadline=None, derandomize=True)


def assert_agrees_with_onnxruntime(graph: Graph, seed: int = 1) -> None:
    x = random_input(graph, seed)
    with TemporaryDirectory() as folder:
        expected = run_onnx(to_onnx(graph, Path(folder) / "model.onnx"), x)
    values = run(graph, x)
    assert list(values) == list(graph.outputs)
    for name, value in values.items():
        assert value.dtype == np.float32
        assert value.shape == graph.type_of(name).shape == expected[name].shape
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5 * max(1.0, np.abs(value).max()))


@st.composite
def convolutions(draw: st.DrawFn) -> Graph:
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    in_channels, out_channels = groups * draw(CHANNELS), groups * draw(CHANNELS)
    if draw(st.booleans()):
        groups, out_channels = in_channels, in_channels * draw(st.sampled_from([1, 1, 2]))
    kernel, dilation = (draw(st.tuples(st.integers(1, 5), st.integers(1, 5))) for _ in range(2))
    pads = draw(PADS)
    smallest = [
        max(1, d * (k - 1) + 1 - pads[i] - pads[i + 2]) for i, (d, k) in enumerate(zip(dilation, kernel, strict=True))
    ]
    op = Conv2d(
        out_channels,
        kernel=kernel,
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding=pads,
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
        activation=draw(st.sampled_from([None, *ACTIVATIONS])),
    )
    shape = (draw(st.integers(1, 2)), max(smallest[0], draw(EXTENTS)), max(smallest[1], draw(EXTENTS)), in_channels)
    return chain(shape, ("conv", op))


@FEW
@given(convolutions())
def test_conv2d(graph: Graph) -> None:
    assert_agrees_with_onnxruntime(graph)


@pytest.mark.parametrize("order", ["before_activation", "after_activation"])
@pytest.mark.parametrize("activation", [None, RELU, HSWISH])
def test_conv2d_residual(order: str, activation: Activation | None) -> None:
    op = Conv2d(5, (3, 3), padding=(1, 1, 1, 1), bias=True, activation=activation, residual=order)  # type: ignore[arg-type]
    assert_agrees_with_onnxruntime(chain((1, 7, 31, 5), Node("conv", op, ("x", "x"))))


@FEW
@given(
    st.tuples(st.integers(1, 2), EXTENTS, EXTENTS, CHANNELS),
    CHANNELS,
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(*[st.integers(0, 1)] * 4),
    st.sampled_from([None, *ACTIVATIONS]),
)
def test_conv_transpose2d(
    shape: tuple[int, int, int, int],
    out_channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    activation: Activation | None,
) -> None:
    # onnxruntime wants padding smaller than the kernel, and an output that is not empty.
    padding = tuple(min(p, kernel[i % 2] - 1) for i, p in enumerate(padding))  # type: ignore[assignment]
    height, width = max(shape[1], 3), max(shape[2], 3)
    op = ConvTranspose2d(out_channels, kernel, stride, padding, bias=True, activation=activation)
    assert_agrees_with_onnxruntime(chain((shape[0], height, width, shape[3]), ("up", op)))


@FEW
@given(st.integers(1, 3), CHANNELS, CHANNELS, st.booleans(), st.sampled_from([None, *ACTIVATIONS]))
def test_dense(batch: int, features: int, units: int, bias: bool, activation: Activation | None) -> None:
    assert_agrees_with_onnxruntime(chain((batch, features), ("fc", Dense(units, bias, activation))))


@FEW
@given(
    st.sampled_from(["max", "average"]),
    st.tuples(st.integers(1, 2), st.sampled_from([5, 7, 31, 33]), st.sampled_from([5, 7, 33]), CHANNELS),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    PADS,
    st.booleans(),
)
def test_pool2d(
    mode: str,
    shape: tuple[int, int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    count_padding: bool,
) -> None:
    padding = tuple(min(p, kernel[i % 2] - 1) for i, p in enumerate(padding))  # type: ignore[assignment]
    op = Pool2d(mode, kernel, stride, padding, count_padding)  # type: ignore[arg-type]
    assert_agrees_with_onnxruntime(chain(shape, ("pool", op)))


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", [(1, 1), (5, 16), (16, 5), (8, 24), (4, 2), (3, 31)])
def test_resize(mode: str, coordinates: str, size: tuple[int, int]) -> None:
    op = Resize(size, mode, coordinates)  # type: ignore[arg-type]
    assert_agrees_with_onnxruntime(chain((1, 8, 8, 3), ("resize", op)))


def test_nearest_half_pixel_rounds_half_down() -> None:
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 4, 1)
    (halved,) = evaluate(Resize((1, 2), "nearest"), [x], {}).reshape(1, 2)
    assert halved.tolist() == [0.0, 2.0]


@pytest.mark.parametrize("shape", [(1, 7, 31, 5), (2, 1, 1, 17), (3, 33)])
@pytest.mark.parametrize(
    "op",
    [
        BatchNorm(),
        BatchNorm(epsilon=0.1),
        ChannelAffine(),
        ChannelAffine(scale=True),
        ChannelAffine(scale=True, shift=False),
        ScalarAffine(0.5, -3.0),
        Identity(),
        *map(Activate, ACTIVATIONS),
        Activate(Activation("hsigmoid", slope=0.2, offset=0.4)),
    ],
    ids=repr,
)
def test_elementwise(op: Op, shape: tuple[int, ...]) -> None:
    assert_agrees_with_onnxruntime(chain(shape, ("op", op)))


@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
def test_binary(activation: Activation | None) -> None:
    other, gate = Node("other", ChannelAffine(), ("x",)), Node("gate", GlobalAveragePool(), ("x",))
    nodes = (
        Node("sum", Add(activation), ("x", "other")),
        Node("product", Multiply(activation), ("sum", "other")),
        Node("gated", Multiply(activation), ("product", "gate")),
    )
    assert_agrees_with_onnxruntime(chain((2, 7, 3, 5), other, gate, *nodes, outputs=("sum", "product", "gated")))


def test_concat_flatten_softmax() -> None:
    graph = chain(
        (2, 7, 31, 3),
        Node("pool", GlobalAveragePool(), ("x",)),
        Node("wide", Concat(), ("pool", "pool", "pool")),
        ("flat", Flatten()),
        ("probabilities", Softmax()),
        Node("maps", Concat(), ("x", "x")),
        outputs=("probabilities", "maps"),
    )
    assert_agrees_with_onnxruntime(graph)
    probabilities = run(graph, random_input(graph))["probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_whole_graphs(seed: int) -> None:
    assert_agrees_with_onnxruntime(random_graph(seed), seed)


def test_layout_of_the_caller_changes_nothing() -> None:
    nodes = (Node("x", Input((1, 3, 5, 2), layout="NCHW")), Node("pool", GlobalAveragePool(), ("x",)))
    graph = Graph("g", nodes, ("pool",), output_layout="NCHW")
    x = random_input(graph)
    np.testing.assert_allclose(run(graph, x)["pool"][0, 0, 0], x.mean(axis=(0, 1, 2)), rtol=1e-5)
    assert_agrees_with_onnxruntime(graph)


def test_run_all_gives_every_node_in_order() -> None:
    graph = random_graph(3)
    values = run_all(graph, random_input(graph))
    assert list(values) == [node.name for node in graph.nodes]
    assert all(values[name].shape == graph.type_of(name).shape for name in values)


def test_extreme_inputs_stay_finite() -> None:
    x = np.array([-1e30, -1e4, -90.0, 0.0, 90.0, 1e4], np.float32)
    with np.errstate(over="raise", invalid="raise"):
        sigmoid = apply_activation(Activation("sigmoid"), x)
        softmax = evaluate(Softmax(), [x[None, 1:]], {})
    assert sigmoid.tolist() == pytest.approx([0.0, 0.0, 0.0, 0.5, 1.0, 1.0])
    assert softmax[0].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert apply_activation(HSIGMOID, x).tolist() == [0.0, 0.0, 0.0, 0.5, 1.0, 1.0]


def test_bad_inputs_are_named() -> None:
    graph = chain((1, 4, 4, 3), ("conv", Conv2d(2)))
    with pytest.raises(UserError, match=r"input 'x' is float32 \(1, 3, 4, 4\), needs float32 \(1, 4, 4, 3\)"):
        run(graph, np.zeros((1, 3, 4, 4), np.float32))
    with pytest.raises(UserError, match="input 'x' is float64"):
        run(graph, np.zeros((1, 4, 4, 3)))  # type: ignore[arg-type]
    two = Graph("two", (Node("a", Input((1, 2))), Node("b", Input((1, 2))), Node("c", Add(), ("a", "b"))), ("c",))
    with pytest.raises(UserError, match=r"graph 'two' has 2 inputs \(a, b\)"):
        run(two, np.zeros((1, 2), np.float32))
    bare = Graph("bare", graph.nodes, graph.outputs)
    with pytest.raises(GraphError, match=r"node 'conv' has no value for weight 'conv\.weight'"):
        run(bare, np.zeros((1, 4, 4, 3), np.float32))
    with pytest.raises(TypeError, match="op 'input' computes nothing"):
        evaluate(Input((1, 2)), [], {})
