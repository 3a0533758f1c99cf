from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graph.samples import chain, with_weights

from mnv3c.graph.activation import HSWISH, RELU, Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.layer import LayerKey, layer_key, layers
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import (
    OP_TYPES,
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
    ResidualOrder,
    Resize,
    ScalarAffine,
    Softmax,
)
from mnv3c.graph.passes.fold_batch_norm import FoldBatchNorm
from mnv3c.graph.passes.fuse_layers import FuseLayers
from mnv3c.graph.passes.pipeline import Pass, run_passes
from mnv3c.graph.tensor import DType, TensorType

MAP = TensorType((1, 56, 56, 72))
ROW = TensorType((1, 960))
DEPTHWISE = Conv2d(72, (5, 5), (2, 2), (1, 1, 2, 2), groups=72, bias=True, activation=RELU)
KEYS = {
    "conv2d 1x56x56x72->1x28x28x72 kernel=5x5 stride=2x2 padding=1x1x2x2 groups=72 bias=yes activation=relu": LayerKey(
        DEPTHWISE, (MAP,)
    ),
    "conv2d 1x56x56x24,1x56x56x72->1x56x56x72 bias=yes residual=before_activation": LayerKey(
        Conv2d(72, bias=True, residual="before_activation"), (TensorType((1, 56, 56, 24)), MAP)
    ),
    "conv2d 1x56x56x72:int8->1x52x54x8:int8 kernel=3x3 dilation=2x1": LayerKey(
        Conv2d(8, (3, 3), dilation=(2, 1)), (TensorType((1, 56, 56, 72), "int8"),)
    ),
    "conv_transpose2d 1x56x56x72->1x112x112x3 kernel=2x2 stride=2x2": LayerKey(
        ConvTranspose2d(3, (2, 2), (2, 2)), (MAP,)
    ),
    "dense 1x960->1x1280 bias=yes activation=hswish": LayerKey(Dense(1280, True, HSWISH), (ROW,)),
    "batch_norm 1x960->1x960 epsilon=1e-05": LayerKey(BatchNorm(1e-5), (ROW,)),
    "channel_affine 1x960->1x960 scale=yes shift=no": LayerKey(ChannelAffine(True, False), (ROW,)),
    "scalar_affine 1x960->1x960 scale=2.0 shift=-0.1": LayerKey(ScalarAffine(2, -0.1), (ROW,)),
    "activate 1x960->1x960 activation=clip(-inf,5.9999999)": LayerKey(
        Activate(Activation("clip", low=-float("inf"), high=5.9999999)), (ROW,)
    ),
    "activate 1x960->1x960 activation=hsigmoid(0.2,0.5)": LayerKey(Activate(Activation("hsigmoid", slope=0.2)), (ROW,)),
    "add 1x960,1x960->1x960": LayerKey(Add(), (ROW, ROW)),
    "multiply 1x56x56x72,1x1x1x72->1x56x56x72": LayerKey(Multiply(), (MAP, TensorType((1, 1, 1, 72)))),
    "global_average_pool 1x56x56x72->1x1x1x72": LayerKey(GlobalAveragePool(), (MAP,)),
    "pool2d 1x56x56x72->1x28x28x72 mode=max kernel=2x2 stride=2x2": LayerKey(Pool2d("max", (2, 2), (2, 2)), (MAP,)),
    "resize 1x56x56x72->1x7x9x72 mode=nearest coordinates=asymmetric": LayerKey(
        Resize((7, 9), "nearest", "asymmetric"), (MAP,)
    ),
    "concat 1x960,1x960->1x1920": LayerKey(Concat(), (ROW, ROW)),
    "flatten 1x1x1x72->1x72": LayerKey(Flatten(), (TensorType((1, 1, 1, 72)),)),
    "softmax 1x960->1x960": LayerKey(Softmax(), (ROW,)),
    "identity 1x960->1x960": LayerKey(Identity(), (ROW,)),
}


@pytest.mark.parametrize("text", KEYS)
def test_text_of_a_key_is_stable(text: str) -> None:
    assert str(KEYS[text]) == text
    assert LayerKey.parse(text) == KEYS[text]


def test_every_op_but_input_is_shown_above() -> None:
    assert {key.kind for key in KEYS.values()} == {op.kind for op in OP_TYPES} - {"input"}


