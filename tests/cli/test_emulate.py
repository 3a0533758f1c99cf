"""`mnv3c emulate`: one configuration, sweeps, and what is wrong with an input."""

import json
from pathlib import Path
from typing import Any

import pytest

FIELDS = {"device", "total_cycles", "total_ms", "energy_uj", "peak_sram_bytes", "layers"}
LAYER_FIELDS = {"name", "cycles", "utilization", "stall", "dram_bytes", "energy_uj"}
NETWORK = ("small", "--width", "0.35", "--resolution", "96")


@pytest.mark.parametrize("device", ["edgetpu-like", "tiny-8x8", "gemmini-16", "ethos-u55-256"])
def test_the_document(mnv3c: Any, device: str) -> None:
    document = mnv3c("emulate", *NETWORK, "--device", device, "--json").document
    assert set(document) >= FIELDS
    assert document["device"] == device
    assert all(set(layer) >= LAYER_FIELDS for layer in document["layers"])
    assert sum(layer["cycles"] for layer in document["layers"]) == document["total_cycles"]
    assert sum(layer["energy_uj"] for layer in document["layers"]) == pytest.approx(document["energy_uj"])
    assert document["total_ms"] == pytest.approx(document["total_cycles"] / document["clock_hz"] * 1e3)
    assert all(0 <= layer["utilization"] <= 1 for layer in document["layers"])


def test_the_table_says_that_it_is_emulated(mnv3c: Any) -> None:
    shown = mnv3c("emulate", *NETWORK, "--set", "dataflow=os", "--set", "memory.sram_bytes=1M")
    assert shown.code == 0
    assert "emulated mobilenet_v3_small" in shown.stdout and "on edgetpu-like at 480 MHz" in shown.stdout
    assert "of 1 MiB" in shown.stdout
    by_level = mnv3c("emulate", *NETWORK, "--energy").stdout
    assert "dram uJ" in by_level and "…" not in by_level


def test_settings_change_the_machine(mnv3c: Any) -> None:
    cycles = {
        text: mnv3c("emulate", *NETWORK, "--set", text, "--json").document["total_cycles"]
        for text in ("clock_hz=480MHz", "rows=8", "dataflow=is")
    }
    assert cycles["rows=8"] > cycles["clock_hz=480MHz"] and len(set(cycles.values())) == 3


def test_a_sweep_keeps_its_points_and_goes_on(mnv3c: Any, tmp_path: Path) -> None:
    kept, plot = tmp_path / "points.jsonl", tmp_path / "front.svg"
    words = ("emulate", *NETWORK, "--sweep", "rows=8,16", "--sweep", "sram_bytes=256K,1M")
    document = mnv3c(*words, "-o", kept, "--plot", plot, "--processes", "1", "--json").document
    assert [point["settings"] for point in document["points"]] == [
        {"rows": rows, "sram_bytes": sram} for rows in ("8", "16") for sram in ("256K", "1M")
    ]
    assert any(point["pareto"] for point in document["points"])
    assert plot.read_bytes().startswith(b"<?xml")
    lines = kept.read_bytes().splitlines(keepends=True)
    # As a kill would leave it: two points and half a line.
    kept.write_bytes(b"".join(lines[:2]) + lines[2][:40])
    assert mnv3c(*words, "-o", kept, "--processes", "1", "--json").document["points"] == document["points"]
    assert sorted(kept.read_bytes().splitlines()) == sorted(line.rstrip() for line in lines)
    table = mnv3c(*words, "-o", kept).stdout
    assert "configurations are beaten by none" in table


def test_two_networks_on_two_processes(mnv3c: Any) -> None:
    words = ("emulate", *NETWORK, "--also", "small", "--sweep", "rows=8,16,32,64", "--sweep", "cols=8,16")
    points = mnv3c(*words, "--processes", "2", "--json").document["points"]
    assert len(points) == 16 and len({point["network"] for point in points}) == 2
    assert "network" in mnv3c(*words).stdout.splitlines()[0]


def test_a_trace_opens(mnv3c: Any, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    mnv3c("emulate", *NETWORK, "--trace", path).require_success()
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    assert {"dma", "array", "vector"} <= {event.get("cat") for event in events}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--device", "cortex-a76"), "an accelerator is needed"),
        (("--device", "edgetpu"), "did you mean edgetpu-like"),
        (("--set", "rows"), "must be KEY=VALUE, such as"),
        (("--set", "rows=0"), "array.rows"),
        (("--set", "row=8"), "rows"),
        (("--set", "sram_bytes=4"), "memory.sram_bytes"),
        (("--set", "clock_hz=480"), "clock_hz"),
        (("--set", "dataflow=ns"), "array.dataflow"),
        (("--set", "sram_bytes=1K", "--set", "tile_fraction=0.01"), "memory.sram_bytes"),
        (("--sweep", "row=8,16"), "rows"),
        (("--sweep", "rows"), "--sweep must be KEY=VALUE,VALUE"),
        (("--sweep", "rows=8", "--sweep", "rows=16"), "is given twice"),
        (("--sweep", "rows=0"), "not one of 1 configurations runs"),
        (("--sweep", "rows=8", "--plot", "front.txt"), "a plot is written as"),
        (("--sweep", "rows=8", "--trace", "x.json"), "--trace shows one configuration"),
        (("--plot", "front.svg"), "--plot draws a sweep"),
        (("-o", "points.jsonl"), "--output keeps a sweep's points"),
        (("--also", "small"), "--also is for sweeps"),
        (("--trace", "nowhere/trace.json"), "there is no folder"),
    ],
)
def test_wrong_input_gives_one_line(
    mnv3c: Any, words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = mnv3c("emulate", *NETWORK, *words)
    assert outcome.code == 2
    assert message in outcome.message
    assert not list(tmp_path.iterdir())


def test_a_file_of_something_else_is_refused(mnv3c: Any, tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    path.write_text('{"other": 1}\n', encoding="utf-8")
    outcome = mnv3c("emulate", *NETWORK, "--sweep", "rows=8", "-o", path)
    assert (outcome.code, outcome.message) == (2, f"{path}:1: is not a point of a sweep")
    assert path.read_text(encoding="utf-8") == '{"other": 1}\n'
