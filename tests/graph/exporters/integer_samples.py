"""Small integer networks with random integers: every operator, awkward sizes."""

import math
from dataclasses import dataclass, replace

import numpy as np

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU, RELU6, SIGMOID, Activation
from mnv3c.graph.calibration.stages import Stage, stages
from mnv3c.graph.exporters.tflite_rules import same_padding
from mnv3c.graph.integer.affine import Affine
from mnv3c.graph.integer.network import IntegerLayer, IntegerNetwork
from mnv3c.graph.integer.ops import (
    ElementProduct,
    IntegerSoftmax,
    Mean,
    Product,
    Reshape,
    Rounding,
    Step,
    Sum,
    Window,
    output_of,
)
from mnv3c.graph.integer.tables import activation_clamp, activation_table
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import (
    Activate,
    Add,
    Conv2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Input,
    Multiply,
    Op,
    Pool2d,
    Softmax,
)
from mnv3c.graph.passes.fuse_layers import FuseLayers

UNIT = Affine(1 / 256, -128)
STEEP = Activation("hsigmoid", slope=0.2, offset=0.5)
ACTIVATIONS = (None, RELU, RELU6, HSWISH, HSIGMOID, STEEP, SIGMOID, Activation("clip", low=-1.0, high=1.0))
EXTENTS = (1, 7, 31, 33, 16)


def scale(value: float) -> float:
    return float(np.float32(value))


@dataclass(frozen=True)
class RandomIntegers:
    """Makes the integers of a fused graph; scales are such that tensors fill their range, and some saturate."""

    rng: np.random.Generator
    rounding: Rounding = "gemmlowp_double"

    def network(self, graph: Graph) -> IntegerNetwork:
        affines: dict[str, Affine] = {}
        layers: dict[str, IntegerLayer] = {}
        for node in graph.nodes:
            if isinstance(node.op, Input):
                affines[node.name] = self.affine(0.01, 0.04)
                continue
            given = tuple(affines[name] for name in node.inputs)
            steps: list[Step] = []
            for stage in stages(node):
                steps.append(self.step(graph, node, stage, output_of(steps[-1]) if steps else given[0], given))
            layers[node.name] = IntegerLayer(node, tuple(steps))
            affines[node.name] = output_of(steps[-1])
        return IntegerNetwork(graph, {node.name: affines[node.name] for node in graph.inputs}, layers, self.rounding)

    def affine(self, low: float, high: float) -> Affine:
        return Affine(scale(self.rng.uniform(low, high)), int(self.rng.integers(-128, 128)))

    def step(self, graph: Graph, node: Node, stage: Stage, x: Affine, given: tuple[Affine, ...]) -> Step:
        output = self.affine(0.02, 0.1)
        match stage.kind:
            case "product":
                clamp = activation_clamp(stage.activation, output)
                return replace(self.product(graph, node, x, output), clamp=clamp)
            case "table":
                assert stage.activation is not None
                kind = stage.activation.kind
                output = UNIT if kind == "sigmoid" else self.affine(0.003, 0.006) if kind == "hsigmoid" else output
                return activation_table(stage.activation, x, output, self.rounding)
            case "sum":
                return Sum(x, given[1], output, activation_clamp(stage.activation, output))
            case "element_product":
                return self.multiplied(x, given[1], stage.activation)
            case "mean":
                return Mean(x, self.affine(0.3 * x.scale, x.scale))
            case "window":
                assert isinstance(node.op, Pool2d)
                return Window(node.op, x)
            case "reshape":
                return Reshape(x)
            case "softmax":
                return IntegerSoftmax(x, UNIT)

    def multiplied(self, x: Affine, other: Affine, activation: Activation | None) -> ElementProduct:
        spread = x.scale * other.scale * 64
        output = self.affine(0.2 * spread, 4 * spread)
        return ElementProduct(x, other, output, activation_clamp(activation, output))

    def product(self, graph: Graph, node: Node, x: Affine, output: Affine) -> Product:
        op = node.op
        assert isinstance(op, Conv2d | Dense)
        shape = op.weights(graph.input_types(node))["weight"]
        channels = shape[-1]
        # The spread of an accumulator of uniform int8 values.
        spread = math.sqrt(math.prod(shape[:-1])) * 74.0 * 74.0
        scales = self.rng.uniform(10, 120, channels) * output.scale / (x.scale * spread)
        return Product(
            op,
            self.rng.integers(-127, 128, shape).astype(np.int8),
            self.rng.integers(-int(spread), int(spread) + 1, channels).astype(np.int32),
            scales.astype(np.float32),
            x,
            output,
        )