def test_fields_of_a_key() -> None:
    key = LayerKey(DEPTHWISE, (MAP,))
    assert (key.kind, key.kernel, key.stride, key.dilation) == ("conv2d", (5, 5), (2, 2), (1, 1))
    assert (key.padding, key.groups, key.activation, key.residual) == ((1, 1, 2, 2), 72, "relu", "")
    assert (key.input_shapes, key.output_shape, key.dtype) == (((1, 56, 56, 72),), (1, 28, 28, 72), "float32")
    assert key.macs == 28 * 28 * 72 * 25
    softmax = LayerKey(Softmax(), (ROW,))
    assert (softmax.kernel, softmax.stride, softmax.dilation, softmax.groups) == ((1, 1), (1, 1), (1, 1), 1)
    assert (softmax.padding, softmax.activation, softmax.residual, softmax.macs) == ((0, 0, 0, 0), "", "", 0)


NUMBERS = st.floats(allow_nan=False)
PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))
PADS = st.tuples(*[st.integers(0, 3)] * 4)
ACTIVATIONS = st.one_of(
    st.sampled_from([Activation("relu"), Activation("relu6"), HSWISH, Activation("sigmoid")]),
    st.builds(lambda low, high: Activation("clip", low=low, high=high), NUMBERS, NUMBERS),
    st.builds(lambda slope, offset: Activation("hsigmoid", slope=slope, offset=offset), NUMBERS, NUMBERS),
)
OPTIONAL = st.none() | ACTIVATIONS
RESIDUALS = st.sampled_from([None, "before_activation", "after_activation"])
DTYPES: st.SearchStrategy[DType] = st.sampled_from(["float32", "int8", "uint8", "int32"])


@st.composite
def keys(draw: st.DrawFn) -> LayerKey:
    channels, dtype = draw(st.integers(1, 6)), draw(DTYPES)
    x = TensorType((draw(st.integers(1, 3)), draw(st.integers(13, 20)), draw(st.integers(13, 20)), channels), dtype)
    row = TensorType((x.shape[0], channels), dtype)
    multiple = st.integers(1, 3).map(lambda factor: factor * channels)
    groups = st.sampled_from([1, channels])
    op: Op = draw(
        st.one_of(
            st.builds(Conv2d, multiple, PAIRS, PAIRS, PADS, PAIRS, groups, st.booleans(), OPTIONAL, RESIDUALS),
            st.builds(ConvTranspose2d, multiple, PAIRS, PAIRS, PADS, st.booleans(), OPTIONAL),
            st.builds(Dense, multiple, st.booleans(), OPTIONAL),
            st.builds(BatchNorm, st.floats(1e-9, 1.0)),
            st.sampled_from([ChannelAffine(), ChannelAffine(True), ChannelAffine(True, False)]),
            st.builds(ScalarAffine, NUMBERS | st.integers(-3, 3), NUMBERS),
            st.builds(Activate, ACTIVATIONS),
            st.builds(Add, OPTIONAL),
            st.builds(Multiply, OPTIONAL),
            st.builds(Pool2d, st.sampled_from(["max", "average"]), st.just((4, 4)), PAIRS, PADS, st.booleans()),
            st.builds(Resize, PAIRS, st.sampled_from(["nearest", "bilinear"]), st.sampled_from(["asymmetric"])),
            st.just(Concat()),
        )
    )
    if isinstance(op, Conv2d) and op.residual:
        return LayerKey(op, (x, replace(op, residual=None).infer((x,))))
    if isinstance(op, Dense):
        return LayerKey(op, (row,))
    return LayerKey(op, (x, x) if isinstance(op, Add | Multiply | Concat) else (x,))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(keys())
def test_keys_survive_their_text(key: LayerKey) -> None:
    parsed = LayerKey.parse(str(key))
    assert parsed == key
    assert hash(parsed) == hash(key)
    assert str(parsed) == str(key)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(keys(), keys())
def test_text_is_equal_exactly_where_keys_are(one: LayerKey, other: LayerKey) -> None:
    assert (one == other) == (str(one) == str(other))


