"""Each format is read by what reads it elsewhere, or by a reader written from its published scheme."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import yaml

from mnv3c.graph.errors import UserError
from mnv3c.profiles.block import Block
from mnv3c.profiles.library import find_profile
from mnv3c.profiles.lut.exporters import EXPORTERS, export_json
from mnv3c.profiles.lut.lookup_text import lookup_key
from mnv3c.profiles.lut.table import Table
from mnv3c.profiles.lut.table_file import read_table
from mnv3c.profiles.readers.lookup_keys import parse_key
from mnv3c.profiles.readers.ofa_yaml import read as read_ofa
from mnv3c.profiles.readers.origin import stated_origin
from mnv3c.search.lut import Request, predicted_table
from mnv3c.search.space import Space
from mnv3c.search.space_file import find_space

OFA, PROXYLESS = find_space("ofa-mbv3-w1.2"), find_space("ofa-proxyless-w1.3")


def made(space: Space, profile: str = "note10-cpu-tflite") -> Table:
    """With something that a network takes beside its units, which these formats have no place for."""
    return replace(predicted_table(Request(space, (144, 192)), find_profile(profile)), network_ms=0.25)


@pytest.fixture(scope="module")
def ofa() -> Table:
    return made(OFA)


@pytest.fixture(scope="module")
def proxyless() -> Table:
    return made(PROXYLESS, "pixel1-cpu-tflite2018")


def shape(*extents: int) -> str:
    return "x".join(map(str, extents))


def published_key(kind: str, source: Sequence[int], out: Sequence[int], **fields: int) -> str:
    """`LatencyTable.query` of ofa/nas/efficiency_predictor/latency_lookup_table.py, in our words."""
    return "-".join(
        [kind, f"input:{shape(*source)}", f"output:{shape(*out)}", *(f"{k}:{v}" for k, v in fields.items())]
    )


def of_blocks(lut: dict[str, dict[str, float]], blocks: Sequence[Block], mbv3: bool) -> float:
    total = 0.0
    for b in blocks:
        # `expand` is the middle channels in once-for-all, the ratio in ProxylessNAS.
        fields = {"expand": b.c_expand if mbv3 else b.c_expand // b.c_in, "kernel": b.kernel, "stride": b.stride}
        fields["idskip"] = int(b.stride == 1 and b.c_in == b.c_out)
        if mbv3:
            fields |= {"se": int(b.se), "hs": int(b.activation == "hswish")}
        source, out = (b.h_in, b.h_in, b.c_in), (b.h_out, b.h_out, b.c_out)
        total += lut[published_key("expanded_conv", source, out, **fields)]["mean"]
    return total


def published_sum(path: Path, space: Space, blocks: Sequence[Block], side: int) -> float:
    """`predict_network_latency` of ProxylessNASLatencyTable and MBv3LatencyTable, in our words."""
    lut = yaml.safe_load(path.read_text())
    mbv3 = bool(space.after_pool)
    half, size, wide = (side + 1) // 2, blocks[-1].h_out, space.before_pool[0].channels
    keys = [
        published_key("Conv", (side, side, 3), (half, half, space.stem_channels)),
        published_key("Conv_1", (size, size, blocks[-1].c_out), (size, size, wide)),
    ]
    if mbv3:
        last = space.after_pool[0].channels
        keys.append(published_key("AvgPool2D", (size, size, wide), (1, 1, wide)))
        keys.append(published_key("Conv_2", (1, 1, wide), (1, 1, last)))
        keys.append(published_key("Logits", (1, 1, last), (space.classes,)))
    else:
        keys.append(published_key("Logits", (size, size, wide), (space.classes,)))
    return of_blocks(lut, blocks, mbv3) + float(sum(lut[key]["mean"] for key in keys))


@pytest.mark.parametrize("name", ["ofa", "proxyless"])
def test_published_readers_get_the_same_latency(name: str, ofa: Table, proxyless: Table, tmp_path: Path) -> None:
    table, space = (ofa, OFA) if name == "ofa" else (proxyless, PROXYLESS)
    files = EXPORTERS[name](table, tmp_path)
    assert [path.name for path in files] == ["144_lookup_table.yaml", "192_lookup_table.yaml"]
    rng = Random(7)
    for _ in range(10):
        subnet, side = space.random(rng), rng.choice((144, 192))
        read_ms = published_sum(tmp_path / f"{side}_lookup_table.yaml", space, space.blocks(subnet, side), side)
        assert read_ms == pytest.approx(table.latency_ms(space.units(subnet, side)), abs=1e-6, rel=0)


def test_our_own_reader_finds_the_same_works(ofa: Table, tmp_path: Path) -> None:
    EXPORTERS["ofa"](ofa, tmp_path)
    origin = stated_origin({"device": "note10", "runtime": "tflite", "precision": "fp32", "threads": "1"})
    records = read_ofa(tmp_path / "192_lookup_table.yaml", origin)
    entries = ofa.of_resolution(192)
    assert [record.work for record in records] == [entry.unit for entry in entries]
    for record, entry in zip(records, entries, strict=True):
        # What a network takes once is the classifier's.
        beside_ms = 0.25 if str(entry.unit).startswith("dense") else 0.0
        assert record.latency_ms == pytest.approx(entry.p50_ms + beside_ms, rel=1e-12)


@pytest.mark.parametrize(("scheme", "space"), [("once-for-all", OFA), ("proxylessnas", PROXYLESS)])
def test_keys_are_the_inverse_of_the_readers(scheme: str, space: Space) -> None:
    for unit in space.units_of_all(160):
        if isinstance(unit, Block):
            key = lookup_key(unit, scheme)  # type: ignore[arg-type]
            assert parse_key(key, scheme) == unit  # type: ignore[arg-type]


def test_what_a_format_cannot_hold_is_an_error(ofa: Table, proxyless: Table, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a table of proxylessnas cannot hold 'conv2d 1x144x144x3"):
        EXPORTERS["proxyless"](ofa, tmp_path)
    with pytest.raises(UserError, match="a table of once-for-all cannot hold 'conv2d 1x144x144x3"):
        EXPORTERS["ofa"](proxyless, tmp_path)


def test_tiny_numbers_stay_numbers_in_yaml(ofa: Table, tmp_path: Path) -> None:
    tiny = replace(ofa, entries=tuple(replace(e, p50_ms=1e-5, low_ms=1e-5, high_ms=2e-5) for e in ofa.entries))
    lut = yaml.safe_load(EXPORTERS["ofa"](tiny, tmp_path)[0].read_text())
    assert all(type(entry["mean"]) is float and type(entry["std"]) is float for entry in lut.values())


def test_json_csv_and_parquet_hold_every_entry(ofa: Table, tmp_path: Path) -> None:
    from pyarrow import parquet

    assert read_table(export_json(ofa, tmp_path)[0]) == ofa
    with EXPORTERS["csv"](ofa, tmp_path)[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = parquet.read_table(EXPORTERS["parquet"](ofa, tmp_path)[0]).to_pylist()
    assert len(rows) == len(columns) == len(ofa.entries)
    for row, column, entry in zip(rows, columns, ofa.entries, strict=True):
        assert row["work"] == column["work"] == str(entry.unit)
        assert float(row["p50_ms"]) == column["p50_ms"] == entry.p50_ms
        assert row["n"] == "" and column["n"] is None
        assert column["resolutions"] == list(entry.resolutions) == list(map(int, row["resolutions"].split()))
        assert row["provenance"] == column["provenance"] == "predicted"
        assert (row["device"], row["runtime"], row["threads"]) == ("note10", "tflite", "1")


def test_nn_meter_gets_kernels_with_configurations(ofa: Table, tmp_path: Path) -> None:
    found = json.loads(EXPORTERS["nn-meter"](ofa, tmp_path)[0].read_text())
    assert sum(map(len, found.values())) == len(ofa.entries)
    assert sorted(found) == [
        "conv-bn-hswish",
        "fc",
        "global-avgpool",
        "mbconv-hswish",
        "mbconv-relu",
        "mbconv-se-hswish",
        "mbconv-se-relu",
    ]
    # nn-Meter passes over a kernel without one of these.
    kernels = [kernel for of_type in found.values() for kernel in of_type.values()]
    assert all({"model", "config", "latency"} <= set(kernel) for kernel in kernels)
    assert sorted(kernel["model"] for kernel in kernels) == sorted(str(entry.unit) for entry in ofa.entries)
    assert found["fc"]["fc_0"]["config"] == {"CIN": 1536, "COUT": 1000}
    stem = found["conv-bn-hswish"]["conv-bn-hswish_0"]
    assert stem["config"] == {"HW": 144, "CIN": 3, "COUT": 24, "KERNEL_SIZE": 3, "STRIDES": 2}
    mean, deviation = map(float, stem["latency"].split("+-"))
    entry = ofa.entries[0]
    assert mean == entry.p50_ms
    assert mean + 1.6449 * deviation - (mean - 1.6449 * deviation) == pytest.approx(entry.width_ms)
