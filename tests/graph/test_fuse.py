from dataclasses import replace

import numpy as np
import pytest
from tests.graph.samples import assert_same_outputs, chain, random_graph

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU, RELU6
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import (
    Activate,
    Add,
    BatchNorm,
    ChannelAffine,
    Conv2d,
    ConvTranspose2d,
    Dense,
    GlobalAveragePool,
    Multiply,
    Op,
    Pool2d,
    ScalarAffine,
    activation_of,
)
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.fuse_layers import FuseLayers
from mnv3c.graph.passes.pipeline import run_passes

SHAPE = (1, 6, 5, 4)
CONV = Conv2d(4, (3, 3), padding=(1, 1, 1, 1))
SCALE_ONLY = ChannelAffine(scale=True, shift=False)
SCALE_AND_SHIFT = ChannelAffine(scale=True, shift=True)


def fuse(graph: Graph) -> Graph:
    """The fused graph, after checking that it computes the same and that weights do not decide its structure."""
    fused = run_passes(graph, [FuseLayers()])
    assert_same_outputs(graph, fused)
    assert run_passes(replace(graph, weights={}), [FuseLayers()]) == fused
    assert fuse_again(fused) == fused
    return fused


def fuse_again(graph: Graph) -> Graph:
    return run_passes(graph, [FuseLayers()])


def assert_untouched(graph: Graph) -> None:
    assert fuse(graph) == graph


def ops(graph: Graph) -> dict[str, Op]:
    return {node.name: node.op for node in graph.nodes[1:]}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("layer", [CONV, ConvTranspose2d(3, (2, 2), (2, 2)), Dense(3)], ids=repr)
@pytest.mark.parametrize(
    ("affine", "adds_bias"),
    [
        (ChannelAffine(), True),
        (SCALE_ONLY, False),
        (SCALE_AND_SHIFT, True),
        (ScalarAffine(scale=0.25), False),
        (ScalarAffine(shift=3.0), True),
        (ScalarAffine(-2.0, 0.5), True),
    ],
    ids=repr,
)
def test_affine_after_a_layer(layer: Conv2d | ConvTranspose2d | Dense, affine: Op, adds_bias: bool, bias: bool) -> None:
    shape = (3, 4) if isinstance(layer, Dense) else SHAPE
    fused = fuse(chain(shape, ("layer", replace(layer, bias=bias)), ("affine", affine)))
    assert ops(fused) == {"layer": replace(layer, bias=bias or adds_bias)}
    assert fused.outputs == ("layer",)


def test_affine_steps_and_then_an_activation() -> None:
    steps = (("shift", ChannelAffine()), ("scale", ScalarAffine(0.5)), ("relu", Activate(RELU)))
    fused = fuse(chain(SHAPE, ("conv", CONV), *steps))
    assert ops(fused) == {"conv": replace(CONV, bias=True, activation=RELU)}


@pytest.mark.parametrize("affine", [ChannelAffine(), SCALE_ONLY, ScalarAffine(0.5, 1.0)], ids=repr)
@pytest.mark.parametrize(
    "before",
    [
        Node("n", replace(CONV, activation=RELU), ("x",)),
        Node("n", replace(CONV, residual="before_activation"), ("x", "x")),
        Node("n", Add(), ("x", "x")),
        Node("n", GlobalAveragePool(), ("x",)),
        Node("n", SCALE_ONLY, ("x",)),
    ],
    ids=lambda node: repr(node.op),
)
def test_affine_stays_elsewhere(before: Node, affine: Op) -> None:
    assert_untouched(chain(SHAPE, before, ("affine", affine)))


@pytest.mark.parametrize(
    "before",
    [
        Node("n", CONV, ("x",)),
        Node("n", ConvTranspose2d(3, (2, 2), (2, 2)), ("x",)),
        Node("n", Add(), ("x", "x")),
        Node("n", Multiply(), ("x", "x")),
        Node("n", replace(CONV, residual="before_activation"), ("x", "x")),
    ],
    ids=lambda node: repr(node.op),
)
def test_activation_after(before: Node) -> None:
    fused = fuse(chain(SHAPE, before, ("act", Activate(HSWISH))))
    assert ops(fused) == {"n": replace(before.op, activation=HSWISH)}  # type: ignore[call-arg]
    assert fused["n"].inputs == before.inputs


