"""The options that name a device or change it, shared by the commands that work for one."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mnv3c.targets.device import CpuDevice, Device

TargetOption = Annotated[
    str | None,
    typer.Option("--target", metavar="NAME", help="arm64, x86_64, ... (see mnv3c targets); by default this host's."),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="A device of the target, or a .yaml; default: the target's own."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override any key of an accelerator: rows=32, sram_bytes=256K."),
]


def chosen_device(target: str | None, device: str | None) -> "CpuDevice":
    """The device that `--target` and `--device` name; without them this host's. Raises UserError, MissingError."""
    from mnv3c.targets.device import CpuDevice, of_kind

    return of_kind(chosen_device_of_any_kind(target, device), CpuDevice)


def chosen_device_of_any_kind(target: str | None, device: str | None) -> "Device":
    """The same for commands that work for accelerators, too. Raises UserError, MissingError."""
    from mnv3c.targets.device import Device
    from mnv3c.targets.registry import default_device, find_device, host_target

    if device is not None:
        return find_device(device, target, kind=Device)
    target = target or host_target()
    return find_device(default_device(target), target, kind=Device)
