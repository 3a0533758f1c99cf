"""The networks that can be built by name."""

from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3

__all__ = ["mobilenet_v3"]
