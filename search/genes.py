"""A space as genes: a fixed number of choices by index, which evolution draws, mutates and crosses."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from mnv3c.search.space import BlockChoice, Space, StageChoice, Subnet

Genome = tuple[int, ...]


@dataclass(frozen=True)
class Genes:
    """For each stage its channels and depth, and for each block that it may have a kernel and an expansion.

    Genes of blocks beyond the depth say nothing, and where ratios of a narrow input round to the same expansion an
    index beyond the last means the last; so several genomes may make one network.
    """

    space: Space

    @cached_property
    def counts(self) -> Genome:
        """How many values each gene has."""
        counts: list[int] = []
        for stage in self.space.stages:
            counts += [len(stage.channels), len(stage.depths)]
            for choices in stage.blocks:
                counts += [len(choices.kernels), len(choices.ratios or choices.channels)]
        return tuple(counts)

    def random(self, rng: Random) -> Genome:
        """Every gene drawn uniformly."""
        return tuple(rng.randrange(count) for count in self.counts)

    def mutated(self, genome: Genome, rng: Random, share: float) -> Genome:
        """Each gene drawn anew with this probability."""
        return tuple(
            rng.randrange(count) if rng.random() < share else gene
            for gene, count in zip(genome, self.counts, strict=True)
        )

    def crossed(self, one: Genome, other: Genome, rng: Random) -> Genome:
        """Each gene from either, with the same probability."""
        return tuple(rng.choice(pair) for pair in zip(one, other, strict=True))

    def subnet(self, genome: Sequence[int]) -> Subnet:
        """The network that the genes make."""
        genes = iter(genome)
        stages: list[StageChoice] = []
        c_in = self.space.stem_channels
        for stage in self.space.stages:
            channels, depth = stage.channels[next(genes)], stage.depths[next(genes)]
            blocks: list[BlockChoice] = []
            for choices in stage.blocks:
                kernel, place = choices.kernels[next(genes)], next(genes)
                if len(blocks) < depth:
                    expansions = choices.expansions(c_in)
                    blocks.append(BlockChoice(kernel, expansions[min(place, len(expansions) - 1)]))
                    c_in = channels
            stages.append(StageChoice(channels, tuple(blocks)))
        return Subnet(tuple(stages))


def subnet_text(subnet: Subnet) -> str:
    """As `24:3x64,5x96/40:3x120`: for each stage its channels, then KERNELxEXPANSION of each block."""
    return "/".join(
        f"{stage.channels}:{','.join(f'{block.kernel}x{block.expansion}' for block in stage.blocks)}"
        for stage in subnet.stages
    )
