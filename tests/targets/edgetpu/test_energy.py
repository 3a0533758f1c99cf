"""Energy and area: each count at its own figure, nothing else."""

from dataclasses import replace

import pytest

from mnv3c.targets.edgetpu.emulation import Movement
from mnv3c.targets.edgetpu.energy import LEVELS, area_mm2, energy_pj, sram_factor
from mnv3c.targets.edgetpu.settings import find_accelerator

NOTHING = Movement(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
FIGURES = {
    "mac_pj": "1",
    "accumulator_pj_per_byte": "10",
    "sram_read_pj_per_byte": "100",
    "sram_write_pj_per_byte": "1000",
    "dram_pj_per_byte": "10000",
    "vector_pj": "100000",
    "leakage_w": "0",
    "sram_reference_bytes": "none",
}


@pytest.mark.parametrize(
    ("counts", "level", "expected"),
    [
        ({"macs": 7}, "mac", 7),
        ({"accumulator_bytes": 7}, "accumulator", 70),
        ({"array_sram_read_bytes": 3, "vector_sram_read_bytes": 4}, "sram", 700),
        ({"array_sram_write_bytes": 3, "vector_sram_write_bytes": 4}, "sram", 7000),
        ({"vector_operations": 7}, "vector", 700_000),
        ({"dram_read_bytes": 3, "dram_write_bytes": 4}, "dram", 70_000),
    ],
)
def test_each_count_costs_its_own_figure(counts: dict[str, int], level: str, expected: float) -> None:
    device = find_accelerator("edgetpu-like").with_settings(FIGURES)
    found = energy_pj(replace(NOTHING, **counts), 0, device)
    assert tuple(found) == LEVELS
    assert found[level] == pytest.approx(expected)


def test_a_byte_loaded_is_written_to_the_sram_and_a_byte_stored_is_read_from_it() -> None:
    device = find_accelerator("edgetpu-like").with_settings(FIGURES)
    moved = replace(NOTHING, dma_sram_bytes=9, dram_read_bytes=5, dram_write_bytes=4)
    assert energy_pj(moved, 0, device)["sram"] == pytest.approx(5 * 1000 + 4 * 100)


def test_leakage_is_power_over_time() -> None:
    device = find_accelerator("edgetpu-like").with_settings({**FIGURES, "leakage_w": "0.5", "clock_hz": "500 MHz"})
    assert energy_pj(NOTHING, 1000, device)["leakage"] == pytest.approx(0.5 * 2e-6 * 1e12)


def test_a_larger_sram_costs_the_root_of_its_size() -> None:
    device = find_accelerator("edgetpu-like").with_settings({**FIGURES, "sram_reference_bytes": "1M"})
    assert sram_factor(device.with_settings({"sram_bytes": "4M"})) == pytest.approx(2.0)
    assert sram_factor(device.with_settings({"sram_bytes": "256K"})) == pytest.approx(0.5)
    assert sram_factor(device.with_settings({"sram_bytes": "none"})) == 1.0
    assert sram_factor(device.with_settings({"sram_reference_bytes": "none"})) == 1.0


def test_area_adds_up() -> None:
    device = find_accelerator("gemmini-16")
    larger = device.with_settings({"rows": "32"})
    assert (area_mm2(larger) - area_mm2(device)) * 1e6 == pytest.approx(256 * device.area.mac_um2)
    bare = {"mac_um2": "0", "sram_um2_per_byte": "0", "lane_um2": "0", "fixed_mm2": "1.5"}
    assert area_mm2(device.with_settings(bare)) == 1.5
