from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from tests.graph.samples import random_graph

from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.reference import run_all
from mnv3c.graph.verify import verify


def same_weights(one: Graph, other: Graph) -> bool:
    return set(one.weights) == set(other.weights) and all(
        np.array_equal(value, other.weights[key]) for key, value in one.weights.items()
    )


def test_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    bare = mobilenet_v3("small", width=0.35, seed=None)
    assert not bare.weights
    assert same_weights(initialise(bare, 5), mobilenet_v3("small", width=0.35, seed=5))
    assert not same_weights(initialise(bare, 5), initialise(bare, 6))


def test_kernels_do_not_depend_on_order_or_other_nodes() -> None:
    graph = mobilenet_v3("small", width=0.35, seed=1)
    cut = Graph("cut", tuple(node for node in graph.nodes[:9]), (graph.nodes[8].name,))
    again = initialise(cut, 1)
    assert again.weights
    assert all(np.array_equal(value, graph.weights[key]) for key, value in again.weights.items())


@pytest.mark.parametrize("variant", ["large", "small"])
@pytest.mark.parametrize("minimalistic", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_activations_neither_vanish_nor_explode(
    variant: Literal["large", "small"], minimalistic: bool, seed: int
) -> None:
    graph = mobilenet_v3(variant, minimalistic=minimalistic, seed=seed)
    first, second = np.random.default_rng(seed).uniform(-1, 1, (2, 1, 224, 224, 3)).astype(np.float32)
    values, others = run_all(graph, first), run_all(graph, second)
    for name, value in values.items():
        if name.endswith((".bn", ".add")):
            assert 0.1 < value.std() < 10, name
    assert 0.1 < values["classifier"].std() < 10
    assert np.abs(values["classifier"] - others["classifier"]).mean() > 0.01


def test_any_graph_gets_whole_and_finite_weights() -> None:
    for seed in range(30):
        verify(initialise(replace(random_graph(seed), weights={}), seed))


def test_weight_names_are_those_of_the_nodes() -> None:
    graph = mobilenet_v3("small", width=0.35)
    node = graph["block2.expand.bn"]
    assert isinstance(node, Node)
    assert set(graph.weights_of(node)) == {"gamma", "beta", "mean", "variance"}
    assert (graph.weights["block2.expand.bn.variance"] > 0).all()
