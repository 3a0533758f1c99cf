import pickle
from dataclasses import FrozenInstanceError, replace

import networkx as nx
import numpy as np
import pytest
from tests.graph.samples import chain, random_graph

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph, GraphError, Node
from mnv3c.graph.networks import mobilenet_v3
from mnv3c.graph.ops import Add, BatchNorm, Concat, Conv2d, Dense, Flatten, GlobalAveragePool, Input, Softmax
from mnv3c.graph.tensor import TensorType
from mnv3c.graph.verify import verify

X = Node("x", Input((1, 4, 4, 3)))
CONV = Node("conv", Conv2d(2, bias=True), ("x",))
POOL = Node("pool", GlobalAveragePool(), ("conv",))


def refuse(message: str, *nodes: Node, outputs: tuple[str, ...] = ("pool",)) -> None:
    with pytest.raises(GraphError) as error:
        Graph("g", nodes, outputs)
    assert str(error.value) == message
    assert isinstance(error.value, UserError)


def test_duplicate_names() -> None:
    refuse("two nodes are named 'conv'", X, CONV, CONV, POOL)


def test_dangling_input() -> None:
    refuse("node 'conv' reads 'x', which does not exist", CONV, POOL)


def test_dangling_output() -> None:
    refuse("output 'logits' is not a node of graph 'g'", X, CONV, POOL, outputs=("pool", "logits"))


@pytest.mark.parametrize("outputs", [(), ("x", "x")])
def test_outputs_are_given_and_each_once(outputs: tuple[str, ...]) -> None:
    refuse(f"graph 'g' needs at least one output, and each once, not {list(outputs)}", X, outputs=outputs)


def test_cycle_names_its_nodes() -> None:
    nodes = (X, Node("a", Add(), ("x", "c")), Node("b", Softmax(), ("a",)), Node("c", Softmax(), ("b",)))
    refuse("node 'a' is part of a cycle: a -> b -> c -> a", *nodes, outputs=("c",))


def test_self_loop() -> None:
    refuse("node 'a' is part of a cycle: a -> a", X, Node("a", Add(), ("x", "a")), outputs=("a",))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Node("n", Conv2d(2, groups=2), ("x",)), "(conv2d): groups 2 does not divide 3 input channels"),
        (Node("n", Conv2d(2, (5, 5)), ("x",)), "(conv2d): window of 5 is larger than the padded input of 4"),
        (
            Node("n", Conv2d(2, residual="before_activation"), ("x", "x")),
            "(conv2d): residual is 1x4x4x3, output is 1x4x4x2",
        ),
        (Node("n", Conv2d(2, residual="before_activation"), ("x",)), "(conv2d): takes 2 inputs, not 1"),
        (Node("n", Conv2d(2), ("x", "x")), "(conv2d): takes 1 input, not 2"),
        (Node("n", Dense(2), ("x",)), "(dense): needs a tensor of rank 2, not 1x4x4x3"),
        (Node("n", Add(), ("x", "conv")), "(add): shapes differ: 1x4x4x3 and 1x4x4x2"),
        (Node("n", Flatten(), ("x",)), "(flatten): flattens only 1x1 maps, not 4x4"),
        (Node("n", Concat(), ("x",)), "(concat): takes at least 2 inputs, not 1"),
        (Node("n", Concat(), ("x", "pool")), "(concat): inputs differ before the last axis: 1x4x4x3, 1x1x1x2"),
        (Node("n", Input((1, 0, 4, 3))), "(input): extents must be positive, not (1, 0, 4, 3)"),
    ],
)
def test_shapes_that_do_not_fit_name_the_node(node: Node, message: str) -> None:
    refuse(f"node 'n' {message}", X, CONV, POOL, node)


def test_order_is_topological_then_as_given() -> None:
    b, c = Node("b", GlobalAveragePool(), ("conv",)), Node("c", GlobalAveragePool(), ("x",))
    graph = Graph("g", (b, c, POOL, CONV, X), ("b", "c", "pool"))
    assert [node.name for node in graph.nodes] == ["x", "c", "conv", "b", "pool"]
    assert Graph("g", graph.nodes, graph.outputs).nodes == graph.nodes


def test_renaming_renumbers_nothing() -> None:
    graph = random_graph(1)
    new = {node.name: f"z{99 - index}" for index, node in enumerate(graph.nodes)}
    nodes = tuple(Node(new[n.name], n.op, tuple(new[name] for name in n.inputs)) for n in graph.nodes)
    renamed = Graph("g", nodes, tuple(new[name] for name in graph.outputs))
    assert [node.name for node in renamed.nodes] == [new[node.name] for node in graph.nodes]


