"""The drawing of a device is text that must not drift; `mnv3c targets` shows it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mnv3c.cli.targets import targets
from mnv3c.targets.device import device_from_document
from mnv3c.targets.drawing import draw
from mnv3c.targets.registry import device_names, find_device

GOLDEN = Path(__file__).parents[1] / "golden"


def app() -> typer.Typer:
    command = typer.Typer()
    command.command()(targets)
    return command


@pytest.mark.parametrize("name", ["cortex-a76", "cortex-a53", "sifive-u74"])
def test_the_drawing_is_as_it_was(name: str) -> None:
    assert draw(find_device(name)) + "\n" == (GOLDEN / f"drawing-{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in device_names() if name != "host"])
def test_every_drawing_is_closed_and_72_columns_at_most(name: str) -> None:
    device = find_device(name)
    lines = draw(device).splitlines()
    boxes = [line for line in lines[1:] if line[0] in "┌│└"]
    assert {len(line) for line in boxes} == {70}
    text = "\n".join(lines)
    assert text.count("┌") == text.count("┐") == text.count("└") == text.count("┘")
    assert text.count("-bit FMA") == device.vector.fma_pipes


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
