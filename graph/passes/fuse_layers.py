"""Makes layers: an affine step, an activation or a residual sum moves into the op that it follows."""

from dataclasses import dataclass, replace

import numpy as np

from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.ops import (
    Activate,
    Add,
    ChannelAffine,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Multiply,
    ScalarAffine,
)
from mnv3c.graph.passes.rewriter import Rewriter, Values, takes_affine


@dataclass(frozen=True)
class FuseLayers:
    """Fuses a node into the one before it, its *producer*, where nothing else reads the producer.

    An output of the graph and a second slot of the same node (x + x) count as readers. The fused node keeps the
    producer's name, and takes over as the graph's output where the removed node was one.

    1. ChannelAffine after a Conv2d, ConvTranspose2d or Dense without activation and residual: its scale multiplies
       weight and bias, its shift is added to the bias (computed in float64, rounded to float32 once).
    2. ScalarAffine after such a layer: likewise, with the same number for every channel.
    3. Activate after a Conv2d, ConvTranspose2d, Dense, Add or Multiply without activation becomes its activation. A
       residual that such a convolution already has is then added before the activation.
    4. Add of a Conv2d without residual and another tensor: the other tensor becomes the convolution's residual, added
       *after* the activation if the convolution has one, else *before* the Add's own activation, if any. An Add
       whose two sides both qualify goes into the one that comes later in the graph. An Add with an activation does
       not go into a convolution with one: a layer has one activation.

    Rules 1 to 3 run over the whole graph before rule 4, so that an Add has its activation when rule 4 sees it. No
    cycle can appear: what reads the convolution is the Add alone, so the other tensor does not depend on it. A graph
    without weights is rewritten all the same.
    """

    @property
    def name(self) -> str:
        return "fuse-layers"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        for node in graph.nodes:
            _fuse_into_producer(rewriter, rewriter.node(node.name))
        position = {node.name: index for index, node in enumerate(graph.nodes)}
        for node in rewriter.nodes:
            _fuse_residual(rewriter, rewriter.node(node.name), position)
        return rewriter.graph()


def _fuse_into_producer(rewriter: Rewriter, node: Node) -> None:
    producer = rewriter.private_producer(node) if len(node.inputs) == 1 else None
    if producer is None:
        return
    match node.op:
        case ChannelAffine() | ScalarAffine() if takes_affine(producer.op):
            scale, shift = _scale_and_shift(rewriter, node, node.op)
            rewriter.absorb_affine(node, producer, scale, shift)
        case Activate():
            _fuse_activation(rewriter, node, producer, node.op)


def _scale_and_shift(
    rewriter: Rewriter, node: Node, op: ChannelAffine | ScalarAffine
) -> tuple[Values | None, Values | None]:
    if isinstance(op, ScalarAffine):
        return (
            np.asarray(op.scale, np.float64) if op.scale != 1.0 else None,
            np.asarray(op.shift, np.float64) if op.shift != 0.0 else None,
        )
    return (
        rewriter.values(node, "scale") if op.scale else None,
        rewriter.values(node, "shift") if op.shift else None,
    )


def _fuse_activation(rewriter: Rewriter, node: Node, producer: Node, op: Activate) -> None:
    before = producer.op
    if not isinstance(before, Conv2d | ConvTranspose2d | Dense | Add | Multiply) or before.activation is not None:
        return
    if isinstance(before, Conv2d) and before.residual is not None:
        rewriter.absorb(node, producer, replace(before, activation=op.activation, residual="before_activation"))
    else:
        rewriter.absorb(node, producer, replace(before, activation=op.activation))


def _fuse_residual(rewriter: Rewriter, node: Node, position: dict[str, int]) -> None:
    if not isinstance(node.op, Add):
        return
    sides = [(rewriter.private_producer(node, slot), node.inputs[1 - slot]) for slot in (0, 1)]
    takers = [(side, side.op, other) for side, other in sides if side is not None and isinstance(side.op, Conv2d)]
    takers = [
        taker
        for taker in takers
        if taker[1].residual is None and (taker[1].activation is None or node.op.activation is None)
    ]
    if not takers:
        return
    conv, op, other = max(takers, key=lambda taker: position[taker[0].name])
    if op.activation is None:
        fused = replace(op, activation=node.op.activation, residual="before_activation")
    else:
        fused = replace(op, residual="after_activation")
    rewriter.absorb(node, conv, fused, (other,))
