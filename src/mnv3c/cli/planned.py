"""The layers of a network as the runtime of a profile computes them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnv3c.graph.ir import Graph
    from mnv3c.profiles.predict import NetworkPrediction
    from mnv3c.profiles.profile import Profile


def network_prediction(profile: "Profile", graph: "Graph") -> "NetworkPrediction":
    """What the profile predicts for a graph, fused into layers, or into kernels where mnv3c is the runtime.

    Raises UserError for a layer that no cost model knows, and where no device is known for which the network could be
    planned as on the profile's.
    """
    from mnv3c.search.latency import ProfileLatency

    return ProfileLatency(profile).prediction(graph)
