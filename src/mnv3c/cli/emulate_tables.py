"""How `mnv3c emulate` shows one configuration: a row per layer, then what it all comes to."""

from collections import Counter
from typing import Any

import typer

from mnv3c.cli.wide_console import wide_console
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.edgetpu.emulation import Emulation, LayerEmulation, Resource
from mnv3c.targets.edgetpu.energy import LEVELS
from mnv3c.targets.units import format_bytes, format_hertz

_TABLE_WIDTH = 150


def emulation_document(result: Emulation) -> dict[str, Any]:
    """The document of `mnv3c emulate --json`."""
    return {
        "network": result.network,
        "device": result.device,
        "latency": "emulated",
        "clock_hz": result.clock_hz,
        "total_cycles": result.total_cycles,
        "total_ms": result.total_ms,
        "energy_uj": result.energy_uj,
        "area_mm2": result.area_mm2,
        "peak_sram_bytes": result.peak_sram_bytes,
        "dram_bytes": sum(layer.dram_bytes for layer in result.layers),
        "bound": bound(result),
        "layers": [_layer_document(layer, result.clock_hz) for layer in result.layers],
    }


def bound(result: Emulation) -> Resource:
    """The resource that works the most cycles in all."""
    busy: Counter[Resource] = Counter()
    for layer in result.layers:
        busy.update(layer.busy_cycles)
    return max(sorted(busy), key=lambda resource: busy[resource])


def print_emulation(result: Emulation, device: AcceleratorDevice, energy: bool) -> None:
    """A row per layer with its stalls, or with its energy by level, and the totals."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("layer", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for header in ("cycles", "us", "share %", "util %"):
        table.add_column(header, justify="right", no_wrap=True)
    if energy:
        for level in LEVELS:
            table.add_column(f"{level} uJ", justify="right", no_wrap=True)
    else:
        table.add_column("waits for", no_wrap=True)
        for header in ("array", "vector", "dma", "DRAM KB"):
            table.add_column(header, justify="right", no_wrap=True)
    table.add_column("energy uJ", justify="right", no_wrap=True)
    for layer in result.layers:
        table.add_row(*_row(layer, result, energy))
    wide_console(_TABLE_WIDTH).print(table)
    typer.echo(_summary(result, device))


def _row(layer: LayerEmulation, result: Emulation, energy: bool) -> tuple[str, ...]:
    first = (
        layer.name,
        layer.kind,
        f"{layer.cycles:,}",
        f"{layer.cycles / result.clock_hz * 1e6:.2f}",
        f"{100 * layer.cycles / max(result.total_cycles, 1):.1f}",
        f"{100 * layer.utilization:.1f}" if layer.movement.macs else "",
    )
    if energy:
        middle = tuple(f"{layer.energy_pj[level] / 1e6:.3f}" for level in LEVELS)
    else:
        busy = tuple(f"{layer.busy_cycles.get(resource, 0):,}" for resource in ("array", "vector", "dma"))
        middle = ("" if layer.stall == "none" else layer.stall, *busy, f"{layer.dram_bytes / 1e3:.1f}")
    return (*first, *middle, f"{layer.total_energy_pj / 1e6:.3f}")


def _summary(result: Emulation, device: AcceleratorDevice) -> str:
    macs = sum(layer.movement.macs for layer in result.layers)
    peak = result.total_cycles * device.array.macs_per_cycle
    sram = "unlimited" if device.memory.sram_bytes is None else format_bytes(device.memory.sram_bytes)
    dram_bytes = sum(layer.dram_bytes for layer in result.layers)
    return (
        f"emulated {result.network} on {result.device} at {format_hertz(result.clock_hz)}: {result.total_ms:.3f} ms, "
        f"{result.total_cycles:,} cycles, bound by {bound(result)}\n"
        f"{macs / 1e6:.1f} M MACs at {100 * macs / max(peak, 1):.1f} % of the array's peak; "
        f"{result.energy_uj:.1f} uJ; {dram_bytes / 1e6:.2f} MB over DRAM; "
        f"peak SRAM {result.peak_sram_bytes / 1024:.0f} KiB of {sram}; area proxy {result.area_mm2:.2f} mm2"
    )


def _layer_document(layer: LayerEmulation, clock_hz: int) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "cycles": layer.cycles,
        "ms": layer.cycles / clock_hz * 1e3,
        "utilization": layer.utilization,
        "stall": layer.stall,
        "busy_cycles": dict(layer.busy_cycles),
        "macs": layer.movement.macs,
        "dram_bytes": layer.dram_bytes,
        "energy_uj": layer.total_energy_pj / 1e6,
        "energy_by_level_uj": {level: value / 1e6 for level, value in layer.energy_pj.items()},
    }
