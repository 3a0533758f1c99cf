from collections.abc import Mapping

import numpy as np
import pytest

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU6, Activation
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Activate, Identity, Input, Multiply, Op, ScalarAffine
from mnv3c.graph.passes.drop_identities import DropIdentities
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.passes.recognise_activations import RecogniseActivations
from mnv3c.graph.reference import run

SIXTH = float(np.float32(1) / np.float32(6))
PLUS3, CLIP6 = ScalarAffine(1.0, 3.0), Activate(Activation("clip", 0.0, 6.0))
Written = Mapping[str, tuple[Op, tuple[str, ...]]]


def graph_of(written: Written, *outputs: str) -> Graph:
    """Nodes by name after an input `in` whose negative is `x`, so that x has a producer and other readers."""
    nodes = [
        Node("in", Input((1, 3, 4, 5))),
        Node("x", ScalarAffine(-1.0), ("in",)),
        Node("z", ScalarAffine(2.0), ("x",)),
    ]
    nodes += [Node(name, op, inputs) for name, (op, inputs) in written.items()]
    return Graph("sample", tuple(nodes), (*outputs, "z"))


def recognised(graph: Graph) -> Graph:
    """The graph after the pass, which must compute the same."""
    after = run_passes(graph, (RecogniseActivations(),))
    x = np.random.default_rng(0).uniform(-8, 8, (1, 3, 4, 5)).astype(np.float32)
    for name, value in run(graph, x).items():
        np.testing.assert_allclose(run(after, x)[name], value, rtol=2e-6, atol=2e-6)
    return after


def body(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.name not in ("in", "x", "z")]


def gated(*inputs: str) -> tuple[Op, tuple[str, ...]]:
    return Multiply(), inputs


H_SIGMOIDS: dict[str, Written] = {
    "hard-sigmoid": {"h": (Activate(Activation("hsigmoid", slope=SIXTH)), ("x",))},
    "scaled-relu6": {"a": (PLUS3, ("x",)), "c": (CLIP6, ("a",)), "h": (ScalarAffine(1 / 6), ("c",))},
    "scaled-relu6-float32": {"a": (PLUS3, ("x",)), "c": (Activate(RELU6), ("a",)), "h": (ScalarAffine(SIXTH), ("c",))},
    "clip-to-one": {
        "a": (ScalarAffine(SIXTH, 0.5), ("x",)),
        "h": (Activate(Activation("clip", 0.0, 1.0)), ("a",)),
    },
}


@pytest.mark.parametrize("name", H_SIGMOIDS)
def test_h_sigmoid(name: str) -> None:
    assert body(recognised(graph_of(H_SIGMOIDS[name], "h"))) == [Node("h", Activate(HSIGMOID), ("x",))]


@pytest.mark.parametrize("name", H_SIGMOIDS)
@pytest.mark.parametrize("inputs", [("x", "h"), ("h", "x")])
def test_x_times_h_sigmoid_is_h_swish(name: str, inputs: tuple[str, str]) -> None:
    graph = graph_of({**H_SIGMOIDS[name], "y": gated(*inputs)}, "y")
    assert body(recognised(graph)) == [Node("y", Activate(HSWISH), ("x",))]


@pytest.mark.parametrize("inputs", [("x", "c"), ("c", "x")])
@pytest.mark.parametrize("sixth", [1 / 6, SIXTH])
def test_division_after_the_product(inputs: tuple[str, str], sixth: float) -> None:
    written: Written = {
        "a": (PLUS3, ("x",)),
        "c": (CLIP6, ("a",)),
        "m": gated(*inputs),
        "y": (ScalarAffine(sixth), ("m",)),
    }
    assert body(recognised(graph_of(written, "y"))) == [Node("y", Activate(HSWISH), ("x",))]


@pytest.mark.parametrize("inputs", [("s", "c"), ("c", "s")])
def test_division_of_x_before_the_product(inputs: tuple[str, str]) -> None:
    written: Written = {
        "a": (PLUS3, ("x",)),
        "c": (CLIP6, ("a",)),
        "s": (ScalarAffine(1 / 6), ("x",)),
        "y": gated(*inputs),
    }
    assert body(recognised(graph_of(written, "y"))) == [Node("y", Activate(HSWISH), ("x",))]


