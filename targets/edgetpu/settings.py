"""What the command line says of an accelerator: its name, and `KEY=VALUE` for each of its keys that differs."""

from collections.abc import Sequence

from mnv3c.graph.errors import UserError
from mnv3c.targets.edgetpu.device import AcceleratorDevice
from mnv3c.targets.registry import find_device


def find_accelerator(name: str) -> AcceleratorDevice:
    """The accelerator of a name, or of the path of a device file. Raises UserError."""
    return find_device(name, kind=AcceleratorDevice)


def parse_settings(texts: Sequence[str]) -> dict[str, str]:
    """`["dataflow=ws", "sram_bytes=256K"]` as `{"dataflow": "ws", "sram_bytes": "256K"}`.

    Raises UserError for text that is not KEY=VALUE and for a key that comes twice; the keys themselves are the
    device's to check.
    """
    settings: dict[str, str] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (key and equals and value):
            raise UserError(f"--set {text[:80]}: must be KEY=VALUE, such as dataflow=ws or sram_bytes=256K")
        if key in settings:
            raise UserError(f"--set {text[:80]}: '{key}' is set twice")
        settings[key] = value
    return settings