def test_activation_after_dense() -> None:
    assert ops(fuse(chain((2, 4), ("fc", Dense(3)), ("act", Activate(HSIGMOID))))) == {
        "fc": Dense(3, activation=HSIGMOID)
    }


def test_activation_after_a_residual_that_was_marked_as_after_nothing() -> None:
    graph = chain(SHAPE, Node("conv", replace(CONV, residual="after_activation"), ("x", "x")), ("act", Activate(RELU)))
    assert ops(fuse(graph)) == {"conv": replace(CONV, activation=RELU, residual="before_activation")}


@pytest.mark.parametrize(
    "before",
    [
        replace(CONV, activation=RELU6),
        Add(RELU6),
        Pool2d("max", (2, 2), (2, 2)),
        GlobalAveragePool(),
        BatchNorm(),
        Activate(RELU6),
    ],
    ids=repr,
)
def test_activation_stays_after(before: Op) -> None:
    node = Node("n", before, ("x", "x") if isinstance(before, Add) else ("x",))
    assert_untouched(chain(SHAPE, node, ("act", Activate(HSWISH))))


@pytest.mark.parametrize("follower", [Activate(RELU), ChannelAffine(), ScalarAffine(2.0)], ids=repr)
def test_two_readers_keep_the_producer(follower: Op) -> None:
    nodes = (Node("conv", CONV, ("x",)), Node("n", follower, ("conv",)), Node("pool", GlobalAveragePool(), ("conv",)))
    assert_untouched(chain(SHAPE, *nodes, outputs=("n", "pool")))


@pytest.mark.parametrize("follower", [Activate(RELU), ChannelAffine(), ScalarAffine(2.0)], ids=repr)
def test_an_output_keeps_the_producer(follower: Op) -> None:
    assert_untouched(chain(SHAPE, ("conv", CONV), ("n", follower), outputs=("n", "conv")))


def test_outputs_follow_the_fused_node_in_order() -> None:
    nodes = (
        Node("conv", CONV, ("x",)),
        Node("relu", Activate(RELU), ("conv",)),
        Node("pool", GlobalAveragePool(), ("relu",)),
    )
    fused = fuse(chain(SHAPE, *nodes, outputs=("pool", "relu", "x")))
    assert fused.outputs == ("pool", "conv", "x")
    assert fused["pool"].inputs == ("conv",)


def residual(conv: Op, add: Op = Add(), swap: bool = False) -> Graph:  # noqa: B008
    nodes = (Node("conv", conv, ("x",)), Node("add", add, ("x", "conv") if swap else ("conv", "x")))
    return chain(SHAPE, *nodes, ("pool", GlobalAveragePool()))


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(
    ("conv", "add", "fused_conv"),
    [
        (CONV, Add(), replace(CONV, residual="before_activation")),
        (CONV, Add(RELU), replace(CONV, activation=RELU, residual="before_activation")),
        (replace(CONV, activation=RELU), Add(), replace(CONV, activation=RELU, residual="after_activation")),
    ],
    ids=["linear", "before", "after"],
)
def test_residual(conv: Op, add: Op, fused_conv: Op, swap: bool) -> None:
    fused = fuse(residual(conv, add, swap))
    assert ops(fused) == {"conv": fused_conv, "pool": GlobalAveragePool()}
    assert fused["conv"].inputs == ("x", "x")
    assert fused["pool"].inputs == ("conv",)


def test_residual_with_activations_as_nodes() -> None:
    nodes = (Node("conv", CONV, ("x",)), Node("add", Add(), ("conv", "x")), Node("relu", Activate(RELU), ("add",)))
    assert ops(fuse(chain(SHAPE, *nodes))) == {"conv": replace(CONV, activation=RELU, residual="before_activation")}


def test_residual_needs_one_activation() -> None:
    assert_untouched(residual(replace(CONV, activation=RELU), Add(RELU6)))


@pytest.mark.parametrize("other", [ConvTranspose2d(4, (1, 1), (1, 1)), Pool2d("max", (1, 1), (1, 1))], ids=repr)
def test_residual_is_for_convolutions(other: Op) -> None:
    assert_untouched(residual(other))


def test_residual_stays_where_the_convolution_has_one() -> None:
    nodes = (Node("conv", replace(CONV, residual="before_activation"), ("x", "x")), Node("add", Add(), ("conv", "x")))
    assert_untouched(chain(SHAPE, *nodes))


def test_residual_stays_where_the_convolution_is_an_output() -> None:
    assert_untouched(
        chain(SHAPE, Node("conv", CONV, ("x",)), Node("add", Add(), ("x", "conv")), outputs=("add", "conv"))
    )


