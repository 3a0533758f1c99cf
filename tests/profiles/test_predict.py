"""Predictions of networks by a made-up profile of blocks: what adds up, what is a block, what is flagged."""

from dataclasses import replace

import numpy as np
import pytest
from tests.profiles.model.made_up import records
from tests.profiles.networks import fused, networks

from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.ops import Flatten
from mnv3c.graph.tensor import TensorType
from mnv3c.profiles.block import Block
from mnv3c.profiles.calibrate import Request, calibrate
from mnv3c.profiles.layer_keys import convolution_key
from mnv3c.profiles.layer_table import LayerTable
from mnv3c.profiles.model.dataset import network_table
from mnv3c.profiles.predict import predict_network, predict_units, sum_interval
from mnv3c.profiles.profile import NetworkOverhead, Profile


@pytest.fixture(scope="module")
def profile() -> Profile:
    found = calibrate(records(120, noise=0.02), Request("made-up"))
    return replace(found, overhead=NetworkOverhead(network_ms=0.7, unit_ms=0.03))


def block(h_in: int = 28, c_in: int = 40, c_out: int = 80, expand: int = 120, stride: int = 1) -> Block:
    return Block(h_in, c_in, c_out, expand, 3, stride, se=False, activation="relu", skip=False)


def depthwise(size: int, channels: int) -> LayerKey:
    return convolution_key(size, channels, channels, kernel=3, groups=channels)


@pytest.mark.parametrize("name", ["large", "small", "minimalistic", "segmentation", "ocr"])
def test_layers_add_up_to_units_and_units_to_the_network(profile: Profile, name: str) -> None:
    names, keys = fused(networks()[name])
    found = predict_network(profile, names, keys)
    table = network_table(keys, "block")
    units = predict_units(profile, table)
    layer_ms = np.array([layer.latency_ms for layer in found.layers])
    assert [layer.name for layer in found.layers] == list(names)
    assert (layer_ms > 0).all()
    np.testing.assert_allclose(np.bincount(table.owner, layer_ms), units.latency_ms, rtol=1e-12)
    assert found.overhead_ms == pytest.approx(0.7 + 0.03 * len(units.latency_ms))
    assert found.total_ms == pytest.approx(units.latency_ms.sum() + found.overhead_ms)
    for layer, key in zip(found.layers, keys, strict=True):
        assert sum(ms for _, ms in layer.terms_ms) == pytest.approx(layer.latency_ms)
        assert layer.macs == key.macs
        assert 0 < layer.low_ms < layer.latency_ms < layer.high_ms
    assert 0 <= found.low_ms < found.total_ms < found.high_ms


def test_the_bound_is_the_resource_that_takes_most(profile: Profile) -> None:
    names, keys = fused(networks()["small"])
    physics = profile.model.physics
    bounds = dict(zip(physics.term_names, physics.bounds, strict=True))
    for layer in predict_network(profile, names, keys).layers:
        taken = dict.fromkeys(("compute", "bandwidth", "overhead"), 0.0)
        for name, ms in layer.terms_ms:
            taken[bounds[name]] += ms
        assert taken[layer.bound] == max(taken.values())


def test_layers_without_terms_share_what_their_unit_costs(profile: Profile) -> None:
    model = replace(profile.model, coefficients=np.zeros_like(profile.model.coefficients))
    given = replace(profile, model=model)
    keys = block().layer_keys()
    (unit_ms,) = predict_units(given, network_table(keys, "block")).latency_ms
    layers = predict_network(given, ["expand", "depthwise", "project"], keys).layers
    assert [layer.latency_ms for layer in layers] == pytest.approx([unit_ms / 3] * 3)
    assert {layer.bound for layer in layers} == {"overhead"}
    nothing = predict_network(replace(given, model=replace(model, unit_coefficient=0.0)), ["a", "b", "c"], keys)
    assert [(each.low_ms, each.latency_ms, each.high_ms) for each in nothing.layers] == [(0, 0, 0)] * 3


def test_every_block_of_a_network_is_a_unit() -> None:
    for name, blocks in (("large", 15), ("small", 11), ("minimalistic", 15)):
        names, keys = fused(networks()[name])
        owner = network_table(keys, "block").owner.tolist()
        expected = [each.split(".")[0] if each.startswith("block") else each for each in names]
        of_unit: dict[int, set[str]] = {}
        for unit, part in zip(owner, expected, strict=True):
            of_unit.setdefault(unit, set()).add(part)
        assert [parts for parts in of_unit.values() if len(parts) > 1] == []
        assert len(of_unit) == len(set(expected))
        assert sum(each.startswith("block") for each in set(expected)) == blocks


