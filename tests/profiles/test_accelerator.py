"""The accelerator's physics: cycles against a count group by group, and blocks that a real one ran."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv3c.profiles.block import Block
from mnv3c.profiles.layer_keys import convolution_key
from mnv3c.profiles.layer_table import LayerTable
from mnv3c.profiles.metrics import Metrics, Predictions
from mnv3c.profiles.model.crossval import item_ms
from mnv3c.profiles.model.dataset import dataset_of
from mnv3c.profiles.model.fit import fit
from mnv3c.profiles.physics.accelerator import AcceleratorPhysics
from mnv3c.profiles.readers import blocks_csv

from .shared_data import FOLDER, needs_shared_data

# 1000 cycles a second: a cycle is a millisecond.
SLOW = AcceleratorPhysics(clock_hz=1e3)
EXTENTS = st.integers(1, 40)


def terms(physics, *keys):
    return dict(zip(physics.term_names, physics.terms(LayerTable.of_items([keys])).sum(0), strict=True))


def block(h_in=28, c_in=48, c_expand=192, se=False, activation="relu"):
    return Block(h_in, c_in, c_in, c_expand, 3, 1, se=se, activation=activation, skip=True).layer_keys()


def groups(count, size):
    return len(range(0, count, size))


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 20), EXTENTS, EXTENTS, st.sampled_from([1, 3]))
def test_products_take_a_cycle_for_each_group_of_pixels_and_channels(size, c_in, c_out, kernel):
    found = terms(SLOW, convolution_key(size, c_in, c_out, kernel=kernel))
    expected = groups(size * size, 8) * groups(c_in, 12) * groups(c_out, 12) * kernel * kernel
    assert found["products"] == pytest.approx(expected)
    assert found["depthwise"] == 0


@settings(deadline=None, derandomize=True)
@given(st.integers(2, 20), st.integers(2, 40), st.sampled_from([3, 5, 7]))
def test_depthwise_convolutions_are_half_as_wide_and_take_a_cycle_a_tap(size, channels, kernel):
    found = terms(SLOW, convolution_key(size, channels, channels, kernel=kernel, groups=channels))
    assert found["depthwise"] == pytest.approx(groups(size * size, 8) * groups(channels, 6) * kernel * kernel)
    assert found["products"] == 0


def test_bytes_are_those_of_the_layers():
    found = terms(AcceleratorPhysics(), *block(se=True, activation="hswish"))
    mid, wide, narrow = 48, 28 * 28 * 192, 28 * 28 * 48
    assert found["weights"] == pytest.approx((2 * 48 * 192 + 9 * 192 + 2 * mid * 192) / 1e6)
    assert found["hswish"] == pytest.approx(2 * wide / 1e6)
    # Expand, depthwise, pool, both products of the gate, gate, project and the residual.
    maps = (narrow + wide) + 2 * wide + (wide + 192) + 2 * (192 + mid) + 2 * wide + (wide + 2 * narrow)
    assert found["maps"] == pytest.approx(maps / 1e6)


@pytest.mark.parametrize(
    ("h_in", "c_in", "c_expand", "spills"),
    [
        (28, 48, 192, False),
        (28, 48, 288, True),
        (14, 136, 408, False),
        (14, 136, 544, True),
        (14, 96, 576, False),
        (7, 192, 768, False),
        (7, 192, 1152, True),
        (56, 32, 192, False),
    ],
)
def test_the_cliffs_lie_where_they_were_measured(h_in, c_in, c_expand, spills):
    spilled = terms(AcceleratorPhysics(), *block(h_in, c_in, c_expand))["spill"]
    assert spilled == pytest.approx(h_in * h_in * c_expand / 1e6 if spills else 0)


def test_units_are_sorted_and_placed_by_their_shape():
    physics = AcceleratorPhysics()
    wide = convolution_key(7, 160, 960)
    deep = convolution_key(14, 120, 120, kernel=5, stride=2, groups=120)
    table = LayerTable.of_items([block(), [wide], [deep], block(se=True)[2:3]])
    assert [physics.families[family] if family >= 0 else "" for family in physics.family(table)] == [
        *("block", "products", "depthwise"),
        "",
    ]
    places = np.exp(physics.descriptors(table))
    assert places[0] == pytest.approx([28, 48, 192, 48, 3, 1])
    assert places[1] == pytest.approx([7, 160, 960, 960, 1, 1])
    assert places[2] == pytest.approx([14, 120, 120, 120, 5, 2])


@needs_shared_data
def test_blocks_of_a_real_accelerator_are_predicted_from_the_others():
    data = dataset_of(blocks_csv.read(FOLDER / "blocks_ultra96_dpu_int8.csv"), "block")
    predicted = np.zeros(len(data))
    for row in range(len(data)):
        left_out = np.arange(len(data)) == row
        predicted[left_out] = item_ms(fit(data.take(~left_out), AcceleratorPhysics()), data.take(left_out))
    metrics = Metrics.of(Predictions(data.latency_ms, predicted))
    assert metrics.n == 30
    assert metrics.mape < 5
    assert metrics.within_10 > 90
