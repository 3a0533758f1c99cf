"""Weights of matrix-vector products in half precision."""

from dataclasses import dataclass

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Array, Graph, Node
from mnv3c.graph.ops import Conv2d, Dense

# The largest finite value of IEEE 754 binary16: (2 - 2^-10) * 2^15.
_LARGEST_HALF = 65504.0


def one_row_products(graph: Graph) -> tuple[Node, ...]:
    """The layers that multiply one row by a matrix, and so read every weight for one use.

    These are dense layers and 1x1 convolutions of 1x1 maps: squeeze-excite, and what follows the global pooling.
    """
    return tuple(node for node in graph.nodes if _is_product(node) and _rows(graph, node) == 1)


@dataclass(frozen=True)
class RoundWeights:
    """Rounds weights to what half precision holds; they stay float32 arrays:

    1. The weight of every one-row product becomes the nearest half, of two the one with an even last bit; what is
       smaller than the least normal half becomes a subnormal one or zero.
    2. Biases, and the weights of all other layers, stay as they are.

    A graph without weights is returned as it is. Raises UserError for a weight beyond the largest half.
    """

    @property
    def name(self) -> str:
        return "round-weights"

    def run(self, graph: Graph) -> Graph:
        weights = dict(graph.weights)
        for node in one_row_products(graph) if weights else ():
            key = node.weight_name("weight")
            weights[key] = _rounded(node, weights[key])
        return graph.rebuilt(graph.nodes, weights=weights)


def _is_product(node: Node) -> bool:
    return isinstance(node.op, Dense) or (isinstance(node.op, Conv2d) and node.op.pointwise)


def _rows(graph: Graph, node: Node) -> int:
    given = graph.input_types(node)[0]
    return given.elements // given.channels


def _rounded(node: Node, weight: Array) -> Array:
    largest = weight.ravel()[np.abs(weight).argmax()]
    if abs(largest) > _LARGEST_HALF:
        raise UserError(
            f"node '{node.name}': weight {largest:.9g} does not fit fp16, which ends at {_LARGEST_HALF:g};"
            " store the weights as fp32"
        )
    return weight.astype(np.float16).astype(np.float32)
