"""Networks of a space that have, together, every block that any of its networks has."""

from collections.abc import Iterator
from itertools import product
from random import Random

from mnv3c.profiles.block import Block
from mnv3c.search.space import STEM_STRIDE, BlockChoice, Place, Space, Stage, StageChoice, Subnet


def covering(space: Space, resolution: int) -> Iterator[Subnet]:
    """Networks for images of this side until each block has been in one; always the same ones.

    Each has the first block that is still missing, and beside it others that are; what is left is chosen at random, and
    so is the depth.
    """
    # Seeding by text is stable between runs and machines.
    rng = Random(f"{space.name} {resolution}")
    left = {place.block: place for place in space.places(resolution)}
    while left:
        subnet = _network_with(next(iter(left.values())), space, resolution, left, rng)
        for block in space.blocks(subnet, resolution):
            left.pop(block, None)
        yield subnet


def _network_with(wanted: Place, space: Space, resolution: int, left: dict[Block, Place], rng: Random) -> Subnet:
    widths = [rng.choice(stage.channels) for stage in space.stages]
    widths[wanted.stage] = wanted.block.c_out
    if wanted.stage and wanted.index == 0:
        widths[wanted.stage - 1] = wanted.block.c_in
    size, c_in = -(-resolution // STEM_STRIDE), space.stem_channels
    stages: list[StageChoice] = []
    for stage, channels in zip(space.stages, widths, strict=True):
        blocks: list[BlockChoice] = []
        least = wanted.index + 1 if len(stages) == wanted.stage else 1
        for index in range(rng.choice([depth for depth in stage.depths if depth >= least])):
            choice = (
                wanted.choice
                if (len(stages), index) == (wanted.stage, wanted.index)
                else _choice(stage, index, (size, c_in, channels), left, rng, blocks)
            )
            size, c_in = stage.block(index, size, c_in, channels, choice).h_out, channels
            blocks.append(choice)
        stages.append(StageChoice(channels, tuple(blocks)))
    return Subnet(tuple(stages))


def _choice(
    stage: Stage,
    index: int,
    shape: tuple[int, int, int],
    left: dict[Block, Place],
    rng: Random,
    before: list[BlockChoice],
) -> BlockChoice:
    """A choice whose block is still missing and was not taken just before in this stage; any, where there is none."""
    size, c_in, c_out = shape
    choices = stage.blocks[index]
    for kernel, expansion in product(choices.kernels, choices.expansions(c_in)):
        choice = BlockChoice(kernel, expansion)
        if choice not in before[1:] and stage.block(index, size, c_in, c_out, choice) in left:
            return choice
    return BlockChoice(rng.choice(choices.kernels), rng.choice(choices.expansions(c_in)))
