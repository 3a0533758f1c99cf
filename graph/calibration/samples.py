"""Inputs to calibrate with."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Array, Graph, Preprocessing
from mnv3c.graph.ops import Input, Resize
from mnv3c.graph.reference_windows import resample
from mnv3c.graph.shapes import Pair

_COARSEST_GRID = 2


def seeded_samples(graph: Graph, count: int, seed: int) -> Iterator[Array]:
    """Random inputs of the graph's shape, in the IR's order; each has a stream of its own, seeded by (seed, index).

    For an image: noise as smooth as photographs are, not white (white noise has no low frequencies, and the averages
    of a network over it have hardly any spread). Octaves of bilinear noise, each half as strong as the one that is
    twice as coarse, make the 1/f amplitudes of natural images (Field 1987, J. Opt. Soc. Am. A 4, 2379); the channels
    share most of it, as colours do. Each picture is stretched to 0..1 and normalised by the graph's preprocessing, or
    to -1..1. Inputs that are no image are uniform in -1..1.

    Raises UserError for a count below 1, a negative seed, and a graph with several inputs.
    """
    if count < 1 or seed < 0:
        raise UserError(f"seeded samples need a count of at least 1 and a seed of at least 0, not {count} and {seed}")
    shape = graph.type_of(_only_input(graph)).shape
    preprocessing = graph.preprocessing or Preprocessing()
    for index in range(count):
        yield _sample(np.random.default_rng([seed, index]), shape, preprocessing)


def in_graph_order(graph: Graph, values: Array) -> Array:
    """An input as the graph's caller hands it over (`Input.layout`), in the IR's order: NCHW becomes NHWC."""
    op = graph[_only_input(graph)].op
    if isinstance(op, Input) and op.layout == "NCHW" and values.ndim == 4:
        return np.ascontiguousarray(values.transpose(0, 2, 3, 1))
    return values


def checked_sample(graph: Graph, index: int, values: Array) -> Array:
    """The sample itself. Raises UserError naming its index where shape, dtype or a value does not fit the graph."""
    wanted = graph.type_of(_only_input(graph)).shape
    if values.shape != wanted or values.dtype != np.float32:
        raise UserError(f"calibration sample {index} is {values.dtype} {values.shape}, needs float32 {wanted}")
    if not np.isfinite(values).all():
        raise UserError(f"calibration sample {index} holds values that are not finite")
    return values


def _only_input(graph: Graph) -> str:
    if len(graph.inputs) != 1:
        names = ", ".join(node.name for node in graph.inputs)
        raise UserError(f"graph '{graph.name}' has {len(graph.inputs)} inputs ({names}); calibration takes one")
    return graph.inputs[0].name


def _sample(rng: np.random.Generator, shape: tuple[int, ...], preprocessing: Preprocessing) -> Array:
    if len(shape) != 4:
        return rng.uniform(-1.0, 1.0, shape).astype(np.float32)
    batch, height, width, channels = shape
    grey = _octaves(rng, (batch, height, width, 1))
    picture = grey + 0.5 * _octaves(rng, shape)
    picture -= picture.min()
    picture /= max(float(picture.max()), float(np.finfo(np.float32).tiny))
    mean, std = (_per_channel(triple, channels) for triple in (preprocessing.mean, preprocessing.std))
    return np.asarray((picture - mean) / std, np.float32)


def _octaves(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    batch, height, width, channels = shape
    total = np.zeros(shape)
    cells, strength = _COARSEST_GRID, 1.0
    while cells <= max(height, width):
        grid: Pair = (min(cells, height), min(cells, width))
        noise = rng.standard_normal((batch, *grid, channels)).astype(np.float32)
        total += strength * resample(Resize((height, width)), noise)
        cells, strength = 2 * cells, strength / 2
    return total


def _per_channel(values: tuple[float, float, float], channels: int) -> Array:
    return np.resize(np.asarray(values, np.float32), channels)
