"""Whole networks as integers."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.graph.samples import ACTIVATIONS, chain, random_input

from mnv3c.graph.activation import HSIGMOID, HSWISH, RELU, RELU6, SIGMOID, Activation
from mnv3c.graph.calibration.ranges import CALIBRATION_METHODS, CalibrationMethod
from mnv3c.graph.calibration.samples import seeded_samples
from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.affine import Affine
from mnv3c.graph.integer.network import IntegerNetwork
from mnv3c.graph.integer.ops import Clamp, ElementProduct, Product, Sum, Table, input_of, output_of
from mnv3c.graph.integer.reference import run as run_integers
from mnv3c.graph.ir import Graph, Node
from mnv3c.graph.networks.mobilenet_v3 import mobilenet_v3
from mnv3c.graph.ops import (
    Activate,
    Add,
    BatchNorm,
    ChannelAffine,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GlobalAveragePool,
    Multiply,
    Op,
    Pool2d,
    Resize,
    Softmax,
)
from mnv3c.graph.passes.default import default_passes
from mnv3c.graph.passes.pipeline import run_passes
from mnv3c.graph.passes.quantize import Quantize
from mnv3c.graph.reference import run

Array = npt.NDArray[np.float32]

STEM = ("stem", Conv2d(8, (3, 3), padding=(1, 1, 1, 1), bias=True))
SMALL = mobilenet_v3("small", resolution=64, classes=10)


def quantized(graph: Graph, method: CalibrationMethod = "minmax", count: int = 3) -> IntegerNetwork:
    return Quantize(method).run(graph, [random_input(graph, seed) for seed in range(count)])


def after_stem(*steps: tuple[str, Op] | Node) -> Graph:
    return chain((1, 6, 5, 3), STEM, *steps)


def signal_to_noise_db(network: IntegerNetwork, x: Array) -> float:
    """Of the output's integers against the float32 network."""
    (name,) = network.graph.outputs
    real = run(network.graph, x)[name].astype(np.float64)
    (given,) = network.inputs.values()
    integers = network.affine(name).dequantize(run_integers(network, given.quantize(x))[name])
    return float(10.0 * np.log10(np.square(real).sum() / np.square(real - integers).sum()))


