"""Look-up tables of once-for-all and ProxylessNAS, with keys made up here after their scheme."""

from pathlib import Path

import pytest
from hypothesis import given
from tests.profiles.works import blocks

from mnv3c.graph.errors import UserError
from mnv3c.profiles.block import Block
from mnv3c.profiles.readers import ofa_yaml, proxyless_yaml
from mnv3c.profiles.readers.lookup_keys import LAYER_TYPES, parse_key

OFA_BLOCK = "expanded_conv-input:20x20x24-output:10x10x32-expand:96-kernel:3-stride:2-idskip:0-se:1-hs:0"
OFA = {
    "Conv-input:96x96-output:48x48x24": (
        "conv2d 1x96x96x3->1x48x48x24 kernel=3x3 stride=2x2 padding=0x0x1x1 bias=yes activation=hswish"
    ),
    OFA_BLOCK: "block h_in=20 c_in=24 c_out=32 c_expand=96 kernel=3 stride=2 se=yes activation=relu skip=no",
    "expanded_conv-input:20x20x24-output:20x20x24-expand:96-kernel:7-stride:1-idskip:1-se:0-hs:1": (
        "block h_in=20 c_in=24 c_out=24 c_expand=96 kernel=7 stride=1 se=no activation=hswish skip=yes"
    ),
    "Conv_1-input:3x3x192-output:3x3x1152": "conv2d 1x3x3x192->1x3x3x1152 bias=yes activation=hswish",
    "AvgPool2D-input:3x3x1152-output:1x1x1152": "global_average_pool 1x3x3x1152->1x1x1x1152",
    "AvgPool2D-input:3x3x1152-output:1152": "global_average_pool 1x3x3x1152->1x1x1x1152",
    "Conv_2-input:1x1x1152-output:1x1x1536": "conv2d 1x1x1x1152->1x1x1x1536 bias=yes activation=hswish",
    "Logits-input:1536-output:10": "dense 1x1536->1x10 bias=yes",
    "Logits-input:1x1x1536-output:10": "dense 1x1536->1x10 bias=yes",
}
PROXYLESS_BLOCK = "expanded_conv-input:20x20x24-output:10x10x32-expand:3-kernel:5-stride:2-idskip:0"
PROXYLESS = {
    "Conv-input:96x96x3-output:48x48x32": (
        "conv2d 1x96x96x3->1x48x48x32 kernel=3x3 stride=2x2 padding=0x0x1x1 bias=yes activation=relu6"
    ),
    PROXYLESS_BLOCK: "block h_in=20 c_in=24 c_out=32 c_expand=72 kernel=5 stride=2 se=no activation=relu6 skip=no",
    "Logits-input:3x3x1280-output:10": "global_average_pool 1x3x3x1280->1x1x1x1280 | dense 1x1280->1x10 bias=yes",
}


def table(tmp_path: Path, keys: list[str], entry: str = "{count: 57, mean: 0.5, std: 0.01}") -> Path:
    path = tmp_path / "96_lookup_table.yaml"
    path.write_text("".join(f"{key}: {entry}\n" for key in keys), encoding="utf-8")
    return path


def test_a_once_for_all_table(tmp_path: Path) -> None:
    records = ofa_yaml.read(table(tmp_path, list(OFA)))
    assert [str(record.work) for record in records] == list(OFA.values())
    assert [record.tags for record in records] == [{"key": key} for key in OFA]
    first = records[0]
    assert (first.latency_ms, first.std_ms, first.n, first.statistic) == (0.5, 0.01, 57, "mean")
    assert (first.device, first.processor, first.runtime, first.source) == ("unknown", "cpu", "tflite", "once-for-all")


def test_a_proxylessnas_table(tmp_path: Path) -> None:
    records = proxyless_yaml.read(table(tmp_path, list(PROXYLESS), "\n  mean: 2"))
    assert [str(record.work) for record in records] == list(PROXYLESS.values())
    assert (records[0].latency_ms, records[0].std_ms, records[0].n, records[0].licence) == (2.0, None, None, "MIT")


@given(blocks())
def test_any_block_has_a_key(block: Block) -> None:
    if block.activation == "relu6":
        return
    key = (
        f"expanded_conv-input:{block.h_in}x{block.h_in}x{block.c_in}-output:{block.h_out}x{block.h_out}x{block.c_out}"
        f"-expand:{block.c_expand}-kernel:{block.kernel}-stride:{block.stride}-idskip:{block.skip:d}"
        f"-se:{block.se:d}-hs:{block.activation == 'hswish':d}"
    )
    assert parse_key(key, "once-for-all") == block


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("Deconv-input:7x7x8-output:7x7x8", f"unknown layer type 'Deconv'; known are {', '.join(LAYER_TYPES)}"),
        (OFA_BLOCK.replace("-se:1", ""), "a block of once-for-all has the fields input, output, expand,"),
        (OFA_BLOCK.replace("se:1", "se:2"), "se is 0 or 1, not '2'"),
        (OFA_BLOCK.replace("kernel:3", "kernel:x"), "kernel is a whole number, not 'x'"),
        (OFA_BLOCK.replace("10x10", "9x9"), "output is 10x10, not 9x9"),
        (OFA_BLOCK.replace("idskip:0", "idskip:1"), "skip needs stride 1"),
        (OFA_BLOCK.replace("20x20", "20x10"), "'20x10x24' is not a square map"),
        (OFA_BLOCK.replace("20x20", "0x0"), "'0x0x24' is not a shape"),
        ("Conv_1-input:7x7x8-output:6x6x16", "output is 7x7x16, not 6x6x16"),
        ("Conv_1-input:7x7x8-input:7x7x8", "a field appears twice"),
        ("Conv_1-input:7x7x8", "Conv_1 has the fields input and output, not input"),
    ],
)
def test_wrong_keys(tmp_path: Path, key: str, message: str) -> None:
    path = table(tmp_path, [key])
    with pytest.raises(UserError) as error:
        ofa_yaml.read(path)
    assert str(error.value).startswith(f"{path}: {key}: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{OFA_BLOCK}: 3\n", f": {OFA_BLOCK}: must be a mapping of count, mean, std with a mean, not 3"),
        (f"{OFA_BLOCK}: {{mean: 1, median: 2}}\n", f": {OFA_BLOCK}: must be a mapping of count, mean, std"),
        (f"{OFA_BLOCK}: {{mean: fast}}\n", f": {OFA_BLOCK}: mean must be a number, not 'fast'"),
        (f"{OFA_BLOCK}: {{mean: true}}\n", f": {OFA_BLOCK}: mean must be a number, not True"),
        (f"{OFA_BLOCK}: {{mean: 1, count: 1.5}}\n", f": {OFA_BLOCK}: count must be a number, not 1.5"),
        (f"{OFA_BLOCK}: {{mean: -1}}\n", f": {OFA_BLOCK}: latency_ms: Input should be greater than 0"),
        (f"{OFA_BLOCK}: {{mean: 1}}\n{OFA_BLOCK}: {{mean: 1}}\n", f": line 2: is not a look-up table: '{OFA_BLOCK}'"),
        ("- a\n- b\n", ": must be a mapping of layers"),
        ("", ": must be a mapping of layers"),
        ("1: {mean: 1}\n", ": key 1 must be text"),
        ("a: [1\n", ": line 2: is not a look-up table"),
        ("a: !!python/object:os.system {}\n", ": line 1: is not a look-up table"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        ofa_yaml.read(path)
    assert str(error.value).startswith(f"{path}{message}") and "\n" not in str(error.value)
