"""A table: nothing is interpolated, sums equal `predict`, and the file says all of it."""

import json
from dataclasses import replace
from math import sqrt
from pathlib import Path
from random import Random

import pytest

from mnv3c.graph.errors import UserError
from mnv3c.profiles.library import find_profile
from mnv3c.profiles.lut.table import Entry, Table
from mnv3c.profiles.lut.table_file import read_table, table_text, write_table
from mnv3c.profiles.predict import predict_network
from mnv3c.search.lut import Request, predicted_table
from mnv3c.search.space_file import find_space

SPACE = find_space("ofa-mbv3-w1.0")
# Of blocks, of blocks with priors, and of GPU kernels with launches and read-back.
PROFILES = ("pixel4-cpu-tflite", "note10-cpu-tflite", "adreno640-gpu-tflite", "powervr-gpu-tflite")


def made(profile: str, *sides: int) -> Table:
    return predicted_table(Request(SPACE, sides), find_profile(profile))


@pytest.fixture(scope="module")
def table() -> Table:
    return made("pixel4-cpu-tflite", 160, 224)


@pytest.mark.parametrize("name", PROFILES)
def test_sums_equal_predictions_to_1e_9(name: str) -> None:
    profile, table, rng = find_profile(name), made(name, 128, 192), Random(3)
    for _ in range(25):
        subnet, side = SPACE.random(rng), rng.choice((128, 192))
        keys = SPACE.layer_keys(subnet, side)
        whole = predict_network(profile, [str(index) for index in range(len(keys))], keys)
        assert table.latency_ms(SPACE.units(subnet, side)) == pytest.approx(whole.total_ms, abs=1e-9, rel=0)
        found = table.latency(SPACE.units(subnet, side))
        assert (found.low_ms, found.high_ms) == pytest.approx((whole.low_ms, whole.high_ms), rel=1e-9)


def test_no_key_is_missing_for_10000_networks(table: Table) -> None:
    rng, stem = Random(4), SPACE.units(SPACE.smallest(), 224)
    tails = {
        side: (SPACE.units(SPACE.smallest(), side)[0], *SPACE.units(SPACE.smallest(), side)[-4:]) for side in (160, 224)
    }
    assert not table.missing(stem)
    for _ in range(10_000):
        subnet, side = SPACE.random(rng), rng.choice((160, 224))
        # Only blocks differ between networks of one resolution.
        assert not table.missing((*SPACE.blocks(subnet, side), *tails[side]))


def test_a_missing_key_is_an_error_that_names_it(table: Table) -> None:
    units = SPACE.units(SPACE.smallest(), 192)
    with pytest.raises(UserError) as caught:
        table.latency_ms(units)
    message = str(caught.value)
    assert message.startswith("the table of space 'ofa-mbv3-w1.0' on pixel4 has no entry for 'conv2d 1x192x192x3")
    assert "and" in message and "more" in message and "\n" not in message
    assert units[0] not in table and SPACE.units(SPACE.smallest(), 160)[0] in table
    with pytest.raises(UserError, match="has no entry for 'conv2d 1x192x192x3"):
        table.entry(units[0])


def test_intervals_add_up_between_plainly_and_as_squares(table: Table) -> None:
    units = SPACE.units(SPACE.random(Random(1)), 224)
    entries = [table.entry(unit) for unit in units]
    above = [entry.high_ms - entry.p50_ms for entry in entries]
    total_ms = table.latency_ms(units)
    for correlation, wanted in ((1.0, sum(above)), (0.0, sqrt(sum(width**2 for width in above)))):
        found = replace(table, correlation=correlation).latency(units)
        assert found.high_ms == pytest.approx(total_ms + wanted)
        assert found.low_ms < total_ms < found.high_ms
    assert table.latency(units).counts == {"measured": 0, "predicted": len(units), "emulated": 0}


def test_the_check_of_sums_is_there(table: Table) -> None:
    assert table.additivity is not None
    assert table.additivity.networks == 20 and table.additivity.whole == "predicted"
    assert table.additivity.mape < 1e-9 and table.additivity.spearman == pytest.approx(1.0)


def test_a_file_holds_all_of_a_table(tmp_path: Path, table: Table) -> None:
    measured = replace(table.entries[1], provenance="measured", n=150, p90_ms=3.5, p50_ms=3.0, low_ms=2.9, high_ms=3.1)
    mixed = replace(
        table,
        entries=(table.entries[0], measured, *table.entries[2:]),
        made_by={"measured": "by hand", **table.made_by},
    )
    for each in (table, mixed):
        path = tmp_path / "lut.json"
        write_table(path, each)
        assert read_table(path) == each
        assert path.read_text() == table_text(each)
        document = json.loads(path.read_text())
        assert (document["device"], document["dtype"], document["threads"]) == ("pixel4", "fp32", 1)


def broken(table: Table, tmp_path: Path, old: str, new: str) -> str:
    path = tmp_path / "wrong.json"
    text = table_text(table)
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def test_files_that_are_no_table(table: Table, tmp_path: Path) -> None:
    assert broken(table, tmp_path, '"mnv3c-lut"', '"other"').startswith("format: ")
    assert broken(table, tmp_path, '"threads": 1', '"threads": 0').startswith("threads: ")
    assert broken(table, tmp_path, '"predicted", ', '"guessed", ').startswith("entries.0.provenance: ")
    assert "work 'nothing" in broken(table, tmp_path, '"work": "conv2d', '"work": "nothing')
    assert broken(table, tmp_path, '"low_ms": ', '"low_ms": 9') == (
        "entries.0: low_ms, p50_ms and high_ms are not in ascending order"
    )
    twice = replace(table, entries=(*table.entries, table.entries[0]))
    path = tmp_path / "twice.json"
    write_table(path, twice)
    with pytest.raises(UserError, match="has two entries"):
        read_table(path)
    path.write_text("[]")
    with pytest.raises(UserError, match="is no table"):
        read_table(path)


def test_width_is_that_of_the_interval() -> None:
    entry = Entry(SPACE.units(SPACE.smallest(), 128)[0], 2.0, 1.5, 3.0, "predicted", (128,))
    assert entry.width_ms == 1.5
