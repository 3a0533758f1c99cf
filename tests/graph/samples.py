"""Small graphs with random weights, for the tests of the IR."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU, RELU6, SIGMOID, Activation
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import (
    Activate,
    Add,
    BatchNorm,
    ChannelAffine,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Input,
    Multiply,
    Op,
    Pool2d,
    ScalarAffine,
    Softmax,
)
from mnv3c.graph.reference import run

Array = npt.NDArray[np.float32]
AddNode = Callable[..., str]
ACTIVATIONS = (RELU, RELU6, HSWISH, HSIGMOID, SIGMOID, Activation("clip", low=-1.0, high=2.5))


def with_weights(graph: Graph, seed: int = 0) -> Graph:
    """The graph with random parameters, scaled so that values stay near 1; variances are positive."""
    rng = np.random.default_rng(seed)
    weights: dict[str, Array] = {}
    for node in graph.nodes:
        for role, shape in node.op.weights(graph.input_types(node)).items():
            value = rng.standard_normal(shape) / math.sqrt(math.prod(shape[:-1]))
            positive = role in ("variance", "gamma", "scale")
            weights[node.weight_name(role)] = (np.abs(value) + 0.5 if positive else value).astype(np.float32)
    return replace(graph, weights=weights)


def chain(shape: tuple[int, ...], *steps: tuple[str, Op] | Node, outputs: tuple[str, ...] = ()) -> Graph:
    """Input "x" and then the steps: a (name, op) reads the step before it, a Node what it says."""
    nodes = [Node("x", Input(shape))]
    for step in steps:
        nodes.append(step if isinstance(step, Node) else Node(step[0], step[1], (nodes[-1].name,)))
    return with_weights(Graph("sample", tuple(nodes), outputs or (nodes[-1].name,)))


def random_input(graph: Graph, seed: int = 1) -> Array:
    """Standard normal values, times 3 so that clipped activations reach both ends."""
    shape = graph.type_of(graph.inputs[0].name).shape
    return (3 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def random_graph(seed: int) -> Graph:
    """A classifier-like graph: a random walk over convolutions, batch norms, activations, gates and sums, then a head.

    Tensors are read by several nodes now and then, and inner nodes may be outputs, so not all of it can be fused.
    """
    rng = np.random.default_rng(seed)
    nodes = [Node("x", Input((1, 7, 9, 5)))]
    maps = ["x"]

    def add(op: Op, *inputs: str) -> str:
        nodes.append(Node(f"n{len(nodes)}", op, inputs))
        return nodes[-1].name

    for _ in range(int(rng.integers(6, 16))):
        # The first and the latest tensors are the most likely to be read.
        source = maps[-1] if rng.random() < 0.75 else str(rng.choice(maps))
        maps.append(_random_step(rng, add, source, maps))
    pooled = add(GlobalAveragePool(), maps[-1])
    head = add(Dense(4, bias=bool(rng.integers(2))), add(Flatten(), pooled))
    last = add(Softmax(), add(BatchNorm(), head))
    read = {name for node in nodes for name in node.inputs}
    unread = [node.name for node in nodes if node.name not in read and node.name != last]
    extra = [name for name in maps if name in read and name != "x" and rng.random() < 0.1]
    return with_weights(Graph(f"random{seed}", tuple(nodes), (last, *unread, *extra)), seed)


def _random_step(rng: np.random.Generator, add: AddNode, source: str, maps: list[str]) -> str:
    match int(rng.integers(9)):
        case 0:
            return add(Conv2d(5, (3, 3), padding=(1, 1, 1, 1), groups=5), source)
        case 1 | 2:
            return add(Conv2d(5, bias=bool(rng.integers(2))), source)
        case 3:
            return add(BatchNorm(), add(Conv2d(5), source))
        case 4:
            return add(Activate(ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))]), source)
        case 5:
            return add(Add(), source, str(rng.choice(maps)))
        case 6:
            return add(Multiply(), source, add(Activate(HSIGMOID), add(GlobalAveragePool(), source)))
        case 7:
            affine = (
                ChannelAffine(scale=True, shift=bool(rng.integers(2)))
                if rng.random() < 0.5
                else ScalarAffine(0.7, -0.3)
            )
            return add(affine, source)
        case _:
            shrunk = add(Pool2d("average", (3, 3), (1, 1)), source)
            return add(ConvTranspose2d(5, (3, 3), (1, 1)), shrunk)


def assert_same_outputs(graph: Graph, other: Graph) -> None:
    """Output by output in order, whatever their names: equal within 1e-5 of the largest value."""
    x = random_input(graph)
    before, after = run(graph, x), run(other, x)
    assert len(graph.outputs) == len(other.outputs)
    for name, new_name in zip(graph.outputs, other.outputs, strict=True):
        expected = before[name]
        np.testing.assert_allclose(after[new_name], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
