"""Spaces of networks: the choices of an inverted-residual network, the networks they allow, and the layers of all."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import product
from random import Random

from mnv3c.graph.activation import Activation
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.networks.mobilenet_v3 import classifier_of_table
from mnv3c.graph.networks.rewrites import make_divisible
from mnv3c.graph.networks.tables import Block as TableBlock
from mnv3c.graph.networks.tables import Table, TailLayer
from mnv3c.graph.ops import Dense, GlobalAveragePool
from mnv3c.graph.tensor import TensorType
from mnv3c.profiles.block import Block, BlockActivation
from mnv3c.profiles.layer_keys import convolution_key
from mnv3c.profiles.lut.units import Unit
from mnv3c.profiles.work import LayerWork

_Pick = Callable[[Sequence[int]], int]
# The stem and every stage that halves: 3x3 of stride 2 (the paper's, and that of all spaces here).
STEM_KERNEL, STEM_STRIDE = 3, 2


@dataclass(frozen=True)
class BlockChoice:
    """One block of a network: its depthwise kernel, and its expansion in channels."""

    kernel: int
    expansion: int


@dataclass(frozen=True)
class StageChoice:
    """One stage of a network: the channels that all its blocks put out, and the blocks."""

    channels: int
    blocks: tuple[BlockChoice, ...]


@dataclass(frozen=True)
class Subnet:
    """One network of a space: a choice for each stage. Equal choices are equal values, and hash alike."""

    stages: tuple[StageChoice, ...]

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return sum(len(stage.blocks) for stage in self.stages)


@dataclass(frozen=True)
class BlockChoices:
    """What a block may be: kernels, and expansions either as ratios to its input or in channels; the other is empty."""

    kernels: tuple[int, ...]
    ratios: tuple[float, ...] = ()
    channels: tuple[int, ...] = ()

    def expansions(self, c_in: int) -> tuple[int, ...]:
        """The expansions in channels that a block with this many input channels may have, ascending.

        Of a ratio it is the multiple of 8 nearest to it, by the rule of `make_divisible`.
        """
        return self.channels or tuple(sorted({make_divisible(round(c_in * ratio)) for ratio in self.ratios}))


@dataclass(frozen=True)
class Stage:
    """Blocks of one width. `blocks` are the choices of each, as many as the greatest of `depths`.

    The first block has `stride`, the others 1; a residual is wherever it fits.
    """

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    blocks: tuple[BlockChoices, ...]
    stride: int
    se: bool
    activation: BlockActivation

    def block(self, index: int, size: int, c_in: int, c_out: int, choice: BlockChoice) -> Block:
        """The stage's block of this index, on a map of `size` pixels a side."""
        stride = self.stride if index == 0 else 1
        return Block(
            h_in=size,
            c_in=c_in,
            c_out=c_out,
            c_expand=choice.expansion,
            kernel=choice.kernel,
            stride=stride,
            se=self.se,
            activation=self.activation,
            skip=Block.may_skip(c_in, c_out, stride),
        )


@dataclass(frozen=True)
class Place:
    """A block in a network: its stage and its place in it, both counted from 0, the choice, and what it is."""

    stage: int
    index: int
    choice: BlockChoice
    block: Block


