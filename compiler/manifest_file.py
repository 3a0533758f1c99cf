"""Manifests on disk, of whatever artifact: written whole, read strictly, told apart by their format."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mnv3c.graph.errors import UserError
from mnv3c.graph.whole_file import write_whole
from mnv3c.graph.yaml_text import read_yaml

MANIFEST_NAME = "manifest.yaml"
ModelT = TypeVar("ModelT", bound=BaseModel)


def artifact_format(directory: Path) -> str | None:
    """What the manifest in a folder says it is of; None for a folder without one, also for what is damaged."""
    path = directory / MANIFEST_NAME
    if not path.is_file():
        return None
    try:
        document = read_yaml(path)
    except UserError:
        return None
    return str(document.get("format")) if isinstance(document, Mapping) else None


def write_document(document: BaseModel, path: Path, unsaid: Collection[str] = ()) -> None:
    """Write a manifest without its fields `unsaid`, whole or not at all. Raises MissingError where the disk refuses."""
    content = document.model_dump(mode="json", exclude=set(unsaid))
    write_whole(path, yaml.safe_dump(content, sort_keys=False, width=120))


def read_document(kind: type[ModelT], path: Path) -> ModelT:
    """A manifest of a kind. Raises UserError naming the file and the key."""
    if not path.exists():
        raise UserError(f"{path.parent}: not an artifact (there is no {path.name}); make one with mnv3c compile")
    document = read_yaml(path)
    if not isinstance(document, Mapping):
        raise UserError(f"{path}: not a manifest")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
