"""Tables of whole networks."""

from pathlib import Path

import pytest

from mnv3c.graph.errors import UserError
from mnv3c.profiles.readers import e2e_matrix_csv, networks_csv
from mnv3c.profiles.readers.origin import Origin

HEAD = "source,model,precision,device,unit,threads,latency_ms_or_value,note\n"


def table(tmp_path: Path, text: str, name: str) -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_networks_with_a_known_latency(tmp_path: Path) -> None:
    text = HEAD + (
        "XNNPACK,Net V1,fp32,Phone 1,CPU,1,82,\n"
        "Paper,net2,int8,Phone 1,CPU ARMV8,1 big core,43.5,warm\n"
        "Paper,net3,fp16,Board,GPU(OpenCL),-,3,\n"
        "Coral,net4.tflite,int8,Stick,EdgeTPU,-,2.5,\n"
        "Paper,net5,fp32,Board,cpu,4,7,\n"
    )
    records = networks_csv.read(table(tmp_path, text, "n.csv"), Origin(licence="CC0"))
    assert [str(record.work) for record in records] == [
        *("network Net_V1", "network net2", "network net3", "network net4.tflite", "network net5")
    ]
    assert [record.processor for record in records] == ["cpu", "cpu:armv8", "gpu:opencl", "edgetpu", "cpu"]
    assert [record.runtime for record in records] == ["tflite-xnnpack", "unknown", "unknown", "edgetpu", "unknown"]
    assert [record.threads for record in records] == [1, 1, 1, 1, 4]
    assert [record.latency_ms for record in records] == [82, 43.5, 3, 2.5, 7]
    assert records[1].tags == {"note": "warm"} and records[0].tags == {}
    assert {(record.source, record.licence) for record in records[:2]} == {("XNNPACK", "CC0"), ("Paper", "CC0")}


def test_what_is_no_latency_is_left_out_by_name(tmp_path: Path) -> None:
    text = HEAD + (
        "Paper,net,fp32,Phone,CPU,1,82,\n"
        "Chip,fast,int8,NPU9,NPU,-,3305,FPS batch1 (throughput)\n"
        "Chip,raw,see name,V6,row: CPU [NPU],4 (CPU),47.8   13.6,raw row; two numbers\n"
        "Paper,many,fp32,Phone,CPU,all big,43,\n"
        "Paper,untold,fp32,Phone,CPU,-,43,\n"
    )
    path = table(tmp_path, text, "n.csv")
    assert [str(record.work) for record in networks_csv.read(path)] == ["network net"]
    assert list(networks_csv.left_out(path)) == [
        f"{path}:3: fast on NPU9: frames per second, not a latency",
        f"{path}:4: raw on V6: several numbers in one cell",
        f"{path}:5: many on Phone: the number of threads is not known: 'all big'",
        f"{path}:6: untold on Phone: the number of threads is not known: ''",
    ]


def test_a_wrong_network_row(tmp_path: Path) -> None:
    path = table(tmp_path, HEAD + "Paper,net,fp32,Phone,CPU,1,fast,\n", "n.csv")
    with pytest.raises(UserError, match=r"n.csv:2: column 'latency_ms_or_value' must be a number, 0 or above"):
        networks_csv.read(path)


MATRIX = (
    "model,flops,size,p4|1large|float|mean,p4|1large|float|std,p4|2med|float|mean,p4|2med|float|std,"
    "p4|1large2med|quant|mean,p4|1large2med|quant|std,p4|gpu|float|mean,p4|gpu|float|std\n"
)


def test_a_matrix_of_networks(tmp_path: Path) -> None:
    text = MATRIX + "net,9,9,3000,5,2000,,1000,1,500,0\nother,9,9,,,,,4000,2,,,\n"
    path = table(tmp_path, text, "e2e_tflite_made_up_us.csv")
    records = e2e_matrix_csv.read(path)
    assert [str(record.work) for record in records] == ["network net"] * 4 + ["network other"]
    assert [(r.device, r.processor, r.threads, r.precision, r.latency_ms, r.std_ms) for r in records] == [
        ("p4", "cpu:large", 1, "fp32", 3.0, 0.005),
        ("p4", "cpu:med", 2, "fp32", 2.0, None),
        ("p4", "cpu:large+med", 3, "int8", 1.0, 0.001),
        ("p4", "gpu", 1, "fp16", 0.5, 0.0),
        ("p4", "cpu:large+med", 3, "int8", 4.0, 0.002),
    ]
    assert {record.runtime for record in records} == {"tflite"} and records[2].tags == {"cores": "1large2med"}


def test_a_gpu_of_another_runtime_computes_in_fp32(tmp_path: Path) -> None:
    text = "model,p4|gpu|float|mean,p4|gpu|float|std\nnet,500,1\n"
    (record,) = e2e_matrix_csv.read(table(tmp_path, text, "e2e_torch_made_up_us.csv"))
    assert (record.runtime, record.precision) == ("torch", "fp32")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,p4|large|float|mean\nn,1\n", ":1: column 'p4|large|float|mean' must be DEVICE|CORES|float or quant"),
        ("model,p4|1large|double|mean\nn,1\n", ":1: column 'p4|1large|double|mean' must be"),
        ("model,p4|1large|float|mode\nn,1\n", ":1: column 'p4|1large|float|mode' must be"),
        ("model,p4|gpu|float|mean,p4|gpu|float|mean\nn,1,1\n", ":1: a column appears twice"),
        ("model,p4|gpu|float|mean\nn,0\n", ":2: column 'p4|gpu|float|mean' must be a number above 0, not '0'"),
        ("model,p4|gpu|float|mean\nn\n", ":2: has 1 cells, and the header has 2 columns"),
        ("model,p4|gpu|float|mean\nn,-\n", ": has no latency in it"),
        ("model,p4|gpu|float|mean\n,5\n", ":2: column 'model' must not be empty"),
    ],
)
def test_a_wrong_matrix_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = table(tmp_path, text, "m.csv")
    with pytest.raises(UserError) as error:
        e2e_matrix_csv.read(path)
    assert str(error.value).startswith(f"{path}{message}")
