"""Passes and how they are run."""

from collections.abc import Callable, Iterable
from typing import Protocol

from mnv3c.graph.ir import Graph
from mnv3c.graph.verify import verify


class Pass(Protocol):
    """A rewrite of the graph: a frozen dataclass whose fields are its options."""

    @property
    def name(self) -> str:
        """Stable name, as in `--dump`."""

    def run(self, graph: Graph) -> Graph:
        """The rewritten graph; the given one is unchanged."""


def run_passes(graph: Graph, passes: Iterable[Pass], after: Callable[[str, Graph], None] | None = None) -> Graph:
    """Run passes in order, verify after each, and show each result to `after(pass name, graph)`."""
    verify(graph)
    for step in passes:
        graph = verify(step.run(graph))
        if after is not None:
            after(step.name, graph)
    return graph
