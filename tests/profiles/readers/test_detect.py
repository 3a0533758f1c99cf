"""Finding out what a file holds, and keeping the rows that are asked for."""

from collections import Counter
from pathlib import Path
from time import process_time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.profiles.shared_data import FOLDER, needs_shared_data
from tests.profiles.works import record

from mnv3c.graph.errors import UserError
from mnv3c.profiles.block import Block
from mnv3c.profiles.readers.detect import FORMATS, format_of, left_out, read_records
from mnv3c.profiles.readers.origin import Origin
from mnv3c.profiles.record import Record, write_records
from mnv3c.profiles.records_csv import write_csv
from mnv3c.profiles.work import GroupWork, NetworkWork

SAMPLES = {
    "records (JSON lines)": '{"version":1,"work":"network n","device":"d","processor":"cpu","runtime":"r",'
    '"precision":"fp32","threads":1,"latency_ms":2.0}\n',
    "records (CSV)": (
        "version,work,device,processor,runtime,precision,threads,latency_ms\n1,network n,d,cpu,r,fp32,1,2\n"
    ),
    "blocks (CSV: h_in, c_in, c_out, c_expand, ...)": (
        "h_in,c_in,c_out,c_expand,kernel,stride,latency_ms,activation\n8,8,8,16,3,1,2,relu\n"
    ),
    "ProxylessNAS blocks (CSV)": "hin,cin,cout,expand_ratio,kernel,stride,idskip,mean_ms\n8,8,8,3,3,1,1,2\n",
    "GPU kernels (CSV)": (
        "device,gpu,model,op,h_in,c_in,h_out,c_out,kernel,stride,groups,flops,kernel_name,latency_us\n"
        "d,g,m,mean,8,8,8,-,1,-,-,-,mean_1,2000\n"
    ),
    "TopHub (CSV)": (
        "device,task,type,batch,hin,cin,cout,kernel,stride,dtype,cost_ms\nd,conv2d.mali,pw,1,8,8,8,1,1,float32,2\n"
    ),
    "networks (CSV)": (
        "source,model,precision,device,unit,threads,latency_ms_or_value,note\ns,m,fp32,d,CPU,1,2,\ns,m,fp32,d,CPU,-,2,\n"
    ),
    "networks by device (CSV)": "model,d|1large|float|mean,d|1large|float|std\nn,2000,1\n",
    "once-for-all look-up table (YAML)": (
        "# a remark\n'Conv_1-input:7x7x8-output:7x7x16': {mean: 2}\n"
        "expanded_conv-input:8x8x8-output:8x8x8-expand:16-kernel:3-stride:1-idskip:1-se:0-hs:0: {mean: 2}\n"
    ),
    "ProxylessNAS look-up table (YAML)": "Conv-input:224x224x3-output:112x112x8:\n  mean: 2\n",
    "LiteRT benchmark_model profile": (
        "Run Order\n=== Run Order ===\n\t[node type]\t[avg ms]\t[times called]\t[Name]\n\tCONV_2D\t2\t1\tn\n"
    ),
    "onnxruntime profile (JSON)": '[\n{"cat" : "Session","dur" :2000,"name" :"model_run","args" : {}}\n]',
}


def test_every_format_has_a_sample() -> None:
    assert list(SAMPLES) == [known.name for known in FORMATS]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_the_content_tells_the_format(tmp_path: Path, name: str, mark: str) -> None:
    """Whatever the file's name; each sample's first row took 2 ms."""
    path = tmp_path / "measured"
    path.write_text(mark + SAMPLES[name], encoding="utf-8")
    assert [known.name for known in FORMATS if known.recognises(SAMPLES[name])] == [name]
    assert format_of(path).name == name
    assert read_records(path)[0].latency_ms == 2.0