def random_block(seed: int) -> IntegerNetwork:
    """A convolution of awkward geometry, in every third a residual, then one more operator."""
    rng = np.random.default_rng(seed)
    height, width = (int(extent) for extent in rng.choice(EXTENTS, 2))
    channels = int(rng.choice((1, 3, 5, 8, 12)))
    nodes = [Node("x", Input((int(rng.integers(1, 3)), height, width, channels)))]
    nodes.append(Node("first", _convolution(rng, (height, width), channels), ("x",)))
    shape = Graph("block", tuple(nodes), ("first",)).type_of("first").shape
    if seed % 3 == 0:
        nodes.append(Node("branch", Conv2d(shape[3], bias=True, activation=_activation(rng)), ("first",)))
        nodes.append(Node("residual", Add(_clamp(rng)), ("first", "branch")))
    op, inputs = _last(rng, (shape[1], shape[2]))
    nodes.append(Node("last", op, (nodes[-1].name, *inputs)))
    if isinstance(op, GlobalAveragePool):
        nodes += [Node("gate", Multiply(_clamp(rng)), (nodes[-2].name, "last")), Node("flat", Flatten(), ("last",))]
        nodes += [Node("dense", Dense(11, bias=True, activation=_activation(rng)), ("flat",))]
        nodes += [Node("softmax", Softmax(), ("dense",))]
        return _integers(rng, Graph(f"block{seed}", tuple(nodes), ("gate", "softmax")))
    return _integers(rng, Graph(f"block{seed}", tuple(nodes), ("last",)))


def _integers(rng: np.random.Generator, graph: Graph) -> IntegerNetwork:
    return RandomIntegers(rng).network(FuseLayers().run(graph))


def _activation(rng: np.random.Generator) -> Activation | None:
    return ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))]


def _clamp(rng: np.random.Generator) -> Activation | None:
    return (None, RELU, RELU6)[int(rng.integers(3))]


def _convolution(rng: np.random.Generator, size: tuple[int, int], channels: int) -> Conv2d:
    kernel = int(rng.integers(1, 6)), int(rng.integers(1, 6))
    stride = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    dilation = (1, 1) if rng.random() < 0.6 else (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    torch_like = (reach[0] // 2, reach[1] // 2, reach[0] // 2, reach[1] // 2)
    odd = tuple(int(rng.integers(extent)) for extent in (*reach, *reach))
    none = (0, 0, 0, 0)
    choices = [same_padding(size, kernel, stride, dilation), torch_like, odd, none]
    top, left, bottom, right = choices[int(rng.integers(4))]
    # Where the window would not fit, there is room for it below and to the right.
    bottom, right = max(bottom, reach[0] - size[0] - top), max(right, reach[1] - size[1] - left)
    groups, out = [(1, int(rng.integers(1, 18))), (channels, channels), (channels, 2 * channels)][int(rng.integers(3))]
    if channels == 12 and rng.random() < 0.5:
        groups, out = 4, 20
    return Conv2d(out, kernel, stride, (top, left, bottom, right), dilation, groups, True, _activation(rng))


def _last(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Op, tuple[str, ...]]:
    """An operator and what it reads besides the tensor before it."""
    kernel = min(3, size[0]), min(2, size[1])
    same = same_padding(size, kernel, (2, 1), (1, 1))
    odd = (kernel[0] - 1, 0, kernel[0] - 1, kernel[1] - 1)
    choices: list[tuple[Op, tuple[str, ...]]] = [
        (Pool2d("max", kernel, (2, 1), same), ()),
        (Pool2d("max", kernel, (1, 2), odd), ()),
        (Pool2d("average", kernel, (2, 1), same), ()),
        (Pool2d("average", kernel, (2, 2)), ()),
        (Add(_clamp(rng)), ("first",)),
        (Multiply(_clamp(rng)), ("first",)),
        (Activate(HSWISH), ()),
        (Activate(RELU6), ()),
        (GlobalAveragePool(), ()),
        (GlobalAveragePool(), ()),
    ]
    return choices[int(rng.integers(len(choices)))]
