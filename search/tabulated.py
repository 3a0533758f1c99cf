"""Latencies from a table, for searches, and the blocks and layers that NetAdapt may need of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import chain, product

from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.tables import Table as NetworkTable
from mnv3c.profiles.block import Block
from mnv3c.profiles.lut.table import NetworkLatency, Table
from mnv3c.profiles.lut.table_file import table_text
from mnv3c.profiles.lut.units import Unit, units_of_graph
from mnv3c.search.architecture import Architecture
from mnv3c.search.proposals import knobs, width_of, widths_below, with_width

# Stands before the first block.
_STEM = -1


@dataclass(frozen=True)
class TableLatency:
    """A table as the latency of graphs, for searches.

    With `beyond_ms` a network takes that long where the table has no entry for one of its units; without, it is an
    error.
    """

    table: Table
    beyond_ms: float | None = None

    @cached_property
    def identity(self) -> str:
        """What a search that is resumed must find again: the space, the device, and a digest of all entries."""
        digest = sha256(table_text(self.table).encode()).hexdigest()[:12]
        return f"table of {self.table.space} on {self.table.identity.device} {digest}"

    def __call__(self, graph: Graph) -> float:
        """Milliseconds. Raises UserError naming the units that the table has no entry for."""
        units = units_of_graph(graph)
        if self.beyond_ms is not None and self.table.missing(units):
            return self.beyond_ms
        return self.table.latency_ms(units)

    def latency(self, graph: Graph) -> NetworkLatency:
        """The same with its interval, and how many entries were of which kind. Raises UserError likewise."""
        return self.table.latency(units_of_graph(graph))


def netadapt_units(start: Architecture, divisor: int) -> Iterator[Unit]:
    """Every block and layer of the networks that NetAdapt may come to from `start`, each once; its own come first.

    Widths are multiples of `divisor`: of small ones there are millions. Where blocks are not of `Block`'s form, as for
    images that are not square, they are the network's own alone.
    """
    own = units_of_graph(start.graph())
    blocks = [unit for unit in own[1 : 1 + len(start.table.blocks)] if isinstance(unit, Block)]
    found: Iterator[Unit] = iter(own)
    if len(blocks) == len(start.table.blocks):
        found = chain(own, _with_other_ends(start, divisor), _narrower(blocks, start.table, divisor))
    seen: set[Unit] = set()
    for unit in found:
        if unit not in seen:
            seen.add(unit)
            yield unit


def _with_other_ends(start: Architecture, divisor: int) -> Iterator[Unit]:
    """The units of networks with another stem, and with another output of the last block."""
    last = len(start.table.blocks) - 1
    for knob in knobs(start.table):
        if knob.stem or (knob.kind == "bottleneck" and last in knob.blocks):
            for width in widths_below(width_of(start.table, knob), divisor):
                yield from units_of_graph(start.with_table(with_width(start.table, knob, width)).graph())


def _narrower(blocks: Sequence[Block], table: NetworkTable, divisor: int) -> Iterator[Block]:
    """Each block at all widths of its input, expansion and output that keep the network's form."""
    expansions: dict[int, tuple[int, ...]] = {}
    outs: dict[int, tuple[int, ...]] = {_STEM: (table.stem,)}
    for knob in knobs(table):
        now = width_of(table, knob)
        places = (_STEM, *knob.blocks) if knob.stem else knob.blocks
        of_kind = expansions if knob.kind == "expansion" else outs
        of_kind |= dict.fromkeys(places, (now, *widths_below(now, divisor)))
    for index, block in enumerate(blocks):
        for c_in, c_out in product(outs[index - 1], outs[index]):
            for c_expand in expansions.get(index, (c_in,)):
                same_form = (c_expand != c_in) == (index in expansions)
                if same_form and Block.may_skip(c_in, c_out, block.stride) == block.skip:
                    yield replace(block, c_in=c_in, c_out=c_out, c_expand=c_expand)
