"""How channels are cut into vectors."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv3c.graph.tensor import TensorType
from mnv3c.targets.cpu.lanes import Lanes, Piece, device_lanes, storage_elements
from mnv3c.targets.registry import find_device

LANES = st.sampled_from([Lanes(16, 4), Lanes(8, 4), Lanes(4, 4), Lanes(2, 2), Lanes(1, 1)])
CHANNELS = st.integers(1, 1300)
draws = settings(max_examples=150, derandomize=True, deadline=None)


@given(LANES, CHANNELS)
@draws
def test_pieces_cover_the_channels_and_no_more_than_needed(lanes: Lanes, channels: int) -> None:
    pieces, covered = lanes.pieces(channels), lanes.covered(channels)
    assert channels <= covered < channels + lanes.narrowest
    assert covered <= lanes.stored(channels) < channels + lanes.widest
    end = 0
    for piece in pieces:
        assert piece.offset == end and lanes.narrowest <= piece.lanes <= lanes.widest
        assert piece.lanes & (piece.lanes - 1) == 0
        end += piece.lanes
    assert end == covered
    widths = [piece.lanes for piece in pieces]
    assert widths == sorted(widths, reverse=True)
    # Every width below the widest is needed at most once: there are as few vectors as there can be.
    assert all(widths.count(width) == 1 for width in widths if width < lanes.widest)


@given(LANES, CHANNELS)
@draws
def test_no_vector_straddles_its_own_width_in_storage(lanes: Lanes, channels: int) -> None:
    stored = lanes.stored(channels)
    assert all(stored % piece.lanes == 0 and piece.offset % piece.lanes == 0 for piece in lanes.pieces(channels))


@given(LANES, CHANNELS, st.integers(1, 6))
@draws
def test_blocks_are_the_pieces_in_even_groups(lanes: Lanes, channels: int, vectors: int) -> None:
    runs, pieces = lanes.blocks(channels, vectors), lanes.pieces(channels)
    assert runs[0].start == 0
    blocks = [
        [Piece(run.start + block * run.size + piece.offset, piece.lanes) for piece in run.pieces]
        for run in runs
        for block in range(run.count)
    ]
    assert [piece for block in blocks for piece in block] == list(pieces)
    sizes = [len(block) for block in blocks]
    assert max(sizes) <= vectors and max(sizes) - min(sizes) <= 1
    assert len(blocks) == -(-len(pieces) // vectors)
    assert sum(run.count * run.size for run in runs) == lanes.covered(channels)
    # Neighbouring runs differ, or they would be one.
    assert all(a.pieces != b.pieces for a, b in pairwise(runs))


def test_examples() -> None:
    wide = Lanes(16, 4)
    assert wide.pieces(24) == (Piece(0, 16), Piece(16, 8))
    assert wide.pieces(1) == (Piece(0, 4),)
    assert wide.pieces(45) == (Piece(0, 16), Piece(16, 16), Piece(32, 16))
    assert (wide.stored(72), wide.covered(70), Lanes(1, 1).covered(70)) == (80, 72, 70)
    assert [(run.count, len(run.pieces)) for run in wide.blocks(112, 3)] == [(1, 3), (2, 2)]


@pytest.mark.parametrize(
    ("name", "lanes"),
    [
        ("skylake-avx512", Lanes(16, 4)),
        ("haswell", Lanes(8, 4)),
        ("cortex-a53", Lanes(4, 4)),
        ("sifive-u74", Lanes(1, 1)),
    ],
)
def test_devices(name: str, lanes: Lanes) -> None:
    device = find_device(name)
    assert device_lanes(device) == lanes
    assert storage_elements(TensorType((1, 3, 5, 17)), device) == 15 * lanes.stored(17)
    assert storage_elements(TensorType((1, 17)), device) == lanes.stored(17)
