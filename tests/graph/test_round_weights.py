"""Rounding the weights of one-row products to half precision."""

import re
from dataclasses import replace

import numpy as np
import pytest
from tests.graph.samples import chain

from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Graph
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import Conv2d, Dense, Flatten, GlobalAveragePool
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.passes.round_weights import RoundWeights, one_row_products

SAMPLE = chain(
    (1, 6, 5, 3),
    ("stem", Conv2d(8, (3, 3), bias=True)),
    ("pointwise", Conv2d(8, bias=True)),
    ("pool", GlobalAveragePool()),
    ("squeeze", Conv2d(4, bias=True)),
    ("window", Conv2d(4, (3, 3), padding=(1, 1, 1, 1))),
    ("grouped", Conv2d(4, groups=2)),
    ("flat", Flatten()),
    ("fc", Dense(5, bias=True)),
)


def with_fc(*values: float) -> Graph:
    graph = chain((1, len(values)), ("fc", Dense(1, bias=True)))
    weight = np.array(values, np.float32).reshape(len(values), 1)
    return replace(graph, weights={**graph.weights, "fc.weight": weight})


def rounded(graph: Graph) -> Graph:
    return run_passes(graph, [RoundWeights()])


def test_products_of_one_row() -> None:
    assert [node.name for node in one_row_products(SAMPLE)] == ["squeeze", "fc"]
    assert [node.name for node in one_row_products(chain((2, 3), ("fc", Dense(5))))] == []


def test_only_weights_of_one_row_products_are_rounded() -> None:
    before, graph = dict(SAMPLE.weights), rounded(SAMPLE)
    assert graph == SAMPLE
    changed = {key for key, value in graph.weights.items() if not np.array_equal(value, before[key])}
    assert changed == {"squeeze.weight", "fc.weight"}
    for key in changed:
        assert graph.weights[key].dtype == np.float32
        np.testing.assert_array_equal(graph.weights[key], before[key].astype(np.float16).astype(np.float32))
    assert all(np.array_equal(SAMPLE.weights[key], value) for key, value in before.items())


def test_rounding_twice_changes_nothing() -> None:
    once = rounded(SAMPLE)
    twice = rounded(once)
    assert all(np.array_equal(once.weights[key], twice.weights[key]) for key in once.weights)


@pytest.mark.parametrize(
    ("value", "half"),
    [
        (1 + 2.0**-11, 1.0),  # a tie, to the even one below
        (1 + 3 * 2.0**-11, 1 + 2.0**-9),  # a tie, to the even one above
        (-1 - 2.0**-11 - 2.0**-20, -1 - 2.0**-10),
        (65503.0, 65504.0),
        (-65504.0, -65504.0),
        (2.0**-24, 2.0**-24),  # the least subnormal half
        (1023.4 * 2.0**-24, 1023 * 2.0**-24),
        (2.0**-25, 0.0),
        (1.5 * 2.0**-25, 2.0**-24),
    ],
)
def test_the_nearest_half_ties_to_even(value: float, half: float) -> None:
    assert rounded(with_fc(value, 0.0)).weights["fc.weight"].ravel().tolist() == [half, 0.0]


@pytest.mark.parametrize("value", [65505.0, -65520.0, 2.0**40])
def test_a_weight_beyond_the_largest_half_is_refused(value: float) -> None:
    message = f"node 'fc': weight {value:.9g} does not fit fp16, which ends at 65504"
    with pytest.raises(UserError, match=re.escape(message)):
        rounded(with_fc(1.0, value))


def test_large_values_elsewhere_stay() -> None:
    graph = replace(SAMPLE, weights={**SAMPLE.weights, "fc.bias": np.full(5, 1e6, np.float32)})
    assert rounded(graph).weights["fc.bias"].tolist() == [1e6] * 5


def test_a_graph_without_weights_stays() -> None:
    graph = replace(SAMPLE, weights={})
    assert rounded(graph) == graph and not rounded(graph).weights


def test_mobilenet_v3() -> None:
    graph = run_passes(mobilenet_v3("small", resolution=96, seed=None), default_passes())
    names = [node.name for node in one_row_products(graph)]
    # Nine blocks with squeeze-excite, each with two products.
    assert len(names) == 2 * 9 + 2 and names[-2:] == ["head", "classifier"]