def test_lookups() -> None:
    graph = chain(
        (1, 4, 4, 3), CONV, POOL, ("flat", Flatten()), Node("sum", Add(), ("conv", "conv")), outputs=("flat", "sum")
    )
    assert graph["conv"] == CONV
    assert "conv" in graph
    assert "other" not in graph
    assert graph.inputs == (X,)
    assert graph.type_of("flat") == TensorType((1, 2))
    assert graph.input_types(graph["sum"]) == (graph.type_of("conv"),) * 2
    assert [node.name for node in graph.consumers("conv")] == ["pool", "sum"]
    with pytest.raises(GraphError, match="graph 'sample' has no node 'other'"):
        graph["other"]


def test_work_by_hand() -> None:
    graph = chain((1, 4, 4, 3), CONV, ("bn", BatchNorm()), ("pool", GlobalAveragePool()))
    conv, bn, pool = (graph[name] for name in ("conv", "bn", "pool"))
    assert [graph.macs(node) for node in (conv, bn, pool)] == [4 * 4 * 3 * 2, 0, 0]
    assert [graph.params(node) for node in (conv, bn, pool)] == [3 * 2 + 2, 2 + 2, 0]
    assert graph.bytes_in(conv) == 4 * (4 * 4 * 3 + 3 * 2 + 2)
    assert graph.bytes_out(conv) == 4 * (4 * 4 * 2)
    assert graph.arithmetic_intensity(conv) == 96 / (4 * (48 + 8 + 32))
    assert (graph.total_macs, graph.total_params, graph.weight_layers) == (96, 12, (conv,))


def test_a_graph_is_a_value() -> None:
    graph = chain((1, 4, 4, 3), CONV)
    with pytest.raises(FrozenInstanceError):
        graph.name = "other"  # type: ignore[misc]
    with pytest.raises(nx.NetworkXError, match="Frozen"):
        graph.digraph.add_edge("conv", "x")
    with pytest.raises(TypeError):
        graph.weights["conv.bias"] = np.zeros(2, np.float32)  # type: ignore[index]
    assert graph == replace(graph, weights={})


def test_rebuilt_drops_weights_of_nodes_that_are_gone() -> None:
    graph = chain((1, 4, 4, 3), CONV, ("second", Conv2d(2)))
    shorter = graph.rebuilt(graph.nodes[:2], outputs=("conv",))
    assert set(shorter.weights) == {"conv.weight", "conv.bias"}
    assert set(graph.weights) == {"conv.weight", "conv.bias", "second.weight"}


def test_verify_wants_every_node_to_lead_to_an_output() -> None:
    graph = Graph("g", (X, CONV, POOL), ("conv",))
    with pytest.raises(GraphError, match=r"node 'pool' \(global_average_pool\) leads to no output"):
        verify(graph)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3, np.float32), r"node 'conv': weight 'bias' has shape \(3,\), needs \(2,\)"),
        (np.zeros(2), "node 'conv': weight 'bias' is float64, needs float32"),
        (np.array([0, np.nan], np.float32), "node 'conv': weight 'bias' is not finite"),
    ],
)
def test_verify_checks_weights(value: np.ndarray, message: str) -> None:
    graph = chain((1, 4, 4, 3), CONV)
    assert verify(graph) is graph
    with pytest.raises(GraphError, match=message):
        verify(replace(graph, weights={**graph.weights, "conv.bias": value}))


def test_verify_wants_all_weights_or_none() -> None:
    graph = chain((1, 4, 4, 3), CONV)
    assert verify(replace(graph, weights={})).weights == {}
    with pytest.raises(GraphError, match=r"node 'conv' has no value for weight 'conv\.bias'"):
        verify(replace(graph, weights={"conv.weight": graph.weights["conv.weight"]}))


def test_a_graph_goes_to_other_processes_whole() -> None:
    graph = mobilenet_v3("small", width=0.35, resolution=32, classes=4)
    copy = pickle.loads(pickle.dumps(graph))
    assert copy == graph and [copy.type_of(node.name) for node in copy.nodes] == [
        graph.type_of(node.name) for node in graph.nodes
    ]
    assert list(copy.weights) == list(graph.weights)
    assert all((copy.weights[name] == value).all() for name, value in graph.weights.items())