def test_a_projection_is_no_expansion_of_the_next_block() -> None:
    first, second, without = block(), block(c_in=80, c_out=80), block(c_in=80, c_out=24, expand=80)
    keys = [*first.layer_keys(), *second.layer_keys(), *without.layer_keys()]
    assert network_table(keys, "block").owner.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    # A branch: the product before the depthwise convolution is not what that reads.
    stray = [convolution_key(28, 40, 64), *without.layer_keys()]
    assert network_table(stray, "block").owner.tolist() == [0, 1, 1]


def test_what_is_no_block_is_a_unit_by_itself() -> None:
    keys = [depthwise(28, 40), convolution_key(28, 40, 24, kernel=3), depthwise(28, 24), convolution_key(28, 24, 48)]
    assert network_table(keys, "block").owner.tolist() == [0, 1, 2, 2]
    assert network_table(keys, "layer").owner.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
def test_half_widths_add_up_between_plainly_and_as_root_of_squares(profile: Profile, correlation: float) -> None:
    given = replace(profile, intervals=replace(profile.intervals, correlation=correlation))
    items = [block(h_in=14 * factor).layer_keys() for factor in (1, 2, 3, 4)]
    units = predict_units(given, LayerTable.of_items(items))
    owner = np.array([0, 0, 0, 1])
    for widths, found in zip(
        (units.latency_ms - units.low_ms, units.high_ms - units.latency_ms),
        sum_interval(given, units, owner, 2),
        strict=True,
    ):
        plain, root = widths[:3].sum(), np.sqrt(np.square(widths[:3]).sum())
        assert found[0] == pytest.approx(np.sqrt(correlation * plain**2 + (1 - correlation) * root**2))
        assert root * (1 - 1e-12) <= found[0] <= plain * (1 + 1e-12)
        assert found[1] == pytest.approx(widths[3])


def test_the_interval_of_a_part_is_wider_than_that_of_the_whole(profile: Profile) -> None:
    # The second is far outside what the profile has seen, so that the whole's interval is wide already.
    wide = replace(profile, intervals=replace(profile.intervals, ratios={"all": (-0.9, 0.6)}))
    for given in (profile, wide):
        for size in (28, 1000):
            keys = block(h_in=size).layer_keys()
            units = predict_units(given, network_table(keys, "block"))
            layers = predict_network(given, ["expand", "depthwise", "project"], keys).layers
            for layer in layers:
                for end, of_unit in ((layer.low_ms, units.low_ms), (layer.high_ms, units.high_ms)):
                    whole = abs(np.log(of_unit[0] / units.latency_ms[0]))
                    part = abs(np.log(end / layer.latency_ms))
                    assert part >= whole * (1 - 1e-9)
                    assert part <= max(whole, np.log(3)) * (1 + 1e-9)
    # A unit of one layer is no part of anything.
    lone = predict_network(profile, ["stem"], [convolution_key(32, 3, 16, kernel=3)])
    (layer,) = lone.layers
    assert (layer.low_ms, layer.high_ms) == pytest.approx((lone.low_ms - 0.73, lone.high_ms - 0.73))


def test_what_lies_outside_the_range_is_flagged_and_three_times_as_uncertain(profile: Profile) -> None:
    seen = profile.ranges["block"]
    table = LayerTable.of_items(
        [block().layer_keys(), block(h_in=224, c_out=8).layer_keys(), block(stride=3).layer_keys(), [depthwise(28, 40)]]
    )
    units = predict_units(profile, table)
    assert units.families == ("block", "block", "block", "depthwise")
    assert units.outside == (
        (),
        (f"height 224 above {seen.high[0]:g}", f"channels_out 8 below {seen.low[3]:g}"),
        ("stride 3 above 2",),
        ("no depthwise seen",),
    )
    widths = np.log(units.high_ms / units.latency_ms)
    assert widths[1:] == pytest.approx([3 * widths[0]] * 3)
    layers = predict_network(profile, ["expand", "depthwise", "project"], block(stride=3).layer_keys()).layers
    assert {layer.outside for layer in layers} == {("stride 3 above 2",)}


def test_a_layer_that_no_model_knows(profile: Profile) -> None:
    with pytest.raises(UserError, match="no cost model knows a layer of kind 'flatten'"):
        predict_network(profile, ["flat"], [LayerKey(Flatten(), (TensorType((1, 1, 1, 8)),))])
