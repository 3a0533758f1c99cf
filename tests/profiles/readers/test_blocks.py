"""Tables of blocks: rows made up here, in the forms that published ones have."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.profiles.works import blocks

from mnv3c.graph.errors import UserError
from mnv3c.profiles.block import Block
from mnv3c.profiles.readers import blocks_csv, proxyless_csv
from mnv3c.profiles.readers.origin import Origin, named_origin
from mnv3c.profiles.work import LayerWork

HEAD = "h_in,c_in,c_out,c_expand,kernel,stride,se,activation,skip,latency_ms,std_ms,count\n"
BLOCK = Block(20, 24, 24, 72, 3, 1, se=True, activation="hswish", skip=True)
PROXYLESS = "hin,cin,hout,cout,expand_ratio,kernel,stride,idskip,count,mean_ms,std_ms,key\n"


def table(tmp_path: Path, text: str, name: str = "rows.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_of_blocks(tmp_path: Path) -> None:
    rows = "20,24,24,72,3,1,1,hswish,1,0.75,0.01,60\n15,24,40,72,5,2,0,relu,0,1.5,,\n"
    path = table(tmp_path, HEAD + rows, "blocks_phone9_cpu_tflite2020_fp32.csv")
    first, second = blocks_csv.read(path)
    assert first.work == BLOCK and second.work == Block(15, 24, 40, 72, 5, 2, se=False, activation="relu", skip=False)
    assert (first.device, first.processor, first.runtime, first.precision) == ("phone9", "cpu", "tflite2020", "fp32")
    assert (first.latency_ms, first.std_ms, first.n, first.statistic) == (0.75, 0.01, 60, "mean")
    assert (second.std_ms, second.n, second.threads, second.source) == (None, None, 1, path.name)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(blocks(), min_size=1, max_size=5))
def test_any_blocks_are_read_back(tmp_path: Path, several: list[Block]) -> None:
    lines = [
        f"{b.h_in},{b.c_in},{b.c_out},{b.c_expand},{b.kernel},{b.stride},{b.se:d},{b.activation},{b.skip:d},1,,"
        for b in several
    ]
    records = blocks_csv.read(table(tmp_path, HEAD + "\n".join(lines)))
    assert [record.work for record in records] == several


def test_columns_may_be_few_and_in_any_order(tmp_path: Path) -> None:
    text = "latency_ms,stride,kernel,c_expand,c_out,c_in,h_in,activation\n0.5,1,3,72,24,24,20,h-swish\n"
    text += "0.5,2,3,72,24,24,20,hswish\n0.5,1,3,72,40,24,20,hswish\n"
    skips = [record.work.skip for record in blocks_csv.read(table(tmp_path, text)) if isinstance(record.work, Block)]
    assert skips == [True, False, False]


def test_least_and_largest_are_kept(tmp_path: Path) -> None:
    text = "h_in,c_in,c_out,c_expand,kernel,stride,se,activation,latency_ms,min_ms,max_ms\n14,8,8,16,7,1,1,relu,2,1,4\n"
    (record,) = blocks_csv.read(table(tmp_path, text, "blocks_board_dpu_int8.csv"))
    assert (record.min_ms, record.latency_ms, record.max_ms) == (1.0, 2.0, 4.0)
    assert (record.device, record.processor, record.runtime, record.precision) == ("board", "dpu", "unknown", "int8")


def test_rows_may_say_where_they_come_from(tmp_path: Path) -> None:
    text = HEAD.replace("\n", ",device,threads\n") + "20,24,24,72,3,1,1,hswish,1,1,,,tablet,4\n"
    (record,) = blocks_csv.read(table(tmp_path, text), Origin(device="phone", runtime="ncnn"))
    assert (record.device, record.runtime, record.threads) == ("tablet", "ncnn", 4)


STEM = "conv2d 1x96x96x3->1x48x48x16 kernel=3x3 stride=2x2 padding=0x0x1x1 bias=yes activation="
LAYER_ROWS = {
    "96,3,16,,3,2,,hswish,,1,,": f"{STEM}hswish",
    "96,3,16,0,0,0,,relu,,1,,": f"{STEM}relu",
    "7,160,960,0,1,1,0,hswish,0,1,,": "conv2d 1x7x7x160->1x7x7x960 bias=yes activation=hswish",
    "1,960,1280,,,,,hswish,,1,,": "conv2d 1x1x1x960->1x1x1x1280 bias=yes activation=hswish",
    ",1280,10,,,,,,,1,,": "dense 1x1280->1x10 bias=yes",
}


@pytest.mark.parametrize("row", LAYER_ROWS)
def test_rows_without_an_expansion_are_layers(tmp_path: Path, row: str) -> None:
    (record,) = blocks_csv.read(table(tmp_path, HEAD + row))
    assert str(record.work) == LAYER_ROWS[row]


OPS = {
    "stem,96,3,16,,,,relu,1": f"{STEM}relu",
    "Conv_1,7,160,960,,,,hswish,1": "conv2d 1x7x7x160->1x7x7x960 bias=yes activation=hswish",
    "depthwise,7,16,16,,5,1,,1": "conv2d 1x7x7x16->1x7x7x16 kernel=5x5 padding=2x2x2x2 groups=16 bias=yes",
    "logits,1,1280,10,,,,none,1": "dense 1x1280->1x10 bias=yes",
    "AvgPool2D,7,960,,,,,,1": "global_average_pool 1x7x7x960->1x1x1x960",
    "block,20,24,24,72,3,1,relu,1": (
        "block h_in=20 c_in=24 c_out=24 c_expand=72 kernel=3 stride=1 se=no activation=relu skip=yes"
    ),
}


@pytest.mark.parametrize("column", ["op", "layer", "name"])
@pytest.mark.parametrize("row", OPS)
def test_rows_that_name_their_op(tmp_path: Path, column: str, row: str) -> None:
    head = f"{column},h_in,c_in,c_out,c_expand,kernel,stride,activation,latency_ms\n"
    (record,) = blocks_csv.read(table(tmp_path, head + row))
    assert str(record.work) == OPS[row] and record.tags == {column: row.partition(",")[0]}


def test_a_name_may_be_any(tmp_path: Path) -> None:
    text = HEAD.replace("\n", ",name\n") + "20,24,24,72,3,1,1,hswish,1,1,,,fifth\n"
    assert blocks_csv.read(table(tmp_path, text))[0].work == BLOCK


def test_a_key_tells_the_layer(tmp_path: Path) -> None:
    text = HEAD.replace("\n", ",key\n") + ",3,16,,,,,,,1,,,Conv-input:96x96-output:48x48x16\n"
    (record,) = blocks_csv.read(table(tmp_path, text))
    assert isinstance(record.work, LayerWork) and record.work.key.macs == 48 * 48 * 16 * 27
    assert record.tags == {"key": "Conv-input:96x96-output:48x48x16"}


GOOD = "20,24,24,72,3,1,1,hswish,1,1,,\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": is empty"),
        (HEAD, ": has a header and no rows"),
        (HEAD.replace("stride", "step") + GOOD, ":1: column 'stride' is missing; needed are h_in, c_in,"),
        (HEAD.replace("std_ms", "sigma") + GOOD, ":1: column 'sigma' is unknown; allowed beside the needed ones are"),
        (HEAD.replace("std_ms", "h_in") + GOOD, ":1: column 'h_in' appears twice"),
        (HEAD + GOOD + "1,2,3\n", ":3: has 3 cells, and the header has 12 columns"),
        (HEAD + GOOD.replace("20", "wide"), ":2: column 'h_in' must be a whole number of at least 1, not 'wide'"),
        (HEAD + GOOD.replace("20", "-20"), ":2: column 'h_in' must be a whole number of at least 1, not '-20'"),
        (HEAD + GOOD.replace("20", "20.5"), ":2: column 'h_in' must be a whole number of at least 1, not '20.5'"),
        (HEAD + GOOD.replace("20", "٢"), ":2: column 'h_in' must be a whole number of at least 1"),
        (HEAD + GOOD.replace("hswish", "mish"), ":2: column 'activation' must be one of hswish,"),
        (HEAD + GOOD.replace("hswish", ""), ":2: activation is one of relu, relu6, hswish, not ''"),
        (HEAD + GOOD.replace("1,hswish", "2,hswish"), ":2: column 'se' must be 0 or 1, not '2'"),
        (HEAD + GOOD.replace("72,3,1,", "72,3,2,"), ":2: skip needs stride 1 and c_in equal to c_out"),
        (
            HEAD + GOOD.replace("hswish,1,1,", "hswish,1,0,"),
            ":2: column 'latency_ms' must be a number above 0, not '0'",
        ),
        (HEAD + GOOD.replace("hswish,1,1,", "hswish,1,nan,"), ":2: column 'latency_ms' must be a number"),
        (HEAD + GOOD.replace("hswish,1,1,", "hswish,1,,"), ":2: column 'latency_ms' must be a number above 0, not ''"),
        (HEAD.replace("\n", ",op\n") + GOOD.replace("\n", ",lstm\n"), ":2: column 'op' must be one of block,"),
        (HEAD.replace("\n", ",op\n") + GOOD.replace("\n", ",fc\n"), ":2: column 'h_in' must be empty or 1 for a dense"),
        (HEAD.replace("\n", ",key\n") + "7,8,8,,1,1,,,,1,,,Conv_1-input:7x7x8-output:6x6x8\n", ":2: output is 7x7x8"),
        (HEAD + '"20,24\n', ": is not a CSV table"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = table(tmp_path, text)
    with pytest.raises(UserError) as error:
        blocks_csv.read(path)
    assert str(error.value).startswith(f"{path}{message}") and "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: No such file"):
        blocks_csv.read(tmp_path / "none.csv")
    with pytest.raises(UserError, match="/dev/zero: is not a regular file"):
        blocks_csv.read(Path("/dev/zero"))
    (tmp_path / "latin.csv").write_bytes(HEAD.encode() + b"\xff\n")
    with pytest.raises(UserError, match=r"latin.csv: is not UTF-8 text"):
        blocks_csv.read(tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("blocks_pixel4_cpu_tflite_fp32.csv", Origin("pixel4", "cpu", "tflite", "fp32")),
        ("blocks_ultra96_dpu_int8.csv", Origin("ultra96", "dpu", None, "int8")),
        ("kernels_gpu_tflite_fp16.csv", Origin(None, "gpu", "tflite", "fp16")),
        ("blocks_pixel4_cpu_tflite_fp32.unseen.csv", Origin("pixel4", "cpu", "tflite", "fp32")),
        ("unseen.csv", Origin()),
        ("cpu_fp32.csv", Origin()),
    ],
)
def test_what_a_name_tells(name: str, origin: Origin) -> None:
    assert named_origin(Path("folder") / name) == origin.over(Origin(source=name))


def test_proxylessnas_blocks(tmp_path: Path) -> None:
    text = PROXYLESS + "15,24,8,40,6,7,2,0,150,2.5,0.2,a-key\n14,16,14,16,1,3,1,1,,1.5,,\n"
    first, second = proxyless_csv.read(table(tmp_path, text, "blocks_old_cpu_tflite2018_fp32.csv"))
    assert first.work == Block(15, 24, 40, 144, 7, 2, se=False, activation="relu6", skip=False)
    assert second.work == Block(14, 16, 16, 16, 3, 1, se=False, activation="relu6", skip=True)
    assert (first.latency_ms, first.std_ms, first.n, first.tags) == (2.5, 0.2, 150, {"key": "a-key"})
    assert (first.device, first.runtime, second.tags) == ("old", "tflite2018", {})


def test_a_wrong_proxylessnas_row(tmp_path: Path) -> None:
    for row, message in (
        ("15,24,7,40,6,7,2,0,150,2.5,0.2,", r":2: column 'hout' must be 8"),
        ("15,24,8,40,6,7,2,1,150,2.5,0.2,", r":2: skip needs stride 1"),
        ("15,24,8,40,0,7,2,1,150,2.5,0.2,", r":2: column 'expand_ratio' must be"),
    ):
        with pytest.raises(UserError, match=message):
            proxyless_csv.read(table(tmp_path, PROXYLESS + row))
