"""Kernels of awkward shapes, alone and in fused groups, drawn by hypothesis, against the NumPy reference."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.compiler.kernel_runner import SHAPES, KernelRunner, host_variant, relative_error, run_graph, stored
from tests.graph.samples import random_input, with_weights

from mnv3c.compiler.lower import lower
from mnv3c.graph import reference
from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU, RELU6, SIGMOID, Activation
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import (
    Activate,
    Add,
    ChannelAffine,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    GlobalAveragePool,
    Input,
    Multiply,
    Op,
    Pool2d,
    Resize,
    ScalarAffine,
    Softmax,
)
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.shapes import ShapeError
from mnv3c.graph.tensor import TensorType
from mnv3c.targets.loader import load_target
from mnv3c.targets.target import Storage

TOLERANCE = 1e-5
EXTENTS = st.sampled_from([1, 2, 3, 5, 7, 8, 13, 31, 33])
CHANNELS = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 24, 31, 32, 33, 40, 47, 63, 72])
ACTIVATIONS = st.sampled_from(
    [RELU, RELU6, HSWISH, HSIGMOID, SIGMOID, Activation("clip", -1.0, 0.5), Activation("hsigmoid", slope=0.2)]
)
FUSED = st.none() | ACTIVATIONS
RESIDUALS = st.sampled_from([None, "before_activation", "after_activation"])
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))
KERNELS = st.tuples(st.integers(1, 5), st.integers(1, 5))
PADDINGS = st.tuples(*[st.integers(0, 4)] * 4)
STORAGES = st.sampled_from(["target", "NHWC", "NCHW"])

# Each test runs once for each vector size, so 10 examples are 40 kernels.
draws = settings(
    max_examples=10, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Check = Callable[..., None]


@pytest.fixture(params=SHAPES, ids=lambda shape: f"{shape[0]}bit")
def check(request: pytest.FixtureRequest) -> Check:
    runner = KernelRunner(host_variant(*request.param))

    def run_and_compare(family: str, op: Op, *shapes: tuple[int, ...], storage: Storage = "target") -> None:
        types = tuple(TensorType(shape) for shape in shapes)
        try:
            op.infer(types)
        except ShapeError:
            assume(False)
        work = runner.work(op, types, (storage, *stored(types[1:])))
        candidate = runner.candidates(work)[0]
        assert candidate.family == family
        # Inputs and weights are of the order of 1; a sum that cancels out is not held to its own size.
        assert runner.error(candidate, work, floor=1.0) <= TOLERANCE

    return run_and_compare


def output_shape(op: Op, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the output, for a residual; anything where the op does not fit, which `check` then drops."""
    try:
        return op.infer(tuple(TensorType(shape) for shape in shapes)).shape
    except ShapeError:
        return (1,)


@draws
@given(EXTENTS, EXTENTS, CHANNELS, CHANNELS, st.booleans(), FUSED, RESIDUALS)
def test_pointwise(
    check: Check,
    height: int,
    width: int,
    depth: int,
    columns: int,
    bias: bool,
    activation: Activation | None,
    residual: Literal["before_activation", "after_activation"] | None,
) -> None:
    others = [(1, height, width, columns)] if residual else []
    op = Conv2d(columns, bias=bias, activation=activation, residual=residual)
    check("gemm", op, (1, height, width, depth), *others)


@draws
@given(CHANNELS, CHANNELS, st.booleans(), FUSED)
def test_dense(check: Check, depth: int, units: int, bias: bool, activation: Activation | None) -> None:
    check("gemm", Dense(units, bias, activation), (1, depth))


@draws
@given(st.data(), EXTENTS, EXTENTS, CHANNELS, KERNELS, PAIRS, PADDINGS, PAIRS, FUSED, RESIDUALS)
def test_depthwise(
    check: Check,
    data: st.DataObject,
    height: int,
    width: int,
    channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    activation: Activation | None,
    residual: Literal["before_activation", "after_activation"] | None,
) -> None:
    assume(channels > 1)
    bias, shape = data.draw(st.booleans()), (1, height, width, channels)
    plain = Conv2d(channels, kernel, stride, padding, dilation, channels, bias)
    op = Conv2d(channels, kernel, stride, padding, dilation, channels, bias, activation, residual)
    check("depthwise", op, shape, *([output_shape(plain, shape)] if residual else []))


@draws
@given(st.data(), EXTENTS, EXTENTS, CHANNELS, CHANNELS, KERNELS, PAIRS, PADDINGS, PAIRS, FUSED, RESIDUALS, STORAGES)
def test_direct(
    check: Check,
    data: st.DataObject,
    height: int,
    width: int,
    in_channels: int,
    out_channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    activation: Activation | None,
    residual: Literal["before_activation", "after_activation"] | None,
    storage: Storage,
) -> None:
    bias, shape = data.draw(st.booleans()), (1, height, width, in_channels)
    plain = Conv2d(out_channels, kernel, stride, padding, dilation, 1, bias)
    assume(not plain.pointwise)
    op = Conv2d(out_channels, kernel, stride, padding, dilation, 1, bias, activation, residual)
    check("direct", op, shape, *([output_shape(plain, shape)] if residual else []), storage=storage)


@draws
@given(EXTENTS, EXTENTS, CHANNELS, CHANNELS, KERNELS, PAIRS, PADDINGS, st.booleans(), FUSED, STORAGES)
def test_transposed(
    check: Check,
    height: int,
    width: int,
    in_channels: int,
    out_channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    bias: bool,
    activation: Activation | None,
    storage: Storage,
) -> None:
    op = ConvTranspose2d(out_channels, kernel, stride, padding, bias, activation)
    check("direct", op, (1, height, width, in_channels), storage=storage)


