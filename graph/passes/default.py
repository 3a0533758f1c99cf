"""The passes that turn an imported or built network into layers."""

from mnv3c.graph.passes.drop_identities import DropIdentities
from mnv3c.graph.passes.fold_batch_norm import FoldBatchNorm
from mnv3c.graph.passes.fuse_layers import FuseLayers
from mnv3c.graph.passes.pipeline import Pass
from mnv3c.graph.passes.recognise_activations import RecogniseActivations


def default_passes() -> tuple[Pass, ...]:
    """In order: identities must not hide a pattern, and activations are fused only once they are recognised."""
    return (DropIdentities(), RecogniseActivations(), FoldBatchNorm(), FuseLayers())