def equal(a: Any, b: Any) -> bool:
    """Arrays, and dataclasses with arrays in them, by value."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if is_dataclass(a):
        return type(a) is type(b) and all(equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def same_integers(a: IntegerNetwork, b: IntegerNetwork) -> bool:
    return dict(a.inputs) == dict(b.inputs) and equal(tuple(a.layers.values()), tuple(b.layers.values()))


def consistent(network: IntegerNetwork) -> Iterator[bool]:
    """Of every step, whether it reads the integers that were written."""
    for layer in network.layers.values():
        given = [network.affine(name) for name in layer.node.inputs]
        for step in layer.steps:
            yield input_of(step) == given[0]
            if isinstance(step, Sum | ElementProduct):
                yield step.other == network.affine(layer.node.inputs[1])
            given[0] = output_of(step)


@pytest.mark.parametrize("variant", ["large", "small"])
def test_every_step_reads_what_was_written(variant: Any) -> None:
    graph = mobilenet_v3(variant, resolution=32, classes=4)
    network = Quantize().run(graph, seeded_samples(graph, 1, 0))
    checks = list(consistent(network))
    assert all(checks) and len(checks) > 80
    assert [node.name for node in network.graph.nodes] == ["input", *network.layers]


@pytest.mark.parametrize(
    ("steps", "least_db"),
    [
        ([], 35.0),
        ([("d", Conv2d(8, (3, 3), groups=8, stride=(2, 2), bias=True, activation=RELU))], 32.0),
        ([("g", Conv2d(4, groups=2, activation=HSWISH))], 32.0),
        ([("a", Activate(HSWISH))], 32.0),
        ([("p", GlobalAveragePool()), ("a", Activate(HSIGMOID)), ("b", Activate(RELU6))], 30.0),
        ([("c", Conv2d(8, activation=SIGMOID))], 35.0),
        ([("c", Conv2d(8)), Node("s", Add(HSWISH), ("c", "stem"))], 30.0),
        ([("c", Conv2d(8, activation=HSWISH)), Node("s", Add(), ("c", "stem"))], 30.0),
        ([Node("twice", Add(), ("stem", "stem"))], 32.0),
        ([Node("square", Multiply(RELU), ("stem", "stem"))], 30.0),
        (
            [("p", GlobalAveragePool()), ("e", Conv2d(8, activation=HSIGMOID)), Node("m", Multiply(), ("stem", "e"))],
            30.0,
        ),
        ([("p", Pool2d("max", (2, 2), (2, 2)))], 35.0),
        ([("p", Pool2d("average", (3, 3), (1, 1), (1, 1, 1, 1)))], 30.0),
        ([("p", GlobalAveragePool()), ("f", Flatten()), ("fc", Dense(5, bias=True)), ("s", Softmax())], 30.0),
    ],
)
@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_the_integers_stand_for_the_real_network(steps: Any, least_db: float, method: CalibrationMethod) -> None:
    graph = after_stem(*steps)
    network = quantized(graph, method)
    assert all(consistent(network))
    # Percentiles of tensors this small cut real values, one at either end.
    assert signal_to_noise_db(network, random_input(graph, 0)) >= least_db - (8.0 if method == "percentile" else 0.0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_is_a_clamp_or_a_table(activation: Activation) -> None:
    graph = after_stem(("c", Conv2d(4, activation=activation)))
    steps = quantized(graph).layers["c"].steps
    if activation.kind in ("relu", "relu6", "clip"):
        assert [type(step) for step in steps] == [Product]
    else:
        product, table = steps
        assert isinstance(product, Product) and product.clamp == Clamp()
        assert isinstance(table, Table) and table.activation == activation and table.input == product.output


def test_relu6_ends_at_6() -> None:
    graph = after_stem(("c", Conv2d(4, activation=RELU6)))
    bright = [20.0 * random_input(graph, seed) for seed in range(2)]
    (step,) = Quantize().run(graph, bright).layers["c"].steps
    assert isinstance(step, Product)
    assert step.output == Affine(float(np.float32(6.0 / 255.0)), -128) and step.clamp == Clamp(-128, 127)


def test_a_clamp_holds_where_the_range_is_wider() -> None:
    graph = after_stem(("c", Conv2d(4, activation=Activation("clip", low=0.5, high=2.0))))
    (step,) = quantized(graph).layers["c"].steps
    assert isinstance(step, Product) and step.output.zero_point == -128
    low, high = step.output.dequantize(np.array([step.clamp.low, step.clamp.high], np.int8))
    assert low == pytest.approx(0.5, abs=step.output.scale / 2) and step.clamp.low > -128
    assert high == pytest.approx(2.0, abs=step.output.scale / 2)


def test_sigmoid_and_softmax_have_the_scale_that_tflite_asks_for() -> None:
    graph = after_stem(
        ("p", GlobalAveragePool()), ("c", Conv2d(3, activation=SIGMOID)), ("f", Flatten()), ("s", Softmax())
    )
    network = quantized(graph)
    assert network.affine("c") == network.affine("f") == network.affine("s") == Affine(1 / 256, -128)


def test_batch_norms_are_folded_first() -> None:
    graph = after_stem(("bn", BatchNorm()), ("act", Activate(HSWISH)), ("c", Conv2d(4)), ("bn2", BatchNorm()))
    samples = [random_input(graph, seed) for seed in range(2)]
    network = Quantize().run(graph, samples)
    assert list(network.layers) == ["stem", "c"]
    assert same_integers(network, Quantize().run(run_passes(graph, default_passes()), samples))


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_the_same_samples_give_the_same_integers(method: CalibrationMethod) -> None:
    first, again = (Quantize(method).run(SMALL, seeded_samples(SMALL, 2, 0)) for _ in range(2))
    assert same_integers(first, again)
    assert not same_integers(first, Quantize(method).run(SMALL, seeded_samples(SMALL, 2, 1)))


def test_the_methods_choose_different_ranges_of_the_same_weights() -> None:
    by_method = [Quantize(method).run(SMALL, seeded_samples(SMALL, 2, 0)) for method in CALIBRATION_METHODS]
    stems = [network.layers["stem"].steps[0] for network in by_method]
    assert len({network.affine("stem") for network in by_method}) == 3
    for stem in stems:
        assert isinstance(stem, Product) and isinstance(stems[0], Product)
        np.testing.assert_array_equal(stem.weight, stems[0].weight)


def test_the_rounding_is_the_networks() -> None:
    graph = after_stem()
    network = Quantize(rounding="float32_rne").run(graph, [random_input(graph)])
    assert network.rounding == "float32_rne"


def test_a_network_that_sees_nothing_but_zeros() -> None:
    graph = after_stem(("c", Conv2d(4, activation=RELU)))
    network = Quantize("mse").run(graph, [np.zeros((1, 6, 5, 3), np.float32)])
    (given,) = network.inputs.values()
    values = run_integers(network, given.quantize(np.zeros((1, 6, 5, 3), np.float32)))["c"]
    expected = run(network.graph, np.zeros((1, 6, 5, 3), np.float32))["c"]
    np.testing.assert_allclose(network.affine("c").dequantize(values), expected, atol=2 * network.affine("c").scale)


@pytest.mark.parametrize(
    ("steps", "name", "kind"),
    [
        ([("up", ConvTranspose2d(4, (2, 2), (2, 2)))], "up", "conv_transpose2d"),
        ([("big", Resize((12, 10)))], "big", "resize"),
        ([Node("both", Concat(), ("stem", "x"))], "both", "concat"),
        ([("p", GlobalAveragePool()), ("scale", ChannelAffine())], "scale", "channel_affine"),
        ([("p", Pool2d("average", (3, 3), (1, 1), (1, 1, 1, 1), True))], "p", "pool2d"),
    ],
)
def test_an_op_without_integers_is_refused_before_anything_runs(steps: Any, name: str, kind: str) -> None:
    def samples() -> Iterator[Array]:
        pytest.fail("a sample was read")
        yield

    with pytest.raises(UserError, match=rf"^node '{name}' \({kind}\)"):
        Quantize().run(after_stem(*steps), samples())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "best"}, "calibration method 'best' is not one of minmax, percentile, mse"),
        ({"rounding": "up"}, "rounding 'up' is not one of gemmlowp_double, single, float32_rne"),
        ({"percentile": 50.0}, "percentile must be above 50 and at most 100, not 50"),
        ({"percentile": 100.1}, "percentile must be above 50 and at most 100, not 100.1"),
        ({"percentile": float("nan")}, "percentile must be above 50 and at most 100, not nan"),
    ],
)
def test_bad_options(options: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        Quantize(**options)


def test_a_graph_without_weights_is_refused() -> None:
    graph = after_stem()
    with pytest.raises(UserError, match=r"node 'stem' has no value for weight 'stem.weight'"):
        Quantize().run(replace(graph, weights={}), [random_input(graph)])
