"""Batch normalisation at inference is a scale and a shift: into the layer before it, where possible."""

from dataclasses import dataclass

import numpy as np

from mnv3c.graph.ir import Graph
from mnv3c.graph.ops import BatchNorm, ChannelAffine
from mnv3c.graph.passes.rewriter import Rewriter, takes_affine


@dataclass(frozen=True)
class FoldBatchNorm:
    """Removes every BatchNorm; with scale = gamma / sqrt(variance + epsilon) and shift = beta - mean * scale:

    1. After a Conv2d, ConvTranspose2d or Dense that has no activation, no residual and no other reader (an output of
       the graph is a reader), weight becomes weight * scale and bias becomes bias * scale + shift. The layer keeps
       its name, and is the graph's output where the BatchNorm was.
    2. Any other BatchNorm becomes a ChannelAffine with that scale and shift, under the same name.

    Computed in float64, rounded to float32 once. A graph without weights is rewritten all the same.
    """

    @property
    def name(self) -> str:
        return "fold-batch-norm"

    def run(self, graph: Graph) -> Graph:
        rewriter = Rewriter(graph)
        for name in (node.name for node in graph.nodes if isinstance(node.op, BatchNorm)):
            _fold(rewriter, name)
        return rewriter.graph()


def _fold(rewriter: Rewriter, name: str) -> None:
    node = rewriter.node(name)
    assert isinstance(node.op, BatchNorm)
    gamma, beta, mean, variance = (rewriter.values(node, role) for role in ("gamma", "beta", "mean", "variance"))
    scale = gamma / np.sqrt(variance + node.op.epsilon)
    shift = beta - mean * scale
    producer = rewriter.private_producer(node)
    if producer is not None and takes_affine(producer.op):
        rewriter.absorb_affine(node, producer, scale, shift)
    else:
        rewriter.replace(node, ChannelAffine(scale=True, shift=True), {"scale": scale, "shift": shift})