def test_rows_that_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_text(SAMPLES["networks (CSV)"], encoding="utf-8")
    assert left_out(path) == (f"{path}:3: m on d: the number of threads is not known: ''",)
    path.write_text(SAMPLES["networks by device (CSV)"], encoding="utf-8")
    assert left_out(path) == ()


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_own_records(tmp_path: Path, ending: str) -> None:
    """Records that differ in nothing but their figure are all kept."""
    records = (record(), record(latency_ms=2.0, tags={"model": "m"}), record(latency_ms=3.0))
    path = tmp_path / f"r.{ending}"
    {"jsonl": write_records, "csv": write_csv}[ending](path, records)
    assert read_records(path) == records


def test_a_torn_last_line_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_records(path, [record(), record(threads=2)])
    path.write_bytes(path.read_bytes()[:-9])
    assert read_records(path) == (record(),)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"holds no measurement$"):
        read_records(path)


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_spoilt_file_is_one_line(tmp_path: Path, name: str, data: st.DataObject) -> None:
    """Some bytes of a file are replaced by others: it is read, or one line says what is wrong."""
    whole = SAMPLES[name].encode()
    first, last = sorted(data.draw(st.integers(0, len(whole))) for _ in range(2))
    path = tmp_path / "measured"
    path.write_bytes(whole[:first] + data.draw(st.binary(max_size=6)) + whole[last:])
    try:
        records = read_records(path)
    except UserError as error:
        assert str(error).startswith(str(path)) and len(str(error).splitlines()) == 1
    else:
        assert all(one.latency_ms > 0 for one in records)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "a,b\n1,2\n",
        "[1, 2]",
        "name: x\n",
        "\x00\xff",
        '{"format":"other"}\n',
        pytest.param("a" * 200_000, id="long"),
    ],
)
def test_an_unknown_file_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError) as error:
        read_records(path)
    message = str(error.value)
    assert message.startswith(f"{path}: holds no measurements of a known format; known are ") and "\n" not in message
    assert all(known.name in message for known in FORMATS)


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: there is no such file"):
        read_records(tmp_path / "none.csv")
    with pytest.raises(UserError, match="Is a directory"):
        read_records(tmp_path)
    with pytest.raises(UserError, match="/dev/zero: is not a regular file"):
        read_records(Path("/dev/zero"))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    rows = [
        record(device="one", tags={"model": "a"}),
        record(device="two", tags={"model": "a"}, threads=4),
        record(device="two", tags={"model": "b"}, threads=4, work=NetworkWork("large")),
    ]
    write_csv(tmp_path / "mixed.csv", rows)
    return tmp_path / "mixed.csv"


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({}, 3),
        ({"device": "two"}, 2),
        ({"device": "two", "model": "b"}, 1),
        ({"threads": "4"}, 2),
        ({"kind": "block"}, 2),
        ({"latency_ms": "1.5"}, 3),
    ],
)
def test_where(mixed: Path, where: dict[str, str], kept: int) -> None:
    assert len(read_records(mixed, where)) == kept


def test_where_keeps_nothing(mixed: Path) -> None:
    with pytest.raises(UserError) as error:
        read_records(mixed, {"device": "three"})
    assert str(error.value) == f"{mixed}: no row has device=three; there are one, two"
    with pytest.raises(UserError) as error:
        read_records(mixed, {"colour": "red"})
    known = "kind, device, processor, runtime, precision, threads, latency_ms, statistic, model"
    assert str(error.value) == f"{mixed}: no row has 'colour'; rows have {known}"
    with pytest.raises(UserError, match=r"no row has model=b; there are a$"):
        read_records(mixed, {"device": "one", "model": "b"})


def test_what_is_stated_goes_before_the_name(tmp_path: Path) -> None:
    path = tmp_path / "blocks_phone_cpu_tflite_fp32.csv"
    path.write_text(SAMPLES["blocks (CSV: h_in, c_in, c_out, c_expand, ...)"], encoding="utf-8")
    (one,) = read_records(path, stated=Origin(device="tablet", threads=2))
    assert (one.device, one.runtime, one.threads) == ("tablet", "tflite", 2)


def read_shared(name: str) -> tuple[Record, ...]:
    return read_records(FOLDER / name)


