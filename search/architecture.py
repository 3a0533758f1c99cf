"""A network as a value: the widths that a search changes, and the graph that they make."""

from dataclasses import dataclass, replace

from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.mobilenet_v3 import classifier_of_table
from mnv3c.graph.networks.options import NetworkOptions
from mnv3c.graph.networks.rewrites import specialised
from mnv3c.graph.networks.tables import Table
from mnv3c.search.recognise import recognise


@dataclass(frozen=True)
class Architecture:
    """A classifier of MobileNetV3's form: its table in channels as built, its input in pixels, its classes."""

    table: Table
    size: tuple[int, int]
    classes: int
    name: str

    @classmethod
    def of(cls, options: NetworkOptions) -> "Architecture":
        """The network of these options, of which the head must be a classifier."""
        return cls(specialised(options), options.size, options.class_count, options.name)

    @classmethod
    def of_graph(cls, graph: Graph) -> "Architecture":
        """The network that a graph is, weights and batch norms aside. Raises UserError as `recognise` does."""
        found = recognise(graph)
        return cls(found.table, found.size, found.classes, graph.name)

    @property
    def widths(self) -> str:
        """The widths as text: the stem, EXPANSION.OUT of each block, the layers before and after the pool."""
        table = self.table
        blocks = (f"{block.expansion}.{block.out}" for block in table.blocks)
        tail = (str(layer.channels) for layer in (*table.before_pool, *table.after_pool))
        return "-".join([str(table.stem), *blocks, *tail])

    def with_table(self, table: Table) -> "Architecture":
        """The same with other widths."""
        return replace(self, table=table)

    def graph(self) -> Graph:
        """The network without weights."""
        return classifier_of_table(self.table, self.size, self.classes, self.name)
