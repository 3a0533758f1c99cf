"""How `mnv3c targets` shows devices: a table of all, or one with the source of every number."""

import typer

from mnv3c.graph.errors import MissingError
from mnv3c.targets.device import CpuDevice, Quantity
from mnv3c.targets.drawing import draw
from mnv3c.targets.registry import HOST, default_device, devices, find_device, target_names
from mnv3c.targets.units import format_bytes, format_bytes_per_s, format_hertz

# Titles would break after every word in the 80 columns that a pipe is given.
_TABLE_WIDTH = 132


def all_devices() -> tuple[CpuDevice, ...]:
    """The host first, where it can be detected, then the devices with files."""
    with_files = tuple(device for target in target_names() for device in devices(target))
    try:
        return (find_device(HOST), *with_files)
    except MissingError:
        return with_files


def listing(known: tuple[CpuDevice, ...]) -> dict[str, object]:
    """The document of `mnv3c targets --json`."""
    return {
        "targets": [
            {
                "name": target,
                "default": default_device(target),
                "devices": [summary(device) for device in known if device.target == target],
            }
            for target in target_names()
            if any(device.target == target for device in known)
        ]
    }


def summary(device: CpuDevice) -> dict[str, object]:
    """One device with all its values, without their sources."""
    return {
        "name": device.name,
        "target": device.target,
        "title": device.title,
        "fingerprint": device.fingerprint,
        "llvm_cpu": device.llvm.cpu,
        "peak_gflops_per_core": device.peak_flops / 1e9,
        **{quantity.key: quantity.value for quantity in device.quantities()},
    }


def print_table(known: tuple[CpuDevice, ...]) -> None:
    """All devices, one a line."""
    # rich takes a tenth of a second to import, which a JSON document need not pay.
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("device", "target", "cores"):
        table.add_column(header, no_wrap=True)
    for header in ("bits", "regs", "FMA", "GFLOP/s"):
        table.add_column(header, justify="right", no_wrap=True)
    for header in ("L1d", "L2", "L3"):
        table.add_column(header, justify="right")
    table.add_column("title")
    defaults = {default_device(target) for target in target_names()}
    for device in known:
        table.add_row(*_row(device, device.name in defaults))
    console = Console(highlight=False)
    console = Console(highlight=False, width=max(console.width, _TABLE_WIDTH))
    console.print(table)
    console.print("\n* taken when only the target is named. GFLOP/s: fp32 peak of one core.", style="dim")


def _row(device: CpuDevice, is_default: bool) -> tuple[str, ...]:
    from rich.markup import escape

    l3_bytes = device.cache.l3_bytes
    return (
        f"{device.name}{' *' if is_default else ''}",
        device.target,
        str(device.cores),
        str(device.vector.bits),
        str(device.vector.registers),
        str(device.vector.fma_pipes),
        f"{device.peak_flops / 1e9:.1f}",
        format_bytes(device.cache.l1d_bytes),
        format_bytes(device.cache.l2_bytes),
        "-" if l3_bytes is None else format_bytes(l3_bytes),
        escape(device.title),
    )


def print_device(device: CpuDevice) -> None:
    """One device: its drawing, and every number with its source."""
    # Plain text, so that a source is never broken in the middle of a name when the output is piped or copied.
    typer.echo(draw(device))
    rows = [(quantity.key, _shown(quantity), quantity.source) for quantity in device.quantities()]
    key_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    typer.echo("")
    for key, value, source in rows:
        typer.echo(f"{key:<{key_width}}  {value:>{value_width}}  {source}")
    typer.echo("")
    for key, text in device.references:
        typer.echo(f"{key}: {text}")


def _shown(quantity: Quantity) -> str:
    value = quantity.value
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    for suffix, write in (("bytes_per_s", format_bytes_per_s), ("_bytes", format_bytes)):
        if quantity.key.endswith(suffix):
            return write(value)
    return format_hertz(value) if quantity.key.startswith("clock_hz.") else str(value)
