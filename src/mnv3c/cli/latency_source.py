"""Whose latencies a command is about: a profile's, which predicts, or an accelerator's, which is emulated."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnv3c.graph.errors import UserError

if TYPE_CHECKING:
    from mnv3c.profiles.profile import Profile
    from mnv3c.targets.edgetpu.device import AcceleratorDevice

SourceOption = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="A profile (predicts) or an accelerator (is emulated)."),
]


def find_source(name: str) -> "Profile | AcceleratorDevice":
    """The profile or the accelerator of a name, or of a file. Raises UserError naming what there is."""
    from mnv3c.profiles.library import find_profile, shipped_profiles
    from mnv3c.targets.edgetpu.device import AcceleratorDevice
    from mnv3c.targets.edgetpu.settings import find_accelerator
    from mnv3c.targets.registry import devices

    accelerators = [each.name for each in devices("edgetpu", AcceleratorDevice)]
    if name in accelerators:
        return find_accelerator(name)
    if name.endswith(".yaml"):
        return find_accelerator(name) if _is_device(Path(name)) else find_profile(name)
    if name not in shipped_profiles():
        known = ", ".join([*shipped_profiles(), *accelerators])
        raise UserError(f"--device: '{name}' is not a .yaml file, nor a profile or an accelerator of {known}")
    return find_profile(name)


def _is_device(path: Path) -> bool:
    """Whether a file is that of a device; profiles, which may be larger than any, begin otherwise."""
    from mnv3c.targets.strict_yaml import read_mapping

    try:
        return "target" in read_mapping(path)
    except UserError:
        return False
