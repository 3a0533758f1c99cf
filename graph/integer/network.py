"""A quantised network: the layers of a fused graph, each a chain of integer steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import Affine
from mnv3c.graph.integer.ops import Rounding, Step, output_of
from mnv3c.graph.ir import Graph, Node


@dataclass(frozen=True)
class IntegerLayer:
    """One node of the fused graph in integers.

    The first step reads the node's first input; each further step reads the one before it. A Sum or an ElementProduct
    reads the node's second input besides.
    """

    node: Node
    steps: tuple[Step, ...]

    @property
    def output(self) -> Affine:
        """The quantisation of the layer's output."""
        return output_of(self.steps[-1])

    def step_names(self) -> tuple[str, ...]:
        """Names of the steps' tensors: `NODE.0`, `NODE.1`, ..., and the node's own name for the last."""
        inner = tuple(f"{self.node.name}.{index}" for index in range(len(self.steps) - 1))
        return (*inner, self.node.name)


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A quantised network.

    `graph` is the fused graph (after the default passes), whose nodes are the layers; if it carries weights, they are
    the real numbers from which the integers were made. `inputs` has the quantisation of each Input node, `layers` every
    other node by name. All tensors are int8 in the IR's order.
    """

    graph: Graph
    inputs: Mapping[str, Affine]
    layers: Mapping[str, IntegerLayer]
    rounding: Rounding = "gemmlowp_double"
    _affines: Mapping[str, Affine] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        affines = dict(self.inputs) | {name: layer.output for name, layer in self.layers.items()}
        missing = [node.name for node in self.graph.nodes if node.name not in affines]
        if missing:
            raise UserError(f"quantised network '{self.graph.name}' has no integers for node '{missing[0]}'")
        object.__setattr__(self, "_affines", MappingProxyType(affines))

    def affine(self, name: str) -> Affine:
        """The quantisation of a node's output."""
        return self._affines[name]