@draws
@given(st.sampled_from(["max", "average"]), EXTENTS, EXTENTS, CHANNELS, KERNELS, PAIRS, PADDINGS, st.booleans())
def test_window_pool(
    check: Check,
    mode: Literal["max", "average"],
    height: int,
    width: int,
    channels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    count_padding: bool,
) -> None:
    top, left, bottom, right = (p % kernel[i % 2] for i, p in enumerate(padding))
    op = Pool2d(mode, kernel, stride, (top, left, bottom, right), count_padding)
    check("window_pool", op, (1, height, width, channels))


@draws
@given(EXTENTS, EXTENTS, CHANNELS)
def test_global_pool(check: Check, height: int, width: int, channels: int) -> None:
    check("global_pool", GlobalAveragePool(), (1, height, width, channels))


@draws
@given(st.data(), EXTENTS, CHANNELS, FUSED, ACTIVATIONS)
def test_elementwise(
    check: Check, data: st.DataObject, width: int, channels: int, fused: Activation | None, activation: Activation
) -> None:
    shape, gate = (1, 3, width, channels), (1, 1, 1, channels)
    cases: list[tuple[Op, tuple[tuple[int, ...], ...]]] = [
        (Add(fused), (shape, shape)),
        (Multiply(fused), (shape, shape)),
        (Multiply(fused), (shape, gate)),
        (Multiply(fused), (gate, gate)),
        (ChannelAffine(scale=True, shift=True), (shape,)),
        (ChannelAffine(scale=True, shift=False), (shape,)),
        (ChannelAffine(scale=False, shift=True), ((1, channels),)),
        (ScalarAffine(-0.75, 0.3), (shape,)),
        (Activate(activation), (shape,)),
    ]
    op, shapes = data.draw(st.sampled_from(cases))
    check("elementwise", op, *shapes)


@draws
@given(
    EXTENTS,
    EXTENTS,
    CHANNELS,
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(["nearest", "bilinear"]),
    st.sampled_from(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]),
)
def test_resize(
    check: Check,
    height: int,
    width: int,
    channels: int,
    size: tuple[int, int],
    mode: Literal["nearest", "bilinear"],
    coordinates: Literal["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"],
) -> None:
    check("resize", Resize(size, mode, coordinates), (1, height, width, channels))


@draws
@given(EXTENTS, st.lists(CHANNELS, min_size=2, max_size=5))
def test_concat(check: Check, width: int, channels: list[int]) -> None:
    check("concat", Concat(), *((1, 2, width, count) for count in channels))


@draws
@given(CHANNELS | st.integers(90, 1100))
def test_softmax(check: Check, channels: int) -> None:
    check("softmax", Softmax(), (1, channels))


@st.composite
def inverted_residuals(draw: st.DrawFn) -> Graph:
    """Expand (or a stem that reads the caller's tensor), depthwise, and maybe project with one of the residuals."""
    height, width, source, wide = draw(EXTENTS), draw(EXTENTS), draw(CHANNELS), draw(CHANNELS.filter(lambda c: c > 1))
    kernel, stride, padding = draw(KERNELS), draw(PAIRS), draw(PADDINGS)
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    head = draw(st.sampled_from(["expand", "stem", "expand of the input"]))
    nodes = [Node("x", Input((1, height, width, source), draw(st.sampled_from(["NHWC", "NCHW"]))))]
    if head == "expand":
        nodes.append(Node("before", Conv2d(source, bias=True), ("x",)))
    first = Conv2d(wide, (3, 3), (1, 1), (1, 1, 1, 1), bias=True) if head == "stem" else Conv2d(wide, bias=True)
    nodes.append(Node("head", replace(first, activation=draw(FUSED)), (nodes[-1].name,)))
    window = Conv2d(wide, kernel, stride, padding, dilation, wide, True, draw(FUSED))
    out = output_shape(window, (1, height, width, wide))
    assume(len(out) == 4)
    nodes.append(Node("window", window, ("head",)))
    residuals: dict[tuple[int, ...], str] = {
        (1, height, width, wide): "head",
        (1, height, width, source): nodes[-2].inputs[0],
    }
    if draw(st.booleans()):
        channels = draw(st.sampled_from([source, wide]) | CHANNELS)
        skip = residuals.get((*out[:3], channels))
        project = Conv2d(channels, bias=True, residual="before_activation" if skip else None)
        nodes.append(Node("project", project, ("window", skip) if skip else ("window",)))
    return with_weights(Graph("group", tuple(nodes), (nodes[-1].name,)))


@pytest.mark.parametrize(("bits", "registers"), SHAPES)
@draws
@given(graph=inverted_residuals())
def test_fused_groups(bits: int, registers: int, graph: Graph) -> None:
    """With next to no cache, fusing always pays."""
    device = host_variant(bits, registers)
    cache = device.cache.model_copy(update={"l1d_bytes": 1, "l2_bytes": 1})
    device = device.model_copy(update={"cache": cache})
    network = lower(run_passes(graph, default_passes()), load_target(device.target), device)
    assert max(len(call.nodes) for call in network.calls) >= 2
    x = random_input(graph)
    (got,) = run_graph(graph, device, x).values()
    (expected,) = reference.run(graph, x).values()
    assert relative_error(got, expected, floor=1.0) <= TOLERANCE
