"""How a GPU's kernels are cut, against the delegate's rules thread by thread, and terms by hand."""

import math
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.profiles.physics.layers_of_all_kinds import CHANNELS, SIDES, STRIDES, WINDOWS, convolution, depthwise

from mnv3c.graph.errors import UserError
from mnv3c.graph.layer import LayerKey
from mnv3c.graph.shapes import Pair
from mnv3c.profiles.layer_keys import convolution_key
from mnv3c.profiles.layer_table import LayerTable
from mnv3c.profiles.physics.gpu import GpuPhysics
from mnv3c.profiles.physics.gpu_dispatch import FAMILIES, Dispatch, dispatch_of, family_of

PAIRS_OF_SIDES = st.tuples(SIDES, SIDES)


def cut(key: LayerKey, variant: str = "") -> tuple[str, Dispatch]:
    table = LayerTable.of_items([[key]], [variant])
    family = family_of(table)
    return FAMILIES[family.item()], dispatch_of(table, family)


def terms(key: LayerKey) -> dict[str, float]:
    physics = GpuPhysics()
    found = zip(physics.term_names, physics.terms(LayerTable.of_items([[key]]))[0].tolist(), strict=True)
    return {name: ms for name, ms in found if ms}


def slices(channels: int) -> int:
    return len(range(0, channels, 4))


def greatest_divisor(number: int, most: int) -> int:
    return max(divisor for divisor in range(1, most + 1) if number % divisor == 0)


