from dataclasses import replace

import numpy as np
import pytest
from tests.graph.samples import assert_same_outputs, chain, random_graph, random_input

from mnv3c.graph.activation import RELU
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import BatchNorm, ChannelAffine, Conv2d, ConvTranspose2d, Dense, GlobalAveragePool, Identity, Op
from mnv3c.graph.passes.fold_batch_norm import FoldBatchNorm
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.reference import run


def fold(graph: Graph) -> Graph:
    """The folded graph, after checking that it computes the same and that weights do not decide its structure."""
    folded = run_passes(graph, [FoldBatchNorm()])
    assert_same_outputs(graph, folded)
    assert run_passes(replace(graph, weights={}), [FoldBatchNorm()]) == folded
    assert not any(isinstance(node.op, BatchNorm) for node in folded.nodes)
    return folded


def ops(graph: Graph) -> dict[str, Op]:
    return {node.name: node.op for node in graph.nodes[1:]}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "op",
    [
        Conv2d(7, (3, 3), (2, 2), (0, 0, 1, 1)),
        Conv2d(10, (3, 3), padding=(1, 1, 1, 1), groups=5),
        ConvTranspose2d(3, (2, 2), (2, 2)),
    ],
    ids=repr,
)
def test_folds_into_the_layer_before(op: Conv2d | ConvTranspose2d, bias: bool) -> None:
    folded = fold(chain((1, 9, 7, 5), ("conv", replace(op, bias=bias)), ("bn", BatchNorm(0.01))))
    assert ops(folded) == {"conv": replace(op, bias=True)}
    assert folded.outputs == ("conv",)
    assert set(folded.weights) == {"conv.weight", "conv.bias"}


def test_folds_into_dense_and_twice() -> None:
    folded = fold(chain((3, 5), ("fc", Dense(4)), ("bn1", BatchNorm()), ("bn2", BatchNorm())))
    assert ops(folded) == {"fc": Dense(4, bias=True)}


def test_folding_is_exact_in_float64() -> None:
    graph = chain((1, 3, 3, 4), ("conv", Conv2d(6, bias=True)), ("bn", BatchNorm()))
    values = {key: value.astype(np.float64) for key, value in graph.weights.items()}
    scale = values["bn.gamma"] / np.sqrt(values["bn.variance"] + 1e-3)
    bias = (values["conv.bias"] - values["bn.mean"]) * scale + values["bn.beta"]
    folded = fold(graph)
    np.testing.assert_array_equal(folded.weights["conv.weight"], (values["conv.weight"] * scale).astype(np.float32))
    np.testing.assert_allclose(folded.weights["conv.bias"], bias, rtol=1e-6)


AFFINE = ChannelAffine(scale=True, shift=True)


@pytest.mark.parametrize(
    "before",
    [Conv2d(5, activation=RELU), Identity(), ConvTranspose2d(5, (1, 1), (1, 1), activation=RELU), GlobalAveragePool()],
    ids=repr,
)
def test_becomes_affine_where_something_is_in_between(before: Op) -> None:
    folded = fold(chain((1, 4, 4, 5), ("before", before), ("bn", BatchNorm())))
    assert ops(folded) == {"before": before, "bn": AFFINE}
    assert {"bn.scale", "bn.shift"} == {key for key in folded.weights if key.startswith("bn.")}


def test_becomes_affine_after_a_residual() -> None:
    conv = Conv2d(5, residual="before_activation")
    folded = fold(chain((1, 4, 4, 5), Node("conv", conv, ("x", "x")), ("bn", BatchNorm())))
    assert ops(folded) == {"conv": conv, "bn": AFFINE}


def test_becomes_affine_after_the_input() -> None:
    assert ops(fold(chain((1, 4, 4, 5), ("bn", BatchNorm())))) == {"bn": AFFINE}


@pytest.mark.parametrize("outputs", [("bn", "pool"), ("bn", "conv")])
def test_becomes_affine_where_the_layer_has_another_reader(outputs: tuple[str, ...]) -> None:
    nodes = [Node("conv", Conv2d(5), ("x",)), Node("bn", BatchNorm(), ("conv",))]
    nodes += [Node("pool", GlobalAveragePool(), ("conv",))] if "pool" in outputs else []
    folded = fold(chain((1, 4, 4, 5), *nodes, outputs=outputs))
    assert ops(folded)["conv"] == Conv2d(5)
    assert ops(folded)["bn"] == AFFINE
    assert folded.outputs == outputs


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed: int) -> None:
    fold(random_graph(seed))


def test_mobilenet_v3() -> None:
    folded = fold(mobilenet_v3("small", resolution=64, seed=0))
    assert all(node.op.bias for node in folded.weight_layers if isinstance(node.op, Conv2d | Dense))


def test_the_given_graph_is_unchanged() -> None:
    graph = chain((1, 4, 4, 5), ("conv", Conv2d(3)), ("bn", BatchNorm()))
    before = run(graph, random_input(graph))["bn"]
    fold(graph)
    np.testing.assert_array_equal(run(graph, random_input(graph))["bn"], before)
