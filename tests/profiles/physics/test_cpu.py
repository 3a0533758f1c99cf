"""A core's terms against counts one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.profiles.physics.layers_of_all_kinds import CHANNELS, SIDES, STRIDES, WINDOWS, convolution, depthwise, same

from mnv3c.graph.layer import LayerKey
from mnv3c.graph.shapes import Pair
from mnv3c.profiles.layer_keys import convolution_key
from mnv3c.profiles.layer_table import LayerTable
from mnv3c.profiles.physics.cpu import CpuPhysics
from mnv3c.profiles.physics.cpu_work import CpuWork

PAIRS_OF_SIDES = st.tuples(SIDES, SIDES)
KERNELS = st.tuples(WINDOWS, WINDOWS)


def work(key: LayerKey) -> CpuWork:
    return CpuWork(LayerTable.of_items([[key]]), 4)


def terms(key: LayerKey) -> dict[str, float]:
    physics = CpuPhysics()
    return dict(zip(physics.term_names, physics.terms(LayerTable.of_items([[key]]))[0].tolist(), strict=True))


def taps_on_the_map(size: Pair, kernel: Pair, stride: Pair) -> tuple[int, int]:
    """Taps of all positions that fall on the input, and all taps, one by one."""
    top, left, _, _ = same(size, kernel, stride)
    inside = total = 0
    for y in range(-(-size[0] // stride[0])):
        for x in range(-(-size[1] // stride[1])):
            for row in range(kernel[0]):
                for column in range(kernel[1]):
                    total += 1
                    at = (y * stride[0] + row - top, x * stride[1] + column - left)
                    inside += 0 <= at[0] < size[0] and 0 <= at[1] < size[1]
    return inside, total


@settings(deadline=None, derandomize=True)
@given(PAIRS_OF_SIDES, KERNELS, STRIDES)
def test_taps_on_padding_are_counted_one_by_one(size: Pair, kernel: Pair, stride: Pair) -> None:
    found = work(depthwise(size, 3, kernel, stride))
    assert (found.inner_taps.item(), found.all_taps.item()) == taps_on_the_map(size, kernel, stride)


def test_padding_that_is_balanced_the_other_way_round_has_as_many_taps() -> None:
    given_keys = [
        LayerKey.parse(f"conv2d 1x56x56x8->1x28x28x8 kernel=5x5 stride=2x2 padding={padding} groups=8")
        for padding in ("1x1x2x2", "2x2x1x1", "2x2x2x2")
    ]
    taps = [work(key).inner_taps.item() for key in given_keys]
    assert taps == [taps_on_the_map((56, 56), (5, 5), (2, 2))[0]] * 3


def test_padding_wider_than_the_window() -> None:
    found = work(LayerKey.parse("conv2d 1x2x2x8->1x9x9x8 kernel=2x2 padding=4x4x4x4 groups=8"))
    # Along each side 9 windows of 2 taps, of which each pixel of the map is under 2.
    assert found.inner_taps.item() == 4 * 4


@settings(deadline=None, derandomize=True)
@given(PAIRS_OF_SIDES, CHANNELS, CHANNELS, KERNELS, STRIDES)
def test_products_fill_whole_tiles(size: Pair, c_in: int, c_out: int, kernel: Pair, stride: Pair) -> None:
    key = convolution(size, c_in, c_out, kernel, stride)
    pixels = key.output.shape[1] * key.output.shape[2]
    tiles = len(range(0, pixels, 6)) * len(range(0, c_out, 8))
    expected = 0 if pixels == 1 else tiles * 6 * 8 * c_in * kernel[0] * kernel[1]
    assert work(key).products.item() == expected


def test_a_projection_by_hand() -> None:
    found = terms(convolution_key(7, 33, 20, residual=True))
    # 49 pixels are 9 tiles of 6, 20 channels are 3 tiles of 8.
    assert found["products"] == pytest.approx(54 * 24 * 33 * 0.05e-6)
    assert found["add"] == pytest.approx(49 * 20 * 4 / 20e6)
    assert found["writes"] == pytest.approx(49 * 20 * 4 / 12e6)
    assert found["weights"] == pytest.approx(33 * 20 * 4 / 20e6)
    assert found["calls"] == pytest.approx(100e-6)
    assert {name for name, ms in found.items() if ms} == {"products", "add", "writes", "weights", "calls"}


def test_a_depthwise_convolution_by_hand() -> None:
    found = terms(depthwise((31, 31), 33, (3, 3), (1, 1)))
    inner = 29 * 29 * 9 + 4 * 29 * 6 + 4 * 4
    assert found["taps"] == pytest.approx(inner * 36 * 0.13e-6)
    assert found["padded_taps"] == pytest.approx((31 * 31 * 9 - inner) * 36 * 0.13e-6)
    assert found["windows"] == pytest.approx(31 * 31 * 9 * 0.4e-6)
    assert found["depthwise_pixels"] == pytest.approx(31 * 31 * 33 * 0.12e-6)
    assert found["hswish"] == pytest.approx(31 * 31 * 33 * 4 / 16e6)
    # Both maps, and once more what h-swish passes, beyond 128 KB each (126,852 bytes a map: h-swish alone fits).
    assert found["over_128k"] == pytest.approx((2 * 31 * 31 * 33 * 4 - 128e3) / 100e6)
    assert found["products"] == found["row_8k"] == found["window_32k"] == 0


def test_rows_a_power_of_2_apart_collide() -> None:
    # 32 pixels of 64 channels of 4 bytes: 8 KiB.
    found = terms(depthwise((32, 32), 64, (3, 3), (1, 1)))
    assert found["row_8k"] == pytest.approx(32 * 32 * 9 * 64 * 0.004e-6)
    assert found["row_16k"] == 0
    wider = terms(depthwise((32, 64), 64, (3, 3), (1, 1)))
    assert wider["row_16k"] == pytest.approx(32 * 64 * 9 * 64 * 0.04e-6)
    assert terms(depthwise((32, 31), 64, (3, 3), (1, 1)))["row_8k"] == 0


def test_rows_that_exceed_a_cache_are_read_again() -> None:
    # 3 rows of 56 pixels of 72 channels are 48,384 bytes: half the way from 32 to 64 KB.
    found = terms(depthwise((56, 56), 72, (3, 3), (1, 1)))
    assert found["window_32k"] == pytest.approx(3 * 56 * 56 * 72 * 4 * (48384 / 32e3 - 1) / 200e6)
    assert found["window_64k"] == 0


def test_a_vector_has_no_tiles_and_loads_its_weights() -> None:
    found = terms(convolution_key(1, 960, 240))
    assert found["products"] == 0
    assert found["vector_weights"] == pytest.approx(960 * 240 * 4 / 15e6)


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("global_average_pool 1x7x7x96->1x1x1x96", 7 * 7 * 96),
        ("pool2d 1x8x8x96->1x4x4x96 mode=max kernel=2x2 stride=2x2", 8 * 8 * 96),
        ("multiply 1x7x7x96,1x1x1x96->1x7x7x96", 7 * 7 * 96),
        ("concat 1x7x7x96,1x7x7x32->1x7x7x128", 7 * 7 * 128),
        ("resize 1x7x7x96->1x14x14x96", 14 * 14 * 96),
        ("softmax 1x1000->1x1000", 1000),
    ],
)
def test_streams_read_what_is_pooled_and_write_what_is_gated_or_copied(text: str, moved: int) -> None:
    assert terms(LayerKey.parse(text))["streams"] == pytest.approx(moved * 4 / 20e6)


def test_units_are_sorted_into_families() -> None:
    wide, deep = convolution_key(14, 40, 240), depthwise((14, 14), 240, (5, 5), (2, 2))
    narrow, pool = convolution_key(7, 240, 80), LayerKey.parse("global_average_pool 1x7x7x96->1x1x1x96")
    table = LayerTable.of_items([[wide, deep, narrow], [wide], [deep], [pool]])
    physics = CpuPhysics()
    assert [physics.families[family] for family in physics.family(table)[:3]] == ["block", "products", "depthwise"]
    assert physics.family(table)[3] == -1
    height, c_in, c_out, widest, kernel, stride, gated, expanded, _, bank = physics.descriptors(table)[0]
    assert np.exp2([height, c_in, c_out, widest]) == pytest.approx([14, 40, 80, 240])
    assert (kernel, stride, gated, expanded, bank) == (1, 2, 0, 1, 0)