def groups_of(grid: tuple[int, int, int], group: tuple[int, int, int]) -> int:
    """Groups that hold the threads of a grid, thread by thread."""
    held = product(*(range(extent) for extent in grid))
    return len({tuple(at // size for at, size in zip(thread, group, strict=True)) for thread in held})


def convolution_group(grid: tuple[int, int, int]) -> tuple[int, int, int]:
    """TFLite's `GetWorkGroupConv` for 256 threads."""
    deep = greatest_divisor(grid[2], 64)
    across = min(grid[0], 256 // deep)
    down = min(256 // deep // across, grid[1])
    return across, down // 2 if down == grid[1] and down % 2 == 0 else down, deep


def default_group(grid: tuple[int, int, int]) -> tuple[int, int, int]:
    """TFLite's `GetWorkGroup` for 256 threads."""
    even = [size for size in (8, 4, 2) if grid[2] % size == 0]
    deep = even[0] if even else greatest_divisor(grid[2], 8)
    across = min(math.ceil(grid[0] / 2), 256 // deep)
    return across, min(256 // deep // across, grid[1]), deep


def assert_cut(found: Dispatch, grid: tuple[int, int, int], group: tuple[int, int, int]) -> None:
    assert (found.across.item(), found.down.item(), found.deep.item()) == group
    assert found.groups.item() == groups_of(grid, group)
    assert found.threads.item() == math.prod(group) <= 256
    waves = len(range(0, math.prod(group), 64))
    assert found.padded.item() == groups_of(grid, group) * waves * 64


@settings(deadline=None, derandomize=True)
@given(PAIRS_OF_SIDES, CHANNELS, CHANNELS, WINDOWS, STRIDES)
def test_convolutions_are_cut_by_the_rules(size: Pair, c_in: int, c_out: int, window: int, stride: Pair) -> None:
    key = convolution(size, c_in, c_out, (window, window), stride)
    family, found = cut(key)
    held_bytes = slices(c_in) * 4 * c_out * window * window * 2
    height, width = key.output.shape[1:3]
    if window == 1 and size == (1, 1):
        assert family == "linear"
        assert found.groups.item() == len(range(0, slices(c_out), 32))
    elif held_bytes <= 3584 and slices(c_out) <= 8:
        assert family == "conv_constant"
        assert_cut(found, (width, height, 1), default_group((width, height, 1)))
        assert found.depth.item() == slices(c_in) * window * window * slices(c_out)
    else:
        assert family == ("pointwise" if window == 1 else "conv")
        grid = (math.ceil(width / 2), math.ceil(height / 2), math.ceil(slices(c_out) / 2))
        assert_cut(found, grid, convolution_group(grid))
        assert found.depth.item() == slices(c_in) * window * window
        assert found.flat_groups.item() == len(range(0, math.ceil(width / 2) * height, 32)) * grid[2]


@settings(deadline=None, derandomize=True)
@given(PAIRS_OF_SIDES, CHANNELS.filter(lambda channels: channels > 1), WINDOWS, STRIDES)
def test_depthwise_convolutions_are_cut_by_the_rules(size: Pair, channels: int, window: int, stride: Pair) -> None:
    key = depthwise(size, channels, (window, window), stride)
    family, found = cut(key)
    small = window == 3 and stride == (1, 1)
    assert family == ("depthwise_3x3" if small else "depthwise")
    height, width = key.output.shape[1:3]
    tile = 2 if small else 1
    grid = (math.ceil(width / tile), math.ceil(height / tile), slices(channels))
    assert_cut(found, grid, default_group(grid))
    assert found.depth.item() == window * window


@pytest.mark.parametrize(("size", "side", "steps"), [(8, 8, 1), (14, 8, 4), (16, 16, 1), (40, 16, 9)])
def test_a_large_map_is_pooled_by_a_group_for_each_slice(size: int, side: int, steps: int) -> None:
    family, found = cut(LayerKey.parse(f"global_average_pool 1x{size}x{size}x33->1x1x1x33"))
    assert family == "global_pool"
    assert (found.groups.item(), found.threads.item(), found.depth.item()) == (9, side * side, steps)


def test_a_small_map_is_pooled_by_a_thread_for_each_slice() -> None:
    family, found = cut(LayerKey.parse("global_average_pool 1x7x7x33->1x1x1x33"))
    assert (family, found.depth.item()) == ("global_pool_small", 49)
    assert found.groups.item() * found.threads.item() == 9
    # A window as large as the map is the same kernel.
    assert cut(LayerKey.parse("pool2d 1x7x7x33->1x1x1x33 mode=average kernel=7x7 stride=1x1"))[0] == "global_pool_small"


def test_winograd_takes_fewer_steps() -> None:
    key = convolution_key(56, 128, 128, kernel=3)
    assert cut(key)[1].depth.item() == 32 * 9
    assert cut(key, "winograd")[1].depth.item() == 32 * 2.25


def test_a_pointwise_convolution_by_hand() -> None:
    found = terms(convolution_key(28, 40, 240, residual=True))
    # 14 x 14 tiles of 30 pairs of slices: groups of 30 deep, 8 across and 1 down; 10 steps.
    groups = 2 * 14
    assert found == pytest.approx(
        {
            "pointwise.groups": groups * 400e-6,
            "pointwise.serial": 10 * 50e-6,
            "pointwise.steps": groups * 10 * 30e-6,
            "pointwise.wave8": 4 * 10 * 100e-6,
            "pointwise.wave32": 1 * 10 * 300e-6,
            "pointwise.padded": groups * 256 * 10 * 0.5e-6,
            "pointwise.wave8_threads": 4 * 240 * 10 * 0.7e-6,
            "pointwise.group_weights": groups * 30 * 10 * 1e-6,
            "pointwise.group_inputs": groups * 8 * 10 * 0.2e-6,
            "pointwise.wave8_weights": 4 * 30 * 10 * 4e-6,
            "pointwise.flat4": math.ceil(13 * 30 / 4) * 10 * 15e-6,
            "pointwise.flat16": math.ceil(13 * 30 / 16) * 10 * 60e-6,
            "pointwise.write": 28 * 28 * 60 * 0.3e-6,
            "pointwise.read": 28 * 28 * 10 * 0.2e-6,
            "pointwise.residual": 28 * 28 * 60 * 0.4e-6,
        }
    )


def test_a_window_reads_what_it_covers_along_each_side() -> None:
    found = terms(LayerKey.parse("pool2d 1x9x40x8->1x4x10x8 mode=max kernel=2x4 stride=2x4"))
    assert found["pool.read"] == pytest.approx((3 * 2 + 2) * (9 * 4 + 4) * 2 * 0.2e-6)
    # 10 x 4 threads of 2 slices: groups of 5 x 4 x 2, whose windows cover 20 x 8 pixels.
    assert found["pool.footprint"] == pytest.approx(2 * 2 * 20 * 8 * 0.1e-6)


def test_a_fully_connected_layer_by_hand() -> None:
    found = terms(LayerKey.parse("dense 1x960->1x1280 bias=yes activation=hswish"))
    assert found["linear.wave16"] == pytest.approx(1 * 240 * 150e-6)
    assert found["linear.weights"] == pytest.approx(240 * 320 * 0.3e-6)


def test_a_unit_is_one_kernel() -> None:
    table = LayerTable.of_items([[convolution_key(28, 40, 240), depthwise((28, 28), 240, (3, 3), (1, 1))]])
    with pytest.raises(UserError, match="the physics of GPUs is of single kernels"):
        GpuPhysics().family(table)
