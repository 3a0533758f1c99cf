"""Finding a target by name: the folder `targets/NAME` with `target.py`, whose function `target` makes it."""

from importlib import import_module
from typing import cast

from mnv3c.targets.registry import device_paths
from mnv3c.targets.target import Target


def load_target(name: str) -> Target:
    """The target of a name. Raises UserError listing the targets there are."""
    device_paths(name)
    return cast(Target, import_module(f"mnv3c.targets.{name}.target").target())
