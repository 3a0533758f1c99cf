"""MobileNetV3 as the paper's tables state it: "Searching for MobileNetV3", arXiv 1905.02244v5, tables 1 and 2.

Channel counts are those of width 1.0. The squeeze-excite that table 2 ticks at Small's last convolution is absent from
the released models, and so here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from mnv3c.graph.activation import HSWISH, RELU, Activation

Variant = Literal["large", "small"]


@dataclass(frozen=True)
class Block:
    """One row: expand to `expansion`, depthwise `kernel`, squeeze-excite where `se`, project to `out`."""

    kernel: int
    expansion: int
    out: int
    se: bool
    activation: Activation
    stride: int
    dilation: int = 1


@dataclass(frozen=True)
class TailLayer:
    """A layer after the blocks. `kernel` above 1 is depthwise; `elastic` layers shrink with the width multiplier,
    the others only grow with it (the authors' "finegrain" rule for the 1280 / 1024 layer).
    """

    name: str
    channels: int
    activation: Activation | None = HSWISH
    kernel: int = 1
    elastic: bool = True


@dataclass(frozen=True)
class Table:
    """A whole network: stem (3x3, stride 2), blocks, layers before the pool, and after it (biased, no batch norm)."""

    stem: int
    stem_activation: Activation
    blocks: tuple[Block, ...]
    before_pool: tuple[TailLayer, ...]
    after_pool: tuple[TailLayer, ...]


LARGE = Table(
    stem=16,
    stem_activation=HSWISH,
    blocks=(
        Block(3, 16, 16, False, RELU, 1),
        Block(3, 64, 24, False, RELU, 2),
        Block(3, 72, 24, False, RELU, 1),
        Block(5, 72, 40, True, RELU, 2),
        Block(5, 120, 40, True, RELU, 1),
        Block(5, 120, 40, True, RELU, 1),
        Block(3, 240, 80, False, HSWISH, 2),
        Block(3, 200, 80, False, HSWISH, 1),
        Block(3, 184, 80, False, HSWISH, 1),
        Block(3, 184, 80, False, HSWISH, 1),
        Block(3, 480, 112, True, HSWISH, 1),
        Block(3, 672, 112, True, HSWISH, 1),
        Block(5, 672, 160, True, HSWISH, 2),
        Block(5, 960, 160, True, HSWISH, 1),
        Block(5, 960, 160, True, HSWISH, 1),
    ),
    before_pool=(TailLayer("last", 960),),
    after_pool=(TailLayer("head", 1280, elastic=False),),
)

SMALL = Table(
    stem=16,
    stem_activation=HSWISH,
    blocks=(
        Block(3, 16, 16, True, RELU, 2),
        Block(3, 72, 24, False, RELU, 2),
        Block(3, 88, 24, False, RELU, 1),
        Block(5, 96, 40, True, HSWISH, 2),
        Block(5, 240, 40, True, HSWISH, 1),
        Block(5, 240, 40, True, HSWISH, 1),
        Block(5, 120, 48, True, HSWISH, 1),
        Block(5, 144, 48, True, HSWISH, 1),
        Block(5, 288, 96, True, HSWISH, 2),
        Block(5, 576, 96, True, HSWISH, 1),
        Block(5, 576, 96, True, HSWISH, 1),
    ),
    before_pool=(TailLayer("last", 576),),
    after_pool=(TailLayer("head", 1024, elastic=False),),
)

TABLES: Mapping[Variant, Table] = MappingProxyType({"large": LARGE, "small": SMALL})
