"""Profiles by name: those that ship with the program, and the user's own files."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from mnv3c.graph.errors import UserError
from mnv3c.profiles.profile import Profile
from mnv3c.profiles.profile_file import load_profile


def shipped_profiles() -> Mapping[str, Path]:
    """The files of the profiles that ship with the program, by name, in alphabetical order."""
    folder = Path(str(files("mnv3c.profiles"))) / "shipped"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_profile(name: str) -> Profile:
    """The profile of a file (a name that ends in .yaml) or the shipped one of this name.

    Raises UserError, naming what there is, where there is none, and for a file that is no profile.
    """
    if name.endswith(".yaml"):
        return load_profile(Path(name))
    known = shipped_profiles()
    if name not in known:
        raise UserError(f"unknown profile '{name}': a profile is a .yaml file or one of {', '.join(known)}")
    return load_profile(known[name])
