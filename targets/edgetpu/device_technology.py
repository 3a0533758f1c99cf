"""Energies and areas that devices of one technology share: files in `technologies/`, in the form of a device's own."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from mnv3c.targets.strict_yaml import read_mapping
from mnv3c.targets.violations import KeyedError

_SECTIONS = ("energy", "area")
_KEYS = ("name", "title", "references", *_SECTIONS)


def technology_names() -> tuple[str, ...]:
    """The technologies that have a file, by name."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


def with_technology(document: Mapping[str, object]) -> Mapping[str, object]:
    """A device's document with the energies and areas that its `technology` gives and it does not say itself.

    The references that these values cite come along. Raises KeyedError, and UserError for a broken technology file.
    """
    name = document.get("technology")
    if name is None:
        return document
    if name not in technology_names():
        raise KeyedError("technology", f"must be one of {', '.join(technology_names())}, not '{str(name)[:60]}'")
    shared = read_technology(str(name))
    merged = dict(document)
    for section in _SECTIONS:
        own = document.get(section, {})
        if isinstance(own, Mapping):
            merged[section] = {**shared[section], **own}
    own_references = document.get("references")
    if isinstance(own_references, Mapping):
        merged["references"] = {**own_references, **_cited(shared["references"], merged, own_references)}
    return merged


def read_technology(name: str) -> dict[str, dict[str, object]]:
    """The sections `references`, `energy` and `area` of a technology that has a file. Raises KeyedError, UserError."""
    document = read_mapping(_folder() / f"{name}.yaml")
    for key in _KEYS:
        if key not in document:
            raise KeyedError(f"technology '{name}': {key}", "is missing")
    for key in document:
        if key not in _KEYS:
            raise KeyedError(f"technology '{name}': {key}", f"unknown key; allowed: {', '.join(_KEYS)}")
    sections: dict[str, dict[str, object]] = {}
    for key in ("references", *_SECTIONS):
        content = document[key]
        if not isinstance(content, dict):
            raise KeyedError(f"technology '{name}': {key}", "must be a mapping")
        sections[key] = content
    return sections


def _cited(shared: Mapping[str, object], merged: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """The shared references that the merged values cite; one key for two different texts is an error."""
    origins: set[str] = set()
    for section in _SECTIONS:
        content = merged[section]
        for leaf in content.values() if isinstance(content, Mapping) else ():
            if isinstance(leaf, Mapping):
                origins.add(str(leaf.get("source")).partition(": ")[0])
    for key in origins & set(shared) & set(own):
        if shared[key] != own[key]:
            raise KeyedError(f"references.{key}", "is another reference in the file of the device's technology")
    return {key: text for key, text in shared.items() if key in origins}


def _folder() -> Path:
    folder = resources.files("mnv3c.targets.edgetpu") / "technologies"
    # Technologies are data files of the package, like devices.
    assert isinstance(folder, Path)
    return folder
