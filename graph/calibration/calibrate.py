"""Runs a fused network on samples and chooses a range for every tensor of its integer form."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from mnv3c.graph.calibration.observers import Observer
from mnv3c.graph.calibration.ranges import CalibrationMethod, Range, chosen_range
from mnv3c.graph.calibration.samples import checked_sample
from mnv3c.graph.calibration.stages import Stage, active_bounds, stage_values, stages
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Array, Graph
from mnv3c.graph.ops import Input

# A tensor of the integer network: its node and the position of the step that makes it; an Input's is 0.
TensorKey = tuple[str, int]


def tensor_ranges(
    graph: Graph, samples: Iterable[Array], method: CalibrationMethod, percentile: float
) -> Mapping[TensorKey, Range]:
    """The range of every tensor that a fused graph's integer form has, inner ones included.

    `samples` are inputs in the IR's order, read once and one at a time; of each tensor only a histogram is kept, whose
    size does not depend on the samples. Raises UserError where there is no sample, one does not fit, a tensor takes
    values that are not finite, or a node has no integer form; GraphError where a weight has no value.
    """
    observers: dict[TensorKey, Observer] = {}
    for index, sample in enumerate(samples):
        # What overflows is refused below, by name.
        with np.errstate(over="ignore", invalid="ignore"):
            for key, values in _tensors(graph, checked_sample(graph, index, sample)):
                if key not in observers:
                    observers[key] = Observer(histogram=method != "minmax")
                try:
                    observers[key].update(values)
                except ValueError as error:
                    raise UserError(f"node '{key[0]}': on calibration sample {index} its tensor {error}") from None
    if not observers:
        raise UserError("calibration needs at least one sample")
    return {
        key: chosen_range(observer.distribution(), method, percentile) for key, observer in sorted(observers.items())
    }


def _tensors(graph: Graph, x: Array) -> Iterator[tuple[TensorKey, Array]]:
    values: dict[str, Array] = {}
    for node in graph.nodes:
        if isinstance(node.op, Input):
            values[node.name] = x
            yield (node.name, 0), x
            continue
        inputs = [values[name] for name in node.inputs]
        steps = stages(node)
        for index, (_, value) in enumerate(stage_values(node, inputs, graph.weights_of(node))):
            values[node.name] = value
            yield (node.name, index), _seen_by(steps[index + 1 :], value)


def _seen_by(following: tuple[Stage, ...], values: Array) -> Array:
    """The values as far as the table that follows, if one does, tells them apart."""
    if not following or following[0].kind != "table" or following[0].activation is None:
        return values
    low, high = active_bounds(following[0].activation)
    return np.clip(values, np.float32(low), np.float32(high))