@dataclass(frozen=True)
class Space:
    """A stem, stages of inverted residual blocks, a tail and a classifier, for square RGB images.

    `resolutions` are the sides of images, in pixels, for which networks of the space are made.
    """

    name: str
    title: str
    resolutions: tuple[int, ...]
    stem_channels: int
    stem_activation: BlockActivation
    stages: tuple[Stage, ...]
    before_pool: tuple[TailLayer, ...]
    after_pool: tuple[TailLayer, ...]
    classes: int

    @cached_property
    def size(self) -> int:
        """How many different networks there are, resolutions not counted."""
        ways = {self.stem_channels: 1}
        for stage in self.stages:
            ways = {
                channels: sum(count * _ways(stage, c_in, channels) for c_in, count in ways.items())
                for channels in stage.channels
            }
        return sum(ways.values())

    @cached_property
    def digest(self) -> str:
        """A short text that differs for spaces that differ in anything but title and resolutions."""
        choices = (self.stem_channels, self.stem_activation, self.stages, self.before_pool, self.after_pool)
        return f"{self.name} {sha256(repr((choices, self.classes)).encode()).hexdigest()[:12]}"

    def random(self, rng: Random) -> Subnet:
        """A network whose every choice is drawn uniformly of those left by the choices before it."""
        return self._chosen(rng.choice)

    def largest(self) -> Subnet:
        """The network with the greatest value of every choice."""
        return self._chosen(max)

    def smallest(self) -> Subnet:
        """The network with the least value of every choice."""
        return self._chosen(min)

    def require(self, subnet: Subnet) -> None:
        """Raises UserError, naming stage, block and what is allowed, for a network that is not of this space."""
        if len(subnet.stages) != len(self.stages):
            raise UserError(f"space '{self.name}' has {len(self.stages)} stages, not {len(subnet.stages)}")
        c_in = self.stem_channels
        for number, (stage, chosen) in enumerate(zip(self.stages, subnet.stages, strict=True), start=1):
            where = f"space '{self.name}', stage {number}"
            _require(where, "channels", chosen.channels, stage.channels)
            _require(where, "depth", len(chosen.blocks), stage.depths)
            for index, (choices, block) in enumerate(zip(stage.blocks, chosen.blocks, strict=False), start=1):
                _require(f"{where}, block {index}", "kernel", block.kernel, choices.kernels)
                _require(f"{where}, block {index}", "expansion", block.expansion, choices.expansions(c_in))
                c_in = chosen.channels

    def blocks(self, subnet: Subnet, resolution: int) -> tuple[Block, ...]:
        """The blocks of a network for images of this side, in order."""
        blocks: list[Block] = []
        size, c_in = -(-resolution // STEM_STRIDE), self.stem_channels
        for stage, chosen in zip(self.stages, subnet.stages, strict=True):
            for index, choice in enumerate(chosen.blocks):
                blocks.append(stage.block(index, size, c_in, chosen.channels, choice))
                size, c_in = blocks[-1].h_out, chosen.channels
        return tuple(blocks)

    def units(self, subnet: Subnet, resolution: int) -> tuple[Unit, ...]:
        """What the network is a chain of: the stem, its blocks, the layers of the tail."""
        blocks = self.blocks(subnet, resolution)
        return (self._stem(resolution), *blocks, *self._tail(blocks[-1].h_out, blocks[-1].c_out))

    def layer_keys(self, subnet: Subnet, resolution: int) -> tuple[LayerKey, ...]:
        """The network's layers in order, as its graph has them once batch norms are folded and layers fused."""
        return tuple(key for unit in self.units(subnet, resolution) for key in unit.layer_keys())

    def table(self, subnet: Subnet) -> Table:
        """The network as a table like those of the paper. Raises UserError for one that is not of this space."""
        self.require(subnet)
        blocks = [
            TableBlock(
                kernel=choice.kernel,
                expansion=choice.expansion,
                out=chosen.channels,
                se=stage.se,
                activation=Activation(stage.activation),
                stride=stage.stride if index == 0 else 1,
            )
            for stage, chosen in zip(self.stages, subnet.stages, strict=True)
            for index, choice in enumerate(chosen.blocks)
        ]
        stem = Activation(self.stem_activation)
        return Table(self.stem_channels, stem, tuple(blocks), self.before_pool, self.after_pool)

    def graph(self, subnet: Subnet, resolution: int) -> Graph:
        """The network as an unfused graph without weights. Raises UserError for one that is not of this space."""
        size = (resolution, resolution)
        return classifier_of_table(self.table(subnet), size, self.classes, f"{self.name}-{resolution}")

    def units_of_all(self, resolution: int) -> tuple[Unit, ...]:
        """Every different unit of all networks for images of this side, each once, in a stable order."""
        found: dict[Unit, None] = {self._stem(resolution): None}
        found |= dict.fromkeys(place.block for place in self.places(resolution))
        size = resolution
        for stride in (STEM_STRIDE, *(stage.stride for stage in self.stages)):
            size = -(-size // stride)
        for c_in in self.stages[-1].channels:
            found |= dict.fromkeys(self._tail(size, c_in))
        return tuple(found)

    def places(self, resolution: int) -> Iterator[Place]:
        """Every block that a network for images of this side may have, at every place where it may be."""
        size = -(-resolution // STEM_STRIDE)
        widths: tuple[int, ...] = (self.stem_channels,)
        for number, stage in enumerate(self.stages):
            yield from _stage_places(number, stage, size, widths)
            size, widths = -(-size // stage.stride), stage.channels

    def layers(self, resolutions: Sequence[int] | None = None) -> tuple[LayerKey, ...]:
        """Every different layer of all networks, for these resolutions or all of the space's, each once."""
        sides = self.resolutions if resolutions is None else resolutions
        units = dict.fromkeys(unit for side in sides for unit in self.units_of_all(side))
        return tuple(dict.fromkeys(key for unit in units for key in unit.layer_keys()))

    def _chosen(self, pick: _Pick) -> Subnet:
        stages: list[StageChoice] = []
        c_in = self.stem_channels
        for stage in self.stages:
            channels, blocks = pick(stage.channels), []
            for choices in stage.blocks[: pick(stage.depths)]:
                blocks.append(BlockChoice(pick(choices.kernels), pick(choices.expansions(c_in))))
                c_in = channels
            stages.append(StageChoice(channels, tuple(blocks)))
        return Subnet(tuple(stages))

    def _stem(self, resolution: int) -> LayerWork:
        activation = Activation(self.stem_activation)
        return LayerWork(
            convolution_key(
                resolution, 3, self.stem_channels, kernel=STEM_KERNEL, stride=STEM_STRIDE, activation=activation
            )
        )

    def _tail(self, size: int, c_in: int) -> Iterator[LayerWork]:
        for layer in self.before_pool:
            yield LayerWork(convolution_key(size, c_in, layer.channels, activation=layer.activation))
            c_in = layer.channels
        yield LayerWork(LayerKey(GlobalAveragePool(), (TensorType((1, size, size, c_in)),)))
        for layer in self.after_pool:
            yield LayerWork(convolution_key(1, c_in, layer.channels, activation=layer.activation))
            c_in = layer.channels
        yield LayerWork(LayerKey(Dense(self.classes, bias=True), (TensorType((1, c_in)),)))


def _stage_places(number: int, stage: Stage, size: int, widths: Sequence[int]) -> Iterator[Place]:
    """What the stage may have, on maps of this size and of one of these widths."""
    for index, choices in enumerate(stage.blocks):
        pairs = product(widths, stage.channels) if index == 0 else ((width, width) for width in stage.channels)
        side = size if index == 0 else -(-size // stage.stride)
        for c_in, c_out in pairs:
            for kernel, expansion in product(choices.kernels, choices.expansions(c_in)):
                choice = BlockChoice(kernel, expansion)
                yield Place(number, index, choice, stage.block(index, side, c_in, c_out, choice))


def _ways(stage: Stage, c_in: int, channels: int) -> int:
    """In how many ways the stage may be built on this many channels, with that many out."""
    total, ways = 0, 1
    for index, choices in enumerate(stage.blocks):
        ways *= len(choices.kernels) * len(choices.expansions(c_in if index == 0 else channels))
        total += ways * (index + 1 in stage.depths)
    return total


def _require(where: str, name: str, value: int, allowed: Sequence[int]) -> None:
    if value not in allowed:
        raise UserError(f"{where}: {name} is one of {', '.join(map(str, allowed))}, not {value}")
