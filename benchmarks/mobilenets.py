"""MobileNetV1 and V2, made from the same blocks as V3: what real chips' published times are compared with."""

from mnv3c.graph.activation import RELU6
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.builder import Builder
from mnv3c.graph.networks.rewrites import make_divisible
from mnv3c.graph.ops import Add, Dense, Flatten, GlobalAveragePool, Input

# (output channels, stride), table 1 of "MobileNets" (arXiv 1704.04861).
V1_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
# (expansion factor, output channels, repeats, stride), table 2 of "MobileNetV2" (arXiv 1801.04381).
V2_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def mobilenet_v1(resolution: int = 224, classes: int = 1000, seed: int | None = 0) -> Graph:
    """MobileNetV1 1.0: 569 M MACs and 4.2 M parameters at 224."""
    builder = Builder()
    x = builder.add("input", Input((1, resolution, resolution, 3)))
    x = builder.conv("stem", x, 32, RELU6, kernel=3, stride=2)
    for number, (channels, stride) in enumerate(V1_BLOCKS, start=1):
        x = builder.depthwise(f"block{number}.depthwise", x, RELU6, kernel=3, stride=stride)
        x = builder.conv(f"block{number}.pointwise", x, channels, RELU6)
    return _classified("mobilenet_v1", builder, x, classes, seed)


def mobilenet_v2(resolution: int = 224, classes: int = 1000, seed: int | None = 0, width: float = 1.0) -> Graph:
    """MobileNetV2: at 224 and width 1.0 300 M MACs and 3.5 M parameters; its 1280 layer only grows with the width."""
    builder = Builder()
    x = builder.add("input", Input((1, resolution, resolution, 3)))
    x = builder.conv("stem", x, make_divisible(32 * width), RELU6, kernel=3, stride=2)
    number = 0
    for expansion, channels, repeats, first_stride in V2_STAGES:
        for repeat in range(repeats):
            number += 1
            stride = first_stride if repeat == 0 else 1
            x = _inverted_residual(builder, f"block{number}", x, expansion, make_divisible(channels * width), stride)
    x = builder.conv("last", x, make_divisible(1280 * max(1.0, width)), RELU6)
    return _classified("mobilenet_v2", builder, x, classes, seed)


def _inverted_residual(builder: Builder, name: str, x: str, expansion: int, channels: int, stride: int) -> str:
    width = builder.types[x].channels
    y = x if expansion == 1 else builder.conv(f"{name}.expand", x, expansion * width, RELU6)
    y = builder.depthwise(f"{name}.depthwise", y, RELU6, kernel=3, stride=stride)
    y = builder.conv(f"{name}.project", y, channels, None)
    return builder.add(f"{name}.add", Add(), x, y) if stride == 1 and channels == width else y


def _classified(name: str, builder: Builder, x: str, classes: int, seed: int | None) -> Graph:
    x = builder.add("pool", GlobalAveragePool(), x)
    x = builder.add("flatten", Flatten(), x)
    x = builder.add("classifier", Dense(classes, bias=True), x)
    graph = Graph(name, tuple(builder.nodes), (x,))
    return graph if seed is None else initialise(graph, seed)
