"""Seeded parameters for a network that has none: for tests, timings and emulation."""

import math
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Array, Graph, Node
from mnv3c.graph.moments import Moments, output_moments
from mnv3c.graph.ops import ConvTranspose2d

MAX_SEED = 2**63 - 1
BIAS_STD = 0.05


def initialise(graph: Graph, seed: int) -> Graph:
    """The graph with a value for every parameter.

    Each parameter comes from its own PCG64 stream, seeded by (seed, CRC-32 of its name), so that neither order nor
    other nodes' draws matter. Kernels are He-normal (std = sqrt(2 / fan-in)), biases small, batch-norm scales near 1.
    The running statistics of a batch norm are near those its input should have when the network sees values uniform
    in -1..1 (`output_moments`), so activations neither vanish nor explode.

    Raises UserError for a seed outside 0..2**63 - 1.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise UserError(f"seed must be an integer from 0 to {MAX_SEED}, not {seed!r}")
    weights: dict[str, Array] = {}
    moments: dict[str, Moments] = {}
    for node in graph.nodes:
        types = graph.input_types(node)
        inputs = [moments[name] for name in node.inputs]
        values = {
            role: _value(_Source.of(seed, node.weight_name(role), shape), node, role, inputs[0])
            for role, shape in node.op.weights(types).items()
        }
        weights |= {node.weight_name(role): value for role, value in values.items()}
        out = graph.type_of(node.name)
        moments[node.name] = output_moments(node.op, inputs, types, values) if inputs else Moments.of_input(out)
    return graph.rebuilt(graph.nodes, weights=weights)


@dataclass(frozen=True)
class _Source:
    """The stream of one parameter."""

    generator: np.random.Generator
    shape: tuple[int, ...]

    @classmethod
    def of(cls, seed: int, name: str, shape: tuple[int, ...]) -> "_Source":
        return cls(np.random.Generator(np.random.PCG64([seed, crc32(name.encode())])), shape)

    def normal(self, std: float) -> Array:
        values = self.generator.standard_normal(self.shape, dtype=np.float32)
        values *= np.float32(std)
        return values

    def uniform(self, low: float, high: float) -> Array:
        return self.generator.random(self.shape, dtype=np.float32) * np.float32(high - low) + np.float32(low)


def _value(source: _Source, node: Node, role: str, x: Moments) -> Array:
    match role:
        case "weight":
            return source.normal(math.sqrt(2.0 / _fan_in(node, source.shape)))
        case "variance":
            return (x.variance * source.uniform(0.8, 1.25)).astype(np.float32)
        case "mean":
            return (x.mean + source.normal(0.1) * np.sqrt(x.variance)).astype(np.float32)
        case "gamma" | "scale":
            return source.uniform(0.8, 1.2)
        case _:
            return source.normal(BIAS_STD)


def _fan_in(node: Node, shape: tuple[int, ...]) -> float:
    taps = math.prod(shape[:-1])
    return max(1.0, taps / math.prod(node.op.stride)) if isinstance(node.op, ConvTranspose2d) else taps