def test_equal_numbers_have_equal_text() -> None:
    assert str(LayerKey(ScalarAffine(2, -0.0), (ROW,))) == str(LayerKey(ScalarAffine(2.0, 0.0), (ROW,)))
    assert str(LayerKey(Activate(Activation("clip", low=-0.0, high=6)), (ROW,))).endswith("clip(0.0,6.0)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown op ''; known are conv2d, "),
        ("input 1x4->1x4", "unknown op 'input'"),
        ("conv3d 1x4->1x4", "unknown op 'conv3d'"),
        ("softmax 1x4", "'1x4' is not INPUTS->OUTPUT"),
        ("softmax 1x04->1x4", "'1x04' is not a tensor such as"),
        ("softmax 1x4:int4->1x4:int4", "'1x4:int4' is not a tensor such as"),
        ("softmax 1x4->1x5", "output is 1x4, not 1x5"),
        ("softmax 1x1x1x4->1x1x1x4", "needs a tensor of rank 2, not 1x1x1x4"),
        ("softmax 1x4->1x4 axis=1", "'axis=1' is not one of its fields, each once: it has none"),
        ("dense 1x4->1x4 units=4", "'units=4' is not one of its fields, each once: bias, activation"),
        ("dense 1x4->1x4 bias=yes bias=yes", "'bias=yes' is not one of its fields, each once"),
        ("dense 1x4->1x4 bias=true", "'bias' is 'yes' or 'no', not 'true'"),
        ("dense 1x4->1x4 activation=swish", "'swish' is not an activation; known are relu, "),
        ("dense 1x4->1x4 activation=relu(0.0,1.0)", "'relu(0.0,1.0)' takes no numbers"),
        ("dense 1x4->1x4 activation=clip", "'clip' needs its two numbers"),
        ("dense 1x4->1x4 bias=no", "must be written 'dense 1x4->1x4'"),
        ("pool2d 1x4x4x1->1x2x2x1 kernel=2x2 stride=2x2", "field 'mode' is missing"),
        ("pool2d 1x4x4x1->1x2x2x1 mode=min kernel=2x2 stride=2x2", "'mode' is one of max, average, not 'min'"),
        ("conv2d 1x4x4x1->1x4x4x1 kernel=1", "'kernel' has 2 numbers, not '1'"),
        ("conv2d 1x4x4x1->1x4x4x1 groups=one", "invalid literal for int"),
        ("conv2d 1x4x4x1,1x4x4x1->1x4x4x1 residual=before", "'residual' is one of before_activation, after_activation"),
        ("conv2d 1x4x4x1->1x4x4x1 bias=yes groups=1", "must be written 'conv2d 1x4x4x1->1x4x4x1 bias=yes'"),
        ("softmax  1x4->1x4", "'' is not INPUTS->OUTPUT"),
    ],
)
def test_bad_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        LayerKey.parse(text)
    assert str(error.value).startswith(f"layer key '{text}': ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_names_and_weights_do_not_enter() -> None:
    graph = chain((1, 8, 8, 4), ("conv", Conv2d(6, activation=RELU)), ("pool", GlobalAveragePool()))
    nodes = tuple(Node(node.name.upper(), node.op, tuple(name.upper() for name in node.inputs)) for node in graph.nodes)
    other = with_weights(Graph("other", nodes, ("POOL",), output_layout="NCHW"), seed=7)
    assert [layer_key(graph, n) for n in layers(graph)] == [layer_key(other, n) for n in layers(other)]


def test_layers_are_what_costs() -> None:
    steps = (("pool", GlobalAveragePool()), ("same", Identity()), ("flat", Flatten()), ("fc", Dense(3)))
    graph = chain((1, 4, 4, 2), *steps)
    assert [node.name for node in layers(graph)] == ["pool", "fc"]
    with pytest.raises(ValueError, match="input 'x' is no layer"):
        layer_key(graph, graph["x"])


@pytest.mark.parametrize("order", ["before_activation", "after_activation"])
def test_key_of_a_residual_names_both_inputs(order: ResidualOrder) -> None:
    op = Conv2d(4, residual=order)
    graph = chain((1, 4, 4, 4), Node("conv", op, ("x", "x")))
    assert str(layer_key(graph, graph["conv"])) == "conv2d 1x4x4x4,1x4x4x4->1x4x4x4 residual=before_activation"


def test_keys_of_networks() -> None:
    passes: tuple[Pass, ...] = (FoldBatchNorm(), FuseLayers())
    small, wide = (run_passes(mobilenet_v3("small", width=width, seed=None), passes) for width in (1.0, 1.25))
    found = [{str(layer_key(graph, node)) for node in layers(graph)} for graph in (small, wide)]
    assert found[0] != found[1]
    for graph in (small, wide):
        nodes = layers(graph)
        assert sum(layer_key(graph, node).macs for node in nodes) == graph.total_macs
        assert all(LayerKey.parse(str(layer_key(graph, node))) == layer_key(graph, node) for node in nodes)


def test_input_is_the_only_op_without_a_key_text() -> None:
    with pytest.raises(UserError, match="unknown op 'input'"):
        LayerKey.parse(f"{Input.kind} ->1x4")
