"""Accelerators as data: the shipped ones are what they claim, broken files and settings give one clear line."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mnv3c.graph.errors import UserError
from mnv3c.targets.device import load_device
from mnv3c.targets.edgetpu.device import AcceleratorDevice, BlockArray, SystolicArray
from mnv3c.targets.edgetpu.device_settings import SET_BY_USER, parse_setting, settable_keys
from mnv3c.targets.edgetpu.device_technology import technology_names, with_technology
from mnv3c.targets.edgetpu.settings import find_accelerator, parse_settings
from mnv3c.targets.registry import device_paths, devices
from mnv3c.targets.violations import KeyedError

PATHS = {path.stem: path for path in device_paths("edgetpu")}
NAMES = tuple(PATHS)
Edit = Callable[[dict[str, Any]], object]


def test_every_target_device_is_an_accelerator() -> None:
    assert [device.name for device in devices("edgetpu", AcceleratorDevice)] == sorted(NAMES)
    assert {"edgetpu-like", "scalesim-32", "scalesim-64", "gemmini-16", "eyeriss-v2-like"} <= set(NAMES)
    assert {"ethos-u55-256", "ethos-u65-512", "tiny-8x8"} <= set(NAMES)


@pytest.mark.parametrize(
    ("name", "macs", "clock_hz", "tops"),
    [
        ("edgetpu-like", 4096, 480_000_000, 3.93216),
        ("scalesim-32", 1024, 10**9, 2.048),
        ("gemmini-16", 256, 10**9, 0.512),
        ("eyeriss-v2-like", 384, 200_000_000, 0.1536),
        ("ethos-u55-256", 256, 500_000_000, 0.256),
        ("ethos-u65-512", 512, 10**9, 1.024),
        ("tiny-8x8", 64, 100_000_000, 0.0128),
    ],
)
def test_peaks_are_those_that_the_names_promise(name: str, macs: int, clock_hz: int, tops: float) -> None:
    device = find_accelerator(name)
    assert (device.array.macs_per_cycle, device.clock_hz) == (macs, clock_hz)
    assert device.peak_ops / 1e12 == pytest.approx(tops)


@pytest.mark.parametrize("size", [32, 64])
def test_scalesim_has_nothing_but_its_array(size: int) -> None:
    device = find_accelerator(f"scalesim-{size}")
    array, memory = device.array, device.memory
    assert isinstance(array, SystolicArray)
    assert (array.rows, array.cols, array.depthwise, array.accumulator_bytes) == (size, size, "per_channel", None)
    assert memory.sram_bytes is memory.dram_bytes_per_s is memory.sram_bytes_per_cycle is None
    assert device.vector.lanes is device.vector.output_lanes is device.dram_bytes_per_cycle is None


def test_the_two_ethos_agree_with_their_rates() -> None:
    small, large = find_accelerator("ethos-u55-256"), find_accelerator("ethos-u65-512")
    assert isinstance(small.array, BlockArray) and isinstance(large.array, BlockArray)
    assert small.blocks is not None and large.blocks is not None
    # 0.5 and 3.75 GB/s of vela.ini's comments.
    assert (small.dram_bytes_per_cycle, large.dram_bytes_per_cycle) == (1.0, 3.75)
    assert large.array.block_depth == small.array.block_depth * large.blocks.cores
    assert small.blocks.sum_cycles == 2 * large.blocks.sum_cycles
    assert find_accelerator("tiny-8x8").blocks is None


def test_what_a_file_says_goes_before_its_technology() -> None:
    tiny, gemmini = find_accelerator("tiny-8x8"), find_accelerator("gemmini-16")
    # 10 pJ x sqrt(64 KiB / 8 KiB) for 8 bytes.
    assert tiny.energy.sram_read_pj_per_byte == pytest.approx(10 * 8**0.5 / 8, abs=0.005)
    assert tiny.energy.mac_pj == gemmini.energy.mac_pj == pytest.approx(0.2 + 0.1)
    assert tiny.source("energy.mac_pj").startswith("horowitz: ") and "horowitz" in dict(tiny.references)
    assert find_accelerator("edgetpu-like").energy.mac_pj == 0.04


def test_one_reference_cannot_mean_two_things() -> None:
    document = yaml.safe_load(PATHS["tiny-8x8"].read_text())
    document["references"]["horowitz"] = "another paper"
    with pytest.raises(KeyedError, match=r"references\.horowitz: is another reference"):
        with_technology(document)


def edited(name: str, edit: Edit) -> dict[str, Any]:
    document = yaml.safe_load(PATHS[name].read_text())
    edit(document)
    return dict(document)


def value(section: str, key: str, new: object) -> Edit:
    return lambda d: d[section].update({key: {"value": new, "source": "assumption: a test"}})


BROKEN: list[tuple[str, str, Edit, str]] = [
    ("zero rows", "tiny-8x8", value("array", "rows", 0), "array.rows: should be greater than 0, not '0'"),
    ("negative columns", "tiny-8x8", value("array", "cols", -8), "array.cols: should be greater than 0, not '-8'"),
    ("fraction of a row", "tiny-8x8", value("array", "rows", 8.5), "array.rows: should be a valid integer"),
    ("truth for rows", "tiny-8x8", value("array", "rows", True), "array.rows: should be a valid integer, not 'True'"),
    ("no rows", "tiny-8x8", lambda d: d["array"].pop("rows"), "array.rows: is missing"),
    (
        "unknown key",
        "tiny-8x8",
        lambda d: d["array"].update(row=d["array"].pop("rows")),
        "array.row: unknown key; allowed: kind, rows, cols, dataflow, depthwise, depthwise_macs_per_cycle, acc",
    ),
    ("unknown section", "tiny-8x8", lambda d: d.update(cache={}), "cache: unknown key; allowed: name, target, title"),
    ("no memory", "tiny-8x8", lambda d: d.pop("memory"), "memory: is missing"),
    ("unknown kind", "tiny-8x8", value("array", "kind", "round"), "array.kind: should be one of 'systolic', 'blocks'"),
    ("no kind", "tiny-8x8", lambda d: d["array"].pop("kind"), "array.kind: is missing"),
    (
        "dataflow",
        "tiny-8x8",
        value("array", "dataflow", "rs"),
        "array.dataflow: should be 'os', 'ws' or 'is', not 'rs'",
    ),
    ("depthwise", "tiny-8x8", value("array", "depthwise", "fast"), "array.depthwise: should be 'diagonal_ws'"),
    (
        "dedicated without its rate",
        "tiny-8x8",
        value("array", "depthwise", "dedicated"),
        "array.depthwise_macs_per_cycle: must be a number where array.depthwise is 'dedicated'",
    ),
    (
        "a rate that nothing uses",
        "tiny-8x8",
        value("array", "depthwise_macs_per_cycle", 8),
        "array.depthwise_macs_per_cycle: must be null where array.depthwise is 'vector'",
    ),
    (
        "depthwise on no vector unit",
        "tiny-8x8",
        value("vector", "lanes", None),
        "vector.lanes: must be a number where array.depthwise is 'vector'",
    ),
    ("clock without a unit", "tiny-8x8", lambda d: d["clock_hz"].update(value=480), "clock_hz: should be greater than"),
    ("bare clock", "tiny-8x8", lambda d: d.update(clock_hz="1 GHz"), "clock_hz: must be written {value"),
    ("no SRAM", "tiny-8x8", value("memory", "sram_bytes", 0), "memory.sram_bytes: should be greater than 0, not '0'"),
    ("SRAM without a unit", "tiny-8x8", value("memory", "sram_bytes", 8), "memory.sram_bytes: should be greater than"),
    ("wrong unit", "tiny-8x8", value("memory", "sram_bytes", "8 MB"), "memory.sram_bytes: must be an integer or a num"),
    (
        "short size",
        "tiny-8x8",
        value("memory", "sram_bytes", "8M"),
        "memory.sram_bytes: must be an integer or a number",
    ),
    (
        "DRAM without a unit",
        "tiny-8x8",
        value("memory", "dram_bytes_per_s", 25),
        "memory.dram_bytes_per_s: should be gr",
    ),
    ("no tiles", "tiny-8x8", value("memory", "tile_fraction", 0), "memory.tile_fraction: should be greater than 0"),
    ("all tiles", "tiny-8x8", value("memory", "tile_fraction", 1), "memory.tile_fraction: should be less than 1"),
    ("not a number", "tiny-8x8", value("memory", "tile_fraction", float("nan")), "memory.tile_fraction: should be"),
    (
        "text for truth",
        "tiny-8x8",
        value("memory", "pins_weights", "no"),
        "memory.pins_weights: should be a valid bool",
    ),
    (
        "banks without their width",
        "tiny-8x8",
        value("memory", "bank_bytes_per_cycle", None),
        "memory: sram_banks and bank_bytes_per_cycle must both be null or both be numbers",
    ),
    (
        "negative energy",
        "tiny-8x8",
        value("energy", "mac_pj", -1),
        "energy.mac_pj: should be greater than or equal to 0",
    ),
    (
        "infinite area",
        "tiny-8x8",
        lambda d: d.update(area={"mac_um2": {"value": float("inf"), "source": "toy"}}),
        "area.",
    ),
    ("no energy at all", "tiny-8x8", lambda d: d.pop("technology"), "energy.mac_pj: is missing"),
    ("unknown technology", "tiny-8x8", lambda d: d.update(technology="3nm"), "technology: must be one of 45nm, "),
    ("technology as a path", "tiny-8x8", lambda d: d.update(technology="../45nm"), "technology: must be one of 45nm, "),
    ("technology as a list", "tiny-8x8", lambda d: d.update(technology=["45nm"]), "technology: must be one of 45nm, "),
    ("text for energies", "tiny-8x8", lambda d: d.update(energy="low"), "energy: should be a valid dictionary"),
    ("list for references", "tiny-8x8", lambda d: d.update(references=[1]), "references: should be a valid tuple"),
    (
        "systolic keys in a block array",
        "ethos-u55-256",
        value("array", "rows", 8),
        "array.rows: unknown key; allowed: kind, block_height, block_width, block_depth, input_depth, depthwise",
    ),
    (
        "diagonal in a block array",
        "ethos-u55-256",
        value("array", "depthwise", "diagonal_ws"),
        "array.depthwise: should be 'dedicated', not 'diagonal_ws'",
    ),
    (
        "blocks without an engine",
        "ethos-u55-256",
        lambda d: d.pop("blocks"),
        "blocks: must be there where array.kind is",
    ),
    (
        "cores that share nothing",
        "ethos-u65-512",
        value("array", "block_depth", 15),
        "array.block_depth: must be a multi",
    ),
    (
        "unknown engine key",
        "ethos-u55-256",
        value("blocks", "width", 1),
        "blocks.width: unknown key; allowed: cores, st",
    ),
]


@pytest.mark.parametrize(("name", "edit", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_accelerator_is_refused_by_its_key(name: str, edit: Edit, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump(edited(name, edit)))
    with pytest.raises(UserError) as error:
        load_device(path, AcceleratorDevice)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_a_systolic_array_has_no_engine_of_blocks(tmp_path: Path) -> None:
    document = edited("tiny-8x8", lambda d: None)
    document["blocks"] = yaml.safe_load(PATHS["ethos-u55-256"].read_text())["blocks"]
    document["references"]["vela"] = "made up"
    path = tmp_path / "both.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(UserError, match=r"blocks: must be there where array\.kind is 'blocks', and only there"):
        load_device(path, AcceleratorDevice)


def test_a_cpu_is_no_accelerator() -> None:
    with pytest.raises(UserError) as error:
        find_accelerator("cortex-a76")
    assert str(error.value) == (
        "device 'cortex-a76' is a CPU: use mnv3c compile, tune or measure; here an accelerator is needed"
    )
    with pytest.raises(UserError, match="there is no device 'edgetpu'; did you mean edgetpu-like"):
        find_accelerator("edgetpu")


def test_a_setting_changes_one_number_and_its_source() -> None:
    plain = find_accelerator("edgetpu-like")
    changed = plain.with_settings({"rows": 32, "memory.sram_bytes": "256K", "dataflow": "os"})
    array = changed.array
    assert isinstance(array, SystolicArray)
    assert (array.rows, array.cols, array.dataflow, changed.memory.sram_bytes) == (32, 64, "os", 1 << 18)
    assert changed.source("array.rows") == changed.source("memory.sram_bytes") == SET_BY_USER
    assert changed.source("array.cols") == plain.source("array.cols")
    assert changed.name == plain.name and changed.fingerprint != plain.fingerprint
    assert changed.with_settings({"rows": 64, "sram_bytes": "8M", "dataflow": "ws"}).fingerprint == plain.fingerprint
    assert plain.with_settings({}) == plain


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("memory.sram_bytes", "256K", 256 << 10),
        ("memory.sram_bytes", "1.5M", 3 << 19),
        ("memory.sram_bytes", "1G", 1 << 30),
        ("memory.sram_bytes", "64 KiB", 64 << 10),
        ("memory.sram_bytes", "65536", 65536),
        ("memory.sram_bytes", "none", None),
        ("array.accumulator_bytes", "null", None),
        ("clock_hz", "480MHz", 480_000_000),
        ("clock_hz", "1e9", 10**9),
        ("memory.dram_bytes_per_s", "25.6GB/s", 25_600_000_000),
        ("memory.tile_fraction", ".25", 0.25),
        ("memory.pins_weights", "False", False),
        ("energy.mac_pj", "1", 1.0),
        ("array.depthwise", " vector ", "vector"),
    ],
)
def test_text_is_read_with_its_unit(key: str, text: str, expected: object) -> None:
    changed = find_accelerator("edgetpu-like").with_settings({key: text})
    found = next(quantity.value for quantity in changed.quantities() if quantity.key == key)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"row": "8"}, "there is no key 'row'; did you mean rows"),
        ({"name": "mine"}, "there is no key 'name'; "),
        ({"array.kind": "blocks"}, "there is no key 'array.kind'; "),
        ({"blocks.cores": "2"}, "there is no key 'blocks.cores'; "),
        ({"rows": "0"}, "array.rows: should be greater than 0, not '0'"),
        ({"rows": "many"}, "array.rows: should be a valid integer, not 'many'"),
        ({"rows": "8K"}, "array.rows: should be a valid integer, not '8K'"),
        ({"rows": "none"}, "array.rows: should be a valid integer, not 'null'"),
        ({"sram_bytes": "256KB"}, "memory.sram_bytes: must be an integer or a number with one of the units B, KiB"),
        ({"sram_bytes": "8"}, "memory.sram_bytes: should be greater than or equal to 1024, not '8'"),
        ({"clock_hz": "480"}, "clock_hz: should be greater than or equal to 1000000, not '480'"),
        ({"clock_hz": "480M"}, "clock_hz: must be an integer or a number with one of the units Hz, kHz, MHz, GHz"),
        ({"dram_bytes_per_s": "1G"}, "memory.dram_bytes_per_s: must be an integer or a number with one of the units"),
        ({"tile_fraction": "nan"}, "memory.tile_fraction: should be a valid number, not 'nan'"),
        ({"technology": "3nm"}, "technology: must be one of 45nm, "),
        ({"rows": "8", "array.rows": "8"}, "a key is set twice, dotted and by its last part"),
        ({"depthwise": "dedicated"}, "array.depthwise_macs_per_cycle: must be a number where"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as error:
        find_accelerator("edgetpu-like").with_settings(settings)
    assert str(error.value).startswith(f"settings of 'edgetpu-like': {message}")
    assert "\n" not in str(error.value)


def test_another_technology_changes_energies_and_settings_go_before_it() -> None:
    plain = find_accelerator("edgetpu-like")
    changed = plain.with_settings({"mac_pj": "0.5", "technology": "45nm"})
    assert (changed.energy.mac_pj, changed.energy.dram_pj_per_byte) == (0.5, 243.75)
    assert changed.source("energy.dram_pj_per_byte").startswith("horowitz: ")
    assert changed.memory == plain.memory and changed.technology == "45nm"
    # A name is no number: energies decide.
    assert plain.with_settings({"technology": str(plain.technology)}).fingerprint == plain.fingerprint


@pytest.mark.parametrize("technology", technology_names())
def test_every_technology_fits_every_device(technology: str) -> None:
    for name in NAMES:
        assert find_accelerator(name).with_settings({"technology": technology}).technology == technology


@pytest.mark.parametrize("name", NAMES)
def test_the_last_part_of_a_key_names_one_key(name: str) -> None:
    keys = settable_keys(find_accelerator(name))
    assert len({key.rpartition(".")[2] for key in keys}) == len(keys)
    for quantity in find_accelerator(name).quantities():
        assert quantity.key == "array.kind" or quantity.key in keys
    for key in keys:
        find_accelerator(name).require_key(key)


def test_an_unknown_key_names_the_allowed_ones() -> None:
    with pytest.raises(
        UserError, match=r"no key 'sram'; did you mean sram_bytes or .*allowed: clock_hz, array.rows, .*, technology$"
    ):
        find_accelerator("tiny-8x8").require_key("sram")


def test_settings_come_as_key_and_value() -> None:
    assert parse_settings(["dataflow=ws", " sram_bytes = 256K "]) == {"dataflow": "ws", "sram_bytes": "256K"}
    for text in ("dataflow", "=ws", "dataflow="):
        with pytest.raises(UserError, match="must be KEY=VALUE, such as dataflow=ws"):
            parse_settings([text])
    with pytest.raises(UserError, match="'rows' is set twice"):
        parse_settings(["rows=8", "rows=16"])


def test_short_sizes_are_for_bytes_alone() -> None:
    assert parse_setting("sram_bytes", "8M") == "8 MiB"
    assert parse_setting("dram_bytes_per_s", "8M") == parse_setting("rows", "8M") == "8M"


def test_a_thousand_settings_take_no_second() -> None:
    device = find_accelerator("ethos-u65-512")
    start = time.process_time()
    found = {device.with_settings({"sram_bytes": size << 10, "lanes": 4}).fingerprint for size in range(1, 1001)}
    assert len(found) == 1000 and time.process_time() - start < 1


def test_the_drawn_comment_opens_every_file() -> None:
    for path in PATHS.values():
        head = path.read_text().partition("\nname:")[0]
        assert len(re.findall(r"(?m)^#", head)) >= 8
