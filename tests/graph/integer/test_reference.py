import numpy as np
import pytest
from tests.graph.samples import chain

from mnv3c.graph.activation import HSWISH
from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import Affine
from mnv3c.graph.integer.arithmetic import evaluate
from mnv3c.graph.integer.network import IntegerLayer, IntegerNetwork
from mnv3c.graph.integer.ops import Mean, Product, Step, Sum
from mnv3c.graph.integer.reference import run, run_all
from mnv3c.graph.integer.tables import activation_table
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import Conv2d, GlobalAveragePool, Input

A, B, C = Affine(0.0625, 3), Affine(0.03125, -7), Affine(0.046875, 0)


def network() -> IntegerNetwork:
    """A residual convolution with h-swish, and the mean of it."""
    op = Conv2d(4, activation=HSWISH, residual="after_activation")
    graph = chain((1, 3, 3, 4), Node("conv", op, ("x", "x")), ("mean", GlobalAveragePool()))
    weight = np.random.default_rng(0).integers(-127, 128, (1, 1, 4, 4)).astype(np.int8)
    product = Product(op, weight, np.arange(4, dtype=np.int32), np.full(4, 0.001, np.float32), A, B)
    conv: tuple[Step, ...] = (product, activation_table(HSWISH, B, C, "gemmlowp_double"), Sum(C, A, B))
    layers = {"conv": conv, "mean": (Mean(B, C),)}
    nodes = {node.name: node for node in graph.nodes}
    return IntegerNetwork(graph, {"x": A}, {name: IntegerLayer(nodes[name], steps) for name, steps in layers.items()})


def test_every_step_has_its_tensor_and_a_residual_reads_the_second_input() -> None:
    quantised = network()
    x = np.random.default_rng(1).integers(-128, 128, (1, 3, 3, 4)).astype(np.int8)
    values = run_all(quantised, x)
    assert list(values) == ["x", "conv.0", "conv.1", "conv", "mean"]
    steps = quantised.layers["conv"].steps
    product = evaluate(steps[0], x, None, "gemmlowp_double")
    activated = evaluate(steps[1], product, None, "gemmlowp_double")
    assert (values["conv.0"] == product).all()
    assert (values["conv.1"] == activated).all()
    assert (values["conv"] == evaluate(steps[2], activated, x, "gemmlowp_double")).all()
    assert {value.dtype for value in values.values()} == {np.dtype(np.int8)}
    assert [(name, value.tolist()) for name, value in run(quantised, x).items()] == [("mean", values["mean"].tolist())]


@pytest.mark.parametrize("bad", [np.zeros((1, 3, 3, 5), np.int8), np.zeros((1, 3, 3, 4), np.float32)])
def test_an_input_of_another_shape_or_type_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"input 'x' is \w+ \(1, 3, 3, \d\), needs int8 \(1, 3, 3, 4\)"):
        run(network(), bad)


def test_a_network_of_two_inputs_is_refused() -> None:
    graph = Graph("pair", (Node("a", Input((1, 2))), Node("b", Input((1, 2)))), ("a", "b"))
    with pytest.raises(UserError, match=r"graph 'pair' has 2 inputs \(a, b\)"):
        run(IntegerNetwork(graph, {"a": A, "b": B}, {}), np.zeros((1, 2), np.int8))
