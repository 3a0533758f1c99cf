"""`--set KEY=VALUE`: a device with other values, checked as its file is."""

import difflib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mnv3c.graph.errors import UserError
from mnv3c.targets.base_device import Plain
from mnv3c.targets.edgetpu.device_technology import with_technology
from mnv3c.targets.violations import KeyedError, first_violation

if TYPE_CHECKING:
    from mnv3c.targets.edgetpu.device import AcceleratorDevice

SET_BY_USER = "assumption: set by the user"
# An array of another kind has other keys: that is another device file.
_FIXED = ("array.kind",)
_TECHNOLOGY = "technology"
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,3})?", re.ASCII | re.IGNORECASE)
_SHORT_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)([KMG])", re.ASCII)
_WORDS: Mapping[str, bool | None] = {"null": None, "none": None, "~": None, "true": True, "false": False}


def settable_keys(device: "AcceleratorDevice") -> tuple[str, ...]:
    """The dotted keys that `with_settings` takes, in the order of the device's quantities, and `technology`."""
    keys = list(device.leaves)
    for section in device.sections:
        content = getattr(device, section)
        keys += [f"{section}.{key}" for key in (type(content).model_fields if content else ())]
    return (*(key for key in keys if key not in _FIXED), _TECHNOLOGY)


def with_settings(device: "AcceleratorDevice", settings: Mapping[str, Plain]) -> "AcceleratorDevice":
    """A checked copy with other values; their source becomes the user. Raises UserError."""
    full_keys = {full_key(key, device): value for key, value in settings.items()}
    if len(full_keys) < len(settings):
        raise UserError(f"settings of '{device.name}': a key is set twice, dotted and by its last part")
    try:
        # A technology replaces all energies and areas, of which other settings then replace some.
        if _TECHNOLOGY in full_keys:
            device = _of_technology(device, str(full_keys.pop(_TECHNOLOGY)))
        content, sources = device.model_dump(), dict(device.sources)
        for key, value in full_keys.items():
            _replace(key, value, content, sources)
        return type(device).model_validate(content | {"sources": tuple(sources.items())})
    except KeyedError as problem:
        raise UserError(f"settings of '{device.name}': {problem}") from None
    except ValidationError as error:
        raise UserError(f"settings of '{device.name}': {first_violation(error, type(device), content)}") from None


def full_key(key: str, device: "AcceleratorDevice") -> str:
    """The dotted key of one that may be its last part alone. Raises UserError for one that cannot be set."""
    allowed = settable_keys(device)
    short = {each.rpartition(".")[2]: each for each in allowed}
    if key in allowed:
        return key
    if key in short:
        return short[key]
    close = difflib.get_close_matches(key, (*allowed, *short), n=3, cutoff=0.6) or [k for k in short if key in k][:3]
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise UserError(f"settings of '{device.name}': there is no key '{key[:80]}'; {hint}allowed: {', '.join(allowed)}")


def parse_setting(key: str, text: str) -> Plain:
    """Read a value as typed: numbers, true and false, none, and for `..._bytes` also 256K, 8M and 1G (binary).

    Text with other units stays text, for the device's own check to read.
    """
    text = text.strip()
    short = _SHORT_SIZE.fullmatch(text)
    if short and key.endswith("_bytes"):
        return f"{short[1]} {short[2]}iB"
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        number = float(text)
        return int(number) if "e" in text.lower() and number.is_integer() else number
    return text


def _replace(key: str, value: Plain, content: dict[str, Any], sources: dict[str, str]) -> None:
    section, _, leaf = key.rpartition(".")
    holder = content[section] if section else content
    holder[leaf] = parse_setting(key, value) if isinstance(value, str) else value
    sources[key] = SET_BY_USER


def _of_technology(device: "AcceleratorDevice", name: str) -> "AcceleratorDevice":
    """The device with all energies and areas of another technology. Raises KeyedError, UserError."""
    document = device.document() | {"technology": name}
    del document["energy"], document["area"]
    return type(device).model_validate(device.split_sources(with_technology(document)))
