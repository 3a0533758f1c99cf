"""The weights' file: aligned parts, equal ones once; and how kernels' weights are packed."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv3c.compiler.program import Argument, Region
from mnv3c.compiler.weights import WeightsBlob
from mnv3c.targets.cpu.lanes import Lanes
from mnv3c.targets.cpu.packing import as_halves, pack_bias, pack_columns, pad_channels

SIZES = st.lists(st.integers(1, 70), max_size=12)


@given(SIZES)
@settings(max_examples=50, derandomize=True, deadline=None)
def test_parts_are_aligned_and_read_back(tmp_path_factory: object, sizes: list[int]) -> None:
    blob, arrays = WeightsBlob(), [np.arange(size, dtype=np.float32) + size for size in sizes]
    places = [blob.add(array) for array in arrays]
    path = Path(str(tmp_path_factory.getbasetemp())) / "weights.bin"  # type: ignore[attr-defined]
    blob.write(path)
    content = path.read_bytes()
    assert len(content) == blob.size_bytes and blob.size_bytes % 64 == 0
    for array, place in zip(arrays, places, strict=True):
        assert (place.region, place.offset_bytes % 64, place.elements) == (Region.WEIGHTS, 0, array.size)
        np.testing.assert_array_equal(np.frombuffer(content, "<f4", array.size, place.offset_bytes), array)
    # Equal arrays share a place; different ones never overlap.
    distinct = sorted({(place.offset_bytes, place.elements) for place in places})
    assert len(distinct) == len(set(sizes))
    assert all(a + 4 * n <= b for (a, n), (b, _) in pairwise(distinct))


def test_equal_values_share_their_place_whatever_their_shape_and_order() -> None:
    blob = WeightsBlob()
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    first = blob.add(values)
    assert first == Argument(Region.WEIGHTS, 0, 12)
    assert blob.add(values.ravel().copy()) == first
    assert blob.add(np.asfortranarray(values)) == first
    assert blob.add(values.T).offset_bytes == 64
    assert blob.size_bytes == 128


def test_halves_take_half_the_bytes() -> None:
    blob = WeightsBlob()
    values = np.arange(64, dtype=np.float16)
    assert blob.add(values) == Argument(Region.WEIGHTS, 0, 64, "float16")
    assert blob.size_bytes == 128
    assert blob.add(values.astype(np.float32)) == Argument(Region.WEIGHTS, 128, 64, "float32")
    # The same bytes are stored once, whatever they mean.
    assert blob.add(values.view(np.float32)) == Argument(Region.WEIGHTS, 0, 32, "float32")


@pytest.mark.parametrize("value", [0.1, 65520.0, 2.0**-25])
def test_packing_halves_loses_nothing(value: float) -> None:
    exact = np.array([1.0, -65504.0, 2.0**-24, 1023 * 2.0**-24], np.float32)
    np.testing.assert_array_equal(as_halves(exact).astype(np.float32), exact)
    with pytest.raises(AssertionError, match="was not rounded"):
        as_halves(np.array([1.0, value], np.float32))


def test_a_padded_prefix_is_not_the_same_array() -> None:
    blob = WeightsBlob()
    assert blob.add(np.ones(3, np.float32)).offset_bytes == 0
    assert blob.add(np.array([1, 1, 1, 0], np.float32)).offset_bytes == 64


LANES = st.sampled_from([Lanes(16, 4), Lanes(8, 4), Lanes(4, 4), Lanes(1, 1)])


@given(LANES, st.integers(1, 9), st.integers(1, 120), st.integers(1, 6))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_packed_columns_are_found_where_a_tile_reads_them(lanes: Lanes, depth: int, columns: int, vectors: int) -> None:
    weight = np.arange(1, depth * columns + 1, dtype=np.float32).reshape(depth, columns)
    blocks = lanes.blocks(columns, vectors)
    packed = pack_columns(weight, blocks, lanes)
    assert packed.size == depth * lanes.covered(columns)
    for run in blocks:
        for block in range(run.count):
            start = run.start + block * run.size
            for column in range(start, min(start + run.size, columns)):
                where = start * depth + np.arange(depth) * run.size + column - start
                np.testing.assert_array_equal(packed[where], weight[:, column])
    # All else is padding: zeros.
    assert np.count_nonzero(packed) == weight.size


@given(LANES, st.integers(1, 70))
@settings(max_examples=40, derandomize=True, deadline=None)
def test_a_bias_is_padded_with_zeros(lanes: Lanes, channels: int) -> None:
    bias = np.arange(1, channels + 1, dtype=np.float32)
    for values, expected in ((bias, bias), (None, np.zeros(channels, np.float32))):
        packed = pack_bias(values, channels, lanes)
        assert packed.size == lanes.covered(channels) and packed.dtype == np.float32
        np.testing.assert_array_equal(packed[:channels], expected)
        assert not packed[channels:].any()
    assert pad_channels(np.ones((2, channels), np.float32), lanes).shape == (2, lanes.covered(channels))