def test_other_slopes_stay_as_they_are() -> None:
    paddle = Activation("hsigmoid", slope=0.2)
    graph = graph_of({"h": (Activate(paddle), ("x",)), "y": gated("x", "h")}, "y")
    assert recognised(graph) == graph
    clipped = graph_of(
        {"a": (ScalarAffine(0.2, 0.5), ("x",)), "h": (Activate(Activation("clip", 0, 1.0)), ("a",))}, "h"
    )
    assert body(recognised(clipped)) == [Node("h", Activate(paddle), ("x",))]


NOT_H_SWISH: dict[str, Written] = {
    "a shift of 2.9": {"a": (ScalarAffine(1.0, 2.9), ("x",)), "c": (Activate(RELU6), ("a",)), "m": gated("x", "c")},
    "a bound of 5": {"a": (PLUS3, ("x",)), "c": (Activate(Activation("clip", 0.0, 5.0)), ("a",)), "m": gated("x", "c")},
    "another factor": {"a": (PLUS3, ("x",)), "c": (Activate(RELU6), ("a",)), "m": gated("z", "c")},
    "a slope on x": {"a": (ScalarAffine(1.1, 3.0), ("x",)), "c": (Activate(RELU6), ("a",)), "m": gated("x", "c")},
    "an activation on the product": {
        "a": (PLUS3, ("x",)),
        "c": (Activate(RELU6), ("a",)),
        "m": (Multiply(Activation("relu")), ("x", "c")),
    },
    "the gate squared": {"a": (PLUS3, ("x",)), "c": (Activate(RELU6), ("a",)), "m": gated("c", "c")},
}


@pytest.mark.parametrize("name", NOT_H_SWISH)
def test_near_misses_stay_as_they_are(name: str) -> None:
    graph = graph_of({**NOT_H_SWISH[name], "y": (ScalarAffine(1 / 6), ("m",))}, "y")
    assert recognised(graph) == graph


@pytest.mark.parametrize("kept", ["a", "c", "m"])
@pytest.mark.parametrize("how", ["as an output", "by another reader"])
def test_intermediate_values_that_are_needed_stay(kept: str, how: str) -> None:
    written: Written = {
        "a": (PLUS3, ("x",)),
        "c": (Activate(RELU6), ("a",)),
        "m": gated("x", "c"),
        "y": (ScalarAffine(1 / 6), ("m",)),
        "other": (ScalarAffine(3.0), (kept,)),
    }
    if how == "as an output":
        written = {name: node for name, node in written.items() if name != "other"}
    graph = graph_of(written, "y", kept if how == "as an output" else "other")
    assert recognised(graph) == graph


def test_h_sigmoid_with_another_reader_is_not_joined() -> None:
    graph = graph_of({"h": (Activate(HSIGMOID), ("x",)), "y": gated("x", "h")}, "y", "h")
    assert recognised(graph) == graph


def test_identities_go_and_outputs_stay() -> None:
    written: Written = {
        "i": (Identity(), ("x",)),
        "one": (ScalarAffine(1.0, 0.0), ("i",)),
        "r": (Activate(RELU6), ("one",)),
        "out": (Identity(), ("r",)),
        "again": (Identity(), ("r",)),
        "dead": (Activate(RELU6), ("i",)),
        "echo": (Identity(), ("in",)),
    }
    graph = graph_of(written, "out", "again", "echo")
    after = DropIdentities().run(graph)
    assert after.outputs == ("r", "again", "echo", "z")
    assert [node.name for node in body(after)] == ["r", "again", "echo"]
    assert after["r"].inputs == ("x",)
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 5)).astype(np.float32)
    for before, now in zip(graph.outputs, after.outputs, strict=True):
        np.testing.assert_array_equal(run(graph, x)[before], run(after, x)[now])
