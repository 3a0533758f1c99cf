"""Layers taken apart: the steps put together are the layer."""

from collections.abc import Sequence

import numpy as np
import pytest
from tests.graph.samples import ACTIVATIONS, chain, random_graph, random_input

from mnv3c.graph.activation import HSWISH, RELU, RELU6, Activation
from mnv3c.graph.calibration.stages import active_bounds, stage_values, stages
from mnv3c.graph.errors import UserError
from mnv3c.graph.ir import Node
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import (
    Activate,
    Add,
    ChannelAffine,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Identity,
    Input,
    Multiply,
    Op,
    Pool2d,
    Resize,
    ScalarAffine,
)
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.reference import apply_activation, run_all

NO_STEPS = (Input, ConvTranspose2d, ChannelAffine, ScalarAffine, Concat, Resize, Identity)


def kinds(op: Op) -> list[str]:
    return [stage.kind for stage in stages(Node("n", op, ("x",)))]


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (Conv2d(4), ["product"]),
        (Conv2d(4, activation=RELU), ["product"]),
        (Conv2d(4, activation=HSWISH), ["product", "table"]),
        (Conv2d(4, residual="before_activation"), ["product", "sum"]),
        (Conv2d(4, activation=RELU6, residual="before_activation"), ["product", "sum"]),
        (Conv2d(4, activation=HSWISH, residual="before_activation"), ["product", "sum", "table"]),
        (Conv2d(4, activation=RELU6, residual="after_activation"), ["product", "sum"]),
        (Conv2d(4, activation=HSWISH, residual="after_activation"), ["product", "table", "sum"]),
        (Dense(4, activation=HSWISH), ["product", "table"]),
        (Add(HSWISH), ["sum", "table"]),
        (Multiply(RELU), ["element_product"]),
        (Activate(RELU), ["table"]),
    ],
)
def test_what_a_layer_falls_into(op: Op, expected: Sequence[str]) -> None:
    assert kinds(op) == expected


def test_a_clamp_goes_to_the_step_that_it_follows() -> None:
    before = stages(Node("n", Conv2d(4, activation=RELU6, residual="before_activation")))
    after = stages(Node("n", Conv2d(4, activation=RELU6, residual="after_activation")))
    assert [stage.activation for stage in before] == [None, RELU6]
    assert [stage.activation for stage in after] == [RELU6, None]


@pytest.mark.parametrize("seed", range(12))
def test_the_last_step_is_the_layer_to_the_bit(seed: int) -> None:
    graph = run_passes(random_graph(seed), default_passes())
    values = run_all(graph, random_input(graph))
    taken_apart = 0
    for node in graph.nodes:
        if isinstance(node.op, NO_STEPS):
            continue
        inputs = [values[name] for name in node.inputs]
        *_, (_, last) = stage_values(node, inputs, graph.weights_of(node))
        np.testing.assert_array_equal(last, values[node.name])
        taken_apart += 1
    assert taken_apart >= 4


@pytest.mark.parametrize("variant", ["large", "small"])
@pytest.mark.parametrize("minimalistic", [False, True])
def test_every_layer_of_the_networks_has_steps(variant: str, minimalistic: bool) -> None:
    assert variant in ("large", "small")
    graph = mobilenet_v3("large" if variant == "large" else "small", minimalistic=minimalistic, seed=None)
    fused = run_passes(graph, default_passes())
    assert all(stages(node) for node in fused.nodes if not isinstance(node.op, Input))


@pytest.mark.parametrize(
    "activation", [*ACTIVATIONS, Activation("hsigmoid", slope=0.2), Activation("hsigmoid", slope=0.0)]
)
def test_outside_of_its_active_bounds_an_activation_is_constant(activation: Activation) -> None:
    for bound, outwards in zip(active_bounds(activation), (-1.0, 1.0), strict=True):
        if np.isfinite(bound):
            x = np.array([bound + outwards * distance for distance in (0.0, 0.1, 2.0, 50.0)], np.float32)
            assert np.ptp(apply_activation(activation, x)) < 1e-6
            inside = np.array([bound - outwards / 8], np.float32)
            assert abs(apply_activation(activation, inside) - apply_activation(activation, x[:1])) > 1e-3


@pytest.mark.parametrize(
    "op",
    [
        ConvTranspose2d(4, (2, 2), (2, 2)),
        Resize((4, 4)),
        Concat(),
        ChannelAffine(),
        ScalarAffine(2.0),
        Identity(),
        Pool2d("average", (3, 3), (1, 1), (1, 1, 1, 1), count_padding=True),
    ],
)
def test_an_op_without_integers_is_refused_by_name(op: Op) -> None:
    with pytest.raises(UserError, match=rf"^node 'odd' \({op.kind}\)"):
        stages(Node("odd", op, ("x",)))


def test_an_average_that_has_no_padding_to_count_is_a_window() -> None:
    assert kinds(Pool2d("average", (2, 2), (2, 2), count_padding=True)) == ["window"]
    assert chain((1, 4, 4, 2), ("p", Pool2d("average", (2, 2), (2, 2), count_padding=True))).outputs == ("p",)