def test_a_convolution_added_to_itself_stays() -> None:
    assert_untouched(chain(SHAPE, Node("conv", CONV, ("x",)), Node("add", Add(), ("conv", "conv"))))


def test_no_cycle_where_the_other_side_depends_on_the_convolution() -> None:
    nodes = (Node("a", CONV, ("x",)), Node("b", CONV, ("a",)), Node("add", Add(), ("a", "b")))
    fused = fuse(chain(SHAPE, *nodes))
    assert ops(fused) == {"a": CONV, "b": replace(CONV, residual="before_activation")}
    assert fused["b"].inputs == ("a", "a")


@pytest.mark.parametrize("swap", [False, True])
def test_the_later_of_two_convolutions_takes_the_sum(swap: bool) -> None:
    nodes = (Node("a", CONV, ("x",)), Node("b", CONV, ("x",)), Node("add", Add(), ("b", "a") if swap else ("a", "b")))
    fused = fuse(chain(SHAPE, *nodes))
    assert ops(fused) == {"a": CONV, "b": replace(CONV, residual="before_activation")}
    assert fused["b"].inputs == ("x", "a")


def test_the_earlier_convolution_takes_the_sum_where_the_later_cannot() -> None:
    nodes = (
        Node("a", CONV, ("x",)),
        Node("b", replace(CONV, activation=HSWISH), ("x",)),
        Node("add", Add(), ("a", "b")),
        Node("relu", Activate(RELU), ("add",)),
    )
    fused = fuse(chain(SHAPE, *nodes))
    assert fused["a"] == Node("a", replace(CONV, activation=RELU, residual="before_activation"), ("x", "b"))
    assert set(ops(fused)) == {"a", "b"}
    assert [node.name for node in fused.nodes] == ["x", "b", "a"]


def test_sums_in_a_row_take_one_convolution_each() -> None:
    nodes = (
        Node("a", CONV, ("x",)),
        Node("b", CONV, ("a",)),
        Node("c", CONV, ("b",)),
        Node("add1", Add(), ("a", "b")),
        Node("add2", Add(), ("add1", "c")),
    )
    graph = chain(SHAPE, *nodes)
    fused = fuse(graph)
    assert set(ops(fused)) == {"a", "b", "c", "add1"}
    assert fused["c"].inputs == ("b", "add1")


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs(seed: int) -> None:
    fuse(random_graph(seed))


@pytest.mark.parametrize("seed", range(8))
def test_random_graphs_through_all_passes(seed: int) -> None:
    graph = random_graph(seed)
    assert_same_outputs(graph, run_passes(graph, default_passes()))


@pytest.mark.parametrize("size", ["small", "large"])
def test_mobilenet_v3(size: str) -> None:
    graph = mobilenet_v3(size, resolution=64, seed=0)  # type: ignore[arg-type]
    seen: list[str] = []
    fused = run_passes(graph, default_passes(), lambda name, _: seen.append(name))
    assert seen == ["drop-identities", "recognise-activations", "fold-batch-norm", "fuse-layers"]
    assert_same_outputs(graph, fused)
    assert run_passes(replace(graph, weights={}), default_passes()) == fused
    left = {type(node.op) for node in fused.nodes}
    assert left.isdisjoint({BatchNorm, Activate, Add, ChannelAffine, ScalarAffine})
    assert fused.total_macs == graph.total_macs
    assert len(fused.weight_layers) == len(graph.weight_layers)


def test_mobilenet_v3_large_has_its_residuals_and_activations() -> None:
    fused = run_passes(mobilenet_v3("large"), default_passes())
    assert sum(isinstance(node.op, Conv2d) and node.op.residual is not None for node in fused.nodes) == 10
    kinds = [str(activation_of(node.op)) for node in fused.weight_layers]
    assert {kind: kinds.count(kind) for kind in sorted(set(kinds))} == {
        "None": 16,
        "hsigmoid": 8,
        "hswish": 21,
        "relu": 19,
    }


def test_weights_keep_names_and_dtype() -> None:
    fused = fuse(chain(SHAPE, ("conv", CONV), ("affine", SCALE_AND_SHIFT), ("relu", Activate(RELU))))
    assert {key: value.dtype for key, value in fused.weights.items()} == dict.fromkeys(
        ("conv.weight", "conv.bias"), np.dtype(np.float32)
    )
