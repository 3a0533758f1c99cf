"""The layers of a network as the runtime of a profile computes them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnv3c.graph.ir import Graph
    from mnv3c.profiles.predict import NetworkPrediction
    from mnv3c.profiles.profile import Profile


def network_prediction(profile: "Profile", graph: "Graph") -> "NetworkPrediction":
    """What the profile predicts for a graph. Raises UserError for a layer that no cost model knows."""
    from mnv3c.graph.layer import layer_key, layers
    from mnv3c.graph.passes.default import default_passes
    from mnv3c.graph.passes.pipeline import run_passes
    from mnv3c.profiles.predict import predict_network

    fused = run_passes(graph, default_passes())
    nodes = layers(fused)
    return predict_network(profile, [node.name for node in nodes], [layer_key(fused, node) for node in nodes])
