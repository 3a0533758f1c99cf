"""The drawing of a device is text that must not drift; `mnv3c targets` shows it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mnv3c.cli.device_kinds import kind_of
from mnv3c.cli.targets import targets
from mnv3c.targets.device import Device, device_from_document
from mnv3c.targets.drawing import draw
from mnv3c.targets.edgetpu.device import AcceleratorDevice, SystolicArray
from mnv3c.targets.edgetpu.drawing import draw as draw_accelerator
from mnv3c.targets.registry import device_names, devices, find_device, target_names

GOLDEN = Path(__file__).parents[1] / "golden"
CPUS = [device.name for target in target_names() for device in devices(target)]
ACCELERATORS = [device.name for target in target_names() for device in devices(target, AcceleratorDevice)]


def app() -> typer.Typer:
    command = typer.Typer()
    command.command()(targets)
    return command


@pytest.mark.parametrize(
    "name", ["cortex-a76", "cortex-a53", "sifive-u74", "edgetpu-like", "ethos-u65-512", "scalesim-32"]
)
def test_the_drawing_is_as_it_was(name: str) -> None:
    device = find_device(name, kind=Device)
    assert kind_of(device).draw(device) + "\n" == (GOLDEN / f"drawing-{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in device_names() if name != "host"])
def test_every_drawing_is_closed_and_72_columns_at_most(name: str) -> None:
    device = find_device(name, kind=Device)
    lines = kind_of(device).draw(device).splitlines()
    boxes = [line for line in lines[1:] if line[0] in "┌│└"]
    assert {len(line) for line in boxes} == {70}
    text = "\n".join(lines)
    assert text.count("┌") == text.count("┐") == text.count("└") == text.count("┘")


@pytest.mark.parametrize("name", CPUS)
def test_every_pipe_is_drawn(name: str) -> None:
    device = find_device(name)
    assert draw(device).count("-bit FMA") == device.vector.fma_pipes


@pytest.mark.parametrize("name", ACCELERATORS)
def test_an_array_is_drawn_whole(name: str) -> None:
    device = find_device(name, kind=AcceleratorDevice)
    text = draw_accelerator(device)
    scale = re.search(r"each ■ is (?:(\d+) x (\d+) elements|one element)", text)
    assert scale is not None
    elements = (text.count("■") - 1) * int(scale[1] or 1) * int(scale[2] or 1)
    array = device.array
    assert elements == array.macs_per_cycle // (1 if isinstance(array, SystolicArray) else array.input_depth)


def test_an_odd_array_is_drawn_with_its_edge() -> None:
    device = find_device("tiny-8x8", kind=AcceleratorDevice)
    text = draw_accelerator(device.with_settings({"rows": 251, "cols": 1}))
    # 251 is prime: eight cells of 32 rows, the last of them smaller.
    assert text.count("■") == 8 + 1 and "each ■ is 32 x 1 elements" in text


def test_banks_are_drawn_as_long_as_they_are_few() -> None:
    device = find_device("tiny-8x8", kind=AcceleratorDevice)
    assert "│ 16 KiB │ │ 16 KiB │ │ 16 KiB │ │ 16 KiB │" in draw_accelerator(device.with_settings({"sram_banks": 4}))
    assert "8 banks of 8 KiB" in draw_accelerator(device.with_settings({"sram_banks": 8}))
    assert "one bank" in draw_accelerator(device.with_settings({"sram_banks": 1}))


def test_a_long_title_is_cut_inside_its_box() -> None:
    device = find_device("cortex-a76")
    document = device.document() | {"llvm": {"cpu": "x" * 90}}
    lines = draw(device_from_document(document, "long")).splitlines()
    assert len(lines[1]) == 70 and "…" in lines[1]


def test_the_list_names_every_device() -> None:
    result = CliRunner().invoke(app(), [])
    assert result.exit_code == 0
    assert all(name in result.output for name in device_names() if name != "host")
    assert "cortex-a76 *" in result.output and "cortex-a78 *" not in result.output


def test_one_device_is_shown_with_every_source() -> None:
    device = find_device("cortex-a55")
    result = CliRunner().invoke(app(), ["cortex-a55"])
    assert result.exit_code == 0
    assert draw(device) in result.output
    assert all(quantity.source in result.output for quantity in device.quantities())
    assert "34.1 GB/s" in result.output and "1.78 GHz" in result.output


def test_an_accelerator_is_shown_with_every_source_and_in_a_table_of_its_own() -> None:
    device = find_device("ethos-u65-512", kind=AcceleratorDevice)
    shown = CliRunner().invoke(app(), ["ethos-u65-512"])
    assert shown.exit_code == 0 and draw_accelerator(device) in shown.output
    assert all(quantity.source in shown.output for quantity in device.quantities())
    assert "3.75 GB/s" in shown.output and "blocks.sum_cycles" in shown.output
    listed = CliRunner().invoke(app(), ["edgetpu"]).output
    assert "GFLOP/s" not in listed and all(name in listed for name in ACCELERATORS) and "edgetpu-like *" in listed
    row = next(line for line in listed.splitlines() if line.startswith("edgetpu-like"))
    assert all(text in row for text in ("64 x 64", "weights stay", "480 MHz", "8 MiB", "500 MB/s", "3.93"))
    cpus = CliRunner().invoke(app(), ["arm64"]).output
    assert "TOPS" not in cpus and "GFLOP/s" in cpus


def test_json_of_an_accelerator_reads_back() -> None:
    device = find_device("edgetpu-like", kind=AcceleratorDevice)
    shown = json.loads(CliRunner().invoke(app(), ["edgetpu-like", "--json"]).stdout)
    assert (shown["macs_per_cycle"], shown["peak_tops"], shown["array.dataflow"]) == (4096, 3.93216, "ws")
    assert device_from_document(shown["device"], "json", AcceleratorDevice) == device
    listed = json.loads(CliRunner().invoke(app(), ["edgetpu", "--json"]).stdout)["targets"]
    assert [target["default"] for target in listed] == ["edgetpu-like"]


def test_json_is_one_document_that_reads_back() -> None:
    device = find_device("neoverse-n1")
    shown = json.loads(CliRunner().invoke(app(), ["neoverse-n1", "--json"]).stdout)
    assert shown["peak_gflops_per_core"] == 40.0 and shown["vector.bits"] == 128
    assert device_from_document(shown["device"], "json") == device
    listed = json.loads(CliRunner().invoke(app(), ["--json"]).stdout)
    arm64 = next(target for target in listed["targets"] if target["name"] == "arm64")
    assert arm64["default"] == "cortex-a76"
    assert "neoverse-n1" in [entry["name"] for entry in arm64["devices"]]


def test_the_command_is_light() -> None:
    heavy = "import sys, mnv3c.cli.targets; print(sorted({'tvm', 'numpy', 'networkx'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
