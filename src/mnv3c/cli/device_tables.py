"""How `mnv3c targets` shows devices: a table of all of a kind, or one with the source of every number."""

from typing import TYPE_CHECKING

import typer

from mnv3c.cli.device_kinds import KINDS, DeviceKind, kind_of
from mnv3c.graph.errors import MissingError
from mnv3c.targets.device import Device, Quantity
from mnv3c.targets.registry import HOST, default_device, devices, find_device, target_names
from mnv3c.targets.units import format_bytes, format_bytes_per_s, format_hertz

if TYPE_CHECKING:
    from rich.console import Console

# Titles would break after every word in the 80 columns that a pipe is given.
_TABLE_WIDTH = 132


def all_devices() -> tuple[Device, ...]:
    """The host first, where it can be detected, then the devices with files."""
    with_files = tuple(device for target in target_names() for device in devices(target, Device))
    try:
        return (find_device(HOST), *with_files)
    except MissingError:
        return with_files


def listing(known: tuple[Device, ...]) -> dict[str, object]:
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


def summary(device: Device) -> dict[str, object]:
    """One device with all its values, without their sources."""
    return {
        "name": device.name,
        "target": device.target,
        "title": device.title,
        "fingerprint": device.fingerprint,
        **kind_of(device).facts(device),
        **{quantity.key: quantity.value for quantity in device.quantities()},
    }


def print_tables(known: tuple[Device, ...]) -> None:
    """All devices, one a line, in a table for each kind."""
    # rich takes a tenth of a second to import, which a JSON document need not pay.
    from rich.console import Console

    defaults = frozenset(default_device(target) for target in target_names())
    console = Console(highlight=False)
    console = Console(highlight=False, width=max(console.width, _TABLE_WIDTH))
    first = True
    for kind in KINDS:
        of_kind = tuple(device for device in known if kind_of(device) is kind)
        if of_kind:
            _print_table(console, kind, of_kind, defaults, first)
            first = False


def _print_table(
    console: "Console", kind: DeviceKind, known: tuple[Device, ...], defaults: frozenset[str], first: bool
) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("device", "target"):
        table.add_column(header, no_wrap=True)
    for header, align in kind.columns:
        table.add_column(header, justify="right" if align == "right" else "left", no_wrap=True)
    table.add_column("title")
    for device in known:
        name = f"{device.name}{' *' if device.name in defaults else ''}"
        table.add_row(name, device.target, *kind.row(device), escape(device.title))
    if not first:
        console.print()
    console.print(table)
    console.print(f"\n* taken when only the target is named. {kind.note}", style="dim")


def print_device(device: Device) -> None:
    """One device: its drawing, and every number with its source."""
    # Plain text, so that a source is never broken in the middle of a name when the output is piped or copied.
    typer.echo(kind_of(device).draw(device))
    rows = [(quantity.key, _shown(quantity), quantity.source) for quantity in device.quantities()]
    key_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    typer.echo("")
    for key, value, source in rows:
        typer.echo(f"{key:<{key_width}}  {value:>{value_width}}  {source}")
    typer.echo("")
    for key, text in device.references:
        typer.echo(f"{key}: {text}")


def _shown(quantity: Quantity) -> str:
    key, value = quantity.key, quantity.value
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int):
        return f"{value:g}" if isinstance(value, float) else value
    for suffix, write in (("bytes_per_s", format_bytes_per_s), ("_bytes", format_bytes)):
        if key.endswith(suffix):
            return write(value)
    return format_hertz(value) if key.partition(".")[0] == "clock_hz" else str(value)
