"""Broken files: whatever is done to a model, only a network or a UserError of one line may come out."""

import struct
import time
from pathlib import Path
from random import Random

import pytest
from tests.graph.exporters.integer_samples import random_block
from tests.graph.importers.tflite_models import saved

from mnv3c.graph.errors import UserError
from mnv3c.graph.exporters.tflite import tflite_bytes
from mnv3c.graph.importers.tflite import import_tflite

SOURCES, FILES_PER_SOURCE = (0, 9, 11, 16, 21, 34), 250
MAX_SECONDS_PER_FILE = 5.0
ABSURD = (0, 1, 2, 0x7F, 0xFF, 0xFFFF, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def outcome(path: Path) -> str:
    """Imports a file and exports what came out; says how it ended."""
    started = time.perf_counter()
    try:
        network = import_tflite(path)
    except UserError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error), str(error)
        return "refused"
    try:
        tflite_bytes(network)
    except UserError as error:
        assert "\n" not in str(error)
    assert time.perf_counter() - started < MAX_SECONDS_PER_FILE
    return "read"


def flipped(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        changed[rng.randrange(8, len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwritten(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        struct.pack_into("<I", changed, 4 * rng.randrange(2, len(data) // 4), rng.choice(ABSURD))
    return bytes(changed)


def moved(data: bytes, rng: Random) -> bytes:
    """A piece of the file copied over another one."""
    length = rng.choice((4, 8, 16, 64))
    source, target = rng.randrange(len(data) - length), rng.randrange(8, len(data) - length)
    return data[:target] + data[source : source + length] + data[target + length :]


@pytest.mark.parametrize("source", SOURCES)
def test_damage(source: int, tmp_path: Path) -> None:
    data, rng = tflite_bytes(random_block(source)), Random(source)
    ends = {"read": 0, "refused": 0}
    for index in range(FILES_PER_SOURCE):
        change = (flipped, overwritten, moved)[index % 3]
        ends[outcome(saved(tmp_path / "m.tflite", change(data, rng)))] += 1
    assert min(ends.values()) > 0, ends


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = tflite_bytes(random_block(4))
    for length in [*range(200), *range(200, len(data) - 64, 97)]:
        assert outcome(saved(tmp_path / "m.tflite", data[:length])) == "refused", length