@needs_shared_data
@pytest.mark.parametrize(
    ("name", "rows", "origin"),
    [
        ("blocks_pixel4_cpu_tflite_fp32.csv", 854, ("pixel4", "cpu", "tflite", "fp32", 1)),
        ("blocks_pixel6_cpu_tflite_fp32.csv", 854, ("pixel6", "cpu", "tflite", "fp32", 1)),
        ("blocks_pixel1_cpu_tflite_fp32.csv", 10, ("pixel1", "cpu", "tflite", "fp32", 1)),
        ("blocks_xiaomi11_cpu_tflite_fp32.csv", 10, ("xiaomi11", "cpu", "tflite", "fp32", 1)),
        ("blocks_note10_cpu_tflite_fp32.csv", 20, ("note10", "cpu", "tflite", "fp32", 1)),
        ("blocks_ultra96_dpu_int8.csv", 30, ("ultra96", "dpu", "unknown", "int8", 1)),
        ("blocks_pixel1_cpu_tflite2018_fp32.csv", 69, ("pixel1", "cpu", "tflite2018", "fp32", 1)),
    ],
)
def test_published_blocks(name: str, rows: int, origin: tuple[str, ...]) -> None:
    records = read_shared(name)
    assert len(records) == rows and all(isinstance(one.work, Block) for one in records)
    assert {(r.device, r.processor, r.runtime, r.precision, r.threads) for r in records} == {origin}
    assert all(one.work.layer_keys() for one in records)


@needs_shared_data
def test_published_gpu_kernels() -> None:
    start_s = process_time()
    records = read_shared("kernels_gpu_tflite_fp16.csv")
    assert process_time() - start_s < 2.0
    assert Counter(one.device for one in records) == {"pixel4": 4871, "mi8se": 4871, "a03s": 4871}
    assert len({one.key for one in records}) == 14_613
    pixel4 = read_records(FOLDER / "kernels_gpu_tflite_fp16.csv", {"device": "pixel4"})
    assert pixel4 == tuple(one for one in records if one.device == "pixel4")


@needs_shared_data
def test_published_flops_are_those_of_the_keys() -> None:
    """Where the table counts operations, two a multiply-accumulate, the layers have as many."""
    lines = (FOLDER / "kernels_gpu_tflite_fp16.csv").read_text(encoding="utf-8").splitlines()[1:]
    compared = 0
    for line, one in zip(lines, read_shared("kernels_gpu_tflite_fp16.csv"), strict=True):
        op, flops = line.split(",")[3], line.split(",")[11]
        if "conv" in op or op == "fully_connected":
            (key,) = one.work.layer_keys()
            assert 2 * key.macs == int(flops), line
            compared += 1
    assert compared > 10_000


@needs_shared_data
def test_published_tables_of_others() -> None:
    tophub = read_shared("kernels_tophub_tvm.csv")
    assert len(left_out(FOLDER / "kernels_tophub_tvm.csv")) == 67
    assert {one.runtime for one in tophub} == {"tvm"} and len(tophub) <= 3097 - 67
    networks = read_shared("e2e_mobile_networks.csv")
    assert len(networks) + len(left_out(FOLDER / "e2e_mobile_networks.csv")) == 285
    assert not any("FPS" in one.tags.get("note", "") for one in networks)
    for runtime in ("tflite", "torch"):
        matrix = read_shared(f"e2e_{runtime}_cnn_e2e_us.csv")
        assert {one.runtime for one in matrix} == {runtime} and len({one.work for one in matrix}) == 20
        assert len({one.key for one in matrix}) == len(matrix)


def test_a_group_in_a_table_is_read_back(tmp_path: Path) -> None:
    """The one work that a look-up table may hold and that is neither a layer nor a block."""
    path = tmp_path / "t.yaml"
    path.write_text("Logits-input:7x7x8-output:10: {mean: 1}\n", encoding="utf-8")
    (one,) = read_records(path)
    assert isinstance(one.work, GroupWork)
    write_csv(tmp_path / "r.csv", [one])
    assert read_records(tmp_path / "r.csv") == (one,)
