"""`mnv3c targets`: which targets and devices there are, and what is known of each, with a source for every number."""

import json
from typing import Annotated

import typer


def targets(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A device, 'host', a device file, or a target; all if left out."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """List the targets and their devices, or show one device with the source of each number.

    Example: mnv3c targets cortex-a76
    """
    # `mnv3c --help` imports this file, and shall not wait for pydantic.
    from mnv3c.cli import device_tables
    from mnv3c.targets.device import Device
    from mnv3c.targets.registry import find_device, target_names

    if name is None or name in target_names():
        known = tuple(device for device in device_tables.all_devices() if name in (None, device.target))
        typer.echo(json.dumps(device_tables.listing(known), indent=2)) if as_json else device_tables.print_tables(known)
        return
    device = find_device(name, kind=Device)
    document = device_tables.summary(device) | {"device": device.document()}
    typer.echo(json.dumps(document, indent=2)) if as_json else device_tables.print_device(device)
