"""Ranges of a network's tensors from samples."""

import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from tests.graph.samples import chain, random_input

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU6
from mnv3c.graph.calibration.calibrate import tensor_ranges
from mnv3c.graph.calibration.ranges import CALIBRATION_METHODS, CalibrationMethod
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Node
from mnv3c.graph.ops import Conv2d, Dense, Flatten, GlobalAveragePool
from mnv3c.graph.reference import evaluate, run_all

Array = npt.NDArray[np.float32]

GRAPH = chain(
    (1, 6, 5, 3),
    ("stem", Conv2d(8, (3, 3), bias=True, activation=HSWISH)),
    ("six", Conv2d(8, activation=RELU6)),
    Node("sum", Conv2d(8, residual="before_activation"), ("six", "stem")),
    ("pool", GlobalAveragePool()),
    ("gate", Conv2d(4, activation=HSIGMOID)),
    ("flat", Flatten()),
    ("fc", Dense(5, bias=True)),
)
SAMPLES = [random_input(GRAPH, seed) for seed in range(3)]


def test_every_step_has_a_range() -> None:
    ranges = tensor_ranges(GRAPH, SAMPLES, "minmax", 99.0)
    steps = {"x": 1, "stem": 2, "six": 1, "sum": 2, "pool": 1, "gate": 2, "flat": 1, "fc": 1}
    assert set(ranges) == {(name, index) for name, count in steps.items() for index in range(count)}


def test_minmax_is_the_extremes_over_all_samples() -> None:
    ranges = tensor_ranges(GRAPH, SAMPLES, "minmax", 99.0)
    values = [run_all(GRAPH, x) for x in SAMPLES]
    for name, last in (("x", 0), ("stem", 1), ("six", 0), ("sum", 1), ("fc", 0)):
        every = np.concatenate([found[name].ravel() for found in values])
        assert ranges[name, last].low == min(float(every.min()), 0.0)
        assert ranges[name, last].high == max(float(every.max()), 0.0)
    products = [evaluate(Conv2d(8), [found["six"]], GRAPH.weights_of(GRAPH["sum"])) for found in values]
    assert ranges["sum", 0].high == max(float(product.max()) for product in products)


def test_what_a_table_cannot_tell_apart_gets_no_integers() -> None:
    ranges = tensor_ranges(GRAPH, [10.0 * x for x in SAMPLES], "minmax", 99.0)
    assert ranges["stem", 0].low == -3.0 and ranges["stem", 0].high > 3.0
    assert (ranges["gate", 0].low, ranges["gate", 0].high) == (-3.0, 3.0)
    assert ranges["six", 0].high == 6.0


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_the_order_of_samples_does_not_matter(method: CalibrationMethod) -> None:
    forward, backward = (tensor_ranges(GRAPH, order, method, 99.0) for order in (SAMPLES, SAMPLES[::-1]))
    assert list(forward.items()) == list(backward.items())


def test_samples_are_read_once_and_let_go() -> None:
    alive: list[weakref.ref[Array]] = []

    def samples() -> Iterator[Array]:
        for seed in range(5):
            assert sum(reference() is not None for reference in alive) <= 1
            x = random_input(GRAPH, seed)
            alive.append(weakref.ref(x))
            yield x
            del x

    assert tensor_ranges(GRAPH, samples(), "mse", 99.0)
    assert len(alive) == 5


def test_no_samples() -> None:
    with pytest.raises(UserError, match="at least one sample"):
        tensor_ranges(GRAPH, [], "minmax", 99.0)


def test_a_tensor_that_overflows_is_named() -> None:
    huge = {**GRAPH.weights, "six.weight": np.full_like(GRAPH.weights["six.weight"], 3e38)}
    graph = replace(GRAPH, nodes=(*GRAPH.nodes[:2], Node("six", Conv2d(8), ("stem",))), outputs=("six",), weights=huge)
    with pytest.raises(
        UserError, match="node 'six': on calibration sample 0 its tensor holds values that are not fini"
    ):
        tensor_ranges(graph, SAMPLES, "minmax", 99.0)
