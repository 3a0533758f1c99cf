"""Random networks of the MobileNetV3 space, in the manner of once-for-all: widths, resolutions, depths, windows."""

import random
from dataclasses import replace

from mnv3c.graph.activation import HSWISH, RELU
from mnv3c.graph.initialise import initialise
from mnv3c.graph.ir import Graph, Preprocessing
from mnv3c.graph.networks.builder import Builder
from mnv3c.graph.networks.heads import HEADS, Features, HeadPlan
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.networks.options import NetworkOptions
from mnv3c.graph.networks.rewrites import make_divisible, specialised
from mnv3c.graph.networks.tables import Block, Table
from mnv3c.graph.ops import Add, Input

WIDTHS = (0.35, 0.5, 0.65, 0.75, 0.85, 1.0, 1.1, 1.25)
RESOLUTIONS = tuple(range(96, 289, 32))
_CLASSES = 1000
# As once-for-all: windows of 3, 5 and 7, expansions of up to 6 times the input, blocks left out.
_KERNELS, _RATIOS, _LEFT_OUT, _CHANGED = (3, 5, 7), (2.5, 3.0, 4.0, 5.0, 6.0), 0.3, 0.2


def paper_network(seed: int) -> Graph:
    """Large or Small as in the paper, at a random width and resolution."""
    rng = random.Random(seed)
    variant = rng.choice(("large", "small"))
    return mobilenet_v3("large" if variant == "large" else "small", width=_width(rng), resolution=_resolution(rng))


def varied_network(seed: int) -> Graph:
    """A network whose blocks vary too: window, expansion, squeeze-excite, activation, and whether they are there."""
    rng = random.Random(seed)
    variant = rng.choice(("large", "large", "small"))
    options = NetworkOptions(
        variant="large" if variant == "large" else "small", width=_width(rng), resolution=_resolution(rng)
    )
    table = specialised(options)
    graph = _built(f"{options.name}_varied{seed}", _varied(table, rng), options.size)
    return initialise(graph, 0)


def _width(rng: random.Random) -> float:
    return rng.choice(WIDTHS)


def _resolution(rng: random.Random) -> int:
    return rng.choice(RESOLUTIONS)


def _varied(table: Table, rng: random.Random) -> Table:
    blocks: list[Block] = []
    channels = table.stem
    for index, block in enumerate(table.blocks):
        repeats = block.stride == 1 and index > 0 and block.out == channels
        if repeats and rng.random() < _LEFT_OUT:
            continue
        ratio = rng.choice((block.expansion / channels, *_RATIOS))
        changed = replace(
            block,
            kernel=rng.choice(_KERNELS),
            # The first block does not expand.
            expansion=block.expansion if index == 0 else make_divisible(channels * ratio),
            se=block.se != (rng.random() < _CHANGED),
            activation=rng.choice((HSWISH, RELU)) if rng.random() < _CHANGED else block.activation,
        )
        blocks.append(changed)
        channels = block.out
    return replace(table, blocks=tuple(blocks))


def _built(name: str, table: Table, size: tuple[int, int]) -> Graph:
    builder = Builder()
    x = builder.add("input", Input((1, *size, 3)))
    x = builder.conv("stem", x, table.stem, table.stem_activation, kernel=3, stride=2)
    for number, block in enumerate(table.blocks, start=1):
        x = _block(builder, f"block{number}", x, block)
    for layer in table.before_pool:
        x = builder.conv(layer.name, x, layer.channels, layer.activation)
    plan = HeadPlan(Features(low=x, c4=x, last=x), _CLASSES, table.after_pool)
    outputs = HEADS["classifier"](builder, plan)
    return Graph(name.replace(".", "p"), tuple(builder.nodes), outputs, preprocessing=Preprocessing())


def _block(builder: Builder, name: str, x: str, block: Block) -> str:
    channels = builder.types[x].channels
    expands = block.expansion != channels
    y = builder.conv(f"{name}.expand", x, block.expansion, block.activation) if expands else x
    y = builder.depthwise(f"{name}.depthwise", y, block.activation, kernel=block.kernel, stride=block.stride)
    if block.se:
        y = builder.squeeze_excite(f"{name}.se", y)
    y = builder.conv(f"{name}.project", y, block.out, None)
    return builder.add(f"{name}.add", Add(), x, y) if block.stride == 1 and block.out == channels else y
