"""manifest.yaml of a network that was compiled for an accelerator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt, ValidationError, field_validator

from mnv3c.compiler.manifest import FileEntry, PortEntry, PreprocessingEntry
from mnv3c.graph.errors import UserError
from mnv3c.graph.integer.ops import Rounding
from mnv3c.graph.whole_file import write_whole
from mnv3c.graph.yaml_text import read_yaml

ACCELERATOR_FORMAT = "mnv3c-accelerator/1"
MANIFEST_NAME = "manifest.yaml"
ROLES = ("commands", "image", "tflite")


class QuantizedPortEntry(PortEntry):
    """An input or output, in the caller's order: real = scale * (int8 - zero_point), from `dram_address` on.

    In DRAM a tensor lies in the IR's order, channels last.
    """

    dram_address: NonNegativeInt
    scale: FiniteFloat
    zero_point: int


class AcceleratorLayerEntry(BaseModel):
    """One layer; shapes are (batch, height, width, channels), `tile` rows, columns, channels and depth."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    macs: int
    weights_bytes: int
    tile: tuple[int, int, int, int]
    order: str
    commands: int
    dram_read_bytes: int
    dram_write_bytes: int
    output_memory: str
    output_address: int


class AcceleratorManifest(BaseModel):
    """The document. `settings` are the device's keys that were overridden, `memory` sizes in bytes.

    `calibration` says what the activations' ranges were chosen by, or that they came with the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal["mnv3c-accelerator/1"]
    name: str
    versions: dict[str, str]
    target: str
    device: str
    device_sha256: str
    settings: dict[str, str]
    rounding: Rounding
    calibration: str
    input: QuantizedPortEntry
    outputs: tuple[QuantizedPortEntry, ...]
    preprocessing: PreprocessingEntry | None
    memory: dict[str, int]
    files: dict[str, FileEntry]
    layers: tuple[AcceleratorLayerEntry, ...]

    @field_validator("files")
    @classmethod
    def _require_files(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        if set(files) != set(ROLES):
            raise ValueError(f"must be {', '.join(ROLES)}")
        return files


def is_accelerator_artifact(directory: Path) -> bool:
    """Whether a folder holds a network for an accelerator; False for anything else, also for what is damaged."""
    path = directory / MANIFEST_NAME
    if not path.is_file():
        return False
    try:
        document = read_yaml(path)
    except UserError:
        return False
    return isinstance(document, Mapping) and document.get("format") == ACCELERATOR_FORMAT


def write_accelerator_manifest(document: AcceleratorManifest, path: Path) -> None:
    """Write the document, whole or not at all. Raises MissingError where the disk refuses."""
    write_whole(path, yaml.safe_dump(document.model_dump(mode="json"), sort_keys=False, width=120))


def read_accelerator_manifest(path: Path) -> AcceleratorManifest:
    """The manifest of an artifact. Raises UserError naming the file and the key."""
    try:
        return AcceleratorManifest.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
