"""NetAdapt's proposals for MobileNetV3: "Searching for MobileNetV3", arXiv 1905.02244v5, section 4.2.

Each cuts the latency by at least a given amount in one of two ways: it shrinks the expansion of one block, or the
bottleneck of all blocks that share it, so that residual connections stay.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from mnv3c.graph.networks.tables import Block, Table

LatencyOf = Callable[[Table], float]


@dataclass(frozen=True)
class Knob:
    """What one proposal shrinks: the expansion of a block, or the output of blocks that residuals join.

    `blocks` are indices into the table; `stem` says that a residual joins the stem too.
    """

    kind: Literal["expansion", "bottleneck"]
    blocks: tuple[int, ...]
    stem: bool = False

    @property
    def name(self) -> str:
        """As `expansion of block 5`, `bottleneck of blocks 5-7`; blocks count from 1 as in the graph's names."""
        first, last = self.blocks[0] + 1, self.blocks[-1] + 1
        place = f"block {first}" if first == last else f"blocks {first}-{last}"
        return f"{self.kind} of {place}{' and the stem' if self.stem else ''}"


@dataclass(frozen=True)
class Proposal:
    """A table that one knob has made from another, and its latency."""

    knob: Knob
    width: int
    table: Table
    latency_ms: float

    @property
    def name(self) -> str:
        """What was shrunk to what."""
        return f"{self.knob.name} to {self.width}"


def knobs(table: Table) -> tuple[Knob, ...]:
    """All that can shrink, in order of the blocks: expansions (of blocks that have one), then bottlenecks."""
    structure = _structure(table)
    expansions = (Knob("expansion", (index,)) for index, (expands, _) in enumerate(structure) if expands)
    groups: list[list[int]] = []
    for index, (_, residual) in enumerate(structure):
        if residual and groups:
            groups[-1].append(index)
        else:
            groups.append([index])
    # The first block's residual is the stem's output.
    stem = structure[0][1]
    bottlenecks = (Knob("bottleneck", tuple(group), stem and group[0] == 0) for group in groups)
    return *expansions, *bottlenecks


def width_of(table: Table, knob: Knob) -> int:
    """The width that the knob is at."""
    block = table.blocks[knob.blocks[0]]
    return block.expansion if knob.kind == "expansion" else block.out


def with_width(table: Table, knob: Knob, width: int) -> Table:
    """The table with the knob at another width; a block without an expansion follows its input."""
    structure = _structure(table)
    stem = width if knob.stem else table.stem
    blocks: list[Block] = []
    channels = stem
    for index, block in enumerate(table.blocks):
        if index in knob.blocks:
            block = replace(block, expansion=width) if knob.kind == "expansion" else replace(block, out=width)
        if not structure[index][0]:
            block = replace(block, expansion=channels)
        blocks.append(block)
        channels = block.out
    return replace(table, stem=stem, blocks=tuple(blocks))


def widths_below(width: int, divisor: int) -> range:
    """The multiples of `divisor` that are narrower, widest first."""
    return range((width - 1) // divisor * divisor, 0, -divisor)


def proposals(table: Table, latency: LatencyOf, least_cut_ms: float, divisor: int = 8) -> Iterator[Proposal]:
    """For each knob that can do it, the largest width (a multiple of `divisor`) that cuts at least so much.

    A width that would add or remove a residual or an expansion convolution is passed over.
    """
    structure, before_ms = _structure(table), latency(table)
    for knob in knobs(table):
        for width in widths_below(width_of(table, knob), divisor):
            smaller = with_width(table, knob, width)
            if _structure(smaller) != structure:
                continue
            latency_ms = latency(smaller)
            if before_ms - latency_ms >= least_cut_ms:
                yield Proposal(knob, width, smaller, latency_ms)
                break


def _structure(table: Table) -> tuple[tuple[bool, bool], ...]:
    """For each block, whether it has an expansion convolution, and whether a residual."""
    channels = table.stem
    found: list[tuple[bool, bool]] = []
    for block in table.blocks:
        found.append((block.expansion != channels, block.stride == 1 and block.out == channels))
        channels = block.out
    return tuple(found)
